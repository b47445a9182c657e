"""One operation inside of another, at every store operation of the outer one.

The outer one waits before one of its store operations while the inner one runs to its end; so
every interleaving of two is tried in which one of them runs in one piece, without threads and
without chance. Three at once are nested once more.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import ChromasealError, NotFound
from chromaseal.replication import follow
from chromaseal.snapshot import chain, history
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.snapshot.removal import write_removal
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.audit import audit, outline
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.machine import Machine, RememberingSandbox, copy_objects

NAME = "notes"
DONE = "done"
PUBLISHED = (0, 1, 2, 3)
NEXT = 5
MOST_OPERATIONS = 80


class Scene:
    """A vault with four versions, and machines that have seen nothing of it.

    Args:
        template: the machine that published them.
        folder: for caches and directories.
        outlines: of vaults that were looked at already for what is left over.
        tagged: the tag "gold" is there, for version 2.
    """

    def __init__(
        self, template: Machine, folder: Path, outlines: set[tuple[str, ...]], *, tagged: bool
    ) -> None:
        self.store = ObstoreObjectStore("memory://")
        copy_objects(template.store, self.store)
        self.states = made_states()
        self.told: dict[str, str] = {}
        self._template = template
        self._folder = folder
        self._names = itertools.count()
        self._outlines = outlines
        if tagged:
            self.machine().vault.tag(NAME, "gold", at="2")

    def machine(self, store: FaultyStore | None = None) -> Machine:
        """Give a machine that has seen nothing."""
        cache = self._folder / f"cache-{next(self._names)}"
        return self._template.stranger(cache, store or self.store)

    def content_of(self, version: PastVersion) -> dict[str, bytes]:
        """Give what a version must hold."""
        number = version.restores or version.number
        return contents(self.states[PUBLISHED[number - 1] if number <= len(PUBLISHED) else NEXT])

    def tell(self, verb: str, machine: Machine) -> None:
        """Do something, and take note of what became of it."""
        name = f"{verb}, {len(self.told)}" if verb in self.told else verb
        self.told[name] = "begun"
        try:
            VERBS[verb](self, machine)
            self.told[name] = DONE
        except ChromasealError as error:
            self.told[name] = error.kind

    def play(self, verbs: list[str], places: list[int]) -> bool:
        """Do the first verb; before its store operation of that place the others, and so on.

        Returns:
            Whether every operation that was to be waited at was reached.
        """
        if not places:
            for verb in verbs:
                self.tell(verb, self.machine())
            return True
        reached = [False]

        def others(_: str, __: str) -> bool:
            reached[0] = self.play(verbs[1:], places[1:])
            return True

        store = FaultyStore(self.store, wait=others)
        store.plan(Fault.STALL, after=places[0])
        self.tell(verbs[0], self.machine(store))
        return reached[0]

    def check(self) -> None:
        """The newest version and tagged ones are whole; nothing needed is missing."""
        found = audit(self.store, NAME)
        assert found.missing == frozenset()
        reader = self.machine()
        tags = reader.vault.tags(NAME)
        if self.told.get("tag") == DONE and "untag" not in self.told:
            assert tags["gold"] == found.line[1]
        for version_id in {found.line[-1], *tags.values()}:
            assert version_id in found.kept, "a version with a name was removed"
            version = reader.vault.version(NAME, version_id)
            assert reader.fetched(NAME, version_id) == self.content_of(version.as_past)
        left = outline(self.store, NAME)
        if left not in self._outlines:
            self._outlines.add(left)
            self._check_nothing_left(reader)

    def _check_nothing_left(self, reader: Machine) -> None:
        reader.push(NAME, self.states[NEXT + 1], replace=True)
        reader.vault.gc(NAME)
        found = audit(self.store, NAME)
        assert (found.missing, found.orphans) == (frozenset(), frozenset())


def publish(scene: Scene, machine: Machine) -> None:
    """Publish the next state, whatever is the newest."""
    machine.push(NAME, scene.states[NEXT], replace=True)


def publish_and_collect(scene: Scene, machine: Machine) -> None:
    """Publish the next state and remove all others."""
    publish(scene, machine)
    machine.vault.gc(NAME, Policy(keep_last=1))


def pull(scene: Scene, machine: Machine, at: str = "") -> None:
    """Bring a directory to a version, which must be whole; else nothing may be there."""
    try:
        version = machine.vault.pull(NAME, machine.directory, at=at).version
    except ChromasealError:
        assert not machine.directory.exists()
        raise
    assert contents(machine.directory) == scene.content_of(version.as_past)


def advance(scene: Scene, machine: Machine) -> None:
    """Bring a followed folder up to date; what it leads to must be whole."""
    machine.directory.mkdir(parents=True)
    moved = follow.advance(machine.vault.parts, NAME, machine.directory)
    if moved is not None:
        assert contents(moved.directory) == scene.content_of(moved.version.as_past)


VERBS: dict[str, Callable[[Scene, Machine], object]] = {
    "tag": lambda _, m: m.vault.tag(NAME, "gold", at="2"),
    "tag again": lambda _, m: m.vault.tag(NAME, "gold", at="2"),
    "untag": lambda _, m: m.vault.untag(NAME, "gold"),
    "gc": lambda _, m: m.vault.gc(NAME, Policy(keep_last=1)),
    "gc of some": lambda _, m: m.vault.gc(NAME, Policy(keep_last=2)),
    "gc of orphans": lambda _, m: m.vault.gc(NAME),
    "push": publish,
    "push and gc": publish_and_collect,
    "rollback": lambda _, m: m.vault.rollback(NAME, "3"),
    "pull": pull,
    "pull 2": lambda scene, m: pull(scene, m, "2"),
    "follow": advance,
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sandbox: ProcessSandbox) -> Machine:
    """Give a machine that has published four states."""
    folder = tmp_path_factory.mktemp("races")
    states = made_states()
    remembering = RememberingSandbox(sandbox)
    machine = Machine(
        ObstoreObjectStore("memory://"), folder / "cache", folder / "app", remembering
    )
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        for state in PUBLISHED:
            machine.push(NAME, states[state])
    return machine


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Let chains fold and histories continue on pages soon."""
    patch.setattr(chain, "CHAIN_LIMIT", 3)
    patch.setattr(chain, "OUTWEIGHED", 100.0)
    patch.setattr(history, "PAGE_VERSIONS", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outer", "inner", "tagged", "allowed"),
    [
        ("tag", "gc", False, {(DONE, DONE), ("removed-version", DONE)}),
        ("gc", "tag", False, {(DONE, DONE), (DONE, "removed-version")}),
        ("gc", "gc", False, {(DONE, DONE)}),
        ("gc", "gc of some", False, {(DONE, DONE)}),
        ("gc of some", "gc", False, {(DONE, DONE)}),
        ("gc", "gc", True, {(DONE, DONE)}),
        ("gc", "untag", True, {(DONE, DONE)}),
        ("untag", "gc", True, {(DONE, DONE)}),
        ("gc of orphans", "gc", True, {(DONE, DONE)}),
        ("gc", "push", False, {(DONE, DONE)}),
        ("gc", "push and gc", True, {(DONE, DONE)}),
        ("push", "gc", False, {(DONE, DONE)}),
        ("push", "push", False, {(DONE, DONE)}),
        ("push", "push and gc", False, {(DONE, DONE)}),
        ("rollback", "gc", False, {(DONE, DONE), ("removed-version", DONE)}),
        ("rollback", "push and gc", False, {(DONE, DONE), ("removed-version", DONE)}),
        ("pull", "gc", False, {(DONE, DONE)}),
        ("pull", "push and gc", False, {(DONE, DONE)}),
        ("pull 2", "gc", False, {(DONE, DONE), ("removed-version", DONE)}),
        ("pull 2", "gc", True, {(DONE, DONE)}),
        ("follow", "push and gc", False, {(DONE, DONE)}),
    ],
)
def test_two_at_once_do_no_harm(
    template: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outer: str,
    inner: str,
    *,
    tagged: bool,
    allowed: set[tuple[str, str]],
) -> None:
    """Wherever one runs inside the other, both end as if one had come after the other."""
    shorten(monkeypatch)
    seen: collections.Counter[tuple[str, ...]] = collections.Counter()
    outlines: set[tuple[str, ...]] = set()
    for place in itertools.count():
        scene = Scene(template, tmp_path / str(place), outlines, tagged=tagged)
        reached = scene.play([outer, inner], [place])
        if not reached:
            break
        assert place < MOST_OPERATIONS
        seen[tuple(scene.told.values())] += 1
        scene.check()
    print(outer, inner, dict(seen))
    assert sum(seen.values()) >= 2
    assert set(seen) <= allowed


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("verbs", "stride"),
    [
        (("gc", "tag", "gc of some"), 3),
        (("tag", "gc", "gc of some"), 5),
        (("gc", "gc of some", "tag"), 7),
        (("gc", "untag", "tag"), 2),
        (("gc", "push", "gc"), 11),
    ],
)
def test_three_at_once_do_no_harm(
    template: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verbs: tuple[str, ...],
    stride: int,
) -> None:
    """Wherever a third runs inside the second inside the first, no named version is harmed."""
    shorten(monkeypatch)
    tried = 0
    outlines: set[tuple[str, ...]] = set()
    for first in itertools.count():
        reached_first = False
        # Each place of the outer one begins elsewhere in the inner one.
        for second in itertools.count(first % stride, stride):
            folder = tmp_path / f"{first}-{second}"
            scene = Scene(template, folder, outlines, tagged="untag" in verbs)
            reached = scene.play(list(verbs), [first, second])
            reached_first = reached_first or len(scene.told) > 1
            if not reached:
                break
            tried += 1
            assert second < MOST_OPERATIONS
            assert set(scene.told.values()) <= {DONE, "removed-version", "tag-exists", "no-tag"}
            scene.check()
        if not reached_first:
            break
    print(f"{verbs}: {tried} interleavings")
    assert tried > 4


def test_tagging_again_takes_no_tag_away(
    template: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that died after saying what is to go leaves a tag as it is, however often."""
    shorten(monkeypatch)
    scene = Scene(template, tmp_path, set(), tagged=False)
    machine = scene.machine()
    version = machine.vault.version(NAME, "2")
    machine.vault.tag(NAME, "gold", at="2")
    write_removal(scene.store, NAME, "0" * 32, [version.version_id])
    with pytest.raises(NotFound) as caught:
        machine.vault.tag(NAME, "gold", at="2")
    assert caught.value.kind == "removed-version"
    assert machine.vault.tags(NAME) == {"gold": version.version_id}
    machine.vault.gc(NAME, Policy(keep_last=1))
    scene.told["tag"] = DONE
    scene.check()
