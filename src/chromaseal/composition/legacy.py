"""The existing pipeline's bucket and table, by their URLs -> what is taken over of them."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from chromaseal.composition.engine import open_foreign_store, open_table
from chromaseal.errors import UsageError
from chromaseal.fleet.turn import IsOver, Terms, Work, one_at_a_time
from chromaseal.ids import Ids
from chromaseal.legacy.adoption import adopt_runs
from chromaseal.legacy.bucket import LegacyBucket, refuse_vault
from chromaseal.legacy.deltas import KNOWN, REFUSED, Adopted, LegacyRun, runs_in
from chromaseal.legacy.exporting import Exported, export
from chromaseal.legacy.importing import ImportedSnapshot, import_snapshot
from chromaseal.legacy.mirror import MirroredVault
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.settings import Settings, as_url, is_dynamodb
from chromaseal.stream.adopting import message_adopter
from chromaseal.stream.batch import Adopt
from chromaseal.telemetry.emit import step
from chromaseal.vault import Vault

# Deltas expire after a week.
_YOUNGER = dt.timedelta(days=8)


def open_legacy(place: str, ids: Ids) -> LegacyBucket:
    """Open the bucket that a path or URL names, to read it.

    Raises:
        UsageError: ``bad-url`` or ``is-a-vault``.
        Unavailable: it did not answer.
    """
    store = open_foreign_store(as_url(place, Path.cwd()), ids)
    refuse_vault(store)
    return LegacyBucket(store)


def import_one(
    vault: Vault,
    bucket: LegacyBucket,
    collection: str,
    *,
    at: str = "",
    replace: bool = False,
    progress: StepProgress = no_step_progress,
) -> ImportedSnapshot | None:
    """Publish a snapshot of the existing pipeline; see ``legacy.importing.import_snapshot``."""
    with step("import", collection=collection):
        imported = import_snapshot(
            vault.parts, bucket, collection, at=at, replace=replace, progress=progress
        )
        if imported is not None and imported.new and isinstance(vault, MirroredVault):
            vault.bring_mirror_on(collection)
    return imported


def export_one(
    vault: Vault,
    collection: str,
    place: str,
    *,
    at: str = "",
    progress: StepProgress = no_step_progress,
) -> Exported:
    """Write a version in the old layout; see ``legacy.exporting.export``."""
    store = open_foreign_store(as_url(place, Path.cwd()), vault.parts.ids)
    with step("export", collection=collection):
        return export(vault.parts, vault.version(collection, at), store, progress=progress)


def waiting_runs(
    bucket: LegacyBucket,
    settings: Settings,
    vault: Vault,
    *,
    younger: dt.timedelta | None = None,
) -> tuple[list[LegacyRun], list[str]]:
    """Find the runs that wait: those that the table names, or else those whose deltas are there.

    Args:
        bucket: where the deltas are.
        settings: which ledger; a DynamoDB table is the pipeline's too.
        vault: whose parts are used.
        younger: only runs that began within this time; all by default.

    Returns:
        The runs, the oldest first where that is known, and ids of those that are doubtful.
    """
    parts = vault.parts
    if not is_dynamodb(settings.ledger):
        return runs_in(bucket)
    from chromaseal.adapters.dynamodb.legacy_runs import legacy_runs  # noqa: PLC0415

    since = parts.clock.now() - younger if younger is not None else None
    with closing(open_table(settings.ledger, parts.clock, parts.ids)) as table:
        return list(legacy_runs(table, since=since))[::-1], []


def merged_runs(settings: Settings, vault: Vault) -> list[LegacyRun]:
    """Give the runs that the pipeline's table says to be merged, no older than deltas become.

    None without such a table.
    """
    if not is_dynamodb(settings.ledger):
        return []
    from chromaseal.adapters.dynamodb.legacy_runs import legacy_runs  # noqa: PLC0415

    parts = vault.parts
    since = parts.clock.now() - _YOUNGER
    with closing(open_table(settings.ledger, parts.clock, parts.ids)) as table:
        return list(legacy_runs(table, since=since, merged=True))[::-1]


def adopter(
    vault: Vault,
    settings: Settings,
    place: str,
    terms: Terms,
    told: Callable[[Adopted], None],
) -> Work:
    """Give what adopts runs as producers of the existing pipeline write them.

    Args:
        vault: where to.
        settings: which ledger.
        place: the bucket that has the deltas.
        terms: how; one process of the fleet at a time does it.
        told: called with what became of each new run; of one that is refused, once.

    Raises:
        UsageError: ``needs-dynamodb``, nothing but the table tells which deltas are complete.
    """
    if not is_dynamodb(settings.ledger):
        raise UsageError(
            "deltas can be adopted as they come where the ledger is the pipeline's own table",
            kind="needs-dynamodb",
            hint="--ledger dynamodb://TABLE?region=REGION; chromaseal import takes over what waits",
        )
    bucket = open_legacy(place, vault.parts.ids)
    refused: set[str] = set()

    def look(is_over: IsOver) -> None:
        runs, _ = waiting_runs(bucket, settings, vault, younger=_YOUNGER)
        for done in adopt_runs(vault.parts, bucket, [r for r in runs if r.run_id not in refused]):
            if done.status == REFUSED:
                refused.add(done.run_id)
            # An index goes on naming for a while what has just been adopted.
            if done.status != KNOWN:
                told(done)
            if is_over():
                return

    return one_at_a_time(vault, "_adopt", terms, look)


def adopting(
    vault: Vault, settings: Settings, place: str, told: Callable[[Adopted], None]
) -> Adopt:
    """Give what adopts the runs that messages tell of and that other programs wrote.

    Args:
        vault: where to.
        settings: which ledger; a DynamoDB table, which is the pipeline's too.
        place: the bucket that has the deltas.
        told: called with what became of each.
    """
    from chromaseal.adapters.dynamodb.legacy_runs import legacy_run  # noqa: PLC0415

    parts = vault.parts
    table = open_table(settings.ledger, parts.clock, parts.ids)
    run_of = functools.partial(legacy_run, table)
    return message_adopter(parts, open_legacy(place, parts.ids), run_of, told)


def mirror_keeper(vault: MirroredVault, terms: Terms, told: Callable[[str, str], None]) -> Work:
    """Give what brings the mirror on where that failed, or a process died before it did.

    Args:
        vault: whose mirror.
        terms: how; one process of the fleet at a time does it.
        told: called with a collection that is behind and the reason.
    """

    def look(is_over: IsOver) -> None:
        for name in vault.collections():
            if not is_over() and not vault.bring_mirror_on(name):
                told(name, vault.behind[name].message)

    return one_at_a_time(vault, "_mirror", terms, look)
