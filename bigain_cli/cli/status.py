"""`bigain status`: how far a run over shards is. Must not load torch."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bigain_cli.cli import options
from bigain_cli.cli.cache_folder import cache_folder
from bigain_cli.outputs.text import counted, spoken_rate, spoken_time
from bigain_cli.shards.opening import existing_run_folder
from bigain_cli.shards.run_status import RunStatus, status_of


def status(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of a run over shards.")],
    as_json: options.Json = False,
) -> int:
    """Show how far a run over shards is.

    \b
    Examples:
      bigain status results/
      bigain status results/ --json
    """
    found = status_of(existing_run_folder(folder, cache_folder()))
    typer.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else _text(found))
    return 0


def _text(found: RunStatus) -> str:
    share = 100 * found.done / found.images if found.images else 100
    speed = "nothing in the last ten minutes" if found.done < found.images else "finished"
    if found.images_per_second:
        speed = f"{spoken_rate(found.images_per_second)} {found.unit}s/s, {spoken_time(found.seconds_left or 0)} left"
    lines = [
        f"done       {found.done} of {counted(found.images, found.unit)} ({share:.1f} %), in {found.shards_done} of "
        f"{counted(found.shards, 'part')}",
        f"under way  {counted(found.under_way, found.unit)} recorded in {counted(found.shards_under_way, 'shard')}",
        f"failed     {counted(found.failed, found.unit)}",
        f"speed      {speed}",
        *(f"warning    {warning}" for warning in found.warnings),
    ]
    return "\n".join(lines)
