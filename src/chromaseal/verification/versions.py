"""A collection's versions -> which of them are whole, by the names and sizes of their objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chromaseal import keys
from chromaseal.errors import Damaged
from chromaseal.parts import Parts
from chromaseal.sandbox import StepProgress
from chromaseal.snapshot.fallback import newest_first
from chromaseal.snapshot.kept import tables_in
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.version_id import parse
from chromaseal.snapshot.way import DeadEnd, way_to
from chromaseal.verification.lost_version import (
    LostVersion,
    is_kept,
    proved_runs,
    version_before,
)
from chromaseal.verification.remark import Remark, well, wrong
from chromaseal.verification.version import objects_of

_BACKUP = "bring the object back from a backup of the vault"


def examine_lost(parts: Parts, lost: LostVersion) -> Remark:
    """Say what becomes of a newest version whose manifest cannot be read."""
    evidence = f"{lost.version_id} cannot be read: {lost.problem.message}"
    mend = f"chromaseal repair {lost.collection}"
    if not is_kept(parts, lost):
        try:
            proved_runs(parts, lost, version_before(parts, lost))
        except Damaged as error:
            evidence, mend = error.message, error.hint
    return wrong(lost.collection, "newest version", evidence, mend)


def examine_versions(
    parts: Parts, newest: Version, past: Sequence[PastVersion], progress: StepProgress
) -> Iterator[Remark]:
    """Compare what manifests name with what the store has; one listing serves all versions.

    Args:
        parts: the vault.
        newest: the newest version whose manifest can be read.
        past: every version up to it, oldest first.
        progress: called with the collection's name, and how many versions were looked at.
    """
    name, number = newest.manifest.collection, newest.manifest.number
    objects = {info.key: info.size_bytes for info in parts.store.list(keys.everything(name))}
    broken: dict[int, str] = {}
    whole: list[int] = []

    def unreadable(version_id: str, error: Damaged) -> None:
        broken[parse(version_id).number] = error.message

    for done, version in enumerate(newest_first(parts.store, name, told=unreadable)):
        progress(name, done, len(past))
        problem = _missing(version, objects)
        if problem:
            broken[version.manifest.number] = problem
        else:
            whole.append(version.manifest.number)
    if number not in broken:
        records = newest.manifest.records.count
        yield well(
            name, "newest version", f"version {number} ({newest.version_id}), {records} records"
        )
    served = max(whole, default=0)
    for bad, problem in sorted(broken.items(), reverse=True):
        evidence = f"version {bad}: {problem}"
        if bad == number:
            serving = f"version {served} is served instead" if served else "no version is served"
            mend = _mend_newest(parts, newest, past, objects, whole)
            yield wrong(name, "newest version", f"{evidence}; {serving}", mend)
        elif bad < number:
            mend = f"{_BACKUP}; or give that version up: chromaseal gc {name} --forget {bad}"
            yield wrong(name, "older versions", evidence, mend)
    seen = f"{len(objects)} objects, {sum(objects.values())} bytes"
    evidence = f"{len(whole)} versions whole by names and sizes, {seen}"
    yield well(name, "objects", evidence)


def _missing(version: Version, objects: Mapping[str, int]) -> str:
    wanted = objects_of(version.manifest)
    wrong = [key for key, size in wanted.items() if objects.get(key) != size]
    if not wrong:
        return ""
    first = f"{wrong[0]} is missing" if wrong[0] not in objects else f"{wrong[0]} has another size"
    return first if len(wrong) == 1 else f"{first}, and {len(wrong) - 1} more objects"


def _mend_newest(
    parts: Parts,
    newest: Version,
    past: Sequence[PastVersion],
    objects: Mapping[str, int],
    whole: Sequence[int],
) -> str:
    """Name the command that mends a newest version whose manifest can be read."""
    name, served = newest.manifest.collection, max(whole, default=0)
    kept = tables_in(parts.checkouts.folder(name) / newest.version_id) is not None
    way = way_to(past, newest.manifest.number, lambda number: number in whole)
    if kept or not (isinstance(way, DeadEnd) or _lacks(parts, name, way.run_ids, objects)):
        return f"chromaseal repair {name}"
    if not served:
        return _BACKUP
    return (
        f"{_BACKUP}; or give up what came after version {served}: "
        f"chromaseal rollback {name} {served}"
    )


def _lacks(
    parts: Parts, name: str, run_ids: Sequence[str], objects: Mapping[str, int]
) -> list[str]:
    deltas = [keys.delta(name, run_id, parts.codec.suffix) for run_id in run_ids]
    return [key for key in deltas if key not in objects]
