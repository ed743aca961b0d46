"""Speeds side by side: what a turn does, in which order, what is made of its seconds, and what users see of it."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import commands
import pytest
import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st

import bigain_cli as bigain
from bigain_cli.backbones.published_configs import CONTEXT, PUBLISHED_CONFIGS
from bigain_cli.backbones.random_weights import load_random
from bigain_cli.benchmark import timed_network, timing
from bigain_cli.benchmark.machine import peak_memory, reset_peak_memory
from bigain_cli.benchmark.results import Profile, Spread, Timing, as_markdown, as_text, ratios
from bigain_cli.benchmark.timed_network import draws_for, make_workload
from bigain_cli.compress import compressed, parse
from bigain_cli.compress.flops import forward_flops
from bigain_cli.compress.plan import Grid
from bigain_cli.errors import BigainError, ModelError, UsageError

SMALL: dict[str, Any] = {"labels": 3, "draws": 2, "batch": 2, "rounds": 2}
SPECS = ["lgtm:0.5", "iekvd:2"]
SECONDS = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=9)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's peak as known."""
    monkeypatch.setattr(timing, "product_speed", lambda device, dtype: 1e12)


# What is made of seconds


@given(SECONDS, st.floats(0.1, 10))
def test_a_machine_that_slows_down_changes_no_ratio(pairs: list[tuple[float, float]], drift: float) -> None:
    base, mine = zip(*pairs, strict=True)
    slower = [[value * drift**number for number, value in enumerate(column)] for column in (base, mine)]
    assert ratios(*slower) == pytest.approx(ratios(base, mine))
    assert ratios(base, base) == [1.0] * len(base)


@given(SECONDS, st.integers(1, 1000))
def test_a_timing_says_one_thing_in_every_unit(pairs: list[tuple[float, float]], evaluations: int) -> None:
    base, mine = zip(*pairs, strict=True)
    timing = Timing("none", evaluations, mine, base, 1.0, 1.5, Profile(0.2, 0.1, 0.0, 5))
    assert timing.milliseconds.median * timing.per_second == pytest.approx(1000)
    assert timing.ratio.low <= timing.ratio.median <= timing.ratio.high
    assert timing.share(1e9 * timing.per_second) == pytest.approx(1)
    assert timing.to_dict(1e12)["outside_milliseconds"] == pytest.approx(100 / evaluations, rel=1e-5)


def test_a_spread_is_the_median_within_the_range() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]).to_dict() == {"median": 2.5, "low": 1.0, "high": 10.0}


@given(st.integers(1, 256), st.integers(1, 200))
def test_a_turn_fills_its_batches(batch: int, labels: int) -> None:
    draws = draws_for(batch, labels)
    if batch <= 8:
        assert draws * labels % batch == 0 and draws % batch == 0, "those of the prefix, too"
    else:
        assert draws % 8 == 0 and 4 * batch <= draws * labels < 4 * batch + 8 * labels


# What a turn does


@pytest.mark.parametrize(
    ("name", "spec", "prefix", "plans"),
    [("epsilon", "lgtm:0.5", True, 0), ("epsilon", "lgtm:0.5", False, 2), ("dit", "lgtm:0.5@levels=all", None, 2)],
)
def test_the_network_sees_what_is_counted_in_turn(name, spec, prefix, plans, models, quick) -> None:
    backbone = bigain.load(str(models[name]), device="cpu")
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    seen: list[tuple[int, int]] = []  # which network, how many rows
    count = backbone.network.register_forward_pre_hook(lambda module, args: seen.append((id(module), len(args[0]))))
    found = bigain.bench(backbone, [spec, "none", spec], prefix=prefix, **SMALL)
    count.remove()
    assert [each.compress.partition("@")[0] for each in found.timings] == ["none", "lgtm:0.5"]
    order = [number for number, _ in seen]
    changes = [number for at, number in enumerate(order) if at == 0 or order[at - 1] != number]
    assert changes == changes[:2] * 4 and changes[0] != changes[1], "warm-up, two rounds, a profiled one"
    shared = 2 if prefix else 0
    for network, extra in zip(changes[:2], (0, plans), strict=True):
        rows = sum(rows for number, rows in seen if number == network)
        assert rows == 4 * (3 * 2 + shared + extra), "evaluations; the prefix or the plan once a draw"
    assert [each.evaluations for each in found.timings] == [6, 6]
    after = backbone.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in backbone.network.modules())


