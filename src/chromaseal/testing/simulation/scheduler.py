"""One thread, many actors: who goes on is drawn, operation by operation.

An actor runs the product's own synchronous code in a greenlet. Before each operation of store,
ledger or child process it hands over to the scheduler, which draws who is next; then what happens
to the operation is drawn. Nothing else decides, so the same seed does the same again.
"""

from __future__ import annotations

import datetime as dt
import random
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from greenlet import greenlet

from chromaseal.errors import ChromasealError, Conflict, Unavailable
from chromaseal.testing.faults import SimulatedCrash
from chromaseal.testing.simulation.mishaps import CRASHES, Dice, Mishap

# Long before any file on this machine was written: what depends on how old a stamp is has to
# take all of them for young, every time.
START = dt.datetime(2020, 11, 23, 12, 0, tzinfo=dt.UTC)
_STEP_S = 0.02
_STALL_S = 30.0
_RESTART_S = 5.0
_TRAIL = 60
_NOTHING: Mapping[Mishap, Callable[[], Any]] = {}
_Given = TypeVar("_Given")


class Actor:
    """Somebody who works: a process that may die and start anew.

    Args:
        name: of the actor.
        machine: where it runs; others may run there too.
        live: one life of it, from its start to its end.

    Attributes:
        wake_at_s: when it can go on.
        is_dying: whether its process is dead; nothing that it still asks for is done.
        is_done: whether its last life has come to its end.
        is_frozen: whether it stands still between two instructions.
        lives: how often it was started.
    """

    def __init__(self, name: str, machine: str, live: Callable[[Actor], None]) -> None:
        self.name = name
        self.machine = machine
        self.wake_at_s = 0.0
        self.is_dying = False
        self.is_done = False
        self.is_frozen = False
        self.lives = 0
        self._live = live
        self._green: greenlet | None = None

    def go_on(self) -> bool:
        """Let it work until it hands over; give whether its life goes on."""
        if self._green is None:
            self.lives += 1
            self._green = greenlet(self._begin)
        self._green.switch()
        return not self._green.dead

    def kill(self) -> None:
        """End its life where it stands."""
        if self._green is not None and not self._green.dead:
            self.is_dying = True
            self._green.throw(SimulatedCrash(self.name))

    def bury(self, wake_at_s: float) -> None:
        """Have it start anew later."""
        self._green = None
        self.is_dying = self.is_frozen = False
        self.wake_at_s = wake_at_s

    def _begin(self) -> None:
        try:
            self._live(self)
        except SimulatedCrash:
            self.is_dying = True
        else:
            self.is_done = True


