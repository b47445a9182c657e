"""Working copies that stay open from one compaction to the next."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromaseal.adapters.chroma.soundness import check_full_text_in_place
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.compaction import open_copies
from chromaseal.compaction.open_copies import OpenCopies
from chromaseal.compaction.outcome import Compaction
from chromaseal.delta.model import Changes
from chromaseal.errors import Damaged, Unsupported
from chromaseal.fleet.turn import Terms, compact_in_turn
from chromaseal.sandbox import Limits, Plain, Progress, Sandbox
from chromaseal.seal.page_table import stamp_of
from chromaseal.seal.quiet import DATABASE
from chromaseal.settings import file_path
from chromaseal.telemetry.emit import observed
from chromaseal.testing.oracle import Rows, assert_same_rows, change
from chromaseal.testing.recording_observer import RecordingObserver
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

pytestmark = pytest.mark.slow

MERGER = "chromaseal.adapters.chroma.merge_on"


@dataclass
class Mergers:
    """The processes that were begun, which can be looked at and killed."""

    begun: list[ProcessSandbox] = field(default_factory=list)

    def begin(self) -> Sandbox:
        """Begin one."""
        self.begun.append(ProcessSandbox(preload=[MERGER], fork=False))
        return self.begun[-1]

    def pid(self) -> int:
        """Give the process that was begun last."""
        process = self.begun[-1]._process
        assert process is not None
        return process.pid

    def alive(self) -> int:
        """Count those that run."""
        return sum(m._process is not None and m._process.poll() is None for m in self.begun)


@dataclass
class Held:
    """A vault whose working copies stay open, and what must be in it."""

    vault: Vault
    mergers: Mergers
    copies: OpenCopies
    rows: dict[str, Rows] = field(default_factory=dict)

    def add(self, changes: Changes, collection: str = "notes") -> Compaction:
        """Write a run and compact it."""
        self.vault.write({collection: changes})
        change(self.rows.setdefault(collection, {}), changes)
        (done,) = self.vault.compact([collection])
        return done

    def check(self, collection: str = "notes") -> None:
        """The newest version is sound and has the records that it must have."""
        assert self.vault.verify(collection, level="deep").sound
        with self.vault.reader(collection) as reader:
            assert_same_rows(reader.records(), self.rows[collection])

    def workspaces(self) -> list[Path]:
        """Give what is there to work in."""
        return [path for path in (self.vault.parts.checkouts._work).iterdir() if path.is_dir()]


@pytest.fixture
def open_held(vault_at: Callable[[], Vault]) -> Iterator[Callable[..., Held]]:
    """Give a function that opens vaults whose working copies stay open."""
    opened: list[Held] = []

    def open_one(most: int = 2) -> Held:
        vault, mergers = vault_at(), Mergers()
        copies = OpenCopies(vault.parts, mergers.begin, most=most)
        vault._copies = copies
        opened.append(Held(vault, mergers, copies))
        return opened[-1]

    yield open_one
    for held in opened:
        held.copies.close()


def test_a_copy_stays_open_and_every_version_is_right(open_held: Callable[..., Held]) -> None:
    """Upserts, updates and deletes, one version each, by one process."""
    held = open_held()
    held.add(upserts(*(record(f"r{n}", n, year=n) for n in range(20))))
    first = held.mergers.pid()
    held.add(upserts(record("r3", 33, document=None), record("new", 4)))
    held.add(Changes(updates={"r5": {"year": None, "month": "may"}}, deletes=["r0"]))
    held.check()
    assert (held.mergers.pid(), len(held.mergers.begun)) == (first, 1)
    assert [each.version.number for each in held.vault.log("notes")] == [3, 2, 1]


def test_an_index_is_flushed_while_it_is_open(open_held: Callable[..., Held]) -> None:
    """More records than ChromaDB's log holds: its index files change below the copy."""
    held = open_held()
    for turn in range(5):
        held.add(upserts(*(record(f"{turn}-{n}", n, dimension=8) for n in range(400))))
    version = held.vault.version("notes")
    assert any(entry.path.endswith("data_level0.bin") for entry in version.manifest.files)
    held.check()
    assert len(held.mergers.begun) == 1


