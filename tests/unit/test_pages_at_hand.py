"""A long history is read once by a process that goes on; who looks whether it is there reads it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Damaged
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.snapshot import history
from chromaseal.snapshot.history import PAGE_VERSIONS, PagesAtHand, line
from chromaseal.testing.manifest_line import NAME, ManifestLine
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


class Noting(CountingStore):
    """A store that notes which pages of histories are read."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.pages: list[str] = []

    def get(self, key: str) -> StoredObject:
        """Read an object."""
        if "/history/" in key:
            self.pages.append(key)
        return super().get(key)


@pytest.mark.parametrize(("most", "again"), [(10, 0), (1, 1), (0, 2)])
def test_what_was_read_is_at_hand(most: int, again: int) -> None:
    """As many pages as are kept; what is given is the same."""
    made = ManifestLine()
    made.grow(2 * PAGE_VERSIONS + 1)
    newest, store, pages = made.versions[-1], CountingStore(made.inner), PagesAtHand(most)
    first = line(store, newest, at_hand=pages)
    before = store.usage.get
    assert line(store, newest, at_hand=pages) == first == line(made.inner, newest)
    assert (before, store.usage.get - before) == (2, again)


def test_who_looks_whether_it_is_there_reads_it() -> None:
    """A page that is lost is missed, whatever was read before."""
    store = ObstoreObjectStore("memory://")
    made = ManifestLine(store)
    made.grow(PAGE_VERSIONS + 1)
    newest = made.versions[-1]
    line(store, newest, at_hand=PagesAtHand())
    (page,) = newest.manifest.pages
    store.delete(keys.history_page(NAME, page.page_id))
    with pytest.raises(Damaged):
        line(store, newest)


def test_another_page_of_the_same_numbers_is_read() -> None:
    """Numbers are used again after a lost manifest, and another vault has the same ones."""
    pages = PagesAtHand()
    for hours in (0, 1):
        made = ManifestLine()
        made.clock.sleep(hours * 3600)
        made.grow(PAGE_VERSIONS + 1)
        newest = made.versions[-1]
        assert line(made.inner, newest, at_hand=pages) == line(made.inner, newest)


def test_a_compactor_reads_each_page_once(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many versions it makes."""
    monkeypatch.setattr(history, "PAGE_VERSIONS", 2)
    store = Noting(vault.parts.store)
    vault.parts = replace(vault.parts, store=store)
    for number in range(9):
        vault.write({"lines": upserts(record("a", number))})
        vault.compact(["lines"])
    assert len(store.pages) == len(set(store.pages)) >= 3
    assert vault.version("lines").manifest.number == 9
