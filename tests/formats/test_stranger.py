"""A reader written from the documents alone reads what the package writes, byte for byte."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from chromaseal.composition.engine import open_vault
from chromaseal.delta.model import Changes
from chromaseal.errors import Damaged
from chromaseal.record import MetadataValue, Record
from chromaseal.settings import Settings
from chromaseal.snapshot.retention import Policy
from chromaseal.vault import Vault

STRANGER = Path(__file__).with_name("stranger.py")
MAKE_VAULT = STRANGER.parents[1] / "fixtures" / "make_vault.py"
NAME = "notes"
VERSIONS = 6


def load(path: Path) -> ModuleType:
    """Import a script by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # data classes look their module up
    spec.loader.exec_module(module)
    return module


stranger = load(STRANGER)
make_vault = load(MAKE_VAULT)


def record(number: int) -> Record:
    """Make a record with every kind of value."""
    vector = np.random.default_rng(number).normal(size=6).astype(np.float32)
    metadata: dict[str, MetadataValue] = {
        "n": number,
        "share": number / 7,
        "whole": float(number),
        "minus": -0.0,
        "tags": ["ä", "b\n"],
        "shares": [0.1, 1e-7],
        "even": number % 2 == 0,
        "text": 'naïve "quoted" \\ \x1f 日本',
    }
    return Record(f"r{number}", vector, f"doc {number}" if number % 3 else None, metadata)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """Give a vault with two versions of one collection."""
    folder = tmp_path_factory.mktemp("stranger")
    settings = Settings(
        vault=(folder / "vault").as_uri(),
        ledger=f"sqlite:///{folder / 'ledger.sqlite'}",
        cache=folder / "cache",
    )
    with open_vault(settings) as opened:
        first = Changes(upserts=[record(number) for number in range(40)])
        opened.write({NAME: first}, attributes={"file_digest": "0" * 64})
        opened.compact()
        second = Changes(
            upserts=[record(41)], updates={"r2": {"n": None, "new": 0.5}}, deletes=["r1"]
        )
        opened.write({NAME: second})
        opened.compact()
        yield opened


def place(vault: Vault) -> Path:
    """Give the directory of a local vault."""
    return Path(vault.url.removeprefix("file://"))


