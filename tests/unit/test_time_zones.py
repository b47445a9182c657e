"""What a time means does not depend on where the machine stands."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator

import pytest

from chromaseal.clock import read_moment
from chromaseal.snapshot.find import parse_moment
from chromaseal.snapshot.version_id import VersionId, parse
from chromaseal.testing.clock import START


@pytest.fixture(params=["XXX+5", "XXX-14"])
def _elsewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_elsewhere")
def test_a_time_without_an_offset_is_utc() -> None:
    """Whoever reads a log on one machine names the same version on another."""
    assert time.timezone != 0
    expected = dt.datetime(2026, 11, 20, 14, tzinfo=dt.UTC)
    assert parse_moment("2026-11-20T14:00", START) == expected
    assert parse_moment("2026-11-20T14:00+02:00", START) == expected - dt.timedelta(hours=2)
    assert parse_moment("2026-11-20", START) == expected - dt.timedelta(hours=14)


@pytest.mark.usefixtures("_elsewhere")
def test_what_others_write_without_an_offset_is_utc() -> None:
    """Items of a table and messages; what is no moment, or none that UTC has, is none."""
    expected = dt.datetime(2026, 11, 20, 14, tzinfo=dt.UTC)
    for text in ("2026-11-20T14:00:00", "2026-11-20T14:00:00Z", "2026-11-20T09:00:00-05:00"):
        assert read_moment(text) == expected
    for other in ("soon", "", None, 5, "0001-01-01T00:00:00+14:00"):
        assert read_moment(other) is None


@pytest.mark.usefixtures("_elsewhere")
def test_the_time_in_an_id_is_utc() -> None:
    """Ids sort by time wherever they were made."""
    local = START.astimezone()
    version_id = VersionId(local, 1, "0" * 32)
    assert str(version_id) == str(VersionId(START, 1, "0" * 32))
    assert parse(str(version_id)).created_at == START
