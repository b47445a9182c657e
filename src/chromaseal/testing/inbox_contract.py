"""What every inbox promises; inherit it and give an ``inbox`` and what lies in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chromaseal.errors import NotFound
from chromaseal.receipts.inbox import Arrival, Inbox

Put = Callable[[str, bytes], None]
Content = Callable[[], dict[str, bytes]]


class InboxContract:
    """Tests for one implementation; ``inbox`` is empty."""

    @pytest.fixture
    def inbox(self) -> Inbox:
        """Give the inbox under test, empty."""
        raise NotImplementedError

    @pytest.fixture
    def put(self) -> Put:
        """Give what lets something arrive under a name, in place of what is there."""
        raise NotImplementedError

    @pytest.fixture
    def content(self) -> Content:
        """Give what tells all that is there by its path, images put away and texts included."""
        raise NotImplementedError

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        """Give what makes everything complete that has arrived."""
        raise NotImplementedError

    def test_images_are_found_in_order(
        self, inbox: Inbox, put: Put, settle: Callable[[], None]
    ) -> None:
        """What is hidden, called otherwise or in a folder is left alone."""
        assert inbox.look().complete == ()
        for name in ("b.png", "a b.JPG", ".c.png", "d.txt", "e.png.part", "done/f.png", "ü.pdf"):
            put(name, name.encode())
        settle()
        look = inbox.look()
        assert [arrival.name for arrival in look.complete] == ["a b.JPG", "b.png", "ü.pdf"]
        assert look.unsettled == 0

    def test_an_image_is_read_and_put_away(
        self,
        inbox: Inbox,
        put: Put,
        content: Content,
        settle: Callable[[], None],
        tmp_path: Path,
    ) -> None:
        """Under its own name; then it is in the inbox no more, and doing it again does nothing."""
        arrival = arrived(inbox, put, settle, "a b.png", b"image")
        path = inbox.fetch(arrival, made(tmp_path / "copies"))
        assert (path.name, path.read_bytes()) == ("a b.png", b"image")
        assert inbox.put_away(arrival)
        assert content() == {"done/a b.png": b"image"}
        assert not inbox.put_away(arrival)
        assert inbox.look().complete == ()
        with pytest.raises(NotFound):
            inbox.fetch(arrival, made(tmp_path / "more"))

    def test_a_refused_image_has_its_reason_beside_it(
        self, inbox: Inbox, put: Put, content: Content, settle: Callable[[], None]
    ) -> None:
        """In a text that is called like it."""
        assert inbox.put_away(arrived(inbox, put, settle, "a.png", b"no"), refused="why: Ä")
        assert content() == {"refused/a.png": b"no", "refused/a.png.txt": "why: Ä\n".encode()}

    def test_nothing_that_was_put_away_is_overwritten(
        self, inbox: Inbox, put: Put, content: Content, settle: Callable[[], None]
    ) -> None:
        """Another image of the name gets one of its own; the same again is the same."""
        for body in (b"first", b"second", b"first", b"second"):
            assert inbox.put_away(arrived(inbox, put, settle, "a.png", body))
        found = content()
        assert found.pop("done/a.png") == b"first"
        assert list(found.values()) == [b"second"]
        for body in (b"third", b"fourth"):
            arrival = arrived(inbox, put, settle, "b.png", body)
            assert inbox.put_away(arrival, refused=body.decode())
        found = content()
        assert found["refused/b.png.txt"] == b"third\n"
        (name,) = [name for name, body in found.items() if body == b"fourth"]
        assert found[f"{name}.txt"] == b"fourth\n"

    def test_a_changed_image_stays(
        self, inbox: Inbox, put: Put, content: Content, settle: Callable[[], None]
    ) -> None:
        """What arrived after the look has not been ingested."""
        arrival = arrived(inbox, put, settle, "a.png", b"before")
        put("a.png", b"after it")
        assert not inbox.put_away(arrival)
        assert content()["a.png"] == b"after it"
        settle()
        assert [each.name for each in inbox.look().complete] == ["a.png"]

    def test_a_name_may_be_long(
        self,
        inbox: Inbox,
        put: Put,
        settle: Callable[[], None],
        tmp_path: Path,
    ) -> None:
        """As long as the inbox takes it."""
        name = "n" * 230 + ".png"
        arrival = arrived(inbox, put, settle, name, b"image")
        assert inbox.fetch(arrival, made(tmp_path / "copies")).read_bytes() == b"image"
        assert inbox.put_away(arrival)


def arrived(inbox: Inbox, put: Put, settle: Callable[[], None], name: str, body: bytes) -> Arrival:
    """Let an image arrive, and give it as the inbox sees it."""
    put(name, body)
    settle()
    (arrival,) = [each for each in inbox.look().complete if each.name == name]
    return arrival


def made(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir()
    return folder
