"""What is done every so often, for one collection after the other: what fails stops no other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from chromaseal.errors import ChromasealError, Incomplete

IsOver = Callable[[], bool]
# Told which work, or which collection, went wrong, and why.
TellError = Callable[[str, ChromasealError], None]
_TURN_S: Final = 3600


def do_works(works: Mapping[str, Callable[[], None]], is_over: IsOver, tell: TellError) -> None:
    """Do one work after the other.

    Args:
        works: what is to be done, by name.
        is_over: whether too little time is left to begin with another one.
        tell: of each that failed.

    Raises:
        Incomplete: ``upkeep-failed``, something failed or there was no time for it.
    """
    failed: list[str] = []
    for name, work in works.items():
        if is_over():
            failed.append(f"{name}: no time was left")
            continue
        try:
            work()
        except ChromasealError as error:
            tell(name, error)
            failed.append(f"{name}: {error.kind}")
    if failed:
        raise Incomplete(
            f"not everything could be done: {'; '.join(failed)}",
            kind="upkeep-failed",
            hint="the log says why; the next time it is tried again",
        )


def for_each(
    collections: Iterable[str],
    work: str,
    do: Callable[[str], None],
    *,
    now: dt.datetime,
    is_over: IsOver,
    tell: TellError,
) -> None:
    """Do something with each collection; one that fails, or takes long, stops no other.

    Each hour begins with another one, so that none is always without time.

    Raises:
        ChromasealError: what went wrong first, when all were tried.
    """
    wanted = sorted(collections)
    first = int(now.timestamp() // _TURN_S) % max(1, len(wanted))
    errors: list[ChromasealError] = []
    for name in (*wanted[first:], *wanted[:first]):
        if is_over():
            errors.append(Incomplete(f"no time was left to {work} {name}", kind="upkeep-failed"))
            break
        try:
            do(name)
        except ChromasealError as error:
            tell(name, error)
            errors.append(error)
    if errors:
        raise errors[0]
