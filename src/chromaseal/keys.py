"""Every object key is built and read here, and nowhere else.

::

    _chromaseal/vault.json                                       this prefix is a vault
    _chromaseal/probe/<unique>                                   a trial of the store; goes again
    _chromaseal/set-aside/<record>.json                          what no queue can be told
    _chromaseal/collection/<collection>.json                     what the collection is pinned to
    <collection>/delta/<run id>/delta.parquet                    one run's changes
    <collection>/snapshot/latest-pointer.txt                     the newest version's id; mutable
    <collection>/snapshot/timestamped/<version id>/manifest.json one version
    <collection>/layer/<layer id>-<part>.layer                   pages
    <collection>/history/<page id>.json                          older versions and their runs
    <collection>/tag/<name>.txt                                  a name for a version
    <collection>/gc/<gc id>.json                                 what one collection of garbage took
    _receipts/original/<digest>                                  an ingested file
    _receipts/reading/<image id>/<reader id>.json                what OCR found on one image

A collection's name starts with a letter or digit, so nothing under ``_`` can be one.
"""

from __future__ import annotations

import functools
import re

from chromaseal.errors import UsageError

VAULT = "_chromaseal/vault.json"
COLLECTIONS = "_chromaseal/collection/"
PROBES = "_chromaseal/probe/"
SET_ASIDE = "_chromaseal/set-aside/"
_POINTER = "/snapshot/latest-pointer.txt"
_DELTA = re.compile(r"(?P<collection>[^/]+)/delta/(?P<run_id>[^/]+)/delta(?P<suffix>\.[a-z.]+)")
_MANIFEST = re.compile(
    r"(?P<collection>[^/]+)/snapshot/timestamped/(?P<version_id>[^/]+)/manifest\.json"
)
# Layers and history pages begin with the number of the version that they were written for.
_ATTEMPT = re.compile(
    r"[^/]+/(?:layer|history)/(?P<number>\d{6,})-[0-9a-f]+(?:-[a-z0-9]+)*\.(?:layer|json)"
)
_TAG = re.compile(r"[^/]+/tag/(?P<name>[^/]+)\.txt")
# ChromaDB's own rule for collection names (no IPv4 address among them), less what a key could
# trip over: a part of a key has 255 characters at most, ".json" included.
_COLLECTION = re.compile(
    r"(?!\d+(?:\.\d+){3}\Z)[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){1,248}[A-Za-z0-9]"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_CANCELLATION = re.compile(r"[^/]+/cancelled/(?P<run_id>[^/]+)\.json")
_OWNED = re.compile(r"(?P<collection>[^/]+)/(?:delta|snapshot|layer|history|tag|gc|cancelled)/.+")


# Every key that is built has a name in it, and most have one of a few.
@functools.lru_cache(maxsize=1024)
def check_collection(name: str) -> str:
    """Give a collection's name back if ChromaDB and every store can hold it.

    Raises:
        UsageError: ``bad-collection-name``.
    """
    if _COLLECTION.fullmatch(name):
        return name
    raise UsageError(
        f"{name!r} cannot be a collection's name",
        kind="bad-collection-name",
        hint="3 to 250 letters, digits, dots, dashes or underscores, with a letter or digit "
        "first and last and no two dots together; not an IP address",
    )


def check_name(name: str) -> str:
    """Give a run's or object's id back if it can be part of a key.

    Raises:
        UsageError: ``bad-name``.
    """
    if _NAME.fullmatch(name):
        return name
    raise UsageError(
        f"{name!r} cannot be part of a key",
        kind="bad-name",
        hint="up to 128 letters, digits, dashes or underscores, a letter or digit first",
    )


def collection(name: str) -> str:
    """Key of what a collection is pinned to."""
    return f"{COLLECTIONS}{check_collection(name)}.json"


def parse_collection(key: str) -> str:
    """Give the name in a key that ``collection`` built."""
    return check_collection(key.removeprefix(COLLECTIONS).removesuffix(".json"))


def probe(unique: str) -> str:
    """Key of an object that a store's conditional writes are tried on."""
    return f"{PROBES}{check_name(unique)}"


def set_aside(record: str) -> str:
    """Key of a record of a table's stream that no queue can be told."""
    return f"{SET_ASIDE}{check_name(record)}.json"


def everything(name: str) -> str:
    """Prefix of all that a collection has, but for what it is pinned to."""
    return f"{check_collection(name)}/"


def owner(key: str) -> str | None:
    """Give the collection whose object a key names; None for any other key."""
    found = _OWNED.fullmatch(key)
    return found["collection"] if found and _COLLECTION.fullmatch(found["collection"]) else None


def delta(name: str, run_id: str, suffix: str) -> str:
    """Key of a run's delta for one collection."""
    return f"{check_collection(name)}/delta/{check_name(run_id)}/delta{suffix}"


def deltas(name: str) -> str:
    """Prefix of a collection's deltas."""
    return f"{check_collection(name)}/delta/"


def delta_prefix(key: str) -> str:
    """Prefix that a delta's key lies below, by which other programs name the delta."""
    return f"{key.rpartition('/')[0]}/"


def parse_delta(key: str) -> tuple[str, str] | None:
    """Give collection and run id of a delta's key; None for any other key."""
    found = _DELTA.fullmatch(key)
    return (found["collection"], found["run_id"]) if found else None


def pointer(name: str) -> str:
    """Key of a collection's pointer."""
    return f"{check_collection(name)}{_POINTER}"


def parse_pointer(key: str) -> str | None:
    """Give the collection of a pointer's key; None for any other key."""
    name = key.removesuffix(_POINTER)
    return name if name != key and _COLLECTION.fullmatch(name) else None


def manifest(name: str, version_id: str) -> str:
    """Key of a version's manifest."""
    return f"{check_collection(name)}/snapshot/timestamped/{check_name(version_id)}/manifest.json"


def manifests(name: str) -> str:
    """Prefix of a collection's manifests."""
    return f"{check_collection(name)}/snapshot/timestamped/"


def parse_manifest(key: str) -> tuple[str, str] | None:
    """Give collection and version id of a manifest's key; None for any other key."""
    found = _MANIFEST.fullmatch(key)
    return (found["collection"], found["version_id"]) if found else None


def layer_part(name: str, layer_id: str, part: int) -> str:
    """Key of one of the objects that a layer consists of."""
    return f"{check_collection(name)}/layer/{check_name(layer_id)}-{part:04d}.layer"


def layers(name: str) -> str:
    """Prefix of a collection's layers."""
    return f"{check_collection(name)}/layer/"


def history_page(name: str, page_id: str) -> str:
    """Key of a list of older versions."""
    return f"{check_collection(name)}/history/{check_name(page_id)}.json"


def history_pages(name: str) -> str:
    """Prefix of a collection's lists of older versions."""
    return f"{check_collection(name)}/history/"


def attempt_number(key: str) -> int | None:
    """Give the number of the version that a layer or history page was written for.

    Returns:
        None for any other key.
    """
    found = _ATTEMPT.fullmatch(key)
    return int(found["number"]) if found else None


def tag(name: str, tag_name: str) -> str:
    """Key of a tag."""
    return f"{check_collection(name)}/tag/{check_name(tag_name)}.txt"


def tags(name: str) -> str:
    """Prefix of a collection's tags."""
    return f"{check_collection(name)}/tag/"


def parse_tag(key: str) -> str | None:
    """Give the name in a tag's key; None for any other key."""
    found = _TAG.fullmatch(key)
    return found["name"] if found else None


def gc(name: str, gc_id: str) -> str:
    """Key of what one collection of garbage took."""
    return f"{check_collection(name)}/gc/{check_name(gc_id)}.json"


def gcs(name: str) -> str:
    """Prefix of what collections of garbage took."""
    return f"{check_collection(name)}/gc/"


def cancellation(name: str, run_id: str) -> str:
    """Key of the mark of a run that is not to be merged."""
    return f"{check_collection(name)}/cancelled/{check_name(run_id)}.json"


def cancellations(name: str) -> str:
    """Prefix of the marks of runs that are not to be merged."""
    return f"{check_collection(name)}/cancelled/"


def parse_cancellation(key: str) -> str | None:
    """Give the run id of such a mark's key; None for any other key."""
    found = _CANCELLATION.fullmatch(key)
    return found["run_id"] if found else None


def original(digest: str) -> str:
    """Key of an ingested file, by the digest of its content."""
    return f"_receipts/original/{check_name(digest)}"


def reading(image_id: str, reader_id: str) -> str:
    """Key of what one OCR engine found on one image."""
    return f"{readings(image_id)}{check_name(reader_id)}.json"


def readings(image_id: str) -> str:
    """Prefix of what OCR engines found on one image."""
    return f"_receipts/reading/{check_name(image_id)}/"
