"""The product's doors to store and ledger, each operation of which is a step of the simulation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from chromaseal.errors import Unavailable
from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject
from chromaseal.run.ledger import Ledger, Listener
from chromaseal.run.model import Run, RunState
from chromaseal.testing.simulation.mishaps import Mishap
from chromaseal.testing.simulation.scheduler import Scheduler


class Witness(Protocol):
    """Who looks at every change that was made, before anybody else does anything."""

    def created(self, key: str, body: bytes, *, is_again: bool) -> None:
        """See an object that was not there before, or not since it went."""
        ...

    def replaced(self, key: str, body: bytes) -> None:
        """See an object that has changed."""
        ...

    def deleted(self, key: str) -> None:
        """See that an object has gone."""
        ...

    def undone(self, run_ids: list[str], collection: str) -> None:
        """See that a ledger calls runs open that it called done."""
        ...

    def moved(self, run_ids: list[str], collection: str, to: RunState, version_id: str) -> None:
        """See that a ledger was told of runs."""
        ...


class SimulatedStore:
    """An object store whose every operation is drawn.

    Args:
        inner: where the objects are.
        scheduler: draws.
        witness: looks at what was changed.
    """

    def __init__(self, inner: ObjectStore, scheduler: Scheduler, witness: Witness) -> None:
        self._inner = inner
        self._ask = scheduler.ask
        self._witness = witness

    @property
    def url(self) -> str:
        """Say where the objects are."""
        return self._inner.url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        content, landed = bytes(body), 0

        def act() -> None:
            nonlocal landed
            self._inner.create(key, content)
            # One write that is delivered twice is no second use of a name.
            self._witness.created(key, content, is_again=landed > 0)
            landed += 1

        self._ask("create", key, act)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""

        def act() -> None:
            self._inner.replace(key, body, etag=etag)
            self._witness.replaced(key, body)

        self._ask("replace", key, act)

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        return self._ask("get", key, lambda: self._inner.get(key))

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        read = self._inner.get_range
        return self._ask("get_range", key, lambda: read(key, start=start, length=length))

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        return self._ask("head", key, lambda: self._inner.head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``."""
        return self._ask("list", prefix, lambda: self._inner.list(prefix))

    def delete(self, key: str) -> None:
        """Remove an object."""

        def act() -> None:
            there = self._inner.head(key) is not None
            self._inner.delete(key)
            if there:
                self._witness.deleted(key)

        self._ask("delete", key, act)


class SimulatedLedger:
    """A ledger whose every operation is drawn; what it acknowledges it may lose.

    Args:
        inner: where the runs are.
        scheduler: draws.
        witness: looks at what was changed.
    """

    def __init__(self, inner: Ledger, scheduler: Scheduler, witness: Witness) -> None:
        self._inner = inner
        self._ask = scheduler.ask
        self._witness = witness

    @property
    def url(self) -> str:
        """Say where the runs are."""
        return self._inner.url

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault."""
        self._inner.bind(vault_id)

    def bound_to(self) -> str:
        """Give the id of the vault that the ledger is tied to."""
        return self._inner.bound_to()

    def add(self, run: Run) -> bool:
        """Keep a new run."""

        def refused() -> bool:
            # A silent retry meets the write that it repeats.
            self._inner.add(run)
            return False

        instead = {Mishap.LOST_ROW: lambda: True, Mishap.CONDITION_FAILED: refused}
        return self._ask("add", run.run_id, lambda: self._inner.add(run), instead)

    def get(self, run_id: str) -> Run | None:
        """Give one run."""
        return self._ask("look up", run_id, lambda: self._inner.get(run_id))

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text."""
        return self._ask("look up", prefix, lambda: self._inner.with_prefix(prefix, limit=limit))

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first."""
        find = self._inner.newest
        return self._ask(
            "look up", collection, lambda: find(collection=collection, state=state, limit=limit)
        )

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value."""
        return self._ask("look up", value, lambda: self._inner.find(attribute, value))

    def waiting(self, collection: str, *, limit: int | None = None) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING."""
        return self._ask(
            "waiting", collection, lambda: self._inner.waiting(collection, limit=limit)
        )

    def counts(self, collection: str) -> Mapping[RunState, int]:
        """Count the parts of a collection in each state."""
        return self._ask("look up", collection, lambda: self._inner.counts(collection))

    def listen(self, collections: Collection[str]) -> AbstractContextManager[Listener]:
        """Hear nothing in a simulation but what the ledger itself tells."""
        return self._inner.listen(collections)

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
        """Move parts of runs to another state."""
        ids, from_states = list(run_ids), list(states)

        def throttled() -> int:
            moved(ids[: len(ids) // 2])
            raise Unavailable(f"throttled: {collection} {to}", kind="store-unavailable")

        def moved(ids: list[str]) -> int:
            done = [] if to is RunState.COMPLETED else self._done(ids, collection)
            count = self._inner.move(
                ids,
                collection,
                states=from_states,
                to=to,
                at=at,
                version_id=version_id,
                error=error,
            )
            self._witness.moved(ids, collection, to, version_id)
            undone = set(done) - set(self._done(done, collection))
            self._witness.undone(sorted(undone), collection)
            return count

        instead = {Mishap.LOST_ROW: lambda: len(ids), Mishap.THROTTLED: throttled}
        what = f"{collection} {to} {','.join(ids)}"
        return self._ask("move", what, lambda: moved(ids), instead)

    def _done(self, run_ids: list[str], collection: str) -> list[str]:
        runs = [run for run_id in run_ids if (run := self._inner.get(run_id)) is not None]
        return [
            run.run_id
            for run in runs
            if collection in run.parts and run.parts[collection].state is RunState.COMPLETED
        ]

    def close(self) -> None:
        """Keep everything: others go on."""
