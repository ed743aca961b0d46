"""Loads a model, and shows on stderr that it is loaded, or downloaded and how large it is. Knows no tensors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bigain_cli.backbones.model_locations import ModelLocation, download_size, is_present, resolve
from bigain_cli.cli.cache_folder import cache_folder, hub_cache
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.progress import Display
from bigain_cli.outputs.text import safe, spoken_size


def load_model(model: str, device: str, dtype: str, messages: Messages, cache: bool = True) -> Any:
    """Load a backbone, show that it is loaded or downloaded, and report how long it took; keep files in a cache."""
    started = time.monotonic()
    with shown_loading(model, messages):
        from bigain_cli.backbones.light_import import import_networks
        from bigain_cli.backbones.loading import load

        if resolve(model).kind in ("folder", "hub"):
            import_networks()
        backbone = load(model, device, dtype, cache_folder() if cache else None)
    kind = str(backbone.dtype).removeprefix("torch.")
    messages.detail(f"model: {model} on {backbone.device} in {kind}, loaded in {time.monotonic() - started:.1f} s")
    return backbone


@contextmanager
def shown_loading(model: str, messages: Messages) -> Iterator[None]:
    """Say on a terminal that a model is being loaded; say anywhere that it is downloaded first."""
    location = resolve(model)
    with Display(messages) as display:
        if location.kind == "hub" and not is_present(location, hub_cache()):
            _announce_download(location, display)
        else:
            _display(f"loading {model} …", display)
        yield


@contextmanager
def shown_wait(what: str, messages: Messages) -> Iterator[None]:
    """Say on a terminal what takes a while before the first progress."""
    with Display(messages) as display:
        _display(f"{what} …", display)
        yield


def _display(line: str, display: Display) -> None:
    if display.on_terminal:
        from rich.text import Text

        display.update(Text(safe(line), style="dim"))


def _announce_download(location: ModelLocation, display: Display) -> None:
    """Say what is downloaded and how large it is; the hub's library shows its own progress, on a terminal only."""
    from huggingface_hub import constants, utils

    chosen = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None  # by the user, in the environment
    if not chosen:
        utils.disable_progress_bars()
    size = None if display.messages.quiet else download_size(location)
    if size is not None:
        display.messages.note(f"downloading {location.where}, {spoken_size(size)}, to {hub_cache()}")
    if display.on_terminal and not chosen:
        utils.enable_progress_bars()
