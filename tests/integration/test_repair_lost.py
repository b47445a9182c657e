"""Lost manifests, pointers and pins: put back or stepped over with proof, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.replication import follow
from chromaseal.run.model import RunState
from chromaseal.settle import put_once
from chromaseal.snapshot.cancellations import fence
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.machine import Machine
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

NAME = "notes"


@pytest.fixture
def three(machine: Machine, states: list[Path]) -> Machine:
    """Give a vault of three pushed versions, looked at from a machine that keeps none of them."""
    for state in states[:3]:
        machine.push(NAME, state)
    return machine.stranger(machine.directory.parent / "other")


def lose_manifest(vault: Vault, at: str = "") -> str:
    """Remove a version's manifest; give its id."""
    version_id = vault.version(NAME, at).version_id
    vault.parts.store.delete(keys.manifest(NAME, version_id))
    return version_id


def damage_manifest(vault: Vault, at: str = "") -> str:
    """Flip a bit of a version's manifest; give its id."""
    version_id = vault.version(NAME, at).version_id
    key = keys.manifest(NAME, version_id)
    body = vault.parts.store.get(key).body
    vault.parts.store.delete(key)
    vault.parts.store.create(key, body[:99] + bytes([body[99] ^ 1]) + body[100:])
    return version_id


def forget(tmp_path: Path) -> None:
    """Take away what this machine keeps of the vault's versions."""
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def mends(vault: Vault) -> list[str]:
    """Give what the doctor says mends what is wrong."""
    return [remark.mend for remark in vault.doctor() if not remark.passed]


def refused(vault: Vault) -> Damaged:
    """Give the error of a repair that is refused, and see that nothing was published."""
    before = sorted(info.key for info in vault.parts.store.list(""))
    with pytest.raises(Damaged) as caught:
        vault.repair(NAME)
    assert caught.value.kind == "cannot-repair"
    assert sorted(info.key for info in vault.parts.store.list("")) == before
    return caught.value


@pytest.mark.parametrize("lose", [lose_manifest, damage_manifest])
def test_a_pushed_version_is_not_given_up_in_silence(
    three: Machine, lose: Callable[[Vault], str]
) -> None:
    """Nothing tells of its content: the repair is refused and names the way to give it up."""
    lose(three.vault)
    error = refused(three.vault)
    assert "chromaseal rollback notes 2" in error.hint
    assert "chromaseal rollback notes 2" in mends(three.vault)[0]
    done = three.vault.rollback(NAME, "2")
    assert (done.version.manifest.number, done.version.manifest.restores) == (3, 2)
    assert three.fetched(NAME) == three.fetched(NAME, "2")
    assert mends(three.vault) == []


def test_rollback_gives_up_any_unreadable_newest_version(three: Machine) -> None:
    """Where only a layer is cut, the next version begins with a base of its own."""
    newest = three.vault.version(NAME)
    store = three.vault.parts.store
    store.delete(keys.layer_part(NAME, newest.manifest.layers[-1].layer_id, 0))
    assert "chromaseal rollback notes 2" in mends(three.vault)[0]
    done = three.vault.rollback(NAME, "2")
    assert (done.version.manifest.number, done.version.manifest.restores) == (4, 2)
    assert three.fetched(NAME) == three.fetched(NAME, "2")


def test_what_this_machine_keeps_is_a_source(machine: Machine, states: list[Path]) -> None:
    """The machine that pushed a version has its content, manifest or not."""
    for state in states[:2]:
        machine.push(NAME, state)
    before = machine.fetched(NAME)
    lost = lose_manifest(machine.vault)
    assert mends(machine.vault) == ["chromaseal repair notes"]
    repaired = machine.vault.repair(NAME)
    assert (repaired.broken, repaired.content_of, repaired.left_out) == (lost, 2, ())
    assert "keeps of version 2" in repaired.source
    assert machine.stranger(machine.directory.parent / "other").fetched(NAME) == before


