"""An image in model space as each draw sees it: as it is, or in one of several views, most of them encoded once."""

from __future__ import annotations

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.base import Backbone
from bigain_cli.images import crop_and_resize
from bigain_cli.noise_draws import Draws
from bigain_cli.views import View, Views, read_views

MOST_KEPT = 32  # latents of an image; of many views few come again


class ViewedImage:
    """An image and its draws."""

    def __init__(self, backbone: Backbone, image: Image, draws: Draws) -> None:
        self.draws, self._encode = draws, backbone.encode
        self._latents: dict[View, Tensor] = {}
        if not draws.views:
            self._latents[View()] = backbone.encode(image)
            return
        height, width = pixels_of(backbone)
        self._image = crop_and_resize(image, (width, height))

    def latents(self, start: int, count: int) -> Tensor:
        """Return the latent of all these draws, or one for each where views differ."""  # [c h w] or [n c h w]
        if not self.draws.views:
            return self._latents[View()]
        return torch.stack([self._latent(view) for view in self.draws.views_of(start, count)])

    def _latent(self, view: View) -> Tensor:
        if view in self._latents:
            return self._latents[view]
        found = self._encode(view.of(self._image))
        if len(self._latents) < MOST_KEPT:
            self._latents[view] = found
        return found


def pixels_of(backbone: Backbone) -> tuple[int, int]:
    """Return the height and width of the images that a backbone sees."""
    height, width = backbone.latent_shape[1:]
    return height * backbone.scale, width * backbone.scale


def chosen_views(backbone: Backbone, given: str | None) -> Views:
    """Return the given views, or the model's own."""
    views = backbone.views if given is None else read_views(given)
    views.check(pixels_of(backbone), backbone.name)
    return views
