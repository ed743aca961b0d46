"""DiT: label-conditioned transformers with learned variance, whose classes are named in model_index.json.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.folder_checks import FETCH_AGAIN, whole_number
from bigain_cli.backbones.latents import ImageCodec
from bigain_cli.backbones.load_errors import run_errors
from bigain_cli.backbones.network_backbone import NetworkBackbone, latent_shape_of
from bigain_cli.backbones.noise_schedule import NoiseSchedule, noise_schedule
from bigain_cli.backbones.prefix_cache import PrefixCache, is_compiled, run_prefix_blocks, use_cached
from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.compress.networks.patch_transformer import blocks_before_label
from bigain_cli.errors import ModelError

GUIDANCE = 4.0  # of DiT's authors
DEFAULTS = {"sample_size": 32, "patch_size": 2, "num_attention_heads": 16, "attention_head_dim": 72}  # of diffusers
MOST_EMBEDDINGS = 1 << 27


class LabelDiT(NetworkBackbone):
    """A label-conditioned DiT."""

    family = "dit"
    any_size = False  # its position embeddings are made for one grid

    def __init__(
        self,
        parts: DiffusersFolder,
        network: nn.Module,
        codec: ImageCodec,
        process: NoiseSchedule,
        vocabulary: ClassVocabulary,
    ) -> None:
        config: Any = network.config
        shape = latent_shape_of(parts.name, config.in_channels, config.sample_size)
        super().__init__(parts, lambda: network, codec, process, GUIDANCE, shape)
        self.vocabulary, self.class_names = vocabulary, vocabulary.main_names()
        self._shared_blocks = blocks_before_label(network)

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return class ids; the empty prompt is the class that training used for a dropped label."""
        return Conditions(torch.tensor([self.vocabulary.find(prompt) for prompt in prompts], device=self.device))

    def vectors(self, conditions: Conditions) -> Tensor:
        """Return the network's embedding of each class."""  # [k d]
        return class_table(self.network).weight.detach()[conditions.rows].double().cpu()

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: PrefixCache | None = None) -> Tensor:
        """Return ε̂, without the learned variance."""  # [b c h w]
        with run_errors(self.name), nullcontext() if shared is None else use_cached(self.network, shared):
            output = self._forward(noisy, t, conditions.rows)
        return self.process.to_noise(output[:, : noisy.shape[1]], noisy, t)

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> PrefixCache | None:
        """Run the first blocks, as far as they have the same embedding for every class; a usual DiT has none."""
        if not self.has_prefix:
            return None
        blocks, any_label = self.network.transformer_blocks, torch.zeros_like(t)
        with run_errors(self.name):
            return run_prefix_blocks(
                self.network, blocks, self._shared_blocks, lambda: self._forward(noisy, t, any_label)
            )

    @property
    def has_prefix(self) -> bool:
        """Tell whether blocks run before the label enters and can be cached; a compiled network cannot stop there."""
        return self._shared_blocks > 0 and not is_compiled(self.network)

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on; the VAE keeps float32."""
        with quiet():
            self.network.to(dtype)

    def _forward(self, noisy: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return self.network(noisy.to(self.dtype), timestep=t, class_labels=labels, return_dict=False)[0]


def load_dit(parts: DiffusersFolder) -> LabelDiT:
    """Make a DiT from the parts of a folder."""
    from diffusers import DiTTransformer2DModel

    config, names = parts.config("transformer"), parts.index.get("id2label")
    if not names:
        hint = "Add the class names, as the published DiT has."
        raise ModelError(parts.name, "model_index.json has no id2label", hint)
    try:
        ids = {int(number): str(name) for number, name in names.items()}
    except (AttributeError, TypeError, ValueError) as problem:
        hint = 'It is a table such as {"207": "golden retriever"}.'
        raise ModelError(parts.name, f"id2label in model_index.json is broken ({problem})", hint) from problem
    rows = whole_number(f"{parts.name}/transformer/config.json", config, "num_embeds_ada_norm")
    if max(ids) >= rows or min(ids) < 0:
        raise ModelError(parts.name, f"id2label names class {max(ids)}, the network has {rows}", "Correct id2label.")
    _refuse_huge(f"{parts.name}/transformer/config.json", config)
    network = parts.network("transformer", DiTTransformer2DModel)
    table = class_table(network)
    unconditional = rows if table.num_embeddings > rows else None
    channels = whole_number(f"{parts.name}/transformer/config.json", config, "in_channels")
    codec = ImageCodec.load(parts, channels)
    process = noise_schedule(parts.config("scheduler"), parts.device)
    return LabelDiT(parts, network, codec, process, ClassVocabulary(ids, unconditional))


def class_table(network: nn.Module) -> nn.Embedding:
    """Return the network's table of class embeddings."""
    named = network.named_modules()
    return next(cast(nn.Embedding, each) for name, each in named if name.endswith("class_embedder.embedding_table"))


def _refuse_huge(what: str, config: dict[str, Any]) -> None:
    """Refuse a table of position embeddings without measure: it is computed before any weight is read."""
    keys = ("sample_size", "patch_size", "num_attention_heads", "attention_head_dim")
    size, patch, heads, width = (whole_number(what, {**DEFAULTS, **config}, key) for key in keys)
    if (size // patch) ** 2 * heads * width > MOST_EMBEDDINGS:
        raise ModelError(what, f"{(size // patch) ** 2} positions of {heads * width} numbers are too many", FETCH_AGAIN)
