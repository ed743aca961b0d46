"""What a wheel and an editable install bring: both import names, the command under each, and the label presets."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import bigain_cli

ROOT = Path(__file__).parents[1]
COUNT = len(list((ROOT / "prompts").glob("*.csv")))
PRESETS = (
    "import bigain_cli, pathlib\n"
    "from bigain_cli.labels import presets, read_labels\n"
    "known = presets()\n"
    "print(len(known), len(read_labels('pets', known).labels), pathlib.Path(bigain_cli.__file__).parent)\n"
)
NAMES = (
    "import sys, bigain, bigain_cli\n"
    "assert 'torch' not in sys.modules\n"
    "assert bigain.__version__ == bigain_cli.__version__ and set(bigain.__all__) <= set(dir(bigain))\n"
    "from bigain import *\n"
    "assert classify is bigain.classify\n"
    "for name in bigain.__all__: assert getattr(bigain, name) is getattr(bigain_cli, name) is not None, name\n"
    "print(bigain.__file__)\n"
)


def python(*arguments: str, executable: Path | str = sys.executable, **environment: str) -> str:
    """Run a fresh interpreter away from the source tree, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(executable), *arguments]
    run = subprocess.run(command, cwd="/", env={**kept, **environment}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer does it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = next(iter(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with an editable install; its other packages are this environment's."""
    folder = tmp_path_factory.mktemp("editable")
    venv.create(folder, symlinks=True)
    executable = folder / "bin" / "python"
    site = Path(python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", executable=executable))
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # the paths that lie there are not followed
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"]
    python("-m", "pip", "install", *options, "-e", str(ROOT), executable=executable)
    return executable


def test_a_wheel_brings_both_names_once(wheel: Path) -> None:
    assert python("-c", NAMES, PYTHONPATH=str(wheel)) == str(wheel / "bigain" / "__init__.py")
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"bigain", "bigain_cli"}
    assert not (wheel / "bigain_cli" / "alias").exists()
    assert (wheel / "bigain_cli" / "outputs" / "page" / "report.html.j2").is_file()
    assert (wheel / "bigain" / "py.typed").exists() and (wheel / "bigain_cli" / "py.typed").exists()


def test_an_editable_install_brings_both_names(editable: Path) -> None:
    home = ROOT / "bigain_cli" / "alias" / "bigain" / "__init__.py"
    assert python("-c", NAMES, executable=editable) == str(home)


@pytest.mark.parametrize("module", ["bigain", "bigain_cli"])
def test_the_command_runs_as_a_module(module: str, wheel: Path, editable: Path) -> None:
    version = f"bigain {bigain_cli.__version__}"
    assert python("-m", module, "--version", PYTHONPATH=str(wheel)) == version
    assert python("-m", module, "--version", executable=editable) == version


def test_presets_are_found_after_installing(wheel: Path, editable: Path) -> None:
    assert python("-c", PRESETS, PYTHONPATH=str(wheel)).split() == [str(COUNT), "37", str(wheel / "bigain_cli")]
    assert python("-c", PRESETS, executable=editable).split() == [str(COUNT), "37", str(ROOT / "bigain_cli")]
