"""What locks mean, and what a directory is by who holds it: decided over plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.errors import ChromasealError, RefusedInput
from chromaseal.seal import locks
from chromaseal.seal.lock_words import PENDING, RESERVED, SHARED_FIRST, SHARED_LAST, doing, meaning
from chromaseal.seal.locks import (
    Blocking,
    FileSeen,
    LocksReport,
    Probed,
    Standing,
    examine_locks,
    judge,
)
from chromaseal.seal.open_files import HeldFile, HeldLock, Process, Unseen, Use
from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.clock import ManualClock

DIRECTORY = Path("somewhere")
NOW_NS = 10**18
LONG_AGO = FileSeen(4096, NOW_NS - 10**12)
NOTHING = Use(())
QUIET = Probed({DATABASE: LONG_AGO})
SHARED = HeldLock(DATABASE, "POSIX", False, SHARED_FIRST, SHARED_LAST, False)  # noqa: FBT003
RESERVING = HeldLock(DATABASE, "POSIX", True, RESERVED, RESERVED, False)  # noqa: FBT003
JOURNAL = f"{DATABASE}-journal"


def file(name: str = DATABASE, *descriptors: int, gone: bool = False) -> HeldFile:
    """Give a file as a client has it open."""
    numbers = descriptors or (9,)
    return HeldFile(name, f"somewhere/{name}", "open", "read and write", numbers, gone)


def process(*held: HeldFile | HeldLock, pid: int = 7) -> Process:
    """Give a process that holds something."""
    files = tuple(each for each in held if isinstance(each, HeldFile))
    kept = tuple(each for each in held if isinstance(each, HeldLock))
    return Process(pid, "python app.py", "alice", None, files, kept)


def judged(use: Use = NOTHING, probed: Probed = QUIET) -> LocksReport:
    """Decide about a directory."""
    return judge(DIRECTORY, use, probed, now_ns=NOW_NS)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([SHARED], "reads"),
        ([SHARED, RESERVING], "write transaction"),
        ([SHARED, replace(RESERVING, first=PENDING)], "until nobody reads"),
        ([replace(RESERVING, first=PENDING, last=SHARED_LAST)], "at this moment"),
        ([replace(RESERVING, first=0, last=None)], "at this moment"),
        ([replace(RESERVING, kind="FLOCK", first=0, last=None)], "locked (FLOCK)"),
        ([replace(SHARED, name=f"{DATABASE}-shm", first=124, last=124)], "reads through"),
        ([replace(RESERVING, name=f"{DATABASE}-shm", first=120, last=120)], "writes to the write"),
        ([replace(RESERVING, waiting=True)], "waits for a lock"),
    ],
)
def test_locks_are_told_in_words(held: list[HeldLock], said: str) -> None:
    """What SQLite's bytes mean is said in words, the strongest one first."""
    [words] = doing(held, write_ahead=False)
    assert said in words


def test_each_lock_has_a_meaning() -> None:
    """A lock is named as SQLite names it; one lock may be several of them."""
    assert meaning(SHARED) == "SHARED"
    assert meaning(RESERVING) == "RESERVED"
    assert meaning(replace(RESERVING, first=PENDING, last=SHARED_LAST)) == (
        "PENDING + RESERVED + EXCLUSIVE"
    )
    assert meaning(replace(RESERVING, kind="FLOCK")) == "the whole file"
    assert meaning(replace(RESERVING, name="other")) == ""


def test_a_connection_in_wal_mode_does_not_read_for_ever() -> None:
    """SHARED on the database means a connection there, and a reader elsewhere."""
    assert "connected" in doing([SHARED], write_ahead=True)[0]
    assert "reads" in doing([SHARED], write_ahead=False)[0]


def test_an_idle_client_is_named_and_how_to_close_it() -> None:
    """Who holds no lock is an idle client, and the hint says what closes one and what does not."""
    found = judged(Use((process(file()),)))
    error = found.error()
    assert found.standing is Standing.OPEN
    assert error is not None
    assert (error.kind, error.exit_code) == ("still-open", 5)
    assert "process 7 (python app.py) has an idle client" in error.message
    assert error.hint.startswith("process 7: client.close() for every client")
    assert "client = None, del and gc close nothing" in error.hint


