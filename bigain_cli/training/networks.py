"""The networks of a recipe, ready to train: noisy images, times and rows of a prompt table in, ε̂ out.

The table has the prompts of each class in turn; its last row is the empty prompt. Must not know the training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.backbones.base import repeat
from bigain_cli.backbones.noise_schedule import NoiseSchedule, noise_schedule
from bigain_cli.backbones.prefix_cache import PrefixCache, run_prefix, run_prefix_blocks, use_cached
from bigain_cli.backbones.stopped_pass import run_up_to
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.training.middle_classifier import MiddleClassifier
from bigain_cli.training.recipe import LEVELS, Recipe
from bigain_cli.training.tokenizer import make_tokenizer, prompts_by_class, refuse_identical_prompts

SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
CHANNELS = 3
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 64, 2, 4
HEAD_WIDTH = 16  # channels of an attention head


class TrainableBackbone(nn.Module, ABC):
    """A network, and the table of its prompts."""

    network: Any
    is_late: bool  # whether part of the network runs once for all labels
    classifier: MiddleClassifier | None
    row_counts: Tensor  # [classes] the number of rows of each class
    first_rows: Tensor  # [classes]

    def __init__(self, row_counts: Tensor) -> None:
        super().__init__()
        self.register_buffer("row_counts", row_counts, persistent=False)
        self.register_buffer("first_rows", row_counts.cumsum(0) - row_counts, persistent=False)
        self.classifier = None
        self.empty = int(row_counts.sum())  # the row of the empty prompt

    def forward(self, noisy: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """Return ε̂ of each image for each of its rows; what precedes a late prompt runs once."""  # [b m c h w]
        count, conditions = rows.shape[1], self._conditions(rows)
        shared: AbstractContextManager[None] = nullcontext()
        if count > 1 and self.is_late:
            shared = use_cached(self.network, self._run_prefix(noisy, t, conditions[:, 0]).repeat(count))
        with shared:
            output = self._run(repeat(noisy, count), repeat(t, count), conditions.flatten(0, 1))
        return output.unflatten(0, rows.shape)

    def features(self, noisy: Tensor, t: Tensor) -> Tensor:
        """Return what the classifier reads: the output of a block that a late prompt has not reached."""
        no_label = torch.full([len(noisy), 1], self.empty, device=noisy.device)
        conditions = self._conditions(no_label)[:, 0]
        output: Tensor | None = run_up_to(self.feature_block(), lambda: self._run(noisy, t, conditions))
        assert output is not None
        return output

    @abstractmethod
    def feature_block(self) -> nn.Module:
        """Return the block whose output the classifier reads."""

    @abstractmethod
    def shared_weights(self) -> list[Tensor]:
        """Return the weights up to that block, and those of the classifier on it, which are trained before all others.

        Without those of the time: alone with the classifier they grow, until no later block can see anything else.
        """

    @abstractmethod
    def later_weights(self) -> list[Tensor]:
        """Return the weights behind that block, which see no training while the classifier is trained alone."""

    @abstractmethod
    def _conditions(self, rows: Tensor) -> Tensor:
        """Return the text embeddings or class numbers of rows of the table."""  # [b m] -> [b m ...]

    @abstractmethod
    def _run(self, noisy: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """Return the network's output."""  # [b c h w]

    @abstractmethod
    def _run_prefix(self, noisy: Tensor, t: Tensor, any_conditions: Tensor) -> PrefixCache:
        """Run what precedes the prompt."""

    def rows(self, labels: Tensor, uniform: Tensor) -> Tensor:
        """Choose a row for each label by a number from 0 up to 1."""
        count = self.row_counts[labels]
        return self.first_rows[labels] + (uniform * count).long().clamp(max=count - 1)


