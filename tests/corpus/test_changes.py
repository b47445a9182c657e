"""A look at what changed finds the damage that a look at everything finds.

Every eighth case by default; ``make test-whole`` takes all.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.errors import Damaged, Unavailable
from chromaseal.seal.page_table import Known, PageTable
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.seal.verify import Before, VerifiedSnapshot, verify
from chromaseal.snapshot.layer import Pages
from chromaseal.snapshot.page_file import PageFile
from chromaseal.testing.corpus.case import Case, Kind
from chromaseal.testing.corpus.cases import cases, damaged
from chromaseal.testing.corpus.healthy import Base
from chromaseal.testing.corpus.outcome import Nobody
from chromaseal.testing.machine import RememberingSandbox
from chromaseal.testing.whole import WHOLE, part_of

MODULES = (
    "chromaseal.adapters.chroma.verification",
    "chromaseal.adapters.chroma.verification_of_changes",
)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    """Give a warm process."""
    sandbox = SandboxPool([ProcessSandbox(preload=MODULES)])
    yield sandbox
    sandbox.close()


def sealed_at(directory: Path, earlier: Sealed | None = None) -> Sealed:
    """Seal a directory, as a change of another one if it is one."""
    known = Known(earlier.directory, earlier.tables, {}, {}, 0) if earlier else None
    return seal(directory, open_files=Nobody(), clock=SystemClock(), known=known)


def before_of(base: Base, snapshot: VerifiedSnapshot, *, sound: bool = True) -> Before:
    """Give a base as the state that something was changed from."""
    file, tables = base.newest / DATABASE, snapshot.sealed.tables
    return Before(
        name=base.name,
        tables=tables,
        collections=snapshot.collections,
        read=functools.partial(_read, file, tables[DATABASE]),
        is_sound=lambda _: sound,
    )


def _read(file: Path, table: PageTable, pages: Pages) -> bytes:
    there = pages[pages < table.size_bytes // 4096]
    with PageFile(file) as opened:
        return opened.read(there).ljust(len(pages) * 4096, b"\0")


def only_database_differs(sealed: Sealed, base: Sealed) -> bool:
    """Tell whether a case is one for a look at what changed."""
    now, then = sealed.tables, base.tables
    return {p for p in now.keys() | then.keys() if now.get(p) != then.get(p)} == {DATABASE}


def found(case: Case, directory: Path, base: VerifiedSnapshot, pool: SandboxPool) -> str | None:
    """Look at a case by what changed.

    Returns:
        What was found; empty if nothing; None if it is no case for such a look.
    """
    damaged(case, directory)
    try:
        sealed = sealed_at(directory, base.sealed)
        if not only_database_differs(sealed, base.sealed):
            return None
        before = before_of(case.base, base)
        # What does no harm may bring a record.
        expected = None if case.damage.kind is Kind.HARMLESS else base.records
        verify(sealed, sandbox=pool, expected=expected, before=before)
    except (Damaged, Unavailable) as error:
        return error.message
    return ""


@pytest.mark.slow
def test_damage_is_found_by_what_changed(
    bases: list[Base], tmp_path: Path, pool: SandboxPool
) -> None:
    """What harms, and what only the sum over all records can show, is found; nothing else is."""
    verified = {base.name: verify(sealed_at(base.newest), sandbox=pool) for base in bases}
    looked_at, wrong = 0, []
    for number, case in enumerate(part_of(cases(bases), 8)):
        answer = found(case, tmp_path / str(number), verified[case.base.name], pool)
        looked_at += answer is not None
        harmful = case.damage.kind is not Kind.HARMLESS
        if answer is not None and bool(answer) is not harmful:
            wrong.append((case.name, answer))
    assert wrong == []
    assert looked_at > (100 if WHOLE else 15)


@pytest.mark.slow
@pytest.mark.parametrize("later", [False, True])
def test_a_rotten_copy_is_not_compared_with(
    bases: list[Base], tmp_path: Path, pool: SandboxPool, *, later: bool
) -> None:
    """Where the earlier state is not what it was, all is looked at again.

    That it is may have been found out before a merge, and a page have rotted since.
    """
    name = "chroma.sqlite3 free page zeroed"
    case = next(each for each in cases(bases) if each.damage.name == name)
    base = case.base
    whole = verify(sealed_at(base.newest), sandbox=pool)
    damaged(case, tmp_path / "case")
    answers: dict[str, object] = {}
    remembering = RememberingSandbox(pool, answers)  # type: ignore[arg-type] # only its keys count
    sealed = sealed_at(tmp_path / "case", whole.sealed)
    before = before_of(base, whole, sound=later)
    if later:
        before = replace(before, read=lambda pages: before_of(base, whole).read(pages)[::-1])
    again = verify(sealed, sandbox=remembering, before=before)
    assert again.records == whole.records
    assert "since" not in {check.name for check in again.checks}
    assert len(answers) == (1 if later else 2)
