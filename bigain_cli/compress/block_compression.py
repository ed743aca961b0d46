"""What one block does with its image tokens: it makes, records or replays their plans, and applies them.

In: tokens, of which the image's are the last ones; out: fewer tokens, and all of them again. The text's tokens
are never touched. Must not know kinds of blocks: these say which of their parts get which hook.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.compress.forward_state import ForwardState, Observation, PlansComplete
from bigain_cli.compress.plan import Grid, Operator, Plan, Plans
from bigain_cli.compress.spec import Term
from bigain_cli.errors import ModelError


class BlockCompression:
    """At most one merging and one pooling at one block."""

    def __init__(
        self,
        state: ForwardState,
        name: str,
        index: int,
        host: str,
        key: str,
        terms: tuple[Term | None, Term | None],
        operators: dict[Term, Operator],
        text_in_front: bool,
    ) -> None:
        """Take the block's name and number, its host's name, the key of its plan, and what merges and what pools.

        `text_in_front` says whether the text's tokens are in the same sequence, before the image's.
        """
        self.state, self.name, self.index, self.host, self.key = state, name, index, host, key
        self.text_in_front = text_in_front
        self.term, pooling = terms
        self.merging = operators[self.term] if self.term else None
        self.pooling = operators[pooling] if pooling else None
        self._by_level = self.term is not None and self.term.share == "level"
        self._shared = self.term is not None and self.term.shared
        self._metric: Tensor | None = None
        self._plan: Plan | None = None

    @property
    def active(self) -> bool:
        """Say whether hooks are to do anything."""
        return self.state.active

    def start(self, metric: Tensor | None = None) -> None:
        """Start a forward of the block; tokens are compared by `metric`, or by the first that are merged."""  # [b n c]
        self.state.hooks_ran = True
        self._plan = None
        if self.merging is not None and metric is not None:
            self._metric = metric
            if self._by_level:  # the other blocks need the plan even where this attention is skipped
                self._plan = self._find_or_make_plan(metric)

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Release the block's tokens; a hook."""
        self._metric = self._plan = None

    def pool(self, x: Tensor) -> tuple[Tensor, Plan]:
        """Return tokens for keys and values, and their plan."""  # [b s c]
        assert self.pooling is not None
        text, image = self._split(x)
        plan = self._make_plan(self.pooling, image, self.grid(x))
        keys = plan.keys(image)
        assert keys is not None
        return _join(text, keys), plan

    def merge(self, x: Tensor) -> Tensor:
        """Return fewer tokens."""  # [b s c]
        text, image = self._split(x)
        return _join(text, self.plan(x).query(image))

    def restore(self, y: Tensor) -> Tensor:
        """Give every token its result."""  # of `merge`
        if self._plan is None:
            return y
        text = y.shape[1] - self._plan.kept().shape[1]
        return _join(y[:, :text] if text else None, self._plan.restore(y[:, text:] if text else y))

    def plan(self, x: Tensor) -> Plan:
        """Return the plan of this block in this forward, made when it is first needed."""
        if self._plan is None:
            self._plan = self._find_or_make_plan(self._split(x)[1] if self._metric is None else self._metric)
            self._metric = None
        return self._plan

    def grid(self, x: Tensor) -> Grid:
        """Return the image's grid; refuse tokens that do not lie on it."""
        grid = self.state.grids[self.host]
        if x.shape[1] != grid.n and not (self.text_in_front and x.shape[1] > grid.n):
            why = f"it has {x.shape[1]} tokens on a grid of {grid.h}x{grid.w}"
            raise ModelError(f"block {self.name}", why, "Only plain image tokens can be compressed.")
        return grid

    def merge_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Merge the tokens that enter a part; a hook."""
        if not self.active:
            return None
        if args:
            return (self.merge(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self.merge(kwargs["hidden_states"])}

    def restore_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Give every token its result, in the first of several outputs; a hook."""
        return self.restore(output) if isinstance(output, Tensor) else (self.restore(output[0]), *output[1:])

    def _split(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the text's tokens, if they are in the same sequence, and the image's."""
        text = x.shape[1] - self.grid(x).n
        return (x[:, :text], x[:, text:]) if text else (None, x)

    def _find_or_make_plan(self, tokens: Tensor) -> Plan:
        state = self.state
        if self._by_level and self.key in state.level_plans:
            return state.level_plans[self.key]
        if self._shared and state.replayed is not None:
            plans, rows = state.replayed
            plan = self._recorded_plan(plans).select(rows)
        elif self._shared and state.required is not None and state.recorded is not None and self.key in state.recorded:
            plan = state.recorded[self.key]  # the part before the text has made it
        else:
            assert self.merging is not None
            plan = self._make_plan(self.merging, tokens, self.grid(tokens))
            if self._shared and state.recorded is not None:
                state.recorded[self.key] = plan
                if state.required is not None and state.required <= state.recorded.keys():
                    raise PlansComplete
        if self._by_level:
            state.level_plans[self.key] = plan
        return plan

    def _make_plan(self, operator: Operator, tokens: Tensor, grid: Grid) -> Plan:
        rows = self.state.rows(tokens, self.index)
        plan = operator.plan(tokens, grid, rows)
        if self.state.observed is not None:
            self.state.observed.append(Observation(self.name, self.key, operator, plan, tokens.detach(), grid, rows))
        return plan

    def _recorded_plan(self, plans: Plans) -> Plan:
        if self.key not in plans:
            known = f"Plans were recorded for {', '.join(plans) or 'no block'}."
            raise ModelError(f"block {self.name}", "no plan was recorded for it", known)
        return plans[self.key]


def _join(text: Tensor | None, image: Tensor) -> Tensor:
    return image if text is None else torch.cat([text, image], 1)
