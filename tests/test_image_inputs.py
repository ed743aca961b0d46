"""An image may be given as a path, bytes, a PIL image, an array or a tensor, alone or among others."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bigain_cli as bigain
from bigain_cli.errors import UsageError
from bigain_cli.images import LoadedImage, Source, read_or_error, sources_of

SIZE = (7, 5)  # width, height
LABELS = ["red", "green", "blue"]


@pytest.fixture
def image() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (*reversed(SIZE), 3), dtype=np.uint8)
    return Image.fromarray(noise)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def forms(image: Image.Image) -> dict[str, object]:
    """Return the same image in every form that has no name."""
    array = np.asarray(image)
    flipped = np.ascontiguousarray(array[::-1])
    return {
        "PIL": image,
        "bytes": png(image),
        "bytearray": bytearray(png(image)),
        "array": array,
        "view": flipped[::-1],  # with a negative stride
        "tensor": torch.from_numpy(array.copy()),
        "permuted": torch.from_numpy(array.transpose(2, 0, 1).copy()).permute(1, 2, 0),
    }


FORMS = tuple(forms(Image.new("RGB", SIZE)))


def prepared(images: object) -> list[LoadedImage]:
    found = [read_or_error(source) for source in sources_of(images)]
    assert all(isinstance(each, LoadedImage) for each in found)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_is_the_same_image(form: str, image: Image.Image) -> None:
    given = forms(image)[form]
    [alone], [listed], [named] = prepared(given), prepared([given]), prepared([("cat.png", given)])
    assert [each.id for each in (alone, listed, named)] == ["image", "image-0", "cat.png"]
    [expected] = prepared(image)
    for each in (alone, listed, named):
        assert each.image.mode == "RGB"
        assert (each.image.size, each.image.tobytes(), each.digest) == (SIZE, image.tobytes(), expected.digest)


def unusual(kind: str, path: Path) -> Path:
    """Write a file whose image has to be turned, pasted on white or scaled."""
    noise = np.random.default_rng(1).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    if kind == "sideways":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(noise[..., :3]).save(path.with_suffix(".jpg"), exif=exif)
        return path.with_suffix(".jpg")
    if kind == "sideways TIFF":
        Image.fromarray(noise[..., :3]).save(path.with_suffix(".tif"), tiffinfo={0x0112: 6})
        return path.with_suffix(".tif")
    wide = noise[..., 0].astype(np.uint16) * 200
    shown = {
        "transparent": Image.fromarray(noise, "RGBA") if kind == "transparent" else None,
        "16 bits": Image.fromarray(wide),
        "palette": Image.fromarray(noise[..., :3]).quantize(8),
        "grey": Image.fromarray(noise[..., 0]),
    }[kind]
    assert shown is not None
    shown.save(path.with_suffix(".png"))
    return path.with_suffix(".png")


@pytest.mark.parametrize("kind", ["sideways", "sideways TIFF", "transparent", "16 bits", "palette", "grey"])
def test_an_opened_image_is_that_of_its_file_and_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    path = unusual(kind, tmp_path / "a")
    with Image.open(path) as opened:
        before = opened.mode, opened.size, opened.tobytes()
        [of_file], [of_image] = prepared(path), prepared(opened)
        assert of_image.image.mode == "RGB" and of_image.image.size == of_file.image.size
        assert of_image.digest == of_file.digest
        assert (opened.mode, opened.size, opened.tobytes()) == before


def test_of_an_image_that_was_made_of_another_nothing_is_believed_but_its_pixels(tmp_path: Path) -> None:
    path = unusual("sideways", tmp_path / "a")
    with Image.open(path) as opened:
        turned = opened.rotate(-90, expand=True)  # by the caller; it keeps the note that it lies on its side
    [found] = prepared(turned)
    assert found.image.size == turned.size and found.image.tobytes() == turned.convert("RGB").tobytes()
    outline = Image.new("P", SIZE)
    outline.putpalette([0, 0, 0, 255, 0, 0])
    outline.info["transparency"] = 0
    made = outline.convert("RGB")
    [found] = prepared(made)
    assert found.image.tobytes() == made.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_opened_image_that_is_damaged_is_no_half_image(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **({"compression": "tiff_lzw"} if suffix == ".tif" else {}))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\x00" * 400
    path.write_bytes(content)
    with Image.open(path) as opened:
        [found] = [read_or_error(source) for source in sources_of(opened)]
    assert not isinstance(found, LoadedImage)


def test_forms_may_be_mixed_and_keep_their_order(image: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(image))
    others = forms(image)
    mixed = [path, others["array"], str(path), others["bytes"], ("named", path), Source("s", data=others["bytes"])]
    found = prepared(mixed)
    assert [each.id for each in found] == [str(path), "image-1", str(path), "image-3", "named", "s"]
    assert len({each.digest for each in found}) == 1
    assert [each.id for each in prepared(path)] == [str(path)]


def test_many_images_are_consumed_lazily(image: Image.Image) -> None:
    endless = sources_of(np.asarray(image) for _ in itertools.count())
    assert [next(endless)[0] for _ in range(3)] == ["image-0", "image-1", "image-2"]


def test_an_array_may_change_after_it_was_read(image: Image.Image) -> None:
    frame = np.array(image)
    [found] = prepared(frame)
    frame[:] = 0
    assert found.image.tobytes() == image.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_the_record_does_not_depend_on_the_form(form: str, image: Image.Image) -> None:
    backbone = bigain.load("colours")
    one, other = (next(bigain.classify(backbone, given, LABELS)).to_dict(None) for given in (image, forms(image)[form]))
    assert json.dumps(one) == json.dumps(other)


def test_an_array_alone_and_arrays_in_a_list_are_classified() -> None:
    backbone = bigain.load("colours")
    arrays = [np.full((8, 8, 3), colour, np.uint8) for colour in ((220, 20, 20), (20, 20, 220))]
    assert [each.label for each in bigain.classify(backbone, arrays, LABELS)] == ["red", "blue"]
    assert [each.label for each in bigain.classify(backbone, arrays[1], LABELS)] == ["blue"]


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((8, 8, 3), "float32"),
        ((8, 8, 3), "int64"),
        ((8, 8, 3), "bool"),
        ((3, 8, 8), "uint8"),
        ((8, 8, 4), "uint8"),
        ((8, 8, 1), "uint8"),
        ((8, 8), "uint8"),
        ((2, 8, 8, 3), "uint8"),
        ((0, 8, 3), "uint8"),
        ((), "uint8"),
    ],
)
def test_other_arrays_are_refused_with_their_type_and_shape(shape: tuple[int, ...], dtype: str, tensor: bool) -> None:
    array = np.zeros(shape, dtype)
    given = torch.from_numpy(array) if tensor else array
    for images, name in ((given, "image"), ([given], "image-0"), ([("cat", given)], "cat")):
        with pytest.raises(UsageError) as caught:
            list(sources_of(images))
        assert (caught.value.what, caught.value.why) == (name, f"an array of {dtype} and shape {shape} is not an image")
        assert caught.value.hint.startswith("Images are uint8 arrays of height × width × 3 (RGB)")


@pytest.mark.parametrize(
    ("images", "name", "kind"),
    [(3, "images", "int"), (None, "images", "NoneType"), ([3], "image-0", "int"), ([("a", [1])], "a", "list")],
)
def test_what_is_not_an_image_is_refused(images: object, name: str, kind: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(sources_of(images))
    assert (caught.value.what, caught.value.why) == (name, f"{kind} is not a kind of image")
    assert "paths, bytes, PIL images, uint8 arrays" in caught.value.hint


def test_one_pair_of_an_id_and_an_image_in_memory_is_one_image(image: Image.Image, tmp_path: Path) -> None:
    for given in forms(image).values():
        [found] = prepared(("cat.png", given))
        assert (found.id, found.image.tobytes()) == ("cat.png", image.tobytes())
    paths = tuple(str(tmp_path / name) for name in ("a.png", "b.png"))
    for path in paths:
        Path(path).write_bytes(png(image))
    assert [each.id for each in prepared(paths)] == list(paths), "two paths are two images"
    assert len(prepared((np.asarray(image), image))) == 2


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (io.BytesIO(b"line\nline\n"), "Give the bytes of the file: file.read()."),
        ({"a": b"bytes"}, "Give (id, image) pairs: images.items()."),
    ],
)
def test_files_and_mappings_are_refused_with_what_to_give_instead(given: object, hint: str) -> None:
    for images, name in ((given, "images"), ([given], "image-0"), ([("a", given)], "a")):
        with pytest.raises(UsageError) as caught:
            list(sources_of(images))
        assert (caught.value.what, caught.value.hint) == (name, hint)


def test_an_id_is_a_text(image: Image.Image) -> None:
    with pytest.raises(UsageError, match=r"image-1: its id is not a text but int. Give str\(id\)."):
        list(sources_of([("a", image), (1, image)]))


def test_broken_bytes_fail_that_image_and_no_other(image: Image.Image) -> None:
    broken, whole = bigain.classify(bigain.load("colours"), [b"text", png(image)], LABELS)
    assert (broken.id, broken.kind) == ("image-0", "not-an-image")
    assert (whole.id, whole.to_dict()["draws"] > 0) == ("image-1", True)


def test_images_are_recognised_without_importing_numpy_or_torch(tmp_path: Path, image: Image.Image) -> None:
    (tmp_path / "a.png").write_bytes(png(image))
    code = (
        "import sys; from pathlib import Path; from bigain_cli.images import read_or_error, sources_of\n"
        f"path = Path({str(tmp_path / 'a.png')!r})\n"
        "assert len([read_or_error(each) for each in sources_of([path, path.read_bytes()])]) == 2\n"
        "sys.exit(len({'numpy', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
