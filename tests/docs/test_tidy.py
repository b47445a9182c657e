"""Style as a test: what a reader of the code may count on, with no list of exceptions."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import chromaseal

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/chromaseal"
MODULE_LIMIT = 400
FUNCTION_LIMIT = 60
BANNED_WORDS = {
    *("util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"),
    *("v2", "enhanced", "bak"),
}
# Pieces of object keys; a module that has one of these builds or reads a key by itself.
KEY_PIECES = re.compile(
    r"/delta/|/snapshot/|/layer/|latest-pointer|timestamped|manifest\.json|vault\.json"
    r"|^_chromaseal|^_receipts|/reading/|/original/"
)
# A file in an adapter's folder is named after the port that it fills ...
PORTS = {
    "codec": "delta/codec.py DeltaCodec",
    "embedding": "embedding.py Embedder",
    "file_system": "seal/file_system.py FileSystem",
    "image": "receipts/image.py ImageDecoder",
    "inbox": "receipts/inbox.py Inbox",
    "lease": "run/lease.py Leases",
    "ledger": "run/ledger.py Ledger",
    "object_store": "object_store.py ObjectStore",
    "observer": "telemetry/observer.py Observer",
    "ocr": "receipts/ocr.py OcrEngine",
    "open_files": "seal/open_files.py OpenFiles",
    "reader": "reader.py Reader",
    "sandbox": "sandbox.py Sandbox",
    "text_similarity": "receipts/text_similarity.py TextSimilarity",
}
# ... or is a job of the child process, or a part of one technology that no port asks for.
JOBS = {
    "chroma/comparison",
    "chroma/delta_directory",
    "chroma/live_copy",
    "chroma/merge",
    "chroma/merge_on",
    "chroma/proof",
    "chroma/questions",
    "chroma/replay",
    "chroma/salvage",
    "chroma/verification",
    "chroma/verification_of_changes",
}
PARTS = {
    "aws/answers": "what a service said when it failed",
    "chroma/backlog": "how far each index is behind its log",
    "chroma/cells": "values of a damaged table, believed or not",
    "chroma/index_settings": "what a collection says of its index, in every release",
    "chroma/lost_vectors": "whether ChromaDB has the vectors that it was given",
    "chroma/btree": "the pages of an SQLite database, taken apart",
    "chroma/block_copy": "brings a copy up to date by blocks",
    "chroma/changed_records": "rows that changed, put together to records",
    "chroma/client": "the one way to open ChromaDB",
    "chroma/collection": "ChromaDB's collections in records",
    "chroma/database": "ChromaDB's SQLite file as plain data",
    "chroma/hnsw": "ChromaDB's HNSW files as plain data",
    "chroma/hnsw_links": "the links between elements, followed",
    "chroma/inspector": "both put together",
    "chroma/live_directory": "a directory of another process, observed",
    "chroma/lock_probe": "header, journal and locks, asked for by a child",
    "chroma/lock_question": "what that child does",
    "chroma/remains": "what can be read of a damaged directory",
    "chroma/reserved_lock": "SQLite's lock against writers, without SQLite",
    "chroma/row_changes": "the rows in which two states of a database differ",
    "chroma/soundness": "questions whose answers say whether a database is sound",
    "chroma/torn_index": "what can be believed of a damaged vector segment",
    "chroma/torn_table": "what can be read of a damaged table",
    "cloudformation/deployed": "what a stack and its parts are like",
    "cloudformation/linter": "what cfn-lint says",
    "cloudformation/template_file": "the template as text and parsed",
    "dynamodb/items": "runs as items, and every key",
    "dynamodb/legacy_runs": "runs that other programs of the table wrote",
    "dynamodb/labels": "the labels of a receipt's words",
    "dynamodb/place": "the URL of a table, taken apart",
    "dynamodb/table": "what a table is asked, and how often",
    "dynamodb/transactions": "the writes that go together",
    "http/server": "pages over HTTP",
    "linux/boot": "which boot of the machine this is",
    "linux/exchange": "swaps two directories in one step",
    "linux/kernel_locks": "the kernel's lists of locks",
    "linux/process_facts": "who a process is, and who is hidden",
    "linux/process_name": "a process as the owner of a lease",
    "packaging/installed": "packages that one needs, and their files",
    "pillow/picture": "writes a crop as PNG",
    "pillow/sample": "draws sample receipts",
    "opentelemetry/setup": "the SDK as its environment says",
    "sqlalchemy/engine": "what databases have in common, as the ledger uses them",
    "sqlalchemy/postgres": "PostgreSQL, where it differs",
    "sqlalchemy/schema": "the ledger's tables",
    "sqlalchemy/sqlite": "SQLite, where it differs",
    "sqs/queues": "messages, sent to the queues of their collections",
    "sqlalchemy/statements": "what the ledger asks and tells",
}
# Every interface has a contract class in chromaseal.testing, or a reason why not.
CONTRACTS = {
    "Embedder": "embedder_contract EmbedderContract",
    "Inbox": "inbox_contract InboxContract",
    "Leases": "lease_contract LeaseContract",
    "Ledger": "ledger_contract LedgerContract",
    "Listener": "ledger_contract LedgerContract",
    "ObjectStore": "object_store_contract ObjectStoreContract",
    "Observer": "observer_contract ObserverContract",
    "OcrEngine": "ocr_contract OcrEngineContract",
}
WITHOUT_CONTRACT = {
    "Bar": "a detail of the command line's output",
    "Client": "boto3's, as far as a table asks it",
    "Context": "Lambda's, as far as a handler asks it",
    "Clock": "the system's clock promises nothing that a test could hold it to",
    "DeltaCodec": "two implementations; docs/formats/delta.md is its contract",
    "FileSystem": "one implementation, of one operating system",
    "Ids": "chance promises nothing that a test could hold it to",
    "ImageDecoder": "two implementations for different formats; tests/receipts/test_images.py",
    "IndexRemains": "one implementation; tests/corpus holds it to what was written",
    "LedgerWithLeases": "Ledger and Leases, each of which has one",
    "MerchantMemory": "one implementation, over Reader",
    "OpenFiles": "one implementation, of one operating system, and what no /proc shows on top",
    "Process": "a detail of the sandbox: subprocess.Popen, or what tests begin faster",
    "Reader": "one implementation; tests/integration holds it to what was written",
    "Sandbox": "one implementation, in processes",
    "SqsClient": "boto3's, as far as messages are sent",
    "Step": "a detail of telling; tests/unit/test_emit.py",
    "TextSimilarity": "one implementation of two functions",
    "Told": "a function that hears of events",
    "Witness": "a detail of the simulation; one implementation, which looks",
    "WorkingCopies": "tests/properties/test_merge.py and tests/integration/test_open_copies.py",
    "WorkingCopy": "what WorkingCopies gives",
}


def tracked() -> list[Path]:
    """Give every file of the repository, those not yet committed included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


