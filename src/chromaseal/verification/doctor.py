"""A whole vault -> what is wrong with it, why, and what mends it; nothing is changed.

Versions are looked at by the names and sizes of their objects, so that this stays quick;
``verify`` reads what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator

from chromaseal import keys
from chromaseal.errors import ChromasealError, Damaged, NotFound, Unavailable
from chromaseal.parts import Parts
from chromaseal.pin import pinned, read_pin, without_pin
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.snapshot.fallback import newest_first
from chromaseal.snapshot.garbage import collect
from chromaseal.snapshot.history import line, missing_pointer, pointer
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.tags import read_tags
from chromaseal.verification.ledger import LedgerLook
from chromaseal.verification.lost_version import LostVersion
from chromaseal.verification.remark import Remark, well, wrong
from chromaseal.verification.version import check_pinned
from chromaseal.verification.versions import examine_lost, examine_versions


def examine_vault(parts: Parts, *, progress: StepProgress = no_step_progress) -> Iterator[Remark]:
    """Look at every collection of a vault, and at its ledger.

    Args:
        parts: the vault.
        progress: called with a collection's name, and how many of its versions were looked at, of
            how many.

    Raises:
        Unavailable: the store did not answer.
    """
    names, lost = pinned(parts.store), without_pin(parts.store)
    yield well("vault", "collections", ", ".join(sorted([*names, *lost])) or "none yet")
    ledger = LedgerLook(parts)
    for name in sorted([*names, *lost]):
        try:
            yield from _collection(parts, name, ledger, progress)
        except Unavailable:
            raise
        except ChromasealError as error:
            yield wrong(name, "readable", error.message, error.hint)
    yield from ledger.remarks()


def _collection(
    parts: Parts, name: str, ledger: LedgerLook, progress: StepProgress
) -> Iterator[Remark]:
    if parts.store.head(keys.collection(name)) is None:
        evidence = f"{keys.collection(name)} is missing, though {name} has objects"
        yield wrong(name, "pin", evidence, f"chromaseal repair {name}")
    named, _ = pointer(parts.store, name)
    if named is None:
        remark = _without_version(parts, name)
        yield remark
        yield from ledger.examine(name, []) if remark.passed else ledger.examine_blindly(name)
        return
    passed_over: list[tuple[str, Damaged]] = []
    newest = _newest(parts, name, passed_over)
    for version_id, error in passed_over:
        yield examine_lost(parts, LostVersion(name, version_id, error))
    if newest is None:
        yield from ledger.examine_blindly(name)
        return
    past = line(parts.store, newest)
    yield from _rest(parts, newest, past, progress, well_so_far=not passed_over)
    if passed_over:
        yield from ledger.examine_blindly(name)
    else:
        yield from ledger.examine(name, past)


def _newest(parts: Parts, name: str, passed_over: list[tuple[str, Damaged]]) -> Version | None:
    """Give the newest version whose manifest can be read, and note those that cannot."""
    try:
        newest = newest_first(parts.store, name, told=lambda *bad: passed_over.append(bad))
        return next(newest, None)
    except Damaged:
        if not passed_over:
            raise
        return None


def _without_version(parts: Parts, name: str) -> Remark:
    if next(iter(parts.store.list(keys.manifests(name))), None) is None:
        return well(name, "newest version", "none yet")
    error = missing_pointer(name)
    evidence = f"{error.message}, or its writer died as it published the first one"
    return wrong(name, "newest version", evidence, f"chromaseal repair {name}")


def _rest(
    parts: Parts,
    newest: Version,
    past: list[PastVersion],
    progress: StepProgress,
    *,
    well_so_far: bool,
) -> Iterator[Remark]:
    name = newest.manifest.collection
    found = [
        *examine_versions(parts, newest, past, progress),
        *_pin(parts, newest),
        *_tags(parts, name, past),
    ]
    yield from found
    if well_so_far and all(remark.passed for remark in found if remark.check != "pin"):
        yield from _garbage(parts, name)
    else:
        yield well(name, "garbage", "none goes before the rest is mended")


def _pin(parts: Parts, newest: Version) -> Iterator[Remark]:
    name = newest.manifest.collection
    pin = read_pin(parts.store, name)
    for finding in check_pinned(newest.manifest, pin) if pin else ():
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
