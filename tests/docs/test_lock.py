"""What is installed is what is written down: pins, hashes, and the inputs they answer."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "locks/requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = {
    canonicalize_name(found[1]): found[2]
    for found in re.finditer(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", LOCK, re.MULTILINE)
}


def load_script() -> Any:  # noqa: ANN401 - a module
    """Import ``locks/lock.py`` by its path."""
    spec = importlib.util.spec_from_file_location("lock", ROOT / "locks/lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def direct() -> list[Requirement]:
    """Give every requirement that pyproject.toml names."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    named = [PROJECT["project"]["dependencies"], *extras, *groups]
    return [Requirement(text) for texts in named for text in texts]


def test_lock_answers_the_present_inputs() -> None:
    """A changed requirement and an old lock do not pass; ``make lock`` mends it."""
    script = load_script()
    expected = script.PREFIX + script.inputs_digest(ROOT / "pyproject.toml")
    assert LOCK.splitlines()[0] == expected


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


@pytest.mark.parametrize("requirement", direct(), ids=lambda requirement: str(requirement.name))
def test_every_direct_dependency_is_pinned_inside_its_range(requirement: Requirement) -> None:
    """The pinned version is one that pyproject.toml allows."""
    pinned = PINS.get(canonicalize_name(requirement.name))
    assert pinned is not None
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_every_pin_has_a_hash() -> None:
    """Nothing is installed whose bytes are not known."""
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(PINS) > len(direct())
    for entry in entries:
        assert re.match(r"[^\s=]+==\S+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_lock_names_no_index() -> None:
    """Where packages come from is the installing machine's business."""
    assert "://" not in LOCK
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links)", LOCK, re.MULTILINE)
