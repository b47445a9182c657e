"""How much of a disk this process has promised to work that is under way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

# How long who waits for room goes without a look at whether it is still wanted.
_LOOK_S = 0.25


class Promises:
    """Bytes that threads of this process have been promised, until each is done.

    What one has used up by now is counted twice, as used and as promised: too much rather than
    too little.
    """

    def __init__(self) -> None:
        self._bytes: list[int] = []
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def kept(self, claim: Callable[[int], int | None], wait: Callable[[], None]) -> Iterator[None]:
        """Have bytes promised for as long as the block lasts.

        Args:
            claim: told what others are promised, says how many bytes are needed; None to ask
                again once one of them is done. Nobody else claims meanwhile.
            wait: called now and then while others are waited for; what it raises ends that.
        """
        with self._changed:
            while (mine := claim(sum(self._bytes))) is None:
                self._changed.wait(_LOOK_S)
                wait()
            self._bytes.append(mine)
        try:
            yield
        finally:
            with self._changed:
                self._bytes.remove(mine)
                self._changed.notify_all()
