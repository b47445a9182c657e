"""A template -> what cfn-lint says of it, where that is installed."""

from __future__ import annotations


def lint(template: str) -> list[str] | None:
    """Give cfn-lint's remarks; None where it is not installed.

    Args:
        template: as text.
    """
    try:
        from cfnlint.api import lint as ask  # noqa: PLC0415 - optional, and slow to import
    except ModuleNotFoundError:
        return None
    return [str(each) for each in ask(template)]
