"""Chance as it is handed to everything that needs it: unique ids and jitter."""

from __future__ import annotations

import secrets
import uuid
from typing import Protocol


class Ids(Protocol):
    """Where code gets unique names and random waits from."""

    def unique(self) -> str:
        """Make 32 hexadecimal digits that nobody has had before."""
        ...

    def run_id(self) -> str:
        """Make a new run's UUID, in its usual form of 36 characters."""
        ...

    def fraction(self) -> float:
        """Draw a number from 0 up to, not including, 1; for jitter."""
        ...


class SystemIds:
    """Ids and jitter from the operating system's random source."""

    def unique(self) -> str:
        """Make 32 random hexadecimal digits."""
        return secrets.token_hex(16)

    def run_id(self) -> str:
        """Make a random UUID."""
        return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))

    def fraction(self) -> float:
        """Draw a uniform number in [0, 1)."""
        return secrets.randbits(53) / (1 << 53)
