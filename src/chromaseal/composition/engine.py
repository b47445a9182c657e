"""URLs -> a vault with everything that it needs."""

from __future__ import annotations

import functools
import gc
import os
import platform
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version as release_of
from pathlib import Path
from typing import TYPE_CHECKING

from chromaseal.adapters.chroma.open_files import ProbedOpenFiles
from chromaseal.adapters.linux.boot import boot_id
from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.linux.file_system import LinuxFileSystem
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.local.object_store import ForeignDirectory, LocalObjectStore
from chromaseal.adapters.obstore.object_store import ForeignBucket, ObstoreObjectStore
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import Clock, SystemClock
from chromaseal.compaction.open_copies import OpenCopies
from chromaseal.errors import NotFound, Unavailable, Unsupported, UsageError
from chromaseal.ids import Ids, SystemIds
from chromaseal.legacy.mirror import MirroredVault
from chromaseal.object_store import ObjectStore
from chromaseal.observed_store import ObservedStore
from chromaseal.parts import Parts
from chromaseal.pin import pin_vault
from chromaseal.reader import Reader
from chromaseal.retried_store import RetriedStore
from chromaseal.run.deferred_ledger import LedgerWithLeases
from chromaseal.run.late_ledger import LateLedger
from chromaseal.run.unnamed_ledger import UnnamedLedger
from chromaseal.sandbox import Sandbox
from chromaseal.settings import (
    NO_LEDGER,
    Settings,
    file_path,
    is_dynamodb,
    is_postgres,
    resolve,
    without_secrets,
)
from chromaseal.snapshot.checkouts import Checkouts
from chromaseal.snapshot.manifest import Version
from chromaseal.vault import Vault

if TYPE_CHECKING:
    from chromaseal.adapters.dynamodb.ledger import DynamoLedger
    from chromaseal.adapters.dynamodb.table import Table
    from chromaseal.adapters.sqlalchemy.ledger import SqlLedger

CLOUD_SCHEMES = ("s3://", "gs://", "az://", "memory://")
# A receipt changes two collections, and their merges have nothing to do with each other.
_MERGES_AT_ONCE = 2
_CHILD_MODULES = (
    "chromaseal.adapters.chroma.live_copy",
    "chromaseal.adapters.chroma.merge",
    "chromaseal.adapters.chroma.verification",
    "chromaseal.adapters.chroma.verification_of_changes",
)
_MERGER = "chromaseal.adapters.chroma.merge_on"


def settings_here(*, vault: str = "", ledger: str = "") -> Settings:
    """Decide where vault and ledger are, from this process's environment and folder."""
    return resolve(
        vault=vault,
        ledger=ledger,
        environment=os.environ,
        folder=Path.cwd(),
        home=Path.home(),
    )


