"""Between upright RGB pictures and tensors in −1 … 1; on the way in the short side is fitted, the middle is kept."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image as PIL
from PIL import ImageOps
from PIL.Image import Image, Resampling
from torch import Tensor


def fit(image: Image, size: tuple[int, int]) -> Tensor:
    """Return the largest central part with the model's proportions, resized to height × width."""  # [3 h w]
    height, width = size
    fitted = ImageOps.fit(image, (width, height), Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(fitted, dtype=np.float32))  # [h w 3]
    return (pixels / 127.5 - 1).permute(2, 0, 1).contiguous()


def as_picture(pixels: Tensor) -> Image:
    """Return the picture of −1 … 1, rounded as diffusers rounds."""  # of [3 h w]
    values = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return PIL.fromarray((values * 255).round().astype("uint8"))
