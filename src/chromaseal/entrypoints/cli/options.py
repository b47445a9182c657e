"""Options that every command has, and what they become."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from chromaseal.composition.engine import open_vault, settings_here
from chromaseal.vault import Vault

VaultOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--vault",
        metavar="URL",
        help="The vault: a path, file:///, s3://, gs://, az://. Default: $CHROMASEAL_VAULT, "
        "then chromaseal.toml, then ./vault.",
    ),
]
LedgerOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--ledger",
        metavar="URL",
        help="The ledger: a path or sqlite:///. Default: $CHROMASEAL_LEDGER, then "
        "chromaseal.toml, then a file inside a local vault.",
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON object per line, for programs.")
]
AtOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="VERSION",
        help="A number, an id, a tag, or a time: 2026-11-20T14:00 (UTC) or '2 hours ago'. "
        "Default: the newest.",
    ),
]
CollectionArgument: TypeAlias = Annotated[str, typer.Argument(help="Which collection.")]
IntervalOption: TypeAlias = Annotated[
    float,
    typer.Option("--interval", metavar="SECONDS", min=0.01, help="How long to wait in between."),
]


def open_here(vault: str, ledger: str, *, create: bool = False) -> Vault:
    """Open the vault that the options name."""
    return open_vault(settings_here(vault=vault, ledger=ledger), create=create)
