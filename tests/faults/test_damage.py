"""Damage is refused: in a directory before it is packed, in a vault before it is used."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.composition.engine import open_vault
from chromaseal.errors import ChromasealError, Conflict, Damaged
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.seal.verify import VerifiedSnapshot, verify
from chromaseal.settings import Settings
from chromaseal.snapshot.checkout import check_files
from chromaseal.snapshot.manifest import Version
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

SQLITE = "chroma.sqlite3"
HNSW = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle")
HOLD = "import sys; f = open(sys.argv[1], 'rb'); print('open', flush=True); sys.stdin.read()"


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(self, url: str = "") -> Vault:
        """Open a vault."""
        ...


@dataclass(frozen=True)
class Published:
    """Two versions with a flushed index, as directories and as their manifests say."""

    old: Path
    new: Path
    version: Version


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Publish 1,100 records, then 1,100 others and changes, so that every file differs."""
    folder = tmp_path_factory.mktemp("published")
    settings = Settings(f"file://{folder}/vault", "memory://", folder / "cache")
    with open_vault(settings) as vault:
        for first in (0, 1_050):
            many = [record(f"r{n}", n + first, n=first) for n in range(first, first + 1_100)]
            vault.write({"notes": upserts(*many)})
            vault.compact()
        vault.open_copy("notes", folder / "old", at="1")
        version = vault.open_copy("notes", folder / "new")
    yield Published(folder / "old", folder / "new", version)
    shutil.rmtree(folder)


@pytest.fixture
def directory(published: Published, tmp_path: Path) -> Path:
    """Give a copy of the newer version to be damaged."""
    shutil.copytree(published.new, tmp_path / "directory")
    return tmp_path / "directory"


def sealed(directory: Path) -> Sealed:
    """Seal a directory, without any patience for those who have it open."""
    return seal(directory, open_files=ProcOpenFiles(), clock=ManualClock(), timeout_s=0.05)


def find(directory: Path, name: str) -> Path:
    """Give the one file of a name."""
    (path,) = directory.rglob(name)
    return path


def verified(directory: Path, sandbox: ProcessSandbox, version: Version) -> VerifiedSnapshot:
    """Seal and verify a directory, knowing what its records must amount to."""
    expected = version.manifest.records
    return verify(sealed(directory), sandbox=sandbox, collection="notes", expected=expected)


@pytest.mark.slow
def test_a_sound_directory_passes(
    directory: Path, published: Published, sandbox: ProcessSandbox
) -> None:
    """What was published seals and verifies; the refusals below are about the damage."""
    snapshot = verified(directory, sandbox, published.version)
    assert snapshot.records == published.version.manifest.records
    check_files(published.version.manifest, directory)


def cut_half(path: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def cut_page(path: Path) -> None:
    """Leave off a file's last page, or all but one byte of a smaller one."""
    os.truncate(path, max(path.stat().st_size - 4096, 1))


def empty(path: Path) -> None:
    """Leave nothing of a file."""
    os.truncate(path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SQLITE, *HNSW])
