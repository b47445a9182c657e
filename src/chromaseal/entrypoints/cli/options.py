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
    str, typer.Option("--at", metavar="VERSION", help="A version's number or id.")
]


def open_here(vault: str, ledger: str, *, create: bool = False) -> Vault:
    """Open the vault that the options name."""
    return open_vault(settings_here(vault=vault, ledger=ledger), create=create)
