"""An inbox -> runs: images that arrived, ingested, and put away as done or refused.

An image is put away after everything of it is stored. Whoever dies before that finds it there again
and knows it by its content, so that nothing is read or stored twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chromaseal.errors import ChromasealError, NotFound, Unavailable
from chromaseal.receipts.files import SUFFIXES
from chromaseal.receipts.ingest import Ingest, Ingested
from chromaseal.telemetry.emit import event

DONE = "done"
REFUSED = "refused"
# Models are loaded for each batch, and merchants that were learned since the last are known in it.
_BATCH = 64
_PUT_AWAY_AFTER = 8
IsOver = Callable[[], bool]
Work = Callable[[IsOver], float | None]
Workspace = Callable[[], AbstractContextManager[Path]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """An image in an inbox.

    Attributes:
        name: without a folder.
        state: what it looks like from outside; another one if it was changed since.
    """

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Look:
    """What is in an inbox.

    Attributes:
        complete: can be taken, in the order of their names.
        unsettled: how many may still be written, to be looked at again.
    """

    complete: tuple[Arrival, ...]
    unsettled: int = 0


class Inbox(Protocol):
    """Where images arrive: a folder or a prefix; what is in folders below it is left alone."""

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        ...

    def look(self) -> Look:
        """Tell what is there.

        Raises:
            Unavailable: no answer.
            NotFound: ``no-such-file``, there is no such inbox.
        """
        ...

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Give a file with the image, called as it is; ``folder`` is an empty one for copies.

        Raises:
            NotFound: it is gone.
            Unavailable: no answer.
        """
        ...

    def put_away(self, arrival: Arrival, *, refused: str = "") -> bool:
        """Move an image to ``done/``, or to ``refused/`` beside a text with the reason.

        An image of the same name that is there already stays; this one gets a name of its own
        then, unless it is the same. Doing it again changes nothing.

        Args:
            arrival: which one.
            refused: why; empty if it was not.

        Returns:
            False where it is gone or was changed since the look: it stays where it is.
        """
        ...


def is_taken(name: str) -> bool:
    """Whether a name is one of an image; what is hidden or called otherwise is left alone."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def put_away_names(name: str, digest: str) -> tuple[str, str]:
    """Give the name that an image keeps when it is put away, and the one it has if that is taken.

    Args:
        name: its own.
        digest: of its content, in hexadecimal digits.
    """
    path = Path(name)
    return name, f"{path.stem}.{digest[:16]}{path.suffix}"


class Feeder:
    """Takes what is in an inbox, a batch at a time.

    Args:
        inbox: where from.
        open_ingest: gives what brings images into the vault.
        workspace: gives an empty folder that goes with its block.
        told: called with what became of each image, its name and, if refused, why.
        alone: gives work that is done while no other process takes from the inbox; as safe without,
            and some images are read twice then.
        settle_s: how long to wait for what may still be written.
    """

    def __init__(
        self,
        inbox: Inbox,
        open_ingest: Callable[[], AbstractContextManager[Ingest]],
        workspace: Workspace,
        told: Callable[[str, str, str], None],
        *,
        alone: Callable[[Work], Work] = lambda work: work,
        settle_s: float = 1.0,
    ) -> None:
        self._inbox = inbox
        self._open_ingest = open_ingest
        self._workspace = workspace
        self._told = told
        self._alone = alone
        self._settle_s = settle_s

    def feed(self, is_over: IsOver) -> float | None:
        """Ingest a batch.

        Args:
            is_over: asked between two pages; True ends it soon.

        Returns:
            Seconds until there may be more; None if the inbox is empty.

        Raises:
            ChromasealError: what concerns more than one image; all are still there.
        """
        look = self._inbox.look()
        if not look.complete:
            return self._settle_s if look.unsettled else None
        return self._alone(functools.partial(self._take, look.complete[:_BATCH]))(is_over)

    def _take(self, arrivals: Sequence[Arrival], is_over: IsOver) -> float:
        with self._open_ingest() as ingest:
            for start in range(0, len(arrivals), _PUT_AWAY_AFTER):
                if is_over():
                    break
                with self._workspace() as folder:
                    some = arrivals[start : start + _PUT_AWAY_AFTER]
                    self._ingest(some, ingest, folder, is_over)
        return 0.0

    def _ingest(
        self, arrivals: Sequence[Arrival], ingest: Ingest, folder: Path, is_over: IsOver
    ) -> None:
        sources = dict(self._fetched(arrivals, folder))
        outcomes: dict[str, list[Ingested]] = {source: [] for source in sources}
        for outcome in ingest.run(list(sources)):
            outcomes[outcome.source].append(outcome)
            if is_over():
                # Of a document some pages may be missing yet; all are known again the next time.
                return
        for source, arrival in sources.items():
            self._put_away(arrival, outcomes[source])

    def _fetched(self, arrivals: Sequence[Arrival], folder: Path) -> Iterator[tuple[str, Arrival]]:
        for number, arrival in enumerate(arrivals):
            place = folder / str(number)
            place.mkdir()
            try:
                yield str(self._inbox.fetch(arrival, place)), arrival
            except NotFound:
                # Somebody has taken it back.
                continue

    def _put_away(self, arrival: Arrival, outcomes: Sequence[Ingested]) -> None:
        errors = [(each.page_number, each.error) for each in outcomes if each.error is not None]
        if any(error.kind == "read-by-another" for _, error in errors):
            # Nothing is wrong with it: the next look finds what the other one has stored.
            return
        refused = "\n".join(_reason(page, error) for page, error in errors)
        for outcome in outcomes[:1]:
            # Where it lay while it was read says nothing to whoever reads this.
            refused = refused.replace(outcome.source, arrival.name)
        if not outcomes or not self._inbox.put_away(arrival, refused=refused):
            return
        status = REFUSED if errors else DONE
        event("image put away", reason=errors[0][1].kind if errors else status)
        self._told(status, arrival.name, refused)


def _reason(page: int, error: ChromasealError) -> str:
    where = f"page {page}: " if page else ""
    hint = f"\n  {error.hint}" if error.hint else ""
    again = "; put it back to try again" if isinstance(error, Unavailable) else ""
    return f"{where}{error.kind}: {error.message}{again}{hint}"
