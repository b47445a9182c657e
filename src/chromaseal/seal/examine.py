"""A closed ChromaDB directory -> a verdict, with evidence for each check.

Whatever is wrong with the directory becomes a finding, the death of the process that looks at it
among them. The directory itself is only read; ChromaDB gets a private copy, since opening is a
write.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.errors import ChromasealError, Damaged
from chromaseal.sandbox import Limits, Plain, Sandbox, StepProgress, limits_for, no_step_progress
from chromaseal.seal.evidence import RecordSummary
from chromaseal.seal.open_files import OpenFiles
from chromaseal.seal.page_table import FileStamp, stamp_of
from chromaseal.seal.presence import check_presence
from chromaseal.seal.sealed import (
    changed_while_reading,
    plain_files,
    refuse_unreadable,
    wait_until_closed,
)
from chromaseal.seal.telling import tell_check
from chromaseal.seal.verdict import Finding, Level, Verdict
from chromaseal.seal.verify import collection_summary, total
from chromaseal.telemetry.emit import carried, step

# Reading all through ChromaDB was measured at 40 MB/s; a damaged index may hang for ever.
_SLOWEST_ANSWERS_BYTES_PER_S = 4_000_000
_START_S = 30
_CLOSING_TIMEOUT_S = 5.0
_READ = "opened"
_NOT_LEFT_TO_END = ("child-killed", "child-timeout")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a directory must have besides being sound.

    Attributes:
        collection: that must be in it, if any must.
        space: how that must measure distance, where that is known.
        records: what the records must amount to, where that is known; only ``deep`` counts them.
    """

    collection: str = ""
    space: str = ""
    records: RecordSummary | None = None


def examine(
    directory: Path,
    level: Level,
    *,
    sandbox: Sandbox,
    open_files: OpenFiles,
    clock: Clock,
    wanted: Wanted | None = None,
    scratch: Path | None = None,
    progress: StepProgress = no_step_progress,
) -> Verdict:
    """Look at a directory that no process has open.

    Args:
        directory: any ChromaDB directory.
        level: how closely.
        sandbox: where the checks run; damaged files can take their process down.
        open_files: who has files open.
        clock: for waiting and durations.
        wanted: what it must have besides.
        scratch: where private copies may lie; the system's place by default.
        progress: called with the step.

    Raises:
        Conflict: ``still-open`` or ``changed-while-reading``: no verdict is possible.
        Unavailable: ``system-error``: this user may not read all of it; ``child-killed`` or
            ``child-timeout``: who looked at it was not left to end.
    """
    with step("examine", directory=str(directory), depth=level.value) as told:
        start_s = clock.monotonic_s()
        wait_until_closed(directory, open_files, clock, _CLOSING_TIMEOUT_S)
        refuse_unreadable(directory)
        try:
            before = _stamps(directory)
        except Damaged as error:
            size_bytes, findings = 0, [_refused("plain-files", error)]
        else:
            size_bytes = sum(stamp.size_bytes for stamp in before.values())
            look = _Look(directory, size_bytes, sandbox, wanted or Wanted(), progress)
            findings = look.at(before, level, scratch)
        duration_s = clock.monotonic_s() - start_s
        verdict = Verdict(str(directory), level, tuple(findings), size_bytes, duration_s)
        for finding in findings:
            tell_check(finding)
        told.note(sound=verdict.sound, size_bytes=size_bytes)
    return verdict


@dataclass(frozen=True, slots=True)
class _Look:
    """The checks of one directory."""

    directory: Path
    size_bytes: int
    sandbox: Sandbox
    wanted: Wanted
    progress: StepProgress

    def at(
        self, before: Mapping[str, FileStamp], level: Level, scratch: Path | None
    ) -> list[Finding]:
        """Look as closely as a level says at a directory of which the stamps are known."""
        findings = list(check_presence({path: stamp.size_bytes for path, stamp in before.items()}))
        if level is Level.PRESENCE or not all(finding.passed for finding in findings):
            return findings
        closer = self.closely() if level is Level.QUICK else self.deeply(scratch)
        # Names are looked at again inside; what is found again is told once.
        known = {(each.check, each.passed, each.evidence) for each in findings}
        findings += [e for e in closer if (e.check, e.passed, e.evidence) not in known]
        after = _stamps(self.directory)
        changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
        if changed:
            raise changed_while_reading(self.directory / changed[0])
        return findings

    def closely(self) -> list[Finding]:
        """Read everything once."""
        self.progress("check structure", 0, 0)
        return list(self._structure())

    def deeply(self, scratch: Path | None) -> list[Finding]:
        """Look at every value, and let ChromaDB answer meanwhile, if nothing is wrong at once."""
        findings = self.closely()
        if not all(finding.passed for finding in findings):
            asked = Finding("chromadb", passed=False, evidence="not asked: it might never answer")
            return [*findings, asked]
        self.progress("check every value, ask ChromaDB", 0, 0)
        with (
            tempfile.TemporaryDirectory(dir=scratch, prefix="chromaseal-") as folder,
            ThreadPoolExecutor(1) as pool,
        ):
            answers = pool.submit(carried(lambda: list(self._answers(Path(folder) / "copy"))))
            return [*self._structure(Path(folder)), *answers.result()]

    def _structure(self, scratch: Path | None = None) -> Iterator[Finding]:
        request = {
            "directory": str(self.directory),
            "deep": scratch is not None,
            "collection": self.wanted.collection,
            "space": self.wanted.space,
            "scratch": str(scratch or ""),
        }
        answer = yield from self._found("verify", request, _READ, limits_for(self.size_bytes))
        if scratch is not None and answer["collections"]:
            yield self._records(total(map(collection_summary, answer["collections"])))

    def _records(self, found: RecordSummary) -> Finding:
        wanted = self.wanted.records
        if wanted is None or wanted == found:
            return Finding("records", passed=True, evidence=f"{found.count} records")
        evidence = f"{found.count} records, {wanted.count} expected"
        if found.count == wanted.count:
            evidence = f"{found.count} records as expected, with other contents"
        return Finding("records", passed=False, evidence=evidence)

    def _answers(self, copy: Path) -> Iterator[Finding]:
        shutil.copytree(self.directory, copy)
        usual = limits_for(self.size_bytes)
        timeout_s = _START_S + self.size_bytes / _SLOWEST_ANSWERS_BYTES_PER_S
        limits = Limits(timeout_s, usual.memory_bytes, usual.file_size_bytes)
        request = {"directory": str(copy), "original": str(self.directory)}
        yield from self._found("ask", request, "chromadb", limits)

    def _found(
        self, job: str, request: Plain, check: str, limits: Limits
    ) -> Generator[Finding, None, Plain]:
        try:
            answer = self.sandbox.run(job, request, limits=limits)
        except ChromasealError as error:
            # What is read here without ChromaDB comes to an end, whatever it is like: whoever has
            # none was killed for want of memory or time, and says nothing of it.
            if check == _READ and error.kind in _NOT_LEFT_TO_END:
                raise
            yield _refused(check, error)
            return {"collections": []}
        yield from (Finding(**found) for found in answer["findings"])
        return answer


def _refused(check: str, error: ChromasealError) -> Finding:
    # Of a traceback the last line says what happened.
    lines = error.message.strip().splitlines()
    return Finding(check, passed=False, evidence=lines[0] if len(lines) == 1 else f"{lines[-1]}")


def _stamps(directory: Path) -> Mapping[str, FileStamp]:
    return {path: stamp_of((directory / path).stat()) for path in plain_files(directory)}
