"""Collecting garbage: what no version needs, and versions that no rule keeps.

May run beside any number of writers, readers and other collectors; may die on any line and be
run again. Versions go before the layers that only they need, so that what is still listed can
be read whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chromaseal import keys, pools
from chromaseal.clock import Clock
from chromaseal.errors import Conflict, Damaged
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress, no_progress
from chromaseal.snapshot.history import head, line, load_all
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.removal import removed_versions, take_back, write_removal
from chromaseal.snapshot.retention import (
    Doomed,
    Policy,
    doomed_deltas,
    doomed_objects,
    reached,
    told_by_sizes,
    versions_to_keep,
)
from chromaseal.snapshot.tags import read_tags
from chromaseal.telemetry.emit import carried

_DELETES_AT_ONCE = 8
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Garbage:
    """What goes, or would go.

    Attributes:
        collection: whose.
        doomed: the objects, in the order in which they go.
        versions: numbers of the versions that go.
        kept: numbers of the versions that stay.
    """

    collection: str
    doomed: tuple[Doomed, ...]
    versions: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Give the bytes that come free."""
        return sum(each.size_bytes for each in self.doomed)


def collect(
    store: ObjectStore,
    collection: str,
    policy: Policy,
    *,
    clock: Clock,
    ids: Ids,
    forget: frozenset[str] = frozenset(),
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Garbage:
    """Remove what no version that stays needs.

    Args:
        store: the vault's objects.
        collection: whose.
        policy: which versions stay.
        clock: what days are counted from.
        ids: for the name of the record of what went.
        forget: ids of versions that go whatever the policy says, but for the newest one and
            those with a tag: they are beyond rescue.
        dry_run: tell what would go, and leave it.
        progress: called with removed and all objects.

    Raises:
        Damaged: a version that is to stay cannot be read; nothing was removed.
        Conflict: ``too-many-races``, versions that were to go were tagged again and again.
        Unavailable: the store did not answer; run it again.
    """
    missed = ""
    for _ in range(_ATTEMPTS):
        try:
            garbage, ids_to_go = _plan(store, collection, policy, clock, forget)
        except Damaged as error:
            # Another collector may have taken what was still there a moment ago.
            if error.kind != "missing-object" or error.message == missed:
                raise
            missed = error.message
            continue
        if dry_run or not (garbage.doomed or ids_to_go):
            return garbage
        if _announced(store, collection, ids_to_go, ids):
            _remove(store, garbage.doomed, progress)
            return garbage
    raise Conflict(
        f"versions of {collection} were tagged while they were to be removed",
        kind="too-many-races",
        hint="run the same command again",
    )


def _plan(
    store: ObjectStore, collection: str, policy: Policy, clock: Clock, forget: frozenset[str]
) -> tuple[Garbage, list[str]]:
    # Tags before the head, so that every version with a tag is in its line.
    tags = read_tags(store, collection)
    newest = head(store, collection).version
    if newest is None:
        # Attempts at a first version: any of them may still become it.
        return Garbage(collection, (), (), ()), []
    past = line(store, newest)
    _check_tags(collection, tags, past)
    tagged = set(tags.values())
    objects = _objects(store, collection)
    present = [p for p in past if keys.manifest(collection, p.version_id) in objects]
    gone = removed_versions(store, collection)
    announced = gone - tagged - {newest.version_id}
    forgotten = forget - tagged - {newest.version_id}
    kept = versions_to_keep(past, tagged, policy, clock.now()) - announced - forgotten
    # A version that is to stay and is missing was lost: what it needs must not go as well.
    here = {p.version_id for p in present}
    staying = [
        v for v in (p.version_id for p in past) if v in kept and (v in here or v not in gone)
    ]
    # Also where others have removed it since: what has come after it builds on it.
    needed = reached(newest)
    unread = staying
    if len(staying) == len(past) == len(present):
        # Nothing was ever removed: the manifests of a long history need not be read each time.
        layers = {key: n for key, n in objects.items() if key.startswith(keys.layers(collection))}
        told, unread = told_by_sizes(layers, past)
        needed |= told | {keys.manifest(collection, each) for each in staying}
    for version in _load_staying(store, collection, unread):
        needed |= reached(version)
    doomed = doomed_objects(objects, needed, newest.manifest, past)
    deltas = {info.key: info.size_bytes for info in store.list(keys.deltas(collection))}
    doomed += doomed_deltas(deltas, past, frozenset(staying), policy)
    lost = forgotten - here - gone
    going = [p for p in past if p.version_id in lost or p.version_id in here - kept]
    garbage = Garbage(
        collection, tuple(doomed), _numbers(going), _numbers(p for p in present if p not in going)
    )
    return garbage, [p.version_id for p in going]


def _load_staying(store: ObjectStore, collection: str, staying: Sequence[str]) -> list[Version]:
    try:
        return load_all(store, collection, staying)
    except Damaged as error:
        hint = (
            "bring it back from a backup of the vault; or give that version up: "
            f"chromaseal gc {collection} --forget NUMBER"
        )
        raise Damaged(error.message, kind=error.kind, hint=hint) from error


def _check_tags(collection: str, tags: Mapping[str, str], past: Sequence[PastVersion]) -> None:
    # A damaged tag would let the version go that it stands for.
    ids = {version.version_id for version in past}
    for name, version_id in tags.items():
        if version_id not in ids:
            raise Damaged(
                f"{keys.tag(collection, name)} names {version_id}, which never was a version of "
                f"{collection}",
                kind="bad-version-id",
                hint=f"chromaseal untag {collection} {name}, then tag the version again",
            )


def _objects(store: ObjectStore, collection: str) -> dict[str, int]:
    prefixes = (keys.manifests(collection), keys.layers(collection), keys.history_pages(collection))
    return {info.key: info.size_bytes for prefix in prefixes for info in store.list(prefix)}


def _announced(store: ObjectStore, collection: str, ids_to_go: list[str], ids: Ids) -> bool:
    """Say which versions are about to go; False if one of them has got a tag meanwhile."""
    if not ids_to_go:
        return True
    gc_id = ids.unique()
    write_removal(store, collection, gc_id, ids_to_go)
    if set(ids_to_go) & set(read_tags(store, collection).values()):
        take_back(store, collection, gc_id)
        return False
    return True


def _remove(store: ObjectStore, doomed: Iterable[Doomed], progress: Progress) -> None:
    manifests = [d.key for d in doomed if keys.parse_manifest(d.key) is not None]
    others = [d.key for d in doomed if keys.parse_manifest(d.key) is None]
    done, total = 0, len(manifests) + len(others)
    for group in (manifests, others):
        with pools.pool(_DELETES_AT_ONCE) as pool:
            for _ in pool.map(carried(store.delete), group):
                done += 1
                progress(done, total)


def _numbers(versions: Iterable[PastVersion]) -> tuple[int, ...]:
    return tuple(past.number for past in versions)
