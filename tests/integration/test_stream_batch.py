"""Messages at a real vault: what becomes of the records, and which messages are given back."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from chromaseal.adapters.linux.process_name import own_name
from chromaseal.compaction.portion import needed_bytes
from chromaseal.delta.model import Changes
from chromaseal.errors import Interrupted
from chromaseal.fleet.turn import Terms
from chromaseal.ids import SystemIds
from chromaseal.record import Metadata
from chromaseal.run.model import RunState
from chromaseal.stream.batch import Batch, work_off
from chromaseal.stream.changes import run_id_of
from chromaseal.stream.labels import WordLabel
from chromaseal.stream.messages import FieldChange, Message
from chromaseal.stream.table import EntityType
from chromaseal.testing.records import record
from chromaseal.vault import Vault

IMAGE = "0f5e8d5c-0c4f-4f0e-9d7d-0a7d3f0f6c11"
ROW = f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00002"
OTHER = f"IMAGE#{IMAGE}#RECEIPT#00002#LINE#00001"
# Nothing is later than now.
LATER = "9999-01-01T00:00:00+00:00"


def terms() -> Terms:
    """Give terms of this process."""
    return Terms(own_name(SystemIds()), 60.0)


def no_labels(image_id: str, receipt_id: int) -> Sequence[WordLabel]:
    """Know of none."""
    del image_id, receipt_id
    return ()


def write(vault: Vault, run_id: str, record_id: str, receipt_id: int) -> None:
    """Write a row of a receipt."""
    row = record(record_id, image_id=IMAGE, receipt_id=receipt_id, row_line_ids="[2, 3]")
    attributes = {"image_id": IMAGE, "receipt_id": str(receipt_id)}
    vault.write({"lines": Changes(upserts=[row])}, run_id=run_id, attributes=attributes)


def told(entity_type: EntityType, number: int, event_name: str = "MODIFY", **ids: int) -> Message:
    """Give a message about receipt 1."""
    data = {"image_id": IMAGE, "receipt_id": 1, **ids}
    return Message(
        "lines",
        entity_type,
        event_name,
        data,
        LATER,
        f"event-{number}",
        sequence_number=str(number),
    )


def named(number: int, name: str) -> Message:
    """Give a message that the receipt's merchant is now called otherwise."""
    changes = {"merchant_name": FieldChange(None, name)}
    return replace(told(EntityType.RECEIPT_PLACE, number), changes=changes)


def about(run_id: str) -> Message:
    """Give the message of a run."""
    return Message("lines", EntityType.COMPACTION_RUN, "INSERT", {"run_id": run_id}, LATER, run_id)


def metadata_of(vault: Vault) -> dict[str, Metadata]:
    """Give what the newest version says of each record."""
    with vault.reader("lines") as reader:
        return {each.id: each.metadata for each in reader.records()}


def test_a_change_meets_records_of_versions_and_of_runs_that_wait(vault: Vault) -> None:
    """And those of its receipt only; a second delivery makes no second version."""
    write(vault, "a", ROW, 1)
    write(vault, "b", OTHER, 2)
    vault.compact(["lines"])
    later = ROW.replace("LINE#00002", "LINE#00007")
    write(vault, "c", later, 1)
    message = named(1, "New")
    batch = work_off(vault, {"m": message}, terms(), labels_of=no_labels)
    assert (dict(batch.left), batch.written) == ({}, 1)
    found = metadata_of(vault)
    assert [found[ROW]["merchant_name"], found[later]["merchant_name"]] == ["New", "New"]
    assert "merchant_name" not in found[OTHER]
    again = work_off(vault, {"m": message}, terms(), labels_of=no_labels)
    assert (dict(again.left), again.written) == ({}, 0)
    assert vault.version("lines").manifest.number == 2


def test_the_later_of_two_changes_wins_in_whatever_order_they_come(vault: Vault) -> None:
    """Delivered the wrong way round, and in batches of their own."""
    write(vault, "a", ROW, 1)
    soon = (vault.parts.clock.now() + dt.timedelta(seconds=1)).isoformat()
    second = replace(named(2, "Second"), timestamp=soon)
    work_off(vault, {"2": second}, terms(), labels_of=no_labels)
    first = replace(named(1, "First"), timestamp=soon)
    assert not work_off(vault, {"1": first}, terms(), labels_of=no_labels).left
    assert metadata_of(vault)[ROW]["merchant_name"] == "Second"


