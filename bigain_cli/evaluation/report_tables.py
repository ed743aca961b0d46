"""The tables of a report: shares in per cent, differences in points, each with its interval; costs per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bigain_cli.compress.spec import in_short
from bigain_cli.evaluation.accuracy import Accuracy, ratio
from bigain_cli.evaluation.multilabel import MultilabelDifference, MultilabelPrecision
from bigain_cli.evaluation.summary import Summary
from bigain_cli.intervals import Interval
from bigain_cli.outputs.report_sections import ReportSection
from bigain_cli.outputs.text import COLUMNS, GUTTER, cell_width, shortened

ALL_COSTS = ("draws", "evals", "GFLOP/eval", "GFLOP", "s")
COSTS = ("evals", "GFLOP")
NAME = 12  # cells of a label in a narrow confusion matrix


def headline_table(summary: Summary, wide: bool) -> ReportSection:
    """Return accuracy and cost: what matters, or everything."""
    gap = ("difference",) if len(summary.accuracies) > 1 and not wide else ()
    more = ("top-5 %", "class mean %", "settled %", "of these right %", *ALL_COSTS)
    rows = []
    for spec, found in _accuracies(summary):
        if wide:
            shares = [_percent(each) for each in (found.top1, found.top5, found.per_class)]
            shares += [f"{100 * found.settled.value:.1f}", _percent(found.settled_right)]
        else:
            shares = [_percent(found.top1), *_gap(summary, spec), f"{100 * found.settled.value:.1f}"]
        rows.append([_name(summary, spec, wide), *shares, *_costs(found, wide)])
    return ReportSection(head=("spec", "top-1 %", *(more if wide else (*gap, "settled %", *COSTS))), rows=rows)


def multilabel_table(summary: Summary, wide: bool) -> ReportSection:
    """Return precision and cost, for images that may have several labels."""
    gap = ("difference",) if len(summary.accuracies) > 1 and not wide else ()
    rows = []
    for spec, found in summary.accuracies.items():
        assert isinstance(found, MultilabelPrecision)
        gaps = [] if wide else _gap(summary, spec)
        first = _percent(found.first) if wide else _percent(found.first).partition(" ")[0]
        shares = [_percent(found.mean_average), *gaps, first]
        rows.append([_name(summary, spec, wide), *shares, *_costs(found, wide)])
    first, costs = ("precision@1 %", ALL_COSTS) if wide else ("P@1 %", COSTS)
    return ReportSection(head=("spec", "mAP %", *gap, first, *costs), rows=rows)


def risk_coverage(summary: Summary, wide: bool) -> ReportSection:
    """Return how many answers are given, and how many of these are right, by the least probability."""
    head = ("spec", "at least", "answers", "of images %", "right", "of these %")
    rows = []
    for spec, found in _accuracies(summary):
        for each in found.risk_coverage:
            given = [f"{each.min_probability:g}", str(each.answered), each.share.percent()]
            rows.append([_name(summary, spec, wide), *given, str(each.right), _percent(each.accuracy)])
    return ReportSection("If only answers with at least this probability are given", head=head, rows=rows)


def calibration(summary: Summary, wide: bool) -> ReportSection:
    """Return how far probabilities can be trusted."""
    rows = []
    for spec, found in _accuracies(summary):
        errors = [f"{found.ece:.3f}", f"{found.ece_by_chance:.3f}"]
        rows.append([_name(summary, spec, wide), _number(found.brier), _number(found.nll), *errors])
    return ReportSection("Probabilities", head=("spec", "Brier score", "NLL", "ECE", "by chance"), rows=rows)


def shortlists(summary: Summary, wide: bool) -> ReportSection:
    """Return how often the winner of all labels was asked, and what that saves."""
    rows = []
    for each in summary.recalls:
        share = each.evaluations / each.evaluations_of_all if each.evaluations_of_all else 1.0
        costs = [f"{each.asked:.1f}", f"{each.evaluations:.1f}", f"{100 * share:.1f}"]
        gap = each.accuracy.interval.percent("+")
        truth = [_percent(each.truth_asked)] if wide else []
        rows.append([_name(summary, each.spec, wide), _percent(each.recall), *truth, *costs, gap])
    more = ("truth asked %",) if wide else ()
    head = ("spec", "recall %", *more, "asked", "evals", "of all %", "points")
    return ReportSection("Shortlists, against all labels", head=head, rows=rows)


def differences(summary: Summary) -> ReportSection:
    """Return the differences of all pairs."""
    measures = ("mAP", "precision@1") if summary.multilabel else ("points",)
    same = "same first label %" if summary.multilabel else "same answer %"
    rows = []
    for each in summary.differences:
        gaps = (each.mean_average, each.first) if isinstance(each, MultilabelDifference) else (each.interval,)
        counts = [str(each.gained), str(each.lost), f"{each.p:.2g}", _percent(each.agreement)]
        rows.append([each.spec, each.against, *(gap.percent("+") for gap in gaps), *counts])
    head = ("spec", "against", *measures, "gained", "lost", "McNemar p", same)
    unit = "points" if summary.multilabel else "points of top-1"
    return ReportSection(f"Differences, in {unit}", head=head, rows=rows)


def confusion_tables(summary: Summary, wide: bool) -> Iterator[ReportSection]:
    """Yield for each spec its answers by true label; a narrow table has numbers for names, and is cut into parts."""
    for spec, _ in _accuracies(summary):
        counts = summary.confusion(spec)
        title = f"{spec}: answers (columns) by true label"
        if wide:
            rows = [[name, *map(str, row)] for name, row in zip(summary.names, counts, strict=True)]
            yield ReportSection(title, head=("", *summary.names), rows=rows)
            continue
        numbers = [str(number) for number in range(1, len(counts) + 1)]
        names = [f"{number} {name}" for number, name in zip(numbers, summary.names, strict=True)]
        for part in _parts(counts, max(cell_width(shortened(name, NAME)) for name in names)):
            rows = [[name, *(str(row[at]) for at in part)] for name, row in zip(names, counts, strict=True)]
            yield ReportSection(title, head=("", *(numbers[at] for at in part)), rows=rows)
            title = ""


def _parts(counts: Sequence[Sequence[int]], name: int) -> Iterator[list[int]]:
    """Yield the columns that fit side by side."""
    part, used = list[int](), name
    for at in range(len(counts)):
        width = len(GUTTER) + max(len(str(at + 1)), *(len(str(row[at])) for row in counts))
        if part and used + width > COLUMNS:
            yield part
            part, used = [], name
        part, used = [*part, at], used + width
    yield part


def _name(summary: Summary, spec: str, wide: bool) -> str:
    """Return a spec's name; in a narrow table without what is the same for all."""
    return spec if wide else in_short(list(summary.accuracies))[spec]


def _accuracies(summary: Summary) -> Iterator[tuple[str, Accuracy]]:
    return ((spec, found) for spec, found in summary.accuracies.items() if isinstance(found, Accuracy))


def _gap(summary: Summary, spec: str) -> list[str]:
    """Return the difference to the baseline, if there is more than one spec."""
    if len(summary.accuracies) == 1:
        return []
    found = summary.to_baseline(spec)
    if found is None:
        return ["–"]
    return [(found.mean_average if isinstance(found, MultilabelDifference) else found.interval).percent("+")]


def _costs(found: Accuracy | MultilabelPrecision, wide: bool) -> list[str]:
    each = ratio(found.gflop, found.evaluations)
    evaluations, gflop = f"{found.evaluations:.1f}", f"{found.gflop:.4g}" if found.gflop < 1e4 else f"{found.gflop:.0f}"
    if not wide:
        return [evaluations, gflop]
    return [f"{found.draws:.1f}", evaluations, "–" if each is None else f"{each:.4g}", gflop, f"{found.seconds:.3g}"]


def _percent(found: Interval | None) -> str:
    return "–" if found is None else found.percent()


def _number(found: Interval | None) -> str:
    return "–" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
