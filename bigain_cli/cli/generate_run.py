"""Runs `generate`: loads the model, writes each image as it comes, and prints its path."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from bigain_cli.cli.generate_request import GenerateRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.generation.generated_image import arrange, plan_grid
from bigain_cli.generation.image_paths import STDOUT, destination
from bigain_cli.generation.options import size_text
from bigain_cli.generation.zoom import Zoom
from bigain_cli.outputs.json import line
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.text import counted, spoken_time
from bigain_cli.outputs.whole_files import held, make_folder, write_whole

LITTLE_NOISE = 0.5  # of the schedule; what an image shows is settled above


def run_request(request: GenerateRequest, messages: Messages) -> int:
    """Generate and write every image."""
    generation = _start(request, messages)
    from bigain_cli.generation.generator import GenerationProgress

    first = request.paths[0]
    if (folder := os.path.dirname(first)) and not os.path.isdir(folder):
        make_folder(folder)
    writer = _Writer(request, _zoom(request, generation.options.size, messages))
    began = time.monotonic()
    with (
        nullcontext() if first == STDOUT else held(first),
        ProgressBar(messages, "generating", "steps", plan=generation.plan) as progress,
    ):
        for event in generation.events():
            if isinstance(event, GenerationProgress):
                progress.show(event.done, event.of)
            else:
                with progress.cleared():
                    writer.write(event)
    images = counted(len(request.prompts) * request.count, "image")
    messages.closing(f"{images} in {spoken_time(time.monotonic() - began)} → {destination(request.paths)}")
    return 0


def _start(request: GenerateRequest, messages: Messages) -> Any:
    """Load the model, and encode the prompts."""
    backbone = load_model(request.model, request.device, request.dtype, messages, request.cache)
    from bigain_cli.generation.generator import Generation

    if request.previous is not None:
        request.previous.check_weights(request.model, backbone.identity)
    generation = Generation(backbone, request.prompts, request.options, request.count)
    last = backbone.timestep_range[1] / backbone.timesteps
    if last <= LITTLE_NOISE:
        why = f"{backbone.name} is made to tell labels apart where there is little noise (times up to {last:g})"
        messages.note(f"{why}: its images may not show what is asked for")
    if request.previous is not None:
        for difference in request.previous.differences(generation.settings):
            messages.note(difference)
    messages.detail("settings: " + json.dumps(generation.settings, ensure_ascii=False))
    if generation.report is not None:
        messages.detail(f"compression:\n{generation.report}")
    return generation


def _zoom(request: GenerateRequest, size: tuple[int, int], messages: Messages) -> Zoom:
    """Return how much images are enlarged; refuse what would be too large before any is generated."""
    zoom = request.zoom or Zoom()
    if not request.captions:
        zoom.size(size)
        return zoom
    zoom, _ = plan_grid(request.prompts, request.options.seed, request.count, size, request.zoom)
    if request.zoom is None and zoom.times > 1:
        messages.note(
            f"images of {size_text(size)} are enlarged {zoom} times in the grid; --zoom 1 leaves them as they are"
        )
    return zoom


class _Writer:
    """Writes each image to its file as it comes, or all as one grid at the end."""

    def __init__(self, request: GenerateRequest, zoom: Zoom) -> None:
        self._request, self._zoom, self._paths = request, zoom, request.paths
        self._count, self._samples = 0, list[Any]()

    def write(self, sample: Any) -> None:
        """Write an image, or keep it for the grid and write that with the last one."""
        request, number = self._request, self._count
        self._count += 1
        if request.previous is not None:
            sample = replace(sample, settings=sample.settings | {"model": request.previous.model})
        if not request.grid:
            self._write(self._paths[number], sample.enlarged(self._zoom))
            return
        self._samples.append(sample)
        if self._count == len(request.prompts) * request.count:
            self._write(self._paths[0], arrange(self._samples, self._zoom, request.captions))

    def _write(self, path: str, made: Any) -> None:
        """Write the file and print its path, or its record."""
        if path == STDOUT:
            sys.stdout.buffer.write(made.png())
        else:
            write_whole(path, made.png(), self._request.force)
            text = line({"id": path, **made.to_dict()}) if self._request.jsonl else encode(path)
            sys.stdout.buffer.write(text + b"\n")
        sys.stdout.buffer.flush()
