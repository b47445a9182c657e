"""The job "compare": two directories -> the records that were added, changed and removed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chromaseal.adapters.chroma.database import Database
from chromaseal.adapters.chroma.inspector import collection_anatomy
from chromaseal.record import Record, record_digest
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.anatomy import CollectionAnatomy
from chromaseal.seal.checks import records

# Of a direction's components: what dividing by a length in single precision may leave.
_TOLERANCE = 1e-5
_DEFAULT_DATABASE = ("default_tenant", "default_database")


def run(request: Plain, progress: Progress) -> Plain:
    """Compare the records of two directories that passed their checks.

    Args:
        request: ``before`` and ``after``, directories; ``limit``, how many ids to name of each
            kind and collection.
        progress: called with read and all directories.

    Returns:
        ``collections``: by name, outside ChromaDB's default database by
        ``tenant/database/name``: ``added``, ``changed``, ``removed``, each with ``count`` and
        ``ids``.
    """
    progress(0, 2)
    before = _records(Path(request["before"]))
    progress(1, 2)
    after = _records(Path(request["after"]))
    progress(2, 2)
    limit = request["limit"]
    return {
        "collections": {
            name: _difference(before.get(name, {}), after.get(name, {}), limit)
            for name in sorted(before.keys() | after.keys())
        }
    }


def _difference(before: dict[str, _Seen], after: dict[str, _Seen], limit: int) -> Plain:
    changed = [i for i in before.keys() & after.keys() if not before[i].same(after[i])]
    found = {
        "added": after.keys() - before.keys(),
        "changed": changed,
        "removed": before.keys() - after.keys(),
    }
    return {k: {"count": len(ids), "ids": sorted(ids)[:limit]} for k, ids in found.items()}


class _Seen(NamedTuple):
    """What two records are compared by.

    ChromaDB divides the vectors of a cosine collection by their length when it flushes them, not
    before, so there the direction counts, and not to the last bit.
    """

    digest: bytes
    direction: NDArray[np.float32] | None

    def same(self, other: _Seen) -> bool:
        """Whether both are the same record."""
        if self.digest != other.digest:
            return False
        if self.direction is None or other.direction is None:
            return self.direction is other.direction
        if self.direction.shape != other.direction.shape:
            return False
        return bool(np.abs(self.direction - other.direction).max(initial=0) < _TOLERANCE)


def _seen(record: Record, space: str) -> _Seen:
    if space != "cosine":
        return _Seen(record_digest(record), None)
    length = float(np.linalg.norm(record.embedding)) or 1.0
    return _Seen(record_digest(record, with_embedding=False), record.embedding / length)


def _named(anatomy: CollectionAnatomy) -> str:
    """Name a collection; two databases of one directory may have one of the same name."""
    place = () if anatomy.database == _DEFAULT_DATABASE else anatomy.database
    return "/".join((*place, anatomy.name))


def _records(directory: Path) -> dict[str, dict[str, _Seen]]:
    with Database(directory) as database:
        anatomies = [collection_anatomy(directory, database, c) for c in database.collections()]
        return {
            _named(anatomy): {
                record.id: _seen(record, anatomy.space) for record in records(anatomy)
            }
            for anatomy in anatomies
        }
