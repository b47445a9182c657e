"""What a process makes durable, and what else was to be seen at that moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


class Synced:
    """Takes note of every ``fsync``, and asks the kernel for it all the same.

    Args:
        monkeypatch: for as long as it lasts.
        there: asked after each; for example who has a name by then.

    Attributes:
        seen: what was made durable, with that answer.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: Callable[[], object]) -> None:
        self.seen: list[tuple[Path, object]] = []
        self._there = there
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.seen.append((path, self._there()))
