"""Figures are saved in their folder whatever the ids are, and a missing library is reported before any work."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from commands import LABELS, image
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image

import bigain_cli as bigain
from bigain_cli.classification.ranking import EvidenceMap, ImageEvidence, RankedLabel, Ranking
from bigain_cli.cli.app import run_command_line
from bigain_cli.errors import UsageError
from bigain_cli.outputs import plotting
from bigain_cli.outputs.file_names import file_name
from bigain_cli.outputs.heatmap_figure import heatmap_figure, save_heatmap
from bigain_cli.outputs.plotting import DIVERGING, rendered, require_plotting, title_text, transparent_colours
from bigain_cli.outputs.whole_files import make_folder, save_file

IDS = [
    "a.jpg",
    "../../etc/passwd",
    "/tmp/a.jpg",
    "b/a.jpg",
    "c/a.jpg",
    "-",
    ".hidden",
    "a\n.jpg",
    "né\udce9.png",
    "",
    "..",
]


def ranking(name: str = "a.jpg", winner: str = "cat", maps: int = 2) -> Ranking:
    generator = np.random.default_rng(0)
    seen = [EvidenceMap(against, 0.1, 8, generator.normal(size=(8, 12))) for against in ("dog $x_", None)][:maps]
    ranked = (RankedLabel(winner, 0.9, -0.1, 8), RankedLabel("dog $x_", 0.1, -0.2, 8, False, 0.1, 0.01, 0.05))
    return Ranking(
        name,
        ranked,
        True,
        0.1,
        (0.05, 0.15),
        8,
        16,
        evidence=ImageEvidence(Image.new("RGB", (96, 64), "teal"), tuple(seen)),
    )


@given(st.lists(st.text(max_size=30), unique=True, max_size=6))
def test_names_are_safe_and_different(ids: list[str]) -> None:
    names = [file_name(each, ".png") for each in [*IDS, *(each for each in ids if each not in IDS)]]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(name).name == name and not name.startswith(".") and len(name.encode()) < 256 and name.isprintable()


def test_plain_names_stay_and_others_get_a_digest() -> None:
    assert file_name("cat.jpg", ".png") == "cat.jpg.png"
    assert file_name("photos/cat.jpg", ".png").startswith("cat-")
    assert file_name("cat-0123456789ab", ".png") != "cat-0123456789ab.png", "it could be another name's digest"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\n.jpg", "né\udce9.png"])
def test_a_figure_is_saved_inside_its_folder(name: str, tmp_path: Path) -> None:
    saved = save_heatmap(make_folder(str(tmp_path / "deep" / "maps")), ranking(name, "<b>$\\frac$\x1b[0m"))
    assert saved is not None and saved.parent == tmp_path / "deep" / "maps"
    with Image.open(saved) as image:
        assert image.format == "PNG" and image.width > 1.5 * image.height
    assert len(list(saved.parent.iterdir())) == 1


def test_figures_are_the_same_bytes_every_time_and_have_axes_for_each_map() -> None:
    one, two = (rendered(heatmap_figure(ranking(), ranking().evidence)) for _ in range(2))
    assert one == two
    with (
        Image.open(io.BytesIO(one)) as wide,
        Image.open(io.BytesIO(rendered(heatmap_figure(r := ranking(maps=1), r.evidence)))) as few,
    ):
        assert wide.width > few.width
    figure = heatmap_figure(ranking(), ranking().evidence)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["a.jpg", "cat against dog $x_", "cat against the empty prompt"]
    one, other = (axes.images[0] for axes in figure.axes[4:6])
    assert one.norm.vmin == -one.norm.vmax, "no evidence is white"
    assert one.norm.vmax == other.norm.vmax, "one scale for both"
    photo, overlay = figure.axes[1].images
    assert photo.get_array().shape == (64, 96) and overlay.get_array().shape == (64, 96, 4), "the map is on the image"
    assert [text.get_text() for text in figure.axes[3].texts] == ["cat", "0.90", "dog $x_", "0.10"]
    assert "8 draws" in figure.get_suptitle()
    one = dataclasses.replace(ranking(), draws=1)
    assert heatmap_figure(one, one.evidence).get_suptitle().endswith(", 1 draw")


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=40))
def test_colours_over_white_are_those_of_the_scale_and_clear_where_there_is_no_evidence(values: list[float]) -> None:
    row = np.array([values])
    found = transparent_colours(row, 1.5) / 255
    over_white = found[..., :3] * found[..., 3:] + 1 - found[..., 3:]
    expected = colormaps[DIVERGING]((row / 1.5).clip(-1, 1) / 2 + 0.5)[..., :3]
    assert np.abs(over_white - expected)[row != 0].max(initial=0) < 0.01
    assert (found[..., 3][row == 0] == 0).all() and (found[..., 3][abs(row) >= 1.5] > 0.8).all()


@pytest.mark.parametrize(
    "label", ["猫犬", "🐈", "\U00012000", "ไทย", "שלום", "cat\N{COMBINING ACUTE ACCENT}", "\U0001d52d", "\udce9"]
)
def test_any_label_is_rendered_without_a_message_on_stderr(label: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = ranking(f"{label}.jpg", label)
    assert rendered(heatmap_figure(found, found.evidence)).startswith(b"\x89PNG")
    assert capfd.readouterr().err == "" and len(title_text(40 * label)) <= 42


def test_a_right_to_left_label_does_not_reorder_its_title() -> None:
    assert (
        title_text("שלום") == "\u2068שלום\u2069"
        and title_text("猫a") == "猫a"
        and title_text("a\x1b\n") == "a\ufffd\ufffd"
    )


def test_characters_are_taken_from_further_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    def characters(name: str) -> set[int]:
        return set(get_font(findfont(FontProperties(family=[name]))).get_charmap())

    only = next(
        each for each in sorted(characters("STIXGeneral") - characters("DejaVu Sans")) if chr(each).isprintable()
    )
    results = []
    for fallbacks in ((), ("STIXGeneral",)):
        monkeypatch.setattr(plotting, "FALLBACKS", fallbacks)
        plotting._font_families.cache_clear()
        results.append(
            [rendered(heatmap_figure(found, found.evidence)) for found in (ranking("a", chr(only)), ranking("a", "é"))]
        )
    plotting._font_families.cache_clear()
    assert results[0][0] != results[1][0] and results[0][1] == results[1][1]


def test_without_a_map_no_file_is_saved(tmp_path: Path) -> None:
    assert save_heatmap(tmp_path, ranking(maps=0)) is None
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, why in ((tmp_path / "file", "exists and is no folder"), (tmp_path / "file" / "maps", "cannot be made")):
        with pytest.raises(UsageError, match=why):
            make_folder(str(path))
    with pytest.raises(bigain.BigainError, match=r"gone.*cannot be written"):
        save_file(tmp_path / "gone", "a.png", b"")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"--heatmap: matplotlib plots it, and it is not installed\. pip install 'bigain\[see\]'"
    ):
        require_plotting("--heatmap")


def test_the_command_saves_figures_and_writes_the_same_records(tmp_path: Path, monkeypatch, capsysbinary) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command puts its own in place
    (tmp_path / "photos").mkdir()
    image("photos/one.png", "red")
    image("photos/two.png", "blue", 3)
    Path("photos/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    command = ("classify", "photos", *LABELS, "-m", "colours", "--draws", "16", "--jsonl")
    outputs = []
    for options in ((), ("--heatmap", "maps")):
        assert run_command_line([*command, *options]) == 1
        outputs.append(capsysbinary.readouterr().out)
    assert outputs[0] == outputs[1] and outputs[0].count(b"\n") == 3
    names = {path.name for path in (tmp_path / "maps").iterdir()}
    assert names == {file_name(f"photos/{name}.png", ".png") for name in ("one", "two")}
    for folder, score, why in (("photos/one.png", "l2", "exists and is no folder"), ("maps", "vote", "be mapped")):
        with pytest.raises(UsageError, match=why):
            run_command_line([*command, "--heatmap", folder, "--score", score])


def test_the_command_writes_a_report(tmp_path: Path, monkeypatch, capsysbinary) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    image("<i>red.png", "red")
    command = ["classify", "<i>red.png", *LABELS, "-m", "colours", "--draws", "16", "-o", "report.html", "--force"]
    for options, images in (((), 3), (("--heatmap", "maps"), 3), (("--score", "vote"), 1)):
        assert run_command_line([*command, *options]) == 0
        text = Path("report.html").read_text()
        assert text.count("<img") == images and "&lt;i&gt;red.png" in text and "<i>red" not in text
        assert ("Maps, on the image and alone:" in text) == (images == 3)


def test_a_name_too_long_for_the_file_system_is_shortened() -> None:
    long = "漢" * 83 + ".png"
    name = file_name(long, ".png")
    assert len(name.encode()) < 200 and name != file_name("漢" * 82 + ".png", ".png")
