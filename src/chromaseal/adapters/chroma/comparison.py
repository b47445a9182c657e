"""The job "compare": two directories -> the records that were added, changed and removed."""

from __future__ import annotations

from pathlib import Path

from chromaseal.adapters.chroma.database import Database
from chromaseal.adapters.chroma.inspector import collection_anatomy
from chromaseal.record import record_digest
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.checks import records


def run(request: Plain, progress: Progress) -> Plain:
    """Compare the records of two directories that passed their checks.

    Args:
        request: ``before`` and ``after``, directories; ``limit``, how many ids to name of each
            kind and collection.
        progress: called with read and all directories.

    Returns:
        ``collections``: by name, ``added``, ``changed``, ``removed``, each with ``count`` and
        ``ids``.
    """
    progress(0, 2)
    before = _digests(Path(request["before"]))
    progress(1, 2)
    after = _digests(Path(request["after"]))
    progress(2, 2)
    limit = request["limit"]
    return {
        "collections": {
            name: _difference(before.get(name, {}), after.get(name, {}), limit)
            for name in sorted(before.keys() | after.keys())
        }
    }


def _difference(before: dict[str, bytes], after: dict[str, bytes], limit: int) -> Plain:
    changed = [i for i in before.keys() & after.keys() if before[i] != after[i]]
    found = {
        "added": after.keys() - before.keys(),
        "changed": changed,
        "removed": before.keys() - after.keys(),
    }
    return {k: {"count": len(ids), "ids": sorted(ids)[:limit]} for k, ids in found.items()}


def _digests(directory: Path) -> dict[str, dict[str, bytes]]:
    with Database(directory) as database:
        anatomies = [collection_anatomy(directory, database, c) for c in database.collections()]
        return {
            anatomy.name: {
                record.id: record_digest(record, with_embedding=anatomy.space != "cosine")
                for record in records(anatomy)
            }
            for anatomy in anatomies
        }
