"""Options that every command has, and what they become."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from importlib.metadata import version as release_of
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

from chromaseal.composition.engine import open_vault, settings_here
from chromaseal.composition.telemetry import watched
from chromaseal.entrypoints.cli.retries import RetriesNoted
from chromaseal.errors import Incomplete, NotFound, UsageError
from chromaseal.legacy.mirror import MirroredVault
from chromaseal.settings import file_path
from chromaseal.telemetry.emit import step
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
        help="The ledger: a path, sqlite:///, postgresql:// or dynamodb://. Default: "
        "$CHROMASEAL_LEDGER, then chromaseal.toml, then a file inside a local vault.",
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON object per line, for programs.")
]


def refuse_empty(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Refuse an empty text that was given: an unset variable must not mean the newest version."""
    source = ctx.get_parameter_source(param.name or "")
    if source is not None and source.name == "COMMANDLINE" and not value.strip():
        raise typer.BadParameter("it is empty; leave it out for the newest version")
    return value


def refuse_path(ctx: typer.Context, value: str) -> str:
    """Refuse a directory where a collection's name belongs: the two are easily exchanged."""
    if "/" in value:
        raise UsageError(
            f"{value} is a path, not a collection's name",
            kind="bad-collection-name",
            hint=" ".join(ctx.get_usage().removeprefix("Usage:").split()),
        )
    return value


AtOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="VERSION",
        callback=refuse_empty,
        help="A number, an id, a tag, or a time: 2026-11-20T14:00 (UTC) or '2 hours ago'. "
        "Default: the newest.",
    ),
]
VersionArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="VERSION", help="A number, an id, a tag or a time.", callback=refuse_empty
    ),
]
CollectionArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="Which collection.", callback=refuse_path)
]
IntervalOption: TypeAlias = Annotated[
    float,
    typer.Option("--interval", metavar="SECONDS", min=0.01, help="How long to wait in between."),
]


def open_here(
    vault: str,
    ledger: str,
    *,
    create: bool = False,
    only_read: bool = False,
    keep_open: bool = False,
) -> Vault:
    """Open the vault that the options name; say so where that made it, or its ledger."""
    settings = settings_here(vault=vault, ledger=ledger)
    file = file_path(settings.ledger) if settings.ledger.startswith("sqlite:///") else None
    is_new = file is not None and not file.exists()
    made: list[str] = []

    def tell(url: str) -> None:
        made.append(url)
        _tell_made(url)

    opened = open_vault(
        settings, create=create, only_read=only_read, keep_open=keep_open, made=tell
    )
    if file is not None and is_new and not made and file.exists():
        # Without a lost one it looks as if there had never been a run.
        lost = "if one was lost: chromaseal doctor --rebuild-ledger"
        typer.echo(f"made a ledger at {file}; {lost}", err=True)
    return opened


@contextlib.contextmanager
def open_for(collection: str, vault: str, ledger: str) -> Iterator[Vault]:
    """Open the vault that has a collection; a mistyped name gets the right ones.

    Raises:
        NotFound: ``no-collection`` in place of what is not found in a collection that is not there.
    """
    with open_here(vault, ledger) as opened:
        try:
            yield opened
        except NotFound:
            opened.log(collection)
            raise


def complain_of_mirror(opened: Vault) -> None:
    """Fail where what was published could not be written into the mirror as well.

    Raises:
        Incomplete: ``not-mirrored``.
    """
    if isinstance(opened, MirroredVault) and (why := not_mirrored(opened)):
        raise Incomplete(
            why,
            kind="not-mirrored",
            hint=f"chromaseal export COLLECTION --to {opened.mirror_url}; a worker tries again",
        )


def not_mirrored(opened: Vault) -> str:
    """Say what was published and could not be written into the mirror; empty for nothing."""
    behind = opened.behind if isinstance(opened, MirroredVault) else {}
    return "; ".join(
        f"the newest version of {name} is published, and is not in the mirror: {error.message}"
        for name, error in behind.items()
    )


def _tell_made(url: str) -> None:
    # A mistyped --vault is a new one. Programs read standard output, people this.
    typer.echo(f"made a vault at {url}", err=True)


class Command(TyperCommand):
    """A command whose usage line names arguments as the reference does: ``DIR [VERSION]``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(*args, **kwargs)
        # Terminals break lines where they end, not where the source does.
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        self.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - without a public name
        """Give the pieces of the usage line."""
        pieces = super().collect_usage_pieces(ctx)
        plain = (piece.replace("{", "").replace("}", "") for piece in pieces)
        return [piece.replace("[[", "[").replace("]]", "]").upper() for piece in plain]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chromaseal {release_of('chromaseal')}, chromadb {release_of('chromadb')}")
        raise typer.Exit


def whole_program(
    ctx: typer.Context,
    verbosity: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            help="Tell on standard error what happens, step by step; twice for every detail. "
            "$CHROMASEAL_LOG=json makes lines for programs of it.",
        ),
    ] = 0,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """Verified, versioned snapshots of ChromaDB directories and receipts on object storage."""
    # Its callback has ended the program.
    del version
    if isinstance(ctx.obj, contextlib.ExitStack):
        noted = RetriesNoted(lambda text: typer.echo(text, err=True))
        ctx.obj.enter_context(watched(os.environ, verbosity=verbosity, without_log=noted))
        ctx.obj.enter_context(step("chromaseal", command=ctx.invoked_subcommand or ""))
