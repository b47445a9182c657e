"""A directory that a user may not read is not called damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from chromaseal.errors import Unavailable
from chromaseal.seal.sealed import refuse_unreadable


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with a file in a folder of it, and a link that leads nowhere."""
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "header.bin").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_what_may_be_read_is_not_refused(directory: Path) -> None:
    """Links are looked at by others."""
    refuse_unreadable(directory)


def test_a_file_that_may_not_be_read_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of what is in it, so there is no verdict."""
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path).name != "header.bin")
    with pytest.raises(Unavailable, match=r"index/header\.bin may not be read") as caught:
        refuse_unreadable(directory)
    assert caught.value.kind == "system-error"


def test_a_folder_that_may_not_be_listed_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files would be taken for missing."""
    scandir = os.scandir

    def refuse(path: str) -> Any:  # noqa: ANN401 - what the system's own gives
        if Path(path).name == "index":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(Unavailable, match="index may not be read"):
        refuse_unreadable(directory)
