"""Runs <-> items of the table, and every key that the ledger has there.

A run of one receipt, in the collections ``lines`` and ``words``, is the COMPACTION_RUN that other
programs of the same table read: their key and their fields, with this ledger's own beside them.
Any other run, and all that finds runs, has keys of its own that begin with ``CHROMASEAL``.
``docs/formats/ledger.md`` is what this module is held to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from blake3 import blake3

from chromaseal.keys import delta_prefix
from chromaseal.run.model import ADOPTED_FROM, WAITING_STATES, Run, RunPart, RunState

Item: TypeAlias = dict[str, Any]
Key: TypeAlias = dict[str, str]

FORMAT = 1
LEDGER: Key = {"PK": "CHROMASEAL", "SK": "LEDGER"}
COUNTS = "CHROMASEAL#COUNT"
NAMES = "CHROMASEAL#RUN_ID"
WAITING = "WAITING"
# All lists of a collection's parts, the one that parts leave first.
LISTS = (WAITING, RunState.FAILED.value, RunState.CANCELLED.value, RunState.COMPLETED.value)
# Of a reason, so that an item never outgrows what an item may be.
ERROR_BYTES = 4096
# What programs that know of two collections and four states read.
_SHARED = ("lines", "words")
_SHARED_STATES = {RunState.MERGING: "PROCESSING", RunState.CANCELLED: RunState.FAILED.value}
# They refuse ids that are no UUIDs of version 4.
_UUID = re.compile(
    r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-4[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}"
)
_RECEIPT_ID = re.compile(r"[1-9][0-9]{0,4}")
# A sort key has 1024 bytes, and a moment stands in front of an id.
_ID_BYTES = 900


def can_be_id(text: str) -> bool:
    """Tell whether a run of that id could be in the table; others are not asked for."""
    try:
        return 0 < len(text.encode()) <= _ID_BYTES
    except UnicodeEncodeError:
        return False


def is_shared(run: Run) -> bool:
    """Tell whether other programs can read a run: it is of one receipt, and of both collections.

    One that such a program wrote itself has both, whatever of it is adopted.
    """
    attributes = run.attributes
    ours = [name for name in _SHARED if name in run.parts]
    return (
        bool(ours if is_adopted(run) else len(ours) == len(_SHARED))
        and _UUID.fullmatch(run.run_id) is not None
        and _UUID.fullmatch(attributes.get("image_id", "")) is not None
        and _RECEIPT_ID.fullmatch(attributes.get("receipt_id", "")) is not None
    )


def is_adopted(run: Run) -> bool:
    """Tell whether another program wrote a run, whose item may be there."""
    return ADOPTED_FROM in run.attributes


def run_key(run: Run) -> Key:
    """Say where a run is."""
    if not is_shared(run):
        return {"PK": f"CHROMASEAL#RUN#{run.run_id}", "SK": "RUN"}
    receipt_id = int(run.attributes["receipt_id"])
    return {
        "PK": f"IMAGE#{run.attributes['image_id']}",
        "SK": f"RECEIPT#{receipt_id:05d}#COMPACTION_RUN#{run.run_id}",
    }


def name_key(run_id: str) -> Key:
    """Say where it is said where the run of an id is."""
    return {"PK": NAMES, "SK": run_id}


def list_of(state: RunState) -> str:
    """Name the list that parts of a state are in; PENDING and MERGING share one."""
    return WAITING if state in WAITING_STATES else state.value


def list_key(collection: str, name: str) -> str:
    """Give the partition of a list of a collection's parts, sorted by ``age``."""
    return f"CHROMASEAL#PART#{collection}#{name}"


def attribute_key(name: str, value: str) -> str:
    """Give the partition of the runs that have an attribute of that value, sorted by ``age``."""
    digest = blake3(json.dumps([name, value]).encode()).hexdigest()
    return f"CHROMASEAL#ATTRIBUTE#{digest}"


def age(run: Run) -> str:
    """Give what sorts runs by their beginning, then by the bytes of their ids."""
    return f"{run.created_at}#{run.run_id}"


def count_key(collection: str, shard: int) -> Key:
    """Say where one of a collection's counters is."""
    return {"PK": COUNTS, "SK": f"{collection}#{shard}"}


def lease_key(collection: str) -> Key:
    """Say where a lease is."""
    return {"PK": f"CHROMASEAL#LEASE#{collection}", "SK": "LEASE"}


