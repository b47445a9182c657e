"""Waiting for what other processes and threads do: in real time, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

from chromaseal.clock import SystemClock

_PATIENCE_S = 90.0
_LOOK_S = 0.01


def wait_until(
    so: Callable[[], bool],
    what: str = "",
    *,
    patience_s: float = _PATIENCE_S,
    look_s: float = _LOOK_S,
) -> None:
    """Look again until something is so.

    Args:
        so: looks.
        what: is to be so, in words.
        patience_s: a busy machine takes long; less than pytest's time limit says what is missing.
        look_s: between two looks; longer where each one takes time from what is waited for.

    Raises:
        AssertionError: it was not so in time.
    """
    clock = SystemClock()
    end_s = clock.monotonic_s() + patience_s
    while not so():
        if clock.monotonic_s() > end_s:
            raise AssertionError(f"not so after {patience_s:.0f} s: {what or so}")
        clock.sleep(look_s)
