"""A broken newest version is made again from named sources, with exactly the same records."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.errors import Damaged, NotFound
from chromaseal.run.model import RunState
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.oracle import Rows
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


def contents(vault: Vault) -> Rows:
    """Give what a reader of ``notes`` sees."""
    with vault.reader("notes") as reader:
        return {each.id: each for each in reader.records()}


def same(one: Rows, other: Rows) -> bool:
    """Whether two readers saw the same records, bit for bit."""
    return one.keys() == other.keys() and all(
        one[i].metadata == other[i].metadata
        and one[i].document == other[i].document
        and one[i].embedding.tobytes() == other[i].embedding.tobytes()
        for i in one
    )


def forget(tmp_path: Path) -> None:
    """Take away what this machine keeps of the vault's versions."""
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def break_layers(vault: Vault, *numbers: int) -> None:
    """Remove the objects that were written for some versions."""
    for number in numbers:
        for layer in vault.version("notes", number).manifest.written_here:
            vault.parts.store.delete(keys.layer_part("notes", layer.layer_id, 0))


def test_a_whole_version_needs_nothing(written: Vault) -> None:
    """Nothing is published."""
    repaired = written.repair("notes")
    assert (repaired.broken, repaired.version, repaired.waiting) == ("", None, ())
    assert written.version("notes").manifest.number == 4


def test_what_is_kept_here_comes_first(written: Vault) -> None:
    """The machine that made a version has it; its bytes are the manifest's."""
    before, records = written.version("notes"), contents(written)
    break_layers(written, 1, 2, 3, 4)
    repaired = written.repair("notes")
    assert repaired.version is not None
    assert "keeps" in repaired.source
    assert repaired.version.manifest.files == before.manifest.files
    assert repaired.version.manifest.restores == 4
    assert written.verify("notes", level="deep").sound
    assert same(contents(written), records)


@pytest.mark.parametrize(("broken", "source"), [([4], "version 3"), ([3, 4], "version 2")])
def test_an_older_version_and_the_deltas_after_it(
    written: Vault, tmp_path: Path, broken: list[int], source: str
) -> None:
    """Where no machine keeps it, the runs are merged again."""
    records = contents(written)
    break_layers(written, *broken)
    forget(tmp_path)
    repaired = written.repair("notes")
    assert repaired.source.startswith(source)
    assert repaired.version is not None
    assert repaired.version.manifest.number == 5
    forget(tmp_path)
    assert written.verify("notes", level="deep").sound
    assert same(contents(written), records)
    assert next(each for each in written.doctor() if each.check == "newest version").passed


def test_all_deltas_from_the_beginning(written: Vault, tmp_path: Path) -> None:
    """Where no version is whole any more."""
    records = contents(written)
    for info in list(written.parts.store.list(keys.layers("notes"))):
        written.parts.store.delete(info.key)
    forget(tmp_path)
    repaired = written.repair("notes")
    assert repaired.source.startswith("nothing and the deltas of 4 runs")
    assert same(contents(written), records)


def test_it_goes_on_after_a_repair(written: Vault, tmp_path: Path) -> None:
    """Runs merged before the repair are not merged again; new ones are."""
    break_layers(written, 4)
    forget(tmp_path)
    written.repair("notes")
    written.write({"notes": upserts(record("new", 1))})
    (done,) = written.compact()
    assert (len(done.merged), len(done.contained)) == (1, 0)
    assert "new" in contents(written)
    assert len(contents(written)) == 9


def test_a_dry_run_changes_nothing(written: Vault, tmp_path: Path) -> None:
    """It says what it would be made from, proved, and stores no object."""
    break_layers(written, 4)
    forget(tmp_path)
    before = sorted(info.key for info in written.parts.store.list(""))
    repaired = written.repair("notes", dry_run=True)
    assert (bool(repaired.source), repaired.version) == (True, None)
    assert sorted(info.key for info in written.parts.store.list("")) == before


