"""Where generated images are written: one file, or a folder with a file name for each. Torch-free."""

# os.path returns False where pathlib raises: for names that are too long and folders that cannot be read.
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.outputs.whole_files import check_folder, check_new, check_target

STDOUT = "-"
MAX_LETTERS = 40  # of a prompt in a file name


def image_paths(output: str | None, prompts: Sequence[str], count: int, seed: int, grid: bool) -> list[str]:
    """Return a path for each image, prompt by prompt, or for the one grid of them."""
    if output == STDOUT or (output is not None and is_file(output)):
        if len(prompts) * count > 1 and not grid:
            hint = "Name a folder, such as -o out/, or put them into one image with --grid."
            raise UsageError(f"-o {output}", f"one file for {len(prompts) * count} images", hint)
        return [output]
    names = [f"grid-{seed}.png"] if grid else image_names(prompts, count, seed)
    return [os.path.join(output, name) if output is not None else name for name in names]


def destination(paths: Sequence[str]) -> str:
    """Return where images are, for people: a file, a folder or stdout."""
    if paths[0] == STDOUT:
        return "stdout"
    return paths[0] if len(paths) == 1 else os.path.dirname(paths[0]) or "this folder"


def image_names(prompts: Sequence[str], count: int, seed: int) -> list[str]:
    """Name each image after its prompt and its seed."""
    stems: dict[str, int] = {}  # and the next number of each
    for prompt in prompts:
        plain = stem = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:MAX_LETTERS].strip("-") or "empty"
        while stem in stems:
            stems[plain] += 1
            stem = f"{plain}-{stems[plain]}"
        stems[stem] = 1
    return [f"{stem}-{seed + i}.png" for stem in stems for i in range(count)]


def check_paths(paths: Sequence[str], output: str | None, force: bool) -> None:
    """Refuse files that cannot or should not be written; a folder that does not exist yet must be one we can make."""
    check_new(paths, force)
    folder = os.path.dirname(paths[0])
    if folder and not os.path.isdir(folder) and not is_file(output or ""):
        check_folder(folder)
    else:
        for path in paths:
            check_target(path, force=True)


def is_file(output: str) -> bool:
    """Return whether the output is a file, not a folder, which may not exist yet; refuse what is neither."""
    if output.endswith("/") or os.path.isdir(output) or not output:
        return False
    suffix, special = Path(output).suffix.lower(), os.path.exists(output) and not os.path.isfile(output)
    if suffix not in ("", ".png") and not special:
        hint = f"Use {Path(output).with_suffix('.png')}; other programs convert it."
        raise UsageError(f"-o {output}", "only PNG files are written: they carry their settings", hint)
    return suffix == ".png" or special