@pytest.mark.parametrize("damage", [Path.unlink, cut_half, cut_page, empty])
def test_missing_and_cut_files_are_refused(
    directory: Path,
    published: Published,
    sandbox: ProcessSandbox,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    """ChromaDB answers normally over most of these; structure and sets do not add up."""
    damage(find(directory, name))
    with pytest.raises(Damaged):
        verify(sealed(directory), sandbox=sandbox, collection="notes")
    with pytest.raises(Damaged):
        check_files(published.version.manifest, directory)


@pytest.mark.slow
@pytest.mark.parametrize("names", [(name,) for name in (SQLITE, *HNSW)] + [HNSW])
def test_files_of_two_versions_are_refused(
    directory: Path, published: Published, sandbox: ProcessSandbox, names: tuple[str, ...]
) -> None:
    """A torn pair passes every check of SQLite; labels, log and rows do not agree."""
    for name in names:
        older = find(published.old, name)
        assert older.read_bytes() != find(directory, name).read_bytes()
        shutil.copyfile(older, find(directory, name))
    with pytest.raises(Damaged):
        verify(sealed(directory), sandbox=sandbox, collection="notes")


@pytest.mark.slow
@pytest.mark.parametrize("name", [SQLITE, *HNSW])
@pytest.mark.parametrize("place", [0.1, 0.35, 0.6, 0.97])
def test_a_flipped_bit_is_refused_by_digest(
    directory: Path, published: Published, sandbox: ProcessSandbox, name: str, place: float
) -> None:
    """Digests find every flipped bit; the checks pass it or refuse it, and never break."""
    flip(find(directory, name), place)
    with pytest.raises(Damaged) as caught:
        check_files(published.version.manifest, directory)
    assert name in caught.value.message
    try:
        snapshot = verified(directory, sandbox, published.version)
    except Damaged:
        return
    assert snapshot.records == published.version.manifest.records


def flip(path: Path, place: float) -> int:
    """Flip one bit of a file; give the offset of its byte."""
    content = bytearray(path.read_bytes())
    offset = int(len(content) * place)
    content[offset] ^= 0x10
    path.write_bytes(content)
    return offset


@pytest.mark.slow
def test_a_file_too_many_is_refused(directory: Path, published: Published) -> None:
    """A journal beside a sound database would be played back into it."""
    (directory / f"{SQLITE}-journal").write_bytes(b"x")
    with pytest.raises(Damaged) as caught:
        check_files(published.version.manifest, directory)
    assert "journal" in caught.value.message


# --- sealing -----------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Give a directory with a file of that name."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / SQLITE).write_bytes(b"x" * 5000)
    return folder


def test_an_open_directory_is_not_sealed(plain: Path) -> None:
    """Another process that has a file open is named, with the file; closed, it seals."""
    path = plain / SQLITE
    arguments = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Conflict) as caught:
            sealed(plain)
        holder.communicate()
    assert caught.value.kind == "still-open"
    assert f"process {holder.pid} " in caught.value.message
    assert str(path) in caught.value.message
    assert sealed(plain).size_bytes == 5000


def test_a_directory_open_in_this_process_is_not_sealed(plain: Path) -> None:
    """This process itself is no exception, neither with a descriptor nor with a mapping."""
    with (plain / SQLITE).open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
        with pytest.raises(Conflict) as caught:
            sealed(plain)
    assert f"process {os.getpid()} " in caught.value.message
    with pytest.raises(Conflict, match="mapped"):
        sealed(plain)
    mapping.close()
    assert sealed(plain).files


def test_a_journal_is_not_sealed(plain: Path) -> None:
    """A journal says that a writer died in the middle."""
    for suffix in ("-journal", "-wal"):
        (plain / f"{SQLITE}{suffix}").write_bytes(b"x")
        with pytest.raises(Damaged) as caught:
            sealed(plain)
        assert caught.value.kind == "hot-journal"
        (plain / f"{SQLITE}{suffix}").unlink()
    assert sealed(plain).files


@pytest.mark.parametrize(
    "make", [lambda p: p.symlink_to(SQLITE), lambda p: p.symlink_to("/"), os.mkfifo]
)
def test_only_plain_files_are_sealed(plain: Path, make: Callable[[Path], None]) -> None:
    """A link or a pipe is refused at once, without following or opening it."""
    make(plain / "odd")
    with pytest.raises(Damaged) as caught:
        sealed(plain)
    assert caught.value.kind == "not-a-plain-file"


def test_nobody_else_makes_proofs(plain: Path) -> None:
    """Sealed and VerifiedSnapshot come from seal and verify only."""
    with pytest.raises(TypeError):
        Sealed(plain, (), key=object())
    version_records = sealed(plain)
    with pytest.raises(TypeError):
        VerifiedSnapshot(version_records, None, (), (), key=object())  # type: ignore[arg-type]


# --- a published vault -------------------------------------------------------------------------


@pytest.fixture
def small(vault_at: OpenVault, tmp_path: Path) -> Vault:
    """Publish one version of three records, and keep no copy of it."""
    vault = vault_at()
    vault.write({"notes": upserts(*[record(f"r{n}", n) for n in range(3)])})
    vault.compact()
    shutil.rmtree(tmp_path / "cache")
    return vault


def objects(vault: Vault, part: str) -> Path:
    """Give the one object of a vault whose key contains ``part``."""
    (found,) = [o.key for o in vault.parts.store.list("notes/") if part in o.key]
    return Path(vault.url.removeprefix("file://")) / found


