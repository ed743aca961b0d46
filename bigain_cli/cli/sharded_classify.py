"""Runs `classify` over shards: lists the images into a manifest, starts an engine, shows its progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from bigain_cli.backbones.model_locations import is_present
from bigain_cli.backbones.unloaded_model import UnloadedModel
from bigain_cli.classification.label_prompts import digest_of_prompts
from bigain_cli.cli.cache_folder import cache_folder, hub_cache
from bigain_cli.cli.classify_inputs import RepeatCount, can_be_listed
from bigain_cli.cli.classify_labels import check_labels, choose_labels, find_model
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.classify_shortlist import say_tree
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import shown_wait
from bigain_cli.cli.offline import is_offline
from bigain_cli.cli.sharded_run import run_shards
from bigain_cli.cli.sharding import PROCESSES, Sharding
from bigain_cli.compress.spec import parse
from bigain_cli.engines.classify_job import ClassifyJob
from bigain_cli.engines.missing_images_job import MissingImagesJob
from bigain_cli.errors import BigainError, InputError, UsageError
from bigain_cli.images import Source
from bigain_cli.registry import DEFAULT_ERROR
from bigain_cli.shards.opening import make_run_folder
from bigain_cli.shards.run_record import RunRecord, begin, refuse_other_options
from bigain_cli.shortlist.choice import OFF, choice_for
from bigain_cli.shortlist.tree_files import digest_of_groups
from bigain_cli.views import read_views


def run_sharded(request: ClassifyRequest, sharding: Sharding, messages: Messages) -> int:
    """Classify the shards that are missing; return 1 if any input failed, else 0."""
    model = find_model(request)
    labels = choose_labels(request, model, messages)
    competing = () if labels is None else check_labels(request, labels, model)
    names = [label.name for label in competing]
    asked = names[: len(names) - request.reject]  # "none", which --reject adds, is asked anyway
    if labels is not None:
        say_tree(request.shortlist, request.tree, len(asked), request.rules.schedule, messages)
    folder = make_run_folder(str(request.output), cache_folder())
    with shown_wait("listing the images", messages), ExitStack() as open_files:
        repeats, listing = RepeatCount(), _Listing(can_be_listed(request))
        sources = request.sources(open_files, only_names=True, repeated=repeats)
        try:
            run = begin(folder, folder.write_manifest(listing.ids(sources)), sharding.size)
        except BigainError:
            folder.remove_empty()
            raise
    repeats.note(messages)
    if listing.all_missing:  # as in a plain run, each has a record that says why, and no model is loaded for it
        about = request.min_probability, request.top_labels, request.recursive, is_offline()
        missing = MissingImagesJob(tuple(names), *about)
        here = Sharding(sharding.share or (1, 1), None, PROCESSES, sharding.size)
        return run_shards(folder, run, missing, here, messages, request.min_probability)
    known = _known_options(request, model) | _known_compression(request, model, run)
    if labels is not None:
        known |= _known_shortlist(request, asked)
    if labels is not None and is_present(model.location, hub_cache()):  # its card may have a template
        known["prompts"] = digest_of_prompts([label.texts for label in competing])
    refuse_other_options(folder, run, names, known)
    job = ClassifyJob(
        model=request.model, labels=labels, rules=request.rules, device=request.device, dtype=request.dtype,
        cache=cache_folder() if request.cache else None, templates=request.templates, seed=request.seed,
        reject=request.reject, compress=request.compress, batch=request.batch, timing=request.timing,
        min_probability=request.min_probability, top=request.top_labels, recursive=request.recursive,
        offline=is_offline(), shortlist=request.shortlist, tree=request.tree,
    )  # fmt: skip
    return run_shards(folder, run, job, sharding, messages, request.min_probability)


class _Listing:
    """Lists what workers find images by, and says whether any image is there, if that can be known beforehand."""

    def __init__(self, can_be_known: bool) -> None:
        self._can_be_known, self.all_missing = can_be_known, False

    def ids(self, sources: Iterator[Source]) -> Iterator[str]:
        """Yield them; refuse an image that no worker can read again, and folders that hold no image."""
        first: InputError | None = None
        any_found = only_empty_folders = False
        for source in sources:
            _refuse_unreadable(source)
            if source.error is None:
                any_found = True
            elif not any_found:
                only_empty_folders = source.error.kind == "no-images" and (only_empty_folders or first is None)
                first = first or source.error
            yield source.id
        self.all_missing = self._can_be_known and not any_found
        if self.all_missing and only_empty_folders and first is not None:
            raise UsageError(first.what, first.why, f"{first.hint}.")


def _refuse_unreadable(source: Source) -> None:
    if source.id == "-":
        raise UsageError("-", "an image on stdin cannot be read by several workers", "Put the image in a file.")
    if source.url is not None and source.url != source.id:
        why = "its password would be written to the manifest"
        raise UsageError(source.id, why, "Download it, and name the file.")


def _known_compression(request: ClassifyRequest, model: UnloadedModel, run: RunRecord) -> dict[str, Any]:
    """Return the spec, the given or the model's own, as a run records it: its blocks of a level may share a plan."""
    if request.compress is None and not is_present(model.location, hub_cache()):
        return {}
    spec = parse(model.card.compress) if request.compress is None else request.compress
    recorded = None if run.making is None else run.making.settings.get("compress")
    same = recorded in (str(spec), str(spec.by_level()))
    return {"compress": recorded if same else str(spec)}


def _known_shortlist(request: ClassifyRequest, labels: Sequence[str]) -> dict[str, Any]:
    """Return the shortlist and the tree's groups as a run records them."""
    choice = choice_for(request.shortlist, request.tree, len(labels), request.rules.schedule)
    groups = None if request.tree is None else digest_of_groups(request.tree, labels)
    return {"shortlist": None if choice.kind == OFF else choice.name or None, "tree": groups}


def _known_options(request: ClassifyRequest, model: UnloadedModel) -> dict[str, Any]:
    """Return what a run's settings and layout will hold, as far as no network is needed to know it."""
    rules, draws, views = request.rules, request.rules.draws, request.rules.views
    if model.location.kind != "form" and is_present(model.location, hub_cache()):  # what its card recommends, too
        card = model.card
        rules = rules.for_model(card.score, card.draws, card.least_draws)
        draws, views = rules.most_draws, views or card.views
    known: dict[str, Any] = {
        "model": model.location.name,
        "seed": request.seed,
        "schedule": rules.schedule,
        "confidence": rules.confidence,
        "budget": rules.budget,
        "deadline": rules.deadline,
        "min_probability": request.min_probability,
        "error_in": None if rules.error_in == DEFAULT_ERROR else rules.error_in,
        "profile": None if rules.profile is None else rules.profile.digest,
        "templates": list(request.templates) or None,
        "top": request.top_labels,
        "timing": request.timing,
        "times": None if rules.times is None else list(rules.times),
    }
    chosen_by_the_model = {
        "max_draws": draws,
        "score": rules.score,
        "dtype": None if request.dtype == "auto" else request.dtype,
    }
    known |= {name: value for name, value in chosen_by_the_model.items() if value is not None}
    if views is not None:
        known["views"] = str(read) if (read := read_views(views)) else None
    return known
