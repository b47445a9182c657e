"""The history of a collection -> how a version's content can be made again; decides only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chromaseal.snapshot.manifest import PastVersion


@dataclass(frozen=True, slots=True)
class Way:
    """How a version's content is made again.

    Attributes:
        number: the version to begin with; 0 to begin with nothing.
        run_ids: the runs to merge into it, in the order in which they were merged.
    """

    number: int
    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """Why a version's content cannot be made again.

    Attributes:
        number: the version whose content was pushed and is nowhere else.
    """

    number: int


def way_to(
    past: Sequence[PastVersion], number: int, is_whole: Callable[[int], bool]
) -> Way | DeadEnd:
    """Find the nearest whole version from which runs lead to a version's content.

    A version that merged runs is the one before it with those runs; a rollback is the version
    that it restores; what was pushed is like nothing but itself.

    Args:
        past: every version, oldest first.
        number: the version to be made again.
        is_whole: whether a version can be read; asked for each only once.
    """
    run_ids: list[str] = []
    while number:
        if is_whole(number):
            break
        version = past[number - 1]
        if version.restores is not None:
            number = version.restores
        elif version.runs:
            run_ids[:0] = [run_id for run_id, _ in version.runs]
            number -= 1
        else:
            return DeadEnd(number)
    return Way(number, tuple(run_ids))
