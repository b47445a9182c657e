"""The interface between a delta and its bytes."""

from __future__ import annotations

from typing import Protocol

from chromaseal.delta.model import Delta


class DeltaCodec(Protocol):
    """A file format for deltas."""

    @property
    def suffix(self) -> str:
        """Say how object keys of this format end, for example ``.parquet``."""
        ...

    def encode(self, delta: Delta) -> bytes:
        """Write a delta; equal deltas give equal bytes."""
        ...

    def decode(self, body: bytes) -> Delta:
        """Read a delta and check it against the digest that it carries.

        Raises:
            Damaged: ``bad-delta``.
            Unsupported: ``newer-delta``, written by a newer release.
        """
        ...
