"""A folder as an inbox."""

from __future__ import annotations

import os
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.digests import blake3_file_hex
from chromaseal.errors import NotFound, Unavailable
from chromaseal.receipts.inbox import DONE, REFUSED, Arrival, Look, is_taken, put_away_names


class LocalInbox:
    """A folder; an image in it is complete when two looks saw it with the same size and time.

    Args:
        folder: where images arrive; ``done/`` and ``refused/`` are made in it.
        clock: for the time between two looks.
        settle_s: how long that is at least.
    """

    def __init__(self, folder: Path, *, clock: Clock, settle_s: float = 1.0) -> None:
        self._folder = folder.absolute()
        self._clock = clock
        self._settle_s = settle_s
        # What each file looked like, and since when it has.
        self._seen: dict[str, tuple[str, float]] = {}

    @property
    def url(self) -> str:
        """Say where this is."""
        return self._folder.as_uri()

    def look(self) -> Look:
        """Tell what is there, and what has not changed for a while."""
        now_s, found = self._clock.monotonic_s(), dict[str, str]()
        try:
            with os.scandir(self._folder) as entries:
                names = [e.name for e in entries if is_taken(e.name) and not e.is_dir()]
        except FileNotFoundError:
            raise NotFound(
                f"there is no folder {self._folder}", kind="no-such-file", hint="make it"
            ) from None
        except OSError as error:
            raise _unanswered(self._folder, error) from error
        for name in names:
            if state := self._state(name):
                found[name] = state
        before = self._seen
        self._seen = {
            name: before[name] if before.get(name, ("",))[0] == state else (state, now_s)
            for name, state in found.items()
        }
        settled = [n for n, (_, at_s) in self._seen.items() if now_s - at_s >= self._settle_s]
        complete = tuple(Arrival(name, found[name]) for name in sorted(settled))
        return Look(complete, len(found) - len(complete))

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Give the file itself."""
        del folder
        path = self._folder / arrival.name
        if not path.exists():
            raise NotFound(f"{path} is gone", kind="no-such-file")
        return path

    def put_away(self, arrival: Arrival, *, refused: str = "") -> bool:
        """Move an image, in one step."""
        path = self._folder / arrival.name
        if self._state(arrival.name) != arrival.state:
            return False
        folder = self._folder / (REFUSED if refused else DONE)
        try:
            folder.mkdir(exist_ok=True)
            target = _target(path, folder)
            if refused:
                # Before the image: an image there always has its text.
                (folder / f"{target.name}.txt").write_text(f"{refused}\n")
            path.replace(target)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unanswered(path, error) from error
        self._seen.pop(arrival.name, None)
        return True

    def _state(self, name: str) -> str:
        try:
            status = (self._folder / name).stat()
        except OSError:
            return ""
        return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _target(path: Path, folder: Path) -> Path:
    digest = blake3_file_hex(path)
    own, other = (folder / name for name in put_away_names(path.name, digest))
    is_free = not own.exists() or blake3_file_hex(own) == digest
    return own if is_free else other


def _unanswered(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"the inbox cannot be worked on: {error.strerror or error}: {path}",
        kind="inbox-unavailable",
        hint="check that this user may read and write the folder",
    )
