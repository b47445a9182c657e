"""This machine -> whether everything that chromaseal needs is here, and works."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version as release_of
from pathlib import Path

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import ChromasealError, Unavailable
from chromaseal.sandbox import Limits
from chromaseal.settings import Settings, without_secrets
from chromaseal.verification.remark import Remark, well, wrong

_SUBJECT = "environment"
_LEAST_FREE_BYTES = 1 << 30
_LIMITS = Limits(timeout_s=60, memory_bytes=16 << 30, file_size_bytes=1 << 20)


def examine_environment(settings: Settings) -> Iterator[Remark]:
    """Look at releases, the cache, the processes of this machine, and child processes."""
    releases = f"chromaseal {release_of('chromaseal')}, chromadb {release_of('chromadb')}, "
    yield well(_SUBJECT, "releases", f"{releases}Python {platform.python_version()}")
    ledger = without_secrets(settings.ledger) if settings.ledger else "none"
    places = f"vault {without_secrets(settings.vault)}, ledger {ledger}"
    yield well(_SUBJECT, "places", places)
    yield _cache(settings.cache)
    yield _processes()
    yield _children()


def _cache(cache: Path) -> Remark:
    mend = "check permissions and space, or name another place with CHROMASEAL_CACHE"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            free_bytes = shutil.disk_usage(cache).free
    except OSError as error:
        return wrong(_SUBJECT, "cache", str(error), mend)
    enough = free_bytes >= _LEAST_FREE_BYTES
    evidence = f"{cache}, {free_bytes} bytes free"
    return Remark(_SUBJECT, "cache", enough, evidence, "" if enough else mend)


def _processes() -> Remark:
    try:
        with tempfile.TemporaryDirectory() as folder:
            ProcOpenFiles().holders(Path(folder))
    except ChromasealError as error:
        return wrong(_SUBJECT, "open files", error.message, error.hint)
    return well(_SUBJECT, "open files", "/proc tells who has files open")


def _children() -> Remark:
    sandbox = ProcessSandbox()
    try:
        # A directory that is none: a child that answers so has started and read its request.
        request = {"directory": "", "deep": False, "collection": "", "space": ""}
        sandbox.run("verify", request, limits=_LIMITS)
    except Unavailable as error:
        mend = "check memory limits, and that this Python can start itself"
        return wrong(_SUBJECT, "child processes", error.message, mend)
    except ChromasealError:
        pass
    finally:
        sandbox.close()
    return well(_SUBJECT, "child processes", "they start and answer")
