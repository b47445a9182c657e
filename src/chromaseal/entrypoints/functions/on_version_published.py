"""A collection's pointer has moved -> its newest version is on the shared mount."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

from aws_lambda_powertools.utilities.data_classes import S3Event

from chromaseal import keys
from chromaseal.composition.functions import equipment, settings_of
from chromaseal.entrypoints.functions.telling import (
    Context,
    Event,
    count,
    left_s,
    logger,
    reserved_s,
    stops_at,
    told,
)
from chromaseal.errors import ChromasealError, Interrupted, UsageError
from chromaseal.vault import Vault

# What is left for the answer, when another function that does the same was waited for.
_RESERVE_S: Final = 30.0


@told
def handler(event: Event, context: Context) -> None:
    """Bring the newest version of the collections whose pointer an event names.

    Raises:
        ChromasealError: a version is not there; the event comes again, and takes what is newest.
    """
    mount = _mount(os.environ)
    settings = settings_of(os.environ)
    vault = equipment(settings).vault
    for collection in _collections(event, settings.vault):
        try:
            _sync(vault, collection, mount, context)
        except ChromasealError:
            count("EFSS3SyncError")
            raise


def _mount(environment: Mapping[str, str]) -> str:
    mount = environment.get("CHROMASEAL_MOUNT", "")
    if not mount:
        raise UsageError(
            "CHROMASEAL_MOUNT is not set",
            kind="bad-settings",
            hint="the path of the file system in the function's environment",
        )
    return mount


def _links(environment: Mapping[str, str]) -> bool | None:
    said = environment.get("CHROMASEAL_MOUNT_LINKS", "")
    if said not in {"", "yes", "no"}:
        raise UsageError(
            f"CHROMASEAL_MOUNT_LINKS is {said!r}", kind="bad-settings", hint="yes, no, or nothing"
        )
    return said == "yes" if said else None


def _sync(vault: Vault, collection: str, mount: str, context: Context) -> None:
    reserve_s = reserved_s(_RESERVE_S)
    is_over = stops_at(context, reserve_s)

    def go_on(_step: str = "", _done: int = 0, _total: int = 0) -> None:
        if is_over():
            raise Interrupted(
                f"too little time was left to bring {collection} to {mount}",
                hint="the event comes again; give the function more time if it goes on",
            )

    go_on()
    wait_s = left_s(context, reserve_s)()
    links = _links(os.environ)
    synced = vault.sync(collection, mount, wait_s=wait_s, links=links, progress=go_on)
    count("EFSS3SyncSuccess")
    facts = {
        "collection": collection,
        "version_id": synced.version.version_id,
        "new": synced.new,
        "written_bytes": synced.written_bytes,
    }
    logger.info("synced", extra=facts)


def _collections(event: Event, vault_url: str) -> list[str]:
    """Give the collections whose pointers are named, each once."""
    prefix = vault_url.removeprefix("s3://").partition("/")[2].strip("/")
    start = f"{prefix}/" if prefix else ""
    named = [unquote_plus(record.s3.get_object.key) for record in S3Event(event).records]
    found = [keys.parse_pointer(key.removeprefix(start)) for key in named if key.startswith(start)]
    return [*dict.fromkeys(name for name in found if name)]
