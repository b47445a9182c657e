"""chromaseal worker: waits for runs and makes versions of them, until it is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import Annotated, TypeAlias, TypeVar

import typer

from chromaseal.clock import SystemClock
from chromaseal.compaction.outcome import Compaction
from chromaseal.composition.engine import settings_here
from chromaseal.composition.fleet import (
    LEASE_S,
    feeder,
    health_pages,
    open_inbox,
    sweeper,
    terms_here,
)
from chromaseal.composition.legacy import adopter, mirror_keeper
from chromaseal.entrypoints.cli.compact_cmd import plain_compaction
from chromaseal.entrypoints.cli.opening import open_when_there
from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, counted, in_short, seconds
from chromaseal.errors import Incomplete, Interrupted, NotFound, Unavailable
from chromaseal.fleet.journal import BEHIND_RUNS, Journal
from chromaseal.fleet.turn import Terms, compact_in_turn
from chromaseal.fleet.worker import Chore, Habits, Worker
from chromaseal.legacy.deltas import Adopted
from chromaseal.legacy.mirror import MirroredVault
from chromaseal.receipts.inbox import Inbox
from chromaseal.settings import Settings
from chromaseal.sweep.ledger import Swept
from chromaseal.vault import Vault

# A loop that has not come round for this long, and two rounds, is stuck.
_STUCK_S = 60.0
_Given = TypeVar("_Given")
_INBOX_S = 2.0
_ADOPT_S = 5.0
_MIRROR_S = 60.0


CollectionsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--collections",
        metavar="NAME",
        help="A collection; may be repeated. Default: all, those that come later too.",
    ),
]
InboxOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--ingest",
        metavar="INBOX",
        help="Take images from a folder or s3://bucket/prefix, and put them away below it, in "
        "done/ or, beside the reason, in refused/.",
    ),
]
JobsOption: TypeAlias = Annotated[
    int, typer.Option("--jobs", min=0, help="Pages read at once; 0 is one per processor.")
]
PortOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        help="Answer /healthz, /readyz and /metrics on this port; 0 is any that is free.",
    ),
]
HostOption: TypeAlias = Annotated[
    str, typer.Option("--host", help="The address that --port listens on.")
]
LeaseOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--lease-s",
        metavar="SECONDS",
        min=0.5,
        help="Seconds after which others take over from a dead worker.",
    ),
]
PollOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--poll-s",
        metavar="SECONDS",
        min=0.1,
        help="Seconds between looks if nothing is announced.",
    ),
]
GraceOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--grace-s",
        metavar="SECONDS",
        min=0,
        help="Seconds that a merge may go on once it is stopped.",
    ),
]
SweepOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--sweep-s",
        metavar="SECONDS",
        min=0,
        help="Seconds between sweeps, which find runs that no message announced; 0 for none.",
    ),
]
AdoptOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--adopt-from",
        metavar="URL",
        help="Merge what producers of the existing pipeline leave in this bucket, as runs that "
        "their DynamoDB table names; it has to be the ledger.",
    ),
]
BehindOption: TypeAlias = Annotated[
    int, typer.Option("--behind", min=1, help="Say so when more runs than this wait.")
]
OnceOption: TypeAlias = Annotated[
    bool, typer.Option("--once", help="End when nothing waits any more, for cron.")
]


def worker(
    collections: CollectionsOption = None,
    ingest: InboxOption = "",
    jobs: JobsOption = 0,
    port: PortOption = None,
    host: HostOption = "127.0.0.1",
    lease_s: LeaseOption = LEASE_S,
    poll_s: PollOption = 30.0,
    grace_s: GraceOption = 60.0,
    sweep_s: SweepOption = 600.0,
    adopt_from: AdoptOption = "",
    behind: BehindOption = BEHIND_RUNS,
    once: OnceOption = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Wait for runs and fold all that wait into one version, over and over; until Ctrl-C.

    Any number of workers share a vault: each collection is one worker's at a time, by a lease in
    the ledger. SIGTERM ends it as Ctrl-C does: what is under way is finished, or given back after
    --grace-s; a second signal ends it at once. Without --once it waits for a store that does not
    answer yet, up to half a minute between two looks, and gives up after some minutes.

    Example: [bold]chromaseal worker --ingest ./inbox --port 9464[/]
    """
    output, settings = Output.of(as_json=as_json), settings_here(vault=vault, ledger=ledger)
    habits, telling = Habits(poll_s=poll_s, grace_s=grace_s, once=once), _Telling(output, once=once)
    # Before a mistyped place becomes a vault.
    inbox = _patiently(output, lambda: _inbox(ingest), once=once)
    opening = partial(open_here, vault, ledger, create=inbox is not None, keep_open=not once)
    with ExitStack() as held:
        opened = held.enter_context(_patiently(output, opening, once=once))
        journal = Journal(opened.parts.clock, telling, behind_runs=behind)
        terms = terms_here(opened, lease_s=lease_s)
        chores = _legacy_chores(opened, settings, terms, journal, adopt_from)
        chores += [_sweep_chore(opened, terms, journal, sweep_s)] if sweep_s else []
        if inbox is not None:
            chores.append(_inbox_chore(opened, inbox, terms, journal, jobs=jobs, once=once))
        pool = held.enter_context(ThreadPoolExecutor(habits.at_once + len(chores)))
        work = Worker(
            opened,
            lambda name, is_over: compact_in_turn(opened, [name], terms, is_over=is_over),
            pool,
            journal,
            collections=collections or [],
            chores=chores,
            habits=habits,
        )
        # Whatever waits needs a child that has imported ChromaDB.
        opened.warm_up()
        with _stopped_by_signals(work), ExitStack() as answering:
            if port is not None:
                pages = _pages(host, port, journal, bound_s=_STUCK_S + 2 * poll_s)
                journal.say("listening", host=host, port=answering.enter_context(pages))
            journal.say("started", vault=opened.url, owner=terms.owner, pid=os.getpid())
            _work_on(opened, work, output, collections or [], once=once)
    _end(output, work, telling, once=once)


