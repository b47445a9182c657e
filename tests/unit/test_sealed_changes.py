"""Whoever writes while a directory is sealed is found, whichever file it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.errors import Conflict
from chromaseal.seal.open_files import Holder
from chromaseal.seal.sealed import refuse_changed, seal, wait_until_closed
from chromaseal.testing.clock import ManualClock


class Coming:
    """Open files of a machine on which a writer comes and goes.

    Args:
        busy_looks: at which looks, counted from 1, it is there.
    """

    def __init__(self, busy_looks: range = range(0)) -> None:
        self.looks = 0
        self.busy_looks = busy_looks

    def holders(self, directory: Path) -> list[Holder]:
        """Name the writer while it is there."""
        self.looks += 1
        busy = self.looks in self.busy_looks
        return [Holder(1, "app", str(directory), "open")] if busy else []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory of two files."""
    (tmp_path / "one").write_bytes(b"1" * 9000)
    (tmp_path / "two").write_bytes(b"2" * 9000)
    return tmp_path


def test_a_file_that_was_digested_already_must_stay(directory: Path) -> None:
    """A seal is one moment of all files together, not one of each."""
    coming = Coming()
    sealed = seal(directory, open_files=coming, clock=ManualClock())
    refuse_changed(sealed)
    for change in (
        lambda: (directory / "one").write_bytes(b"3" * 9000),
        (directory / "one").unlink,
        (directory / "three").touch,
        lambda: (directory / "two").replace(directory / "four"),
    ):
        change()
        with pytest.raises(Conflict) as caught:
            refuse_changed(sealed)
        assert caught.value.kind == "changed-while-reading"
        sealed = seal(directory, open_files=coming, clock=ManualClock())


def test_who_opens_it_meanwhile_is_found(directory: Path) -> None:
    """Nobody has it open before, and nobody after."""
    late = Coming(busy_looks=range(2, 3))
    with pytest.raises(Conflict) as caught:
        seal(directory, open_files=late, clock=ManualClock())
    assert caught.value.kind == "still-open"


def test_the_whole_time_is_waited(directory: Path) -> None:
    """Who closes within the time is waited for, to its end and not half of it."""
    clock = ManualClock()
    start_s = clock.monotonic_s()
    with pytest.raises(Conflict):
        wait_until_closed(directory, Coming(range(1, 10_000)), clock, 5.0)
    assert 5.0 <= clock.monotonic_s() - start_s < 5.2
    wait_until_closed(directory, Coming(range(1, 40)), ManualClock(), 5.0)
