"""Records as one self-contained web page, without any request: failed and undecided images come first.

Articles go to temporary files, one for each state, so that a long run needs little memory. Jinja2 escapes all values,
and so are characters that would reorder text.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.html_article import STATES, article_values, state_of, verdict_of
from bigain_cli.outputs.output_format import PLAIN, Layout, OutputFormat, Record, encode
from bigain_cli.outputs.text import counted, safe

_MEMORY = 16 << 20  # bytes of a state's articles that are kept in memory, not in a file


class Html(OutputFormat):
    """The page."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        super().__init__(layout)
        self._parts = {state: tempfile.SpooledTemporaryFile(_MEMORY) for state in STATES}  # noqa: SIM115 (see close)
        self._states: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._settings: Record = {}
        self._has_maps = False
        self._remark = ""

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add a record's article to those of its state."""
        state = state_of(record)
        values = article_values(record, result, self._states.total(), self._layout.top)
        self._parts[state].write(encode(_rendered("article.html.j2", values) + "\n"))
        self._states[state] += 1
        if "label" in record:
            self._labels[record["label"]] += 1
        self._verdicts.update(verdict_of(record).values())
        evidence = result.evidence if isinstance(result, Ranking) else None
        self._has_maps |= evidence is not None and bool(evidence.maps)
        self._settings = self._settings or record.get("settings") or {}

    def remark(self, text: str) -> None:
        """Show a preformatted text above the articles."""
        self._remark = text

    def describe(self, settings: Record) -> None:
        """Show these settings, not those of the first record."""
        self._settings = settings

    def close(self, complete: bool = True) -> None:
        """Write the page, with a notice at its top if the run was stopped."""
        head, foot = _rendered("report.html.j2", self._page_values(complete)).split("<!-- articles -->")
        self._stream.write(encode(head))
        for part in self._parts.values():
            part.seek(0)
            shutil.copyfileobj(part, self._stream)
            part.close()
        self._stream.write(encode(foot + "\n"))
        super().close(complete)

    def _page_values(self, complete: bool) -> dict[str, Any]:
        """Return the values of `page/report.html.j2`."""
        from markupsafe import Markup

        folder = resources.files(__package__).joinpath("page")
        texts = {name: folder.joinpath(f"report.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
        return {
            **{name: Markup(text) for name, text in texts.items()},
            **{f"{name}_digest": _digest(text) for name, text in texts.items()},
            "model": self._settings.get("model"),
            "total": counted(self._states.total(), "answer" if self._remark or self._verdicts else "image"),
            "complete": complete,
            "remark": Markup("\n").join(map(safe, self._remark.split("\n"))),  # join escapes each line
            "verdicts": self._verdicts,
            "has_maps": self._has_maps,
            "labels": sorted(self._labels.items()),
            "settings": _setting_rows(self._settings, self._layout),
            "states": {state: self._states[state] for state in STATES},
        }


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


def _rendered(name: str, values: Mapping[str, Any]) -> str:
    text: str = _templates().get_template(name).render(values)
    return text


def _escape_controls(value: Any) -> Any:
    """Escape characters that would reorder text in a template's values, except markup."""
    return value if hasattr(value, "__html__") else safe(str(value))


def _digest(text: str) -> str:
    """Return the expression of the page's security policy that allows exactly this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _setting_rows(settings: Mapping[str, Any], layout: Layout) -> list[tuple[str, str | list[str]]]:
    """Return the settings of a run with every label and whether "none" is one, single values first."""
    rows = {name: value for name, value in settings.items() if not (name == "labels" and layout.labels)}
    rows["reject"] = "on" if layout.reject else "off"
    if layout.labels:
        rows[f"labels ({len(layout.labels)})"] = layout.labels
    texts = [(name.replace("_", " "), _text_or_list(value)) for name, value in rows.items()]
    return sorted(texts, key=lambda row: isinstance(row[1], list))


def _text_or_list(value: Any) -> str | list[str]:
    if isinstance(value, Mapping):
        return [f"{key.replace('_', ' ')}: {part}" for key, part in value.items()]
    return list(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
