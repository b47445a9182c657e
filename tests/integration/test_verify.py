"""Verdicts on directories, versions and deltas: sound where nothing is wrong, else why not."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.chroma.soundness import deep_look
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.clock import SystemClock
from chromaseal.composition.directories import verify_directory
from chromaseal.errors import Damaged, NotFound, RefusedInput, Unavailable
from chromaseal.run.model import RunState
from chromaseal.sandbox import Sandbox
from chromaseal.seal.examine import Wanted, examine
from chromaseal.seal.open_files import Holder
from chromaseal.seal.quiet import DATABASE, HEADER
from chromaseal.seal.verdict import Level, Verdict
from chromaseal.snapshot import chain
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.command_line import SampleVault
from chromaseal.testing.machine import InterruptedSandbox
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

LEVELS = list(Level)


class NobodyThere:
    """Open files of a machine on which no process has any."""

    def holders(self, directory: Path) -> list[Holder]:
        """Name nobody."""
        del directory
        return []


@pytest.fixture
def directory(states: list[Path], tmp_path: Path) -> Path:
    """Give a copy of a directory with a flushed index and a log."""
    return shutil.copytree(states[-1], tmp_path / "directory")


def look(directory: Path, level: Level, sandbox: Sandbox, wanted: Wanted) -> Verdict:
    """Look at a directory in the session's own child process."""
    return examine(
        directory,
        level,
        sandbox=sandbox,
        open_files=NobodyThere(),
        clock=SystemClock(),
        wanted=wanted,
    )


def wrong(verdict: Verdict) -> set[str]:
    """Give the names of the checks that did not pass."""
    return {finding.check for finding in verdict.failed}


