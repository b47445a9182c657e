"""The versions of a collection: its head, any one of them, and the line that leads there.

A manifest lists the versions before it, the latest ones itself and older ones in pages, objects
of ``PAGE_VERSIONS`` versions each. So the whole line is read in a few requests, and what a
manifest grows by does not grow with the number of versions.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chromaseal import keys, pools
from chromaseal.digests import blake3_hex
from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.settle import put_once
from chromaseal.snapshot.manifest import (
    MergedRun,
    PageEntry,
    PastVersion,
    Version,
    decode,
    past_of,
    past_row,
    to_json,
)
from chromaseal.snapshot.plain_types import check_list_format
from chromaseal.snapshot.version_id import parse
from chromaseal.telemetry.emit import carried

PAGE_VERSIONS = 64
_PAGE_FORMAT = "chromaseal.history"
_READS_AT_ONCE = 8
# Some 40 kB each.
_PAGES_AT_HAND = 4096
_PUT_BACK = "chromaseal repair {} puts it back, where the vault tells which version was the newest"


class Head:
    """What the pointer says, and the tag that moving it asks for.

    Attributes:
        version: the newest version; None before the first.
        etag: of the pointer; None where there is none.
    """

    def __init__(self, version: Version | None, etag: str | None) -> None:
        self.version = version
        self.etag = etag


def head(store: ObjectStore, collection: str) -> Head:
    """Read a collection's pointer and the manifest that it names.

    Raises:
        Damaged: ``bad-version-id``, ``bad-manifest``, ``missing-object`` or
            ``missing-pointer``.
    """
    version_id, etag = pointer(store, collection)
    while version_id is not None:
        try:
            return Head(load(store, collection, version_id), etag)
        except Damaged as error:
            seen = (version_id, etag)
            version_id, etag = pointer(store, collection)
            # Another version may have come meanwhile, and garbage collection after it.
            if error.kind != "missing-object" or (version_id, etag) == seen:
                named = f"{keys.pointer(collection)} names {seen[0]}: {error.message}"
                raise Damaged(named, kind=error.kind, hint=error.hint) from error
    return Head(None, None)


@contextmanager
def lost_race_if_moved(store: ObjectStore, collection: str, found: Head) -> Iterator[None]:
    """Tell a head that garbage collection took, after another one came, from one that is lost.

    Raises:
        Conflict: ``lost-race``, something of the head is missing and there is another head.
    """
    try:
        yield
    except (Damaged, NotFound) as error:
        if error.kind in {"missing-object", "removed-version", "cannot-repair"}:
            refuse_moved(store, collection, found)
        raise


def refuse_moved(store: ObjectStore, collection: str, found: Head) -> None:
    """Refuse to go on from a head that is not the newest any more.

    Raises:
        Conflict: ``lost-race``.
    """
    if pointer(store, collection)[1] != found.etag:
        raise Conflict(
            f"somebody else moved {keys.pointer(collection)} first",
            kind="lost-race",
            hint="run the same command again; it begins with what is there now",
        )


def pointer(store: ObjectStore, collection: str) -> tuple[str | None, str | None]:
    """Read a collection's pointer: the newest version's id and the pointer's tag.

    Raises:
        Damaged: ``bad-version-id`` or ``missing-pointer``.
    """
    found = _pointer_object(store, collection)
    if found is None:
        return None, None
    version_id = found.body.decode("utf-8", "replace").strip()
    try:
        parse(version_id)
    except Damaged as error:
        raise Damaged(
            f"{keys.pointer(collection)}: {error.message}",
            kind=error.kind,
            hint=_PUT_BACK.format(collection),
        ) from error
    return version_id, found.etag


def missing_pointer(collection: str) -> Damaged:
    """Make the error for a collection that has had versions and has no pointer."""
    return Damaged(
        f"{keys.pointer(collection)} is missing, though {collection} has had versions",
        kind="missing-pointer",
        hint=_PUT_BACK.format(collection),
    )


def _pointer_object(store: ObjectStore, collection: str) -> StoredObject | None:
    key = keys.pointer(collection)
    try:
        return store.get(key)
    except NotFound:
        if not _has_later_version(store, collection):
            return None
    try:
        # Others may have published between the two looks, more than once.
        return store.get(key)
    except NotFound:
        raise missing_pointer(collection) from None


def _has_later_version(store: ObjectStore, collection: str) -> bool:
    # A first version whose writer died before the commit leaves a manifest with number 1.
    named = (keys.parse_manifest(found.key) for found in store.list(keys.manifests(collection)))
    return any(parse(each[1]).number > 1 for each in named if each is not None)


def load(store: ObjectStore, collection: str, version_id: str) -> Version:
    """Read one version by its id.

    Raises:
        Damaged: ``bad-version-id``, ``bad-manifest`` or ``missing-object``.
    """
    parse(version_id)
    try:
        body = store.get(keys.manifest(collection, version_id)).body
    except NotFound:
        raise Damaged(
            f"the manifest of {version_id} of {collection} is missing",
            kind="missing-object",
            hint="if `chromaseal gc` did not take it: bring it back from a backup of the vault",
        ) from None
    version = decode(version_id, body)
    if version.manifest.collection != collection:
        raise Damaged(f"{version_id} is no version of {collection}", kind="bad-manifest")
    return version


def load_all(store: ObjectStore, collection: str, version_ids: Sequence[str]) -> list[Version]:
    """Read several versions at once."""
    with pools.pool(_READS_AT_ONCE) as pool:
        return list(pool.map(carried(functools.partial(load, store, collection)), version_ids))


class PagesAtHand:
    """Pages of histories that this process has read before; they never change.

    Args:
        most: how many are kept. Each is read as often as any other, so the first ones stay.
    """

    def __init__(self, most: int = _PAGES_AT_HAND) -> None:
        self._most = most
        self._pages: dict[tuple[str, PageEntry], list[PastVersion]] = {}

    def read(self, store: ObjectStore, collection: str, page: PageEntry) -> list[PastVersion]:
        """Give the versions that a page lists."""
        found = self._pages.get((collection, page))
        if found is None:
            found = _read_page(store, collection, page)
            if len(self._pages) < self._most:
                self._pages[collection, page] = found
        return found


def line(
    store: ObjectStore, newest: Version, *, at_hand: PagesAtHand | None = None
) -> list[PastVersion]:
    """Give the versions of a collection up to one of them, oldest first.

    Versions that were removed since are in it too.

    Args:
        store: where pages are.
        newest: the last one.
        at_hand: what was read before; nothing for whoever looks whether all of it is there.

    Raises:
        Damaged: ``bad-manifest`` or ``missing-object``.
    """
    manifest = newest.manifest
    with pools.pool(_READS_AT_ONCE) as pool:
        reading = _read_page if at_hand is None else at_hand.read
        read = carried(functools.partial(reading, store, manifest.collection))
        pages = pool.map(read, manifest.pages)
        listed = [past for page in pages for past in page]
    past = [*listed, *manifest.past]
    if manifest.parent and (not past or past[-1].version_id != manifest.parent.version_id):
        raise Damaged(
            f"the history of {newest.version_id} does not end at its parent", kind="bad-manifest"
        )
    return [*past, newest.as_past]


@dataclass(frozen=True, slots=True)
class Extension:
    """What a new version says of those before it."""

    pages: tuple[PageEntry, ...]
    past: tuple[PastVersion, ...]


def extend(store: ObjectStore, parent: Version | None, page_id: str) -> Extension:
    """Put a version behind those that it lists, for the manifest of its child.

    Args:
        store: where a page goes when enough versions have come together.
        parent: the version.
        page_id: a name for that page that nobody else uses.
    """
    if parent is None:
        return Extension((), ())
    manifest = parent.manifest
    past = (*manifest.past, parent.as_past)
    if len(past) < PAGE_VERSIONS:
        return Extension(manifest.pages, past)
    body = to_json({"format": _PAGE_FORMAT, "format_version": 1, "past": [*map(past_row, past)]})
    put_once(store, keys.history_page(manifest.collection, page_id), body)
    page = PageEntry(page_id, past[0].number, past[-1].number, len(body), blake3_hex(body))
    return Extension((*manifest.pages, page), ())


def _read_page(store: ObjectStore, collection: str, page: PageEntry) -> list[PastVersion]:
    key = keys.history_page(collection, page.page_id)
    try:
        body = store.get(key).body
    except NotFound:
        raise Damaged(
            f"{key} is missing",
            kind="missing-object",
            hint="bring the object back from a backup of the vault",
        ) from None
    if blake3_hex(body) != page.digest:
        raise Damaged(f"{key} is not what the manifest says", kind="bad-manifest")
    try:
        raw = json.loads(body)
        check_list_format(key, raw, _PAGE_FORMAT)
        past = [past_of(row) for row in raw["past"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{key} cannot be read: {error}", kind="bad-manifest") from error
    if [each.number for each in past] != list(range(page.first, page.last + 1)):
        raise Damaged(f"{key} has gaps", kind="bad-manifest")
    return past


@dataclass(frozen=True, slots=True)
class MergedRuns:
    """The runs along a line of versions.

    Attributes:
        contained: every run that was ever merged; none of them is merged again.
        effective: those among them that no rollback has undone and that were merged since a
            directory was pushed, which has all that came before.
    """

    contained: tuple[MergedRun, ...]
    effective: tuple[MergedRun, ...]


def merged_runs(past: Sequence[PastVersion]) -> MergedRuns:
    """Give the runs of a line of versions, in the order of their age.

    Args:
        past: a line from number 1 on, without gaps.
    """
    contained = [run for version in past for run in _runs(version)]
    effective: list[MergedRun] = []
    number = len(past)
    while number:
        version = past[number - 1]
        if version.restores is not None:
            # What was merged since then is undone, and stays so when a run is to be repeated.
            number = version.restores
        elif not version.runs:
            # A pushed directory has what its owner made of all that was merged before.
            break
        else:
            effective += _runs(version)
            number -= 1
    return MergedRuns(_by_age(contained), _by_age(effective))


def _runs(version: PastVersion) -> list[MergedRun]:
    return [MergedRun(run_id, at, version.number) for run_id, at in version.runs]


def _by_age(runs: list[MergedRun]) -> tuple[MergedRun, ...]:
    return tuple(sorted(runs, key=lambda run: run.order))
