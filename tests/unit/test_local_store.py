"""The object store in a directory, beyond what every object store promises."""

from __future__ import annotations

from pathlib import Path

from chromaseal.adapters.local.object_store import LocalObjectStore


def test_a_range_without_end_takes_no_memory(tmp_path: Path) -> None:
    """A store in a directory gives what there is, however much is asked for."""
    store = LocalObjectStore(tmp_path / "vault")
    store.create("object", b"content")
    assert store.get_range("object", start=3, length=1 << 60) == b"tent"
    assert store.get_range("object", start=1 << 60, length=1 << 60) == b""
