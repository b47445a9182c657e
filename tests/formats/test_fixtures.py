"""Vaults that releases have written are read by every later one.

``tests/fixtures/make_vault.py`` made them, each with the release that it is named after; none is
ever made anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromaseal import multiset
from chromaseal.adapters.chroma.client import opened
from chromaseal.composition.engine import open_vault
from chromaseal.errors import NotFound, Unsupported
from chromaseal.record import record_digest
from chromaseal.settings import Settings
from chromaseal.snapshot.checkout import check_files
from chromaseal.snapshot.history import line, merged_runs
from chromaseal.snapshot.layer_objects import LayerReader
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = sorted(path.name for path in FIXTURES.glob("vault-*") if path.is_dir())
SMALL_BYTES = 500_000


def expected(release: str) -> dict[str, list[dict[str, Any]]]:
    """Give what is in a vault, by collection, the newest version first."""
    found: dict[str, list[dict[str, Any]]] = json.loads(
        (FIXTURES / f"{release}-expected.json").read_text()
    )
    return found


VERSIONS = [
    pytest.param(release, name, version, id=f"{release}-{name}-{version['number']}")
    for release in RELEASES
    for name, versions in expected(release).items()
    for version in versions
]


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Give the name of each fixture."""
    return str(request.param)


@pytest.fixture(scope="module")
def vaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Vault]]:
    """Give every vault, opened on a copy of it that nothing is written to."""
    folder = tmp_path_factory.mktemp("fixtures")
    found: dict[str, Vault] = {}
    for name in RELEASES:
        shutil.copytree(FIXTURES / name, folder / name)
        settings = Settings((folder / name).as_uri(), "memory://", folder / f"{name}-cache")
        found[name] = open_vault(settings, create=False)
    yield found
    for vault in found.values():
        vault.close()


def test_there_are_fixtures(vaults: dict[str, Vault], release: str) -> None:
    """Every fixture is small, and has what a vault can have."""
    files = [path for path in (FIXTURES / release).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < SMALL_BYTES
    keys = " ".join(path.relative_to(FIXTURES).as_posix() for path in files)
    for part in ("delta/", "-base-", "-step-", "-fold-", "history/", "tag/", "gc/", "snapshot/"):
        assert part in keys
    everything = [version for versions in expected(release).values() for version in versions]
    assert any(version["restores"] for version in everything)
    assert any(version["runs"] for version in everything)
    manifest = vaults[release].version("notes").manifest
    assert max(layer.depth for layer in manifest.layers) > 1
    with LayerReader(vaults[release].parts.store, "notes") as reader:
        layers = reader.open(manifest.layers)
    frames = [frame for layer in layers for part in layer.parts for frame in part.frames]
    assert {frame.mode for frame in frames} == {"raw", "xor"}


@pytest.mark.parametrize(("release", "name", "version"), VERSIONS)
def test_every_version_is_read(
    vaults: dict[str, Vault], tmp_path: Path, release: str, name: str, version: dict[str, Any]
) -> None:
    """Each version that is there is fetched whole, and ChromaDB finds the same records in it."""
    vault, version_id = vaults[release], version["version_id"]
    if version["removed"]:
        with pytest.raises(NotFound) as gone:
            vault.version(name, version_id)
        assert gone.value.kind == "removed-version"
        return
    found = vault.pull(name, tmp_path / "pulled", at=version_id).version
    assert found.manifest.records.count == version["count"]
    assert found.manifest.records.multiset == version["multiset"]
    check_files(found.manifest, tmp_path / "pulled")
    with vault.reader(name, at=version_id) as reader:
        records = list(reader.records())
    assert len(records) == version["count"]
    total = multiset.of_digests([record_digest(each) for each in records])
    assert total.to_text() == version["multiset"]
    with opened(tmp_path / "pulled") as client:
        collection = client.get_collection(name, embedding_function=None)
        assert collection.count() == version["count"]
        some = records[0]
        answer = collection.query(query_embeddings=np.stack([some.embedding]), n_results=1)
        assert answer["ids"] == [[some.id]]


def test_the_history_is_read(vaults: dict[str, Vault], release: str) -> None:
    """Numbers, runs, rollbacks, tags and removals are what they were."""
    vault = vaults[release]
    for name, versions in expected(release).items():
        log = list(vault.log(name))
        assert [entry.version.version_id for entry in log] == [v["version_id"] for v in versions]
        assert [entry.version.restores for entry in log] == [v["restores"] for v in versions]
        assert [list(entry.tags) for entry in log] == [v["tags"] for v in versions]
        assert [entry.removed for entry in log] == [v["removed"] for v in versions]
        runs = merged_runs(line(vault.parts.store, vault.version(name)))
        assert {run.run_id for run in runs.contained} == {r for v in versions for r in v["runs"]}
        for tag, version_id in vault.tags(name).items():
            assert vault.version(name, tag).version_id == version_id
    assert any(vault.tags(name) for name in expected(release))


def test_a_version_of_a_newer_release_is_refused(vaults: dict[str, Vault], tmp_path: Path) -> None:
    """Whatever is asked of it, the answer names the release that can read it."""
    vault = vaults["vault-0.1"]
    for ask in (
        lambda: vault.version("future"),
        lambda: vault.reader("future"),
        lambda: list(vault.log("future")),
        lambda: vault.pull("future", tmp_path / "pulled"),
        lambda: vault.open_copy("future", tmp_path / "copy"),
        lambda: vault.gc("future"),
        lambda: vault.stats("future"),
    ):
        with pytest.raises(Unsupported) as caught:
            ask()
        assert caught.value.kind == "newer-version"
        assert "chromaseal 9.8.7 or later" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_old_vault_goes_on(release: str, tmp_path: Path) -> None:
    """Runs are merged on top of old versions, and directories published, as if nothing had been."""
    shutil.copytree(FIXTURES / release, tmp_path / "vault")
    versions = expected(release)
    settings = Settings((tmp_path / "vault").as_uri(), "memory://", tmp_path / "cache")
    with open_vault(settings, create=False) as vault:
        vault.write({"words": upserts(record("new", 1))}, run_id="run-3")
        (done,) = vault.compact(["words"])
        assert done.version is not None
        assert done.version.manifest.number == versions["words"][0]["number"] + 1
        assert done.version.manifest.records.count == versions["words"][0]["count"] + 1
        vault.pull("notes", tmp_path / "notes")
        with opened(tmp_path / "notes") as client:
            client.get_collection("notes", embedding_function=None).delete(ids=["r3"])
        pushed = vault.push(tmp_path / "notes", "notes").version.manifest
        assert pushed.number == versions["notes"][0]["number"] + 1
        assert pushed.records.count == versions["notes"][0]["count"] - 1
