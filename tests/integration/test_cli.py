"""The command line from the outside: answers, errors, exit codes."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import uuid
import zlib
from pathlib import Path

import pytest
from PIL import Image

from chromaseal import keys
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.pillow.sample import write_sample
from chromaseal.composition.engine import open_vault
from chromaseal.digests import blake3_hex
from chromaseal.receipts.image import earlier_id, image_id_of
from chromaseal.receipts.samples import SAMPLES
from chromaseal.settings import Settings
from chromaseal.testing.command_line import (
    TIMEOUT_S,
    SampleVault,
    chromaseal,
    command_line,
    environment,
)
from chromaseal.testing.warm_start import FOREGROUND

pytestmark = pytest.mark.slow


def test_ingest_takes_the_good_and_names_the_bad(samples: SampleVault) -> None:
    """One bad file stops nothing; the summary names it and the exit code shows it."""
    answer = samples.answer
    pages = {Path(page["source"]).name: page for page in answer.only("page")}
    assert answer.exit_code == 9
    assert pages.pop("broken.jpg")["error"]["error"] == "truncated-image"
    assert {page["status"] for page in pages.values()} == {"ingested"}
    assert answer.only("summary")[0] | {} == {"event": "summary", "ingested": 3, "refused": 1}
    assert {c["collection"]: c["version"] for c in answer.only("compaction")} == {
        "lines": 1,
        "words": 1,
    }
    [error] = answer.only("error")
    assert error["error"] == "some-refused"
    assert "broken.jpg" in error["message"]


def test_ingest_again_is_a_no_op_that_says_so(samples: SampleVault) -> None:
    """The same content under any name is recognised and changes nothing."""
    copy = samples.images.parent / "another-name.png"
    copy.write_bytes((samples.images / f"{SAMPLES[0].slug}.png").read_bytes())
    before = samples.run("log", "lines").events
    answer = samples.run("ingest", str(copy))
    assert answer.exit_code == 0
    assert [page["status"] for page in answer.only("page")] == ["already-ingested"]
    assert [c["version"] for c in answer.only("compaction")] == [None, None]
    assert samples.run("log", "lines").events == before


def test_search_finds_by_meaning(samples: SampleVault) -> None:
    """The row that means what was asked comes first, with its place and its run."""
    answer = samples.run("search", "total amount", "-n", "3")
    hits = answer.only("hit")
    assert answer.exit_code == 0
    assert "TOTAL" in hits[0]["text"].upper()
    assert hits == sorted(hits, key=lambda hit: hit["distance"])
    assert 0 < hits[0]["place"]["box"]["y"] < 1
    assert samples.run("runs", "show", hits[0]["run_id"]).exit_code == 0


def test_search_finds_exact_text_and_cuts_it_out(samples: SampleVault, tmp_path: Path) -> None:
    """Exact text finds that text only, and the crop shows a word's worth of the image."""
    answer = samples.run(
        *("search", "TOTAL", "--exact", "--collection", "words"), "--save-crop", str(tmp_path)
    )
    hits = answer.only("hit")
    assert hits
    assert all("TOTAL" in hit["text"] and hit["distance"] is None for hit in hits)
    # In what order a folder lists its files is the file system's business; one of them is broken.
    page_path = next(samples.images.glob(f"*{SAMPLES[0].slug}*"))
    with Image.open(hits[0]["crop"]) as crop, Image.open(page_path) as page:
        assert 10 < crop.width < page.width / 2
        assert 5 < crop.height < page.height / 5


def test_search_by_metadata(samples: SampleVault) -> None:
    """Metadata narrows a search; what nothing matches finds nothing."""
    [merchant] = {
        page["merchant"]["name"]
        for page in samples.answer.only("page")
        if SAMPLES[0].slug in page["source"]
    }
    hits = samples.run("search", "", "--where", f"merchant_name={merchant}", "-n", "50").events
    assert hits
    assert {hit["merchant"] for hit in hits} == {merchant}
    assert samples.run("search", "total", "--where", "merchant_name=Nobody").events == []


