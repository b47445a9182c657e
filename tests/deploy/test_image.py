"""The Dockerfile, as far as it can be looked at without building it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

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
