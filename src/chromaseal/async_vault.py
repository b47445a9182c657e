"""The verbs of a vault for programs that run an event loop: the same work, in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from chromaseal.compaction.outcome import Compaction
from chromaseal.delta.model import Changes
from chromaseal.mount.sync import Synced
from chromaseal.reader import Reader
from chromaseal.repair.collection import Repaired
from chromaseal.replication.difference import Difference
from chromaseal.replication.follow import Moved
from chromaseal.replication.pull import Pulled
from chromaseal.replication.push import Pushed
from chromaseal.replication.replicate import Replicated
from chromaseal.seal.verdict import Level, Verdict
from chromaseal.snapshot.find import VersionName
from chromaseal.snapshot.garbage import Garbage
from chromaseal.snapshot.log import LogEntry
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.stats import Stats
from chromaseal.sweep.ledger import Swept
from chromaseal.vault import Vault
from chromaseal.verification.remark import Remark
from chromaseal.writing import Written

_T = TypeVar("_T")


class AsyncVault:
    """A vault whose verbs are awaited. Use as an asynchronous context manager.

    A call that is cancelled goes on in its thread to its end, which leaves the vault as any
    other end does. ``replicate`` and ``follow`` have a thread each beside those of the event
    loop, so any number of them keep no other call waiting. Whoever stops taking their values,
    is cancelled or closes the vault ends them: at once where they wait for the next look, else
    when the look that they are at is done.

    Args:
        vault: does the work; closed with this.
    """

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._endings: set[threading.Event] = set()

    async def write(self, changes: Mapping[str, Changes], **options: Any) -> Written:  # noqa: ANN401
        """See ``Vault.write``."""
        return await asyncio.to_thread(self.vault.write, changes, **options)

    async def compact(self, collections: Sequence[str] = ()) -> list[Compaction]:
        """See ``Vault.compact``."""
        return await asyncio.to_thread(self.vault.compact, collections)

    async def collections(self) -> list[str]:
        """See ``Vault.collections``."""
        return await asyncio.to_thread(self.vault.collections)

    async def version(self, collection: str, at: VersionName = "") -> Version:
        """See ``Vault.version``."""
        return await asyncio.to_thread(self.vault.version, collection, at)

    async def log(self, collection: str) -> list[LogEntry]:
        """See ``Vault.log``."""
        return await asyncio.to_thread(lambda: list(self.vault.log(collection)))

    async def reader(self, collection: str, *, at: VersionName = "") -> Reader:
        """See ``Vault.reader``."""
        return await asyncio.to_thread(self.vault.reader, collection, at=at)

    async def open_copy(self, collection: str, directory: Path, *, at: VersionName = "") -> Version:
        """See ``Vault.open_copy``."""
        return await asyncio.to_thread(self.vault.open_copy, collection, directory, at=at)

    async def push(
        self, directory: Path | str, collection: str, *, replace: bool = False
    ) -> Pushed:
        """See ``Vault.push``."""
        return await asyncio.to_thread(self.vault.push, directory, collection, replace=replace)

    async def pull(
        self,
        collection: str,
        directory: Path | str,
        *,
        at: VersionName = "",
        overwrite: bool = False,
    ) -> Pulled:
        """See ``Vault.pull``."""
        return await asyncio.to_thread(
            self.vault.pull, collection, directory, at=at, overwrite=overwrite
        )

    def replicate(
        self,
        directory: Path | str,
        collection: str,
        *,
        interval_s: float = 1.0,
        replace: bool = False,
    ) -> AsyncGenerator[Replicated, None]:
        """See ``Vault.replicate``."""
        return self._stepping(
            lambda stop: self.vault.replicate(
                directory, collection, interval_s=0, replace=replace, stop=stop
            ),
            interval_s,
        )

    def follow(
        self, collection: str, folder: Path | str, *, interval_s: float = 1.0
    ) -> AsyncGenerator[Moved, None]:
        """See ``Vault.follow``."""
        return self._stepping(
            lambda stop: self.vault.follow(collection, folder, interval_s=0, stop=stop),
            interval_s,
        )

    async def diff(
        self, collection: str, before: VersionName, after: VersionName = ""
    ) -> Difference:
        """See ``Vault.diff``."""
        return await asyncio.to_thread(self.vault.diff, collection, before, after)

    async def tag(self, collection: str, name: str, *, at: VersionName = "") -> Version:
        """See ``Vault.tag``."""
        return await asyncio.to_thread(self.vault.tag, collection, name, at=at)

    async def untag(self, collection: str, name: str) -> None:
        """See ``Vault.untag``."""
        await asyncio.to_thread(self.vault.untag, collection, name)

    async def tags(self, collection: str) -> dict[str, str]:
        """See ``Vault.tags``."""
        return await asyncio.to_thread(self.vault.tags, collection)

    async def rollback(self, collection: str, at: VersionName) -> Pushed:
        """See ``Vault.rollback``."""
        return await asyncio.to_thread(self.vault.rollback, collection, at)

    async def gc(
        self,
        collection: str,
        policy: Policy | None = None,
        *,
        forget: Sequence[int] = (),
        dry_run: bool = False,
    ) -> Garbage:
        """See ``Vault.gc``."""
        return await asyncio.to_thread(
            self.vault.gc, collection, policy, forget=forget, dry_run=dry_run
        )

    async def sync(self, collection: str, mount: Path | str, **options: Any) -> Synced:  # noqa: ANN401
        """See ``Vault.sync``."""
        return await asyncio.to_thread(self.vault.sync, collection, mount, **options)

    async def stats(self, collection: str) -> Stats:
        """See ``Vault.stats``."""
        return await asyncio.to_thread(self.vault.stats, collection)

    async def verify(
        self, collection: str, *, at: VersionName = "", level: Level | str = Level.QUICK
    ) -> Verdict:
        """See ``Vault.verify``."""
        return await asyncio.to_thread(self.vault.verify, collection, at=at, level=level)

    async def verify_run(self, run_id: str, *, level: Level | str = Level.QUICK) -> Verdict:
        """See ``Vault.verify_run``."""
        return await asyncio.to_thread(self.vault.verify_run, run_id, level=level)

    async def repair(self, collection: str, *, dry_run: bool = False) -> Repaired:
        """See ``Vault.repair``."""
        return await asyncio.to_thread(self.vault.repair, collection, dry_run=dry_run)

    async def doctor(self) -> list[Remark]:
        """See ``Vault.doctor``."""
        return await asyncio.to_thread(lambda: list(self.vault.doctor()))

    async def rebuild_ledger(self) -> Swept:
        """See ``Vault.rebuild_ledger``."""
        return await asyncio.to_thread(self.vault.rebuild_ledger)

    async def close(self) -> None:
        """See ``Vault.close``; ends every ``replicate`` and ``follow``."""
        for ending in self._endings:
            ending.set()
        await asyncio.to_thread(self.vault.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _stepping(
        self, start: Callable[[Callable[[], bool]], Iterator[_T]], interval_s: float
    ) -> AsyncGenerator[_T, None]:
        """Take an endless iterator's values in a thread; end it when nobody takes them any more.

        Args:
            start: begins it, given what tells it to stop.
            interval_s: how long it is to wait before every look but the first.
        """
        ending = threading.Event()
        steps = start(_Pause(ending, interval_s))
        # A step may wait for ever, and asyncio's own threads are few and for everybody.
        thread = ThreadPoolExecutor(1, thread_name_prefix="chromaseal-stepping")
        self._endings.add(ending)
        try:
            while True:
                found = await asyncio.get_running_loop().run_in_executor(thread, next, steps, None)
                if found is None:
                    return
                yield found
        finally:
            ending.set()
            self._endings.discard(ending)
            if isinstance(steps, Generator):
                # After the step that may be running: a generator is closed by one thread only.
                thread.submit(steps.close)
            thread.shutdown(wait=False)


class _Pause:
    """Asked whether to stop before each look, it waits until the look is due or stopping is.

    The wait is here and not in the iterator, whose own sleep nobody could cut short.
    """

    def __init__(self, ending: threading.Event, interval_s: float) -> None:
        self._ending = ending
        self._interval_s = interval_s
        self._looked = False

    def __call__(self) -> bool:
        if not self._looked:
            self._looked = True
            return self._ending.is_set()
        return self._ending.wait(self._interval_s)