def test_what_was_pushed_and_lost_is_said(
    written: Vault, states: list[Path], tmp_path: Path
) -> None:
    """No source, no repair: the message says which version is nowhere else."""
    directory = shutil.copytree(states[0], tmp_path / "pushed")
    written.push(directory, "others")
    for info in list(written.parts.store.list(keys.layers("others"))):
        written.parts.store.delete(info.key)
    forget(tmp_path)
    with pytest.raises(Damaged) as caught:
        written.repair("others")
    assert caught.value.kind == "cannot-repair"
    assert "version 1 was pushed" in caught.value.message
    with pytest.raises(NotFound):
        written.repair("nothing")


def test_a_missing_delta_is_named(written: Vault, tmp_path: Path) -> None:
    """What cannot be read is not guessed."""
    break_layers(written, 4)
    (run,) = written.version("notes").manifest.runs
    written.parts.store.delete(keys.delta("notes", run.run_id, ".parquet"))
    forget(tmp_path)
    with pytest.raises(Damaged) as caught:
        written.repair("notes")
    assert run.run_id in caught.value.message
    assert written.version("notes").manifest.number == 4


def test_what_is_not_the_same_is_not_published(written: Vault, tmp_path: Path) -> None:
    """A delta that reads well and says something else: the records have to be the manifest's."""
    parts = written.parts
    (run,) = written.version("notes").manifest.runs
    key = keys.delta("notes", run.run_id, ".parquet")
    delta = parts.codec.decode(parts.store.get(key).body)
    kept = next(i for i in contents(written) if i not in delta.upserts.ids)
    parts.store.delete(key)
    parts.store.create(key, parts.codec.encode(replace(delta, deletes=(kept,))))
    break_layers(written, 4)
    forget(tmp_path)
    with pytest.raises(Damaged) as caught:
        written.repair("notes")
    assert "not the same" in caught.value.message
    assert written.version("notes").manifest.number == 4


def test_a_lost_manifest_is_stepped_over(written: Vault, tmp_path: Path) -> None:
    """The version before becomes the newest, and the lost one's runs are merged again."""
    records, lost = contents(written), written.version("notes")
    written.parts.store.delete(keys.manifest("notes", lost.version_id))
    forget(tmp_path)
    repaired = written.repair("notes")
    assert repaired.broken == lost.version_id
    assert repaired.waiting == tuple(run.run_id for run in lost.manifest.runs)
    assert [r.parts["notes"].state for r in map(written.run, repaired.waiting)] == [
        RunState.PENDING
    ]
    (done,) = written.compact()
    assert done.merged == repaired.waiting
    assert same(contents(written), records)


def test_runs_that_no_version_has_wait_again(written: Vault) -> None:
    """A ledger that calls a run COMPLETED is corrected by the vault."""
    run_id = written.write({"notes": upserts(record("late", 1))}).run.run_id
    ledger = written.parts.ledger
    at = "2026-11-24T00:00:00.000000+00:00"
    ledger.move([run_id], "notes", states=[RunState.PENDING], to=RunState.COMPLETED, at=at)
    assert written.repair("notes", dry_run=True).waiting == (run_id,)
    assert written.run(run_id).parts["notes"].state is RunState.COMPLETED
    assert written.repair("notes").waiting == (run_id,)
    written.compact()
    assert "late" in contents(written)


def test_the_command_repairs(written: Vault, tmp_path: Path) -> None:
    """It says what the version was made from, and the new one's number."""
    break_layers(written, 4)
    place = ["--vault", written.url, "--ledger", str(tmp_path / "ledger.sqlite"), "--json"]
    answer = chromaseal("repair", "notes", *place, cache=tmp_path / "other-cache")
    (repaired,) = answer.only("repaired")
    assert (answer.exit_code, repaired["version"]) == (0, 5)
    assert repaired["source"].startswith("version 3")
    again = chromaseal("repair", "notes", *place, cache=tmp_path / "other-cache")
    assert (again.exit_code, again.only("repaired")[0]["broken"]) == (0, "")
