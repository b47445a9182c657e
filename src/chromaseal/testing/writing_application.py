"""An application that keeps writing a ChromaDB directory, as a process, and what it must hold.

``python -m chromaseal.testing.writing_application DIRECTORY ...`` is the application. What each
of its batches writes follows from the batch's number alone, so any copy of its directory can be
recognised: ``prefix_of`` gives the number of calls that it has exactly, or raises.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Self

import numpy as np

from chromaseal.record import Record
from chromaseal.testing.records import vector_of

COLLECTION = "notes"
COUNTER = "counter"
BATCH = 60
_DELETES = 5
_FILL = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What an application writes.

    Attributes:
        records: before the first batch.
        threshold: log entries after which ChromaDB flushes its index.
        dimension: numbers per vector.
        pause_s: between two batches.
    """

    records: int = 1_000
    threshold: int = 240
    dimension: int = 384
    pause_s: float = 0.0

    @property
    def arguments(self) -> list[str]:
        """Give it as the application's arguments."""
        return [f"--{name}={getattr(self, name)}" for name in self.__slots__]


@dataclass
class Expected:
    """What the collection holds after a number of calls; two calls per batch.

    Call 2b - 1 upserts batch b, call 2b deletes; after call 0 there are the first records.

    Attributes:
        plan: what the application writes.
        calls: how many calls were made.
        contents: by record id, the batch that wrote it last.
    """

    plan: Plan
    calls: int = 0
    contents: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with the first records."""
        self.contents = {f"r{n}": 0 for n in range(self.plan.records)} | {COUNTER: 0}

    def step(self) -> None:
        """Make the next call."""
        self.calls += 1
        batch = (self.calls + 1) // 2
        upserts, deletes = calls_of(self.plan, batch)
        if self.calls % 2:
            self.contents |= dict.fromkeys(upserts, batch)
        else:
            for record_id in deletes:
                self.contents.pop(record_id, None)


def calls_of(plan: Plan, batch: int) -> tuple[list[str], list[str]]:
    """Give the ids that a batch upserts, about half of them new, and those it deletes after it."""
    chance = np.random.default_rng(batch)
    new = BATCH // 2
    first = plan.records + (batch - 1) * new
    again = chance.choice(first, BATCH - new - 1, replace=False)
    deletes = chance.choice(first, _DELETES, replace=False)
    numbers = [*again.tolist(), *range(first, first + new)]
    return [f"r{n}" for n in numbers] + [COUNTER], [f"r{n}" for n in deletes.tolist()]


def record_of(plan: Plan, record_id: str, batch: int) -> Record:
    """Give a record as a batch writes it."""
    number = -1 if record_id == COUNTER else int(record_id[1:])
    vector = vector_of(1_000_000 * (number + 1) + batch, plan.dimension)
    document = f"record {record_id} as batch {batch} wrote it"
    return Record(record_id, vector, document, {"batch": batch, "place": number})


def prefix_of(records: Iterable[Record], plan: Plan) -> int:
    """Give the number of calls whose outcome these records are, bit for bit.

    Raises:
        ValueError: they are the outcome of no number of calls.
    """
    found = {record.id: record for record in records}
    if COUNTER not in found:
        raise ValueError("the counter is missing")
    batch = int(str(found[COUNTER].metadata["batch"]))
    for record in found.values():
        wanted = record_of(plan, record.id, int(str(record.metadata["batch"])))
        if (record.document, dict(record.metadata)) != (wanted.document, dict(wanted.metadata)):
            raise ValueError(f"{record.id} is not as any batch wrote it")
        if not np.array_equal(record.embedding, wanted.embedding):
            raise ValueError(f"the vector of {record.id} is not as its batch wrote it")
    contents = {record.id: int(str(record.metadata["batch"])) for record in found.values()}
    expected = Expected(plan)
    while expected.calls < 2 * batch - 1:
        expected.step()
    if batch and expected.contents != contents:
        expected.step()
    if expected.contents != contents:
        wrong = expected.contents.items() ^ contents.items()
        raise ValueError(f"not the state after batch {batch}: {sorted(wrong)[:5]}")
    return expected.calls


class WritingApplication:
    """A running application; use as a context manager, which kills it in the end.

    Args:
        directory: that it writes.
        plan: what it writes.
    """

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.plan = plan
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__, str(directory), *plan.arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said = Condition()
        self._durations_s: list[float] = []
        self._ended = False
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        """Wait until it has written its first records and one batch."""
        self.wait_for(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Give its process id."""
        return self._process.pid

    @property
    def calls(self) -> int:
        """Give the number of calls that it has reported as done."""
        return len(self._durations_s)

    def durations_s(self, start: int = 0) -> Sequence[float]:
        """Give how long each call took, from a call on."""
        return self._durations_s[start:]

    def wait_for(self, calls: int) -> None:
        """Wait until it has made that many calls.

        Raises:
            RuntimeError: it ended before.
        """
        with self._said:
            self._said.wait_for(lambda: self._ended or self.calls >= calls)
        if self.calls < calls:
            raise RuntimeError("the application ended")

    def stop(self) -> None:
        """Stop it wherever it is."""
        os.kill(self.pid, signal.SIGSTOP)
        # A stop is complete when the parent is told of it.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Let it end after the batch that it is at, and close its directory."""
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """Kill it and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            with self._said:
                self._durations_s.append(float(json.loads(line)))
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


def main() -> None:
    """Write until told to end; say after each call how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--check", action="store_true")
    for name, value in zip(Plan.__slots__, Plan().arguments, strict=True):
        kind = float if "." in value else int
        parser.add_argument(f"--{name}", type=kind, default=kind(value.partition("=")[2]))
    options = parser.parse_args()
    plan = Plan(**{name: getattr(options, name) for name in Plan.__slots__})
    if options.check:
        sys.stdout.write(f"{_opened_prefix(options.directory, plan)}\n")
    else:
        _write(options.directory, plan)


