"""Where the vault and the ledger are: options, environment, ``chromaseal.toml``, defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from chromaseal.errors import UsageError

FILE_NAME = "chromaseal.toml"
DEFAULT_VAULT = "./vault"
LEDGER_FILE = "ledger.sqlite"
# A vault in a bucket has no place for a ledger of its own; reading needs none.
NO_LEDGER = ""
_KEYS = {"vault", "ledger", "cache", "mirror_legacy"}
_SETTINGS = 'write lines like vault = "s3://bucket/vault", or remove the file'


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs to know.

    Attributes:
        vault: URL of the vault.
        ledger: URL of the ledger.
        cache: directory for verified copies.
        mirror_legacy: URL of a bucket in the layout of the existing receipts pipeline, into which
            new versions are written as well; empty for none.
    """

    vault: str
    # It may have a password in it.
    ledger: str = field(repr=False)
    cache: Path
    mirror_legacy: str = ""


def resolve(
    *,
    vault: str = "",
    ledger: str = "",
    environment: Mapping[str, str],
    folder: Path,
    home: Path,
) -> Settings:
    """Decide where things are.

    Args:
        vault: what the caller named; empty to go by environment, file and default.
        ledger: the same for the ledger.
        environment: environment variables.
        folder: where ``chromaseal.toml`` is looked for and ``./vault`` would be.
        home: the user's home directory.

    Raises:
        UsageError: ``bad-settings`` or ``no-ledger``.
    """
    file = _read_file(folder / FILE_NAME)
    vault = vault or environment.get("CHROMASEAL_VAULT", "") or file.get("vault", "")
    vault = as_url(vault or DEFAULT_VAULT, folder)
    ledger = ledger or environment.get("CHROMASEAL_LEDGER", "") or file.get("ledger", "")
    cache = environment.get("CHROMASEAL_CACHE", "") or file.get("cache", "")
    mirror = environment.get("CHROMASEAL_MIRROR_LEGACY", "") or file.get("mirror_legacy", "")
    shared = environment.get("XDG_CACHE_HOME", "") or str(home / ".cache")
    return Settings(
        vault=vault,
        ledger=as_url(ledger, folder, scheme="sqlite") if ledger else _default_ledger(vault),
        cache=_path(cache, folder) if cache else Path(shared) / "chromaseal",
        mirror_legacy=as_url(mirror, folder) if mirror else "",
    )


def as_url(place: str, folder: Path, *, scheme: str = "file") -> str:
    """Give a URL for a URL or a path."""
    if "://" in place:
        return place
    # Quoted like every URL: a path may have %, ? or # in it.
    return f"{scheme}://{quote(str(_path(place, folder)))}"


def _path(place: str, folder: Path) -> Path:
    return (folder / Path(place).expanduser()).resolve()


def without_secrets(url: str) -> str:
    """Give a URL fit for messages: no user, no password, of a query nothing but a region."""
    if is_postgres(url):
        # A password that was not quoted may have any of the characters that cut a URL.
        return f"postgresql://{url.partition('://')[2].rpartition('@')[2].partition('?')[0]}"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    regions = parse_qs(parts.query).get("region", []) if is_dynamodb(url) else []
    region = f"?region={quote(regions[0])}" if regions else ""
    return f"{parts.scheme}://{host}{parts.path}{region}"


def is_postgres(url: str) -> bool:
    """Tell whether a URL names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def is_dynamodb(url: str) -> bool:
    """Tell whether a URL names a DynamoDB table."""
    return url.startswith("dynamodb://")


def file_path(url: str) -> Path:
    """Give the path of a ``file://`` or ``sqlite:///`` URL.

    Raises:
        UsageError: ``bad-url``; it names a host or no absolute path.
    """
    parts = urlsplit(url)
    path = Path("/" + unquote(parts.path).lstrip("/"))
    if parts.netloc not in ("", "localhost") or path == Path("/"):
        raise UsageError(
            f"{url!r} names no file or directory",
            kind="bad-url",
            hint=f"three slashes, for example {parts.scheme or 'file'}:///var/data/vault",
        )
    return path


def _default_ledger(vault: str) -> str:
    if vault.startswith("memory://"):
        return "memory://"
    if vault.startswith("file://"):
        return f"sqlite://{quote(str(file_path(vault) / '.ledger' / LEDGER_FILE))}"
    return NO_LEDGER


def _read_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", kind="bad-settings", hint=_SETTINGS
        ) from error
    unknown = found.keys() - _KEYS
    if unknown or not all(isinstance(value, str) for value in found.values()):
        raise UsageError(
            f"{path} may have {', '.join(sorted(_KEYS))} as text; it has "
            f"{', '.join(sorted(unknown)) or 'something else'}",
            kind="bad-settings",
            hint=_SETTINGS,
        )
    return found
