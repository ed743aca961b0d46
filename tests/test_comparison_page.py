"""The page of an evaluation shows an image once, with its answers side by side; a browser filters by compression."""

from __future__ import annotations

import dataclasses
import html
import io
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from pages import EVIL, QUOTES, Structure, faults, names
from PIL import Image

from bigain_cli.classification.ranking import EvidenceMap, Failure, ImageEvidence, RankedLabel, Ranking
from bigain_cli.outputs import Layout
from bigain_cli.outputs.html_comparison import ComparisonHtml
from bigain_cli.outputs.report_sections import ReportSection

LETTERS = "abcdefghijklmnop"
SPECS = ("none", "lgtm:0.5", EVIL)
SUMMARY = (
    ReportSection(text=f"a title {EVIL}"),
    ReportSection(
        head=("spec", "top-1 %", "a longer head"), rows=[["none", "75.0 [55.1, 88.0]", "a|b"], [QUOTES, "1", "2"]]
    ),
    ReportSection("Differences", "in points", ("spec", "points"), [["lgtm:0.5", "+4.2 [-6.7, +14.4]"]]),
    ReportSection("none: by label", "", ("", *LETTERS), [[name, *("1" * len(LETTERS))] for name in LETTERS]),
)
ANSWERS = {  # by image: what each spec answers, with its probability; None is a failure
    "one.png": ("cat", [("cat", 0.9), ("cat", 0.8), ("cat", 0.7)]),
    "two.png": ("dog", [("cat", 0.5), ("dog", 0.95), ("dog", 0.6)]),
    QUOTES: ("owl", [("cat", 0.3), ("cat", 0.2), ("cat", 0.4)]),
    "four.png": ("owl", [("owl", 0.6), None, ("owl", 0.99)]),
}
Records = list[tuple[dict[str, Any], Ranking | Failure]]


def records(maps: bool = True) -> Records:
    made: Records = []
    for number, spec in enumerate(SPECS):
        for name, (truth, answers) in ANSWERS.items():
            about = {"model": "mini", "compress": spec}
            result: Ranking | Failure = Failure(name, "unreadable-image", f"{name}: truncated {EVIL}", about)
            if (answer := answers[number]) is not None:
                label, p = answer
                other = "dog" if label == "cat" else "cat"
                ranked = (
                    RankedLabel(label, p, -0.1, 16),
                    RankedLabel(other, 1 - p, -0.2, 16, p < 0.8, 0.1, 0.01, 0.05),
                )
                found = (EvidenceMap(other, 0.1, 16, np.eye(8)), EvidenceMap(None, 0.1, 16, -np.eye(8)))
                evidence = ImageEvidence(Image.new("RGB", (120, 90), "teal"), found if maps else ())
                gap = (0.1, (0.05, 0.15), 16, 48)
                result = Ranking(name, ranked, p > 0.7, *gap, settings=about, evidence=evidence)
            made.append(({**result.to_dict(5), "truth": [truth]}, result))
    return made


def page(given: Records, complete: bool = True) -> str:
    writer, stream = ComparisonHtml(Layout(("cat", "dog", "owl"), top=5)), io.BytesIO()
    writer.open(stream)
    for record, result in given:
        writer.write(record, result)
    writer.summarise(SUMMARY)
    writer.describe({"model": "mini", EVIL: {QUOTES: [EVIL]}})
    writer.close(complete)
    return stream.getvalue().decode()


def test_an_image_is_shown_once_with_its_answers_side_by_side_and_everything_is_escaped() -> None:
    text = page(records())
    found = Structure(text)
    assert [article["data-name"] for article in found.all("article")] == ["four.png", "two.png", QUOTES, "one.png"]
    specs = [section["data-spec"] for section in found.all("section")]
    assert specs == [*SPECS] * 4
    assert len([image for image in found.all("img") if "photo" in image["class"]]) == 4
    assert len([image for image in found.all("img") if "map" in image["class"]]) == 2 * 11
    assert EVIL not in text and QUOTES not in text and not found.all("pre")
    assert "<title>4 images under 3 compressions · bigain evaluation</title>" in text
    assert '<p class="counts">1 image with different answers</p>' in text
    assert '<option value="wrong">wrong (4)</option>' in text and '<option value="failed">failed (1)</option>' in text


def test_a_shortlist_is_beside_all_labels_of_the_same_compression() -> None:
    (record, result), *_ = records(maps=False)
    writer, stream = ComparisonHtml(Layout(("cat", "dog", "owl"), top=5)), io.BytesIO()
    writer.open(stream)
    for spec in ("none", "none, tree"):
        writer.add_answer(spec, record, result)
    writer.close()
    found = Structure(text := stream.getvalue().decode())
    assert [section["data-spec"] for section in found.all("section")] == ["none", "none, tree"]
    assert "1 image under 2 compressions" in text


def test_the_page_is_the_same_in_whatever_order_answers_come() -> None:
    """But for the order of images and specs, which is that of their first answers."""
    made = records(maps=False)
    whole = page(made)
    order = made[:1] + made[4:5] + made[8:9] + made[1:4]  # the first answers of all specs and images
    rest = [each for each in made if each not in order]
    random.Random(1).shuffle(rest)
    assert page(order + rest) == whole


def test_answers_of_an_earlier_run_come_without_images() -> None:
    text = page([(record, None) for record, _ in records()])  # type: ignore[misc]
    assert text.count("<article") == 4 and "<img" not in text and "0.95" in text


