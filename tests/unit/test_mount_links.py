"""Whether links can be relied on is decided before there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.mount import links
from chromaseal.mount.links import file_system_of, is_all_there, may_link
from chromaseal.seal.evidence import FileEntry

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / /srv rw,relatime shared:2 master:1 - nfs4 host:/ rw,vers=4.1
31 22 0:46 / /srv/with\040space rw,relatime - fuse.seaweedfs filer:/shared rw
32 22 0:47 / /twice rw - ext4 /dev/sdb1 rw
33 22 0:48 / /twice rw - fuse /dev/fuse rw
34 22 0:49 / /fusebox rw - xfs /dev/fuse rw
"""


@pytest.mark.parametrize(
    ("directory", "is_of"),
    [
        ("/", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/chroma/work", "nfs4"),
        ("/srv/with space/work", "fuse.seaweedfs"),
        ("/srvx", "ext4"),
        ("/twice/work", "fuse"),
        ("/fusebox", "xfs"),
    ],
)
def test_the_file_system_is_that_of_the_deepest_mount(directory: str, is_of: str) -> None:
    """The last one where there are several, also where its name has a space."""
    assert file_system_of(Path(directory), MOUNTS) == is_of
    assert file_system_of(Path(directory), "nothing of the kind\n") == ""


@pytest.mark.parametrize("kind", ["fuse.seaweedfs", "fuse", "fuseblk", "ext4", "nfs4"])
def test_no_link_is_made_through_fuse(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a trial on one machine would say; elsewhere the trial decides."""
    (tmp_path / "mounts").write_text(f"22 1 8:1 / / rw - {kind} /dev/sda1 rw\n")
    monkeypatch.setattr(links, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "probe").mkdir()
    assert may_link(tmp_path / "probe") is not kind.startswith("fuse")


def test_a_trial_that_fails_means_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is refused, and one that goes with the older name."""
    monkeypatch.setattr(links, "_MOUNTS", tmp_path / "nowhere")

    def refused(source: Path, target: Path) -> None:
        raise PermissionError(1, "no links here", str(source), None, str(target))

    for number, link in enumerate((refused, lambda source, target: target.symlink_to(source))):
        probe = tmp_path / str(number)
        probe.mkdir()
        monkeypatch.setattr("os.link", link)
        assert not may_link(probe)


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
