"""What shapes cannot tell: what a checkpoint predicts and at which size it was trained.

The file's own notes are believed; everything else is a guess, and said to be one. Must not know networks.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from bigain_cli.backbones.single_checkpoint import UNET, Checkpoint

PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
SIZES = {512: 64, 768: 96}  # pixels, and the latents of a VAE that halves three times
# The spread of one bias tells the published 2.x models apart (ComfyUI relies on it); a guess for anything else.
TELLTALE, SPREAD = ".1.transformer_blocks.0.norm1.bias", 0.09


@dataclass(frozen=True)
class Training:
    """How a model was trained, and why we think so; no reason is needed where the file itself says it."""

    prediction: str
    size: int | list[int]  # of the latents; [h, w]
    guess: str | None = None
    zero_snr: bool = False

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler configuration, on the schedule of all Stable Diffusions."""
        return {
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": self.prediction,
            "rescale_betas_zero_snr": self.zero_snr,
        }


def training_of(checkpoint: Checkpoint, second: bool, levels: int, scale: int) -> Training:
    """Find out how a checkpoint was trained; `levels` of the U-Net limit the size, the VAE shrinks by `scale`."""
    noted = _noted_prediction(checkpoint)
    prediction, guess = (noted, None) if noted else _guessed(checkpoint, second)
    size = _noted_size(checkpoint, 2 ** (levels - 1), scale) or _usual_size(checkpoint, second, prediction)
    return Training(prediction, size, guess, "ztsnr" in checkpoint.shapes)


def warn_of_guess(name: str, training: Training, scale: int) -> None:
    """Say what was assumed: a wrong guess makes wrong answers, not an error."""
    if training.guess is None:
        return
    sides = training.size if isinstance(training.size, list) else [training.size] * 2
    size = "×".join(str(side * scale) for side in reversed(sides))
    warnings.warn(
        f"model {name} does not say what it predicts; assumed {training.prediction} at {size} pixels "
        f"({training.guess}). If that is wrong, so are the answers; a diffusers folder says it for sure.",
        stacklevel=2,
    )


def _noted_prediction(checkpoint: Checkpoint) -> str | None:
    """Return what the file says of itself: an empty tensor as a flag, or the notes of the ModelSpec standard."""
    if "v_pred" in checkpoint.shapes:
        return "v_prediction"
    noted = checkpoint.notes.get("modelspec.prediction_type", "")
    return PREDICTIONS.get(noted) or {
        "stable-diffusion-v2-512": "epsilon",
        "stable-diffusion-v2-768-v": "v_prediction",
    }.get(checkpoint.notes.get("modelspec.architecture", ""))


def _noted_size(checkpoint: Checkpoint, step: int, scale: int) -> list[int] | None:
    """Return [h, w] of the latents if the file notes its resolution and the network can halve that often."""
    found = re.fullmatch(r"(\d+)x(\d+)", checkpoint.notes.get("modelspec.resolution", ""))
    if found is None:
        return None
    width, height = int(found[1]), int(found[2])
    fits = min(width, height) > 0 and all(side % (step * scale) == 0 for side in (width, height))
    return [height // scale, width // scale] if fits else None


def _guessed(checkpoint: Checkpoint, second: bool) -> tuple[str, str]:
    """Guess what the model predicts; only explicit words of a name count for Stable Diffusion 1."""
    if _named(checkpoint, r"v[-_. ]?pred(iction)?"):
        return "v_prediction", "its file name says v-prediction"
    if not second:
        return "epsilon", "as Stable Diffusion 1.x does"
    if _named(checkpoint, "eps|epsilon"):
        return "epsilon", "its file name says epsilon"
    if _named(checkpoint, "768"):
        return "v_prediction", "its file name says 768, as Stable Diffusion 2.x at that size does"
    if _named(checkpoint, "512|base"):
        return "epsilon", "its file name says 512 or base, as Stable Diffusion 2.x at that size does"
    if _spread(checkpoint) > SPREAD:
        return "v_prediction", "its weights look like those of Stable Diffusion 2.x at 768 pixels"
    return "epsilon", "as the base model of Stable Diffusion 2.x does"


def _usual_size(checkpoint: Checkpoint, second: bool, prediction: str) -> int:
    """Return the size of the latents; at Stable Diffusion 2 a name counts, then 768 goes with v-prediction."""
    if not second:
        return SIZES[512]
    named = [size for size in SIZES if _named(checkpoint, str(size))]
    return SIZES[named[0] if len(named) == 1 else 768 if prediction == "v_prediction" else 512]


def _named(checkpoint: Checkpoint, pattern: str) -> bool:
    """Tell whether the file's name has this word, not as a piece of a longer one."""
    return re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", checkpoint.path.stem.casefold()) is not None


def _spread(checkpoint: Checkpoint) -> float:
    """Return the standard deviation of the telltale bias, 0 if there is none."""
    found = [key for key in checkpoint.shapes if key.startswith(f"{UNET}output_blocks.") and key.endswith(TELLTALE)]
    if not found:
        return 0.0
    last = max(found, key=lambda key: int(key.removeprefix(f"{UNET}output_blocks.").split(".")[0]))
    return checkpoint.tensors(last)[last].double().std(correction=0).item()
