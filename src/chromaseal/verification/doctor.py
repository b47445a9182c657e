"""A whole vault -> what is wrong with it, why, and what mends it; nothing is changed.

Versions are looked at by the names and sizes of their objects, so that this stays quick;
``verify`` reads what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chromaseal import keys
from chromaseal.errors import ChromasealError, Damaged, NotFound, Unavailable
from chromaseal.parts import Parts
from chromaseal.pin import read_pin
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.snapshot.fallback import newest_first
from chromaseal.snapshot.garbage import collect
from chromaseal.snapshot.history import line, pointer
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.removal import removed_versions
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.tags import read_tags
from chromaseal.verification.ledger import examine_ledger
from chromaseal.verification.remark import Remark, well, wrong
from chromaseal.verification.version import check_pinned, objects_of

_NAMED = 3


def examine_vault(parts: Parts, *, progress: StepProgress = no_step_progress) -> Iterator[Remark]:
    """Look at every collection of a vault, and at its ledger.

    Args:
        parts: the vault.
        progress: called with a collection's name, and how many of its versions were looked at, of
            how many.

    Raises:
        Unavailable: the store or the ledger did not answer.
    """
    names = [keys.parse_collection(info.key) for info in parts.store.list(keys.COLLECTIONS)]
    yield well("vault", "collections", ", ".join(names) or "none yet")
    for name in names:
        try:
            yield from _collection(parts, name, progress)
        except Unavailable:
            raise
        except ChromasealError as error:
            yield wrong(name, "readable", error.message, error.hint)


def _collection(parts: Parts, name: str, progress: StepProgress) -> Iterator[Remark]:
    named, _ = pointer(parts.store, name)
    if named is None:
        yield well(name, "newest version", "none yet")
        yield from examine_ledger(parts, name, [])
        return
    passed_over: list[tuple[str, Damaged]] = []
    newest = next(newest_first(parts.store, name, told=lambda *bad: passed_over.append(bad)), None)
    for version_id, error in passed_over:
        evidence = f"{version_id} cannot be read: {error.message}"
        yield wrong(name, "newest version", evidence, f"chromaseal repair {name}")
    if newest is None:
        return
    past = line(parts.store, newest)
    yield from _versions(parts, newest, past, progress)
    yield from _pin(parts, newest)
    yield from _tags(parts, name, past)
    yield from _garbage(parts, name)
    yield from examine_ledger(parts, name, past)


def _versions(
    parts: Parts, newest: Version, past: list[PastVersion], progress: StepProgress
) -> Iterator[Remark]:
    """Compare what manifests name with what the store has; one listing serves all versions."""
    name = newest.manifest.collection
    objects = {info.key: info.size_bytes for info in parts.store.list(keys.everything(name))}
    gone = removed_versions(parts.store, name)
    whole: list[int] = []
    broken: dict[int, str] = {}
    for done, version in enumerate(newest_first(parts.store, name)):
        progress(name, done, len(past))
        problem = _missing(version, objects)
        if problem:
            broken[version.manifest.number] = problem
        else:
            whole.append(version.manifest.number)
    there = {*whole, *broken}
    lost = [p.number for p in past if p.number not in there and p.version_id not in gone]
    broken |= dict.fromkeys(lost, "its manifest is missing")
    number = newest.manifest.number
    if number not in broken:
        evidence = (
            f"version {number} ({newest.version_id}), {newest.manifest.records.count} records"
        )
        yield well(name, "newest version", evidence)
    served = max(whole, default=0)
    for bad, problem in sorted(broken.items(), reverse=True):
        evidence = f"version {bad}: {problem}"
        if bad == number:
            serving = f"version {served} is served instead" if served else "no version is served"
            yield wrong(
                name, "newest version", f"{evidence}; {serving}", f"chromaseal repair {name}"
            )
        else:
            mend = "bring the object back from a backup of the vault; newer versions do not need it"
            yield wrong(name, "older versions", evidence, mend)
    yield well(
        name,
        "objects",
        evidence=f"{len(whole)} versions whole, {len(objects)} objects, "
        f"{sum(objects.values())} bytes",
    )


def _missing(version: Version, objects: Mapping[str, int]) -> str:
    wanted = objects_of(version.manifest)
    wrong = [key for key, size in wanted.items() if objects.get(key) != size]
    if not wrong:
        return ""
    first = f"{wrong[0]} is missing" if wrong[0] not in objects else f"{wrong[0]} has another size"
    return first if len(wrong) == 1 else f"{first}, and {len(wrong) - 1} more objects"


def _pin(parts: Parts, newest: Version) -> Iterator[Remark]:
    name = newest.manifest.collection
    for finding in check_pinned(newest.manifest, read_pin(parts.store, name)):
        mend = "" if finding.passed else f"bring {keys.collection(name)} back from a backup"
        yield Remark(name, finding.check, finding.passed, finding.evidence, mend)


def _tags(parts: Parts, name: str, past: list[PastVersion]) -> Iterator[Remark]:
    known = {version.version_id for version in past}
    tags = read_tags(parts.store, name)
    for tag, version_id in tags.items():
        if version_id not in known:
            yield wrong(
                name,
                "tags",
                f"{tag} names {version_id}, which never was a version",
                f"chromaseal untag {name} {tag}, then tag the version again",
            )
    if tags.items() and set(tags.values()) <= known:
        yield well(name, "tags", ", ".join(tags))


def _garbage(parts: Parts, name: str) -> Iterator[Remark]:
    try:
        garbage = collect(
            parts.store, name, Policy(), clock=parts.clock, ids=parts.ids, dry_run=True
        )
    except (Damaged, NotFound) as error:
        yield wrong(name, "garbage", error.message, error.hint)
        return
    count = len(garbage.doomed)
    evidence = f"{count} objects that nothing needs, {garbage.size_bytes} bytes"
    yield well(name, "garbage", evidence, f"chromaseal gc {name}" if count else "")
