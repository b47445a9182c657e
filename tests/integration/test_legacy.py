"""A bucket of the existing pipeline is taken over, and written for its readers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.formats.legacy_pipeline import (
    OldBucket,
    OldReader,
    OldWriter,
    make_directory,
    packed,
)

from chromaseal.adapters.local.object_store import ForeignDirectory
from chromaseal.adapters.obstore.object_store import ForeignBucket
from chromaseal.delta.model import Changes
from chromaseal.errors import ChromasealError
from chromaseal.ids import SystemIds
from chromaseal.legacy.adoption import adopt_runs, directories_of
from chromaseal.legacy.bucket import NONE, OTHER, SAME, UNPROVED, LegacyBucket, refuse_vault
from chromaseal.legacy.deltas import Adopted, LegacyRun, adopt, runs_in
from chromaseal.legacy.exporting import export, trim
from chromaseal.legacy.importing import ImportedSnapshot, import_snapshot
from chromaseal.legacy.mirror import MirroredVault, bring_on
from chromaseal.object_store import ObjectStore
from chromaseal.record import Record
from chromaseal.run.model import RunState
from chromaseal.snapshot.version_id import parse
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.oracle import assert_same_rows
from chromaseal.testing.records import record, upserts
from chromaseal.testing.servers import S3Server
from chromaseal.vault import Vault

FIRST = "20251101_120000"
SECOND = "20260801_120000_123456_0a1b2c3d"
IMAGE = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"
RUN = "1f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f1"
RECORDS = [record(f"r{n}", n, image_id=IMAGE, receipt_id=1, n=n) for n in range(5)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a ChromaDB directory of the collection ``lines``."""
    return make_directory(tmp_path_factory.mktemp("old") / "lines", "lines", RECORDS)


@pytest.fixture
def old() -> OldBucket:
    """Give an empty bucket in memory."""
    return OldBucket(ForeignBucket("memory://"))


def taken(vault: Vault, old: OldBucket, **options: object) -> ImportedSnapshot:
    """Import ``lines``; nothing in the bucket is another after it."""
    before = old.all()
    imported = import_snapshot(vault.parts, LegacyBucket(old.store), "lines", **options)  # type: ignore[arg-type]
    assert old.all() == before
    assert imported is not None
    return imported


def holds(vault: Vault, records: Sequence[Record]) -> None:
    """The newest version has these records."""
    with vault.reader("lines") as reader:
        assert_same_rows(reader.records(), {each.id: each for each in records})


@pytest.mark.parametrize("compressed", [True, False], ids=["archive", "files"])
def test_a_snapshot_becomes_a_version_once(
    vault: Vault, old: OldBucket, made: Path, *, compressed: bool
) -> None:
    """In both forms; a second import finds it, even under newer versions."""
    OldWriter(old).snapshot("lines", FIRST, made, compressed=compressed)
    imported = taken(vault, old)
    assert (imported.new, imported.snapshot_id, imported.repaired.problem) == (True, FIRST, "")
    assert imported.fetched.hash == (SAME if compressed else UNPROVED)
    holds(vault, RECORDS)
    again = taken(vault, old)
    assert (again.new, again.version.version_id) == (False, imported.version.version_id)
    vault.write({"lines": upserts(record("later", 9))})
    vault.compact(["lines"])
    assert not taken(vault, old).new
    assert vault.version("lines").manifest.number == 2


def test_a_hash_of_other_bytes_is_told(vault: Vault, old: OldBucket, made: Path) -> None:
    """What no reader ever looked at is looked at; the directory itself decides."""
    OldWriter(old).snapshot("lines", FIRST, made, compressed=True)
    name = f"lines/snapshot/timestamped/{FIRST}/.snapshot_hash"
    old.put(name, b"md5:" + b"0" * 32)
    assert taken(vault, old).fetched.hash == OTHER
    old.store.delete(name)
    assert taken(vault, old).fetched.hash == NONE


def test_a_damaged_snapshot_is_made_again_or_named(
    vault: Vault, old: OldBucket, made: Path, tmp_path: Path
) -> None:
    """From its own parts if all is there; else what is lost is said, and what else there is."""
    broken = tmp_path / "broken"
    shutil.copytree(made, broken)
    (folder,) = (path for path in broken.iterdir() if path.is_dir())
    for path in folder.iterdir():
        path.unlink()
    (folder / "header.bin").write_bytes(b"torn")
    OldWriter(old).snapshot("lines", SECOND, broken, compressed=True)
    imported = taken(vault, old)
    assert imported.repaired.problem
    holds(vault, RECORDS)
    assert not taken(vault, old).new
    # Of a torn database nothing is left.
    database = broken / "chroma.sqlite3"
    database.write_bytes(database.read_bytes()[:5000])
    OldWriter(old).snapshot("lines", "20260901_120000", broken, compressed=False)
    with pytest.raises(ChromasealError) as caught:
        taken(vault, old)
    assert caught.value.kind == "cannot-repair"
    assert caught.value.message.startswith("snapshot 20260901_120000 of lines cannot be repaired")
    assert SECOND in caught.value.hint
    assert not taken(vault, old, at=SECOND).new


