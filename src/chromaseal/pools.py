"""Several pieces of work at once: in threads, or, where everything must happen in order, in none.

How many threads wait for a store decides nothing, so this is one place per process and no
parameter, like ``telemetry.emit``. A simulation that has to replay exactly does the work of a
pool where it is handed over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

_Asked = ParamSpec("_Asked")
_Given = TypeVar("_Given")


class InTurn(Executor):
    """Does what is handed over at once, in the thread that hands it over."""

    def submit(
        self, work: Callable[_Asked, _Given], /, *args: _Asked.args, **named: _Asked.kwargs
    ) -> Future[_Given]:
        """Do it, and keep what came of it; what ends a process ends whoever hands it over."""
        done: Future[_Given] = Future()
        try:
            done.set_result(work(*args, **named))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            done.set_exception(error)
        return done

    def map(
        self,
        fn: Callable[..., _Given],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[_Given]:
        """Do it for each, as ``submit`` does, without what threads would have to wait for."""
        del timeout, chunksize
        done: list[tuple[_Given | None, Exception | None]] = []
        for args in zip(*iterables, strict=False):
            try:
                done.append((fn(*args), None))
            except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
                done.append((None, error))
        return _told(done)


def _told(done: list[tuple[Any, Exception | None]]) -> Iterator[Any]:
    for given, error in done:
        if error is not None:
            raise error
        yield given


class _Here(threading.local):
    """What this thread works for: set once whoever handed the work over needs it no more."""

    stopped: tuple[threading.Event, ...] = ()


_here = _Here()


class _Threads(ThreadPoolExecutor):
    """Threads; where whoever waits for them is stopped, what has not begun never does."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._is_stopped = threading.Event()

    def submit(
        self, work: Callable[_Asked, _Given], /, *args: _Asked.args, **named: _Asked.kwargs
    ) -> Future[_Given]:
        """Have it done; the work of its own pools is given up with it."""
        stopped = (*_here.stopped, self._is_stopped)

        def run() -> _Given:
            _here.stopped = stopped
            return work(*args, **named)

        return super().submit(run)

    def give_up(self) -> None:
        """Tell what has begun that nobody needs it any more."""
        self._is_stopped.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what has begun; tell it that it is given up if that is so."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self.give_up()
            self.shutdown(wait=False, cancel_futures=True)
        super().__exit__(kind, error, trace)


def is_given_up() -> bool:
    """Tell, in a pool's thread, whether whoever handed the work over needs it no more."""
    return any(each.is_set() for each in _here.stopped)


class _Making:
    """How pools are made."""

    def __init__(self) -> None:
        self.make: Callable[[int], Executor] = _Threads


_making = _Making()


def pool(workers: int) -> Executor:
    """Make a pool; use it as a context manager.

    Args:
        workers: how many pieces of work go on at once.
    """
    return _making.make(workers)


@contextmanager
def beside(work: Callable[[], _Given]) -> Iterator[Future[_Given]]:
    """Have one piece of work done beside a block; where the block fails, it is given up.

    Args:
        work: what is to be done; it has ended when the block has.
    """
    with pool(1) as one:
        doing = one.submit(work)
        try:
            yield doing
        except BaseException:
            if isinstance(one, _Threads):
                one.give_up()
            raise


@contextmanager
def in_turn() -> Iterator[None]:
    """Let pools that are made in the block have no threads, in this whole process."""
    before, _making.make = _making.make, lambda _: InTurn()
    try:
        yield
    finally:
        _making.make = before
