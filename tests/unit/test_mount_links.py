"""Whether links can be relied on is decided before there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.mount.links import is_all_there, may_link
from chromaseal.seal.evidence import FileEntry


@pytest.mark.parametrize("kind", ["fuse.seaweedfs", "fuse", "fuseblk", "ext4", "nfs4", ""])
def test_no_link_is_made_through_fuse(kind: str, tmp_path: Path) -> None:
    """Whatever a trial on one machine would say; elsewhere the trial decides."""
    assert may_link(kind, tmp_path) is not kind.startswith("fuse")


def test_a_trial_that_fails_means_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is refused, and one that goes with the older name."""

    def refused(source: Path, target: Path) -> None:
        raise PermissionError(1, "no links here", str(source), None, str(target))

    for number, link in enumerate((refused, lambda source, target: target.symlink_to(source))):
        probe = tmp_path / str(number)
        probe.mkdir()
        monkeypatch.setattr("os.link", link)
        assert not may_link("", probe)


def test_a_file_that_is_missing_or_shorter_is_seen(tmp_path: Path) -> None:
    """In a folder of its own, too; other files are none of a version's."""
    (tmp_path / "segment").mkdir()
    for name, body in (("one", b""), ("segment/two", b"12"), ("other", b"3")):
        (tmp_path / name).write_bytes(body)
    entries = [FileEntry("one", 0, ""), FileEntry("segment/two", 2, "")]
    assert is_all_there(tmp_path, entries)
    assert not is_all_there(tmp_path, [*entries, FileEntry("segment/three", 0, "")])
    assert not is_all_there(tmp_path, [*entries, FileEntry("nowhere/one", 0, "")])
    (tmp_path / "segment" / "two").write_bytes(b"1")
    assert not is_all_there(tmp_path, entries)


def test_a_file_that_no_listing_has_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has made a link may still open it by its name when others do not find it any more."""
    (tmp_path / "one").write_bytes(b"1")
    entries = [FileEntry("one", 1, "")]
    assert is_all_there(tmp_path, entries)
    monkeypatch.setattr("os.listdir", lambda _: [])
    assert not is_all_there(tmp_path, entries)