class Scheduler:
    """Draws who goes on, and what happens to what is asked for.

    Args:
        chance: where everything is drawn from.
        dice: what goes wrong.
        dies: called with an actor whose process ends now, before it is unwound.
        died: called when it is unwound, and whether the machine went as well.

    Attributes:
        now_s: seconds since ``START``.
        steps: operations so far.
        current: who works; None while nobody does.
        trail: the last operations, for people.
        digest: over all operations so far; equal digests are equal runs.
    """

    def __init__(
        self,
        chance: random.Random,
        dice: Dice,
        *,
        dies: Callable[[Actor], None],
        died: Callable[[Actor, bool], None],
    ) -> None:
        self.actors: list[Actor] = []
        self.now_s = 0.0
        self.steps = 0
        self.crashes = 0
        self.current: Actor | None = None
        self.trail: deque[str] = deque(maxlen=_TRAIL)
        self.digest = 0
        self._chance = chance
        self._dice = dice
        self._dies = dies
        self._died = died
        self._lost_machine = False
        self._under_way: list[tuple[float, Callable[[], object]]] = []
        self._main = greenlet.getcurrent()

    def turn(self) -> bool:
        """Let somebody work until the next operation; False when nobody is left."""
        self.now_s += self._chance.random() * _STEP_S
        self._deliver()
        while not (ready := self._ready()):
            wake_at_s = [actor.wake_at_s for actor in self.actors if not actor.is_done]
            if not wake_at_s:
                return False
            self.now_s = min(wake_at_s)
            self._deliver()
        chosen = ready[int(self._chance.random() * len(ready))]
        self.current = chosen
        goes_on = chosen.go_on()
        self.current = None
        if not goes_on and not chosen.is_done:
            self._bury(chosen)
        return True

    def _ready(self) -> list[Actor]:
        now_s = self.now_s
        return [actor for actor in self.actors if actor.wake_at_s <= now_s and not actor.is_done]

    def deliver_all(self) -> None:
        """Let everything land that is still under way."""
        for _, act in sorted(self._under_way, key=lambda each: each[0]):
            _land(act)
        self._under_way.clear()

    def wait(self, duration_s: float) -> None:
        """Let whoever works stand still for that long."""
        actor = self.current
        if actor is None:
            self.now_s += duration_s
            return
        if actor.is_dying:
            raise SimulatedCrash(actor.name)
        actor.wake_at_s = self.now_s + duration_s
        self._main.switch()

    def ask(
        self,
        operation: str,
        what: str,
        act: Callable[[], _Given],
        instead: Mapping[Mishap, Callable[[], _Given]] = _NOTHING,
    ) -> _Given:
        """Do one operation for whoever works, or let it go wrong.

        Args:
            operation: one of ``mishaps.STRIKES``.
            what: key or run, for people.
            act: does it.
            instead: by mishap, what is done in its place.

        Raises:
            Unavailable: no answer.
            Conflict: a refusal of what was done.
            SimulatedCrash: the process has died.
        """
        actor = self.current
        if actor is None:
            return act()
        if actor.is_dying:
            raise SimulatedCrash(actor.name)
        self._main.switch()
        self.steps += 1
        mishap = self._dice.draw(operation)
        line = f"{self.now_s:.3f} {actor.name} {operation} {what} {mishap or ''}"
        self.trail.append(line)
        self.digest = zlib.crc32(line.encode(), self.digest)
        if mishap is None:
            return act()
        return instead[mishap]() if mishap in instead else self._suffer(actor, mishap, what, act)

    def _suffer(self, actor: Actor, mishap: Mishap, what: str, act: Callable[[], _Given]) -> _Given:
        if mishap in CRASHES:
            self._crash(actor, mishap, act)
        if mishap is Mishap.STALL_BEFORE:
            self._freeze(actor)
            return act()
        if mishap is Mishap.LANDS_LATE:
            self._send(act)
        elif mishap is not Mishap.NO_ANSWER:
            given = act()
            if mishap is Mishap.LANDS_TWICE:
                self._send(act)
                return given
            if mishap is Mishap.STALL_AFTER:
                self._freeze(actor)
                return given
            if mishap is Mishap.FALSE_REFUSAL:
                raise Conflict(f"{what}: refused though done", kind="already-exists")
        raise Unavailable(f"no answer for {what}: {mishap}", kind="store-unavailable")

    def thaw(self, machine: str) -> int:
        """Let whoever stands still on a machine go on; give how many."""
        frozen = [each for each in self.actors if each.machine == machine and each.is_frozen]
        for each in frozen:
            each.wake_at_s = min(each.wake_at_s, self.now_s)
        return len(frozen)

    def _freeze(self, actor: Actor) -> None:
        actor.is_frozen = True
        self.wait(self._chance.expovariate(1 / _STALL_S))
        actor.is_frozen = False

    def _crash(self, actor: Actor, mishap: Mishap, act: Callable[[], object]) -> None:
        if mishap is Mishap.CRASH_AFTER:
            _land(act)
        self._lost_machine = mishap is Mishap.MACHINE_LOST
        actor.is_dying = True
        self._dies(actor)
        raise SimulatedCrash(actor.name)

    def _bury(self, actor: Actor) -> None:
        self.crashes += 1
        lost, self._lost_machine = self._lost_machine, False
        others = [a for a in self.actors if a.machine == actor.machine and a is not actor]
        for other in others if lost else ():
            self.current = other
            other.kill()
            self.current = None
            if not other.is_done:
                other.bury(self._later())
        self._died(actor, lost)
        actor.bury(self._later())

    def _later(self) -> float:
        return self.now_s + self._chance.expovariate(1 / _RESTART_S)

    def _send(self, act: Callable[[], object]) -> None:
        self._under_way.append((self.now_s + self._chance.expovariate(1 / _RESTART_S), act))

    def _deliver(self) -> None:
        if not self._under_way:
            return
        due = [each for each in self._under_way if each[0] <= self.now_s]
        if due:
            self._under_way = [each for each in self._under_way if each[0] > self.now_s]
            for _, act in sorted(due, key=lambda each: each[0]):
                _land(act)


def _land(act: Callable[[], object]) -> None:
    # Nobody waits for the answer any more.
    try:
        act()
    except ChromasealError:
        return


class ActorClock:
    """The clock of one machine: it moves with everybody's, and may be wrong.

    Args:
        scheduler: has the time.
        skew_s: how far this one is ahead.
    """

    def __init__(self, scheduler: Scheduler, skew_s: float) -> None:
        self._scheduler = scheduler
        self._skew_s = skew_s

    def now(self) -> dt.datetime:
        """Give what this machine takes for the time."""
        return START + dt.timedelta(seconds=self._scheduler.now_s + self._skew_s)

    def monotonic_s(self) -> float:
        """Give the seconds since the start."""
        return self._scheduler.now_s

    def sleep(self, duration_s: float) -> None:
        """Let others work for that long."""
        self._scheduler.wait(duration_s)