def test_a_label_comes_into_its_row(vault: Vault) -> None:
    """As the table has all labels of the row by now."""
    write(vault, "a", ROW, 1)
    labels = [WordLabel(3, 1, "TAX", "VALID", "2026-01-01", "", None)]
    message = told(EntityType.RECEIPT_WORD_LABEL, 1, line_id=3, word_id=1)
    assert not work_off(vault, {"m": message}, terms(), labels_of=lambda *_: labels).left
    assert metadata_of(vault)[ROW]["valid_labels_array"] == ["TAX"]


def test_a_receipt_that_is_removed_has_no_records(vault: Vault) -> None:
    """The other receipt of its image keeps them."""
    write(vault, "a", ROW, 1)
    write(vault, "b", OTHER, 2)
    message = told(EntityType.RECEIPT, 1, "REMOVE")
    assert not work_off(vault, {"m": message}, terms(), labels_of=no_labels).left
    assert list(metadata_of(vault)) == [OTHER]


def test_a_change_of_nothing_is_done(vault: Vault) -> None:
    """Where there is no collection, or no record of the receipt."""
    label = told(EntityType.RECEIPT_LINE, 1, "REMOVE", line_id=9)
    messages = {"place": named(1, "New"), "line": label}
    assert not work_off(vault, messages, terms(), labels_of=no_labels).left
    write(vault, "b", OTHER, 2)
    assert not work_off(vault, {"m": named(1, "New")}, terms(), labels_of=no_labels).left
    assert vault.parts.ledger.get(run_id_of(named(1, "New"))) is None


def test_messages_are_given_back_one_by_one(vault: Vault) -> None:
    """Those of runs that nobody knows; the others are done."""
    write(vault, "a", ROW, 1)
    messages = {"known": about("a"), "unknown": about("b")}
    batch = work_off(vault, messages, terms(), labels_of=no_labels)
    assert {key: error.kind for key, error in batch.left.items()} == {"unknown": "foreign-run"}
    assert batch.done[0].merged == ("a",)


def test_a_message_is_given_back_while_another_process_compacts(vault: Vault) -> None:
    """Its run waits, and the next delivery finds it done or does it."""
    write(vault, "a", ROW, 1)
    lease = vault.parts.leases.acquire("lines", "somebody", duration_s=60)
    assert lease is not None
    batch = work_off(vault, {"m": about("a")}, terms(), labels_of=no_labels)
    assert batch.left["m"].kind == "leased"
    vault.parts.leases.release(lease)
    assert not work_off(vault, {"m": about("a")}, terms(), labels_of=no_labels).left


def test_a_message_that_cannot_be_handled_stops_no_other(vault: Vault) -> None:
    """Items of the table are other programs': a label's confidence may be a word."""

    def odd(image_id: str, receipt_id: int) -> Sequence[WordLabel]:
        raise ValueError(f"{image_id} {receipt_id}: could not convert string to float: 'high'")

    write(vault, "a", ROW, 1)
    label = told(EntityType.RECEIPT_WORD_LABEL, 1, line_id=2, word_id=1)
    batch = work_off(vault, {"odd": label, "run": about("a")}, terms(), labels_of=odd)
    assert {key: error.kind for key, error in batch.left.items()} == {"odd": "bad-message"}
    assert batch.done[0].merged == ("a",)


def test_who_compacts_takes_what_came_meanwhile(vault: Vault) -> None:
    """Whoever told of that was refused, and would come again after a quarter of an hour only."""
    write(vault, "a", ROW, 1)

    def come() -> bool:
        if vault.parts.ledger.get("a").parts["lines"].state is RunState.MERGING:  # type: ignore[union-attr]
            write(vault, "b", ROW, 1)
        return False

    batch = work_off(vault, {"m": about("a")}, terms(), labels_of=no_labels, is_over=come)
    assert [done.merged for done in batch.done] == [("a",), ("b",)]
    assert not batch.left


def oldest_first(vault: Vault, count: int) -> list[str]:
    """Let many runs wait, which all change one record."""
    names = [f"run-{number:02d}" for number in range(count)]
    for name in names:
        row = record(ROW, image_id=IMAGE, receipt_id=1, last=name)
        vault.write({"lines": Changes(upserts=[row])}, run_id=name)
    return names


