"""The functions of AWS in a simulation: what handlers do with records and messages, without boto3.

Invocations overlap as they do there: a message that is not deleted in time comes again while its
first invocation is still at work; what was frozen goes on beside the next one of its machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from chromaseal.fleet.turn import Terms
from chromaseal.snapshot.kept import directory_in, newer_in
from chromaseal.stream.batch import work_off
from chromaseal.stream.changes import is_change, run_id_of
from chromaseal.stream.labels import WordLabel
from chromaseal.stream.messages import Message, read
from chromaseal.stream.reminder import reminder_of
from chromaseal.stream.translation import messages_of
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.actors import GIVEN_UP, LEASE_S, RECORDS, Process
from chromaseal.testing.simulation.cloud import Held, run_of

_TIMEOUT_S = 60.0
_WORN = 0.05
# Longer than anybody's clock is wrong, a lease lasts, or a message is hidden.
_QUIET_S = 1_000.0
_ROUNDS = 200


def table(here: Process) -> None:
    """Let lines and words go from the table of receipts, of collections that there are."""
    while here.goes_on():
        here.rest(4.0)
        there = {name for names in here.truth.acknowledged.values() for name in names}
        known = sorted(there & set(here.collections))
        if known:
            here.cloud.remove(here.chance.choice(known), here.chance.randrange(RECORDS))


def teller(here: Process) -> None:
    """Tell the queues of the stream's records; what was not told is delivered again."""
    while here.goes_on():
        with here.trying():
            tell(here)
        here.rest(0.5)


def tell(here: Process) -> None:
    """Tell the queues of the next records, as ``on_run_changed`` does."""
    start, records = here.cloud.read()
    for place, change in enumerate(records):
        for message in messages_of(change):
            here.cloud.send(message)
            if is_change(message):
                here.truth.promises(run_id_of(message))
        here.cloud.told(start + place + 1)


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
    terms = Terms(owner, LEASE_S)
    done = work_off(here.vault, messages, terms, labels_of=_no_labels, is_over=is_over)
    here.truth.races += sum(each.lost_races for each in done.done)
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
    """Tell again of what waits for long, as ``on_schedule`` does."""
    while here.goes_on():
        here.rest(15.0)
        with here.trying():
            remind(here)


def remind(here: Process) -> None:
    """Tell the queues of collections whose oldest run should have been taken long ago."""
    for name in here.collections:
        for run in here.vault.parts.ledger.waiting(name, limit=1):
            reminder = reminder_of(run, name, now=here.clock.now())
            if reminder is not None:
                here.truth.seen["reminder"] += 1
                here.cloud.send(reminder)


def settle_all(here: Process) -> None:
    """Let stream, queues and schedule come to rest without a fault; nothing may wait any more.

    Raises:
        Broken: an invariant does not hold.
    """
    for _ in range(2):
        _drain(here)
        here.clock.sleep(_QUIET_S)
        with here.trying():
            remind(here)
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
    "table": table,
    "teller": teller,
    "function": function,
    "schedule": schedule,
}
