"""What would fill the disk is not begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.composition.engine import open_vault
from chromaseal.composition.fleet import free_bytes
from chromaseal.errors import Unavailable
from chromaseal.fleet.room import check_room, needed_bytes
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.records import record, upserts


def test_three_copies_and_the_deltas_have_room() -> None:
    """Whatever else there is to merge."""
    directory = needed_bytes(1_000_000, 0) - needed_bytes(0, 0)
    assert directory == 3_000_000
    assert needed_bytes(0, 1_000_000) - needed_bytes(0, 0) >= 3_000_000
    assert needed_bytes(0, 0) > 0


def test_a_full_disk_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    """By how much, and what to do; a byte less than is needed is too little."""
    settings = Settings("memory://", "memory://", tmp_path / "cache")
    with open_vault(settings) as vault:
        vault.write({"notes": upserts(record("a"))}, run_id="a")
        (run,) = vault.parts.ledger.waiting("notes")
        needed = needed_bytes(0, run.parts["notes"].size_bytes)
        check_room(vault.parts, ["notes"], lambda: needed)
        with pytest.raises(Unavailable, match="nothing was begun") as caught:
            check_room(vault.parts, ["notes"], lambda: needed - 1)
        assert caught.value.kind == "disk-full"
        assert "CHROMASEAL_CACHE" in caught.value.hint
        assert vault.run("a").parts["notes"].state is RunState.PENDING
        assert vault.run("a").parts["notes"].attempts == 0
        assert not (tmp_path / "cache").exists()


def test_what_has_nothing_to_merge_needs_no_room(tmp_path: Path) -> None:
    """A full disk is no trouble for whoever does nothing."""
    with open_vault(Settings("memory://", "memory://", tmp_path / "cache")) as vault:
        check_room(vault.parts, ["notes"], lambda: 0)


def test_free_space_is_asked_for_where_the_cache_would_be(tmp_path: Path) -> None:
    """Also before it is there."""
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
