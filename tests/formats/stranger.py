"""A second reader of vaults, written from ``docs/formats`` alone; shares no code with the package.

``python stranger.py VAULT COLLECTION TARGET`` rebuilds the newest version's directory. Beside the
standard library it takes zstd and BLAKE3, which the standard library does not have.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import zstandard
from blake3 import blake3

PAGE = 4096
DIGEST = 32
PAGE_DIGEST = 16
FRAME_PAGES = 256
FOOTER = struct.Struct("<QQ8s")
PAST = ("version_id", "records", "size_bytes", "stored_bytes", "restores", "runs")
VERSION_ID = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})_([0-9]{2})([0-9]{2})([0-9]{2})_([0-9]{6})_([0-9]{6,})_([0-9a-f]{32})"
)
DIGEST_MARK = b'"file_digest":"'


class Refused(Exception):  # noqa: N818 - it is what happened
    """Something is not what the documents say."""


def require(holds: bool, what: str) -> None:  # noqa: FBT001
    """Refuse to go on unless something holds."""
    if not holds:
        raise Refused(what)


def digest(data: bytes) -> str:
    """BLAKE3 in hexadecimal digits."""
    return blake3(data).hexdigest()


def pages(content: bytes) -> Iterator[bytes]:
    """Cut a file's content into pages."""
    return (content[start : start + PAGE] for start in range(0, len(content), PAGE))


def file_digest(content: bytes) -> str:
    """Digest of the digests of a file's pages."""
    return digest(b"".join(blake3(page).digest(length=PAGE_DIGEST) for page in pages(content)))


def newest(vault: Path, collection: str) -> str:
    """Read the pointer."""
    return (vault / collection / "snapshot/latest-pointer.txt").read_text("ascii").strip()


def read_manifest(vault: Path, collection: str, version_id: str) -> tuple[dict[str, Any], str]:
    """Read and check a version's manifest; give it and its digest."""
    parts = VERSION_ID.fullmatch(version_id)
    if parts is None:
        raise Refused(f"{version_id} is no version id")
    folder = vault / collection / "snapshot/timestamped" / version_id
    body = (folder / "manifest.json").read_bytes()
    found = digest(body)
    require(found[:32] == parts[9], "the manifest's digest is not the id's")
    manifest: dict[str, Any] = json.loads(body)
    require(manifest["format"] == "chromaseal.version", "another format")
    require(manifest["format_version"] == 2, "a newer format")
    require(manifest["collection"] == collection, "another collection's manifest")
    require(manifest["number"] == int(parts[8]), "the id has another number")
    stamp = "{}-{}-{}T{}:{}:{}.{}Z".format(*parts.groups()[:7])
    require(manifest["created_at"] == stamp, "the id has another time")
    check_chain(manifest)
    return manifest, found


def check_chain(manifest: dict[str, Any]) -> None:
    """Check that the layers are a base and diffs that lead to the version without a gap."""
    base, *diffs = manifest["layers"]
    require(base["kind"] == "base" and base["first"] == base["last"], "no base")
    end = base["last"]
    for diff in diffs:
        require(diff["kind"] == "diff" and diff["first"] == end + 1 <= diff["last"], "a gap")
        end = diff["last"]
    require(end == manifest["number"], "the layers lead to another version")
    step = manifest["step"]
    if step is not None:
        ends = (step["kind"], step["first"], step["last"])
        require(ends == ("diff", manifest["number"], manifest["number"]), "the step")
    require((manifest["number"] == 1) == (step is None), "a step from nothing")


def history(vault: Path, collection: str) -> list[dict[str, Any]]:
    """Give all manifests, the newest first, with every link of the chain checked."""
    found: list[dict[str, Any]] = []
    version_id, expected = newest(vault, collection), None
    while True:
        manifest, its_digest = read_manifest(vault, collection, version_id)
        require(expected in (None, its_digest), "a parent is not what its child says")
        require(not found or manifest["number"] == found[-1]["number"] - 1, "a gap in the numbers")
        found.append(manifest)
        parent = manifest["parent"]
        require((parent is None) == (manifest["number"] == 1), "only number 1 has no parent")
        if parent is None:
            return found
        version_id, expected = parent["version_id"], parent["digest"]


