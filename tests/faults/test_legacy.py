"""The process dies, or is not answered, at every operation of an import, an adoption, an export.

What is there then is nothing or the whole; the same again ends well, and once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.formats.legacy_pipeline import OldBucket, OldReader, OldWriter, make_directory

from chromaseal.adapters.local.object_store import ForeignDirectory
from chromaseal.adapters.obstore.object_store import ForeignBucket, ObstoreObjectStore
from chromaseal.errors import ChromasealError, Conflict, Unavailable
from chromaseal.legacy.bucket import LegacyBucket
from chromaseal.legacy.deltas import ADOPTED, KNOWN, LegacyRun, adopt, runs_in
from chromaseal.legacy.exporting import export
from chromaseal.legacy.importing import import_snapshot
from chromaseal.legacy.mirror import bring_on
from chromaseal.run.model import Run
from chromaseal.snapshot.version_id import parse
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.killing import KillingStore
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.oracle import assert_same_rows
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

FIRST, RUN = "20251101_120000", "1f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f1"
RECORDS = [record(f"r{n}", n, image_id="image", receipt_id=1) for n in range(3)]
MOST_OPERATIONS = 60
WRITING = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST_REPLY, Fault.FALSE_REFUSAL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a ChromaDB directory of the collection ``lines``."""
    return make_directory(tmp_path_factory.mktemp("old") / "lines", "lines", RECORDS)


def places(fault: Fault, act: Callable[[FaultyStore, int], None]) -> Iterator[int]:
    """Do something with a fault at each operation in turn, until none fires any more."""
    for after in itertools.count():
        faulty = FaultyStore(ForeignBucket("memory://"))
        act(faulty, after)
        if not faulty.fired:
            assert after, f"{fault} never fired"
            return
        assert after < MOST_OPERATIONS
        yield after


def dies(act: Callable[[], object]) -> None:
    """Do something that may fail in our words, or not live to its end."""
    with contextlib.suppress(ChromasealError, SimulatedCrash):
        act()


@pytest.mark.slow
@pytest.mark.parametrize("fault", WRITING)
def test_an_import_that_dies_anywhere_is_done_again(
    fault: Fault, made: Path, tmp_path: Path, remembering: RememberingSandbox
) -> None:
    """Afterwards there is one version, with every record."""
    old = OldBucket(ForeignBucket("memory://"))
    OldWriter(old).snapshot("lines", FIRST, made, compressed=True)
    bucket = LegacyBucket(old.store)

    def act(faulty: FaultyStore, after: int) -> None:
        machine = Machine(faulty, tmp_path / f"cache{after}", tmp_path / f"app{after}", remembering)
        parts = machine.vault.parts
        faulty.plan(fault, after=after)
        dies(lambda: import_snapshot(parts, bucket, "lines"))
        faulty.heal()
        imported = import_snapshot(parts, bucket, "lines")
        assert imported is not None
        assert imported.version.manifest.number == 1
        assert imported.version.manifest.records.count == len(RECORDS)

    assert len(list(places(fault, act))) > 3


@pytest.mark.parametrize("fault", [Fault.NO_ANSWER, Fault.CUT_READ, Fault.FLIPPED_BIT])
def test_a_bucket_that_fails_gives_nothing_or_the_whole(
    fault: Fault, made: Path, tmp_path: Path, remembering: RememberingSandbox
) -> None:
    """An archive has sizes and a checksum of its own, which are believed before its bytes are."""

    def act(faulty: FaultyStore, after: int) -> None:
        OldWriter(OldBucket(faulty)).snapshot("lines", FIRST, made, compressed=True)
        machine = Machine(
            ObstoreObjectStore("memory://"), tmp_path / "cache", tmp_path / "app", remembering
        )
        vault = machine.vault
        bucket = LegacyBucket(faulty)
        faulty.plan(fault, after=after)
        dies(lambda: import_snapshot(vault.parts, bucket, "lines"))
        faulty.heal()
        imported = import_snapshot(vault.parts, bucket, "lines")
        assert imported is not None
        assert imported.version.manifest.records.count == len(RECORDS)
        assert imported.version.manifest.number == 1

    assert list(places(fault, act))


@pytest.mark.parametrize("fault", [*WRITING, Fault.NO_ANSWER, Fault.STALL])
def test_an_export_that_dies_anywhere_shows_whole_snapshots_only(
    fault: Fault, vault: Vault, tmp_path: Path
) -> None:
    """A reader has the old one or the new one; who comes again brings the new one."""
    seen: set[str] = set()
    for number in range(2):
        vault.write({"lines": upserts(record("r", number, n=number), record(f"r{number}", 1))})
        vault.compact(["lines"])
    older, newer = (entry.version.version_id for entry in [*vault.log("lines")][::-1])
    first = vault.version("lines", older)
    files = {file.path for file in vault.version("lines", newer).manifest.files}

    def act(faulty: FaultyStore, after: int) -> None:
        export(vault.parts, first, faulty)
        faulty.plan(fault, after=after)
        dies(lambda: bring_on(vault.parts, "lines", faulty))
        faulty.heal()
        reader = OldReader(OldBucket(faulty.inner), knows_archives=False)
        target = tmp_path / f"{fault}{after}"
        found = {p.relative_to(target) for p in reader.download("lines", target).rglob("*.*")}
        assert {"chroma.sqlite3", ".snapshot_hash"} <= {path.as_posix() for path in found}
        seen.add(reader.snapshot_id("lines") or "")
        bring_on(vault.parts, "lines", faulty)
        whole = reader.download("lines", tmp_path / f"{fault}{after}-whole")
        assert {p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file()} == {
            *files,
            ".snapshot_hash",
        }

    assert len(list(places(fault, act))) > 3
    # What did not reach the writer was settled by reading back, so that nothing failed.
    assert len(seen) == (1 if fault in {Fault.LOST_REPLY, Fault.FALSE_REFUSAL} else 2)


