"""Keys of the existing pipeline's bucket, read and made."""

from __future__ import annotations

import datetime as dt
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.errors import ChromasealError
from chromaseal.legacy import keys
from chromaseal.snapshot.version_id import VersionId

HEX = "0123456789abcdef" * 2
RUN = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"
MOMENTS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2999, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=dt.UTC)
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (f"lines/delta/{RUN}/delta.tar.gz", ("lines", RUN, f"lines/delta/{RUN}/")),
        (
            f"lines/delta/{RUN}/{HEX}/chroma.sqlite3",
            ("lines", RUN, f"lines/delta/{RUN}/{HEX}/"),
        ),
        (f"words/delta/{HEX}/{RUN}/header.bin", ("words", HEX, f"words/delta/{HEX}/")),
        (f"words/delta/{HEX}/chroma.sqlite3", ("words", HEX, f"words/delta/{HEX}/")),
        (f"lines/delta/{RUN}/delta.parquet", None),
        (f"lines/delta/{RUN}/other/chroma.sqlite3", None),
        ("lines/delta/x", None),
        ("lines/snapshot/latest-pointer.txt", None),
    ],
)
def test_every_form_of_a_delta_is_known(key: str, expected: tuple[str, str, str] | None) -> None:
    """An archive, an upload file by file, and what batches write; nothing else."""
    assert keys.delta_of(key) == expected


@given(moments=st.lists(MOMENTS, min_size=2, max_size=2, unique=True), number=st.integers(1, 9))
def test_exported_ids_sort_as_versions_do(moments: list[dt.datetime], number: int) -> None:
    """As the pipeline's own ids do, in both of their forms."""
    older, newer = (
        VersionId(moment, number, digest * 32)
        for moment, digest in zip(sorted(moments), "f0", strict=True)
    )
    assert (older.existing_name < newer.existing_name) == (str(older) < str(newer)) is True
    assert keys.check_snapshot_id(older.existing_name)
    without_fractions = f"{newer.created_at:%Y%m%d_%H%M%S}"
    assert without_fractions < newer.existing_name


@given(name=st.text(st.sampled_from("ab./\\\x00"), min_size=1, max_size=12))
def test_a_member_lies_inside_or_is_refused(name: str) -> None:
    """Whatever it is called."""
    try:
        path = keys.inside(name)
    except ChromasealError:
        return
    if path is not None:
        target = PurePosixPath("/target")
        assert (target / path).is_relative_to(target)
        assert ".." not in (target / path).parts


@pytest.mark.parametrize(
    ("prefix", "url", "expected"),
    [
        ("lines/delta/x/", "s3://bucket", "lines/delta/x/"),
        ("lines/delta/x", "s3://bucket/", "lines/delta/x/"),
        ("s3://bucket/lines/delta/x/", "s3://bucket", "lines/delta/x/"),
        ("s3://bucket/copy/lines/delta/x/", "s3://bucket/copy", "lines/delta/x/"),
        ("s3://other/lines/delta/x/", "s3://bucket", None),
        ("s3://bucket/lines/delta/x/", "s3://bucket/copy", None),
        ("../x/", "s3://bucket", None),
        ("", "s3://bucket", None),
        ("s3://bucket", "s3://bucket", None),
        ("s3://[x/", "s3://bucket", None),
    ],
)
def test_a_runs_prefix_is_in_the_bucket(prefix: str, url: str, expected: str | None) -> None:
    """With or without scheme and bucket, and in no other one."""
    if expected is not None:
        assert keys.relative_prefix(prefix, url) == expected
        return
    with pytest.raises(ChromasealError) as caught:
        keys.relative_prefix(prefix, url)
    assert caught.value.kind == "bad-path"


@pytest.mark.parametrize("text", ["", "a/b", "..", ".hidden", "x" * 200, "ä"])
def test_a_pointer_names_one_folder(text: str) -> None:
    """What a pointer says becomes part of a key."""
    with pytest.raises(ChromasealError) as caught:
        keys.check_snapshot_id(text)
    assert caught.value.kind == "bad-snapshot-id"
