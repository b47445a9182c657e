"""Every step, operation, event, fact and metric that chromaseal tells of, with what it means.

``docs/telemetry.md`` is made of these tables, and tests hold them and the code together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

STEPS: Final[Mapping[str, str]] = {
    "check out": "the newest version is brought to this machine, and a copy of it to merge into",
    "chromaseal": "a whole command",
    "close client": "a ChromaDB client is closed, in a child process",
    "collect garbage": "versions that no policy keeps are removed",
    "compact": "waiting runs of a collection become its next version",
    "compare": "a directory that was pulled is compared with what it was",
    "copy live directory": "a consistent copy of a directory that an application has open",
    "copy from mount": "a version on a shared mount is copied, and every page checked",
    "examine": "a directory is looked at, at one level of verification",
    "adopt run": "a run of the existing pipeline becomes one of the vault",
    "export": "a version is written in the layout of the existing pipeline",
    "fetch": "a version is brought to this machine",
    "fetch layers": "a version's layers are read from the store and put together",
    "follow version": "a follower's folder moves to another version",
    "import": "a snapshot of the existing pipeline becomes a version",
    "keep": "a copy of a version is kept on this machine for the next time",
    "merge": "deltas are merged into a working copy, in a child process",
    "merge deltas": "the same, as the child process tells of it",
    "open client": "a ChromaDB client is opened on a private copy, in a child process",
    "place": "a fetched version takes the place of what was there, in one step",
    "prepare copy": "a follower makes a copy ahead, which the next version's is made of",
    "publish": "layers and manifest are stored, and the pointer moves",
    "pull": "a directory is brought to a version",
    "push": "a directory is published",
    "read deltas": "the deltas of waiting runs are read and checked",
    "repair": "what is wrong is mended from sources that can be named",
    "run job": "a child process does a job and exits",
    "salvage": "what can be read of a directory is brought into a new one",
    "seal": "a directory is proved to be closed and quiet, and digested",
    "store layer": "a layer's parts are packed and stored",
    "sync": "a shared mount is to have the newest version",
    "sweep ledger": "a ledger is made or completed from what the vault holds",
    "tidy mount": "the pointer of a mount moves, and versions that nobody reads leave it",
    "verify": "a sealed directory is verified deep, in a child process",
    "cancel run": "a run is taken off the list, unless versions contain it",
    "write to mount": "what a version does not share with others is written to a mount",
    "write run": "a run's deltas are stored and the run is put into the ledger",
}

OPERATIONS: Final[Mapping[str, str]] = {
    "create object": "an object is stored where none may be",
    "delete object": "an object is removed",
    "get object": "an object is read whole",
    "get range": "a part of an object is read",
    "head object": "an object is asked for without its content",
    "list objects": "a prefix is listed; the time includes that of whoever reads the list",
    "replace object": "an object that still carries an ETag is replaced",
}

EVENTS: Final[Mapping[str, str]] = {
    "check": "one check of a verification has passed or failed",
    "client closed": "a client was closed; its process still had so many descriptors open",
    "commit attempt": "a version was announced: its pointer moved, or somebody was first",
    "copy rotten": "a copy kept on this machine was touched, and is thrown away",
    "delta set aside": "a delta cannot be merged; its run fails, the others go on",
    "directory closed": "no process has a file of the directory open",
    "directory held": "a process has a file of the directory open, and is waited for",
    "falling behind": "more runs of a collection wait than a worker was told to expect",
    "image put away": "an image of an inbox was ingested, or refused, and moved",
    "journal found": "a journal says that a writer died in the middle of a change",
    "lease lost": "a lease went to another, or was not renewed in time; its work ends",
    "left to its holder": "another process has the lease of a collection",
    "lock probed": "a writer's lock on a live directory was asked for",
    "merge split": "runs could not be merged together, and are tried in halves",
    "mirror behind": "a version was published, and could not be written into the mirror",
    "more left out": "a child process had more to tell than is passed on",
    "nothing published": "a replica could not be published this time",
    "race lost": "another writer was first; this one waits and begins again on top of it",
    "request retried": "the store did not answer, and is asked again after a wait",
    "reply settled": "a conditional write was refused or not answered; the object was read back",
    "runs moved": "runs have another state in the ledger",
    "verified as a whole": "the changed pages do not say what changed: all was looked at",
    "version published": "a collection has a new version",
    "version refused": "a version cannot be served; an older one is",
    "work failed": "a compaction or chore of a worker failed, and rests",
}

FACTS: Final[Mapping[str, str]] = {
    "attempts": "how often it was tried",
    "changed": "records that are other than before",
    "check": "the check's name",
    "collection": "in the vault",
    "command": "of the command line, or of a process",
    "consistent": "whether the copy is one that the application could have closed with",
    "copied_bytes": "bytes that had to be copied",
    "deltas": "number of deltas",
    "depth": "presence, quick or deep",
    "descriptors_left": "file descriptors on the directory that the process still had",
    "directory": "path",
    "duration_s": "seconds; of every step and operation that has ended, and of checks",
    "epoch": "of a lease: the number of the turn",
    "error": "kind of the error, where something failed",
    "evidence": "what a check saw; may name ids of records, never their content",
    "exit_code": "of the command",
    "files": "number of files",
    "held_s": "how long writers were held back",
    "hot": "whether a dead writer's journal was there",
    "how": "descriptor, lock or mapping",
    "job": "what a child process does",
    "key": "of an object",
    "layer": "id of a layer",
    "layers": "number of layers",
    "locked_s": "the longest time that writers were held back",
    "lost_races": "how many races were lost so far",
    "number": "of a version",
    "objects": "number of objects",
    "operation": "what the store was asked for",
    "outcome": "ok, or the kind of the error; of a commit: won or lost",
    "parts": "number of objects of a layer",
    "passed": "whether the check passed",
    "path": "of a file",
    "pid": "of a process",
    "reason": "in a word or a sentence",
    "records": "number of records",
    "run_id": "of a run",
    "runs": "number of runs",
    "settled": "what reading back told: mine, not mine, or unmoved",
    "size_bytes": "of what it is about",
    "sound": "whether every check passed",
    "state": "of a run",
    "stored_bytes": "bytes that a version added to the store",
    "taken": "whether the lock could be had",
    "under_lock": "whether files had to be copied while writers were held back",
    "version_id": "of a version; ends in the digest of its manifest",
    "versions": "number of versions",
    "waited_s": "how long it was waited for",
    "written_bytes": "bytes that were written to a mount",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric, and from what it is made.

    Attributes:
        metric: its name.
        unit: in UCUM.
        meaning: what it says.
        of: ``step``, ``operation`` or ``event``.
        name: of the one that counts; every one where it is empty.
        fact: whose value is recorded; each one counts 1 where it is empty.
        by: facts that become attributes; ``name`` is the name of the step or operation.
    """

    metric: str
    unit: str
    meaning: str
    of: str
    name: str = ""
    fact: str = ""
    by: tuple[str, ...] = ()

    @property
    def is_histogram(self) -> bool:
        """Whether it is a distribution; everything else is a sum."""
        return self.unit == "s"