def room_for(vault: Vault, count: int) -> int:
    """Give the bytes that so many of the waiting runs need, and not one more."""
    version = vault.version("lines") if vault.has_version("lines") else None
    runs = vault.parts.ledger.waiting("lines")[:count]
    deltas = sum(run.parts["lines"].size_bytes for run in runs)
    return needed_bytes(version.manifest.size_bytes if version else 0, deltas)


def test_a_backlog_that_the_disk_has_no_room_for_is_worked_off_in_parts(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, each once, and all of them within an invocation that has time for it."""
    names = oldest_first(vault, 40)
    monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: room_for(vault, 10))
    messages = {name: about(name) for name in names}
    batch = work_off(vault, messages, terms(), labels_of=no_labels)
    assert not batch.left
    merged = [done.merged for done in batch.done]
    assert len(merged) >= 4
    assert [name for each in merged for name in each] == names
    assert all(vault.run(name).parts["lines"].attempts == 1 for name in names)
    assert metadata_of(vault)[ROW]["last"] == names[-1]


def test_what_there_was_no_time_for_is_left_to_the_next_messages(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 runs, room for 10, time for one version: at least four invocations, whoever tells.

    One message is all that is left of those of the 40 runs.
    """
    monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: room_for(vault, 10))
    names = oldest_first(vault, 40)
    merged: list[str] = []
    waits = names
    batch, invocations = Batch({"m": Interrupted("nothing was begun")}), 0
    while batch.left:
        invocations += 1
        assert batch.left["m"].kind == "interrupted"
        # Whatever was done first took longer than what is left.
        narrow = replace(terms(), left_s=_little_left())
        batch = work_off(vault, {"m": about(names[0])}, narrow, labels_of=no_labels)
        merged += [name for done in batch.done for name in done.merged]
        waits = [run.run_id for run in vault.parts.ledger.waiting("lines")]
        assert merged + waits == names
    assert not waits
    assert invocations >= 4
    assert metadata_of(vault)[ROW]["last"] == names[-1]


def _little_left() -> Callable[[], float]:
    """Tell of plenty of time once, and of none after that."""
    left_s = iter([900.0])
    return lambda: next(left_s, -1.0)


def test_a_merge_that_takes_too_long_is_tried_with_less(vault: Vault) -> None:
    """Each invocation that ends before the commit has the next one begin with half as much."""
    names = oldest_first(vault, 8)
    begun: list[int] = []

    def too_many() -> bool:
        parts = [vault.run(name).parts["lines"] for name in names]
        merging = sum(part.state is RunState.MERGING for part in parts)
        begun.append(merging)
        return merging > 2

    timely = replace(terms(), left_s=lambda: 900.0)
    batch = Batch()
    for _ in range(3):
        batch = work_off(
            vault, {"m": about(names[-1])}, timely, labels_of=no_labels, is_over=too_many
        )
    assert not batch.left
    assert list(dict.fromkeys(filter(None, begun))) == [8, 4, 2, 1]
    assert [name for done in batch.done for name in done.merged] == names


def _ran_out(times: Iterator[int], most: int) -> bool:
    return next(times) >= most


def test_too_little_time_ends_it_before_the_commit(vault: Vault) -> None:
    """At whichever step it runs out: messages come back, runs wait, the lease is free."""
    write(vault, "a", ROW, 1)
    messages = {"run": about("a"), "place": named(1, "New")}

    def with_time_for(looks: int) -> Batch:
        is_over = functools.partial(_ran_out, itertools.count(), looks)
        return work_off(vault, messages, terms(), labels_of=no_labels, is_over=is_over)

    asked = 0
    while (batch := with_time_for(asked)).left:
        assert {error.kind for error in batch.left.values()} == {"interrupted"}
        assert not vault.has_version("lines")
        assert vault.run("a").parts["lines"].state is RunState.PENDING
        assert vault.parts.leases.holder("lines") is None
        asked += 1
    # Read, check out, merge, seal, verify, store and commit, each with a look at the clock.
    assert asked >= 8
    assert [done.merged for done in batch.done] != []
    assert metadata_of(vault)[ROW]["merchant_name"] == "New"
