"""Records as one self-contained web page, without any request: failed and open images come first.

Articles go to temporary files, one for each state, so that a long run needs little memory.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from bigain_cli.classification.ranking import UNSURE, Failure, Ranking
from bigain_cli.outputs.html_article import STATES, answer_of, answer_values, has_maps, photo_of, state_of
from bigain_cli.outputs.html_page import from_template, head_and_foot, setting_rows
from bigain_cli.outputs.output_format import PLAIN, Layout, OutputFormat, Record, encode
from bigain_cli.outputs.spool import Spool
from bigain_cli.outputs.text import counted


class Html(OutputFormat):
    """The page."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        super().__init__(layout)
        self._parts = {state: Spool() for state in STATES}
        self._states: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._settings: Record = {}
        self._has_maps = False

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add a record's article to those of its state."""
        state, number = state_of(record), self._states.total()
        values = answer_values(record, result, self._layout.top)
        values["data"] = {"n": number, "name": record["id"], **values["data"]}
        article = from_template("article.html.j2", {**values, "photo": photo_of(result)})
        self._parts[state].write(encode(article + "\n"))
        self._states[state] += 1
        if state != "failed":
            self._labels[answer_of(record)] += 1
        self._has_maps |= has_maps(result)
        self._settings = self._settings or record.get("settings") or {}

    def close(self, complete: bool = True) -> None:
        """Write the page, with a notice at its top if the run was stopped."""
        head, foot = head_and_foot({**self._values(), "complete": complete})
        self._stream.write(encode(head))
        for part in self._parts.values():
            part.copy_to(self._stream)
            part.close()
        self._stream.write(encode(foot + "\n"))
        super().close(complete)

    def _values(self) -> dict[str, Any]:
        """Return the values of `page/report.html.j2`."""
        counts = {state: self._states[state] for state in STATES}
        words = [f"{counts[state]} {state}" for state in reversed(STATES)]
        if (least := self._layout.min_probability) is not None:
            words.append(f"{self._labels[UNSURE]} {UNSURE} below {least:g}")
        return {
            "kind": "report",
            "total": counted(sum(counts.values()), "image"),
            "counts": ", ".join(words),
            "model": self._settings.get("model"),
            "is_calibrated": "temperature" in self._settings,
            "sections": (),
            "has_maps": self._has_maps,
            "labels": sorted(self._labels.items()),
            "states": counts,
            "verdicts": {},
            "specs": (),
            "settings": setting_rows(self._settings, self._layout),
        }
