"""Run the whole corruption corpus and write docs/corpus.md; some twenty minutes.

What became of each case is kept as it comes, so a run that was stopped goes on where it was, as
long as the sources are the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from bench.data import CACHE

import chromaseal
from chromaseal import pools
from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.digests import blake3_hex
from chromaseal.ids import SystemIds
from chromaseal.repair.equipment import Equipment
from chromaseal.sandbox import Sandbox
from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.case import Case, Kind
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
_AT_ONCE = 2
_T = TypeVar("_T", Outcome, Mended)


def main() -> None:
    """Look at every case, and mend every harmful one."""
    modules = tuple(f"chromaseal.adapters.chroma.{job}" for job in _JOBS)
    sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(_AT_ONCE)])
    try:
        outcomes, mended = _looked_at(sandbox), _mended(sandbox)
    finally:
        sandbox.close()
    Path(__file__).with_name("corpus.md").write_text(page(outcomes, mended))
    wrong = any(each.different for each in mended)
    sys.exit(wrong or not all(outcome.as_expected for outcome in outcomes))


def _looked_at(sandbox: Sandbox) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as bases:
        every = cases(build_bases(Path(bases), _LOOKED_AT_RECORDS))
        outcomes = _each(every, "looked at", Outcome, lambda c, scratch: look(c, scratch, sandbox))
    for outcome in outcomes:
        if not outcome.as_expected:
            _say(f"not as expected: {outcome.case.name}: {outcome.said}, {outcome.checks}")
    return outcomes


def _mended(sandbox: Sandbox) -> list[Mended]:
    equipment = Equipment(sandbox, Nobody(), SystemClock(), SystemIds(), exchange)
    with tempfile.TemporaryDirectory() as bases:
        every = cases(build_bases(Path(bases), _MENDED_RECORDS))
        harmful = [case for case in every if case.damage.kind is Kind.HARMFUL]
        found = _each(harmful, "mended", Mended, lambda c, scratch: mend(c, scratch, equipment))
    for mended in found:
        if mended.different:
            _say(f"wrong: {mended.case.name}: {mended.said}, {mended.different[:3]}")
        if mended.unlisted:
            _say(f"not listed: {mended.case.name}: {mended.said}, {len(mended.unlisted)} records")
    return found


def _each(
    every: Sequence[Case], what: str, kind: type[_T], work: Callable[[Case, Path], _T]
) -> list[_T]:
    """Do what is to be done for each case, but for those that were done before."""
    path = CACHE / f"corpus-{what.replace(' ', '-')}-{_sources()}.jsonl"
    CACHE.mkdir(exist_ok=True)
    done = _done(path, kind, every)

    def one(case: Case) -> _T:
        with tempfile.TemporaryDirectory() as scratch:
            return done[case.name] if case.name in done else work(case, Path(scratch))

    found = []
    with path.open("a") as kept, pools.pool(_AT_ONCE) as pool:
        for number, outcome in enumerate(pool.map(one, every), start=1):
            found.append(outcome)
            if outcome.case.name not in done:
                plain = {f.name: getattr(outcome, f.name) for f in fields(kind)}
                kept.write(json.dumps(plain | {"case": outcome.case.name}) + "\n")
                kept.flush()
            _count(what, number, len(every))
    return found


def _done(path: Path, kind: type[_T], every: Sequence[Case]) -> dict[str, _T]:
    named = {case.name: case for case in every}
    lines = path.read_text().splitlines() if path.exists() else []
    # The last line of a process that died may be half a line.
    plain = [json.loads(line) for line in lines if line.endswith("}")]
    return {each["case"]: _restored(kind, each, named[each["case"]]) for each in plain}


def _restored(kind: type[_T], plain: dict[str, Any], case: Case) -> _T:
    values: dict[str, Any]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    values["case"] = case
    if values.get("found_at") is not None:
        values["found_at"] = Level(values["found_at"])
    return kind(**values)


def _sources() -> str:
    """Name the state of the sources."""
    files = sorted((Path(chromaseal.__file__).parent).rglob("*.py"))
    return blake3_hex(b"".join(path.read_bytes() for path in files))[:16]


def _count(what: str, number: int, of: int) -> None:
    if number % _EVERY == 0 or number == of:
        _say(f"{what}: {number} of {of}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
