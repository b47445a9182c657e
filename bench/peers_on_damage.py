"""What chromaseal, chromadb-ops and ``chroma vacuum`` make of damaged directories.

``make bench-damage`` writes ``docs/comparison.md``. The corruption corpus's damages happen, each
once, to one directory; each tool gets a copy of it. The peers are tools of maintenance and do
not promise what is asked of them here; the page says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.damage_page import Result, page
from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.errors import ChromasealError
from chromaseal.ids import SystemIds
from chromaseal.record import Record
from chromaseal.repair.directory import repair_directory, salvage_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.seal.examine import examine
from chromaseal.seal.open_files import Holder
from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.case import Case, Kind
from chromaseal.testing.corpus.cases import cases, damaged
from chromaseal.testing.corpus.healthy import Base, build_bases
from chromaseal.testing.corpus.mending import content, same

_PLACE = Path("docs/comparison.md")
_CACHE = Path(".bench-cache/peers-on-damage")
# chromadb-ops needs an older click than ChromaDB's own helpers ask for; both work with this one.
PACKAGES = ("chromadb-ops==0.1.5", "chromadb==1.5.9", "click==8.1.8")
_RECORDS = 600
_AT_ONCE = 2
_TIMEOUT_S = 20
_JOBS = ("verification", "questions", "replay", "salvage")
_LOOKS = (("db", "info"), ("wal", "info"))
_MENDS = (("fts", "rebuild"), ("db", "clean"), ("wal", "clean"))
_FIGURES = re.compile(r"\S*\d\S*")
_EVERY = 10


class Nobody:
    """Says that no process has anything open: the copies are this process's own."""

    def holders(self, directory: Path) -> list[Holder]:
        """Name nobody."""
        del directory
        return []


