"""The faults that tests are made of happen as they say: stalls, and deaths by a real signal."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Unavailable
from chromaseal.object_store import ObjectStore
from chromaseal.testing.clock import START, ManualClock
from chromaseal.testing.faults import Fault, FaultyStore, Fired
from chromaseal.testing.killing import KillingStore

TIMEOUT_S = 30.0
# Stores one object per operation, and dies at the one that it is told.
WRITER = """
import sys
from pathlib import Path
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.testing.killing import KillingStore

store = LocalObjectStore(Path(sys.argv[1]))
store = KillingStore(store, at=int(sys.argv[2]), landed=sys.argv[3] == "landed")
try:
    for number in range(4):
        store.create(f"object/{number}", b"x")
finally:
    print("ended in order", flush=True)
"""


class Died(BaseException):
    """Stands for the death of the process."""


def die() -> None:
    """Stand for a signal."""
    raise Died


def memory() -> ObjectStore:
    """Make an empty store."""
    return ObstoreObjectStore("memory://")


# --- stalls ------------------------------------------------------------------------------------


def test_a_stall_ends_without_an_answer() -> None:
    """A stalled operation whose time is up has done nothing; the clock says how long it took."""
    clock = ManualClock()

    def wait(operation: str, key: str) -> bool:
        assert (operation, key) == ("create", "a")
        clock.sleep(60)
        return False

    store = FaultyStore(memory(), wait=wait)
    store.plan(Fault.STALL)
    with pytest.raises(Unavailable):
        store.create("a", b"x")
    assert store.fired == [Fired(Fault.STALL, "create", "a")]
    assert (clock.now() - START).total_seconds() == 60
    assert store.inner.head("a") is None
    store.create("a", b"x")


def test_a_stall_takes_no_time_by_default() -> None:
    """Where nobody is to act meanwhile, the time is up at once."""
    store = FaultyStore(memory())
    store.plan(Fault.STALL)
    with pytest.raises(Unavailable):
        store.get("a")


def test_others_go_on_while_one_is_stalled() -> None:
    """A stalled write holds nobody up, and lands when it is let go."""
    stalled, release = threading.Event(), threading.Event()

    def wait(operation: str, key: str) -> bool:
        del operation, key
        stalled.set()
        return release.wait(TIMEOUT_S)

    store = FaultyStore(memory(), wait=wait)
    store.plan(Fault.STALL)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.create, "slow", b"x")
        assert stalled.wait(TIMEOUT_S)
        store.create("fast", b"x")
        assert [found.key for found in store.list("")] == ["fast"]
        release.set()
        slow.result(TIMEOUT_S)
    assert [found.key for found in store.list("")] == ["fast", "slow"]


# --- deaths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("at", [0, 2])
def test_a_process_dies_at_its_operation(tmp_path: Path, at: int, *, landed: bool) -> None:
    """SIGKILL comes before or after exactly that operation, and nothing runs afterwards."""
    when = "landed" if landed else "before"
    died = subprocess.run(
        [sys.executable, "-c", WRITER, tmp_path, str(at), when],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert died.stdout == ""
    stored = [found.key for found in LocalObjectStore(tmp_path).list("")]
    assert stored == [f"object/{number}" for number in range(at + landed)]


def test_every_operation_can_be_the_last() -> None:
    """All seven operations are counted, from 0, and die before they are done."""
    inner = memory()
    inner.create("p", b"x")
    etag = inner.get("p").etag
    for at in range(7):
        store = KillingStore(inner, at=at, kill=die)
        operations: list[Callable[[], object]] = [
            functools.partial(store.head, "p"),
            functools.partial(store.get, "p"),
            functools.partial(store.get_range, "p", start=0, length=1),
            functools.partial(store.list, ""),
            functools.partial(store.create, f"new/{at}", b"x"),
            functools.partial(store.delete, f"new/{at}"),
            functools.partial(store.replace, "p", b"y", etag=etag),
        ]
        for operation in operations[:at]:
            operation()
        with pytest.raises(Died):
            operations[at]()
    assert inner.get("p").body == b"x"
    assert [found.key for found in inner.list("new/")] == ["new/5"]


def test_a_refused_operation_is_an_operation() -> None:
    """Death after an operation comes as well where the store refused it."""
    store = KillingStore(memory(), at=0, landed=True, kill=die)
    with pytest.raises(Died):
        store.get("nothing")
