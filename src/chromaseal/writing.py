"""Changes -> deltas in the object store -> a run in the ledger."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from chromaseal import keys, pools
from chromaseal.clock import to_iso
from chromaseal.delta.admission import admit
from chromaseal.delta.model import Changes, Delta, DeltaHeader, same_changes, upserts_of
from chromaseal.embedding import ModelPin
from chromaseal.errors import Conflict, NotFound, RefusedInput
from chromaseal.parts import Parts
from chromaseal.pin import DEFAULT_SPACE, CollectionPin, pin_collection, read_pin
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.settle import put_once
from chromaseal.snapshot.cancellations import has_mark
from chromaseal.telemetry.emit import carried


@dataclass(frozen=True, slots=True)
class Written:
    """A run that is durable.

    Attributes:
        run: as the ledger has it.
        new: False if a run of that id was there before; then nothing was changed.
    """

    run: Run
    new: bool


class Writing:
    """Makes changes durable.

    Args:
        parts: what the vault consists of.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def write(
        self,
        changes: Mapping[str, Changes],
        *,
        model: ModelPin | None,
        run_id: str,
        attributes: Mapping[str, str],
        space: str,
        stored_wins: bool,
        created_at: str = "",
    ) -> Written:
        """Store one run; see ``Vault.write``.

        ``created_at`` is when it began, where that was not here and now.
        """
        if not changes:
            raise RefusedInput("the run names no collection", kind="empty-delta")
        run_id = keys.check_name(run_id or self._parts.ids.run_id())
        for name in changes:
            keys.check_collection(name)
        known = self._parts.ledger.get(run_id)
        if known is not None and known.parts.keys() != changes.keys():
            raise _other_changes(run_id, ", ".join(sorted(known.parts)))
        begun_at = known.created_at if known else self._begun_at(run_id, changes)
        created_at = begun_at or created_at or to_iso(self._parts.clock.now())
        names = tuple(sorted(changes))
        deltas = [
            _delta(DeltaHeader(run_id, n, created_at, model, attributes, names), changes[n])
            for n in names
        ]
        for delta in deltas:
            self._pin(delta, space)
        with pools.pool(len(deltas)) as pool:
            store = carried(functools.partial(self._store, stored_wins=stored_wins))
            stored = pool.map(store, deltas)
            parts = dict(zip(names, stored, strict=True))
        if begun_at and known is None:
            # A ledger that was lost knows of no cancelling either.
            parts = {name: self._as_marked(run_id, name, part) for name, part in parts.items()}
        run = Run(run_id, created_at, parts, dict(attributes))
        new = self._parts.ledger.add(run)
        kept = run if new else self._parts.ledger.get(run_id) or run
        if kept.parts.keys() != changes.keys():
            # Another writer of this id was first, since it was asked for above.
            raise _other_changes(run_id, ", ".join(sorted(kept.parts)))
        refuse_cancelled(kept)
        return Written(kept, new=new)

    def _as_marked(self, run_id: str, name: str, part: RunPart) -> RunPart:
        marked = has_mark(self._parts.store, name, run_id)
        return replace(part, state=RunState.CANCELLED) if marked else part

    def _begun_at(self, run_id: str, changes: Mapping[str, Changes]) -> str:
        """Give when an earlier attempt at the run began; a part of it may be stored."""
        for name in changes:
            stored = self._stored_delta(name, run_id)
            if stored is not None:
                return stored.header.created_at
        return ""

    def _stored_delta(self, collection: str, run_id: str) -> Delta | None:
        key = keys.delta(collection, run_id, self._parts.codec.suffix)
        try:
            return self._parts.codec.decode(self._parts.store.get(key).body)
        except NotFound:
            return None

    def _pin(self, delta: Delta, space: str) -> None:
        name = delta.header.collection
        if not len(delta.upserts):
            # Updates and deletes bring no vectors, so there is nothing to compare.
            if read_pin(self._parts.store, name) is None:
                raise NotFound(
                    f"there is no collection {name} to change records of", kind="no-collection"
                )
            return
        dimension = delta.upserts.embeddings.shape[1]
        pin = read_pin(self._parts.store, name)
        wanted_space = space or (pin.space if pin else DEFAULT_SPACE)
        pin_collection(
            self._parts.store, CollectionPin(name, dimension, wanted_space, delta.header.model)
        )

    def _store(self, delta: Delta, *, stored_wins: bool) -> RunPart:
        header, codec = delta.header, self._parts.codec
        key = keys.delta(header.collection, header.run_id, codec.suffix)
        body = codec.encode(delta)
        try:
            put_once(self._parts.store, key, body)
        except Conflict as error:
            try:
                body = self._parts.store.get(key).body
            except NotFound:
                # A version has it by now, and garbage collection took it after that.
                return self._store(delta, stored_wins=stored_wins)
            stored = codec.decode(body)
            # A ledger made anew would wait for the collections that an earlier attempt named.
            as_before = stored.header.collections in ((), header.collections)
            if stored_wins or (as_before and same_changes(stored, delta)):
                return RunPart(RunState.PENDING, key, len(body), len(stored))
            raise _other_changes(header.run_id, header.collection) from error
        return RunPart(RunState.PENDING, key, len(body), len(delta))


def refuse_cancelled(run: Run) -> None:
    """Refuse to call a run written that will not come into a version.

    Raises:
        Conflict: ``run-cancelled``.
    """
    names = [name for name, part in run.parts.items() if part.state is RunState.CANCELLED]
    if names:
        raise Conflict(
            f"run {run.run_id} was cancelled, for {', '.join(sorted(names))}, and waits no more",
            kind="run-cancelled",
            hint=f"chromaseal runs retry {run.run_id} puts it back",
        )


def _other_changes(run_id: str, collections: str) -> Conflict:
    return Conflict(
        f"run {run_id} already has other changes, for {collections}",
        kind="different-content",
        hint="a run id stands for the same changes for ever; take another one",
    )


def _delta(header: DeltaHeader, changes: Changes) -> Delta:
    try:
        upserts = upserts_of(changes.upserts)
    except ValueError as error:
        raise RefusedInput(
            f"the vectors of one run differ in length: {error}", kind="bad-vector"
        ) from error
    return admit(header, upserts, changes.updates, changes.deletes)
