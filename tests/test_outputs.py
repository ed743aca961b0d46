"""Records survive their formats whatever the ids are, files are whole or absent, and incomplete ones can be resumed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from bigain_cli.classification.ranking import Failure, RankedLabel, Ranking
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs import Layout
from bigain_cli.outputs.csv_tsv import COLUMNS, Csv, Tsv
from bigain_cli.outputs.json import Json, JsonLines
from bigain_cli.outputs.renamed_file import replacing
from bigain_cli.outputs.resume import RecordedIds, read_recorded_ids
from bigain_cli.outputs.table import Table
from bigain_cli.outputs.text import cell_width, safe, shortened
from bigain_cli.outputs.whole_files import open_target

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")

# What os.fsdecode can give: any text, and the halves U+DC80 to U+DCFF for bytes that are no UTF-8.
texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def ranking(name: str = "a.jpg", labels: tuple[str, ...] = ("cat", "dog", "owl"), **changes: Any) -> dict[str, Any]:
    ranked = tuple(RankedLabel(label, 0.75 / 2**place, -0.1 - place, 48) for place, label in enumerate(labels))
    about = {
        "settled": True,
        "gap": 0.0123,
        "gap_interval": (0.008, 0.017),
        "settings": {"fingerprint": "f1"},
        **changes,
    }
    return Ranking(name, ranked, draws=48, evaluations=212, **about).to_dict()


def failure(name: str = "b.jpg", fingerprint: str = "f1") -> dict[str, Any]:
    return Failure(name, "empty-file", f"{name}: the file is empty", {"fingerprint": fingerprint}).to_dict()


rankings = st.builds(
    ranking,
    texts,
    st.lists(texts, min_size=1, max_size=4).map(tuple),
    settled=st.booleans(),
    gap=st.none() | numbers,
    gap_interval=st.none() | st.tuples(numbers, numbers),
)
records = st.one_of(rankings, st.builds(failure, texts, texts))


def written(writer: Any, entries: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    writer.open(stream)
    for entry in entries:
        writer.write(entry)
    writer.close()
    assert not stream.closed
    return stream.getvalue()


@given(st.lists(records, max_size=3))
def test_formats_for_programs_are_the_same_when_a_run_is_stopped(entries: list[dict[str, Any]]) -> None:
    for kind in (Json, JsonLines, Csv, Tsv, Table):
        stream, writer = io.BytesIO(), kind()
        writer.open(stream)
        for entry in entries:
            writer.write(entry)
        writer.close(complete=False)
        assert stream.getvalue() == written(kind(), entries)


def flat(entry: dict[str, Any], top: int) -> list[Any]:
    """Return what the columns must hold."""
    low, high = entry.get("gap_interval") or (None, None)
    error = entry.get("error", {})
    cells = [entry.get(name) for name in ("id", "label", "probability", "settled", "runner_up", "gap")]
    cells += [low, high, entry.get("draws"), entry.get("evaluations"), error.get("kind"), error.get("message")]
    cells += [entry["settings"]["fingerprint"], entry.get("answer"), entry.get("decided")]
    for place in range(1, top):
        label = (entry.get("top", []) + [{}] * top)[place]
        cells += [label.get("label"), label.get("probability")]
    cells += [entry.get(name) for name in ("asked", "not_asked", "remainder")]
    return [
        "" if cell is None else {True: "true", False: "false"}[cell] if isinstance(cell, bool) else str(cell)
        for cell in cells
    ]


def spelt(text: str) -> str:
    r"""Write halves as `\udcXX`, as they leave in formats without an escape for them."""
    return text.encode("utf-8", "backslashreplace").decode()


@given(st.lists(records, max_size=4))
def test_json_gives_back_any_records(entries: list[dict[str, Any]]) -> None:
    document, lines = written(Json(), entries), written(JsonLines(), entries)
    assert json.loads(document) == entries
    assert [json.loads(line) for line in lines.split(b"\n")[:-1]] == entries
    assert document == b"[\n" + lines[:-1].replace(b"\n", b",\n") + b"\n]\n" if entries else document == b"[]\n"


def test_json_is_readable_and_contains_neither_nan_nor_infinity() -> None:
    assert '"id": "né\\udce9"'.encode() in written(JsonLines(), [failure("né\udce9")])
    for writer in (Json(), JsonLines()):
        with pytest.raises(ValueError, match="JSON"):
            written(writer, [{"id": "a", "gap": float("nan")}])


@given(st.lists(records, max_size=4), st.integers(1, 4))
def test_csv_gives_back_any_cells(entries: list[dict[str, Any]], top: int) -> None:
    data = written(Csv(Layout(top=top, raw=True)), entries).decode()
    rows = list(csv.reader(io.StringIO(data, newline=""), strict=True))
    more = [name for place in range(2, top + 1) for name in (f"label_{place}", f"probability_{place}")]
    assert rows[0] == [*COLUMNS[:-3], *more, "asked", "not_asked", "remainder"]
    assert rows[1:] == [[spelt(cell) for cell in flat(entry, top)] for entry in entries]


FORMULAS = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "=", "-1e", "-1,5"]


@given(st.lists(rankings | st.builds(ranking, st.sampled_from(FORMULAS)), max_size=4))
def test_no_cell_is_a_formula_and_numbers_stay_numbers(entries: list[dict[str, Any]]) -> None:
    rows = list(csv.reader(io.StringIO(written(Csv(), entries).decode(), newline=""), strict=True))
    for row, entry in zip(rows[1:], entries, strict=True):
        for cell, raw in zip(row, flat(entry, 1), strict=True):
            if re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", cell):
                assert cell == raw
            else:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
                assert cell in (spelt(raw), "'" + spelt(raw))


def test_labels_that_are_numbers_and_scores_below_zero_are_left_alone() -> None:
    data = written(Csv(), [ranking("-5", ("+1e3", "=A1"), gap=-0.5, gap_interval=(-1.0, 2.0))]).decode()
    assert data.splitlines()[1] == "-5,+1e3,0.75,true,'=A1,-0.5,-1.0,2.0,48,212,,,f1,+1e3,true,,,"


def test_csv_ends_its_lines_with_a_newline_alone() -> None:
    data = written(Csv(), [ranking("a,b.jpg"), ranking('"\r.jpg')])
    assert b"\r\n" not in data
    assert b'\n"a,b.jpg",cat,0.75,true,dog,0.0123,0.008,0.017,48,212,,,f1,cat,true,,,\n' in data
    assert b'\n"""\r.jpg",cat,' in data


