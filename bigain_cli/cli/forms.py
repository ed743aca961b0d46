"""Which form a summary is written in: by flag, or by the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from bigain_cli.errors import UsageError

TEXT, MARKDOWN, JSON = "table", "markdown", "json"
FORMS = {".txt": TEXT, ".md": MARKDOWN, ".json": JSON}


def chosen_form(as_json: bool, as_markdown: bool, output: str | None, forms: Mapping[str, str] = FORMS) -> str:
    """Return the form asked for by flag, else by the file's suffix, else the table."""
    if as_json and as_markdown:
        raise UsageError("--json --markdown", "only one format at a time", "Choose one of them.")
    flagged = JSON if as_json else MARKDOWN if as_markdown else None
    if output is None or output == "-":
        return flagged or TEXT
    named = forms.get(PurePath(output).suffix.lower())
    if flagged is not None:
        if named not in (None, flagged, TEXT):
            raise UsageError(f"--{flagged} -o {output}", "the file's name says another format", "Choose one of them.")
        return flagged
    if named is None:
        raise UsageError(f"-o {output}", "its suffix names no format", f"Use {', '.join(forms)}, --json or --markdown.")
    return named
