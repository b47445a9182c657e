"""Many waiting receipts folded into one version, beside ChromaDB alone: ``make bench-batch``.

500 deltas of 150 records wait for a collection of 200,000. chromaseal folds them into one version;
ChromaDB alone, in a child of its own that starts no later, upserts the same records into a copy of
the same directory in the largest batches that it takes. Both are counted with opening and closing;
what chromaseal does before and after merging is shown step by step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.data import COLLECTION, add_records, fresh_copy
from bench.layers import RESULTS
from bench.records import DIMENSION, make_records
from bench.stats import markdown_table
from chromaseal.compaction.outcome import Compaction
from chromaseal.composition.engine import open_vault
from chromaseal.delta.model import Changes
from chromaseal.embedding import ModelPin
from chromaseal.pin import CollectionPin, pin_collection
from chromaseal.settings import Settings

_RECORDS = 200_000
_DELTAS = 500
_DELTA_RECORDS = 150
_BOUND = 0.9
_MODEL = ModelPin("random", "1", "", DIMENSION)


def _alone_s(records: int, deltas: int, folder: Path) -> float:
    """Have ChromaDB alone upsert the records; give the seconds."""
    directory = fresh_copy(records, folder / "alone")
    # The same child with nothing to do tells what starting it takes.
    start = time.perf_counter()
    add_records(directory, COLLECTION, records, 0)
    idle_s = time.perf_counter() - start
    start = time.perf_counter()
    add_records(directory, COLLECTION, records, deltas * _DELTA_RECORDS)
    return time.perf_counter() - start - idle_s


def _folded(records: int, deltas: int, folder: Path) -> tuple[Compaction, float]:
    """Have chromaseal fold the records; give what it says, and the seconds."""
    ledger = f"sqlite:///{folder / 'ledger.sqlite'}"
    settings = Settings((folder / "vault").as_uri(), ledger, folder / "cache")
    with open_vault(settings) as vault:
        pin_collection(vault.parts.store, CollectionPin(COLLECTION, DIMENSION, "l2", _MODEL))
        vault.push(fresh_copy(records, folder / "directory"), COLLECTION)
        for number in range(deltas):
            first = records + number * _DELTA_RECORDS
            changes = Changes(upserts=make_records(first, _DELTA_RECORDS))
            vault.write({COLLECTION: changes}, model=_MODEL, run_id=f"run-{number:04}")
        start = time.perf_counter()
        (done,) = vault.compact([COLLECTION])
        whole_s = time.perf_counter() - start
        if len(done.merged) != deltas or done.version is None:
            raise SystemExit(f"{len(done.merged)} of {deltas} runs were merged: {done.failed}")
        return done, whole_s


def _rows(records: int, deltas: int, folder: Path) -> list[list[str]]:
    changes = deltas * _DELTA_RECORDS
    alone_s = _alone_s(records, deltas, folder)
    print(f"ChromaDB alone: {alone_s:.1f} s", flush=True)
    done, whole_s = _folded(records, deltas, folder)
    rows = [["ChromaDB alone", f"{alone_s:.1f}", f"{changes / alone_s:,.0f}", "1.00", ""]]
    merge_s = done.durations_s["merge"]
    for what, duration_s in (("folding", merge_s), ("with everything around it", whole_s)):
        bound = f"{_BOUND}" if what == "folding" else ""
        ratio = f"{alone_s / duration_s:.2f}"
        rows.append([what, f"{duration_s:.1f}", f"{changes / duration_s:,.0f}", ratio, bound])
    rows += [[name, f"{step_s:.1f}", "", "", ""] for name, step_s in done.durations_s.items()]
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=_RECORDS)
    parser.add_argument("--deltas", type=int, default=_DELTAS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows(options.records, options.deltas, Path(folder))
    header = ["what", "s", "records/s", "of ChromaDB's rate", "bound"]
    table = markdown_table(header, rows)
    print(table)
    if options.records == _RECORDS and options.deltas == _DELTAS:
        said = (
            f"Written by `make bench-batch`: {_DELTAS} deltas of {_DELTA_RECORDS} records into "
            f"{_RECORDS:,}, in one version."
        )
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "batch.md").write_text(f"# Batches\n\n{said}\n\n{table}\n")


if __name__ == "__main__":
    main()