def line(vault: Path, collection: str, version_id: str = "") -> list[dict[str, Any]]:
    """Give what a version remembers of those before it, the oldest first."""
    manifest, _ = read_manifest(vault, collection, version_id or newest(vault, collection))
    rows: list[list[Any]] = []
    for page in manifest["pages"]:
        body = (vault / collection / "history" / f"{page['page_id']}.json").read_bytes()
        require(len(body) == page["size_bytes"], "a history page's size")
        require(digest(body) == page["digest"], "a history page's digest")
        own = json.loads(body)["past"]
        require((len(rows) + 1, len(rows) + len(own)) == (page["first"], page["last"]), "a gap")
        rows += own
    rows += manifest["past"]
    past = [dict(zip(PAST, row, strict=True)) for row in rows]
    for number, each in enumerate(past, 1):
        parts = VERSION_ID.fullmatch(each["version_id"])
        require(parts is not None and int(parts[8]) == number, "a number")
        require(each["restores"] is None or 0 < each["restores"] < number, "a rollback")
    require(len(past) == manifest["number"] - 1, "a gap before the version itself")
    require(not past or past[-1]["version_id"] == manifest["parent"]["version_id"], "the parent")
    return past


def effective_runs(past: list[dict[str, Any]]) -> set[str]:
    """Give the runs along a line that no rollback has undone, since a directory was pushed."""
    found: set[str] = set()
    number = len(past)
    while number:
        restores, runs = past[number - 1]["restores"], past[number - 1]["runs"]
        if restores is None and not runs:
            break
        found |= {run_id for run_id, _ in runs}
        number = number - 1 if restores is None else restores
    return found


def tags(vault: Path, collection: str) -> dict[str, str]:
    """Give the version ids that have names."""
    folder = vault / collection / "tag"
    return {path.stem: path.read_text("ascii").strip() for path in folder.glob("*.txt")}


def removed(vault: Path, collection: str) -> set[str]:
    """Give the ids of the versions that were removed or are about to be."""
    records = (vault / collection / "gc").glob("*.json")
    return {each for path in records for each in json.loads(path.read_bytes())["versions"]}


def unpack(frame: bytes, size: int | None = None) -> bytes:
    """Unpack a frame that says its size."""
    says = zstandard.frame_content_size(frame)
    require(says >= 0 and size in (None, says), "a frame of another size")
    return zstandard.ZstdDecompressor().decompress(frame)


class Frame(NamedTuple):
    """Pages of one file, and what their digests are once they are in place."""

    path: str
    mode: str
    pages: list[int]
    content: bytes
    digests: list[bytes]


def frames(vault: Path, collection: str, layer: dict[str, Any]) -> Iterator[Frame]:
    """Give every frame of a layer, object after object."""
    for number, part in enumerate(layer["parts"]):
        name = f"{layer['layer_id']}-{number:04}.layer"
        yield from frames_of((vault / collection / "layer" / name).read_bytes(), part)