def test_other_versions_are_not_undone(vault: Vault, old: OldBucket, made: Path) -> None:
    """A snapshot that is new to the vault does not go over what came there, unless it is said."""
    vault.write({"lines": upserts(record("mine", 7))})
    vault.compact(["lines"])
    OldWriter(old).snapshot("lines", FIRST, made, compressed=True)
    with pytest.raises(ChromasealError) as caught:
        taken(vault, old)
    assert caught.value.kind == "not-the-newest"
    assert taken(vault, old, replace=True).version.manifest.number == 2
    holds(vault, RECORDS)


def test_what_is_not_there_is_said(vault: Vault, old: OldBucket, made: Path) -> None:
    """No pointer, a pointer to nothing, a pointer that is none, another collection, a vault."""
    bucket = LegacyBucket(old.store)
    assert import_snapshot(vault.parts, bucket, "lines") is None
    kinds = []
    for body in (b"20990101_000000", b"../../vault", b"\xff"):
        old.put("lines/snapshot/latest-pointer.txt", body)
        with pytest.raises(ChromasealError) as caught:
            import_snapshot(vault.parts, bucket, "lines")
        kinds.append(caught.value.kind)
    assert kinds == ["no-snapshot", "bad-snapshot-id", "bad-snapshot-id"]
    OldWriter(old).snapshot("words", FIRST, made, compressed=True)
    with pytest.raises(ChromasealError) as caught:
        import_snapshot(vault.parts, bucket, "words")
    assert caught.value.kind == "other-collection"
    for refused in (
        lambda: refuse_vault(vault.parts.store),
        lambda: export(vault.parts, taken(vault, old).version, vault.parts.store),
    ):
        OldWriter(old).snapshot("lines", FIRST, made, compressed=True)
        with pytest.raises(ChromasealError) as caught:
            refused()
        assert caught.value.kind == "is-a-vault"


@pytest.mark.parametrize("knows_archives", [True, False], ids=["H", "E1"])
def test_old_readers_read_what_is_exported(
    vault: Vault, old: OldBucket, tmp_path: Path, *, knows_archives: bool
) -> None:
    """Of every release, with a stock client; twice is once; and it can be imported again."""
    vault.write({"lines": upserts(*RECORDS)})
    vault.compact(["lines"])
    version = vault.version("lines")
    exported = export(vault.parts, version, old.store)
    assert (exported.new, exported.stored_bytes) == (True, version.manifest.size_bytes)
    assert not export(vault.parts, version, old.store).new
    reader = OldReader(old, knows_archives=knows_archives)
    assert reader.snapshot_id("lines") == exported.snapshot_id
    found = reader.records("lines", tmp_path / "read")
    assert found["r3"] == {"document": "text", "image_id": IMAGE, "receipt_id": 1, "n": 3}
    assert found.keys() == {each.id for each in RECORDS}
    assert taken(vault, old).version == version


def test_a_pointer_never_goes_back(vault: Vault, old: OldBucket, made: Path) -> None:
    """Neither to an older version nor from what another compactor has written since."""
    for number in range(2):
        vault.write({"lines": upserts(record("r", number))})
        vault.compact(["lines"])
    export(vault.parts, vault.version("lines"), old.store)
    with pytest.raises(ChromasealError) as caught:
        export(vault.parts, vault.version("lines", "1"), old.store)
    assert caught.value.kind == "newer-there"
    OldWriter(old).snapshot("lines", "20990101_000000", made, compressed=True)
    with pytest.raises(ChromasealError) as caught:
        export(vault.parts, vault.version("lines"), old.store)
    assert caught.value.kind == "newer-there"
    assert OldReader(old, knows_archives=True).snapshot_id("lines") == "20990101_000000"