def test_what_somebody_else_published_is_built_upon(
    open_held: Callable[..., Held], vault_at: Callable[[], Vault]
) -> None:
    """A copy of a version that is not the newest is thrown away, before anything is merged."""
    held, other = open_held(), vault_at()
    held.add(upserts(record("mine", 1)))
    theirs = upserts(record("theirs", 2))
    other.write({"notes": theirs})
    other.compact(["notes"])
    change(held.rows["notes"], theirs)
    heard = RecordingObserver()
    with observed(heard):
        held.add(upserts(record("mine", 3)))
    # What is merged into the wrong version fails verification, and a second merge would mend it.
    assert heard.step("merge").outcome == "ok"
    assert heard.step("verify").outcome == "ok"
    held.check()
    assert len(held.mergers.begun) == 2
    assert held.mergers.alive() == 1


def test_a_killed_process_costs_no_run(open_held: Callable[..., Held]) -> None:
    """Killed between two merges, it is begun again."""
    held = open_held()
    held.add(upserts(record("a", 1)))
    os.kill(held.mergers.pid(), signal.SIGKILL)
    held.mergers.begun[-1]._process.wait()  # type: ignore[union-attr]
    done = held.add(upserts(record("b", 2)))
    assert (len(done.merged), done.failed) == (1, {})
    held.check()


class _Unsettled:
    """A sandbox in which no open directory can be copied."""

    def __init__(self, inner: Sandbox, *, refuses: bool) -> None:
        self._inner = inner
        self._refuses = refuses
        self.asked = 0

    def start(self) -> None:
        """Begin nothing."""

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Run a job, and say of a copy that it is none, or cannot be."""
        if job == "copy-live":
            self.asked += 1
            if self._refuses:
                raise Unsupported("the disk has no locks", kind="cannot-lock")
        answer = self._inner.run(job, request, limits=limits, progress=progress)
        return {**answer, "consistent": False} if job == "copy-live" else answer

    def close(self) -> None:
        """End nothing."""


@pytest.mark.parametrize("refuses", [False, True])
def test_what_cannot_be_copied_open_is_closed(
    open_held: Callable[..., Held], *, refuses: bool
) -> None:
    """Then the directory itself is published, as a fresh copy would be."""
    held = open_held()
    unsettled = _Unsettled(held.vault.parts.sandbox, refuses=refuses)
    held.copies._parts = replace(held.vault.parts, sandbox=unsettled)
    held.add(upserts(record("a", 1)))
    held.add(upserts(record("b", 2)))
    held.check()
    assert (unsettled.asked, len(held.mergers.begun), held.mergers.alive()) == (2, 2, 0)


def test_a_process_may_write_little_more_than_its_work_needs(
    open_held: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged index fills no disk; where more is to be merged than it may, another begins."""
    held = open_held()
    held.add(upserts(record("a", 1)))
    limits = Path(f"/proc/{held.mergers.pid()}/limits").read_text()
    (most,) = re.findall(r"Max file size +(\d+)", limits)
    assert int(most) < 3 << 30
    monkeypatch.setattr(open_copies, "_CHANGES", 1)
    held.add(upserts(record("b", 2)), "words")
    for turn in range(2):
        held.add(upserts(*(record(f"{turn}-{n}", n) for n in range(40))), "words")
    assert (len(held.mergers.begun), held.mergers.alive()) == (3, 2)
    held.check("words")


def test_what_else_is_in_a_directory_stays_in_it(
    open_held: Callable[..., Held], tmp_path: Path
) -> None:
    """A directory that was pushed may have files that are not ChromaDB's."""
    held = open_held()
    held.add(upserts(record("a", 1)))
    directory = tmp_path / "mine"
    held.vault.pull("notes", directory)
    (directory / "README.txt").write_text("not ChromaDB's")
    held.vault.push(directory, "notes")
    held.add(upserts(record("b", 2)))
    held.add(upserts(record("c", 3)))
    files = {entry.path for entry in held.vault.version("notes").manifest.files}
    assert {"README.txt", "chroma.sqlite3"} < files
    held.check()


def test_a_copy_that_went_bad_is_no_delta_s_fault(open_held: Callable[..., Held]) -> None:
    """The run is merged into a fresh one, and nothing is set aside."""
    held = open_held()
    held.add(upserts(*(record(f"r{n}", n) for n in range(5))))
    (workspace,) = held.workspaces()
    with sqlite3.connect(workspace / "open" / "chroma.sqlite3") as rotten:
        rotten.execute("DELETE FROM embeddings WHERE id = 3")
    rotten.close()
    done = held.add(upserts(record("b", 2)))
    assert (len(done.merged), done.failed) == (1, {})
    assert (len(held.mergers.begun), held.mergers.alive()) == (2, 1)
    held.check()


