"""The prefix cache: the part of a network before the text or the label enters, computed once per draw.

A forward pass is stopped at the first attention to the text, or at the first block that reads the label, wherever in
the network that is; the outputs of the modules that finished before are kept and used in the passes that follow, row
by row. No forward is copied, so any U-Net or DiT of diffusers will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bigain_cli.backbones.base import join, pick, repeat


@dataclass(frozen=True)
class PrefixCache:
    """Outputs of the outermost modules that finish before the prompt enters, by name; one row per (image, draw)."""

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


class _PromptReached(Exception):
    """The first module that reads the text or the label was reached."""


class _CachedModule(nn.Module):
    """A module's replacement, which returns its cached output; what else is asked of it, the module answers."""

    def __init__(self, output: Any, module: nn.Module) -> None:
        super().__init__()
        self._outputs, self._module = [output], [module]  # in lists, so that nothing is registered

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the module: a U-Net counts skips by it, a DiT embeds the time by it once more."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._module[0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output; a second call in one pass would mean that two blocks share the module."""
        return self._outputs.pop()


def run_prefix(network: nn.Module, text: Tensor, forward: Callable[[], Any]) -> PrefixCache:
    """Run `forward` up to the first attention to `text`, and return the outputs before it."""
    attentions = [module for module in network.modules() if _is_attention(module)]
    return PrefixCache(_outputs_up_to(network, attentions, _stop_at(text), forward))


def run_prefix_blocks(network: nn.Module, blocks: nn.ModuleList, count: int, forward: Callable[[], Any]) -> PrefixCache:
    """Run `forward` up to the first of a chain of blocks that reads the label, and return the output before it."""
    outputs = _outputs_up_to(network, [blocks[count]], _stop, forward)
    last = next(reversed(outputs))
    return PrefixCache({name: output if name == last else () for name, output in outputs.items()})


def _outputs_up_to(
    network: nn.Module, readers: Iterable[nn.Module], stop: Callable[..., None], forward: Callable[[], Any]
) -> dict[str, Any]:
    """Run `forward` until the hook of a reader stops it; return the outputs before, in running order."""
    finished: dict[str, Any] = {}
    handles = [module.register_forward_pre_hook(stop, with_kwargs=True) for module in readers]
    named = [(name, module) for name, module in network.named_modules() if name]
    handles += [module.register_forward_hook(_keep_output(finished, name)) for name, module in named]
    try:
        forward()
    except _PromptReached:
        return finished
    finally:
        for handle in handles:
            handle.remove()
    raise AssertionError("the network finished without reading the prompt")


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


def is_compiled(network: nn.Module) -> bool:
    """Tell whether a network is compiled: then it can neither stop within a pass nor have modules replaced."""
    return hasattr(network, "_orig_mod") or getattr(network, "_compiled_call_impl", None) is not None


def _is_attention(module: nn.Module) -> bool:
    from diffusers.models.attention_processor import Attention

    return isinstance(module, Attention)


def _stop_at(text: Tensor) -> Callable[..., None]:
    """Return a hook that stops the pass at an attention to the text."""

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(value is text for value in (*args, *kwargs.values())):
            raise _PromptReached

    return stop


def _stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise _PromptReached


def _keep_output(finished: dict[str, Any], name: str) -> Callable[..., None]:
    """Return a hook that keeps a module's output in place of those of the modules inside it."""

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        for inner in [other for other in finished if other.startswith(name + ".")]:
            del finished[inner]
        finished[name] = output

    return keep
