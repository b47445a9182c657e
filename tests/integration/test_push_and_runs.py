"""A collection into which runs are merged and directories pushed: neither undoes the other."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import OpenVault

from chromaseal.errors import Conflict
from chromaseal.testing.clock import START, ManualClock
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

CHANGE = """
import sys
import chromadb

client = chromadb.PersistentClient(sys.argv[1])
notes = client.get_collection("notes", embedding_function=None)
notes.update(ids=[sys.argv[2]], documents=[sys.argv[3]], embeddings=[[1.0, 2.0, 3.0, 4.0]])
"""


def change(directory: Path, record_id: str, document: str) -> None:
    """Let an application change a record in a directory of its own."""
    command = [sys.executable, "-c", CHANGE, str(directory), record_id, document]
    subprocess.run(command, check=True)


def documents(vault: Vault) -> dict[str, str | None]:
    """Give what a reader sees."""
    with vault.reader("notes") as reader:
        return {each.id: each.document for each in reader.records()}


def test_a_late_run_undoes_nothing_that_was_pushed(vault_at: OpenVault, tmp_path: Path) -> None:
    """Of the runs that it has to come before, only those since the push are repeated."""
    clock = ManualClock()
    vault, directory = vault_at(clock=clock), tmp_path / "own"
    first = upserts(record("a", document="first"), record("b", document="first"))
    vault.write({"notes": first}, run_id="first")
    vault.compact()
    vault.pull("notes", directory)
    change(directory, "a", "pushed")
    vault.push(directory, "notes")
    clock.set(START + dt.timedelta(hours=1))
    vault.write({"notes": upserts(record("b", document="since"))}, run_id="since")
    vault.compact()
    clock.set(START - dt.timedelta(hours=1))
    late = upserts(record("b", document="late"), record("c", document="late"))
    vault.write({"notes": late}, run_id="late")
    (done,) = vault.compact()
    assert done.merged == ("late",)
    assert documents(vault) == {"a": "pushed", "b": "since", "c": "late"}


def test_a_directory_that_a_run_has_overtaken_is_not_pushed(
    vault_at: OpenVault, tmp_path: Path
) -> None:
    """It would undo the run; pulled anew, it has both."""
    vault, directory = vault_at(), tmp_path / "own"
    both = upserts(record("a", document="first"), record("b", document="first"))
    vault.write({"notes": both}, run_id="first")
    vault.compact()
    vault.pull("notes", directory)
    vault.write({"notes": upserts(record("b", document="second"))}, run_id="second")
    vault.compact()
    change(directory, "a", "pushed")
    with pytest.raises(Conflict, match="undo what came since"):
        vault.push(directory, "notes")
    vault.pull("notes", directory, overwrite=True)
    change(directory, "a", "pushed")
    assert vault.push(directory, "notes").new
    assert documents(vault) == {"a": "pushed", "b": "second"}
