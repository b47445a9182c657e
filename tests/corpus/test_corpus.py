"""Whatever happens to a directory is found; what does no harm raises no alarm.

Every ninth case by default; ``make test-whole`` takes all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.errors import Damaged
from chromaseal.seal.verdict import Level
from chromaseal.snapshot.checkout import check_files
from chromaseal.testing.corpus.case import Case, Kind
from chromaseal.testing.corpus.cases import DAMAGES, cases, damaged
from chromaseal.testing.corpus.healthy import Base, build_bases
from chromaseal.testing.corpus.outcome import look, share_found
from chromaseal.testing.machine import Machine
from chromaseal.testing.whole import WHOLE, part_of

PAGE = Path(__file__).parents[2] / "docs/corpus.md"
RECORDS = 10_000 if WHOLE else 2_000
SPACES = ("l2", "cosine") if WHOLE else ("cosine",)
# Of every ninth, these are found as often as all are; others are the easier or the harder ones.
EVERY, FIRST = 9, 4
LEAST_CASES = 300
LEAST_QUICK = 0.8
MODULES = ("chromaseal.adapters.chroma.verification", "chromaseal.adapters.chroma.questions")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Give all cases, on bases that were built for them."""
    return cases(build_bases(tmp_path_factory.mktemp("bases"), RECORDS, SPACES))


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    """Give two warm processes: one reads while ChromaDB answers in the other."""
    sandbox = SandboxPool([ProcessSandbox(preload=MODULES) for _ in range(2)])
    yield sandbox
    sandbox.close()


@pytest.mark.slow
def test_every_damage_is_found(every: list[Case], tmp_path: Path, pool: SandboxPool) -> None:
    """Deep finds all that is harmful, quick four of five; nothing else raises an alarm."""
    assert len(every) >= LEAST_CASES
    outcomes = [look(case, tmp_path, pool) for case in part_of(every, EVERY, start=FIRST)]
    wrong = [(o.case.name, o.said, o.checks) for o in outcomes if not o.as_expected]
    assert wrong == []
    assert share_found(outcomes, Level.DEEP) == 1
    assert share_found(outcomes, Level.QUICK) >= LEAST_QUICK


@pytest.mark.slow
def test_digests_find_every_change(every: list[Case], tmp_path: Path, machine: Machine) -> None:
    """As a version, which says what every file was, any damage to any file is found."""
    bases = {case.base.name: case.base for case in every}
    for name, base in bases.items():
        machine.push(name, base.newest, replace=True)
    for number, case in enumerate(part_of(every, EVERY, start=FIRST)):
        directory = tmp_path / str(number)
        damaged(case, directory)
        with pytest.raises(Damaged):
            check_files(machine.vault.version(case.base.name).manifest, directory)


def test_the_page_is_of_these_damages() -> None:
    """docs/corpus.md names each of them: in the table, or with its reason in a list."""
    text = PAGE.read_text()
    for damage in DAMAGES:
        if damage.kind is Kind.HARMFUL:
            assert f"\n| {damage.name} | " in text, "make corpus"
        else:
            assert f"\n* {damage.name}: {damage.reason}.\n" in text, "make corpus"
    named = text.count("\n| ") - 2 + text.count("\n* ")
    assert named == len(DAMAGES)


def test_cases_have_names_of_their_own() -> None:
    """The chance of a case follows from its name."""
    base = Base("b", Path(), Path(), flushed=True, pending=True, space="l2")
    names = [case.name for case in cases([base])]
    assert len(set(names)) == len(names)
