"""`bigain gather`: one file of the parts of a run, as a plain run would have written it. Must not load torch."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, BinaryIO, cast

import typer

from bigain_cli.cli import options
from bigain_cli.cli.cache_folder import cache_folder
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import more_option, output_option
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import UsageError
from bigain_cli.outputs.output_format import OutputFormat, opened, require_format
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.whole_files import open_whole
from bigain_cli.registry import OUTPUTS, attribute
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.opening import existing_run_folder

SUFFIXES = {suffix: name for name, entry in OUTPUTS.items() for suffix in entry.suffixes if name != "table"}
SHOWN_EVERY = 256  # records between two looks at the clock


def gather(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of a run over shards.")],
    output: Annotated[
        str, output_option("--output", "-o", metavar="FILE", help="Output file; its suffix sets the format.")
    ],
    top: Annotated[
        int | None,
        output_option(
            min=1, metavar="K", help="Labels per image.", show_default="the run's; if that is 5, 1 in columns"
        ),
    ] = None,
    partial: Annotated[bool, output_option("--partial", help="Gather what there is of an unfinished run.")] = False,
    force: options.Force = False,
    raw_csv: Annotated[
        bool, more_option("--raw-csv", help="Leave cells of CSV and TSV that a spreadsheet would run as they are.")
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Make one file of the results of a run over shards.

    \b
    Examples:
      bigain gather results/ -o all.jsonl
      bigain gather results/ -o report.html
    """
    options.check_output(output, "all.jsonl")
    name = SUFFIXES.get(PurePath(output).suffix.lower())
    if name is None:
        raise UsageError(f"-o {output}", "its suffix names no format", f"Use {', '.join(SUFFIXES)}.")
    require_format(name, f"-o {output}")
    messages = Messages.start(quiet)
    run_folder = existing_run_folder(folder, cache_folder())
    if run_folder.owns(output):
        raise UsageError(f"-o {output}", "a file of the run itself", "Name another file.")
    found = Gathering.of(run_folder, partial)
    most = found.labels_kept(top, OUTPUTS[name].top)
    writer: OutputFormat = attribute(OUTPUTS[name].writer)(found.layout(most, raw_csv))
    count = failed = 0
    with (
        open_whole(output, force) as stream,
        opened(writer, cast(BinaryIO, stream), output),
        ProgressBar(messages, "gathering", "records") as progress,
    ):
        for record in found.records():
            count, failed = count + 1, failed + ("error" in record)
            if "top" in record:
                record["top"] = record["top"][:most]
            with SHIELD:
                writer.write(record)
            if not count % SHOWN_EVERY:
                progress.show(count, found.run.count)
    missing = f"; {counted(found.missing, 'part')} missing" if found.missing else ""
    messages.closing(f"{counted(count, 'record')}, {failed} of them failures{missing} → {output}")
    return 0