def test_the_only_version_comes_back_from_what_is_kept(
    machine: Machine, states: list[Path]
) -> None:
    """Also number 1, which has no version before it."""
    machine.push(NAME, states[0])
    before = machine.fetched(NAME)
    lose_manifest(machine.vault)
    assert machine.vault.repair(NAME).content_of == 1
    assert machine.stranger(machine.directory.parent / "other").fetched(NAME) == before


def test_a_first_version_of_runs_is_made_again(vault: Vault, tmp_path: Path) -> None:
    """There is no version to step back to, and its runs are all that it had."""
    vault.write({NAME: upserts(record("a", 1), record("b", 2))})
    vault.write({NAME: upserts(record("b", 3))})
    vault.compact()
    before = vault.version(NAME).manifest
    lose_manifest(vault)
    forget(tmp_path)
    assert mends(vault) == ["chromaseal repair notes"]
    repaired = vault.repair(NAME)
    assert repaired.version is not None
    assert repaired.version.manifest.records == before.records
    assert len(repaired.version.manifest.runs) == 2
    assert mends(vault) == []


def test_a_pushed_first_version_has_no_other_source(machine: Machine, states: list[Path]) -> None:
    """A machine that has not seen it can only ask for a backup."""
    machine.push(NAME, states[0])
    lose_manifest(machine.vault)
    stranger = machine.stranger(machine.directory.parent / "other")
    assert "backup" in refused(stranger.vault).hint


def test_what_is_kept_and_touched_is_no_source(machine: Machine, states: list[Path]) -> None:
    """A copy that is not what its digests say is not published."""
    for state in states[:2]:
        machine.push(NAME, state)
    lost = lose_manifest(machine.vault)
    folder = machine.vault.parts.checkouts.folder(NAME) / lost
    digests = folder / "digests"
    body = digests.read_bytes()
    digests.write_bytes(bytes([body[0] ^ 1]) + body[1:])
    assert "rollback" in refused(machine.vault).hint


def test_what_is_kept_has_its_runs(written: Vault, tmp_path: Path) -> None:
    """They are in the new version, and do not wait; the ledger knows which one it is."""
    forget(tmp_path)
    with written.reader(NAME) as reader:
        records = reader.count()
    (run,) = written.version(NAME).manifest.runs
    lose_manifest(written)
    repaired = written.repair(NAME)
    assert (repaired.content_of, repaired.waiting) == (4, ())
    assert repaired.version is not None
    assert [each.run_id for each in repaired.version.manifest.runs] == [run.run_id]
    assert written.run(run.run_id).parts[NAME].version_id == repaired.version.version_id
    assert repaired.version.manifest.records.count == records
    assert mends(written) == []


def test_runs_that_nobody_knows_are_not_given_up(written: Vault, tmp_path: Path) -> None:
    """Without the ledger's word the lost version may have been pushed."""
    lost = lose_manifest(written)
    forget(tmp_path)
    (run,) = [r for r in written.parts.ledger.newest() if r.parts[NAME].version_id == lost]
    states = [RunState.COMPLETED]
    at = "2026-11-24T00:00:00.000000Z"
    written.parts.ledger.move([run.run_id], NAME, states=states, to=RunState.FAILED, at=at)
    assert "may have been pushed" in refused(written).message


def test_a_lost_delta_of_a_lost_version_is_not_given_up(written: Vault, tmp_path: Path) -> None:
    """The run is known, and what it changed is nowhere."""
    (run,) = written.version(NAME).manifest.runs
    lose_manifest(written)
    written.parts.store.delete(keys.delta(NAME, run.run_id, ".parquet"))
    forget(tmp_path)
    assert run.run_id in refused(written).message


def test_what_is_stepped_over_is_said(written: Vault, tmp_path: Path) -> None:
    """Which version the content is of, which runs are not in it, and that they wait."""
    (run,) = written.version(NAME).manifest.runs
    lose_manifest(written)
    forget(tmp_path)
    place = ["--vault", written.url, "--ledger", str(tmp_path / "ledger.sqlite")]
    answer = chromaseal("repair", NAME, *place, cache=tmp_path / "cache")
    assert answer.exit_code == 0, answer.errors
    assert "version 4 is given up: beside version 3 it had 1 run and nothing else" in answer.out
    assert "published as version 4 of notes, whose number is used again" in answer.out
    assert "the content is that of version 3" in answer.out
    assert f"not in it, and waiting: {run.run_id}" in answer.out
    asked = f"chromaseal compact --vault {written.url} --ledger {tmp_path / 'ledger.sqlite'} notes"
    assert asked in answer.out


