"""A reader written from the documents alone reads what the package writes, byte for byte."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from chromaseal.composition.engine import open_vault
from chromaseal.delta.model import Changes
from chromaseal.record import MetadataValue, Record
from chromaseal.settings import Settings
from chromaseal.vault import Vault

STRANGER = Path(__file__).with_name("stranger.py")
NAME = "notes"


def load_stranger() -> ModuleType:
    """Import the stranger by its path."""
    spec = importlib.util.spec_from_file_location("stranger", STRANGER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stranger = load_stranger()


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


@pytest.mark.parametrize("at", ["", "1"])
def test_rebuilds_the_same_bytes(vault: Vault, tmp_path: Path, at: str) -> None:
    """Any version that the stranger rebuilds is what the package fetches."""
    version = vault.open_copy(NAME, tmp_path / "ours", at=at)
    stranger.rebuild(place(vault), NAME, tmp_path / "theirs", version.version_id)
    assert contents(tmp_path / "theirs") == contents(tmp_path / "ours")


def test_follows_the_chain(vault: Vault) -> None:
    """The stranger walks from the pointer to version 1 and finds the same numbers."""
    found = [manifest["number"] for manifest in stranger.history(place(vault), NAME)]
    assert found == [version.manifest.number for version in vault.log(NAME)] == [2, 1]


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


def test_reads_keys_that_the_documents_list(vault: Vault) -> None:
    """Every object of the vault has a key of the form that ``vault.md`` gives."""
    table = (STRANGER.parents[2] / "docs/formats/vault.md").read_text()
    forms = re.findall(r"^\| `([^`]+)` \|.* (?:once|moved) \|", table, re.MULTILINE)
    assert len(forms) == 8
    patterns = [re.sub(r"<[^>]+>", "[^/]+", re.escape(f).replace(r"\ ", " ")) for f in forms]
    for found in vault.parts.store.list(""):
        assert any(re.fullmatch(pattern, found.key) for pattern in patterns), found.key


def test_shares_no_code() -> None:
    """The stranger imports the standard library, zstandard and blake3 only."""
    imported = set()
    for node in ast.walk(ast.parse(STRANGER.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"zstandard", "blake3"}
