"""A machine with a vault, a cache and a directory, to be copied and to have things tried on it.

A copy has objects and a cache of its own and works in the same directory, so that what a machine
remembers of that directory holds for its copies too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.linux.file_system import LinuxFileSystem
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.clock import SystemClock
from chromaseal.digests import blake3_hex
from chromaseal.ids import SystemIds
from chromaseal.object_store import ObjectStore
from chromaseal.parts import Parts
from chromaseal.run.unnamed_ledger import UnnamedLedger
from chromaseal.sandbox import Limits, Plain, Progress, Sandbox
from chromaseal.seal.open_files import Holder
from chromaseal.snapshot.checkouts import Checkouts
from chromaseal.testing.directory_states import contents, replace_contents
from chromaseal.vault import Vault

# What a request says of places, which differ where all else is the same.
_PLACES = {"directory", "scratch", "before"}


class RememberingSandbox:
    """Gives the answers of another sandbox, asking it once per request and content.

    So one real verification of a directory stands for all that follow with the same bytes.

    Args:
        inner: where jobs really run; None where everything must have been asked before.
        answers: what is known, by ``question_of``; by default what any in this process knows.
    """

    _answers: ClassVar[dict[str, Plain]] = {}

    def __init__(self, inner: Sandbox | None, answers: dict[str, Plain] | None = None) -> None:
        self._inner = inner
        self.answers = self._answers if answers is None else answers

    def start(self) -> None:
        """Begin nothing."""

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Give the answer that the same question had before.

        Raises:
            LookupError: it is new, and nobody can be asked.
        """
        question = question_of(job, request)
        if question not in self.answers:
            if self._inner is None:
                raise LookupError(f"{job} was not asked before: {request}")
            answer = self._inner.run(job, request, limits=limits, progress=progress)
            self.answers[question] = answer
        return self.answers[question]

    def close(self) -> None:
        """End nothing."""


class InterruptedSandbox:
    """Runs jobs in another sandbox; when the first one of a name is done, something else happens.

    Args:
        inner: where jobs really run.
        job: the name.
        act: what happens, before anybody has the answer.
    """

    def __init__(self, inner: Sandbox, job: str, act: Callable[[], object]) -> None:
        self._inner = inner
        self._acts = {job: act}

    def start(self) -> None:
        """Begin nothing."""

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Run a job, then let happen what is to happen."""
        answer = self._inner.run(job, request, limits=limits, progress=progress)
        self._acts.pop(job, int)()
        return answer

    def close(self) -> None:
        """End nothing."""


def question_of(job: str, request: Mapping[str, Any]) -> str:
    """Give a text that two requests share if their job, options and directory's bytes are equal."""
    files = contents(Path(request["directory"]))
    listed = [(path, blake3_hex(body)) for path, body in files.items()]
    options = sorted((k, v) for k, v in request.items() if k not in _PLACES)
    return blake3_hex(repr((job, options, listed)).encode())


class NobodyHasOpen:
    """Says of every directory that nobody has it open; looking costs milliseconds."""

    def holders(self, directory: Path) -> list[Holder]:
        """Give nobody."""
        del directory
        return []


class Machine:
    """A machine.

    Args:
        store: the vault's objects.
        cache: its cache; made when first used.
        directory: of the application on it.
        sandbox: where directories are verified.
    """

    def __init__(self, store: ObjectStore, cache: Path, directory: Path, sandbox: Sandbox) -> None:
        clock, ids = SystemClock(), SystemIds()
        self.cache = cache
        self.directory = directory
        self.vault = Vault(
            Parts(
                store=store,
                ledger=UnnamedLedger(),
                leases=UnnamedLedger(),
                codec=ParquetDeltaCodec(),
                sandbox=sandbox,
                open_files=NobodyHasOpen(),
                file_system=LinuxFileSystem(),
                checkouts=Checkouts(store, cache, "vault", clock=clock, ids=ids),
                exchange=exchange,
                clock=clock,
                ids=ids,
                writer={"chromaseal": "0", "chromadb": "0", "python": "0", "host": "here"},
            ),
            open_reader=_no_reader,
            close=_nothing,
        )

    @property
    def store(self) -> ObjectStore:
        """Give the vault's objects."""
        return self.vault.parts.store

    def copy(
        self,
        store: ObjectStore,
        cache: Path,
        *,
        between: Callable[[ObjectStore], ObjectStore] = lambda store: store,
    ) -> Machine:
        """Make a machine that is as far as this one, with a store and a cache of its own.

        Args:
            store: an empty one.
            cache: must not exist.
            between: gives what stands between the new machine and its store.
        """
        copy_objects(self.store, store)
        if self.cache.exists():
            # What is kept is never written in place, and known by its inodes.
            shutil.copytree(self.cache, cache, copy_function=os.link, symlinks=True)
        return Machine(between(store), cache, self.directory, self.vault.parts.sandbox)

    def with_store(self, store: ObjectStore) -> Machine:
        """Give the same machine in front of another store."""
        return Machine(store, self.cache, self.directory, self.vault.parts.sandbox)

    def interrupted(self, job: str, act: Callable[[], object]) -> Machine:
        """Give the same machine, where something happens when its first job of a name is done."""
        sandbox = InterruptedSandbox(self.vault.parts.sandbox, job, act)
        return Machine(self.store, self.cache, self.directory, sandbox)

    def stranger(self, cache: Path, store: ObjectStore | None = None) -> Machine:
        """Give a machine that has seen nothing of the vault yet."""
        directory = cache.with_name(f"{cache.name}-directory")
        return Machine(store or self.store, cache, directory, self.vault.parts.sandbox)

    def push(self, collection: str, state: Path, *, replace: bool = False) -> None:
        """Let the application reach a state, and publish it."""
        replace_contents(self.directory, state)
        self.vault.push(self.directory, collection, replace=replace)

    def fetched(self, collection: str, at: str = "") -> dict[str, bytes]:
        """Give the content of a version, fetched and checked."""
        checkouts = self.vault.parts.checkouts
        with checkouts.workspace() as workspace:
            checkouts.copy(self.vault.version(collection, at), workspace / "copy")
            return contents(workspace / "copy")


def copy_objects(source: ObjectStore, target: ObjectStore) -> None:
    """Copy every object."""
    for info in source.list(""):
        target.create(info.key, source.get(info.key).body)


def _no_reader(*_: object) -> NoReturn:
    raise AssertionError("this machine asks no version, so it has no ChromaDB to ask")


def _nothing() -> None:
    pass
