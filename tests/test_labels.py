"""Labels survive every format, errors name the line, and articles fit."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import odd_images
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain_cli.errors import UsageError
from bigain_cli.labels import DEFAULT_TEMPLATE, Label, presets, prompts_for, read_labels
from bigain_cli.labels.label_files import from_csv, from_json, from_lines, from_list

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")
ROOT = Path(__file__).parents[1]
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)
entries = st.dictionaries(words, st.lists(words, unique=True, max_size=3), min_size=1)


def labels_of(found: dict[str, list[str]]) -> tuple[Label, ...]:
    return tuple(Label(name, tuple(prompts)) for name, prompts in found.items())


def refused(spec: str, **known: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_labels(spec, known)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@given(entries, st.sampled_from(["\n", "\r\n", "\n\n", "\n# a comment\n", "  \n"]), st.sampled_from(["", "\n"]))
def test_lines_give_back_any_labels(found: dict[str, list[str]], end: str, last: str) -> None:
    found = {name: prompts for name, prompts in found.items() if not name.startswith("#")} or {"a": []}
    text = end.join("\t".join([name, *prompts]) for name, prompts in found.items()) + last
    assert from_lines(text, "x") == labels_of(found)


@given(entries, st.booleans(), st.sampled_from([None, 1]))
def test_json_gives_back_any_labels(found: dict[str, list[str]], ascii_only: bool, indent: int | None) -> None:
    assert from_json(json.dumps(found, ensure_ascii=ascii_only, indent=indent), "x") == labels_of(found)
    assert from_json(json.dumps(list(found)), "x") == tuple(Label(name) for name in found)


@given(entries, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_csv_gives_back_any_labels(found: dict[str, list[str]], indexed: bool, end: str) -> None:
    found = {name: prompts or ["a prompt"] for name, prompts in found.items()}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator=end)
    writer.writerow(["prompt", "classname", *(["classidx"] if indexed else []), "remark"])
    for index, (name, prompts) in enumerate(found.items()):
        writer.writerows([prompt, name, *([index] if indexed else []), "x"] for prompt in prompts)
    assert from_csv(buffer.getvalue(), "x") == labels_of(found)


@given(st.lists(words.filter(lambda word: "," not in word), min_size=1, unique=True))
def test_an_inline_list_gives_back_any_names(names: list[str]) -> None:
    assert from_list(" , ".join(names), "x") == tuple(Label(name) for name in names)


@given(st.text(), st.sampled_from([from_lines, from_json, from_csv, from_list]))
def test_any_text_is_labels_or_a_usage_error(text: str, parse) -> None:
    try:
        labels = parse(text, "origin")
    except UsageError as error:
        assert str(error).startswith("origin")
    else:
        names = [label.name for label in labels]
        assert names == [name.strip() for name in names]
        assert all(names)
        assert len(set(names)) == len(names) > 0


def test_a_path_comes_before_a_preset_and_a_preset_before_a_list(here: Path) -> None:
    preset = here / "somewhere.csv"
    preset.write_text("prompt,classname,classidx\na photo of a cat.,cat,0\n")
    found = read_labels("pets", {"pets": preset})
    assert (found.labels, found.origin) == ((Label("cat", ("a photo of a cat.",)),), "preset pets")
    (here / "pets").write_text("dog\nC# #1\n")
    found = read_labels("pets", {"pets": preset})
    assert (found.labels, found.origin) == ((Label("dog"), Label("C# #1")), "file pets")
    found = read_labels("cat, dog", {"pets": preset})
    assert (found.labels, found.origin) == ((Label("cat"), Label("dog")), "inline list")
    names = [f"label {number}" for number in range(2000)]  # no file can have such a name
    assert read_labels(",".join(names), {}).labels == tuple(map(Label, names))
    (here / "cat, dog").write_text("bird")
    assert read_labels("cat, dog", {}).origin == "file cat, dog"


def test_a_folder_of_images_does_not_hide_a_preset_of_its_name(here: Path) -> None:
    preset = here / "x.csv"
    preset.write_text("prompt,classname\na cat,cat\n")
    (here / "pets").mkdir()
    assert read_labels("pets", {"pets": preset}).origin == "preset pets"
    assert refused("pets") == "pets: a folder, not a label file. Name a text, CSV or JSON file in it."
    assert refused("pets/", pets=preset).startswith("pets/: a folder, not a label file")


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json"])
def test_byte_order_marks_and_line_ends_do_not_matter(here: Path, suffix: str) -> None:
    text = {
        ".txt": "cat\r\n\r\ndog\r\n",
        ".csv": "prompt,classname\r\na,cat\r\n\r\nb,dog\r\n",
        ".json": '["cat",\r\n"dog"]',
    }
    (here / f"x{suffix}").write_bytes(b"\xef\xbb\xbf" + text[suffix].encode())
    assert [label.name for label in read_labels(f"x{suffix}", {}).labels] == ["cat", "dog"]


INLINE = "An inline list has commas: cat,dog. One label alone ends with one: -l cat, --reject."


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pets.txt", "pets.txt: no such label file. Check the path."),
        ("a,b.csv", "a,b.csv: no such label file. Check the path, or name a preset: pets, food."),
        (
            "lists/pets",
            "lists/pets: no such label file. Did you mean pets? Check the path, or name a preset: pets, food.",
        ),
        (
            "pet",
            "labels 'pet': neither a file nor a preset. Did you mean pets? Presets: pets, food. " + INLINE,
        ),
        (
            "zzz",
            "labels 'zzz': neither a file nor a preset. Presets: pets, food. " + INLINE,
        ),
        ("-", "label file -: labels are not read from stdin. Name a file, or write cat,dog."),
        ("cat,,dog", "inline list, entry 2: an empty label. Remove it, or give it a name."),
        ("cat,dog,", "inline list, entry 3: an empty label. Remove it, or give it a name."),
        ("cat, dog,cat ", "inline list, entry 3: the label 'cat' is on entry 1 already. Remove one of the two."),
        ("caf\udce9,cat", "inline list, entry 1: not UTF-8 text. Save it as UTF-8."),
    ],
)
def test_the_error_of_a_wrong_specification_gives_the_reason(spec: str, message: str) -> None:
    known = {"pets": Path("/nowhere"), "food": Path("/nowhere")} if "pets." not in spec else {}
    assert refused(spec, **known) == message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"", "x.txt: the file is empty"),
        ("x.txt", b"\xef\xbb\xbf \n", "x.txt: the file is empty"),
        ("x.txt", b"# only\n", "x.txt: holds no labels"),
        ("x.txt", b"cat\n\ndog\n cat\t a cat\n", "x.txt, line 4: the label 'cat' is on line 1 already"),
        ("x.txt", b"cat\n\ta dog\n", "x.txt, line 2: an empty label"),
        ("x.txt", b"cat\ncaf\xe9\n", "x.txt, line 2: not UTF-8 (byte 0xe9)"),
        ("x.txt", "cat\ndog".encode("utf-16-le"), "x.txt, line 1: not UTF-8 text"),
        ("x.csv", b"name,text\n", "x.csv, line 1: expected the header prompt,classname,classidx, found 'name,text'"),
        ("x.csv", b"prompt,classname\n", "x.csv: holds no labels"),
        ("x.csv", b"prompt,classname\na cat\n", "x.csv, line 2: only 1 columns"),
        ("x.csv", b"prompt,classname\n,cat\n", "x.csv, line 2: an empty prompt"),
        ("x.csv", b"prompt,classname\n\n\na cat, \n", "x.csv, line 4: an empty label"),
        (
            "x.csv",
            b"prompt,classname,classidx\na,crane,0\nb,cat,1\nc,crane,2\n",
            "x.csv, line 4: the label 'crane' is on line 2 already with classidx 0",
        ),
        (
            "x.csv",
            b"prompt,classname,classidx\na,cat,0\nb,dog,0\n",
            "x.csv, line 3: classidx 0 is 'cat' on line 2 already",
        ),
        (
            "x.csv",
            b"prompt,classname\na,cat\na,cat\n",
            "x.csv, line 3: the label 'cat' is on line 2 already with this prompt",
        ),
        ("x.csv", b'prompt,classname\n"a,cat\n', "x.csv, line 2: not valid CSV (unexpected end of data)"),
        (
            "x.json",
            b'{"cat": "a",\n "dog": ["cat"],\n "cat": "b"}',
            "x.json, line 3: the label 'cat' is on line 1 already",
        ),
        ("x.json", b'["cat",\n\n"dog", " cat"]', "x.json, line 3: the label 'cat' is on line 1 already"),
        ("x.json", b'["cat",\n]', "x.json, line 2: not valid JSON"),
        ("x.json", b"[]", "x.json: holds no labels"),
        ("x.json", b'"cat"', "x.json: neither an object nor an array"),
        ("x.json", b'{"cat": {"a": 1}}', "x.json, line 1: label 'cat' or its prompts are not strings"),
        ("x.json", b"[1, 2]", "x.json, at its end: label 1 or its prompts are not strings"),
        ("x.json", b'["\\ud800"]', "x.json, line 1: not UTF-8 text"),
        ("x.json", b"[" * 200_000, "x.json: nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_line(here: Path, name: str, content: bytes, message: str) -> None:
    (here / name).write_bytes(content)
    assert refused(name).startswith(message)


def test_a_label_file_without_permission(here: Path) -> None:
    powers = odd_images.without_root_powers()
    if powers is None:
        pytest.skip("runs as root, and setpriv is not there to take its powers away")
    (here / "x.txt").write_text("cat")
    (here / "x.txt").chmod(0)
    code = "from bigain_cli.labels import read_labels; read_labels('x.txt', {})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*powers, sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "UsageError: x.txt: no permission to read it" in done.stderr


def test_presets_are_csv_files_with_the_package() -> None:
    found = presets()
    assert {"pets", "imagenet", "cifar10"} <= set(found)
    assert all(path.is_file() and path.stem == name for name, path in found.items())


def test_a_label_s_prompts_come_before_templates_unless_overridden() -> None:
    label = Label("cat", ("a cat", "a kitten"))
    assert prompts_for(label, ["a {}"]) == ("a cat", "a kitten")
    assert prompts_for(label, ["a {}", "my {}"], override=True) == ("a cat", "my cat")
    assert prompts_for(Label("cat"), ()) == ("a photo of a cat.",)
    with pytest.raises(UsageError, match=r"template 'a cat': has no \{\} for the label"):
        prompts_for(Label("cat"), ["a cat"])


@given(words, st.sampled_from(["{}", "my {}", "{} here, {} there", "ana {}"]))
def test_a_template_without_an_article_leaves_the_name_unchanged(name: str, template: str) -> None:
    assert prompts_for(Label(name), [template]) == (template.replace("{}", name),)


AN = """airplane eye Owl hour honest-man heir hourglass umbrella uninhabited igloo X-ray F-16 8-bit 18-wheeler éclair
onion A-10 usher urn Über"""
A = """cat unicorn European one-way Unicycle user ukulele union house hotel honeycomb ewe 747 T-shirt U-boat yak Ñandú
utensil 180"""


@pytest.mark.parametrize(("names", "article"), [(AN.split(), "an"), (A.split(), "a")])
def test_articles_depend_on_the_sound(names: list[str], article: str) -> None:
    filled = [prompts_for(Label(name), [DEFAULT_TEMPLATE])[0] for name in names]
    assert filled == [f"a photo of {article} {name}." for name in names]


@pytest.mark.parametrize(
    ("template", "name", "expected"),
    [
        ("an {}", "cat", "a cat"),
        ("A {}", "owl", "An owl"),
        ("a photo of a {}.", "the moon", "a photo of the moon."),
        ("A {}", "a cat", "A cat"),
        ("the {}", "cat", "the cat"),
        ("the {}", "a cat", "a cat"),
        ("pizza {}", "owl", "pizza owl"),
        ("a {} and a {}", "owl", "an owl and an owl"),
        ("a photo of a big {}.", "owl", "a photo of a big owl."),
    ],
)
def test_a_template_s_article_fits_the_name(template: str, name: str, expected: str) -> None:
    assert prompts_for(Label(name), [template]) == (expected,)
