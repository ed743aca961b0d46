"""The label presets reach whoever installs the package, as a wheel or as an editable source tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
COUNT = len(list((ROOT / "prompts").glob("*.csv")))
PRESETS = (
    "import bigain_cli, pathlib\n"
    "from bigain_cli.labels import presets, read_labels\n"
    "known = presets()\n"
    "print(len(known), len(read_labels('pets', known).labels), pathlib.Path(bigain_cli.__file__).parent)\n"
)


def presets_seen_from(path: Path, cwd: Path) -> list[str]:
    """Ask a fresh interpreter, with the package found at `path` alone."""
    code = f"import sys; sys.path.insert(0, {str(path)!r})\n{PRESETS}"
    run = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_presets_are_found_after_installing(version: str, tmp_path: Path) -> None:
    wheel = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=[version])))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    if version == "editable":
        redirect = next(site.glob("*.pth")).read_text().strip()
        assert Path(redirect) == ROOT
        site = Path(redirect)
    count, pets, home = presets_seen_from(site, tmp_path)
    assert (int(count), int(pets)) == (COUNT, 37)
    assert Path(home) == site / "bigain_cli"
    assert (site / "bigain_cli" / "outputs" / "page" / "report.html.j2").is_file()