def test_clients_are_counted_by_the_index_alone() -> None:
    """One client has the database open several times, and each file of an index once."""
    names = ["header.bin", "data_level0.bin", "length.bin", "link_lists.bin"]
    database = file(DATABASE, 3, 4, 5, 6)
    once = [file(f"segment/{name}", 10) for name in names]
    twice = [file(f"segment/{name}", 10, 20) for name in names]
    [role] = judged(Use((process(database, *once),))).roles
    assert role.clients == 1
    assert "clients" not in role.does
    [role] = judged(Use((process(database, *twice),))).roles
    assert role.clients == 2
    assert "2 clients, or leaked ones" in role.does
    [role] = judged(Use((process(database, *twice[:3]),))).roles
    assert role.clients == 0


def test_who_only_reads_is_no_client() -> None:
    """A copy that is being made is not told to close a client."""
    [role] = judged(Use((process(replace(file(), access="read")),))).roles
    assert "as a copy does" in role.does
    assert "client" not in role.close


def test_a_writer_is_to_finish_first() -> None:
    """Nobody is told to end a process in the middle of a change."""
    error = judged(Use((process(file(), RESERVING),))).error()
    assert error is not None
    assert error.hint.startswith("process 7: let its change finish, then client.close()")


def test_deleted_files_are_told() -> None:
    """Whoever writes to a deleted or replaced file learns that it is lost."""
    found = judged(Use((process(file(gone=True)),)))
    assert "what it writes there is lost" in found.roles[0].does
    assert found.standing is Standing.OPEN


@pytest.mark.parametrize("blocking", ["PENDING", "RESERVED", "SHARED"])
def test_a_journal_is_hot_if_nobody_writes(blocking: str) -> None:
    """SQLite's rule: something to roll back, and no lock of a writer; readers do not count."""
    probed = replace(QUIET, files={DATABASE: LONG_AGO, JOURNAL: LONG_AGO}, journal_filled=True)
    writer = Use((process(file()),))
    hot = judged(writer, probed)
    assert hot.standing is Standing.LEFT_BEHIND
    assert "process 7 (python app.py) still has it open" in hot.reason
    under_way = replace(probed, locks={blocking: Blocking(exclusive=True, pid=7)})
    assert judged(writer, under_way).standing is Standing.OPEN
    read = replace(probed, locks={"SHARED": Blocking(exclusive=False, pid=7)})
    assert judged(writer, read).standing is Standing.LEFT_BEHIND


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_what_nobody_finishes_is_left_behind(suffix: str) -> None:
    """A journal or log that no process has is damage, as it is when sealing; else it is in use."""
    probed = replace(QUIET, files={DATABASE: LONG_AGO, f"{DATABASE}{suffix}": LONG_AGO})
    error = judged(NOTHING, probed).error()
    assert error is not None
    assert (error.kind, error.exit_code) == ("hot-journal", 6)
    assert "once with ChromaDB" in error.hint
    assert judged(Use((process(file()),)), probed).standing is Standing.OPEN


def test_a_lock_of_somebody_who_cannot_be_seen_counts() -> None:
    """A lock from another container means open; one of a process that is seen adds no holder."""
    strange = replace(QUIET, locks={"RESERVED": Blocking(exclusive=True, pid=0)})
    found = judged(NOTHING, strange)
    assert found.standing is Standing.OPEN
    assert "somebody who cannot be seen from here has a lock" in found.reason
    assert "other containers" in found.hint
    for pid in (7, -1):
        known = replace(QUIET, locks={"RESERVED": Blocking(exclusive=True, pid=pid)})
        assert "cannot be seen" not in judged(Use((process(file()),)), known).reason


def test_closed_says_how_far_one_could_see() -> None:
    """Processes that may not be looked at are counted by user, and closed is said with care."""
    unseen = Use((), user="alice", unseen=(Unseen("bob", 2), Unseen("root", 1)))
    found = judged(unseen)
    assert found.error() is None
    assert found.reason.startswith("as far as this user can see")
    assert "as root" in found.hint
    assert found.notes[:2] == (
        "2 processes of bob could not be looked into",
        "1 process of root could not be looked into",
    )
    assert "as far as" not in judged().reason
    blind = replace(NOTHING, hidden=True, in_container=True, locks_known=False)
    assert len(judged(blind).notes) == 3


def test_what_was_just_written_is_told() -> None:
    """A closed directory that changed a moment ago may have a writer whom nobody sees."""
    fresh = replace(QUIET, files={DATABASE: FileSeen(1, NOW_NS - 10**9), "old": LONG_AGO})
    found = judged(NOTHING, fresh)
    assert found.recent_s == {DATABASE: 1.0}
    assert "was written 1.0 s ago" in found.notes[0]