@given(st.lists(records, max_size=4), st.integers(1, 4))
def test_tsv_has_a_line_for_each_record_and_can_be_decoded(entries: list[dict[str, Any]], top: int) -> None:
    def undone(cell: str) -> str:
        plain = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
        return re.sub(r"\\u(dc[89a-f].)|\\.", lambda code: chr(int(code[1], 16)) if code[1] else plain[code[0]], cell)

    lines = written(Tsv(Layout(top=top, raw=True)), entries).split(b"\n")
    assert lines.pop() == b""
    assert lines[0].split(b"\t")[: len(COLUMNS) - 3] == [name.encode() for name in COLUMNS[:-3]]
    assert [[undone(cell) for cell in line.decode().split("\t")] for line in lines[1:]] == [
        flat(e, top) for e in entries
    ]


def test_tsv_escapes_what_would_end_a_cell_or_a_line() -> None:
    [_, line] = written(Tsv(), [failure("a\tb\nc\rd\\e")]).decode().split("\n")[:-1]
    assert line.startswith("a\\tb\\nc\\rd\\\\e\t")


def test_a_table_for_people() -> None:
    close = ranking("b.jpg", ("dog", "cat"), settled=False, gap=-1.234567e-5, gap_interval=(-0.002, 0.0031))
    text = written(Table(Layout(("cat", "dog", "hippopotamus"))), [ranking(), close, failure("c.jpg")]).decode()
    assert text.splitlines() == [
        "label         prob  verdict  runner-up     gap [interval]                   evals  image",
        "cat           0.75  settled  dog           0.0123 [0.008, 0.017]              212  a.jpg",
        "dog           0.75  open     cat           -1.23e-05 [-0.002, 0.0031]         212  b.jpg",
        "-                -  error    -             -                                    -  c.jpg: the file is empty",
    ]
    assert written(Table(), []) == b""


