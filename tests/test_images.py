"""Sources are found in a fixed order, pixels are those that people see, and each kind of bad file is an error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import odd_images
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import RED, WHITE, corners, encoded
from PIL import Image, ImageFile

from bigain_cli.errors import InputError
from bigain_cli.images import Source, decoding, digest, find, read, read_paths

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")
ROOT = Path(__file__).parents[1]


def from_bytes(data: bytes) -> Image.Image:
    return read(Source("-", data=data))


def failure(source: Source) -> InputError:
    with pytest.raises(InputError) as caught:
        read(source)
    return caught.value


def ids(*inputs: str, **options: bool) -> list[str]:
    return [source.id for source in find(inputs, **options)]


def kinds(*inputs: str, **options: bool) -> list[str | None]:
    return [source.error and source.error.kind for source in find(inputs, **options)]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree of (empty) files, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("p/b.jpg", "p/a.PNG", "p/c/d.jpg", "p/c/.h.jpg", "p/.x/y.jpg", "p/B.jpg", "p/note.txt", "q/[1].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_is_scanned_in_the_order_of_bytes(tree: Path) -> None:
    assert ids("p/") == ids("p") == ["p/B.jpg", "p/a.PNG", "p/b.jpg"]
    assert ids("p", recursive=True) == ["p/B.jpg", "p/a.PNG", "p/b.jpg", "p/c/d.jpg"]
    assert ids(str(tree / "p"))[0] == str(tree / "p" / "B.jpg")


def test_a_named_file_is_read_whatever_its_suffix_and_only_once(tree: Path) -> None:
    assert ids("p/note.txt", "p/b.jpg", "p", "p/b.jpg", "./p/b.jpg") == [
        *("p/note.txt", "p/b.jpg", "p/B.jpg", "p/a.PNG", "./p/b.jpg")
    ]


def test_globs_are_sorted_and_a_literal_name_comes_before_a_pattern(tree: Path) -> None:
    assert ids("p/*.jpg") == ["p/B.jpg", "p/b.jpg"]
    assert ids("**/*.jpg") == ids("./**/*.jpg"[2:]) == ["p/B.jpg", "p/b.jpg", "p/c/d.jpg", "q/[1].jpg"]
    assert ids("p/**/*.jpg") == ["p/B.jpg", "p/b.jpg", "p/c/d.jpg"]
    assert ids("p/**") == ["p/B.jpg", "p/a.PNG", "p/b.jpg", "p/c/d.jpg", "p/note.txt"]
    assert ids("**") == ids("**/*") and "p/c/d.jpg" in ids("**")
    assert ids("q/[1].jpg") == ["q/[1].jpg"]
    assert ids("q/[[]1].jp?") == ["q/[1].jpg"]


def test_what_cannot_be_found_keeps_its_place(tree: Path) -> None:
    (tree / "empty").mkdir()
    inputs = ("p/b.jpg", "gone.jpg", "empty", "*.bmp", "", "p/B.jpg", "p/b.jpg/x", "a\0b", "x" * 300)
    assert kinds(*inputs) == [
        None,
        "not-found",
        "no-images",
        "no-match",
        "not-found",
        None,
        "not-found",
        "not-found",
        "not-found",
    ]
    assert ids(*inputs) == list(inputs)
    assert failure(next(find(["gone.jpg"]))).what == "gone.jpg"
    assert str(failure(next(find(["gone.jpg"])))).startswith("gone.jpg: no such file")
    assert "add -0" in str(failure(next(find(["./a.jpg\0./b[1].jpg"]))))


def test_symlink_loops_end(tree: Path) -> None:
    (tree / "p" / "c" / "up").symlink_to("..")
    (tree / "p" / "c" / "self").symlink_to(".")
    (tree / "p" / "other").symlink_to("../q")
    (tree / "q" / "back").symlink_to("../p")
    found = ["p/B.jpg", "p/a.PNG", "p/b.jpg", "p/c/d.jpg", "p/other/[1].jpg"]
    assert ids("p", recursive=True) == found
    assert ids("p/**/*.jpg") == [name for name in found if name.endswith(".jpg")]


def test_a_scan_reports_dangling_links_and_skips_pipes(tree: Path) -> None:
    (tree / "q" / "gone.jpg").symlink_to("nowhere.jpg")
    (tree / "q" / "gone.txt").symlink_to("nowhere.txt")
    (tree / "q" / "itself.jpg").symlink_to("itself.jpg")
    os.mkfifo(tree / "q" / "pipe.jpg")
    assert ids("q") == ids("q", recursive=True) == ["q/[1].jpg", "q/gone.jpg", "q/itself.jpg"]
    error = failure(Source("q/gone.jpg", path="q/gone.jpg"))
    assert (error.kind, error.why) == ("not-found", "a link to nowhere.jpg, which is missing")


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(encoded(corners(), "PNG"),))
    writer.start()
    [source] = find([str(pipe)])
    assert read(source).tobytes() == corners().tobytes()
    writer.join()


def test_stdin_is_one_image() -> None:
    [source] = find(["-", "-"], stdin=io.BytesIO(encoded(corners(), "PNG")))
    assert (source.id, read(source).tobytes()) == ("-", corners().tobytes())
    [nothing] = find(["-"], stdin=io.BytesIO())
    assert failure(nothing).kind == "empty-file"
    assert kinds("-") == ["not-found"]


def test_finding_is_lazy(tree: Path) -> None:
    def inputs():
        yield "p/b.jpg"
        raise AssertionError("read too far")

    assert next(find(inputs())).id == "p/b.jpg"


names = st.binary(min_size=1).filter(lambda name: b"\0" not in name)


@given(st.lists(names))
def test_a_list_with_nul_gives_back_any_names(paths: list[bytes]) -> None:
    for data in (b"".join(path + b"\0" for path in paths), b"\0".join(paths)):
        assert [os.fsencode(path) for path in read_paths(io.BytesIO(data), null=True)] == paths


@given(
    st.lists(names.filter(lambda name: name.strip() and not {10, 13} & set(name))),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
)
def test_a_list_of_lines_gives_back_names_without_line_ends(paths: list[bytes], end: bytes) -> None:
    assert [os.fsencode(path) for path in read_paths(io.BytesIO(end.join(paths)))] == paths


def test_a_list_of_lines_may_begin_with_a_byte_order_mark() -> None:
    assert list(read_paths(io.BytesIO(b"\xef\xbb\xbfa.png\r\n\xef\xbb\xbfb.png\r\n"))) == ["a.png", "\ufeffb.png"]


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("buffered", [False, True])
def test_a_listed_path_is_yielded_as_soon_as_it_ends(null: bool, buffered: bool) -> None:
    out, into = os.pipe()
    with os.fdopen(out, "rb", -1 if buffered else 0) as stream, os.fdopen(into, "wb", 0) as writer:
        paths = read_paths(stream, null)
        for name in (b"a.jpg", b"b c.jpg"):
            writer.write(name + (b"\0" if null else b"\n"))
            assert next(paths) == name.decode()  # would hang if it waited for more
        writer.write(b"last")
        writer.close()
        assert list(paths) == ["last"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    stored = from_bytes(odd_images.oriented(1))
    where = {  # where the red and the blue corner of the stored image go
        1: ((0, 0), (1, 0)),
        2: ((1, 0), (0, 0)),
        3: ((1, 1), (0, 1)),
        4: ((0, 1), (1, 1)),
        5: ((0, 0), (0, 1)),
        6: ((1, 0), (1, 1)),
        7: ((1, 1), (1, 0)),
        8: ((0, 1), (0, 0)),
    }[orientation]
    upright = from_bytes(odd_images.oriented(orientation))
    for corner, place in zip(((0, 0), (1, 0)), where, strict=True):
        colour = stored.getpixel((corner[0] * 12 + 2, corner[1] * 12 + 2))
        assert upright.getpixel((place[0] * 12 + 2, place[1] * 12 + 2)) == colour
    assert stored.getpixel((2, 2))[0] > 200 > stored.getpixel((14, 2))[0]
    assert upright.info == {}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_exif_orientation_is_undone_in_every_mode(mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = odd_images.busy(8).crop((0, 0, 8, 5)).convert("L").convert(mode)
    plain, turned = from_bytes(encoded(stored, "PNG")), from_bytes(encoded(stored, "PNG", exif=exif))
    assert turned.tobytes() == plain.transpose(Image.Transpose.ROTATE_270).tobytes()
    assert turned.size == (5, 8)


def solid(mode: str, colour: object, kind: str = "PNG", **options: object) -> tuple[int, ...]:
    """Return the colour in which a plain image arrives."""
    image = from_bytes(encoded(Image.new(mode, (4, 4), colour), kind, **options))
    assert image.mode == "RGB"
    assert len(image.getcolors()) == 1
    return image.getpixel((0, 0))


@pytest.mark.parametrize(
    ("mode", "colour", "options", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), {}, WHITE),
        ("RGBA", (0, 0, 0, 128), {}, (127, 127, 127)),
        ("LA", (90, 0), {}, WHITE),
        ("LA", (0, 204), {}, (51, 51, 51)),
        ("RGB", (1, 2, 3), {"transparency": (1, 2, 3)}, WHITE),
        ("RGB", (1, 2, 3), {"transparency": (1, 2, 4)}, (1, 2, 3)),
        ("L", 7, {"transparency": 7}, WHITE),
        ("1", 0, {"transparency": 0}, WHITE),
        ("1", 1, {}, WHITE),
        ("1", 0, {}, (0, 0, 0)),
        ("I;16", 65535, {}, WHITE),
        ("I;16", 32768, {}, (128, 128, 128)),
        ("I;16", 257 * 40, {}, (40, 40, 40)),
        ("I;16", 300, {}, (1, 1, 1)),
        ("I;16", 300, {"transparency": 300}, WHITE),
        ("I;16", 300, {"transparency": 301}, (1, 1, 1)),
    ],
)
def test_transparency_is_white_and_wide_grey_is_scaled(mode, colour, options, expected) -> None:
    assert solid(mode, colour, **options) == expected


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("I;16", 257 * 99, "TIFF", (99, 99, 99)),
        ("I;16B", 257 * 99, "TIFF", (99, 99, 99)),
        ("I", 65535, "TIFF", WHITE),
        ("I", 65535, "PPM", WHITE),
        ("F", 0.2, "TIFF", (51, 51, 51)),
        ("F", 51.0, "TIFF", (51, 51, 51)),
        ("CMYK", (0, 255, 255, 0), "TIFF", RED),
        ("YCbCr", (76, 85, 255), "JPEG", (254, 0, 0)),
        ("LAB", (255, 128, 128), "TIFF", WHITE),
        ("LAB", (0, 128, 128), "TIFF", (0, 0, 0)),
        ("RGBA", (0, 0, 255, 0), "WEBP", WHITE),
    ],
)
def test_other_colour_spaces_arrive_as_rgb(mode, colour, kind, expected) -> None:
    assert all(abs(a - b) <= 1 for a, b in zip(solid(mode, colour, kind), expected, strict=True))


def test_integers_beyond_sixteen_bits_are_stretched() -> None:
    image = Image.new("I", (2, 1))
    image.putdata([-70_000, 70_000])
    assert list(from_bytes(encoded(image, "TIFF")).tobytes()) == [0, 0, 0, 255, 255, 255]


def test_floats_that_are_not_finite_are_an_error() -> None:
    error = failure(Source("x.tif", data=encoded(Image.new("F", (2, 2), float("inf")), "TIFF")))
    assert (error.kind, error.why) == ("unreadable-image", "broken TIFF (its pixel values are not finite)")


@pytest.mark.parametrize("transparency", [bytes([255, 0]), 1])
def test_a_palette_with_transparency_is_pasted_on_white(transparency: bytes | int) -> None:
    image = from_bytes(encoded(odd_images.palette_with_alpha(), "PNG", transparency=transparency))
    assert (image.getpixel((0, 0)), image.getpixel((7, 7))) == (RED, WHITE)


def test_only_the_first_frame_is_read() -> None:
    assert from_bytes(odd_images.animated()).getcolors() == [(64, RED)]


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    image = from_bytes(encoded(corners().convert("CMYK"), "JPEG", quality=95))
    assert all(abs(a - b) < 12 for a, b in zip(image.getpixel((2, 2)), RED, strict=True))
    assert all(abs(a - b) < 12 for a, b in zip(image.getpixel((13, 13)), WHITE, strict=True))


def test_broken_exif_does_not_change_the_pixels() -> None:
    plain = from_bytes(encoded(corners(), "JPEG"))
    assert from_bytes(encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).tobytes() == plain.tobytes()


FORMATS = {
    "JPEG": {},
    "progressive": {"format": "JPEG", "progressive": True},
    "PNG": {},
    "GIF": {},
    "WEBP": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "PPM": {},
    "JPEG2000": {},
    "codestream": {"format": "JPEG2000", "no_jp2": True},
    "AVIF": {},
}


def sample(name: str) -> bytes:
    options = dict(FORMATS[name])
    return encoded(odd_images.busy(24), options.pop("format", name), **options)


@given(st.sampled_from(sorted(FORMATS)), st.floats(0, 1, exclude_max=True))
def test_a_cut_file_never_passes_with_other_pixels(name: str, share: float) -> None:
    data = sample(name)
    whole = from_bytes(data).tobytes()
    try:
        assert from_bytes(data[: int(share * len(data))]).tobytes() == whole
    except InputError as error:
        assert error.kind in {"truncated-image", "empty-file", "not-an-image", "unreadable-image"}


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_file_is_an_image_or_an_input_error(name: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(sample(name))
    for place, value in damage:
        data[int(place * len(data))] = value
    try:
        assert from_bytes(bytes(data)).mode == "RGB"
    except InputError as error:
        assert "object at 0x" not in str(error)
        assert "\n" not in str(error)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_image_or_an_input_error(data: bytes) -> None:
    assert failure(Source("x", data=data)).what == "x"


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_after_its_signature_is_truncated(name: str) -> None:
    data = sample(name)
    for size in (34, 60, *range(100, 140)):  # in a codestream some of these decode, to nothing
        assert failure(Source("x", data=data[:size])).kind == "truncated-image", size


def test_the_error_of_a_truncated_jpeg_names_its_size() -> None:
    data = encoded(corners(64), "JPEG")[:700]
    error = failure(Source("broken.jpg", data=data))
    assert str(error) == "broken.jpg: truncated JPEG (file ends after 700 bytes). Copy or download it again"


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (b"hello\n", "not-an-image", "not an image but text"),
        (b"\n<html>", "not-an-image", "not an image but a web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not-an-image", "not an image but text"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "not-an-image", "not an image but a HEIC image, which is not supported"),
        (bytes(100), "not-an-image", "not an image but data of an unknown kind"),
        (
            odd_images.png_header(50_000, 50_000),
            "decompression-bomb",
            "a PNG of more than 178956970 pixels, maybe a decompression bomb",
        ),
        (odd_images.png_header(0, 4), "unreadable-image", "broken PNG (its header cannot be read)"),
        (b"", "empty-file", "the file is empty (0 bytes)"),
    ],
)
def test_each_kind_of_bad_bytes_has_its_error(data: bytes, kind: str, why: str) -> None:
    error = failure(Source("x.jpg", data=data))
    assert (error.kind, error.why) == (kind, why)


def test_more_pixels_than_the_limit_are_an_error_and_fewer_cause_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LIMIT", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solid("RGB", RED) == RED
        assert from_bytes(encoded(Image.new("1", (40, 25)), "PNG")).size == (40, 25)  # Pillow would warn from 501 on
    assert failure(Source("x", data=encoded(Image.new("1", (40, 26)), "PNG"))).kind == "decompression-bomb"


def test_pillow_is_strict_only_while_an_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert failure(Source("x", data=sample("JPEG")[:-200])).kind == "truncated-image"
    assert failure(Source("x", data=odd_images.png_header(50_000, 50_000))).kind == "decompression-bomb"
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, None)


def test_nothing_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    bits = encoded(corners(64).convert("1"), "TIFF", compression="group4")
    damaged = [bits[:90] + bytes([value]) * 20 + bits[110:] for value in range(0, 256, 5)]
    for data in [*damaged, sample("TIFF")[:60]]:
        with contextlib.suppress(InputError):
            from_bytes(data)
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    assert failure(Source("x.jpg", path=str(tmp_path))).kind == "is-a-folder"


def test_the_digest_depends_on_the_pixels_and_the_shape() -> None:
    image = Image.effect_noise((70, 130), 50).convert("RGB")
    changed = image.copy()
    changed.putpixel((69, 129), tuple(255 - value for value in image.getpixel((69, 129))))
    same = from_bytes(encoded(image, "PNG"))
    wide, tall = Image.new("RGB", (2, 8)), Image.new("RGB", (8, 2))
    assert digest(image) == digest(same)
    assert len({digest(each) for each in (image, changed, wide, tall)}) == 4


SCAN = """
import json, sys
from bigain_cli.errors import InputError
from bigain_cli.images import find, read
for source in find([sys.argv[1]]):
    try:
        read(source)
        kind = None
    except InputError as error:
        kind = error.kind
        assert str(error).startswith(source.id + ": "), error
    print(json.dumps([source.id, kind]))
