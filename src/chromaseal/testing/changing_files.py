"""Directories of a few small files, and what applications do to them, for properties of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from chromaseal.digests import PAGE_SIZE_BYTES
from chromaseal.seal.open_files import Holder

PAGE = PAGE_SIZE_BYTES
PATHS = ("chroma.sqlite3", "segment/data_level0.bin", "segment/length.bin")

State = dict[str, bytes]


class NobodyHolds:
    """Open files of directories that this test alone knows."""

    def holders(self, directory: Path) -> list[Holder]:
        """Give nobody."""
        assert directory.is_dir()
        return []


@dataclass(frozen=True)
class Change:
    """What becomes of one file: how it changes, by how much, and the seed of the new bytes."""

    path: str
    kind: str
    amount: int
    seed: int

    def apply(self, state: State) -> None:
        """Change a directory."""
        random = np.random.default_rng(self.seed)
        old = state.get(self.path)
        if self.kind == "vanish":
            state.pop(self.path, None)
        elif old is None:
            state[self.path] = self._new(random)
        elif self.kind == "resize":
            # To the middle of a page, to its end, or to nothing.
            state[self.path] = old[: self.amount] + self._new(random)[len(old) :]
        elif old:
            state[self.path] = self._edited(bytearray(old), random)

    def _new(self, random: np.random.Generator) -> bytes:
        # Noise, or the text-like pages of a database, which are smaller as they are.
        if self.seed % 2:
            return random.bytes(self.amount)
        return (b"row %d; " % self.seed * (self.amount // 6 + 1))[: self.amount]

    def _edited(self, content: bytearray, random: np.random.Generator) -> bytes:
        start = int(random.integers(len(content)))
        if self.kind == "few bytes":
            for place in random.integers(len(content), size=min(self.amount, 40)).tolist():
                content[place] ^= int(random.integers(1, 256))
        elif self.kind == "many bytes":
            fresh = random.bytes(min(self.amount, len(content) - start))
            content[start : start + len(fresh)] = fresh
        else:
            content[start:] = bytes(len(content) - start)
        return bytes(content)


amounts = st.sampled_from([0, 1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE, 9 * PAGE + 7]) | st.integers(
    0, 20 * PAGE
)
kinds = st.sampled_from(["vanish", "resize", "few bytes", "few bytes", "many bytes", "zeros"])
changes = st.builds(Change, st.sampled_from(PATHS), kinds, amounts, st.integers(0, 999))
histories = st.lists(st.lists(changes, max_size=4), min_size=2, max_size=7)


def states_of(history: Sequence[Sequence[Change]]) -> list[State]:
    """Give the directory after each step."""
    states: list[State] = []
    for step in history:
        state = dict(states[-1]) if states else {}
        for change in step:
            change.apply(state)
        states.append(state)
    return states


def write(directory: Path, state: State) -> Path:
    """Make a directory."""
    directory.mkdir(parents=True)
    for path, content in state.items():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


def read(directory: Path) -> State:
    """Give every file of a directory."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