def test_a_copy_that_cannot_go_on_is_given_back(open_held: Callable[..., Held]) -> None:
    """Where its version can no longer be had, its process and its files go all the same."""
    held = open_held()
    held.add(upserts(record("a", 1)))
    held.vault.parts.checkouts.forget(held.vault.version("notes"))
    layers = file_path(held.vault.url) / "notes" / "layer"
    shutil.move(layers, layers.with_name("gone"))
    with pytest.raises(Damaged):
        held.add(upserts(record("b", 2)))
    assert (held.mergers.alive(), held.workspaces()) == (0, [])
    shutil.move(layers.with_name("gone"), layers)
    held.vault.compact(["notes"])
    held.check()


def test_no_more_copies_are_open_than_may_be(open_held: Callable[..., Held]) -> None:
    """The one that was used longest ago goes, with its process and its files."""
    held = open_held(most=1)
    for turn in range(2):
        for name in ("notes", "words"):
            held.add(upserts(record(f"r{turn}", turn)), name)
            assert held.mergers.alive() == 1
            assert len(held.workspaces()) == 1
    held.check("notes")
    held.check("words")
    held.vault.close()
    assert (held.mergers.alive(), held.workspaces()) == (0, [])


def test_copies_that_take_the_last_room_go(
    open_held: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk holds nothing up that would have room without them."""
    held = open_held()
    held.add(upserts(record("a", 1)))
    changes = upserts(record("b", 2))
    held.vault.write({"notes": changes})
    change(held.rows["notes"], changes)

    def left_bytes() -> int:
        return 0 if held.mergers.alive() else 1 << 40

    monkeypatch.setattr(held.vault.parts.checkouts, "free_bytes", left_bytes)
    (done,) = compact_in_turn(held.vault, ["notes"], Terms("me", 60)).done
    assert len(done.merged) == 1
    held.check()


def test_a_bad_delta_does_not_stay_in_a_copy(open_held: Callable[..., Held]) -> None:
    """A merge that fails takes its directory with it."""
    held = open_held()
    held.add(upserts(record("a", 1)))
    vault = held.vault
    vault.write({"notes": upserts(record("b", 2))}, run_id="lost")
    key = vault.run("lost").parts["notes"].delta_key
    (file_path(vault.url) / key).unlink()
    (done,) = vault.compact(["notes"])
    assert list(done.failed) == ["lost"]
    held.add(upserts(record("c", 3)))
    held.check()


def test_vectors_are_what_was_written(open_held: Callable[..., Held]) -> None:
    """Bit for bit, through several merges of an open copy."""
    held = open_held()
    written = {f"r{n}": record(f"r{n}", n, dimension=16) for n in range(6)}
    for each in written.values():
        held.add(upserts(each))
    with held.vault.reader("notes") as reader:
        for found in reader.records():
            assert np.array_equal(found.embedding, written[found.id].embedding)


def test_texts_are_checked_in_place_and_nothing_is_written(open_held: Callable[..., Held]) -> None:
    """Not a byte, not a time, no file beside; and a text that the index has otherwise is found."""
    held = open_held()
    held.add(upserts(*(record(f"r{n}", n) for n in range(30))))
    (workspace,) = held.workspaces()
    database = workspace / "copy" / "chroma.sqlite3"
    before = database.read_bytes(), stamp_of(database.stat())
    assert check_full_text_in_place(database) == ""
    assert (database.read_bytes(), stamp_of(database.stat())) == before
    assert not [path for path in database.parent.iterdir() if path.name.startswith(f"{DATABASE}-")]
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE embedding_fulltext_search_content SET c0 = 'another' WHERE id = 3")
    assert "malformed" in check_full_text_in_place(database)


def test_what_is_kept_is_looked_at_once_it_is_kept(open_held: Callable[..., Held]) -> None:
    """Nobody waits for that; where it was rotten then, the next version is looked at whole."""
    held = open_held()
    held.add(upserts(*(record(f"r{n}", n) for n in range(900))))
    copy = held.copies._idle["notes"]
    looked = copy._checks.take(DATABASE)
    assert looked
    rotten: Future[bool] = Future()
    rotten.set_result(False)
    copy._checks._begun[DATABASE] = rotten
    heard = RecordingObserver()
    with observed(heard):
        held.add(upserts(record("b", 2)))
    assert "verified as a whole" in [event.name for event in heard.events]
    held.check()
