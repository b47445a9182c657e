"""What commands answer: the next step, secrets, closed streams, files for directories, logs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.composition.environment import examine_environment
from chromaseal.composition.locks import examine_locks
from chromaseal.entrypoints.cli import app
from chromaseal.errors import ChromasealError, Damaged, RefusedInput, Unavailable, UsageError
from chromaseal.settings import Settings, resolve
from chromaseal.telemetry import emit
from chromaseal.testing.command_line import TIMEOUT_S, chromaseal, command_line, environment
from chromaseal.testing.machine import Machine
from chromaseal.testing.recording_observer import RecordingObserver
from chromaseal.vault import Vault

NAME = "notes"
# Discard: nobody listens there, and nobody but root could.
DEAD_PORT = 9


@pytest.fixture
def damaged(states: list[Path], tmp_path: Path) -> Path:
    """Give a folder with a ChromaDB directory whose database is torn."""
    torn = tmp_path / "torn"
    torn.mkdir()
    body = (states[0] / "chroma.sqlite3").read_bytes()
    (torn / "chroma.sqlite3").write_bytes(body[: len(body) // 2])
    return tmp_path


def run(folder: Path, *arguments: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with something put behind it for a shell."""
    command = subprocess.list2cmdline(command_line(*arguments))
    return subprocess.run(
        ["bash", "-c", f"{command} {after}"],
        cwd=folder,
        env=environment(folder / "cache"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_bad_verdict_names_what_mends_it(damaged: Path, written: Vault) -> None:
    """A directory: repair and salvage, ready to be pasted; a version: repair with its vault."""
    hint = run(damaged, "verify", "./torn").stderr.splitlines()[-1]
    assert "chromaseal repair ./torn makes it again" in hint
    assert "chromaseal salvage ./torn OUT" in hint
    layer = written.version(NAME).manifest.layers[-1].layer_id
    written.parts.store.delete(keys.layer_part(NAME, layer, 0))
    place = ["--vault", written.url]
    answer = chromaseal("verify", NAME, *place, "--json", cache=damaged / "cache")
    assert answer.only("error")[0]["hint"] == f"chromaseal repair --vault {written.url} notes"
    answer = chromaseal("verify", f"{NAME}@", *place, "--json", cache=damaged / "cache")
    assert answer.exit_code == 2


def test_a_verdict_needs_no_reader(damaged: Path) -> None:
    """With standard output closed, or a pipe that nobody reads, the exit code is the verdict's."""
    closed = run(damaged, "verify", "./torn", after=">&-")
    assert (closed.returncode, "Traceback" in closed.stderr) == (6, False)
    piped = run(damaged, "verify", "./torn", "--json", after="| true; exit ${PIPESTATUS[0]}")
    assert (piped.returncode, "Traceback" in piped.stderr) == (6, False)


def test_failed_checks_are_told(written: Vault) -> None:
    """Whoever watches a verification hears of each check, those of objects and digests included."""
    (layer,) = written.version(NAME).manifest.written_here
    key = keys.layer_part(NAME, layer.layer_id, 0)
    body = written.parts.store.get(key).body
    written.parts.store.delete(key)
    written.parts.store.create(key, body[:-1] + bytes([body[-1] ^ 1]))
    observer = RecordingObserver()
    with emit.observed(observer):
        verdict = written.verify(NAME)
    assert not verdict.sound
    told = {each.facts["check"]: each.facts["passed"] for each in observer.said("check")}
    assert told == {finding.check: finding.passed for finding in verdict.findings}


def test_no_secret_of_an_endpoint_is_told() -> None:
    """Its user and password stay out of errors."""
    options = {
        "endpoint": f"http://user:pass-word@127.0.0.1:{DEAD_PORT}",
        "allow_http": "true",
        "access_key_id": "a",
        "secret_access_key": "b",
        "region": "us-east-1",
    }
    with pytest.raises(Unavailable) as caught:
        ObstoreObjectStore("s3://bucket/vault", options=options).create("key", b"")
    assert "127.0.0.1" in caught.value.message
    assert "pass-word" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/vault", "AWS_ENDPOINT"),
        ("s3://bucket/vault", "AWS_ENDPOINT_URL"),
        ("s3://bucket/vault", "AWS_ENDPOINT_URL_S3"),
        ("az://box/vault", "AZURE_ENDPOINT"),
        ("az://box/vault", "AZURE_STORAGE_ENDPOINT"),
    ],
)
@pytest.mark.parametrize("endpoint", ["", "localhost:9000", "http://", "http://h:x", "http://h i"])
def test_an_endpoint_that_is_no_url_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, name: str, endpoint: str
) -> None:
    """The variable with the mistake is named, whatever its client makes of it."""
    monkeypatch.setenv(name, endpoint)
    with pytest.raises(UsageError) as caught:
        ObstoreObjectStore(url)
    assert caught.value.kind == "bad-url"
    assert f"{name} is {endpoint!r}" in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "somebody else's"),
        ("AWS_ENDPOINT_URL_S3", "http://[::1]:9000"),
        ("AWS_ENDPOINT_URL", "HTTPS://my_store.internal/"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000"),
    ],
)
def test_an_endpoint_that_a_client_can_use_or_does_not_read_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Variables of others are nobody's mistake."""
    monkeypatch.setenv(name, value)
    assert ObstoreObjectStore("s3://bucket/vault").url == "s3://bucket/vault"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """Every command that wants a directory says so."""
    (tmp_path / "afile").write_text("x")
    with pytest.raises(RefusedInput, match="is a file") as caught:
        examine_locks(tmp_path / "afile")
    assert caught.value.kind == "not-chromadb"
    for command in ("verify", "repair"):
        answer = chromaseal(command, "./afile", "--json", cache=tmp_path, folder=tmp_path)
        assert "is a file" in answer.only("error")[0]["message"]


