"""The public names are plain imports in one module, which is imported on first use; models go by name, too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment
from PIL import Image

import bigain_cli as bigain

ROOT = Path(__file__).parents[1]
VERBS = {"load", "classify", "generate", "evaluate", "bench", "inspect", "train", "compressed", "match", "tune"}


def test_every_verb_and_every_result_is_public() -> None:
    code = "import bigain_cli as bigain\nfor name in bigain.__all__: assert callable(getattr(bigain, name)), name\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert set(bigain.__all__) > VERBS


@pytest.mark.parametrize("package", ["bigain_cli", "bigain_cli.compress"])
def test_a_package_imports_its_names_on_first_use_and_has_them_all(package: str) -> None:
    code = (
        f"import sys, {package} as package\n"
        "assert not hasattr(package, '__wrapped__') and 'torch' not in sys.modules\n"
        "assert {*package.__all__} <= {*dir(package)} and {'compressed', 'Report', 'Spec'} <= {*package.__all__}\n"
        f"from {package} import *\n"
        "assert {*package.__all__} <= {*globals()} and compressed is package.compressed\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_package_needs_no_source_files(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("*.safetensors", "__pycache__")
    shutil.copytree(ROOT / "bigain_cli", tmp_path / "bigain_cli", ignore=ignored)
    subprocess.run([sys.executable, "-m", "compileall", "-qb", "bigain_cli"], check=True, cwd=tmp_path)
    for source in (tmp_path / "bigain_cli").rglob("*.py"):
        source.unlink()
    code = "import bigain_cli as b; from bigain_cli.compress import apply; print(b.__file__, b.load('colours').name)"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert run.stdout.split() == [str(tmp_path / "bigain_cli" / "__init__.pyc"), "colours"], run.stderr


def test_what_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'bigain_cli' has no attribute 'clasify'"):
        bigain.clasify  # noqa: B018


def test_a_type_checker_sees_the_types_and_a_slip_of_the_pen(tmp_path: Path) -> None:
    code = "import bigain\nfrom bigain_cli import load\nreveal_type(load)\nreveal_type(bigain.bench)\nbigain.clasify\n"
    (tmp_path / "user.py").write_text(code)
    options = [
        "--strict",
        "--config-file=",
        "--follow-imports=silent",
        "--no-site-packages",
        "--ignore-missing-imports",
    ]
    command = [sys.executable, "-m", "mypy", *options, "user.py"]
    paths = {"MYPYPATH": f"{ROOT}:{ROOT / 'bigain_cli' / 'alias'}", "MYPY_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(command, env=paths, cwd=tmp_path, capture_output=True, text=True)
    load, bench, slip, _ = run.stdout.splitlines()
    assert "-> bigain_cli.backbones.base.Backbone" in load
    assert "-> bigain_cli.benchmark." in bench and ".Benchmark" in bench
    assert 'Module has no attribute "clasify"' in slip


def test_a_backbone_may_be_given_by_name() -> None:
    image = ("teal", Image.new("RGB", (16, 16), "teal"))
    by_name = [each.to_dict() for each in bigain.classify("colours", [image], "red,green,blue")]
    assert by_name == [each.to_dict() for each in bigain.classify(bigain.load("colours"), [image], "red,green,blue")]
    (sample,) = bigain.generate("colours", "red", steps=2)
    (same,) = bigain.generate(bigain.load("colours"), "red", steps=2)
    assert sample.image == same.image
    with pytest.raises(bigain.ModelError, match="model colors: neither a known alias"):
        bigain.classify("colors", [image], "red,green")


def test_a_model_may_be_named_wherever_a_network_is_compressed(models, tmp_path: Path) -> None:
    tiny = str(models["epsilon"])
    image = Image.linear_gradient("L").convert("RGB")
    assert len(bigain.inspect(tiny, image, "lgtm:0.5", timesteps=[500]).views)
    assert len(bigain.bench(tiny, ["lgtm:0.5"], labels=2, rounds=1).timings) == 2
    for label in ("red", "green"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (16, 16), label).save(tmp_path / label / "0.png")
    assert bigain.evaluate("colours", str(tmp_path), rules=bigain.StoppingRules(draws=16)).summary().to_dict()


@pytest.mark.parametrize("given", [None, 3, Path("mini")])
def test_what_is_neither_a_backbone_nor_a_name_is_refused(given: object) -> None:
    calls = [
        lambda: bigain.Classification(given, "red,green"),
        lambda: list(bigain.generate(given, "red")),
        lambda: bigain.inspect(given, Image.new("RGB", (16, 16)), "lgtm:0.5"),
        lambda: bigain.bench(given),
        lambda: bigain.load_feature("backbone", given),
    ]
    for call in calls:
        with pytest.raises(bigain.UsageError, match="is neither a backbone nor a model's name"):
            call()


def test_one_spec_may_be_given_as_text(models, tmp_path: Path) -> None:
    benchmark = bigain.bench(str(models["epsilon"]), "lgtm:0.5", labels=2, rounds=1)
    assert [each.compress.partition("@")[0] for each in benchmark.timings] == ["none", "lgtm:0.5"]
    (tmp_path / "red").mkdir()
    (tmp_path / "green").mkdir()
    for label in ("red", "green"):
        Image.new("RGB", (16, 16), label).save(tmp_path / label / "0.png")
    assert bigain.evaluate("colours", str(tmp_path), "none").specs == ("none",)


def test_a_feature_takes_a_name_and_a_compression_says_how_to_load_one(models) -> None:
    tiny = str(models["epsilon"])
    assert bigain.load_feature("backbone", tiny).name == bigain.load_feature("backbone", bigain.load(tiny)).name
    with (
        pytest.raises(bigain.ModelError, match=r"To use a model by its name, load it: bigain.load\('mini'\)."),
        bigain.compressed("mini", "lgtm:0.5"),
    ):
        pass
