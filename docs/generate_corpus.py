"""Run the whole corruption corpus and write docs/corpus.md; about an hour."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.ids import SystemIds
from chromaseal.repair.equipment import Equipment
from chromaseal.sandbox import Sandbox
from chromaseal.testing.corpus.case import Kind
from chromaseal.testing.corpus.cases import cases
from chromaseal.testing.corpus.healthy import build_bases
from chromaseal.testing.corpus.mending import Mended, mend
from chromaseal.testing.corpus.outcome import Nobody, Outcome, look
from chromaseal.testing.corpus.page import page

_LOOKED_AT_RECORDS = 10_000
# A repair writes every record anew, so its directories are smaller.
_MENDED_RECORDS = 600
_JOBS = ("verification", "questions", "replay", "salvage", "proof")
_EVERY = 50


def main() -> None:
    """Look at every case, and mend every harmful one."""
    modules = tuple(f"chromaseal.adapters.chroma.{job}" for job in _JOBS)
    sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(2)])
    try:
        outcomes, mended = _looked_at(sandbox), _mended(sandbox)
    finally:
        sandbox.close()
    Path(__file__).with_name("corpus.md").write_text(page(outcomes, mended))
    wrong = any(each.different for each in mended)
    sys.exit(wrong or not all(outcome.as_expected for outcome in outcomes))


def _looked_at(sandbox: Sandbox) -> list[Outcome]:
    outcomes = []
    with tempfile.TemporaryDirectory() as bases, tempfile.TemporaryDirectory() as scratch:
        every = cases(build_bases(Path(bases), _LOOKED_AT_RECORDS))
        for number, case in enumerate(every, start=1):
            outcome = look(case, Path(scratch), sandbox)
            outcomes.append(outcome)
            if not outcome.as_expected:
                _say(f"not as expected: {case.name}: {outcome.said}, {outcome.checks}")
            _count("looked at", number, len(every))
    return outcomes


def _mended(sandbox: Sandbox) -> list[Mended]:
    equipment = Equipment(sandbox, Nobody(), SystemClock(), SystemIds(), exchange)
    found = []
    with tempfile.TemporaryDirectory() as bases, tempfile.TemporaryDirectory() as scratch:
        every = [
            case
            for case in cases(build_bases(Path(bases), _MENDED_RECORDS))
            if case.damage.kind is Kind.HARMFUL
        ]
        for number, case in enumerate(every, start=1):
            mended = mend(case, Path(scratch), equipment)
            found.append(mended)
            if mended.different:
                _say(f"wrong: {case.name}: {mended.said}, {mended.different[:3]}")
            if mended.unlisted:
                _say(f"not listed: {case.name}: {mended.said}, {len(mended.unlisted)} records")
            _count("mended", number, len(every))
    return found


def _count(what: str, number: int, of: int) -> None:
    if number % _EVERY == 0 or number == of:
        _say(f"{what}: {number} of {of}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
