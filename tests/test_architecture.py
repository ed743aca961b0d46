"""The house's rules: rooms know only the rooms above them, and the shell of the command is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bigain_cli"

# From top to bottom: a room may import those above it, and its own files.
ROOMS = [
    "errors",
    "registry",
    "images",
    "albums",
    "rules",
    "labels",
    "draws",
    "evidence",
    "ranking",
    "models",
    "compress",
    "backbones",
    "squeeze",
    "maps",
    "residuals",
    "estimators",
    "contest",
    "tally",
    "flight",
    "reader",
    "inspection",
    "outputs",
    "arms",
    "settings",
    "classifier",
    "sampler",
    "quality",
    "train",
    "evaluation",
    "benchmark",
    "cli",
    "__main__",
    "alias",
]
LIGHT = ["cli", "registry", "errors", "images", "labels", "evidence", "ranking", "rules", "models", "outputs"]
LIGHT += ["benchmark.shapes", "benchmark.figures"]
SEPARATE = [
    ("backbones/unet", "backbones/dit"),
    ("backbones/unet", "backbones/mixture"),
    ("backbones/dit", "backbones/mixture"),
    ("quality/distance", "quality/precision"),
]


def imports(path: Path) -> set[str]:
    """Return the project's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bigain_cli"):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("bigain_cli"))
    return {name for name in found if name != "bigain_cli"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_every_file_has_its_room() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    here = ROOMS.index(room_of(path))
    for name in imports(path):
        there = ROOMS.index(name.split(".")[1])
        assert there <= here, f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize(("one", "other"), SEPARATE)
def test_families_do_not_import_each_other(one: str, other: str) -> None:
    for here, there in ((one, other), (other, one)):
        assert "bigain_cli." + there.replace("/", ".") not in imports(PACKAGE / f"{here}.py")


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_without_torch(room: str) -> None:
    code = (
        f"import sys, pkgutil, importlib, bigain_cli.{room} as room\n"
        "for each in pkgutil.walk_packages(getattr(room, '__path__', []), room.__name__ + '.'):\n"
        "    importlib.import_module(each.name)\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_only_the_command_reads_the_environment_prints_or_exits() -> None:
    forbidden = {"environ", "getenv", "print", "exit"}
    for path in FILES:
        if room_of(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            assert name not in forbidden, f"{path.relative_to(PACKAGE)} uses {name}"


def test_functions_are_short() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name not in {"classify", "__init__"}:
                body = node.end_lineno - node.body[0].lineno + 1  # parameters do not count
                assert body <= 45, f"{path.relative_to(PACKAGE)}: {node.name} has {body} lines"
