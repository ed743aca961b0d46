"""The networks of a recipe, ready to train: noisy images, times and rows of a prompt table in, ε̂ out.

The table has the prompts of each class in turn; its last row is the empty prompt. Must not know the training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.backbones.base import repeat
from bigain_cli.backbones.noise_schedule import NoiseSchedule, noise_schedule
from bigain_cli.backbones.prefix_cache import run_prefix, use_cached
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.training.middle_classifier import MiddleClassifier, run_to_middle
from bigain_cli.training.recipe import Recipe
from bigain_cli.training.tokenizer import make_tokenizer, prompts_by_class, refuse_identical_prompts

SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
CHANNELS = 3
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 64, 2, 4
HEAD_WIDTH = 16  # channels of an attention head
LEVELS = 3


class TrainableBackbone(nn.Module):
    """A network, and the table of its prompts."""

    network: Any
    classifier: MiddleClassifier | None
    row_counts: Tensor  # [classes] the number of rows of each class
    first_rows: Tensor  # [classes]

    def __init__(self, row_counts: Tensor) -> None:
        super().__init__()
        self.register_buffer("row_counts", row_counts, persistent=False)
        self.register_buffer("first_rows", row_counts.cumsum(0) - row_counts, persistent=False)
        self.classifier = None
        self.empty = int(row_counts.sum())  # the row of the empty prompt

    def shared_weights(self) -> list[Tensor]:
        """Return the weights that are trained before all others, if a part is."""
        return []

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

    def forward(self, noisy: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """Return ε̂ of each image for each of its rows; what precedes a late text runs once."""  # [b m c h w]
        count, texts = rows.shape[1], self._texts(rows)
        if count == 1 or not self.is_late:
            return self._run(repeat(noisy, count), repeat(t, count), texts.flatten(0, 1)).unflatten(0, rows.shape)
        any_text = texts[:, 0]
        prefix = run_prefix(self.network, any_text, lambda: self._run(noisy, t, any_text))
        with use_cached(self.network, prefix.repeat(count)):
            return self._run(repeat(noisy, count), repeat(t, count), texts.flatten(0, 1)).unflatten(0, rows.shape)

    def middle(self, noisy: Tensor, t: Tensor) -> Tensor:
        """Return the output of the middle block, which a late label has not reached."""  # [b c h w]
        empty = torch.full([len(noisy), 1], self.empty, device=noisy.device)
        return run_to_middle(self.network, lambda: self._run(noisy, t, self._texts(empty).squeeze(1)))

    def shared_weights(self) -> list[Tensor]:
        """Return the weights up to the middle block, and those of the classifier on it.

        Without those of the time: alone with the classifier they grow, until no later block can see anything else.
        """
        network = self.network
        modules = (network.conv_in, network.down_blocks, network.mid_block, self.classifier)
        return [weight for module in modules if module is not None for weight in module.parameters()]

    def _texts(self, rows: Tensor) -> Tensor:
        """Encode each row of the table once."""  # [b m] -> [b m n d]
        different, index = rows.unique(return_inverse=True)
        texts: Tensor = self.text_encoder(self.ids[different])[0]
        return texts[index]

    def _run(self, noisy: Tensor, t: Tensor, text: Tensor) -> Tensor:
        output: Tensor = self.network(noisy, t, encoder_hidden_states=text, return_dict=False)[0]
        return output


class TrainableDiT(TrainableBackbone):
    """A DiT; the last row is its embedding of a dropped label."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__(torch.ones(classes, dtype=torch.int64))
        from diffusers import DiTTransformer2DModel

        self.network = DiTTransformer2DModel(**dit_config(recipe, classes))

    def forward(self, noisy: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """Return ε̂ of each image for each of its rows."""  # [b m c h w]
        noisy, t = repeat(noisy, rows.shape[1]), repeat(t, rows.shape[1])
        output: Tensor = self.network(noisy, timestep=t, class_labels=rows.flatten(), return_dict=False)[0]
        return output.unflatten(0, rows.shape)


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
        **ENTRIES[recipe.label_entry](recipe.width),
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


def _late(width: int) -> dict[str, Any]:
    """Attend to the prompt in the last block alone: most of the network runs once for all labels."""
    return {
        "block_out_channels": (width, 3 * width, 6 * width),
        "layers_per_block": (0, 1, 1),  # up blocks have one more
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (1, width, width),  # the number in the last block, channels of each elsewhere
    }


ENTRIES: dict[str, Callable[[int], dict[str, Any]]] = {"early": _early, "late": _late}


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
