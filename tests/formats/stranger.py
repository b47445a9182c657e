"""A second reader of vaults, written from ``docs/formats`` alone; shares no code with the package.

``python stranger.py VAULT COLLECTION TARGET`` rebuilds the newest version's directory.
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
from typing import Any

import zstandard
from blake3 import blake3

PAGE = 4096
DIGEST = 32
MAGIC = b"CSLAYER1"
FOOTER = struct.Struct("<QQ32s8s")
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
    return digest(b"".join(blake3(page).digest() for page in pages(content)))


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
    require(manifest["format_version"] == 1, "a newer format")
    require(manifest["collection"] == collection, "another collection's manifest")
    require(manifest["number"] == int(parts[8]), "the id has another number")
    stamp = "{}-{}-{}T{}:{}:{}.{}Z".format(*parts.groups()[:7])
    require(manifest["created_at"] == stamp, "the id has another time")
    return manifest, found


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


def unpack(frame: bytes, size: int | None = None) -> bytes:
    """Unpack a frame that says its size."""
    says = zstandard.frame_content_size(frame)
    require(says >= 0 and size in (None, says), "a frame of another size")
    return zstandard.ZstdDecompressor().decompress(frame)


def chunks(layer: bytes, entry: dict[str, Any]) -> Iterator[tuple[str, int, bytes]]:
    """Give path, offset in the file and content of every chunk of a layer."""
    require(digest(layer) == entry["digest"], "the layer's digest")
    require(len(layer) == entry["size_bytes"], "the layer's size")
    require(layer.startswith(MAGIC), "the layer's magic")
    offset, size, index_digest, magic = FOOTER.unpack(layer[-FOOTER.size :])
    require(magic == MAGIC, "the footer's magic")
    require((offset, size) == (entry["index_offset"], entry["index_size_bytes"]), "the index")
    frame = layer[offset : offset + size]
    require(digest(frame) == index_digest.hex() == entry["index_digest"], "the index's digest")
    index = unpack(frame)
    length = int.from_bytes(index[:4], "little")
    digests = index[4 + length :]
    for path, first_page, size_bytes, start, frame_size in json.loads(index[4 : 4 + length]):
        content = unpack(layer[start : start + frame_size], size_bytes)
        for page in pages(content):
            require(blake3(page).digest() == digests[:DIGEST], f"a page of {path}")
            digests = digests[DIGEST:]
        yield path, first_page * PAGE, content
    require(not digests, "digests of pages that are not there")


def rebuild(vault: Path, collection: str, target: Path, version_id: str = "") -> dict[str, Any]:
    """Rebuild a version's directory; give its manifest."""
    manifest, _ = read_manifest(vault, collection, version_id or newest(vault, collection))
    sizes = {file["path"]: file["size_bytes"] for file in manifest["files"]}
    require(len(sizes) == len(manifest["files"]), "a path occurs twice")
    for path, size in sizes.items():
        plain = PurePosixPath(path)
        require(str(plain) == path and not plain.is_absolute(), "a path is not plain")
        require(".." not in plain.parts and "\\" not in path, "a path leaves the directory")
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(bytes(size))
    for entry in manifest["layers"]:
        layer = (vault / collection / "layer" / f"{entry['layer_id']}.layer").read_bytes()
        for path, offset, content in chunks(layer, entry):
            require(offset + len(content) <= sizes.get(path, 0), "pages beyond a file's end")
            with (target / path).open("r+b") as file:
                file.seek(offset)
                file.write(content)
    for file in manifest["files"]:
        content = (target / file["path"]).read_bytes()
        require(file_digest(content) == file["digest"], f"the digest of {file['path']}")
    return manifest


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