class TrainableUNet(TrainableBackbone):
    """A U-Net with a text encoder, trained together."""

    ids: Tensor  # [rows n] the token ids of the prompts

    def __init__(self, recipe: Recipe, vocabulary: PromptVocabulary) -> None:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel

        prompts = prompts_by_class(vocabulary)
        super().__init__(torch.tensor([len(group) for group in prompts]))
        texts = [text for group in prompts for text in group] + [""]
        self.tokenizer = make_tokenizer(texts)
        refuse_identical_prompts(vocabulary, self.tokenizer)
        padded = self.tokenizer(texts, padding="max_length", max_length=self.tokenizer.model_max_length)
        self.register_buffer("ids", torch.tensor(padded.input_ids), persistent=False)
        self.network = UNet2DConditionModel(**unet_config(recipe))
        self.is_late = recipe.label_entry == "late"
        self.text_encoder = CLIPTextModel(text_config(self.tokenizer))
        if recipe.classifier:
            self.classifier = MiddleClassifier(self.network.config.block_out_channels[-1], len(prompts))

    def feature_block(self) -> nn.Module:
        """Return the middle block."""
        block: nn.Module = self.network.mid_block
        return block

    def shared_weights(self) -> list[Tensor]:
        """Return the weights up to the middle block, and those of the classifier on it."""
        network = self.network
        return _weights_of(network.conv_in, network.down_blocks, network.mid_block, self.classifier)

    def later_weights(self) -> list[Tensor]:
        """Return the weights behind the middle block."""
        later = nn.ModuleList([self.network.up_blocks, self.network.conv_norm_out, self.network.conv_out])
        return list(later.parameters())

    def _conditions(self, rows: Tensor) -> Tensor:
        """Encode each row once; on a GPU the whole table, for it would have to wait to learn which rows occur."""
        encoded, index = (slice(None), rows) if rows.device.type == "cuda" else rows.unique(return_inverse=True)
        texts: Tensor = self.text_encoder(self.ids[encoded])[0]
        return texts[index]  # [b m] -> [b m n d]

    def _run(self, noisy: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        output: Tensor = self.network(noisy, t, encoder_hidden_states=conditions, return_dict=False)[0]
        return output

    def _run_prefix(self, noisy: Tensor, t: Tensor, any_conditions: Tensor) -> PrefixCache:
        return run_prefix(self.network, any_conditions, lambda: self._run(noisy, t, any_conditions))


class TrainableDiT(TrainableBackbone):
    """A DiT; the last row is its embedding of a dropped label.

    Where labels enter late, the first blocks' embeddings of the classes are 0 and stay so. So they are alike, by which
    a backbone sees that these blocks read no label.
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__(torch.ones(classes, dtype=torch.int64))
        from diffusers import DiTTransformer2DModel

        self.network = DiTTransformer2DModel(**dit_config(recipe, classes))
        self.is_late = recipe.label_entry == "late"
        self._shared_blocks = recipe.depth - recipe.late_blocks
        if self.is_late:
            for block in self.network.transformer_blocks[: self._shared_blocks]:
                table = block.norm1.emb.class_embedder.embedding_table.weight
                nn.init.zeros_(table)
                table.requires_grad_(False)
        if recipe.classifier:
            self.classifier = MiddleClassifier(recipe.width, classes)

    def feature_block(self) -> nn.Module:
        """Return the last block before the label."""
        block: nn.Module = self.network.transformer_blocks[self._shared_blocks - 1]
        return block

    def shared_weights(self) -> list[Tensor]:
        """Return the weights of the blocks before the label, and those of the classifier on the last of them."""
        blocks = self.network.transformer_blocks[: self._shared_blocks]
        return _weights_of(self.network.pos_embed, blocks, self.classifier)

    def later_weights(self) -> list[Tensor]:
        """Return the weights of the blocks that read the label, and of the output."""
        blocks = self.network.transformer_blocks[self._shared_blocks :]
        later = nn.ModuleList([blocks, self.network.proj_out_1, self.network.proj_out_2])
        return list(later.parameters())

    def _conditions(self, rows: Tensor) -> Tensor:
        return rows

    def _run(self, noisy: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        output: Tensor = self.network(noisy, timestep=t, class_labels=conditions, return_dict=False)[0]
        return output

    def _run_prefix(self, noisy: Tensor, t: Tensor, any_conditions: Tensor) -> PrefixCache:
        blocks = self.network.transformer_blocks
        return run_prefix_blocks(self.network, blocks, self._shared_blocks, lambda: self._run(noisy, t, any_conditions))


def _weights_of(*modules: nn.Module | None) -> list[Tensor]:
    """Return the weights of some modules that learn, but those that embed the time."""
    named = [pair for module in modules if module is not None for pair in module.named_parameters()]
    return [weight for name, weight in named if "timestep_embedder" not in name and weight.requires_grad]


def make_trainable(recipe: Recipe, vocabulary: PromptVocabulary) -> TrainableBackbone:
    """Make the recipe's network with random weights; in eval mode, because `loss` drops the labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if recipe.arch == "unet":
            return TrainableUNet(recipe, vocabulary).eval()
        return TrainableDiT(recipe, len(vocabulary.classes)).eval()


def make_noise_schedule(device: torch.device, prediction: str = "epsilon") -> NoiseSchedule:
    """Return the noise schedule of all trained backbones, and what the network predicts."""
    config = {"_class_name": "DDIMScheduler", "beta_start": 0.0001, "prediction_type": prediction, **SCHEDULE}
    return noise_schedule(config, device)


def unet_config(recipe: Recipe) -> dict[str, Any]:
    """Return the configuration of a U-Net: what all have in common, and where its labels enter."""
    inputs = CHANNELS * recipe.patch**2
    return {
        "sample_size": recipe.grid,
        "in_channels": inputs,
        "out_channels": inputs,
        "cross_attention_dim": TEXT_WIDTH,
        "norm_num_groups": 8,
        "use_linear_projection": True,
        **(_late(recipe.width, recipe.late_blocks) if recipe.label_entry == "late" else _early(recipe.width)),
    }


def _early(width: int) -> dict[str, Any]:
    """Attend to the prompt at every level, like Stable Diffusion.

    The prompt enters by cross-attention and, pooled, with the time: by cross-attention alone a small network
    learns late that labels matter.
    """
    channels = tuple(width * level for level in range(1, LEVELS + 1))
    return {
        "block_out_channels": channels,
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D",) * LEVELS,
        "up_block_types": ("CrossAttnUpBlock2D",) * LEVELS,
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": TEXT_HEADS,
        "attention_head_dim": tuple(max(1, each // HEAD_WIDTH) for each in channels),  # the number, to diffusers
    }


def _late(width: int, blocks: int) -> dict[str, Any]:
    """Attend to the prompt in the last blocks alone: most of the network runs once for all labels."""
    return {
        "block_out_channels": (width, 3 * width, 6 * width),
        "layers_per_block": (0, 1, 1),  # up blocks have one more
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": ("AttnUpBlock2D",) * (LEVELS - blocks) + ("CrossAttnUpBlock2D",) * blocks,
        # To diffusers: the number of heads of a block that reads the prompt, by its level; elsewhere the channels of a
        # head, by the block's place, which it does not reverse on the way up. So the first upward block has heads of
        # one channel, a second block that reads the prompt heads of three. Trained weights hang on these numbers.
        "attention_head_dim": (1, width, width),
    }


def text_config(tokenizer: Any) -> Any:
    """Return the configuration of a text encoder of a few thousand weights."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_HEADS,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def dit_config(recipe: Recipe, classes: int) -> dict[str, Any]:
    """Return the configuration of a DiT on pixels, without learned variance."""
    return {
        "num_attention_heads": recipe.width // HEAD_WIDTH,
        "attention_head_dim": HEAD_WIDTH,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "num_layers": recipe.depth,
        "sample_size": recipe.size,
        "patch_size": recipe.patch,
        "num_embeds_ada_norm": classes,
        "norm_type": "ada_norm_zero",
    }
