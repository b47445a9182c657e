"""A ledger is made or completed from the vault, and the doctor misses what it lacks."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal import keys
from chromaseal.compaction import deltas
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Conflict, Unavailable
from chromaseal.run.model import Run, RunState
from chromaseal.settings import Settings
from chromaseal.sweep import ledger as sweep
from chromaseal.sweep.ledger import Swept, sweep_ledger
from chromaseal.testing.command_line import Answer, chromaseal
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

NAME = "notes"
LEDGER = "ledger.sqlite"


def without_ledger(tmp_path: Path) -> Vault:
    """Open the vault as it is found once its ledger is gone."""
    (tmp_path / LEDGER).unlink()
    url = (tmp_path / "vault").as_uri()
    return open_vault(Settings(url, f"sqlite:///{tmp_path / LEDGER}", tmp_path / "cache"))


def plain(run: Run) -> tuple[Any, ...]:
    """Give what can be known of a run without its ledger."""
    parts = {
        name: (p.state, p.delta_key, p.size_bytes, p.changes, p.version_id)
        for name, p in run.parts.items()
    }
    return run.run_id, run.created_at, dict(run.attributes), parts


def runs(vault: Vault) -> list[tuple[Any, ...]]:
    """Give all that the ledger knows of every run."""
    return sorted(plain(run) for run in vault.parts.ledger.newest())


def command(tmp_path: Path, *arguments: str) -> Answer:
    """Run a command on the vault."""
    place = ["--vault", str(tmp_path / "vault"), "--ledger", str(tmp_path / LEDGER)]
    return chromaseal(*arguments, *place, "--json", cache=tmp_path / "cache")


def test_a_lost_ledger_is_made_again(written: Vault, tmp_path: Path) -> None:
    """Every run as it was: in versions, rolled back, waiting, over several collections."""
    written.rollback(NAME, "2")
    both = {NAME: upserts(record("late", 1)), "others": upserts(record("x", 2))}
    written.write(both, attributes={"image_id": "7"})
    before = runs(written)
    with without_ledger(tmp_path) as vault:
        swept = vault.rebuild_ledger()
        assert swept == Swept(added={RunState.PENDING: 2, RunState.COMPLETED: 4})
        assert runs(vault) == before
        assert vault.rebuild_ledger() == Swept(right=6)
        assert [remark for remark in vault.doctor() if not remark.passed] == []
        assert {len(done.merged) for done in vault.compact()} == {1}


def test_half_a_run_is_completed_by_writing_it_again(written: Vault, tmp_path: Path) -> None:
    """As if its writer had died after the first of two deltas, and a sweep had come by."""
    both = {NAME: upserts(record("late", 1)), "others": upserts(record("x", 2))}
    run = written.write(both).run
    (tmp_path / "vault" / run.parts["others"].delta_key).unlink()
    with without_ledger(tmp_path) as vault:
        (left,) = vault.rebuild_ledger().left
        assert f"run {run.run_id} has a delta for {NAME} and none for others" in left
        (remark,) = [each for each in vault.doctor() if not each.passed]
        assert f"1 runs that were never written whole: {run.run_id}" in remark.evidence
        again = vault.write(both, run_id=run.run_id)
        assert (again.run, again.new) == (run, True)
        assert {len(done.merged) for done in vault.compact()} == {1}
        assert vault.rebuild_ledger().left == ()


def test_half_a_run_is_not_called_whole_under_its_id(written: Vault, tmp_path: Path) -> None:
    """What is acknowledged is what a ledger that is made anew finds."""
    both = {NAME: upserts(record("late", 1)), "others": upserts(record("x", 2))}
    run = written.write(both).run
    (tmp_path / "vault" / run.parts["others"].delta_key).unlink()
    with without_ledger(tmp_path) as vault:
        with pytest.raises(Conflict, match="has other changes"):
            vault.write({NAME: both[NAME]}, run_id=run.run_id)
        assert vault.write(both, run_id=run.run_id).new


def test_what_an_earlier_writer_left_is_no_part_of_a_merged_run(
    written: Vault, tmp_path: Path
) -> None:
    """It stored a delta for another collection alone and died; the run was written without that."""
    ledger = written.parts.ledger
    left = {"others": upserts(record("x", 2))}
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(ledger, "add", dies)
        with pytest.raises(Unavailable):
            written.write(left, run_id="run")
    written.write({NAME: upserts(record("late", 1))}, run_id="run")
    written.compact()
    before = runs(written)
    with without_ledger(tmp_path) as vault:
        swept = vault.rebuild_ledger()
        assert swept.left == ("run run has a delta for others and was written without",)
        assert runs(vault) == before
        assert vault.rebuild_ledger().left == swept.left


@pytest.mark.parametrize("acknowledged", [NAME, "others"])
def test_of_two_writers_of_one_id_no_vault_tells_which_was_told(
    written: Vault, tmp_path: Path, acknowledged: str
) -> None:
    """Their deltas are there either way, so a ledger made anew has both: none told is lost."""
    ledger, real_add = written.parts.ledger, written.parts.ledger.add
    first, second = {"others": upserts(record("x", 2))}, {NAME: upserts(record("late", 1))}

    def second_writer_first(run: Run) -> bool:
        """Let the second writer store its delta before the first one tells the ledger."""

        def first_writer_tells(other: Run) -> bool:
            if acknowledged == "others":
                assert real_add(run)
            return real_add(other)

        with pytest.MonkeyPatch.context() as telling:
            telling.setattr(ledger, "add", first_writer_tells)
            if acknowledged == NAME:
                assert written.write(second, run_id="run").new
                raise Unavailable("the first writer has died", kind="ledger-unavailable")
            with pytest.raises(Conflict):
                written.write(second, run_id="run")
        return real_add(run)

    with pytest.MonkeyPatch.context() as racing:
        racing.setattr(ledger, "add", second_writer_first)
        if acknowledged == NAME:
            with pytest.raises(Unavailable):
                written.write(first, run_id="run")
        else:
            written.write(first, run_id="run")
    assert set(written.run("run").parts) == {acknowledged}
    stored = {info.key for info in written.parts.store.list("") if "/run/" in info.key}
    assert stored == {keys.delta(name, "run", ".parquet") for name in (NAME, "others")}
    with without_ledger(tmp_path) as vault:
        assert vault.rebuild_ledger().left == ()
        assert set(vault.run("run").parts) == {NAME, "others"}


def test_two_writers_of_one_id_are_not_both_told_that_it_is_theirs(
    written: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one asked the ledger before the earlier one was in it."""
    written.write({NAME: upserts(record("late", 1))}, run_id="run")
    get, asked = written.parts.ledger.get, list[str]()

    def get_late(run_id: str) -> Run | None:
        asked.append(run_id)
        return get(run_id) if asked[1:] else None

    monkeypatch.setattr(written.parts.ledger, "get", get_late)
    with pytest.raises(Conflict, match="has other changes"):
        written.write({"others": upserts(record("x", 2))}, run_id="run")
    assert set(written.run("run").parts) == {NAME}


