"""The doctor finds what is wrong with a vault, says why, and names the command that mends it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from chromaseal import keys
from chromaseal.errors import Unavailable
from chromaseal.run.model import RunState
from chromaseal.run.unnamed_ledger import UnnamedLedger
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.command_line import SampleVault
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault
from chromaseal.verification.remark import Remark


def wrong(vault: Vault) -> list[Remark]:
    """Give what the doctor complains about."""
    return [remark for remark in vault.doctor() if not remark.passed]


def only(vault: Vault) -> Remark:
    """Give the one thing that is wrong."""
    (remark,) = wrong(vault)
    assert remark.evidence
    assert remark.mend
    return remark


def test_a_healthy_vault_is_well(written: Vault) -> None:
    """With versions, and before the first one, nothing is wrong."""
    assert wrong(written) == []
    written.write({"others": upserts(record("a", 1))})
    assert wrong(written) == []
    assert {remark.subject for remark in written.doctor()} == {"vault", "notes", "others"}


def test_a_broken_newest_version_is_found(written: Vault) -> None:
    """It says which object is missing, which version is served instead, and what mends it."""
    newest = written.version("notes")
    layer = newest.manifest.layers[-1].layer_id
    written.parts.store.delete(keys.layer_part("notes", layer, 0))
    remark = only(written)
    assert (remark.check, remark.mend) == ("newest version", "chromaseal repair notes")
    assert layer in remark.evidence
    assert "version 3 is served" in remark.evidence


def test_a_lost_manifest_is_found(written: Vault) -> None:
    """Of the newest version and of an older one."""
    store = written.parts.store
    store.delete(keys.manifest("notes", written.version("notes", 2).version_id))
    remark = only(written)
    assert (remark.check, "version 2" in remark.evidence) == ("older versions", True)
    assert remark.mend.endswith("chromaseal gc notes --forget 2")
    store.delete(keys.manifest("notes", written.version("notes").version_id))
    assert "newest version" in {remark.check for remark in wrong(written)}


def test_a_removed_version_is_not_missed(written: Vault) -> None:
    """What garbage collection took is as it should be; what it could take is told."""
    written.gc("notes", Policy(keep_last=1))
    assert wrong(written) == []
    written.parts.store.create(keys.layer_part("notes", "000001-" + "a" * 32 + "-step", 0), b"x")
    (garbage,) = [remark for remark in written.doctor() if remark.check == "garbage"]
    assert (garbage.passed, garbage.mend) == (True, "chromaseal gc notes")


def test_a_tag_of_nothing_is_found(written: Vault) -> None:
    """It would let the version go that it stands for."""
    version_id = written.version("notes").version_id[:-32] + "0" * 32
    written.parts.store.create(keys.tag("notes", "release"), version_id.encode())
    assert {remark.check for remark in wrong(written)} == {"tags"}


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.COMPLETED, RunState.FAILED])
def test_a_ledger_that_contradicts_the_vault_is_found(written: Vault, state: RunState) -> None:
    """Waiting though merged, done though in no version, set aside."""
    run_id = written.write({"notes": upserts(record("late", 1))}).run.run_id
    states = list(RunState)
    if state is RunState.PENDING:
        written.compact()
    at = "2026-11-24T00:00:00.000000+00:00"
    written.parts.ledger.move([run_id], "notes", states=states, to=state, at=at, error="because")
    remark = only(written)
    assert remark.check == "runs"
    assert run_id in remark.evidence
    assert "chromaseal" in remark.mend


def test_a_run_that_waits_too_long_is_found(written: Vault) -> None:
    """A run of an hour ago waits for a compactor that nobody runs."""
    written.write({"notes": upserts(record("late", 1))})
    assert wrong(written) == []
    clock = ManualClock(written.parts.clock.now() + dt.timedelta(hours=2))
    written.parts = replace(written.parts, clock=clock)
    remark = only(written)
    assert "more than an hour" in remark.evidence
    assert remark.mend == "chromaseal compact notes"


def test_a_delta_that_no_run_announces_is_found(written: Vault) -> None:
    """Its writer died between the delta and the run."""
    found = next(iter(written.parts.store.list(keys.deltas("notes")))).key
    body = written.parts.store.get(found).body
    written.parts.store.create(keys.delta("notes", "orphan", ".parquet"), body)
    remark = only(written)
    assert remark.check == "deltas"
    assert "orphan" in remark.evidence
    assert remark.mend == "chromaseal doctor --rebuild-ledger"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://127.0.0.1:1/runs", "ledger-unavailable"),
        ("dynamodb://runs?region=eu-west-1", "ledger-unavailable"),
        ("sqlite:///ledger.sqlite", "newer-ledger"),
    ],
)
def test_a_ledger_that_will_be_back_is_not_to_be_moved_away(
    written: Vault, url: str, kind: str
) -> None:
    """A silent server, a newer ledger: what its own error advises helps."""
    error = Unavailable("no answer", kind=kind, hint="start it")
    silent: Any = UnnamedLedger(lambda: error, url)
    written.parts = replace(written.parts, ledger=silent, leases=silent)
    remark = only(written)
    assert (remark.check, remark.evidence, remark.mend) == ("ledger", "no answer", "start it")


def test_a_file_that_is_no_ledger_is_moved_away(written: Vault) -> None:
    """Another one is made from what the vault holds."""
    error = Unavailable("not a database", kind="ledger-unavailable", hint="check the file")
    silent: Any = UnnamedLedger(lambda: error, "sqlite:////here/ledger.sqlite")
    written.parts = replace(written.parts, ledger=silent, leases=silent)
    mend = only(written).mend
    assert "move /here/ledger.sqlite away" in mend
    assert mend.endswith("chromaseal doctor --rebuild-ledger")


def test_the_command_tells_all(samples: SampleVault) -> None:
    """Environment, vault and collections; exit code 0 where all is well."""
    answer = samples.run("doctor")
    assert answer.exit_code == 0, answer.out
    subjects = {remark["subject"] for remark in answer.only("remark")}
    assert subjects == {"environment", "vault", "lines", "words"}
    checks = {r["check"] for r in answer.only("remark") if r["subject"] == "environment"}
    assert checks >= {"cache", "open files", "child processes"}
