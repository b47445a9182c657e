"""A folder -> everything that the reproduction of the incident needs, put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.composition.engine import open_vault
from chromaseal.reproduction.experiment import Laboratory
from chromaseal.settings import Settings

_APPLICATION_MODULES = ("chromaseal.entrypoints.application_job",)


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Give a vault, a sandbox and a folder of their own; nothing is left of them."""
    with TemporaryDirectory(prefix="chromaseal-reproduce-") as name:
        folder = Path(name)
        settings = Settings((folder / "vault").as_uri(), "memory://", folder / "cache")
        sandbox = ProcessSandbox(preload=_APPLICATION_MODULES)
        sandbox.start()
        try:
            with open_vault(settings) as vault:
                yield Laboratory(vault, sandbox, folder)
        finally:
            sandbox.close()
