"""Workers of one machine: the same records as one process, whoever is killed; images that kill are found and named."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import shard_kills
from commands import gallery, image, start, warm
from PIL import Image
from stub_job import StubJob, record_of, stub_run

from bigain_cli.classification.labeller import Labeller
from bigain_cli.engines.assignments import IN_A_ROW, Assignments
from bigain_cli.engines.processes import run_in_processes
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.manifest import shards
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import read_record
from bigain_cli.shards.shard_work import work

COLOURS = ("-l", "red,green,blue", "-m", "colours")
CLOCK = re.compile(rb'(?<="seconds": )[\d.e-]+')
IDS = [f"{number}.png" for number in range(40)]


def run_all(folder: RunFolder, job: StubJob, workers: int = 2) -> list[RunCounts | str]:
    return list(run_in_processes(job, folder, shards(folder.manifest, 8), workers))


def test_workers_make_the_records_of_one_process(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    reports = run_all(folder, StubJob())
    assert list(Gathering.of(folder, partial=False).records()) == [record_of(id) for id in IDS]
    total = RunCounts()
    for report in reports:
        assert isinstance(report, RunCounts)
        total += report
    assert total.images == 40
    assert run_all(folder, StubJob()) == []  # nothing is left, so nobody is started


def test_what_a_worker_refuses_is_raised(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    run_all(folder, StubJob())
    folder.part(3).unlink()
    with pytest.raises(UsageError, match="other weights"):
        run_all(folder, StubJob(fingerprint="4567"))


@pytest.mark.slow
def test_an_image_that_kills_its_worker_is_found_and_the_others_are_not_lost(tmp_path: Path) -> None:
    ids = [*IDS[:3], "deadly", *IDS[3:8]]
    folder = stub_run(tmp_path / "run", ids, size=2)
    list(run_in_processes(StubJob(), folder, shards(folder.manifest, 2), 2))
    records = list(Gathering.of(folder, partial=False).records())
    assert [record["id"] for record in records] == ids
    assert [record["id"] for record in records if "error" in record] == ["deadly"]


# Which piece comes next, without any process.


def deaths_until_done(folder: RunFolder, deadly: set[str]) -> tuple[int, list[int | None]]:
    """Do all pieces; one that meets a deadly image stops there, as a worker that dies."""
    assignments, maker = Assignments(folder, shards(folder.manifest, 8)), StubJob().start(0)
    deaths, sizes = 0, list[int | None]()
    while (piece := assignments.next()) is not None:
        sizes.append(piece.most)
        steps = work(folder, piece, maker)
        ids = [f"{number}.png" for number in range(40)][piece.shard.number * 8 :]
        at = len(folder.journal(piece.shard.number).read_bytes().splitlines()) if folder.journals() else 0
        at += piece.give_up
        dead = False
        for record in steps:
            if record is None and ids[at] in deadly:
                dead = True
                break
            at += record is not None
        steps.close()
        deaths += dead
        assignments.died(piece) if dead else assignments.ended(piece)
    return deaths, sizes


def test_a_deadly_shard_is_halved_until_its_image_is_alone(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    deaths, sizes = deaths_until_done(folder, {"5.png", "20.png"})
    records = list(Gathering.of(folder, partial=False).records())
    assert [record["id"] for record in records] == IDS
    assert [record["id"] for record in records if "error" in record] == ["5.png", "20.png"]
    assert sizes[:7] == [None] * 3 + [1] * 3 + [0]  # its first five images are in the journal, three are left
    assert deaths <= 2 * 3 * 4


def test_if_every_image_kills_it_is_not_the_images(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    with pytest.raises(BigainError, match=f"workers died on {IN_A_ROW} images in a row"):
        deaths_until_done(folder, set(IDS))


def test_workers_that_never_start_end_the_run(tmp_path: Path) -> None:
    assignments = Assignments(stub_run(tmp_path / "run", IDS), iter(()))
    assignments.start_failed("killed by signal 9")
    assignments.started()
    for _ in range(2):
        assignments.start_failed("killed by signal 9")
    with pytest.raises(BigainError, match=r"died 3 times while it loaded the model \(killed by signal 9\)"):
        assignments.start_failed("killed by signal 9")


# The command.


@pytest.mark.slow
def test_ctrl_c_loses_nothing_and_the_same_command_continues(tmp_path: Path) -> None:
    gallery(tmp_path / "photos", 24)
    slowly = ("--schedule", "fixed", "--draws", "96", "--shard-size", "2")
    command = ("classify", "photos", *COLOURS, *slowly, "-o", "results/")
    folder = RunFolder(tmp_path / "results")
    with start(*command, "--workers", "2", cwd=tmp_path, start_new_session=True) as run:
        until = time.monotonic() + 120
        while time.monotonic() < until and not (folder.path.exists() and folder.parts()):
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert b"results has the results so far; the same command continues" in said and b"Traceback" not in said
    assert len(folder.parts()) < 12 and read_record(folder).count == 24
    done = warm(*command, "--shard", "1/1", cwd=tmp_path)  # as the workers would, with one start less
    assert done.code == 0 and "already recorded" in done.err, done.err
    plain = ("classify", "photos", *COLOURS, *slowly[:4], "-o", "plain.jsonl")
    assert warm(*plain, cwd=tmp_path).code == warm("gather", "results", "-o", "all.jsonl", cwd=tmp_path).code == 0
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()
    assert json.loads(warm("status", "results", "--json", cwd=tmp_path).out)["done"] == 24


@pytest.mark.slow
def test_random_kills_lose_double_and_tear_nothing(tmp_path: Path) -> None:
    counts, problems = shard_kills.run(tmp_path, kills=8, seed=0)
    assert problems == []
    assert counts["driver"] and counts["worker"]


@pytest.mark.slow
def test_an_evaluation_over_workers_is_that_of_one_process(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "blue")):
        (tmp_path / "set" / colour).mkdir(parents=True)
        for turn in range(5):
            image(tmp_path / "set" / colour / f"{turn}.png", colour, turn + number)
    (tmp_path / "set" / "red" / "4.png").write_bytes(b"no image")
    image(tmp_path / "set" / "stray.png", "red")
    command = ("evaluate", "set", "-m", "colours", "-c", "none", "--json")
    plain = warm(*command, "--records", "records.jsonl", cwd=tmp_path)
    shared = warm(*command, "--records", "results/", "--workers", "2", "--shard-size", "3", cwd=tmp_path)
    assert plain.code == shared.code == 1, shared.err
    assert "1 excluded, the first: " in plain.err and "1 excluded, the first: " in shared.err
    assert "10 records: " in shared.err and "10 of 10 records" in warm("status", "results", cwd=tmp_path).out.decode()
    one, other = (json.loads(CLOCK.sub(b"0", run.out)) for run in (plain, shared))
    assert one == other and one["specs"]
    assert warm("gather", "results", "-o", "all.jsonl", cwd=tmp_path).code == 0
    records = [CLOCK.sub(b"0", (tmp_path / name).read_bytes()) for name in ("records.jsonl", "all.jsonl")]
    assert records[0] == records[1]
    (tmp_path / "notes.md").write_text("mine")
    again = (*command[:-1], "--workers", "2", "-o", "notes.md")
    refused = warm(*again, "--records", "other/", cwd=tmp_path)
    assert refused.code == 2 and refused.err == "bigain: notes.md: exists. --force to replace.\n"
    assert (tmp_path / "notes.md").read_text() == "mine" and not (tmp_path / "other").exists()
    assert warm(*again, "--records", "results/", cwd=tmp_path).code == 2, "also once the run has begun"
    assert warm(*again, "--records", "results/", "--force", cwd=tmp_path).code == 1
    assert "top-1" in (tmp_path / "notes.md").read_text()
    own = warm(
        *command[:-1], "--workers", "2", "--records", "results/", "-o", "results/run.json", "--force", cwd=tmp_path
    )
    assert own.code == 2 and "a file of the run itself" in own.err
    image(tmp_path / "set" / "red" / "4.png", "red", 9)
    shared = (*command, "--records", "results/", "--workers", "2")
    repaired = warm(*shared, cwd=tmp_path)
    part = re.search(r"1 image changed since then; .* are in (part-\d+\.jsonl)", repaired.err)
    assert repaired.code == 1 and part is not None, repaired.err
    (tmp_path / "results" / part[1]).unlink()
    assert warm(*shared, cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--records", "x/", "--force"), "--force: is for -o FILE"),
        (("--records", "x.jsonl"), "the records need a folder"),
        (("--records", "x/", "--generate", "4"), "--generate: is not for a run over shards"),
        (("--records", "x/", "-o", "x.html"), "a report needs the images"),
    ],
)
def test_what_an_evaluation_over_workers_cannot_do_is_refused(options, said: str, tmp_path: Path) -> None:
    done = warm("evaluate", "set", "-m", "colours", "--workers", "2", *options, cwd=tmp_path)
    assert done.code == 2 and said in done.err, done.err


# For pipelines of others.


def test_a_labeller_adds_columns_and_failures_are_rows(tmp_path: Path) -> None:
    gallery(tmp_path / "photos", 3)
    paths = [str(tmp_path / "photos" / f"{number:02}.png") for number in range(3)]
    labeller = Labeller("colours", "red,green,blue")
    found = labeller({"path": np.array([*paths, "gone.png"], dtype=object), "key": np.arange(4)})
    assert list(found["label"]) == ["red", "green", "blue", ""] and list(found["key"]) == [0, 1, 2, 3]
    assert list(found["settled"]) == [True] * 3 + [False] and np.isnan(found["probability"][3])
    assert list(found["error"][:3]) == [""] * 3 and "no such file" in found["error"][3]
    data = [Path(path).read_bytes() for path in paths]
    assert list(labeller({"bytes": np.array(data, dtype=object)})["label"]) == ["red", "green", "blue"]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    assert list(labeller({"image": pixels})["label"]) == ["red", "green", "blue"]
    assert {name: len(column) for name, column in labeller({"path": np.array([], dtype=object)}).items()}["label"] == 0
    with pytest.raises(UsageError, match="has the columns text, and none with images"):
        labeller({"text": ["a"]})
