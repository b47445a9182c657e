"""Two directories swapped, also where the file system cannot do it in one step."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from chromaseal.adapters.linux.exchange import exchange


class OldFileSystem:
    """A C library on a file system that cannot swap two names, as NFS and FUSE cannot."""

    def renameat2(self, *_: object) -> int:
        """Say so."""
        ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Give two directories."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path / "old", tmp_path / "new"


@pytest.fixture
def _old_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: OldFileSystem())


def check_swapped(two: tuple[Path, Path]) -> None:
    """Each of two directories has the other's name, and nothing is beside them."""
    exchange(*two)
    assert [(path / "file").read_text() for path in two] == ["new", "old"]
    assert sorted(two[0].parent.iterdir()) == sorted(two)


def test_two_directories_are_swapped(two: tuple[Path, Path]) -> None:
    """Each has the other's name."""
    check_swapped(two)


@pytest.mark.usefixtures("_old_file_system")
def test_two_directories_are_swapped_in_steps(two: tuple[Path, Path]) -> None:
    """The same where it takes three renames."""
    check_swapped(two)


@pytest.mark.usefixtures("_old_file_system")
def test_what_cannot_be_swapped_stays(two: tuple[Path, Path]) -> None:
    """Where there is nothing to take the old one's place, it keeps it."""
    old, new = two
    with pytest.raises(FileNotFoundError):
        exchange(old, new.with_name("nowhere"))
    assert (old / "file").read_text() == "old"
    assert sorted(old.parent.iterdir()) == sorted(two)
