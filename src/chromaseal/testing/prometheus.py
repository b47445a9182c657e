"""Prometheus' text format, read strictly: enough of it for metrics with one label each."""

from __future__ import annotations

import re

_SAMPLE = re.compile(r'([a-z_]+)\{[a-z_]+="((?:[^"\\]|\\.)*)"\} (\S+)')
_COMMENT = re.compile(r"# (HELP|TYPE) ([a-z_]+) (.+)")
_ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse(text: str) -> dict[tuple[str, str], float]:
    """Read an exposition.

    Args:
        text: HELP, TYPE and samples of one metric after the other.

    Returns:
        Values by metric and label.

    Raises:
        ValueError: a line is none of the format, or is in the wrong place.
    """
    samples: dict[tuple[str, str], float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text.splitlines():
        comment, sample = _COMMENT.fullmatch(line), _SAMPLE.fullmatch(line)
        if comment and comment[1] == "HELP" and comment[2] not in helped:
            helped.add(comment[2])
        elif comment and comment[2] in helped and comment[2] not in kinds:
            kinds[comment[2]] = comment[3]
        elif sample and sample[1] == next(reversed(kinds), ""):
            label = re.sub(r"\\.", lambda found: _ESCAPED[found[0]], sample[2])
            if (sample[1], label) in samples:
                raise ValueError(f"it is there twice: {line}")
            samples[sample[1], label] = float(sample[3])
        else:
            raise ValueError(f"this is not to be there: {line}")
    return samples
