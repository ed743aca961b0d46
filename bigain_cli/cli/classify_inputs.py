"""The inputs of `classify`: whether any of them is there, and how many are named again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.errors import UsageError
from bigain_cli.images import Source, look_ahead
from bigain_cli.outputs.text import counted


class RepeatCount:
    """Counts inputs that are named again."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, id: str) -> None:
        """Count one."""
        self._count += 1

    def note(self, messages: Messages) -> None:
        """Say how many there were."""
        if self._count:
            was = "was" if self._count == 1 else "were"
            messages.note(f"{counted(self._count, 'input')} {was} named more than once; each is classified once")


class Inputs:
    """The images of a run, listed as they are needed."""

    def __init__(self, request: ClassifyRequest, open_files: ExitStack) -> None:
        self.repeats = RepeatCount()
        self.sources: Iterator[Source] = request.sources(open_files, repeated=self.repeats)
        self.all_missing = False
        if not request.resume and can_be_listed(request):
            self.sources, any_found = look_ahead(self.sources)
            self.all_missing = not any_found
            if self.all_missing:
                self.sources = _not_only_empty_folders([*self.sources])


def _not_only_empty_folders(sources: list[Source]) -> Iterator[Source]:
    """Refuse a run over folders that hold no image; anything else that is missing gets a record of its own."""
    errors = [source.error for source in sources if source.error is not None]
    if errors and all(error.kind == "no-images" for error in errors):
        raise UsageError(errors[0].what, errors[0].why, f"{errors[0].hint}.")
    return iter(sources)


def can_be_listed(request: ClassifyRequest) -> bool:
    """Return whether the inputs are there already: an image or a list on stdin may take its time."""
    listed = request.files_from is None or os.path.isfile(request.files_from)
    return listed and "-" not in request.inputs
