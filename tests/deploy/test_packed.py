"""What is packed for the functions: small, and enough for all that they do."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from chromaseal import open_copy_from_mount
from chromaseal.adapters.packaging.installed import files_of, needed
from chromaseal.deployment.left_out import FOLDERS, UNUSED, is_left_out
from chromaseal.ids import SystemIds
from chromaseal.testing import function_runtime
from chromaseal.testing.function_trial import COLLECTIONS, Trial
from chromaseal.testing.programs import bare_environment, running
from chromaseal.testing.servers import S3Server

# Whatever makes it larger shall be noticed; docs/aws.md says what was seen.
CEILING_BYTES = {frozenset({"aws"}): 320e6, frozenset({"aws", "receipts"}): 620e6}
# Parts of packages that ask for what is left out: none is loaded by a function.
ASKING = {
    "chromadb/segment/impl/distributed/segment_directory.py": "kubernetes",
}
# A Python without this environment's packages.
PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def packages() -> Mapping[str, Distribution]:
    """Give every package that is packed."""
    return needed({"aws", "receipts"})


@pytest.fixture(scope="module")
def tree(packages: Mapping[str, Distribution], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of links to all that is packed, and to nothing else."""
    folder = tmp_path_factory.mktemp("packed")
    for package in packages.values():
        for each in files_of(package):
            place = folder / each.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(each.path)
    return folder


@pytest.mark.parametrize("extras", CEILING_BYTES)
def test_it_does_not_grow_unnoticed(extras: frozenset[str]) -> None:
    """Each start of a function fetches what it reads of it."""
    files = {each.name: each for package in needed(extras).values() for each in files_of(package)}
    assert sum(each.size_bytes for each in files.values()) < CEILING_BYTES[extras]


def test_nothing_that_is_packed_imports_what_is_not(tree: Path) -> None:
    """But for parts that are known, and that no function loads."""
    modules = sorted(name.replace("-", "_") for each in UNUSED.values() for name in each)
    asks = re.compile(rf"^\s*(?:import|from)\s+({'|'.join(modules)})\b", re.MULTILINE)
    found = {
        str(path.relative_to(tree)): match[1]
        for path in tree.rglob("*.py")
        if (match := asks.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert found == ASKING


def test_what_is_left_out_is_there_to_be_left_out(packages: Mapping[str, Distribution]) -> None:
    """A folder that has moved in a new release would come back unnoticed."""
    listed = [str(each) for package in packages.values() for each in package.files or []]
    assert [each for each in FOLDERS if not any(f.startswith(f"{each}/") for f in listed)] == []
    kept = [each for each in listed if not is_left_out(each)]
    assert "botocore/data/sqs/2012-11-05/service-2.json.gz" in kept
    assert "botocore/data/endpoints.json" in kept
    wrong = ("botocore/data/ec2/", "onnxruntime/capi/libonnxruntime.so.", "zstandard/_cffi.")
    assert [each for each in kept if each.startswith(wrong) or "/tests/" in each] == []


@pytest.mark.slow
def test_every_function_does_its_work_with_what_is_packed(
    tree: Path, tmp_path: Path, ministack_server: S3Server
) -> None:
    """From an image in the bucket to the version on the mount, each in a Python of its own."""

    def start(handler: str, environment: Mapping[str, str]) -> AbstractContextManager[object]:
        program = [str(PYTHON), "-s", "-B", "-P", function_runtime.__file__, handler]
        own = {"PYTHONPATH": str(tree), "PYTHONNOUSERSITE": "1", "ORT_DISABLE_TELEMETRY": "1"}
        return running(program, tmp_path, {**bare_environment(tmp_path), **environment, **own})

    trial = Trial(start, ministack_server, tmp_path / "at", f"packed-{SystemIds().unique()[:8]}")
    answers = dict(trial.run())
    log = (tmp_path / "server.log").read_text()
    assert answers.keys() >= {"on_receipt_uploaded", "on_version_published", "on_schedule"}, log
    assert answers["on_run_changed"] == answers["on_runs_waiting"] == {"batchItemFailures": []}
    assert '"put away"' in log
    for name in COLLECTIONS:
        open_copy_from_mount(trial.mount, name, tmp_path / name)
        assert (tmp_path / name / "chroma.sqlite3").exists()