class Trial:
    """Everything that is asked of the tools, about directories in one place.

    Args:
        base: the healthy directory.
        scratch: where copies lie.
        ops: chromadb-ops' executable.
    """

    def __init__(self, base: Base, scratch: Path, ops: Path) -> None:
        self._base = base
        self._scratch = scratch
        self._ops = ops
        modules = tuple(f"chromaseal.adapters.chroma.{job}" for job in _JOBS)
        self._sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(2)])
        clock, ids = SystemClock(), SystemIds()
        self._equipment = Equipment(self._sandbox, Nobody(), clock, ids, exchange)
        self._truth = content(base.newest)
        self._healthy = self._look_of(base.newest)

    def close(self) -> None:
        """End the child processes."""
        self._sandbox.close()

    def run(self, case: Case) -> Result:
        """Let every tool have a copy of a case."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            directory = Path(folder) / "case"
            damaged(case, directory)
            codes, shown = self._look_of(directory)
            ops, vacuum = (Path(folder) / name for name in ("ops", "vacuum"))
            for copy in (ops, vacuum):
                shutil.copytree(directory, copy, symlinks=True)
            _mend_with_ops(self._ops, ops)
            vacuum_code = _vacuum(self._ops, vacuum)
            quick = not self._is_sound(directory, Level.QUICK)
            deep = not self._is_sound(directory, Level.DEEP)
            ops_left, ops_mended = self.left_in(ops)
            vacuum_left, vacuum_mended = self.left_in(vacuum)
            repaired = self._is_repaired(directory)
            salvaged, _ = self.left_in(directory)
        return Result(
            case=case,
            quick=quick,
            deep=deep,
            ops=codes != self._healthy[0],
            shown=shown != self._healthy[1],
            repaired=repaired,
            salvaged=salvaged,
            ops_mended=ops_mended,
            ops_left=ops_left,
            vacuum=vacuum_code != 0,
            vacuum_mended=vacuum_mended,
            vacuum_left=vacuum_left,
        )

    def _look_of(self, directory: Path) -> tuple[list[int], list[str]]:
        # A copy, as opening writes, and always in the same place, which is part of the text.
        copy = self._scratch / "look"
        shutil.copytree(directory, copy, symlinks=True)
        try:
            told = [_told([self._ops, *command, copy]) for command in _LOOKS]
        finally:
            shutil.rmtree(copy)
        return [code for code, _ in told], [text for _, text in told]

    def _is_sound(self, directory: Path, level: Level) -> bool:
        return examine(
            directory,
            level,
            sandbox=self._sandbox,
            open_files=Nobody(),
            clock=SystemClock(),
            scratch=self._scratch,
        ).sound

    def _is_repaired(self, directory: Path) -> bool:
        try:
            return bool(repair_directory(directory, self._equipment).sources)
        except ChromasealError:
            return False

    def left_in(self, directory: Path) -> tuple[int, bool]:
        """Count the right records of a directory; tell whether it is sound and has all of them."""
        if directory.is_dir() and self._is_sound(directory, Level.DEEP):
            right = self._right(content(directory))
            return right, right == len(self._truth)
        out = directory.with_name(f"{directory.name}-salvaged")
        try:
            salvage_directory(directory, out, self._equipment)
        except ChromasealError:
            return 0, False
        return self._right(content(out)), False

    def _right(self, found: dict[str, Record]) -> int:
        truth, space = self._truth, self._base.space
        return sum(i in truth and same(truth[i], each, space) for i, each in found.items())


def _told(command: Sequence[str | Path]) -> tuple[int, str]:
    """Run a peer's command; give its exit code, and what it printed but for figures.

    Returns:
        -1 where it did not end.
    """
    try:
        # In a folder of its own: who loads a pickle with code in it does what that says.
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run(
                [str(each) for each in command],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
                cwd=scratch,
                env={**os.environ, "COLUMNS": "200", "ANONYMIZED_TELEMETRY": "False"},
            )
    except subprocess.TimeoutExpired:
        return -1, ""
    return done.returncode, " ".join(_FIGURES.sub("#", done.stdout).split())


def _mend_with_ops(ops: Path, directory: Path) -> int:
    return max(_told([ops, *command, directory, "-y"])[0] for command in _MENDS)


def _vacuum(_: Path, directory: Path) -> int:
    return _told([_beside("chroma"), "vacuum", "--force", "--path", directory])[0]


def _beside(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def _installed() -> Path:
    """Install chromadb-ops in an environment of its own; give its executable."""
    environment = _CACHE / "venv"
    ops = environment / "bin/chops"
    if not ops.exists():
        _say("installing chromadb-ops ...")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES[:2]], check=True)
        subprocess.run([*pip, PACKAGES[2]], check=True)
    return ops.absolute()


def _once_each(every: Sequence[Case]) -> list[Case]:
    """Give one case of each damage that does harm."""
    return [case for case in every if case.turn == 0 and case.damage.kind is Kind.HARMFUL]


def _healthy_rows(bases: Sequence[Base], scratch: Path, ops: Path) -> list[list[str]]:
    """Let the peers mend what is whole."""
    rows = []
    for base in bases:
        truth = len(content(base.newest))
        row = [base.name, str(truth)]
        for work in (_mend_with_ops, _vacuum):
            copy = scratch / "healthy"
            shutil.copytree(base.newest, copy)
            work(ops, copy)
            trial = Trial(base, scratch, ops)
            left, _ = trial.left_in(copy)
            trial.close()
            shutil.rmtree(copy)
            shutil.rmtree(scratch / "healthy-salvaged", ignore_errors=True)
            row.append(str(truth - left))
        rows.append(row)
    return rows


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Try everything, and write the page."""
    ops = _installed()
    with tempfile.TemporaryDirectory() as folder:
        bases = build_bases(Path(folder), _RECORDS, ("l2",))
        base = bases[-1]
        every = _once_each(cases([base]))
        scratches = [Path(folder) / f"scratch-{number}" for number in range(_AT_ONCE)]
        for scratch in scratches:
            scratch.mkdir()

        def work(number: int) -> list[Result]:
            trial = Trial(base, scratches[number], ops)
            found = []
            for done, case in enumerate(every[number::_AT_ONCE], start=1):
                found.append(trial.run(case))
                if done % _EVERY == 0:
                    _say(f"{done * _AT_ONCE} of {len(every)}")
            trial.close()
            return found

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            parts = list(pool.map(work, range(_AT_ONCE)))
        order = {case.name: place for place, case in enumerate(every)}
        results = sorted((r for part in parts for r in part), key=lambda r: order[r.case.name])
        healthy = _healthy_rows(bases, scratches[0], ops)
        text = page(PACKAGES[:2], results, healthy, len(content(base.newest)))
    _PLACE.write_text(text)
    _say(text)


if __name__ == "__main__":
    main()
