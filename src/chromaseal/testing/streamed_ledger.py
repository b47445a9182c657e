"""A ledger in a table whose stream tells of every change, as DynamoDB's does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from chromaseal.adapters.dynamodb.items import run_item
from chromaseal.run.ledger import Ledger
from chromaseal.run.model import Run

# Told of an item before and after a change.
Put: TypeAlias = Callable[[Mapping[str, Any] | None, Mapping[str, Any] | None], object]


class StreamedLedger:
    """A ledger whose changes are in a table's stream, as they are made.

    Args:
        inner: has the runs.
        put: records a change in the stream.
    """

    def __init__(self, inner: Ledger, put: Put) -> None:
        self._inner = inner
        self._put = put

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a ledger has
        return getattr(self._inner, name)

    def add(self, run: Run) -> bool:
        """Keep a new run."""
        is_new = self._inner.add(run)
        if is_new:
            self._put(None, run_item(run, "w"))
        return is_new

    def move(self, run_ids: Iterable[str], collection: str, **to: Any) -> int:  # noqa: ANN401
        """Move parts of runs to another state."""
        ids = list(run_ids)
        before = [self._inner.get(run_id) for run_id in ids]
        count = self._inner.move(ids, collection, **to)
        for old in before:
            new = self._inner.get(old.run_id) if old else None
            if old and new and old != new:
                self._put(run_item(old, "w"), run_item(new, "w"))
        return count
