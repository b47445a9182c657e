"""Which copies of a live directory are one state of it, decided without any directory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chromaseal.seal.page_table import FileStamp
from chromaseal.seal.quiet import (
    DATABASE,
    INDEX_FILES,
    PICKLE,
    TIME_GRAIN_NS,
    Backlog,
    Observation,
    being_flushed,
    differing,
    flush_died,
    settled_files,
    unfinished,
    what_changed,
)

NOW = 10**18
SECOND = 10**9
FLUSH = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", PICKLE)
BACKLOG = Backlog("notes", "index", pending=10, threshold=100, unapplied=0, elements=500)
DUE = replace(BACKLOG, pending=100)


def stamp(modified_ns: int, size_bytes: int = 100) -> FileStamp:
    """Give a file's stamp."""
    return FileStamp(size_bytes, modified_ns, modified_ns, 7)


def seen(database_ns: int, *flushed_ns: int) -> Observation:
    """Give an observation: the database's time, then those of the index in its flush's order."""
    files = {f"index/{name}": stamp(time) for name, time in zip(FLUSH, flushed_ns, strict=False)}
    return Observation(5, journal=False, files={DATABASE: stamp(database_ns), **files}, seen_ns=NOW)


OLD = [NOW - 60 * SECOND + step for step in range(5)]
QUIET = seen(NOW - 50 * SECOND, *OLD)


def with_times(**times: int) -> Observation:
    """Give the quiet directory with other times for some files of its index."""
    files = dict(QUIET.files)
    for name, time in times.items():
        path = next(f"index/{file}" for file in INDEX_FILES if file.startswith(name))
        files[path] = stamp(time)
    return replace(QUIET, files=files)


def test_nothing_changed() -> None:
    """Two equal observations of files at rest are one state."""
    assert what_changed(QUIET, replace(QUIET, seen_ns=NOW + SECOND)) == ""
    assert unfinished(QUIET, [BACKLOG], held=True) == ""


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (replace(QUIET, journal=True), "a transaction is under way"),
        (replace(QUIET, change_counter=6), "a transaction was committed"),
        (with_times(header=NOW), "index/header.bin changed"),
        (seen(NOW - 50 * SECOND, *OLD[:4]), "index/index_metadata.pickle changed"),
        (seen(NOW - 50 * SECOND), "index/data_level0.bin changed"),
    ],
)
def test_what_changed_is_named(after: Observation, reason: str) -> None:
    """A journal, a commit, a written file, a new and a removed one are seen, whichever is first."""
    assert what_changed(QUIET, after) == reason
    assert what_changed(after, QUIET) == reason


def test_a_file_written_just_before_is_not_trusted() -> None:
    """Within the grain of file times a second write leaves no mark."""
    fresh = seen(NOW - TIME_GRAIN_NS + 1, *OLD)
    assert what_changed(fresh, fresh) == "chroma.sqlite3 was written just before"
    assert settled_files(fresh).keys() == fresh.files.keys() - {DATABASE}
    assert being_flushed(fresh) == []
    assert being_flushed(with_times(header=NOW)) == ["index/header.bin"]


def test_only_what_differs_is_copied() -> None:
    """A file with the stamp of its copy is left alone."""
    assert differing(QUIET, QUIET.files) == []
    assert differing(QUIET, {}) == sorted(QUIET.files)
    moved = with_times(length=NOW)
    assert differing(moved, QUIET.files) == ["index/length.bin"]
    inode = {**QUIET.files, DATABASE: replace(QUIET.files[DATABASE], inode=8)}
    assert differing(QUIET, inode) == [DATABASE]