def test_a_mirror_follows_and_does_not_grow(vault: Vault, old: OldBucket, made: Path) -> None:
    """Four snapshots stay, and all that others wrote; a mirror that failed costs no version."""
    OldWriter(old).snapshot("lines", FIRST, made, compressed=True)
    faulty = FaultyStore(old.store)
    mirrored = MirroredVault(
        vault.parts, mirror=faulty, open_reader=vault._open_reader, close=lambda: None
    )
    for number in range(6):
        mirrored.write({"lines": upserts(record("r", number))})
        if number == 5:
            faulty.plan(Fault.NO_ANSWER, after=3)
        mirrored.compact(["lines"])
    assert faulty.fired
    assert mirrored.behind.keys() == {"lines"}
    ids = [parse(entry.version.version_id).existing_name for entry in vault.log("lines")]
    reader = OldReader(old, knows_archives=True)
    assert reader.snapshot_id("lines") == ids[1]
    assert mirrored.bring_mirror_on("lines")
    assert not mirrored.behind
    assert reader.snapshot_id("lines") == ids[0]
    assert LegacyBucket(old.store).snapshots("lines") == [*ids[:4], FIRST]
    assert bring_on(vault.parts, "words", old.store) is None
    assert trim(old.store, "lines", ids) == []


def adopted(vault: Vault, old: OldBucket, merged_into: dict[str, Path]) -> list[Adopted]:
    """Take all runs over that the bucket's deltas tell of."""
    before = old.all()
    bucket = LegacyBucket(old.store)
    runs, _ = runs_in(bucket)
    done = list(adopt_runs(vault.parts, bucket, runs, merged_into=merged_into))
    assert old.all() == before
    return done


@pytest.mark.parametrize("upload", ["", "0123456789abcdef" * 2], ids=["archive", "files"])
def test_deltas_become_runs_that_wait(
    vault: Vault, old: OldBucket, made: Path, tmp_path: Path, upload: str
) -> None:
    """Under their ids, with their receipt; what the snapshot has already is not merged again."""
    writer, fresh = OldWriter(old), tmp_path / "fresh"
    writer.snapshot("lines", FIRST, made, compressed=True)
    new = [record(f"n{n}", n, image_id=IMAGE, receipt_id=2, tags=["a", "b"]) for n in range(3)]
    make_directory(fresh, "lines", new)
    writer.delta("lines", RUN, fresh, upload=upload)
    writer.delta("lines", "merged-before", made, upload=upload)
    with directories_of(vault.parts, [taken(vault, old).version]) as merged_into:
        done = adopted(vault, old, merged_into)
        assert {each.run_id: each.status for each in done} == {
            RUN: "adopted",
            "merged-before": "contained",
        }
        again = adopted(vault, old, merged_into)
    assert {each.status for each in again} == {"known", "contained"}
    run = vault.run(RUN)
    assert run.attributes["image_id"] == IMAGE
    assert run.attributes["receipt_id"] == "2"
    assert RUN in run.attributes["adopted_from"]
    (done_one,) = vault.compact(["lines"])
    assert done_one.merged == (RUN,)
    holds(vault, [*RECORDS, *new])
    assert vault.run(RUN).parts["lines"].state is RunState.COMPLETED
    # Of what is a run already, no delta is looked for any more.
    again_after = LegacyRun(RUN, {"lines": f"lines/delta/{RUN}/expired/"})
    assert adopt(vault.parts, LegacyBucket(old.store), again_after).status == "known"


def test_a_delta_that_cannot_be_read_is_named_and_stops_no_other(
    vault: Vault, old: OldBucket, made: Path, tmp_path: Path
) -> None:
    """Torn, of another collection, empty, hostile, or there twice; a dead writer's is mended."""
    writer = OldWriter(old)
    make_directory(tmp_path / "empty", "lines", [])
    torn = tmp_path / "torn"
    shutil.copytree(made, torn)
    (torn / "chroma.sqlite3").write_bytes(b"SQLite format 3\x00" + bytes(5000))
    journal = tmp_path / "journal"
    shutil.copytree(made, journal)
    (journal / "chroma.sqlite3-journal").write_bytes(b"")
    for name, directory in (
        ("a-good", made),
        ("b-empty", tmp_path / "empty"),
        ("c-torn", torn),
        ("d-journal", journal),
    ):
        writer.delta("lines", name, directory)
    writer.delta("words", "e-other", made)
    old.put("lines/delta/f-cut/delta.tar.gz", packed(made)[:-20])
    for hexadecimal in ("0" * 32, "1" * 32):
        writer.delta("lines", "g-twice", made, upload=hexadecimal)
    assert runs_in(LegacyBucket(old.store))[1] == ["g-twice"]
    done = {each.run_id: each for each in adopted(vault, old, {})}
    statuses = {run_id: each.status for run_id, each in done.items()}
    refused = dict.fromkeys(("b-empty", "c-torn", "e-other", "f-cut"), "refused")
    assert statuses == {"a-good": "adopted", "d-journal": "adopted", **refused}
    kinds = {name: done[name].error.kind for name in refused}  # type: ignore[union-attr]
    assert kinds["f-cut"] == "bad-archive"
    for name in refused:
        error = done[name].error
        assert error is not None
        assert name in error.message, error.message
        assert str(tmp_path) not in error.message
    vault.compact(["lines"])
    holds(vault, RECORDS)


