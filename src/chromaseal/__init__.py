"""chromaseal: verified, versioned ChromaDB snapshots on object storage.

The flow, stage by stage: an image becomes a reading (``receipts``), a reading becomes records,
records become a delta (``delta``), a delta waits in a run (``run``), waiting runs are folded
into a private directory (``compaction``), which is sealed and verified (``seal``) and published
as the next immutable version (``snapshot``); readers take private copies.

    vault = chromaseal.open("file:///var/lib/vault")
    vault.write({"notes": Changes(upserts=[Record("a", vector, "text", {})])})
    vault.compact()
    with vault.reader("notes") as reader: ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from chromaseal.async_vault import AsyncVault
    from chromaseal.delta.model import Changes
    from chromaseal.embedding import Embedder, ModelPin
    from chromaseal.errors import ChromasealError
    from chromaseal.reader import Hit, Reader
    from chromaseal.record import Record
    from chromaseal.seal.verdict import Level, Verdict
    from chromaseal.snapshot.manifest import Version
    from chromaseal.snapshot.retention import Policy
    from chromaseal.vault import Vault
    from chromaseal.writing import Written

__all__ = [
    "AsyncVault",
    "Changes",
    "ChromasealError",
    "Embedder",
    "Hit",
    "Level",
    "ModelPin",
    "Policy",
    "Reader",
    "Record",
    "Vault",
    "Verdict",
    "Written",
    "observe",
    "open",
    "open_async",
    "open_copy_from_mount",
    "verify",
]

_HOMES = {
    "AsyncVault": "chromaseal.async_vault",
    "Changes": "chromaseal.delta.model",
    "ChromasealError": "chromaseal.errors",
    "Embedder": "chromaseal.embedding",
    "Hit": "chromaseal.reader",
    "Level": "chromaseal.seal.verdict",
    "ModelPin": "chromaseal.embedding",
    "Policy": "chromaseal.snapshot.retention",
    "Reader": "chromaseal.reader",
    "Record": "chromaseal.record",
    "Vault": "chromaseal.vault",
    "Verdict": "chromaseal.seal.verdict",
    "Written": "chromaseal.writing",
}


def open(url: str = "", *, ledger: str = "", create: bool = True) -> Vault:  # noqa: A001
    """Open a vault.

    Args:
        url: a path or URL: ``file:///``, ``s3://``, ``gs://``, ``az://``, ``memory://``; empty
            to go by ``CHROMASEAL_VAULT``, ``chromaseal.toml`` and ``./vault``.
        ledger: ``sqlite:///path``, ``postgresql://...`` or ``dynamodb://...``; empty to go by
            ``CHROMASEAL_LEDGER``, ``chromaseal.toml`` and a file inside a local vault.
        create: whether an empty place becomes a vault.

    Raises:
        ChromasealError: what is wrong, why, and what to do next.
    """
    from chromaseal.composition.engine import open_vault, settings_here  # noqa: PLC0415

    return open_vault(settings_here(vault=url, ledger=ledger), create=create)


def observe(*, logger: object | None = None, opentelemetry: bool = False) -> None:
    """Tell an application's own log and telemetry what chromaseal does in this process.

    Args:
        logger: a structlog logger, such as ``structlog.get_logger()``.
        opentelemetry: make spans and metrics with the providers that the application has set up.
    """
    from chromaseal.composition.telemetry import observe  # noqa: PLC0415

    observe(logger=logger, opentelemetry=opentelemetry)


async def open_async(url: str = "", *, ledger: str = "", create: bool = True) -> AsyncVault:
    """Open a vault whose verbs are awaited; see ``open``."""
    from asyncio import to_thread  # noqa: PLC0415

    from chromaseal.async_vault import AsyncVault  # noqa: PLC0415

    return AsyncVault(await to_thread(open, url, ledger=ledger, create=create))


def verify(directory: Path | str, level: Level | str = "quick") -> Verdict:
    """Look at any ChromaDB directory that no process has open; it is only read.

    Args:
        directory: what a ``chromadb.PersistentClient`` was opened on.
        level: ``presence``, ``quick`` or ``deep``.

    Raises:
        ChromasealError: why there can be no verdict; what is wrong is in the verdict.
    """
    from chromaseal.composition.directories import verify_directory  # noqa: PLC0415

    return verify_directory(directory, level)


def open_copy_from_mount(
    mount: Path | str, collection: str, directory: Path | str, *, at: str | int = ""
) -> Version:
    """Copy a version from a mount that ``Vault.sync`` keeps, to open with any ChromaDB client.

    No vault is needed: each page is checked by the manifest that is there, and that by the
    version's id. The newest version that is whole is copied where none is named.

    Args:
        mount: the shared directory.
        collection: whose version.
        directory: where to; must not exist or be an empty directory.
        at: a number or an id; the newest by default.

    Raises:
        ChromasealError: what is wrong, why, and what to do next.
    """
    from chromaseal.composition.mount import open_copy_from_mount  # noqa: PLC0415

    return open_copy_from_mount(mount, collection, directory, at=at)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'chromaseal' has no attribute {name!r}")
