"""Pin the newest allowed versions in the two locks, and note which inputs they answer.

``python locks/lock.py`` resolves and writes ``requirements.lock``, for all that is developed here,
and ``ministack.lock``, for a test server whose pins do not go with ours. A lock's first line
carries a digest of what it was made from, so that a changed ``pyproject.toml`` and an old lock are
noticed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What is pinned where, as `uv pip compile` is asked for it.
LOCKS = {
    "requirements.lock": ("pyproject.toml", "--all-extras", "--group", "dev"),
    "ministack.lock": ("--group", "pyproject.toml:ministack"),
}
PREFIX = "# inputs: "


def inputs_digest(pyproject: Path) -> str:
    """Digest what the resolution depends on, whatever its order of keys or its comments.

    Returns:
        SHA-256, 64 hexadecimal digits, of canonical JSON.
    """
    found = tomllib.loads(pyproject.read_text())
    inputs = {
        "dependencies": found["project"]["dependencies"],
        "dependency-groups": found["dependency-groups"],
        "optional-dependencies": found["project"]["optional-dependencies"],
        "requires-python": found["project"]["requires-python"],
    }
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(lock: str, digest: str) -> str:
    """Give the lock's text with the digest in its first line, in place of an older one."""
    body = lock.partition("\n")[2] if lock.startswith(PREFIX) else lock
    return f"{PREFIX}{digest}\n{body}"


def pin(lock: Path, asked: tuple[str, ...]) -> None:
    """Resolve what is asked for, and stamp the lock."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(  # noqa: S603 - our own tool, constant arguments
        [
            *(str(uv), "pip", "compile", *asked),
            *("--generate-hashes", "--universal", "--python-version", "3.11", "--upgrade"),
            *("--no-emit-index-url", "--no-header", "--quiet", "-o", str(lock.relative_to(ROOT))),
        ],
        cwd=ROOT,
        check=True,
    )
    lock.write_text(stamp(lock.read_text(), inputs_digest(ROOT / "pyproject.toml")))


def main() -> None:
    """Resolve and stamp every lock."""
    for name, asked in LOCKS.items():
        pin(ROOT / "locks" / name, asked)


if __name__ == "__main__":
    main()
