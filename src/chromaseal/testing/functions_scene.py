"""A table, its stream, two queues and a vault, with the functions between them, from a seed.

ChromaDB is the dictionary of ``testing/simulation``; all else is the real code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, Self, cast

from chromaseal.adapters.linux.file_system import LinuxFileSystem
from chromaseal.delta.model import Changes
from chromaseal.parts import Parts
from chromaseal.reader import Hit, Reader
from chromaseal.record import Record, Scalar
from chromaseal.run.ledger import Ledger
from chromaseal.snapshot.checkouts import Checkouts
from chromaseal.snapshot.manifest import Version
from chromaseal.stream.labels import WordLabel
from chromaseal.testing.aws_deliveries import (
    Habits,
    Invocations,
    Queue,
    QueueClient,
    Source,
    Stream,
)
from chromaseal.testing.aws_events import InvocationContext
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.hard_stop import HardStop
from chromaseal.testing.machine import NobodyHasOpen
from chromaseal.testing.simulation.chance import SeededIds, chance_of
from chromaseal.testing.simulation.delta_codecs import JsonCodec
from chromaseal.testing.simulation.dictionary import DictionarySandbox, Texts, read_rows
from chromaseal.testing.simulation.memory import MemoryStore
from chromaseal.testing.simulation.memory_ledger import MemoryLedger
from chromaseal.testing.simulation.mishaps import Dice
from chromaseal.testing.simulation.scheduler import Scheduler
from chromaseal.testing.simulation.turns import MemoryLeases
from chromaseal.testing.streamed_ledger import StreamedLedger
from chromaseal.vault import Vault

COLLECTIONS = ("lines", "words")
Handler = Callable[[dict[str, Any], Any], Any]
QUEUE_URLS = {name: f"https://queues/{name}" for name in COLLECTIONS}
# Two invocations are never at the same time.
_INVOCATION_S = 1.0
_WRITER = {"chromaseal": "0", "chromadb": "0", "python": "0", "host": "function"}


class FunctionsScene:
    """Everything between a table and the versions of a vault.

    Args:
        folder: an empty one, for copies.
        seed: whatever is drawn follows from it.
        handlers: of the stream and of the queues.
        habits: how both deliver.

    Attributes:
        function: the vault as the process of the functions has it now.
        stop: ends an invocation at one of its operations on store, ledger, leases or queues.
        producer: a vault whose operations never end a process.
        sources: the stream and the queues.
        labels: what the table has of words' labels.
    """

    def __init__(
        self, folder: Path, seed: int, handlers: tuple[Handler, Handler], habits: Habits
    ) -> None:
        self.clock = ManualClock()
        self.chance = chance_of("functions", seed)
        self.stop = HardStop()
        self.labels: list[WordLabel] = []
        self._folder = folder
        self._invoked = 0
        self._store, self._leases = MemoryStore(), MemoryLeases(self.clock)
        self.telling, self.compacting = map(self.invocations, handlers)
        self.stream = Stream(self.telling, self.clock, self.chance, habits)
        self.queues = {
            QUEUE_URLS[name]: Queue(name, self.compacting, self.clock, self.chance, habits)
            for name in COLLECTIONS
        }
        self.client: QueueClient = self.stop.door(QueueClient(self.queues))
        self.sources: list[Source] = [self.stream, *self.queues.values()]
        self._ledger = cast("Ledger", StreamedLedger(MemoryLedger(), self.stream.put))
        self._texts = Texts()
        self.producer = self._vault("producer", lambda inner: inner)
        self._begin_again()

    def rows(self, collection: str) -> dict[str, Record]:
        """Give the records of the newest version."""
        with self.producer.parts.checkouts.workspace() as workspace:
            self.producer.open_copy(collection, workspace / "copy")
            _, rows = read_rows(workspace / "copy")
        return {record_id: self._texts.record(row) for record_id, row in rows.items()}

    def write(
        self, run_id: str, changes: Mapping[str, Changes], receipt: Mapping[str, str]
    ) -> None:
        """Write a run, as a function that ingests does."""
        self.producer.write(changes, run_id=run_id, attributes=receipt)

    def invocations(self, handler: Handler) -> Invocations:
        """Give what calls a handler that neither the stream nor the queues call."""
        return Invocations(self._in_context(handler), self._begin_again)

    def _begin_again(self) -> None:
        self.stop.begin_again()
        self.function = self._vault("function", self.stop.door)

    def _in_context(self, handler: Handler) -> Callable[[dict[str, Any]], Any]:
        def invoke(event: dict[str, Any]) -> Any:  # noqa: ANN401 - as Lambda
            self._invoked += 1
            self.clock.sleep(_INVOCATION_S)
            return handler(event, InvocationContext(f"invocation-{self._invoked}", self.clock))

        return invoke

    def _vault(self, name: str, door: Callable[[Any], Any]) -> Vault:
        store, codec = door(self._store), JsonCodec()
        ids = SeededIds(chance_of(name, self._invoked, self.chance.random()))
        # Nothing is drawn where nobody is at work by its own reckoning.
        idle = Scheduler(self.chance, Dice(self.chance), dies=_nothing, died=_nothing)
        checkouts = Checkouts(store, self._folder / name, "vault", clock=self.clock, ids=ids)
        parts = Parts(
            store=store,
            ledger=door(self._ledger),
            leases=door(self._leases),
            codec=codec,
            sandbox=DictionarySandbox(codec, self._texts, idle),
            open_files=NobodyHasOpen(),
            file_system=LinuxFileSystem(),
            checkouts=checkouts,
            exchange=_nobody,
            clock=self.clock,
            ids=ids,
            writer=_WRITER,
        )
        return Vault(parts, open_reader=self._reader, close=_nothing)

    def _reader(self, version: Version, directory: Path, held: ExitStack) -> Reader:
        del version
        _, rows = read_rows(directory)
        return cast("Reader", _Finder([*map(self._texts.record, rows.values())], held))


class _Finder:
    """What is asked of a reader of a version, on its records."""

    def __init__(self, records: list[Record], held: ExitStack) -> None:
        self._records = records
        self._held = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def find(self, *, limit: int, where: Mapping[str, Scalar]) -> list[Hit]:
        """Give the records whose metadata is as asked."""
        found = [
            Hit(each.id, each.document, each.metadata, None)
            for each in self._records
            if where.items() <= each.metadata.items()
        ]
        return found[:limit]


def _nobody(*_: object) -> NoReturn:
    raise AssertionError("functions own no directory that others open")


def _nothing(*_: object) -> None:
    pass
