"""Runs are listed, shown, cancelled and put back by the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from chromaseal import keys
from chromaseal.composition.engine import open_vault, settings_here
from chromaseal.errors import NotFound
from chromaseal.run.model import RunState
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.command_line import Answer, SampleVault, chromaseal
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

NAME = "notes"


@pytest.fixture
def place(written: Vault, tmp_path: Path) -> Path:
    """Give the folder of a vault with a run of two collections and another one that wait."""
    both = {NAME: upserts(record("late", 1)), "others": upserts(record("x", 2))}
    written.write(both, run_id="both", attributes={"source_name": "a.png"})
    written.write({NAME: upserts(record("one", 1))}, run_id="one")
    return tmp_path


def command(place: Path, *arguments: str, as_json: bool = True) -> Answer:
    """Run a command on the vault."""
    where = ["--vault", str(place / "vault"), "--ledger", str(place / "ledger.sqlite")]
    options = [*where, *(["--json"] if as_json else [])]
    return chromaseal(*arguments, *options, cache=place / "cache")


def shown(place: Path, run_id: str) -> dict[str, Any]:
    """Give what is shown of a run."""
    (found,) = command(place, "runs", "show", run_id).only("run")
    return dict(found)


def test_a_run_is_cancelled_and_put_back(place: Path, written: Vault) -> None:
    """By the beginning of its id; compacting leaves it out, and takes it once it is back."""
    (said,) = command(place, "runs", "cancel", "bot").events
    assert said == {
        "event": "cancelled",
        "run_id": "both",
        "collections": [NAME, "others"],
        "contained": {},
    }
    written.compact()
    doomed = {each.key for each in written.gc(NAME, Policy(deltas_after=1), dry_run=True).doomed}
    assert doomed
    assert keys.delta(NAME, "both", ".parquet") not in doomed
    run = shown(place, "both")
    assert {part["state"] for part in run["parts"].values()} == {"CANCELLED"}
    assert (run["versions"], run["age_s"] > 0) == ({}, True)
    assert command(place, "runs", "list", "--state", "cancelled").only("run")[0]["run_id"] == "both"
    assert command(place, "doctor").exit_code == 0
    assert command(place, "runs", "retry", "both").events[0]["collections"] == [NAME, "others"]
    written.compact()
    run = shown(place, "both")
    assert run["versions"] == {n: part["version_id"] for n, part in run["parts"].items()}


@pytest.mark.usefixtures("place")
def test_a_program_names_a_run_whole(written: Vault) -> None:
    """What a ledger has lost is not taken for another run whose id begins like that."""
    for change in (written.cancel, written.retry):
        with pytest.raises(NotFound):
            change("bot")
    assert written.run("bot").parts[NAME].state is RunState.PENDING


def test_what_versions_have_stays_and_is_said(place: Path, written: Vault) -> None:
    """Of one collection beside the answer, of all of them as an error; the others are cancelled."""
    written.compact([NAME])
    (said,) = command(place, "runs", "cancel", "both").events
    assert (said["collections"], list(said["contained"])) == (["others"], [NAME])
    merged = command(place, "runs", "cancel", "one")
    assert (merged.exit_code, merged.only("error")[0]["error"]) == (5, "already-merged")
    several = command(place, "runs", "cancel", "one", "nothing", "both")
    assert (several.exit_code, several.only("error")[0]["error"]) == (9, "not-all-cancelled")
    kinds = {each["run_id"]: each["error"] for each in several.only("not-cancelled")}
    assert kinds == {"one": "already-merged", "nothing": "no-run"}
    assert [each["run_id"] for each in several.only("cancelled")] == ["both"]


def test_a_run_is_shown_whole(place: Path, written: Vault) -> None:
    """States, ages, deltas, versions, reasons and every step; a list has age, attempts and why."""
    at, pending = "2026-11-24T00:00:00.000000Z", [RunState.PENDING]
    ledger = written.parts.ledger
    ledger.move(["both"], "others", states=pending, to=RunState.MERGING, at=at)
    ledger.move(["both"], "others", states=[RunState.MERGING], to=RunState.FAILED, at=at, error="x")
    written.compact([NAME])
    answer = command(place, "runs", "show", "both", as_json=False)
    assert "a.png" in answer.out
    number = written.version(NAME).manifest.number
    rows = {line.split()[0]: line for line in answer.out.splitlines() if line}
    assert f"  {number}  " in rows[NAME]
    assert "FAILED" in rows["others"]
    assert "others/delta/both/delta.parquet" in rows["others"]
    assert f"{NAME}: version {number}" in answer.out
    listed = command(place, "runs", "list", as_json=False).out
    assert {"age", "attempts", "why"} <= set(listed.splitlines()[1].split())
    (row,) = [line for line in listed.splitlines() if line.startswith("both")]
    assert row.split()[-2:] == ["1", "x"]


def test_a_list_says_what_became_of_a_run_in_one_line(place: Path, written: Vault) -> None:
    """Where a child died over it stands in ``runs show``."""
    at, error = "2026-11-24T00:00:00.000000Z", "it died: KeyError: 1\nTraceback\n  File x"
    failed = RunState.FAILED
    written.parts.ledger.move(["one"], NAME, states=[RunState.PENDING], to=failed, at=at)
    written.parts.ledger.move(["one"], NAME, states=[failed], to=failed, at=at, error=error)
    listed = command(place, "runs", "list", as_json=False).out.splitlines()
    (row,) = [line for line in listed if line.startswith("one")]
    assert row.endswith("it died: KeyError: 1")
    assert len(listed) == 2 + len(command(place, "runs", "list").only("run"))
    assert "Traceback" in command(place, "runs", "show", "one", as_json=False).out


def test_a_run_is_shown_though_its_version_is_damaged(place: Path, written: Vault) -> None:
    """What the ledger knows is to be seen all the same."""
    key = f"{NAME}/snapshot/timestamped/{written.version(NAME).version_id}/manifest.json"
    (place / "vault" / key).write_text("torn")
    answer = command(place, "runs", "show", "both")
    assert (answer.exit_code, answer.only("run")[0]["versions"]) == (0, {})
    assert "cannot be read" in answer.errors


def test_a_cancelled_receipt_is_not_ingested_again_in_silence(
    samples: SampleVault, tmp_path: Path
) -> None:
    """Who brings the image again is told, and how it comes back; the others are known as before."""
    vault = shutil.copytree(samples.vault, tmp_path / "vault")
    run_id = next(page["run_id"] for page in samples.answer.only("page") if page["run_id"])
    done, cancelled = [RunState.COMPLETED], RunState.CANCELLED
    with open_vault(settings_here(vault=str(vault))) as opened:
        opened.parts.ledger.move([run_id], "words", states=done, to=cancelled, at="now")
    where = ("--vault", str(vault), "--json")
    answer = chromaseal("ingest", str(samples.images), *where, cache=tmp_path / "cache")
    told = [page["error"] for page in answer.only("page") if page["status"] == "refused"]
    (because,) = [error for error in told if error["error"] == "run-cancelled"]
    assert f"chromaseal runs retry {run_id}" in because["hint"]
    assert answer.only("summary")[0]["already-ingested"] == 2
