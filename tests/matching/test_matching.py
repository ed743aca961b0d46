"""`match`: the right caption on images whose class is known; the batch, the order and other images change nothing."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from commands import COLOURS, Result, image, warm
from PIL import Image

import bigain_cli as bigain
from bigain_cli.cli.app import run_command_line
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.images import Source
from bigain_cli.matching.matcher import CaptionMatching
from bigain_cli.matching.pairs import Pair


def flat(colour: str) -> Image.Image:
    return Image.new("RGB", (8, 8), COLOURS[colour])


def records(*arguments, **options) -> list[dict]:
    return [found.to_dict() for found in bigain.match(*arguments, bigain.MatchOptions(**options))]


IMAGES = [(f"{colour}.png", flat(colour)) for colour in COLOURS]


def test_each_image_gets_its_caption_and_each_caption_lowers_the_error_of_its_image() -> None:
    found = records("colours", IMAGES, list(COLOURS), draws=16)
    assert [each["caption"] for each in found] == list(COLOURS) and all(each["settled"] for each in found)
    for each in found:
        means = [entry["evidence"] for entry in each["captions"]]
        assert means == sorted(means, reverse=True) and means[0] > 0 > means[1]
        assert each["evaluations"] == 16 * 4 and each["draws"] == 16


def test_nothing_depends_on_the_batch_the_order_or_other_images(models, images) -> None:
    tiny, captions = bigain.load(str(models["pixels"])), ["a red cat", "a blue dog on a hill", "x"]
    base = {each["id"]: each for each in records(tiny, images, captions, draws=12)}
    assert len(base) == len(images)
    for changed in (records(tiny, images[::-1], captions, draws=12), records(tiny, images[2:3], captions, draws=12)):
        assert all(each == base[each["id"]] for each in changed)
    for batch in (1, 16):
        for each in records(tiny, images[:2], captions, draws=12, batch=batch):
            values = {entry["caption"]: entry["evidence"] for entry in each["captions"]}
            expected = {entry["caption"]: entry["evidence"] for entry in base[each["id"]]["captions"]}
            assert values == pytest.approx(expected, abs=1e-6)
    turned = records(tiny, images, captions[::-1], draws=12)
    assert [each["caption"] for each in turned] == [each["caption"] for each in base.values()]


def test_a_pair_is_what_matching_its_images_gives(models, images) -> None:
    tiny, captions = bigain.load(str(models["pixels"])), ("a red cat", "a blue dog")
    sources = [Source(id, path=None, data=png_of(picture)) for id, picture in images[:4]]
    pairs = [Pair("1", (sources[0], sources[1]), captions), Pair("2", (sources[2], sources[3]), captions[::-1])]
    found = list(bigain.match_pairs(tiny, pairs, bigain.MatchOptions(draws=8)))
    whole = {each["id"]: each for each in records(tiny, images[:4], list(captions), draws=8)}
    for match, order in zip(found, (captions, captions[::-1]), strict=True):
        assert isinstance(match, bigain.PairMatch)
        for id, row in zip(match.images, match.evidence, strict=True):
            expected = {entry["caption"]: entry["evidence"] for entry in whole[id]["captions"]}
            assert list(row) == pytest.approx([expected[caption] for caption in order], abs=1e-6)


def png_of(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_compression_and_the_other_errors_work(models, images) -> None:
    for options in ({"compress": "lgtm:0.5"}, {"score": "l1"}, {"templates": ("a photo of {}", "{}")}):
        (found,) = records(str(models["epsilon"]), images[:1], ["cat", "dog"], draws=8, **options)
        assert found["draws"] == 8 and found["evaluations"] == 8 * (5 if "templates" in options else 3)


def test_captions_that_cannot_be_compared_are_refused(models) -> None:
    with pytest.raises(UsageError, match="one caption cannot be compared"):
        bigain.match("colours", IMAGES, ["red"])
    with pytest.raises(UsageError, match="not among the 11 classes"):
        bigain.match("colours", IMAGES, ["red", "a sentence"])


# The command.


def command(*arguments: str) -> Result:
    return warm(*arguments)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in COLOURS:
        image(tmp_path / "photos" / f"{name}.png", name)
    (tmp_path / "captions.txt").write_text("# colours\n" + "\n".join(COLOURS) + "\n")
    lines = [
        {"id": 7, "image_0": "photos/red.png", "image_1": "photos/blue", "caption_0": "red", "caption_1": "blue"},
        {"id": "b", "image_0": "photos/red.png", "image_1": "photos/green", "caption_0": "green", "caption_1": "red"},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_the_command_writes_tables_a_document_and_lines(place: Path) -> None:
    table = command("match", "photos", "captions.txt")
    assert table.code == 0 and b"photos/red.png" in table.out and b"best image" in table.out
    assert max(map(len, table.out.decode().splitlines())) <= 80, table.out.decode()
    document = json.loads(command("match", "photos", "captions.txt", "--json").out)
    assert {each["caption"]: each["image"] for each in document["captions"]} == {
        name: f"photos/{name}.png" for name in COLOURS
    }
    few = command("match", "photos", "captions.txt", "--draws", "2").out.decode()
    assert "[–]" in few and "inf" not in few
    lines = command("match", "photos", "red,green,blue", "-o", "out.jsonl")
    assert lines.code == 0 and lines.out == b"" and "3 settled, 0 open, 0 failed" in lines.err
    written = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert [each["caption"] for each in written] == ["blue", "green", "red"]
    values = [each["captions"][0]["evidence"] for each in document["records"]]
    assert [each["captions"][0]["evidence"] for each in written] == values
    refused = command("match", "photos", "red,green,blue", "-o", "out.jsonl")
    assert refused.code == 2 and refused.err == "bigain: out.jsonl: exists. --force to replace.\n"
    assert b"vote" not in command("match", "--help").out


def test_pairs_are_scored_and_a_lost_image_is_a_failure(place: Path) -> None:
    found = command("match", "--pairs", "pairs.jsonl", "--json")
    document = json.loads(found.out)
    assert [each["group"] for each in document["records"]] == [True, False]
    assert document["summary"]["text"]["value"] == 0.5 and "text 50.0 %" in found.err
    (place / "photos" / "blue.png").unlink()
    lost = command("match", "--pairs", "pairs.jsonl", "--jsonl")
    first, second = map(json.loads, lost.out.splitlines())
    assert lost.code == 1 and first["error"]["kind"] == "not-found" and second["text"] is False
    assert b"error" in command("match", "--pairs", "pairs.jsonl").out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "nothing to match"),
        (("photos",), "photos: no captions"),
        (("photos", "gone.txt"), "no such label file"),
        (("photos", "red,nothing"), "'nothing': not among the 11 classes"),
        (("photos", "red,blue", "--pairs", "pairs.jsonl"), "the file names the images"),
        (("--pairs", "gone.jsonl"), "cannot be read"),
        (("--pairs", "pairs.jsonl", "-r"), "--recursive"),
        (("photos", "red,blue", "--score", "vote"), "votes"),
        (("photos", "red,blue", "--force"), "none is named"),
        (("photos", "red,blue", "--wide", "--json"), "--wide"),
        (("photos", "red,blue", "-o", "x.csv"), "its suffix names no format"),
    ],
)
def test_what_cannot_be_matched_is_a_usage_error(arguments: tuple[str, ...], why: str, place: Path) -> None:
    found = command("match", *arguments)
    assert (found.code, found.out) == (2, b"") and why in found.err


@pytest.mark.parametrize("suffix", ["json", "txt", "jsonl"])
@pytest.mark.parametrize("ending", [KeyboardInterrupt(), BigainError("out of memory", "one image does not fit", "")])
def test_a_command_that_is_ended_writes_the_matches_so_far(
    ending: BaseException,
    suffix: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    matches = CaptionMatching.matches

    def interrupted(self: CaptionMatching, images: Any) -> Any:
        yield from itertools.islice(matches(self, images), 2)
        raise ending

    monkeypatch.setattr(CaptionMatching, "matches", interrupted)
    with pytest.raises(type(ending)):
        run_command_line(["match", "photos", "captions.txt", "-m", "colours", "-o", f"part.{suffix}"])
    text = (place / f"part.{suffix}").read_text()
    assert "photos/blue.png" in text and "photos/green.png" in text and "photos/red.png" not in text
    assert f"part.{suffix} has the matches so far" in capsys.readouterr().err
