"""What tuning found, as text. Must not know how it was found."""

from __future__ import annotations

from bigain_cli.intervals import Interval
from bigain_cli.outputs.text import aligned, counted
from bigain_cli.tuning.tuner import Tuning

NOTE = """Every number is about images that were left out while fitting, in five folds. A
part is kept if it gains more than its standard error in log loss. These images
chose what is kept: what a profile is worth, evaluate --profile says on others."""


def as_text(found: Tuning) -> str:
    """Return what each part gains, and the answers before and after."""
    head = ("part", "gain in log loss", "standard error", "accuracy", "verdict")
    rows = [
        [step.part, f"{step.gain:+.4f}", f"{step.standard_error:.4f}", f"{100 * step.accuracy:+.1f}",
         "kept" if step.kept else "refused"]
        for step in found.validation.steps
    ]  # fmt: skip
    tables = [f"{counted(found.images, 'image')}, answered by what was fitted to others", aligned(head, rows)]
    both = (("before", found.validation.before), ("after", found.validation.after))
    rows = [
        [name, f"{100 * each.accuracy:.1f}", f"{each.log_loss:.3f}", f"{each.calibration_error:.3f}"]
        for name, each in both
    ]
    tables.append(aligned(("", "top-1 %", "NLL", "ECE"), rows))
    accuracy, loss = found.validation.difference("right"), found.validation.difference("losses")
    tables.append(f"Change: {accuracy.percent('+', unit=' points')}, NLL {_signed(loss)}")
    return "\n\n".join([*tables, NOTE])


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
