"""An object store that fails where a test says so, to be put between the engine and a real one.

Covered, each at any one operation: no answer and nothing done, at once or after a wait; a write
that lands while its reply is lost, as silence or as the refusal that a client's silent retry
meets ("already there", "changed"); a read that comes back cut short or with one bit flipped; the
death of the process before or after an operation. A real death, by SIGKILL, is in
``chromaseal.testing.killing``.

Not covered: stale reads and listings (every store that chromaseal speaks to answers with what
was last written), a write that lands only after its writer has looked, torn objects (stores
keep whole objects or none), faults of the ledger, of the clock and of local disks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from chromaseal.errors import Conflict, Unavailable
from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject


class SimulatedCrash(BaseException):
    """The process died here; nothing that handles errors may catch it."""


class Fault(StrEnum):
    """What goes wrong with one operation."""

    NO_ANSWER = "no-answer"
    STALL = "stall"
    LOST_REPLY = "lost-reply"
    FALSE_REFUSAL = "false-refusal"
    CUT_READ = "cut-read"
    FLIPPED_BIT = "flipped-bit"
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"

    def strikes(self, operation: str) -> bool:
        """Whether this can happen to an operation of that name."""
        return operation in _OPERATIONS.get(self, _ALL)


_WRITES = ("create", "replace")
_READS = ("get", "get_range")
_ALL = (*_WRITES, *_READS, "head", "list", "delete")
_OPERATIONS = {
    Fault.LOST_REPLY: (*_WRITES, "delete"),
    Fault.FALSE_REFUSAL: _WRITES,
    Fault.CUT_READ: _READS,
    Fault.FLIPPED_BIT: _READS,
}


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that happened."""

    fault: Fault
    operation: str
    key: str


def _in_vain(operation: str, key: str) -> bool:
    del operation, key
    return False


class FaultyStore:
    """An object store around another one; without faults it is the other one.

    Args:
        inner: where the objects really are.
        wait: what a stalled operation does, with its name and key: it comes back with True when
            the operation may go on after all, with False when its time is up. By default the
            time is up at once. A test that wants others to act meanwhile gives the waiting for
            an event, with a time-out of its own; one with a clock in its hands moves it on.
    """

    def __init__(self, inner: ObjectStore, *, wait: Callable[[str, str], bool] = _in_vain) -> None:
        self.inner = inner
        self._wait = wait
        self.fired: list[Fired] = []
        self._planned: list[tuple[Fault, int]] = []
        # Layers are stored and fetched by several threads at once.
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Say where the objects really are."""
        return self.inner.url

    def plan(self, fault: Fault, *, after: int = 0) -> None:
        """Let one operation fail.

        Args:
            fault: what goes wrong.
            after: how many of the coming operations that the fault can strike pass unharmed.
        """
        with self._lock:
            self._planned.append((fault, after))

    def heal(self) -> None:
        """Forget every fault that has not fired yet."""
        with self._lock:
            self._planned.clear()

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is, or fail as planned."""
        fault = self._begin("create", key)
        self.inner.create(key, body)
        _end_write(fault, key, Conflict(f"{key} is there already", kind="already-exists"))

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``, or fail as planned."""
        fault = self._begin("replace", key)
        self.inner.replace(key, body, etag=etag)
        _end_write(fault, key, Conflict(f"{key} has changed", kind="lost-race"))

    def get(self, key: str) -> StoredObject:
        """Read an object whole, or fail as planned."""
        fault = self._begin("get", key)
        found = self.inner.get(key)
        return StoredObject(_end_read(fault, found.body), found.etag)

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object, or fail as planned."""
        fault = self._begin("get_range", key)
        return _end_read(fault, self.inner.get_range(key, start=start, length=length))

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content, or fail as planned."""
        fault = self._begin("head", key)
        found = self.inner.head(key)
        _end(fault)
        return found

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, or fail as planned."""
        fault = self._begin("list", prefix)
        found = list(self.inner.list(prefix))
        _end(fault)
        return iter(found)

    def delete(self, key: str) -> None:
        """Remove an object, or fail as planned."""
        fault = self._begin("delete", key)
        self.inner.delete(key)
        _end_write(fault, key, _no_answer(key))

    def _begin(self, operation: str, key: str) -> Fault | None:
        """Find the fault of this operation; raise those that happen before it."""
        with self._lock:
            fault = self._due(operation)
            if fault is not None:
                self.fired.append(Fired(fault, operation, key))
        # Outside of the lock: while one operation is stalled, the others go on.
        stalled = fault is Fault.STALL and not self._wait(operation, key)
        if fault is Fault.NO_ANSWER or stalled:
            raise _no_answer(key)
        if fault is Fault.CRASH_BEFORE:
            raise SimulatedCrash(f"before {operation} {key}")
        return fault

    def _due(self, operation: str) -> Fault | None:
        due: Fault | None = None
        left: list[tuple[Fault, int]] = []
        for fault, after in self._planned:
            if not fault.strikes(operation) or (not after and due is not None):
                left.append((fault, after))
            elif after:
                left.append((fault, after - 1))
            else:
                due = fault
        self._planned = left
        return due


def _end(fault: Fault | None) -> None:
    if fault is Fault.CRASH_AFTER:
        raise SimulatedCrash("after an operation")


def _end_write(fault: Fault | None, key: str, refusal: Conflict | Unavailable) -> None:
    _end(fault)
    if fault is Fault.LOST_REPLY:
        raise _no_answer(key)
    if fault is Fault.FALSE_REFUSAL:
        raise refusal


def _end_read(fault: Fault | None, body: bytes) -> bytes:
    _end(fault)
    middle = len(body) // 2
    if fault is Fault.CUT_READ:
        return body[:middle]
    if fault is Fault.FLIPPED_BIT:
        return body[:middle] + bytes(byte ^ 1 for byte in body[middle:][:1]) + body[middle + 1 :]
    return body


def _no_answer(key: str) -> Unavailable:
    return Unavailable(f"no answer for {key}, as planned", kind="store-unavailable")
