"""One self-contained web page: its templates, its code and security policy, the settings at its end.

Jinja2 escapes all values, and so are characters that would reorder text. Must not know what the page is about.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from bigain_cli.outputs.output_format import Layout
from bigain_cli.outputs.text import safe


def head_and_foot(values: Mapping[str, Any]) -> tuple[str, str]:
    """Return what comes before the articles and after them."""
    from markupsafe import Markup

    folder = resources.files(__package__).joinpath("page")
    texts = {name: folder.joinpath(f"report.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    code = {name: Markup(text) for name, text in texts.items()}
    digests = {f"{name}_digest": _digest(text) for name, text in texts.items()}
    head, foot = from_template("report.html.j2", {**values, **code, **digests}).split("<!-- articles -->")
    return head, foot


def from_template(name: str, values: Mapping[str, Any]) -> str:
    """Return a template of the folder `page` with these values."""
    text: str = _templates().get_template(name).render(values)
    return text


def setting_rows(settings: Mapping[str, Any], layout: Layout) -> list[tuple[str, str | list[str]]]:
    """Return the settings of a run with every label and whether "none" is one, single values first."""
    rows = {name: value for name, value in settings.items() if not (name == "labels" and layout.labels)}
    rows["reject"] = "on" if layout.reject else "off"
    if layout.labels:
        rows[f"labels ({len(layout.labels)})"] = layout.labels
    texts = [(name.replace("_", " "), _text_or_list(value)) for name, value in rows.items()]
    return sorted(texts, key=lambda row: isinstance(row[1], list))


@cache
def _templates() -> Any:
    """Return the environment of the page's templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(__package__, "page"),
        autoescape=True,
        finalize=_escape_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _escape_controls(value: Any) -> Any:
    """Escape characters that would reorder text in a template's values, except markup."""
    return value if hasattr(value, "__html__") else safe(str(value))


def _digest(text: str) -> str:
    """Return the expression of the page's security policy that allows exactly this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text_or_list(value: Any) -> str | list[str]:
    if isinstance(value, Mapping):
        return [f"{key.replace('_', ' ')}: {part}" for key, part in value.items()]
    return list(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
