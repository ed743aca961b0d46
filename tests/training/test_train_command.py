"""`bigain train` as its users meet it: what it says and where, its exit codes, and what survives a kill."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import numpy as np
import pytest
import train_cases as cases
from forks import Forks
from PIL import Image

from bigain_cli.training.checkpoint import load_checkpoint
from bigain_cli.training.image_tensors import load_images
from bigain_cli.training.trainer import train

TINY = ("--size", "16", "--images", "64", "--batch", "8", "--recipe", "tiny.toml", "--device", "cpu")
ALL = ("--held-out", "0", *TINY)
DIT = ("--arch", "dit", "--width", "16", *ALL, "--recipe", "shallow.toml")
UNET = ("--width", "8", *ALL)
SMALL = {"dit": DIT, "unet": UNET}
RECIPES = {
    "tiny": "contrast = 0.1",
    "shallow": "contrast = 0.1\ndepth = 2",
    "deep": "contrast = 0.1\ndepth = 3",
    "depth": "depth = 3",
    "sharpness": "sharpness = 20",
    "later": "contrast_from = 0.5",
    "wrong": "tilt = 0",
    "unknown": "tild = 1.5",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder of images of two classes, and recipes."""
    folder = tmp_path_factory.mktemp("place")
    noise = np.random.default_rng(0)
    for name, text in RECIPES.items():
        (folder / f"{name}.toml").write_text(text)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02}.png")
    return folder


def expected(place: Path, arch: str, folder: Path) -> dict[str, bytes]:
    """Return the weights of a training that nothing disturbed, made without the command."""
    images = load_images(str(place / "photos"), 16)
    wanted = cases.recipe(arch, images=64, batch=8, warmup=6400)
    for _ in train(cases.job(folder, arch, recipe=wanted, images=images, every=64)):
        pass
    return weights(folder)


def weights(folder: Path) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.glob("*/*.safetensors")
        if path.parent.name != "training"
    }
    state = load_checkpoint(folder / "training" / "checkpoint.safetensors").tensors
    return {**found, **{name: tensor.numpy().tobytes() for name, tensor in state.items()}}


def wait_for(bigain: Forks, path: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until and "Traceback" not in bigain.said(), bigain.said()
        time.sleep(0.002)


@pytest.mark.parametrize("arch", ["dit", "unet"])
def test_a_killed_training_resumes_to_the_same_bytes(bigain: Forks, place: Path, tmp_path: Path, arch: str) -> None:
    command = ("train", "photos", "-o", str(tmp_path / "x"), *SMALL[arch], "--every", "32")
    bigain.start(*command, cwd=place)
    wait_for(bigain, tmp_path / "x" / "training" / "checkpoint.safetensors")
    assert bigain.kill(signal.SIGKILL).code == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "x" / "training" / "checkpoint.safetensors").step == 4
    done = bigain(*command, "--resume", cwd=place)
    assert (done.code, done.out.decode()) == (0, f"{tmp_path / 'x'}\n"), done.err
    assert "continuing after 32 of 64 images" in done.err
    advice = done.err.splitlines()[-1].removeprefix("bigain: try it: ")
    tried = commands.warm(*shlex.split(advice)[1:], cwd=tmp_path)
    assert advice.startswith("bigain generate ") and tried.code == 0 and tried.out, advice
    assert weights(tmp_path / "x") == expected(place, arch, tmp_path / "whole")
    assert not list((tmp_path / "x").rglob("*.part")) and not (tmp_path / "x" / ".new").exists()


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_ends_at_the_same_bytes(
    bigain: Forks, place: Path, tmp_path: Path
) -> None:
    command = ("train", "photos", "-o", str(tmp_path / "x"), *DIT, "--every", "8")
    checkpoint = tmp_path / "x" / "training" / "checkpoint.safetensors"
    begun = time.monotonic()
    assert bigain(*command[:3], str(tmp_path / "timed"), *command[4:], cwd=place).code == 0
    whole = time.monotonic() - begun
    bigain.start(*command, cwd=place)
    wait_for(bigain, checkpoint)  # so that one kill at least falls into the training, however fast the machine is
    assert bigain.kill(signal.SIGKILL).code == -signal.SIGKILL
    for moment in np.random.default_rng(0).uniform(0.1, 1.0, 30) * whole:
        bigain.start(*command, "--resume", cwd=place)
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):  # done already
            os.kill(bigain.pid, signal.SIGKILL)
        done = bigain.result()
        assert done.code in (0, -signal.SIGKILL), done.err
        if done.code == 0:
            break
    else:
        done = bigain(*command, "--resume", cwd=place)
    assert done.code == 0, done.err
    assert weights(tmp_path / "x") == expected(place, "dit", tmp_path / "whole")


