"""A table's stream, and the queues of two collections, as AWS delivers them, or fails to.

A stream: at least once, in its order; an iterator that expires begins again where records are
still kept, or behind all that there are. A queue: at least once, in any order, late, and once
more whenever a message was not deleted in time, whoever may still be at work on it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from chromaseal.adapters.dynamodb.legacy_runs import legacy_run_of
from chromaseal.delta.model import Changes
from chromaseal.errors import ChromasealError, NotFound
from chromaseal.legacy.deltas import LegacyRun
from chromaseal.object_store import StoredObject
from chromaseal.receipts.records import ReceiptKey
from chromaseal.run.model import WAITING_STATES
from chromaseal.stream.changes import is_change, run_id_of
from chromaseal.stream.messages import Message, attributes_of, body_of
from chromaseal.stream.table import LINES
from chromaseal.stream.translation import TableChange, messages_of
from chromaseal.testing.event_names import event_name
from chromaseal.testing.simulation.doors import SimulatedStore
from chromaseal.testing.simulation.memory import MemoryStore
from chromaseal.testing.simulation.mishaps import Mishap
from chromaseal.testing.simulation.scheduler import START, Scheduler

Item: TypeAlias = Mapping[str, Any]
# Told of a run that somebody will write, and what it will change.
Asks: TypeAlias = Callable[[str, Mapping[str, Changes]], None]
# A stream keeps records for a day, which is longer than an episode takes.
_TRIMMED = 40
_BATCH = 6
_MOST_RECEIVES = 5
_LATE = 0.2
_LATE_S = 5.0
_RECEIPT = ReceiptKey("1", 1, "")


def record_id(collection: str, number: int) -> str:
    """Name the record of a line, or of the word that it has."""
    return _RECEIPT.row_id(number) if collection == LINES else _RECEIPT.word_id(number, 1)


@dataclass(slots=True)
class Held:
    """A message in a queue.

    Attributes:
        message_id: the same for each delivery.
        body: its text.
        attributes: texts.
        visible_s: when it can be received.
        receives: how often it was.
    """

    message_id: str
    body: str
    attributes: Mapping[str, str]
    visible_s: float
    receives: int = 0


class Cloud:
    """What lies between a table and the functions.

    Args:
        scheduler: draws, and has the time.
        chance: for what is delivered when.
        asks: told of changes that are to become runs.
        seen: counts.
        is_played: whether there are functions at all.

    Attributes:
        rested: runs and collections that the ledger has called anything but waiting.
        busy: by machine, how many invocations are under way there.
        at_work: by message, how many invocations have it.
        foreign: the bucket in which other programs leave deltas of their runs.
        odd: numbers of the records that nobody can understand.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        chance: random.Random,
        asks: Asks,
        seen: Counter[str],
        *,
        is_played: bool,
    ) -> None:
        self.rested: set[tuple[str, str]] = set()
        self.busy: Counter[str] = Counter()
        self.at_work: Counter[str] = Counter()
        self.foreign = SimulatedStore(_AnyKeys(), scheduler, _Nobody())
        self.odd: set[str] = set()
        self.is_played = is_played
        self._scheduler = scheduler
        self._chance = chance
        self._asks = asks
        self._seen = seen
        self._records: list[TableChange] = []
        self._foreign_runs: dict[str, Item] = {}
        self._position = 0
        self._queues: dict[str, list[Held]] = {}
        self._sent = 0
        self._visibility_s = chance.choice((3.0, 30.0))

    @property
    def is_empty(self) -> bool:
        """Whether everything was told, and everything that was told is done."""
        return self._position >= len(self._records) and not any(self._queues.values())

    def naming(self, collection: str) -> Callable[[int], str]:
        """Give what names records of a collection, by a number each."""
        if not self.is_played:
            return "record-{:02d}".format
        return lambda number: record_id(collection, number)

    def put(self, before: Item | None, after: Item | None) -> TableChange:
        """Record a change of an item."""
        number = len(self._records) + 1
        item = after or before or {}
        change = TableChange(
            event_name=event_name(before, after),
            partition=str(item["PK"]),
            sort=str(item["SK"]),
            before=before,
            after=after,
            record_id=f"event-{number}",
            sequence_number=str(number),
            created_s=int(START.timestamp() + self._scheduler.now_s),
            region="",
        )
        self._records.append(change)
        if item.get("run_id") in self._foreign_runs and after is not None:
            # The ledger writes it in the place of the other program's item.
            self._foreign_runs[item["run_id"]] = after
        for name, part in (after or {}).get("parts", {}).items():
            if part["state"] not in WAITING_STATES:
                self.rested.add((item["run_id"], name))
        return change

    def put_foreign(self, item: Item) -> None:
        """Let another program write a run into the table."""

        def act() -> None:
            self._seen["foreign run"] += 1
            self._foreign_runs.setdefault(item["run_id"], item)
            self.put(None, item)

        self._scheduler.ask("send", item["run_id"], act)

    def run_of(self, image_id: str, receipt_id: int, run_id: str) -> tuple[bool, LegacyRun | None]:
        """Read what another program has written of a run."""
        del image_id, receipt_id
        read = self._foreign_runs.get
        item = self._scheduler.ask("look up", run_id, lambda: read(run_id))
        return item is not None, legacy_run_of(item) if item is not None else None

    def put_odd(self) -> None:
        """Let another program write what nobody can understand."""
        key = {"PK": f"CHROMASEAL#RUN#odd-{len(self._records)}", "SK": "RUN"}
        change = self.put(None, key)
        # An item that has no more than its key tells nothing; one without parts' states does.
        self._records[-1] = replace(change, after={**key, "parts": "none"})
        self.odd.add(change.sequence_number)

    def remove(self, collection: str, number: int) -> None:
        """Let a line, or its word, go from the table."""
        named = record_id(collection, number)
        image, _, sort = named.partition("#RECEIPT#")
        change = self.put({"PK": image, "SK": f"RECEIPT#{sort}"}, None)
        self._seen["change"] += 1
        for message in messages_of(change):
            self._asks(run_id_of(message), {message.collection: Changes(deletes=[named])})

    def read(self) -> tuple[int, list[TableChange]]:
        """Give the next records of the stream, and the place of the first."""

        def act() -> tuple[int, list[TableChange]]:
            start = self._position
            return start, self._records[start : start + _BATCH]

        def expired() -> tuple[int, list[TableChange]]:
            is_behind = self._chance.random() < 1 / 2
            horizon = max(0, self._position - _TRIMMED)
            self._position = len(self._records) if is_behind else horizon
            return act()

        return self._scheduler.ask("stream", "", act, {Mishap.ITERATOR_EXPIRED: expired})

    def told(self, end: int) -> None:
        """Go on behind records that queues were told of."""
        self._position = max(self._position, end)

    def send(self, messages: Sequence[Message]) -> list[ChromasealError | None]:
        """Put messages into the queues of their collections; give why for those that are not."""
        return [self._sent_or_why(each) for each in messages]

    def _sent_or_why(self, message: Message) -> ChromasealError | None:
        try:
            self._send(message)
        except ChromasealError as error:
            return error
        return None

    def _send(self, message: Message) -> None:
        body, attributes = body_of(message), attributes_of(message)

        def act() -> None:
            self._sent += 1
            late = self._chance.random() < _LATE
            wait_s = self._chance.expovariate(1 / _LATE_S) if late else 0.0
            held = Held(f"message-{self._sent}", body, attributes, self._scheduler.now_s + wait_s)
            self._queues.setdefault(message.collection, []).append(held)

        self._scheduler.ask("send", f"{message.collection} {message.record_id}", act)

    def receive(self, collection: str) -> list[Held]:
        """Take messages that can be seen, in any order; they are hidden for a while."""

        def act() -> list[Held]:
            now_s = self._scheduler.now_s
            seen = [each for each in self._queues.get(collection, ()) if each.visible_s <= now_s]
            batch = self._chance.sample(seen, min(len(seen), self._chance.randint(1, 4)))
            for each in batch:
                self._seen["again"] += each.receives > 0
                self._seen["side by side"] += self.at_work[each.message_id] > 0
                each.receives += 1
                # Who has failed too often rests among the dead letters until a person looks.
                often = each.receives > _MOST_RECEIVES
                each.visible_s = now_s + self._visibility_s * (4 if often else 1)
            return batch

        return self._scheduler.ask("receive", collection, act)

    def settle(self, collection: str, message_id: str) -> None:
        """Delete a message."""

        def act() -> None:
            queue = self._queues[collection]
            queue[:] = [each for each in queue if each.message_id != message_id]

        self._scheduler.ask("settle", f"{collection} {message_id}", act)

    def thaw(self, machine: str) -> None:
        """Let what an earlier invocation has left on a machine go on beside the next one."""
        self._seen["thaw"] += self._scheduler.thaw(machine)


class _AnyKeys(MemoryStore):
    """Objects of other programs, which are called as those like."""

    def get(self, key: str) -> StoredObject:
        found = self.objects.get(key)
        if found is None:
            raise NotFound(f"there is no {key}", kind="no-object")
        return found


class _Nobody:
    """Looks at nothing: what is in a bucket of others is no part of the vault."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def run_of(message: Message) -> str:
    """Give the run that a message is about."""
    return run_id_of(message) if is_change(message) else message.run_id
