"""Telling of a step or an event, from anywhere in the engine.

Like ``logging``, this is one place per process and no parameter: what is told decides nothing,
and every function of the engine would have to hand it on. Whoever watches is set once, by an
entry point or an application; until then telling costs a comparison.

What happens in a pool's thread belongs to the step that filled the pool where the work was
``carried`` there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

from chromaseal.clock import Clock, SystemClock
from chromaseal.errors import ChromasealError
from chromaseal.telemetry.observer import OK, Fact, Handle, Observer, Severity, Silent

_Asked = ParamSpec("_Asked")
_Given = TypeVar("_Given")


class Step(Protocol):
    """A step that has begun."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """End; an error passes on."""
        ...

    def note(self, **facts: Fact) -> None:
        """Add facts that are known only by now."""
        ...


class _Unwatched:
    """A step that nobody is told of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        pass

    def note(self, **facts: Fact) -> None:
        pass


class _Watching:
    """Who watches, and what time it is for them; an observer that fails is heard of once."""

    def __init__(self) -> None:
        self.observer: Observer = Silent()
        self.clock: Clock = SystemClock()
        self.is_on = False
        # Steps cost more than a comparison, so whoever wants events alone is told of no others.
        self.hears_events = False
        self._complained = False
        self._lock = threading.Lock()

    def set(self, observer: Observer) -> None:
        self.observer = observer
        self.is_on = not isinstance(observer, Silent)
        self.hears_events = type(observer) is not Silent
        self._complained = False

    def guarded(self, tell: Callable[[], _Given]) -> _Given | None:
        """Tell; no watcher's trouble becomes the work's."""
        try:
            return tell()
        except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
            with self._lock:
                complained, self._complained = self._complained, True
            if not complained:
                sys.stderr.write(f"telemetry failed and goes on failing silently: {error!r}\n")
            return None


_UNWATCHED = _Unwatched()
_watching = _Watching()
_current: ContextVar[Handle | None] = ContextVar("chromaseal_step", default=None)


def observe(observer: Observer) -> None:
    """Tell an observer from now on, in place of the one before.

    Args:
        observer: whom to tell; ``Silent()`` for nobody.
    """
    _watching.set(observer)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Tell an observer what happens in the block, and then the one before again."""
    before = _watching.observer
    observe(observer)
    try:
        yield
    finally:
        observe(before)


def is_observed() -> bool:
    """Whether anybody watches."""
    return _watching.is_on


def step(name: str, **facts: Fact) -> Step:
    """Tell of what the block does, and of what is told in it as a part of that.

    Args:
        name: one of ``names.STEPS``.
        facts: what is known before.
    """
    return _Watched(name, facts, is_parent=True) if _watching.is_on else _UNWATCHED


def operation(name: str, **facts: Fact) -> Step:
    """Tell of what the block asks of a store; such steps have no parts.

    Args:
        name: one of ``names.OPERATIONS``.
        facts: what is known before.
    """
    return _Watched(name, facts, is_parent=False) if _watching.is_on else _UNWATCHED


def event(name: str, severity: Severity = Severity.INFO, **facts: Fact) -> None:
    """Tell that something happened.

    Args:
        name: one of ``names.EVENTS``.
        severity: how much it wants to be read.
        facts: about it.
    """
    if not _watching.hears_events:
        return
    at_s = _watching.clock.now().timestamp()
    _watching.guarded(
        lambda: _watching.observer.event(name, severity, facts, under=_current.get(), at_s=at_s)
    )


def carried(work: Callable[_Asked, _Given]) -> Callable[_Asked, _Given]:
    """Make work belong to this step in whatever thread it is done, several at once included."""
    if not _watching.is_on:
        return work
    context = copy_context()

    def run(*args: _Asked.args, **named: _Asked.kwargs) -> _Given:
        # A context can be entered only once at a time, its copies as often as there are.
        return context.copy().run(work, *args, **named)

    return run


def outcome_of(error: BaseException | None) -> str:
    """Say in a word how something ended."""
    # Whoever closes a generator early has seen enough of it.
    if error is None or isinstance(error, GeneratorExit):
        return OK
    return error.kind if isinstance(error, ChromasealError) else type(error).__name__


class Foreign:
    """Steps and events of another process, told as parts of the step that is open here."""

    def __init__(self) -> None:
        self._under = _current.get()
        self._open: dict[int, tuple[Handle, float]] = {}

    def begin(
        self, number: int, name: str, facts: dict[str, Fact], *, parent: int, at_s: float
    ) -> None:
        """Tell of a step that has begun there, under the number that it has there."""
        under = self._handle(parent)
        handle = _watching.guarded(
            lambda: _watching.observer.begin(name, facts, under=under, at_s=at_s)
        )
        self._open[number] = (handle, at_s)

    def end(self, number: int, outcome: str, facts: dict[str, Fact], *, duration_s: float) -> None:
        """Tell that it has ended."""
        handle, _ = self._open.pop(number, (None, 0.0))
        _watching.guarded(
            lambda: _watching.observer.end(handle, outcome, facts, duration_s=duration_s)
        )

    def event(
        self, name: str, severity: int, facts: dict[str, Fact], *, parent: int, at_s: float
    ) -> None:
        """Tell what happened there."""
        under = self._handle(parent)
        _watching.guarded(
            lambda: _watching.observer.event(
                name, Severity(severity), facts, under=under, at_s=at_s
            )
        )

    def close(self, outcome: str) -> None:
        """End what the other process has begun and can end no more."""
        now_s = _watching.clock.now().timestamp()
        for number, (_, at_s) in reversed(self._open.copy().items()):
            self.end(number, outcome, {}, duration_s=max(0.0, now_s - at_s))

    def _handle(self, number: int) -> Handle | None:
        return self._open[number][0] if number in self._open else self._under


class _Watched:
    """A step that the observer is told of."""

    __slots__ = ("_facts", "_handle", "_is_parent", "_name", "_noted", "_start_s", "_token")

    def __init__(self, name: str, facts: dict[str, Fact], *, is_parent: bool) -> None:
        self._name = name
        self._facts = facts
        self._is_parent = is_parent
        self._noted: dict[str, Fact] = {}

    def __enter__(self) -> Self:
        under, at_s = _current.get(), _watching.clock.now().timestamp()
        self._handle = _watching.guarded(
            lambda: _watching.observer.begin(self._name, self._facts, under=under, at_s=at_s)
        )
        self._token = _current.set(self._handle) if self._is_parent else None
        self._start_s = _watching.clock.monotonic_s()
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        duration_s = _watching.clock.monotonic_s() - self._start_s
        if self._token is not None:
            # A generator may be closed in another context than the one in which it began.
            with suppress(ValueError):
                _current.reset(self._token)
        _watching.guarded(
            lambda: _watching.observer.end(
                self._handle, outcome_of(error), self._noted, duration_s=duration_s
            )
        )

    def note(self, **facts: Fact) -> None:
        self._noted.update(facts)
