"""What a table's stream calls a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def event_name(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Name the change of an item that was, or is, not there where it is None."""
    if before is None:
        return "INSERT"
    return "REMOVE" if after is None else "MODIFY"
