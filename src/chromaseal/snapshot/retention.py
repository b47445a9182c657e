"""Which versions stay, which objects go, and why; decides, touches nothing.

An object that no version reaches may belong to a writer that is still at work. It can be told
without a clock: layers, history pages and manifests carry the number of the version that they
were written for, and once the head has that number or a higher one, no other attempt at it can
become a version any more. So what is not reached and is not newer than the head goes; what is
newer stays until the head has moved on.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chromaseal import keys
from chromaseal.errors import Damaged, UsageError
from chromaseal.snapshot.manifest import Manifest, PastVersion, Version
from chromaseal.snapshot.version_id import parse


@dataclass(frozen=True, slots=True)
class Policy:
    """What is to stay beside the newest version and those with a tag.

    A version stays if any of the rules says so; without rules every version stays.

    Attributes:
        keep_last: that many of the newest.
        keep_days: those made in that many days.
        deltas_after: deltas go once that many versions that stay contain them; None: they
            all stay.

    Raises:
        UsageError: ``bad-rule``, a number that no rule can mean.
    """

    keep_last: int | None = None
    keep_days: float | None = None
    deltas_after: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that would make a rule keep less than it says."""
        for name in ("keep_last", "keep_days", "deltas_after"):
            number = getattr(self, name)
            # What is not a number is neither more nor less than anything.
            if number is not None and not number >= 0:
                raise _bad_rule(name, number)


def _bad_rule(name: str, number: float) -> UsageError:
    return UsageError(
        f"{name} cannot be {number}", kind="bad-rule", hint="give 0 or more, or leave the rule out"
    )


@dataclass(frozen=True, slots=True)
class Doomed:
    """An object that is to go.

    Attributes:
        key: of the object.
        size_bytes: of the object.
        why: for people.
    """

    key: str
    size_bytes: int
    why: str


def versions_to_keep(
    line: Sequence[PastVersion], tagged: Iterable[str], policy: Policy, now: dt.datetime
) -> frozenset[str]:
    """Give the ids of the versions that stay.

    Args:
        line: every version, oldest first.
        tagged: ids of versions with a tag.
        policy: the rules.
        now: what days are counted from.
    """
    ids = [past.version_id for past in line]
    kept = {*ids[-1:], *(set(tagged) & set(ids))}
    if policy.keep_last is None and policy.keep_days is None:
        return frozenset(ids)
    if policy.keep_last:
        kept.update(ids[-policy.keep_last :])
    if policy.keep_days is not None:
        oldest = _days_before(now, policy.keep_days)
        kept.update(past.version_id for past in line if past.created_at >= oldest)
    return frozenset(kept)


def _days_before(now: dt.datetime, days: float) -> dt.datetime:
    try:
        return now - dt.timedelta(days=days)
    except OverflowError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)


def reached(version: Version) -> set[str]:
    """Give the keys of every object that a version needs."""
    manifest = version.manifest
    found = {keys.manifest(manifest.collection, version.version_id)}
    layers = [*manifest.layers, *([manifest.step] if manifest.step else [])]
    for layer in layers:
        for part in range(len(layer.parts)):
            found.add(keys.layer_part(manifest.collection, layer.layer_id, part))
    found.update(keys.history_page(manifest.collection, page.page_id) for page in manifest.pages)
    return found


def told_by_sizes(
    layers: Mapping[str, int], line: Sequence[PastVersion]
) -> tuple[set[str], list[str]]:
    """Give the layers that versions need which all stay, as far as their sizes tell.

    What was stored under a version's number is its own, or of attempts at it that lost. Where that
    is as much as was written for it, there is nothing of others.

    Args:
        layers: size by key, of everything under the prefix of layers.
        line: every version, oldest first; none of them was removed.

    Returns:
        Keys, and the ids of versions of which sizes do not tell.
    """
    found: dict[int, dict[str, int]] = {}
    for key, size_bytes in layers.items():
        number = keys.attempt_number(key)
        if number is not None:
            found.setdefault(number, {})[key] = size_bytes
    needed: set[str] = set()
    unsure: list[str] = []
    for past in line:
        stored = found.get(past.number, {})
        if sum(stored.values()) == past.stored_bytes:
            needed |= stored.keys()
        else:
            unsure.append(past.version_id)
    return needed, unsure


def doomed_objects(
    objects: Mapping[str, int],
    needed: set[str],
    head: Manifest,
    line: Sequence[PastVersion],
) -> list[Doomed]:
    """Give the manifests, layers and history pages that go, manifests first.

    Args:
        objects: size by key, of everything under the prefixes of manifests, layers and history.
        needed: the keys that the versions that stay reach.
        head: the newest version.
        line: every version, oldest first.
    """
    ids = {past.version_id for past in line}
    found: list[Doomed] = []
    for key, size_bytes in objects.items():
        number = _number(key)
        if key in needed or number is None or number > head.number:
            continue
        named = keys.parse_manifest(key)
        if named is None:
            why = f"of version {number}, and no version that stays needs it"
        elif named[1] in ids:
            why = f"version {number}, which no rule keeps"
        else:
            why = f"an attempt at version {number}, which another one became"
        found.append(Doomed(key, size_bytes, why))
    return sorted(found, key=lambda each: (keys.parse_manifest(each.key) is None, each.key))


def doomed_deltas(
    objects: Mapping[str, int], line: Sequence[PastVersion], kept: frozenset[str], policy: Policy
) -> list[Doomed]:
    """Give the deltas that enough of the versions that stay contain."""
    if policy.deltas_after is None:
        return []
    merged = {run_id: past.number for past in line for run_id, _ in past.runs}
    numbers = sorted(parse(version_id).number for version_id in kept)
    found: list[Doomed] = []
    for key, size_bytes in objects.items():
        named = keys.parse_delta(key)
        if named is None or named[1] not in merged:
            continue
        containing = len(numbers) - bisect.bisect_left(numbers, merged[named[1]])
        if containing >= max(policy.deltas_after, 1):
            found.append(Doomed(key, size_bytes, f"in {containing} versions that stay"))
    return found


def _number(key: str) -> int | None:
    named = keys.parse_manifest(key)
    if named is None:
        return keys.attempt_number(key)
    try:
        return parse(named[1]).number
    except Damaged:
        # A stranger's object under our prefix is none of ours to remove.
        return None