"""


def test_a_folder_of_odd_files(tmp_path: Path) -> None:
    powers = odd_images.without_root_powers()
    if powers is None:
        pytest.skip("runs as root, and setpriv is not there to take its powers away")
    expected = odd_images.make_odd_folder(tmp_path / "odd")
    command = [*powers, sys.executable, "-W", "error", "-c", SCAN, "odd"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.stderr == b""
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _ in records] == [f"odd/{name}" for name in sorted(expected, key=os.fsencode)]
    assert {name.removeprefix("odd/"): kind for name, kind in records} == expected
    assert len(records) >= 20


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    powers = odd_images.without_root_powers()
    if powers is None:
        pytest.skip("runs as root, and setpriv is not there to take its powers away")
    (tmp_path / "closed").mkdir(mode=0)
    command = [*powers, sys.executable, "-c", SCAN, "closed"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
    assert json.loads(done.stdout) == ["closed", "permission-denied"]


def test_the_rooms_without_tensors_import_neither_torch_nor_numpy() -> None:
    modules = [
        "images",
        "labels",
        "outputs",
        "outputs.json",
        "outputs.csv_tsv",
        "outputs.table",
        "outputs.whole_files",
        "outputs.resume",
    ]
    code = f"import sys, {', '.join(f'bigain_cli.{name}' for name in modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"torch", "numpy", "PIL", "rich"} & set(done.stdout.split())
    assert "bigain_cli.outputs.table" in done.stdout.split()
