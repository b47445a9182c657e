"""A process that ingests: one run after the other until SIGTERM, each noted before and after.

``python -m bench.soak.writer``. Begun again after a death, it repeats the run that it was at, or
leaves it as it is: nobody was told that it is stored.
"""

from __future__ import annotations

import argparse
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import chromaseal
from bench.soak.journal import ACKNOWLEDGED, INTENT, UNANSWERED, Journal, read_journal
from bench.soak.writes import changes_of, run_id
from chromaseal.clock import Clock, SystemClock
from chromaseal.errors import Unavailable
from chromaseal.ids import Ids, SystemIds
from chromaseal.vault import Vault

_ASKED_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Writer:
    """What writes.

    Attributes:
        seed: of the whole soak.
        number: which writer this is.
        every_s: from one run to the next, give or take a half.
        journal: where it notes what it does.
        clock: time.
        ids: chance, for the waiting.
        over: set when no further run is to be begun.
    """

    seed: int
    number: int
    every_s: float
    journal: Journal
    clock: Clock
    ids: Ids
    over: threading.Event

    def work(self, vault: Vault, first: int) -> None:
        """Write runs from one on."""
        number = first
        while not self.over.is_set():
            self.write(vault, number)
            number += 1
            self.over.wait(self.every_s * (0.5 + self.ids.fraction()))

    def write(self, vault: Vault, number: int) -> None:
        """Write one run, again for as long as store or ledger do not answer."""
        changes = changes_of(self.seed, self.number, number)
        while True:
            self.journal.note(INTENT, number, self.clock.monotonic_s())
            try:
                run = vault.write(changes, run_id=run_id(self.number, number)).run
            except Unavailable as error:
                self.journal.note(
                    UNANSWERED, number, self.clock.monotonic_s(), message=error.message
                )
                self.clock.sleep(_ASKED_AGAIN_S)
            else:
                self.journal.note(
                    ACKNOWLEDGED, number, self.clock.monotonic_s(), created_at=run.created_at
                )
                return


def first_number(journal: Path, *, repeats: bool) -> int:
    """Give the run to begin with.

    Args:
        journal: of the writer.
        repeats: whether one that was begun and not acknowledged is begun again.
    """
    before = read_journal(journal)
    if not before:
        return 0
    last = before[-1]
    return last.number if repeats and last.acknowledged_s is None else last.number + 1


def _opened(vault: str, ledger: str, clock: Clock) -> Vault:
    """Open the vault, as a service does that is started while others are restarted."""
    while True:
        try:
            return chromaseal.open(vault, ledger=ledger)
        except Unavailable:
            clock.sleep(_ASKED_AGAIN_S)


def main() -> None:
    """Write until SIGTERM."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--vault", required=True)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--every-s", type=float, required=True)
    chosen = parser.parse_args()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    clock, ids = SystemClock(), SystemIds()
    first = first_number(chosen.journal, repeats=ids.fraction() < 0.5)
    with Journal(chosen.journal) as journal, _opened(chosen.vault, chosen.ledger, clock) as vault:
        writer = Writer(chosen.seed, chosen.number, chosen.every_s, journal, clock, ids, over)
        writer.work(vault, first)


if __name__ == "__main__":
    main()
