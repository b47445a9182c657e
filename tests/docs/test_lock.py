"""What is installed is what is written down: pins, hashes, and the inputs they answer."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "locks").glob("*.lock"))
# Groups that cannot be installed together with the rest.
APART = {"ministack"}
EVERY_LOCK = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.stem))


def load_script() -> Any:  # noqa: ANN401 - a module
    """Import ``locks/lock.py`` by its path."""
    spec = importlib.util.spec_from_file_location("lock", ROOT / "locks/lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(lock: str) -> dict[str, str]:
    """Give the versions that a lock pins, by name."""
    text = (ROOT / f"locks/{lock}.lock").read_text()
    found = re.finditer(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(pin[1]): pin[2] for pin in found}


def direct() -> Iterator[tuple[str, str]]:
    """Give every requirement that pyproject.toml names, with the name of its lock."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"]
    together = [groups[name] for name in groups if name not in APART]
    for texts in [PROJECT["project"]["dependencies"], *extras, *together]:
        yield from (("requirements", text) for text in texts)
    yield from ((name, text) for name in APART for text in groups[name])


def test_every_environment_has_its_lock() -> None:
    """There are as many locks as environments, and ``make lock`` renews all of them."""
    assert {lock.stem for lock in LOCKS} == {"requirements", *APART}
    assert load_script().LOCKS.keys() == {lock.name for lock in LOCKS}
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"--require-hashes -r locks/{lock.name}" in makefile for lock in LOCKS)


@EVERY_LOCK
def test_lock_answers_the_present_inputs(lock: Path) -> None:
    """A changed requirement and an old lock do not pass; ``make lock`` mends it."""
    script = load_script()
    expected = script.PREFIX + script.inputs_digest(ROOT / "pyproject.toml")
    assert lock.read_text().splitlines()[0] == expected


def test_digest_ignores_order_and_comments(tmp_path: Path) -> None:
    """Only what the resolution depends on counts."""
    one, other, changed = (tmp_path / name for name in "abc")
    rest = 'requires-python = ">=3.11"\n'
    group = '[dependency-groups]\ndev = ["c"]\n'
    extras = "[project.optional-dependencies]\n"
    one.write_text(f'[project]\ndependencies = ["a"]\n{rest}{extras}x = ["b"]\n{group}')
    other.write_text(f'# hello\n{group}[project]\n{rest}dependencies = ["a"]\n{extras}x = ["b"]\n')
    changed.write_text(f'[project]\ndependencies = ["a>1"]\n{rest}{extras}x = ["b"]\n{group}')
    digest = load_script().inputs_digest
    assert digest(one) == digest(other) != digest(changed)


def test_stamping_twice_changes_nothing() -> None:
    """An older stamp is replaced, not kept."""
    stamp = load_script().stamp
    once = stamp("a==1\n", "0" * 64)
    assert stamp(once, "1" * 64) == stamp("a==1\n", "1" * 64)


@pytest.mark.parametrize(("lock", "text"), list(direct()))
def test_every_direct_dependency_is_pinned_inside_its_range(lock: str, text: str) -> None:
    """The pinned version is one that pyproject.toml allows."""
    requirement = Requirement(text)
    pinned = pins(lock).get(canonicalize_name(requirement.name))
    assert pinned is not None
    assert requirement.specifier.contains(pinned, prereleases=True)


@EVERY_LOCK
def test_every_pin_has_a_hash(lock: Path) -> None:
    """Nothing is installed whose bytes are not known."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    named = [text for name, text in direct() if name == lock.stem]
    assert len(entries) >= len(pins(lock.stem)) > len(named) > 0
    for entry in entries:
        assert re.match(r"[^\s=]+==\S+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@EVERY_LOCK
def test_lock_names_no_index(lock: Path) -> None:
    """Where packages come from is the installing machine's business."""
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links)", text, re.MULTILINE)