def dies(run: Run) -> bool:
    """Fail as a ledger that is away."""
    raise Unavailable(f"{run.run_id} cannot be added", kind="ledger-unavailable")


def test_a_delta_that_names_no_collections_is_the_same_run(written: Vault, tmp_path: Path) -> None:
    """As an earlier release wrote it: its writer may write it again."""
    changes, parts = {NAME: upserts(record("late", 1))}, written.parts
    run = written.write(changes).run
    key = run.parts[NAME].delta_key
    delta = parts.codec.decode(parts.store.get(key).body)
    earlier = replace(delta, header=replace(delta.header, collections=()))
    parts.store.delete(key)
    parts.store.create(key, parts.codec.encode(earlier))
    with without_ledger(tmp_path) as vault:
        assert vault.write(changes, run_id=run.run_id).new


def test_a_damaged_delta_has_failed(written: Vault, tmp_path: Path) -> None:
    """With the reason; the others wait."""
    run_id = written.write({NAME: upserts(record("late", 1))}).run.run_id
    key = keys.delta(NAME, run_id, ".parquet")
    body = written.parts.store.get(key).body
    written.parts.store.delete(key)
    written.parts.store.create(key, body[:-20] + b"x" * 20)
    with without_ledger(tmp_path) as vault:
        assert vault.rebuild_ledger().added[RunState.FAILED] == 1
        part = vault.run(run_id).parts[NAME]
        assert (part.state, "digest" in part.error) == (RunState.FAILED, True)