def files_of(directory: Path) -> dict[str, tuple[int, int]]:
    """Give size and time of every file."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_healthy_directory_is_sound_and_stays_as_it_is(
    directory: Path, sandbox: ProcessSandbox
) -> None:
    """Every level passes, each with more checks than the one before, and nothing is written."""
    before = files_of(directory)
    verdicts = [look(directory, level, sandbox, Wanted()) for level in LEVELS]
    assert all(verdict.sound for verdict in verdicts), [v.failed for v in verdicts]
    counts = [len(verdict.findings) for verdict in verdicts]
    assert counts == sorted(set(counts))
    assert all(f.evidence for verdict in verdicts for f in verdict.findings)
    checks = {finding.check for finding in verdicts[-1].findings}
    assert checks >= {"chromadb-gets", "chromadb-finds", "chromadb-finds-all", "reachable"}
    assert files_of(directory) == before


def test_each_level_sees_what_it_looks_at(directory: Path, sandbox: ProcessSandbox) -> None:
    """A missing file at presence, a cut one at quick, a text that the index lacks at deep."""
    whole = directory.with_name("whole")
    shutil.copytree(directory, whole)
    (header,) = directory.glob(f"*/{HEADER}")
    header.unlink()
    assert wrong(look(directory, Level.PRESENCE, sandbox, Wanted())) == {"index-files"}

    cut = shutil.copytree(whole, whole.with_name("cut"))
    (links,) = cut.glob("*/link_lists.bin")
    links.write_bytes(links.read_bytes()[:-4])
    assert look(cut, Level.PRESENCE, sandbox, Wanted()).sound
    assert wrong(look(cut, Level.QUICK, sandbox, Wanted())) == {"index-structure"}
    deep = look(cut, Level.DEEP, sandbox, Wanted())
    assert wrong(deep) == {"index-structure", "chromadb"}, "ChromaDB must not open such files"

    silent = shutil.copytree(whole, whole.with_name("silent"))
    with closing(sqlite3.connect(silent / DATABASE)) as db, db:
        db.execute("UPDATE embedding_fulltext_search_content SET c0 = 'other' WHERE id = 1")
    assert look(silent, Level.QUICK, sandbox, Wanted()).sound
    assert wrong(look(silent, Level.DEEP, sandbox, Wanted())) == {"full-text"}


@pytest.mark.parametrize("number", [0, -5])
def test_a_number_before_the_log_began_is_found(
    directory: Path, sandbox: ProcessSandbox, number: int
) -> None:
    """ChromaDB counts from one; a row that was changed before that is of no change."""
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        row = "(SELECT min(id) FROM embeddings)"
        db.execute(f"UPDATE embeddings SET seq_id = ? WHERE id = {row}", (number,))  # noqa: S608
    assert "types" in wrong(look(directory, Level.QUICK, sandbox, Wanted()))


@pytest.mark.parametrize("left", ["embeddings", "max_seq_id", "embeddings_queue", ""])
def test_a_collection_whose_row_is_lost_is_found_by_what_is_left(
    directory: Path, tmp_path: Path, left: str
) -> None:
    """Records, a place in the log or entries of it; of a deleted database nothing of them is."""
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        for table in {"collections", "embeddings", "max_seq_id", "embeddings_queue"} - {left}:
            db.execute(f"DELETE FROM {table}")  # noqa: S608
    lost = any("segments" in each for each in deep_look(directory, tmp_path).lost_rows)
    assert lost == bool(left)


@pytest.mark.parametrize("kind", ["child-killed", "child-timeout", "child-died"])
@pytest.mark.parametrize(("job", "check"), [("verify", "opened"), ("ask", "chromadb")])
def test_a_death_says_something_where_the_directory_may_be_why(
    directory: Path, sandbox: ProcessSandbox, job: str, check: str, kind: str
) -> None:
    """What hangs ChromaDB is never sound; what is read without it comes to an end or is killed."""

    def die() -> None:
        raise Unavailable("it is dead", kind=kind)

    def look_on() -> Verdict:
        return look(directory, Level.DEEP, InterruptedSandbox(sandbox, job, die), Wanted())

    if job == "verify" and kind != "child-died":
        with pytest.raises(Unavailable) as caught:
            look_on()
        assert caught.value.kind == kind
    else:
        assert check in wrong(look_on())


@pytest.mark.parametrize("level", LEVELS)
def test_each_check_is_told_once(directory: Path, sandbox: ProcessSandbox, level: Level) -> None:
    """Also where one is made from outside and from inside."""
    found = [finding.check for finding in look(directory, level, sandbox, Wanted()).findings]
    assert len(set(found)) == len(found)


def test_what_a_directory_must_have_is_looked_for(directory: Path, sandbox: ProcessSandbox) -> None:
    """A collection of that name, with that distance."""
    assert wrong(look(directory, Level.QUICK, sandbox, Wanted("other"))) == {"collection"}


def test_findings_name_their_collection_where_there_are_several(
    directory: Path, sandbox: ProcessSandbox
) -> None:
    """Rows of the same check could not be told apart otherwise."""
    add = "import chromadb, sys; chromadb.PersistentClient(sys.argv[1]).create_collection('other')"
    subprocess.run([sys.executable, "-c", add, str(directory)], check=True)
    verdict = look(directory, Level.QUICK, sandbox, Wanted())
    assert verdict.sound
    same_ids = [f.evidence.partition(":")[0] for f in verdict.findings if f.check == "same-ids"]
    assert sorted(same_ids) == ["notes", "other"]


def test_a_dead_child_is_a_finding(directory: Path, sandbox: ProcessSandbox) -> None:
    """Who looks at a file that no process survives gets a verdict, and no exception."""
    (directory / DATABASE).write_bytes(b"SQLite format 3\0" + b"\xff" * 8176)
    verdict = look(directory, Level.DEEP, sandbox, Wanted())
    assert not verdict.sound
    assert wrong(verdict) == {"opened", "chromadb"}


def test_no_directory_is_refused(tmp_path: Path) -> None:
    """What never was a ChromaDB directory gets no verdict."""
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(RefusedInput) as refused:
            verify_directory(place)
        assert refused.value.kind == "not-chromadb"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("at", ["", "1"])
def test_a_version_is_sound(written: Vault, level: Level, at: str) -> None:
    """Every version, at every level."""
    verdict = written.verify("notes", at=at, level=level)
    assert verdict.sound, verdict.failed
    assert verdict.level is level
    assert {finding.check for finding in verdict.findings} >= {"objects", "pin"}


def test_a_missing_object_is_named(written: Vault) -> None:
    """Presence is enough, and says which."""
    store = written.parts.store
    layer = next(iter(store.list(keys.layers("notes")))).key
    store.delete(layer)
    verdict = written.verify("notes", level=Level.PRESENCE)
    assert wrong(verdict) == {"objects"}
    assert layer in verdict.failed[0].evidence


def test_a_flipped_bit_in_an_object_is_named(written: Vault, tmp_path: Path) -> None:
    """Quick reads every object anew, whatever is kept on this machine."""
    layer = next(iter(written.parts.store.list(keys.layers("notes")))).key
    path = tmp_path / "vault" / layer
    path.chmod(0o600)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 4
    path.write_bytes(body)
    assert written.verify("notes", level="presence").sound
    verdict = written.verify("notes")
    assert wrong(verdict) == {"digests"}
    assert layer in verdict.failed[0].evidence


def test_another_model_is_found(written: Vault) -> None:
    """A version whose collection is pinned to something else is not what readers expect."""
    key = keys.collection("notes")
    pin = written.parts.store.get(key)
    body = pin.body.replace(b'"space": "l2"', b'"space": "cosine"')
    assert body != pin.body
    written.parts.store.replace(key, body, etag=pin.etag)
    assert wrong(written.verify("notes", level="presence")) == {"pin"}


def test_what_is_not_there_cannot_be_looked_at(written: Vault) -> None:
    """Neither a collection, nor a version, nor a run."""
    with pytest.raises(NotFound):
        written.verify("others")
    with pytest.raises(NotFound):
        written.verify("notes", at="7")
    with pytest.raises(NotFound):
        written.verify_run("nothing")


def test_a_version_that_leaves_meanwhile_is_not_called_damaged(
    written: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is the newest by then is looked at instead; one that was named has left."""
    # The next version shares no layer with those before.
    monkeypatch.setattr(chain, "CHAIN_LIMIT", 1)
    first = written.version("notes").version_id

    def overtaken(step: str, _done: int, _total: int) -> None:
        if step == "look for objects" and written.version("notes").version_id == first:
            written.write({"notes": upserts(record("b", 2))})
            written.compact(["notes"])
            written.gc("notes", Policy(keep_last=1))

    verdict = written.verify("notes", level=Level.PRESENCE, progress=overtaken)
    assert not verdict.failed
    assert written.version("notes").version_id in verdict.subject
    with pytest.raises(NotFound) as caught:
        written.verify("notes", at=first)
    assert caught.value.kind == "removed-version"


