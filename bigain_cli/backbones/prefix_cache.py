"""The prefix cache: the part of a text-conditioned network before the text enters, computed once per draw.

A forward pass is stopped at the first attention to the text, wherever in the network that is; the outputs of the
modules that finished before are kept and used in the passes that follow, row by row. No forward is copied, so any
U-Net of diffusers will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bigain_cli.backbones.base import join, pick, repeat


@dataclass(frozen=True)
class PrefixCache:
    """Outputs of the outermost modules that finish before the text enters, by name; one row per (image, draw)."""

    outputs: Mapping[str, Any]

    def take(self, index: Tensor) -> PrefixCache:
        """Return the rows at `index`."""
        return PrefixCache({name: pick(output, index) for name, output in self.outputs.items()})

    def repeat(self, count: int) -> PrefixCache:
        """Return every row so many times in a row; gradients flow back."""
        return PrefixCache({name: repeat(output, count) for name, output in self.outputs.items()})

    @staticmethod
    def join(parts: list[PrefixCache]) -> PrefixCache:
        """Concatenate row-wise."""
        return PrefixCache(join([dict(part.outputs) for part in parts]))


class _StopAtText(Exception):
    """The first attention to the text was reached."""


class _CachedModule(nn.Module):
    """A module's replacement, which returns its cached output."""

    def __init__(self, output: Any, module: nn.Module) -> None:
        super().__init__()
        self._outputs = [output]  # in a list, so that nothing is registered
        resnets = module._modules.get("resnets")  # by which a U-Net counts the skips of an up block
        self.resnets = [None] * (0 if resnets is None else len(list(resnets.children())))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output; a second call in one pass would mean that two blocks share the module."""
        return self._outputs.pop()


def run_prefix(network: nn.Module, text: Tensor, forward: Callable[[], Any]) -> PrefixCache:
    """Run `forward` up to the first attention to `text`, and return the outputs before it."""
    finished: dict[str, Any] = {}
    handles = []
    for name, module in network.named_modules():
        if _is_attention(module):
            handles.append(module.register_forward_pre_hook(_stop_at(text), with_kwargs=True))
        if name:
            handles.append(module.register_forward_hook(_keep_output(finished, name)))
    try:
        forward()
    except _StopAtText:
        return PrefixCache(finished)
    finally:
        for handle in handles:
            handle.remove()
    raise AssertionError("the network finished without reading the text")


@contextmanager
def use_cached(network: nn.Module, prefix: PrefixCache) -> Iterator[None]:
    """Replace the prefix's modules by their cached outputs, for one pass."""
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for name, output in prefix.outputs.items():
            parent_name, _, leaf = name.rpartition(".")
            parent = network.get_submodule(parent_name)
            module = parent.get_submodule(leaf)
            replaced.append((parent, leaf, module))
            parent._modules[leaf] = _CachedModule(output, module)
        yield
    finally:
        for parent, leaf, module in replaced:
            parent._modules[leaf] = module


def _is_attention(module: nn.Module) -> bool:
    from diffusers.models.attention_processor import Attention

    return isinstance(module, Attention)


def _stop_at(text: Tensor) -> Callable[..., None]:
    """Return a hook that stops the pass at an attention to the text."""

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(value is text for value in (*args, *kwargs.values())):
            raise _StopAtText

    return stop


def _keep_output(finished: dict[str, Any], name: str) -> Callable[..., None]:
    """Return a hook that keeps a module's output in place of those of the modules inside it."""

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        for inner in [other for other in finished if other.startswith(name + ".")]:
            del finished[inner]
        finished[name] = output

    return keep
