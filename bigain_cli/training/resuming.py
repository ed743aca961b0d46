"""Continue a training by its checkpoint alone, which says where its images are and how it is trained.

In: an output folder, and what the caller says anew; out: the job, or a refusal with both values. Torch-free.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.limits import MOST_HEADER
from bigain_cli.training.job import TrainingJob
from bigain_cli.training.output_folder import checkpoint_of, require_checkpoint
from bigain_cli.training.recipe import Recipe, differences
from bigain_cli.training.tokenizer import make_vocabulary

KEPT = ("device", "every", "validation", "previews")  # what the weights do not depend on
RECORDED = (*KEPT, "images", "held_out")
NOTHING = type(None)
TYPES: Mapping[str, tuple[type, ...]] = {
    "device": (str,),
    "every": (int,),
    "validation": (int, NOTHING),
    "previews": (bool,),
    "images": (str,),
    "held_out": (str, int, float, NOTHING),
}


def resumed_job(
    folder: Path | str, recipe: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> TrainingJob:
    """Return the job that continues the training in a folder.

    `options` are fields of the job and `recipe` keys of its recipe that are given again. Other images may lie elsewhere
    now, and what the weights do not depend on may change; a contradiction to the training so far is refused.
    """
    path, recipe, given = checkpoint_of(Path(folder)), recipe or {}, dict(options or {})
    require_checkpoint(Path(folder))
    checkpoint = read_settings(path)
    try:
        chosen, words = Recipe(**checkpoint["recipe"]), checkpoint.get("words") or {}
        kept = {name: value for name, value in (checkpoint.get("options") or {}).items() if name in RECORDED}
        _check_types(kept, words)
        recorded = {**kept, **_word_options(words)}
        _check_contradictions(chosen, recorded, words, recipe, given)
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise _no_checkpoint(path, problem) from problem
    values = {**recorded, **given}
    if "images" not in values:
        hint = "Name them once more: bigain train DATA --resume -o FOLDER."
        raise UsageError("--resume", "the checkpoint does not say where its images are", hint)
    return TrainingJob(chosen, folder=folder, **values)


def options_record(job: TrainingJob) -> dict[str, Any]:
    """Return what a checkpoint records of a job beside its recipe and its words; images in memory have no place."""
    record = {name: getattr(job, name) for name in KEPT}
    for name, value in (("images", job.images), ("held_out", job.held_out)):
        if isinstance(value, Path | str):
            record[name] = os.path.abspath(value)
        elif value is None or isinstance(value, int | float):
            record[name] = value
    return record


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says in its header, without its tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MOST_HEADER:
                raise ValueError("no header of safetensors")
            settings = read_json(read_json(file.read(length))["__metadata__"]["training"])
        if not isinstance(settings, dict):
            raise ValueError("its settings are no table")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise _no_checkpoint(path, problem) from problem
    return settings


def _word_options(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names, the templates and the backbone to start from that a checkpoint records."""
    synonyms = {name: names[1:] for name, names in words.get("classes", {}).items() if len(names) > 1}
    found = {"synonyms": synonyms, "start": words.get("from", "")}
    return {**found, "templates": tuple(words["templates"])} if "templates" in words else found


def _check_types(kept: Mapping[str, Any], words: Mapping[str, Any]) -> None:
    """Refuse options and words of a type that no training records."""
    for name, value in kept.items():
        if type(value) not in TYPES[name]:
            raise ValueError(f"its {name} is {value!r}")
    names = (*words.get("classes", {}).values(), words.get("templates", []))
    if not all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in names):
        raise ValueError("its words are no lists of texts")
    if not isinstance(words.get("from", ""), str):
        raise ValueError(f"it starts from {words['from']!r}")


def _check_contradictions(
    chosen: Recipe,
    recorded: Mapping[str, Any],
    words: Mapping[str, Any],
    recipe: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Refuse what would have made another training; paths may differ, for the images themselves are compared later."""
    before = {key: value for key, value in chosen.to_dict().items() if key in recipe}
    now = dict(recipe)
    for name, option in (("templates", "template"), ("start", "from"), ("held_out", "held-out")):
        if name in options and name in recorded and not _are_paths(options[name], recorded[name]):
            before[option], now[option] = (_plain(values[name]) for values in (recorded, options))
    if "synonyms" in options and "classes" in words:
        vocabulary = make_vocabulary(list(words["classes"]), options["synonyms"], ("{}",))
        before |= {f"names of {name}": names for name, names in words["classes"].items()}
        now |= {f"names of {name}": list(names) for name, names in vocabulary.classes.items()}
    if changes := differences(before, now):
        why = f"the training so far had other settings ({'; '.join(changes)})"
        raise UsageError(
            "--resume", why, "Leave them out, go on from it with --from FOLDER -o NEW, or start again with --force."
        )


def _are_paths(one: Any, other: Any) -> bool:
    """Return whether both are data of their own, not a share of each class or a name."""
    return isinstance(one, Path | str) and isinstance(other, str) and os.path.isabs(other)


def _plain(value: Any) -> Any:
    if value == "":
        return "random weights"  # to start from
    return list(value) if isinstance(value, tuple) else value


def _no_checkpoint(path: Path, problem: Exception) -> UsageError:
    return UsageError(str(path), f"not a checkpoint ({problem})", "Start again with --force.")
