"""The verbs awaited: the same answers, and endless ones that keep nobody waiting and do end."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import chromaseal
from chromaseal import AsyncVault
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import Conflict
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.replication.follow import Moved
from chromaseal.replication.push import Pushed
from chromaseal.testing.directory_states import contents, made_states

NAME = "notes"
# Longer than any test may take: whoever waits for it to pass never ends.
FOR_EVER_S = 3600.0
LONG_S = 60


class Place:
    """Where a test has its vault, and the warm process that its vaults share."""

    def __init__(self, folder: Path, sandbox: ProcessSandbox) -> None:
        self.folder = folder
        self._sandbox = sandbox

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AsyncVault]:
        """Open the vault and close it in the end."""
        async with await chromaseal.open_async(str(self.folder / "vault")) as vault:
            parts = vault.vault.parts
            vault.vault.parts = replace(parts, sandbox=self._sandbox)
            yield vault

    def application(self, state: int) -> Path:
        """Give the directory of an application that has reached a state."""
        directory = self.folder / "app"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(made_states()[state], directory)
        return directory


@pytest.fixture
def place(
    tmp_path: Path, sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Give a place; when the test ends, no endless iterator may have left a thread."""
    monkeypatch.setenv("CHROMASEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHROMASEAL_LEDGER", raising=False)
    before = set(threading.enumerate())
    yield Place(tmp_path, sandbox)
    for thread in set(threading.enumerate()) - before:
        thread.join(LONG_S)
        assert not thread.is_alive(), thread.name


