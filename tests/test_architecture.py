"""The house's rules: rooms know only those above them, nothing goes in circles, the command is light and thin."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bigain_cli"

# From top to bottom, as CONTRIBUTING.md lists them: a room may import those above it, and its own files.
TABLE = re.findall(r"^\| (`.+?) \|", (PACKAGE.parent / "CONTRIBUTING.md").read_text(), re.M)
ROOMS = [room for row in TABLE for room in re.findall(r"`(\w+)/?`", row) if room != "alias"]
# What `--help`, usage errors, `list` and `--dry-run` may import: rooms, and single files of other rooms.
LIGHT_ROOMS = [
    "near_names",
    "errors",
    "version",
    "hub_models",
    "registry",
    "lazy_names",
    "json_text",
    "limits",
    "views",
    "images",
    "labels",
    "outputs",
    "shards",
    "cli",
]
LIGHT_FILES = [
    "backbones.model_card",
    "backbones.model_locations",
    "backbones.vocabulary",
    "benchmark.results",
    "backbones.unloaded_model",
    "classification.label_prompts",
    "classification.missing_images",
    "classification.ranking",
    "classification.stopping",
    "compress.spec",
    "evaluation.generated_image_options",
    "datasets.known_datasets",
    "engines.classify_job",
    "generation.generated_image",
    "generation.options",
    "generation.samplers",
    "inspection.checks",
    "tuning.options",
    "classification.profiles",
    "matching.options",
    "matching.pairs",
    "generation.zoom",
    "training.output_folder",
    "training.recipe",
    "training.resuming",
    "shortlist.choice",
    "shortlist.tree_files",
]
HEAVY = {"torch", "numpy", "diffusers", "transformers"}
FAMILIES = ("unet", "dit", "sdxl", "pixart", "prx", "stable_diffusion_3", "flux", "chroma", "gaussian_mixture")
SEPARATE = [
    *combinations([f"backbones/{family}" for family in FAMILIES], 2),
    ("compress/token_merging", "compress/kv_pooling"),
    *combinations([f"compress/networks/{kind}" for kind in ("unet", "patch_transformer", "sd3", "flux", "prx")], 2),
]
LONGEST_FUNCTION = 50
COMMAND_SHARE = 0.14  # of the package's lines that may lie in cli/

FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or not path.stem.startswith("__")]
FILES = [path for path in FILES if "alias" not in path.parts]


def module_of(path: Path) -> str:
    """Return a file's dotted name."""
    return ".".join(("bigain_cli", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """Return the project's modules that a file imports, anywhere in it, for types and in functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bigain_cli"):
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("bigain_cli.")}
    return found - {"bigain_cli"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_every_file_has_its_room() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


def test_a_room_imports_only_rooms_above_it() -> None:
    upward = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in FILES
        for name in sorted(imports(path))
        if ROOMS.index(name.split(".")[1]) > ROOMS.index(room_of(path))
    ]
    assert not upward


def test_no_file_imports_the_public_names() -> None:
    """The first of them imports them all, and everything they need."""
    assert not [path for path in FILES if "from bigain_cli import" in path.read_text()]


def test_imports_never_go_in_circles() -> None:
    graph = {name: (imports(path) & MODULES.keys()) - {name} for name, path in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())  # a circle raises, and is named


@pytest.mark.parametrize(("one", "other"), SEPARATE)
def test_families_do_not_import_each_other(one: str, other: str) -> None:
    for here, there in ((one, other), (other, one)):
        assert "bigain_cli." + there.replace("/", ".") not in imports(PACKAGE / f"{here}.py")


def test_light_rooms_and_files_import_without_torch() -> None:
    names = [name for name, path in MODULES.items() if room_of(path) in LIGHT_ROOMS]
    names += [f"bigain_cli.{name}" for name in LIGHT_FILES]
    code = (
        "import sys, importlib\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = {HEAVY} & set(sys.modules)\n"
        "    if heavy: sys.exit(f'{name} imports {heavy}')\n"
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
    for path, node in functions():
        assert node.end_lineno is not None
        length = node.end_lineno - node.lineno + 1
        if room_of(path) == "cli" and node.name == path.stem:  # a verb: its options are its parameters
            length = node.end_lineno - node.body[0].lineno + 1
        assert length <= LONGEST_FUNCTION, f"{path.relative_to(PACKAGE)}: {node.name} has {length} lines"


def test_the_command_is_a_thin_layer() -> None:
    lines = {path: path.read_text().count("\n") for path in FILES}
    command = sum(count for path, count in lines.items() if room_of(path) == "cli")
    assert command <= COMMAND_SHARE * sum(lines.values())