def open_vault(
    settings: Settings,
    *,
    create: bool = True,
    only_read: bool = False,
    made: Callable[[str], None] = lambda _: None,
    keep_open: bool = False,
    store: ObjectStore | None = None,
    sandbox: Sandbox | None = None,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> Vault:
    """Open a vault.

    Args:
        settings: where everything is.
        create: whether an empty prefix becomes a vault.
        only_read: whether the ledger is only to be read; then none is made, either.
        made: told the URL of a vault that was not there before.
        keep_open: whether working copies stay open from one compaction to the next.
        store: the one that the settings name by default.
        sandbox: child processes by default.
        clock: the system's by default.
        ids: the system's by default.

    Raises:
        UsageError: ``bad-url`` or ``missing-extra``.
        NotFound: ``no-vault``, and ``create`` is False.
        Conflict: ``not-a-vault`` or ``cannot-write``.
        Unsupported: ``no-conditional-writes``, by the store of a new vault; ``newer-ledger``.
        Unavailable: store or ledger did not answer.
    """
    clock, ids = clock or SystemClock(), ids or SystemIds()
    store = store or open_store(settings.vault, ids, clock=clock)
    vault_id = _vault_id(store, ids, create=create, made=made)
    ledger = _ledger(settings.ledger, vault_id, clock, ids, only_read=only_read)
    processes = _processes()
    sandbox = sandbox or processes
    store = ObservedStore(store)
    cache = settings.cache
    parts = Parts(
        store=store,
        ledger=ledger,
        leases=ledger,
        codec=ParquetDeltaCodec(),
        sandbox=sandbox,
        open_files=ProbedOpenFiles(ProcOpenFiles(), private=cache),
        file_system=LinuxFileSystem(),
        checkouts=Checkouts(store, cache, vault_id, clock=clock, ids=ids, boot_id=boot_id()),
        exchange=exchange,
        clock=clock,
        ids=ids,
        writer=_writer(),
    )

    held = ExitStack()
    for each in (ledger, processes, sandbox):
        held.callback(each.close)
    copies = _open_copies(parts, processes) if keep_open else None
    return _vault(parts, settings.mirror_legacy, held, copies)


def _vault(parts: Parts, mirror_url: str, held: ExitStack, copies: OpenCopies | None) -> Vault:
    if not mirror_url:
        return Vault(parts, open_reader=_open_reader, close=held.close, copies=copies)
    mirror = open_foreign_store(mirror_url, parts.ids, clock=parts.clock)
    return MirroredVault(
        parts, mirror=mirror, open_reader=_open_reader, close=held.close, copies=copies
    )


def _processes() -> SandboxPool:
    return SandboxPool([ProcessSandbox(preload=_CHILD_MODULES) for _ in range(_MERGES_AT_ONCE)])


def _open_copies(parts: Parts, processes: SandboxPool) -> OpenCopies:
    start_merger = functools.partial(processes.dedicated, preload=[_MERGER])
    return OpenCopies(parts, start_merger, most=_MERGES_AT_ONCE)


def _bound_ledger(
    url: str, vault_id: str, clock: Clock, ids: Ids, *, only_read: bool
) -> LedgerWithLeases:
    ledger = open_ledger(url, only_read=only_read, clock=clock, ids=ids)
    try:
        ledger.bind(vault_id)
    except BaseException:
        ledger.close()
        raise
    return ledger


def _vault_id(store: ObjectStore, ids: Ids, *, create: bool, made: Callable[[str], None]) -> str:
    try:
        return pin_vault(store, ids=ids, create=False)
    except NotFound:
        if not create:
            raise
    if isinstance(store, LocalObjectStore):
        store.make()
    vault_id = pin_vault(store, ids=ids, create=True)
    made(store.url)
    return vault_id


def open_store(url: str, ids: Ids, *, clock: Clock | None = None) -> ObjectStore:
    """Open the object store that a URL names; what a bucket does not answer is asked again.

    Raises:
        UsageError: ``bad-url``.
    """
    bucket = _retried(ObstoreObjectStore, clock, ids)
    return _store(url, ids, LocalObjectStore, bucket, "vault")


def open_foreign_store(url: str, ids: Ids, *, clock: Clock | None = None) -> ObjectStore:
    """Open the object store that a URL names and whose objects others have named.

    Raises:
        UsageError: ``bad-url``.
    """
    bucket = _retried(ForeignBucket, clock, ids)
    return _store(url, ids, ForeignDirectory, bucket, "bucket")


def _retried(
    bucket: type[ObstoreObjectStore], clock: Clock | None, ids: Ids
) -> Callable[[str], ObjectStore]:
    return lambda url: RetriedStore(bucket(url), clock=clock or SystemClock(), ids=ids)


def _store(
    url: str,
    ids: Ids,
    directory: type[LocalObjectStore],
    bucket: Callable[[str], ObjectStore],
    what: str,
) -> ObjectStore:
    if url.startswith("file://"):
        return directory(file_path(url), ids=ids)
    if url.startswith(CLOUD_SCHEMES):
        return bucket(url)
    raise UsageError(
        f"{without_secrets(url)!r} is no {what} that chromaseal can open",
        kind="bad-url",
        hint="a path, file:///, s3://, gs:// or az://",
    )


def _ledger(
    url: str, vault_id: str, clock: Clock, ids: Ids, *, only_read: bool
) -> LedgerWithLeases:
    """Open a vault's ledger; one that cannot be used complains when it is asked, not before."""
    if only_read and url.startswith("sqlite:///") and not file_path(url).exists():
        return UnnamedLedger(lambda: _missing_ledger(url), without_secrets(url))
    opened = functools.partial(_bound_ledger, url, vault_id, clock, ids, only_read=only_read)
    # Versions can be looked at whatever the ledger says.
    try:
        return opened()
    except Unavailable as error:
        return LateLedger(opened, error, without_secrets(url), clock=clock)
    except Unsupported as error:
        why = functools.partial(Unsupported, error.message, kind=error.kind, hint=error.hint)
        return UnnamedLedger(why, without_secrets(url))


def _missing_ledger(url: str) -> NotFound:
    return NotFound(
        f"there is no ledger at {file_path(url)}",
        kind="missing-ledger",
        hint="chromaseal doctor --rebuild-ledger makes one from what the vault holds",
    )


def open_ledger(
    url: str, *, only_read: bool = False, clock: Clock | None = None, ids: Ids | None = None
) -> SqlLedger | DynamoLedger | UnnamedLedger:
    """Open the ledger that a URL names, which keeps the leases too.

    Args:
        url: where it is.
        only_read: whether nothing may be written, not even where there is none.
        clock: the system's by default.
        ids: the system's by default.

    Raises:
        UsageError: ``bad-url``, or ``missing-extra`` where PostgreSQL's driver, or boto3 for
            DynamoDB, is not installed.
        Unavailable: ``ledger-unavailable``.
        Unsupported: ``newer-ledger``.
    """
    if url == NO_LEDGER:
        return UnnamedLedger()
    if is_dynamodb(url):
        return _dynamo_ledger(url, only_read, clock or SystemClock(), ids or SystemIds())
    if not is_postgres(url) and not url.startswith(("memory://", "sqlite:///")):
        raise UsageError(
            f"{without_secrets(url)!r} is no ledger that chromaseal can open",
            kind="bad-url",
            hint="a path, sqlite:///, postgresql:// or dynamodb://",
        )
    path = None if is_postgres(url) or url.startswith("memory://") else file_path(url)
    # SQLAlchemy takes long to import, and reading help or a vault without a ledger needs none.
    with _uncollected():
        from chromaseal.adapters.sqlalchemy.ledger import SqlLedger  # noqa: PLC0415

        if is_postgres(url):
            from chromaseal.adapters.sqlalchemy.postgres import PostgresDatabase  # noqa: PLC0415

            return SqlLedger(PostgresDatabase(url, clock=clock, ids=ids))
        from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase  # noqa: PLC0415

        return SqlLedger(SqliteDatabase(path, only_read=only_read, clock=clock, ids=ids))


def _dynamo_ledger(url: str, only_read: bool, clock: Clock, ids: Ids) -> DynamoLedger:  # noqa: FBT001
    table = open_table(url, clock, ids)
    from chromaseal.adapters.dynamodb.ledger import DynamoLedger  # noqa: PLC0415

    return DynamoLedger(table, only_read=only_read)


def open_table(url: str, clock: Clock, ids: Ids) -> Table:
    """Open the DynamoDB table that a ledger's URL names.

    Raises:
        UsageError: ``bad-url`` or ``missing-extra``.
    """
    from chromaseal.adapters.dynamodb.place import parse  # noqa: PLC0415

    # What S3 vaults go by counts here as well; boto3 by itself knows AWS_DEFAULT_REGION only.
    place = parse(url)
    place = replace(place, region=place.region or os.environ.get("AWS_REGION", ""))
    try:
        with _uncollected():
            from chromaseal.adapters.dynamodb.table import Table, connect  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed, and a ledger in DynamoDB needs it",
            kind="missing-extra",
            hint="pip install 'chromaseal[aws]'",
        ) from error
    return Table(place, connect(place), clock=clock, ids=ids)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile; while thousands of classes are made, that is a third of it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _open_reader(version: Version, directory: Path, held: ExitStack) -> Reader:
    # ChromaDB takes about 1.5 s to import, so only those who read in this process pay for it.
    from chromaseal.adapters.chroma.reader import ChromaReader  # noqa: PLC0415

    try:
        return ChromaReader(version, directory, held)
    except BaseException:
        held.close()
        raise


def _writer() -> dict[str, str]:
    return {
        "chromaseal": release_of("chromaseal"),
        "chromadb": release_of("chromadb"),
        "python": platform.python_version(),
        "host": socket.gethostname(),
    }
