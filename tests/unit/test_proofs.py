"""Sealed and VerifiedSnapshot are proofs: nobody makes one but the function that does the work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal import keys
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.digests import file_page_digests
from chromaseal.errors import Conflict, Damaged
from chromaseal.sandbox import Plain
from chromaseal.seal import sealed as sealing
from chromaseal.seal.evidence import RecordSummary
from chromaseal.seal.page_table import FileStamp, Known
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.seal.verify import VerifiedSnapshot, verify
from chromaseal.snapshot.history import Head
from chromaseal.snapshot.publish import Draft, commit, store_layers
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.sandboxes import AnsweringSandbox


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


def test_a_file_that_changes_while_it_is_read_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are pages that were read by then: what is verified would be something else."""
    read = file_page_digests

    def late_write(path: Path) -> bytes:
        digests = read(path)
        path.write_bytes(b"y" * 5000)
        return digests

    monkeypatch.setattr(sealing, "file_page_digests", late_write)
    with pytest.raises(Conflict) as refused:
        sealed_directory(tmp_path)
    assert refused.value.kind == "changed-while-reading"


def test_a_file_that_was_read_before_another_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read one after the other: whoever writes the first one meanwhile is found."""
    read = file_page_digests
    (tmp_path / "earlier").write_bytes(b"x" * 5000)

    def late_write(path: Path) -> bytes:
        if path.name == "file":
            (tmp_path / "earlier").write_bytes(b"y" * 5000)
        return read(path)

    monkeypatch.setattr(sealing, "file_page_digests", late_write)
    with pytest.raises(Conflict) as refused:
        sealed_directory(tmp_path)
    assert refused.value.kind == "changed-while-reading"


def content(_: str, __: Mapping[str, Any]) -> Plain:
    """Find nothing wrong, as a child would."""
    return {"findings": [], "collections": []}


def write_beside(job: str, request: Mapping[str, Any]) -> Plain:
    """Let somebody write to the directory meanwhile, and find nothing wrong."""
    (Path(request["directory"]) / "file").write_bytes(b"z" * 5000)
    return content(job, request)


def test_what_was_verified_is_what_was_sealed(tmp_path: Path) -> None:
    """A write during the checks is no version: digests and verdict would be of two contents."""
    with pytest.raises(Conflict) as refused:
        verify(sealed_directory(tmp_path), sandbox=AnsweringSandbox(write_beside))
    assert refused.value.kind == "changed-while-reading"


def test_a_version_has_the_layers_of_what_was_verified(tmp_path: Path) -> None:
    """They are stored beside the checks, so that others could be handed over."""
    verified, other = tmp_path / "verified", tmp_path / "other"
    for directory in (verified, other):
        directory.mkdir()
    snapshot = verify(sealed_directory(verified), sandbox=AnsweringSandbox(content))
    store = ObstoreObjectStore("memory://")
    draft = Draft("notes", Head(None, ""), None, (), {})
    layers = store_layers(store, sealed_directory(other), draft, kept=None, attempt="0" * 32)
    with pytest.raises(TypeError, match="not those of the directory that was verified"):
        commit(store, snapshot, draft, layers, clock=ManualClock())
    assert store.head(keys.pointer("notes")) is None


def test_only_an_old_and_equal_stamp_spares_reading() -> None:
    """A time that was set back does not hide a write, nor one that came within a tick."""
    second_ns = 10**9
    stamp = FileStamp(size_bytes=5, modified_ns=second_ns, changed_ns=second_ns, inode=1)
    later = Known(Path(), {}, {}, {"file": stamp}, 3 * second_ns)
    assert later.unchanged("file", stamp)
    for name in ("size_bytes", "modified_ns", "changed_ns", "inode"):
        assert not later.unchanged("file", replace(stamp, **{name: 7}))
    assert not later.unchanged("another", stamp)
    assert not replace(later, stamped_at_ns=second_ns + 5).unchanged("file", stamp)


def test_a_write_whose_time_was_set_back_is_sealed(tmp_path: Path) -> None:
    """Whoever restores a file's time and size has changed it all the same."""
    before = sealed_directory(tmp_path)
    (file,) = before.files
    (tmp_path / "file").write_bytes(b"y" * 5000)
    os.utime(tmp_path / "file", ns=(file.stamp.modified_ns, file.stamp.modified_ns))
    known = Known(tmp_path / "gone", before.tables, {}, before.stamps, file.stamp.modified_ns * 2)
    after = seal(tmp_path, open_files=ProcOpenFiles(), clock=ManualClock(), known=known)
    assert after.tables != before.tables
