"""The kind of file system that a directory is on is known, however it got there."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.linux.file_system import LinuxFileSystem, kind_in

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / /srv rw,relatime shared:2 master:1 - nfs4 host:/ rw,vers=4.1
31 22 0:46 / /srv/with\040space rw,relatime - fuse.seaweedfs filer:/shared rw
32 22 0:47 / /twice rw - ext4 /dev/sdb1 rw
33 22 0:48 / /twice rw - fuse /dev/fuse rw
34 22 0:49 / /fusebox rw - xfs /dev/fuse rw
"""


@pytest.mark.parametrize(
    ("mount_id", "device", "kind"),
    [
        ("22", "8:1", "ext4"),
        ("30", "0:45", "nfs4"),
        ("31", "0:46", "fuse.seaweedfs"),
        ("33", "0:48", "fuse"),
        ("34", "0:49", "xfs"),
        ("35", "8:9", ""),
    ],
)
def test_the_file_system_is_that_of_the_mount(mount_id: str, device: str, kind: str) -> None:
    """By its number, or by its device where the kernel tells no number."""
    assert kind_in(MOUNTS, mount_id, "9:9") == kind
    assert kind_in(MOUNTS, "", device) == kind
    assert kind_in("nothing of the kind\n", mount_id, device) == ""


def test_this_machine_is_asked(tmp_path: Path) -> None:
    """Through a link, too; what is not there is on none, and without the list nothing tells."""
    link = tmp_path / "link"
    link.symlink_to("/proc/self")
    here = LinuxFileSystem()
    assert here.kind(Path("/proc")) == here.kind(link) == "proc"
    assert here.kind(tmp_path / "nowhere") == ""
    assert LinuxFileSystem(tmp_path / "nowhere").kind(Path("/proc")) == ""


def test_what_no_kernel_can_tell_is_not_said(tmp_path: Path) -> None:
    """Nothing is said of a directory that is not there, or of one on another kind of system."""
    (tmp_path / "file").write_bytes(b"x")
    assert LinuxFileSystem().open_anywhere(tmp_path / "nowhere") is None
    assert LinuxFileSystem(tmp_path / "nowhere").open_anywhere(tmp_path) is None
