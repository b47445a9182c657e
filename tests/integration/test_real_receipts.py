"""Real receipts, from ``../shared/receipts``: the same result whoever reads them, in any order.

Three of them by default; ``make test-receipts`` and ``make test-whole`` take all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from chromaseal.composition.engine import open_vault
from chromaseal.receipts.records import follows_from_image
from chromaseal.record import Metadata, Record, canonical_metadata
from chromaseal.settings import Settings
from chromaseal.testing.command_line import begin
from chromaseal.testing.warm_start import WarmProcess
from chromaseal.testing.whole import WHOLE

RECEIPTS = Path(__file__).resolve().parents[2] / ".." / "shared" / "receipts" / "images"
PART = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where one vault and its cache are."""

    folder: Path

    def ingest(self, images: Sequence[Path], jobs: int) -> WarmProcess:
        """Start an ingest."""
        where = ("--vault", str(self.folder / "vault"), "--jobs", str(jobs), "--json")
        return begin("ingest", *map(str, images), *where, cache=self.folder / "cache")

    def records(self) -> Iterator[tuple[tuple[str, str], Record]]:
        """Give every record by collection and id."""
        vault = self.folder / "vault"
        ledger = f"sqlite:///{vault / '.ledger' / 'ledger.sqlite'}"
        with open_vault(Settings(vault.as_uri(), ledger, self.folder / "cache")) as opened:
            for name in ("lines", "words"):
                with opened.reader(name) as reader:
                    for record in reader.records():
                        yield (name, record.id), record


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_processes_and_order_change_nothing(tmp_path: Path) -> None:
    """One and four processes, in different orders: the same ids, texts, boxes and vectors.

    All of them come in two halves, a part at once. Only what ``merchant_source`` says came from
    the vault's memory may differ, because the memory was another.
    """
    if not RECEIPTS.is_dir():
        pytest.skip("the folder ../shared/receipts is missing")
    images = sorted(RECEIPTS.iterdir())
    if not WHOLE:
        images = images[:: len(images) // PART][:PART]
    half = len(images) // 2
    one, four = Place(tmp_path / "one"), Place(tmp_path / "four")
    parts = (images[:half], images[half:]) if WHOLE else (images,)
    for of_one, of_four in zip(parts, parts[::-1], strict=True):
        _both(one.ingest(of_one, jobs=1), four.ingest(of_four[::-1], jobs=4))
    first, second = dict(one.records()), dict(four.records())
    assert first.keys() == second.keys()
    for key, record in first.items():
        other = second[key]
        assert record.document == other.document
        assert record.embedding.tobytes() == other.embedding.tobytes()
        assert follows_from_image(record.metadata) == follows_from_image(other.metadata)
        if canonical_metadata(record.metadata) != canonical_metadata(other.metadata):
            assert _from_memory(record.metadata) or _from_memory(other.metadata)


def _both(*processes: WarmProcess) -> None:
    for process in processes:
        process.communicate()
        assert process.wait() == 0


def _from_memory(metadata: Metadata) -> bool:
    return str(metadata.get("merchant_source", "")).startswith("memory-")
