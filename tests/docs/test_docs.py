"""The documents say what is so: commands, options, errors, code blocks, links, names."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromaseal import errors
from chromaseal.entrypoints.cli.pasting import pastable

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/chromaseal"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NOT_RUN = re.compile(r"<!-- not run: (.{10,}?) -->\s*\Z", re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BAR = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def load_generator() -> Any:  # noqa: ANN401 - a module
    """Import ``docs/generate_cli.py`` by its path."""
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs/generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()
COMMANDS = dict(generator.commands())


def name_of(path: Path) -> str:
    """Name a document as people do."""
    return str(path.relative_to(ROOT))


def test_reference_of_commands_is_current() -> None:
    """``docs/cli.md`` is what ``python docs/generate_cli.py`` writes."""
    assert generator.PLACE.read_text() == generator.reference()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    """The example is a call of the very command, and every parameter says what it means."""
    command = COMMANDS[name]
    assert generator.plain_help(command).strip()
    assert generator.example(command).startswith(f"{name} ")
    assert [p.name for p in command.params if not p.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    """What can be typed is written down."""
    text = (ROOT / "README.md").read_text() + generator.PLACE.read_text()
    assert name in text
    section = generator.PLACE.read_text().partition(f"## {name}\n")[2].partition("\n## ")[0]
    options = [option for p in COMMANDS[name].params for option in p.opts if option[0] == "-"]
    assert [o for o in options if not re.search(rf"`[^`]*{o}\b", section) and o != "--help"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_pasted_looks_at_the_same_vault(name: str) -> None:
    """A hint that names a command which takes a vault names the vault as well."""
    takes = "--vault" in [option for p in COMMANDS[name].params for option in p.opts]
    assert pastable(name, "--vault v") == (f"{name} --vault v" if takes else name)


def kinds_in_source() -> Iterator[tuple[str, str]]:
    """Give class and kind of every error that the source names."""
    classes = {c.__name__ for c in errors.ChromasealError.__subclasses__()}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for keyword in node.keywords:
                    if keyword.arg == "kind" and node.func.id in classes:
                        yield from ((node.func.id, kind) for kind in literals(keyword.value))


def literals(value: ast.expr) -> Iterator[str]:
    """Give the texts that a kind can be: one, or one of two by a condition."""
    if isinstance(value, ast.IfExp):
        yield from (*literals(value.body), *literals(value.orelse))
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value


def documented_kinds() -> dict[str, tuple[set[str], set[int], str]]:
    """Give classes, exit codes and advice by kind, as ``docs/errors.md`` has them."""
    text = (ROOT / "docs/errors.md").read_text().partition("## Kinds")[2]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \| ([^|]+) \| (.+) \|$", text, re.MULTILINE)
    assert len({row[0] for row in rows}) == len(rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    return {
        kind: (set(classes.split(", ")), {int(c) for c in codes.split(", ")}, advice)
        for kind, classes, codes, advice in rows
    }


def test_every_kind_of_error_is_documented() -> None:
    """Every kind in the source has a row with its class and its exit code, and no other."""
    documented, named = documented_kinds(), set(kinds_in_source())
    assert {kind for _, kind in named} == documented.keys()
    for class_name, kind in named:
        classes, codes, advice = documented[kind]
        assert class_name in classes, kind
        code = getattr(errors, class_name).exit_code
        assert code in codes, kind
        assert advice.strip()


def test_kinds_are_kebab_case() -> None:
    """Programs match on kinds, so they all have one form."""
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind) for _, kind in kinds_in_source())


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_code_blocks_run_or_say_why_not(path: Path, tmp_path: Path) -> None:
    """A document's Python runs from top to bottom; what cannot says so in a comment before it."""
    text = path.read_text()
    runnable = [b[1] for b in BLOCK.finditer(text) if not NOT_RUN.search(text[: b.start()])]
    if not runnable:
        return
    script = tmp_path / "document.py"
    script.write_text("\n".join(runnable))
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "CHROMASEAL_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """A link into the repository names a file that is there."""
    links = [link.partition("#")[0] for link in LINK.findall(path.read_text())]
    inside = [link for link in links if link and "://" not in link and "mailto:" not in link]
    assert [link for link in inside if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_rows_have_as_many_cells_as_their_tables_head(path: Path) -> None:
    """A bar in a cell is escaped: where it is shown, no cell moves aside or is cut off."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, *rows = table.splitlines()
        cells = len(BAR.findall(head))
        assert [row for row in rows if len(BAR.findall(row)) != cells] == []


def test_dots_say_once_that_an_argument_may_be_repeated() -> None:
    """What can be given several times ends in three dots, not six."""
    assert "...." not in generator.reference()


