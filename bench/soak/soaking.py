"""A plan -> what became of it: the scene played, the reckoning made, the figures put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.soak.blows import KINDS, Role
from bench.soak.crew import Member
from bench.soak.figures import Figures, events_in, figures, lags_s, moves_of
from bench.soak.plan import Plan, collection_of
from bench.soak.reckoning import Reckoning, parts_of, reckon
from bench.soak.scene import Scene, Story, opened


@dataclass(frozen=True, slots=True)
class Soaked:
    """What became of a soak.

    Attributes:
        problems: what is wrong with the product, or with the soak; nothing, if all is well.
        figures: of it.
    """

    problems: tuple[str, ...]
    figures: Figures


def soak(plan: Plan, folder: Path, say: Callable[[str], None]) -> Soaked:
    """Play a scene, and hold what it leaves against what was noted.

    Args:
        plan: how large.
        folder: an empty one; what is in it afterwards tells what happened.
        say: told how it goes.
    """
    with opened(plan, folder, say=say) as scene:
        scene.run()
        attempted = scene.attempted()
        found = reckon(plan, scene.place, scene.vault, attempted, say)
        logs = (member.log.read_text(errors="replace") for member in everybody(scene))
        told = events_in(logs)
        lags = lags_of(scene, found)
        problems = (*scene.story.problems, *found.problems, *unfit(scene.story, scene))
        return Soaked(
            problems, figures(plan.seed, scene.story, found, attempted, lags=lags, told=told)
        )


def everybody(scene: Scene) -> list[Member]:
    """Give everybody who ever took part."""
    return [*scene.members, *scene.rivals]


def lags_of(scene: Scene, found: Reckoning) -> list[float]:
    """Give how long every acknowledged run took to come to each follower of its collection."""
    lags: list[float] = []
    tried = parts_of(scene.plan.seed, scene.attempted())
    for number, member in enumerate(scene.of(Role.FOLLOWER)):
        name = collection_of(number)
        versions = {run: each.number for each in found.versions[name] for run, _ in each.runs}
        lags += lags_s(tried[name], versions, moves_of(member.said))
    return lags


def unfit(story: Story, scene: Scene) -> list[str]:
    """Say what a soak cannot count for, or what its members said that they must not."""
    found = [f"never fired: {kind}" for kind in KINDS if not story.fired[kind]]
    found += [
        f"{each.name} ended by itself with {each.exit_code}: {each.words}"
        for each in story.endings
        if not each.is_allowed
    ]
    for member in scene.of(Role.FOLLOWER):
        numbers = [number for _, number in moves_of(member.said)]
        if numbers != sorted(set(numbers)):
            found.append(f"{member.name} went back, or moved to where it was: {numbers}")
    return found
