"""A run to add, or parts to move -> the writes that one transaction makes, all or none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from chromaseal.adapters.dynamodb import items
from chromaseal.adapters.dynamodb.items import Item
from chromaseal.errors import RefusedInput
from chromaseal.run.model import Run, RunState, moved

Write: TypeAlias = dict[str, dict[str, Any]]

# What one transaction takes.
MOST_WRITES = 100
_ITEM_BYTES = 400 * 1024
# Counters of a collection, so that those who write at once do not meet at one of them.
SHARDS = 8
# A run that seems to be gone may be in the middle of being added: its items appear one by one.
_NOT_THERE = {"ConditionExpression": "attribute_not_exists(PK)"}
# Where the table lost what finds a run, the run may be there; another program's may not.
_NOT_ANOTHERS = {
    "ConditionExpression": "attribute_not_exists(PK) OR attribute_exists(#parts)",
    "ExpressionAttributeNames": {"#parts": "parts"},
}


@dataclass(frozen=True, slots=True)
class Move:
    """What ``Ledger.move`` was asked.

    Attributes:
        collection: whose parts.
        states: those that are in one of these.
        to: where to.
        at: when, ISO time.
        version_id: the version that contains them.
        error: why, as it is to be kept.
        write_id: unique for the whole move; a part that carries it was moved by it.
    """

    collection: str
    states: frozenset[RunState]
    to: RunState
    at: str
    version_id: str
    error: str
    write_id: str

    def made(self, item: Mapping[str, Any]) -> bool:
        """Tell whether a run's part is as this very move left it."""
        part = item["parts"].get(self.collection)
        return part is not None and part["write_id"] == self.write_id

    def takes(self, item: Mapping[str, Any]) -> bool:
        """Tell whether a run's part is in one of the states, and not there by this move."""
        part = item["parts"].get(self.collection)
        return part is not None and part["state"] in self.states and not self.made(item)

    def groups(self, found: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Cut runs into what one transaction can move; a part that stays in its list is one write.

        Args:
            found: runs that this takes.
        """
        to = items.list_of(self.to)
        froms = {items.list_of(RunState(each["parts"][self.collection]["state"])) for each in found}
        size = (MOST_WRITES - 1) // (1 if froms <= {to} else 3)
        for start in range(0, len(found), size):
            yield found[start : start + size]


def adding(run: Run, write_id: str, shard: int, *, gone: str = "") -> list[Write]:
    """Give the writes that add a run, unless one of its id is there.

    Args:
        run: new.
        write_id: unique; whoever finds it knows whose run it is.
        shard: which of a collection's counters counts it.
        gone: the id of the write that added a run of that id which somebody has deleted since;
            empty where there was none.

    Raises:
        RefusedInput: ``run-too-large``.
    """
    item = items.run_item(run, write_id)
    writes: list[Write] = [
        {
            "Put": {
                "Item": items.name_item(run, write_id),
                "ConditionExpression": "attribute_not_exists(PK) OR write_id = :gone",
                "ExpressionAttributeValues": {":gone": gone},
            }
        },
        _adopting(run, write_id, gone=gone)
        if items.is_adopted(run) and items.is_shared(run)
        else {"Put": {"Item": item, **(_NOT_THERE if gone else _NOT_ANOTHERS)}},
    ]
    for name, part in sorted(run.parts.items()):
        listed = items.list_key(name, items.list_of(part.state))
        writes.append({"Put": {"Item": items.entry(listed, run)}})
        pending = int(part.state is RunState.PENDING)
        writes.append(_counting(name, shard, Counter({part.state: 1}), pending))
    for name, value in sorted(run.attributes.items()):
        writes.append({"Put": {"Item": items.entry(items.attribute_key(name, value), run)}})
    _check_size(run, item, writes)
    return writes


def _adopting(run: Run, write_id: str, *, gone: str) -> Write:
    """Make a run of the item that another program wrote, unless it has been merged meanwhile.

    Where the table has lost the item, or never had it, it is made.
    """
    plain, if_missing = items.adopted_fields(run, write_id)
    named = {f"#f{place}": name for place, name in enumerate((*plain, *if_missing))}
    values = {f":f{place}": v for place, v in enumerate((*plain.values(), *if_missing.values()))}
    sets = [
        f"#f{place} = "
        + (f":f{place}" if name in plain else f"if_not_exists(#f{place}, :f{place})")
        for place, name in enumerate((*plain, *if_missing))
    ]
    places = {name: place for place, name in named.items()}
    waits = [
        f"{places[f'{name}_state']} <> :done"
        for name, part in run.parts.items()
        if f"{name}_state" in plain and part.state is not RunState.COMPLETED
    ]
    theirs = " AND ".join([f"attribute_not_exists({places['parts']})", *waits])
    # Where the table lost what finds the run, the item is this ledger's already.
    condition = theirs if gone else f"({theirs}) OR attribute_exists({places['parts']})"
    done = {":done": RunState.COMPLETED.value} if waits else {}
    return {
        "Update": {
            "Key": items.run_key(run),
            "UpdateExpression": f"SET {', '.join(sets)}",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": named,
            "ExpressionAttributeValues": {**values, **done},
        }
    }


def moving(group: Sequence[Item], move: Move, shard: int) -> list[Write]:
    """Give the writes that move parts, unless one of them was changed since it was read.

    Args:
        group: runs as they were read, which the move takes.
        move: what was asked.
        shard: which of the collection's counters counts it.
    """
    writes: list[Write] = []
    counted: Counter[RunState] = Counter()
    for item in group:
        run = items.run_of(item)
        before = run.parts[move.collection]
        after = moved(before, to=move.to, at=move.at, version_id=move.version_id, error=move.error)
        counted[before.state] -= 1
        counted[after.state] += 1
        fields: dict[str, Any] = {
            f"parts.{move.collection}": items.part_value(after, move.write_id)
        }
        shared = items.shared_part(move.collection, after) if "TYPE" in item else {}
        if shared:
            fields |= {**shared, "updated_at": move.at}
        writes.append(_changing(item, move.collection, fields))
        left, entered = items.list_of(before.state), items.list_of(after.state)
        if left != entered:
            key = {"PK": items.list_key(move.collection, left), "SK": items.age(run)}
            writes.append({"Delete": {"Key": key}})
            partition = items.list_key(move.collection, entered)
            writes.append({"Put": {"Item": items.entry(partition, run)}})
    announced = len(group) if move.to is RunState.PENDING else 0
    if announced or any(counted.values()):
        writes.append(_counting(move.collection, shard, counted, announced))
    return writes


def _changing(item: Item, collection: str, fields: Mapping[str, Any]) -> Write:
    """Set fields of a run, as long as the part is what was read."""
    whole = f"parts.{collection}"
    names = {"#parts": "parts", "#collection": collection, "#write_id": "write_id"}
    values = {":seen": item["parts"][collection]["write_id"]}
    sets = []
    for number, (name, value) in enumerate(fields.items()):
        path = "#parts.#collection" if name == whole else f"#f{number}"
        if name != whole:
            names[path] = name
        values[f":v{number}"] = value
        sets.append(f"{path} = :v{number}")
    return {
        "Update": {
            "Key": {"PK": item["PK"], "SK": item["SK"]},
            "UpdateExpression": f"SET {', '.join(sets)}",
            "ConditionExpression": "#parts.#collection.#write_id = :seen",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
    }


def _counting(
    collection: str, shard: int, counted: Mapping[RunState, int], announced: int
) -> Write:
    numbers = {state.value: number for state, number in counted.items() if number}
    if announced:
        numbers["announced"] = announced
    named = {f"#n{place}": name for place, name in enumerate(numbers)}
    return {
        "Update": {
            "Key": items.count_key(collection, shard),
            "UpdateExpression": "ADD "
            + ", ".join(f"{name} :{name.removeprefix('#')}" for name in named),
            "ExpressionAttributeNames": named,
            "ExpressionAttributeValues": {
                f":n{place}": number for place, number in enumerate(numbers.values())
            },
        }
    }


def _check_size(run: Run, item: Item, writes: Sequence[Write]) -> None:
    # What other programs read has a copy of the reasons.
    reasons = 2 * items.ERROR_BYTES * len(run.parts)
    size_bytes = len(json.dumps(item, ensure_ascii=False).encode()) + reasons
    if size_bytes > _ITEM_BYTES or len(writes) > MOST_WRITES:
        raise RefusedInput(
            f"run {run.run_id} with {len(run.parts)} collections and {len(run.attributes)} "
            f"attributes takes {size_bytes} bytes and {len(writes)} writes, and DynamoDB takes "
            f"{_ITEM_BYTES} and {MOST_WRITES}",
            kind="run-too-large",
            hint="write the collections as runs of their own, or with fewer attributes; long texts "
            "belong into the records",
        )
