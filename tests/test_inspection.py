"""What `inspect` returns is what the operators decide, at the given blocks and timesteps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bigain_cli as bigain
from bigain_cli.cli.app import run_command_line
from bigain_cli.errors import BigainError, InputError, UsageError
from bigain_cli.inspection.figure import _kept_tokens, figure_of
from bigain_cli.inspection.inspector import BlockView, inspect
from bigain_cli.outputs.plotting import rendered


def views(folder: Path, spec: str, image: object, times: tuple[int, ...] = (100, 900)) -> tuple[BlockView, ...]:
    backbone = bigain.load(str(folder), device="cpu")
    found = inspect(backbone, image, spec, times)
    assert not any(module._forward_pre_hooks for module in backbone.network.modules())
    return found.views


@pytest.mark.parametrize("spec", ["lgtm:0.5@share=block", "tome:0.5", "abm:0.5", "sito:0.6"])
def test_merging_is_reported_as_the_operator_decides(spec: str, models, images) -> None:
    found = views(models["epsilon"], spec, images[0][1])
    assert {view.t for view in found} == {100, 900}
    for view in found:
        numbers = view.to_dict()
        assert view.merges and view.score.shape == (8, 8)
        assert numbers["queries"] == numbers["keys"] == len(np.unique(view.clusters)) == view.kept.sum()
        sizes = np.bincount(view.clusters.ravel())
        merged = sizes[view.clusters] > 1
        assert not merged[~view.kept].min(initial=True) < 1, "a token that is merged away is in a group"
        receivers = view.kept & merged
        assert (view.anchors | ~receivers).all(), "only destinations receive"
        for number in np.flatnonzero(sizes > 1)[:5]:
            assert np.ptp(view.reconstructed[view.clusters == number], axis=0).max() < 1e-6, "a group is one colour"


def test_destinations_are_the_smoothest_of_their_cells(models, images) -> None:
    (view,) = views(models["epsilon"], "lgtm:0.5@share=level", images[1][1], (500,))
    cells = view.score.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
    marks = view.anchors.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
    assert (cells.argmin(1) == marks.argmax(1)).all() and (marks.sum(1) == 1).all()
    assert len(view.shared_by) > 1, "one plan for the level"


def test_pooling_reports_its_cells_and_its_alpha(models, images) -> None:
    found = views(models["dit"], "iekvd:2@0.8:1.2@levels=all", images[0][1], (0, 500))
    assert [round(view.alpha, 3) for view in found] == [1.2] * 3 + [1.0] * 3
    for view in found:
        assert not view.merges and view.kept.all() and view.keys == 4 == view.anchors.sum()
        assert (np.bincount(view.clusters.ravel()) == 4).all()


def test_an_image_may_be_given_in_any_form(models, images, tmp_path: Path) -> None:
    image = images[0][1]
    image.save(tmp_path / "a.png")
    expected, *others = (
        [view.to_dict() for view in views(models["epsilon"], "lgtm:0.5", given, (500,))]
        for given in (image, np.asarray(image), tmp_path / "a.png")
    )
    assert others == [expected] * 2
    (tmp_path / "b.png").write_bytes(b"text")
    for given, kind in ((tmp_path / "b.png", InputError), (tmp_path, UsageError), ([], UsageError)):
        with pytest.raises(kind):
            views(models["epsilon"], "lgtm:0.5", given)


def test_a_figure_has_a_row_for_each_block(models, images) -> None:
    found = views(models["epsilon"], "lgtm:0.5@blocks=0+iekvd:2@blocks=1", images[0][1], (500,))
    figure = figure_of(images[0][1], found, "<b>$x_.png")
    titles = [axes.get_title() for axes in figure.axes]
    assert any("merged groups" in title for title in titles) and any("cells of keys" in title for title in titles)
    assert rendered(figure).startswith(b"\x89PNG")


def test_a_line_leads_from_each_merged_token_to_the_one_that_represents_it(models, images) -> None:
    for spec in ("lgtm:0.5@share=level", "iekvd:2@levels=all"):
        view = views(models["epsilon"], spec, images[2][1], (500,))[0]
        figure = figure_of(images[2][1], [view], "a.png")
        lines, dots = figure.axes[2].collections
        kept = view.kept if view.merges else view.anchors
        ends = [[tuple(reversed(point.astype(int))) for point in line] for line in lines.get_segments()]
        assert len({start for start, _ in ends}) == len(ends) == (~kept).sum(), "each of the others, once"
        assert all(view.clusters[start] == view.clusters[end] and kept[end] for start, end in ends)
        marked = dict(zip(map(tuple, dots.get_offsets().data), dots.get_facecolors(), strict=True))
        assert {(x, y) for y, x in (end for _, end in ends)} == marked.keys()
        tints = figure.axes[2].images[0].get_array()
        for (x, y), hue in marked.items():
            assert np.corrcoef(tints[int(y), int(x)], hue[:3])[0, 1] > 0.9, "a dot has the colour of its group"


def test_where_lines_would_cross_everywhere_only_the_largest_groups_have_any(models, images) -> None:
    tokens = np.arange(256)
    clusters = np.where(tokens < 160, tokens % 80, 80 + tokens - 160)  # 80 pairs, and tokens of their own
    clusters[160 : 160 + 12] = clusters[0]  # but one group of 14
    _, clusters = np.unique(clusters, return_inverse=True)
    kept = np.isin(tokens, np.unique(clusters, return_index=True)[1]).reshape(16, 16)
    blank = np.zeros((16, 16), np.float32)
    shape = (clusters.reshape(16, 16), kept, np.zeros((16, 16, 3)))
    view = BlockView(500, "lgtm:0.5", True, "a", ("a",), kept.sum(), None, blank, kept, *shape)
    axes = figure_of(images[0][1], [view], "a.png").axes[2]
    lines, dots = axes.collections
    assert len(lines.get_segments()) == 13 + 5 and len(dots.get_offsets()) == 6
    assert axes.get_title() == "merged groups\n80; lines: the 6 largest"


@pytest.mark.parametrize("paper", ["white", "black", "magenta"])
def test_tokens_merged_away_differ_from_any_image(paper: str, models, images) -> None:
    view = views(models["epsilon"], "lgtm:0.5@share=level", images[1][1], (500,))[0]
    seen = _kept_tokens(view, Image.new("RGB", (20, 20), paper))
    rows, columns = view.kept.shape
    times = seen.shape[0] // rows
    tokens = seen.reshape(rows, times, columns, times, 3).transpose(0, 2, 1, 3, 4).reshape(rows, columns, -1, 3)
    assert ((np.ptp(tokens, axis=2).max(-1) == 0) == view.kept).all(), "one colour: kept; two: merged away"


def test_what_cannot_be_inspected_is_refused(models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    for spec, times, why in (("none", (1,), "nothing to inspect"), ("lgtm:0.5", (1000,), "go from 0 to 999")):
        with pytest.raises(UsageError, match=why):
            inspect(backbone, images[0][1], spec, times)
    with pytest.raises(UsageError, match="colours has no network"):
        inspect(bigain.load("colours"), images[0][1], "lgtm:0.5")


def test_the_command_gives_numbers_and_images(models, images, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    images[0][1].save("a.png")
    command = ["inspect", "a.png", "-m", str(models["epsilon"]), "-c", "lgtm:0.5@share=level"]
    assert run_command_line([*command, "-t", "900,100", "-o", "figures", "--json"]) == 0
    printed = capsys.readouterr()
    document: dict[str, Any] = json.loads(printed.out)
    assert re.fullmatch(r"bigain: 1 image at 2 timesteps in [\d.]+ s → figures\n", printed.err)
    assert [block_view["t"] for block_view in document["looks"]] == [100, 900]
    assert document["pictures"] == {t: f"figures/a.png-t{t}.png" for t in ("100", "900")}
    assert all(Path(path).stat().st_size > 1000 for path in document["pictures"].values())
    with pytest.raises(UsageError, match=r"figures/a\.png-t100\.png: exists, and 1 other\. --force to replace"):
        run_command_line([*command, "-t", "100,900", "-o", "figures"])
    with pytest.raises(UsageError, match=r"--force: replaces files"):
        run_command_line([*command, "--force"])
    Path("figures/a.png-t100.png").write_text("old")
    assert run_command_line([*command, "-t", "100", "-o", "figures", "--force"]) == 0
    assert Path("figures/a.png-t100.png").stat().st_size > 1000
    capsys.readouterr()
    assert run_command_line([*command, "-t", "100"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["t", "operator", "grid"] and table[1].split()[0] == "100"
    assert max(map(len, table)) <= 80 and "laplacian" not in table[0]
    assert run_command_line([*command, "-t", "100", "--wide", "-q"]) == 0
    whole = capsys.readouterr()
    assert "laplacian" in whole.out and "transformer_blocks" in whole.out and not whole.err
    with pytest.raises(UsageError, match="json has everything"):
        run_command_line([*command, "--wide", "--json"])
    for wrong, why in (("-t x", "not whole numbers"), ("-c lgtm", "lgtm"), ("-m colours", "has no network")):
        with pytest.raises(UsageError, match=why):
            run_command_line([*command, *wrong.split()])
    with pytest.raises(UsageError, match="this model's go from 0"):
        run_command_line([*command, "-t", "100000", "-o", "never"])
    assert not Path("never").exists()
    with pytest.raises(BigainError, match=r"gone\.png"):
        run_command_line(["inspect", "gone.png"])
