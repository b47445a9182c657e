"""Every so often -> what was not told told again, the ledger completed, versions verified, garbage.

Runs of existing programs of which no message ever came are taken over as well.

The event may name which of these: ``{"work": ["remind", "adopt", "sweep", "verify", "gc"]}``. The
template asks for each by itself, so that one that takes the whole time of an invocation takes no
other's.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Final

from chromaseal.composition.functions import Equipment, equipment, queue_urls, sender, settings_of
from chromaseal.entrypoints.functions.telling import (
    Context,
    Event,
    count,
    log_error,
    logger,
    number_of,
    reserved_s,
    stops_at,
    told,
)
from chromaseal.errors import (
    ChromasealError,
    Damaged,
    Incomplete,
    NotFound,
    Unavailable,
    UsageError,
)
from chromaseal.stream import reminder
from chromaseal.stream.rounds import IsOver, do_works, for_each

_RESERVE_S: Final = 30.0
# Lines of a log are for people.
_NAMED: Final = 10


@told
def handler(event: Event, context: Context) -> None:
    """Do everything that keeps a vault in order; what fails does not stop the rest.

    Raises:
        Incomplete: ``upkeep-failed``, something failed or there was no time for it.
    """
    try:
        here = equipment(settings_of(os.environ), create=False)
    except NotFound as error:
        if error.kind != "no-vault":
            raise
        # The first upload makes it; until then there is nothing to keep in order.
        logger.info("no vault yet")
        return
    is_over = stops_at(context, reserved_s(_RESERVE_S))
    works = {
        name: functools.partial(_WORK[name], here, context, is_over) for name in _wanted(event)
    }
    do_works(works, is_over, lambda name, error: log_error(f"{name} failed", error))


def _wanted(event: Event) -> list[str]:
    wanted = list(event.get("work") or _WORK)
    unknown = sorted(set(wanted) - _WORK.keys())
    if unknown:
        raise UsageError(
            f"there is no work called {', '.join(unknown)}",
            kind="bad-settings",
            hint=f"there are: {', '.join(_WORK)}",
        )
    return wanted


def _sweep(here: Equipment, context: Context, is_over: IsOver) -> None:
    from chromaseal.composition.fleet import sweeper  # noqa: PLC0415
    from chromaseal.sweep.ledger import Swept  # noqa: PLC0415

    def tell(swept: Swept) -> None:
        changed = sum(swept.added.values()) + swept.completed + swept.waiting + swept.cancelled
        facts = {"changed": changed, "left": list(swept.left), "unreadable": dict(swept.unreadable)}
        logger.info("swept", extra=facts)

    sweeper(here.vault, here.terms(context.aws_request_id), tell)(is_over)


def _remind(here: Equipment, _context: Context, is_over: IsOver) -> None:
    """Tell queues of collections again whose oldest run should have been taken long ago."""
    known = queue_urls(os.environ)

    def remind(name: str) -> None:
        if reminder.remind(here.vault.parts, name, sender(os.environ)):
            after_s = reminder.AFTER.total_seconds()
            logger.warning("runs wait", extra={"after_s": after_s, "collection": name})
            count("SQSMessagesSuccessful")

    _each(here, known, "remind", remind, is_over)


def _adopt(here: Equipment, context: Context, is_over: IsOver) -> None:
    """Take over runs of existing programs whose messages were lost, and tell of them."""
    place = os.environ.get("CHROMASEAL_ADOPT_FROM", "")
    if not place:
        return
    from chromaseal.composition.legacy import adopter  # noqa: PLC0415
    from chromaseal.legacy.deltas import Adopted  # noqa: PLC0415

    refused: list[str] = []

    def tell(done: Adopted) -> None:
        if done.error is None:
            count("CompactionRunsAdopted")
            logger.warning("adopted", extra={"run_id": done.run_id, "status": done.status})
            return
        refused.append(done.run_id)
        log_error("adopt failed", done.error, run_id=done.run_id)

    terms = here.terms(context.aws_request_id)
    adopter(here.vault, here.settings, place, terms, tell)(is_over)
    # Becoming a run of the vault is no change of which the stream tells.
    _remind(here, context, is_over)
    if refused:
        raise Incomplete(
            f"runs of existing programs cannot be taken over: {', '.join(refused[:_NAMED])}",
            kind="upkeep-failed",
            hint="have their receipts embedded again, and set the states of these to FAILED",
        )


def _verify(here: Equipment, _context: Context, is_over: IsOver) -> None:
    def verify(name: str) -> None:
        if not here.vault.has_version(name):
            return
        try:
            verdict = here.vault.verify(name)
        except Unavailable:
            # Nothing is known of it, which is no damage: a store that is silent, too little memory.
            count("VersionsUnverified")
            raise
        bad = [finding.check for finding in verdict.failed]
        logger.info("verified", extra={"collection": name, "failed": bad})
        if bad:
            count("VersionsDamaged")
            raise Damaged(
                f"the newest version of {name} is not sound: {', '.join(bad)}",
                kind="unsound",
                hint="chromaseal verify tells more, chromaseal repair mends it",
            )

    _each(here, here.vault.collections(), "verify", verify, is_over)


def _gc(here: Equipment, _context: Context, is_over: IsOver) -> None:
    from chromaseal.snapshot.retention import Policy  # noqa: PLC0415

    days = os.environ.get("CHROMASEAL_KEEP_DAYS")
    keep_days = number_of(os.environ, "CHROMASEAL_KEEP_DAYS", 0) if days else None

    def collect(name: str) -> None:
        garbage = here.vault.gc(name, Policy(keep_days=keep_days))
        facts = {"collection": name, "objects": len(garbage.doomed), "bytes": garbage.size_bytes}
        logger.info("garbage collected", extra=facts)

    _each(here, here.vault.collections(), "gc", collect, is_over)


def _each(
    here: Equipment,
    names: Iterable[str],
    work: str,
    do: Callable[[str], None],
    is_over: IsOver,
) -> None:
    now = here.vault.parts.clock.now()

    def tell(name: str, error: ChromasealError) -> None:
        log_error(f"{work} failed", error, collection=name)

    for_each(names, work, do, now=now, is_over=is_over, tell=tell)


# What takes little time and is missed most comes first.
_WORK: Final = {
    "remind": _remind,
    "adopt": _adopt,
    "sweep": _sweep,
    "verify": _verify,
    "gc": _gc,
}
