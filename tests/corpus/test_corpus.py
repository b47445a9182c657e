"""Whatever happens to a directory is found; what does no harm raises no alarm.

One case of every damage by default, on one base after the other; ``make test-whole`` takes all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.errors import Damaged
from chromaseal.seal.verdict import Level
from chromaseal.snapshot.checkout import check_files
from chromaseal.testing.corpus.case import Case, Kind
from chromaseal.testing.corpus.cases import DAMAGES, cases, damaged, one_of_each
from chromaseal.testing.corpus.healthy import Base, build_bases
from chromaseal.testing.corpus.outcome import look, share_found
from chromaseal.testing.machine import Machine
from chromaseal.testing.whole import WHOLE

PAGE = Path(__file__).parents[2] / "docs/corpus.md"
RECORDS = 10_000 if WHOLE else 2_000
SPACES = ("l2", "cosine") if WHOLE else ("cosine",)
LEAST_CASES = 300
LEAST_QUICK = 0.8
MODULES = ("chromaseal.adapters.chroma.verification", "chromaseal.adapters.chroma.questions")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Give all cases, on bases that were built for them."""
    return cases(build_bases(tmp_path_factory.mktemp("bases"), RECORDS, SPACES))


@pytest.fixture(scope="module")
def chosen(every: list[Case]) -> list[Case]:
    """Give those that are looked at."""
    assert len(every) >= LEAST_CASES
    return every if WHOLE else one_of_each(every)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    """Give two warm processes: one reads while ChromaDB answers in the other."""
    sandbox = SandboxPool([ProcessSandbox(preload=MODULES) for _ in range(2)])
    yield sandbox
    sandbox.close()


@pytest.mark.slow
def test_every_damage_is_found(chosen: list[Case], tmp_path: Path, pool: SandboxPool) -> None:
    """Deep finds all that is harmful, quick four of five; nothing else raises an alarm."""
    outcomes = [look(case, tmp_path, pool) for case in chosen]
    wrong = [(o.case.name, o.said, o.checks) for o in outcomes if not o.as_expected]
    assert wrong == []
    assert share_found(outcomes, Level.DEEP) == 1
    assert share_found(outcomes, Level.QUICK) >= LEAST_QUICK


@pytest.mark.slow
def test_digests_find_every_change(chosen: list[Case], tmp_path: Path, machine: Machine) -> None:
    """As a version, which says what every file was, any damage to any file is found."""
    bases = {case.base.name: case.base for case in chosen}
    for name, base in bases.items():
        machine.push(name, base.newest, replace=True)
    for number, case in enumerate(chosen):
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


def test_a_part_has_every_damage_and_every_base() -> None:
    """Which case of a damage that is follows from its place in the list, and from nothing else."""
    two = {"small": (False, True), "flushed": (True, False)}
    kinds = {**two, "pending": (True, True), "several": (True, True)}
    bases = [Base(name, Path(), Path(), *kind, space="l2") for name, kind in kinds.items()]
    part = one_of_each(cases(bases))
    assert [case.damage for case in part] == list(DAMAGES)
    counts = Counter(case.base.name for case in part)
    assert counts.keys() == kinds.keys()
    assert min(counts.values()) >= len(DAMAGES) // 10


def test_cases_have_names_of_their_own() -> None:
    """The chance of a case follows from its name."""
    base = Base("b", Path(), Path(), flushed=True, pending=True, space="l2")
    names = [case.name for case in cases([base])]
    assert len(set(names)) == len(names)