def test_copies_share_their_weights_and_nothing_else(models) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    copied = timed_network.copy_sharing_weights(backbone)
    assert copied.network is not backbone.network
    pairs = zip(copied.network.parameters(), backbone.network.parameters(), strict=True)
    assert all(mine is other for mine, other in pairs)
    mine = {id(module) for module in copied.network.modules()}
    assert not mine & {id(module) for module in backbone.network.modules()}


def test_it_agrees_with_a_stopwatch(models, quick) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    heard: list[tuple[int, int]] = []
    started = time.perf_counter()
    found = bigain.bench(backbone, SPECS, step=lambda done, of: heard.append((done, of)), **SMALL)
    whole = time.perf_counter() - started
    assert sum(found.seconds.values()) == pytest.approx(whole, rel=0.1)
    turns_taken = sum(sum(each.seconds) for each in found.timings)
    assert turns_taken == pytest.approx(found.seconds["timing"], rel=0.1)
    assert heard == [(done, 12) for done in range(1, 13)]
    for each in found.timings:
        profile = each.profile
        assert profile.inside_network > 0 and profile.outside_network > 0 and profile.memory > 2**20
        assert (profile.overhead > 0) == (each.compress != "none") and profile.overhead < profile.inside_network


def test_what_a_pass_takes_is_the_report_of_the_compression(models, quick) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    found = bigain.bench(backbone, ["iekvd:2"], size=24, **SMALL)
    assert found.settings.size == (24, 24) and found.settings.latent == (4, 12, 12)
    with compressed(backbone, "iekvd:2", latent=(12, 12)) as compression:
        report = compression.report((12, 12), context=40)
    assert [1e9 * each.gflop_pass for each in found.timings] == [report.flops_before, report.flops_after]
    assert backbone.latent_shape == (4, 8, 8), "the caller's backbone keeps its size"


def test_a_closed_form_is_timed_and_has_no_network(quick) -> None:
    found = bigain.bench(bigain.load("colours", device="cpu"), **SMALL).to_dict()
    (timing,) = found["timings"]
    assert timing["evaluations_per_second"] > 0 and timing["gflop"] is None and timing["outside_milliseconds"] is None
    assert found["attention"] is None and found["parameters"] is None
    assert "colours" in as_text(found) and as_markdown(found).count("\n| --- |") == 1


def test_the_peak_of_memory_can_be_reset() -> None:
    device = torch.device("cpu")
    much = torch.ones(2**24)
    reset_peak_memory(device)
    low = peak_memory(device)
    more = torch.ones(2**25)
    assert peak_memory(device) >= low + 2**26 > 0 and len(much) + len(more) > 0


# What cannot be timed


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("epsilon", {"prefix": True, "compile": True}, "runs as a whole"),
        ("dit", {"prefix": True}, "before the label enters"),
        ("dit", {"size": 32}, "let --random-weights build"),
        ("epsilon", {"size": 17}, "in steps of 2 pixels. Try --size 1[68]"),
        ("epsilon", {"rounds": 0}, "--rounds 0: must be at least 1"),
        ("epsilon", {"labels": 0}, "--labels 0: must be at least 1"),
        ("epsilon", {"specs": ["lgtm:0"]}, "this spec does nothing on this model"),
        ("colours", {"specs": ["lgtm:0.5"]}, "no network whose tokens"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, options: dict[str, Any], why: str, models) -> None:
    backbone = bigain.load(str(models.get(name, name)), device="cpu")
    with pytest.raises(UsageError, match=why):
        bigain.bench(backbone, **{**SMALL, **options})


def test_a_network_that_is_compressed_already_is_refused(models) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    with compressed(backbone, "lgtm:0.5"), pytest.raises(UsageError, match="compressed already"):
        bigain.bench(backbone, **SMALL)


def test_out_of_memory_is_an_error_and_nothing_is_halved(models, quick) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")

    def narrow(module: Any, args: Any) -> None:
        if len(args[0]) > 1:
            raise torch.OutOfMemoryError("out of memory")

    backbone.network.register_forward_pre_hook(narrow)
    with pytest.raises(BigainError, match=r"a batch of 2 does not fit with none\. Try --batch 1") as problem:
        bigain.bench(backbone, **SMALL)
    assert problem.value.exit_code == 1


