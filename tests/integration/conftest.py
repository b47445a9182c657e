"""A vault with sample receipts, ingested once for all tests that only look at it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.composition import functions
from chromaseal.composition.engine import open_vault
from chromaseal.ids import SystemIds
from chromaseal.receipts.samples import SAMPLES
from chromaseal.repair.equipment import Equipment
from chromaseal.settings import Settings
from chromaseal.testing.command_line import SampleVault, chromaseal
from chromaseal.testing.handling import URL, RecordedQueues
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

SAMPLES_USED = 3
REPAIR_JOBS = ("verification", "questions", "replay", "salvage", "proof")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleVault:
    """Give a vault with three receipts; tests must not change it."""
    folder = tmp_path_factory.mktemp("samples")
    images = folder / "images"
    images.mkdir()
    for sample in SAMPLES[:SAMPLES_USED]:
        write_sample(sample, images / f"{sample.slug}.png")
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more than a beginning")
    vault, cache = folder / "vault", folder / "cache"
    answer = chromaseal("ingest", str(images), "--vault", str(vault), "--json", cache=cache)
    return SampleVault(images, vault, cache, answer)


@pytest.fixture(scope="session")
def four_versions(tmp_path_factory: pytest.TempPathFactory, sandbox: ProcessSandbox) -> Path:
    """Give a folder with a vault of four versions, whose runs overwrite each other, and ledger."""
    folder = tmp_path_factory.mktemp("four")
    settings = Settings(
        (folder / "vault").as_uri(), f"sqlite:///{folder / 'ledger.sqlite'}", folder / "cache"
    )
    with open_vault(settings) as vault:
        vault.parts = replace(vault.parts, sandbox=sandbox)
        for number in range(4):
            changed = (record(f"r{n}", 10 * number + n) for n in range(number, 8))
            vault.write({"notes": upserts(*changed)})
            vault.compact()
    return folder


@pytest.fixture
def written(four_versions: Path, tmp_path: Path, vault_at: Callable[[], Vault]) -> Vault:
    """Give a vault of four versions that nothing is kept of on this machine."""
    shutil.copytree(four_versions / "vault", tmp_path / "vault")
    shutil.copyfile(four_versions / "ledger.sqlite", tmp_path / "ledger.sqlite")
    return vault_at()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> RecordedQueues:
    """Give the queues that handlers send to, and the environment that names them."""
    recorded = RecordedQueues()
    monkeypatch.setenv("LINES_QUEUE_URL", f"{URL}/lines")
    monkeypatch.setenv("WORDS_QUEUE_URL", f"{URL}/words")
    monkeypatch.setattr(functions, "_sqs", lambda: recorded)
    return recorded


@pytest.fixture(scope="module")
def equipment() -> Iterator[Equipment]:
    """Give what it takes to repair, with two warm processes."""
    modules = tuple(f"chromaseal.adapters.chroma.{job}" for job in REPAIR_JOBS)
    sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(2)])
    yield Equipment(sandbox, ProcOpenFiles(), SystemClock(), SystemIds(), exchange)
    sandbox.close()
