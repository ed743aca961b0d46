"""What a training leaves: a folder that serves exactly what was trained, here and in diffusers."""

from __future__ import annotations

import dataclasses
import doctest
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_cases as cases
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import bigain_cli as bigain
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.errors import BigainError, ModelError
from bigain_cli.training import export
from bigain_cli.training.checkpoint import load_checkpoint
from bigain_cli.training.image_tensors import LabelledImages, square
from bigain_cli.training.job import (
    CheckpointSaved,
    TrainingDone,
    TrainingProgress,
    TrainingResumed,
    TrainingWarning,
    ValidationProgress,
)
from bigain_cli.training.loss import as_input
from bigain_cli.training.output_folder import checkpoint_of, foreign_file, holds_training, remove_checkpoints
from bigain_cli.training.trainer import train
from bigain_cli.training.validation import Validation, validate

ARCHES = ("unet", "dit")
ODD = ("T_shirt", "Boîte, petite", "../../etc/passwd", "# <b>*747*</b>")
PARTS = {"unet": {"unet", "text_encoder", "tokenizer"}, "dit": {"transformer"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a job for each architecture, carried out, with odd class names and some images held out."""
    jobs = {}
    for arch in ARCHES:
        folder = tmp_path_factory.mktemp(arch) / "model"
        jobs[arch] = cases.job(
            folder,
            arch,
            images=cases.toy(24, classes=ODD),
            held_out=cases.toy(8, 1, classes=ODD),
            validation=2,
            every=16,
            source="a_b<c>",
        )
        *_, done = train(jobs[arch])
        assert isinstance(done, TrainingDone) and done.accuracy is not None
    return jobs


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.safetensors")}


def averaged_of(job: Any) -> Any:
    """Return a trainable with the averaged weights of a job's last checkpoint."""
    training = cases.training(job.recipe, job.images)
    state = load_checkpoint(checkpoint_of(job.folder))
    with torch.no_grad():
        for name, weight in zip(training.names, training.weights, strict=True):
            weight.copy_(state.tensors[f"average.{name}"])
    return training.trainable


@pytest.mark.parametrize("arch", ARCHES)
def test_images_are_served_as_they_were_trained(made: dict[str, Any], arch: str) -> None:
    job, backbone = made[arch], bigain.load(str(made[arch].folder), "cpu")
    for shape in ((16, 16), (33, 20), (9, 40)):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
        pixels = square(image, 16)
        clean = backbone.encode(image)
        assert torch.equal(clean, as_input(pixels[None], job.recipe)[0])
        back = backbone.decode(clean[None])[0]
        assert torch.equal(torch.from_numpy(np.array(back)).permute(2, 0, 1), pixels)
    assert not backbone.has_prefix
    assert backbone.latent_shape == ((12, 8, 8) if arch == "unet" else (3, 16, 16))


@pytest.mark.parametrize("arch", ARCHES)
def test_the_folder_predicts_what_the_average_does(made: dict[str, Any], arch: str) -> None:
    job, backbone = made[arch], bigain.load(str(made[arch].folder), "cpu")
    trainable = averaged_of(job)
    words = cases.vocabulary(ODD)
    prompts = [words.sentences(name)[1] if arch == "unet" else words.classes[name][0] for name in ODD]
    count = len(prompts[:1]) if arch == "dit" else 6
    rows = torch.tensor([*(number * count + count // 6 for number in range(len(ODD))), trainable.empty])
    generator = torch.Generator().manual_seed(2)
    clean, noise = torch.randn(2, 5, *backbone.latent_shape, generator=generator)
    t = torch.tensor([0, 10, 300, 700, 999])
    noisy = backbone.mix(clean, noise, t)
    with torch.no_grad():
        expected = trainable(noisy, t, rows[:, None])[:, 0]
        found = backbone.noise(noisy, t, backbone.condition([*prompts, ""]))
        shuffled = backbone.noise(noisy, t, backbone.condition([*prompts[1:], prompts[0], ""]))
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=5e-3)
    assert (shuffled - expected)[:4].abs().max() > 3 * (found - expected).abs().max() or arch == "dit"
    a, s = cases.training(job.recipe).schedule.at(t)
    assert torch.equal(noisy, a * clean + s * noise)


@pytest.mark.parametrize("arch", ARCHES)
def test_the_weights_on_disk_are_the_average_in_float16(made: dict[str, Any], arch: str) -> None:
    state = load_checkpoint(checkpoint_of(made[arch].folder)).tensors
    average = {name.removeprefix("average."): value for name, value in state.items() if name.startswith("average.")}
    found = {}
    for path in made[arch].folder.glob("*/*.safetensors"):
        prefix = "text_encoder" if path.parent.name == "text_encoder" else "network"
        if path.parent.name != "training":
            found |= {f"{prefix}.{name}": value for name, value in load_file(path).items()}
            assert path.stat().st_mode & 0o777 == (path.parent / "config.json").stat().st_mode & 0o777
    assert found.keys() == average.keys()
    assert all(torch.equal(found[name], value.half()) for name, value in average.items())


def test_diffusers_loads_the_folder_by_itself(made: dict[str, Any]) -> None:
    from diffusers import DDIMScheduler, DiTTransformer2DModel, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    unet, dit = made["unet"].folder, made["dit"].folder
    network = UNet2DConditionModel.from_pretrained(unet / "unet", local_files_only=True)
    text = CLIPTextModel.from_pretrained(unet / "text_encoder", local_files_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(unet / "tokenizer", local_files_only=True)
    ids = tokenizer(["a photo of a boîte, petite"], padding="max_length", return_tensors="pt").input_ids
    assert ids.shape[1] == tokenizer.model_max_length == text.config.max_position_embeddings
    with torch.no_grad():
        output = network(torch.zeros(1, 12, 8, 8), 3, encoder_hidden_states=text(ids)[0].to(network.dtype)).sample
        assert output.shape == (1, 12, 8, 8)
        transformer = DiTTransformer2DModel.from_pretrained(dit / "transformer", local_files_only=True)
        zero, one = torch.zeros(1, 3, 16, 16), torch.tensor([1])
        assert transformer(zero, timestep=one, class_labels=one).sample.shape == (1, 3, 16, 16)
    for folder in (unet, dit):
        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        schedule = cases.training(cases.recipe("dit")).schedule
        torch.testing.assert_close(scheduler.alphas_cumprod.sqrt(), schedule.a, rtol=1e-5, atol=1e-6)
        index = json.loads((folder / "model_index.json").read_text())
        assert set(index) >= {"_class_name", "scheduler"}


@pytest.mark.parametrize("arch", ARCHES)
def test_nothing_but_the_named_parts_is_written(made: dict[str, Any], arch: str) -> None:
    folder = made[arch].folder
    names = {"README.md", "bigain.json", "model_index.json", "scheduler", "training"} | PARTS[arch]
    assert {path.name for path in folder.iterdir()} == names
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".part")]


@pytest.mark.parametrize("arch", ARCHES)
def test_the_cards_say_what_was_done(made: dict[str, Any], arch: str) -> None:
    job, page = made[arch], (made[arch].folder / "README.md").read_text()
    card = ModelCard.read(job.folder)
    assert card.about["recipe"] == job.recipe.to_dict() and card.about["pictures"] == 24 and card.about["shown"] == 24
    assert card.about["held_out"]["of"] == 2 and card.about["held_out"]["text"] in page
    assert list(card.classes) == list(ODD) and card.classes["T_shirt"] == ("T shirt",)
    assert r"- \# \<b\>\*747\*\</b\>" in page and r"Data: a\_b\<c\>, 24 images." in page
    assert f"- Training: 24 images in {card.about['minutes']} minutes on {card.about['device']}, torch " in page
    assert page.startswith("# model\n") and ModelCard.from_dict(json.loads(card.to_json())) == card


def test_a_card_says_that_labels_were_compared(tmp_path: Path) -> None:
    for contrast in (0.0, 0.5):
        folder = tmp_path / str(contrast)
        list(train(cases.job(folder, "dit", recipe=cases.recipe("dit", contrast=contrast))))
        page = (folder / "README.md").read_text()
        assert ("Labels were compared in training" in page) == bool(contrast)


@pytest.mark.parametrize(
    "content",
    [
        {"temperature": 0},
        {"temperature": math.inf},
        {"temperature": "warm"},
        {"patch": 0},
        {"times": [0.5, 0.5]},
        {"times": [0.5]},
        {"times": [-1, 1]},
        {"classes": {"cat": "kitten"}},
        {"classes": {"cat": [1]}},
        {"classes": ["cat"]},
        {"templates": "a {}"},
        {"colour": "red"},
        [],
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "bigain.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"bigain.json: unreadable"):
        ModelCard.read(tmp_path)


@pytest.mark.parametrize("times", [(0.0, 1.0), (0.9999, 1.0), (0.0, 0.0001), (0.25, 0.75)])
def test_a_cards_times_are_steps_of_the_schedule(times: tuple[float, float]) -> None:
    low, high = ModelCard(times=times).timestep_range(1000)
    assert 0 <= low < high <= 1000


def test_validation_gives_what_the_command_would_say(made: dict[str, Any]) -> None:
    for job in made.values():
        backbone = bigain.load(str(job.folder), "cpu")
        *done, validation = validate(backbone, cases.vocabulary(ODD), job.held_out, 2, seed=5)
        assert done == [1, 2]
        order = torch.randperm(8, generator=torch.Generator().manual_seed(5))[:2].tolist()
        shown = [(str(number), job.held_out.image(number)) for number in order]
        labels = [name.replace("_", " ") for name in ODD]
        rules = bigain.StoppingRules(schedule="fixed", draws=validation.draws)
        found = bigain.classify(backbone, shown, labels, rules=rules, seed=5)
        right = sum(
            getattr(each, "label", None) == labels[int(job.held_out.labels[number])]
            for number, each in zip(order, found, strict=True)
        )
        assert (validation.correct, validation.count) == (right, 2)


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (431, 500)])
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(right, count).proportion_ci(method="wilson")
    low, high = Validation(right, count, 16).interval
    assert low == pytest.approx(expected.low, abs=1e-6) and high == pytest.approx(expected.high, abs=1e-6)


def test_templates_of_ones_own_are_classified_and_generated_with(tmp_path: Path) -> None:
    short = cases.recipe(images=4)
    seen, held_out = cases.toy(4, classes=("lung", "knee")), cases.toy(2, 1, classes=("lung", "knee"))
    given = {"recipe": short, "images": seen, "held_out": held_out, "templates": ("X-ray: {}",)}
    *_, done = train(cases.job(tmp_path / "x", validation=1, previews=True, **given))
    assert done.accuracy is not None
    with Image.open(tmp_path / "x" / "training" / "samples-000000004.png") as grid:
        assert 8 * 128 < grid.width < 9 * 128 and grid.height > 2 * 128, "enlarged, a row for each class"


def test_events_count_the_images_of_the_recipe(tmp_path: Path) -> None:
    job = cases.job(tmp_path / "x", "dit", recipe=cases.recipe("dit", images=10, batch=4), every=1)
    events = list(train(job))
    assert [event.images for event in events if isinstance(event, CheckpointSaved)] == [4, 8, 10]
    assert [event.images for event in events if isinstance(event, TrainingProgress)] == [4, 8, 10]
    assert ModelCard.read(job.folder).about["shown"] == 12


def test_checkpoints_do_not_count_in_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigain_cli.training import trainer, training_loop

    now = [0.0]
    monkeypatch.setattr(training_loop.time, "monotonic", lambda: now.__setitem__(0, now[0] + 1.0) or now[0])
    saved = trainer.save_checkpoint
    monkeypatch.setattr(trainer, "save_checkpoint", lambda *given: (now.__setitem__(0, now[0] + 1000.0), saved(*given)))
    job = cases.job(tmp_path / "x", "dit", recipe=cases.recipe("dit", images=40, batch=4), every=4)
    reports = [event for event in train(job) if isinstance(event, TrainingProgress)]
    assert [report.pace for report in reports] == [pytest.approx(4.0)] * 10


def test_a_training_in_the_place_of_another_leaves_nothing_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    list(train(cases.job(folder, "unet", recipe=cases.recipe(images=4))))
    (folder / "mine.txt").write_text("mine")
    list(train(cases.job(folder, "dit"), replace=True))
    assert bigain.load(str(folder), "cpu").family == "dit"
    kept = {"README.md", "bigain.json", "mine.txt", "model_index.json", "scheduler", "training", "transformer"}
    assert {path.name for path in folder.iterdir()} == kept


def test_a_training_by_the_same_recipe_in_the_place_of_another_takes_nothing_from_its_card(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    list(train(cases.job(folder, "dit", held_out=cases.toy(4, 1), validation=2)))
    card = folder / "bigain.json"
    measured = {"compress": "avg:2", "least_draws": 24, "temperature": 0.5, "views": "mirror"}
    card.write_text(json.dumps(json.loads(card.read_text()) | measured))
    list(train(cases.job(folder, "dit", images=cases.toy(seed=7)), replace=True))
    now = ModelCard.read(folder)
    assert (now.compress, now.least_draws, now.temperature, now.views) == ("none", None, None, "none")
    assert "held_out" not in now.about


def test_removing_a_training_removes_nothing_else(tmp_path: Path) -> None:
    room = tmp_path / "training"
    room.mkdir()
    ours = ("checkpoint.safetensors", ".checkpoint.safetensors.part", "samples-000000016.png", "losses.jsonl")
    for name in (*ours, "notes.txt"):
        (room / name).touch()
    remove_checkpoints(tmp_path)
    assert [path.name for path in room.iterdir()] == ["notes.txt"] and foreign_file(tmp_path) == "training/notes.txt"
    (room / "notes.txt").unlink()
    assert foreign_file(tmp_path) is None
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []
    remove_checkpoints(tmp_path / "nowhere")
    (room / "cat").mkdir(parents=True)  # a data set's own folder of that name
    (room / "cat" / "a.png").touch()
    remove_checkpoints(tmp_path)
    assert (
        (room / "cat" / "a.png").exists() and foreign_file(tmp_path) == "training/cat" and not holds_training(tmp_path)
    )


def test_an_earlier_training_is_removed_only_when_nothing_speaks_against_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    list(train(cases.job(folder, "dit")))
    before = checkpoint_of(folder).read_bytes()
    for wrong in ({"synonyms": {"emu": ["ostrich"]}}, {"held_out": cases.toy(4, classes=("emu", "bird"))}):
        with pytest.raises(BigainError):
            next(train(cases.job(folder, "dit", **wrong), replace=True))
    with pytest.raises(BigainError, match="needs a CUDA device"):
        next(train(cases.job(folder, "dit", recipe=cases.recipe("dit", precision="float16")), replace=True))
    assert checkpoint_of(folder).read_bytes() == before


@pytest.mark.parametrize("moment", range(5))
def test_an_interruption_in_the_middle_of_the_exchange_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The first signal is held back; what a kill in the same place leaves, --resume heals."""
    folder, wanted = tmp_path / "x", cases.recipe("dit")
    list(train(cases.job(folder, "dit")))
    moves, replace = iter(range(100)), Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        if path.parent.name == ".new" and next(moves) == moment:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    other = cases.job(folder, "dit", recipe=cases.recipe("dit", seed=1))
    with pytest.raises(KeyboardInterrupt):
        list(train(other, replace=True))
    assert not (folder / ".new").exists()
    monkeypatch.undo()
    bigain.load(str(folder), "cpu")
    assert ModelCard.read(folder).about["recipe"] == {**wanted.to_dict(), "seed": 1}


@pytest.mark.parametrize("lost", ["model_index.json", "transformer", "bigain.json"])
def test_resuming_heals_a_folder_that_was_torn(tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "x"
    job = cases.job(folder, "dit", held_out=cases.toy(4, 1), validation=1)
    list(train(job))
    before = weights(folder)
    path = folder / lost
    path.unlink() if path.is_file() else path.rename(folder / ".new")
    *rest, done = train(job, resume=True)
    assert rest[:2] == [TrainingResumed(24, 24), ValidationProgress(1, 1)] and done.accuracy is not None
    assert [type(event) for event in rest[2:]] == [TrainingWarning], "one image fits no temperature"
    assert weights(folder) == before and bigain.load(str(folder), "cpu").family == "dit"
    assert "held_out" in ModelCard.read(folder).about


def test_validation_after_resuming_is_of_the_last_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last checkpoint and its backbone, the folder holds an older one."""
    from bigain_cli.training import trainer

    folder = tmp_path / "x"
    job = cases.job(folder, "dit", held_out=cases.toy(4, 1), validation=1)
    events = train(job)
    next(event for event in events if isinstance(event, CheckpointSaved))
    older = weights(folder)
    folders = trainer._BackboneFolder
    publish = folders.write
    monkeypatch.setattr(folders, "write", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        list(events)
    monkeypatch.setattr(folders, "write", publish)
    assert weights(folder)["transformer/diffusion_pytorch_model.safetensors"] in older.values()
    seen = []
    monkeypatch.setattr(trainer, "validate", lambda *given: seen.append(weights(folder)) or [Validation(1, 1, 1)])
    list(train(job, resume=True))
    assert seen == [weights(folder)]
    assert seen[0]["transformer/diffusion_pytorch_model.safetensors"] not in older.values()


@pytest.mark.parametrize("problem", ["network", "tokenizer", "card"])
def test_a_full_disk_leaves_the_former_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
    folder = tmp_path / "x"
    arch = "unet" if problem == "tokenizer" else "dit"
    job = cases.job(folder, arch, recipe=cases.recipe(arch, images=4))
    list(train(job))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    full = OSError(28, "No space left on device")
    if problem == "network":
        from diffusers import DiTTransformer2DModel
        from safetensors import SafetensorError

        monkeypatch.setattr(
            DiTTransformer2DModel,
            "save_pretrained",
            lambda *_, **__: (_ for _ in ()).throw(SafetensorError("I/O error")),
        )
    elif problem == "tokenizer":  # whose library raises nothing narrower
        from transformers import CLIPTokenizer

        monkeypatch.setattr(
            CLIPTokenizer, "save_pretrained", lambda *_, **__: (_ for _ in ()).throw(Exception("No space left (28)"))
        )
    else:
        monkeypatch.setattr(export.ModelCard, "to_json", lambda self: (_ for _ in ()).throw(full))
    with pytest.raises(BigainError, match=re.escape(f"{folder}: cannot be written (")):
        list(train(job, resume=True))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_without_held_out_images_nothing_is_validated(tmp_path: Path) -> None:
    none = LabelledImages(
        torch.zeros(0, 3, 16, 16, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), cases.CLASSES
    )
    *_, done = train(cases.job(tmp_path / "x", "dit", held_out=none))
    assert done.accuracy is None and "not measured" in (tmp_path / "x" / "README.md").read_text()


def test_checkpoints_hold_no_pickles_and_know_their_step(made: dict[str, Any]) -> None:
    with safe_open(checkpoint_of(made["dit"].folder), framework="pt") as file:
        about = json.loads(file.metadata()["training"])
    assert about["step"] == 6 and about["words"]["classes"]["T_shirt"] == ["T shirt"]


def test_continuing_at_the_end_keeps_what_was_measured(tmp_path: Path) -> None:
    """A card that somebody has filled in, and the measured accuracy, are those of the same weights."""
    job = cases.job(tmp_path / "model", "dit")
    list(train(job))
    card = ModelCard.read(job.folder)
    assert card.score == "norm" and card.temperature is None
    about = {**card.about, "held_out": {"right": 1, "of": 2, "draws": 16, "text": "half of them"}}
    ours = dataclasses.replace(card, score="l1", draws=12, temperature=0.5, times=(0.1, 0.9), about=about)
    (job.folder / "bigain.json").write_text(ours.to_json())
    list(train(job, resume=True))
    again = ModelCard.read(job.folder)
    assert again == ours and "half of them" in (job.folder / "README.md").read_text()


def test_a_class_may_be_called_what_no_label_can_be(tmp_path: Path) -> None:
    images = cases.toy(classes=(" bird", "ship ", "truck"))
    job = cases.job(tmp_path / "model", "dit", images=images, held_out=images, validation=3)
    *_, done = train(job)
    assert "of 3 held-out images" in done.accuracy


def test_a_model_is_classified_with_by_a_sentence_of_its_training(tmp_path: Path) -> None:
    job = cases.job(tmp_path / "model", templates=("an x-ray of a {}",))
    list(train(job))
    backbone = bigain.load(str(job.folder), "cpu")
    assert backbone.template == "an x-ray of a {}"
    image = job.images.image(0)
    (result,) = bigain.classify(backbone, image, ["bird", "ship"], rules=bigain.StoppingRules(draws=8))
    assert isinstance(result, bigain.Ranking)


def test_the_example_of_the_library_trains_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bigain_cli.training.trainer.STEPS", 2)  # of the samples: the network is not a toy
    monkeypatch.setattr("bigain_cli.training.validation.DRAWS", 2)
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            cases.toy(4).image(2 * label + number).save(tmp_path / "photos" / name / f"{number}.png")
    events: list[Any] = []
    names = {"bigain": bigain, "print": events.append}
    for example in doctest.DocTestParser().get_examples(train.__doc__ or ""):
        exec(example.source, names)
    assert {bigain.ImagesLoaded, bigain.ImagesHeldOut, bigain.CheckpointSaved, bigain.TrainingDone} <= set(
        map(type, events)
    )
    assert bigain.load("mymodel", "cpu").family == "unet"


@pytest.mark.parametrize(("arch", "blocks"), [("unet", 0), ("unet", 2), ("unet", 3), ("dit", 0), ("dit", 2)])
def test_a_network_that_labels_enter_late_is_written_and_shares_what_precedes_them(
    tmp_path: Path, arch: str, blocks: int
) -> None:
    late = {"label_entry": "late", "label_blocks": blocks, "classifier": 0.5}
    recipe = cases.recipe(arch, **late, contrast_labels=9, muon=0.02, images=8, depth=3)
    job = cases.job(tmp_path / "late", recipe=recipe)
    list(train(job))
    backbone = bigain.load(str(job.path), device="cpu")
    noisy, t = torch.randn(2, *backbone.latent_shape), torch.tensor([100, 600])
    conditions = backbone.condition(["bird", "ship"])
    with torch.inference_mode():
        prefix = backbone.compute_prefix(noisy, t)
        shared, whole = (backbone.noise(noisy, t, conditions, each) for each in (prefix, None))
    assert backbone.has_prefix
    torch.testing.assert_close(shared, whole, rtol=1e-5, atol=1e-5)
    network: Any = backbone.network
    if arch == "unet":
        reads = [type(block).__name__ == "CrossAttnUpBlock2D" for block in network.up_blocks]
    else:
        tables = [block.norm1.emb.class_embedder.embedding_table.weight for block in network.transformer_blocks]
        reads = [bool(table.any()) for table in tables]
    assert reads == [place >= 3 - (blocks or 1) for place in range(3)]