def _patiently(output: Output, ask: Callable[[], _Given], *, once: bool) -> _Given:
    """Wait for what does not answer yet; whoever calls for one pass comes again by itself."""
    return ask() if once else open_when_there(output, ask)


def _work_on(
    opened: Vault, work: Worker, output: Output, named: Sequence[str], *, once: bool
) -> None:
    if not once:
        _tell_absent(output, opened, named)
    work.run()
    if once and not work.failures:
        # An inbox may have begun them by now.
        opened.refuse_unknown(named)


def _tell_absent(output: Output, opened: Vault, named: Sequence[str]) -> None:
    """Say which collections nobody has begun: they may come, or be mistyped."""
    try:
        opened.refuse_unknown(named)
    except NotFound as error:
        output.note(f"{error.message} yet; {error.hint}; it is waited for")
    except Unavailable:
        # The worker's own looks tell of that.
        return


def _end(output: Output, work: Worker, telling: _Telling, *, once: bool) -> None:
    output.record("stopped")
    if once:
        _complain(work)
        if not telling.has_merged:
            output.say("nothing waited to be folded into a new version")
    output.say("stopped")


def _pages(
    host: str, port: int, journal: Journal, *, bound_s: float
) -> AbstractContextManager[int]:
    return health_pages(host, port, lambda: journal.standing, SystemClock(), bound_s=bound_s)


def _inbox(place: str) -> Inbox | None:
    if not place:
        return None
    inbox = open_inbox(place, clock=SystemClock())
    inbox.look()
    return inbox


def _inbox_chore(
    opened: Vault, inbox: Inbox, terms: Terms, journal: Journal, *, jobs: int, once: bool
) -> Chore:
    def told(status: str, name: str, why: str) -> None:
        journal.image(status, image=name, reason=why)

    def left(why: str) -> None:
        # Who stays looks again every other second, and takes over when the other one is gone.
        if once:
            journal.say("inbox-left", inbox=inbox.url, reason=why)

    feeding = feeder(opened, inbox, terms, told, jobs=jobs, left=left)
    return Chore("inbox", feeding.feed, every_s=_INBOX_S)


def _sweep_chore(opened: Vault, terms: Terms, journal: Journal, every_s: float) -> Chore:
    def told(swept: Swept) -> None:
        found = sum(swept.added.values())
        if found or swept.completed or swept.waiting or swept.cancelled or swept.left:
            journal.say(
                "swept",
                added=found,
                completed=swept.completed,
                waiting=swept.waiting,
                cancelled=swept.cancelled,
                left=list(swept.left),
            )

    return Chore("sweep", sweeper(opened, terms, told), every_s=every_s)


