"""deploy/Dockerfile -> the functions' image: built, measured, and every function tried in it.

``python -m bench.image`` builds with docker, where its daemon answers, or else with buildah, which
needs none (Debian: ``apt-get install buildah``). What may be given in the environment:

- ``BUILDER``: the program and its options, such as ``buildah --storage-driver vfs``;
- ``BASE``: another base, such as one that is here already;
- ``OPTIONS``: of the build, such as ``--network host``.

Each function runs as the image's user, with the image's entry point, and is handed one event by the
interface that Lambda has for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from chromaseal.ids import SystemIds
from chromaseal.testing.function_trial import Trial
from chromaseal.testing.servers import ministack

ROOT: Final = Path(__file__).parents[1]
TAG: Final = "localhost/chromaseal-functions:measured"
_BLOCK_BYTES: Final = 1 << 20
_GZIP: Final = 31
_END_S: Final = 60
_HANDLERS: Final = (
    "on_receipt_uploaded",
    "on_run_changed",
    "on_runs_waiting",
    "on_schedule",
    "on_version_published",
)
# Run in the image: how long each handler takes to import, in a process of its own.
_IMPORTS: Final = """
import subprocess, sys
timed = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"
for name in sys.argv[1:]:
    module = "chromaseal.entrypoints.functions." + name
    took = [
        float(subprocess.run([sys.executable, "-c", timed.format(module)], check=True,
                             capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    print(f"  {name:24} {sorted(took)[2]:.2f} s")
"""
# Run in the image: what takes most of its disk.
_LARGEST: Final = """
import collections, os
sizes = collections.Counter()
for folder, _, names in os.walk("/opt/functions"):
    top = os.path.relpath(folder, "/opt/functions").split("/")[0]
    for name in names:
        sizes["compiled" if name.endswith(".pyc") else top] += os.lstat(f"{folder}/{name}").st_size
for name, size in sizes.most_common(12):
    print(f"  {name:32} {size / 1e6:6.1f} MB")
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image.

    Attributes:
        unpacked_bytes: of its files, as a tar.
        stored_bytes: as a registry stores it, with gzip.
    """

    unpacked_bytes: int
    stored_bytes: int


class Builder:
    """docker or buildah: what differs between them.

    Args:
        command: the program and its options.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self.is_buildah = Path(command[0]).name == "buildah"

    def build(self, options: Sequence[str]) -> None:
        """Build the image from this checkout."""
        asked = ["--file", "deploy/Dockerfile", "--tag", TAG, *options, "."]
        isolated = ["--isolation", "chroot"] if self.is_buildah else []
        self._run("build", *isolated, *asked)

    def save(self, archive: Path) -> None:
        """Write it as an archive of its layers."""
        if self.is_buildah:
            self._run("push", TAG, f"docker-archive:{archive}")
        else:
            self._run("save", "--output", str(archive), TAG)

    @contextlib.contextmanager
    def container(self) -> Iterator[str]:
        """Give what its programs run in: with docker each has a container of its own."""
        if not self.is_buildah:
            yield TAG
            return
        name = self._run("from", "--pull-never", TAG, quiet=True).strip()
        try:
            yield name
        finally:
            self._run("rm", name, quiet=True)

    def command(
        self, container: str, program: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> list[str]:
        """Give what runs a program in the image, as its user, with a folder of this machine."""
        given = [f"--env={name}={value}" for name, value in variables.items()]
        given += ["--network=host", f"--volume={folder}:{folder}"]
        if self.is_buildah:
            isolated = ["--isolation=chroot", "--user=functions"]
            return [*self._command, "run", *isolated, *given, container, "--", *program]
        entry = [f"--entrypoint={program[0]}", container]
        return [*self._command, "run", "--rm", *given, *entry, *program[1:]]

    def _run(self, *arguments: str, quiet: bool = False) -> str:
        output = subprocess.PIPE if quiet else None
        command = [*self._command, *arguments]
        return subprocess.run(command, cwd=ROOT, check=True, stdout=output, text=True).stdout or ""


def builder() -> Builder:
    """Find what builds images here.

    Raises:
        SystemExit: nothing does.
    """
    given = os.environ.get("BUILDER")
    if given:
        return Builder(shlex.split(given))
    docker, buildah = shutil.which("docker"), shutil.which("buildah")
    if (
        docker
        and subprocess.run([docker, "info"], check=False, capture_output=True).returncode == 0
    ):
        return Builder([docker])
    if buildah:
        return Builder([buildah])
    found = "docker is here, and its daemon does not answer" if docker else "docker is not here"
    raise SystemExit(
        f"nothing here builds images: {found}, and neither is buildah; it needs no daemon "
        "(Debian: apt-get install buildah)"
    )


def layers(archive: Path) -> list[Layer]:
    """Measure the layers of a saved image, from the base's first to ours."""
    with tarfile.open(archive) as saved:
        (manifest,) = json.load(_file(saved, "manifest.json"))
        return [_measured(_file(saved, name)) for name in manifest["Layers"]]


def _file(saved: tarfile.TarFile, name: str) -> IO[bytes]:
    found = saved.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is no file of the archive")
    return found


def _measured(layer: IO[bytes]) -> Layer:
    unpacked = stored = 0
    packing = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    # Newer releases of docker save layers as a registry has them.
    unpacking = zlib.decompressobj(_GZIP) if layer.peek(2)[:2] == b"\x1f\x8b" else None  # type: ignore[attr-defined]
    while block := layer.read(_BLOCK_BYTES):
        plain = unpacking.decompress(block) if unpacking else block
        unpacked += len(plain)
        stored += len(packing.compress(plain))
    return Layer(unpacked, stored + len(packing.flush()))


def told(found: Sequence[Layer]) -> str:
    """Say how large an image is, layer by layer."""
    rows = [(f"layer {number}", each) for number, each in enumerate(found, 1)]
    whole = Layer(sum(e.unpacked_bytes for e in found), sum(e.stored_bytes for e in found))
    return "\n".join(
        f"  {name:10} {each.unpacked_bytes / 1e6:7.1f} MB, {each.stored_bytes / 1e6:6.1f} stored"
        for name, each in [*rows, ("in all", whole)]
    )


def trial(tool: Builder, container: str, folder: Path) -> None:
    """Let every function do its work in the image, and say how long each took from its start."""

    @contextlib.contextmanager
    def start(handler: str, variables: Mapping[str, str]) -> Iterator[None]:
        program = ["python", "-m", "awslambdaric", handler]
        begun_s = time.perf_counter()
        with (folder / "functions.log").open("ab") as log:
            process = subprocess.Popen(
                tool.command(container, program, folder / "at", variables), stdout=log, stderr=log
            )
            yield
            sys.stdout.write(
                f"  {handler.split('.')[-2]:24} {time.perf_counter() - begun_s:.1f} s\n"
            )
            process.wait(_END_S)

    with ministack(folder / "server") as server:
        tried = Trial(start, server, folder / "at", f"image-{SystemIds().unique()[:8]}")
        for name, answer in tried.run():
            if answer not in (None, {"batchItemFailures": []}):
                raise RuntimeError(f"{name} answered {answer}; see {folder}/functions.log")
        sys.stdout.write(f"  on the mount: {', '.join(sorted(tried.synced()))}\n")


def main() -> None:
    """Build, measure, try."""
    tool = builder()
    base = os.environ.get("BASE")
    options = ["--build-arg", f"BASE={base}"] if base else []
    tool.build([*options, *shlex.split(os.environ.get("OPTIONS", ""))])
    with (
        tempfile.TemporaryDirectory(prefix="chromaseal-image-") as made,
        tool.container() as inside,
    ):
        folder = Path(made)
        folder.chmod(0o755)
        for each in ("server", "at"):
            (folder / each).mkdir()
        tool.save(folder / "image.tar")
        sys.stdout.write(f"the image:\n{told(layers(folder / 'image.tar'))}\n")
        for title, program in (
            ("what takes most:", [_LARGEST]),
            ("imports, median of five:", [_IMPORTS, *_HANDLERS]),
        ):
            command = tool.command(inside, ["python", "-c", *program], folder / "at", {})
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            sys.stdout.write(f"{title}\n{done.stdout}")
        sys.stdout.write("one event each, from the start of its process to its answer:\n")
        trial(tool, inside, folder)


if __name__ == "__main__":
    main()