def flipped(path: Path) -> Iterator[None]:
    """Change one byte of a file after another; in the end it is as it was."""
    sound = path.read_bytes()
    for offset in range(0, len(sound), max(1, len(sound) // 80)):
        damaged = bytearray(sound)
        damaged[offset] ^= 0x04
        path.write_bytes(damaged)
        yield
    path.write_bytes(sound)


def test_a_flipped_byte_anywhere_is_refused(small: Vault, tmp_path: Path) -> None:
    """A changed manifest gives an error and no directory."""
    target = tmp_path / "copy"
    for _ in flipped(objects(small, "manifest.json")):
        with pytest.raises(Damaged):
            small.open_copy("notes", target)
        assert not target.exists()
    small.open_copy("notes", target)


def test_a_flipped_byte_in_the_pointer_serves_nothing_that_never_was(
    small: Vault, tmp_path: Path
) -> None:
    """A changed pointer is refused, or the version before the one that it names is served."""
    only, target = small.version("notes"), tmp_path / "copy"
    outcomes: set[bool] = set()
    for _ in flipped(objects(small, "latest-pointer.txt")):
        passed: list[str] = []
        try:
            version = small.open_copy("notes", target, told=lambda *bad: passed.append(bad[0]))  # noqa: B023 - used up within this turn
        except Damaged:
            assert not target.exists()
        else:
            assert version == only
            assert passed, "it was not said"
            shutil.rmtree(target)
        outcomes.add(bool(passed))
    assert outcomes == {True, False}


def test_a_flipped_byte_in_a_layer_never_reaches_a_copy(small: Vault, tmp_path: Path) -> None:
    """No byte of a layer may change: the error names the object, and there is no directory."""
    path, target = objects(small, ".layer"), tmp_path / "copy"
    ((part,),) = (layer.parts for layer in small.version("notes").manifest.layers)
    sound = path.read_bytes()
    tail = range(part.tail_offset, len(sound), max(1, (len(sound) - part.tail_offset) // 20))
    for offset in (*range(0, len(sound), len(sound) // 80), *tail, len(sound) - 1):
        damaged = bytearray(sound)
        damaged[offset] ^= 0x04
        path.write_bytes(damaged)
        with pytest.raises(Damaged) as caught:
            small.open_copy("notes", target)
        assert (caught.value.kind, path.name in caught.value.message) == ("bad-layer", True)
        assert not target.exists()
    path.write_bytes(sound)
    small.open_copy("notes", target)


@pytest.mark.parametrize("part", ["manifest.json", ".layer", "latest-pointer.txt"])
def test_missing_and_cut_objects_are_refused(small: Vault, tmp_path: Path, part: str) -> None:
    """An object that is cut short or gone gives an error and no directory."""
    path, target = objects(small, part), tmp_path / "copy"
    sound = path.read_bytes()
    for size in (0, len(sound) // 2, len(sound) - 60):
        path.write_bytes(sound[:size])
        with pytest.raises(Damaged):
            small.open_copy("notes", target)
    path.unlink()
    with pytest.raises(ChromasealError):
        small.open_copy("notes", target)
    assert [p.name for p in tmp_path.iterdir() if "copy" in p.name] == []


@pytest.mark.parametrize("first", ["copy", "compact"])
@pytest.mark.parametrize("damage", ["flipped", "gone", "journal", "cut"])
def test_a_damaged_kept_copy_is_fetched_anew(
    vault_at: OpenVault, tmp_path: Path, damage: str, first: str
) -> None:
    """What is kept on this machine is checked before it is used, and replaced if it is bad."""
    vault = vault_at()
    vault.write({"notes": upserts(record("a", 1))})
    vault.compact()
    kept = find(tmp_path / "cache", SQLITE)
    if damage == "flipped":
        flip(kept, 0.5)
    elif damage == "gone":
        kept.unlink()
    elif damage == "journal":
        kept.with_name(f"{SQLITE}-journal").write_bytes(b"x" * 600)
    else:
        cut_half(kept)
    if first == "copy":
        version = vault.open_copy("notes", tmp_path / "copy")
        check_files(version.manifest, tmp_path / "copy")
        check_files(version.manifest, kept.parent)
    vault.write({"notes": upserts(record("b", 2))})
    (done,) = vault.compact()
    assert done.version is not None
    assert done.version.manifest.records.count == 2
    check_files(vault.version("notes", "1").manifest, kept.parent)
    vault.open_copy("notes", tmp_path / "newest")


def test_a_rotten_kept_copy_is_fetched_anew(vault_at: OpenVault, tmp_path: Path) -> None:
    """A disk that changes a byte changes no time with it: every page is checked in a copy."""
    vault = vault_at()
    vault.write({"notes": upserts(record("a", 1))})
    vault.compact()
    kept = find(tmp_path / "cache", SQLITE)
    status = kept.stat()
    flip(kept, 0.5)
    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))
    version = vault.open_copy("notes", tmp_path / "copy")
    check_files(version.manifest, tmp_path / "copy")
    check_files(version.manifest, kept.parent)
