"""Records as one page to look at: self-contained, no request leaves it; failed and undecided pictures come first.

Articles are written aside as they come and put in order at the end, so that a long run needs little memory.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import tempfile
from collections import Counter
from html import escape
from importlib import resources
from string import Template
from typing import BinaryIO

from bigain_cli.outputs.facts import facts
from bigain_cli.outputs.html_article import STATES, article, state_of, verdict_of
from bigain_cli.outputs.sink import PLAIN, Layout, Record, encode
from bigain_cli.outputs.text import counted, safe
from bigain_cli.ranking import Failure, Ranking

_MAPS = (
    ' Maps: <b class="for">red</b> speaks for the winner, <b class="against">blue</b> for the other; '
    "a map's places add up to the gap, and an image's maps have one scale."
)
_STOPPED = '<p id="stopped"><strong>Interrupted: {} recorded.</strong> The run did not reach its end.</p>'
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
        self._parts[state].write(encode(article(record, result, self._states.total(), self._layout.top)))
        self._states[state] += 1
        if "label" in record:
            self._labels[record["label"]] += 1
        self._verdicts.update(verdict_of(record).values())
        exhibit = result.exhibit if isinstance(result, Ranking) else None
        self._maps |= exhibit is not None and bool(exhibit.maps)
        self._settings = self._settings or record.get("settings") or {}

    def remark(self, text: str) -> None:
        """Put a text above the articles, its lines and columns as they are."""
        self._remark = f'<pre class="remark" tabindex="0">{escape(safe_lines(text))}</pre>'

    def describe(self, settings: Record) -> None:
        """Say what all records have in common, if their own settings differ."""
        self._settings = settings

    def close(self, complete: bool = True) -> None:
        """Write the page; one that was stopped says so at its top."""
        head, foot = Template(_own("report.html")).substitute(self._words(complete)).split("<!-- articles -->")
        self._stream.write(encode(head))
        for part in self._parts.values():
            part.seek(0)
            shutil.copyfileobj(part, self._stream)
            part.close()
        self._stream.write(encode(foot))
        self._stream.flush()

    def _words(self, complete: bool) -> dict[str, str]:
        """Return what is filled into the page's frame, in one pass, so that no text is taken for a blank."""
        style, script = _own("report.css"), _own("report.js")
        total = counted(self._states.total(), "answer" if self._remark or self._verdicts else "image")
        model = safe(str(self._settings.get("model", "")))
        return {
            "style": style,
            "script": script,
            "policy": f"default-src 'none'; img-src data:; style-src {_only(style)}; script-src {_only(script)}; "
            "base-uri 'none'; form-action 'none'",
            "model": escape(f" · {model}" if model else ""),
            "total": total,
            "title": total if complete else f"{total}, interrupted",
            "stopped": "" if complete else _STOPPED.format(total),
            "remark": self._remark,
            "verdicts": _verdicts(self._verdicts),
            "maps": _MAPS if self._maps else "",
            "labels": "".join(_option(label, count) for label, count in sorted(self._labels.items())),
            "settings": facts(self._settings, self._layout),
            **{state: str(self._states[state]) for state in STATES},
        }


def _own(name: str) -> str:
    return resources.files("bigain_cli.outputs").joinpath("page", name).read_text(encoding="utf-8")


def _only(text: str) -> str:
    """Return a source expression that lets exactly this text take effect."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _verdicts(counts: Counter[str]) -> str:
    """Return a filter by whether the answer is right, where that is known."""
    if not counts:
        return ""
    options = "".join(f'<option value="{name}">{name} ({counts[name]})</option>' for name in ("wrong", "right"))
    return f'<label>Answer<select id="verdict"><option value="">any</option>{options}</select></label>\n'


def safe_lines(text: str) -> str:
    """Make every line safe to show, and keep the lines."""
    return "\n".join(safe(line) for line in text.split("\n"))


def _option(label: str, count: int) -> str:
    return f'<option value="{escape(safe(label))}">{escape(safe(label))} ({count})</option>'
