"""What a vault and a collection are pinned to: written once, with put-if-absent.

Two writers that begin a collection at once cannot disagree about its model: the store lets one
of them write the pin, and the other reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from chromaseal import keys
from chromaseal.embedding import ModelPin
from chromaseal.errors import Conflict, Damaged, NotFound, Unsupported, UsageError
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.probe import refuse_unconditional
from chromaseal.settle import put_once, swap

VAULT_FORMAT = "chromaseal.vault"
COLLECTION_FORMAT = "chromaseal.collection"
FORMAT_VERSION = 1
DEFAULT_SPACE = "l2"
SPACES = ("l2", "cosine", "ip")
_BEFORE_VAULT = (keys.PROBES, keys.SET_ASIDE)


@dataclass(frozen=True, slots=True)
class CollectionPin:
    """What never changes about a collection.

    Attributes:
        name: of the collection.
        dimension: numbers per vector.
        space: ``l2``, ``cosine`` or ``ip``.
        model: the model of its vectors; None if its writers did not say.
    """

    name: str
    dimension: int
    space: str
    model: ModelPin | None

    @property
    def is_chroma_default(self) -> bool:
        """Whether the vectors are those of ChromaDB's default embedding function."""
        return self.model is not None and self.model.name == "all-MiniLM-L6-v2"


def pin_vault(store: ObjectStore, *, ids: Ids, create: bool) -> str:
    """Give the vault's id; make the prefix a vault if it is empty and ``create`` says so.

    Raises:
        NotFound: ``no-vault``.
        Conflict: ``not-a-vault``, something else is kept there.
        Unsupported: ``newer-vault``; ``no-conditional-writes``, a new vault's store cannot hold
            one.
    """
    found = read_vault_pin(store)
    if found is not None:
        return found
    refuse_lost_vault(store)
    if not create:
        raise NotFound(
            f"there is no vault at {store.url}",
            kind="no-vault",
            hint="chromaseal push DIR COLLECTION or chromaseal ingest PATH makes one; or name "
            "another with --vault",
        )
    # Others may be trying the store at this moment, or have died while they did; and a table's
    # stream may have been told of before the first write.
    if any(not found.key.startswith(_BEFORE_VAULT) for found in store.list("")):
        found = read_vault_pin(store)
        if found is not None:
            # Somebody else made it a vault since the first look.
            return found
        raise Conflict(
            f"{store.url} has objects but is no vault of chromaseal",
            kind="not-a-vault",
            hint="name an empty prefix, for example one level deeper",
        )
    refuse_unconditional(store, ids)
    vault_id = ids.run_id()
    try:
        put_once(store, keys.VAULT, _vault_pin(vault_id))
    except Conflict:
        return pin_vault(store, ids=ids, create=False)
    return vault_id


def read_vault_pin(store: ObjectStore) -> str | None:
    """Give the vault's id; None where the prefix has no pin.

    Raises:
        Damaged: ``bad-pin``.
        Unsupported: ``newer-vault``.
    """
    found = _read(store, keys.VAULT, VAULT_FORMAT)
    return None if found is None else _checked_id(found)


def put_vault_pin(store: ObjectStore, vault_id: str) -> None:
    """Store a vault's pin where it is lost, or in place of one that cannot be read.

    Raises:
        Conflict: ``different-content`` or ``lost-race``, somebody else did it at this moment.
        Unavailable: ``unknown-outcome``; may be repeated.
    """
    body = _vault_pin(vault_id)
    try:
        found = store.get(keys.VAULT)
    except NotFound:
        put_once(store, keys.VAULT, body)
        return
    swap(store, keys.VAULT, body, etag=found.etag)


def refuse_lost_vault(store: ObjectStore) -> None:
    """Tell a vault whose own pin is lost from a prefix that never was one.

    Raises:
        Damaged: ``missing-pin``, collections are pinned and the vault is not.
    """
    if next(iter(store.list(keys.COLLECTIONS)), None) is not None and not store.head(keys.VAULT):
        raise Damaged(
            f"{keys.VAULT} is missing in {store.url}, though it has collections",
            kind="missing-pin",
            hint="chromaseal doctor --rebuild-pin puts it back; the ledger has the vault's id",
        )


def pinned(store: ObjectStore) -> list[str]:
    """Give the names of all collections that have a pin."""
    return [keys.parse_collection(info.key) for info in store.list(keys.COLLECTIONS)]


def without_pin(store: ObjectStore) -> list[str]:
    """Give the names of collections that have objects and no pin; lists the whole vault."""
    owners = {keys.owner(info.key) for info in store.list("")}
    return sorted(name for name in owners - set(pinned(store)) if name is not None)


