"""chromaseal ingest: images into the vault."""

from __future__ import annotations

import os
from collections import Counter
from typing import Annotated

import typer

from chromaseal.composition.receipts import DEFAULT_ENGINE, open_ingest
from chromaseal.entrypoints.cli.compact_cmd import compact_after, say_what_waits
from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, seconds
from chromaseal.errors import Incomplete, RefusedInput
from chromaseal.receipts.ingest import Ingest, Ingested
from chromaseal.receipts.records import LINES_COLLECTION, WORDS_COLLECTION


def ingest(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATHS", help="Images, PDFs, or folders of them.")
    ],
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    no_compact: Annotated[
        bool, typer.Option("--no-compact", help="Leave the runs waiting for `compact`.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", min=0, help="Pages at once; 0 is one per processor.")
    ] = 0,
    engine: Annotated[
        str, typer.Option("--engine", help="OCR engine: rapidocr or tesseract.")
    ] = DEFAULT_ENGINE,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Embedding model: minilm, minilm-chromadb-cache or chromadb:NAME. Default: the "
            "vault's own.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Read, embed and store receipts, then fold them into a new version.

    What was ingested before is recognised by its content and left alone.

    Example: [bold]chromaseal ingest receipts/ --vault s3://bucket/vault[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger, create=True) as opened:
        # Merging needs a child that has imported ChromaDB; it can do so while OCR works.
        opened.warm_up()
        with open_ingest(opened, jobs=jobs, engine=engine, model=model) as work:
            outcomes = _ingest_all(work, paths, output)
        _show(outcomes, output)
        if any(outcome.run_id for outcome in outcomes):
            names = [LINES_COLLECTION, WORDS_COLLECTION]
            if not no_compact:
                compact_after(opened, names, output)
            say_what_waits(opened, names, output)
    _judge(outcomes)


def _ingest_all(work: Ingest, paths: list[str], output: Output) -> list[Ingested]:
    outcomes: list[Ingested] = []
    with output.counting("reading", work.count(paths)) as bar:
        for outcome in work.run(paths):
            outcomes.append(outcome)
            output.record("page", **_plain(outcome))
            bar.advance(os.path.basename(outcome.source))  # noqa: PTH119 - a name, not a file
    return outcomes


def _show(outcomes: list[Ingested], output: Output) -> None:
    output.table(
        "Receipts",
        ["file", "status", "merchant", "found by", "date", "total", "rows", "words", "time", "why"],
        [_row(outcome) for outcome in outcomes],
    )
    counts = Counter(outcome.status for outcome in outcomes)
    output.record("summary", **counts)
    output.say(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def _row(outcome: Ingested) -> list[object]:
    name = os.path.basename(outcome.source) or outcome.source  # noqa: PTH119
    if outcome.page_number > 1:
        name += f" page {outcome.page_number}"
    if outcome.error is not None:
        return [name, outcome.error.kind, *[""] * 7, outcome.error.message]
    merchant = outcome.merchant
    if merchant is None:
        return [name, outcome.status, *[""] * 8]
    return [
        name,
        outcome.status,
        merchant.name,
        f"{merchant.source} {merchant.confidence:.2f}",
        merchant.date,
        merchant.total,
        outcome.rows,
        outcome.words,
        seconds(sum(outcome.durations_s.values())),
        "",
    ]


def _plain(outcome: Ingested) -> dict[str, object]:
    merchant = outcome.merchant
    return {
        "source": outcome.source,
        "status": outcome.status,
        "page": outcome.page_number,
        "image_id": outcome.image_id,
        "run_id": outcome.run_id,
        "merchant": None
        if merchant is None
        else {
            "name": merchant.name,
            "confidence": merchant.confidence,
            "source": merchant.source,
            "phone": merchant.phone,
            "address": merchant.address,
            "date": merchant.date,
            "total": merchant.total,
            "explanation": merchant.explanation,
        },
        "rows": outcome.rows,
        "words": outcome.words,
        "durations_s": dict(outcome.durations_s),
        "error": outcome.error.as_json() if outcome.error else None,
    }


def _judge(outcomes: list[Ingested]) -> None:
    refused = [outcome for outcome in outcomes if outcome.error is not None]
    if not refused:
        return
    first = refused[0].error
    if first is not None and len(refused) == len(outcomes) == 1:
        raise first
    names = ", ".join(os.path.basename(o.source) or o.source for o in refused[:5])  # noqa: PTH119
    more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""  # noqa: PLR2004
    message = f"{len(refused)} of {len(outcomes)} could not be ingested: {names}{more}"
    if len(refused) == len(outcomes):
        raise RefusedInput(message, kind="all-refused", hint="the table above says why for each")
    raise Incomplete(
        message,
        kind="some-refused",
        hint="the others are stored; mend these and run the same command again",
    )