def test_what_is_true_is_not_changed(written: Vault) -> None:
    """Attempts and reasons stay; what the vault contradicts is set right."""
    ledger, at = written.parts.ledger, "2026-11-24T00:00:00.000000Z"
    waits = written.write({NAME: upserts(record("a", 1))}).run.run_id
    fails = written.write({NAME: upserts(record("b", 1))}).run.run_id
    lost = written.write({NAME: upserts(record("c", 1))}).run.run_id
    (done, *_) = written.version(NAME).manifest.runs
    pending = [RunState.PENDING]
    ledger.move([waits], NAME, states=pending, to=RunState.MERGING, at=at)
    ledger.move([fails], NAME, states=pending, to=RunState.FAILED, at=at, error="because")
    ledger.move([lost], NAME, states=pending, to=RunState.COMPLETED, at=at, version_id="gone")
    states = [RunState.COMPLETED]
    ledger.move([done.run_id], NAME, states=states, to=RunState.PENDING, at=at)
    before = {run_id: written.run(run_id) for run_id in (waits, fails)}
    assert written.rebuild_ledger() == Swept(completed=1, waiting=1, right=5)
    assert {run_id: written.run(run_id) for run_id in (waits, fails)} == before
    assert written.run(lost).parts[NAME].state is RunState.PENDING
    part = written.run(done.run_id).parts[NAME]
    assert (part.state, part.version_id) == (RunState.COMPLETED, written.version(NAME).version_id)


def test_what_cannot_be_read_is_left(written: Vault, tmp_path: Path) -> None:
    """Where nobody knows which runs versions have, none is called waiting."""
    written.write({"others": upserts(record("x", 2))})
    written.parts.store.delete(keys.manifest(NAME, written.version(NAME).version_id))
    with without_ledger(tmp_path) as vault:
        swept = vault.rebuild_ledger()
        assert swept.added == {RunState.PENDING: 1}
        assert list(swept.unreadable) == [NAME]
        assert len(swept.left) == 4
    answer = command(tmp_path, "doctor", "--rebuild-ledger")
    assert (answer.exit_code, answer.only("error")[0]["error"]) == (9, "ledger-incomplete")


def test_runs_that_have_just_begun_are_left(written: Vault, tmp_path: Path) -> None:
    """A periodic sweep does not come before a writer that is about to tell."""
    written.write({NAME: upserts(record("late", 1))})
    with without_ledger(tmp_path) as vault:
        swept = sweep_ledger(vault.parts, settled=dt.timedelta(minutes=1))
        assert (swept.added, len(swept.left)) == ({RunState.COMPLETED: 4}, 1)


