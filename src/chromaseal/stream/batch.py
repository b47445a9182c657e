"""A batch of messages -> deltas of their own, a version of each collection, and what is left.

A message is done when a version has what it tells of, or when somebody has taken that off the
list. Any other is given back. Who dies on any line leaves runs that wait in the ledger and messages
that come again; both find what is done already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chromaseal.compaction.outcome import Compaction
from chromaseal.errors import ChromasealError, Conflict, Interrupted, NotFound, RefusedInput
from chromaseal.fleet.turn import IsOver, Terms, Turns, compact_in_turn, holder_of
from chromaseal.run.lease import Lease
from chromaseal.run.model import ADOPTED_FROM, WAITING_STATES
from chromaseal.stream.changes import (
    Known,
    attributes_of_run,
    changed_at,
    changes_of,
    is_change,
    needs_labels,
    run_id_of,
)
from chromaseal.stream.known_records import KnownRecords
from chromaseal.stream.labels import WordLabel
from chromaseal.stream.messages import Message
from chromaseal.stream.table import WORDS
from chromaseal.telemetry.emit import step
from chromaseal.vault import Vault
from chromaseal.writing import Writing

LabelsOf = Callable[[str, int], Sequence[WordLabel]]
# Takes over the run that a message tells of and that another program wrote; False where nothing of
# it waits for the message's collection.
Adopt = Callable[[Message], bool]


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some messages.

    Attributes:
        left: why, by the message's id, for those that are to be delivered again.
        done: what was compacted.
        written: how many deltas of their own messages became.
    """

    left: Mapping[str, ChromasealError] = field(default_factory=dict)
    done: tuple[Compaction, ...] = ()
    written: int = 0


def work_off(
    vault: Vault,
    messages: Mapping[str, Message],
    terms: Terms,
    *,
    labels_of: LabelsOf,
    adopt: Adopt | None = None,
    is_over: IsOver = lambda: False,
) -> Batch:
    """Make durable what messages ask for, and bring all that waits into versions.

    Args:
        vault: where to.
        messages: by an id each.
        terms: on which turns are taken.
        labels_of: gives the labels of a receipt's words, by image and receipt.
        adopt: takes over runs that other programs wrote; None where they are not to be.
        is_over: asked between steps and as they go on; True gives messages back before the commit.
    """
    left: dict[str, ChromasealError] = {}
    runs: dict[str, tuple[str, Message]] = {}
    written = 0
    with KnownRecords(vault) as records:
        for message_id, message in messages.items():
            try:
                if not is_change(message):
                    run_id, is_new = _known_or_adopted(vault, message, adopt, is_over), False
                else:
                    run_id, is_new = _written(vault, message, records, labels_of, is_over)
            except ChromasealError as error:
                left[message_id] = error
                continue
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                # Items of the table are other programs': one that is odd stops no other message.
                left[message_id] = _not_understood(error)
                continue
            written += is_new
            if run_id:
                runs[message_id] = (run_id, message)
    collections = sorted({message.collection for _, message in runs.values()})
    turns, errors = _compacted(vault, collections, terms, is_over)
    finished = {run_id for done in turns.done for run_id in (*done.merged, *done.contained)}
    for message_id, (run_id, message) in runs.items():
        if run_id in finished:
            continue
        try:
            why = _why_left(vault, run_id, message, turns.left, errors)
        except ChromasealError as error:
            why = error
        if why is not None:
            left[message_id] = why
    left |= _told_again(vault, runs, left, turns, errors)
    return Batch(left, turns.done, written)


def _known_or_adopted(vault: Vault, message: Message, adopt: Adopt | None, is_over: IsOver) -> str:
    """Give the run that a message tells of; empty where another program has merged it."""
    if adopt is None or vault.parts.ledger.get(message.run_id) is not None:
        return message.run_id
    if is_over():
        raise _too_late()
    return message.run_id if adopt(message) else ""


def _too_late() -> Interrupted:
    return Interrupted("too little time was left to begin with it", hint="it is delivered again")


def _written(
    vault: Vault,
    message: Message,
    records: KnownRecords,
    labels_of: LabelsOf,
    is_over: IsOver,
) -> tuple[str, bool]:
    """Give the run that a change is about, made if need be; empty for none. And if it is new."""
    run_id = run_id_of(message)
    if vault.parts.ledger.get(run_id) is not None:
        return run_id, False
    if is_over():
        raise _too_late()
    known = _known(message, records, labels_of)
    changes = changes_of(message, known)
    if not changes.updates and not changes.deletes:
        return "", False
    try:
        with step("write run") as told:
            told.note(run_id=run_id)
            written = Writing(vault.parts).write(
                {message.collection: changes},
                model=None,
                run_id=run_id,
                attributes=attributes_of_run(message),
                space="",
                # What was found out then is no worse than what is found out now.
                stored_wins=True,
                created_at=changed_at(message, now=vault.parts.clock.now()),
            )
    except NotFound as error:
        if error.kind != "no-collection":
            raise
        # Without a collection there is no record to change.
        return "", False
    return run_id, written.new


