"""A collection's objects, read without the engine's own reader: what is reached, what is not.

Written from ``docs/formats``, so that the engine and its garbage collection are held against
something else than themselves. Only the names of keys are the engine's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from chromaseal import keys
from chromaseal.digests import blake3_hex
from chromaseal.object_store import ObjectStore

_CHANCE = re.compile(r"\d{8}_\d{6}_\d{6}|[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Audit:
    """What there is of a collection.

    Attributes:
        line: ids of all versions from number 1 to the newest, those included that were removed.
        kept: those of them whose manifests are there.
        orphans: keys that none of the kept versions needs, nor the collection itself.
        missing: keys that a kept version needs and that are not there.
    """

    line: tuple[str, ...]
    kept: tuple[str, ...]
    orphans: frozenset[str]
    missing: frozenset[str]


def audit(store: ObjectStore, collection: str) -> Audit:
    """Read a collection that has a version.

    Raises:
        AssertionError: its history is no straight line, or an object is not what its name says.
    """
    objects = {info.key for info in store.list(keys.everything(collection))}
    newest = store.get(keys.pointer(collection)).body.decode().strip()
    line = _line(store, collection, newest)
    kept = tuple(each for each in line if keys.manifest(collection, each) in objects)
    assert newest in kept
    needed = {keys.pointer(collection)}
    for version_id in kept:
        plain = _manifest(store, collection, version_id)
        _check_parent(plain, line, line.index(version_id))
        needed |= needs_of(plain, collection, version_id)
    own = tuple(f(collection) for f in (keys.tags, keys.gcs, keys.deltas, keys.cancellations))
    spare = {key for key in objects - needed if not key.startswith(own)}
    return Audit(line, kept, frozenset(spare), frozenset(needed - objects))


def assert_clean(store: ObjectStore, collection: str) -> Audit:
    """Check that everything needed is there, and nothing else."""
    found = audit(store, collection)
    assert found.missing == frozenset(), "something reachable was deleted"
    assert found.orphans == frozenset(), "something unreachable was left"
    return found


def _manifest(store: ObjectStore, collection: str, version_id: str) -> dict[str, Any]:
    body = store.get(keys.manifest(collection, version_id)).body
    assert blake3_hex(body)[:32] == version_id[-32:]
    plain: dict[str, Any] = json.loads(body)
    return plain


def _line(store: ObjectStore, collection: str, newest: str) -> tuple[str, ...]:
    plain = _manifest(store, collection, newest)
    rows = []
    for page in plain["pages"]:
        body = store.get(keys.history_page(collection, page["page_id"])).body
        assert blake3_hex(body) == page["digest"]
        rows += json.loads(body)["past"]
    ids = [*(row[0] for row in [*rows, *plain["past"]]), newest]
    numbers = [int(each.split("_")[3]) for each in ids]
    assert numbers == list(range(1, len(ids) + 1)), "the history has gaps"
    assert sorted(ids) == ids
    return tuple(ids)


def _check_parent(plain: dict[str, Any], line: tuple[str, ...], place: int) -> None:
    assert plain["number"] == place + 1
    parent = plain["parent"]
    assert (parent["version_id"] if parent else None) == (line[place - 1] if place else None)
    if parent:
        assert parent["version_id"].endswith(parent["digest"][:32])


def needs_of(plain: dict[str, Any], collection: str, version_id: str) -> set[str]:
    """Give the keys that a version of that manifest needs, its own among them."""
    found = {keys.manifest(collection, version_id)}
    for layer in [*plain["layers"], *([plain["step"]] if plain["step"] else [])]:
        numbers = range(len(layer["parts"]))
        found |= {keys.layer_part(collection, layer["layer_id"], number) for number in numbers}
    return found | {keys.history_page(collection, page["page_id"]) for page in plain["pages"]}


def outline(store: ObjectStore, collection: str) -> tuple[str, ...]:
    """Give the keys of a collection's objects without what is chance or time in them.

    Two vaults of the same outline have the same left over and the same to lose.
    """
    found = (info.key for info in store.list(keys.everything(collection)))
    return tuple(sorted(_CHANCE.sub("*", key) for key in found))
