"""Where generated images are written: one file, or a folder with a name for each. Torch-free."""

# os.path says no where pathlib raises: names too long, folders that are closed.
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import check_folder, check_new, check_target

STDOUT = "-"
LONGEST = 40  # letters of a prompt in a file's name


def image_paths(output: str | None, prompts: Sequence[str], count: int, seed: int, grid: bool) -> list[str]:
    """Return a path for each image, prompt by prompt, or for the one grid of them."""
    if output == STDOUT or (output is not None and is_file(output)):
        if len(prompts) * count > 1 and not grid:
            hint = "Name a folder, such as -o out/, or put them into one image with --grid."
            raise UsageError(f"-o {output}", f"one file for {len(prompts) * count} images", hint)
        return [output]
    names = [f"grid-{seed}.png"] if grid else image_names(prompts, count, seed)
    return [os.path.join(output, name) if output is not None else name for name in names]


def image_names(prompts: Sequence[str], count: int, seed: int) -> list[str]:
    """Name each image after its prompt and its seed."""
    taken: dict[str, None] = {}
    for prompt in prompts:
        stem = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:LONGEST].strip("-") or "empty"
        free, number = stem, 1
        while free in taken:
            number += 1
            free = f"{stem}-{number}"
        taken[free] = None
    return [f"{stem}-{seed + i}.png" for stem in taken for i in range(count)]


def check_paths(paths: Sequence[str], output: str | None, force: bool) -> None:
    """Refuse files that cannot or should not be written; a folder that is not there yet must be one we can make."""
    check_new(paths, force)
    folder = os.path.dirname(paths[0])
    if folder and not os.path.isdir(folder) and not is_file(output or ""):
        check_folder(folder)
        return
    for path in paths:
        check_target(path, force=True)


def is_file(output: str) -> bool:
    """Tell a file from a folder, which may not be there yet; refuse what is neither."""
    if output.endswith("/") or os.path.isdir(output) or not output:
        return False
    suffix, special = Path(output).suffix.lower(), os.path.exists(output) and not os.path.isfile(output)
    if suffix not in ("", ".png") and not special:
        hint = f"Use {Path(output).with_suffix('.png')}; other programs convert it."
        raise UsageError(f"-o {output}", "only PNG files are written: they carry their settings", hint)
    return suffix == ".png" or special
