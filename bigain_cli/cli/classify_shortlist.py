"""The shortlist of `classify`: the default is said, and a model is shown all images before the network is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from bigain_cli.cli.cache_folder import cache_folder
from bigain_cli.cli.classify_inputs import Inputs
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import shown_wait
from bigain_cli.errors import UsageError
from bigain_cli.images import Source
from bigain_cli.labels import LabelSet
from bigain_cli.shortlist.choice import MODEL, is_automatic, read_choice


def say_tree(shortlist: str | None, tree: str | None, labels: int, schedule: str, messages: Messages) -> None:
    """Say that a tree chooses the labels, where nobody asked for it."""
    if read_choice(shortlist, tree).kind is None and is_automatic(labels, schedule):
        why = f"a tree of the {labels} labels says for each image which of them are asked"
        messages.note(f"shortlist: {why}; --shortlist off asks all")


def named_beforehand(request: ClassifyRequest, labels: LabelSet | None, inputs: Inputs, messages: Messages) -> Any:
    """Return a shortlist of labels for each image, if a model makes it; else the option as it is."""
    choice = read_choice(request.shortlist, request.tree)
    if choice.kind != MODEL:
        return request.shortlist
    if labels is None:
        why = f"the classes of {request.model} are not known before it is downloaded"
        raise UsageError(f"--shortlist {request.shortlist}", why, "Give them with -l.")
    with shown_wait(f"choosing labels with {choice.model}", messages):
        from bigain_cli.classification.model_shortlist import ModelShortlist

        cache = cache_folder() if request.cache else None
        made = ModelShortlist(choice, labels, request.templates, request.reject, request.device, cache)
        inputs.sources = cast(Iterator[Source], made.prepare_all(inputs.sources))
    messages.detail(f"shortlist: {choice.model} kept {made.kept} of {made.labels} labels")
    return made