def test_a_gap_before_a_lost_version_is_not_stepped_over(three: Machine) -> None:
    """Where garbage collection took the version before it, an older one is not put in its place."""
    three.vault.tag(NAME, "first", at="1")
    three.vault.gc(NAME, Policy(keep_last=1))
    lose_manifest(three.vault)
    error = refused(three.vault)
    assert "version 2 is not there either" in error.message
    assert three.vault.rollback(NAME, "first").version.manifest.restores == 1


def test_of_several_attempts_a_person_names_one(three: Machine) -> None:
    """The version before cannot be told, so rollback takes it by its id only."""
    second = three.vault.version(NAME, "2").version_id
    lose_manifest(three.vault)
    other = second[:-32] + "0" * 32
    three.store.create(keys.manifest(NAME, other), b"{}")
    with pytest.raises(Damaged):
        three.vault.rollback(NAME, "2")
    done = three.vault.rollback(NAME, second)
    assert done.version.manifest.parent is not None
    assert done.version.manifest.parent.version_id == second


@pytest.mark.parametrize("body", [None, b"", b"junk"])
def test_a_lost_pointer_is_put_back(three: Machine, body: bytes | None) -> None:
    """At the newest version, if every manifest is what its id says; a dry run only tells."""
    newest = three.vault.version(NAME).version_id
    three.store.delete(keys.pointer(NAME))
    if body is not None:
        three.store.create(keys.pointer(NAME), body)
    assert "chromaseal repair notes" in mends(three.vault)[0]
    (told,) = three.vault.repair(NAME, dry_run=True).put_back
    assert newest in told
    assert "chromaseal repair notes" in mends(three.vault)[0]
    assert three.vault.repair(NAME).put_back == (told,)
    assert three.vault.version(NAME).version_id == newest
    assert mends(three.vault) == []
    assert three.vault.repair(NAME).put_back == ()


def test_a_pointer_that_was_put_back_is_none_that_there_was(three: Machine) -> None:
    """Whoever read it before a fence must not find its tag again, where tags go by content."""
    key, seen = keys.pointer(NAME), set[bytes]()
    for _ in range(3):
        seen.add(three.store.get(key).body)
        for _ in range(2):
            fence(three.store, NAME)
            seen.add(three.store.get(key).body)
        three.store.delete(key)
        three.vault.repair(NAME)
        assert three.store.get(key).body not in seen
    assert len(seen) == 9


def test_a_pointer_of_one_version_is_missed(machine: Machine, states: list[Path]) -> None:
    """A collection whose only version nobody points to is not as good as new."""
    machine.push(NAME, states[0])
    machine.store.delete(keys.pointer(NAME))
    assert mends(machine.vault) == ["chromaseal repair notes"]
    machine.vault.repair(NAME)
    assert machine.vault.version(NAME).manifest.number == 1


def test_a_pointer_is_put_back_with_proof_only(three: Machine) -> None:
    """Several newest versions, a damaged one, or a witness of a later one: refused."""
    newest = three.vault.version(NAME)
    key = keys.manifest(NAME, newest.version_id)
    body = three.store.get(key).body
    three.store.delete(keys.pointer(NAME))
    other = keys.manifest(NAME, newest.version_id[:-32] + "0" * 32)
    three.store.create(other, b"{}")
    assert "several versions 3" in refused(three.vault).message
    three.store.delete(other)
    three.store.delete(key)
    three.store.create(key, body[:-1] + b" ")
    assert "version 3, which may be the newest, cannot be read" in refused(three.vault).message
    three.store.delete(key)
    put_once(three.store, keys.tag(NAME, "release"), newest.version_id.encode())
    assert "there has been a later version" in refused(three.vault).message


