"""Write every option's help into the pages of docs/, between two markers, from the command itself.

    python tools/write_option_docs.py            # write
    python tools/write_option_docs.py --check    # say which page is out of date

A page asks for the options of a verb with `<!-- options of VERB -->` and `<!-- end of options -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer
from doc_pages import DOCS

from bigain_cli.cli.app import VERBS, app
from bigain_cli.cli.options import PANELS

HELP = ("help", "help_all")  # every verb has them
MARKERS = re.compile(r"(<!-- options of (\w+) -->\n).*?(<!-- end of options -->)", re.S)


def option_docs(verb: str) -> str:
    """Return a verb's arguments and options as Markdown lists, one for each panel of its help."""
    group: Any = typer.main.get_command(app)
    command = group.commands[verb]
    panels: dict[str, list[str]] = {panel: [] for panel in PANELS}
    with command.make_context(verb, [], resilient_parsing=True) as context:
        for param in command.get_params(context):
            if (record := param.get_help_record(context)) and param.name not in HELP:
                default = PANELS[0] if param.param_type_name == "argument" else PANELS[-2]
                panels[getattr(param, "rich_help_panel", None) or default].append(_line(*record))
    titles = {PANELS[-1]: f"{PANELS[-1]} (with `--help-all`)"}
    return "\n".join(f"**{titles.get(panel, panel)}**\n\n" + "".join(rows) for panel, rows in panels.items() if rows)


def _line(names: str, text: str) -> str:
    """Return an option as an entry of a list."""
    about, _, extra = text.partition("  [")
    extra = re.sub(r"default: \((.*?)\)", r"default: \1", extra.removesuffix("]"))
    extra = extra.replace("; x>=1", "").replace("; x>=0", "")
    spelt = ", ".join(f"`{name}`" for name in re.split(r", (?=-)", names))
    return f"- {spelt}: {_escaped(about)}" + (f" *[{_escaped(extra)}]*" if extra else "") + "\n"


def _escaped(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([*<|])", r"\\\1", text)


def rewritten(text: str) -> str:
    """Return a page with its options as they are now."""
    return MARKERS.sub(lambda match: f"{match[1]}\n{option_docs(match[2])}\n{match[3]}", text)


def documented(text: str) -> list[str]:
    """Return the verbs whose options a page holds."""
    return [match[2] for match in MARKERS.finditer(text)]


def main() -> int:
    """Write, or check, all pages."""
    check = "--check" in sys.argv[1:]
    stale: list[Path] = []
    for page in sorted(DOCS.glob("*.md")):
        before = page.read_text()
        if (after := rewritten(before)) != before:
            stale.append(page)
            if not check:
                page.write_text(after)
    for page in stale:
        print(f"{page.name}: {'out of date' if check else 'written'}")
    missing = set(VERBS) - {verb for page in DOCS.glob("*.md") for verb in documented(page.read_text())}
    if missing:
        print(f"no page holds the options of {', '.join(sorted(missing))}")
    return int(bool(missing or (check and stale)))


if __name__ == "__main__":
    sys.exit(main())
