"""Links on a mount that did not hold, and room where there are none."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from chromaseal.errors import Conflict, Unavailable
from chromaseal.mount import sync as syncing
from chromaseal.mount.filling import Weighed, fill
from chromaseal.mount.versions import names_in
from chromaseal.testing.mount_scene import MountScene


def test_who_dies_behind_links_that_do_not_hold_has_warned_of_them(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put into place with them is in doubt before it is made again, so nobody takes it."""
    scene.next()
    scene.push()
    filled: list[bool] = []

    def fill_once(*given: Any, links: bool, **options: Any) -> Weighed:  # noqa: ANN401
        filled.append(links)
        if not links:
            raise OSError("the machine ends here")
        return fill(*given, links=links, **options)

    with monkeypatch.context() as patched:
        patched.setattr(syncing, "fill", fill_once)
        patched.setattr(syncing, "is_all_there", lambda *_: False)
        with pytest.raises(Conflict, match="the machine ends here"):
            scene.sync()
    assert filled == [True, False]
    (bad,) = names_in(scene.layout.doubted)
    assert bad.id.number == 2
    # It is read as a whole before anybody takes it for one.
    assert not scene.sync().new
    assert names_in(scene.layout.doubted) == set()
    assert scene.read()[1] == scene.state(1)


def test_room_is_asked_for_by_what_will_be_written(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are linked to take none, and copies of them take theirs."""
    scene.next()
    scene.push()
    whole = scene.machine.vault.version(scene.layout.collection).manifest.size_bytes
    usage = shutil.disk_usage(scene.layout.mount)._replace(free=whole - 1 + (1 << 20))
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(Unavailable, match="nothing was begun") as found:
        scene.sync(links=False)
    assert found.value.kind == "disk-full"
    assert scene.numbers() == [1]
    assert scene.sync().new
