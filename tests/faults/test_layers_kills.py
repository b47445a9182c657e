"""SIGKILL at every store operation of everything that moves versions, before and after it.

The work runs in a process of its own on a vault in a directory; what it leaves is what a lost
machine leaves. Then the same holds as after any other fault: whoever looks finds the old version
or the new one whole, the same work done again ends well, and garbage collection leaves nothing
over and takes nothing that is needed.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import NotFound
from chromaseal.replication import follow
from chromaseal.snapshot import chain, history
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.audit import assert_clean, outline
from chromaseal.testing.directory_states import contents, made_states, replace_contents
from chromaseal.testing.killed_work import KILLED, VERBS, Job, Killing
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.whole import WHOLE

NAME = "notes"
PUBLISHED = (0, 1, 2, 3)
NEXT = 4
LAST = 7
CHAIN_LIMIT = 4
PAGE_VERSIONS = 2
MOST_OPERATIONS = 80


@dataclass(frozen=True)
class Work:
    """What is done until the process dies.

    Attributes:
        verb: see ``chromaseal.testing.killed_work``.
        published: how many versions there are before it.
        reader: it is done by a machine that has nothing of the vault.
        begins_at: the version that the reader's directory has; 0 for none.
        after: what state the newest version has when it is done.
        directory: what state the directory has when it is done.
    """

    verb: str
    published: int = 4
    reader: bool = False
    begins_at: int = 0
    after: int = PUBLISHED[-1]
    directory: int | None = None


WORKS = {
    "first push": Work("push", published=0, after=PUBLISHED[0]),
    "push": Work("push", published=1, after=PUBLISHED[1]),
    "push with a fold and a page": Work("push", after=NEXT),
    "pull": Work("pull", reader=True, directory=PUBLISHED[-1]),
    "pull by steps": Work("pull", reader=True, begins_at=2, directory=PUBLISHED[-1]),
    "follow": Work("follow", reader=True, directory=PUBLISHED[-1]),
    "rollback": Work("rollback", after=PUBLISHED[0]),
    "tag": Work("tag"),
    "untag": Work("untag"),
    "gc": Work("gc"),
}
FAST = ("push", "pull by steps")


class Ground:
    """A vault in a directory, to be copied for every death.

    Args:
        folder: where everything is.
        states: the directories.
        sandbox: where they are verified.
        killing: where the work is done.
    """

    def __init__(
        self, folder: Path, states: list[Path], sandbox: ProcessSandbox, killing: Killing
    ) -> None:
        self.states = states
        self.kills = 0
        self._killing = killing
        self._folder = folder
        self._answers = folder / "answers.json"
        self._remembering = RememberingSandbox(sandbox)
        self._names = itertools.count()
        self.app = folder / "app"
        self._templates: dict[int, Path] = {}
        self._outlines: set[tuple[str, ...]] = set()

    def template(self, published: int) -> Path:
        """Give a folder with a vault of that many versions, and its publisher's cache."""
        if published not in self._templates:
            folder = self._folder / f"template-{published}"
            (folder / "vault").mkdir(parents=True)
            machine = self._machine(folder, "cache")
            for state in PUBLISHED[:published]:
                machine.push(NAME, self.states[state])
            if published == len(PUBLISHED):
                machine.vault.tag(NAME, "keep", at="2")
            # What a work will have to know, and no process of its own can find out.
            copied = machine.copy(ObstoreObjectStore("memory://"), folder / "copied")
            for state in (*PUBLISHED[:published], NEXT, *PUBLISHED[published:], LAST):
                copied.push(NAME, self.states[state], replace=True)
            shutil.rmtree(folder / "copied")
            self._answers.write_text(json.dumps(self._remembering.answers))
            self._templates[published] = folder
        return self._templates[published]

    def _machine(self, folder: Path, cache: str, directory: Path | None = None) -> Machine:
        store = LocalObjectStore(folder / "vault")
        return Machine(store, folder / cache, directory or self.app, self._remembering)

    def die(self, work: Work, at: int, *, landed: bool) -> bool:
        """Do some work until it dies, then look at everything; False if it came to its end."""
        folder = self._folder / f"ground-{next(self._names)}"
        shutil.copytree(self.template(work.published), folder, copy_function=os.link, symlinks=True)
        worker = self._begin(work, folder)
        job = Job(
            verb=work.verb,
            vault=str(folder / "vault"),
            cache=str(worker.cache),
            directory=str(worker.directory),
            answers=str(self._answers),
            at=at,
            landed=landed,
            chain_limit=CHAIN_LIMIT,
            page_versions=PAGE_VERSIONS,
        )
        code = self._killing.run(job)
        assert code in {0, KILLED}
        if code == KILLED:
            self.kills += 1
            self._check_newest(work, folder)
            self._check_directory(work, worker, died=True)
            self._repeat(work, worker)
        self._check_newest(work, folder, done=True)
        self._check_directory(work, worker)
        assert not any((worker.cache / "work").iterdir()), "a dead process's work was left"
        self._finish(work, folder)
        shutil.rmtree(folder)
        return code == KILLED

    def _begin(self, work: Work, folder: Path) -> Machine:
        if work.verb == "untag":
            self._machine(folder, "cache").vault.tag(NAME, "gold", at="2")
        if work.verb == "push":
            replace_contents(self.app, self.states[work.after])
        if not work.reader:
            return self._machine(folder, "cache")
        machine = self._machine(folder, "reader", folder / "place" / "target")
        if work.begins_at:
            machine.vault.pull(NAME, machine.directory, at=str(work.begins_at))
        if work.verb == "follow":
            machine.directory.mkdir(parents=True)
        return machine

    def _repeat(self, work: Work, worker: Machine) -> None:
        try:
            VERBS[work.verb](worker)
        except NotFound:
            # The tag was gone before the process died.
            if work.verb != "untag":
                raise

    def _check_newest(self, work: Work, folder: Path, *, done: bool = False) -> None:
        reader = self._machine(folder, f"seen-{next(self._names)}")
        if not done and not work.published and not reader.vault.has_version(NAME):
            return
        states = {work.after} if done else {work.after, *PUBLISHED[: work.published][-1:]}
        assert reader.fetched(NAME) in [contents(self.states[state]) for state in states]

    def _check_directory(self, work: Work, worker: Machine, *, died: bool = False) -> None:
        if work.directory is None:
            return
        directory = worker.directory
        if work.verb == "follow":
            directory /= follow.CURRENT
        states = {work.directory, *([PUBLISHED[work.begins_at - 1]] if work.begins_at else [])}
        if died and not work.begins_at and not directory.exists():
            return
        expected = states if died else {work.directory}
        assert contents(directory) in [contents(self.states[state]) for state in expected]

    def _finish(self, work: Work, folder: Path) -> None:
        """After one more version and a collection nothing is left over; once per kind of rest."""
        machine = self._machine(folder, "cache")
        found = outline(machine.store, NAME)
        if found in self._outlines:
            return
        self._outlines.add(found)
        machine.push(NAME, self.states[LAST], replace=True)
        machine.vault.gc(NAME, Policy(keep_last=2))
        clean = assert_clean(machine.store, NAME)
        tagged = set(machine.vault.tags(NAME).values())
        assert set(clean.line[-1:]) | tagged <= set(clean.kept)
        reader = self._machine(folder, "last")
        assert reader.fetched(NAME) == contents(self.states[LAST])
        if work.published == len(PUBLISHED):
            assert reader.fetched(NAME, "keep") == contents(self.states[PUBLISHED[1]])


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, sandbox: ProcessSandbox) -> Iterator[Ground]:
    """Give a vault to kill processes on."""
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch, Killing() as killing:
        patch.setattr(chain, "CHAIN_LIMIT", CHAIN_LIMIT)
        patch.setattr(chain, "OUTWEIGHED", 100.0)
        patch.setattr(history, "PAGE_VERSIONS", PAGE_VERSIONS)
        yield Ground(folder, made_states(), sandbox, killing)


def kill_everywhere(ground: Ground, work: Work) -> None:
    """Kill a work before and after each of its operations, until it has no more of them.

    Who only reads leaves the same before one operation as after the one before it. A part is
    before the first operation, after the second, before the third, and so on; ``make test-whole``
    kills before and after each.
    """
    before = ground.kills
    for landed in (False,) if work.reader else (False, True):
        alternate = not WHOLE and not work.reader
        for at in itertools.count(int(alternate and landed), 2 if alternate else 1):
            assert at < MOST_OPERATIONS
            if not ground.die(work, at, landed=landed):
                break
        assert at >= 2
    print(f"{work.verb}: {ground.kills - before} processes killed")


@pytest.mark.parametrize("name", FAST)
def test_a_killed_process_does_no_harm(ground: Ground, name: str) -> None:
    """Wherever a process dies: old or new, whole; done again, it is done; nothing is left."""
    kill_everywhere(ground, WORKS[name])


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [name for name in WORKS if name not in FAST])
def test_any_killed_process_does_no_harm(ground: Ground, name: str) -> None:
    """The same, for everything else that moves versions."""
    kill_everywhere(ground, WORKS[name])
