"""Runs `generate`: loads the model, writes each image as it comes, and prints its path."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import Any

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.cli.generate_request import GenerateRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import load_model
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.generation.image_paths import STDOUT
from bigain_cli.outputs.json import line
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.png import png, tiled
from bigain_cli.outputs.whole_files import make_folder, write_whole


def run_request(request: GenerateRequest, messages: Messages) -> int:
    """Generate and write every image."""
    resolve(request.model)
    generation = _start(request, messages)
    from bigain_cli.generation.generator import GenerationProgress

    if (folder := os.path.dirname(request.paths[0])) and not os.path.isdir(folder):
        make_folder(folder)
    writer = _Writer(request)
    with ProgressBar(messages, "generating", "steps") as progress:
        for event in generation.events():
            if isinstance(event, GenerationProgress):
                progress.show(event.done, event.of)
            else:
                with progress.cleared():
                    writer.write(event)
    return 0


def _start(request: GenerateRequest, messages: Messages) -> Any:
    """Load the model, and encode the prompts."""
    from bigain_cli.generation.generator import Generation

    backbone = load_model(request.model, request.device, request.dtype, messages)
    if request.previous is not None:
        request.previous.check_weights(request.model, backbone.identity)
    generation = Generation(backbone, request.prompts, request.options, request.count)
    if request.previous is not None:
        for difference in request.previous.differences(generation.settings):
            messages.note(difference)
    messages.detail("settings: " + json.dumps(generation.settings, ensure_ascii=False))
    if generation.report is not None:
        messages.detail(f"compression:\n{generation.report}")
    return generation


class _Writer:
    """Writes each image to its file as it comes, or all as one grid at the end."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request, self._paths, self._images = request, request.paths, list[Any]()

    def write(self, sample: Any) -> None:
        """Write an image, or keep it for the grid and write that with the last one."""
        request = self._request
        if request.previous is not None:
            sample = replace(sample, settings=sample.settings | {"model": request.previous.model})
        self._images.append(sample.image if request.grid else None)
        number = len(self._images)
        if not request.grid:
            self._write(self._paths[number - 1], sample.png(), sample.to_dict())
        elif number == len(request.prompts) * request.count:
            columns = request.count if len(request.prompts) > 1 else _columns(request.count)
            about = {"prompts": list(request.prompts), "seed": request.options.seed, "count": request.count}
            data = png(tiled(self._images, columns), about | sample.settings)
            self._write(self._paths[0], data, {**about, "settings": sample.settings})

    def _write(self, path: str, data: bytes, record: dict[str, Any]) -> None:
        """Write the file and print its path, or its record."""
        if path == STDOUT:
            sys.stdout.buffer.write(data)
        else:
            write_whole(path, data, self._request.force)
            text = line({"id": path, **record}) if self._request.jsonl else encode(path)
            sys.stdout.buffer.write(text + b"\n")
        sys.stdout.buffer.flush()


def _columns(count: int) -> int:
    """Return the columns of a grid that is about square."""
    return max(columns for columns in range(1, count + 1) if (columns - 1) ** 2 < count)
