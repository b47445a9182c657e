"""Comparing a file with an earlier copy gives the digests that hashing all of it gives."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, page_digests, pages_in
from chromaseal.seal.compare import compared_digests
from chromaseal.seal.page_table import NO_PAGES, PageTable, differing_pages

PAGE = PAGE_SIZE_BYTES
BLOCK = 512 * PAGE
sizes = (
    st.sampled_from([0, 1, PAGE - 1, PAGE, PAGE + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 77])
    | st.integers(0, 9 * PAGE)
    | st.integers(0, 2 * BLOCK + 9 * PAGE)
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Give an old content and what became of it: cut, grown, and changed in some bytes."""
    random = np.random.default_rng(draw(st.integers(0, 99)))
    old = random.bytes(draw(sizes))
    size = draw(st.just(len(old)) | sizes)
    new = bytearray(old[:size] + random.bytes(max(size - len(old), 0)))
    for place in draw(st.lists(st.floats(0, 1, exclude_max=True), max_size=6)):
        if new:
            new[int(place * len(new))] ^= 1
    return old, bytes(new)


@settings(max_examples=120, deadline=None)
@given(pairs())
def test_comparing_equals_hashing(pair: tuple[bytes, bytes]) -> None:
    """Whatever the sizes, and wherever bytes differ."""
    old, new = pair
    with TemporaryDirectory() as folder:
        earlier, path = Path(folder, "old"), Path(folder, "new")
        earlier.write_bytes(old)
        path.write_bytes(new)
        known = PageTable(len(old), page_digests(old))
        assert compared_digests(path, earlier, known) == page_digests(new)


@settings(max_examples=60)
@given(pairs())
def test_differing_pages_are_those_with_other_bytes(pair: tuple[bytes, bytes]) -> None:
    """A page differs if the old file has not the very same bytes there, length included."""
    old, new = pair
    tables = [PageTable(len(each), page_digests(each)) for each in (old, new)]
    starts = range(0, len(new), PAGE)
    expected = [s // PAGE for s in starts if new[s : s + PAGE] != old[s : s + PAGE]]
    assert differing_pages(tables[0], tables[1]).tolist() == expected
    assert differing_pages(None, tables[1]).tolist() == list(range(pages_in(len(new))))


def test_pages_that_are_the_same_are_not_hashed(tmp_path: Path) -> None:
    """The digests of equal pages are taken over as they are known, also in a block that changed."""
    old = np.random.default_rng(1).bytes(2 * BLOCK)
    new = old[:BLOCK] + b"x" + old[BLOCK + 1 :]
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    made_up = PageTable(len(old), b"\7" * DIGEST_SIZE_BYTES * (len(old) // PAGE))
    found = compared_digests(tmp_path / "new", tmp_path / "old", made_up)
    hashed = [at for at in range(0, len(found), DIGEST_SIZE_BYTES) if found[at] != 7]
    assert hashed == [512 * DIGEST_SIZE_BYTES]


def test_a_page_that_is_as_the_copy_but_not_as_known_is_hashed(tmp_path: Path) -> None:
    """A page that changed since the copy was made, and has changed back."""
    content = np.random.default_rng(1).bytes(2 * BLOCK)
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(content)
    known = bytearray(page_digests(content))
    known[70 * DIGEST_SIZE_BYTES] ^= 1
    table = PageTable(len(content), bytes(known))
    stale = np.array([70], dtype=np.int64)
    found = compared_digests(tmp_path / "new", tmp_path / "old", table, stale=stale)
    assert found == page_digests(content)
    unheeded = compared_digests(tmp_path / "new", tmp_path / "old", table, stale=NO_PAGES)
    assert unheeded == bytes(known)


def test_large_files_are_compared_in_spans(tmp_path: Path) -> None:
    """Several threads take a span each; the digests come in order, the short end included."""
    old = np.random.default_rng(2).bytes(40 << 20)
    new = bytearray(old + b"end")
    for place in (0, (16 << 20) - 1, 16 << 20, (40 << 20) - 1):
        new[place] ^= 1
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    known = PageTable(len(old), page_digests(old))
    assert compared_digests(tmp_path / "new", tmp_path / "old", known) == page_digests(bytes(new))
