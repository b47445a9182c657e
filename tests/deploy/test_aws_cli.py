"""chromaseal aws: render and package, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.cloudformation import template_file
from chromaseal.testing.command_line import chromaseal


def test_render_gives_a_template_that_needs_no_parameters(tmp_path: Path) -> None:
    """What is given is the default, and nothing else is changed."""
    given = ("--set", "BucketName=receipts", "--set", "DiskMb=4096")
    answer = chromaseal("aws", "render", *given, cache=tmp_path)
    assert (answer.exit_code, answer.errors) == (0, "")
    found, plain = template_file.parse(answer.out), template_file.parse(template_file.text())
    assert found["Parameters"]["BucketName"]["Default"] == "receipts"
    assert found["Parameters"]["DiskMb"]["Default"] == "4096"
    assert found["Resources"] == plain["Resources"]
    assert {**found, "Parameters": {}} == {**plain, "Parameters": {}}
    (told,) = chromaseal("aws", "render", *given, "--json", cache=tmp_path).only("template")
    assert told["template"] == answer.out
    # CloudFormation takes 51,200 bytes in a request; names and ids of one's own may be long.
    assert len(answer.out.encode()) <= 0.92 * 51_200


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (("--set", "BucketNam=x"), "unknown-parameter"),
        (("--set", "BucketName=UPPER"), "bad-parameter"),
        (("--set", "BucketName"), "bad-parameter"),
        (("--bucket-policy",), "missing-parameter"),
    ],
)
def test_render_refuses_what_cannot_be_deployed(
    given: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    """Before anything is deployed."""
    answer = chromaseal("aws", "render", *given, "--json", cache=tmp_path)
    assert answer.exit_code == 2
    assert answer.only("error")[0]["error"] == kind


def test_render_gives_the_policy_of_a_bucket_that_is_there(tmp_path: Path) -> None:
    """For the vault's prefix in that bucket."""
    given = ("--set", "BucketName=old", "--set", "VaultPrefix=a/b", "--bucket-policy")
    (told,) = chromaseal("aws", "render", *given, "--json", cache=tmp_path).only("bucket-policy")
    sids = [each["Sid"] for each in told["policy"]["Statement"]]
    assert sids == ["OnlyTls", "WrittenOnce", "PointersOnCondition", "PointersStay"]
    pointer = "arn:aws:s3:::old/a/b/*/snapshot/latest-pointer.txt"
    assert told["policy"]["Statement"][3]["Resource"] == pointer


@pytest.mark.slow
def test_package_says_when_lambda_would_refuse_it(tmp_path: Path) -> None:
    """Sizes are known before anything is packed."""
    target = tmp_path / "functions.zip"
    answer = chromaseal("aws", "package", str(target), "--json", cache=tmp_path)
    assert answer.exit_code == 8
    assert answer.only("error")[0]["error"] == "package-too-large"
    assert not target.exists()