def test_a_lost_pin_is_found_and_put_back(written: Vault) -> None:
    """Doctor, verify and compact miss it; it comes back as the newest version has it."""
    pin = written.pin(NAME)
    written.write({NAME: upserts(record("late", 1))})
    written.parts.store.delete(keys.collection(NAME))
    assert mends(written) == ["chromaseal repair notes"]
    for command in (written.verify, lambda _: written.compact(), written.log):
        with pytest.raises(Damaged) as caught:
            command(NAME)
        assert caught.value.kind == "missing-pin"
        assert "chromaseal repair notes" in caught.value.hint
    assert written.repair(NAME, dry_run=True).put_back
    assert written.pin(NAME) is None
    assert written.repair(NAME).put_back
    assert written.pin(NAME) == pin
    assert mends(written) == []
    (done,) = written.compact()
    assert len(done.merged) == 1


def test_a_pin_that_no_version_tells_of_is_not_made_up(vault: Vault) -> None:
    """Before the first version nothing says how distance is measured."""
    vault.write({NAME: upserts(record("a", 1))}, space="cosine")
    vault.parts.store.delete(keys.collection(NAME))
    assert "what notes was pinned to" in refused(vault).message
    with pytest.raises(NotFound):
        vault.repair("nothing")


@pytest.mark.parametrize("lose", [lose_manifest, damage_manifest])
def test_a_lost_manifest_does_not_end_following(
    three: Machine, lose: Callable[[Vault], str], tmp_path: Path
) -> None:
    """The newest version that can be served is, and the lost one is named."""
    lost = lose(three.vault)
    assert three.vault.has_version(NAME)
    told: list[str] = []
    looks = iter((False, True)).__next__
    moves = three.vault.follow(
        NAME, tmp_path / "copies", stop=looks, told=lambda *b: told.append(b[0])
    )
    assert [(moved.version.manifest.number, told) for moved in moves] == [(2, [lost])]
    assert follow.current(tmp_path / "copies") is not None


@pytest.mark.parametrize("at", ["1", "2"])
def test_what_is_beyond_rescue_can_be_forgotten(three: Machine, at: str) -> None:
    """On request, by number; garbage can be collected again, and nothing is wrong any more."""
    lost = lose_manifest(three.vault, at)
    assert f"chromaseal gc notes --forget {at}" in mends(three.vault)[0]
    entry = {each.version.number: each for each in three.vault.log(NAME)}[int(at)]
    assert (entry.removed, entry.lost) == (False, True)
    with pytest.raises(Damaged) as caught:
        three.vault.gc(NAME)
    assert "--forget" in caught.value.hint
    before = three.fetched(NAME)
    assert three.vault.gc(NAME, forget=[int(at)], dry_run=True).versions == (int(at),)
    assert mends(three.vault)
    assert three.vault.gc(NAME, forget=[int(at)]).versions == (int(at),)
    assert mends(three.vault) == []
    entry = {each.version.version_id: each for each in three.vault.log(NAME)}[lost]
    assert (entry.removed, entry.lost) == (True, False)
    assert three.stranger(three.cache.with_name("fourth")).fetched(NAME) == before


def test_only_what_is_beyond_rescue_is_forgotten(three: Machine) -> None:
    """Not the newest version, nor one that is whole or has a tag, nor one that never was."""
    three.vault.tag(NAME, "release", at="2")
    for number, why in ((3, "newest"), (2, "tag release"), (1, "whole"), (9, "never was")):
        with pytest.raises(Conflict, match=why) as caught:
            three.vault.gc(NAME, forget=[number])
        assert caught.value.kind == "cannot-forget"
    assert mends(three.vault) == []


def test_a_changed_manifest_is_not_called_missing(three: Machine) -> None:
    """The evidence says what is so, once: garbage collection does not repeat it."""
    damage_manifest(three.vault, "2")
    (remark,) = [each for each in three.vault.doctor() if not each.passed]
    assert "is not what its id says" in remark.evidence
