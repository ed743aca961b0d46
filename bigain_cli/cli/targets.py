"""Where pictures go: one file, a folder with a name for each, or stdout. Refuses before anything is drawn."""

# os.path says no where pathlib raises: names too long, folders that are closed.
from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from bigain_cli.cli.order import Order
from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import check_new, check_target

STDOUT = "-"
LONGEST = 40  # letters of a prompt in a file's name


def targets(order: Order) -> list[str]:
    """Return a path for each picture, prompt by prompt, or for the one grid of them."""
    output, total = order.output, len(order.prompts) * order.count
    folder = "." if output is None else output
    if output == STDOUT or (output is not None and _is_file(output)):
        if total > 1 and not order.grid:
            hint = "Name a folder, such as -o out/, or put them into one picture with --grid."
            raise UsageError(f"-o {output}", f"one file for {total} pictures", hint)
        return [output]
    names = [f"grid-{order.wish.seed}.png"] if order.grid else _names(order)
    return [os.path.join(folder, name) if output is not None else name for name in names]


def check_targets(paths: list[str], order: Order) -> None:
    """Refuse what cannot or should not be written."""
    if paths == [STDOUT]:
        if order.jsonl:
            raise UsageError("-o - --jsonl", "both go to stdout", "Write the picture to a file: -o FILE.png.")
        if sys.stdout.isatty():
            raise UsageError("-o -", "a terminal shows no pictures", "Pipe it on, or write to a file: -o FILE.png.")
        return
    check_new(paths, order.force)
    folder = os.path.dirname(paths[0])
    if folder and not os.path.isdir(folder) and not _is_file(order.output or ""):
        _check_new(folder)
        return
    for path in paths:
        check_target(path, force=True)


def make_folder(paths: list[str]) -> None:
    """Make the folder of the pictures."""
    folder = os.path.dirname(paths[0])
    if folder:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as problem:
            raise UsageError(folder, f"cannot be made ({problem.strerror})", "Name another folder") from problem


def _check_new(folder: str) -> None:
    """Refuse a folder that could not be made."""
    above = os.path.dirname(folder.rstrip("/"))
    while above and not os.path.lexists(above):
        above = os.path.dirname(above)
    if os.path.lexists(folder):
        raise UsageError(folder, "a file, not a folder", "Name another folder, or a file that ends in .png")
    if not os.path.isdir(above or "."):
        raise UsageError(folder, f"{above} is not a folder", "Name another one")
    if not os.access(above or ".", os.W_OK):
        raise UsageError(folder, f"no permission to make it in {above or 'this folder'}", "Name another folder")


def _is_file(output: str) -> bool:
    """Tell a file from a folder, which may not be there yet; refuse what is neither."""
    if output.endswith("/") or os.path.isdir(output) or not output:
        return False
    suffix = Path(output).suffix.lower()
    if suffix not in ("", ".png") and not _is_special(output):
        hint = f"Use {Path(output).with_suffix('.png')}; other programs convert it."
        raise UsageError(f"-o {output}", "only PNG files are written: they carry their settings", hint)
    return suffix == ".png" or _is_special(output)


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _names(order: Order) -> list[str]:
    """Name each picture after its prompt and its seed."""
    taken: dict[str, None] = {}
    for prompt in order.prompts:
        stem = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:LONGEST].strip("-") or "empty"
        free, number = stem, 1
        while free in taken:
            number += 1
            free = f"{stem}-{number}"
        taken[free] = None
    return [f"{stem}-{order.wish.seed + i}.png" for stem in taken for i in range(order.count)]
