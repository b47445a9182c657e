"""Archives of strangers: what is in them, or a refusal; never a file elsewhere, never a bomb."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal.errors import ChromasealError
from chromaseal.legacy.archive import Bounds, unpack

BOUNDS = Bounds(files=10, size_bytes=100_000)
NAMES = st.text("abc.", min_size=1, max_size=5).filter(lambda n: n not in {".", ".."})


def tar(add: Callable[[tarfile.TarFile], None], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """Make a gzip tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tar_format) as archive:
        add(archive)
    return out.getvalue()


def member(name: str, content: bytes = b"x", **fields: object) -> Callable[[tarfile.TarFile], None]:
    """Add a member with any fields."""

    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(content))

    return add


def together(*adds: Callable[[tarfile.TarFile], None]) -> Callable[[tarfile.TarFile], None]:
    """Add several members."""

    def add(archive: tarfile.TarFile) -> None:
        for each in adds:
            each(archive)

    return add


def stated(size_bytes: int, kind: bytes) -> bytes:
    """Make an archive whose only header states more than there is."""
    info = tarfile.TarInfo("stated")
    info.size, info.type = size_bytes, kind
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(tarfile.BLOCKSIZE))


def goes_on_after_its_end() -> bytes:
    """Give an archive of a sparse file whose next header is missing."""
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return gzip.compress(bytes(header))


def unpacked(body: bytes, folder: Path) -> dict[str, bytes]:
    """Unpack; give the files."""
    (folder / "archive").write_bytes(body)
    paths = unpack(folder / "archive", folder / "out", BOUNDS)
    found = {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }
    assert sorted(paths) == sorted(found)
    return found


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (tar(member("/etc/passwd")), "bad-path"),
        (tar(member("../outside")), "bad-path"),
        (tar(member("a/../../outside")), "bad-path"),
        (tar(member("a\\b")), "bad-path"),
        (tar(member("n" * 300)), "bad-path"),
        (tar(member("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "unsafe-archive"),
        (tar(member("link", b"", type=tarfile.LNKTYPE, linkname="a")), "unsafe-archive"),
        (tar(member("device", b"", type=tarfile.CHRTYPE)), "unsafe-archive"),
        (tar(member("pipe", b"", type=tarfile.FIFOTYPE)), "unsafe-archive"),
        (tar(member(".", b"x")), "unsafe-archive"),
        (tar(together(member("twice"), member("./twice"))), "unsafe-archive"),
        (tar(together(member("a"), member("a/b"))), "unsafe-archive"),
        (tar(together(*(member(f"f{n}") for n in range(11)))), "unsafe-archive"),
        (tar(member("large", bytes(100_001))), "unsafe-archive"),
        (stated(1 << 40, tarfile.REGTYPE), "unsafe-archive"),
        (stated(1 << 40, tarfile.XHDTYPE), "unsafe-archive"),
        (stated(1 << 40, tarfile.GNUTYPE_LONGNAME), "unsafe-archive"),
        (stated(100, tarfile.GNUTYPE_SPARSE), "unsafe-archive"),
        (stated(5000, tarfile.REGTYPE), "bad-archive"),
        (tar(member("/".join(["n" * 200] * 40))), "bad-path"),
        (tar(member("a", pax_headers={"GNU.sparse.map": "a,b"})), "bad-archive"),
        (
            tar(member("a", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})),
            "bad-archive",
        ),
        (goes_on_after_its_end(), "bad-archive"),
        (gzip.compress(bytes(50_000_000)), ""),
        (tar(member("a")) + b"more", "bad-archive"),
        (b"", "bad-archive"),
        (b"no archive at all", "bad-archive"),
        (gzip.compress(b"no tar"), "bad-archive"),
    ],
    ids=lambda each: each if isinstance(each, str) else "archive",
)
def test_what_is_no_plain_directory_is_refused(tmp_path: Path, body: bytes, kind: str) -> None:
    """Nothing is written anywhere but below the target, and no stated size is believed."""
    with pytest.raises(ChromasealError) as caught:
        unpacked(body, tmp_path)
    assert caught.value.kind in ({kind} if kind else {"unsafe-archive", "bad-archive"})
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "out"}


def test_what_the_pipeline_leaves_beside_a_directory_is_left_out(tmp_path: Path) -> None:
    """Hashes and version notes that were brought along are no part of a ChromaDB directory."""
    adds = [member(f"./{name}") for name in (".snapshot_hash", ".version", "chroma.sqlite3")]
    assert unpacked(tar(together(*adds)), tmp_path).keys() == {"chroma.sqlite3"}


def outcome(body: bytes, folder: Path) -> dict[str, bytes] | str:
    """Unpack; give the files, or the kind of the refusal."""
    try:
        return unpacked(body, folder)
    except ChromasealError as error:
        return error.kind


@settings(max_examples=60)
@given(
    files=st.dictionaries(st.lists(NAMES, min_size=1, max_size=2).map("/".join), st.binary()),
    tar_format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_an_archive_is_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, bytes],
    tar_format: int,
    place: float,
    bit: int,
) -> None:
    """Of any tree comes that tree; of one that was cut or changed, the same or nothing."""
    folders = {path.split("/")[0] for path in files if "/" in path}
    files = {path: content for path, content in files.items() if path not in folders}
    files = dict(list(files.items())[: BOUNDS.files])
    body = tar(together(*(member(f"./{p}", c) for p, c in files.items())), tar_format)
    at = int(place * len(body))
    changed = body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :]
    assert outcome(body, tmp_path_factory.mktemp("archive")) == files
    for each in (body[:at], changed):
        found = outcome(each, tmp_path_factory.mktemp("archive"))
        assert found in (files, "bad-archive", "unsafe-archive", "bad-path")
