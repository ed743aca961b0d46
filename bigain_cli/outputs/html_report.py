"""Records as one self-contained web page: no request leaves it; failed and undecided images come first.

Articles are written aside as they come and put in order at the end, so that a long run needs little memory. Jinja2
escapes whatever comes from outside, after characters that would reorder text are spelt out.
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
from typing import Any, BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.html_article import STATES, article_values, state_of, verdict_of
from bigain_cli.outputs.sink import PLAIN, Layout, Record, encode
from bigain_cli.outputs.text import counted, safe

_MEMORY = 16 << 20  # bytes of each state's articles kept before a temporary file takes them


class Html:
    """The page."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        self._layout = layout
        self._parts = {state: tempfile.SpooledTemporaryFile(_MEMORY) for state in STATES}  # noqa: SIM115 (see close)
        self._states: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._settings: Record = {}
        self._maps = False
        self._verdicts: Counter[str] = Counter()
        self._remark = ""

    def open(self, stream: BinaryIO) -> None:
        """Keep the stream."""
        self._stream = stream

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Put a record's article aside."""
        state = state_of(record)
        values = article_values(record, result, self._states.total(), self._layout.top)
        self._parts[state].write(encode(_rendered("article.html.j2", values) + "\n"))
        self._states[state] += 1
        if "label" in record:
            self._labels[record["label"]] += 1
        self._verdicts.update(verdict_of(record).values())
        evidence = result.evidence if isinstance(result, Ranking) else None
        self._maps |= evidence is not None and bool(evidence.maps)
        self._settings = self._settings or record.get("settings") or {}

    def remark(self, text: str) -> None:
        """Put a text above the articles, its lines and columns as they are."""
        self._remark = text

    def describe(self, settings: Record) -> None:
        """Say what all records have in common, if their own settings differ."""
        self._settings = settings

    def close(self, complete: bool = True) -> None:
        """Write the page; one that was stopped says so at its top."""
        head, foot = _rendered("report.html.j2", self._values(complete)).split("<!-- articles -->")
        self._stream.write(encode(head))
        for part in self._parts.values():
            part.seek(0)
            shutil.copyfileobj(part, self._stream)
            part.close()
        self._stream.write(encode(foot + "\n"))
        self._stream.flush()

    def _values(self, complete: bool) -> dict[str, Any]:
        """Return what is filled into the page's frame."""
        from markupsafe import Markup

        own = {name: resources.files(__package__).joinpath("page", f"report.{name}") for name in ("css", "js")}
        texts = {name: file.read_text(encoding="utf-8") for name, file in own.items()}
        return {
            **{name: Markup(text) for name, text in texts.items()},
            **{f"{name}_digest": _digest(text) for name, text in texts.items()},
            "model": self._settings.get("model"),
            "total": counted(self._states.total(), "answer" if self._remark or self._verdicts else "image"),
            "complete": complete,
            "remark": Markup("\n").join(map(safe, self._remark.split("\n"))),  # which escapes each line
            "verdicts": self._verdicts,
            "maps": self._maps,
            "labels": sorted(self._labels.items()),
            "settings": _facts(self._settings, self._layout),
            "states": {state: self._states[state] for state in STATES},
        }


@cache
def _templates() -> Any:
    """Return the environment of the page's templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(__package__, "page"),
        autoescape=True,
        finalize=_spelt,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _rendered(name: str, values: Mapping[str, Any]) -> str:
    text: str = _templates().get_template(name).render(values)
    return text


def _spelt(value: Any) -> Any:
    """Spell out characters that would reorder text, in whatever a template inserts that is no markup."""
    return value if hasattr(value, "__html__") else safe(str(value))


def _digest(text: str) -> str:
    """Return the source expression that lets exactly this text take effect."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _facts(settings: Mapping[str, Any], layout: Layout) -> list[tuple[str, str | list[str]]]:
    """Return the settings of a run, single values first: every label, whether it could answer "none", the rest."""
    facts = {name: value for name, value in settings.items() if not (name == "labels" and layout.labels)}
    facts["reject"] = "on" if layout.reject else "off"
    if layout.labels:
        facts[f"labels ({len(layout.labels)})"] = layout.labels
    rows = [(name.replace("_", " "), _parts(value)) for name, value in facts.items()]
    return sorted(rows, key=lambda row: isinstance(row[1], list))


def _parts(value: Any) -> str | list[str]:
    if isinstance(value, Mapping):
        return [f"{key.replace('_', ' ')}: {part}" for key, part in value.items()]
    return list(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
