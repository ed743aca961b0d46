"""The settings of a run as the page lists them: every label in the contest, whether it could answer "none", the rest.

In: a record's settings and the run's layout; out: markup, all of it escaped. Must not know the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bigain_cli.outputs.sink import Layout
from bigain_cli.outputs.text import safe


def facts(settings: Mapping[str, Any], layout: Layout) -> str:
    """Return the entries of a list of definitions, short ones first."""
    rest = {name: value for name, value in settings.items() if not (name == "labels" and layout.labels)}
    told = {**rest, "reject": "on" if layout.reject else "off"}
    if layout.labels:
        told[f"labels ({len(layout.labels)})"] = layout.labels
    short = {name: value for name, value in told.items() if _is_short(value)}
    return "".join(_fact(name.replace("_", " "), value) for name, value in (short | told).items())


def _is_short(value: Any) -> bool:
    return isinstance(value, str) or not isinstance(value, Mapping | Sequence)


def _fact(name: str, value: Any) -> str:
    """Return one entry; what consists of several gets a row to itself."""
    if isinstance(value, Mapping):
        value = [f"{key.replace('_', ' ')}: {part}" for key, part in value.items()]
    if not _is_short(value):
        parts = "".join(f"<li>{_text(part)}</li>" for part in value)
        return f'<div class="wide"><dt>{_text(name)}</dt><dd><ul>{parts}</ul></dd></div>'
    return f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"


def _text(value: Any) -> str:
    return escape(safe(str(value)))
