"""Put the hooks of a compression on a network, all or none; refuse networks on which they would be ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from bigain_cli.compress.assignment import Assignment
from bigain_cli.compress.block_compression import BlockCompression
from bigain_cli.compress.forward_state import ROOT, ForwardState, GridHook
from bigain_cli.compress.report import AppliedSpec
from bigain_cli.compress.site import RemovableHook
from bigain_cli.errors import ModelError, UsageError


def attach_hooks(state: ForwardState, applied: AppliedSpec) -> list[RemovableHook]:
    """Attach all hooks, or none."""
    names = {id(module): name for name, module in state.root.named_modules()}
    hooks: list[RemovableHook] = []
    try:
        if applied.assignments:
            hooks += state.attach()
        places = [each.site.place for each in applied.assignments]
        for host in {id(place.host): place.host for place in places if place.host is not None}.values():
            grid_hook = GridHook(state, names[id(host)])
            hooks.append(host.register_forward_pre_hook(grid_hook.note_grid, with_kwargs=True))
        for each, place in zip(applied.assignments, places, strict=True):
            host_name = ROOT if place.host is None else names[id(place.host)]
            site, terms = each.site, (each.merging, each.pooling)
            compression = BlockCompression(
                state, site.name, site.index, host_name, each.key, terms, applied.operators, place.kind.text_in_front
            )
            hooks += place.kind.attach(place.block, compression)
            state.blocks.add(place.block)
    except BaseException:
        for hook in hooks:
            hook.remove()
        raise
    return hooks


def refuse_compiled_or_fused(root: Any) -> None:
    """Refuse networks on which hooks would be ignored, or already are."""
    name = f"model {type(root).__name__}"
    for module in root.modules():
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
            raise ModelError(name, "it is compiled and would ignore its compression", "Compress first, then compile.")
        if _is_fused(module):
            hint = "Call unfuse_qkv_projections() first."
            raise ModelError(name, "its query, key and value projections are fused", hint)
    if is_compressed(root):
        hint = "Remove that first, or join the specs with '+'."
        raise UsageError(name, "it is compressed already", hint)


def check_blocks(assignments: Sequence[Assignment]) -> None:
    """Refuse blocks whose attention the hooks would not reach."""
    for each in assignments:
        each.site.kind.check(each.site.block, each.site.name, each.pooling is not None)


def is_compressed(root: Any) -> bool:
    """Say whether a spec acts on a network."""
    hooks = (hook for module in root.modules() for hook in module._forward_pre_hooks.values())
    return any(isinstance(getattr(hook, "__self__", None), ForwardState) for hook in hooks)


def _is_fused(module: nn.Module) -> bool:
    """Say whether an attention uses one projection in place of three.

    diffusers' older attention keeps the mark when it is unfused, and only gets its old processor back.
    """
    if not getattr(module, "fused_projections", False):
        return False
    return "unfuse_projections" in dir(module) or type(getattr(module, "processor", None)).__name__.startswith("Fused")
