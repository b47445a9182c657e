"""AWS policies, asked what they would say to a request: no emulator enforces them.

The rules are AWS's own for requests within one account: a refusal anywhere wins; otherwise what
some policy allows is allowed; what none allows is not. Whatever this module does not know raises,
so that a policy is never judged by half of it.

Covered: identity and resource policies, principals, ``Action``, ``Resource``, ``*`` and ``?``, the
operators of ``_OPERATORS`` with ``IfExists``, ``ForAllValues`` and ``ForAnyValue``, and ``Null``.
Not covered: policy variables, boundaries, session and organisation policies, other accounts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Document: TypeAlias = Mapping[str, Any]

_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
_VARIABLE = "${"


class Verdict(StrEnum):
    """What policies say to a request."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not-allowed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of AWS.

    Attributes:
        action: for example ``s3:PutObject``.
        resource: the ARN that it is about; ``*`` for actions that know none.
        context: condition keys and their values; those that the request lacks are not there.
        principal: the ARN of who asks.
    """

    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    principal: str = "arn:aws:iam::123456789012:role/somebody"


def judge(
    request: Request, *, identity: Iterable[Document] = (), resource: Iterable[Document] = ()
) -> Verdict:
    """Say what policies make of a request.

    Args:
        request: what is asked.
        identity: policies of who asks, which have no principals.
        resource: policies of what is asked for, which have.

    Raises:
        ValueError: a policy has something that is not covered here.
    """
    own = [each for policy in identity for each in statements(policy)]
    theirs = [each for policy in resource for each in statements(policy)]
    if any("Principal" in each for each in own) or any("Principal" not in each for each in theirs):
        raise ValueError("resource policies have a Principal in each statement, others in none")
    # All of them, so that what is not covered raises whatever the order.
    effects = {each["Effect"] for each in [*own, *theirs] if _applies(each, request)}
    if "Deny" in effects:
        return Verdict.REFUSED
    return Verdict.ALLOWED if "Allow" in effects else Verdict.NOT_ALLOWED


def statements(policy: Document) -> list[Mapping[str, Any]]:
    """Give a policy's statements.

    Raises:
        ValueError: it has something that is not covered here.
    """
    if policy.get("Version") != "2012-10-17" or policy.keys() - {"Version", "Id", "Statement"}:
        raise ValueError(f"not a policy that is covered here: {policy}")
    found = policy["Statement"]
    listed: list[Mapping[str, Any]] = found if isinstance(found, list) else [found]
    for each in listed:
        unknown = each.keys() - _ELEMENTS
        if unknown or each.get("Effect") not in {"Allow", "Deny"}:
            raise ValueError(f"not covered in a statement: {unknown or each}")
        if _VARIABLE in repr(each):
            raise ValueError(f"variables are not covered: {each}")
    return listed


def as_list(value: object) -> list[str]:
    """Give what a policy may write as one value or as a list, as a list of texts."""
    values = value if isinstance(value, list | tuple) else [value]
    return [str(each) for each in values]


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    tests = [
        _is_principal(statement.get("Principal", "*"), request.principal),
        any(_is_like(request.action.lower(), p.lower()) for p in as_list(statement["Action"])),
        any(_is_like(request.resource, pattern) for pattern in as_list(statement["Resource"])),
        *(
            _holds(operator, key, as_list(wanted), request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        ),
    ]
    return all(tests)


def _is_principal(named: Any, principal: str) -> bool:  # noqa: ANN401 - as JSON has it
    if named == "*":
        return True
    if not isinstance(named, Mapping) or named.keys() - {"AWS", "Service"}:
        raise ValueError(f"a principal that is not covered: {named}")
    listed = [each for values in named.values() for each in as_list(values)]
    return principal in listed or "*" in listed


def _holds(
    operator: str, key: str, wanted: list[str], context: Mapping[str, str | Sequence[str]]
) -> bool:
    # Names of keys are compared without case.
    found = {name.lower(): value for name, value in context.items()}.get(key.lower())
    if operator == "Null":
        (missing,) = wanted
        return (found is None) is _as_bool(missing)
    quantifier, _, rest = operator.rpartition(":")
    base = rest.removesuffix("IfExists")
    if base not in _OPERATORS or quantifier not in {"", "ForAllValues", "ForAnyValue"}:
        raise ValueError(f"an operator that is not covered: {operator}")
    if found is None:
        # Nothing at all is "all of them", but not "any".
        return rest.endswith("IfExists") or quantifier == "ForAllValues"
    if not isinstance(found, str) and not quantifier:
        raise ValueError(f"{key} has several values, and {operator} takes one")
    test, positive = _OPERATORS[base]
    results = [_matches(test, positive, value, wanted) for value in as_list(found)]
    return all(results) if quantifier != "ForAnyValue" else any(results)


def _matches(
    test: Callable[[str, str], bool],
    positive: bool,  # noqa: FBT001
    value: str,
    wanted: list[str],
) -> bool:
    return any(test(value, each) for each in wanted) is positive


def _as_bool(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(f"neither true nor false: {text}")
    return text.lower() == "true"


def _is_like(value: str, pattern: str) -> bool:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _is_equal(value: str, wanted: str) -> bool:
    return value == wanted


def _is_same_bool(value: str, wanted: str) -> bool:
    return _as_bool(value) is _as_bool(wanted)


# How a value is compared with each that the policy names, and whether one of them has to agree.
_OPERATORS: dict[str, tuple[Callable[[str, str], bool], bool]] = {
    "ArnEquals": (_is_like, True),
    "ArnLike": (_is_like, True),
    "Bool": (_is_same_bool, True),
    "StringEquals": (_is_equal, True),
    "StringLike": (_is_like, True),
    "StringNotEquals": (_is_equal, False),
    "StringNotLike": (_is_like, False),
}