def _legacy_chores(
    opened: Vault, settings: Settings, terms: Terms, journal: Journal, adopt_from: str
) -> list[Chore]:
    """Give what is done for as long as programs of the existing pipeline go on beside this one."""
    chores = []
    if adopt_from:

        def adopted(done: Adopted) -> None:
            why = done.error.message if done.error else ""
            journal.say("adopted", run_id=done.run_id, status=done.status, reason=why)

        work = adopter(opened, settings, adopt_from, terms, adopted)
        chores.append(Chore("adopt", work, every_s=_ADOPT_S))
    if isinstance(opened, MirroredVault):

        def behind(name: str, why: str) -> None:
            journal.say("mirror-behind", collection=name, reason=why)

        chores.append(Chore("mirror", mirror_keeper(opened, terms, behind), every_s=_MIRROR_S))
    return chores


@contextmanager
def _stopped_by_signals(work: Worker) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop a worker, and the second of them this process."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            # Children end with their input, leases with their time; nothing here may wait.
            os._exit(Interrupted.exit_code)
        asked = True
        work.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(work: Worker) -> None:
    if not work.failures:
        return
    name, error = next(iter(work.failures.items()))
    raise Incomplete(
        f"{len(work.failures)} of the worker's tasks failed last, the first is {name}: {error}",
        kind="worker-failed",
        hint="nothing was lost, the runs wait on; run it again once that is mended",
    )


class _Telling:
    """A worker's events, for programs or for people."""

    def __init__(self, output: Output, *, once: bool) -> None:
        self._output = output
        self._once = once
        self.has_merged = False

    def __call__(self, name: str, /, **facts: object) -> None:
        """Tell of one."""
        done = facts.get("compaction")
        if isinstance(done, Compaction):
            self.has_merged = True
            self._output.record("compaction", **plain_compaction(done))
            self._say_compaction(done)
            return
        self._output.record(name, **facts)
        said = _said(name, facts, once=self._once)
        if said:
            self._output.say(said)

    def _say_compaction(self, done: Compaction) -> None:
        if done.version is not None:
            manifest = done.version.manifest
            self._output.say(
                f"{done.collection}: version {manifest.number} with "
                f"{counted(len(done.merged), 'run')}, "
                f"{counted(manifest.records.count, 'record')}, "
                f"{seconds(sum(done.durations_s.values()))}"
            )
        for run_id, why in done.failed.items():
            self._output.say(f"{done.collection}: run {run_id} was set aside: {in_short(why)}")


def _said(name: str, facts: dict[str, object], *, once: bool) -> str:
    at, why = facts.get("collection"), facts.get("reason")
    sentences = {
        "started": f"merging what waits in {facts.get('vault')}"
        if once
        else f"waiting for runs of {facts.get('vault')}; Ctrl-C ends it",
        "listening": f"answering on http://{facts.get('host')}:{facts.get('port')}",
        "left": f"{why}; left to it",
        "inbox-left": f"{why}; its images are left to it",
        "given-back": f"{at}: given back; the runs wait on",
        "behind": f"{at}: {facts.get('runs')} runs wait, compaction falls behind; they come into "
        "one version, nothing is dropped",
        "caught-up": f"{at}: has caught up, {facts.get('runs')} runs wait",
        "failed": f"{facts.get('work')}: {facts.get('error')}: {facts.get('message')}"
        + ("" if once else f"; tried again in {facts.get('waits_s')} s"),
        "swept": f"the sweep found {facts.get('added')} parts of runs that the ledger lacked, "
        f"{facts.get('completed')} that were done, {facts.get('waiting')} that were not, "
        f"{facts.get('cancelled')} that were cancelled",
        "adopted": f"run {facts.get('run_id')} of the existing pipeline: {facts.get('status')}"
        + (f": {why}" if why else ""),
        "mirror-behind": f"{at}: the mirror is behind: {why}",
        "image": f"{facts.get('image')}: {facts.get('status')}" + (f": {why}" if why else ""),
    }
    return sentences.get(name, "")