def test_trace_tells_every_step_of_a_hit(samples: SampleVault) -> None:
    """From a search hit back to its image, every step with times, sizes, digests, checks."""
    [hit] = samples.run("search", "total", "-n", "1").events
    by_record = samples.run("trace", hit["id"]).events
    by_run = samples.run("trace", hit["run_id"][:8]).events
    image_id, receipt_id = hit["place"]["image_id"], hit["place"]["receipt_id"]
    by_image = samples.run("trace", image_id).events
    by_receipt_as_shown = samples.run("trace", f"{image_id[:8]}#{receipt_id}").events
    steps = [step["step"] for step in by_record]
    assert by_record == by_run == by_image == by_receipt_as_shown
    assert steps[:4] == ["image", "ocr", "embed", "merchant"]
    assert {"lines: delta", "lines: version 1", "lines: checked same-ids"} <= set(steps)
    assert all(s["digest"] and s["size_bytes"] for s in by_record if s["step"].endswith("delta"))


def test_runs_are_listed_shown_and_retried(samples: SampleVault) -> None:
    """Every receipt is a run with a state per collection; retrying a healthy one is harmless."""
    runs = samples.run("runs", "list").events
    assert len(runs) == 3
    assert {part["state"] for run in runs for part in run["parts"].values()} == {"COMPLETED"}
    assert samples.run("runs", "list", "--state", "FAILED").events == []
    retried = samples.run("runs", "retry", runs[0]["run_id"])
    assert retried.events == [{"event": "retry", "run_id": runs[0]["run_id"], "collections": []}]


def test_open_gives_a_copy_once(samples: SampleVault, tmp_path: Path) -> None:
    """A copy goes where nothing is, and nowhere else."""
    target = tmp_path / "copy"
    assert samples.run("open", "lines", str(target)).exit_code == 0
    assert (target / "chroma.sqlite3").is_file()
    again = samples.run("open", "lines", str(target))
    assert again.exit_code == 5
    assert again.only("error")[0]["error"] == "directory-not-empty"


@pytest.mark.parametrize(
    ("arguments", "kind", "exit_code"),
    [
        (("log", "nothing"), "no-collection", 4),
        (("log", "a"), "bad-collection-name", 2),
        (("search", "x", "--at", "99"), "no-version", 4),
        (("search", "x", "--where", "nonsense"), "bad-where", 2),
        (("runs", "show", "nothing"), "no-run", 4),
        (("runs", "list", "--state", "odd"), "bad-state", 2),
        (("trace", "nothing"), "no-run", 4),
        (("ingest", "nothing-here"), "no-such-file", 4),
        (("ingest", ".", "--engine", "odd"), "unknown-engine", 2),
        (("ingest", ".", "--model", "odd"), "unknown-model", 2),
        (("ingest", ".", "--model", "chromadb:odd"), "unknown-embedding-function", 2),
    ],
)
def test_errors_have_a_kind_and_an_exit_code(
    samples: SampleVault, arguments: tuple[str, ...], kind: str, exit_code: int
) -> None:
    """Every way to get it wrong is told apart, with a next step."""
    answer = samples.run(*arguments)
    [error] = answer.only("error")
    assert (error["error"], error["exit_code"], answer.exit_code) == (kind, exit_code, exit_code)
    assert error["hint"]


def test_errors_read_well_for_people(tmp_path: Path) -> None:
    """Without --json an error says what happened and what to do, on standard error only."""
    answer = chromaseal("log", "lines", cache=tmp_path / "cache", folder=tmp_path)
    assert answer.exit_code == 4
    assert answer.out == ""
    assert "no-vault" in answer.errors
    assert "next:" in answer.errors
    assert "Traceback" not in answer.errors


