"""A parsed template and values for its parameters -> plain resources, and refusals of values.

What is known only after deployment (streams, ids) is given by the caller, or is called
``<Table.StreamArn>`` and the like.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from chromaseal.errors import UsageError

Parsed: TypeAlias = Mapping[str, Any]

_NO_VALUE: Final = object()
_OF_VALUES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Fn::And": all,
    "Fn::Equals": lambda values: values[0] == values[1],
    "Fn::Join": lambda values: values[0].join(values[1]),
    "Fn::Not": lambda values: not values[0],
}
_PLACE = re.compile(r"\$\{([^}!]+)\}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stack is, or will be.

    Attributes:
        stack: its name.
        region: for example ``eu-central-1``.
        account: twelve digits.
        known: what resources are called, as ``Queue``, and what they have, as ``Queue.Arn``.
        partition: ``aws``, but for AWS's separate clouds.
    """

    stack: str = "chromaseal"
    region: str = "us-east-1"
    account: str = "123456789012"
    known: Mapping[str, str] = field(default_factory=dict)
    partition: str = "aws"


def parameters_of(template: Parsed, given: Mapping[str, str]) -> dict[str, str]:
    """Give the value of every parameter; those without one and without a default are missing.

    Raises:
        UsageError: ``unknown-parameter`` or ``bad-parameter``.
    """
    declared = template["Parameters"]
    for name, value in given.items():
        if name not in declared:
            raise _unknown(name, declared)
        _check(name, value, declared[name])
    defaults = {n: str(each["Default"]) for n, each in declared.items() if "Default" in each}
    return {**defaults, **given}


def resources(template: Parsed, parameters: Mapping[str, str], place: Place) -> dict[str, Any]:
    """Give every resource that these values make, with its functions worked out.

    Args:
        template: as parsed.
        parameters: a value for each, from ``parameters_of``.
        place: where.

    Returns:
        ``Type``, ``Properties``, ``Metadata`` and so on, by logical name.
    """
    worked = _Worked(template, parameters, place)
    return {
        name: worked.out(each)
        for name, each in template["Resources"].items()
        if worked.holds(each.get("Condition"))
    }


def _unknown(name: str, declared: Mapping[str, Any]) -> UsageError:
    near = difflib.get_close_matches(name, declared, n=1)
    return UsageError(
        f"the template has no parameter {name}",
        kind="unknown-parameter",
        hint=f"{near[0]}?" if near else ", ".join(declared),
    )


def _check(name: str, value: str, declared: Mapping[str, Any]) -> None:
    allowed = [str(each) for each in declared.get("AllowedValues", [])]
    if allowed and value not in allowed:
        raise _bad(name, value, f"one of {', '.join(allowed)}")
    pattern = declared.get("AllowedPattern", ".*")
    if not re.fullmatch(pattern, value):
        raise _bad(name, value, f"what fits {pattern}")
    if declared["Type"] == "Number":
        least, most = (declared.get(each, value) for each in ("MinValue", "MaxValue"))
        if not re.fullmatch(r"\d+", value) or not int(least) <= int(value) <= int(most):
            raise _bad(name, value, f"a whole number from {least} to {most}")


def _bad(name: str, value: str, wanted: str) -> UsageError:
    return UsageError(
        f"the parameter {name} cannot be {value!r}", kind="bad-parameter", hint=wanted
    )


class _Worked:
    """A template's functions, worked out.

    Args:
        template: as parsed.
        parameters: by name.
        place: where.
    """

    def __init__(self, template: Parsed, parameters: Mapping[str, str], place: Place) -> None:
        self._template = template
        self._place = place
        self._names = {
            **parameters,
            "AWS::AccountId": place.account,
            "AWS::Partition": place.partition,
            "AWS::Region": place.region,
            "AWS::StackName": place.stack,
            "AWS::NoValue": _NO_VALUE,
        }

    def holds(self, condition: str | None) -> bool:
        """Tell whether a condition holds; none always does."""
        return condition is None or bool(self.out(self._template["Conditions"][condition]))

    def out(self, value: Any) -> Any:  # noqa: ANN401 - as JSON has it
        """Give a value without functions."""
        if isinstance(value, list):
            worked = [self.out(each) for each in value]
            return [each for each in worked if each is not _NO_VALUE]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in {"Ref", "Condition"} or name.startswith("Fn::"):
                return self._function(name, argument)
        pairs = {key: self.out(each) for key, each in value.items()}
        return {key: each for key, each in pairs.items() if each is not _NO_VALUE}

    def _function(self, name: str, argument: Any) -> Any:  # noqa: ANN401
        if name in _OF_VALUES:
            return _OF_VALUES[name](self.out(argument))
        of_names: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Condition": self.holds,
            "Fn::GetAtt": self._attribute,
            "Fn::If": self._chosen,
            "Fn::Sub": lambda text: _PLACE.sub(lambda found: str(self._named(found[1])), text),
        }
        return of_names[name](argument)

    def _chosen(self, argument: list[Any]) -> Any:  # noqa: ANN401
        condition, then, otherwise = argument
        return self.out(then if self.holds(condition) else otherwise)

    def _named(self, name: str) -> Any:  # noqa: ANN401
        return self._attribute(name) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:  # noqa: ANN401
        if name not in self._names:
            return self._place.known.get(name, f"<{name}>")
        value = self._names[name]
        declared = self._template["Parameters"].get(name, {})
        is_list = declared.get("Type") == "CommaDelimitedList"
        return str(value).split(",") if is_list else value

    def _attribute(self, named: str | list[str]) -> str:
        name = named if isinstance(named, str) else ".".join(named)
        return self._place.known.get(name, f"<{name}>")