def test_a_flush_that_ended_makes_all_of_its_index_doubtful() -> None:
    """A file that was stamped in the middle of a flush's slow write is copied again after it."""
    index = sorted(f"index/{name}" for name in INDEX_FILES)
    moved = with_times(index_metadata=NOW)
    assert differing(moved, QUIET.files) == index
    other = {"other/header.bin": stamp(OLD[0]), f"other/{PICKLE}": stamp(OLD[4])}
    beside = replace(moved, files={**moved.files, **other})
    assert differing(beside, {**QUIET.files, **other}) == index
    first = {path: stamp for path, stamp in QUIET.files.items() if not path.endswith(PICKLE)}
    assert differing(replace(QUIET, files=first), first) == []
    assert differing(QUIET, first) == index


def test_a_database_in_a_transaction_is_not_trusted_later() -> None:
    """A slow write into it may be under way, whatever its time says."""
    assert DATABASE in settled_files(QUIET)
    assert DATABASE not in settled_files(replace(QUIET, journal=True))


@pytest.mark.parametrize("written", range(1, 6))
def test_a_stopped_flush_is_seen(written: int) -> None:
    """However far a flush got, its writer stopped for however long, the copy is refused."""
    times = [NOW - 40 * SECOND] * written + OLD[written:]
    assert "being flushed" in unfinished(seen(NOW - 50 * SECOND, *times), [DUE], held=True)
    # Nor does it help that another thread has committed meanwhile, until the pickle is there.
    if written < len(FLUSH):
        assert "being flushed" in unfinished(seen(NOW - SECOND, *times), [DUE], held=True)


def test_a_flush_under_a_changed_threshold_is_seen() -> None:
    """SQLite says that no flush is due, but a living process has written the index."""
    times = [NOW - 40 * SECOND, *OLD[1:]]
    flushing = seen(NOW - 50 * SECOND, *times)
    assert "being flushed" in unfinished(flushing, [BACKLOG], held=True)
    # Nobody has it open: these are the times of a restored copy.
    assert unfinished(flushing, [BACKLOG], held=False) == ""


def test_a_flush_that_is_only_due_is_no_flush() -> None:
    """A threshold that was lowered under a running application does not stop copies for ever."""
    assert unfinished(QUIET, [DUE], held=True) == ""


def test_a_finished_flush_within_one_tick_is_no_flush() -> None:
    """The commit after a flush may have the pickle's own time."""
    tick = [NOW - 50 * SECOND] * 5
    assert unfinished(seen(NOW - 50 * SECOND, *tick), [BACKLOG], held=True) == ""
    assert "being flushed" in unfinished(seen(NOW - 50 * SECOND, *tick), [DUE], held=True)


def test_an_index_before_its_first_flush() -> None:
    """Without a pickle there are no elements, or the first flush is under way."""
    created = seen(NOW - 50 * SECOND, *[NOW - 40 * SECOND] * 4)
    assert unfinished(created, [replace(DUE, elements=0)], held=True) == ""
    assert "first time" in unfinished(created, [BACKLOG], held=True)
    assert flush_died(created, [BACKLOG]) == "notes"
    partly = seen(NOW - 50 * SECOND, *[NOW - 40 * SECOND] * 3)
    assert "being created" in unfinished(partly, [replace(DUE, elements=0)], held=True)
    assert "being created" in unfinished(created, [replace(DUE, elements=None)], held=True)
    assert flush_died(created, [replace(DUE, elements=None)]) == ""
    assert unfinished(seen(NOW - 50 * SECOND), [replace(BACKLOG, elements=None)], held=True) == ""


def test_a_change_between_its_two_commits_is_waited_for() -> None:
    """Changes in the log that are not in the rows are named with their number."""
    reason = unfinished(QUIET, [replace(BACKLOG, unapplied=3)], held=True)
    assert reason == "notes: 3 changes of the log are not in the rows yet"


def test_a_flush_whose_process_died_is_named() -> None:
    """The collection whose index nobody will finish is named, and no other."""
    died = seen(NOW - 50 * SECOND, NOW - 40 * SECOND, *OLD[1:])
    assert flush_died(died, [replace(BACKLOG, folder="other"), DUE]) == "notes"
    assert flush_died(QUIET, [BACKLOG, DUE]) == ""
