"""Two compactors at once: the pointer put without condition, and compared before it moves.

Both ways take the same deltas from the same vault and merge them with the same job. The old one
fetches the version that the pointer names, merges one run into a private copy, uploads it under
a new name and puts the pointer, as the incident's compaction does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

from chromaseal import keys
from chromaseal.delta.model import Changes
from chromaseal.reproduction.application import Plan, batch_numbers, record_id, record_of
from chromaseal.reproduction.examination import Examination, Examined
from chromaseal.reproduction.old_ways import copy_files
from chromaseal.reproduction.trial import Trial, Way
from chromaseal.sandbox import limits_for
from chromaseal.vault import Vault

RUNS = "runs"
ROUNDS = 3
LOST = "the run is in no version any more"
_AT_ONCE = 2
_POINTER = "pointer"
_FIRST_RECORDS = 200


def plan_of(plan: Plan) -> Plan:
    """Give a smaller plan: what matters here is who is first."""
    return Plan(records=_FIRST_RECORDS, seed=plan.seed, dimension=plan.dimension)


def two_compactors(
    vault: Vault,
    folder: Path,
    plan: Plan,
    *,
    keep: Path | None = None,
    progress: Callable[[int, int], None],
) -> Iterator[Trial]:
    """Let two compactors work at the same time, several times, both ways.

    Args:
        vault: where the runs are written and compacted.
        folder: what the old way takes for its object store.
        plan: what the runs bring: run n is its batch n.
        keep: where a newest version stays that lacks runs.
        progress: called with done and all rounds.

    Yields:
        A trial per run and way: whether its records are there in the end.
    """
    old = _OldCompactors(vault, folder, plan)
    total = ROUNDS + 1
    for number in range(total):
        progress(number, total)
        batches = [0] if number == 0 else [number * _AT_ONCE - 1, number * _AT_ONCE]
        for batch in batches:
            old.bring(batch)
        old.compact(batches)
        _at_once(vault, [lambda: vault.compact([RUNS])] * len(batches))
    progress(total, total)
    vault.open_copy(RUNS, folder / "this-way")
    examination = Examination(vault.parts, plan, folder)
    for way, newest in ((Way.POINTER_PUT, old.newest()), (Way.POINTER_SWAP, folder / "this-way")):
        trials = list(_trials(examination.look(newest, RUNS), plan, way))
        if keep is not None and any(trial.bad for trial in trials):
            shutil.copytree(newest, keep / way)
        yield from trials


def _trials(newest: Examined, plan: Plan, way: Way) -> Iterator[Trial]:
    """Look for every run's last new record in the newest version."""
    for run in range(1, ROUNDS * _AT_ONCE + 1):
        lost = record_id(batch_numbers(plan, run)[-1]) not in newest.answer.ids
        wrong = LOST if lost else newest.wrong if newest.failed else ""
        yield replace(newest.trial(way, run), bad=bool(wrong), wrong=wrong)


class _OldCompactors:
    """A folder as the old object store: versions as folders of files, and a pointer.

    Args:
        vault: whose deltas are merged.
        folder: the folder.
        plan: what the runs bring.
    """

    def __init__(self, vault: Vault, folder: Path, plan: Plan) -> None:
        self._vault = vault
        self._folder = folder
        self._plan = plan
        self._deltas: dict[int, Path] = {}

    def bring(self, batch: int) -> None:
        """Write a run into the vault, and keep its delta for the old way."""
        records = [record_of(self._plan, n, batch) for n in batch_numbers(self._plan, batch)]
        written = self._vault.write({RUNS: Changes(upserts=records)})
        store, codec = self._vault.parts.store, self._vault.parts.codec
        body = store.get(keys.delta(RUNS, written.run.run_id, codec.suffix)).body
        self._deltas[batch] = self._folder / f"delta-{batch}{codec.suffix}"
        self._deltas[batch].parent.mkdir(parents=True, exist_ok=True)
        self._deltas[batch].write_bytes(body)

    def compact(self, batches: list[int]) -> None:
        """Let one compactor per run work, all at once."""
        barrier = Barrier(len(batches))

        def work(batch: int) -> Callable[[], None]:
            return lambda: self._compact(batch, barrier)

        _at_once(self._vault, [work(batch) for batch in batches])

    def newest(self) -> Path:
        """Give the version that the pointer names."""
        return self._folder / (self._folder / _POINTER).read_text()

    def _compact(self, batch: int, barrier: Barrier) -> None:
        private, version = self._folder / f"private-{batch}", f"version-{batch}"
        if (self._folder / _POINTER).exists():
            copy_files(self.newest(), private)
        # Both have fetched what both will overwrite.
        barrier.wait()
        self._merge(batch, private)
        copy_files(private, self._folder / version)
        shutil.rmtree(private)
        (self._folder / _POINTER).write_text(version)

    def _merge(self, batch: int, directory: Path) -> None:
        self._vault.parts.sandbox.run(
            "merge",
            {
                "directory": str(directory),
                "collection": RUNS,
                "space": "l2",
                "default_model": False,
                "deltas": [str(self._deltas[batch])],
            },
            limits=limits_for(0, _FIRST_RECORDS),
        )


def _at_once(vault: Vault, works: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(len(works)) as pool:
        try:
            list(pool.map(lambda work: work(), works))
        except KeyboardInterrupt:
            # The children would work on to an end that nobody waits for.
            vault.parts.sandbox.close()
            raise
