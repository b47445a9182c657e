"""The object store in a directory, beyond what every object store promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.testing.synced import Synced


def test_a_range_without_end_takes_no_memory(tmp_path: Path) -> None:
    """A store in a directory gives what there is, however much is asked for."""
    store = LocalObjectStore(tmp_path / "vault")
    store.create("object", b"content")
    assert store.get_range("object", start=3, length=1 << 60) == b"tent"
    assert store.get_range("object", start=1 << 60, length=1 << 60) == b""


def test_what_was_written_outlasts_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content is durable before it gets its name, and the name before the write is answered."""
    root = tmp_path / "vault"
    path = root / "folder" / "object"
    store = LocalObjectStore(root)
    synced = Synced(monkeypatch, lambda: path.read_bytes() if path.exists() else None)
    store.create("folder/object", b"one")
    store.replace("folder/object", b"two", etag=store.get("folder/object").etag)
    steps = [
        ("name" if where == path.parent else "content", body)
        for where, body in synced.seen
        if where == path.parent or not where.is_dir()
    ]
    expected = [("content", None), ("name", b"one"), ("content", b"one"), ("name", b"two")]
    assert steps == expected
    # The folders that were made for it have names, too.
    assert {(root.parent, None), (root, None)} <= set(synced.seen)