def test_a_narrow_table_leaves_out_what_few_read_and_says_why_an_image_failed_below_it() -> None:
    entries = [ranking("a" * 90 + "/photo.jpg"), {**ranking("b.jpg"), "answer": "unsure"}, failure("c.jpg")]
    layout = Layout(("cat", "dog", "hippopotamus"), width=80, min_probability=0.8)
    assert written(Table(layout), entries).decode().splitlines() == [
        "answer              prob  verdict  runner-up           image",
        "cat                 0.75  settled  dog                 aaaaaaaaaaaa…aa/photo.jpg",
        "unsure (cat)        0.75  settled  dog                 b.jpg",
        "-                      -  error    -                   c.jpg",
        "    the file is empty",
    ]


@given(records, st.integers(1, 3), st.integers(60, 130), st.none() | st.just(0.5))
def test_no_line_is_wider_than_the_terminal(entry: dict[str, Any], top: int, width: int, least: float | None) -> None:
    labels = tuple(each["label"] for each in entry.get("top", []))
    text = written(Table(Layout(labels, top, width=width, min_probability=least)), [entry]).decode()
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_a_table_of_several_ranked_labels() -> None:
    lines = written(Table(Layout(("cat", "dog", "owl"), top=2)), [ranking()]).decode().splitlines()
    assert lines[2:] == ["   1. cat        0.75  -0.1", "   2. dog        0.38  -1.1"]


@given(st.lists(st.text("aé猫犬ｶ한", min_size=1, max_size=8), min_size=2, max_size=5, unique=True))
def test_a_table_is_aligned_whatever_the_letters(labels: list[str]) -> None:
    entries = [ranking("image", tuple(labels)), ranking("image", tuple(reversed(labels))), failure("image")]
    lines = written(Table(Layout(tuple(labels))), entries).decode().splitlines()
    assert len({cell_len(line[: line.rindex("image")]) for line in lines[:3]}) == 1
    assert cell_len(lines[3][: lines[3].index("image")]) == cell_len(lines[0][: lines[0].rindex("image")])


@given(records, st.integers(1, 3))
def test_a_table_moves_no_cursor(entry: dict[str, Any], top: int) -> None:
    text = written(Table(Layout(top=top)), [entry]).decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)
    assert text.count("\n") == 2 + (len(entry.get("top", [])[:top]) if top > 1 else 0)


def test_control_characters_are_escaped() -> None:
    assert safe("a\x1b[31m\n\u202e\udce9é") == "a\\x1b[31m\\n\\u202e\\udce9é"


@given(st.text("aé猫ｶ\u0301\ufe0f\u200d👨❤🇩.", max_size=20) | st.text(max_size=20), st.integers(0, 24))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shortened(text, width)
    assert cell_width(short) <= width
    assert (short == text) == (cell_width(text) <= width)
    if short not in (text, ""):
        cuts = [at for at, letter in enumerate(short) if letter == "…"]
        assert any(text.startswith(short[:at]) and text.endswith(short[at + 1 :]) for at in cuts)
        if text.isalpha():
            assert cell_width(short) >= width - 1  # there may be no room for half of a wide letter


def test_a_long_path_is_shortened_in_its_middle() -> None:
    assert shortened("photos/horses/2024/horse_0012.png", 21) == "photos/hor…e_0012.png"
    assert shortened("日本語のファイル名です.png", 13) == "日本語…す.png"


def test_there_is_colour_only_on_request() -> None:
    entries = [ranking(), ranking(settled=False), failure()]
    plain, coloured = (
        written(Table(Layout(("cat", "dog"), colour=colour)), entries).decode() for colour in (False, True)
    )
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert [re.findall(r"\x1b\[(3\d)m", line) for line in coloured.splitlines()[1:]] == [
        ["32"] * 2,
        ["33"] * 2,
        ["31"] * 2,
    ]