def test_the_map_is_complete() -> None:
    """ARCHITECTURE.md has a line for every folder and top-level module of the package."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    places = [p for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    places += [p for p in (SOURCE / "adapters").iterdir() if (p / "__init__.py").is_file()]
    names = [p.relative_to(SOURCE).as_posix() + ("/" if p.is_dir() else "") for p in places]
    assert len(names) > 30
    assert sorted(name for name in names if f"| `{name}` |" not in text) == []


def test_architecture_names_what_exists() -> None:
    """Every file, symbol and test that ARCHITECTURE.md points to is there."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text):
        assert (SOURCE / name).is_file(), name
    for path, symbol in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)` `([A-Za-z_.]+)`", text):
        assert symbol in symbols(SOURCE / path), f"{path} {symbol}"
    tests = re.findall(r"`(tests/[a-z_/]+\.py)::([a-z_0-9]+)`", text)
    assert len(tests) > 8
    for path, test in tests:
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"
    assert not re.search(r"\.py:\d+|\blines? \d+", text)


def symbols(path: Path) -> set[str]:
    """Give a module's names, and its classes' as ``Class.name``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            members = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{m.name}" for m in members if isinstance(m, ast.FunctionDef)}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_the_pointer_alone_is_replaced() -> None:
    """Outside of stores, contracts and faults one module creates and replaces objects.

    But for the probe, which knows one key only: that of an object of its own. Five others
    delete; see below.
    """
    uses: set[tuple[str, str]] = set()
    for path in SOURCE.rglob("*.py"):
        if {"testing", "obstore", "local"} & set(path.parts):
            continue
        place = path.relative_to(SOURCE).as_posix()
        uses |= {(place, node.attr) for node in store_uses(ast.parse(path.read_text()))}
    assert ("settle.py", "replace") in uses
    writes = {use for use in uses if use[1] in {"create", "replace", "delete"}}
    probing = {("probe.py", verb) for verb in ("create", "replace", "delete")}
    may_delete = ("tags", "removal", "garbage", "cancellations")
    deleting = {(f"snapshot/{name}.py", "delete") for name in may_delete}
    # Of a mirror, which is no part of a vault, what was exported into it.
    deleting.add(("legacy/exporting.py", "delete"))
    assert writes == {("settle.py", "create"), ("settle.py", "replace"), *probing, *deleting}
    assert keys_in(SOURCE / "probe.py") == {"keys.probe(unique)"}


def store_uses(module: ast.AST) -> Iterator[ast.Attribute]:
    """Give every method of a store that a module names, called or handed on."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner == "store" or owner.endswith(("._store", ".store")):
                yield node


def test_only_what_may_go_is_deleted() -> None:
    """Tags, announcements and marks go by their own keys, all else by what retention decided."""
    assert deleted_by("cancellations") == {"keys.cancellation(collection, run_id)"}
    assert deleted_by("tags") == {"keys.tag(collection, check_tag(name))"}
    assert deleted_by("removal") == {"keys.gc(collection, gc_id)"}
    exporting = ast.parse((SOURCE / "legacy/exporting.py").read_text())
    assert calls_of(exporting, "store.delete") == ["store.delete(key)"]
    assert "gone = [i for i in ids if i in exported and i not in kept]" in ast.unparse(exporting)
    garbage = ast.parse((SOURCE / "snapshot/garbage.py").read_text())
    removing = {
        function.name: ast.unparse(function)
        for function in ast.walk(garbage)
        if isinstance(function, ast.FunctionDef)
        and any(node.attr == "delete" for node in store_uses(function))
    }
    assert list(removing) == ["_remove"]
    assert "pool.map(carried(store.delete), group)" in removing["_remove"]
    assert "for group in (manifests, others)" in removing["_remove"]
    assert removing["_remove"].count("[d.key for d in doomed if") == 2
    assert calls_of(garbage, "_remove") == ["_remove(store, garbage.doomed, progress)"]
    assert calls_of(garbage, "Doomed") == []
    retention = ast.parse((SOURCE / "snapshot/retention.py").read_text())
    makers = [
        node.name
        for node in retention.body
        if isinstance(node, ast.FunctionDef) and calls_of(node, "Doomed")
    ]
    assert makers == ["doomed_objects", "doomed_deltas"]


def calls_of(module: ast.AST, name: str) -> list[str]:
    """Give every call of a function."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if ast.unparse(call.func) == name]


def deleted_by(name: str) -> set[str]:
    """Give what the functions of a module of ``snapshot`` hand to a store to delete."""
    found: set[str] = set()
    for function in ast.parse((SOURCE / f"snapshot/{name}.py").read_text()).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        named = {
            ast.unparse(target): ast.unparse(node.value)
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
        }
        for text in calls_of(function, "store.delete"):
            argument = text.removeprefix("store.delete(").removesuffix(")")
            found.add(named.get(argument, argument))
    return found


def keys_in(path: Path) -> set[str]:
    """Give every expression that a module makes object keys with, all kept in ``key``."""
    module = ast.parse(path.read_text())
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("store."):
            assert ast.unparse(node.args[0]) == "key", ast.unparse(node)
        if isinstance(node, ast.Assign) and "key" in map(ast.unparse, node.targets):
            assert ast.unparse(node.value).startswith("keys."), ast.unparse(node)
    named = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    return {ast.unparse(call) for call in named if ast.unparse(call.func).startswith("keys.")}
