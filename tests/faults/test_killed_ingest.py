"""Ingest killed with SIGKILL at random moments and run again: nothing lost, nothing twice.

The moments come from a seed that a failure prints; ``CHROMASEAL_SEED`` replays it.
Three kills by default; ``make test-kills`` and ``make test-whole`` kill a hundred times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.clock import SystemClock
from chromaseal.composition.engine import open_vault
from chromaseal.receipts.samples import SAMPLES
from chromaseal.record import canonical_metadata
from chromaseal.run.model import RunState
from chromaseal.seal.sealed import seal
from chromaseal.seal.verify import verify
from chromaseal.settings import Settings
from chromaseal.testing.command_line import begin
from chromaseal.testing.warm_start import WarmProcess
from chromaseal.testing.whole import WHOLE
from chromaseal.vault import Vault

KILLS = int(os.environ.get("CHROMASEAL_KILLS", "100" if WHOLE else "3"))
RECEIPTS = 3 if WHOLE else 2
COLLECTIONS = ("lines", "words")
# To the published version an undisturbed ingest takes about this long.
LONGEST_WAIT_S = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one vault and its cache are."""

    folder: Path

    @property
    def settings(self) -> Settings:
        """Give what opens it."""
        vault = self.folder / "vault"
        ledger = f"sqlite:///{vault / '.ledger' / 'ledger.sqlite'}"
        return Settings(vault.as_uri(), ledger, self.folder / "cache")

    def ingest(self, images: Path) -> WarmProcess:
        """Start an ingest."""
        arguments = (str(images), "--vault", str(self.folder / "vault"), "--json", "--jobs", "2")
        return begin("ingest", *arguments, cache=self.folder / "cache")


@pytest.fixture
def sandbox() -> Iterator[ProcessSandbox]:
    """Give what verifies; checks need no ChromaDB, so it starts at once."""
    sandbox = ProcessSandbox()
    yield sandbox
    sandbox.close()


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * KILLS)
def test_killed_ingests_end_as_undisturbed_ones(tmp_path: Path, sandbox: ProcessSandbox) -> None:
    """After many kills every vault holds what one undisturbed ingest gives, record by record."""
    seed = os.environ.get("CHROMASEAL_SEED") or secrets.token_hex(4)
    print(f"CHROMASEAL_SEED={seed}")
    chance = random.Random(seed)
    images = tmp_path / "images"
    images.mkdir()
    for sample in SAMPLES[:RECEIPTS]:
        write_sample(sample, images / f"{sample.slug}.png")
    undisturbed = Place(tmp_path / "undisturbed")
    assert _wait(undisturbed.ingest(images)) == 0
    expected = dict(_content(undisturbed))
    kills, vaults = 0, 0
    while kills < KILLS:
        place = Place(tmp_path / f"killed-{vaults}")
        vaults += 1
        finished = False
        while not finished:
            finished = kills >= KILLS and _wait(place.ingest(images)) == 0
            if not finished:
                killed = _kill_somewhere(place.ingest(images), chance)
                kills += killed
                finished = not killed
            _check_versions(place, sandbox)
        assert dict(_content(place)) == expected
    print(f"{kills} kills over {vaults} vaults")


def _kill_somewhere(process: WarmProcess, chance: random.Random) -> bool:
    """Kill an ingest at a random moment; say whether it was still running."""
    assert process.stdout is not None
    if chance.random() < 0.3:
        # Into the compaction, which is the shortest of the steps and the most delicate.
        for line in process.stdout:
            if json.loads(line)["event"] == "summary":
                break
        wait_s = chance.uniform(0, 1.5)
    else:
        wait_s = chance.uniform(0.1, LONGEST_WAIT_S)
    timer = threading.Timer(wait_s, _kill, (process.pid,))
    timer.start()
    exit_code = _wait(process)
    timer.cancel()
    assert exit_code in (0, -signal.SIGKILL)
    return exit_code != 0


def _kill(pid: int) -> None:
    # It may have ended just now.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait(process: WarmProcess) -> int:
    process.communicate()
    return process.wait()


def _check_versions(place: Place, sandbox: ProcessSandbox) -> None:
    """Every version that is there verifies, from its objects alone."""
    with _opened(place) as vault:
        for name in vault.collections():
            for entry in vault.log(name):
                with vault.parts.checkouts.workspace() as workspace:
                    copy = workspace / "copy"
                    version = vault.open_copy(name, copy, at=entry.version.version_id)
                    sealed = seal(copy, open_files=ProcOpenFiles(), clock=SystemClock())
                    records = version.manifest.records
                    verify(sealed, sandbox=sandbox, collection=name, expected=records)


def _content(place: Place) -> Iterator[tuple[tuple[str, str], tuple[object, ...]]]:
    """Everything a reader can see, and what the ledger says of the runs."""
    with _opened(place) as vault:
        for name in COLLECTIONS:
            with vault.reader(name) as reader:
                for record in reader.records():
                    parts = (record.document, canonical_metadata(record.metadata))
                    yield (name, record.id), (*parts, record.embedding.tobytes())
            runs = sorted(run_id for entry in vault.log(name) for run_id, _ in entry.version.runs)
            yield (name, "runs"), tuple(runs)
        for run in vault.parts.ledger.newest(limit=1000):
            assert {part.state for part in run.parts.values()} == {RunState.COMPLETED}
            yield ("ledger", run.run_id), tuple(sorted(run.attributes.items()))


def _opened(place: Place) -> Vault:
    return open_vault(place.settings)
