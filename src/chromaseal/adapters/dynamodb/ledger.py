"""The ledger in a DynamoDB table: one item per run, and what finds it, changed together."""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from chromaseal.adapters.dynamodb import items, transactions
from chromaseal.adapters.dynamodb.items import Item
from chromaseal.adapters.dynamodb.lease import DynamoLeases
from chromaseal.adapters.dynamodb.table import Table
from chromaseal.adapters.dynamodb.transactions import Move
from chromaseal.errors import Conflict, Unavailable, Unsupported
from chromaseal.record import clean_text
from chromaseal.run.lease import Lease
from chromaseal.run.ledger import Listener
from chromaseal.run.model import WAITING_STATES, Run, RunState
from chromaseal.run.polling import PollingListener

_READ_AT_ONCE = 100
# Those who move the same runs at once make each other begin again; one of them always gets on.
_MOVE_TRIES = 100
# Each look of a listener is billed.
_POLL_S = 1.0
# A transaction's items appear one by one: by then those are there that came with the counter.
_ALL_THERE_S = 0.2


class DynamoLedger:
    """Runs and leases in a table, which is there; nothing of it is made before it is needed.

    Args:
        table: where.
        only_read: whether nothing may be written, not even whose ledger it is.

    Raises:
        Unavailable: ``ledger-unavailable``.
        Unsupported: ``newer-ledger``.
    """

    def __init__(self, table: Table, *, only_read: bool = False) -> None:
        self._table = table
        self._only_read = only_read
        self._leases = DynamoLeases(table)
        try:
            self._ledger_item()
        except BaseException:
            table.close()
            raise

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        return self._table.url

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it."""
        found = self._ledger_item()
        if found is None and not self._only_read:
            # Whoever is second, and whoever lost the reply, reads what there is.
            self._table.change(
                items.LEDGER,
                {"vault_id": vault_id, "format": items.FORMAT},
                condition="attribute_not_exists(PK)",
                values={},
            )
            found = self._ledger_item()
        if found is not None and found["vault_id"] != vault_id:
            raise Conflict(
                f"the ledger {self.url} keeps the runs of vault {found['vault_id']}, "
                f"this is {vault_id}",
                kind="other-vault",
                hint="name a ledger of this vault's own with --ledger",
            )

    def bound_to(self) -> str:
        """Give the id of the vault that the ledger is tied to; empty for none."""
        return str((self._ledger_item() or {}).get("vault_id", ""))

    def add(self, run: Run) -> bool:
        """Keep a new run; one of that id that is there stays as it is.

        Raises:
            RefusedInput: ``run-too-large``.
            Conflict: ``foreign-run``.
        """
        write_id, gone = self._table.ids.unique(), ""
        while not self._table.transact(
            transactions.adding(run, write_id, self._shard(), gone=gone)
        ):
            name = self._table.get(items.name_key(run.run_id))
            if name is None:
                raise _foreign(run)
            if name["write_id"] == write_id:
                # The reply to this very transaction was lost.
                return True
            if name["write_id"] == gone or self._table.get(items.pointed(name)) is not None:
                return False
            gone = name["write_id"]
        return True

    def get(self, run_id: str) -> Run | None:
        """Give one run."""
        return next((items.run_of(item) for item in self._items([run_id])), None)

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text, as people shorten ids."""
        if prefix and not items.can_be_id(prefix):
            return []
        names = self._table.query(items.NAMES, prefix=prefix, page=min(limit, _READ_AT_ONCE))
        return list(itertools.islice(self._runs(names, _any_run, at_once=limit), limit))

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first."""
        collections = [collection] if collection else self._collections()
        lists = (items.list_of(state),) if state else items.LISTS
        pages = [
            self._table.query(
                items.list_key(name, listed), newest_first=True, page=min(limit, 1000)
            )
            for listed in lists
            for name in collections
        ]
        entries = heapq.merge(*pages, key=lambda entry: str(entry["SK"]), reverse=True)
        wanted = functools.partial(
            _has_part, collection=collection, states=(state,) if state else tuple(RunState)
        )
        return list(itertools.islice(self._runs(entries, wanted, at_once=limit), limit))

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value, newest first."""
        partition = items.attribute_key(attribute, value)
        return list(self._runs(self._table.query(partition, newest_first=True), _any_run))

    def waiting(self, collection: str, *, limit: int | None = None) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING, oldest first."""
        partition = items.list_key(collection, items.WAITING)
        entries = self._table.query(partition, page=limit)
        wanted = functools.partial(_has_part, collection=collection, states=WAITING_STATES)
        runs = self._runs(entries, wanted, at_once=limit or _READ_AT_ONCE)
        return list(itertools.islice(runs, limit))

    def counts(self, collection: str) -> Mapping[RunState, int]:
        """Count the parts of a collection in each state."""
        shards = list(self._table.query(items.COUNTS, prefix=f"{collection}#"))
        return {state: sum(int(each.get(state, 0)) for each in shards) for state in RunState}

    @contextlib.contextmanager
    def listen(self, collections: Collection[str]) -> Iterator[Listener]:
        """Remember how many announcements there were."""
        names = sorted(set(collections))
        yield PollingListener(
            lambda: sum(self._announced(name) for name in names),
            clock=self._table.clock,
            ids=self._table.ids,
            poll_s=_POLL_S,
            settle_s=_ALL_THERE_S,
        )

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
        """Move parts of runs to another state, those only that are in one of ``states``."""
        why = items.cut(clean_text(error))
        write_id = self._table.ids.unique()
        move = Move(collection, frozenset(states), to, at, version_id, why, write_id)
        ids = sorted(set(run_ids))
        return sum(
            self._move(ids[start : start + _READ_AT_ONCE], move)
            for start in range(0, len(ids), _READ_AT_ONCE)
        )

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has; extend the lease of whoever has it already."""
        return self._leases.acquire(collection, owner, duration_s=duration_s)

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease from now on, if it is still the last one that was given."""
        return self._leases.renew(lease, duration_s=duration_s)

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still the last one that was given."""
        self._leases.release(lease)

    def holder(self, collection: str) -> Lease | None:
        """Give the lease that has not expired."""
        return self._leases.holder(collection)

    def close(self) -> None:
        """Close the connections."""
        self._table.close()

    def _ledger_item(self) -> Item | None:
        found = self._table.get(items.LEDGER)
        if found is not None and int(found["format"]) > items.FORMAT:
            raise Unsupported(
                f"the ledger {self.url} has format {found['format']}, this release knows "
                f"{items.FORMAT}",
                kind="newer-ledger",
                hint="upgrade chromaseal on this machine",
            )
        return found

    def _move(self, ids: list[str], move: Move) -> int:
        moved = 0
        for tries in range(_MOVE_TRIES):
            found = self._items(ids)
            # A lost reply: what this move has done is done, whatever it was told.
            moved += sum(move.made(item) for item in found)
            ids = []
            for group in move.groups([item for item in found if move.takes(item)]):
                if self._table.transact(transactions.moving(group, move, self._shard())):
                    moved += len(group)
                else:
                    ids += [item["run_id"] for item in group]
            if not ids:
                return moved
            self._table.pause(tries)
        raise Unavailable(
            f"{len(ids)} runs could not be moved to {move.to}: others kept moving them",
            kind="ledger-unavailable",
            hint="run the same command again; what was moved stays",
        )

    def _items(self, run_ids: Iterable[str]) -> list[Item]:
        keys = [items.name_key(run_id) for run_id in run_ids if items.can_be_id(run_id)]
        names = self._table.get_many(keys)
        return list(self._table.get_many(map(items.pointed, names.values())).values())

    def _runs(
        self,
        entries: Iterator[Item],
        wanted: Callable[[Run], bool],
        *,
        at_once: int = _READ_AT_ONCE,
    ) -> Iterator[Run]:
        """Read the runs that entries point at, in their order, each once."""
        seen: set[str] = set()
        while some := list(itertools.islice(entries, min(max(at_once, 1), _READ_AT_ONCE))):
            found = self._table.get_many(map(items.pointed, some))
            for each in some:
                item = found.get((each["run_pk"], each["run_sk"]))
                if item is None or item["run_id"] in seen:
                    continue
                run = items.run_of(item)
                # It may have moved on since its entry was read.
                if wanted(run):
                    seen.add(run.run_id)
                    yield run

    def _collections(self) -> list[str]:
        counted = self._table.query(items.COUNTS)
        return sorted({str(each["SK"]).rpartition("#")[0] for each in counted})

    def _announced(self, collection: str) -> int:
        shards = self._table.query(items.COUNTS, prefix=f"{collection}#")
        return sum(int(each.get("announced", 0)) for each in shards)

    def _shard(self) -> int:
        return int(self._table.ids.fraction() * transactions.SHARDS)


def _foreign(run: Run) -> Conflict:
    if items.is_adopted(run):
        return Conflict(
            f"the table says that another program has merged run {run.run_id}",
            kind="foreign-run",
            hint="stop the existing pipeline's compactor before its runs are adopted",
        )
    return Conflict(
        f"the table has a run {run.run_id} that another program wrote",
        kind="foreign-run",
        hint="write it under another id",
    )


def _any_run(_: Run) -> bool:
    return True


def _has_part(run: Run, *, collection: str, states: Collection[RunState]) -> bool:
    parts = [run.parts.get(collection)] if collection else list(run.parts.values())
    return any(part is not None and part.state in states for part in parts)
