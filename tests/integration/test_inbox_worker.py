"""A worker that takes images from an inbox: each one once, also where it dies in between."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from chromaseal.composition.engine import open_vault
from chromaseal.digests import blake3_hex
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.command_line import SampleVault, chromaseal, command_line, environment
from chromaseal.testing.waiting import wait_until
from chromaseal.vault import Vault

COLLECTIONS = ("lines", "words")


def contents(folder: Path) -> set[str]:
    """Give every path in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def opened(folder: Path) -> Vault:
    """Open the vault of a test."""
    ledger = f"sqlite:///{folder / 'vault' / '.ledger' / 'ledger.sqlite'}"
    return open_vault(Settings((folder / "vault").as_uri(), ledger, folder / "cache"))


@pytest.mark.slow
def test_an_inbox_is_emptied_also_after_a_death(samples: SampleVault, tmp_path: Path) -> None:
    """Killed when the first run is there: the next worker does the rest, and nothing twice."""
    inbox = tmp_path / "inbox"
    shutil.copytree(samples.images, inbox)
    images = sorted(path.name for path in inbox.glob("*.png"))
    arguments = ("--ingest", str(inbox), "--vault", str(tmp_path / "vault"), "--json")
    dying = subprocess.Popen(
        command_line("worker", *arguments, "--jobs", "1"),
        stdout=subprocess.DEVNULL,
        env=environment(tmp_path / "cache"),
    )
    wait_for_a_run(tmp_path, dying)
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    answer = chromaseal("worker", *arguments, "--once", cache=tmp_path / "cache")
    assert answer.exit_code == 0, answer
    done = {f"done/{name}" for name in images}
    assert contents(inbox) == {*done, "refused/broken.jpg", "refused/broken.jpg.txt"}
    said = {event["image"]: event["status"] for event in answer.only("image")}
    assert said == {**dict.fromkeys(images, "done"), "broken.jpg": "refused"}
    assert (inbox / "refused/broken.jpg.txt").read_text().strip()
    with opened(tmp_path) as vault:
        for name in COLLECTIONS:
            counts = vault.parts.ledger.counts(name)
            assert counts == {**dict.fromkeys(RunState, 0), RunState.COMPLETED: len(images)}
            merged = [run_id for entry in vault.log(name) for run_id, _ in entry.version.runs]
            assert len(merged) == len(set(merged)) == len(images)


def wait_for_a_run(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the ledger has a run."""

    def has_ended() -> bool:
        return process.poll() is not None

    ledger = folder / "vault/.ledger/ledger.sqlite"
    wait_until(lambda: has_ended() or ledger.exists(), "a ledger")
    with opened(folder) as vault:
        wait_until(lambda: has_ended() or bool(vault.parts.ledger.newest(limit=1)), "a run")
    assert not has_ended()


@pytest.mark.slow
def test_a_mistyped_inbox_is_said(tmp_path: Path) -> None:
    """Before anything is begun."""
    arguments = ("--vault", str(tmp_path / "vault"), "--once", "--json")
    place = str(tmp_path / "none")
    answer = chromaseal("worker", "--ingest", place, *arguments, cache=tmp_path / "cache")
    assert answer.events[-1]["error"] == "no-such-file", answer
    assert not (tmp_path / "vault").exists()


@pytest.mark.parametrize("as_json", [True, False])
def test_an_inbox_of_another_worker_is_said(tmp_path: Path, *, as_json: bool) -> None:
    """Who comes for one pass, and may not take anything, says why it took nothing."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "receipt.png").write_bytes(b"left alone")
    with opened(tmp_path) as vault:
        name = f"_inbox-{blake3_hex(inbox.as_uri().encode())[:16]}"
        assert vault.parts.leases.acquire(name, "another", duration_s=600.0)
    arguments = ("--ingest", str(inbox), "--vault", str(tmp_path / "vault"), "--once")
    json_too = ("--json",) if as_json else ()
    answer = chromaseal("worker", *arguments, *json_too, cache=tmp_path / "cache")
    assert answer.exit_code == 0, answer
    if as_json:
        (told,) = answer.only("inbox-left")
        assert told["inbox"] == inbox.as_uri()
        assert "another" in told["reason"]
    else:
        assert "is being emptied by another" in answer.out
    assert contents(inbox) == {"receipt.png"}
