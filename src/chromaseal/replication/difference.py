"""Two versions -> what changed between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chromaseal.parts import Parts
from chromaseal.sandbox import Plain, limits_for
from chromaseal.seal.page_table import Tables, differing_pages
from chromaseal.snapshot.manifest import Version

_NAMED_IDS = 1000


@dataclass(frozen=True, slots=True)
class Changed:
    """Records: how many, and the ids of the first thousand."""

    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectionDifference:
    """What changed in one ChromaDB collection."""

    added: Changed
    changed: Changed
    removed: Changed


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one version to another.

    Attributes:
        before: the one version.
        after: the other.
        collections: the records, by ChromaDB collection.
        pages: by file that differs, how many pages of the other are not in the one.
        size_bytes: by how many bytes the directory grew.
        step_bytes: what a reader fetches to get from the one to the other, where the other is
            its child; None elsewhere.
    """

    before: Version
    after: Version
    collections: Mapping[str, CollectionDifference]
    pages: Mapping[str, int]
    size_bytes: int
    step_bytes: int | None


def difference(parts: Parts, before: Version, after: Version) -> Difference:
    """Compare two versions of a collection.

    Raises:
        Damaged: one of them cannot be fetched whole.
    """
    with parts.checkouts.workspace() as workspace:
        # Copies, because what is kept of the one may go when the other is brought.
        one, other = workspace / "before", workspace / "after"
        old_tables = parts.checkouts.copy(before, one).tables
        new_tables = parts.checkouts.copy(after, other).tables
        answer = parts.sandbox.run(
            "compare",
            {"before": str(one), "after": str(other), "limit": _NAMED_IDS},
            limits=limits_for(before.manifest.size_bytes + after.manifest.size_bytes),
        )
    parent, step = after.manifest.parent, after.manifest.step
    child = parent is not None and parent.version_id == before.version_id
    return Difference(
        before=before,
        after=after,
        collections={name: _collection(each) for name, each in answer["collections"].items()},
        pages=_pages(old_tables, new_tables),
        size_bytes=after.manifest.size_bytes - before.manifest.size_bytes,
        step_bytes=step.size_bytes if child and step is not None else None,
    )


def _collection(answer: Plain) -> CollectionDifference:
    kinds = {kind: Changed(each["count"], tuple(each["ids"])) for kind, each in answer.items()}
    return CollectionDifference(**kinds)


def _pages(before: Tables, after: Tables) -> dict[str, int]:
    counts = {path: len(differing_pages(before.get(path), table)) for path, table in after.items()}
    return {path: count for path, count in counts.items() if count}
