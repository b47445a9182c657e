"""What a later release has written is refused for what it is, and left as it is."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.parquet import codec
from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Unsupported
from chromaseal.pin import read_pin
from chromaseal.settings import Settings
from chromaseal.testing.directory_states import contents

VAULT = Path(__file__).parents[1] / "fixtures" / "vault-0.1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a vault to change."""
    return shutil.copytree(VAULT, tmp_path / "vault")


def made_newer(path: Path) -> None:
    """Let a JSON object be in a format to come."""
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"format_version": plain["format_version"] + 1}))


def test_a_newer_vault_is_refused(root: Path, tmp_path: Path) -> None:
    """Neither opened nor made anew."""
    made_newer(root / keys.VAULT)
    before = contents(root)
    for create in (False, True):
        settings = Settings(root.as_uri(), "memory://", tmp_path / "cache")
        with pytest.raises(Unsupported) as caught:
            open_vault(settings, create=create)
        assert caught.value.kind == "newer-vault"
    assert contents(root) == before


def test_a_newer_collection_is_refused(root: Path, tmp_path: Path) -> None:
    """Others in the same vault can be used."""
    made_newer(root / keys.collection("notes"))
    settings = Settings(root.as_uri(), "memory://", tmp_path / "cache")
    with open_vault(settings, create=False) as vault:
        with pytest.raises(Unsupported) as caught:
            read_pin(vault.parts.store, "notes")
        assert caught.value.kind == "newer-vault"
        assert read_pin(vault.parts.store, "words") is not None


def test_a_newer_delta_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digest is right, and what it says may mean something else."""
    (path,) = VAULT.glob("words/delta/run-1/*")
    deltas = codec.ParquetDeltaCodec()
    delta = deltas.decode(path.read_bytes())
    monkeypatch.setattr(codec, "FORMAT_VERSION", codec.FORMAT_VERSION + 1)
    body = deltas.encode(delta)
    monkeypatch.undo()
    with pytest.raises(Unsupported) as caught:
        deltas.decode(body)
    assert caught.value.kind == "newer-delta"


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """Its tables are left as they are."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1000")
    before = path.read_bytes()
    with pytest.raises(Unsupported) as caught:
        SqlLedger(SqliteDatabase(path))
    assert caught.value.kind == "newer-ledger"
    assert path.read_bytes() == before