def entry(partition: str, run: Run) -> Item:
    """Make what finds a run in a list."""
    key = run_key(run)
    return {
        "PK": partition,
        "SK": age(run),
        "run_id": run.run_id,
        "run_pk": key["PK"],
        "run_sk": key["SK"],
    }


def name_item(run: Run, write_id: str) -> Item:
    """Make what finds a run by its id; only one can be there, so it decides who adds a run."""
    key = run_key(run)
    return {
        **name_key(run.run_id),
        "run_pk": key["PK"],
        "run_sk": key["SK"],
        "write_id": write_id,
    }


def pointed(found: Mapping[str, Any]) -> Key:
    """Say where the run is that an entry, or a name, points at."""
    return {"PK": found["run_pk"], "SK": found["run_sk"]}


def run_item(run: Run, write_id: str) -> Item:
    """Make a new run's item."""
    parts = {name: part_value(part, write_id) for name, part in run.parts.items()}
    return {
        **run_key(run),
        "run_id": run.run_id,
        "created_at": run.created_at,
        "format": FORMAT,
        # As text: an attribute may be no text that DynamoDB takes.
        "attributes": json.dumps(dict(run.attributes), sort_keys=True),
        "parts": parts,
        **(_shared_fields(run) if is_shared(run) else {}),
    }


def adopted_fields(run: Run, write_id: str) -> tuple[Item, Item]:
    """Give what to set on the item that another program wrote, and what to set if it is missing.

    What that program reads of where deltas are, and of when the run began, stays as it is.
    """
    item = run_item(run, write_id)
    own = {
        name: item.pop(name) for name in ("run_id", "created_at", "format", "attributes", "parts")
    }
    states = {n: item.pop(n) for name in run.parts for n in shared_part(name, run.parts[name])}
    return {**own, **states}, {n: v for n, v in item.items() if n not in ("PK", "SK")}


def part_value(part: RunPart, write_id: str) -> Item:
    """Make the value of a part; ``write_id`` is whose write made it so."""
    return {
        "state": part.state.value,
        "delta_key": part.delta_key,
        "size_bytes": part.size_bytes,
        "changes": part.changes,
        "attempts": part.attempts,
        "version_id": part.version_id,
        "error": part.error,
        "started_at": part.started_at,
        "finished_at": part.finished_at,
        "write_id": write_id,
    }


def run_of(item: Mapping[str, Any]) -> Run:
    """Read a run's item."""
    return Run(
        item["run_id"],
        item["created_at"],
        {name: _part_of(value) for name, value in item["parts"].items()},
        json.loads(item["attributes"]),
    )


def shared_part(collection: str, part: RunPart) -> Item:
    """Give the fields by which other programs know how far a part is."""
    if collection not in _SHARED:
        return {}
    done = part.state is RunState.COMPLETED
    why = "cancelled" if part.state is RunState.CANCELLED else ""
    return {
        f"{collection}_state": _SHARED_STATES.get(part.state, part.state.value),
        f"{collection}_started_at": part.started_at or None,
        f"{collection}_finished_at": part.finished_at or None,
        f"{collection}_error": part.error or why or None,
        f"{collection}_merged_vectors": part.changes if done else 0,
    }


def cut(error: str) -> str:
    """Shorten a reason to what an item has room for."""
    whole = error.encode()
    if len(whole) <= ERROR_BYTES:
        return error
    return whole[: ERROR_BYTES - 3].decode(errors="ignore") + "\N{HORIZONTAL ELLIPSIS}"


def _shared_fields(run: Run) -> Item:
    fields: Item = {
        "TYPE": "COMPACTION_RUN",
        "GSI1PK": "RUNS",
        "GSI1SK": f"CREATED_AT#{run.created_at}",
        "image_id": run.attributes["image_id"],
        "receipt_id": int(run.attributes["receipt_id"]),
        "updated_at": None,
    }
    for name in _SHARED:
        if name not in run.parts:
            continue
        part = run.parts[name]
        fields[f"{name}_delta_prefix"] = delta_prefix(part.delta_key)
        fields |= shared_part(name, part)
    return fields


def _part_of(value: Mapping[str, Any]) -> RunPart:
    return RunPart(
        RunState(value["state"]),
        value["delta_key"],
        int(value["size_bytes"]),
        int(value["changes"]),
        int(value["attempts"]),
        value["version_id"],
        value["error"],
        value["started_at"],
        value["finished_at"],
    )