def test_a_run_is_looked_at(written: Vault, tmp_path: Path) -> None:
    """Whole and merged at every level; a damaged delta at quick, a missing one at presence."""
    run_id = written.write({"notes": upserts(record("late", 1))}).run.run_id
    for level in LEVELS:
        assert written.verify_run(run_id, level=level).sound
    written.compact()
    assert written.verify_run(run_id, level="deep").sound
    path = tmp_path / "vault" / written.run(run_id).parts["notes"].delta_key
    path.chmod(0o600)
    body = bytearray(path.read_bytes())
    body[100] ^= 1
    path.write_bytes(body)
    assert written.verify_run(run_id, level="presence").sound
    assert wrong(written.verify_run(run_id)) == {"notes: readable"}
    path.unlink()
    assert wrong(written.verify_run(run_id, level="presence")) == {"notes: stored"}


def test_a_ledger_that_says_more_than_the_history_is_found(written: Vault) -> None:
    """A run that is COMPLETED and in no version is lost, whatever the ledger says."""
    run_id = written.write({"notes": upserts(record("late", 1))}).run.run_id
    written.parts.ledger.move(
        [run_id], "notes", states=[RunState.PENDING], to=RunState.COMPLETED, at="2026-11-24"
    )
    assert written.verify_run(run_id).sound
    assert wrong(written.verify_run(run_id, level="deep")) == {"notes: merged"}


def test_the_command_says_what_it_found(samples: SampleVault, directory: Path) -> None:
    """A verdict with evidence, exit code 0; WRONG and 6 where something is."""
    sound = samples.run("verify", "lines@1")
    (verdict,) = sound.only("verdict")
    assert (sound.exit_code, verdict["sound"], verdict["level"]) == (0, True, "quick")
    assert samples.run("verify", str(directory), "--presence").exit_code == 0
    (header,) = directory.glob(f"*/{HEADER}")
    header.write_bytes(b"")
    damaged = samples.run("verify", str(directory))
    assert damaged.exit_code == Damaged.exit_code
    assert [f["check"] for f in damaged.only("verdict")[0]["findings"] if not f["passed"]]
    assert damaged.only("error")[0]["error"] == "unsound"
    (run,) = samples.run("runs", "list", "-n", "1").only("run")
    assert samples.run("verify", "--delta", run["run_id"], "--deep").exit_code == 0


@pytest.mark.parametrize(
    "arguments", [[], ["lines", "--delta", "x"], ["lines", "--quick", "--deep"]]
)
def test_the_command_looks_at_one_thing(samples: SampleVault, arguments: list[str]) -> None:
    """Nothing, two things, or two levels are no call."""
    answer = samples.run("verify", *arguments)
    assert answer.exit_code == 2
    assert answer.only("error")[0]["error"] == "usage"