def test_a_periodic_sweep_reads_no_long_history_again(
    written: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is old and in a version or the ledger is left; what nobody knows of is found."""
    both = {NAME: upserts(record("late", 1)), "others": upserts(record("x", 2))}
    lost = written.write(both).run.run_id
    at_once = dt.timedelta(microseconds=1)
    read: list[str] = []

    def noted(*asked: Any) -> Any:  # noqa: ANN401 - as what it stands for
        read.append(asked[2])
        return deltas.read_stored(*asked)

    monkeypatch.setattr(sweep, "_RECENT", 2)
    monkeypatch.setattr(sweep, "read_stored", noted)
    with without_ledger(tmp_path) as vault:
        new = [vault.write({NAME: upserts(record(f"new-{n}", n))}).run.run_id for n in range(3)]
        swept = sweep_ledger(vault.parts, settled=at_once)
        assert swept == Swept(added={RunState.PENDING: 2}, right=2)
        assert len(read) == 2
        assert all(lost in key for key in read)
        assert {run.run_id for run in vault.parts.ledger.newest()} == {lost, *new}
        vault.compact()
        assert sweep_ledger(vault.parts, settled=at_once) == Swept(right=2)
        assert vault.rebuild_ledger() == Swept(added={RunState.COMPLETED: 4}, right=5)


def test_an_old_run_that_no_version_has_any_more_waits_again(
    written: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many came after it; what has failed stays so."""
    monkeypatch.setattr(sweep, "_RECENT", 2)
    ledger, at = written.parts.ledger, "2026-11-24T00:00:00.000000Z"
    old = [written.write({NAME: upserts(record(f"old-{n}", n))}).run.run_id for n in range(2)]
    for run_id, state in zip(old, (RunState.COMPLETED, RunState.FAILED), strict=True):
        ledger.move([run_id], NAME, states=[RunState.PENDING], to=state, at=at, version_id="gone")
    for n in range(2):
        written.write({NAME: upserts(record(f"new-{n}", n))})
    assert sweep_ledger(written.parts, settled=dt.timedelta(seconds=1)) == Swept(waiting=1, right=2)
    states = [written.run(run_id).parts[NAME].state for run_id in old]
    assert states == [RunState.PENDING, RunState.FAILED]


def test_an_old_run_that_has_just_been_merged_does_not_wait_again(
    written: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version came after the look at the vault, and the ledger was asked after that."""
    monkeypatch.setattr(sweep, "_RECENT", 2)
    ids = [written.write({NAME: upserts(record(f"{n}", n))}).run.run_id for n in range(3)]
    ask = written.parts.ledger.get

    def merged_before(run_id: str) -> Run | None:
        written.compact([NAME])
        return ask(run_id)

    monkeypatch.setattr(written.parts.ledger, "get", merged_before)
    assert sweep_ledger(written.parts, settled=dt.timedelta(seconds=1)).waiting == 0
    assert {written.run(run_id).parts[NAME].state for run_id in ids} == {RunState.COMPLETED}


def test_a_delta_of_a_run_that_was_written_without_it_is_told_of(written: Vault) -> None:
    """Nobody merges it, and nobody may take the run for a whole one."""
    run_id = written.write({NAME: upserts(record("a", 1))}).run.run_id
    body = written.parts.store.get(keys.delta(NAME, run_id, ".parquet")).body
    written.parts.store.create(keys.delta("others", run_id, ".parquet"), body)
    told = [remark.evidence for remark in written.doctor() if not remark.passed]
    assert f"1 deltas of runs that were written without: {run_id}" in told


def test_the_doctor_makes_no_ledger(written: Vault, tmp_path: Path) -> None:
    """It says that there is none, writes nothing, and names the command that makes one."""
    written.close()
    (tmp_path / LEDGER).unlink()
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    answer = command(tmp_path, "doctor")
    (remark,) = [each for each in answer.only("remark") if not each["passed"]]
    assert (remark["subject"], remark["check"]) == ("vault", "ledger")
    assert "there is no ledger" in remark["evidence"]
    options = f"--vault {tmp_path / 'vault'} --ledger {tmp_path / LEDGER}"
    assert remark["mend"] == f"chromaseal doctor {options} --rebuild-ledger"
    assert answer.only("error")[0]["hint"] == remark["mend"]
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    made = command(tmp_path, "doctor", "--rebuild-ledger").only("rebuilt-ledger")[0]
    assert made["added"] == {"COMPLETED": 4}
    assert command(tmp_path, "doctor").exit_code == 0


@pytest.mark.usefixtures("written")
def test_an_emptied_ledger_is_missed(tmp_path: Path) -> None:
    """Somebody made a new one: what versions have is not in it."""
    with without_ledger(tmp_path) as vault:
        found = [remark for remark in vault.doctor() if not remark.passed]
    (remark,) = found
    assert "4 runs that versions have and the ledger does not know" in remark.evidence
    assert remark.mend == "chromaseal doctor --rebuild-ledger"


def test_a_broken_ledger_blinds_nobody(written: Vault, tmp_path: Path) -> None:
    """The doctor goes on; verify and log need no ledger; what needs one says so."""
    written.close()
    (tmp_path / LEDGER).write_bytes(b"garbage" * 1000)
    answer = command(tmp_path, "doctor")
    (remark,) = [each for each in answer.only("remark") if not each["passed"]]
    assert (remark["subject"], remark["check"]) == ("vault", "ledger")
    assert str(tmp_path / LEDGER) in remark["mend"]
    assert NAME in {each["subject"] for each in answer.only("remark")}
    assert command(tmp_path, "log", NAME).exit_code == 0
    assert command(tmp_path, "runs", "list").exit_code == Unavailable.exit_code


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.FAILED])
@pytest.mark.parametrize("how", ["missing", "short", "damaged"])
def test_a_delta_that_cannot_be_merged_is_found(written: Vault, state: RunState, how: str) -> None:
    """The doctor does not send a person in a circle: retry comes after the delta only."""
    written.write({NAME: upserts(record("late", 1))}, run_id="late")
    key = keys.delta(NAME, "late", ".parquet")
    store = written.parts.store
    body = store.get(key).body
    store.delete(key)
    if how != "missing":
        damaged = body[:-20] + b"x" * 20
        store.create(key, damaged if how == "damaged" else damaged[1:])
    at = "2026-11-24T00:00:00.000000Z"
    states = [RunState.PENDING]
    written.parts.ledger.move(["late"], NAME, states=states, to=state, at=at, error="because")
    found = [remark for remark in written.doctor() if not remark.passed]
    if how == "damaged" and state is RunState.PENDING:
        # Names and sizes do not tell; compacting does.
        assert found == []
        return
    (remark,) = found
    assert not remark.mend.startswith("chromaseal runs retry")
    assert "write" in remark.mend
    if how == "missing":
        assert "is missing" in remark.evidence
        written.write({NAME: upserts(record("late", 1))}, run_id="late")
        assert store.get(key).body == body