def frames_of(body: bytes, part: dict[str, Any]) -> Iterator[Frame]:
    """Give the frames of one object."""
    start = part["tail_offset"]
    require(len(body) == part["size_bytes"], "an object's size")
    require(digest(body[start:]) == part["digest"], "the digest of an object's tail")
    offset, size, magic = FOOTER.unpack(body[-FOOTER.size :])
    require(magic == b"CSLAYER2", "the magic")
    require((offset, size) == (start, len(body) - start - FOOTER.size), "the footer")
    index = unpack(body[offset : offset + size])
    length = int.from_bytes(index[:4], "little")
    rows = json.loads(index[4 : 4 + length])
    middle = 4 + length + len(rows) * DIGEST
    frame_digests = [index[at : at + DIGEST] for at in range(4 + length, middle, DIGEST)]
    page_digests = [index[at : at + PAGE_DIGEST] for at in range(middle, len(index), PAGE_DIGEST)]
    end = 0
    for (path, mode, runs, content_size, at, frame_size), expected in zip(
        rows, frame_digests, strict=True
    ):
        numbers = [page for first, count in runs for page in range(first, first + count)]
        require(0 < len(numbers) <= FRAME_PAGES, "pages per frame")
        require(numbers == sorted(set(numbers)), "pages out of order")
        require(at == end, "bytes between frames")
        end = at + frame_size
        frame = body[at:end]
        require(blake3(frame).digest() == expected, f"the digest of a frame of {path}")
        own, page_digests = page_digests[: len(numbers)], page_digests[len(numbers) :]
        yield Frame(path, mode, numbers, unpack(frame, content_size), own)
    require(end == offset and not page_digests, "bytes or digests of nothing")


Pages = dict[tuple[str, int], bytes]


def apply(found: Pages, frame: Frame) -> None:
    """Put the pages of a frame in place, and check what they have become."""
    require(frame.mode in ("raw", "xor"), "another mode")
    content = list(pages(frame.content))
    require(len(content) == len(frame.pages), "pages that are not there")
    for number, page, expected in zip(frame.pages, content, frame.digests, strict=True):
        if frame.mode == "xor":
            before = found[frame.path, number]
            require(len(before) == len(page) == PAGE, "a difference of a short page")
            mixed = int.from_bytes(before, "little") ^ int.from_bytes(page, "little")
            page = mixed.to_bytes(PAGE, "little")  # noqa: PLW2901
        require(
            blake3(page).digest(length=PAGE_DIGEST) == expected, f"page {number} of {frame.path}"
        )
        found[frame.path, number] = page


