"""Sealed and VerifiedSnapshot are proofs: nobody makes one but the function that does the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.errors import Conflict, Damaged
from chromaseal.seal.evidence import RecordSummary
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.seal.verify import VerifiedSnapshot, verify
from chromaseal.testing.clock import ManualClock


def sealed_directory(directory: Path) -> Sealed:
    """Seal a directory with one file."""
    (directory / "file").write_bytes(b"x" * 5000)
    return seal(directory, open_files=ProcOpenFiles(), clock=ManualClock())


def test_only_seal_makes_a_sealed(tmp_path: Path) -> None:
    """A Sealed cannot be made up."""
    with pytest.raises(TypeError):
        Sealed(tmp_path, (), key=object())
    assert [file.path for file in sealed_directory(tmp_path).files] == ["file"]


def test_only_verify_makes_a_verified_snapshot(tmp_path: Path) -> None:
    """A VerifiedSnapshot cannot be made up, and publishing takes nothing else."""
    with pytest.raises(TypeError):
        VerifiedSnapshot(sealed_directory(tmp_path), RecordSummary(0, ""), (), (), key=object())
    assert verify.__annotations__["return"] == "VerifiedSnapshot"


def test_an_open_file_is_not_sealed(tmp_path: Path) -> None:
    """While any process, this one included, has a file open, there is no seal."""
    with (tmp_path / "chroma.sqlite3").open("wb"), pytest.raises(Conflict) as refused:
        seal(tmp_path, open_files=ProcOpenFiles(), clock=ManualClock())
    assert refused.value.kind == "still-open"
    assert seal(tmp_path, open_files=ProcOpenFiles(), clock=ManualClock()).size_bytes == 0


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_a_hot_journal_is_not_sealed(tmp_path: Path, suffix: str) -> None:
    """A directory whose writer died in the middle of a change is not packed."""
    (tmp_path / f"chroma.sqlite3{suffix}").write_bytes(b"")
    with pytest.raises(Damaged) as refused:
        sealed_directory(tmp_path)
    assert refused.value.kind == "hot-journal"


def test_a_link_is_not_sealed(tmp_path: Path) -> None:
    """Whatever is no plain file is not packed."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged) as refused:
        sealed_directory(tmp_path)
    assert refused.value.kind == "not-a-plain-file"
