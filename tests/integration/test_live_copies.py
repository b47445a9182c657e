"""Copies of a directory that an application keeps writing: each is exactly one state of it."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.adapters.chroma.live_copy import LiveCopy
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.clock import SystemClock
from chromaseal.digests import blake3_file_hex
from chromaseal.errors import ChromasealError, Damaged
from chromaseal.sandbox import Plain, limits_for
from chromaseal.seal.checks import records
from chromaseal.seal.page_table import stamp_of
from chromaseal.seal.quiet import (
    DATABASE,
    INDEX_FILES,
    PICKLE,
    TIME_GRAIN_NS,
    Observation,
    settled,
)
from chromaseal.seal.sealed import seal
from chromaseal.seal.verify import verify
from chromaseal.testing import writing_application
from chromaseal.testing.waiting import wait_until
from chromaseal.testing.whole import WHOLE
from chromaseal.testing.writing_application import COLLECTION, Plan, WritingApplication, prefix_of

LIMITS = limits_for(100_000_000)
PLAN = Plan(records=600, threshold=240)
BUDGET_S = 0.2
# Of SQLite's header; in data_level0.bin a byte of the first element.
_APPLICATION_ID = 68
# SQLite looks for a free lock after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50 and 100 ms: whoever
# waits for one held this long looks again after 228 ms. What waiting really costs a writer is
# measured in test_reserved_lock.py; here its calls take longer for want of a processor too.
LONGEST_HOLD_S = 0.228
# With a new application each, so that the last ones are not about ever larger directories.
ROUND = 25
# `make test-replicate` asks for 500, and so does `make test-whole`.
COPIES = int(os.environ.get("CHROMASEAL_LIVE_COPIES", "500" if WHOLE else str(ROUND)))


@dataclass
class Copier:
    """Copies one live directory again and again, as a replicator does."""

    directory: Path
    target: Path
    sandbox: ProcessSandbox
    known: Plain = field(default_factory=dict)

    def copy(self, attempts: int = 20) -> Plain:
        """Bring the target up to date."""
        request = {
            "directory": str(self.directory),
            "target": str(self.target),
            "known": self.known,
            "budget_s": BUDGET_S,
            "attempts": attempts,
        }
        answer = self.sandbox.run("copy-live", request, limits=LIMITS)
        self.known = answer["stats"]
        return answer

    def verified_prefix(self) -> int:
        """Seal and verify the target, and recognise its records."""
        sealed = seal(self.target, open_files=ProcOpenFiles(), clock=SystemClock())
        verify(sealed, collection=COLLECTION, sandbox=self.sandbox)
        (collection,) = inspect(self.target).collections
        return prefix_of(records(collection), PLAN)

    def opened_prefix(self) -> int:
        """Open a copy of the target with ChromaDB in a process of its own, and recognise it."""
        opened = shutil.copytree(self.target, self.target.with_name("opened"))
        command = [sys.executable, "-m", writing_application.__name__, str(opened), "--check"]
        done = subprocess.run(
            [*command, *PLAN.arguments], capture_output=True, text=True, check=True
        )
        shutil.rmtree(opened)
        return int(done.stdout)


@pytest.fixture
def copier(tmp_path: Path, sandbox: ProcessSandbox) -> Copier:
    """Give a copier without any copy yet."""
    return Copier(tmp_path / "live", tmp_path / "copy", sandbox)


@pytest.fixture
def application(copier: Copier) -> Iterator[WritingApplication]:
    """Give an application that is writing."""
    with WritingApplication(copier.directory, PLAN) as running:
        yield running


def content(directory: Path) -> dict[str, str]:
    """Give the digests of all files."""
    return {str(p): blake3_file_hex(p) for p in sorted(directory.rglob("*")) if p.is_file()}


def stop_when(application: WritingApplication, seen: Callable[[], bool]) -> None:
    """Stop the application at a moment when something is to be seen, and still is."""
    deadline_s = time.monotonic() + 60
    while True:
        while not seen():
            assert time.monotonic() < deadline_s
        application.stop()
        if seen():
            return
        application.go_on()


def modified_ns(directory: Path, name: str) -> int:
    """Give the time of a file of the only index; 0 where there is none."""
    return max((path.stat().st_mtime_ns for path in directory.glob(f"*/{name}")), default=0)


def in_flush(directory: Path) -> bool:
    """Tell whether an index is half rewritten: its header is newer than its pickle."""
    return modified_ns(directory, "header.bin") > modified_ns(directory, "index_metadata.pickle")


@dataclass
class Figures:
    """What became of some copies, and what the application felt of it."""

    counts: Counter[str] = field(default_factory=Counter)
    holds_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)
    copied_s: list[float] = field(default_factory=list)

    def tell(self) -> None:
        """Print them."""
        for name, number in sorted(self.counts.items()):
            print(f"{number:6d} {name}")
        rows = {"holds": self.holds_s, "calls alone": self.alone_s, "with copies": self.copied_s}
        for name, durations in rows.items():
            ordered = sorted(durations)
            longest = ", ".join(f"{1000 * duration:.1f}" for duration in ordered[-3:])
            # Every second call is a short delete, so the median would be of neither kind.
            quartile = 1000 * ordered[3 * len(ordered) // 4]
            print(f"{len(ordered):6d} {name}: quartile {quartile:.1f} ms, longest {longest} ms")


def copy_in_a_round(copier: Copier, copies: int, figures: Figures) -> None:
    """Copy while an application writes; check every copy after it was killed.

    Checking takes more of the machine than copying: what the application feels of copies shows
    only while nothing is checked.
    """
    kept: list[tuple[int, Path]] = []
    with WritingApplication(copier.directory, PLAN) as application:
        application.wait_for(20)
        figures.alone_s += application.durations_s()
        start = application.calls
        for turn in range(copies):
            reported = application.calls
            answer = copier.copy()
            figures.counts["under lock" if answer["under_lock"] else "without lock"] += 1
            figures.counts["attempts"] += answer["attempts"]
            figures.holds_s.append(answer["locked_s"])
            if answer["consistent"]:
                flushed = any(path.endswith(PICKLE) for path in answer["changed"])
                figures.counts["with a newer index"] += flushed
                place = copier.target.with_name(f"kept-{turn}")
                kept.append((reported, shutil.copytree(copier.target, place)))
            else:
                figures.counts[f"given up: {answer['reason']}"] += 1
        figures.copied_s += application.durations_s(start)
        # Calls grow longer with the collection, so it is left alone once more.
        start = application.calls
        application.wait_for(start + 20)
        figures.alone_s += application.durations_s(start + 1)
    newest = 0
    for turn, (reported, place) in enumerate(kept):
        prefix = checked_prefix(replace(copier, target=place), figures)
        # As of then: nothing that was done before the copy is missing, and nothing goes back.
        if prefix is not None:
            assert prefix >= max(reported, newest)
            newest = prefix
            if turn % 12 == 0:
                assert replace(copier, target=place).opened_prefix() == prefix
        shutil.rmtree(place)


def checked_prefix(copier: Copier, figures: Figures) -> int | None:
    """Verify and recognise a copy; None if verification refused it."""
    try:
        prefix = copier.verified_prefix()
    except ChromasealError as error:
        figures.counts[f"refused: {error.message}"] += 1
        return None
    figures.counts["verified and recognised"] += 1
    return prefix


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(max(120, 15 * COPIES))
def test_every_copy_is_one_state(tmp_path: Path, sandbox: ProcessSandbox) -> None:
    """Copies of a busy directory: each verifies, and is what some number of calls left."""
    figures = Figures()
    for start in range(0, COPIES, ROUND):
        folder = tmp_path / str(start)
        folder.mkdir()
        copier = Copier(folder / "live", folder / "copy", sandbox)
        copy_in_a_round(copier, min(ROUND, COPIES - start), figures)
        shutil.rmtree(folder)
    figures.tell()
    assert figures.counts["verified and recognised"] >= 0.96 * COPIES
    assert figures.counts["with a newer index"]
    assert not [name for name in figures.counts if name.startswith("refused")]
    assert max(figures.holds_s) <= LONGEST_HOLD_S


@pytest.mark.slow
def test_a_writer_stopped_in_a_flush_is_waited_for(
    copier: Copier, application: WritingApplication
) -> None:
    """While the index is half rewritten there is no copy; once the writer goes on, there is."""
    for _ in range(2):
        stop_when(application, lambda: in_flush(copier.directory))
        answer = copier.copy(attempts=4)
        assert not answer["consistent"]
        assert "being flushed" in answer["reason"]
        application.go_on()
        calls = application.calls
        assert copier.copy()["consistent"]
        assert copier.verified_prefix() >= calls


@pytest.mark.slow
def test_a_writer_stopped_in_a_transaction_is_waited_for(
    copier: Copier, application: WritingApplication
) -> None:
    """A transaction that does not end is no state; when its writer dies, that is told."""
    journal = copier.directory / "chroma.sqlite3-journal"

    def hot() -> bool:
        try:
            return journal.read_bytes()[:1] not in {b"", b"\0"}
        except FileNotFoundError:
            return False

    stop_when(application, hot)
    answer = copier.copy(attempts=4)
    assert not answer["consistent"]
    assert "transaction" in answer["reason"]
    application.kill()
    before = content(copier.directory)
    with pytest.raises(Damaged) as refused:
        copier.copy()
    assert refused.value.kind == "hot-journal"
    assert content(copier.directory) == before


@pytest.mark.slow
def test_a_flush_whose_writer_died_is_told(copier: Copier, application: WritingApplication) -> None:
    """An index that nobody will finish is no state, and that is told."""
    stop_when(application, lambda: in_flush(copier.directory))
    application.kill()
    before = content(copier.directory)
    with pytest.raises(Damaged) as refused:
        copier.copy(attempts=4)
    assert refused.value.kind == "unfinished-flush"
    assert content(copier.directory) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [DATABASE, "data_level0.bin"])
def test_a_write_that_takes_its_time_is_not_missed(
    copier: Copier, application: WritingApplication, name: str
) -> None:
    """What a write changes long after it gave a file its time is in the next copy.

    A page of a mapping gets its time when it is first written, and keeps it: like one ``write``
    that is slow.
    """
    application.end()
    assert copier.copy()["consistent"]
    journal = copier.directory / f"{DATABASE}-journal"
    (torn,) = copier.directory.rglob(name)
    (pickle,) = copier.directory.rglob(PICKLE)
    with torn.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        journal.write_bytes(b"in use")
        mapped[_APPLICATION_ID] ^= 1
        wait_until(lambda: settled(stamp_of(torn.stat()), time.time_ns()))
        assert not copier.copy(attempts=1)["consistent"]
        mapped[_APPLICATION_ID] ^= 1
    pickle.write_bytes(pickle.read_bytes())
    journal.unlink()
    assert copier.copy()["consistent"]
    assert [*content(copier.target).values()] == [*content(copier.directory).values()]


def test_what_was_doubted_and_not_reached_is_compared_later(tmp_path: Path) -> None:
    """A flush gives no reason to doubt twice: what time was too short for stays in doubt."""
    live, folder, index = tmp_path / "live", str(uuid.UUID(int=0)), sorted(INDEX_FILES)
    (live / folder).mkdir(parents=True)
    paths = [DATABASE, *(f"{folder}/{name}" for name in index)]
    for path in paths:
        (live / path).write_bytes(b"before")
    stamps = {path: stamp_of((live / path).stat()) for path in paths}
    copy = LiveCopy(
        live,
        tmp_path / "copy",
        known={},
        budget_s=BUDGET_S,
        clock=SystemClock(),
        open_files=ProcOpenFiles(),
    )
    at_rest = max(stamp.modified_ns for stamp in stamps.values()) + 2 * TIME_GRAIN_NS
    seen = Observation(change_counter=1, journal=False, files=stamps, seen_ns=at_rest)
    assert copy._update(seen, lambda: True)
    # A slow write changes what comes after the pickle, and its times say nothing of that.
    (live / folder / index[-1]).write_bytes(b"after")
    pickle = f"{folder}/{PICKLE}"
    flushed = replace(stamps[pickle], inode=0)
    seen = replace(seen, files={**stamps, pickle: flushed})
    assert not copy._update(seen, lambda: copy._copied.get(pickle) != flushed)
    assert copy._update(seen, lambda: True)
    assert (tmp_path / "copy" / folder / index[-1]).read_bytes() == b"after"


@pytest.mark.slow
def test_copying_under_the_lock(copier: Copier, application: WritingApplication) -> None:
    """Where the application never rests, copies made under the lock are states too."""
    prefixes, holds_s = [], []
    for _ in range(4):
        copy = live_copy(copier, BUDGET_S)
        answer = copy.run(attempts=20)
        assert answer["consistent"]
        assert answer["under_lock"]
        holds_s.append(answer["locked_s"])
        calls = application.calls
        prefixes.append(copier.verified_prefix())
        application.wait_for(calls + 2)
    assert prefixes == sorted(set(prefixes))
    assert max(holds_s) <= LONGEST_HOLD_S


@pytest.mark.slow
def test_what_does_not_fit_into_the_budget(copier: Copier, application: WritingApplication) -> None:
    """The lock is let go when the budget is used up, and the reason is told."""
    application.end()
    database = copier.directory / "chroma.sqlite3"
    # Times to come never tell whether a file was written: it is compared under the lock.
    later_s = time.time_ns() // 10**9 + 3_600
    os.utime(database, (later_s, later_s))
    answer = live_copy(copier, 0.0).run(attempts=1)
    assert not answer["consistent"]
    assert "under the lock" in answer["reason"]
    answer = live_copy(copier, BUDGET_S).run(attempts=1)
    assert (answer["consistent"], answer["copied_bytes"]) == (True, 0)
    assert str(database.name) not in answer["stats"]


def live_copy(copier: Copier, budget_s: float) -> LiveCopy:
    """Give a copy that is always made under the lock."""
    return LiveCopy(
        copier.directory,
        copier.target,
        known={},
        budget_s=budget_s,
        clock=SystemClock(),
        open_files=ProcOpenFiles(),
        attempts_without_lock=0,
    )


@pytest.mark.slow
def test_an_idle_directory_is_copied_once(copier: Copier, application: WritingApplication) -> None:
    """Of what did not change nothing is read or written, and the original is left as it was."""
    application.wait_for(8)
    application.end()
    assert copier.copy()["consistent"]
    before = content(copier.directory)
    # The known stamps of files that had only just been written are not trusted.
    copier.copy()
    again = copier.copy()
    assert (again["consistent"], again["copied_bytes"], again["changed"]) == (True, 0, [])
    assert (again["attempts"], again["under_lock"]) == (1, False)
    assert content(copier.directory) == before
    assert [*content(copier.target).values()] == [*before.values()]