def rebuild(
    vault: Path, collection: str, target: Path, version_id: str = "", *, before: Path | None = None
) -> dict[str, Any]:
    """Rebuild a version's directory from its chain; give its manifest.

    With ``before``, the directory of its parent, from that and the step alone.
    """
    manifest, _ = read_manifest(vault, collection, version_id or newest(vault, collection))
    found: Pages = {}
    if before is not None:
        for path in filter(Path.is_file, before.rglob("*")):
            name = path.relative_to(before).as_posix()
            found |= {(name, n): page for n, page in enumerate(pages(path.read_bytes()))}
    for layer in manifest["layers"] if before is None else [manifest["step"]]:
        for frame in frames(vault, collection, layer):
            apply(found, frame)
    names = [file["path"] for file in manifest["files"]]
    require(len(set(names)) == len(names), "a path occurs twice")
    for file in manifest["files"]:
        check_path(file["path"])
        count = -(-file["size_bytes"] // PAGE)
        content = b"".join(found[file["path"], number] for number in range(count))
        require(len(content) == file["size_bytes"], f"the size of {file['path']}")
        require(file_digest(content) == file["digest"], f"the digest of {file['path']}")
        (target / file["path"]).parent.mkdir(parents=True, exist_ok=True)
        (target / file["path"]).write_bytes(content)
    return manifest


def check_path(path: str) -> None:
    """Refuse a path that is not plain or leaves the directory."""
    plain = PurePosixPath(path)
    require(str(plain) == path != "." and not plain.is_absolute(), "a path is not plain")
    require(".." not in plain.parts and not {"\\", "\0"} & set(path), "a path leaves the directory")


def check_delta(body: bytes) -> dict[str, Any]:
    """Check a delta's digest and give its header, without a Parquet reader."""
    start = body.rfind(DIGEST_MARK) + len(DIGEST_MARK)
    require(start >= len(DIGEST_MARK), "no digest")
    blank = body[:start] + b"0" * 64 + body[start + 64 :]
    require(digest(blank).encode() == body[start : start + 64], "the delta's digest")
    begin = body.rindex(b'{"attributes":', 0, start)
    header: dict[str, Any] = json.JSONDecoder().raw_decode(body[begin:].decode("latin-1"))[0]
    return header


def record_digest(
    record_id: str, document: str | None, metadata: dict[str, Any], vector: bytes
) -> bytes:
    """Digest one record; no vector for a cosine collection."""
    canonical = json.dumps(
        {key: rounded(value) for key, value in metadata.items()},
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    text = b"" if document is None else b"d" + document.encode()
    parts = (record_id.encode(), text, canonical.encode(), vector)
    return blake3(b"".join(struct.pack("<Q", len(part)) + part for part in parts)).digest()


def rounded(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Round floats to 12 significant digits."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(format(value, ".12g")) or 0.0
    return value


def multiset(digests: list[bytes]) -> str:
    """Sum up over records."""
    lanes = [0] * 1024
    for each in digests:
        wide = struct.unpack("<1024H", blake3(each).digest(length=2048))
        lanes = [(lane + more) % 65536 for lane, more in zip(lanes, wide, strict=True)]
    return base64.b64encode(struct.pack("<1024H", *lanes)).decode()


def header_of(segment: Path) -> tuple[int, int, int, int]:
    """Give elements, bytes per element, and offsets of label and vector."""
    fields = struct.unpack("<i6QiI3QdQ", (segment / "header.bin").read_bytes()[:100])
    return fields[3], fields[4], fields[5], fields[6]


def unflushed_records(
    directory: Path, collection: str
) -> Iterator[tuple[str, str | None, dict[str, Any], bytes]]:
    """Give the records of a small collection, whose vectors are all in the pending log."""
    database = sqlite3.connect(f"{(directory / 'chroma.sqlite3').as_uri()}?immutable=1", uri=True)
    ((collection_id,),) = database.execute("SELECT id FROM collections WHERE name=?", (collection,))
    segments = dict(
        database.execute("SELECT scope, id FROM segments WHERE collection=?", (collection_id,))
    )
    require(header_of(directory / segments["VECTOR"])[0] == 0, "it was flushed")
    vectors: dict[str, bytes] = {}
    for operation, record_id, vector in database.execute(
        "SELECT operation, id, vector FROM embeddings_queue WHERE topic LIKE ? ORDER BY seq_id",
        (f"%/{collection_id}",),
    ):
        if operation == 3:
            vectors.pop(record_id, None)
        elif vector is not None:
            vectors[record_id] = vector
    rows = "SELECT id, embedding_id FROM embeddings WHERE segment_id=?"
    for row_id, record_id in database.execute(rows, (segments["METADATA"],)).fetchall():
        metadata = metadata_of(database, row_id)
        document = metadata.pop("chroma:document", None)
        yield record_id, document, metadata, vectors[record_id]
    database.close()


def metadata_of(database: sqlite3.Connection, row_id: int) -> dict[str, Any]:
    """Give one record's metadata, the document among it."""
    columns = "key, string_value, int_value, float_value, bool_value"
    query = f"SELECT {columns} FROM {{}} WHERE id=? ORDER BY rowid"  # noqa: S608 - own names
    found: dict[str, Any] = {}
    for key, *values in database.execute(query.format("embedding_metadata"), (row_id,)):
        found[key] = value_of(values)
    for key, *values in database.execute(query.format("embedding_metadata_array"), (row_id,)):
        found.setdefault(key, []).append(value_of(values))
    return found


def value_of(values: list[Any]) -> Any:  # noqa: ANN401 - whatever metadata can hold
    """Give the one of text, whole number, float and boolean that is there."""
    text, whole, real, boolean = values
    if boolean is not None:
        return bool(boolean)
    return next((value for value in (text, whole, real) if value is not None), None)


if __name__ == "__main__":
    rebuild(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
