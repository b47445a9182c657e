"""An object store around another one that asks again where no answer came, and tells of it.

Reads and removals can be repeated as they are. So can conditional writes, because nobody here
believes a refusal: whoever meets an object of this very write reads it back (``settle``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from chromaseal import pools
from chromaseal.clock import Clock
from chromaseal.errors import Unavailable
from chromaseal.ids import Ids, wait_after_s
from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

# Half a minute of waiting in all, which a restarting server or a throttled bucket needs.
ATTEMPTS: Final = 9
_FIRST_WAIT_S = 0.1
# How long a pool's thread may go on after Ctrl-C, which only the main thread hears of.
_LOOK_S = 0.25
# A store that takes requests and never answers takes as long as the client waits for each.
NO_LATER_S: Final = 300.0
_T = TypeVar("_T")


class RetriedStore:
    """The other store; what it does not answer is asked again, after waits that double.

    Only ``store-unavailable`` is: whoever is refused is refused again. Nothing is asked again five
    minutes after it was asked first.

    Args:
        inner: where the objects are.
        clock: for the waiting.
        ids: for the chance that keeps those who failed together apart.
    """

    def __init__(self, inner: ObjectStore, *, clock: Clock, ids: Ids) -> None:
        self.inner = inner
        self._clock = clock
        self._ids = ids

    @property
    def url(self) -> str:
        """Say where the objects are."""
        return self.inner.url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        self.until_answered("create object", key, lambda: self.inner.create(key, body))

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        self.until_answered("replace object", key, lambda: self.inner.replace(key, body, etag=etag))

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        return self.until_answered("get object", key, lambda: self.inner.get(key))

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        return self.until_answered(
            "get range", key, lambda: self.inner.get_range(key, start=start, length=length)
        )

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        return self.until_answered("head object", key, lambda: self.inner.head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in order."""
        return iter(self.until_answered("list objects", prefix, lambda: [*self.inner.list(prefix)]))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.until_answered("delete object", key, lambda: self.inner.delete(key))

    def until_answered(self, operation: str, key: str, ask: Callable[[], _T]) -> _T:
        """Ask until there is an answer, or no hope for one.

        Args:
            operation: what is asked for, to be told.
            key: of which object.
            ask: does it.

        Raises:
            ChromasealError: what was answered, or that nothing was.
        """
        start_s = self._clock.monotonic_s()
        for attempt in range(1, ATTEMPTS):
            try:
                return ask()
            except Unavailable as error:
                is_late = self._clock.monotonic_s() - start_s >= NO_LATER_S
                hopeless = is_late or pools.is_given_up()
                if error.kind != "store-unavailable" or hopeless:
                    raise
                waited_s = wait_after_s(attempt, self._ids, first_s=_FIRST_WAIT_S)
                event(
                    "request retried",
                    Severity.WARNING,
                    operation=operation,
                    key=key,
                    reason=error.message,
                    attempts=attempt,
                    waited_s=waited_s,
                )
            self._wait(waited_s)
        return ask()

    def _wait(self, duration_s: float) -> None:
        """Wait, unless nobody waits for what comes of it any more."""
        while duration_s > 0 and not pools.is_given_up():
            piece_s = min(duration_s, _LOOK_S)
            self._clock.sleep(piece_s)
            duration_s -= piece_s
