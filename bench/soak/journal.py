"""What a writer has tried and what was acknowledged, on disk before the next thing happens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

INTENT = "intent"
ACKNOWLEDGED = "acknowledged"
UNANSWERED = "unanswered"


class Journal:
    """A file that only grows, a line of JSON for each thing; each is on disk when noted.

    Args:
        path: begun where there is none; what a death left of a last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        whole = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
        self._file = path.open("ab", buffering=0)
        self._file.truncate(len(whole[0]) + len(whole[1]))

    def note(self, event: str, number: int, at_s: float, **facts: str) -> None:
        """Write down what happened to a run, and when, by a clock that is every process's."""
        line = json.dumps({"event": event, "number": number, "at_s": at_s, **facts})
        self._file.write(line.encode() + b"\n")
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Attempted:
    """One run of a writer, as its journal has it.

    Attributes:
        number: of the run.
        begun_s: when it was first begun.
        acknowledged_s: when the vault first said that it is durable; None if it never did.
        created_at: what it was told of the run's age; empty if nothing.
        tries: how often it was begun.
        unanswered: how often store or ledger did not answer.
    """

    number: int
    begun_s: float
    acknowledged_s: float | None = None
    created_at: str = ""
    tries: int = 0
    unanswered: int = 0


def read_journal(path: Path) -> list[Attempted]:
    """Give the runs that a writer has tried, in their order."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return attempted(json.loads(line) for line in lines)


def attempted(entries: Iterable[dict[str, Any]]) -> list[Attempted]:
    """Give the runs of a journal's lines, in their order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["number"], []).append(entry)
    return [_attempted(number, found[number]) for number in sorted(found)]


def _attempted(number: int, entries: list[dict[str, Any]]) -> Attempted:
    done = [entry for entry in entries if entry["event"] == ACKNOWLEDGED]
    events = [entry["event"] for entry in entries]
    return Attempted(
        number,
        begun_s=entries[0]["at_s"],
        acknowledged_s=done[0]["at_s"] if done else None,
        created_at=done[0]["created_at"] if done else "",
        tries=events.count(INTENT),
        unanswered=events.count(UNANSWERED),
    )
