"""What the command imports for a first answer, that the rest stays importable, and that answers do not depend on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import benchmark_first_answer
import commands
import pytest

HEAVY = ("torch._dynamo", "transformers", "scipy", "torchvision", "sympy", "matplotlib", "jinja2")
RUN = """
import contextlib, io, json, sys
from bigain_cli.backbones import light_import
from bigain_cli.cli.exit_codes import run_command
light_import.MODULES += tuple(json.loads(sys.argv[1]))
sys.argv = ["bigain", *json.loads(sys.argv[2])]
stdout = io.TextIOWrapper(io.BytesIO(), write_through=True)
with contextlib.redirect_stdout(stdout):
    code = run_command()
answer = [code, stdout.buffer.getvalue().decode(errors="replace"), sorted(sys.modules)]
"""
AFTERWARDS = """
import diffusers, scipy.optimize, torch, torch._dynamo, torchvision, transformers
from diffusers import AutoencoderKL, DiTTransformer2DModel, UNet2DModel
from diffusers.models.transformers import FluxTransformer2DModel
used = sys.modules["diffusers.models.unets.unet_2d_condition"].UNet2DConditionModel
assert diffusers.UNet2DConditionModel is diffusers.models.unets.UNet2DConditionModel is used
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
"""


def answer(*arguments: str, cwd: Path, more: tuple[str, ...] = (), afterwards: str = "") -> tuple[int, str, list[str]]:
    """Return exit code, stdout and the modules that a command line imported, `more` of diffusers among them."""
    script = RUN + afterwards + "\njson.dump(answer, sys.stdout)"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, json.dumps(more), json.dumps(arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=commands.environment(),
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return tuple(json.loads(run.stdout))


CLASSIFY = ("classify", "photo.png", "-l", "cifar10", "-m", "mini", "--draws", "2", "--json")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    commands.image(tmp_path / "photo.png")
    return tmp_path


def test_a_first_answer_imports_no_more_than_it_uses(place: Path) -> None:
    code, out, modules = answer(*CLASSIFY, cwd=place)
    assert code == 0 and json.loads(out)[0]["label"]
    assert {name for name in modules if name in HEAVY} == set()
    assert "diffusers.models.unets.unet_2d_condition" in modules


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [CLASSIFY, ("generate", "a horse", "-m", "mini", "--steps", "2", "-o", "-")])
def test_what_was_left_out_can_be_imported_afterwards(arguments: tuple[str, ...], place: Path) -> None:
    code, _, modules = answer(*arguments, cwd=place, afterwards=AFTERWARDS)
    assert code == 0 and not {name for name in modules if name in HEAVY}


@pytest.mark.slow
def test_a_release_of_diffusers_that_needs_more_is_imported_as_usual(place: Path) -> None:
    light = answer(*CLASSIFY, cwd=place)
    usual = answer(*CLASSIFY, cwd=place, more=("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",))
    unknown = answer(*CLASSIFY, cwd=place, more=("diffusers.no_such_module",))
    assert light[:2] == usual[:2] == unknown[:2]
    assert "torch._dynamo" in usual[2] and "torch._dynamo" in unknown[2] and "torch._dynamo" not in light[2]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["epsilon", "dit"])
def test_other_models_answer_alike_with_all_imported(model: str, models: dict[str, Path], place: Path) -> None:
    names = "cat,dog" if model != "dit" else "0,1"
    line = ("classify", "photo.png", "-l", names, "-m", str(models[model]), "--draws", "2", "--json")
    light = answer(*line, cwd=place)
    assert light[0] == 0 and light[:2] == answer(*line, cwd=place, more=("diffusers.no_such_module",))[:2]


@pytest.mark.slow
@pytest.mark.quiet
def test_a_first_answer_takes_little_longer_than_importing_torch(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = benchmark_first_answer.measure(str(place / "photo.png"), "mini", "cifar10", rounds=2)
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(f"  {name}: {each.clock:.2f}\n" for name, each in found.items()))
    assert list(found.values())[-1].clock < 1.6
