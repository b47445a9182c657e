"""Run the whole corruption corpus and write docs/corpus.md; some minutes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.testing.corpus.cases import cases
from chromaseal.testing.corpus.healthy import build_bases
from chromaseal.testing.corpus.outcome import look, matrix

_RECORDS = 10_000
_MODULES = ("chromaseal.adapters.chroma.verification", "chromaseal.adapters.chroma.questions")
_EVERY = 50


def main() -> None:
    """Look at every case."""
    sandbox = SandboxPool([ProcessSandbox(preload=_MODULES) for _ in range(2)])
    outcomes = []
    with tempfile.TemporaryDirectory() as bases, tempfile.TemporaryDirectory() as scratch:
        every = cases(build_bases(Path(bases), _RECORDS))
        for number, case in enumerate(every, start=1):
            outcome = look(case, Path(scratch), sandbox)
            outcomes.append(outcome)
            if not outcome.as_expected:
                _say(f"not as expected: {case.name}: {outcome.said}, {outcome.checks}")
            if number % _EVERY == 0:
                _say(f"{number} of {len(every)}")
    sandbox.close()
    Path(__file__).with_name("corpus.md").write_text(matrix(outcomes))
    sys.exit(not all(outcome.as_expected for outcome in outcomes))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
