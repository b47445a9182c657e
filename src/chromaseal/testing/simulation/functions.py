"""The functions of AWS in a simulation: what handlers do with records and messages, without boto3.

Invocations overlap as they do there: a message that is not deleted in time comes again while its
first invocation is still at work; what was frozen goes on beside the next one of its machine.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from chromaseal.clock import to_iso
from chromaseal.delta.model import Changes, Delta, DeltaHeader, upserts_of
from chromaseal.errors import ChromasealError, Damaged, RefusedInput
from chromaseal.fleet.turn import Terms
from chromaseal.legacy import keys as legacy_keys
from chromaseal.legacy.bucket import LegacyBucket
from chromaseal.settle import put_once
from chromaseal.snapshot.kept import directory_in, newer_in
from chromaseal.stream.adopting import message_adopter
from chromaseal.stream.announcing import announce, store_aside
from chromaseal.stream.batch import work_off
from chromaseal.stream.changes import is_change
from chromaseal.stream.labels import WordLabel
from chromaseal.stream.messages import Message, read
from chromaseal.stream.reminder import remind
from chromaseal.stream.rounds import do_works, for_each
from chromaseal.stream.table import LINES, WORDS
from chromaseal.stream.translation import TableChange, messages_of
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.actors import (
    GIVEN_UP,
    LEASE_S,
    RECORDS,
    Process,
    any_record,
)
from chromaseal.testing.simulation.cloud import Held, run_of
from chromaseal.testing.simulation.dictionary import FOREIGN_DELTA

_ODD = 0.1
_TIMEOUT_S = 60.0
_WORN = 0.05
# Longer than anybody's clock is wrong, a lease lasts, or a message is hidden.
_QUIET_S = 1_000.0
_ROUNDS = 200


def table(here: Process) -> None:
    """Let lines and words go from the table of receipts, of collections that there are.

    Now and then something is written that nobody can understand.
    """
    while here.goes_on():
        here.rest(4.0)
        there = {name for names in here.truth.acknowledged.values() for name in names}
        known = sorted(there & set(here.collections))
        if here.chance.random() < _ODD:
            here.cloud.put_odd()
        elif known:
            here.cloud.remove(here.chance.choice(known), here.chance.randrange(RECORDS))


def producer(here: Process) -> None:
    """Leave deltas in a bucket, and runs in the table, as the existing programs do."""
    number = 0
    while here.goes_on():
        number += 1
        with here.trying():
            _produce(here, f"{here.name}-{here.life}-{number}")
        here.rest(6.0)


def _produce(here: Process, run_id: str) -> None:
    name, chance = here.one_collection(), here.chance
    ids = [here.cloud.naming(name)(n) for n in chance.sample(range(RECORDS), chance.randint(1, 3))]
    records = [any_record(chance, each) for each in ids]
    here.truth.asks(run_id, {name: Changes(upserts=records)})
    delta = Delta(DeltaHeader("", name, "", None), upserts_of(records), {}, ())
    prefix = f"{legacy_keys.deltas(name)}{run_id}/{0:032x}/"
    body = here.vault.parts.codec.encode(delta)
    put_once(here.cloud.foreign, f"{prefix}{FOREIGN_DELTA}", body)
    states = {f"{each}_state": "COMPLETED" for each in (LINES, WORDS)}
    here.cloud.put_foreign(
        {
            "PK": "IMAGE#1",
            "SK": f"RECEIPT#00001#COMPACTION_RUN#{run_id}",
            "TYPE": "COMPACTION_RUN",
            "run_id": run_id,
            "created_at": to_iso(here.clock.now()),
            **states,
            f"{name}_state": "PENDING",
            f"{name}_delta_prefix": prefix,
        }
    )


def teller(here: Process) -> None:
    """Tell the queues of the stream's records; what was not told is delivered again."""
    while here.goes_on():
        with here.trying():
            tell(here)
        here.rest(0.5)


def tell(here: Process) -> None:
    """Tell the queues of the next records, with what ``on_run_changed`` consists of."""
    start, records = here.cloud.read()
    by_number = {each.sequence_number: each for each in records}

    def put_aside(number: str, error: RefusedInput) -> None:
        store_aside(here.vault.parts.store, number, asdict(by_number[number]), error)

    done = announce(
        {number: functools.partial(_itself, each) for number, each in by_number.items()},
        here.collections,
        here.cloud.send,
        put_aside,
    )
    for error in done.left.values():
        here.truth.told(here.name, error)
    # What comes after the first that is left is delivered again with it.
    told = list(itertools.takewhile(lambda each: each.sequence_number not in done.left, records))
    for change in told:
        _passed_by(here, change)
    here.cloud.told(start + len(told))


def _itself(change: TableChange) -> TableChange:
    return change


def _passed_by(here: Process, change: TableChange) -> None:
    if change.sequence_number in here.cloud.odd:
        here.truth.passes_by(change.sequence_number)
        return
    for message in messages_of(change):
        run_id = run_of(message)
        is_written_here = is_change(message) or run_id.startswith("producer")
        if is_written_here and message.collection in here.truth.wanted.get(run_id, ()):
            here.truth.promises(run_id)


def function(here: Process) -> None:
    """Work messages off, one batch after the other, with what earlier invocations have kept."""
    while here.goes_on():
        with here.trying():
            invoke(here, here.one_collection())
        here.rest(1.0)


