"""Who repairs in a simulation: takes newest versions for broken that are not, and makes them again.

Nothing of a simulated vault is damaged, so it is drawn what cannot be read; and ChromaDB, which
would look at what was made, is a dictionary here. All else is the product's own code.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

from chromaseal.errors import Conflict, Damaged
from chromaseal.parts import Parts
from chromaseal.repair import collection as repairing
from chromaseal.seal.evidence import RecordSummary
from chromaseal.seal.examine import Wanted
from chromaseal.seal.verdict import Finding, Level, Verdict
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.way import DeadEnd, Way, way_to
from chromaseal.testing.simulation.actors import Process
from chromaseal.testing.simulation.dictionary import Texts, read_rows

_UNREADABLE = 0.5
# Reasons that there are: what was pushed is nowhere else, rules let deltas go, and several
# compactors are at a first version.
_NO_SOURCE = ("was pushed from a directory", "cannot be read: ", "there are several versions 1,")


def repairer(here: Process) -> None:
    """Make the newest version of a collection again, as its next one."""
    while here.goes_on():
        here.rest(6.0)
        with here.trying(), _what_is_refused():
            repaired = here.vault.repair(here.any_collection())
            here.truth.seen["repair"] += repaired.version is not None
            here.truth.seen["repair of runs"] += " and the deltas of " in repaired.source


@contextlib.contextmanager
def _what_is_refused() -> Iterator[None]:
    """Let a repair be refused: others were faster, or there is nothing to make the version of."""
    try:
        yield
    except Conflict as error:
        if error.kind != "lost-race":
            raise
    except Damaged as error:
        if error.kind != "cannot-repair" or not any(each in str(error) for each in _NO_SOURCE):
            raise


@contextlib.contextmanager
def all_is_taken_for_broken(chance: random.Random, texts: Texts) -> Iterator[None]:
    """Let repairs find every newest version broken, and some of those before it."""

    def verdict(parts: Parts, version: Version, level: Level, **_: object) -> Verdict:
        del parts
        finding = Finding("drawn", passed=False, evidence="taken for broken")
        return Verdict(version.version_id, level, (finding,), 0, 0.0)

    def way(
        past: Sequence[PastVersion], number: int, is_whole: Callable[[int], bool]
    ) -> Way | DeadEnd:
        return way_to(past, number, lambda n: chance.random() >= _UNREADABLE and is_whole(n))

    def examined(directory: Path, level: Level, *, wanted: Wanted, **_: object) -> Verdict:
        rows = read_rows(directory)[1]
        found = RecordSummary(len(rows), texts.hash_of(rows))
        finding = Finding("records", passed=found == wanted.records, evidence=f"{found}")
        return Verdict(str(directory), level, (finding,), 0, 0.0)

    with (
        mock.patch.object(repairing, "verify_version", verdict),
        mock.patch.object(repairing, "way_to", way),
        mock.patch.object(repairing, "examine", examined),
    ):
        yield


SCRIPTS: Mapping[str, Callable[[Process], None]] = {"repairer": repairer}
