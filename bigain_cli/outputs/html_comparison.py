"""An evaluation as one self-contained web page: its summary, and each image once, with the specs' answers side by side.

Answers of an image come at different times, so they wait in a temporary file; only their places stay in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.html_article import STATES, VERDICTS, answer_values, has_maps, photo_of
from bigain_cli.outputs.html_page import from_template, head_and_foot, setting_rows
from bigain_cli.outputs.output_format import PLAIN, Layout, OutputFormat, Record, encode
from bigain_cli.outputs.report_sections import ReportSection
from bigain_cli.outputs.spool import Spool
from bigain_cli.outputs.text import counted

_Place = tuple[int, int]  # where something lies in the temporary file, and its length


@dataclass(frozen=True)
class _Answer:
    """What the page has to know of a spec's answer."""

    place: _Place
    label: str
    probability: float | None
    verdict: str
    state: str
    rank: int


@dataclass
class _Image:
    """An image with the answers so far, by spec."""

    number: int
    truth: list[str]
    photo: _Place | None = None
    answers: dict[str, _Answer] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """Return the place of its article: that of its worst answer."""
        return min(answer.rank for answer in self.answers.values())

    @property
    def differs(self) -> bool:
        """Return whether specs answer differently."""
        return len({answer.label for answer in self.answers.values() if answer.state != "failed"}) > 1


class ComparisonHtml(OutputFormat):
    """The page."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        super().__init__(layout)
        self._kept = Spool()
        self._images: dict[str, _Image] = {}
        self._specs: dict[str, None] = {}  # in the order in which they came
        self._settings: Record = {}
        self._has_maps = False
        self._sections: list[ReportSection] = []

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add the answer of the spec in its settings to its image."""
        self.add_answer(str((record.get("settings") or {}).get("compress", "")), record, result)

    def add_answer(self, spec: str, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add a spec's answer to its image; two with the same compression may differ in which labels are asked."""
        self.has_records = True
        values = answer_values(record, result, self._layout.top)
        data = values["data"]
        place = self._keep(from_template("answer.html.j2", {**values, "spec": spec}))
        probability = record.get("probability")
        self._specs[spec] = None
        image = self._images.setdefault(record["id"], _Image(len(self._images), record.get("truth", [])))
        image.answers[spec] = _Answer(place, data["label"], probability, data["verdict"], data["state"], data["rank"])
        if image.photo is None and (photo := photo_of(result)) is not None:
            image.photo = self._keep(from_template("photo.html.j2", {"photo": photo}))
        self._has_maps |= has_maps(result)
        self._settings = self._settings or record.get("settings") or {}

    def summarise(self, sections: Iterable[ReportSection]) -> None:
        """Show a summary above the images."""
        self._sections = list(sections)

    def describe(self, settings: Record) -> None:
        """Show these settings, not those of the first record."""
        self._settings = settings

    def close(self, complete: bool = True) -> None:
        """Write the page, with a notice at its top if the run was stopped."""
        head, foot = head_and_foot({**self._values(), "complete": complete})
        self._stream.write(encode(head))
        for id, image in sorted(self._images.items(), key=lambda item: (item[1].rank, item[1].number)):
            self._stream.write(encode(self._article(id, image) + "\n"))
        self._stream.write(encode(foot + "\n"))
        self._kept.close()
        super().close(complete)

    def _article(self, id: str, image: _Image) -> str:
        """Return the article of an image."""
        by_spec = {spec: image.answers[spec] for spec in self._specs if spec in image.answers}
        answers = by_spec.values()
        counts = Counter(answer.label for answer in answers if answer.state != "failed")
        right = {answer.label: answer.verdict for answer in answers}
        worst = min(answers, key=lambda answer: answer.rank)
        values = {
            "data": {"n": image.number, "name": id, "differ": "yes" if image.differs else ""},
            "state": "failed" if worst.state == "failed" else worst.verdict or worst.state,
            "answers": by_spec,
            "counts": [(label, count, right[label]) for label, count in counts.most_common()],
            "truth": image.truth,
            "photo": self._markup(image.photo),
            "parts": [self._markup(answer.place) for answer in answers],
        }
        return from_template("comparison.html.j2", values)

    def _values(self) -> dict[str, Any]:
        """Return the values of `page/report.html.j2`."""
        answers = [answer for image in self._images.values() for answer in image.answers.values()]
        states = Counter(answer.state for answer in answers)
        verdicts = Counter(answer.verdict for answer in answers)
        labels = Counter(answer.label for answer in answers if answer.state != "failed")
        images, differ = self._images.values(), sum(image.differs for image in self._images.values())
        return {
            "kind": "evaluation",
            "total": f"{counted(len(images), 'image')} under {counted(len(self._specs), 'compression')}",
            "counts": f"{counted(differ, 'image')} with different answers" if len(self._specs) > 1 else "",
            "model": self._settings.get("model"),
            "sections": self._sections,
            "has_maps": self._has_maps,
            "labels": sorted(labels.items()),
            "states": {state: states[state] for state in STATES},
            "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS if verdicts[verdict]},
            "is_calibrated": "temperature" in self._settings,
            "specs": list(self._specs),
            "settings": setting_rows(self._settings, self._layout),
        }

    def _keep(self, text: str) -> _Place:
        """Keep a text in the temporary file."""
        data = encode(text)
        return self._kept.write(data), len(data)

    def _markup(self, place: _Place | None) -> Any:
        """Return what was kept at a place."""
        from markupsafe import Markup

        return "" if place is None else Markup(self._kept.read(*place).decode())
