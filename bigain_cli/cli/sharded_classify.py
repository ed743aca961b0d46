"""Runs `classify` over shards: lists the images into a manifest, starts an engine, shows its progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from bigain_cli.cli.classify_inputs import RepeatCount
from bigain_cli.cli.classify_labels import check_labels, choose_labels, find_model
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import cache_folder, shown_wait
from bigain_cli.cli.offline import is_offline
from bigain_cli.cli.sharded_run import run_shards
from bigain_cli.cli.sharding import Sharding
from bigain_cli.engines.classify_job import ClassifyJob
from bigain_cli.errors import UsageError
from bigain_cli.images import Source
from bigain_cli.shards.manifest import write_or_compare
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import begin


def run_sharded(request: ClassifyRequest, sharding: Sharding, messages: Messages) -> int:
    """Classify the shards that are missing; return 1 if any input failed, else 0."""
    model = find_model(request)
    labels = choose_labels(request, model, messages)
    if labels is not None:
        check_labels(request, labels, model)
    folder = RunFolder.make(str(request.output))
    with shown_wait("listing the images", messages), ExitStack() as open_files:
        repeats = RepeatCount()
        sources = request.sources(open_files, only_names=True, repeated=repeats)
        run = begin(folder, write_or_compare(folder.manifest, _ids(sources)), sharding.size)
    repeats.note(messages)
    job = ClassifyJob(
        model=request.model, labels=labels, rules=request.rules, device=request.device, dtype=request.dtype,
        cache=cache_folder() if request.cache else None, templates=request.templates, seed=request.seed,
        reject=request.reject, compress=request.compress, batch=request.batch, timing=request.timing,
        min_probability=request.min_probability, top=request.top_labels, recursive=request.recursive,
        offline=is_offline(), shortlist=request.shortlist, tree=request.tree,
    )  # fmt: skip
    return run_shards(folder, run, job, sharding, messages, request.min_probability)


def _ids(sources: Iterator[Source]) -> Iterator[str]:
    """Yield what a worker finds an image by; refuse what it cannot read again, and inputs without any image."""
    found = False
    empty: Source | None = None
    for source in sources:
        if source.id == "-":
            raise UsageError("-", "an image on stdin cannot be read by several workers", "Put the image in a file.")
        if source.url is not None and source.url != source.id:
            why = "its password would be written to the manifest"
            raise UsageError(source.id, why, "Download it, and name the file.")
        found, empty = found or source.error is None, empty or source
        yield source.id
    if not found and empty is not None and empty.error is not None:
        raise UsageError(empty.error.what, empty.error.why, f"{empty.error.hint}.")