def refuse_lost_pin(store: ObjectStore, collection: str) -> None:
    """Tell a collection whose pin is lost from one that never was.

    Raises:
        Damaged: ``missing-pin``, it has objects and no pin.
    """
    key = keys.collection(collection)
    if next(iter(store.list(keys.everything(collection))), None) and store.head(key) is None:
        raise Damaged(
            f"{key} is missing, though {collection} has objects",
            kind="missing-pin",
            hint=f"chromaseal repair {collection} puts it back from the newest version",
        )


def read_pin(store: ObjectStore, collection: str) -> CollectionPin | None:
    """Give a collection's pin; None before its first write."""
    raw = _read(store, keys.collection(collection), COLLECTION_FORMAT)
    if raw is None:
        return None
    try:
        model = ModelPin(**raw["model"]) if raw["model"] else None
        return CollectionPin(collection, int(raw["dimension"]), str(raw["space"]), model)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_pin(keys.collection(collection)) from error


def pin_collection(store: ObjectStore, wanted: CollectionPin) -> CollectionPin:
    """Give a collection's pin, making it ``wanted`` if there is none, and check them.

    Raises:
        UsageError: ``unknown-space``.
        Conflict: ``other-model``, ``other-dimension`` or ``other-space``.
    """
    if wanted.space not in SPACES:
        raise UsageError(
            f"{wanted.space!r} is no distance that ChromaDB knows",
            kind="unknown-space",
            hint="one of " + ", ".join(SPACES),
        )
    pin = read_pin(store, wanted.name)
    if pin is None:
        plain = {
            "format": COLLECTION_FORMAT,
            "format_version": FORMAT_VERSION,
            "name": wanted.name,
            "dimension": wanted.dimension,
            "space": wanted.space,
            "model": wanted.model.as_json() if wanted.model else None,
        }
        try:
            put_once(store, keys.collection(wanted.name), _encode(plain))
        except Conflict:
            return pin_collection(store, wanted)
        pin = wanted
    check_pin(pin, wanted)
    return pin


def check_pin(pin: CollectionPin, wanted: CollectionPin) -> None:
    """Refuse what does not fit a collection.

    Raises:
        Conflict: ``other-model``, ``other-dimension`` or ``other-space``.
    """
    if pin.model != wanted.model:
        raise Conflict(
            f"{pin.name} holds vectors of {pin.model or 'a model that was not named'}; these "
            f"are of {wanted.model or 'a model that is not named'}",
            kind="other-model",
            hint="write with the collection's own model, or into another collection",
        )
    if pin.dimension != wanted.dimension:
        raise Conflict(
            f"{pin.name} has vectors of {pin.dimension} dimensions, these have {wanted.dimension}",
            kind="other-dimension",
            hint="write with the collection's own model, or into another collection",
        )
    if pin.space != wanted.space:
        raise Conflict(
            f"{pin.name} measures distance by {pin.space}, not {wanted.space}",
            kind="other-space",
            hint="leave the space out, or write into another collection",
        )


def _vault_pin(vault_id: str) -> bytes:
    return _encode({"format": VAULT_FORMAT, "format_version": FORMAT_VERSION, "vault_id": vault_id})


def _encode(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, indent=1).encode() + b"\n"


def _read(store: ObjectStore, key: str, wanted: str) -> dict[str, Any] | None:
    try:
        body = store.get(key).body
    except NotFound:
        return None
    try:
        raw = json.loads(body)
        if raw["format"] == wanted and raw["format_version"] > FORMAT_VERSION:
            raise Unsupported(
                f"{key} is in format {raw['format_version']}, this release reads {FORMAT_VERSION}",
                kind="newer-vault",
                hint="upgrade chromaseal on this machine",
            )
        if raw["format"] == wanted:
            return dict(raw)
    except (ValueError, KeyError, TypeError):
        pass
    raise _bad_pin(key)


def _checked_id(raw: dict[str, Any]) -> str:
    # The id names a directory on this machine.
    try:
        return keys.check_name(str(raw.get("vault_id", "")))
    except UsageError:
        raise _bad_pin(keys.VAULT) from None


def _bad_pin(key: str) -> Damaged:
    mends = "chromaseal doctor --rebuild-pin puts it back; the ledger has the vault's id"
    return Damaged(
        f"{key} is not what it should be",
        kind="bad-pin",
        hint=mends if key == keys.VAULT else "bring the object back from a backup of the vault",
    )
