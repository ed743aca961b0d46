"""`bigain evaluate --generate`: images under each spec against real ones, kept, continued, and refused."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import start, warm
from PIL import Image

import bigain_cli as bigain
from bigain_cli.cli.evaluate import evaluate
from bigain_cli.datasets.opening import open_dataset
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.evaluation.generated_images import ImageGeneration
from bigain_cli.generation.generator import Generation
from bigain_cli.outputs.image_grid import ImageGrid, Section
from bigain_cli.outputs.png import settings_of

FAST = ("--limit", "0", "--steps", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of each of two classes that the tiny DiT knows."""
    folder = tmp_path_factory.mktemp("real") / "photos"
    for place, name in enumerate(("airliner", "tench")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            noise = Image.effect_noise((20 + number, 31), 30 + 5 * number + 40 * place)
            noise.convert("RGB").save(folder / name / f"{number:02d}.png")
    return folder


def generate(models: dict[str, Path], photos: Path, *arguments: str, **options: Any) -> Any:
    return warm("evaluate", str(photos), "-m", str(models["dit"]), *FAST, *arguments, **options)


def test_measures_stand_beside_the_feature_and_the_real_images(models, photos, tmp_path: Path) -> None:
    specs = ("-c", "none", "-c", "tome:0.5", "--generate", "12", "--keep", str(tmp_path / "kept"))
    made = generate(models, photos, *specs, "--markdown")
    assert made.code == 0, made.err
    lines = made.out.decode().splitlines()
    assert lines[0].startswith(f"{photos}: nothing classified; model ")
    assert "12 images under each spec, 6 of each class; ddim, 2 steps" in lines[4] and ":mid@t=" in lines[4]
    assert lines[6] == "| spec | kernel distance | precision | recall | s per image |"
    assert [line.split(" | ")[0] for line in lines[8:11]] == ["| none", "| tome:0.5", "| other real images"]
    assert "No Fréchet distance: it takes more images than features (32)." in lines[-1]
    document = json.loads(generate(models, photos, *specs, "--json").out)["generated"]
    assert (document["pictures"], document["against"], list(document["specs"])) == (12, "none", ["none", "tome:0.5"])
    gap, own = document["specs"]["tome:0.5"]["differences"]["kernel"], document["specs"]
    assert gap["low"] < gap["value"] < gap["high"]
    assert gap["value"] == pytest.approx(own["tome:0.5"]["kernel"]["value"] - own["none"]["kernel"]["value"])
    with Image.open(tmp_path / "kept" / "tome_0.5.png") as grid:
        assert grid.width > 6 * 128 and grid.height > 2 * 128, "enlarged, with captions"
    kept = settings_of(str(tmp_path / "kept" / "tome_0.5.png"))
    assert (kept["rows"], kept["seeds"], kept["compress"]) == (
        ["airliner", "tench"],
        [0, 1_000_000],
        "tome:0.5",
    )
    again = warm("generate", "--again", str(tmp_path / "kept" / "tome_0.5.png"), "-o", str(tmp_path / "x.png"))
    assert again.code == 2 and "cannot be read" in again.err, "it is no grid of generate"


def test_every_spec_generates_from_the_same_seeds_class_by_class(models, photos, tmp_path: Path) -> None:
    specs = ("-c", "none", "-c", "todo:2@levels=all", "--generate", "4", "--keep", str(tmp_path), "-q")
    assert generate(models, photos, *specs).code == 0
    backbone = bigain.load(str(models["dit"]), device="cpu")
    for spec in ("none", "todo:2@levels=all"):
        (file,) = [path for path in tmp_path.glob("*.png") if settings_of(str(path))["compress"] == spec]
        with Image.open(file) as grid:
            layout = ImageGrid(
                [Section("airliner", ("seed 0",) * 2), Section("tench", ("seed 1000000",) * 2)], 2, (128, 128)
            )
            places = iter(layout.places)
            for row, name in enumerate(("airliner", "tench")):
                options = {"count": 2, "seed": row * 1_000_000, "steps": 2, "compress": spec, "batch": 2}
                for sample in bigain.generate(backbone, name, **options):
                    left, top = next(places)
                    seen = grid.crop((left, top, left + 128, top + 128))
                    assert np.array_equal(np.asarray(seen), np.asarray(sample.enlarged(8).image))


def test_it_continues_what_was_kept_and_with_nothing_else(models, photos, tmp_path: Path) -> None:
    specs = ("--generate", "12", "--keep", str(tmp_path), "--json")
    whole = generate(models, photos, "-c", "none", "-c", "tome:0.5", *specs)
    (tmp_path / "none-001.npz").unlink()
    before = (tmp_path / "none-000.npz").stat().st_mtime_ns
    again = generate(models, photos, "-c", "none", "-c", "tome:0.5", *specs)
    one, other = (json.loads(made.out)["generated"]["specs"] for made in (whole, again))
    for spec, found in one.items():
        for measure in ("kernel", "precision", "recall"):
            assert found[measure] == other[spec][measure]
    assert (tmp_path / "none-000.npz").stat().st_mtime_ns == before and (tmp_path / "none-001.npz").exists()
    changed = generate(models, photos, "-c", "none", *specs, "--guidance", "1")
    assert changed.code == 2
    assert "none-000.npz: was made with another guidance (4.0, now 1.0). --force to replace it" in changed.err
    assert "2 of 4 parts" not in whole.out.decode()
    half = generate(models, photos, "-c", "none", *specs[:-1], "--generate", "12")
    assert "2 of 2 parts, and their times, are of an earlier run" in " ".join(half.out.decode().split())
    assert "12 images generated under each spec, in " in half.err.splitlines()[-1]
    (tmp_path / "none-000.npz").write_bytes(b"half a file")
    assert "none-000.npz: cannot be read" in generate(models, photos, "-c", "none", *specs).err
    assert generate(models, photos, "-c", "none", *specs, "--force").code == 0
    assert json.loads(generate(models, photos, "-c", "none", *specs).out)["generated"]["specs"]["none"] is not None


@pytest.mark.slow
def test_an_interruption_keeps_the_classes_that_are_whole(models, photos, tmp_path: Path) -> None:
    options = ("evaluate", str(photos), "-m", str(models["dit"]), "--limit", "0", "--device", "cpu", "--steps", "500")
    with start(*options, "-c", "none", "--generate", "4", "--keep", str(tmp_path), "--batch", "2") as process:
        while not (tmp_path / "none-000.npz").exists():
            time.sleep(0.02)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted while generating; the complete classes are in {tmp_path}" in err.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["none-000.npz"]


def test_answers_and_images_come_together(models, photos, tmp_path: Path) -> None:
    model = ("-m", str(models["dit"]), "--steps", "2", "--device", "cpu", "--schedule", "fixed", "--draws", "2")
    page = tmp_path / "page.html"
    made = warm("evaluate", str(photos), *model, "-c", "none", "-c", "todo:2@levels=all", "--generate", "8", "-o", page)
    assert made.code == 0, made.err
    text = page.read_text()
    assert "24 images, 2 labels" in text and "Generated images" in text and "recall" in text


def test_from_python(models, photos) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    found = bigain.evaluate(
        backbone, str(photos), limit=0, generate=bigain.GeneratedImagesOptions(72 // 3, steps=1)
    ).summary()
    assert found.count == 0 and found.image_quality is not None and found.image_quality.other is None
    assert found.image_quality.about["prompts"] == ["airliner", "tench"]
    assert found.image_quality.specs["none"].quality["kernel"].generated == 24


def test_other_real_images_are_other_ones(models, photos) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    few, all_but = (
        bigain.evaluate(backbone, str(photos), limit=0, generate=bigain.GeneratedImagesOptions(count, steps=1))
        .summary()
        .image_quality
        for count in (12, 14)
    )
    assert few.other is not None and few.other["recall"].generated == 12
    assert all_but.other is None, "of 24 images no other 14 are left"
    generation = ImageGeneration(
        backbone, open_dataset(str(photos)), ["airliner", "tench"], {"none": "none"}, bigain.GeneratedImagesOptions(12)
    )
    assert len(np.unique(np.concatenate([generation._real, generation._other]), axis=0)) == 24


def test_an_unreadable_image_is_skipped_or_refused_before_anything_is_generated(models, photos, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "some")
    for number in range(3):
        (tmp_path / "some" / "tench" / f"{number:02d}.png").write_bytes(b"nothing")
    assert generate(models, tmp_path / "some", "--generate", "18", "--keep", str(tmp_path / "a")).code == 0
    made = generate(models, tmp_path / "some", "--generate", "20", "--keep", str(tmp_path / "b"))
    assert made.code == 2 and "10 real images of each class are needed, and 9 of tench can be read" in made.err
    assert not list((tmp_path / "b").iterdir())


def test_the_summary_is_written_even_if_generating_fails(models, photos, tmp_path: Path, monkeypatch) -> None:
    def fail(*_: Any) -> Any:
        raise BigainError("disk", "full", "Make room.")

    monkeypatch.setattr("bigain_cli.evaluation.generated_images.ImageGeneration.events", fail)
    options = {"schedule": "fixed", "draws": 2, "limit": 3, "generate": 4, "compress": ["none"], "device": "cpu"}
    with pytest.raises(BigainError, match="disk: full"):
        evaluate(str(photos), model=str(models["dit"]), output=str(tmp_path / "t.txt"), **options)
    assert "3 images, 2 labels" in (tmp_path / "t.txt").read_text()


@pytest.mark.parametrize(("key", "value", "option"), [("batch", 1, "--batch 2"), ("dtype", "bfloat16", "--dtype bf")])
def test_a_batch_or_a_dtype_that_failed_stops_the_comparison(
    models, photos, monkeypatch, key: str, value: Any, option: str
) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    generation = ImageGeneration(
        backbone, open_dataset(str(photos)), ["airliner", "tench"], {"none": "none"}, bigain.GeneratedImagesOptions(8)
    )
    settings = dict(generation._settings["none"])
    monkeypatch.setattr(Generation, "settings", property(lambda _: settings | {key: value}))
    monkeypatch.setattr(Generation, "events", lambda _: iter(()))
    with pytest.raises(BigainError, match=f"would not compare with the others. Begin with {option}"):
        list(generation.events("none"))


BAD = {
    "few": (("--generate", "1"), "--generate 1: the 2 classes take at least 2 each. Begin with --generate 4"),
    "many": (("--generate", "26"), "--generate 26: as many real images of each class are needed, and airliner has"),
    "fewer than neighbours": (("--generate", "3"), "--generate 3: the 2 classes take at least 2 each"),
    "figure": (("--generate", "4", "--figure", "x.png"), "--figure with --limit 0: nothing is classified"),
    "records": (("--generate", "4", "--records", "x.jsonl"), "--records with --limit 0: nothing is classified"),
    "draws": (("--generate", "4", "--draws", "9"), "--draws with --limit 0: nothing is classified"),
    "none": (("--generate", "0"), "--generate 0: must be at least 1"),
    "feature": (("--generate", "4", "--feature", "fid"), "feature fid: unknown"),
    "steps": (("--generate", "4", "--steps", "0"), "--steps 0: must be at least 1"),
    "nothing": ((), "--limit 0: nothing is classified"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_generated_is_refused_before_anything_is_loaded(models, photos, case: str) -> None:
    arguments, message = BAD[case]
    options = ("evaluate", str(photos), "-m", str(models["dit"]), "--limit", "0", *arguments)
    made = warm(*options)
    assert (made.code, made.out) == (2, b"") and message in made.err
    if case != "steps":
        without = warm("evaluate", str(photos), "-m", "sd2", "--limit", "0", *arguments)
        assert without.code == 2 and message in without.err, "no model is needed to say so"


@pytest.mark.parametrize(
    "option", [("--keep", "x"), ("--feature", "backbone"), ("--steps", "3"), ("--sampler", "ddim"), ("--guidance", "2")]
)
def test_options_of_generating_are_refused_alone(photos, option: tuple[str, str]) -> None:
    made = warm("evaluate", str(photos), *option)
    assert made.code == 2 and f"{option[0]}: nothing is generated without --generate" in made.err


def test_a_folder_that_is_none_is_refused(photos, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = warm("evaluate", str(photos), "--generate", "4", "--keep", str(tmp_path / "file"))
    assert made.code == 2 and "not a folder that can be written to" in made.err


def test_several_classes_per_image_are_refused(models) -> None:
    from bigain_cli.datasets.dataset import Case, Dataset

    cases = [Case("a", (0, 1), lambda: Image.new("RGB", (8, 8)))]
    dataset = Dataset("d", ("airliner", "tench"), cases, multilabel=True)
    backbone = bigain.load(str(models["dit"]), device="cpu")
    with pytest.raises(UsageError, match="images of this dataset have several classes"):
        bigain.evaluate(
            backbone,
            dataset,
            rules=bigain.StoppingRules(schedule="fixed", draws=2),
            generate=bigain.GeneratedImagesOptions(4, steps=1),
        )
