"""How much of a disk is promised to work that is under way on this machine.

::

    <folder>/lock              locked by whoever decides
    <folder>/<bytes>-<number>  a promise, locked by whoever has it, and void once that has died
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.snapshot.checkout import cannot_write, disk_full, is_full

# How long who waits for room goes without a look at whether there is some.
_LOOK_S = 0.25


class Promises:
    """Bytes that threads and processes have been promised, until each is done or has died.

    What one has used up by now is counted twice, as used and as promised: too much rather than
    too little.

    Args:
        folder: shared by all that use the disk.
        clock: for waiting.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    @contextlib.contextmanager
    def kept(self, claim: Callable[[int], int | None], wait: Callable[[], None]) -> Iterator[None]:
        """Have bytes promised for as long as the block lasts.

        Args:
            claim: told what others are promised, says how many bytes are needed; None to ask
                again once one of them is done. Nobody else claims meanwhile.
            wait: called now and then while others are waited for; what it raises ends that.

        Raises:
            Unavailable: ``disk-full``.
            Conflict: ``cannot-write``.
        """
        with contextlib.ExitStack() as held:
            while not self._claimed(claim, held):
                self._clock.sleep(_LOOK_S)
                wait()
            yield

    def _claimed(self, claim: Callable[[int], int | None], held: contextlib.ExitStack) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "lock").open("wb") as deciding:
                fcntl.flock(deciding, fcntl.LOCK_EX)
                mine = claim(self._promised_bytes())
                if mine is not None:
                    self._promise(mine, held)
        except OSError as error:
            if is_full(error):
                raise disk_full(f"{self._folder} cannot be written: {error}") from error
            raise cannot_write(self._folder, error) from error
        return mine is not None

    def _promise(self, size_bytes: int, held: contextlib.ExitStack) -> None:
        taken = {path.name for path in self._folder.iterdir()}
        names = (f"{size_bytes}-{number}" for number in itertools.count())
        promise = self._folder / next(name for name in names if name not in taken)
        file = held.enter_context(promise.open("xb"))
        held.callback(promise.unlink, missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_EX)

    def _promised_bytes(self) -> int:
        promised_bytes = 0
        for promise in self._folder.glob("*-*"):
            with contextlib.suppress(FileNotFoundError), promise.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    promised_bytes += int(promise.name.partition("-")[0])
                else:
                    promise.unlink()
        return promised_bytes
