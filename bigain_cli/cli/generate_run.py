"""Runs `generate`: loads the model, writes each image whole as it comes, and names it on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.cli.generate_request import GenerateRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import load_model
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.generation.image_paths import STDOUT
from bigain_cli.outputs.files import make_folder, write_whole
from bigain_cli.outputs.json import line
from bigain_cli.outputs.png import png, tiled
from bigain_cli.outputs.sink import encode


def run_request(order: GenerateRequest, talk: Messages) -> int:
    """Generate and write every image."""
    resolve(order.model)
    generation = _prepared(order, talk)
    from bigain_cli.generation import GenerationProgress

    if (folder := os.path.dirname(order.paths[0])) and not os.path.isdir(folder):
        make_folder(folder)
    writer = _Writer(order)
    with ProgressBar(talk) as meter:
        for event in generation.events():
            if isinstance(event, GenerationProgress):
                meter.show(event.done, event.of)
            else:
                with meter.aside():
                    writer.write(event)
    return 0


def _prepared(order: GenerateRequest, talk: Messages) -> Any:
    """Load the model and encode the prompts."""
    from bigain_cli.generation import Generation

    backbone = load_model(order.model, order.device, order.dtype, talk)
    if order.previous is not None:
        order.previous.check_weights(order.model, backbone.identity)
    generation = Generation(backbone, order.prompts, order.wish, order.count)
    if order.previous is not None:
        for difference in order.previous.differences(generation.settings):
            talk.note(difference)
    talk.detail("settings: " + json.dumps(generation.settings, ensure_ascii=False))
    if generation.report is not None:
        talk.detail(f"compression:\n{generation.report}")
    return generation


class _Writer:
    """Writes each sample to its file as it comes, or all to one grid at the end."""

    def __init__(self, order: GenerateRequest) -> None:
        self._order, self._paths, self._images = order, order.paths, list[Any]()

    def write(self, sample: Any) -> None:
        """Take the next one, and write what is complete."""
        order = self._order
        self._images.append(sample.image if order.grid else None)  # a single one is written, and not needed any more
        number = len(self._images)
        if not order.grid:
            self._write(self._paths[number - 1], sample.image, {"prompt": sample.prompt, "seed": sample.seed}, sample)
        elif number == len(order.prompts) * order.count:
            columns = order.count if len(order.prompts) > 1 else _columns(order.count)
            about = {"prompts": list(order.prompts), "seed": order.wish.seed, "count": order.count}
            self._write(self._paths[0], tiled(self._images, columns), about, sample)

    def _write(self, path: str, image: Any, about: dict[str, Any], sample: Any) -> None:
        previous = self._order.previous
        settings = sample.settings | ({"model": previous.model} if previous is not None else {})
        data = png(image, about | settings)
        if path == STDOUT:
            sys.stdout.buffer.write(data)
        else:
            write_whole(path, data, self._order.force)
            record = {"id": path, **about, "settings": settings}
            sys.stdout.buffer.write((line(record) if self._order.jsonl else encode(path)) + b"\n")
        sys.stdout.buffer.flush()


def _columns(count: int) -> int:
    """Return the columns of a grid that is about square."""
    return max(columns for columns in range(1, count + 1) if (columns - 1) ** 2 < count)