def test_ctrl_c_says_how_to_continue_and_leaves_a_model(bigain: Forks, place: Path, tmp_path: Path) -> None:
    command = ("train", "photos", "-o", str(tmp_path / "x"), *DIT, "--every", "8")
    bigain.start(*command, cwd=place)
    wait_for(bigain, tmp_path / "x" / "training" / "samples-000000008.png")
    done = bigain.kill(signal.SIGINT)
    assert done.code == 130 and done.out == b"" and "Traceback" not in done.err
    assert (
        f"holds the last checkpoint; continue with: bigain train --resume -o {tmp_path / 'x'}\nbigain: interrupted\n"
        in done.err
    )
    found = bigain(
        "classify", "photos/cat/00.png", "-l", "cat,dog", "-m", str(tmp_path / "x"), "--draws", "2", cwd=place
    )
    assert found.code == 0, found.err
    assert bigain("train", "--resume", "-o", str(tmp_path / "x"), "-q", cwd=tmp_path).err == ""
    assert load_checkpoint(tmp_path / "x" / "training" / "checkpoint.safetensors").step == 8


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing_in_the_way(
    bigain: Forks, place: Path, tmp_path: Path
) -> None:
    target = tmp_path / "x" / "y"
    command = ("train", "photos", "-o", str(target), *DIT, "--images", "1000000", "--batch", "64")
    bigain.start(*command, cwd=place)
    wait_for(bigain, target / "training")
    time.sleep(0.2)
    done = bigain.kill(signal.SIGTERM)
    assert done.code == 143 and "there is no checkpoint yet: repeat the command to start again" in done.err
    assert not (tmp_path / "x").exists()
    again = bigain(*command, "--resume", cwd=place)
    assert again.code == 2 and "no checkpoint in" in again.err and "Leave out --resume to start." in again.err
    assert bigain("train", "photos", "-o", str(tmp_path / "x"), *DIT, cwd=place).code == 0


@pytest.fixture(scope="module")
def finished(bigain: Forks, place: Path) -> Path:
    """Return a finished training of a DiT, validated."""
    done = bigain(*_first("finished"), cwd=place)
    assert done.code == 0, done.err
    (place / "said.txt").write_text(done.err)
    (place / "printed.txt").write_bytes(done.out)
    return place / "finished"


def _first(folder: str) -> tuple[str, ...]:
    return ("train", "photos", "-o", folder, "--arch", "dit", "--width", "16", "--validation", "2", *TINY)


def test_messages_are_on_stderr_and_the_folder_on_stdout(finished: Path, place: Path) -> None:
    assert (place / "printed.txt").read_text() == "finished\n"
    said = (place / "said.txt").read_text().splitlines()
    patterns = [
        r"bigain: warning: the learning rate rises during the first 6400 images, and there are 64: it stays low\. .*",
        r"bigain: photos: 24 images of 2 classes, read in \d+ s",
        r"bigain: 2 images held out",
        r"bigain: checkpoint at 64 images, finished/training/samples-000000064.png",
        r"bigain: warning: no temperature was fitted, which takes 100 held-out images: .*",
        r"bigain: trained in [\d.]+ minutes; [\d.]+ % \[[\d.]+, [\d.]+\] of 2 held-out images, 16 draws per label",
        r"bigain: try it: bigain generate cat -m finished",
    ]
    assert len(said) == len(patterns), said
    for line, pattern in zip(said, patterns, strict=True):
        assert re.fullmatch(pattern, line), line


def test_resuming_what_is_finished_validates_again(bigain: Forks, finished: Path, place: Path) -> None:
    before = weights(finished)
    done = bigain(*_first("finished"), "--resume", cwd=place)
    assert (done.code, done.out) == (0, b"finished\n") and "of 2 held-out images" in done.err
    assert weights(finished) == before and "of 2 held-out" in (finished / "README.md").read_text()


