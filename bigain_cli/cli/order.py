"""What a user asked `generate` for: drawn anew, or as an earlier picture's settings say. Torch-free."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigain_cli import __version__
from bigain_cli.errors import UsageError
from bigain_cli.outputs.png import settings_of
from bigain_cli.sampler.wish import Wish, written


@dataclass(frozen=True)
class Earlier:
    """A picture that is drawn again."""

    path: str
    settings: Mapping[str, Any]

    def check_weights(self, name: str, identity: str) -> None:
        """Refuse a model that is not the one that drew the picture."""
        if identity != self.settings["weights"]:
            why = f"not the weights that drew {self.path}"
            raise UsageError(f"model {name}", why, f"Name those with -m, or draw with these: {self.command(name)}")

    def command(self, model: str) -> str:
        """Return the flags that ask for the same with another model or version."""
        said = self.settings
        options = {"--negative": said["negative"], "-c": said["compress"], "--sampler": said["sampler"]}
        options |= {"--steps": said["steps"], "--guidance": said["guidance"], "--seed": said["seed"]}
        options |= {"--size": written(said["size"]), "-m": model, "-n": said.get("count", 1)}
        words = [str(word) for pair in options.items() if pair[1] != "" for word in pair]
        grid = ["--grid"] if "prompts" in said else []
        return shlex.join(["bigain", "generate", *said.get("prompts", [said.get("prompt")]), *words, *grid])


@dataclass(frozen=True)
class Order:
    """Everything the user asked for."""

    prompts: tuple[str, ...]
    count: int
    wish: Wish
    model: str
    device: str
    dtype: str
    output: str | None
    grid: bool
    force: bool
    jsonl: bool
    earlier: Earlier | None = None


def order_again(path: str, model: str | None, device: str, output: str | None, force: bool, jsonl: bool) -> Order:
    """Read an order off a picture; the model may lie elsewhere by now."""
    earlier = Earlier(path, settings_of(path))
    said = earlier.settings
    check_kinds(path, said)
    try:
        wish = Wish(
            said["sampler"],
            int(said["steps"]),
            float(said["guidance"]),
            said["negative"],
            (int(said["size"][0]), int(said["size"][1])),
            int(said["seed"]),
            said["compress"],
            int(said["batch"]),
        )
        grid = "prompts" in said
        prompts = tuple(map(str, said["prompts"] if grid else [said["prompt"]]))
        name, dtype, version = str(said["model"]), str(said["dtype"]), str(said["version"])
        count = int(said.get("count", 1))
        earlier = Earlier(path, {**said, "weights": str(said["weights"])})
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as problem:
        why = f"its settings cannot be read ({problem})"
        raise UsageError(path, why, "Give an unaltered picture of bigain generate.") from problem
    if version.split(".")[:2] != __version__.split(".")[:2]:
        why = f"bigain {version} drew it and {__version__} may draw it differently"
        raise UsageError(path, why, f"Install that version, or draw it anew: {earlier.command(model or name)}")
    return Order(prompts, count, wish, model or name, device, dtype, output, grid, force, jsonl, earlier)


KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("sampler", "negative", "compress", "model", "dtype", "version", "weights", "prompt"), (str,)),
    **dict.fromkeys(("steps", "seed", "batch", "count"), (int,)),
    "guidance": (int, float),
    "size": (list,),
    "prompts": (list,),
}


def check_kinds(path: str, said: Mapping[str, Any]) -> None:
    """Refuse settings that somebody has altered to what they can never have been."""
    for name, kinds in KINDS.items():
        value = said.get(name)
        if name in said and (not isinstance(value, kinds) or isinstance(value, bool)):
            why = f"its setting {name!r} cannot be {value!r}"
            raise UsageError(path, why, "Give an unaltered picture of bigain generate.")
