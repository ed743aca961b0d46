"""Error tables: every prompt of an image takes every draw, and none is eliminated.

In: a backbone, images, prompts, a number of draws; out: for each image a table of errors, or why there is none. Must
not know labels, nor what tables are for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from bigain_cli.backbones.base import Backbone, Conditions, spec_for
from bigain_cli.backbones.devices import leave_float16
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.denoising import DenoisingErrors, ScoringJob, SharedComputation, checked_batch_size
from bigain_cli.classification.viewed_image import ViewedImage, chosen_views
from bigain_cli.compress import Compression, Spec
from bigain_cli.compress.patching import compressed_or_not
from bigain_cli.errors import InputError
from bigain_cli.images import ImageReader, Images, LoadedImage, sources_of
from bigain_cli.images.prefetch import FailedImage
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import BLOCK
from bigain_cli.version import __version__
from bigain_cli.views import Views

__all__ = ["ErrorRecorder", "ErrorTable", "FailedImage", "RecordingOptions"]

BATCHES_AT_ONCE = 4  # images are evaluated together until a block of their draws fills so many batches
ONE_FOR_ALL = b""  # the digest of draws that all images share


@dataclass(frozen=True)
class ErrorTable:
    """The errors of one image."""

    id: str
    errors: NDArray[np.float64]  # [draws prompts] mean squares, or mean absolute values
    times: NDArray[np.float64]  # [draws] from 0 to 1
    digest: bytes  # of the image's pixels
    damage: str = ""
    sha256: str | None = None  # of the image's file, if it has one


@dataclass(frozen=True)
class RecordingOptions:
    """How tables are made. With `same_draws` all images share their draws, so that images can be compared, too."""

    draws: int
    seed: int = 0
    compress: str | Spec | None = None  # by default the model's own
    batch: int | None = None
    absolute: bool = False
    same_draws: bool = False
    views: str | None = None  # by default the model's own


class ErrorRecorder:
    """Makes error tables with one backbone."""

    def __init__(self, backbone: Backbone | str, options: RecordingOptions) -> None:
        self.backbone, self.options = as_backbone(backbone), options
        compress = self.backbone.compress if options.compress is None else options.compress
        self._spec = spec_for(self.backbone, compress)
        self._views = chosen_views(self.backbone, options.views)
        self._encoded: tuple[Any, Conditions] | None = None  # prompts and dtype, and their conditions

    def settings(self, prompts: Any, **more: Any) -> dict[str, Any]:
        """Return what tables of these prompts depend on, except the image, with a fingerprint of it."""
        public = {
            "version": __version__,
            "model": self.backbone.name,
            "compress": str(self._spec),
            "seed": self.options.seed,
            "draws": self.options.draws,
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
            **({"views": str(self._views)} if self._views else {}),
            **more,
        }
        hidden = {"weights": self.backbone.identity, "prompts": prompts, "model": ""}  # the weights identify the model
        text = json.dumps({**public, **hidden}, sort_keys=True).encode()
        return {**public, "fingerprint": hashlib.blake2b(text, digest_size=8).hexdigest()}

    def tables(
        self, images: Images, prompts: Sequence[str], needed: Iterable[Sequence[int]] | None = None
    ) -> Iterator[ErrorTable | FailedImage]:
        """Yield a table for each image, in their order; `needed` are the numbers of each image's prompts, or all."""
        every = range(len(prompts))
        wanted = iter(needed) if needed is not None else iter(lambda: every, None)
        reader = ImageReader(sources_of(images))
        try:
            conditions = self._conditions(prompts)  # before the network comes, which needs the room
            with compressed_or_not(self.backbone, self._spec) as compression:
                network = _Network(self.backbone, prompts, conditions, compression, self.options, self._views)
                yield from self._stream(reader, network, cast(Iterator[Sequence[int]], wanted))
        finally:
            reader.stop()

    def _conditions(self, prompts: Sequence[str]) -> Conditions:
        """Return the prompts' conditions: those of the call before, if it had the same prompts."""
        key = tuple(prompts), self.backbone.dtype
        if self._encoded is None or self._encoded[0] != key:
            self._encoded = key, self.backbone.condition(list(prompts))
        return self._encoded[1]

    def _stream(
        self, reader: ImageReader, network: _Network, wanted: Iterator[Sequence[int]]
    ) -> Iterator[ErrorTable | FailedImage]:
        group: list[tuple[LoadedImage, Sequence[int]]] = []
        while (item := reader.next(wait=True)) is not None:
            numbers = next(wanted)
            if isinstance(item, FailedImage):
                yield from network.tables(group)
                group = []
                yield item
                continue
            group.append((item, numbers))
            if sum(BLOCK * len(each) for _, each in group) >= BATCHES_AT_ONCE * network.batch:
                yield from network.tables(group)
                group = []
        yield from network.tables(group)


class _Network:
    """A backbone with its prompts encoded; leaves float16 where that overflows."""

    def __init__(
        self,
        backbone: Backbone,
        prompts: Sequence[str],
        conditions: Conditions,
        compression: Compression | None,
        options: RecordingOptions,
        views: Views,
    ) -> None:
        self._backbone, self._prompts, self._compression, self._options = backbone, prompts, compression, options
        self._views = views
        self.batch = checked_batch_size(options.batch, backbone, BLOCK * len(prompts))
        self._errors = self._denoising(conditions)

    def _denoising(self, conditions: Conditions) -> DenoisingErrors:
        shared = SharedComputation(self._backbone, True, self._compression)
        return DenoisingErrors(self._backbone, conditions, self._options.absolute, self.batch, shared)

    def tables(self, group: Sequence[tuple[LoadedImage, Sequence[int]]]) -> Iterator[ErrorTable | FailedImage]:
        """Yield the tables of images that are evaluated together."""
        if not group:
            return
        found = self._evaluated(group)
        if self._backbone.dtype == torch.float16 and not all(np.isfinite(errors).all() for errors, _ in found):
            leave_float16(self._backbone)
            self._errors = self._denoising(self._backbone.condition(list(self._prompts)))
            found = self._evaluated(group)
        for (image, _), (errors, times) in zip(group, found, strict=True):
            if np.isfinite(errors).all():
                yield ErrorTable(image.id, errors, times, image.digest, image.damage, image.sha256)
            else:
                why = "the network returned no numbers (NaN or infinity)"
                problem = InputError("not-finite", image.id, why, "Try --dtype float32")
                yield FailedImage(image.id, problem, image.sha256)

    def _evaluated(
        self, group: Sequence[tuple[LoadedImage, Sequence[int]]]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return errors and times of each image, block after block of draws."""
        backbone, options = self._backbone, self._options
        shape, times = backbone.latent_shape, backbone.timestep_range
        own = Draws(options.seed, ONE_FOR_ALL, shape, times, views=self._views)
        draws = [own if options.same_draws else replace(own, digest=image.digest) for image, _ in group]
        viewed = [ViewedImage(backbone, image.image, each) for (image, _), each in zip(group, draws, strict=True)]
        blocks: list[list[NDArray[np.float32]]] = []
        for start in range(0, options.draws, BLOCK):
            count = min(BLOCK, options.draws - start)
            parts = zip(viewed, group, strict=True)
            jobs = [
                ScoringJob(each.latents(start, count), each.draws.block(start, count), wanted)
                for each, (_, wanted) in parts
            ]
            blocks.append(self._errors(jobs))
        tables = [np.concatenate(parts).astype(np.float64) for parts in zip(*blocks, strict=True)]
        return [(table, each.times(0, options.draws)) for table, each in zip(tables, draws, strict=True)]
