"""The package of the functions' code: the same bytes for the same files, and all that is needed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from chromaseal.adapters.packaging.installed import files_of, needed
from chromaseal.deployment.code_package import (
    UNZIPPED_LIMIT_BYTES,
    PackedFile,
    check_size,
    in_order,
    pack,
)
from chromaseal.errors import Unsupported


def test_the_same_files_make_the_same_zip(tmp_path: Path) -> None:
    """Whatever their order, their times and their permissions."""
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_bytes(b"1" * 5000)
    second.write_bytes(b"2")
    files = [PackedFile("x/b.py", second), PackedFile("x/a.py", first)]
    pack(in_order(files), tmp_path / "one.zip")
    os.utime(first, (1, 1))
    second.chmod(0o600)
    pack(in_order(reversed(files)), tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        assert packed.namelist() == ["x/a.py", "x/b.py"]
        assert packed.read("x/a.py") == first.read_bytes()
        # Lambda's user is another one than whoever packed it.
        assert {each.external_attr >> 16 & 0o777 for each in packed.infolist()} == {0o644}


def test_a_zip_is_whole_or_not_there(tmp_path: Path) -> None:
    """A file that cannot be read leaves what was there before."""
    target = tmp_path / "functions.zip"
    target.write_bytes(b"before")
    with pytest.raises(FileNotFoundError):
        pack([PackedFile("gone", tmp_path / "gone")], target)
    assert [each.name for each in tmp_path.iterdir()] == ["functions.zip"]
    assert target.read_bytes() == b"before"


def test_what_lambda_would_refuse_is_refused_first() -> None:
    """With the way out, and who is to blame."""
    check_size(UNZIPPED_LIMIT_BYTES, [])
    with pytest.raises(Unsupported, match="numpy") as caught:
        check_size(UNZIPPED_LIMIT_BYTES + 1, ["numpy"])
    assert caught.value.kind == "package-too-large"
    assert "deploy/Dockerfile" in caught.value.hint


def test_all_that_is_needed_is_found_and_nothing_else() -> None:
    """Extras and what they need included; what only developers need is not."""
    plain, aws, both = needed([]), needed(["aws"]), needed(["aws", "receipts"])
    assert {"chromaseal", "chromadb", "obstore", "numpy"} <= plain.keys()
    assert {"boto3", "botocore", "aws-lambda-powertools", "aws-xray-sdk"} <= aws.keys()
    assert "boto3" not in plain
    assert {"rapidocr", "pillow"} <= both.keys() - aws.keys()
    assert not {"pytest", "mypy", "ruff", "cfn-lint", "pip"} & both.keys()
    assert not {"kubernetes", "uvicorn", "huggingface-hub"} & both.keys()


def test_files_are_those_of_the_package_and_tell_nothing_of_this_machine() -> None:
    """No programs, no compiled files, no notes with paths; its own code wherever it is."""
    found = needed([])
    own = {each.name for each in files_of(found["chromaseal"])}
    assert {"chromaseal/vault.py", "chromaseal/entrypoints/child.py"} <= own
    names = own | {each.name for each in files_of(found["chromadb"])}
    assert "chromadb/__init__.py" in names
    wrong = ("..", ".pth", ".pyc", "direct_url.json", "RECORD")
    assert [each for each in names if each.startswith("..") or each.endswith(wrong)] == []
    assert any(each.endswith(".dist-info/METADATA") for each in own)