def test_a_pointer_that_moved_on_during_an_export_stays(vault: Vault) -> None:
    """Another exporter was faster, with a newer version: its readers do not go back."""
    old = OldBucket(ForeignBucket("memory://"))
    for number in range(2):
        vault.write({"lines": upserts(record("r", number))})
        vault.compact(["lines"])
    newer = parse(vault.version("lines").version_id).existing_name

    def overtaken(step: str, done: int, _total: int) -> None:
        if step == "store" and done == 0:
            export(vault.parts, vault.version("lines"), old.store)

    with pytest.raises(ChromasealError) as caught:
        export(vault.parts, vault.version("lines", "1"), old.store, progress=overtaken)
    assert caught.value.kind == "newer-there"
    assert OldReader(old, knows_archives=True).snapshot_id("lines") == newer


class Busy(ForeignBucket):
    """A bucket in which a compactor moves a pointer before others can, so many times.

    Args:
        times: how often.
    """

    def __init__(self, times: int) -> None:
        super().__init__("memory://")
        self.left = times
        self.moved = 0

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Move it, and refuse."""
        if self.left:
            self.left -= 1
            self.moved += 1
            super().replace(key, f"2025{self.moved:04d}_000000".encode(), etag=etag)
        super().replace(key, body, etag=etag)


@pytest.mark.parametrize(("times", "kind"), [(3, ""), (20, "too-many-races")])
def test_an_export_that_loses_races_waits_and_tries_again(
    vault: Vault, times: int, kind: str
) -> None:
    """Not for ever: a compactor that goes on writing there has to be stopped first."""
    bucket, clock = Busy(times), ManualClock()
    bucket.create("lines/snapshot/latest-pointer.txt", b"20250000_000000")
    vault.write({"lines": upserts(record("r", 1))})
    vault.compact(["lines"])
    begun_s = clock.monotonic_s()
    parts = replace(vault.parts, clock=clock)
    with pytest.raises(Conflict) if kind else contextlib.nullcontext() as caught:
        assert export(parts, vault.version("lines"), bucket).new
    assert (caught.value.kind if caught else "") == kind
    assert bucket.moved == times
    assert clock.monotonic_s() > begun_s
    named = bucket.get("lines/snapshot/latest-pointer.txt").body.decode()
    newest = parse(vault.version("lines").version_id).existing_name
    assert (named == newest) is not bool(kind)


@pytest.mark.parametrize("landed", [False, True])
def test_a_killed_export_is_done_again(vault: Vault, tmp_path: Path, *, landed: bool) -> None:
    """SIGKILL at every operation, into a directory: the pointer names a whole snapshot or none."""
    vault.write({"lines": upserts(*RECORDS)})
    vault.compact(["lines"])
    version = vault.version("lines")
    for at in itertools.count():
        target = ForeignDirectory(tmp_path / f"bucket{at}")
        child = os.fork()
        if not child:
            export(vault.parts, version, KillingStore(target, at=at, landed=landed))
            os._exit(0)
        exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reader = OldReader(OldBucket(target), knows_archives=True)
        named = reader.snapshot_id("lines")
        exported = export(vault.parts, version, target)
        assert exported.new == (named is None)
        whole = reader.download("lines", tmp_path / f"read{at}")
        assert {p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file()} == {
            *(file.path for file in version.manifest.files),
            ".snapshot_hash",
        }
        if exit_code == 0:
            break
        assert exit_code == -signal.SIGKILL
    assert at > len(version.manifest.files)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_an_adoption_that_dies_anywhere_is_done_again(
    fault: Fault, made: Path, vault: Vault
) -> None:
    """One run, with every record, whatever was stored before."""
    old = OldBucket(ForeignBucket("memory://"))
    prefix = OldWriter(old).delta("lines", RUN, made)
    bucket = LegacyBucket(old.store)
    numbers = itertools.count()

    def act(faulty: FaultyStore, after: int) -> None:
        run = LegacyRun(f"run-{fault}-{next(numbers)}", {"lines": prefix})
        faulty.inner = vault.parts.store
        parts = replace(vault.parts, store=faulty)
        faulty.plan(fault, after=after)
        dies(lambda: adopt(parts, bucket, run))
        faulty.heal()
        assert adopt(parts, bucket, run).status in {ADOPTED, KNOWN}
        assert adopt(parts, bucket, run).status == KNOWN
        assert vault.run(run.run_id).parts["lines"].changes == len(RECORDS)

    assert len(list(places(fault, act))) > 2
    vault.compact(["lines"])
    with vault.reader("lines") as reader:
        assert_same_rows(reader.records(), {each.id: each for each in RECORDS})


def test_who_died_while_taking_over_holds_up_nobody(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas were stored for two collections, and the pipeline has merged one of them since."""
    old = OldBucket(ForeignBucket("memory://"))
    for name in ("lines", "words"):
        made = make_directory(tmp_path / "made" / name, name, RECORDS)
        OldWriter(old).delta(name, RUN, made)
    bucket = LegacyBucket(old.store)
    ((both,), _) = runs_in(bucket)

    def no_answer(run: Run) -> bool:
        raise Unavailable(f"{run.run_id} cannot be added", kind="ledger-unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(vault.parts.ledger, "add", no_answer)
        with pytest.raises(Unavailable):
            adopt(vault.parts, bucket, both)
    one = LegacyRun(RUN, {"lines": both.prefixes["lines"]})
    assert adopt(vault.parts, bucket, one).status == ADOPTED
    assert vault.compact()[0].merged == (RUN,)