def contents(directory: Path) -> dict[str, bytes]:
    """Give every file's content by its path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True)
class Layered:
    """A vault with chains of every sort, and what was pushed, as plain copies by number."""

    vault: Vault
    copies: Path

    def version_id(self, number: int) -> str:
        """Give the id of a version."""
        return self.vault.version(NAME, str(number)).version_id


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layered]:
    """Push a directory whose index is flushed between versions; fold, roll back, tag, collect."""
    folder = tmp_path_factory.mktemp("layered")
    settings = Settings((folder / "vault").as_uri(), "memory://", folder / "cache")
    amounts = make_vault.Amounts(records=120, dimension=32, threshold=100)
    with open_vault(settings) as opened, make_vault.early():
        for number in range(1, VERSIONS + 1):
            make_vault.write_batch(folder / "application", number, amounts)
            opened.push(folder / "application", NAME)
            shutil.copytree(folder / "application", folder / str(number))
        opened.rollback(NAME, "3")
        shutil.copytree(folder / "3", folder / str(VERSIONS + 1))
        opened.tag(NAME, "release", at="2")
        opened.gc(NAME, Policy(keep_last=VERSIONS - 1))
        yield Layered(opened, folder)


def test_rebuilds_directories_from_layers(layered: Layered, tmp_path: Path) -> None:
    """Base, folds and diffs, as they are and as XOR, give what was pushed, byte for byte."""
    modes: Counter[str] = Counter()
    depths: Counter[int] = Counter()
    for number in range(2, VERSIONS + 2):
        target = tmp_path / str(number)
        manifest = stranger.rebuild(place(layered.vault), NAME, target, layered.version_id(number))
        assert contents(target) == contents(layered.copies / str(number))
        for layer in manifest["layers"][1:]:
            depths[layer["depth"]] += 1
            found = list(stranger.frames(place(layered.vault), NAME, layer))
            modes.update(frame.mode for frame in found if "data_level0" in frame.path)
    assert modes["xor"] >= VERSIONS
    assert modes["raw"] >= VERSIONS
    assert depths[0] >= VERSIONS
    assert depths[1] >= 1
    assert depths[2] >= 1


def test_steps_lead_from_one_version_to_the_next(layered: Layered, tmp_path: Path) -> None:
    """From its parent's directory and the step alone comes every version's."""
    for number in range(2, VERSIONS + 2):
        target = tmp_path / str(number)
        version_id = layered.version_id(number)
        before = layered.copies / str(number - 1)
        stranger.rebuild(place(layered.vault), NAME, target, version_id, before=before)
        assert contents(target) == contents(layered.copies / str(number))
    newest, wrong = layered.version_id(VERSIONS + 1), layered.copies / "3"
    with pytest.raises((stranger.Refused, KeyError)):
        stranger.rebuild(place(layered.vault), NAME, tmp_path / "wrong", newest, before=wrong)


def test_refuses_every_flipped_byte_of_a_layer(layered: Layered, tmp_path: Path) -> None:
    """In whichever object of a chain, and wherever in it; the package refuses it as well."""
    copy = tmp_path / "vault"
    shutil.copytree(place(layered.vault), copy)
    version_id = layered.version_id(VERSIONS)
    manifest, _ = stranger.read_manifest(copy, NAME, version_id)
    settings = Settings(copy.as_uri(), "memory://", tmp_path / "cache")
    with open_vault(settings) as opened:
        for layer in manifest["layers"]:
            path = copy / NAME / "layer" / f"{layer['layer_id']}-0000.layer"
            sound = path.read_bytes()
            for position in (*range(0, len(sound), len(sound) // 9), len(sound) - 1):
                damaged = bytearray(sound)
                damaged[position] ^= 1
                path.write_bytes(damaged)
                with pytest.raises(stranger.Refused):
                    stranger.rebuild(copy, NAME, tmp_path / "theirs", version_id)
                with pytest.raises(Damaged, match=layer["layer_id"]):
                    opened.open_copy(NAME, tmp_path / "ours", at=version_id)
            path.write_bytes(sound)


def test_reads_the_history(layered: Layered, vault: Vault) -> None:
    """Rows and pages tell what the log tells: versions, rollbacks, runs, tags, removals."""
    at = place(layered.vault)
    manifest, _ = stranger.read_manifest(at, NAME, stranger.newest(at, NAME))
    assert [page["last"] for page in manifest["pages"]] == [3, 6]
    log = list(layered.vault.log(NAME))
    assert [each["version_id"] for each in stranger.line(at, NAME)] == [
        entry.version.version_id for entry in reversed(log[1:])
    ]
    assert [each["records"] for each in stranger.line(at, NAME)] == [
        entry.version.records for entry in reversed(log[1:])
    ]
    assert manifest["restores"] == 3
    assert stranger.tags(at, NAME) == {"release": layered.version_id(2)}
    gone = {entry.version.version_id for entry in log if entry.removed}
    assert stranger.removed(at, NAME) == gone
    assert len(gone) == 1
    (first,) = stranger.line(place(vault), NAME)
    assert len(first["runs"]) == 1
    assert stranger.effective_runs([first]) == {run_id for run_id, _ in first["runs"]}
    undone = {**first, "restores": 1, "runs": []}
    more = {**first, "runs": [["later", first["runs"][0][1]]]}
    assert stranger.effective_runs([first, more]) == {"later", *stranger.effective_runs([first])}
    assert stranger.effective_runs([first, more, undone]) == stranger.effective_runs([first])


@pytest.mark.parametrize("at", ["", "1"])
def test_rebuilds_the_same_bytes(vault: Vault, tmp_path: Path, at: str) -> None:
    """Any version that the stranger rebuilds is what the package fetches."""
    version = vault.open_copy(NAME, tmp_path / "ours", at=at)
    stranger.rebuild(place(vault), NAME, tmp_path / "theirs", version.version_id)
    assert contents(tmp_path / "theirs") == contents(tmp_path / "ours")


def test_follows_the_chain(vault: Vault) -> None:
    """The stranger walks from the pointer to version 1 and finds the same numbers."""
    found = [manifest["number"] for manifest in stranger.history(place(vault), NAME)]
    assert found == [entry.version.number for entry in vault.log(NAME)] == [2, 1]


def test_sums_up_the_same_records(vault: Vault, tmp_path: Path) -> None:
    """Count and multiset hash follow from the rebuilt files as the documents say."""
    manifest = stranger.rebuild(place(vault), NAME, tmp_path)
    records = list(stranger.unflushed_records(tmp_path, NAME))
    assert len(records) == manifest["records"]["count"] == 40
    total = stranger.multiset([stranger.record_digest(*each) for each in records])
    assert total == manifest["records"]["multiset"]


def test_checks_deltas(vault: Vault) -> None:
    """The stranger finds every delta's digest and header, also with a decoy among them."""
    deltas = sorted((place(vault) / NAME / "delta").rglob("delta.parquet"))
    headers = [stranger.check_delta(path.read_bytes()) for path in deltas]
    assert {header["run_id"] for header in headers} == {path.parent.name for path in deltas}
    assert all(header["collection"] == NAME for header in headers)


def test_refuses_every_flipped_byte_of_a_manifest(vault: Vault, tmp_path: Path) -> None:
    """No change of a manifest passes, and the package refuses it as well."""
    version_id = stranger.newest(place(vault), NAME)
    key = f"{NAME}/snapshot/timestamped/{version_id}/manifest.json"
    body = bytearray((place(vault) / key).read_bytes())
    (tmp_path / key).parent.mkdir(parents=True)
    for position in range(0, len(body), 97):
        body[position] ^= 1
        (tmp_path / key).write_bytes(body)
        with pytest.raises(stranger.Refused):
            stranger.read_manifest(tmp_path, NAME, version_id)
        body[position] ^= 1


def test_reads_keys_that_the_documents_list(vault: Vault, layered: Layered) -> None:
    """Every object of the vault has a key of the form that ``vault.md`` gives."""
    table = (STRANGER.parents[2] / "docs/formats/vault.md").read_text()
    forms = re.findall(r"^\| `([^`]+)` \|.* (?:once|moved) \|", table, re.MULTILINE)
    assert len(forms) == 13
    patterns = [re.sub(r"<[^>]+>", "[^/]+", re.escape(f).replace(r"\ ", " ")) for f in forms]
    used = set()
    vault.write({"notes": Changes(upserts=[record(1)])}, run_id="given-up")
    vault.cancel("given-up")
    for found in (*vault.parts.store.list(""), *layered.vault.parts.store.list("")):
        matching = [pattern for pattern in patterns if re.fullmatch(pattern, found.key)]
        assert len(matching) == 1, found.key
        used |= set(matching)
    fronts = ("_receipts/", "_chromaseal/set-aside/")
    assert len(used) == len([form for form in forms if not form.startswith(fronts)])


def test_shares_no_code() -> None:
    """The stranger imports the standard library, zstandard and blake3 only."""
    imported = set()
    for node in ast.walk(ast.parse(STRANGER.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"zstandard", "blake3"}
