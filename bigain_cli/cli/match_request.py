"""The options of `match`, with contradictions refused. Must not load anything heavy."""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.cli.options import JSON, TEXT, check_machine, check_wide
from bigain_cli.errors import UsageError
from bigain_cli.matching.options import MatchOptions
from bigain_cli.outputs.whole_files import check_target

JSON_LINES = "jsonl"
SUFFIXES = {".txt": TEXT, ".json": JSON, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES}


@dataclass(frozen=True)
class MatchRequest:
    """Every option."""

    inputs: tuple[str, ...]
    recursive: bool
    pairs: str | None
    model: str
    device: str
    dtype: str
    options: MatchOptions
    format: str
    output: str | None
    wide: bool
    force: bool
    cache: bool = True

    @property
    def images(self) -> tuple[str, ...]:
        """The images: all inputs but the last."""
        return self.inputs[:-1]

    @property
    def captions(self) -> str:
        """The captions: the last input."""
        return self.inputs[-1]

    def check(self) -> None:
        """Refuse options that contradict each other, and files that cannot be written."""
        if self.pairs is not None and self.inputs:
            why = "the file names the images and the captions"
            raise UsageError(f"--pairs {self.pairs} with {self.inputs[0]}", why, "Leave out one of the two.")
        if self.pairs is not None and self.recursive:
            raise UsageError("--recursive", "is about folders of images", "Leave it out with --pairs.")
        if self.pairs is None and len(self.inputs) < 2:
            why = "no captions" if self.inputs else "nothing to match"
            raise UsageError(self.inputs[0] if self.inputs else "no input", why, "Write: IMAGES CAPTIONS, or --pairs.")
        if self.force and self.output is None:
            raise UsageError("--force", "replaces a file, and none is named", "Add -o FILE.")
        check_wide(self.wide, JSON if self.format == JSON_LINES else self.format)
        check_machine(self.device, self.dtype)
        if self.output is not None:
            check_target(self.output, self.force, can_resume=False)