@pytest.mark.parametrize("writer", [JsonLines(), Csv(), Tsv(), Table()])
def test_a_record_is_flushed_when_it_is_written(writer: Any, tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as stream:
        writer.open(stream)
        writer.write(ranking("first.jpg"))
        assert b"first.jpg" in (tmp_path / "x").read_bytes()
        writer.close()


def refusal(path: Path | str, **options: bool) -> str:
    with pytest.raises(UsageError) as caught, open_target(str(path), **options):
        pass
    assert str(caught.value).startswith(str(path))
    return caught.value.why


def test_a_target_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    before = os.umask(0o027)
    try:
        with open_target(str(path)) as stream:
            stream.write(b"[")
            stream.flush()
            assert not path.exists()
            stream.write(b"]")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"[]"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize(("problem", "left"), [(KeyboardInterrupt, b"new"), (ZeroDivisionError, b"old")])
def test_an_interrupt_keeps_the_records_and_a_crash_does_not(
    tmp_path: Path, problem: type[BaseException], left: bytes
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"old")
    with pytest.raises(problem), open_target(str(path), force=True) as stream:
        stream.write(b"new")
        raise problem
    assert path.read_bytes() == left
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ZeroDivisionError])
def test_a_replaced_file_is_the_new_one_or_as_it_was(tmp_path: Path, problem: type[BaseException]) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"old")
    with pytest.raises(problem), replacing(path, "x") as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise problem
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.npz"]
    with replacing(path, "x") as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["x.npz"]
    with pytest.raises(BigainError, match=r"x: cannot be written \(No such file"), replacing(path, "x"):
        pass


def test_lines_grow_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(ZeroDivisionError), open_target(str(path)) as stream:
        stream.write(b"1\n")
        stream.flush()
        assert path.read_bytes() == b"1\n"
        raise ZeroDivisionError
    with open_target(str(path), append=True) as stream:
        stream.write(b"2\n")
    assert path.read_bytes() == b"1\n2\n"
    with open_target(str(path), force=True) as stream:
        stream.write(b"3\n")
    assert path.read_bytes() == b"3\n"


def test_targets_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b"old")
    assert refusal(file) == "exists"
    assert refusal(tmp_path) == "a folder, not a file"
    assert refusal(tmp_path / "gone" / "x.json") == f"the folder {tmp_path / 'gone'} does not exist"
    assert refusal(file / "x.json", force=True) == f"the folder {file} is not a folder"
    assert refusal(tmp_path / ("x" * 300 + ".jsonl")) == "cannot be written (File name too long)"
    assert file.read_bytes() == b"old"


def test_a_link_that_leads_to_itself_is_refused_whatever_is_asked(tmp_path: Path) -> None:
    for name in ("x.csv", "x.jsonl", "x.png"):
        (link := tmp_path / name).symlink_to(name)
        for options in ({}, {"force": True}, {"append": True}):
            with pytest.raises(UsageError, match="a link that leads to itself"), open_target(str(link), **options):
                pass
        assert link.is_symlink()


def test_a_device_is_written_directly_and_a_link_stays_a_link(tmp_path: Path) -> None:
    with open_target(os.devnull) as stream:
        stream.write(b"x")
    (tmp_path / "real.csv").write_bytes(b"old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with open_target(str(tmp_path / "link.csv"), force=True) as stream:
        stream.write(b"new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == b"new"


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_resuming_after_a_cut_anywhere_keeps_whole_records(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, Any]], data: st.DataObject
) -> None:
    whole = written(JsonLines(), entries)
    ends = [0, *(place + 1 for place, byte in enumerate(whole) if byte == 10)]
    near = sorted({min(max(end + step, 0), len(whole)) for end in ends for step in (-2, -1, 0, 1)})
    cut = data.draw(st.integers(0, len(whole)) | st.sampled_from(near))
    path = tmp_path_factory.mktemp("resume") / "x.jsonl"
    path.write_bytes(whole[:cut])
    found = read_recorded_ids(str(path), "f1")
    kept = max(place for place in range(len(ends)) if ends[place] - 1 <= cut)  # a record may lack its newline alone
    assert path.read_bytes() == whole[: ends[kept]]
    mine = [entry for entry in entries[:kept] if entry["settings"]["fingerprint"] == "f1"]
    lasts = {entry["id"]: entry for entry in mine}  # the new record of an image counts
    failures = sum("error" in entry for entry in lasts.values())
    answers = {id: entry.get("answer") for id, entry in lasts.items()}
    assert found == RecordedIds(answers, failures, kept - len(mine), repaired=cut != ends[kept])
    assert read_recorded_ids(str(path), "f1") == RecordedIds(answers, found.failures, found.others, repaired=False)