def test_a_file_is_no_place_for_what_is_salvaged(damaged: Path) -> None:
    """It is called what it is."""
    (damaged / "afile").write_text("x")
    answer = chromaseal("salvage", "./torn", "./afile", "--json", cache=damaged, folder=damaged)
    assert (answer.exit_code, answer.only("error")[0]["message"][-9:]) == (5, "is a file")


def test_a_vault_without_its_pin_is_no_empty_prefix(
    written: Vault, vault_at: Callable[[], Vault]
) -> None:
    """Neither made anew nor called something else: the object is missing."""
    written.parts.store.delete(keys.VAULT)
    with pytest.raises(Damaged) as caught:
        vault_at()
    assert (caught.value.kind, keys.VAULT in caught.value.message) == ("missing-pin", True)


@pytest.mark.parametrize(("command", "stores"), [("verify", False), ("push", True)])
def test_an_interrupted_command_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, command: str, *, stores: bool
) -> None:
    """One that only looks has stored nothing, and does not go on."""
    monkeypatch.setattr("sys.argv", ["chromaseal", "-v", command, "./chroma"])
    message = app._interrupted().message
    assert ("is stored" in message, "has stored nothing" in message) == (stores, not stores)


def test_settings_that_cannot_be_read_say_what_to_write(tmp_path: Path) -> None:
    """With a hint, like every error."""
    for text in ("vault = [", "vault = 7"):
        (tmp_path / "chromaseal.toml").write_text(text)
        with pytest.raises(ChromasealError) as caught:
            resolve(environment={}, folder=tmp_path, home=tmp_path)
        assert "vault =" in caught.value.hint


def test_no_ledger_is_called_none(tmp_path: Path) -> None:
    """And not by an empty URL."""
    found = examine_environment(Settings("s3://bucket/vault", "", tmp_path))
    places = next(remark for remark in found if remark.check == "places")
    assert places.evidence.endswith("ledger none")


def test_a_collection_of_another_name_has_no_dimension(
    machine: Machine, states: list[Path]
) -> None:
    """A pin that does not say how long vectors are is not told as one of 0."""
    machine.push("others", states[0])
    (pin,) = [each for each in machine.vault.doctor() if each.check == "pin"]
    assert (pin.passed, pin.evidence[:13]) == (True, "any dimension")


def test_a_dead_collector_is_one_line(tmp_path: Path) -> None:
    """The command's own answer stands; what the SDK says each time is said once."""
    done = subprocess.run(
        command_line("stats", "--vault", str(tmp_path)),
        env={
            **environment(tmp_path / "cache"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{DEAD_PORT}",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if "export" in line.lower()]
    assert len(lines) == 1
    assert lines[0].startswith("the collector gets no spans and metrics of this command")
