"""What is known during a forward pass of a compressed network: its time, grids and seeds, recorded and replayed plans.

In: the arguments of the network's forward; out: what the blocks ask for. Must not know kinds of blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain_cli.compress.plan import Grid, Operator, Plan, PlanRows, Plans
from bigain_cli.errors import ModelError, UsageError

ROW_BITS = 32  # of a default row id; the number of the forward is in the bits above
ROOT = ""  # the name of the network itself among the modules that have a grid


class PlansComplete(Exception):
    """Every required plan is recorded: the rest of the forward pass is not needed."""


@dataclass(frozen=True)
class Observation:
    """One plan of an operator, with the input that it was made from."""

    site: str  # the block's name
    key: str  # of the plan
    operator: Operator
    plan: Plan
    tokens: Tensor  # [b n c]
    grid: Grid
    rows: PlanRows


class NetworkInputs(Protocol):
    """What the arguments of a network's forward mean."""

    unit_time: bool  # whether t goes from 0 to 1, not up to the number of steps
    text_tokens: int  # that its text encoder usually gives

    def latent(self, root: Any, arguments: Mapping[str, Any], expected: Grid) -> Grid:
        """Return the latent's size."""

    def root_grid(self, root: Any, latent: Grid) -> Grid | None:
        """Return the grid of all blocks, or None where modules inside the network see grids of their own."""


class ForwardState:
    """What is known during a forward pass; one per compressed network."""

    def __init__(self, root: Any, inputs: NetworkInputs, latent: Grid, steps: int, count_forwards: bool) -> None:
        self.root, self.inputs, self.steps, self.count_forwards = root, inputs, steps, count_forwards
        self.argument_names = list(inspect.signature(root.forward).parameters)
        self.active, self.hooks_ran = True, False
        self.blocks: set[nn.Module] = set()  # that hooks act on
        self.forward_number = torch.zeros(1, dtype=torch.int64)
        self.latent = latent  # of the last forward; before the first one, the expected one
        self.text_tokens: int | None = None  # of the last forward
        grid = inputs.root_grid(root, latent)  # kept from the start, so that a compiled network finds no new key later
        self.grids: dict[str, Grid] = {} if grid is None else {ROOT: grid}  # by the host module's name
        self.t: Tensor | None = None
        self.seeds: Tensor | None = None
        self.row_ids: Tensor | None = None
        self.level_plans: Plans = {}  # of this forward, where the blocks of a level share one
        self.recorded: Plans | None = None
        self.required: frozenset[str] | None = None  # the plans after which a forward may stop
        self.replayed: tuple[Plans, Tensor] | None = None
        self.observed: list[Observation] | None = None

    def attach(self) -> list[RemovableHandle]:
        """Put hooks on the network's start and end."""
        return [
            self.root.register_forward_pre_hook(self.start_forward, with_kwargs=True),
            self.root.register_forward_hook(self.end_forward),
        ]

    def start_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the time, the latent's size and the number of text tokens."""
        arguments = dict(zip(self.argument_names, args, strict=False)) | kwargs
        sample: Any = arguments[self.argument_names[0]]
        t, text = arguments.get("timestep"), arguments.get("encoder_hidden_states")
        self.latent = self.inputs.latent(self.root, arguments, self.latent)
        if (grid := self.inputs.root_grid(self.root, self.latent)) is not None:
            self.grids[ROOT] = grid
        self.text_tokens = text.shape[1] if isinstance(text, Tensor) else None
        self.t = _times(t, sample, self.steps if self.inputs.unit_time else 1) if t is not None else None
        if self.count_forwards:
            self.forward_number = self.forward_number.to(sample.device) + 1
        self.hooks_ran = False
        self.level_plans.clear()

    def end_forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Refuse a compiled network that ignored the hooks on its blocks; blocks that are cached have left it."""
        if not self.hooks_ran and not self.blocks.isdisjoint(self.root.modules()):
            why = "it ran without its compression: it had been compiled before"
            raise ModelError(f"model {type(module).__name__}", why, "Compress first, then call torch.compile.")

    def rows(self, tokens: Tensor, site: int) -> PlanRows:
        """Return what is known about the rows."""  # tokens [b n c]
        b, seeds, row_ids = tokens.shape[0], self.seeds, self.row_ids
        if self.t is None:
            why = "its blocks ran without a timestep"
            raise ModelError(f"model {type(self.root).__name__}", why, "Call the network itself, not its parts.")
        if seeds is None:
            seeds = torch.zeros(b, dtype=torch.int64, device=tokens.device)
        if row_ids is None:  # every row of every forward is a different one
            row_ids = torch.arange(b, device=tokens.device)
            if self.count_forwards:  # else the number is 0 and on the CPU, and copying it would wait for the device
                row_ids = row_ids + (self.forward_number << ROW_BITS)
        for name, value in (("timesteps", self.t), ("seeds", seeds), ("row numbers", row_ids)):
            if len(value) not in (1, b):
                raise UsageError(f"{len(value)} {name}", f"the batch has {b} rows", "Give one for each row.")
        return PlanRows(self.t.expand(b), seeds.expand(b), self.steps, site, row_ids.expand(b))


class GridHook:
    """Notes the true token grid of the blocks inside one module, whose input has its shape."""

    def __init__(self, state: ForwardState, name: str) -> None:
        self.state, self.name = state, name

    def note_grid(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the grid from the input's shape."""
        self.state.grids[self.name] = Grid(*(args[0] if args else kwargs["hidden_states"]).shape[-2:])


def _times(t: Any, sample: Tensor, scale: int) -> Tensor:
    """Return the timesteps as one row, without waiting for the device."""
    if isinstance(t, Tensor):
        return t.to(sample.device, torch.float32).reshape(-1) * scale
    return torch.full((1,), float(t) * scale, device=sample.device)