def test_resuming_counts_the_records_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert read_recorded_ids(str(path), "f1") == RecordedIds()
    assert not path.exists()
    entries = [ranking("a"), failure("b"), failure("c", "f2"), ranking("a"), failure("b"), {"id": "d", "error": {}}]
    path.write_bytes(written(JsonLines(), entries))
    assert read_recorded_ids(str(path), "f1") == RecordedIds({"a": "cat", "b": None}, failures=1, others=2)


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'{"id": 1}', b'{"id": "a", "settings": 3}', b"\xff", b"\0", b"[" * 100_000]
)
def test_a_line_that_is_not_a_record_is_an_error_and_the_file_stays(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.jsonl"
    data = written(JsonLines(), [ranking()]) + line + b"\n" + b'{"id": "torn'
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"x\.jsonl, line 2: not a record of a run"):
        read_recorded_ids(str(path), "f1")
    assert path.read_bytes() == data


def test_a_byte_order_mark_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    one, two = (json.dumps(ranking(name)).encode() for name in "ab")
    for data in (b"\xef\xbb\xbf" + one + b"\r\n\r\n" + two + b"\n", b"\n\n" + one + b"\n \t\n" + two + b"\n\n"):
        path.write_bytes(data)
        found = read_recorded_ids(str(path), "f1")
        assert list(found.ids) == ["a", "b"] and not found.repaired and path.read_bytes() == data


@pytest.mark.parametrize(
    ("end", "torn", "left"),
    [
        (b'{"id": "b", "lab', True, b""),
        (b'{"i', True, b""),
        (b"\0\0\0", True, b""),
        (json.dumps(ranking("b")).encode(), False, None),  # only its newline is missing
        (b"  ", False, None),
    ],
)
def test_only_a_record_that_was_cut_is_called_torn(tmp_path: Path, end: bytes, torn: bool, left: bytes | None) -> None:
    path = tmp_path / "x.jsonl"
    whole = json.dumps(ranking("a")).encode() + b"\n"
    path.write_bytes(whole + end)
    found = read_recorded_ids(str(path), "f1")
    assert (found.torn, found.repaired) == (torn, True)
    assert path.read_bytes() == whole + (end + b"\n" if left is None else left)


@pytest.mark.parametrize("end", [b"hello", b"[1, 2]", b'{"id": 7}', b'{"other": "b'])
def test_the_last_line_of_another_file_is_not_removed(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(end)
    with pytest.raises(UsageError, match="line 1: not a record of a run"):
        read_recorded_ids(str(path), "f1")
    assert path.read_bytes() == end


WRONG_FIELDS = {
    "probability": [7.5, -0.1, "0.5", True, None],
    "answer": [3, ["a"], {}],
    "label": [None],
    "top": [[3], 1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_FIELDS.items() for value in values]
)
def test_a_record_that_no_run_writes_is_refused(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(ranking() | {name: value}) + "\n")
    with pytest.raises(UsageError, match=rf"line 1: its {name} is not "):
        read_recorded_ids(str(path), "f1")
    path.write_text(json.dumps(ranking(settings={"fingerprint": "f2"}) | {name: value}) + "\n")
    assert read_recorded_ids(str(path), "f1").others == 1, "records of others are left alone"


def test_a_probability_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for value in ("NaN", "Infinity", "1e999"):
        path.write_text(json.dumps(ranking()).replace('"probability": 0.75', f'"probability": {value}', 1) + "\n")
        with pytest.raises(UsageError, match="its probability is not a number from 0 to 1"):
            read_recorded_ids(str(path), "f1")


def test_only_lines_of_json_in_a_file_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.csv: only \.jsonl can be resumed, because"):
        read_recorded_ids(str(tmp_path / "x.csv"), "f1")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match="cannot be resumed"):
        read_recorded_ids(str(tmp_path / "folder.jsonl"), "f1")
