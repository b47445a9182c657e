"""The functions' handlers, given events as AWS gives them, at a vault in a directory."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from obstore.store import S3Store, from_url

from chromaseal import open_copy_from_mount
from chromaseal.adapters.cloudformation import template_file
from chromaseal.adapters.obstore.inbox import InboxBucket
from chromaseal.composition.functions import Equipment, equipment, settings_of
from chromaseal.delta.model import Changes
from chromaseal.deployment.template import Place, parameters_of, resources
from chromaseal.entrypoints.functions import (
    on_receipt_uploaded,
    on_runs_waiting,
    on_schedule,
    on_version_published,
    telling,
)
from chromaseal.errors import (
    ChromasealError,
    Incomplete,
    Interrupted,
    Unavailable,
    UsageError,
)
from chromaseal.ids import SystemIds
from chromaseal.run.model import RunState
from chromaseal.seal.verdict import Verdict
from chromaseal.settings import Settings
from chromaseal.testing.aws_events import (
    bucket_event,
    queue_event,
    queue_record,
)
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.command_line import SampleVault
from chromaseal.testing.handling import RecordedQueues, context, left, message, write
from chromaseal.testing.records import record
from chromaseal.testing.servers import S3Server
from chromaseal.vault import Vault

HIDDEN = "a-secret-that-nobody-may-read"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vault: Vault) -> Vault:
    """Give the vault that handlers work at, and the environment that names it."""
    monkeypatch.setenv("CHROMASEAL_VAULT", str(tmp_path / "vault"))
    monkeypatch.setenv("CHROMASEAL_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.setenv("CHROMASEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", HIDDEN)
    settings = settings_of(dict(_environment(tmp_path)))
    known = Equipment(vault, settings, lambda *_: ())
    for module in (on_receipt_uploaded, on_runs_waiting, on_schedule, on_version_published):
        monkeypatch.setattr(module, "equipment", lambda _, **__: known)
    return vault


def _environment(folder: Path) -> dict[str, str]:
    return {
        "CHROMASEAL_VAULT": str(folder / "vault"),
        "CHROMASEAL_LEDGER": str(folder / "ledger.sqlite"),
        "CHROMASEAL_CACHE": str(folder / "cache"),
    }


def test_a_batch_becomes_a_version_and_bad_messages_come_again(
    here: Vault, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answered for by itself; nothing that is written shows a credential."""
    lines = io.StringIO()
    monkeypatch.setattr(telling.logger.registered_handler, "stream", lines)
    write(here, "a")
    event = queue_event({"good": message("a"), "unknown": message("b")})
    event["Records"].append(queue_record("bad", "no json", {"collection": "lines"}))
    assert left(on_runs_waiting.handler(event, context())) == ["unknown", "bad"]
    assert here.version("lines").manifest.number == 1
    written = capsys.readouterr()
    counted = [json.loads(line) for line in written.out.splitlines()]
    (metrics,) = [each for each in counted if "CompactionRecordsReceived" in each]
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert metrics["CompactionRecordsReceived"] == [3.0]
    assert metrics["CompactionDeltasMergedCount"] == [1.0]
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "EmbeddingWorkflow"
    errors = [each["error"] for each in told if "error" in each]
    assert errors == ["foreign-run", "bad-message"]
    assert HIDDEN not in written.out + written.err + lines.getvalue()


def test_with_too_little_time_everything_comes_again(here: Vault) -> None:
    """Nothing is begun that could not be ended; the next delivery does it."""
    write(here, "a")
    event = queue_event({"m": message("a")})
    assert left(on_runs_waiting.handler(event, context(timeout_s=10))) == ["m"]
    assert not here.has_version("lines")
    assert here.run("a").parts["lines"].state is RunState.PENDING
    assert left(on_runs_waiting.handler(event, context())) == []


