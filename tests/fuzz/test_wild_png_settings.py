"""Images that say how they were generated, wildly: a request to generate them again, or a refusal in words."""

from __future__ import annotations

import shlex
from pathlib import Path
from random import Random

import pytest
from fuzz_cases import check, generator, wild_bytes, wild_json, wild_value
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bigain_cli.cli.generate_request import request_again
from bigain_cli.generation.png_settings import read_previous
from bigain_cli.version import __version__

FAST, ALL = 300, 6_000
ONE = {
    "prompt": "red",
    "seed": 3,
    "version": __version__,
    "model": "colours",
    "weights": "closed-form",
    "negative": "",
    "sampler": "ddim",
    "steps": 4,
    "guidance": 2.0,
    "size": [32, 32],
    "compress": "none",
    "dtype": "float32",
    "batch": 4,
    "libraries": {"torch": "2", "diffusers": "0"},
}
GRID = {**{name: value for name, value in ONE.items() if name != "prompt"}, "prompts": ["red", "-o"], "count": 2}
HUGE = (10**10, 10**12, 10**30, 2**63, -(10**30), 1e300)


def wild_settings(dice: Random) -> str:
    """Return settings with changes, some of them numbers without measure."""
    settings = dict(dice.choice([ONE, GRID, GRID | {"zoom": "2"}]))
    if dice.random() < 0.4:
        settings[dice.choice(sorted(settings))] = dice.choice([*HUGE, wild_value(dice)])
    return wild_json(dice, settings)


def wild_png(dice: Random) -> bytes:
    """Return an image with such settings; at times its bytes are changed, too."""
    import io

    about, stream = PngInfo(), io.BytesIO()
    text = wild_settings(dice).encode("ascii", "backslashreplace").decode()
    add = dice.choice([about.add_text, about.add_itxt])
    add("bigain" if dice.random() < 0.95 else "other", text)
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=about)
    return wild_bytes(dice, stream.getvalue()) if dice.random() < 0.2 else stream.getvalue()


def again(path: Path) -> None:
    """Read the settings, and everything that the command says of them before it loads a model."""
    previous = read_previous(str(path))
    words = shlex.split(previous.command("colours"))
    assert tuple(words[words.index("--") + 1 :]) == previous.prompts
    list(previous.differences({"version": "0", "libraries": {}}))
    request_again(str(path), None, "cpu", str(path.with_name("out.png")), True, False).check()


def run_case(number: int, place: Path) -> str:
    """Read one wild image."""
    path = place / "image.png"
    path.write_bytes(wild_png(generator("png settings", number)))
    return check(lambda: again(path))


def test_some_wild_settings(tmp_path: Path) -> None:
    assert {run_case(number, tmp_path) for number in range(FAST)} == {"accepted", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_wild_settings(part: int, tmp_path: Path) -> None:
    for number in range(FAST + part, ALL, 10):
        run_case(number, tmp_path)
