"""The real receipts: accuracy against the ground truth, and seconds per receipt by step.

``make bench-receipts`` runs it over ``../shared/receipts`` and writes
``bench/results/receipts.md`` and ``.json``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console

from bench.receipts_accuracy import (
    BoxedText,
    compare,
    merchant_is_right,
    page_error_rate,
    word_recall,
)
from chromaseal.adapters.chroma.client import opened as opened_client
from chromaseal.adapters.chroma.collection import (
    BATCH_RECORDS,
    create_collection,
    upsert_records,
)
from chromaseal.composition.engine import open_vault
from chromaseal.composition.receipts import open_ingest
from chromaseal.receipts.ingest import Ingested, reader_id
from chromaseal.receipts.model import Line, Reading
from chromaseal.receipts.vault_objects import load_reading
from chromaseal.settings import Settings
from chromaseal.vault import Vault

RECEIPTS = Path(__file__).resolve().parents[1] / ".." / "shared" / "receipts"
RESULTS = Path(__file__).parent / "results"
# What facts of the same engine and settings say, over 15 of the receipts.
REFERENCE = {"character error rate": 0.016, "word recall (SROIE)": 0.915}
_HOW = (
    "`make bench-receipts` prints this. The character error rate is Levenshtein over the truth's "
    "characters, casefolded, NFKC, without white space, both sides sorted by y then x."
)
_HEAVY = ("ocr", "embed")
console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """One receipt's scores."""

    name: str
    page_error_rate: float
    row_error_rate: float
    exact_lines: float
    word_recall: float | None
    merchant_right: bool | None


def main() -> None:
    """Ingest all receipts, score them, print and write the tables."""
    if not RECEIPTS.is_dir():
        sys.exit(f"{RECEIPTS} is missing: there is nothing to measure with")
    with tempfile.TemporaryDirectory() as folder:
        scores, times = _measure(Path(folder))
    report: dict[str, Any] = {"accuracy": _accuracy(scores), "seconds_per_receipt": times}
    report["receipts"] = len(scores)
    text = _markdown(report, scores)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "receipts.md").write_text(text)
    (RESULTS / "receipts.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print(text, markup=False)


def _measure(folder: Path) -> tuple[list[Scored], dict[str, float]]:
    truths = {t["image"]: t for t in map(_load, sorted((RECEIPTS / "truth").glob("*.json")))}
    settings = Settings(
        (folder / "vault").as_uri(), f"sqlite:///{folder / 'ledger.sqlite'}", folder / "cache"
    )
    start = time.perf_counter()
    with open_vault(settings) as vault:
        vault.warm_up()
        with open_ingest(vault) as ingest:
            opened = time.perf_counter()
            outcomes = list(ingest.run([RECEIPTS / "images"]))
        compaction_start = time.perf_counter()
        vault.compact()
        end = time.perf_counter()
        scores = [_score(vault, o, truths[Path(o.source).name]) for o in outcomes]
        peer_s = _chromadb_alone_s(vault, folder / "peer")
    extra = {"start": opened - start, "compact and publish": end - compaction_start}
    times = _seconds(outcomes, extra, end - start)
    return scores, {**times, "ChromaDB alone, upserting the same": peer_s / len(outcomes)}


def _chromadb_alone_s(vault: Vault, folder: Path) -> float:
    """Time ChromaDB itself upserting the same records, one collection after the other."""
    total_s = 0.0
    for name in ("lines", "words"):
        with vault.reader(name) as reader:
            records = list(reader.records())
        with opened_client(folder) as client:
            collection = create_collection(client, name, space="l2", with_default_model=True)
            start = time.perf_counter()
            for first in range(0, len(records), BATCH_RECORDS):
                upsert_records(collection, records[first : first + BATCH_RECORDS], {})
            total_s += time.perf_counter() - start
    return total_s


def _load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def _score(vault: Vault, outcome: Ingested, truth: dict[str, Any]) -> Scored:
    run = vault.run(outcome.run_id)
    stored = load_reading(vault.parts.store, outcome.image_id, reader_id(run.attributes["engine"]))
    if stored is None or outcome.merchant is None:
        raise RuntimeError(f"{outcome.source} was not ingested")
    expected = [_truth_line(line) for line in truth["lines"]]
    read = [_read_line(stored.reading, line) for line in stored.reading.lines]
    comparison = compare(expected, read)
    company = truth["key"].get("company")
    words = [line.text for line in expected], [line.text for line in read]
    return Scored(
        name=Path(outcome.source).stem,
        page_error_rate=page_error_rate(expected, read),
        row_error_rate=comparison.character_error_rate,
        exact_lines=comparison.exact_lines,
        word_recall=word_recall(*words) if truth["spaces_kept"] else None,
        merchant_right=merchant_is_right(company, outcome.merchant.name) if company else None,
    )


def _truth_line(line: dict[str, Any]) -> BoxedText:
    xs, ys = line["box"][0::2], line["box"][1::2]
    return BoxedText(line["text"], min(xs), min(ys), max(xs), max(ys))


def _read_line(reading: Reading, line: Line) -> BoxedText:
    box = line.quad.box()
    width, height = reading.width_px, reading.height_px
    return BoxedText(
        line.text,
        box.x * width,
        (1 - box.y - box.height) * height,
        (box.x + box.width) * width,
        (1 - box.y) * height,
    )


def _accuracy(scores: list[Scored]) -> dict[str, float]:
    recalls = [s.word_recall for s in scores if s.word_recall is not None]
    merchants = [s.merchant_right for s in scores if s.merchant_right is not None]
    return {
        "character error rate, median": median(s.page_error_rate for s in scores),
        "character error rate, mean": fmean(s.page_error_rate for s in scores),
        "character error rate row by row, mean": fmean(s.row_error_rate for s in scores),
        "exact lines": fmean(s.exact_lines for s in scores),
        "word recall (SROIE)": fmean(recalls),
        "merchants right": fmean(merchants),
        "receipts with a company in the truth": len(merchants),
    }


def _seconds(outcomes: list[Ingested], extra: dict[str, float], wall_s: float) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for outcome in outcomes:
        sums.update(outcome.durations_s)
    sums.update(extra)
    per_receipt = {step: total / len(outcomes) for step, total in sums.items()}
    light = sum(value for step, value in per_receipt.items() if step not in _HEAVY)
    return {**per_receipt, "neither OCR nor model": light, "wall": wall_s / len(outcomes)}


def _markdown(report: dict[str, Any], scores: list[Scored]) -> str:
    lines = [
        f"# {report['receipts']} real receipts",
        "",
        _HOW,
        "",
        "| measure | here | reference (15 of them) |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {value:.3f} | {_reference(name)} |"
            for name, value in report["accuracy"].items()
        ),
        "",
        "| step | seconds per receipt |",
        "| --- | --- |",
        *(f"| {step} | {value:.3f} |" for step, value in report["seconds_per_receipt"].items()),
        "",
        "| receipt | character error rate | row by row | word recall | merchant |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {s.name} | {s.page_error_rate:.3f} | {s.row_error_rate:.3f} "
            f"| {'' if s.word_recall is None else f'{s.word_recall:.3f}'} "
            f"| {'' if s.merchant_right is None else 'right' if s.merchant_right else 'wrong'} |"
            for s in scores
        ),
        "",
    ]
    return "\n".join(lines)


def _reference(name: str) -> str:
    return next((f"{v:.3f}" for key, v in REFERENCE.items() if name.startswith(key)), "")


if __name__ == "__main__":
    main()