def test_the_headline_is_the_answer_of_all_or_of_each() -> None:
    articles = dict(re.findall(r'data-name="(one|two)\.png".*?(<header.*?)<p class="name"', page(records()), re.S))
    first = {name: re.sub("<.*?>|\\s+", " ", text.split("</header>")[0]).split() for name, text in articles.items()}
    one, two = ["1", "of", "3"], ["2", "of", "3"]
    assert first == {"one": ["cat", "right"], "two": ["dog", *two, ",", "cat", *one, "answers", "differ"]}


def test_the_page_of_a_stopped_run_says_so_and_one_without_images_has_its_summary() -> None:
    text = page(records()[:5], complete=False)
    assert "Interrupted: 4 images under 2 compressions recorded." in text and text.count("<section") == 5
    empty = page([])
    assert Structure(empty).all("main") and "+4.2 [-6.7, +14.4]" in empty and "<article" not in empty


def test_tables_are_tables() -> None:
    found = page([])
    tables = re.findall(r'<table class="(\w+)">(.*?)</table>', found, re.S)
    assert [kind for kind, _ in tables] == ["stack", "stack", "matrix"]
    cells = [html.unescape(cell) for cell in re.findall(r"<t[hd]\b[^>]*>([^<]*)</t[hd]>", tables[0][1])]
    assert cells == ["spec", "top-1 %", "a longer head", "none", "75.0 [55.1, 88.0]", "a|b", QUOTES, "1", "2"]


def answers(view: Any) -> dict[str, tuple[str, ...]]:
    """Return the specs whose answers are visible, by image."""
    script = "all => all.map(each => [each.dataset.name, [...each.querySelectorAll('.answer')]"
    script += ".filter(answer => !answer.hidden).map(answer => answer.dataset.spec)])"
    return {name: tuple(specs) for name, specs in view.eval_on_selector_all("article:not([hidden])", script)}


def headlines(view: Any) -> list[str]:
    script = "all => all.map(each => each.querySelector('h2').textContent.trim())"
    return view.eval_on_selector_all("article:not([hidden]) > header:not([hidden])", script)


def test_a_browser_filters_by_compression_and_answer(visit: Callable[[str], Any]) -> None:
    view = visit(page(records()))
    assert answers(view) == dict.fromkeys(["four.png", "two.png", QUOTES, "one.png"], SPECS)
    assert headlines(view)[3] == "cat"
    view.select_option("#verdict", "differ")
    assert names(view) == ["two.png"]
    view.select_option("#verdict", "wrong")
    assert names(view) == ["two.png", QUOTES]
    view.select_option("#spec", "lgtm:0.5")
    assert answers(view) == {QUOTES: ("lgtm:0.5",)}, "the other is right under this one"
    view.select_option("#verdict", "")
    assert names(view) == ["four.png", QUOTES, "one.png", "two.png"] and view.text_content("#count") == "all 4 shown"
    assert headlines(view) == ["no answer", "cat 0.20", "cat 0.80", "dog 0.95"]
    view.select_option("#order", "sure")
    assert names(view) == ["two.png", "one.png", QUOTES, "four.png"]
    view.select_option("#state", "failed")
    assert names(view) == ["four.png"] and view.text_content("#count") == "1 of 4 shown"
    view.select_option("#spec", "none")
    assert names(view) == [] and view.is_visible("#nothing")
    view.click("#reset")
    assert answers(view) == dict.fromkeys(["four.png", "two.png", QUOTES, "one.png"], SPECS)
    view.select_option("#order", "unsure")
    assert names(view)[0] == QUOTES
    view.fill("#find", "true: dog")
    assert names(view) == ["two.png"]


def test_keys_step_through_images(visit: Callable[[str], Any]) -> None:
    view = visit(page(records()))
    for key, name in (("j", "four.png"), ("j", "two.png"), ("k", "four.png"), ("k", "four.png")):
        view.keyboard.press(key)
        assert view.evaluate("document.activeElement.dataset.name") == name
    view.keyboard.press("/")
    view.keyboard.type("one.png")
    assert names(view) == ["one.png"]


def test_nothing_is_small_pale_or_too_wide(visit: Callable[[str], Any]) -> None:
    view = visit(page(records()))
    for spec in ("", "lgtm:0.5"):
        view.select_option("#spec", spec)
        view.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert faults(view) == []
    view.set_viewport_size({"width": 400, "height": 800})
    heads = "all => all.map(each => getComputedStyle(each, '::before').content)"
    assert view.eval_on_selector_all(".stack td", heads)[0] == '"top-1 %"', "each number has its head beside it"
    wide = view.eval_on_selector_all(
        ".scroll:has(.stack)", "all => all.map(each => each.scrollWidth - each.clientWidth)"
    )
    assert wide == [0, 0], "only a matrix has to be scrolled"


def test_an_unsure_answer_is_neither_right_nor_wrong(visit: Callable[[str], Any]) -> None:
    made = []
    for record, result in records(maps=False):
        if isinstance(result, Ranking):
            result = dataclasses.replace(result, settings={**result.settings, "min_probability": 0.7})
            record = {**result.to_dict(5), "truth": record["truth"]}
        made.append((record, result))
    view = visit(page(made))
    view.select_option("#spec", "none")
    view.select_option("#verdict", "unsure")
    assert names(view) == ["two.png", QUOTES, "four.png"]
