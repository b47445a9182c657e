"""`chromaseal sync` and `chromaseal open --from-mount`, as people and programs call them."""

from __future__ import annotations

from pathlib import Path

import chromadb

import chromaseal
from chromaseal.testing.command_line import Answer
from chromaseal.testing.command_line import chromaseal as run


def test_a_synced_version_is_opened_without_a_vault(four_versions: Path, tmp_path: Path) -> None:
    """The figures are in the answers, and a stock client finds the records in the copy."""
    mount, cache = tmp_path / "mount", tmp_path / "cache"
    mount.mkdir()

    def sync(*options: str) -> Answer:
        vault = str(four_versions / "vault")
        return run("sync", "notes", str(mount), "--vault", vault, *options, cache=cache)

    (synced,) = sync("--json").only("synced")
    assert synced["written_bytes"] > synced["size_bytes"] > 0
    assert Path(synced["directory"]).is_dir()
    (again,) = sync("--json").only("unchanged")
    assert (again["written_bytes"], again["version_id"]) == (0, synced["version_id"])
    assert "had version 4 of notes: 8 records" in sync().out
    opening = ("open", "notes", str(tmp_path / "copy"), "--from-mount", str(mount), "--json")
    (opened,) = run(*opening, cache=cache, folder=tmp_path).only("opened")
    assert opened["version_id"] == synced["version_id"]
    client = chromadb.PersistentClient(str(tmp_path / "copy"))
    assert client.get_collection("notes").count() == opened["records"]
    both = run(*opening, "--vault", str(four_versions / "vault"), cache=cache)
    assert both.exit_code == 2
    version = chromaseal.open_copy_from_mount(mount, "notes", tmp_path / "other", at=4)
    assert version.version_id == synced["version_id"]


def test_a_mount_that_is_not_there_is_said(four_versions: Path, tmp_path: Path) -> None:
    """Neither command makes what is to be mounted."""
    vault, nowhere = str(four_versions / "vault"), str(tmp_path / "nowhere")
    cache = tmp_path / "cache"
    synced = run("sync", "notes", nowhere, "--vault", vault, "--json", cache=cache)
    assert [each["error"] for each in synced.events] == ["no-mount"]
    opened = run("open", "notes", str(tmp_path / "copy"), "--from-mount", nowhere, cache=cache)
    assert (opened.exit_code, "no-version" in opened.errors) == (4, True)
    assert not (tmp_path / "nowhere").exists()
