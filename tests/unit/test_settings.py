"""Where vault, ledger and cache are: options, environment, file, defaults, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.composition.engine import open_ledger, open_vault
from chromaseal.errors import UsageError
from chromaseal.settings import Settings, as_url, file_path, resolve, without_secrets
from chromaseal.testing.records import record, upserts


def settings(folder: Path, *, vault: str = "", ledger: str = "", **environment: str) -> Settings:
    """Resolve with a home of one of our own."""
    return resolve(
        vault=vault, ledger=ledger, environment=environment, folder=folder, home=Path("/users/me")
    )


def test_defaults(tmp_path: Path) -> None:
    """A vault in this folder, its ledger inside it, the cache in the user's own."""
    found = settings(tmp_path)
    assert found.vault == f"file://{tmp_path}/vault"
    assert file_path(found.ledger) == tmp_path / "vault" / ".ledger" / "ledger.sqlite"
    assert found.cache == Path("/users/me/.cache/chromaseal")
    assert settings(tmp_path, XDG_CACHE_HOME="/c").cache == Path("/c/chromaseal")


def test_options_go_before_environment_before_file(tmp_path: Path) -> None:
    """The nearer to the caller, the stronger."""
    (tmp_path / "chromaseal.toml").write_text('vault = "from-file"\nledger = "/file.sqlite"\n')
    assert settings(tmp_path).vault == f"file://{tmp_path}/from-file"
    assert file_path(settings(tmp_path).ledger) == Path("/file.sqlite")
    named = {"CHROMASEAL_VAULT": "s3://bucket/p", "CHROMASEAL_LEDGER": "memory://"}
    assert settings(tmp_path, **named).vault == "s3://bucket/p"
    for url in ("s3://", "s3:///p", "file:///p", "memory://"):
        assert without_secrets(url) == url
    assert settings(tmp_path, **named).ledger == "memory://"
    assert settings(tmp_path, vault="/mine", **named).vault == "file:///mine"
    assert file_path(settings(tmp_path, ledger="x", **named).ledger) == tmp_path / "x"


def test_paths_become_absolute(tmp_path: Path) -> None:
    """What is named relative to a folder is found from every other folder too."""
    assert settings(tmp_path, CHROMASEAL_CACHE="cache").cache == tmp_path / "cache"
    assert as_url("a/../b", tmp_path) == f"file://{tmp_path}/b"


@pytest.mark.parametrize("name", ["plain", "with space", "50%41", "a#b", "a?b", "ünï", "a%2Fb"])
def test_any_path_round_trips(tmp_path: Path, name: str) -> None:
    """A path with letters that mean something in URLs stays that path."""
    for scheme in ("file", "sqlite"):
        assert file_path(as_url(name, tmp_path, scheme=scheme)) == tmp_path / name
    found = settings(tmp_path, vault=str(tmp_path / name))
    assert file_path(found.vault) == tmp_path / name
    assert file_path(found.ledger) == tmp_path / name / ".ledger" / "ledger.sqlite"


def test_a_vault_works_at_an_odd_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault, ledger and a relative cache work where the path is unusual; nothing is left beside."""
    monkeypatch.chdir(tmp_path)
    odd = settings(tmp_path, vault="a#b?c%20d", CHROMASEAL_CACHE="cache")
    with open_vault(Settings(odd.vault, odd.ledger, Path("cache"))) as vault:
        vault.write({"notes": upserts(record("a", 1))})
        (done,) = vault.compact()
        assert done.version is not None
        with vault.reader("notes") as reader:
            assert reader.count() == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a#b?c%20d", "cache"}


def test_memory_keeps_its_ledger_in_memory(tmp_path: Path) -> None:
    """A vault that goes with the process has a ledger that does."""
    assert settings(tmp_path, vault="memory://").ledger == "memory://"


@pytest.mark.parametrize("vault", ["s3://b/p", "gs://b/p", "az://b/p"])
def test_a_bucket_needs_a_ledger(tmp_path: Path, vault: str) -> None:
    """A bucket has no place for a ledger; whatever needs one is told how to name it."""
    ledger = open_ledger(settings(tmp_path, vault=vault).ledger)
    for ask in (ledger.newest, lambda: ledger.get("a"), lambda: ledger.waiting("notes")):
        with pytest.raises(UsageError) as caught:
            ask()
        assert caught.value.kind == "no-ledger"
        assert "--ledger" in caught.value.hint


def test_messages_show_no_secrets() -> None:
    """A URL in a message has neither user nor password nor query."""
    assert without_secrets("s3://KEY:SECRET@bucket/p?token=x") == "s3://bucket/p"
    for url in ("s3://", "s3:///p", "file:///p", "memory://"):
        assert without_secrets(url) == url
    for url in ("postgres://u:hunter2@h:1/db?password=x", "postgresql://u:hun/ter?2#3@h:1/db"):
        assert without_secrets(url) == "postgresql://h:1/db"
    with pytest.raises(UsageError) as caught:
        open_ledger("mysql://u:hunter2@h/db")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["vault = 1", "volt = 'x'", "vault = ", "\xff", "[vault]\na = 1"])
def test_a_bad_file_is_refused(tmp_path: Path, text: str) -> None:
    """A file that does not say what it may say is named."""
    (tmp_path / "chromaseal.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        settings(tmp_path)
    assert caught.value.kind == "bad-settings"
    assert "chromaseal.toml" in caught.value.message


@pytest.mark.parametrize("url", ["file://host/path", "file://", "file:///", "sqlite://"])
def test_urls_that_name_no_file_are_refused(url: str) -> None:
    """A host or no path at all is refused."""
    with pytest.raises(UsageError) as caught:
        file_path(url)
    assert caught.value.kind == "bad-url"
