"""A copy -> what is wrong with it: its checks, what ChromaDB says, and what was written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from chromaseal.parts import Parts
from chromaseal.reproduction.application import COLLECTION, Plan
from chromaseal.reproduction.asked import Answer, ask
from chromaseal.reproduction.trial import Trial, Way
from chromaseal.seal.examine import examine
from chromaseal.seal.verdict import Finding, Level, in_words

MALFORMED = "database disk image is malformed"
STRUCTURE = "found only by structure checks"
ANSWERS = "every check passes; records are wrong"
# What SQLite finds by itself, or dies of.
_BY_SQLITE = frozenset({"opened", "sqlite-structure", "full-text"})
_LOOKS_AT_ONCE = 2
_JOURNAL = frozenset({"no-journal"})


@dataclass(frozen=True, slots=True)
class Examined:
    """What a copy is like.

    Attributes:
        failed: the checks that did not pass, but for what ChromaDB mends by opening the copy.
        answer: what ChromaDB says.
    """

    failed: Sequence[Finding]
    answer: Answer

    @property
    def bad(self) -> bool:
        """Whether it is damaged or lacks anything."""
        return bool(self.failed) or not self.answer.right

    @property
    def wrong(self) -> str:
        """Say what is wrong; the same words for the same kind of damage."""
        if not self.bad:
            return ""
        if any(each.check in _BY_SQLITE for each in self.failed):
            return MALFORMED
        return STRUCTURE if self.failed else ANSWERS

    def trial(self, way: Way, number: int) -> Trial:
        """Make a trial of it."""
        return Trial(
            way,
            number,
            self.bad,
            wrong=self.wrong,
            evidence=in_words(self.failed),
            said=self.answer.said,
            detail=self.answer.detail,
        )


class Examination:
    """Looks at copies and leaves them as they are.

    Args:
        parts: where the checks and ChromaDB run.
        plan: what the application wrote.
        scratch: a folder for what ChromaDB opens.
    """

    def __init__(self, parts: Parts, plan: Plan, scratch: Path) -> None:
        self._parts = parts
        self._plan = plan
        self._scratch = scratch

    def look(self, directory: Path, collection: str = COLLECTION) -> Examined:
        """Check a copy, and ask ChromaDB about it; where the two differ, check it closely."""
        failed = self._failed(directory, Level.QUICK)
        # Opening a directory changes it.
        opened = self._scratch / f"{directory.name}-opened"
        shutil.copytree(directory, opened)
        answer = ask(self._parts.sandbox, opened, self._plan, collection=collection)
        if failed and (answer.right or {finding.check for finding in failed} == _JOURNAL):
            # ChromaDB rolls a journal back and applies what is in the log; this came of it.
            failed = self._failed(opened, Level.QUICK)
        if not failed and not answer.right:
            failed = self._failed(directory, Level.DEEP)
        shutil.rmtree(opened)
        return Examined(failed, answer)

    def look_at_all(
        self, directories: Sequence[Path], *, keep: Path | None = None
    ) -> list[Examined]:
        """Look at copies, two at once, and remove them; bad ones go to ``keep``, if named."""

        def look(directory: Path) -> Examined:
            examined = self.look(directory)
            if examined.bad and keep is not None:
                shutil.copytree(directory, keep / directory.name)
            shutil.rmtree(directory)
            return examined

        with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
            try:
                return list(pool.map(look, directories))
            except KeyboardInterrupt:
                # The children would work on to an end that nobody waits for.
                self._parts.sandbox.close()
                raise

    def _failed(self, directory: Path, level: Level) -> Sequence[Finding]:
        verdict = examine(
            directory,
            level,
            sandbox=self._parts.sandbox,
            open_files=self._parts.open_files,
            clock=self._parts.clock,
            scratch=self._scratch,
        )
        # Where it lies says nothing to anybody.
        return tuple(
            replace(each, evidence=each.evidence.replace(f"{directory}/", ""))
            for each in verdict.failed
        )
