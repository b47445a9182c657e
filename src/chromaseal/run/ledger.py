"""The ledger as the engine sees it: runs and the states of their parts.

The ledger says what is to be done; the vault says what has been done. A ledger that is lost
can be rebuilt from the vault, and one that is behind harms nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from chromaseal.run.model import Run, RunState


class Listener(Protocol):
    """Who waits for runs. It hears all that was announced since it began, between its waits too."""

    def wait(self, timeout_s: float, *, stop: threading.Event | None = None) -> bool:
        """Wait until runs of the collections were added or went back to PENDING.

        Args:
            timeout_s: how long at most; 0 only looks.
            stop: ends the wait within half a second when it is set.

        Returns:
            Whether there may be runs that were not there at the last wait, or the beginning.
            True without any does no harm.

        Raises:
            Unavailable: the ledger does not answer; the listener may be asked again.
        """
        ...


class Ledger(Protocol):
    """Where runs are kept."""

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        ...

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it.

        Raises:
            Conflict: ``other-vault``, the ledger keeps the runs of another one.
        """
        ...

    def bound_to(self) -> str:
        """Give the id of the vault that the ledger is tied to; empty for none."""
        ...

    def add(self, run: Run) -> bool:
        """Keep a new run; one of that id that is there stays as it is.

        Returns:
            Whether it was new.
        """
        ...

    def get(self, run_id: str) -> Run | None:
        """Give one run; None where there is none."""
        ...

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text, as people shorten ids."""
        ...

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first; those with a part of that collection and state."""
        ...

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value, newest first."""
        ...

    def waiting(self, collection: str, *, limit: int | None = None) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING, oldest first.

        Args:
            collection: which.
            limit: how many of the oldest; None for all.
        """
        ...

    def counts(self, collection: str) -> Mapping[RunState, int]:
        """Count the parts of a collection in each state, without reading the runs."""
        ...

    def listen(self, collections: Collection[str]) -> AbstractContextManager[Listener]:
        """Hear of runs that are added to collections, or go back to PENDING, from now on.

        Whoever listens first and then looks for runs misses none.
        """
        ...

    def move(
        self,
        run_ids: Iterable[str],
        collection: str,
        *,
        states: Iterable[RunState],
        to: RunState,
        at: str,
        version_id: str = "",
        error: str = "",
    ) -> int:
        """Move parts of runs to another state, those only that are in one of ``states``.

        Moving to MERGING counts an attempt and notes ``at`` as the start; moving to COMPLETED,
        FAILED or CANCELLED notes it as the finish. ``version_id`` is kept as given, and ``error``
        but for NUL and what is no character; a ledger may cut one that is longer than 4 KB.

        Each part moves whole. Where the ledger stops answering, some may have moved: asked again,
        those are not in ``states`` any more, or move once more.

        Returns:
            How many were moved.
        """
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...
