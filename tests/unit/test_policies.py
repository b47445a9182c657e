"""The evaluator of policies, against what AWS documents."""

from __future__ import annotations

from typing import Any

import pytest

from chromaseal.testing.policies import Request, Verdict, judge

BUCKET = "arn:aws:s3:::b"


def policy(**statement: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON has it
    """Give a policy of one statement, which allows reading of everything unless told otherwise."""
    plain = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{BUCKET}/*"}
    return {"Version": "2012-10-17", "Statement": [{**plain, **statement}]}


def verdict(*policies: dict[str, Any], action: str = "s3:GetObject", **context: str) -> Verdict:
    """Judge a request for one object."""
    keys = {name.replace("__", ":").replace("_", "-"): value for name, value in context.items()}
    return judge(Request(action, f"{BUCKET}/a/b", keys), identity=policies)


def test_what_nobody_allows_is_not_allowed() -> None:
    """The default is no."""
    assert verdict() is Verdict.NOT_ALLOWED
    assert verdict(policy(Action="s3:PutObject")) is Verdict.NOT_ALLOWED
    assert verdict(policy(Resource="arn:aws:s3:::other/*")) is Verdict.NOT_ALLOWED


def test_a_refusal_wins_wherever_it_stands() -> None:
    """In the same policy, in another one, or at the resource."""
    assert verdict(policy(), policy(Effect="Deny")) is Verdict.REFUSED
    assert verdict(policy(Effect="Deny"), policy()) is Verdict.REFUSED
    request = Request("s3:GetObject", f"{BUCKET}/a")
    theirs = [policy(Effect="Deny", Principal="*")]
    assert judge(request, identity=[policy()], resource=theirs) is Verdict.REFUSED


def test_within_an_account_either_side_may_allow() -> None:
    """A resource's policy is enough, for the principals that it names."""
    request = Request("s3:GetObject", f"{BUCKET}/a", principal="arn:aws:iam::1:role/me")
    for principal, expected in [
        ("*", Verdict.ALLOWED),
        ({"AWS": "*"}, Verdict.ALLOWED),
        ({"AWS": ["arn:aws:iam::1:role/me"]}, Verdict.ALLOWED),
        ({"AWS": "arn:aws:iam::1:role/you"}, Verdict.NOT_ALLOWED),
        ({"Service": "s3.amazonaws.com"}, Verdict.NOT_ALLOWED),
    ]:
        assert judge(request, resource=[policy(Principal=principal)]) is expected


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        (f"{BUCKET}/*", True),
        (f"{BUCKET}/*/b", True),
        (f"{BUCKET}/?/b", True),
        (f"{BUCKET}/a*", True),
        (f"{BUCKET}/A/b", False),
        (f"{BUCKET}/?", False),
        (f"{BUCKET}/a/b/*", False),
        ("arn.aws:s3:::b/*", False),
    ],
)
def test_resources_are_compared_with_case(pattern: str, fits: bool) -> None:  # noqa: FBT001
    """A star takes slashes as well, a question mark one character, and a dot is a dot."""
    assert (verdict(policy(Resource=pattern)) is Verdict.ALLOWED) is fits


def test_actions_are_compared_without_case() -> None:
    """As AWS does."""
    assert verdict(policy(Action=["s3:getobject"])) is Verdict.ALLOWED
    assert verdict(policy(Action="s3:Get*")) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"Null": {"s3:if-match": "true"}}, {}, True),
        ({"Null": {"s3:if-match": "true"}}, {"s3__if_match": "x"}, False),
        ({"Null": {"s3:if-match": "false"}}, {"s3__if_match": "x"}, True),
        ({"Null": {"s3:if-match": "true", "s3:other": "true"}}, {"s3__other": "x"}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws__SecureTransport": "false"}, True),
        ({"Bool": {"aws:securetransport": "false"}}, {"aws__SecureTransport": "False"}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws__SecureTransport": "true"}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {}, False),
        ({"BoolIfExists": {"aws:SecureTransport": "false"}}, {}, True),
        ({"StringEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": "b"}, True),
        ({"StringEquals": {"s3:prefix": "a*"}}, {"s3__prefix": "ab"}, False),
        ({"StringLike": {"s3:prefix": "a*"}}, {"s3__prefix": "ab"}, True),
        ({"StringNotEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": "b"}, False),
        ({"StringNotEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": "c"}, True),
        ({"StringLike": {"s3:prefix": "a*"}, "Null": {"x": "false"}}, {"s3__prefix": "a"}, False),
    ],
)
def test_conditions_hold_as_documented(
    condition: dict[str, Any],
    context: dict[str, str],
    holds: bool,  # noqa: FBT001
) -> None:
    """All operators and keys have to agree; of a key's values one is enough."""
    assert (verdict(policy(Condition=condition), **context) is Verdict.ALLOWED) is holds


@pytest.mark.parametrize(
    ("quantifier", "values", "holds"),
    [
        ("ForAllValues", ["A#1", "A#2"], True),
        ("ForAllValues", ["A#1", "B#2"], False),
        ("ForAllValues", [], True),
        ("ForAllValues", None, True),
        ("ForAnyValue", ["B", "A#2"], True),
        ("ForAnyValue", ["B"], False),
        ("ForAnyValue", [], False),
        ("ForAnyValue", None, False),
    ],
)
def test_several_values_need_a_quantifier(
    quantifier: str,
    values: list[str] | None,
    holds: bool,  # noqa: FBT001
) -> None:
    """All of none is true, any of none is not."""
    condition = {f"{quantifier}:StringLike": {"dynamodb:LeadingKeys": "A#*"}}
    context = {} if values is None else {"dynamodb:LeadingKeys": values}
    request = Request("s3:GetObject", f"{BUCKET}/a", context)
    found = judge(request, identity=[policy(Condition=condition)])
    assert (found is Verdict.ALLOWED) is holds


@pytest.mark.parametrize(
    "statement",
    [
        {"NotAction": "s3:*"},
        {"Effect": "Maybe"},
        {"Resource": "${aws:username}"},
        {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
        {"Condition": {"ForSomeValues:StringLike": {"x": "y"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": "maybe"}}},
        {"Principal": "*"},
    ],
)
def test_what_is_not_covered_raises(statement: dict[str, Any]) -> None:
    """Nothing is passed over in silence, even where another statement decides."""
    with pytest.raises(ValueError, match=r"."):
        verdict(policy(Effect="Deny"), policy(**statement), aws__SecureTransport="true")