def test_what_is_no_chromadb_directory_is_refused() -> None:
    """A mistyped directory is not told to be closed; a database that is gone and open counts."""
    with pytest.raises(RefusedInput) as refused:
        judged(NOTHING, Probed({}))
    assert refused.value.kind == "not-chromadb"
    assert "there is no such directory" in refused.value.message
    assert judged(Use((process(file(gone=True)),)), Probed({})).standing is Standing.OPEN


def test_waiting_ends_as_soon_as_it_is_closed() -> None:
    """It is looked at again and again, with pauses, and not after the time is up."""
    looks: Iterator[Use] = iter([Use((process(file()),))] * 4 + [NOTHING])
    clock = ManualClock()
    found = examine_locks(DIRECTORY, lambda: (next(looks), QUIET), clock=clock, wait_s=60)
    assert found.standing is Standing.CLOSED
    assert found.waited_s == pytest.approx(0.02 + 0.04 + 0.08 + 0.16)
    always = Use((process(file()),))
    found = examine_locks(DIRECTORY, lambda: (always, QUIET), clock=ManualClock(), wait_s=3)
    assert found.standing is Standing.OPEN
    assert found.waited_s == pytest.approx(3)


def test_what_is_odd_is_looked_at_again() -> None:
    """A writer that came between two looks at the parts is neither a stranger nor dead."""
    odd = replace(QUIET, locks={"RESERVED": Blocking(exclusive=True, pid=7)})
    looks = iter([(NOTHING, odd), (Use((process(file(), RESERVING),)), odd)])
    found = examine_locks(DIRECTORY, lambda: next(looks), clock=ManualClock())
    assert [role.process.pid for role in found.roles] == [7]
    gone = replace(QUIET, files={**QUIET.files, JOURNAL: LONG_AGO})
    looks = iter([(NOTHING, gone), (NOTHING, QUIET)])
    found = examine_locks(DIRECTORY, lambda: next(looks), clock=ManualClock())
    assert found.standing is Standing.CLOSED


held_locks = st.builds(
    HeldLock,
    st.sampled_from([DATABASE, f"{DATABASE}-shm", "segment/header.bin"]),
    st.sampled_from(["POSIX", "OFD", "FLOCK", "LEASE", "NEW"]),
    exclusive=st.booleans(),
    first=st.sampled_from([0, 120, PENDING, RESERVED, SHARED_FIRST]),
    last=st.none() | st.sampled_from([0, 128, PENDING, RESERVED, SHARED_LAST]),
    waiting=st.booleans(),
)
held_files = st.builds(
    HeldFile,
    st.sampled_from([DATABASE, JOURNAL, "segment/header.bin", "other"]),
    st.just("somewhere"),
    st.sampled_from(["open", "mapped"]),
    st.sampled_from(["read", "write", "read and write", "none"]),
    st.sampled_from([(), (3,), (3, 4)]),
    st.booleans(),
)
processes = st.builds(
    Process,
    st.integers(0, 3),
    st.just("command"),
    st.just("alice"),
    st.none(),
    st.lists(held_files, max_size=3).map(tuple),
    st.lists(held_locks, max_size=3).map(tuple),
)
uses = st.builds(Use, st.lists(processes, max_size=3, unique_by=lambda p: p.pid).map(tuple))
probes = st.builds(
    Probed,
    st.dictionaries(
        st.sampled_from([DATABASE, JOURNAL, f"{DATABASE}-wal"]),
        st.builds(FileSeen, st.integers(0, 9), st.integers(NOW_NS - 10**10, NOW_NS + 10**10)),
    ).map(lambda files: {DATABASE: LONG_AGO, **files}),
    st.none() | st.booleans(),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["PENDING", "RESERVED", "SHARED"]),
        st.builds(Blocking, st.booleans(), st.integers(-1, 3)),
    ),
)


@given(use=uses, probed=probes)
def test_closed_means_that_nothing_holds_it(use: Use, probed: Probed) -> None:
    """A directory is closed if, and only if, nobody holds or locks it and no journal is there."""
    found = judged(use, probed)
    nothing = not use.processes and not probed.locks and probed.files.keys() == {DATABASE}
    assert (found.standing is Standing.CLOSED) == nothing
    error = found.error()
    assert (error is None) == nothing
    if isinstance(error, ChromasealError):
        assert error.message
        assert error.hint
    assert [role.process for role in found.roles] == list(use.processes)
    assert all(role.does and role.close for role in found.roles)
    assert locks.is_hot(probed) <= (found.standing is Standing.LEFT_BEHIND) or (
        JOURNAL not in probed.files
    )
