"""Every error chromaseal raises, grouped by what the caller can do next.

::

    ChromasealError
    ├── UsageError            exit 2   the call itself is wrong: change it
    ├── RefusedInput          exit 3   this input cannot be used: leave it out or mend it
    ├── NotFound              exit 4   nothing of that name: look for another
    ├── Conflict              exit 5   somebody else was first: look again, then decide
    ├── Damaged               exit 6   bytes are not what they should be: repair or fetch again
    ├── Unavailable           exit 7   a store or ledger did not answer: try again later
    ├── Unsupported           exit 8   this installation cannot do that: install or upgrade
    ├── Incomplete            exit 9   part of the work was done: see which, run again
    └── Interrupted           exit 130 the user stopped it: run again to go on

``kind`` is a stable kebab-case code: programs may match on it, and codes are only ever added.
``hint`` is the next command or step for a person.
"""

from __future__ import annotations

from typing import ClassVar


class ChromasealError(Exception):
    """What happened and why, with the next step for whoever reads it.

    Args:
        message: what happened and why, in one or two sentences.
        kind: stable code of this very error, for example ``empty-file``.
        hint: what to do next; empty when there is nothing better to say.
    """

    exit_code: ClassVar[int] = 1
    default_kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, kind: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Cross process borders with kind and hint intact."""
        return (_rebuild, (type(self), self.message, self.kind, self.hint))

    def as_json(self) -> dict[str, str]:
        """Plain form for ``--json`` and for messages between processes."""
        return {"error": self.kind, "message": self.message, "hint": self.hint}


class UsageError(ChromasealError):
    """The call itself is wrong; the same call will never work."""

    exit_code = 2
    default_kind = "usage"


class RefusedInput(ChromasealError):  # noqa: N818 - named for what happened
    """One input cannot be used; others are not affected."""

    exit_code = 3
    default_kind = "refused-input"


class NotFound(ChromasealError):  # noqa: N818
    """Nothing of that name exists."""

    exit_code = 4
    default_kind = "not-found"


class Conflict(ChromasealError):  # noqa: N818
    """Somebody else changed the same thing first."""

    exit_code = 5
    default_kind = "conflict"


class Damaged(ChromasealError):  # noqa: N818
    """Stored or local bytes are not what their digest, size or format says."""

    exit_code = 6
    default_kind = "damaged"


class Unavailable(ChromasealError):  # noqa: N818
    """A store, ledger or child process did not answer; the same call may work later."""

    exit_code = 7
    default_kind = "unavailable"


class Unsupported(ChromasealError):  # noqa: N818
    """This installation or format version cannot do what was asked."""

    exit_code = 8
    default_kind = "unsupported"


class Incomplete(ChromasealError):  # noqa: N818
    """Part of the work was done and is safe; the rest was not."""

    exit_code = 9
    default_kind = "incomplete"


class Interrupted(ChromasealError):  # noqa: N818
    """The user stopped it; what was reported as done is stored."""

    exit_code = 130
    default_kind = "interrupted"


def _rebuild(
    error_class: type[ChromasealError], message: str, kind: str, hint: str
) -> ChromasealError:
    return error_class(message, kind=kind, hint=hint)


def from_json(raw: dict[str, str], *, error_class: str) -> ChromasealError:
    """Rebuild an error that another process sent as plain data.

    Args:
        raw: what ``as_json`` gave there.
        error_class: the class's name; an unknown name becomes ``ChromasealError``.
    """
    classes = {c.__name__: c for c in ChromasealError.__subclasses__()}
    chosen = classes.get(error_class, ChromasealError)
    return chosen(raw["message"], kind=raw["error"], hint=raw["hint"])
