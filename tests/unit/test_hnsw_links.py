"""Links of an HNSW index: walked without a loop over elements, checked one by one."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.adapters.chroma.hnsw_links import (
    GroundLinks,
    LinkLists,
    reachable,
    read_ground_links,
    read_link_lists,
)

MAX_M = 3


def link_lists(levels: list[int], link: int | None = None) -> bytes:
    """Write a file in which every list above level 0 leads to one element."""
    lists = b""
    for level in levels:
        row = struct.pack("<I3I", 0 if link is None else 1, link or 0, 0, 0)
        lists += struct.pack("<I", level * len(row)) + row * level
    return lists


def walked(content: bytes, elements: int) -> LinkLists:
    """Walk a chain the slow way, one element after the other."""
    levels, place = np.zeros(elements, np.int64), 0
    for element in range(elements):
        if place + 4 > len(content):
            return LinkLists(-1, levels, ok=False)
        (length,) = struct.unpack_from("<I", content, place)
        place += 4 + length
        if length % (4 * MAX_M + 4) or place > len(content):
            return LinkLists(-1, levels, ok=False)
        levels[element] = length // (4 * MAX_M + 4)
    return LinkLists(place, levels, ok=True)


@given(
    levels=st.lists(st.integers(0, 3), max_size=30), cut=st.integers(0, 12), more=st.integers(0, 3)
)
def test_a_chain_is_walked_as_if_element_by_element(levels: list[int], cut: int, more: int) -> None:
    """End and levels are those of the slow walk, also where the file is cut or too long."""
    content = link_lists(levels)
    content = content[: len(content) - 4 * cut] if cut else content + b"\0\0\0\0" * more
    found, wanted = read_link_lists(content, len(levels), MAX_M), walked(content, len(levels))
    assert found.end == wanted.end
    if wanted.end >= 0:
        assert np.array_equal(found.levels, wanted.levels)
        assert found.ok


def test_a_length_that_no_level_has_breaks_the_chain() -> None:
    """A flipped bit in a length is no longer a number of whole lists."""
    content = bytearray(link_lists([0, 1, 0]))
    content[4] ^= 2
    assert read_link_lists(bytes(content), 3, MAX_M).end == -1


def test_lists_above_the_ground_lead_to_elements_of_their_level() -> None:
    """Not to elements that do not exist, that stand lower, or to themselves."""
    assert read_link_lists(
        link_lists([1, 1], link=1)[: 4 + 16] + link_lists([1], link=0), 2, MAX_M
    ).ok
    assert not read_link_lists(link_lists([1, 1], link=2), 2, MAX_M).ok
    assert not read_link_lists(link_lists([1, 1], link=1), 2, MAX_M).ok
    assert not read_link_lists(link_lists([0, 1], link=0), 2, MAX_M).ok


def test_ground_links_lead_to_other_elements() -> None:
    """A link to nowhere, to itself, or a list that is too long is found."""
    links = np.array([[1, 2], [0, 9], [0, 1]], np.uint32)
    counts = np.array([2, 1, 2], np.uint16)
    assert read_ground_links(links, counts) == GroundLinks(ok=True)
    nowhere = np.array([2, 2, 2], np.uint16)
    assert not read_ground_links(links, nowhere).ok, "there is no element 9"
    assert not read_ground_links(links, np.array([2, 1, 3], np.uint16)).ok
    itself = np.array([[0], [0]], np.uint32)
    assert not read_ground_links(itself, np.array([1, 1], np.uint16)).ok


def test_a_list_names_an_element_twice_at_most() -> None:
    """As threads of hnswlib leave it behind, in any place of the list; never thrice."""
    links = np.array([[1, 2, 1, 2], [0, 2, 0, 0], [0, 1, 0, 0]], np.uint32)
    counts = np.array([4, 3, 2], np.uint16)
    assert read_ground_links(links, counts) == GroundLinks(ok=True, doubled=3)
    assert not read_ground_links(links, np.array([4, 4, 2], np.uint16)).ok


def test_an_element_without_links_is_damaged_if_others_lead_to_it() -> None:
    """Links are made both ways; hnswlib itself leaves elements with none of either sort."""
    links = np.array([[1, 0], [0, 0], [0, 0]], np.uint32)
    found = read_ground_links(links, np.array([1, 1, 0], np.uint16))
    assert found == GroundLinks(ok=True, alone=1)
    found = read_ground_links(links, np.array([1, 0, 0], np.uint16))
    assert found == GroundLinks(ok=True, emptied=1, alone=1)
    found = read_ground_links(links, np.zeros(3, np.uint16))
    assert found == GroundLinks(ok=True, emptied=3), "the first two always meet"
    assert read_ground_links(links[:1], np.zeros(1, np.uint16)) == GroundLinks(ok=True)


def test_what_no_link_leads_to_is_not_reached() -> None:
    """Following links in their direction only."""
    links = np.array([[1, 0], [2, 0], [0, 0], [0, 1]], np.uint32)
    counts = np.array([1, 1, 1, 2], np.uint16)
    assert reachable(links, counts, 0).tolist() == [True, True, True, False]
    assert reachable(links, counts, 3).all()
    assert reachable(links[:0], counts[:0], 0).tolist() == []
