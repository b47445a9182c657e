"""The Dockerfile, as far as it goes without building it; and how images are measured."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
import yaml
from bench.image import Layer, builder, layers

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy/Dockerfile").read_text()


def lines(verb: str) -> list[str]:
    """Give what follows an instruction, each time it is there; continued lines are one."""
    whole = TEXT.replace("\\\n", " ").splitlines()
    return [line.partition(" ")[2] for line in whole if line.startswith(f"{verb} ")]


def test_everything_is_pinned() -> None:
    """The base by its digest, and every package by hashes or by what was locked."""
    assert re.search(r"@sha256:[0-9a-f]{64}$", lines("ARG")[0])
    assert {each.split()[0] for each in lines("FROM")} == {"${BASE}"}
    installs = re.findall(r"pip install [^&\n]*", TEXT)
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-deps" in each for each in installs)
    pins = re.findall(
        r"^[a-z][\w.-]*==[^ ]+", (ROOT / "deploy/runtime.lock").read_text(), re.MULTILINE
    )
    assert "awslambdaric==4.2.2" in pins


def test_it_runs_as_nobody_in_particular() -> None:
    """Nothing comes after the user but what is run."""
    assert lines("USER") == ["functions"]
    assert TEXT.index("\nUSER ") > TEXT.index("COPY --from=packages")


def test_its_code_is_compiled() -> None:
    """A function can write nowhere near its code, and would compile it at each start."""
    assert "compileall -q -j 0 --invalidation-mode unchecked-hash /opt/functions" in TEXT
    assert "PYTHONDONTWRITEBYTECODE=1" in lines("ENV")[0]


def test_it_tells_nobody_that_it_runs() -> None:
    """One of its packages would."""
    assert "ORT_DISABLE_TELEMETRY=1" in lines("ENV")[0]


def test_what_it_copies_is_there_and_is_sent() -> None:
    """A file that is missing, or ignored, would end the build."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for each in lines("COPY"):
        if each.startswith("--from"):
            continue
        for name in each.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignored, name


def test_its_command_is_a_handler_of_the_template() -> None:
    """The template names a command for each function; without one it is the compactor."""
    (command,) = yaml.safe_load(lines("CMD")[0])
    assert command in (ROOT / "deploy/template.yaml").read_text()


@pytest.mark.parametrize("saved_packed", [False, True])
def test_layers_are_measured_as_files_and_as_a_registry_has_them(
    tmp_path: Path, *, saved_packed: bool
) -> None:
    """Whether they were saved packed or not."""
    plain = {"base": b"a" * 3_000_000, "ours": b"b" * 10}
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as saved:
        manifest = json.dumps([{"Layers": list(plain)}]).encode()
        for name, body in {**plain, "manifest.json": manifest}.items():
            packed = saved_packed and name in plain
            data = gzip.compress(body) if packed else body
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            saved.addfile(entry, io.BytesIO(data))
    base, ours = layers(archive)
    assert (base.unpacked_bytes, ours.unpacked_bytes) == (3_000_000, 10)
    assert base.stored_bytes < 10_000
    assert isinstance(ours, Layer)


def test_without_docker_and_buildah_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what would help, in place of a program that is not found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BUILDER", raising=False)
    with pytest.raises(SystemExit, match="apt-get install buildah"):
        builder()
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    with pytest.raises(SystemExit, match="daemon does not answer"):
        builder()
    docker.write_text("#!/bin/sh\nexit 0\n")
    assert not builder().is_buildah
