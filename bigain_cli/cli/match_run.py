"""Runs `match`: reads captions or pairs, loads the model, shows progress, writes matches as they are made."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO, cast

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.backbones.unloaded_model import UnloadedModel, read_unloaded
from bigain_cli.classification.label_prompts import check_prompts
from bigain_cli.classification.ranking import Failure
from bigain_cli.cli.cache_folder import hub_cache
from bigain_cli.cli.match_request import JSON_LINES, MatchRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model
from bigain_cli.cli.offline import is_offline
from bigain_cli.cli.options import JSON
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import BigainError
from bigain_cli.images import Source, find
from bigain_cli.labels import LabelSet, presets, read_labels
from bigain_cli.matching.options import AS_IT_IS, check_captions
from bigain_cli.matching.pairs import Pair, read_pairs
from bigain_cli.outputs.json import line
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import WriteError
from bigain_cli.outputs.text import counted, spoken_time
from bigain_cli.outputs.whole_files import open_target


def run_request(request: MatchRequest, messages: Messages) -> int:
    """Match; return 1 if any image or pair failed, else 0."""
    began = time.monotonic()
    model = read_unloaded(resolve(request.model), hub_cache())
    images, pairs = list[Source](), list[Pair]()
    with ExitStack() as open_files:
        if request.pairs is not None:
            pairs = read_pairs(request.pairs)
            _check_pairs(pairs, model, request)
            stream = _open_target(request, open_files)
            run = _start_pairs(request, pairs, messages)
            matches = run.matches()
        else:
            captions = _read_captions(request, model, messages)
            images = list(find(request.images, request.recursive, None, is_offline()))
            stream = _open_target(request, open_files)
            run = _start_images(request, captions, messages)
            matches = run.matches(images)
        found = list[Any]()
        try:
            for each in _matched(matches, len(pairs or images), run, request, stream, messages):
                found.append(each)
        except WriteError:
            raise
        except (KeyboardInterrupt, BigainError):
            if found:  # no work of hours is lost: the table or document of what there is
                _write_end(found, run, request, stream)
                messages.note(f"{request.output or 'stdout'} has the matches so far")
            raise
        summary = _write_end(found, run, request, stream)
    return _last_words(found, summary, request, messages, time.monotonic() - began)


def _read_captions(request: MatchRequest, model: UnloadedModel, messages: Messages) -> LabelSet:
    """Read the captions; refuse those that a model with words of its own does not know."""
    captions = read_labels(request.captions, presets())
    messages.detail(f"captions: {captions.origin}, {len(captions.labels)} of them")
    check_captions(captions)
    check_prompts(captions, request.options.templates, False, model.vocabulary, AS_IT_IS)
    return captions


def _check_pairs(pairs: Sequence[Pair], model: UnloadedModel, request: MatchRequest) -> None:
    from bigain_cli.labels import Label

    for pair in pairs:
        captions = LabelSet(tuple(map(Label, pair.captions)), f"pair {pair.id}")
        check_prompts(captions, request.options.templates, False, model.vocabulary, AS_IT_IS)


def _open_target(request: MatchRequest, open_files: ExitStack) -> BinaryIO:
    """Open the output before anything heavy is loaded, so that what cannot be written is known at once."""
    if request.output is None:
        return sys.stdout.buffer
    return cast(BinaryIO, open_files.enter_context(open_target(request.output, request.force)))


def _start_images(request: MatchRequest, captions: LabelSet, messages: Messages) -> Any:
    backbone = load_model(request.model, request.device, request.dtype, messages, request.cache)
    from bigain_cli.matching.matcher import CaptionMatching

    return CaptionMatching(backbone, captions, request.options)


def _start_pairs(request: MatchRequest, pairs: Sequence[Pair], messages: Messages) -> Any:
    backbone = load_model(request.model, request.device, request.dtype, messages, request.cache)
    from bigain_cli.matching.matcher import PairMatching

    return PairMatching(backbone, pairs, request.options)


def _matched(
    matches: Iterator[Any], total: int, run: Any, request: MatchRequest, stream: BinaryIO, messages: Messages
) -> Iterator[Any]:
    """Yield all matches; write each at once if the format is JSON lines."""
    unit = "pairs" if request.pairs is not None else "images"
    plan = f"{counted(total, unit[:-1])} × {counted(run.evaluations, 'evaluation')}"
    with ProgressBar(messages, "matching", unit, plan=plan) as progress_bar:
        for done, each in enumerate(matches, 1):
            if request.format == JSON_LINES:
                with progress_bar.cleared(), SHIELD:
                    stream.write(line(each.to_dict()) + b"\n")
                    stream.flush()
            progress_bar.show(done, total)
            yield each


def _write_end(found: Sequence[Any], run: Any, request: MatchRequest, stream: BinaryIO) -> Any:
    """Write a table or a document; return the summary of pairs, if there are any."""
    from bigain_cli.matching import report
    from bigain_cli.matching.image_match import ImageMatch, best_images
    from bigain_cli.matching.pair_match import PairMatch, PairSummary

    of_pairs = request.pairs is not None
    summary = PairSummary.of([each for each in found if isinstance(each, PairMatch)]) if of_pairs else None
    if request.format == JSON_LINES:
        return summary
    wide = request.wide or request.output is not None
    if of_pairs:
        text = report.pairs_as_text(found, summary, wide)
        more: dict[str, Any] = {"summary": None if summary is None else summary.to_dict()}
    else:
        images = [each for each in found if isinstance(each, ImageMatch)]
        best = best_images(images, run.captions, request.options.confidence)
        text, more = report.images_as_text(found, best, wide), {"captions": [each.to_dict() for each in best]}
    if request.format == JSON:
        text = json.dumps(report.document(found, **more), ensure_ascii=False, allow_nan=False, indent=1)
    with SHIELD:
        stream.write(encode(text + "\n"))
        stream.flush()
    return summary


def _last_words(found: Sequence[Any], summary: Any, request: MatchRequest, messages: Messages, seconds: float) -> int:
    """Say what came out; return the exit code."""
    from bigain_cli.matching.report import headline

    failed = [each for each in found if isinstance(each, Failure)]
    unit = "pair" if request.pairs is not None else "image"
    if failed:
        messages.error(f"{len(failed)} of {counted(len(found), unit)} failed; the first: {failed[0].message}")
    where = f" → {request.output}" if request.output is not None else ""
    about = headline(found, summary)
    messages.closing(f"{counted(len(found), unit)}: {about}, {len(failed)} failed in {spoken_time(seconds)}{where}")
    return 1 if failed else 0
