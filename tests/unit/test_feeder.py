"""What arrives is ingested and put away once everything of it is stored, and not before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from chromaseal.adapters.local.inbox import LocalInbox
from chromaseal.errors import NotFound, RefusedInput, Unavailable
from chromaseal.receipts.inbox import Feeder
from chromaseal.receipts.ingest import Ingest, Ingested
from chromaseal.testing.clock import ManualClock

SETTLE_S = 1.0


class Reader:
    """Ingests by a file's content: a line per page, which says what becomes of it."""

    def __init__(self) -> None:
        self.opened = 0
        self.read: list[str] = []

    def run(self, sources: Sequence[str]) -> Iterator[Ingested]:
        """Give an outcome per page."""
        for source in sources:
            for number, line in enumerate(Path(source).read_text().splitlines(), 1):
                if line == "outage":
                    raise Unavailable("no answer", kind="store-unavailable")
                self.read.append(Path(source).name)
                yield _outcome(source, number, line)


def _outcome(source: str, number: int, line: str) -> Ingested:
    if line == "bad":
        error = RefusedInput(f"{source} is bad", kind="no-text", hint="look at it")
        return Ingested(source, "refused", number, error=error)
    if line == "killer":
        died = Unavailable("it died", kind="child-died", hint="again")
        return Ingested(source, "refused", number, error=died)
    if line == "read-by-another":
        return Ingested(source, "refused", number, error=RefusedInput("read otherwise", kind=line))
    return Ingested(source, line, number, "image", "run")


class Desk:
    """A folder in which images arrive, and what takes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.clock = ManualClock()
        self.reader = Reader()
        self.workspaces = 0
        self.told: list[tuple[str, str]] = []
        self.inbox = LocalInbox(self.folder, clock=self.clock, settle_s=SETTLE_S)
        self._work = folder / "work"
        self.feeder = Feeder(
            self.inbox,
            self._open_reader,
            self._workspace,
            lambda status, name, _: self.told.append((status, name)),
            settle_s=SETTLE_S,
        )

    @contextlib.contextmanager
    def _open_reader(self) -> Iterator[Ingest]:
        self.reader.opened += 1
        yield cast("Ingest", self.reader)

    @contextlib.contextmanager
    def _workspace(self) -> Iterator[Path]:
        self.workspaces += 1
        self._work = self._work.with_name(f"work-{self.workspaces}")
        self._work.mkdir()
        yield self._work

    def put(self, **images: str) -> None:
        """Let images arrive, and time pass until they are complete."""
        for name, pages in images.items():
            (self.folder / f"{name}.png").write_text(pages)
        self.inbox.look()
        self.clock.sleep(SETTLE_S)

    def feed(self, is_over: Callable[[], bool] = lambda: False) -> float | None:
        """Take what is there."""
        return self.feeder.feed(is_over)

    def there(self) -> set[str]:
        """Give every path in the folder."""
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give an empty one."""
    return Desk(tmp_path)


def test_an_empty_inbox_loads_no_models(desk: Desk) -> None:
    """And neither does one in which everything is still being written."""
    assert desk.feed() is None
    (desk.folder / "a.png").write_text("ingested")
    assert desk.feed() == SETTLE_S
    assert desk.reader.opened == 0


def test_images_are_put_away_by_what_became_of_them(desk: Desk) -> None:
    """What was known already is done; one bad page of several makes a document refused."""
    desk.put(a="ingested", b="bad", c="already-ingested", d="ingested\nbad\ningested")
    assert desk.feed() == 0.0
    refused = {"refused/b.png", "refused/b.png.txt", "refused/d.png", "refused/d.png.txt"}
    assert desk.there() == {"done/a.png", "done/c.png", *refused}
    text = (desk.folder / "refused/d.png.txt").read_text()
    assert text == "page 2: no-text: d.png is bad\n  look at it\n"
    assert sorted(desk.told) == sorted(
        [("done", "a.png"), ("refused", "b.png"), ("done", "c.png"), ("refused", "d.png")]
    )
    assert desk.feed() is None


def test_what_another_process_has_read_at_the_same_time_stays(desk: Desk) -> None:
    """Nothing is wrong with it: the next look knows it."""
    desk.put(a="read-by-another")
    assert desk.feed() == 0.0
    assert desk.there() == {"a.png"}
    assert desk.told == []


def test_what_takes_its_process_down_is_refused(desk: Desk) -> None:
    """Or it would do so for ever; whoever reads the text can put it back."""
    desk.put(a="killer")
    desk.feed()
    assert "put it back" in (desk.folder / "refused/a.png.txt").read_text()


def test_who_is_stopped_puts_nothing_away(desk: Desk) -> None:
    """What was not finished is there, what died with the stop is not refused."""
    desk.put(a="ingested", b="killer", c="ingested")
    stopped = iter([False, False, True])
    assert desk.feed(lambda: next(stopped)) == 0.0
    assert desk.there() == {"a.png", "b.png", "c.png"}
    assert desk.reader.read == ["a.png", "b.png"]


def test_an_outage_leaves_everything(desk: Desk) -> None:
    """It concerns no single image."""
    desk.put(a="ingested", b="outage")
    with pytest.raises(Unavailable):
        desk.feed()
    assert desk.there() == {"a.png", "b.png"}


def test_models_are_loaded_once_for_many_images(desk: Desk) -> None:
    """Which are put away a few at a time."""
    desk.put(**{f"a{number:02d}": "ingested" for number in range(70)})
    assert desk.feed() == 0.0
    assert (desk.reader.opened, desk.workspaces) == (1, 8)
    assert len([path for path in desk.there() if path.startswith("done/")]) == 64
    desk.feed()
    assert len([path for path in desk.there() if path.startswith("done/")]) == 70


def test_an_image_that_changes_meanwhile_stays(desk: Desk) -> None:
    """It is taken again as what it has become."""
    desk.put(a="bad", b="ingested")

    def change() -> bool:
        (desk.folder / "a.png").write_text("ingested")
        return False

    desk.feed(change)
    assert desk.there() == {"a.png", "done/b.png"}
    desk.put()
    desk.feed()
    assert desk.there() == {"done/a.png", "done/b.png"}


def test_an_image_that_is_gone_concerns_nobody(desk: Desk) -> None:
    """Another worker has put it away."""
    desk.put(a="ingested", b="ingested")
    look = desk.inbox.look()
    (desk.folder / "a.png").unlink()
    with pytest.raises(NotFound):
        desk.inbox.fetch(look.complete[0], desk.folder)
    desk.feed()
    assert desk.there() == {"done/b.png"}


def test_work_is_done_alone_only_where_there_is_some(tmp_path: Path) -> None:
    """A lease is asked for once per batch, not once per look."""
    desk, asked = Desk(tmp_path), list[bool]()

    def alone(work: Callable[[Callable[[], bool]], float | None]) -> Callable[..., float | None]:
        asked.append(True)
        return work

    desk.feeder._alone = alone
    desk.feed()
    assert asked == []
    desk.put(a="ingested")
    desk.feed()
    assert asked == [True]
