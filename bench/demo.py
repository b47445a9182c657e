"""The main job in a minute: sample receipts drawn, ingested, verified, searched.

``make demo`` runs it; ``python -m bench.demo DIRECTORY`` puts it elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.receipts.samples import SAMPLES, SampleReceipt

_CHROMASEAL = (sys.executable, "-m", "chromaseal")
_MARK = ".made-by-chromaseal-demo"
console = Console(highlight=False)


def main() -> None:
    """Run the demo; leave everything behind for the visitor to look at."""
    start = time.monotonic()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    _begin_anew(folder)
    images = folder / "receipts"
    images.mkdir(parents=True)
    console.rule("1. Sample receipts")
    for sample in SAMPLES:
        write_sample(sample, images / f"{sample.slug}.jpg")
        console.print(f"  {images / sample.slug}.jpg  {_what(sample)}")
    vault = str(folder / "vault")
    console.rule("2. Image -> OCR -> merchant -> embeddings -> deltas -> verified version")
    _run("ingest", str(images), "--vault", vault)
    console.rule("3. The same again is a no-op")
    _run("ingest", str(images / f"{SAMPLES[0].slug}.jpg"), "--vault", vault)
    console.rule("4. Search: by meaning, and by the exact word with a picture of each hit")
    _run("search", "how much was the coffee", "-n", "3", "--vault", vault)
    crops = str(folder / "crops")
    _run(
        *("search", "TOTAL", "--exact", "--collection", "words", "-n", "3"),
        *("--save-crop", crops, "--vault", vault),
    )
    console.rule("5. The versions")
    _run("log", "lines", "--vault", vault)
    console.rule(f"Done in {time.monotonic() - start:.0f} s. What to try next")
    console.print(_next_steps(vault, folder), soft_wrap=True, markup=False)


def _begin_anew(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        sys.exit(f"{folder} is not empty and was not made by the demo; name another directory")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()


def _what(sample: SampleReceipt) -> str:
    traits = [sample.layout.replace("-", " ")]
    if sample.tilt_degrees:
        traits.append(f"tilted by {sample.tilt_degrees:g} degrees")
    if sample.blur_px:
        traits.append("blurred")
    return f"{sample.merchant.name}, {', '.join(traits)}"


def _run(*arguments: str) -> None:
    console.print(f"[bold]$ chromaseal {_quoted(arguments)}[/]", soft_wrap=True)
    subprocess.run([*_CHROMASEAL, *arguments], check=True)


def _quoted(arguments: Sequence[str]) -> str:
    return " ".join(f'"{part}"' if " " in part else part for part in arguments)


def _next_steps(vault: str, folder: Path) -> str:
    chromaseal = Path(sys.executable).parent / "chromaseal"
    return f"""\
  {chromaseal} runs list --vault {vault}
  {chromaseal} trace RUN --vault {vault}              every step of one receipt
  {chromaseal} search "sales tax" --vault {vault} -n 3
  {chromaseal} open lines {folder}/copy --vault {vault}   for any stock chromadb client
  {chromaseal} ingest YOUR_RECEIPTS/ --vault {vault}
"""


if __name__ == "__main__":
    main()