def _not_understood(error: Exception) -> RefusedInput:
    return RefusedInput(
        f"what a message tells of cannot be understood: {type(error).__name__}: {error}",
        kind="bad-message",
        hint="it goes to the dead-letter queue after a few deliveries",
    )


def _known(message: Message, records: KnownRecords, labels_of: LabelsOf) -> Known:
    image_id, receipt_id = _receipt(message)
    labels = labels_of(image_id, receipt_id) if needs_labels(message) else ()
    # The label of a word, or a word that goes, names its record.
    if _names_its_record(message):
        return Known({}, labels)
    return Known(records.of(message.collection, image_id, receipt_id), labels)


def _names_its_record(message: Message) -> bool:
    names_word = "word_id" in message.entity_data and message.collection == WORDS
    return names_word or ("line_id" in message.entity_data and not needs_labels(message))


def _receipt(message: Message) -> tuple[str, int]:
    return str(message.entity_data["image_id"]), int(message.entity_data["receipt_id"])


def _compacted(
    vault: Vault, collections: Sequence[str], terms: Terms, is_over: IsOver
) -> tuple[Turns, dict[str, ChromasealError]]:
    """Compact each collection that can be had, and give why for those that could not."""
    done: list[Compaction] = []
    left: dict[str, Lease | None] = {}
    errors: dict[str, ChromasealError] = {}
    for name in collections:
        try:
            for turns in _turns(vault, name, terms, is_over):
                done += turns.done
                left |= turns.left
        except ChromasealError as error:
            errors[name] = error
    return Turns(tuple(done), left), errors


def _turns(vault: Vault, name: str, terms: Terms, is_over: IsOver) -> Iterator[Turns]:
    """Compact until nothing waits, or there is no time: disk and time may have room for a part.

    Who told of what came meanwhile was refused the lease, and the queue hides such a message for
    twenty minutes. So it is looked again after the lease was given back: a run whose teller
    was refused is in the ledger by then.
    """
    clock = vault.parts.clock
    while True:
        begun_s = clock.monotonic_s()
        turns = compact_in_turn(vault, [name], terms, is_over=is_over)
        yield turns
        merged = any(done.merged for done in turns.done)
        if not merged or is_over() or not vault.parts.ledger.waiting(name, limit=1):
            return
        if terms.left_s is not None and terms.left_s() < clock.monotonic_s() - begun_s:
            # What takes as long would be ended before its commit.
            return


def _told_again(
    vault: Vault,
    runs: Mapping[str, tuple[str, Message]],
    left: Mapping[str, ChromasealError],
    turns: Turns,
    errors: Mapping[str, ChromasealError],
) -> dict[str, ChromasealError]:
    """Give one message back of each collection in which runs wait on that no message tells of.

    Their own messages may be lost, or done because of an earlier delivery. Another process that
    is at the collection sees to what waits there.
    """
    names = {message_id: message.collection for message_id, (_, message) in runs.items()}
    told = {name for message_id, name in names.items() if message_id in left}
    found: dict[str, ChromasealError] = {}
    for message_id, name in names.items():
        if name in told or name in turns.left:
            continue
        told.add(name)
        if vault.parts.ledger.waiting(name, limit=1):
            found[message_id] = errors.get(name) or Interrupted(
                f"runs of {name} wait on: there was no time for all of them",
                hint="a message is delivered again for them",
            )
    return found


def _why_left(
    vault: Vault,
    run_id: str,
    message: Message,
    leases: Mapping[str, Lease | None],
    errors: Mapping[str, ChromasealError],
) -> ChromasealError | None:
    """Say why a message is to be delivered again; None where nothing of it waits any more."""
    name = message.collection
    run = vault.parts.ledger.get(run_id)
    if run is not None and name not in run.parts and ADOPTED_FROM in run.attributes:
        # That part of it was merged by the program that wrote it, or is none of its.
        return None
    if run is None or name not in run.parts:
        return Conflict(
            f"the ledger has no run {run_id} for {name}: another program wrote it",
            kind="foreign-run",
            hint="with the LegacyBucketName of its deltas such runs are taken over as they come; "
            "chromaseal import --layout legacy takes over what waits",
        )
    if run.parts[name].state not in WAITING_STATES:
        return None
    if name in errors:
        return errors[name]
    if name in leases:
        return Conflict(holder_of(name, leases[name]), kind="leased", hint="it is delivered again")
    return Conflict(f"run {run_id} has begun to wait again", kind="leased", hint="deliver it again")
