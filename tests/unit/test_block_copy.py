"""A private copy follows its original, however that grew, shrank or changed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chromaseal.adapters.chroma.block_copy import remove_others, update_file

BLOCK = 1 << 20


def always() -> bool:
    """Go on."""
    return True


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
@pytest.mark.parametrize("old", [None, 0, BLOCK, 2 * BLOCK + 5])
def test_a_copy_becomes_equal(tmp_path: Path, size: int, old: int | None) -> None:
    """Whatever was there before, the copy ends with the bytes and the length of the original."""
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(random.Random(size).randbytes(size))
    if old is not None:
        target.parent.mkdir()
        target.write_bytes(b"x" * old)
    update_file(source, target, may_go_on=always)
    assert target.read_bytes() == source.read_bytes()
    assert update_file(source, target, may_go_on=always) == 0


def test_only_blocks_that_differ_are_written(tmp_path: Path) -> None:
    """One changed byte costs one block."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(3 * BLOCK))
    assert update_file(source, target, may_go_on=always) == 3 * BLOCK
    with source.open("r+b") as file:
        file.seek(BLOCK + 7)
        file.write(b"x")
    assert update_file(source, target, may_go_on=always) == BLOCK
    assert target.read_bytes() == source.read_bytes()


def test_it_stops_when_told(tmp_path: Path) -> None:
    """Before each block it asks, and what is unfinished is said to be."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * (3 * BLOCK))
    answers = iter([True, False])
    assert update_file(source, target, may_go_on=lambda: next(answers)) is None
    assert target.stat().st_size == BLOCK


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A file that became a link since it was looked at is not read."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "source").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        update_file(tmp_path / "source", tmp_path / "target", may_go_on=always)


def test_what_the_original_lost_goes(tmp_path: Path) -> None:
    """Files that are not wanted and folders without any are removed and named."""
    for name in ("a/keep", "a/gone", "b/gone", "gone"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(remove_others(tmp_path, frozenset({"a/keep"}))) == ["a/gone", "b/gone", "gone"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "keep"]