def test_bad_images_are_refused_each_with_its_own_error(tmp_path: Path) -> None:
    """Nothing is stored for input that cannot be used, and each reason has its own name."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "empty.png").touch()
    (images / "text.jpg").write_text("this is no image")
    (images / "bomb.png").write_bytes(_png_header(40_000, 40_000))
    write_sample(SAMPLES[0], images / "whole.png")
    (images / "cut.png").write_bytes((images / "whole.png").read_bytes()[:5000])
    (images / "whole.png").unlink()
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    vault = tmp_path / "vault"
    answer = chromaseal(
        *("ingest", str(images), str(nothing), "--vault", str(vault), "--json"),
        cache=tmp_path / "cache",
    )
    kinds = {Path(p["source"]).name: p["error"]["error"] for p in answer.only("page")}
    assert answer.exit_code == 3
    assert kinds == {
        "empty.png": "empty-file",
        "text.jpg": "not-an-image",
        "bomb.png": "image-too-large",
        "cut.png": "truncated-image",
        "nothing": "empty-directory",
    }
    assert not (vault / "lines").exists()


def test_interrupt_keeps_what_was_reported(tmp_path: Path) -> None:
    """Ctrl-C ends with an exit code of its own; what was reported as ingested is there."""
    for sample in SAMPLES[:3]:
        write_sample(sample, tmp_path / f"{sample.slug}.png")
    arguments = ("--vault", str(tmp_path / "vault"), "--jobs", "1", "--json")
    process = subprocess.Popen(
        [*FOREGROUND, *command_line("ingest", str(tmp_path), *arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path / "cache"),
    )
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(2)
    process.communicate(timeout=60)
    assert process.returncode == 130
    shown = chromaseal("runs", "show", first["run_id"], *arguments[:2], cache=tmp_path / "cache")
    assert shown.exit_code == 0


def test_settings_come_from_a_file(samples: SampleVault, tmp_path: Path) -> None:
    """chromaseal.toml in the folder stands in for --vault."""
    (tmp_path / "chromaseal.toml").write_text(f'vault = "{samples.vault}"\n')
    answer = chromaseal("log", "words", "--json", cache=samples.cache, folder=tmp_path)
    assert [version["number"] for version in answer.events] == [1]


def test_the_walk_through_runs_word_for_word(tmp_path: Path) -> None:
    """The commands that the README begins with work as they are, in an empty folder."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    [script] = re.findall(
        r"<!-- walk-through: .*? -->\n```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    installed = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "home"), "PATH": installed, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 3 of notes has the content of version 1" in done.stdout
    assert re.fullmatch(r"made a vault at file:///\S+/vault\n", done.stderr)


def _png_header(width_px: int, height_px: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


def test_what_release_0_1_has_ingested_keeps_its_ids(samples: SampleVault, tmp_path: Path) -> None:
    """Its ids had another version; ingested again, also from its middle, it is the same image."""
    image = next(samples.images.glob("*.png"))
    digest = blake3_hex(image.read_bytes())
    image_id = image_id_of(digest, 1)
    [page] = [p for p in samples.answer.only("page") if p["source"] == str(image)]
    assert (page["image_id"], uuid.UUID(page["run_id"]).version) == (image_id, 4)
    earlier = earlier_id(image_id)
    with open_vault(Settings((tmp_path / "vault").as_uri(), "memory://", tmp_path)) as vault:
        [reading] = LocalObjectStore(samples.vault).list(keys.readings(image_id))
        body = LocalObjectStore(samples.vault).get(reading.key).body
        key = reading.key.replace(image_id, earlier)
        vault.parts.store.create(key, body.replace(image_id.encode(), earlier.encode()))
    answer = chromaseal(
        *("ingest", str(image), "--json", "--vault", str(tmp_path / "vault")),
        cache=tmp_path / "cache",
    )
    [again] = answer.only("page")
    assert (again["status"], again["image_id"]) == ("ingested", earlier)
    assert uuid.UUID(again["run_id"]).version == 5