MEASURES: Final = (
    Measure(
        *("chromaseal.step.duration", "s", "How long steps take", "step", "", "duration_s"),
        by=("step", "collection", "error"),
    ),
    Measure(
        *("chromaseal.store.operation.duration", "s", "How long the store takes to answer"),
        *("operation", "", "duration_s"),
        by=("operation", "error"),
    ),
    Measure(
        *("chromaseal.store.io", "By", "Bytes to and from the store", "operation", ""),
        *("size_bytes", ("operation",)),
    ),
    Measure(
        *("chromaseal.store.retries", "{request}", "Requests that were made again", "event"),
        *("request retried", "", ("operation",)),
    ),
    Measure(
        *("chromaseal.check.duration", "s", "How long checks take", "event", "check"),
        *("duration_s", ("check", "passed")),
    ),
    Measure(
        *("chromaseal.commit.attempts", "{attempt}", "Attempts to publish a version", "event"),
        *("commit attempt", "", ("collection", "outcome")),
    ),
    Measure(
        *("chromaseal.version.stored", "By", "Bytes that versions added to the store", "event"),
        *("version published", "stored_bytes", ("collection",)),
    ),
    Measure(
        *("chromaseal.lock.hold.duration", "s", "How long replication holds writers back"),
        *("event", "lock probed", "held_s"),
    ),
    Measure(
        *("chromaseal.child.exits", "{process}", "Jobs of child processes", "step", "run job"),
        by=("job", "error"),
    ),
    Measure(
        *("chromaseal.delta.refused", "{delta}", "Deltas that were set aside", "event"),
        *("delta set aside", "", ("collection",)),
    ),
)
