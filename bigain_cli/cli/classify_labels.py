"""The labels of `classify`: those of -l, or the classes that the model knows; checked before the model is loaded."""

from __future__ import annotations

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.backbones.unloaded_model import UnloadedModel, read_unloaded
from bigain_cli.classification.label_prompts import LabelPrompts, check_prompts, own_labels
from bigain_cli.cli.cache_folder import hub_cache
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.labels import LabelSet, presets, read_labels
from bigain_cli.shortlist.tree_files import read_groups

SHOWN = 12  # classes that are named


def find_model(request: ClassifyRequest) -> UnloadedModel:
    """Find the model; read what can be known of it."""
    return read_unloaded(resolve(request.model), hub_cache())


def choose_labels(request: ClassifyRequest, model: UnloadedModel, messages: Messages) -> LabelSet | None:
    """Return the labels; None if they are the classes of a model that has to be downloaded first."""
    if request.labels is not None:
        labels = read_labels(request.labels, presets())
        messages.detail(f"labels: {labels.origin}, {len(labels.labels)} of them")
        return labels
    if model.vocabulary is None and model.may_know_classes:
        return None
    labels = own_labels(model.vocabulary.main_names() if model.vocabulary else (), request.model)
    say_labels(labels, messages)
    return labels


def say_labels(labels: LabelSet, messages: Messages) -> None:
    """Say which labels were chosen where none are given."""
    names = [label.name for label in labels.labels]
    more = ", …" if len(names) > SHOWN else ""
    messages.note(f"labels: {labels.origin} ({', '.join(names[:SHOWN])}{more}); -l chooses others")


def check_labels(request: ClassifyRequest, labels: LabelSet, model: UnloadedModel) -> tuple[LabelPrompts, ...]:
    """Return the prompts of the labels; refuse those that a model with classes of its own does not know."""
    found = check_prompts(labels, request.templates, request.reject, model.vocabulary, model.card.template)
    if request.tree is not None:
        read_groups(request.tree, [label.name for label in (found[:-1] if request.reject else found)])
    return found
