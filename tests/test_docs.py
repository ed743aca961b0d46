"""The README and docs/: transcripts, examples, options, links and numbers in them are what they say."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import doc_pages
import make_doc_images
import pytest
import typer
import write_option_docs
from commands import warm
from doc_pages import DOCS, README, ROOT
from write_transcripts import ENVIRONMENT, run_in_shell, run_steps

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.app import VERBS, app
from bigain_cli.compress import parse
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.labels import presets

PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in doc_pages.pages()}
SLOW = "README docs/reading-answers docs/recipes docs/output-format docs/compress"  # their transcripts
OTHER_PROGRAMS = {"--index-url", "--torch-backend", "--unshared"}  # options that are not bigain's
COMMAND: Any = typer.main.get_command(app)
CLOCK = re.compile(r"\b\d+(?:\.\d+)? ?(?:s|ms|min|h|days)\b|\b\d+(?::\d\d)+\b")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def runs(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow) if name.removesuffix(".md") in SLOW.split() else name


# Transcripts and examples.


def run_warm(command: str, folder: Path) -> str:
    """Run a plain `bigain` command in the warmed interpreter, and anything else in a shell."""
    if not command.startswith("bigain ") or set(command) & set("|&;<>$`*("):
        return run_in_shell(command, folder)
    both = folder / ".printed"
    environment = {**ENVIRONMENT, "HF_HUB_CACHE": str(folder / ".hub")}
    warm(*shlex.split(command.replace("\\\n", ""))[1:], cwd=folder, env=environment, stdout=str(both), stderr=str(both))
    printed = both.read_text()
    both.unlink()
    return printed


def same(shown: str, printed: str) -> bool:
    """Compare word by word: clock readings do not count, numbers agree as far as other machines let them."""
    one, other = (CLOCK.sub("", text) for text in (shown, printed))
    if NUMBER.sub("#", " ".join(one.split())) != NUMBER.sub("#", " ".join(other.split())):
        return False
    return all(map(near, NUMBER.findall(one), NUMBER.findall(other)))


def near(shown: str, printed: str) -> bool:
    """Compare numbers: whole ones exactly, others to two units of the last digit that is shown, or to 2 %."""
    if shown == printed:
        return True
    if not any("." in text or "e" in text for text in (shown, printed)):
        return False
    digits = len(shown.partition("e")[0].partition(".")[2])
    unit = 10.0 ** (int(shown.partition("e")[2] or 0) - digits)
    return math.isclose(float(shown), float(printed), rel_tol=0.02, abs_tol=2 * unit)


def test_what_counts_as_the_same_output() -> None:
    assert same("a  0.95 in 36 s", "a 0.94 in 1.2 s") and same("1e-05", "1.1e-05")
    assert not same("80 evals", "88 evals") and not same("cat 0.95", "dog 0.95") and not same("0.95", "0.65")
    assert not same("one\n", "one\ntwo\n")


@pytest.mark.parametrize("name", [runs(name) for name, text in PAGES.items() if "```console" in text])
def test_transcripts_are_what_the_commands_print(name: str, tmp_path: Path) -> None:
    for block in doc_pages.blocks(PAGES[name]):
        for step, printed in run_steps(block.text, tmp_path, run_warm) if block.language == "console" else ():
            assert same(step.output, printed), (
                f"{name} shows for `{step.command}`\n{step.output}\nbut it prints\n{printed}\n"
                f"If it should: python tools/write_transcripts.py {name}"
            )


def tiny_pipeline(folder: Path) -> Any:
    """Return a pipeline of diffusers such as the examples begin with, with random weights."""
    from diffusers import StableDiffusionPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
        pipeline("a photo of a horse", num_inference_steps=1)  # warns of its folder's age once
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if "```python" in text])
def test_python_examples_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = [block.text for block in doc_pages.blocks(PAGES[name]) if block.language == "python"]
    names: dict[str, Any] = {}
    if "pipeline" in "".join(code):
        names["pipeline"] = tiny_pipeline(models["epsilon"])
    for example in code:
        exec(compile(example, name, "exec"), names)
    assert capsys.readouterr().out


# Commands and options.


@pytest.mark.parametrize("name", PAGES)
def test_commands_have_known_verbs_options_and_names(name: str) -> None:
    for words in doc_pages.command_lines(PAGES[name]):
        if not words or words[0].startswith("-") or words[0] in ("VERB", "photo.jpg"):
            continue
        assert words[0] in VERBS, words
        check(words[0], words[1:])


def check(verb: str, words: list[str]) -> None:
    """Parse a command line, and look up what it names."""
    command = COMMAND.commands[verb]
    with command.make_context(verb, [], resilient_parsing=True) as context:
        given, *_ = command.make_parser(context).parse_args([word for word in words if word != "…"])
    for key, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and "$" not in each and each not in ("SPEC", "MODEL"):
                look_up(verb, key, each)


def look_up(verb: str, key: str, value: str) -> None:
    """Refuse the name of a compression, a model, a preset, a schedule, a score or a sampler that does not exist."""
    if key in ("compress", "against"):
        parse(value)
    elif key in ("schedule", "score"):
        StoppingRules(**{key: value})
    elif key == "sampler":
        assert value in SAMPLERS
    elif key == "model" and value not in ("path/to/folder", "model.safetensors", "mymodel", "owner/name"):
        assert resolve(value)
    elif key == "labels" and verb == "classify" and "," not in value and "." not in value:
        assert value in presets() or value in ("cats", "pest", "cat"), value


def test_every_option_that_is_named_exists() -> None:
    params = [param for command in (COMMAND, *COMMAND.commands.values()) for param in command.params]
    known = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    known |= {"--help", "--install-completion", "--show-completion"}
    scripts = "".join(path.read_text() for path in (ROOT / "tools").glob("*.py"))
    of_tools = set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', scripts))
    for name, text in PAGES.items():
        code = " ".join(re.findall(r"`([^`\n]+)`", doc_pages.prose(text)))
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", code))
        ours = {option for option in named if option not in OTHER_PROGRAMS}
        assert not ours - known - of_tools, (name, ours - known - of_tools)


def test_the_options_in_the_docs_are_those_of_the_command() -> None:
    holding = [verb for text in PAGES.values() for verb in write_option_docs.documented(text)]
    assert sorted(holding) == sorted(VERBS), "each verb's options stand in one page"
    for name, text in PAGES.items():
        assert write_option_docs.rewritten(text) == text, f"{name} is old: python tools/write_option_docs.py"


# Links, files, numbers.


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in doc_pages.links(PAGES[name]):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert page == README or found.is_relative_to(DOCS), f"{target}: a site of docs/ has nothing else"
        assert not anchor or anchor in doc_pages.anchors(found.read_text()), target


def test_every_page_is_in_the_index_and_in_the_navigation() -> None:
    names = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    indexes = "".join((DOCS / name).read_text() for name in ("README.md", "measurements.md"))
    linked = {target.partition("#")[0] for target in doc_pages.links(indexes)}
    assert names - {"README.md"} == {target for target in linked if target.endswith(".md")}
    config = (ROOT / "mkdocs.yml").read_text()
    assert set(re.findall(r": ([\w/-]+\.md)$", config, re.M)) == names and "plugins: []" in config


def test_no_file_that_the_text_names_is_missing() -> None:
    for name, text in PAGES.items():
        named = set(re.findall(r"\b(?:tests|tools|bigain_cli|docs|prompts)/[\w./-]*\w", doc_pages.prose(text)))
        assert not [path for path in sorted(named) if not (ROOT / path).exists()], name


def test_images_are_small_and_the_drawing_knows_dark_pages() -> None:
    images = list((DOCS / "images").iterdir())
    assert sum(path.stat().st_size for path in images) < 500_000
    assert "prefers-color-scheme: dark" in (DOCS / "images" / "architecture.svg").read_text()
    shown = {Path(target).name for text in PAGES.values() for target in doc_pages.links(text)}
    assert {path.name for path in images if path.suffix != ".json"} <= shown


def test_every_kind_of_input_error_is_explained() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "bigain_cli").rglob("*.py"))
    kinds = set(re.findall(r'InputError\(\s*"([a-z-]+)"', sources)) | {"not-finite"}
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", PAGES["docs/output-format.md"], re.M))
    assert len(kinds) > 8 and not kinds - explained, kinds - explained


def test_every_key_of_a_record_is_explained(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "teal").save(tmp_path / "teal.png")
    run = warm("classify", "teal.png", "-l", "red,green,blue", "--jsonl", "--timing", "--draws", "4", cwd=tmp_path)
    (record,) = run.records
    keys = {*record, *record["settings"], *record["top"][0]}
    explained = set(re.findall(r"`([a-z_0-9]+)`", PAGES["docs/output-format.md"]))
    assert "contenders" in keys and not keys - explained, keys - explained


def test_tables_of_what_can_be_named_are_complete() -> None:
    from bigain_cli.compress.operators import OPERATORS, OPTIONS
    from bigain_cli.registry import MODELS, SCHEDULES, SCORES

    classify, compress, models = (PAGES[f"docs/{page}.md"] for page in ("classify", "compress", "models-and-gpu"))
    assert all(f"`{name}`" in classify for name in (*SCHEDULES, *SCORES))
    assert all(f"| `{name}` |" in compress for name in OPERATORS) and all(f"`@{name}=" in compress for name in OPTIONS)
    assert all(f"`{name}`" in models for name in MODELS)
    for name, schedule in SCHEDULES.items():
        assert re.search(rf"^\| `{name}`.*\| {schedule.draws} \|$", classify, re.M), name


def test_tables_have_as_many_cells_in_every_row() -> None:
    for name, text in PAGES.items():
        for table in re.findall(r"(?:^\|.*\n)+", doc_pages.prose(text), re.M):
            rows = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in table.splitlines()]
            assert len(set(rows)) == 1, (name, table)


def test_json_examples_are_json() -> None:
    for text in PAGES.values():
        for block in doc_pages.blocks(text):
            if block.language == "json":
                json.loads(block.text)


def test_yaml_examples_are_yaml_and_the_cluster_runs_a_command_that_exists() -> None:
    import yaml

    blocks = [block for text in PAGES.values() for block in doc_pages.blocks(text) if block.language == "yaml"]
    (job,) = [each for each in (yaml.safe_load(block.text) for block in blocks) if each.get("kind") == "RayJob"]
    cluster, words = job["spec"]["rayClusterSpec"], job["spec"]["entrypoint"].split()
    check(words[1], words[2:])
    (worker,) = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1" and cluster["headGroupSpec"]["rayStartParams"]


def test_pages_do_not_depend_on_this_machine() -> None:
    for name, text in PAGES.items():
        assert os.path.expanduser("~") + "/" not in text and "/work/" not in text, name


def test_screenshots_are_of_the_page_and_the_live_table_as_they_are() -> None:
    assert json.loads(make_doc_images.MADE_FROM.read_text()) == make_doc_images.digests(), (
        "the page or the live table has changed: python tools/make_doc_images.py"
    )
