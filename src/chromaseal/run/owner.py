"""Who holds a lease, as text: people find the process by it, and its machine misses it."""

from __future__ import annotations

from dataclasses import astuple, dataclass

_SEPARATOR = "|"
_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, and which of its turns this is.

    Attributes:
        host: name of the machine.
        pid: number of the process, in its namespace.
        started: when it began, as the kernel counts; the next process of that number differs.
        namespace: in which the number means something.
        boot: which boot of the machine.
        unique: chance.
    """

    host: str
    pid: int
    started: str
    namespace: str
    boot: str
    unique: str

    def __str__(self) -> str:
        return _SEPARATOR.join(str(each).replace(_SEPARATOR, "") for each in astuple(self))


def parse_owner(text: str) -> Owner | None:
    """Read what ``str`` wrote; None for an owner of another kind."""
    fields = text.split(_SEPARATOR)
    if len(fields) != _FIELDS or not fields[1].isdecimal():
        return None
    host, pid, started, namespace, boot, unique = fields
    return Owner(host, int(pid), started, namespace, boot, unique)


def shown_owner(text: str) -> str:
    """Name an owner for people."""
    owner = parse_owner(text)
    return f"process {owner.pid} on {owner.host}" if owner else text
