"""What `evaluate` reads: folders, files, torchvision's datasets, COCO; and what it chooses of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from bigain_cli.datasets.dataset import Case, Dataset, choose, labels_for
from bigain_cli.datasets.known_datasets import DATASETS
from bigain_cli.datasets.opening import open_dataset
from bigain_cli.errors import UsageError
from bigain_cli.images import Source
from bigain_cli.labels import presets, read_labels


def image(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def dataset(
    classes: tuple[str, ...] = ("cat", "dog"), count: int = 6, multilabel: bool = False, preset: str = ""
) -> Dataset:
    """Make a dataset of cases that are never opened."""
    cases = [Case(str(n), (n % len(classes),), lambda: Source("")) for n in range(count)]
    return Dataset("dataset", classes, cases, preset, multilabel)


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/deep/b.png", "dog/c.png", "stray.png"):
        image(tmp_path / name)
    found = open_dataset(str(tmp_path))
    assert found.classes == ("cat", "dog") and [case.truth for case in found.cases] == [(0,), (0,), (1,)]
    assert [Path(case.id).name for case in found.cases] == ["a.png", "b.png", "c.png"]
    assert len(found.unlabelled) == 1 and "stray.png" in found.unlabelled[0]
    source = found.cases[0].opened()
    assert isinstance(source, Source) and source.path == str(tmp_path / "cat/a.png")


def test_a_safetensors_file(tmp_path: Path) -> None:
    data = image(tmp_path / "x.png").read_bytes()
    tensors = {
        "jpeg": torch.frombuffer(bytearray(data * 2), dtype=torch.uint8),
        "offsets": torch.tensor([0, len(data), 2 * len(data)]),
        "labels": torch.tensor([1, 0]),
    }
    save_file(tensors, tmp_path / "d.safetensors", {"classes": "cat,dog"})
    found = open_dataset(str(tmp_path / "d.safetensors"))
    assert [case.truth for case in found.cases] == [(1,), (0,)]
    source = found.cases[1].opened()
    assert isinstance(source, Source) and source.data == data


def pets(root: Path) -> None:
    lines = []
    for number, name in enumerate(("Abyssinian", "american_bulldog"), 1):
        image(root / f"oxford-iiit-pet/images/{name}_1.jpg", number)
        lines.append(f"{name}_1 {number} {number} 1")
    annotations = root / "oxford-iiit-pet/annotations"
    annotations.mkdir()
    (annotations / "test.txt").write_text("\n".join(lines))


def food(root: Path) -> None:
    home = root / "food-101"
    (home / "meta").mkdir(parents=True)
    files = {"apple_pie": ["apple_pie/1"], "waffles": ["waffles/2"]}
    (home / "meta/test.json").write_text(json.dumps(files))
    for names in files.values():
        image(home / f"images/{names[0]}.jpg")


def eurosat(root: Path) -> None:
    for name in ("AnnualCrop", "SeaLake"):
        image(root / f"eurosat/2750/{name}/1.jpg")


@pytest.mark.parametrize("make", [pets, food, eurosat])
def test_torchvision_datasets_are_read_from_their_folders(tmp_path: Path, make: Any) -> None:
    make(tmp_path)
    found = open_dataset(f"{make.__name__.replace('food', 'food101')}:{tmp_path}")
    assert [case.truth for case in found.cases] == [(0,), (1,)]
    opened = found.cases[1].opened()
    assert isinstance(opened, tuple) and opened[1].size == (24, 20)


def test_a_broken_image_of_a_known_dataset_is_an_error_of_its_own(tmp_path: Path) -> None:
    eurosat(tmp_path)
    (tmp_path / "eurosat/2750/SeaLake/1.jpg").write_bytes(b"nothing")
    opened = open_dataset(f"eurosat:{tmp_path}").cases[1].opened()
    assert isinstance(opened, Source) and opened.error is not None and opened.error.kind == "unreadable-image"


def test_a_torn_image_is_an_error_of_its_own_even_where_it_is_decoded_later(tmp_path: Path) -> None:
    for name in ("accordion", "emu", "BACKGROUND_Google"):
        image(tmp_path / f"caltech101/101_ObjectCategories/{name}/image_0001.jpg")
    torn = tmp_path / "caltech101/101_ObjectCategories/emu/image_0001.jpg"
    torn.write_bytes(torn.read_bytes()[:-200])
    good, bad = (case.opened() for case in open_dataset(f"caltech101:{tmp_path}").cases)
    assert isinstance(good, tuple) and isinstance(bad, Source) and "truncated" in str(bad.error)
    (tmp_path / "caltech101/101_ObjectCategories/BACKGROUND_Google/image_0001.jpg").unlink()
    (tmp_path / "caltech101/101_ObjectCategories/BACKGROUND_Google").rmdir()
    with pytest.raises(UsageError, match=r"caltech101:.*: not found in"):
        open_dataset(f"caltech101:{tmp_path}")


def test_a_class_without_images_is_reported_and_is_no_image(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        image(tmp_path / name / "1.png")
    (tmp_path / "emu").mkdir()
    found = open_dataset(str(tmp_path))
    assert len(found.cases) == 2 and found.classes == ("cat", "dog", "emu")
    assert len(found.unlabelled) == 1 and found.unlabelled[0].startswith(f"{tmp_path / 'emu'}: no image file")


def test_imagenet_is_a_folder_of_numbered_class_folders(tmp_path: Path) -> None:
    for number in range(100):
        image(tmp_path / f"val/n{number:08d}/1.png")
    found = open_dataset(f"imagenet100:{tmp_path}")
    labels, label_of_class = labels_for(found, None)
    names = [label.name for label in read_labels("imagenet100", presets()).labels]
    assert [label.name for label in labels.labels] == names and label_of_class == tuple(names)
    with pytest.raises(UsageError, match="100 class folders; wanted are 1000"):
        open_dataset(f"imagenet:{tmp_path}")


def coco(root: Path) -> None:
    (root / "annotations").mkdir()
    kinds = [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}]
    things = [
        {"image_id": 1, "category_id": 18},
        {"image_id": 1, "category_id": 17},
        {"image_id": 1, "category_id": 18},
    ]
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}]
    text = json.dumps({"images": images, "annotations": things, "categories": kinds})
    (root / "annotations/instances_val2017.json").write_text(text)


def test_coco_images_have_several_classes_or_none(tmp_path: Path) -> None:
    coco(tmp_path)
    found = open_dataset(f"coco:{tmp_path}")
    assert found.multilabel and found.classes == ("cat", "dog")
    assert [case.truth for case in found.cases] == [(0, 1), ()]
    assert found.cases[0].id.endswith("val2017/1.jpg")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such folder or file"),
        ("petz:x", "no dataset is called petz. Did you mean pets"),
        ("pets:", "names no folder"),
        ("pets:nowhere", "no folder nowhere. Add --download"),
        ("imagenet:nowhere", "no such folder"),
        ("coco:.", "cannot be read"),
    ],
)
def test_what_is_missing_is_an_error_with_a_hint(name: str, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_dataset(name)


def test_an_unpacked_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pets:.*: not found in .*. Add --download"):
        open_dataset(f"pets:{tmp_path}")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text('{"images": 3}')
    with pytest.raises(UsageError, match="not COCO's list"):
        open_dataset(f"coco:{tmp_path}")


@pytest.mark.parametrize("name", ["imagenet:.", "coco:.", "somewhere"])
def test_only_what_can_be_fetched_is(name: str) -> None:
    with pytest.raises(UsageError, match="download"):
        open_dataset(name, download=True)


def test_every_dataset_of_the_registry_has_a_preset_and_a_class_in_torchvision() -> None:
    import torchvision.datasets as known

    for name, entry in DATASETS.items():
        assert name in presets()
        if entry.torchvision:
            assert hasattr(known, entry.torchvision)


def test_presets_number_classes_as_torchvision_does() -> None:
    """Where torchvision's names are known without the data, they are the preset's, in its order."""
    from torchvision.datasets import Flowers102

    names = [label.name for label in read_labels("flowers102", presets()).labels]
    alike = sum(a.casefold() == b.casefold() for a, b in zip(names, Flowers102.classes, strict=True))
    assert len(names) == 102 and alike >= 80


@settings(max_examples=50)
@given(count=st.integers(1, 40), limit=st.integers(1, 50), seed=st.integers(-5, 5))
def test_fewer_images_are_the_first_of_more(count: int, limit: int, seed: int) -> None:
    whole = dataset(count=count)
    chosen = [case.id for case in choose(whole, limit, None, seed).cases]
    more = [case.id for case in choose(whole, limit + 3, None, seed).cases]
    assert len(set(chosen)) == min(limit, count) and chosen == more[: len(chosen)]


def test_so_many_of_each_class_and_the_limit_cuts_them_alike() -> None:
    whole = dataset(("a", "b", "c"), 30)
    chosen = choose(whole, None, 4, 0)
    assert sorted(case.truth[0] for case in chosen.cases) == [0] * 4 + [1] * 4 + [2] * 4
    cut = choose(whole, 6, 4, 0)
    assert sorted(case.truth[0] for case in cut.cases) == [0, 0, 1, 1, 2, 2]
    assert [case.id for case in cut.cases] == [case.id for case in chosen.cases][:6]
    assert [case.id for case in choose(whole, 6, None, 1).cases] != [
        case.id for case in choose(whole, 6, None, 2).cases
    ]
    with pytest.raises(UsageError, match="several classes"):
        choose(dataset(multilabel=True), None, 2, 0)
    with pytest.raises(UsageError, match="no image"):
        choose(dataset(count=0), None, None, 0)


def test_labels_are_matched_by_name_whatever_the_case_and_the_spaces() -> None:
    labels, label_of_class = labels_for(dataset(("Great_Dane", "tabby-cat")), "tabby cat,great dane,emu")
    assert label_of_class == ("great dane", "tabby cat") and len(labels.labels) == 3
    labels, label_of_class = labels_for(dataset(("Great_Dane", "cat")), None)
    assert label_of_class == ("Great_Dane", "cat") == tuple(label.name for label in labels.labels)
    assert labels_for(dataset(("red", "blue")), "red,Red,blue")[1] == ("red", "blue")
    with pytest.raises(UsageError, match="'Red' and 'RED' could both be the class 'red'"):
        labels_for(dataset(("red", "blue")), "Red,RED,blue")
    with pytest.raises(UsageError, match=r"no label for the class 'dog'.*"):
        labels_for(dataset(), "cat,dogs")


@pytest.mark.parametrize("name", ["", " ", "\t", "a\0b", "\udcff", 3])
def test_a_class_without_a_name_that_can_be_read_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="has no name that can be read"):
        Dataset("x", ("cat", name), [])


def test_a_class_folder_without_a_name_is_refused(tmp_path: Path) -> None:
    for name in ("cat/a.png", " /b.png"):
        image(tmp_path / name)
    with pytest.raises(UsageError, match="has no name that can be read"):
        open_dataset(str(tmp_path))


ROW = torch.tensor([0, 1, 2])
WRONG: list[dict[str, torch.Tensor]] = [
    {"offsets": torch.tensor(3)}, {"offsets": ROW[None]}, {"offsets": ROW.to(torch.complex64)}, {"offsets": ROW.bool()},
    {"offsets": ROW.double()}, {"offsets": ROW[:0]}, {"offsets": ROW.flip(0)}, {"offsets": ROW - 1},
    {"offsets": ROW * 2},
    {"labels": torch.tensor(1)}, {"labels": ROW[:2].to(torch.complex64)}, {"labels": ROW[:2][None]}, {"labels": ROW},
    {"labels": ROW[:2] + 1}, {"labels": ROW[:2] - 1}, {"jpeg": torch.tensor(1, dtype=torch.uint8)},
    {"jpeg": torch.zeros(2, 2, dtype=torch.uint8)}, {"jpeg": torch.zeros(2)},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_tensors_that_are_no_images_with_labels_are_refused(tmp_path: Path, wrong: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "d.safetensors"
    whole = {"jpeg": torch.zeros(2, dtype=torch.uint8), "offsets": ROW, "labels": ROW[:2].clone()}
    save_file(whole, path, {"classes": "cat,dog"})
    assert len(open_dataset(str(path)).cases) == 2
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in (whole | wrong).items()}, path, {"classes": "cat,dog"}
    )
    with pytest.raises(UsageError, match=r"d\.safetensors: .*(row|fit|decrease|leave|has no name)"):
        open_dataset(str(path))


@pytest.mark.parametrize("classes", ["[" * 100_000, "cat,,dog", "cat", "", ",", '{"a": 1}', "9" * 5000, '["", "b"]'])
def test_class_names_of_others_are_names_or_refused(tmp_path: Path, classes: str) -> None:
    path = tmp_path / "d.safetensors"
    save_file(
        {"jpeg": torch.zeros(2, dtype=torch.uint8), "offsets": ROW, "labels": ROW[:2].clone()},
        path,
        {"classes": classes},
    )
    with pytest.raises(UsageError, match=r"d\.safetensors: names (fewer than two classes|a class with nothing)"):
        open_dataset(str(path))


def test_a_pipe_is_no_dataset(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a folder nor a file"):
        open_dataset(str(tmp_path / "pipe"))