def test_the_command_line_takes_over_and_writes_back(tmp_path: Path, made: Path) -> None:
    """Import, compact with a mirror, export of what is there already."""
    place, cache, vault = tmp_path / "bucket", tmp_path / "cache", str(tmp_path / "vault")
    place.mkdir()
    files = OldBucket(ForeignDirectory(place, ids=SystemIds()))
    writer = OldWriter(files)
    writer.snapshot("lines", FIRST, made, compressed=False)
    writer.delta("lines", RUN, make_directory(tmp_path / "new", "lines", [record("new", 8, n=8)]))
    before = files.all()

    def said(*arguments: str) -> list[dict[str, object]]:
        answer = chromaseal(*arguments, "--vault", vault, "--json", cache=cache, folder=tmp_path)
        assert answer.exit_code == 0, answer.errors
        return answer.events

    imported, run = said("import", "--from", str(place))
    assert (imported["event"], imported["records"], imported["form"]) == ("imported", 5, "files")
    assert (run["status"], run["run_id"]) == ("adopted", RUN)
    assert [e["event"] for e in said("import", "--from", str(place))] == ["unchanged", "run"]
    assert files.all() == before
    (tmp_path / "chromaseal.toml").write_text(f'mirror_legacy = "{place}"\n')
    said("compact")
    assert OldReader(files, knows_archives=False).records("lines", tmp_path / "r").keys() == {
        "new",
        *(each.id for each in RECORDS),
    }
    (exported,) = said("export", "lines@2", "--to", str(place), "--layout", "legacy")
    assert exported["event"] == "unchanged"
    for mistyped in ([str(tmp_path / "no")], [str(place), "lines", "line"]):
        asked = ("import", "--from", *mistyped, "--vault", str(tmp_path / "made"))
        refused = chromaseal(*asked, "--json", cache=cache)
        assert [each["error"] for each in refused.events] == ["nothing-to-import"]
        assert not (tmp_path / "made").exists()


def test_a_collection_that_cannot_be_taken_over_stops_no_other(tmp_path: Path, made: Path) -> None:
    """It is named; once an older snapshot of it was taken, the deltas come too."""
    place, options = tmp_path / "bucket", ("--vault", str(tmp_path / "vault"), "--json")
    place.mkdir()
    writer = OldWriter(OldBucket(ForeignDirectory(place, ids=SystemIds())))
    words = make_directory(tmp_path / "words", "words", RECORDS[:2])
    torn = tmp_path / "torn"
    shutil.copytree(made, torn)
    (torn / "chroma.sqlite3").write_bytes(b"torn")
    writer.snapshot("lines", FIRST, made, compressed=True)
    writer.snapshot("lines", SECOND, torn, compressed=True)
    writer.snapshot("words", FIRST, words, compressed=True)
    new = make_directory(tmp_path / "new", "lines", [record("new", 8, n=8)])
    writer.delta("lines", RUN, new)

    def events(*more: str) -> list[tuple[str, str]]:
        command = ("import", "--from", str(place), *more, *options)
        answer = chromaseal(*command, cache=tmp_path / "cache")
        return [(e["event"], e.get("collection") or e.get("status", "")) for e in answer.events]

    refused = [("not-imported", "lines"), ("imported", "words"), ("error", "")]
    assert events() == refused
    assert events("lines", "--at", FIRST, "--no-deltas") == [("imported", "lines")]
    assert events() == [refused[0], ("unchanged", "words"), ("run", "adopted"), refused[2]]


@pytest.mark.slow
def test_a_real_store_holds_it_all(
    vault: Vault, seaweedfs_server: S3Server, made: Path, tmp_path: Path
) -> None:
    """Keys with dots in front, ranges, conditions: the same on S3's protocol."""
    prefix = SystemIds().unique()
    store: ObjectStore = ForeignBucket(
        seaweedfs_server.url(prefix), options=seaweedfs_server.options()
    )
    old = OldBucket(store)
    OldWriter(old).snapshot("lines", FIRST, made, compressed=True)
    prefix_of_delta = OldWriter(old).delta("lines", RUN, made, upload="a" * 32)
    assert taken(vault, old).fetched.hash == SAME
    assert [p.prefix for p in LegacyBucket(store).deltas("lines")] == [prefix_of_delta]
    vault.write({"lines": Changes(deletes=["r0"])})
    vault.compact(["lines"])
    bring_on(vault.parts, "lines", store)
    for knows_archives in (True, False):
        reader = OldReader(old, knows_archives=knows_archives)
        found = reader.records("lines", tmp_path / str(knows_archives))
        assert found.keys() == {each.id for each in RECORDS[1:]}