# Compiled networks


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let torch follow the networks, but leave out the compiler behind."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: real(network, backend="eager", **options))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("dit", "lgtm:0.5@levels=all+mlp"),
        pytest.param("epsilon", "lgtm:0.5@share=level", marks=pytest.mark.slow),
        pytest.param("epsilon", "iekvd:2", marks=pytest.mark.slow),
    ],
)
def test_compiled_networks_keep_their_compression(name: str, spec: str, models, traced) -> None:
    workload = make_workload(bigain.load(str(models[name]), device="cpu"), 2, 1, 2, None)
    errors: dict[bool, list[torch.Tensor]] = {}
    for compile in (False, True):
        with timed_network.compiling(), ExitStack() as stack:
            networks = [
                stack.enter_context(timed_network.timed_network(workload, parse(each), False, compile))
                for each in ("none", spec)
            ]
            twice = [each.denoising([workload.job])[0] for _ in range(2) for each in networks]
            errors[compile] = [torch.from_numpy(each) for each in twice]
    torch.testing.assert_close(errors[True], errors[False], rtol=1e-4, atol=1e-5)
    plain, compressed_errors = errors[True][:2]
    assert not torch.allclose(plain, compressed_errors, rtol=1e-6), "compression changes something"


@pytest.mark.slow
def test_compiled_networks_take_turns(models, quick, traced) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    found = bigain.bench(backbone, ["lgtm:0.5@levels=all"], compile=True, **SMALL)
    assert found.settings.compile and not found.settings.prefix and found.settings.warm_up == 3
    assert all(each.profile.inside_network > 0 for each in found.timings)


# Random weights


def meta(name: str) -> Any:
    """Build a published architecture without memory."""
    configs = PUBLISHED_CONFIGS[name]
    kind, part = (UNet2DConditionModel, "unet") if "unet" in configs else (DiTTransformer2DModel, "transformer")
    with torch.device("meta"):
        return kind.from_config(dict(configs[part]))


@pytest.mark.parametrize(
    ("name", "millions", "gflop", "context"),
    [
        ("sd1.5", 859.52, None, CONTEXT),
        ("sd2", 865.91, 804.26, CONTEXT),
        ("dit-256", 675.13, 237.33, 1),
        ("dit-512", 675.13, 1049.17, 1),
    ],
)
def test_published_shapes_have_the_published_sizes(name: str, millions: float, gflop: float, context: int) -> None:
    network = meta(name)
    count = sum(parameter.numel() for parameter in network.parameters())
    if name.startswith("dit"):  # diffusers keeps a copy of the time's and the label's embedding in each of 28 blocks
        embedder = network.transformer_blocks[0].norm1.emb
        count -= 27 * sum(parameter.numel() for parameter in embedder.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.6 if name.startswith("dit") else 0.01)
    side = network.config.sample_size
    if gflop is not None:
        assert forward_flops(network, Grid(side, side), context) / 1e9 == pytest.approx(gflop, abs=0.01)