def _write(directory: Path, plan: Plan) -> None:
    # The parent that checks records does not need ChromaDB.
    from chromaseal.adapters.chroma.client import opened  # noqa: PLC0415
    from chromaseal.adapters.chroma.collection import upsert_records  # noqa: PLC0415

    with opened(directory) as client:
        collection = client.create_collection(
            COLLECTION,
            metadata={"hnsw:sync_threshold": plan.threshold, "hnsw:batch_size": plan.threshold},
            embedding_function=None,
        )
        first = [record_of(plan, record_id, 0) for record_id in Expected(plan).contents]
        for start in range(0, len(first), _FILL):
            upsert_records(collection, first[start : start + _FILL], {})
        told_to_end = Event()
        signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
        batch = 0
        while not told_to_end.wait(plan.pause_s):
            batch += 1
            upserts, deletes = calls_of(plan, batch)
            records = [record_of(plan, record_id, batch) for record_id in upserts]
            start_s = time.perf_counter()
            upsert_records(collection, records, {})
            sys.stdout.write(f"{time.perf_counter() - start_s}\n")
            start_s = time.perf_counter()
            collection.delete(ids=deletes)
            sys.stdout.write(f"{time.perf_counter() - start_s}\n")
            sys.stdout.flush()


def _opened_prefix(directory: Path, plan: Plan) -> int:
    """Open a directory with ChromaDB and recognise what it answers."""
    from chromaseal.adapters.chroma.client import opened  # noqa: PLC0415
    from chromaseal.adapters.chroma.collection import read_records  # noqa: PLC0415

    with opened(directory) as client:
        collection = client.get_collection(COLLECTION, embedding_function=None)
        found = read_records(collection, collection.get(include=[])["ids"])
        return prefix_of(found.values(), plan)


if __name__ == "__main__":
    main()
