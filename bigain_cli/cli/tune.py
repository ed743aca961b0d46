"""`bigain tune`: its options, their checks without torch, and the run."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from bigain_cli.cli import completion, options
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model, shown_wait
from bigain_cli.cli.options import effort_option, input_option, label_option, more_option, output_option
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.text import counted, spoken_time
from bigain_cli.outputs.whole_files import check_target, held, write_whole
from bigain_cli.tuning.options import DRAWS, PER_CLASS, TuneOptions


def tune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="As for classify -m.", show_default=False, autocompletion=completion.models
        ),
    ],
    images: Annotated[
        str, typer.Argument(metavar="IMAGES", help="Labelled images, as for evaluate.", show_default=False)
    ],
    output: Annotated[
        str, output_option("--output", "-o", metavar="PROFILE", help="The profile, a .json file.", show_default=False)
    ],
    per_class: Annotated[int, input_option(metavar="N", help="Number of images of each class.")] = PER_CLASS,
    labels: Annotated[
        str | None,
        label_option(
            "--labels",
            "-l",
            metavar="LABELS",
            help="As for classify.",
            show_default="the dataset's own",
            autocompletion=completion.labels,
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        more_option("--template", "-t", metavar="TEXT", help='Prompt, as "a photo of a {}."; repeat to choose.'),
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    no_cache: options.NoCache = False,
    compress: options.Compress = None,
    draws: Annotated[
        int | None,
        effort_option(metavar="N", help="Number of noise draws per label.", show_default=f"the model's, or {DRAWS}"),
    ] = None,
    seed: Annotated[int, more_option(metavar="N", help="Random seed of draws, folds and chosen images.")] = 0,
    batch: options.Batch = None,
    keep: Annotated[
        str | None, more_option(metavar="DIR", help="Folder for recorded errors, to continue from.")
    ] = None,
    as_json: options.Json = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Tune how a model's errors are judged, on a few labelled images.

    \b
    Examples:
      bigain tune mini photos/ -o photos.json
      bigain tune sd2 pets:data -t "a photo of a {}, a pet." -o pets.json

    What does not gain a standard error in cross-validation is refused.
    """
    options.check_output(output, "profile.json")
    if not output.lower().endswith(".json"):
        raise UsageError(f"-o {output}", "a profile is a .json file", "Write -o profile.json.")
    check_target(output, force)
    options.check_named("--keep", keep, "kept/")
    options.check_machine(device, dtype)
    spec = options.chosen_spec(compress, None, None)
    chosen = TuneOptions(per_class, draws, tuple(template or ()), labels, seed, spec, batch, keep, force)
    messages = Messages.start(quiet, verbose)
    with held(output):
        return _run((model, device, dtype, not no_cache), images, chosen, output, as_json, messages)


def _run(
    model: tuple[str, str, str, bool],
    images: str,
    chosen: TuneOptions,
    output: str,
    as_json: bool,
    messages: Messages,
) -> int:
    """Record, tune, and write the profile, if there is one."""
    from bigain_cli.datasets.opening import open_dataset

    began, name = time.monotonic(), model[0]
    dataset = open_dataset(images)  # refused before anything heavy is loaded
    with shown_wait(f"loading {name}", messages):
        from bigain_cli.tuning.report import as_text
        from bigain_cli.tuning.tuner import tune as tune_profile

    run = tune_profile(lambda *_: load_model(name, model[1], model[2], messages, model[3]), dataset, chosen)
    plan = f"{counted(run.total, 'image')} × {counted(run.evaluations, 'evaluation')}"
    with ProgressBar(messages, "recording", "images", plan=plan) as progress_bar:
        for done in run:
            progress_bar.show(done, run.total)
    found = run.tuning()
    if found.skipped:
        messages.note(f"{counted(len(found.skipped), 'image')} left out; the first: {found.skipped[0]}")
    document: dict[str, Any] = found.to_dict()
    typer.echo(encode(json.dumps(document, ensure_ascii=False, indent=1) if as_json else as_text(found)))
    if found.profile is None:
        hint = "More images may help; the model is best as it is."
        raise BigainError(f"no profile for {name}", found.validation.why_refused, hint)
    write_whole(output, encode(found.profile.to_json()), force=chosen.replace)
    kept = ", ".join(step.part for step in found.validation.steps if step.kept)
    spent = spoken_time(time.monotonic() - began)
    messages.closing(f"{counted(found.images, 'image')}: kept {kept}, in {spent} → {output}")
    return 0
