"""Chance as it is handed to everything that needs it: unique ids and jitter."""

from __future__ import annotations

import math
import secrets
import uuid
from typing import Final, Protocol

# More would be no number any more, and no wait is as long.
_MOST_DOUBLINGS: Final = 60


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


def spread_s(wait_s: float, ids: Ids) -> float:
    """Make a wait longer or shorter by up to a half: who began together does not end together."""
    return wait_s * (0.5 + ids.fraction())


def wait_after_s(failures: int, ids: Ids, *, first_s: float, longest_s: float = math.inf) -> float:
    """Say how long to wait after a failure; twice as long after each more, give or take a half.

    Args:
        failures: how many there were in a row; 1 after the first.
        ids: for the chance that keeps those who failed together apart.
        first_s: after the first.
        longest_s: what it does not exceed, but for chance.
    """
    doubled_s = first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
    return spread_s(min(doubled_s, longest_s), ids)


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