@pytest.fixture(scope="module")
def bare(models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with configurations and nothing else."""
    root = tmp_path_factory.mktemp("bare")
    for name in ("epsilon", "v", "pixels", "dit"):
        leave_out = shutil.ignore_patterns("*.safetensors", "tokenizer*")
        shutil.copytree(models[name], root / name, ignore=leave_out)
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize("name", ["epsilon", "v", "pixels", "dit"])
def test_random_weights_need_configurations_only(name: str, bare, models, quick) -> None:
    with pytest.raises(ModelError):
        bigain.load(str(bare[name]), device="cpu")
    made, real = load_random(str(bare[name]), "cpu", "bfloat16"), bigain.load(str(models[name]), device="cpu")
    assert (made.latent_shape, made.scale, made.has_prefix) == (real.latent_shape, real.scale, real.has_prefix)
    assert made.condition([""]).rows.shape == real.condition([""]).rows.shape
    mine, theirs = ({key: value.shape for key, value in each.network.state_dict().items()} for each in (made, real))
    assert mine == theirs and {value.dtype for value in made.network.state_dict().values()} == {torch.bfloat16}
    again = load_random(str(bare[name]), "cpu", "bfloat16").network.state_dict()
    assert all(torch.equal(again[key], value) for key, value in made.network.state_dict().items())
    found = bigain.bench(made, ["iekvd:2@levels=all"], **SMALL).to_dict()
    assert found["weights"] == "random" and all(math.isfinite(row["ratio"]["median"]) for row in found["timings"])


def test_random_weights_can_have_another_size(bare) -> None:
    assert load_random(str(bare["dit"]), "cpu", size=24).latent_shape == (4, 12, 12)
    assert load_random(str(bare["epsilon"]), "cpu", size=40).latent_shape == (4, 20, 20)
    for name, size, why in (("dit", 18, "in steps of 4 pixels. Nearest: --size (16|20)"), ("dit", 0, "--size 4")):
        with pytest.raises(UsageError, match=why):
            load_random(str(bare[name]), "cpu", size=size)


@pytest.mark.parametrize(("name", "why"), [("colours", "has no weights"), ("some/model", "no configuration")])
def test_random_weights_of_what_is_not_known(name: str, why: str) -> None:
    with pytest.raises(ModelError, match=f"{why}.*sd2, .*flux-schnell; or give a diffusers folder"):
        load_random(name, "cpu")


# The command


TURNS = ("--labels", "2", "--draws", "1", "--batch", "2", "--rounds", "1", "--device", "cpu")


def test_the_command_writes_a_document(bare, tmp_path: Path) -> None:
    model = ("bench", "-m", str(bare["epsilon"]), "--random-weights", *TURNS)
    result = commands.warm(*model, "-c", "lgtm:0.5", "-c", "iekvd:2", "--json", "-o", "found.json", cwd=tmp_path)
    assert (result.code, result.out) == (0, b"")
    assert re.search(r"\nbigain: 3 specs timed in 1 round in [\d.]+ s \(.* s loading, .*\) → found.json\n$", result.err)
    found = json.loads((tmp_path / "found.json").read_text())
    wanted = (
        "version model weights parameters size latent device device_name dtype torch threads attention memory labels "
    )
    wanted += "draws batch filled rounds warm_up prefix compile evaluations peak_gflop_per_second seconds timings"
    assert list(found) == wanted.split()
    wanted = "compress evaluations_per_second milliseconds ratio gflop gflop_pass share_of_peak outside_milliseconds "
    wanted += "bookkeeping_milliseconds peak_memory seconds"
    assert all(list(row) == wanted.split() for row in found["timings"])
    assert [row["compress"] for row in found["timings"]] == ["none", "lgtm:0.5@share=level", "iekvd:2@0.9"]
    assert found["timings"][0]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert list(found["seconds"]) == [
        "starting",
        "loading",
        "preparing",
        "warming_up",
        "timing",
        "finding_the_peak",
        "watching",
    ]
    again = commands.warm(*model, "--json", "-o", "found.json", cwd=tmp_path)
    assert again.code == 2 and "found.json: exists" in again.err


def test_the_command_writes_tables(tmp_path: Path) -> None:
    text = commands.warm("bench", "-m", "colours", *TURNS, "-q", cwd=tmp_path)
    assert (text.code, text.err) == (0, "")
    lines = text.out.decode().splitlines()
    assert lines[0].startswith("colours") and "1 round, every spec in turn, after 1 to warm up" in lines
    table = lines[lines.index("") + 1 :]
    assert re.split(" {2,}", table[0]) == ["spec", "evals/s", "times as fast [min, max]", "GFLOP", "peak GiB"]
    assert table[1].split()[0] == "none" and "--wide" in table[-1]
    drawn = commands.warm("bench", "-m", "colours", *TURNS, "-o", "found.md", cwd=tmp_path)
    rows = [line for line in (tmp_path / "found.md").read_text().splitlines() if line.startswith("|")]
    assert drawn.code == 0 and len(rows) == 3 and rows[0].startswith("| spec | evals/s |")
    assert len({row.count("|") for row in rows}) == 1


SPECS_OF_ROWS = ("none", "lgtm:0.7@share=level", "lgtm:0.7@levels=all@metric=keys@share=level+iekvd:2@0.9:1.2")


@given(
    st.lists(st.floats(1e-4, 1e4), min_size=12, max_size=12),
    st.none() | st.floats(1e-3, 1e4),
    st.sampled_from([1, 3, 96]),
)
def test_a_table_of_times_fits_a_terminal_and_wide_has_everything(
    numbers: list[float], gflop: float | None, threads: int
) -> None:
    def spread(at: int) -> dict[str, float]:
        low, median, high = sorted(numbers[at : at + 3])
        return {"median": median, "low": low, "high": high}

    rows = [
        {"compress": spec, "evaluations_per_second": numbers[9], "milliseconds": spread(0), "ratio": spread(3)}
        | {
            "gflop": gflop,
            "gflop_pass": gflop,
            "share_of_peak": 0.123,
            "outside_milliseconds": 1.2,
            "bookkeeping_milliseconds": None,
        }
        | {"peak_memory": int(numbers[10] * 2**20)}
        for spec in SPECS_OF_ROWS
    ]
    result = {
        "model": "m", "weights": "random", "parameters": 2.8e6, "size": [32, 32], "dtype": "float32", "device": "cpu",
        "device_name": "A processor with a very long name @ 2.10GHz", "threads": threads, "torch": "2.14", "labels": 1,
        "draws": 1, "evaluations": 1, "batch": 16, "filled": 1, "prefix": True, "compile": False, "rounds": 1,
        "warm_up": 1, "attention": "AttnProcessor2_0, flash_attention", "peak_gflop_per_second": 24.1,
        "memory": "resident set of the process", "timings": rows,
    }  # fmt: skip
    text, wide = as_text(result), as_text(result, wide=True)
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("spec")) + 1
    assert max(map(len, lines)) <= 80 and len({line.split("  ")[0] for line in lines[start : start + 3]}) == 3
    assert all(spec in wide for spec in SPECS_OF_ROWS) and "overhead ms" in wide
    assert "a turn: 1 label x 1 draw = 1 evaluation in" in " ".join(text.split()) and "1 rows" not in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-c", "lgtn:0.5"], "Did you mean lgtm"),
        (["-m", "sd3"], "neither a known alias"),
        (["-m", "colours", "--random-weights"], "has no weights"),
        (["--json", "--markdown"], "only one format"),
        (["--json", "--wide"], "json has everything"),
        (["--json", "-o", "x.md"], "says another format"),
        (["-o", "x.png"], "names no format"),
        (["--dtype", "half"], "--dtype half: unknown"),
        (["--prefix", "--rounds", "1"], "before the label enters"),
        (["-m", "nowhere", "--rounds", "0"], "--rounds 0: must be at least 1"),  # before a model is looked for
        (["-m", "nowhere", "--prefix", "--compile"], "runs as a whole"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments: list[str], why: str, tmp_path: Path) -> None:
    result = commands.warm("bench", "-m", "colours", *arguments, cwd=tmp_path)
    assert (result.code, result.out) == (2, b"") and why in result.err, result.err


def patiently(*arguments: str, cwd: Path) -> dict[str, Any]:
    """Run the command with all the time it takes."""
    with commands.start("bench", *arguments, "--json", cwd=cwd) as process:
        out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.mark.slow
@pytest.mark.quiet
def test_the_stages_are_the_whole_process(bare, tmp_path: Path) -> None:
    size = ("--labels", "8", "--draws", "8", "--batch", "8", "--rounds", "40", "--device", "cpu")
    started = time.perf_counter()
    found = patiently("-m", str(bare["epsilon"]), "--random-weights", "-c", "iekvd:2", *size, cwd=tmp_path)
    whole = time.perf_counter() - started
    assert sum(found["seconds"].values()) == pytest.approx(whole, rel=0.1), "all but Python's own start and end"
    for row in found["timings"]:
        each = row["milliseconds"]["median"] / 1e3  # of 64 evaluations, to six digits
        assert each * 64 == pytest.approx(median(row["seconds"]), rel=1e-5)


@pytest.mark.slow
@pytest.mark.quiet
def test_more_rounds_take_as_much_longer_as_they_say(tmp_path: Path) -> None:
    whole, reported = [], []
    for rounds in (2, 32):
        started = time.perf_counter()
        size = ("--labels", "10", "--draws", "8", "--rounds", str(rounds))
        found = patiently("-m", "mini", "-c", "iekvd:2", *size, cwd=tmp_path)
        whole.append(time.perf_counter() - started)
        turns_taken = sum(sum(row["seconds"]) for row in found["timings"])
        assert turns_taken == pytest.approx(found["seconds"]["timing"], rel=0.02)
        reported.append(turns_taken + found["seconds"]["finding_the_peak"])
    assert reported[1] - reported[0] == pytest.approx(whole[1] - whole[0], rel=0.1)


@pytest.mark.slow
def test_the_compiler_is_up_to_it(bare, tmp_path: Path) -> None:
    model = ("-m", str(bare["dit"]), "--random-weights", "-c", "lgtm:0.5@levels=all", "--compile")
    found = patiently(*model, *TURNS, cwd=tmp_path)
    assert found["compile"] and all(row["outside_milliseconds"] > 0 for row in found["timings"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("model", "specs"), [("sd2", SPECS), ("dit-512", ["lgtm:0.7+mlp", "iekvd:4@levels=all"])])
def test_real_sizes_on_a_gpu(model: str, specs: list[str], tmp_path: Path) -> None:
    wanted = [part for spec in specs for part in ("-c", spec)]
    place = ("--dtype", "bfloat16", "--device", "cuda", "--rounds", "3")
    found = patiently("-m", model, "--random-weights", *wanted, *place, cwd=tmp_path)
    assert found["memory"] == "allocated on the device" and 0 < found["timings"][0]["share_of_peak"] < 1
