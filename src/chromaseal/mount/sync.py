"""The vault's newest version -> a directory on a mount, beside those that are there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from chromaseal import keys
from chromaseal.errors import ChromasealError, Conflict, Damaged, NotFound, Unavailable, UsageError
from chromaseal.ids import wait_after_s
from chromaseal.mount.existing import add_link, has_link, replace_text
from chromaseal.mount.filling import Clone, Older, Weighed, clone_file, fill
from chromaseal.mount.layout import (
    FILES,
    MANIFEST,
    DirectoryName,
    Layout,
    attempt_of,
    parse_directory_name,
)
from chromaseal.mount.links import is_all_there
from chromaseal.mount.tidying import remove_attempts, remove_versions
from chromaseal.mount.trial import refuse_full, removed_after, try_out, writing_to
from chromaseal.mount.turn import Turn, Turns
from chromaseal.mount.versions import (
    is_sound,
    names_in,
    newest_first,
    read_current,
    seems_sound,
    shared_files,
    vaults_beside,
)
from chromaseal.parts import Parts
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.snapshot.checkout import sync as make_durable
from chromaseal.snapshot.checkout import sync_tree
from chromaseal.snapshot.find import find
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.manifest import Version, decode
from chromaseal.stopwatch import Stopwatch

_FIRST_LOOK_S = 0.25
_LONGEST_LOOK_S = 2.0
# A version that has left meanwhile is waited for in vain, so not for long.
_VISIBLE_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of a mount that was to have a vault's newest version.

    Attributes:
        version: which version that is.
        directory: where its files are; nobody may open them.
        new: False where it was there, or where another process has brought it meanwhile.
        written_bytes: what was written to the mount: of files, manifest and pointer.
        shared_bytes: of files that other versions have as well, in whole or in part.
        removed: ids of the versions that have left.
        durations_s: seconds by step.
    """

    version: Version
    directory: Path
    new: bool
    written_bytes: int = 0
    shared_bytes: int = 0
    removed: tuple[str, ...] = ()
    durations_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a mount is to be kept.

    Attributes:
        keep: how many versions stay.
        existing_readers: whether programs that know nothing of chromaseal are to find versions.
        wait_s: how long another process that does the same is waited for.
        links: whether unchanged files are hard links to those of older versions; None where that
            is for the mount to show.
        clone: how files come to share their parts.
    """

    keep: int = 2
    existing_readers: bool = False
    wait_s: float = 900.0
    links: bool | None = None
    clone: Clone = clone_file


def sync(
    parts: Parts,
    collection: str,
    mount: Path,
    *,
    wishes: Wishes | None = None,
    progress: StepProgress = no_step_progress,
) -> Synced:
    """Have the newest version on a mount that many machines share.

    Of any number of processes that do this at once one does the work; the others wait for it. It
    appears whole or not at all, whenever who does it dies.

    Args:
        parts: what the vault consists of.
        collection: whose version.
        mount: a directory that is there.
        wishes: how it is to be kept.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        UsageError: ``bad-rule``: no version would stay.
        NotFound: ``no-version``; ``no-mount``, there is no such directory.
        Conflict: ``other-vault``, it has the collection of another vault; ``cannot-write``.
        Unavailable: ``disk-full``, nothing was begun; ``mount-busy``, another process is at it
            for longer than it is waited for.
        Damaged: the version cannot be fetched whole; the mount is as it was.
    """
    wishes = wishes or Wishes()
    if wishes.keep < 1:
        raise UsageError("a mount keeps at least one version", kind="bad-rule", hint="--keep 1")
    layout = Layout(mount.absolute(), collection)
    version = find(parts.store, collection, clock=parts.clock)
    return _Syncing(parts, layout, wishes, progress).run(version)


class _Syncing:
    def __init__(
        self, parts: Parts, layout: Layout, wishes: Wishes, progress: StepProgress
    ) -> None:
        self._parts = parts
        self._layout = layout
        self._wishes = wishes
        self._progress = progress
        self._watch = Stopwatch(parts.clock)
        self._looks = 0
        owner = f"{parts.writer.get('host', '')} process {os.getpid()}"
        self._turns = Turns(layout.turns, owner, parts.clock)

    def run(self, version: Version) -> Synced:
        with writing_to(self._layout):
            self._prepare()
        end_s = self._parts.clock.monotonic_s() + self._wishes.wait_s
        while True:
            done = self._done(version)
            if done is not None and self._is_tidy():
                return done
            with writing_to(self._layout):
                turn = self._turns.take()
            if turn is None and done is not None:
                return done
            if turn is None:
                self._wait(end_s)
                continue
            done = None
            try:
                with turn.kept():
                    done = self._in_turn(turn)
            except ChromasealError:
                # Whoever took over has removed what was being made here.
                if not turn.is_lost():
                    raise
            finally:
                turn.end(parse_directory_name(done.directory.parent.name) if done else None)
            if done is not None:
                return done
            version = find(self._parts.store, self._layout.collection, clock=self._parts.clock)

    def _prepare(self) -> None:
        layout, vault_id = self._layout, self._parts.checkouts.vault_id
        if not layout.mount.is_dir():
            raise NotFound(
                f"there is no directory {layout.mount}",
                kind="no-mount",
                hint="mount the shared file system, or make the directory",
            )
        for folder in layout.folders:
            folder.mkdir(parents=True, exist_ok=True)
        own = layout.vaults / vault_id
        was_there, others = own.is_dir(), vaults_beside(own)
        if not others:
            own.mkdir(exist_ok=True)
            others = vaults_beside(own)
        if others:
            # Seen before a mark is left: who died behind one would come again as the owner.
            with suppress(OSError):
                if not was_there:
                    own.rmdir()
            raise Conflict(
                f"{layout.root} has the versions of another vault, {min(others)}",
                kind="other-vault",
                hint="name a directory of this vault's own",
            )

    def _done(self, version: Version) -> Synced | None:
        """Tell of a version that is there, with all that leads to it; reads no files."""
        layout = self._layout
        name = read_current(layout)
        if name is None or name.version_id != version.version_id or not seems_sound(layout, name):
            return None
        if self._wishes.existing_readers and not has_link(layout, name):
            return None
        return Synced(version, layout.files(name), new=False)

    def _is_tidy(self) -> bool:
        """Whether nothing is to leave, and nobody who died has left anything."""
        layout = self._layout
        if len(names_in(layout.versions)) > self._wishes.keep:
            return False
        return not any(any(folder.iterdir()) for folder in (layout.work, layout.leaving))

    def _there(
        self, version: Version, *, told: DirectoryName | None = None
    ) -> DirectoryName | None:
        """Find a version that is whole.

        What the turn before has brought may not be listed here yet, or not be read as it is: it
        is given some time before the work is done once more.
        """
        clock, layout = self._parts.clock, self._layout
        end_s = clock.monotonic_s() + _VISIBLE_AFTER_S
        awaited = told if told and told.version_id == version.version_id else None
        while True:
            listed = {*newest_first(layout), *([awaited] if awaited else [])}
            names = [name for name in listed if name.version_id == version.version_id]
            found = next((name for name in names if is_sound(layout, name)), None)
            late = clock.monotonic_s() >= end_s
            if found or late or awaited is None or awaited in names_in(layout.doubted):
                return found
            clock.sleep(_FIRST_LOOK_S)

    def _wait(self, end_s: float) -> None:
        parts = self._parts
        if parts.clock.monotonic_s() >= end_s:
            raise Unavailable(
                f"{self._turns.holder()} is syncing {self._layout.collection} to "
                f"{self._layout.mount}",
                kind="mount-busy",
                hint="run the same command again; a dead process is noticed after a while",
            )
        self._progress("wait", 0, 0)
        self._looks += 1
        parts.clock.sleep(
            wait_after_s(self._looks, parts.ids, first_s=_FIRST_LOOK_S, longest_s=_LONGEST_LOOK_S)
        )

    def _in_turn(self, turn: Turn) -> Synced | None:
        """Bring the newest version; None where the turn was lost."""
        parts, layout, wishes = self._parts, self._layout, self._wishes
        # While another had the turn, the vault may have gone on.
        version = find(parts.store, layout.collection, clock=parts.clock)
        if turn.is_lost():
            return None
        remove_attempts(layout, parts.ids)
        name, weighed = self._there(version, told=turn.brought_before), Weighed()
        new = name is None
        if name is None:
            made = self._make(version, turn)
            if made is None:
                return None
            name, weighed = made
        if turn.is_lost():
            return None
        with self._watch.step("tidy mount"), writing_to(layout):
            pointer_bytes = replace_text(layout, layout.current, str(name), parts.ids)
            if wishes.existing_readers:
                pointer_bytes += add_link(layout, name, parts.ids)
            gone = remove_versions(layout, name, keep=wishes.keep, clock=parts.clock, ids=parts.ids)
        return Synced(
            version,
            layout.files(name),
            new=new,
            written_bytes=weighed.written_bytes + pointer_bytes,
            shared_bytes=weighed.shared_bytes,
            removed=tuple(each.version_id for each in gone),
            durations_s=self._watch.durations_s,
        )

    def _make(self, version: Version, turn: Turn) -> tuple[DirectoryName, Weighed] | None:
        parts, layout = self._parts, self._layout
        newest = newest_first(layout)
        older = Older(
            shared_files(layout, version.manifest.files, newest),
            layout.files(newest[0]) if newest else None,
        )
        with writing_to(layout):
            kind = parts.file_system.kind(layout.work)
            links = try_out(layout, kind, parts.ids, links=self._wishes.links)
        refuse_full(layout, version, older.same if links else ())

        def fetched(done: int, total: int) -> None:
            turn.beat()
            self._progress("fetch", done, total)

        with self._watch.step("fetch"):
            kept = parts.checkouts.bring(version, progress=fetched)
        try:
            return self._linked_or_copied(kept, older, turn, links=links)
        except Damaged:
            # What is kept here is a convenience: a bad or vanishing copy is fetched anew.
            parts.checkouts.forget(version)
            kept = parts.checkouts.bring(version, progress=fetched)
            return self._linked_or_copied(kept, older, turn, links=links)

    def _linked_or_copied(
        self, kept: Kept, older: Older, turn: Turn, *, links: bool
    ) -> tuple[DirectoryName, Weighed] | None:
        """Put a version into place; once more, without links, where those have not held."""
        made = self._place(kept, older, turn, links=links)
        files = kept.version.manifest.files
        if made is None or not links or is_all_there(self._layout.files(made[0]), files):
            return made
        with writing_to(self._layout):
            # Nobody is to take it for whole, and it leaves with the older ones.
            (self._layout.doubted / str(made[0])).mkdir(exist_ok=True)
        again = self._place(kept, older, turn, links=False)
        return again and (again[0], again[1] + Weighed(made[1].written_bytes))

    def _place(
        self, kept: Kept, older: Older, turn: Turn, *, links: bool
    ) -> tuple[DirectoryName, Weighed] | None:
        parts, layout, version = self._parts, self._layout, kept.version
        name = DirectoryName(version.version_id, attempt_of(parts.ids.unique()))
        unfinished = layout.work / name.attempt
        written = _Counted(version.manifest.size_bytes, turn, self._progress)
        key = keys.manifest(layout.collection, version.version_id)
        with self._watch.step("write to mount"), removed_after(unfinished), writing_to(layout):
            body = parts.store.get(key).body
            decode(version.version_id, body)
            unfinished.mkdir()
            weighed = fill(
                kept,
                older,
                unfinished / FILES,
                links=links,
                on_bytes=written,
                clone=self._wishes.clone,
            )
            (unfinished / MANIFEST).write_bytes(body)
            make_durable(unfinished / MANIFEST)
            sync_tree(unfinished)
            if turn.is_lost():
                return None
            unfinished.rename(layout.version(name))
            make_durable(layout.versions)
        return name, replace(weighed, written_bytes=weighed.written_bytes + len(body))


class _Counted:
    """Tells how much of a version is in place, and that this process lives."""

    def __init__(self, total_bytes: int, turn: Turn, progress: StepProgress) -> None:
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._turn = turn
        self._progress = progress

    def __call__(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        self._turn.beat()
        self._progress("write", self._done_bytes, self._total_bytes)
