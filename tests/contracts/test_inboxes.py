"""Every inbox keeps the promises of inboxes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import obstore
import pytest
from obstore.store import S3Store

from chromaseal.adapters.local.inbox import LocalInbox
from chromaseal.adapters.obstore.inbox import InboxBucket, ObstoreInbox
from chromaseal.composition.fleet import open_inbox
from chromaseal.errors import NotFound, Unavailable, UsageError
from chromaseal.ids import SystemIds
from chromaseal.receipts.inbox import Arrival, Inbox
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.inbox_contract import Content, InboxContract, Put
from chromaseal.testing.programs import LOOPBACK, free_ports
from chromaseal.testing.servers import S3Server

if TYPE_CHECKING:
    from obstore.store import S3Config

SETTLE_S = 5.0


class TestFolder(InboxContract):
    """A folder, by a clock in the test's hands."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Give the folder."""
        folder = tmp_path / "inbox"
        folder.mkdir()
        return folder

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Give the clock."""
        return ManualClock()

    @pytest.fixture
    def inbox(self, folder: Path, clock: ManualClock) -> Inbox:
        """Give an empty one."""
        return LocalInbox(folder, clock=clock, settle_s=SETTLE_S)

    @pytest.fixture
    def put(self, folder: Path) -> Put:
        """Write a file."""

        def write(name: str, body: bytes) -> None:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)

        return write

    @pytest.fixture
    def content(self, folder: Path) -> Content:
        """Read every file."""
        return lambda: {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    @pytest.fixture
    def settle(self, inbox: Inbox, clock: ManualClock) -> Callable[[], None]:
        """Look, and let time pass."""

        def look_and_wait() -> None:
            inbox.look()
            clock.sleep(SETTLE_S)

        return look_and_wait

    def test_a_file_that_is_being_written_is_not_taken(
        self, inbox: Inbox, folder: Path, clock: ManualClock
    ) -> None:
        """Only after two looks that saw it alike, far enough apart."""
        path = folder / "a.png"
        for size in range(1, 4):
            path.write_bytes(b"x" * size)
            look = inbox.look()
            assert (look.complete, look.unsettled) == ((), 1)
            clock.sleep(SETTLE_S)
        assert len(inbox.look().complete) == 1
        os.utime(path, ns=(0, 0))
        assert inbox.look().complete == ()
        clock.sleep(SETTLE_S - 1)
        assert inbox.look().complete == ()
        clock.sleep(1)
        assert len(inbox.look().complete) == 1

    def test_another_file_of_the_name_is_another_one(
        self, inbox: Inbox, folder: Path, clock: ManualClock
    ) -> None:
        """What is renamed in is complete, and is looked at twice all the same."""
        path = folder / "a.png"
        path.write_bytes(b"one")
        inbox.look()
        clock.sleep(SETTLE_S)
        other = folder / ".a.png.part"
        other.write_bytes(b"two")
        os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        other.replace(path)
        assert inbox.look().complete == ()
        clock.sleep(SETTLE_S)
        assert len(inbox.look().complete) == 1

    def test_a_folder_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        """A mistyped inbox is not an empty one."""
        with pytest.raises(NotFound, match="there is no folder"):
            LocalInbox(tmp_path / "none", clock=ManualClock()).look()


class TestBucket(InboxContract):
    """A prefix of a bucket on a real S3 server."""

    @pytest.fixture
    def url(self, seaweedfs_server: S3Server) -> str:
        """Give an empty prefix."""
        return f"s3://{seaweedfs_server.bucket}/inbox {SystemIds().unique()}"

    @pytest.fixture
    def bucket(self, seaweedfs_server: S3Server, url: str) -> S3Store:
        """Give the prefix as anybody's client sees it."""
        config = cast("S3Config", seaweedfs_server.options())
        http = config.pop("allow_http", "")  # type: ignore[typeddict-item]
        assert http
        return S3Store.from_url(url, config=config, client_options={"allow_http": True})

    @pytest.fixture
    def inbox(self, seaweedfs_server: S3Server, url: str) -> Inbox:
        """Give an empty one."""
        return ObstoreInbox(InboxBucket(url, options=seaweedfs_server.options()))

    @pytest.fixture
    def put(self, bucket: S3Store) -> Put:
        """Upload an object."""
        return lambda name, body: (obstore.put(bucket, name, body), None)[1]

    @pytest.fixture
    def content(self, bucket: S3Store) -> Content:
        """Read every object."""

        def read() -> dict[str, bytes]:
            paths = [meta["path"] for batch in obstore.list(bucket) for meta in batch]
            return {path: bytes(obstore.get(bucket, path).bytes()) for path in paths}

        return read

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        """Do nothing: objects appear whole."""
        return lambda: None


def test_a_bucket_that_does_not_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a vault's own is: for half a minute, and then it is said."""
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT", f"http://{LOOPBACK}:{port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    clock = ManualClock()
    inbox = open_inbox("s3://bucket/inbox", clock=clock)
    with pytest.raises(Unavailable):
        inbox.look()
    with pytest.raises(Unavailable):
        inbox.fetch(Arrival("a.png", "state"), tmp_path)
    assert 20 < clock.monotonic_s() < 80


def test_a_url_names_an_inbox(tmp_path: Path) -> None:
    """A path or a URL; secrets in one that cannot be opened are not said."""
    assert open_inbox(str(tmp_path), clock=ManualClock()).url == tmp_path.as_uri()
    with pytest.raises(UsageError) as caught:
        open_inbox("ftp://user:secret@host/a", clock=ManualClock())
    assert caught.value.kind == "bad-url"
    assert "secret" not in caught.value.message