FILES = tracked()
MODULES = [path for path in FILES if path.suffix == ".py"]


def where(path: Path) -> str:
    """Name a file as people do."""
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: Path) -> ast.Module:
    """Parse a module."""
    return ast.parse(path.read_text())


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give every function, methods and inner ones included."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_module_says_what_it_is() -> None:
    """A module opens with a docstring whose first line stands alone."""
    wrong = []
    for path in MODULES:
        lines = (ast.get_docstring(tree(path)) or "").splitlines() or [""]
        if not lines[0] or (len(lines) > 1 and lines[1]):
            wrong.append(where(path))
    assert wrong == []


def test_every_test_says_what_it_promises() -> None:
    """A test has a docstring: the promise that it holds the code to."""
    places = [p for p in MODULES if p.name.startswith("test_") or "testing" in p.parts]
    silent = [
        f"{where(path)} {function.name}"
        for path in places
        for function in functions(tree(path))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_modules_are_short() -> None:
    """A module can be read in one sitting."""
    sizes = {where(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > MODULE_LIMIT} == {}


def test_functions_fit_a_screen() -> None:
    """A function can be seen whole."""
    long = {
        f"{where(path)} {node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in functions(tree(path))
        if node.end_lineno and node.end_lineno - node.lineno >= FUNCTION_LIMIT
    }
    assert long == {}


def words(name: str) -> set[str]:
    """Cut a name into words, lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+(?![a-z])", name)}


def names(module: ast.Module) -> Iterator[str]:
    """Give every name that a module makes up."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_names_say_what_things_are() -> None:
    """No file and no symbol has a name that could stand for anything, or that tells history."""
    wrong = [where(p) for p in FILES if words(p.stem.replace("-", "_")) & BANNED_WORDS]
    for path in MODULES:
        wrong += [f"{where(path)} {n}" for n in names(tree(path)) if words(n) & BANNED_WORDS]
    assert wrong == []


def strings(module: ast.Module) -> Iterator[str]:
    """Give every text in a module's code, docstrings and annotations left out."""
    documentation = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in documentation:
            yield text


def test_object_keys_are_built_in_one_place() -> None:
    """Only ``keys.py`` knows what object keys look like."""
    wrong = [
        f"{where(path)} {text!r}"
        for path in SOURCE.rglob("*.py")
        if path.name != "keys.py"
        for text in strings(tree(path))
        if KEY_PIECES.search(text)
    ]
    assert wrong == []


def test_adapters_are_named_after_what_they_fill() -> None:
    """Behind every door the file has the door's name, whatever the technology."""
    unknown = []
    for path in (SOURCE / "adapters").glob("*/*.py"):
        name = path.relative_to(SOURCE / "adapters").with_suffix("").as_posix()
        known = path.stem in PORTS or name in JOBS or name in PARTS
        if path.stem != "__init__" and not known:
            unknown.append(name)
    assert unknown == []
    for port in PORTS.values():
        module, _, symbol = port.partition(" ")
        assert f"class {symbol}(Protocol)" in (SOURCE / module).read_text(), port


def protocols() -> set[str]:
    """Give the names of all interfaces."""
    return {
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    }


def test_every_interface_has_a_contract_or_a_reason() -> None:
    """What others may implement, others can test."""
    assert protocols() == CONTRACTS.keys() | WITHOUT_CONTRACT.keys()
    assert not CONTRACTS.keys() & WITHOUT_CONTRACT.keys()


@functools.cache
def inherited_by_tests() -> set[str]:
    """Give the names of what the classes of tests inherit."""
    return {
        base.id
        for path in MODULES
        if "tests" in path.parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }


@pytest.mark.parametrize("contract", CONTRACTS.values())
def test_every_contract_is_inherited(contract: str) -> None:
    """A contract that nobody keeps to is no contract."""
    module, _, name = contract.partition(" ")
    assert hasattr(importlib.import_module(f"chromaseal.testing.{module}"), name)
    assert name in inherited_by_tests()


def test_public_names_are_real_and_sorted() -> None:
    """``chromaseal.__all__`` is in order, and each of its names can be had."""
    assert sorted(set(chromaseal.__all__)) == chromaseal.__all__
    for name in chromaseal.__all__:
        assert getattr(chromaseal, name) is not None
    with pytest.raises(AttributeError):
        _ = chromaseal.nothing_of_that_name


def test_no_file_names_a_machine_or_a_registry() -> None:
    """Nothing depends on where it was written or where its packages came from.

    What Lambda calls its own disk and its mounts is the same everywhere.
    """
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "crates" + ".io"]
    folders = ["work", "root", "Users", "home", "tmp", "mnt"]
    pattern = re.compile(
        "|".join(map(re.escape, hosts))
        + rf"|(?<![\w.:~}}*-])/(?:{'|'.join(folders)})/(?!chroma(?:seal)?\b)\w"
    )
    wrong = []
    for path in FILES:
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        wrong += [f"{where(path)}: {line.strip()[:80]}" for line in lines if pattern.search(line)]
    assert wrong == []
