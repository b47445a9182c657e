"""COMPACTION_RUNs that programs of the existing pipeline wrote, and that wait to be merged."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from chromaseal.adapters.dynamodb.table import Table
from chromaseal.clock import read_moment, to_iso
from chromaseal.legacy.deltas import LegacyRun

_INDEX, _RUNS = "GSI1", "RUNS"
_COLLECTIONS = ("lines", "words")
# FAILED is left alone: whoever was told so may have written the receipt anew since.
_WAITING = ("PENDING", "PROCESSING")
_MERGED = ("COMPLETED",)
_KEY = re.compile(
    r"IMAGE#(?P<image_id>[^/]+)/"
    r"RECEIPT#(?P<receipt_id>[0-9]{5})#COMPACTION_RUN#(?P<run_id>[A-Za-z0-9][A-Za-z0-9_-]{0,127})"
)
_PAGE = 100


def legacy_runs(
    table: Table, *, since: dt.datetime | None = None, merged: bool = False
) -> Iterator[LegacyRun]:
    """Give the runs that wait and that no ledger of chromaseal has taken over, the newest first.

    Args:
        table: the pipeline's.
        since: those only that began later; all by default.
        merged: give those that are said to be merged instead.

    Raises:
        Unavailable: ``ledger-unavailable``.
    """
    for item in table.query(_RUNS, newest_first=True, page=_PAGE, index=_INDEX):
        found = legacy_run_of(item, states=_MERGED if merged else _WAITING)
        begun_at = read_moment(item.get("created_at"))
        if since is not None and begun_at is not None and begun_at < since:
            return
        if found is not None:
            yield found


def legacy_run(
    table: Table, image_id: str, receipt_id: int, run_id: str
) -> tuple[bool, LegacyRun | None]:
    """Tell whether the table has a run, and give what of it waits to be taken over.

    Raises:
        Unavailable: ``ledger-unavailable``.
    """
    sort = f"RECEIPT#{receipt_id:05d}#COMPACTION_RUN#{run_id}"
    item = table.get({"PK": f"IMAGE#{image_id}", "SK": sort})
    return item is not None, legacy_run_of(item) if item is not None else None


def legacy_run_of(
    item: Mapping[str, Any], *, states: Collection[str] = _WAITING
) -> LegacyRun | None:
    """Read what of a COMPACTION_RUN is in some states; None for nothing, or a ledger's own."""
    if item.get("TYPE") != "COMPACTION_RUN" or "parts" in item:
        return None
    prefixes = {
        name: str(item[f"{name}_delta_prefix"])
        for name in _COLLECTIONS
        if item.get(f"{name}_state", "PENDING") in states and item.get(f"{name}_delta_prefix")
    }
    key = _KEY.fullmatch(f"{item['PK']}/{item['SK']}")
    if key is None or not prefixes:
        return None
    begun_at = read_moment(item.get("created_at"))
    created_at = to_iso(begun_at) if begun_at else ""
    return LegacyRun(
        key["run_id"], prefixes, created_at, key["image_id"], str(int(key["receipt_id"]))
    )
