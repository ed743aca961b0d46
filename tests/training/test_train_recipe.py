"""A recipe as a file: the template is the default, options override it, and mistakes are named by file and key."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import train_cases as cases
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.errors import UsageError
from bigain_cli.training.job import TrainingProgress
from bigain_cli.training.recipe import WIDTHS, Recipe, load_recipe

ROOT = Path(__file__).parents[2]
NAMES = [key.name for key in dataclasses.fields(Recipe)]


def file(folder: Path, text: str) -> str:
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return str(folder / "recipe.toml")


@pytest.mark.parametrize("arch", WIDTHS)
def test_the_template_has_every_key_with_a_comment_and_is_the_default(tmp_path: Path, arch: str) -> None:
    text = load_recipe(None, {"arch": arch}).to_toml()
    lines = text.splitlines()[1:]
    assert [line.partition(" = ")[0] for line in lines] == NAMES
    assert all(len(line.partition("  # ")[2]) > 10 and len(line) <= 120 for line in lines)
    found = load_recipe(file(tmp_path, text), {})
    assert found == Recipe(arch=arch, width=WIDTHS[arch])
    assert tomllib.loads(text) == found.to_dict()
    assert [type(value) for value in tomllib.loads(text).values()] == [type(value) for value in vars(found).values()]


@given(rate=st.floats(1e-300, 1e300), seed=st.integers(0, 2**32 - 1), ema=st.floats(0, 0.999), flip=st.booleans())
def test_every_recipe_is_read_back_from_what_is_written(rate: float, seed: int, ema: float, flip: bool) -> None:
    recipe = Recipe(rate=rate, seed=seed, ema=ema, flip=flip)
    assert Recipe(**tomllib.loads(recipe.to_toml())) == recipe


def test_options_override_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    path = file(tmp_path, '\ufeffarch = "dit"\ncontrast = 1\nbatch = 8\nimages = 16\n')
    recipe = load_recipe(path, {"images": 32})
    assert recipe == Recipe(arch="dit", width=96, contrast=1.0, batch=8, images=32)
    assert type(recipe.contrast) is float  # as a checkpoint has it
    assert load_recipe(path, {"arch": "unet"}).width == 32


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("tilt = 0", {}, "{}, tilt = 0.0: must be a positive number. Raise it."),
        ("decay = inf", {}, "{}, decay = Infinity: must not be negative. 0 switches it off."),
        ('arch = "unett"', {}, '{}, arch = "unett": unknown. Did you mean unet?'),
        ("batch = 64", {"images": 8}, "{}, batch = 64: more than the 8 images of the training."),
        ("width = 32", {"width": 7}, "--width 7: must be a multiple of 8."),
        ("tild = 1.5", {}, "{}, tild: not a key of a recipe. Did you mean tilt?"),
        ("zzz = 1", {}, f"{{}}, zzz: not a key of a recipe. Known: {', '.join(NAMES[:15])}"),
        ("[network]\nwidth = 32", {}, "{}, network: not a key of a recipe."),
        ('size = "32"', {}, "{}, size = '32': not a whole number."),
        ("size = 32.0", {}, "{}, size = 32.0: not a whole number."),
        ("size = true", {}, "{}, size = True: not a whole number."),
        ("flip = 1", {}, "{}, flip = 1: not true or false."),
        ("ema = true", {}, "{}, ema = True: not a number."),
        ('label_entry = "middle"', {}, '{}, label_entry = "middle": unknown.'),
        ('label_entry = "late"\ndepth = 1', {"arch": "dit"}, "{}, depth = 1: no block is left before a late label."),
        ('label_entry = "late"\nlabel_blocks = 4', {}, "{}, label_blocks = 4: must be from 0 to 3."),
        ('arch = "dit"\nlabel_entry = "late"\nlabel_blocks = 4', {}, "{}, label_blocks = 4: must be from 0 to 3."),
        ('label_entry = "late"\nlabel_blocks = -1', {}, "{}, label_blocks = -1: must be from 0 to 3."),
        ("label_blocks = 2", {}, "{}, label_blocks = 2: has no effect: labels enter in every block. Leave it out."),
        ("contrast_labels = 3\ncontrast = 0.0", {}, "{}, contrast_labels = 3: has no effect: labels are not compared"),
        ("depth = 3", {}, "{}, depth = 3: has no effect: a U-Net has three levels. Leave it out."),
        ("sharpness = 9.0", {}, "{}, sharpness = 9.0: has no effect: labels are not compared while contrast is 0."),
        ("contrast_from = 0.5", {}, "{}, contrast_from = 0.5: has no effect: labels are not compared"),
        ("size 32", {}, "--recipe {}: cannot be read (Expected '=' after a key"),
        ("size = 32\nsize = 32", {}, "--recipe {}: cannot be read (Cannot overwrite a value"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(tmp_path: Path, text: str, given: dict[str, Any], message: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(UsageError) as refusal:
        load_recipe(path, given)
    assert str(refusal.value).startswith(message.format(path)), refusal.value
    assert refusal.value.hint


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "recipe.toml", tmp_path / "gone.toml", tmp_path):
        with pytest.raises(UsageError, match=r"(cannot be read|no such file).* --recipe-template prints one"):
            load_recipe(str(path), {})


def test_progress_reads_as_a_line() -> None:
    event = TrainingProgress(32, 64, error=0.5, contrast=0.25, classifier=0.0, rate=1e-3, pace=123.4)
    assert str(event) == "error 0.5000, contrast 0.2500, rate 1.0e-03, 123 images/s"
    alone = dataclasses.replace(event, error=0.0, contrast=0.0, classifier=1.5)
    assert str(alone) == "classifier 1.5000, rate 1.0e-03, 123 images/s"
    assert str(dataclasses.replace(event, contrast=0.0)) == "error 0.5000, rate 1.0e-03, 123 images/s"


def test_a_recipe_of_a_checkpoint_is_what_it_was() -> None:
    """A checkpoint of any version names these keys; a training continues only under the same."""
    keys = (
        "arch prediction size patch width depth label_entry label_blocks images batch rate warmup decay ema drop muon"
        " contrast contrast_labels"
    )
    compared = "sharpness contrast_from compared compare_from compare_to classifier classifier_first shared_rate"
    later = "keep tilt flip shift precision seed"
    assert list(cases.recipe().to_dict()) == [*keys.split(), *compared.split(), *later.split()]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("mini", ("mini-end", "mini-middle", "mini-start")),
        ("mini-late", ("late-whole-2", "late-whole", "late-see-3", "late-see-2", "late-compare", "late-see")),
        ("mini-dit", ("mini-dit-whole-3", "mini-dit-see-3", "mini-dit-whole", "mini-dit-see-2", "mini-dit-see")),
    ],
)
def test_the_recipes_in_the_docs_are_those_that_made_the_embedded_models(model: str, names: tuple[str, ...]) -> None:
    about = json.loads((ROOT / "bigain_cli" / "backbones" / model / "bigain.json").read_text("utf-8"))["about"]
    for name in names:
        made = vars(Recipe()) | about["recipe"]  # an earlier version knew fewer keys
        assert load_recipe(str(ROOT / "docs" / "training" / f"{name}.toml"), {}).to_dict() == made
        about = about.get("start", {})
    assert "recipe" not in about
