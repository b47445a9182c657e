"""Which boot of the machine this is."""

from __future__ import annotations

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Give an id that the machine gets anew whenever it starts; empty where it has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
