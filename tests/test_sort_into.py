"""`--sort-into`: a copy or link of every classified image in its label's folder, whatever names and labels are."""

from __future__ import annotations

import os
from pathlib import Path

import commands
import pytest
from commands import LABELS, warm
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import Source
from bigain_cli.outputs.file_names import folder_name
from bigain_cli.outputs.label_folders import LabelFolders, check_sorting

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def sort(folders: LabelFolders, given: list[tuple[Source, str | None]]) -> None:
    for source, (_, answer) in zip(folders.watch([source for source, _ in given], {}), given, strict=True):
        folders.add(source.id, answer)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with images: two of one name, a broken one, and one in a subfolder."""
    monkeypatch.chdir(tmp_path)
    commands.gallery(tmp_path / "photos", 3)
    (tmp_path / "other").mkdir()
    commands.image(tmp_path / "other" / "00.png", "red", turn=9)
    (tmp_path / "other" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


@settings(max_examples=200)
@given(texts)
def test_every_label_has_a_folder_of_one_plain_name(label: str) -> None:
    name = folder_name(label)
    assert name and os.path.basename(name) == name and name.strip(" .") == name and len(name.encode()) < 256
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert name == label or name[-13] == "-", "another name ends with a digest"


def test_usual_labels_keep_their_names() -> None:
    for label in ("cat", "St. Bernard", "bird's nest", "jack-o'-lantern", "Ägyptische Mau", "none", "a, b"):
        assert folder_name(label) == label
    names = [folder_name(label) for label in ("..", ".", "a/b", "a\\b", "../a", "x" * 300, ".hidden", "dot.")]
    assert len(set(names)) == len(names) and all(name[-13] == "-" for name in names)


def test_labels_that_differ_in_case_only_have_folders_that_differ_in_more(tmp_path: Path) -> None:
    folders = LabelFolders(str(tmp_path), ["Cat", "cat"])
    (tmp_path / "a").write_bytes(b"a")
    sort(folders, [(Source("1", data=b"\x89PNG\r\n\x1a\n1"), "Cat"), (Source("2", data=b"\x89PNG\r\n\x1a\n2"), "cat")])
    made = [entry.name.casefold() for entry in tmp_path.iterdir() if entry.is_dir()]
    assert len(set(made)) == 2 and "cat" in made


def test_files_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"same" if name != "c" else b"other")
    given = [(Source(str(path), path=str(path)), "cat") for path in sorted(tmp_path.glob("*/1.jpg"))]
    for _ in range(2):  # again: the same files, none twice
        sort(LabelFolders(str(tmp_path / "sorted"), ["cat"]), given)
        found = tree(tmp_path / "sorted")
        assert sorted(found.values()) == [b"other", b"same", b"same"] and found["cat/1.jpg"] == b"same"
    Path(given[0][0].id).write_bytes(b"new")
    sort(LabelFolders(str(tmp_path / "sorted"), ["cat"]), given)
    assert {b"new", b"same", b"other"} <= set(tree(tmp_path / "sorted").values())


def test_failures_and_what_is_no_file_are_left_alone(tmp_path: Path) -> None:
    error = Source("gone", error=InputError("not-found", "gone"))
    folders = LabelFolders(str(tmp_path / "sorted"), ["cat"])
    sort(folders, [(error, None), (Source("here", path=__file__), None)])
    assert not (tmp_path / "sorted").exists() and "0 images copied into 0 folders" in str(folders)


def test_images_in_memory_get_the_suffix_of_their_format(tmp_path: Path) -> None:
    jpeg, png = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
    ids = [
        "-",
        "https://a.org/x/my%20cat?size=9",
        "https://a.org/cat.PNG",
        "https://a.org/",
        "https://a.org/..%2F..%2Fz",
    ]
    data = [jpeg, jpeg, png, png, jpeg]
    sort(LabelFolders(str(tmp_path), ["cat"]), [(Source(id, data=of), "cat") for id, of in zip(ids, data, strict=True)])
    assert set(tree(tmp_path)) == {
        f"cat/{name}" for name in ("stdin.jpg", "my_cat.jpg", "cat.PNG", "image.png", "z.jpg")
    }


def test_the_command_copies_and_says_how_many(place: Path) -> None:
    before = tree(place)
    done = warm("classify", "photos", "other", *LABELS, "--sort-into", "sorted", "--jsonl", cwd=place)
    answers = {record["id"]: record["answer"] for record in done.records if "error" not in record}
    assert done.code == 1 and len(answers) == 4 and answers["photos/00.png"] == answers["other/00.png"] == "red"
    assert "sorted: 4 images copied into 3 folders (blue 1, green 1, red 2)\n" in done.err
    assert tree(place) == before | {f"sorted/{name}": data for name, data in tree(place / "sorted").items()}
    found = tree(place / "sorted")
    assert found["red/00.png"] == before["photos/00.png"] and before["other/00.png"] in found.values()
    assert {os.path.dirname(name) for name in found} == {"red", "green", "blue"} and len(found) == 4
    again = warm("classify", "photos", "other", *LABELS, "--sort-into", "sorted", "--force", cwd=place)
    assert again.code == 1 and tree(place / "sorted") == found


def test_links_lead_to_the_images_from_anywhere(place: Path) -> None:
    done = warm("classify", "photos", *LABELS, "--sort-into", "a/b", "--link", "--jsonl", "-q", cwd=place)
    assert (done.code, done.err) == (0, "")
    links = [path for path in (place / "a").rglob("*.png") if path.is_symlink()]
    assert sorted(os.readlink(link) for link in links) == sorted(str(path) for path in (place / "photos").iterdir())


def test_what_is_unsure_or_none_has_a_folder_of_its_own(place: Path) -> None:
    flags = ("--schedule", "fixed", "--draws", "2", "--min-probability", "1")
    warm("classify", "photos/00.png", *LABELS, *flags, "--sort-into", "sorted", cwd=place)
    warm("classify", "photos/00.png", "-l", "blue,black", "--reject", "--sort-into", "other-sorted", cwd=place)
    assert list(tree(place / "sorted")) == ["unsure/00.png"] and list(tree(place / "other-sorted")) == ["none/00.png"]


def test_a_resumed_run_sorts_what_was_recorded_before(place: Path) -> None:
    command = ("classify", "photos", "other", *LABELS, "-o", "x.jsonl")
    assert warm(*command, cwd=place).code == 1
    records = (place / "x.jsonl").read_text()
    done = warm(*command, "--resume", "--sort-into", "sorted", cwd=place)
    assert "4 images copied into 3 folders" in done.err and (place / "x.jsonl").read_text() == records
    fresh = warm("classify", "photos", "other", *LABELS, "--sort-into", "fresh", cwd=place)
    assert fresh.code == 1 and tree(place / "fresh") == tree(place / "sorted")


def test_an_image_on_stdin_is_written_as_it_came(place: Path) -> None:
    data = (place / "photos" / "01.png").read_bytes()
    warm("classify", "-", *LABELS, "--sort-into", "sorted", "--link", cwd=place, input=data)
    assert tree(place / "sorted") == {"green/stdin.png": data}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("photos", False, False), "photos: holds files already. --force to add to them"),
        (("photos/sorted", True, False), "photos/sorted: inside photos, where -r would find the sorted images"),
        (("photos", True, True), "photos: inside photos"),
        (("photos/00.png", False, False), "exists and is no folder"),
        ((" ", False, False), "names nothing"),
    ],
)
def test_an_unsuitable_folder_is_refused(place: Path, arguments: tuple[str, bool, bool], why: str) -> None:
    folder, recursive, may_hold_files = arguments
    with pytest.raises(UsageError) as refused:
        check_sorting(folder, ["photos"], recursive, may_hold_files)
    assert why in str(refused.value)


def test_a_folder_that_cannot_be_written_ends_the_run(place: Path) -> None:
    (place / "sorted").mkdir()
    (place / "sorted" / "red").write_text("a file")
    done = warm("classify", "photos", *LABELS, "--sort-into", "sorted", "--force", "--jsonl", cwd=place)
    assert done.code == 1 and "sorted/red/00.png: cannot be copied (File exists). Check the disk." in done.err