def invoke(here: Process, collection: str) -> None:
    """Work off one batch of a queue, as ``on_runs_waiting`` does; then what is done is deleted."""
    batch = here.cloud.receive(collection)
    if not batch:
        return
    here.truth.seen["invocation"] += 1
    here.cloud.thaw(here.machine)
    if not here.cloud.busy[here.machine]:
        _wear(here, collection)
    ids = [each.message_id for each in batch]
    here.cloud.busy[here.machine] += 1
    here.cloud.at_work.update(ids)
    try:
        left = _work_off(here, batch)
    finally:
        here.cloud.busy[here.machine] -= 1
        here.cloud.at_work.subtract(ids)
    for each in batch:
        if each.message_id not in left:
            here.cloud.settle(collection, each.message_id)


def _work_off(here: Process, batch: Sequence[Held]) -> set[str]:
    """Give the messages that are to be delivered again."""
    messages = {each.message_id: read(each.body, each.attributes) for each in batch}
    end_s = here.clock.monotonic_s() + _TIMEOUT_S

    def is_over() -> bool:
        here.beat()
        late = here.clock.monotonic_s() > end_s
        return here.goes_on() and (late or here.chance.random() < GIVEN_UP)

    owner = f"{here.name}-{here.life}-{here.truth.seen['invocation']}"
    terms = Terms(owner, LEASE_S, left_s=lambda: end_s - here.clock.monotonic_s())
    bucket = LegacyBucket(here.cloud.foreign)
    adopt = message_adopter(here.vault.parts, bucket, here.cloud.run_of, lambda _: None)
    done = work_off(here.vault, messages, terms, labels_of=_no_labels, adopt=adopt, is_over=is_over)
    here.truth.races += sum(each.lost_races for each in done.done)
    here.truth.seen["portion"] += len(done.done) > len({each.collection for each in done.done})
    for error in done.left.values():
        here.truth.told(here.name, error)
    for message_id in sorted(messages.keys() - done.left.keys()):
        _check_answer(here, messages[message_id])
    return set(done.left)


def _check_answer(here: Process, message: Message) -> None:
    run_id, name = run_of(message), message.collection
    is_done = run_id in here.truth.line(name).merged or (run_id, name) in here.cloud.rested
    here.truth.check(invariants.an_answered_message_is_done, run_id, name, is_done=is_done)


def _no_labels(image_id: str, receipt_id: int) -> Sequence[WordLabel]:
    del image_id, receipt_id
    return ()


def _wear(here: Process, collection: str) -> None:
    """Change a byte of what was kept here, now and then: nobody else's hands are off a disk."""
    if here.chance.random() >= _WORN:
        return
    folder = here.vault.parts.checkouts.folder(collection)
    kept = sorted(path for path in folder.glob("*") if directory_in(path).is_dir())
    files = [
        path
        for each in kept
        for path in (*sorted(directory_in(each).rglob("*")), newer_in(each))
        if path.is_file() and path.stat().st_size
    ]
    if not files:
        return
    here.truth.seen["worn copy"] += 1
    path = here.chance.choice(files)
    at = here.chance.randrange(path.stat().st_size)
    with path.open("r+b", buffering=0) as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))
    at_ns = int(here.clock.now().timestamp() * 1e9)
    os.utime(path, ns=(at_ns, at_ns))


def schedule(here: Process) -> None:
    """Keep the vault in order, one work in each invocation, as the template's rule asks for it."""
    while here.goes_on():
        here.rest(10.0)
        with here.trying():
            keep_in_order(here, here.chance.choice(sorted(_WORKS)))


def keep_in_order(here: Process, work: str) -> None:
    """Do one work of ``on_schedule``, with what that consists of.

    Raises:
        Incomplete: ``upkeep-failed``.
    """

    def is_over() -> bool:
        return here.goes_on() and here.chance.random() < GIVEN_UP

    def tell_error(_: str, error: ChromasealError) -> None:
        here.truth.told(here.name, error)

    def each() -> None:
        for_each(
            here.collections,
            work,
            functools.partial(_WORKS[work], here),
            now=here.clock.now(),
            is_over=is_over,
            tell=tell_error,
        )

    do_works({work: each}, is_over, tell_error)


def _remind(here: Process, name: str) -> None:
    here.truth.seen["reminder"] += remind(here.vault.parts, name, here.cloud.send)


def _verify(here: Process, name: str) -> None:
    if not here.vault.has_version(name):
        return
    bad = [finding.evidence for finding in here.vault.verify(name).failed]
    here.truth.seen["verified"] += 1
    if bad:
        raise Damaged(f"{name}: {bad}", kind="unsound")


def _gc(here: Process, name: str) -> None:
    here.vault.gc(name, here.policy)
    here.truth.seen["collected"] += 1


_WORKS: Mapping[str, Callable[[Process, str], None]] = {
    "remind": _remind,
    "verify": _verify,
    "gc": _gc,
}


def settle_all(here: Process) -> None:
    """Let stream, queues and schedule come to rest without a fault; nothing may wait any more.

    Raises:
        Broken: an invariant does not hold.
    """
    for _ in range(2):
        _drain(here)
        here.clock.sleep(_QUIET_S)
        with here.trying():
            keep_in_order(here, "remind")
    _drain(here)
    for name in here.collections:
        waiting = [run.run_id for run in here.vault.parts.ledger.waiting(name)]
        invariants.nothing_waits_untold(name, waiting)


def _drain(here: Process) -> None:
    rounds = 0
    while not here.cloud.is_empty:
        rounds += 1
        invariants.it_comes_to_rest(rounds, _ROUNDS)
        here.clock.sleep(LEASE_S)
        with here.trying():
            tell(here)
        for name in here.collections:
            with here.trying():
                invoke(here, name)


SCRIPTS: Mapping[str, Callable[[Process], None]] = {
    "producer": producer,
    "table": table,
    "teller": teller,
    "function": function,
    "schedule": schedule,
}
