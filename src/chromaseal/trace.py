"""What happened to a run, step by step, as plain data that a vault can tell without any log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step on the way from an image to a version.

    Attributes:
        step: its name.
        at: when it ended, UTC, ISO 8601; empty if that was not noted.
        duration_s: how long it took; None if that was not noted.
        size_bytes: of what it left behind; None where it left nothing.
        digest: BLAKE3 of what it left behind; empty where it left nothing.
        detail: what was done, found or checked.
    """

    step: str
    at: str
    duration_s: float | None
    size_bytes: int | None
    digest: str
    detail: str