class HeldStore(CountingStore):
    """The other store, whose answers to ``get`` wait until they are let through."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.asked = threading.Event()
        self.let_through = threading.Event()

    def get(self, key: str) -> StoredObject:
        """Read an object whole, when it is time."""
        self.asked.set()
        assert self.let_through.wait(LONG_S)
        return super().get(key)


async def begun(*coming: asyncio.Task[Moved]) -> None:
    """Let tasks run up to where they wait: each of them is in its thread then."""
    await asyncio.sleep(0)
    assert not any(task.done() for task in coming)


@pytest.mark.slow
def test_the_verbs_answer_as_the_awaited_ones_do(place: Place) -> None:
    """Push, pull, tag, log, diff, roll back, collect garbage: what they do is there afterwards."""

    async def story() -> None:
        async with place.opened() as vault:
            first = await vault.push(place.application(0), NAME)
            assert (first.new, first.version.manifest.number) == (True, 1)
            assert not (await vault.push(place.folder / "app", NAME)).new
            await vault.tag(NAME, "before")
            second = await vault.push(place.application(1), NAME)
            assert await vault.tags(NAME) == {"before": first.version.version_id}
            assert [(e.version.number, e.tags) for e in await vault.log(NAME)] == [
                (2, ()),
                (1, ("before",)),
            ]
            pulled = await vault.pull(NAME, place.folder / "copy", at="before")
            assert pulled.version.version_id == first.version.version_id
            assert contents(place.folder / "copy") == contents(made_states()[0])
            difference = (await vault.diff(NAME, "1")).collections[NAME]
            assert (difference.added.count, difference.removed.count) == (9, 1)
            assert (await vault.stats(NAME)).stored_bytes > second.stored_bytes
            assert (await vault.rollback(NAME, "before")).version.manifest.restores == 1
            await vault.untag(NAME, "before")
            assert (await vault.gc(NAME, chromaseal.Policy(keep_last=1))).versions == (1, 2)
            assert await vault.collections() == [NAME]
            assert (await vault.version(NAME)).manifest.number == 3

    asyncio.run(story())


def test_more_follows_than_threads_keep_no_call_waiting(place: Place) -> None:
    """With every follow waiting, another call is answered, and each of them moves."""
    at_once = 2

    async def story() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(at_once))
        async with place.opened() as vault:
            following = [
                vault.follow(NAME, place.folder / f"followed{n}", interval_s=0.01)
                for n in range(3 * at_once)
            ]
            coming = [asyncio.ensure_future(anext(each)) for each in following]
            await begun(*coming)
            assert await asyncio.wait_for(vault.tags(NAME), LONG_S) == {}
            pushed = await vault.push(place.application(0), NAME)
            moves = await asyncio.wait_for(asyncio.gather(*coming), LONG_S)
            assert {moved.version.version_id for moved in moves} == {pushed.version.version_id}
            assert len({moved.directory for moved in moves}) == len(following)
            for moved in moves:
                assert contents(moved.directory) == contents(made_states()[0])
            for each in following:
                await each.aclose()

    asyncio.run(story())


def test_a_cancelled_follow_ends_while_it_waits(place: Place) -> None:
    """Cancelling ends the wait for the next look too, however long it would have been."""

    async def story() -> None:
        async with place.opened() as vault:
            await vault.push(place.application(0), NAME)
            moved: asyncio.Queue[Moved] = asyncio.Queue()

            async def follow() -> None:
                async for each in vault.follow(NAME, place.folder / "f", interval_s=FOR_EVER_S):
                    await moved.put(each)

            task = asyncio.create_task(follow())
            found = await asyncio.wait_for(moved.get(), LONG_S)
            assert found.version.manifest.number == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, LONG_S)
            assert [e.version.number for e in await vault.log(NAME)] == [1]

    asyncio.run(story())


def test_a_follow_is_cancelled_while_its_store_is_silent(place: Place) -> None:
    """Cancelling waits for no answer of the store; the thread ends once that has come."""

    async def story() -> None:
        async with place.opened() as vault:
            store = vault.vault.parts.store
            held = HeldStore(store)
            vault.vault.parts = replace(vault.vault.parts, store=held)
            following = vault.follow(NAME, place.folder / "followed", interval_s=FOR_EVER_S)
            task = asyncio.ensure_future(anext(following))
            assert await asyncio.to_thread(held.asked.wait, LONG_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, LONG_S)
            vault.vault.parts = replace(vault.vault.parts, store=store)
            held.let_through.set()

    asyncio.run(story())


def test_closing_the_vault_ends_its_follows(place: Place) -> None:
    """Who follows when the vault is closed comes to the end of what there is to take."""

    async def story() -> list[Moved]:
        async with place.opened() as vault:
            await vault.push(place.application(0), NAME)
            has_moved = asyncio.Event()

            async def follow() -> list[Moved]:
                seen = []
                async for each in vault.follow(NAME, place.folder / "f", interval_s=FOR_EVER_S):
                    seen.append(each)
                    has_moved.set()
                return seen

            task = asyncio.create_task(follow())
            await asyncio.wait_for(has_moved.wait(), LONG_S)
        return await asyncio.wait_for(task, LONG_S)

    assert [moved.version.manifest.number for moved in asyncio.run(story())] == [1]


def test_replicate_is_left_after_a_publish(place: Place) -> None:
    """Whoever has seen enough leaves, and what was published is there."""

    async def story() -> None:
        async with place.opened() as vault:
            replicating = vault.replicate(place.application(2), NAME, interval_s=FOR_EVER_S)
            async with aclosing(replicating):
                async for done in replicating:
                    assert isinstance(done, Pushed)
                    break
            assert (await vault.version(NAME)).manifest.records.count == 56
            with pytest.raises(StopAsyncIteration):
                await anext(replicating)

    asyncio.run(story())


def test_a_refusal_reaches_who_awaits(place: Place) -> None:
    """What a step raises in its thread is raised where its value was awaited."""

    async def story() -> None:
        (place.folder / "mine").mkdir()
        (place.folder / "mine" / "text").touch()
        async with place.opened() as vault:
            with pytest.raises(Conflict, match="text in it"):
                await anext(vault.follow(NAME, place.folder / "mine"))

    asyncio.run(story())
