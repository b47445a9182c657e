"""Streams and queues that hand what they have to handlers, by AWS's rules and from a seed.

A queue: at least once, in any order if so wished; what was received is hidden for a while, comes
again where it was answered as failed or not at all, and goes to the dead letters when it has
been received too often. A stream: each shard in its order; a batch that fails is delivered again
from the first record that did, and nothing behind it before. An answer that names no record of
its batch counts as a failure of all, as AWS has it.

Not covered: two invocations at once, which ``testing/simulation/functions`` has.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chromaseal.clock import Clock
from chromaseal.testing.aws_events import queue_record, stream_record
from chromaseal.testing.faults import SimulatedCrash

Handler = Callable[[dict[str, Any]], Any]

# After so many invocations and waits something never ends.
_MOST_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Habits:
    """How deliveries go.

    Attributes:
        batch_size: how many come in one invocation at most.
        visibility_s: how long what was received is hidden.
        most_receives: what was received that often goes to the dead letters instead.
        again: how likely it is that what was answered as done is delivered once more.
        in_order: whether a queue delivers in the order of sending. Streams always do.
    """

    batch_size: int = 10
    visibility_s: float = 60.0
    most_receives: int = 5
    again: float = 0.0
    in_order: bool = True


class Invocations:
    """Calls a handler, and remembers how that went.

    Args:
        handler: given an event.
        died: called after an invocation that has ended in the middle.

    Attributes:
        errors: what invocations raised.
    """

    def __init__(self, handler: Handler, died: Callable[[], object] = int) -> None:
        self._handler = handler
        self._died = died
        self.errors: list[BaseException] = []

    def failed(self, event: dict[str, Any], ids: Sequence[str]) -> set[str]:
        """Invoke with a batch; give those of its ids that are to come again."""
        try:
            answer = self._handler(event)
        except SimulatedCrash as error:
            self.errors.append(error)
            self._died()
            return set(ids)
        except Exception as error:  # noqa: BLE001 - Lambda catches whatever it is
            self.errors.append(error)
            return set(ids)
        named = {
            str(each["itemIdentifier"]) for each in (answer or {}).get("batchItemFailures", ())
        }
        return named if named.issubset(ids) else set(ids)


@dataclass(slots=True)
class _Held:
    message_id: str
    body: str
    attributes: Mapping[str, str]
    visible_s: float = 0.0
    receives: int = 0
    is_done: bool = False


class Queue:
    """A queue with dead letters; boto3's ``send_message_batch`` for it is ``QueueClient``.

    Args:
        name: of the queue; message ids begin with it.
        invocations: take the batches.
        clock: hides and shows messages.
        chance: from a seed.
        habits: how deliveries go.

    Attributes:
        dead: bodies of the dead letters.
    """

    def __init__(
        self,
        name: str,
        invocations: Invocations,
        clock: Clock,
        chance: random.Random,
        habits: Habits,
    ) -> None:
        self.dead: list[str] = []
        self._name = name
        self._invocations = invocations
        self._clock = clock
        self._chance = chance
        self._habits = habits
        self._held: list[_Held] = []
        self._sent = 0

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """Take a message."""
        self._sent += 1
        self._held.append(_Held(f"{self._name}-{self._sent}", body, attributes))

    def purge(self) -> None:
        """Lose all that is in it, as whoever purges a queue does."""
        self._held.clear()

    def deliver(self) -> bool:
        """Invoke the handler with messages that can be seen."""
        batch = self._received()
        if not batch:
            return False
        records = [
            queue_record(each.message_id, each.body, each.attributes, receives=each.receives)
            for each in batch
        ]
        ids = [each.message_id for each in batch]
        failed = self._invocations.failed({"Records": records}, ids)
        for each in batch:
            if each.message_id not in failed:
                self._settle(each)
        return True

    def next_s(self) -> float | None:
        """Tell when the next message can be seen."""
        return min((each.visible_s for each in self._held), default=None)

    def _received(self) -> list[_Held]:
        now_s, habits = self._clock.monotonic_s(), self._habits
        visible = [each for each in self._held if each.visible_s <= now_s]
        if not habits.in_order:
            self._chance.shuffle(visible)
        batch: list[_Held] = []
        for each in visible:
            if each.receives >= habits.most_receives:
                self._held.remove(each)
                self.dead.append(each.body)
            elif len(batch) < habits.batch_size:
                each.receives += 1
                each.visible_s = now_s + habits.visibility_s
                batch.append(each)
        return batch

    def _settle(self, done: _Held) -> None:
        """Delete a message; the deletion of one that is to come again has gone unheard."""
        if not done.is_done and self._chance.random() < self._habits.again:
            done.is_done = True
        else:
            self._held.remove(done)


class QueueClient:
    """Takes what a client of SQS sends.

    Args:
        queues: by URL.
    """

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self._queues = queues

    def send_message_batch(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        """Take up to ten messages."""
        for entry in asked["Entries"]:
            attributes = {
                name: str(each["StringValue"]) for name, each in entry["MessageAttributes"].items()
            }
            self._queues[asked["QueueUrl"]].send(entry["MessageBody"], attributes)
        return {}


@dataclass(slots=True)
class _Shard:
    records: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    tries: int = 0
    told_again: int = -1


class Stream:
    """A table's stream; items of one partition are in one shard.

    Args:
        invocations: take the batches.
        clock: says when something was changed.
        chance: from a seed.
        habits: how deliveries go; what failed too often goes to ``dead``.
        shards: how many there are.

    Attributes:
        dead: records that were given up.
    """

    def __init__(
        self,
        invocations: Invocations,
        clock: Clock,
        chance: random.Random,
        habits: Habits,
        *,
        shards: int = 2,
    ) -> None:
        self.dead: list[dict[str, Any]] = []
        self._invocations = invocations
        self._clock = clock
        self._chance = chance
        self._habits = habits
        self._shards = [_Shard() for _ in range(shards)]
        self._number = 0

    def put(self, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        """Record a change of an item; see ``aws_events.stream_record``."""
        self._number += 1
        created_s = self._clock.now().timestamp()
        partition = str((after or before or {})["PK"])
        shard = self._shards[zlib.crc32(partition.encode()) % len(self._shards)]
        shard.records.append(stream_record(before, after, number=self._number, created_s=created_s))

    def deliver(self) -> bool:
        """Invoke the handler with the next records of one shard."""
        waiting = [shard for shard in self._shards if shard.done < len(shard.records)]
        if not waiting:
            return False
        shard = self._chance.choice(waiting)
        batch = shard.records[shard.done : shard.done + self._habits.batch_size]
        ids = [str(record["dynamodb"]["SequenceNumber"]) for record in batch]
        failed = self._invocations.failed({"Records": batch}, ids)
        good = next((place for place, each in enumerate(ids) if each in failed), len(ids))
        self._settle(shard, batch, good)
        return True

    def next_s(self) -> float | None:
        """Tell that records wait."""
        waits = any(shard.done < len(shard.records) for shard in self._shards)
        return self._clock.monotonic_s() if waits else None

    def _settle(self, shard: _Shard, batch: list[dict[str, Any]], good: int) -> None:
        habits = self._habits
        if good < len(batch):
            # All behind the first that failed comes again with it.
            shard.tries = shard.tries + 1 if not good else 1
            shard.done += good
            if shard.tries >= habits.most_receives:
                self.dead += batch[good:]
                shard.done, shard.tries = shard.done + len(batch) - good, 0
        elif shard.told_again < shard.done and self._chance.random() < habits.again:
            shard.told_again = shard.done
        else:
            shard.done, shard.tries = shard.done + len(batch), 0


Source: TypeAlias = Stream | Queue


def deliver_all(sources: Sequence[Source], clock: Clock, chance: random.Random) -> None:
    """Deliver until nothing is left; where everything is hidden, time passes.

    Args:
        sources: of which one at random is next.
        clock: moved on.
        chance: from a seed.

    Raises:
        RuntimeError: it never ends.
    """
    for _ in range(_MOST_STEPS):
        if any(source.deliver() for source in chance.sample(sources, len(sources))):
            continue
        times_s = [at_s for source in sources if (at_s := source.next_s()) is not None]
        if not times_s:
            return
        clock.sleep(max(0.0, min(times_s) - clock.monotonic_s()))
    raise RuntimeError(f"something is still delivered after {_MOST_STEPS} steps")
