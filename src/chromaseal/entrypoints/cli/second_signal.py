"""The second Ctrl-C ends a command, whatever it waits for.

Python hears of a signal between two of its own steps. A request that a store has taken and never
answers is one step, of minutes. Whatever a command has done by then is stored as if it had been
killed, which loses nothing; its children end with their input.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Final

from chromaseal.errors import Interrupted

# Who passes a signal on may send it to the process and to its group: that is one.
_APART_S: Final = 1.0
_STOPPING = {signal.SIGINT, signal.SIGTERM}
_LEFT = b"interrupted: it was ended at once; everything that was reported as done is stored\n"


def end_at_second_signal() -> None:
    """Let the second Ctrl-C or SIGTERM end this process.

    Call it in the main thread while both are blocked, so that they are its own to handle.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), name="chromaseal-signals", daemon=True).start()


def _watch(reading: int) -> None:
    first_s = 0.0
    for now_s in _heard(reading):
        first_s = first_s or now_s
        if now_s - first_s >= _APART_S:
            os.write(2, _LEFT)
            os._exit(Interrupted.exit_code)


def _heard(reading: int) -> Iterator[float]:
    while numbers := os.read(reading, 64):
        if _STOPPING & {*numbers}:
            yield time.monotonic()
