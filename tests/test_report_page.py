"""The report is complete, escaped and self-contained; in a real browser it sorts, filters and has a dark theme."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from pages import EVIL, QUOTES, Structure, faults, names
from PIL import Image

from bigain_cli.classification.ranking import EvidenceMap, Failure, ImageEvidence, RankedLabel, Ranking
from bigain_cli.outputs import Layout
from bigain_cli.outputs.html_article import rank_of, state_of, verdict_of
from bigain_cli.outputs.html_comparison import ComparisonHtml
from bigain_cli.outputs.html_report import Html
from bigain_cli.outputs.interval_bars import axis_ends, beyond, fraction
from bigain_cli.outputs.plotting import DIVERGING, colour_limit
from bigain_cli.outputs.thumbnails import map_thumbnail, thumbnail

LINK = "http://example.invalid/x.png"


def ranking(name: str, label: str = "cat", settled: bool = True, gap: float = 0.1, maps: bool = False) -> Ranking:
    ranked = (
        RankedLabel(label, 0.5 + gap, -0.1, 16, True, 0.0, 0.0, None),
        RankedLabel("dog", 0.3, -0.1 - gap, 16, not settled, gap, 0.01, 0.05),
        RankedLabel(QUOTES, 0.1, -0.9, 8, False, 0.8, 0.1, 0.3),
    )
    found = (EvidenceMap("dog", gap, 16, np.eye(8)), EvidenceMap(None, gap, 16, -np.eye(8))) if maps else ()
    evidence = ImageEvidence(Image.effect_noise((300, 200), 40).convert("RGB"), found)
    settings = {"model": EVIL, "seed": 0, "compress": "none", "link": LINK, "fingerprint": "f"}
    interval = (gap - 0.05, gap + 0.05)
    return Ranking(name, ranked, settled, gap, interval, 16, 48, settings=settings, evidence=evidence)


RESULTS: list[Ranking | Failure] = [
    ranking("b.png", gap=0.2, maps=True),
    ranking("a.png", "owl", gap=0.3),
    ranking(EVIL, EVIL, settled=False, gap=0.01),
    Failure(f"broken {QUOTES}", "unreadable-image", f"broken {EVIL}: truncated", {}),
    ranking("10.png", gap=0.05),
    ranking("9\u202egnp.exe", gap=0.4),
]


LABELS = ("cat", "owl", EVIL, "dog", QUOTES, "none")


def page(results: list[Ranking | Failure], complete: bool = True, reject: bool = True) -> str:
    writer, stream = Html(Layout(LABELS, top=5, reject=reject)), io.BytesIO()
    writer.open(stream)
    for result in results:
        writer.write(result.to_dict(5), result)
    writer.close(complete)
    return stream.getvalue().decode()


def test_a_page_is_complete_and_ordered_and_contains_no_outside_code() -> None:
    text = page(RESULTS)
    found = Structure(text)
    states = [article["class"] for article in found.all("article")]
    assert states == ["failed", "open", *["settled"] * 4]
    assert '<p class="counts">4 settled, 1 open, 1 failed</p>' in text
    assert len(found.all("script")) == len(found.all("style")) == 1
    assert not any(name.startswith("on") or name == "style" for _, attributes in found.tags for name in attributes)
    assert all(image["src"].startswith("data:image/") for image in found.all("img"))
    assert len(found.all("img")) == 7, "five images, two maps"
    assert not found.all("link") and not found.all("a") and not found.all("iframe")
    assert EVIL not in text and QUOTES not in text and "\u202e" not in text
    assert "&lt;script&gt;" in text and "${style}" in text, "names are shown as they are"
    assert Structure(page([])).all("main"), "also without an image"


def test_the_policy_allows_the_code_of_the_page_and_no_other() -> None:
    text = page(RESULTS)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for tag in ("script", "style"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def image_of(figure: dict[str, Any]) -> Image.Image:
    """Return a picture of the page over white paper."""
    seen = Image.open(io.BytesIO(base64.b64decode(figure["src"].partition(",")[2]))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def test_the_page_of_a_stopped_run_begins_with_a_notice() -> None:
    for results, count in ((RESULTS, "6 images"), (RESULTS[:1], "1 image"), ([], "0 images")):
        text = page(results, complete=False)
        Structure(text)
        before, notice, _ = text.partition(f"Interrupted: {count} recorded.")
        assert notice and '<div id="controls"' not in before and "<article" not in before
        assert f"<title>{count}, interrupted · bigain report</title>" in text
        assert "nterrupted" not in page(results)


def test_settings_name_every_label_and_whether_none_is_one() -> None:
    for results in (RESULTS, []):
        text = page(results)
        settings = text.partition("<dl>")[2].partition("</dl>")[0]
        found = re.findall("<li>(.*?)</li>", settings)
        assert [html.unescape(each) for each in found] == list(LABELS)
        assert not any(set("<>\"'") & set(each) for each in found)
        assert "<dt>labels (6)</dt>" in settings and "<dt>reject</dt><dd>on</dd>" in settings
        assert "<dt>reject</dt><dd>off</dd>" in page(results, reject=False)
    writer, stream = ComparisonHtml(Layout(LABELS)), io.BytesIO()
    writer.open(stream)
    writer.describe({"templates": ["a {}.", "the {}."], "compression": {"sites": 3, "saved": 0.5}, "score": "l1"})
    writer.close()
    text = stream.getvalue().decode().partition("<dl>")[2]
    assert re.findall("<li>(.*?)</li>", text)[:4] == ["a {}.", "the {}.", "sites: 3", "saved: 0.5"]
    assert "<dt>score</dt><dd>l1</dd>" in text


def test_the_maps_of_an_image_have_one_scale() -> None:
    weak, strong = np.eye(8), -4 * np.eye(8)
    evidence = ImageEvidence(
        Image.new("RGB", (8, 8)), (EvidenceMap("dog", 1, 16, weak), EvidenceMap(None, 1, 16, strong))
    )
    text = page([dataclasses.replace(ranking("a.png"), evidence=evidence)])
    _, first, second = (image_of(image) for image in Structure(text).all("img"))
    assert first.getpixel((1, 0)) == second.getpixel((1, 0)), "zero is one colour"
    quarter, full = (np.subtract(255, seen.getpixel((0, 0))).max() for seen in (first, second))
    assert 30 < quarter < 0.6 * full, "a quarter of the strongest looks like one"
    assert "<span>≤ -4</span>" in text and "<span>≥ 4</span>" in text
    assert (
        colour_limit(weak, strong) == colour_limit(strong) == 4
        and colour_limit(np.zeros(3), weak) == colour_limit(weak)
        and colour_limit() == 1
    )


def test_the_scale_has_the_colours_of_the_maps() -> None:
    stops = re.search(r"linear-gradient\(to right, (#[^)]*)\)", page([]))[1].split(",")
    ours = [[int(stop.strip()[at : at + 2], 16) for at in (1, 3, 5)] for stop in stops]
    theirs = colormaps[DIVERGING](np.linspace(0, 1, len(stops)))[:, :3] * 255
    np.testing.assert_allclose(ours, theirs, atol=3)


def test_every_label_has_a_mark_or_an_arrow_if_it_is_beyond_the_axis() -> None:
    result = ranking("a.png")
    ends = axis_ends(result.ranked)
    assert [beyond(place.gap, ends) for place in result.ranked] == [0, 0, 1]
    text = page([result])
    marks = [attributes["d"] for attributes in Structure(text).all("path") if attributes["class"] == "mark"]
    assert len(marks) == 3 and [("L100" in mark) for mark in marks] == [False, False, True]
    assert beyond(ends[0] - 1, ends) == -1 and beyond(ends[0], ends) == beyond(ends[1], ends) == 0


def test_counts_of_one_are_singular() -> None:
    text = page([dataclasses.replace(ranking("a.png"), draws=1, evaluations=1)])
    assert "· 1 draw · 1 evaluation<" in text and "16 draws · 48 evaluations" in page(RESULTS)


def test_bars_have_a_common_axis_for_labels_near_the_leader() -> None:
    places = ranking("a").ranked
    low, high = ends = axis_ends(places)
    assert low < 0 < places[1].gap + places[1].half_width < high
    assert fraction(0.0, ends) < fraction(0.1, ends) < fraction(9.0, ends) == 1.0
    assert high < 0.8, "labels far behind are cut off"
    assert axis_ends(places[:1]) == (-1.0, 1.0)


def test_thumbnails_are_small_and_maps_are_white_at_zero() -> None:
    photo = thumbnail(Image.effect_noise((4000, 3000), 60).convert("RGB"))
    assert (photo.width, photo.height) == (160, 120) and len(photo.url) < 20_000
    assert thumbnail(Image.new("RGB", (32, 32))).url.startswith("data:image/png")
    values = np.zeros((8, 8))
    values[0, 0], values[7, 7] = 1.0, -1.0
    pixels = image_of({"src": map_thumbnail(values, 1.0).url})
    red, white, blue = (pixels.getpixel(place) for place in ((0, 0), (3, 3), (7, 7)))
    assert min(white) > 240 and red[0] > 2 * red[2] and blue[2] > 2 * blue[0]


def test_an_answer_is_unsure_where_the_record_says_so() -> None:
    result = dataclasses.replace(ranking("a.png"), settings={"min_probability": 0.9})
    writer, stream = Html(Layout(LABELS, top=5, min_probability=0.9)), io.BytesIO()
    writer.open(stream)
    for each in (result, ranking("b.png")):
        writer.write(each.to_dict(5), each)
    writer.close()
    text = stream.getvalue().decode()
    assert "2 settled, 0 open, 0 failed, 1 unsure below 0.9" in text
    assert '<bdi>unsure</bdi> <span class="p"><bdi>cat</bdi> 0.60</span>' in text
    assert '<option value="unsure">unsure (1)</option>' in text and '<option value="cat">cat (1)</option>' in text


def test_a_browser_sorts_and_filters(visit: Callable[[str], Any]) -> None:
    view, given = visit(page(RESULTS)), [result.id for result in RESULTS]
    assert names(view)[:2] == [given[3], given[2]], "failed and open images come first"
    view.select_option("#order", "gap")
    assert names(view)[:3] == [EVIL, "10.png", "b.png"]
    view.select_option("#order", "name")
    assert names(view).index("10.png") > names(view).index("9\\u202egnp.exe"), "numbers count as numbers"
    view.select_option("#order", "sure")
    assert names(view)[0] == "9\\u202egnp.exe" and names(view)[-1] == given[3]
    view.select_option("#state", "settled")
    assert len(names(view)) == 4 and view.text_content("#count") == "4 of 6 shown"
    view.select_option("#label", "owl")
    assert names(view) == ["a.png"]
    view.fill("#find", "no such text")
    assert names(view) == [] and view.is_visible("#nothing")
    view.fill("#find", "TRUNCATED")
    assert names(view) == [], "an error, which no settled image has"
    view.select_option("#state", "")
    view.select_option("#label", "")
    assert names(view) == [given[3]], "error texts are searched, too"
    view.fill("#find", "no such text")
    view.click("#reset")
    assert len(names(view)) == 6 and view.text_content("#count") == "all 6 shown"
    view.select_option("#label", EVIL)
    assert names(view) == [EVIL]


def test_a_browser_shows_the_dark_theme_and_handles_keys(visit: Callable[[str], Any]) -> None:
    view = visit(page(RESULTS))

    def background() -> list[int]:
        return [
            int(number)
            for number in re.findall(r"\d+", view.evaluate("getComputedStyle(document.body).backgroundColor"))
        ]

    assert min(background()[:3]) > 200
    view.click("#theme")
    assert max(background()[:3]) < 60
    view.click("#theme")
    assert min(background()[:3]) > 200
    view.emulate_media(color_scheme="dark")
    view.evaluate("delete document.documentElement.dataset.theme")
    assert max(background()[:3]) < 60
    view.evaluate("document.activeElement.blur()")
    for _ in range(2):
        view.keyboard.press("j")
    assert view.evaluate("document.activeElement.dataset.name") == EVIL
    view.keyboard.press("k")
    assert view.evaluate("document.activeElement.dataset.state") == "failed"
    view.keyboard.press("/")
    assert view.evaluate("document.activeElement.id") == "find"
    assert view.title() == "6 images · bigain report"


def test_every_map_lies_on_the_image_too_and_nothing_is_small_pale_or_too_wide(visit: Callable[[str], Any]) -> None:
    view = visit(page(RESULTS))
    pairs = "all => all.map(each => [...each.children].map(image => [image.src.length, image.clientWidth]))"
    found = view.eval_on_selector_all(".overlay", pairs)
    assert len(found) == 2 and all(photo[1] == over[1] > 80 and photo[0] != over[0] for photo, over in found)
    view.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert faults(view) == []


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        ({"label": "cat", "truth": ["cat"]}, "right"),
        ({"label": "cat", "truth": ["dog"]}, "wrong"),
        ({"label": "cat", "answer": "unsure", "truth": ["cat"]}, "unsure"),
        ({"label": "unsure", "answer": "unsure", "truth": ["unsure"]}, "right"),
        ({"label": "none", "truth": ["dog", "emu"], "evidence": {"cat": -0.2, "dog": -0.1, "emu": -0.3}}, "right"),
        ({"label": "cat", "truth": ["cat"], "evidence": {"cat": 0.1, "dog": 0.2}}, "wrong"),
    ],
)
def test_a_verdict_agrees_with_the_summary(record: dict[str, Any], verdict: str) -> None:
    assert verdict_of(record) == verdict
    assert verdict_of({"label": "cat"}) == verdict_of({"truth": ["cat"]}) == ""


def test_records_of_an_older_version_have_the_same_states() -> None:
    old, new = ({"label": "a", "truth": ["a"], name: True} for name in ("decided", "settled"))
    assert state_of(old) == state_of(new) == "settled" and rank_of(old) == rank_of(new)
    assert state_of({**old, "decided": False}) == "open" and state_of({"error": {}}) == "failed"
