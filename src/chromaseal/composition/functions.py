"""A function's environment -> what its handlers work with, kept from one invocation to the next."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chromaseal.clock import SystemClock
from chromaseal.errors import UsageError
from chromaseal.ids import SystemIds
from chromaseal.settings import Settings, is_dynamodb, resolve

if TYPE_CHECKING:
    from chromaseal.adapters.sqs.queues import SqsClient
    from chromaseal.fleet.room import LeftS
    from chromaseal.fleet.turn import Terms
    from chromaseal.legacy.deltas import Adopted
    from chromaseal.object_store import ObjectStore
    from chromaseal.stream.announcing import Send
    from chromaseal.stream.batch import Adopt, LabelsOf
    from chromaseal.vault import Vault

LEASE_S: Final = 30.0
_QUEUE_URL: Final = "_QUEUE_URL"


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a handler works with.

    Attributes:
        vault: open.
        settings: where everything is.
        labels_of: gives the labels of a receipt's words.
    """

    vault: Vault
    settings: Settings
    labels_of: LabelsOf

    def terms(self, invocation: str, left_s: LeftS | None = None) -> Terms:
        """Give the terms on which an invocation takes turns.

        Args:
            invocation: its id. Machines of functions are copies of each other: nothing else about
                this process is its own.
            left_s: how long it may go on with what it has begun; None for as long as it takes.
        """
        from chromaseal.fleet.turn import Terms  # noqa: PLC0415

        return Terms(f"function {invocation}", LEASE_S, left_s=left_s)


@functools.cache
def adopting(here: Equipment, place: str, told: Callable[[Adopted], None]) -> Adopt | None:
    """Give what takes over runs of the existing pipeline, whose deltas are in a bucket.

    Args:
        here: where to.
        place: of that bucket; empty where there is none.
        told: called with what became of each run.

    Raises:
        ChromasealError: the bucket cannot be opened, or is a vault.
    """
    if not place:
        return None
    from chromaseal.composition import legacy  # noqa: PLC0415

    return legacy.adopting(here.vault, here.settings, place, told)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Decide where vault, ledger and cache are.

    Raises:
        UsageError: ``bad-settings``.
    """
    temporary = Path(tempfile.gettempdir())
    if not environment.get("CHROMASEAL_VAULT"):
        raise UsageError(
            "CHROMASEAL_VAULT is not set",
            kind="bad-settings",
            hint="s3://bucket/prefix in the function's environment",
        )
    cache = environment.get("CHROMASEAL_CACHE") or str(temporary / "chromaseal")
    return resolve(
        environment={**environment, "CHROMASEAL_CACHE": cache}, folder=temporary, home=temporary
    )


def queue_urls(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the queues by collection: ``LINES_QUEUE_URL`` is that of ``lines``."""
    return {
        name.removesuffix(_QUEUE_URL).lower(): url
        for name, url in environment.items()
        if name.endswith(_QUEUE_URL) and url
    }


@functools.cache
def equipment(settings: Settings, *, create: bool = True) -> Equipment:
    """Open the vault, once per process: what is kept of it in the cache is checked at each use.

    Args:
        settings: where everything is.
        create: whether an empty prefix becomes a vault.

    Raises:
        ChromasealError: see ``open_vault``; it is tried again the next time.
    """
    from chromaseal.composition.engine import open_vault  # noqa: PLC0415

    vault = open_vault(settings, create=create)
    return Equipment(vault, settings, _labels_of(settings))


def records_store(environment: Mapping[str, str]) -> ObjectStore:
    """Open the vault's store alone, for what is put into it before there is a vault."""
    return _store(settings_of(environment).vault)


@functools.cache
def _store(url: str) -> ObjectStore:
    from chromaseal.composition.engine import open_store  # noqa: PLC0415

    return open_store(url, SystemIds())


def sender(environment: Mapping[str, str]) -> Send:
    """Give what sends messages to the queues that the environment names."""
    from chromaseal.adapters.sqs.queues import SqsQueues  # noqa: PLC0415

    return SqsQueues(queue_urls(environment), _sqs()).send


@functools.cache
def _sqs() -> SqsClient:
    from chromaseal.adapters.sqs.queues import connect  # noqa: PLC0415

    return connect()


def _labels_of(settings: Settings) -> LabelsOf:
    if not is_dynamodb(settings.ledger):
        return lambda _image_id, _receipt_id: ()
    from chromaseal.adapters.dynamodb.labels import labels_of  # noqa: PLC0415
    from chromaseal.composition.engine import open_table  # noqa: PLC0415

    return functools.partial(labels_of, open_table(settings.ledger, SystemClock(), SystemIds()))
