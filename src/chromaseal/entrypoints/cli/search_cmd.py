"""chromaseal search: rows and words of receipts, by meaning, by exact text, by metadata."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.composition.receipts import embedder, model_for, save_crop
from chromaseal.entrypoints.cli.options import (
    AtOption,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
)
from chromaseal.entrypoints.cli.output import SHORT_ID, Output
from chromaseal.errors import UsageError
from chromaseal.receipts.records import LINES_COLLECTION
from chromaseal.receipts.search import Found
from chromaseal.receipts.search import search as find
from chromaseal.record import Scalar
from chromaseal.vault import Vault


def search(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What to look for; '' to go by --where only.")
    ],
    collection: Annotated[
        str, typer.Option("--collection", help="lines or words.")
    ] = LINES_COLLECTION,
    limit: Annotated[int, typer.Option("-n", min=1, max=1000, help="Results at most.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="KEY=VALUE", help="Metadata; may be repeated."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="The text itself, capitals and all, not its meaning."),
    ] = False,
    at: AtOption = "",
    crops: Annotated[
        Path | None,
        typer.Option("--save-crop", metavar="DIR", help="Write the piece of each image there."),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="The collection's own by default.")] = "",
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find rows or words of receipts.

    Example: [bold]chromaseal search "total amount" --where merchant_name="Corner Cafe" -n 3[/]
    """
    output = Output.of(as_json=as_json)
    filters = dict(_pair(each) for each in where or [])
    with open_for(collection, vault, ledger) as opened:
        with output.steps() as show:
            reader = opened.reader(
                collection,
                at=at,
                told=output.passed_over,
                progress=functools.partial(show, collection, "fetch"),
            )
        with reader:
            # Exact text and metadata need no model.
            pin = reader.version.manifest.model
            chosen = None if exact or not text else embedder(model or model_for(pin))
            results = find(reader, text, chosen, limit=limit, where=filters, exact=exact)
        saved = _save(opened, results, crops)
    _show(results, saved, output)


def _pair(text: str) -> tuple[str, Scalar]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(
            f"--where {text!r} is not KEY=VALUE", kind="bad-where", hint="--where receipt_id=1"
        )
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return key, value
    return key, parsed if isinstance(parsed, str | int | float | bool) else value


def _save(vault: Vault, results: list[Found], directory: Path | None) -> list[str]:
    if directory is None:
        return [""] * len(results)
    directory.mkdir(parents=True, exist_ok=True)
    return [
        save_crop(vault, found, directory / f"{number:03d}.png")
        for number, found in enumerate(results, 1)
    ]


def _show(results: list[Found], saved: list[str], output: Output) -> None:
    for found, path in zip(results, saved, strict=True):
        output.record("hit", **asdict(found), crop=path)
    if not results:
        output.say("nothing found")
        return
    output.table(
        "Found",
        [
            "distance",
            "text",
            "merchant",
            "receipt",
            "run",
            "box (x y w h)",
            *(["crop"] if any(saved) else []),
        ],
        [
            [*_row(found), *([path] if path else [])]
            for found, path in zip(results, saved, strict=True)
        ],
    )


def _row(found: Found) -> list[object]:
    place = found.place
    return [
        "" if found.distance is None else f"{found.distance:.3f}",
        found.text,
        found.merchant,
        "" if place is None else f"{place.image_id[:SHORT_ID]}#{place.receipt_id}",
        found.run_id[:SHORT_ID],
        ""
        if place is None
        else f"{place.box.x:.3f} {place.box.y:.3f} {place.box.width:.3f} {place.box.height:.3f}",
    ]
