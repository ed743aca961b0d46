"""`bigain generate` as its users meet it: files and folders, pipes, mistakes, runs that end before their time."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, environment, run, start, warm
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_classify_command import terminal

import bigain_cli as bigain
from bigain_cli.errors import UsageError
from bigain_cli.generation.image_paths import image_names
from bigain_cli.generation.png_settings import check_types

FAST = ("-m", "colours", "--steps", "4")
Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return lambda *arguments, **options: warm("generate", *arguments, cwd=tmp_path, **options)


def settings(path: Path) -> dict:
    with Image.open(path) as image:
        return json.loads(image.info["bigain"])


def extent(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_written_and_can_be_generated_again_to_the_same_bytes(command: Command, tmp_path: Path) -> None:
    first = command("red", *FAST, "--seed", "3", "--sampler", "euler-a", "--guidance", "2", "-o", "red.png")
    assert (first.code, first.out) == (0, b"red.png\n")
    assert re.fullmatch(r"bigain: 1 image in [\d.]+ s → red.png\n", first.err)
    said = settings(tmp_path / "red.png")
    assert {"version", "model", "weights", "dtype", "compress", "sampler", "libraries", "batch"} < said.keys()
    assert (said["prompt"], said["seed"], said["steps"], said["size"]) == ("red", 3, 4, [8, 8])
    again = command("--again", "red.png", "-o", "again.png", env={"BIGAIN_MODEL": "nonsense/model"})
    assert again.code == 0 and again.err.endswith(" → again.png\n") and again.err.count("\n") == 1
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "red.png").read_bytes()


def test_the_library_writes_the_files_of_the_command(command: Command, tmp_path: Path) -> None:
    assert command("red", *FAST, "--seed", "3", "-o", "command.png").code == 0
    (sample,) = bigain.generate(bigain.load("colours", "cpu"), "red", seed=3, steps=4)
    sample.save(tmp_path / "library.png")
    assert (tmp_path / "library.png").read_bytes() == sample.png() == (tmp_path / "command.png").read_bytes()
    assert command("--again", "library.png", "-o", "again.png").code == 0
    assert (tmp_path / "again.png").read_bytes() == sample.png()


def test_saving_an_image_replaces_a_file_only_with_permission(tmp_path: Path) -> None:
    (sample,) = bigain.generate("colours", "red", steps=2)
    path = tmp_path / "mine.png"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        sample.save(path)
    assert path.read_bytes() == b"mine"
    sample.save(str(path), replace=True)
    with pytest.raises(UsageError, match=r"photo\.jpg: only PNG files are written"):
        sample.save("photo.jpg")
    assert path.read_bytes() == sample.png()


GRIDS = (("red", "blue", "-n", "3"), ("red", "blue", "--zoom", "3:lanczos"), ("red", "-n", "7", "--zoom", "1"))


@pytest.mark.parametrize("arguments", GRIDS)
def test_a_grid_too_can_be_generated_again(arguments: tuple[str, ...], command: Command, tmp_path: Path) -> None:
    made = command(*arguments, *FAST, "--grid", "-o", "grid.png")
    assert made.code == 0 and ("enlarged 16 times in the grid" in made.err) == ("--zoom" not in arguments)
    again = command("--again", "grid.png")
    assert again.out == b"grid-0.png\n" and again.err.count("\n") == 1
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / "grid-0.png").read_bytes()


def test_a_grid_of_an_earlier_version_is_generated_again_as_it_was(command: Command, tmp_path: Path) -> None:
    samples = list(bigain.generate("colours", ["red", "blue"], count=3, steps=4))
    bigain.arrange(samples, captions=False).save(tmp_path / "old.png")
    assert "zoom" not in settings(tmp_path / "old.png") and extent(tmp_path / "old.png") == (24, 16)
    assert command("--again", "old.png").code == 0
    assert (tmp_path / "old.png").read_bytes() == (tmp_path / "grid-0.png").read_bytes()


def test_an_enlarged_image_says_so_and_is_the_librarys(command: Command, tmp_path: Path) -> None:
    made = command("red", *FAST, "--zoom", "8", "-o", "large.png", "--jsonl")
    assert extent(tmp_path / "large.png") == (64, 64) and made.err.count("\n") == 1
    assert settings(tmp_path / "large.png")["zoom"] == made.records[0]["settings"]["zoom"] == "8"
    (sample,) = bigain.generate("colours", "red", steps=4)
    assert sample.enlarged(8).png() == (tmp_path / "large.png").read_bytes()
    assert sample.enlarged(1).png() == sample.png() and "zoom" not in sample.settings
    assert command("--again", "large.png", "-o", "again.png").code == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "large.png").read_bytes()
    grid = bigain.arrange(bigain.generate("colours", ["red", "blue"], count=2, steps=4))
    assert command("red", "blue", *FAST, "-n", "2", "--grid", "-q", "-o", "grid.png").code == 0
    assert grid.png() == (tmp_path / "grid.png").read_bytes()
    assert grid.to_dict().keys() == {"prompts", "seed", "count", "settings"} and grid.settings["zoom"] == "16"


def test_an_image_is_the_same_file_whatever_is_generated_beside_it(command: Command, tmp_path: Path) -> None:
    many = command("green", "red", *FAST, "-n", "5", "-o", "many")
    assert many.out.decode().split() == [
        f"many/{colour}-{seed}.png" for colour in ("green", "red") for seed in range(5)
    ]
    command("red", *FAST, "--seed", "3")
    assert (tmp_path / "red-3.png").read_bytes() == (tmp_path / "many" / "red-3.png").read_bytes()
    piped = command("red", *FAST, "--seed", "3", "-o", "-")
    assert piped.out == (tmp_path / "red-3.png").read_bytes()


def test_prompts_come_from_lists_and_records_hold_what_was_generated(command: Command, tmp_path: Path) -> None:
    listed = "\ufeff# colours\r\nblue\r\n\r\n  yellow \r\n".encode()
    made = command("red", *FAST, "--prompts-from", "-", "-o", "out/deep/", "--jsonl", input=listed)
    assert made.code == 0 and files(tmp_path / "out/deep") == ["blue-0.png", "red-0.png", "yellow-0.png"]
    assert [record["prompt"] for record in made.records] == ["red", "blue", "yellow"]
    for record in made.records:
        said = settings(tmp_path / record["id"])
        assert {**said, "id": record["id"]} == {**record.pop("settings"), **record}


def test_prompts_that_would_have_one_name_have_two(command: Command, tmp_path: Path) -> None:
    made = command("grey", "gray", "GREY", *FAST, "-n", "2", "-o", "x/")
    names = ["grey-0.png", "grey-1.png", "gray-0.png", "gray-1.png", "grey-2-0.png", "grey-2-1.png"]
    assert made.out.decode().split() == [f"x/{name}" for name in names] and files(tmp_path / "x") == sorted(names)
    odd = image_names(("grey", "GREY!?", "", "ünïcode"), 1, 0)
    assert odd == ["grey-0.png", "grey-2-0.png", "empty-0.png", "ünïcode-0.png"]


def test_images_are_classified_as_what_they_were_generated_as(tmp_path: Path) -> None:
    colours = ["red", "green", "blue"]
    assert warm("generate", *colours, "-n", "4", "-m", "colours", "-o", "generated/", cwd=tmp_path).code == 0
    found = warm("classify", "generated/", "-l", ",".join(colours), "-m", "colours", "--jsonl", cwd=tmp_path)
    assert found.code == 0 and len(found.records) == 12
    assert all(record["id"].startswith(f"generated/{record['label']}-") for record in found.records)


def test_a_terminal_sees_progress_and_stdout_stays_the_same(command: Command, tmp_path: Path) -> None:
    plain = command("red", *FAST, "-n", "9", "-o", "plain/")
    with terminal() as (tty, shown):
        watched = command("red", *FAST, "-n", "9", "-o", "plain/", "--force", stderr=tty)
    assert watched.out == plain.out and b"steps" in shown and b"left" in shown
    assert b"loading colours" in shown and shown.rstrip().endswith("s → plain".encode())
    assert re.fullmatch(r"bigain: 9 images in [\d.]+ s → plain\n", plain.err), "there is no bar without a terminal"
    with terminal() as (tty, shown):
        command("red", *FAST, "-o", "plain/", "--force", "-q", stderr=tty)
    assert not shown


def test_verbose_names_settings_and_compression(models, command: Command) -> None:
    made = command("1", "-m", str(models["dit"]), "--steps", "2", "--merge", "0.5", "--kv", "2", "-v", "-o", "a.png")
    assert made.code == 0 and made.out == b"a.png\n"
    assert '"compress": "lgtm:0.5+iekvd:2@0.9"' in made.err and "GFLOP" in made.err


def test_a_model_that_moved_is_named_and_another_is_refused(models, command: Command, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(models["dit"])
    assert command("tabby", "-m", "./here", "--steps", "2", "-c", "lgtm:0.5", "-o", "cat.png").code == 0
    (tmp_path / "here").rename(tmp_path / "there")
    lost = command("--again", "cat.png", "-o", "copy.png")
    assert lost.code == 2 and "no such folder" in lost.err
    assert command("--again", "cat.png", "-o", "copy.png", "-m", "./there").code == 0
    assert (tmp_path / "cat.png").read_bytes() == (tmp_path / "copy.png").read_bytes()
    other = command("--again", "cat.png", "-o", "other.png", "-m", "colours")
    assert other.code == 2 and "not the weights that generated cat.png" in other.err
    assert "bigain generate -c lgtm:0.5 --sampler ddim --steps 2 --guidance 4.0 --seed 0" in other.err
    assert other.err.rstrip().endswith(" -- tabby")


def altered(path: Path, **changes: object) -> None:
    entries = PngInfo()
    entries.add_text("bigain", json.dumps({**settings(path), **changes}))
    with Image.open(path) as image:
        image.save(path.with_name("altered.png"), pnginfo=entries)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "9.0.0"}, "bigain 9.0.0 generated it and"),
        ({"weights": "other"}, "not the weights that generated"),
        ({"steps": "many"}, "cannot be"),
        ({"sampler": "newest"}, "unknown sampler"),
        ({"size": None}, "cannot be"),
        ({"prompt": 5, "seed": [1]}, "cannot be"),
    ],
)
def test_settings_that_do_not_hold_here_are_refused(changes, message: str, command: Command, tmp_path: Path) -> None:
    command("red", *FAST, "-o", "red.png")
    altered(tmp_path / "red.png", **changes)
    refused = command("--again", "altered.png", "-o", "again.png")
    assert refused.code == 2 and message in refused.err and "Traceback" not in refused.err
    assert not (tmp_path / "again.png").exists()


def test_other_libraries_are_noted(command: Command, tmp_path: Path) -> None:
    command("red", *FAST, "-o", "red.png")
    altered(tmp_path / "red.png", libraries={"torch": "1.0"})
    again = command("--again", "altered.png", "-o", "again.png")
    assert again.code == 0 and "the last bits may differ" in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no prompt: nothing to generate."),
        (["--prompts-from", "/dev/null"], "no prompt: /dev/null holds none."),
        (["--prompts-from", "absent.txt"], "--prompts-from absent.txt: No such file"),
        (["--prompts-from", "latin.txt"], "--prompts-from latin.txt, line 2: not UTF-8"),
        (["red", "red"], "prompt 'red': given 2 times"),
        (["red", " red  "], "prompt 'red': given 2 times"),
        (["red", "-n", "0"], "-n 0: must be at least 1"),
        (["red", "--steps", "0"], "--steps 0: must be at least 1"),
        (["red", "--size", "big"], "--size big: not WIDTHxHEIGHT"),
        (["red", "--size", "512x512"], "--size 512x512: colours generates images of 8x8 only"),
        (["red", "--sampler", "dpm"], "--sampler dpm: unknown sampler. Did you mean"),
        (["red", "--guidance", "1", "--negative", "blue"], "does nothing without guidance"),
        (["red", "-c", "lgtm:0.5"], "compression 'lgtm:0.5"),
        (["red", "-c", "nonsense:1"], "nonsense"),
        (["red", "--zoom", "0"], "--zoom 0: not a whole number from 1 to 64, alone or with :nearest or :lanczos."),
        (["red", "--zoom", "1.5"], "--zoom 1.5: not a whole number"),
        (["red", "--zoom", "4:cubic"], "--zoom 4:cubic: not a whole number from 1 to 64, alone or with :nearest"),
        (["red", "--zoom", "999999999999"], "--zoom 999999999999: not a whole number"),
        (["red", "-n", "400", "--grid", "--zoom", "64"], "a grid of 400 images: "),
        (["--again", "there.png", "--zoom", "2"], "--again with --zoom"),
        (["crimson"], "label 'crimson': not among the 11 classes"),
        (["red", "-o", "latin.txt/"], "latin.txt: exists and is no folder"),
        (["red", "-o", "x.jpg"], "-o x.jpg: only PNG files are written: they carry their settings. Use x.png"),
        (["red", "-n", "2", "-o", "x.png"], "-o x.png: one file for 2 images"),
        (["red", "-n", "2", "-o", "-"], "-o -: one file for 2 images"),
        (["red", "-o", "-", "--jsonl"], "both go to stdout"),
        (["red", "-o", "there.png"], "there.png: exists. --force"),
        (["red", "-n", "3", "-o", "full"], "full/red-1.png: exists. --force"),
        (["red", "-o", "there.png/x/"], "there.png/x: cannot be made"),
        (["red", "-o", "no/such/x.png"], "the folder no/such does not exist"),
        (["red", "-o", "/proc/none/"], "/proc/none: cannot be made"),
        (["red", "--dtype", "float8"], "--dtype float8: unknown"),
        (["--again", "there.png", "red"], "--again with a prompt"),
        (["--again", "there.png", "--steps", "3"], "--again with --steps"),
        (["--again", "there.png", "-o", "x.png"], "there.png: no settings in it"),
        (["--again", "absent.png"], "absent.png: No such file"),
        (["--again", "latin.txt"], "latin.txt: not a PNG"),
    ],
)
def test_a_mistake_is_named_in_one_line_and_nothing_is_written(
    arguments, message: str, command: Command, tmp_path: Path
):
    Image.new("RGB", (2, 2)).save(tmp_path / "there.png")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "red-1.png").touch()
    (tmp_path / "latin.txt").write_bytes(b"red\nbl\xe9u\n")
    before = sorted(tmp_path.rglob("*"))
    fast = () if "--again" in arguments else ("-m", "colours")
    failed = command(*arguments, *fast)
    assert failed.code == 2 and failed.out == b""
    assert failed.err.startswith("bigain: ") and failed.err.count("\n") == 1 and message in failed.err
    assert sorted(tmp_path.rglob("*")) == before


def test_force_replaces(command: Command, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_text("old")
    assert command("red", *FAST, "-o", "red.png", "--force").code == 0
    assert settings(tmp_path / "red.png")["prompt"] == "red"


def test_a_prompt_that_is_not_unicode_is_a_mistake(tmp_path: Path) -> None:
    failed = run("generate", b"r\xe9d", "-m", "colours", cwd=tmp_path)
    assert failed.code == 2 and "not UTF-8" in failed.err


def test_mistakes_and_help_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from bigain_cli.cli.exit_codes import run_command\n"
        "sys.argv = ['bigain', *sys.argv[1:]]\n"
        "code = run_command()\n"
        "sys.exit(70 if {'torch', 'numpy'} & set(sys.modules) else code)\n"
    )
    for arguments, expected in ((["red", "--steps", "0"], 2), (["--help"], 0)):
        script = [sys.executable, "-c", code, "generate", *arguments]
        plain = environment()
        assert subprocess.run(script, cwd=tmp_path, capture_output=True, env=plain).returncode == expected


def wait_for(process, folder: Path, count: int) -> None:
    until = time.monotonic() + 90
    while not folder.exists() or len(list(folder.glob("*.png"))) < count:
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_run_leaves_whole_images(number: int, code: int, tmp_path: Path) -> None:
    options = ("-n", "4000", "-m", "colours", "--steps", "50", "-o", "out/")
    with start("generate", "red", *options, cwd=tmp_path) as process:
        wait_for(process, tmp_path / "out", 5)
        process.send_signal(number)
        assert process.wait(20) == code
        out, err = process.communicate()
    assert b"Traceback" not in err and sum(b" left" not in line for line in err.splitlines()) <= 2, "with its plan"
    left = list((tmp_path / "out").glob("*.png"))
    assert 5 <= len(left) < 4000
    for path in left:
        Image.open(io.BytesIO(path.read_bytes())).load()
    assert number == signal.SIGKILL or len(files(tmp_path / "out")) == len(left)
    assert set(out.decode().split()) <= {f"out/{path.name}" for path in left}


def test_a_closed_pipe_ends_the_run_quietly(tmp_path: Path) -> None:
    with start(
        "generate", "red", "-n", "4000", "-m", "colours", "--steps", "20", "-o", "out/", cwd=tmp_path
    ) as process:
        assert process.stdout.readline() == b"out/red-0.png\n"
        process.stdout.close()
        assert process.wait(60) == 0
        said = process.stderr.read().decode().splitlines()
        assert all("images × 20 steps on cpu" in line or " left" in line for line in said)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sampler", 7), ("sampler", None), ("compress", 5), ("seed", 1e400), ("seed", True), ("steps", 5.5), ("size", 8)],
)
def test_altered_settings_are_refused_by_name(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"its setting '{name}' cannot be"):
        check_types("a.png", {name: value})