def refused(result: commands.Result, *texts: str) -> None:
    assert result.code == 2 and result.out == b"", result
    assert result.err.startswith("bigain: ") and "Traceback" not in result.err
    for text in texts:
        assert text in result.err, result.err


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        (("--recipe", "deep.toml", "--rate", "0.01"), ("other settings (depth 4 → 3; rate 0.001 → 0.01)", "--force")),
        (("--held-out", "0.5"), ("other settings (held-out 0.1 → 0.5)", "--force")),
        (("--from", "mini"), ("other settings (from random weights → mini)",)),
    ],
)
def test_resuming_otherwise_is_refused(
    bigain: Forks, finished: Path, place: Path, changes: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    before = weights(finished)
    refused(bigain(*_first("finished"), *changes, "--resume", cwd=place), *texts)
    assert weights(finished) == before


def test_what_a_folder_holds_is_replaced_only_by_force(bigain: Forks, finished: Path, place: Path) -> None:
    (finished / "mine.txt").write_text("mine")
    refused(
        bigain(*_first("finished"), cwd=place), "holds a backbone already. --resume to continue, --force to start again"
    )
    before = weights(finished)
    done = bigain(*_first("finished"), "--seed", "1", "--force", cwd=place)
    assert done.code == 0 and (finished / "mine.txt").read_text() == "mine"
    assert weights(finished).keys() == before.keys() and weights(finished) != before
    assert bigain(*_first("finished"), "--force", cwd=place).code == 0
    assert weights(finished) == before


def test_a_full_disk_is_reported_and_the_checkpoint_stays(bigain: Forks, finished: Path, place: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    done = bigain(*_first("finished"), "--resume", cwd=place, limit=20_000)
    assert done.code == 1 and "finished: cannot be written (" in done.err and "Traceback" not in done.err
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing_half_written(
    bigain: Forks, place: Path, tmp_path: Path
) -> None:
    done = bigain("train", "photos", "-o", str(tmp_path / "x"), *DIT, cwd=place, limit=20_000)
    assert done.code == 1 and "the checkpoint cannot be written" in done.err and "Traceback" not in done.err
    assert [path.name for path in (tmp_path / "x").rglob("*")] == ["training"]


def light(*arguments: str, cwd: Path) -> commands.Result:
    """Run the command in an interpreter where torch cannot be imported."""
    code = (
        "import sys; sys.modules.update(torch=None, diffusers=None, transformers=None, numpy=None)\n"
        "from bigain_cli.cli import main; main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=commands.environment(), capture_output=True, timeout=60
    )
    return commands.Result(run.returncode, run.stdout, run.stderr.decode())


def test_help_and_usage_errors_answer_without_torch(place: Path) -> None:
    started = time.monotonic()
    shown = light("train", "--help", cwd=place)
    assert shown.code == 0 and b"bigain train photos/ -o mymodel" in shown.out and time.monotonic() - started < 10
    refused(
        light("train", "photos", "-o", "m", "--arch", "unett", cwd=place), "--arch unett: unknown. Did you mean unet?"
    )
    refused(light("train", "nowhere", "-o", "m", cwd=place), "nowhere: no such folder or file")


USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "no data": (("-o", "m"), "no data: there is nothing to train on. Give a folder of class folders."),
    "no output": (("photos",), "no output: nowhere to write the backbone. Add -o FOLDER."),
    "empty output": (("photos", "-o", ""), "-o '': names nothing. Write -o"),
    "a file": (("photos", "-o", "photos/cat/00.png"), "photos/cat/00.png: a file, not a folder"),
    "other things": (("photos", "-o", "taken"), "taken: holds other things (notes.txt, …). Name a new folder."),
    "a data set": (("photos", "-o", "data", "--force"), "data: holds other things (training/cat, …)"),
    "another's model": (("photos", "-o", "foreign", "--force"), "foreign: holds other things (model_index.json, …)"),
    "inside": (("photos", "-o", "photos/model"), "photos/model: inside photos, where it would count as a class"),
    "the same": (("photos", "-o", "photos/", "--force"), "inside photos"),
    "no checkpoint": (("photos", "-o", "m", "--resume"), "--resume: no checkpoint in m to continue from"),
    "resume force": (("photos", "-o", "m", "--resume", "--force"), "--resume --force: one continues the training"),
    "arch": (("photos", "-o", "m", "--arch", "dyt"), "--arch dyt: unknown. Did you mean dit?"),
    "width": (("photos", "-o", "m", "--width", "0"), "--width 0: must be a multiple of 8"),
    "not a number": (("photos", "-o", "m", "--batch", "many"), "'many' is not a valid int"),
    "validation": (("photos", "-o", "m", "--validation", "-1"), "--validation"),
    "every": (("photos", "-o", "m", "--every", "0"), "--every"),
    "share": (("photos", "-o", "m", "--held-out", "1"), "--held-out 1: a share is from 0 up to"),
    "share nan": (("photos", "-o", "m", "--held-out", "nan"), "--held-out nan: a share"),
    "held-out": (("photos", "-o", "m", "--held-out", "gone"), "gone: no such folder or file"),
    "depth": (("photos", "-o", "m", "--recipe", "depth.toml"), "depth.toml, depth = 3: has no effect: a U-Net has"),
    "sharpness": (
        ("photos", "-o", "m", "--recipe", "sharpness.toml"),
        "sharpness = 20.0: has no effect: labels are not",
    ),
    "later": (("photos", "-o", "m", "--recipe", "later.toml"), "contrast_from = 0.5: has no effect: labels are not"),
    "wrong": (("photos", "-o", "m", "--recipe", "wrong.toml"), "wrong.toml, tilt = 0.0: must be a positive number"),
    "unknown": (("photos", "-o", "m", "--recipe", "unknown.toml"), "unknown.toml, tild: not a key of a recipe. Did"),
    "recipe": (("photos", "-o", "m", "--recipe", "gone.toml"), "--recipe gone.toml: no such file"),
    "sentences": (
        ("photos", "-o", "m", "--arch", "dit", "-t", "a {}"),
        "--template: a transformer reads class numbers",
    ),
    "nothing to validate on": (
        ("photos", "-o", "m", "--held-out", "0.0", "--validation", "9"),
        "--validation: no images are held out",
    ),
    "from": (("photos", "-o", "m", "--from", "sd1.5"), "--from sd1.5: not a backbone made by bigain train"),
    "from a shape": (
        ("photos", "-o", "m", "--from", "mini", "--width", "16"),
        "--from mini: has another shape: width 32, not 16. Give --width 32.",
    ),
    "in the held-out": (
        ("photos", "--held-out", "data", "-o", "data/m"),
        "data/m: inside data, where it would count as a class",
    ),
    "synonyms": (("photos", "-o", "m", "--synonyms", "gone"), "--synonyms gone: no such file"),
    "synonym": (("photos", "-o", "m", "--synonyms", "list.json"), "--synonyms list.json: not a table of lists"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_say_what_to_do_and_write_nothing(bigain: Forks, place: Path, case: str) -> None:
    _furnish(place)
    before = sorted(place.rglob("*"))
    arguments, text = USAGE[case]
    refused(bigain("train", *arguments, cwd=place), text)
    assert sorted(place.rglob("*")) == before


def _furnish(place: Path) -> None:
    for name in ("taken/notes.txt", "data/training/cat/a.png", "foreign/model_index.json"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("{}")
    (place / "list.json").write_text('{"cat": "kitten"}')


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--device", "cuda:77"), "--device cuda:77: this machine has"),
        (("--device", "cpu", "--precision", "float16"), "--precision float16: needs a CUDA device"),
        (("-t", "a thing"), "template 'a thing': has no {} for the label"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(
    bigain: Forks, place: Path, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    refused(bigain("train", "photos", "-o", str(tmp_path / "x"), *options, cwd=place), text)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made_is_refused_before_training(bigain: Forks, place: Path) -> None:
    done = bigain("train", "photos", "-o", "photos/cat/00.png/x/y", *DIT, cwd=place)
    assert done.code in (1, 2) and "00.png/x/y" in done.err and "Traceback" not in done.err


def test_skipped_images_are_counted_and_named_on_request(bigain: Forks, place: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "good.png").write_bytes((place / "photos" / "cat" / "00.png").read_bytes())
        (tmp_path / "p" / name / "bad.png").write_text("no image")
    (tmp_path / "tiny.toml").write_text(RECIPES["tiny"])
    done = bigain("train", "p", "-o", "x", *DIT[:4], *TINY, "-v", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "p: 2 images of 2 classes" in done.err and "; 2 skipped, the first: p/cat/bad.png" in done.err
    assert done.err.count("bigain: skipped: ") == 2
    assert "none held out: no class has two different images" in done.err


def test_lost_weights_end_the_training_and_are_not_kept(bigain: Forks, place: Path, tmp_path: Path) -> None:
    done = bigain("train", "photos", "-o", str(tmp_path / "x"), *DIT, "--rate", "1e30", cwd=place)
    assert done.code == 1 and "no finite number. Lower --rate" in done.err
    assert not (tmp_path / "x" / "training" / "checkpoint.safetensors").exists()


def test_nobody_reading_is_no_failure(bigain: Forks, place: Path, tmp_path: Path) -> None:
    """A closed stdout: the model is there all the same."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    bigain.start("train", "photos", "-o", str(tmp_path / "x"), *DIT, "--images", "8", "-q", cwd=place, stdout=pipe)
    wait_for(bigain, tmp_path / "x")
    os.close(reader)
    done = bigain.result()
    assert (done.code, done.err) == (0, "") and (tmp_path / "x" / "model_index.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", ""), "--from '': names nothing. Write --from mini."),
        (("--synonyms", ""), "--synonyms '': names nothing. Write --synonyms names.json."),
    ],
)
def test_an_empty_name_is_a_mistake(options: tuple[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    done = commands.warm("train", "photos", "-o", "m", *options, cwd=tmp_path)
    assert done.code == 2 and said in done.err, done.err
