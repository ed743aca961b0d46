"""The options of `classify`, with contradictions refused. Must not load anything heavy."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from bigain_cli.classification.ranking import check_min_probability
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.offline import is_offline
from bigain_cli.cli.options import check_machine
from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError
from bigain_cli.images import Source, find, is_one, read_paths
from bigain_cli.outputs.label_folders import check_sorting
from bigain_cli.outputs.output_format import require_format
from bigain_cli.outputs.plotting import require_plotting
from bigain_cli.outputs.whole_files import IN_PLACE, check_target
from bigain_cli.registry import OUTPUTS
from bigain_cli.shortlist.tree_files import check_choice

Conflict = tuple[bool, str, str, str]  # whether there is one, what, why, what to try
TABLE_TOP = 5  # labels in a table of one image


@dataclass(frozen=True)
class ClassifyRequest:
    """Every option."""

    inputs: tuple[str, ...]
    files_from: str | None
    null: bool
    recursive: bool
    labels: str | None
    templates: tuple[str, ...]
    model: str
    device: str
    dtype: str
    rules: StoppingRules
    seed: int
    reject: bool
    compress: Spec | None
    batch: int | None
    format: str
    output: str | None
    top: int | None
    resume: bool
    force: bool
    timing: bool
    heatmap: str | None
    watch: bool
    min_probability: float | None
    wide: bool
    sort_into: str | None
    link: bool
    raw_csv: bool = False
    cache: bool = True
    sharded: bool = False  # whether the output is a folder of shards
    shortlist: str | None = None
    tree: str | None = None

    @property
    def can_resume(self) -> bool:
        """Whether the output is written line by line, so that it can be continued."""
        return self.sharded or (self.format == "jsonl" and (self.output or "").lower().endswith(IN_PLACE))

    @property
    def top_labels(self) -> int:
        """The number of labels in a record: the format's default, but more in a table of one image."""
        if self.top is not None:
            return self.top
        single = len(self.inputs) == 1 and self.files_from is None and is_one(self.inputs[0])
        return TABLE_TOP if self.format == "table" and single else OUTPUTS[self.format].top

    def check(self, quiet: bool) -> None:
        """Refuse options that would do nothing or contradict each other, and unknown devices and dtypes."""
        for wrong, what, why, hint in (*self._input_conflicts(), *self._output_conflicts()):
            if wrong:
                raise UsageError(what, why, hint)
        if quiet and self.watch:
            raise UsageError("--quiet --watch", "one writes nothing, the other a table", "Choose one.")
        require_format(self.format, f"-o {self.output}")
        if self.heatmap is not None:
            require_plotting("--heatmap")
        check_choice(self.shortlist, self.tree)
        check_machine(self.device, self.dtype)
        check_min_probability(self.min_probability)

    def _input_conflicts(self) -> Iterator[Conflict]:
        stdin = [name for name in self.inputs if name == "-"] + ["--files-from -"] * (self.files_from == "-")
        nothing = not self.inputs and self.files_from is None
        yield nothing, "no input", "nothing to classify", "Give images or folders, or --files-from."
        yield len(stdin) > 1, " and ".join(stdin), "stdin can be read only once", "Put the image in a file."
        without_list = self.null and self.files_from is None
        yield without_list, "--null", "is about the paths of --files-from", "Add --files-from."

    def _output_conflicts(self) -> Iterator[Conflict]:
        resume, output = self.resume, self.output
        yield resume and output is None, "--resume", "continues a file, and there is none", "Add -o FILE.jsonl."
        why = "only a .jsonl file can be continued"
        yield resume and not self.can_resume, "--resume", why, "Use -o FILE.jsonl."
        yield resume and self.force, "--resume --force", "one keeps the file, the other replaces it", "Choose one."
        from_stdin = resume and "-" in self.inputs
        yield from_stdin, "--resume", "an image on stdin has no name to recognise it by", "Put the image in a file."
        nothing = self.force and output is None and self.sort_into is None
        yield nothing, "--force", "replaces a file, and none is named", "Add -o FILE."
        yield self.link and self.sort_into is None, "--link", "is about sorted images", "Add --sort-into DIR."
        timed = self.format in ("json", "jsonl")
        yield self.timing and not timed, "--timing", "only records of --json and --jsonl hold seconds", "Add --jsonl."
        columns = self.format in ("csv", "tsv")
        yield self.raw_csv and not columns, "--raw-csv", "is about CSV and TSV", "Add --csv or --tsv."
        table = self.format == "table"
        yield self.wide and not table, "--wide", "is about the table", f"Leave it out: {self.format} has everything."
        empty = self.heatmap is not None and not self.heatmap.strip()
        yield empty, "--heatmap", "its folder has no name", "Write --heatmap maps."

    def check_output(self) -> None:
        """Refuse an output file that cannot or should not be written."""
        if self.output is not None and not self.sharded:
            check_target(self.output, self.force, self.resume)
        if self.sort_into is not None:
            check_sorting(self.sort_into, self.inputs, self.recursive, self.force or self.resume)

    def sources(
        self, open_files: ExitStack, only_names: bool = False, repeated: Callable[[str], None] | None = None
    ) -> Iterator[Source]:
        """Yield every image lazily: those of the arguments first, then those of --files-from.

        With `only_names`, an image on stdin is not read; `repeated` is called with an id that comes again.
        """
        paths: Iterator[str] = iter(())
        if self.files_from is not None:
            paths = read_paths(_open_list(self.files_from, open_files), self.null)
        image_stream = None if only_names or self.files_from == "-" else _stdin()
        inputs = itertools.chain(self.inputs, paths)
        return find(inputs, self.recursive, image_stream, is_offline(), repeated)


def _open_list(name: str, open_files: ExitStack) -> BinaryIO:
    if name == "-":
        return _stdin()
    try:
        return open_files.enter_context(open(name, "rb"))
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise UsageError(f"--files-from {name}", why, "Give a file of paths, or - for stdin.") from problem


def _stdin() -> BinaryIO:
    """Return stdin unbuffered: a thread may wait on it while the process ends."""
    return io.FileIO(0, closefd=False)
