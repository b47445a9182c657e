"""Every so often -> the ledger completed, what was not told told again, versions verified, garbage.

The event may name which of these: ``{"work": ["sweep", "remind", "verify", "gc"]}``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
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
from chromaseal.errors import ChromasealError, Damaged, Incomplete, NotFound, UsageError
from chromaseal.stream.reminder import AFTER, reminder_of

_RESERVE_S: Final = 30.0


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
    failed: list[str] = []
    for name in _wanted(event):
        if is_over():
            failed.append(f"{name}: no time was left")
            continue
        try:
            _WORK[name](here, context, is_over)
        except ChromasealError as error:
            log_error(f"{name} failed", error)
            failed.append(f"{name}: {error.kind}")
    if failed:
        raise Incomplete(
            f"not everything could be done: {'; '.join(failed)}",
            kind="upkeep-failed",
            hint="the log says why; the next time it is tried again",
        )


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


def _sweep(here: Equipment, context: Context, is_over: Callable[[], bool]) -> None:
    from chromaseal.composition.fleet import sweeper  # noqa: PLC0415
    from chromaseal.sweep.ledger import Swept  # noqa: PLC0415

    def tell(swept: Swept) -> None:
        changed = sum(swept.added.values()) + swept.completed + swept.waiting + swept.cancelled
        facts = {"changed": changed, "left": list(swept.left), "unreadable": dict(swept.unreadable)}
        logger.info("swept", extra=facts)

    sweeper(here.vault, here.terms(context.aws_request_id), tell)(is_over)


def _remind(here: Equipment, _context: Context, _is_over: Callable[[], bool]) -> None:
    """Tell queues of collections again whose oldest run should have been taken long ago."""
    parts, known = here.vault.parts, queue_urls(os.environ)
    messages = [
        reminder
        for name in sorted(known)
        for run in parts.ledger.waiting(name, limit=1)
        if (reminder := reminder_of(run, name, now=parts.clock.now())) is not None
    ]
    if not messages:
        return
    logger.warning("runs wait", extra={"after_s": AFTER.total_seconds(), "told": len(messages)})
    for why in sender(os.environ)(messages):
        if why is not None:
            raise why
    count("SQSMessagesSuccessful", len(messages))


def _verify(here: Equipment, _context: Context, is_over: Callable[[], bool]) -> None:
    failed: list[str] = []
    for name in here.vault.collections():
        if not here.vault.has_version(name):
            continue
        if is_over():
            raise Incomplete(f"no time was left to verify {name}", kind="upkeep-failed")
        verdict = here.vault.verify(name)
        bad = [finding.check for finding in verdict.failed]
        logger.info("verified", extra={"collection": name, "failed": bad})
        failed += [name] if bad else []
    count("VersionsDamaged", len(failed))
    if failed:
        raise Damaged(
            f"the newest version of {', '.join(failed)} is not sound",
            kind="unsound",
            hint="chromaseal verify tells more, chromaseal repair mends it",
        )


def _gc(here: Equipment, _context: Context, is_over: Callable[[], bool]) -> None:
    from chromaseal.snapshot.retention import Policy  # noqa: PLC0415

    days = os.environ.get("CHROMASEAL_KEEP_DAYS")
    keep_days = number_of(os.environ, "CHROMASEAL_KEEP_DAYS", 0) if days else None
    for name in here.vault.collections():
        if is_over():
            raise Incomplete(f"no time was left for the garbage of {name}", kind="upkeep-failed")
        garbage = here.vault.gc(name, Policy(keep_days=keep_days))
        facts = {"collection": name, "objects": len(garbage.doomed), "bytes": garbage.size_bytes}
        logger.info("garbage collected", extra=facts)


_WORK: Final = {"sweep": _sweep, "remind": _remind, "verify": _verify, "gc": _gc}
