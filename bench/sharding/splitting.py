"""Writers, compactors and splitters of a sharded collection, a step at a time, that die anywhere.

Each is a generator that gives way before whatever it does to the store, so that a seed decides who
goes on and who dies. After every step no record that a reader had is older or gone; in the end
everything acknowledged is there, once, as in a dictionary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from bench.sharding.shards import Delta, Head, Record, Store, leaf_of, merged, within

_RECEIPTS: Final = 60
_LEAF_RECORDS: Final = 24
_AT_ONCE: Final = 6


class Mistake(StrEnum):
    """An order of steps that a good engineer could have written, and that loses something."""

    NONE = "none"
    NO_CATCHING_UP = "children have what the parent had when the split began"
    NO_FENCE = "the parent goes on while the map moves"
    MAP_FIRST = "the map moves before the last versions are caught up with"
    NO_FORWARDING = "what writers with an old map bring to the parent stays there"


class LostError(Exception):
    """Something that was there, or was acknowledged, is not."""


@dataclass(slots=True)
class Play:
    """One play from a seed.

    Attributes:
        seed: decides everything.
        mistake: what is wrong with the splitters.
        deaths: of actors, so far.
        splits: that reached the map.
    """

    seed: int
    mistake: Mistake = Mistake.NONE
    deaths: int = 0
    splits: int = 0
    _store: Store = field(default_factory=Store)
    _acknowledged: dict[str, Record] = field(default_factory=dict)
    _run: int = 0

    def play(self, steps: int) -> int:
        """Play some steps, then let everything come to rest.

        Returns:
            How many steps it took.

        Raises:
            LostError: an invariant does not hold.
        """
        chance = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        acting: list[Iterator[None]] = []
        for step in range(steps):
            while len(acting) < _AT_ONCE:
                acting.append(self._begin(chance))
            self._go_on(acting, chance)
            if chance.random() < 0.02:
                acting.pop(chance.randrange(len(acting)))
                self.deaths += 1
            if step % 10 == 0:
                acting.append(self._write(chance))
        return steps + self._rest(acting, chance)

    def _go_on(self, acting: list[Iterator[None]], chance: random.Random) -> None:
        actor = chance.choice(acting)
        before = self._store.seen()
        if next(actor, StopIteration) is StopIteration:
            acting.remove(actor)
        after = self._store.seen()
        for record_id, (order, _) in before.items():
            if record_id not in after or after[record_id][0] < order:
                raise LostError(f"a reader had {record_id} of run {order}")

    def _rest(self, acting: list[Iterator[None]], chance: random.Random) -> int:
        """Let everybody finish, and compactors go round until nothing waits."""
        steps = 0
        for _ in range(4 * len(self._store.heads) + 8):
            while acting:
                self._go_on(acting, chance)
                steps += 1
            acting += [self._compact(leaf) for leaf in self._store.heads]
        if self._store.seen() != self._acknowledged:
            raise LostError("not everything that was acknowledged is there")
        return steps

    def _begin(self, chance: random.Random) -> Iterator[None]:
        leaf = chance.choice(sorted(self._store.heads))
        full = [
            leaf
            for leaf in sorted(self._store.leaves)
            if len(self._store.heads[leaf].records) > _LEAF_RECORDS
        ]
        if full and chance.random() < 0.5:
            return self._split(chance.choice(full))
        return self._compact(leaf) if chance.random() < 0.6 else self._write(chance)

    def _write(self, chance: random.Random) -> Iterator[None]:
        """Write a run of one receipt with the map as it was a while ago, then acknowledge it."""
        self._run += 1
        run, receipt = self._run, chance.randrange(_RECEIPTS)
        value = None if chance.random() < 0.1 else f"value {run}"
        records = {f"{receipt}#{n}": (run, value) for n in range(chance.randint(1, 3))}
        leaf = leaf_of(self._store.leaves, receipt)
        yield
        self._store.create_delta(leaf, Delta(run, records))
        for record_id, record in records.items():
            if self._acknowledged.get(record_id, (0, None))[0] < run:
                self._acknowledged[record_id] = record
        yield

    def _compact(self, leaf: str) -> Iterator[None]:
        """Merge what waits, or hand it on where a leaf has been split."""
        head = self._store.heads[leaf]
        waiting = self._store.waiting(leaf, head.runs)
        yield
        if not head.fenced:
            if waiting:
                self._store.swap_head(leaf, head, merged(head, waiting))
            return
        if leaf in self._store.leaves or self.mistake is Mistake.NO_FORWARDING:
            return
        for delta in waiting:
            for child in (f"{leaf}0", f"{leaf}1"):
                self._store.create_delta(child, Delta(delta.run, within(delta.records, child)))
                yield

    def _split(self, leaf: str) -> Iterator[None]:
        """Split a leaf; whoever died on the way is followed by another who begins again."""
        children = (f"{leaf}0", f"{leaf}1")
        for child in children:
            head = self._store.heads[leaf]
            yield
            self._store.swap_head(child, None, Head(head.runs, within(head.records, child)))
            yield
        if self.mistake is not Mistake.NO_CATCHING_UP:
            yield from self._catch_up(leaf, children)
        if self.mistake is not Mistake.NO_FENCE:
            yield from self._fence(leaf)
        if self.mistake is Mistake.MAP_FIRST:
            yield from self._move_map(leaf, children)
        if self.mistake is not Mistake.NO_CATCHING_UP:
            yield from self._catch_up(leaf, children)
        yield from self._move_map(leaf, children)

    def _catch_up(self, leaf: str, children: tuple[str, str]) -> Iterator[None]:
        """Bring into the children what has come into the parent."""
        for child in children:
            while missing := self._store.heads[leaf].runs - self._store.heads[child].runs:
                head = self._store.heads[child]
                if any((leaf, run) not in self._store.deltas for run in missing):
                    raise LostError("a parent has what came from above it and its child has not")
                deltas = [self._store.deltas[leaf, run] for run in sorted(missing)]
                theirs = [Delta(each.run, within(each.records, child)) for each in deltas]
                yield
                if self._store.heads[child].fenced:
                    # It has been split itself by now, so this one was done long ago.
                    return
                self._store.swap_head(child, head, merged(head, theirs))
                yield

    def _fence(self, leaf: str) -> Iterator[None]:
        while not (head := self._store.heads[leaf]).fenced:
            yield
            self._store.swap_head(leaf, head, Head(head.runs, head.records, fenced=True))

    def _move_map(self, leaf: str, children: tuple[str, str]) -> Iterator[None]:
        while leaf in (leaves := self._store.leaves):
            yield
            if self._store.swap_leaves(leaves, (leaves - {leaf}) | {*children}):
                self.splits += 1
