"""replicate and follow beside an application that goes on writing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.errors import Conflict
from chromaseal.replication.follow import advance, current
from chromaseal.replication.push import Pushed
from chromaseal.replication.replicate import Replicated, Skipped
from chromaseal.seal.checks import records
from chromaseal.testing.whole import WHOLE
from chromaseal.testing.writing_application import COLLECTION, Plan, WritingApplication, prefix_of
from chromaseal.vault import Vault

PLAN = Plan(records=600, threshold=240)
# `make test-replicate` asks for 500, and so does `make test-whole`.
PUBLISHES = int(os.environ.get("CHROMASEAL_PUBLISHES", "500" if WHOLE else "6"))
# With a new application each, so that the last ones are not about ever larger directories.
ROUND = 25


def prefix_in(directory: Path) -> int:
    """Recognise the one state of the application that a directory has."""
    (collection,) = inspect(directory).collections
    return prefix_of(records(collection), PLAN)


@pytest.fixture
def application(tmp_path: Path) -> Iterator[WritingApplication]:
    """Give an application that is writing."""
    with WritingApplication(tmp_path / "live", PLAN) as running:
        running.wait_for(1)
        yield running


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(0, PUBLISHES, ROUND))
def test_what_is_published_is_what_the_application_had(
    vault: Vault, application: WritingApplication, tmp_path: Path, start: int
) -> None:
    """Every version is exactly one state of the application, each newer than the one before."""
    published: list[int] = []
    skipped: list[str] = []
    started_s = time.monotonic()
    wanted = min(ROUND, PUBLISHES - start)
    for done in vault.replicate(tmp_path / "live", COLLECTION, interval_s=0.01):
        if isinstance(done, Skipped):
            skipped.append(done.reason)
            assert len(skipped) < wanted
            continue
        directory = tmp_path / "copy"
        vault.open_copy(COLLECTION, directory, at=str(done.version.manifest.number))
        published.append(prefix_in(directory))
        shutil.rmtree(directory)
        if len(published) == wanted:
            break
    print(
        f"\n{wanted} versions in {time.monotonic() - started_s:.0f} s beside "
        f"{application.calls} calls; states {published[0]} to {published[-1]}; "
        f"{len(skipped)} times nothing: {skipped}",
        file=sys.stderr,
    )
    assert published == sorted(set(published))
    numbers = [entry.version.number for entry in vault.log(COLLECTION)]
    assert numbers == list(range(wanted, 0, -1))


def first_of(found: Iterator[Replicated]) -> Pushed:
    """Give the first version that was published."""
    return next(done for done in islice(found, 20) if isinstance(done, Pushed))


@pytest.mark.slow
def test_replicating_goes_on_where_it_was(
    vault: Vault, application: WritingApplication, tmp_path: Path
) -> None:
    """Another start, also without what was kept, publishes the next version, and small ones."""
    first = first_of(vault.replicate(tmp_path / "live", COLLECTION, interval_s=0.01))
    application.wait_for(application.calls + 2)
    second = first_of(vault.replicate(tmp_path / "live", COLLECTION, interval_s=0.01))
    assert second.version.manifest.number == first.version.manifest.number + 1
    assert second.version.manifest.step is not None
    shutil.rmtree(tmp_path / "cache")
    application.wait_for(application.calls + 2)
    with pytest.raises(Conflict, match="undo what came since"):
        next(vault.replicate(tmp_path / "live", COLLECTION, interval_s=0.01))
    third = first_of(vault.replicate(tmp_path / "live", COLLECTION, interval_s=0.01, replace=True))
    assert third.version.manifest.number == second.version.manifest.number + 1


@pytest.mark.slow
def test_a_follower_has_what_was_published(
    vault: Vault, application: WritingApplication, tmp_path: Path
) -> None:
    """A follower moves from version to version; ``current`` leads to a whole one at any time."""
    folder = tmp_path / "followed"
    replicating = vault.replicate(tmp_path / "live", COLLECTION, interval_s=0.01)
    seen = []
    for _ in range(4):
        pushed = first_of(replicating)
        moved = advance(vault.parts, COLLECTION, folder)
        assert moved is not None
        assert moved.version.version_id == pushed.version.version_id == current(folder)
        seen.append(prefix_in(folder / "current"))
        application.wait_for(application.calls + 1)
    assert seen == sorted(set(seen))
    assert advance(vault.parts, COLLECTION, folder) is None
    assert len([path for path in folder.iterdir() if path.name != "current"]) == 2
