"""What installed packages bring along that no function ever loads: it is not packed.

Each is here because nothing that a function loads imports it: ``tests/deploy/test_packed.py`` looks
who imports what, and lets every function do its work without it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

# package: what it asks for, and imports only in parts of it that functions have no use for.
UNUSED: Final[dict[str, frozenset[str]]] = {
    # Its server, its clusters and its command line: functions open files.
    "chromadb": frozenset({"build", "kubernetes", "uvicorn"}),
    # Where models are looked for by name: ours is a file in its package.
    "tokenizers": frozenset({"huggingface-hub"}),
}

# The only services that a function has a client for, and the one that gives credentials elsewhere.
_SERVICES: Final = frozenset({"dynamodb", "sqs", "sts"})
_BOTO: Final = frozenset({"botocore/data", "boto3/data"})
# For whoever builds against a package, or checks its types.
_SOURCES: Final = frozenset({".a", ".c", ".h", ".hpp", ".pxd", ".pyi", ".pyx"})
# folder: what it is.
FOLDERS: Final[dict[str, str]] = {
    "aws_lambda_powertools/event_handler/openapi/swagger_ui": "a page for browsers",
    "numpy/f2py": "a compiler of Fortran",
    "onnxruntime/quantization": "makes models smaller",
    "onnxruntime/tools": "converts models",
    "onnxruntime/transformers": "converts models",
}
_TESTS: Final = frozenset({"test", "tests"})
_FILES: Final = (
    # The same engine once more, for programs in C; Python's is the extension beside it.
    "onnxruntime/capi/libonnxruntime.so.*",
    # For Pythons that cannot load the extension beside it.
    "zstandard/_cffi.*.so",
)


def is_left_out(name: str) -> bool:
    """Say whether a file of a package is of no use to any function.

    Args:
        name: its path as it would lie in the function's folder, with slashes.
    """
    path = PurePosixPath(name)
    folders = {str(each) for each in path.parents}
    return (
        path.suffix in _SOURCES
        or not folders.isdisjoint(FOLDERS)
        or not _TESTS.isdisjoint(path.parts[1:-1])
        or any(path.match(each) for each in _FILES)
        or _is_other_service(path)
    )


def _is_other_service(path: PurePosixPath) -> bool:
    """Say whether a file describes a service of AWS that no function asks."""
    folder, _, below = str(path).partition("/data/")
    service, slash, _ = below.partition("/")
    return f"{folder}/data" in _BOTO and bool(slash) and service not in _SERVICES
