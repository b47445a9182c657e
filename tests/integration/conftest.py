"""A vault with sample receipts, ingested once for all tests that only look at it."""

from __future__ import annotations

import pytest

from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.receipts.samples import SAMPLES
from chromaseal.testing.command_line import SampleVault, chromaseal

SAMPLES_USED = 3


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
