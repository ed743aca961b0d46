"""Between upright RGB pictures and tensors in −1 … 1; on the way in the short side is fitted, the middle is kept."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image as PIL
from PIL.Image import Image
from torch import Tensor

from bigain_cli.images import fitted


def fit(image: Image, size: tuple[int, int]) -> Tensor:
    """Return the largest central part with the model's proportions, resized to height × width."""  # [3 h w]
    height, width = size
    pixels = torch.from_numpy(np.array(fitted(image, (width, height)), dtype=np.float32))  # [h w 3]
    return (pixels / 127.5 - 1).permute(2, 0, 1).contiguous()


def as_picture(pixels: Tensor) -> Image:
    """Return the picture of −1 … 1, rounded as diffusers rounds."""  # of [3 h w]
    values = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return PIL.fromarray((values * 255).round().astype("uint8"))
