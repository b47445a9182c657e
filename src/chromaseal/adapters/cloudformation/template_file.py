"""The template as text and parsed, and as text with other defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import yaml

from chromaseal.deployment.template import Parsed

_NAME = "template.yaml"


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # the library has no types
    """Plain YAML, and the short forms of CloudFormation's functions."""

    # Dates in a template are texts, as CloudFormation takes them.
    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return {name: text.split(".", 1) if name == "Fn::GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def text() -> str:
    """Give the template that this release deploys."""
    package = Path(str(files("chromaseal")))
    packed = package / "deployment" / _NAME
    # A checkout has it where those who deploy look for it.
    path = packed if packed.is_file() else package.parents[1] / "deploy" / _NAME
    return path.read_text(encoding="utf-8")


def parse(template: str) -> Parsed:
    """Read a template."""
    parsed: Parsed = yaml.load(template, Loader=_Loader)  # noqa: S506 - a safe loader's child
    return parsed


def compact(template: str) -> str:
    """Give a template that says the same in fewer bytes: without remarks, indented by one space.

    CloudFormation takes no more than 51,200 bytes in a request; values may be long.
    """
    lines: list[str] = []
    # How far in what is around a line begins, as it was and as it is.
    around: list[tuple[int, int]] = [(0, 0)]
    for line in template.splitlines():
        content = line.lstrip(" ")
        if not content or content[0] == "#":
            continue
        before = len(line) - len(content)
        while around[-1][0] > before:
            around.pop()
        if around[-1][0] < before:
            around.append((before, around[-1][1] + 1))
        now = around[-1][1]
        lines.append(" " * now + content)
        if content.startswith("- "):
            # What belongs to an entry begins two columns behind its dash, here too.
            around.append((before + 2, now + 2))
    return "\n".join(lines) + "\n"


def with_defaults(template: str, values: Mapping[str, str]) -> str:
    """Give a template whose parameters have other defaults; all else stays as it is written.

    Args:
        template: whose parameters each have a name and a ``Type`` on lines of their own.
        values: by the parameter's name; each is there.
    """
    for name, value in values.items():
        quoted = yaml.safe_dump(value, default_style='"', width=10_000).strip()
        head = re.compile(rf"^(?:  {name}:\n    Type: .*\n)(    Default: .*\n)?", re.MULTILINE)
        found = head.search(template)
        if found is None:
            raise ValueError(f"the parameter {name} is not written as expected")
        end = found.end() if found[1] is None else found.start(1)
        template = f"{template[:end]}    Default: {quoted}\n{template[found.end() :]}"
    return template
