"""chromaseal aws: the template, the functions' code, and whether what is deployed is right."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.composition import deployment
from chromaseal.entrypoints.cli.options import Command, JsonOption
from chromaseal.entrypoints.cli.output import Output, counted, size
from chromaseal.errors import Damaged, UsageError

app = typer.Typer(help="Deploy to AWS, and look at what is deployed.", no_args_is_help=True)

_VERDICTS = {True: "ok", False: "WRONG"}


@app.command("render", cls=Command)
def render(
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter's value; may be repeated."),
    ] = None,
    policy: Annotated[
        bool,
        typer.Option(
            "--bucket-policy", help="The bucket's policy alone, for a bucket that is there."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the CloudFormation template, with values filled in as its parameters' defaults.

    Values are checked before anything is deployed. With --bucket-policy, what the policy of a
    bucket that the template does not make has to have.

    Example: [bold]chromaseal aws render --set BucketName=my-receipts > template.yaml[/]
    """
    output = Output.of(as_json=as_json)
    values = _values(given or [])
    if policy:
        document = deployment.bucket_policy(values)
        output.record("bucket-policy", policy=document)
        output.say(json.dumps(document, indent=2))
        return
    text = deployment.render(values)
    output.record("template", template=text, parameters=values)
    output.say(text.rstrip("\n"))


@app.command("package", cls=Command)
def package(
    target: Annotated[Path, typer.Argument(metavar="ZIP", help="The file to write.")],
    receipts: Annotated[
        bool,
        typer.Option("--receipts", help="With OCR and the embedding model, for uploaded images."),
    ] = False,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Also where it is more than Lambda takes of a zip.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Pack chromaseal and all that it needs, as installed here, for functions of this Python.

    The same files make the same zip. Lambda takes 250 MiB unpacked; where that is not enough, build
    the image of deploy/Dockerfile instead.

    Example: [bold]chromaseal aws package functions.zip --any-size[/]
    """
    output = Output.of(as_json=as_json)
    extras = ["receipts"] if receipts else []
    done = deployment.package(target, extras, any_size=any_size)
    output.record("package", **{**asdict(done), "path": str(done.path)})
    output.say(
        f"{done.path}: {size(done.zip_bytes)}, {size(done.unzipped_bytes)} unpacked, "
        f"{counted(done.files, 'file')} of {counted(len(done.releases), 'package')}"
    )


@app.command("check", cls=Command)
def check(
    stack: Annotated[str, typer.Argument(metavar="STACK", help="The stack's name.")] = "chromaseal",
    region: Annotated[
        str, typer.Option("--region", help="Where it is. Default: as the environment says.")
    ] = "",
    endpoint: Annotated[
        str, typer.Option("--endpoint", metavar="URL", help="An emulator to ask instead of AWS.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Compare what is deployed with what is needed: what is wrong, why, and what mends it.

    Credentials, stack, bucket, table, queues and functions are looked at, and the template is
    linted where cfn-lint is installed. Nothing is changed, but for two objects of the vault's that
    writes are tried on, and which are removed.

    Example: [bold]chromaseal aws check chromaseal --region eu-central-1[/]
    """
    output = Output.of(as_json=as_json)
    with output.steps() as show:
        remarks = [
            replace(each, mend=output.pastable(each.mend))
            for each in deployment.check(
                stack, region=region, endpoint=endpoint, progress=functools.partial(show, "")
            )
        ]
    with output.read_or_not():
        for remark in remarks:
            output.record("remark", **asdict(remark))
        rows = [(_VERDICTS[r.passed], r.subject, r.check, r.evidence, r.mend) for r in remarks]
        output.table(stack, ("verdict", "subject", "check", "evidence", "mend"), rows)
    bad = [remark for remark in remarks if not remark.passed]
    if bad:
        raise Damaged(
            f"{counted(len(bad), 'thing')} wrong: "
            + "; ".join(f"{each.subject}: {each.check}" for each in bad),
            kind="unsound",
            hint=bad[0].mend or "the table says what each check found",
        )


def _values(given: list[str]) -> dict[str, str]:
    values = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise UsageError(
                f"--set {each} gives no value", kind="bad-parameter", hint="--set NAME=VALUE"
            )
        values[name] = value
    return values
