"""A vault and its settings -> what takes turns at it: leases, disk, inbox, answers over HTTP."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from chromaseal.adapters.linux.process_name import is_gone, own_name
from chromaseal.adapters.local.inbox import LocalInbox
from chromaseal.adapters.obstore.inbox import InboxBucket, ObstoreInbox, RetriedInboxBucket
from chromaseal.clock import Clock
from chromaseal.composition.engine import CLOUD_SCHEMES
from chromaseal.composition.receipts import open_ingest, require_extra
from chromaseal.digests import blake3_hex
from chromaseal.errors import Interrupted, UsageError
from chromaseal.fleet.standing import Health, Standing, exposition, is_alive, is_ready
from chromaseal.fleet.turn import IsOver, Terms, Work, one_at_a_time, whose_turn
from chromaseal.ids import SystemIds
from chromaseal.receipts.inbox import Feeder, Inbox
from chromaseal.run.lease import Lease
from chromaseal.settings import as_url, file_path, without_secrets
from chromaseal.sweep.ledger import Swept, sweep_ledger
from chromaseal.vault import Vault

LEASE_S = 30.0
SETTLE_S = 1.0
# A run that the ledger does not know and that is younger may have a writer that is still at it.
_SETTLED = dt.timedelta(minutes=5)
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def terms_here(vault: Vault, *, lease_s: float = LEASE_S) -> Terms:
    """Give the terms on which this process takes turns."""
    return Terms(own_name(vault.parts.ids), lease_s, is_gone)


def health_pages(
    host: str, port: int, standing: Callable[[], Standing], clock: Clock, *, bound_s: float
) -> AbstractContextManager[int]:
    """Answer ``/healthz``, ``/readyz`` and ``/metrics`` until the block ends; give the port.

    Args:
        host: the address to listen on.
        port: 0 for any that is free.
        standing: gives what the worker knows of itself.
        clock: the worker's.
        bound_s: how old the last turn, and the last answer of ledger and store, may be.

    Raises:
        Conflict: ``cannot-listen``.
    """
    # Few commands answer over HTTP, and all of them are imported together.
    from chromaseal.adapters.http.server import Page, serving  # noqa: PLC0415

    def page(health: Health) -> Page:
        return Page(200 if health.well else 503, f"{health.why}\n")

    def answer(path: str) -> Page | None:
        now_s = clock.monotonic_s()
        if path == "/healthz":
            return page(is_alive(standing(), now_s, bound_s=bound_s))
        if path == "/readyz":
            return page(is_ready(standing(), now_s, bound_s=bound_s))
        if path == "/metrics":
            return Page(200, exposition(standing()), _PROMETHEUS)
        return None

    return serving(host, port, answer)


def open_inbox(
    place: str,
    *,
    clock: Clock,
    names: Sequence[str] = (),
) -> Inbox:
    """Open the inbox that a path or URL names; what a bucket does not answer is asked again.

    Args:
        place: a folder, or ``s3://``, ``gs://``, ``az://``.
        clock: time.
        names: of a bucket's images that are looked at; all by default.

    Raises:
        UsageError: ``bad-url``.
    """
    url = as_url(place, Path.cwd())
    if url.startswith("file://"):
        return LocalInbox(file_path(url), clock=clock, settle_s=SETTLE_S)
    if url.startswith(CLOUD_SCHEMES):
        bucket = RetriedInboxBucket(InboxBucket(url), clock=clock, ids=SystemIds())
        return ObstoreInbox(bucket, names)
    raise UsageError(
        f"{without_secrets(url)!r} is no inbox that chromaseal can open",
        kind="bad-url",
        hint="a folder, s3://, gs:// or az://",
    )


def feeder(
    vault: Vault,
    inbox: Inbox,
    terms: Terms,
    told: Callable[[str, str, str], None],
    *,
    jobs: int = 0,
    settle_s: float = SETTLE_S,
    alone: bool = True,
    left: Callable[[str], None] = lambda _: None,
) -> Feeder:
    """Give what takes images from an inbox into a vault, as ``chromaseal ingest`` does.

    Args:
        vault: where to.
        inbox: where from; one process of the fleet at a time takes from it.
        terms: how.
        told: called with what became of each image, its name and, if refused, why.
        jobs: pages at once; 0 for one per processor.
        settle_s: how long a file must not have changed.
        alone: whether no other process is to take from the inbox meanwhile; there is no need where
            each takes images of its own.
        left: told who takes from the inbox, where that is another process.

    Raises:
        Unsupported: ``missing-extra``.
    """
    require_extra()
    # No collection can be called like that.
    lease = f"_inbox-{blake3_hex(inbox.url.encode())[:16]}"

    def tell_left(held: Lease | None) -> None:
        left(whose_turn(inbox.url, "emptied", held))

    return Feeder(
        inbox,
        functools.partial(open_ingest, vault, jobs=jobs),
        vault.parts.checkouts.workspace,
        told,
        alone=functools.partial(one_at_a_time, vault, lease, terms, left=tell_left)
        if alone
        else _together,
        settle_s=settle_s,
    )


def _together(work: Work) -> Work:
    return work


def sweeper(vault: Vault, terms: Terms, told: Callable[[Swept], None]) -> Work:
    """Give what completes the ledger from what the vault holds; one process of the fleet does it.

    Args:
        vault: whose ledger.
        terms: how.
        told: called with what became of it.
    """

    def sweep(is_over: IsOver) -> None:
        def go_on(_name: str = "", _done: int = 0, _total: int = 0) -> None:
            if is_over():
                raise Interrupted(
                    "the sweep was ended before it was done; the ledger is as it was",
                    hint="give it more time, or run chromaseal doctor --rebuild-ledger",
                )

        if not is_over():
            told(sweep_ledger(vault.parts, settled=_SETTLED, progress=go_on))

    return one_at_a_time(vault, "_sweep", terms, sweep)