def test_without_room_nothing_is_begun(here: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages come again, and the log says what is missing."""
    write(here, "a")
    monkeypatch.setattr(here.parts.checkouts, "free_bytes", lambda: 1 << 20)
    assert left(on_runs_waiting.handler(queue_event({"m": message("a")}), context())) == ["m"]
    assert here.run("a").parts["lines"].attempts == 0


def test_the_schedule_finds_what_was_lost(here: Vault, client: RecordedQueues) -> None:
    """A run whose message never came, told again, by default too; a ledger that lacks some."""
    write(here, "old")
    on_schedule.handler({"work": ["sweep", "remind"]}, context())
    assert not client.sent
    _set_clock(here, here.parts.clock.now() + dt.timedelta(hours=1))
    client.refuses = None
    with pytest.raises(Incomplete, match="remind"):
        on_schedule.handler({"work": ["remind"]}, context())
    client.refuses = set()
    on_schedule.handler({}, context())
    (told,) = client.sent["lines"]
    assert json.loads(told["MessageBody"])["entity_data"]["run_id"] == "old"


def test_the_schedule_verifies_and_collects(here: Vault, client: RecordedQueues) -> None:
    """One damaged version fails the invocation, and the rest is done nevertheless."""
    write(here, "a")
    here.compact()
    on_schedule.handler({}, context())
    assert client.sent == {}
    (layer,) = Path(here.url.removeprefix("file://")).glob("lines/layer/*")
    layer.write_bytes(b"nothing of the kind")
    with pytest.raises(Incomplete) as caught:
        on_schedule.handler({}, context())
    assert caught.value.kind == "upkeep-failed"


@pytest.mark.parametrize(("kind", "counted"), [("child-killed", False), ("child-died", True)])
def test_who_was_killed_has_found_no_damage(
    here: Vault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    *,
    counted: bool,
) -> None:
    """A version that nobody could verify for want of memory is told of, and called by that name."""
    write(here, "a")
    here.compact()

    def die(*_: object, **__: object) -> None:
        raise Unavailable("the process that was to verify died", kind=kind, hint="more memory")

    monkeypatch.setattr(here.parts.sandbox, "run", die)
    capsys.readouterr()
    with pytest.raises(Incomplete, match=f"verify: {'unsound' if counted else kind}"):
        on_schedule.handler({"work": ["verify"]}, context())
    written = capsys.readouterr().out
    assert ("VersionsDamaged" in written, "VersionsUnverified" in written) == (counted, not counted)


def test_a_broken_collection_stops_no_other(
    here: Vault, monkeypatch: pytest.MonkeyPatch, client: RecordedQueues
) -> None:
    """Each is verified, collected and told of; and one that takes long is not always the first."""
    del client
    for name in ("aaa", "bbb", "ccc"):
        here.write({name: Changes(upserts=[record(name)])})
    here.compact()
    (layer,) = Path(here.url.removeprefix("file://")).glob("aaa/layer/*")
    layer.write_bytes(b"nothing of the kind")
    pointer = Path(here.url.removeprefix("file://")) / "bbb/snapshot/latest-pointer.txt"
    pointer.write_text("no version")
    verified: list[str] = []
    verify = here.verify

    def noting(name: str) -> Verdict:
        verified.append(name)
        return verify(name)

    monkeypatch.setattr(here, "verify", noting)
    begun = here.parts.clock.now()
    firsts: set[str] = set()
    for hour in range(3):
        _set_clock(here, begun + dt.timedelta(hours=hour))
        verified.clear()
        with pytest.raises(Incomplete):
            on_schedule.handler({"work": ["verify"]}, context())
        # Nobody knows the newest version of the other one.
        assert sorted(verified) == ["aaa", "ccc"]
        firsts.add(verified[0])
    assert firsts == {"aaa", "ccc"}


def test_what_there_was_no_time_for_is_told(here: Vault, tmp_path: Path) -> None:
    """An alarm tells of collections that nobody came to."""
    done: list[str] = []
    names = ["aaa", "bbb", "ccc"]
    equipped = Equipment(here, Settings("", "", tmp_path), lambda *_: [])
    with pytest.raises(Incomplete, match="no time was left to verify"):
        on_schedule._each(equipped, names, "verify", done.append, lambda: len(done) == 2)
    assert len(done) == 2
    on_schedule._each(equipped, names, "verify", done.append, lambda: False)


@pytest.mark.parametrize(("days", "left"), [("", 3), ("30", 3), ("1", 1)])
def test_old_versions_stay_as_long_as_was_said(
    here: Vault, monkeypatch: pytest.MonkeyPatch, days: str, left: int
) -> None:
    """All of them where nothing was said; the newest always."""
    for number in range(3):
        write(here, f"run-{number}")
        here.compact()
    _set_clock(here, here.parts.clock.now() + dt.timedelta(days=10))
    monkeypatch.setenv("CHROMASEAL_KEEP_DAYS", days)
    on_schedule.handler({"work": ["gc"]}, context())
    assert sum(not entry.removed for entry in here.log("lines")) == left


def test_each_work_can_be_asked_for_alone(here: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the event, so that a sweep that takes the whole time takes no other's."""
    del here
    done: list[str] = []
    for name in ("remind", "adopt", "sweep", "verify", "gc"):
        monkeypatch.setitem(on_schedule._WORK, name, lambda *_, name=name: done.append(name))
    template = template_file.parse(template_file.text())
    values = parameters_of(template, {"BucketName": "a-bucket", "LegacyBucketName": "old"})
    targets = resources(template, values, Place())["Schedule"]["Properties"]["Targets"]
    for target in targets:
        on_schedule.handler(json.loads(target["Input"]), context())
    assert done == list(on_schedule._WORK)
    # A rule of EventBridge takes no more.
    assert len({each["Id"] for each in targets}) == len(targets) <= 5


def test_before_the_first_upload_there_is_nothing_to_keep_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No alarm rings, and no vault is made by a function that may not write one."""
    for name, value in _environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    on_schedule.handler({}, context())
    assert not (tmp_path / "vault").exists()


def test_a_folder_of_any_name_is_looked_into() -> None:
    """What a URL would take for its end or for another letter is a part of the folder's name."""
    event = bucket_event("receipts", ["inbox/a#1?/50%25 off/b.png"])
    ((place, names),) = on_receipt_uploaded._images(event).items()
    assert names == ["b.png"]
    store = from_url(place, region="us-east-1")
    assert isinstance(store, S3Store)
    assert store.prefix == "inbox/a#1?/50%25 off"


def test_the_schedule_knows_its_work(here: Vault) -> None:
    """A mistyped rule is no rule that does nothing."""
    del here
    with pytest.raises(UsageError):
        on_schedule.handler({"work": ["swep"]}, context())


@pytest.fixture
def mount(here: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty mount, for a vault with one version that handlers find below a prefix."""
    folder = tmp_path / "mount"
    folder.mkdir()
    monkeypatch.setenv("CHROMASEAL_MOUNT", str(folder))
    monkeypatch.setenv("CHROMASEAL_VAULT", "s3://bucket/a/vault")
    write(here, "a")
    here.compact()
    return folder


def pointers(*prefixes: str) -> dict[str, Any]:
    """Give the event of pointers that were put below prefixes."""
    return bucket_event("bucket", [f"{each}lines/snapshot/latest-pointer.txt" for each in prefixes])


def on_mount(mount: Path) -> str:
    """Give the id of the version that readers find."""
    copy = mount.with_name("copies") / SystemIds().unique()
    return open_copy_from_mount(mount, "lines", copy).version_id


def test_a_published_version_is_on_the_mount(here: Vault, mount: Path) -> None:
    """The newest one, also when the event of an older one comes late, or twice in one."""
    event = pointers("a/vault/", "a/vault/")
    on_version_published.handler(event, context())
    first = here.version("lines").version_id
    assert on_mount(mount) == first
    write(here, "b")
    here.compact()
    for _ in range(2):
        on_version_published.handler(event, context())
        assert on_mount(mount) == here.version("lines").version_id != first


def test_other_objects_bring_nothing(here: Vault, mount: Path) -> None:
    """Another vault's pointer, what lies beside it, and what only ends like one."""
    del here
    event = pointers("", "a/", "another/vault/", "a/vault/deeper/")
    event["Records"] += bucket_event("bucket", ["a/vault/lines/tag/gold.txt"])["Records"]
    on_version_published.handler(event, context())
    assert not any(mount.iterdir())


def test_with_too_little_time_nothing_is_brought(here: Vault, mount: Path) -> None:
    """The event comes again; whoever does it then need not wait for anybody."""
    del here
    with pytest.raises(Interrupted):
        on_version_published.handler(pointers("a/vault/"), context(timeout_s=10))
    assert not any(mount.iterdir())


def test_a_mount_that_is_missing_is_told(
    here: Vault, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is not mounted, and a function that knows of none."""
    del here
    mount.rmdir()
    with pytest.raises(ChromasealError) as caught:
        on_version_published.handler(pointers("a/vault/"), context())
    assert caught.value.kind == "no-mount"
    monkeypatch.delenv("CHROMASEAL_MOUNT")
    with pytest.raises(UsageError):
        on_version_published.handler(pointers("a/vault/"), context())


@pytest.mark.slow
def test_an_upload_becomes_a_run_and_is_put_away(
    here: Vault,
    samples: SampleVault,
    ministack_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is no image is refused with the reason, and a second event changes nothing."""
    for name, value in ministack_server.environment().items():
        monkeypatch.setenv(name, value)
    folder = f"inbox/the {here.parts.ids.unique()}"
    bucket = InboxBucket(ministack_server.url(folder))
    image = min(samples.images.glob("*.png"))
    bucket.create("a receipt.png", image.read_bytes())
    bucket.create("none.png", b"no image")
    names = [f"{folder}/a receipt.png", f"{folder}/none.png", f"{folder}/done/old.png"]
    event = bucket_event(ministack_server.bucket, names)
    for _ in range(2):
        on_receipt_uploaded.handler(event, context())
        (run,) = here.parts.ledger.newest()
        assert run.attributes["source_name"] == "a receipt.png"
        found = {info.key for info in bucket.list("")}
        assert found == {"done/a receipt.png", "refused/none.png", "refused/none.png.txt"}


def test_a_vault_is_opened_once_per_process(tmp_path: Path) -> None:
    """Its checkouts, connections and children serve every invocation."""
    settings = settings_of(_environment(tmp_path))
    one = equipment(settings)
    assert equipment(settings_of(_environment(tmp_path))) is one
    assert one.terms("a").owner != one.terms("b").owner
    one.vault.close()
    equipment.cache_clear()


def _set_clock(vault: Vault, now: dt.datetime) -> None:
    vault.parts = replace(vault.parts, clock=ManualClock(now))
