"""Labelled images from folders and files, and what is wrong with some of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from bigain_cli.backbones.latents import fit
from bigain_cli.errors import UsageError
from bigain_cli.training.image_tensors import load_images, split
from bigain_cli.training.loss import as_input


def image(number: int = 0, size: tuple[int, int] = (20, 12)) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def encoded(number: int = 0) -> bytes:
    stream = io.BytesIO()
    image(number).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return two classes of three images."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            image(number).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_folders_are_classes_at_any_depth(photos: Path) -> None:
    (photos / "cat" / "deep" / "er").mkdir(parents=True)
    image(9).save(photos / "cat" / "deep" / "er" / "x.JPG", "JPEG")
    (photos / "dog" / "again").symlink_to(photos / "dog")  # a loop
    (photos / "ant").symlink_to(photos / "cat")
    for ignored in (photos / ".hidden", photos / "cat" / ".thumbs"):
        ignored.mkdir()
        image().save(ignored / "h.png")
    (photos / "cat" / ".hidden.png").write_text("no image")
    (photos / "cat" / "notes.txt").write_text("no image")
    (photos / "notes.txt").write_text("no image")
    found = load_images(str(photos), 16)
    assert found.classes == ("ant", "cat", "dog") and found.skipped == ()
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 3
    assert found.pixels.shape == (11, 3, 16, 16) and found.pixels.dtype == torch.uint8


def test_what_cannot_be_read_is_left_out_and_named(photos: Path) -> None:
    whole = (photos / "cat" / "0.png").read_bytes()
    (photos / "cat" / "a-cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "cat" / "empty.jpg").touch()
    (photos / "dog" / "lost.png").symlink_to("nowhere")
    (photos / "stray.png").write_bytes(whole)
    found = load_images(str(photos), 16)
    assert len(found) == 6
    assert [reason.partition(":")[0].removeprefix(f"{photos}/") for reason in found.skipped] == [
        "stray.png",
        "cat/a-cut.png",
        "cat/empty.jpg",
        "dog/lost.png",
    ]
    assert "not in a class folder" in found.skipped[0] and "truncated" in found.skipped[1]


def test_folders_that_are_no_data_are_refused(photos: Path, tmp_path: Path) -> None:
    def refused(why: str) -> None:
        with pytest.raises(UsageError, match=why):
            load_images(str(photos), 16)

    (photos / "emu").mkdir()
    refused(r"no readable image for class emu\. Remove the class")
    (photos / "emu" / "x.png").write_text("no image")
    refused(r"no readable image for class emu \(.*x.png")
    for number in range(3):
        (photos / "dog" / f"{number}.png").unlink()
    refused(r"no readable image for class dog\. Remove the class")
    for empty in ("emu/x.png", "emu", "dog"):
        (photos / empty).unlink() if empty.endswith("png") else (photos / empty).rmdir()
    refused(r"one class only \(cat\)")
    with pytest.raises(UsageError, match="no class folders in it"):
        load_images(str(photos / "cat"), 16)
    with pytest.raises(UsageError, match="no such folder or file"):
        load_images(str(tmp_path / "nowhere"), 16)


def save(path: Path, classes: str | None = "cat,dog", labels: Any = (0, 1, 1), **changes: Any) -> str:
    parts = [encoded(number) for number in range(3 if labels is None else len(labels))]
    ends = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
    tensors = {
        "jpeg": torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8),
        "offsets": ends,
        "labels": torch.tensor(labels, dtype=torch.uint8) if isinstance(labels, tuple) else labels,
        **changes,
    }
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, path, None if classes is None else {"classes": classes})
    return str(path)


@pytest.mark.parametrize("classes", ["cat,dog", '["cat", "dog"]', " cat , dog"])
def test_a_file_holds_jpegs_with_labels(tmp_path: Path, classes: str) -> None:
    found = load_images(save(tmp_path / "data", classes), 16)
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 1, 1]
    expected = as_input(found.pixels[1:2], cases.recipe("dit"))[0]
    assert torch.equal(expected, fit(Image.open(io.BytesIO(encoded(1))), (16, 16)))


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint16, torch.uint32])
def test_integers_of_any_width_are_labels(tmp_path: Path, kind: torch.dtype) -> None:
    path = save(tmp_path / "data", labels=torch.tensor([0, 1, 1]).to(kind))
    assert load_images(path, 16).labels.tolist() == [0, 1, 1]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"labels": None}, "has no tensor labels"),
    "no jpeg": ({"jpeg": None}, "has no tensor jpeg"),
    "float pixels": ({"jpeg": torch.zeros(9)}, "jpeg is not one row of bytes"),
    "pixels in rows": ({"jpeg": torch.zeros(3, 9, dtype=torch.uint8)}, "jpeg is not one row of bytes"),
    "float offsets": ({"offsets": torch.zeros(4)}, "offsets is not a row of integers"),
    "falling offsets": ({"offsets": torch.tensor([0, 9, 4, 12])}, "offsets decrease"),
    "offsets beyond": ({"offsets": torch.tensor([0, 9, 10, 10**9])}, "offsets leave the .* bytes"),
    "offsets before": ({"offsets": torch.tensor([-9, 9, 10, 12])}, "offsets leave the .* bytes"),
    "few offsets": ({"offsets": torch.tensor([0, 9])}, "2 offsets do not fit 3 labels"),
    "no offsets": ({"offsets": torch.zeros(0, dtype=torch.int64)}, "0 offsets do not fit 3 labels"),
    "large label": ({"labels": torch.tensor([0, 1, 2])}, r"label 2 has no name. Its metadata entry classes names 2"),
    "negative label": ({"labels": torch.tensor([0, 1, -1])}, "label -1 has no name"),
    "float labels": ({"labels": torch.zeros(3)}, "labels is not a row of integers"),
    "no classes": ({"classes": None}, "names fewer than two classes"),
    "one class": ({"classes": "cat"}, "names fewer than two classes"),
    "a number": ({"classes": "2"}, "names fewer than two classes"),
    "a table": ({"classes": '{"0": "cat"}'}, "names fewer than two classes"),
    "twins": ({"classes": "cat,dog,cat"}, "names the class 'cat' twice"),
    "class without images": ({"classes": "cat,dog,emu"}, "no readable image for class emu"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, case: str) -> None:
    changes, why = BROKEN[case]
    with pytest.raises(UsageError, match=why):
        load_images(save(tmp_path / "data", **changes), 16)


def test_a_broken_image_in_a_file_is_left_out(tmp_path: Path) -> None:
    parts = [encoded(0), encoded(1)[:200], b"", encoded(3)]
    data = torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8)
    offsets = torch.tensor([0, *map(len, parts)]).cumsum(0)
    path = save(tmp_path / "data", labels=(0, 1, 1, 1), jpeg=data, offsets=offsets)
    found = load_images(path, 16)
    assert found.labels.tolist() == [0, 1]
    assert [reason.partition(":")[0] for reason in found.skipped] == [f"{path}[1]", f"{path}[2]"]


def test_what_is_no_such_file_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "data").write_text(json.dumps({"cat": 1}))
    with pytest.raises(UsageError, match=r"not a safetensors file .* Give a folder of class folders"):
        load_images(str(tmp_path / "data"), 16)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    share=st.floats(0.01, 0.99),
)
def test_a_split_is_disjoint_whole_and_the_same_again(labels: list[int], share: float) -> None:
    images = cases.toy(len(labels), size=4)
    images = type(images)(images.pixels, torch.tensor(labels), images.classes)
    kept, aside = split(images, share)
    again = split(images, share)
    assert torch.equal(kept.pixels, again[0].pixels) and torch.equal(aside.pixels, again[1].pixels)
    both = [value.numpy().tobytes() for part in (kept, aside) for value in part.pixels]
    assert sorted(both) == sorted(value.numpy().tobytes() for value in images.pixels)
    for label in range(3):
        count, held = labels.count(label), aside.labels.tolist().count(label)
        assert held == (0 if count < 2 else min(max(1, round(share * count)), count - 1))


def test_images_that_come_later_move_few_others_between_the_parts() -> None:
    """So a training that goes on from another is not judged by what that was trained on."""
    images = cases.toy(600, size=4)
    early = images.subset(torch.arange(300))
    trained_on = {image.numpy().tobytes() for image in split(early, 0.2)[0].pixels}
    held_out = [image.numpy().tobytes() for image in split(images, 0.2)[1].pixels]
    assert len(held_out) == 120 and sum(image in trained_on for image in held_out) < 20
    turned = split(images.subset(torch.arange(599, -1, -1)), 0.2)[1]
    assert sorted(held_out) == sorted(image.numpy().tobytes() for image in turned.pixels)


def test_of_equal_images_none_is_held_out_while_another_is_trained_on() -> None:
    images = cases.toy(12, size=4, classes=("bird",))
    twice = images.subset(torch.arange(12).repeat(2))
    for share in (0.1, 0.3, 0.5, 0.9):
        parts = [{image.numpy().tobytes() for image in part.pixels} for part in split(twice, share)]
        assert not parts[0] & parts[1] and parts[1]
    for order in ([0, 0, 1], [0, 1, 1], [0] * 9 + [1]):
        assert 0 < len(split(images.subset(torch.tensor(order)), 0.1)[1]) < len(order)
    for many, one in ((0, 1), (1, 0)):  # one of them comes first
        assert len(split(images.subset(torch.tensor([many] * 9 + [one])), 0.1)[1]) == 1, "not nine for one"
    assert len(split(images.subset(torch.zeros(5, dtype=torch.int64)), 0.5)[1]) == 0


def test_held_out_classes_are_known_by_name_in_any_order() -> None:
    held = cases.toy(6, classes=("truck", "bird"))
    found = held.relabelled(cases.CLASSES)
    assert found.labels.tolist() == [2, 0, 2, 0, 2, 0] and found.classes == cases.CLASSES
    with pytest.raises(UsageError, match=r"'emu' is no class of the training data. Its classes are: bird, ship, truck"):
        cases.toy(6, classes=("bird", "emu")).relabelled(cases.CLASSES)
