"""The records of a run's parts, in the order of the manifest, each checked to be the one that belongs there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.output_format import Layout, Record
from bigain_cli.outputs.record_checks import fingerprint_of, problem_of
from bigain_cli.outputs.record_lines import record_lines
from bigain_cli.outputs.text import counted
from bigain_cli.registry import OUTPUTS
from bigain_cli.shards.manifest import manifest_of, read_ids, shards
from bigain_cli.shards.run_folder import MANIFEST, RunFolder
from bigain_cli.shards.run_record import RunRecord, read_record


@dataclass(frozen=True)
class Gathering:
    """A run whose records can be read."""

    folder: RunFolder
    run: RunRecord
    missing: int  # shards

    @staticmethod
    def of(folder: RunFolder, partial: bool) -> Gathering:
        """Refuse a run that is not finished, unless what there is is enough."""
        run = read_record(folder)
        if run is None:
            raise UsageError(folder.name, "its run has not begun: there is no run.json", "Run it first.")
        if manifest_of(folder.manifest).sha256 != run.manifest:
            raise UsageError(folder.name_of(MANIFEST), "was changed after the run began", "Put it back.")
        parts, total = folder.parts(), -(-run.count // run.shard_size)
        missing = total - len(parts & set(range(total)))
        if missing and not partial:
            first = next(number for number in range(total) if number not in parts)
            why = f"{missing} of {counted(total, 'part')} missing, the first: {folder.part(first).name}"
            raise BigainError(folder.name, why, "Run the same command again to finish it, or add --partial.")
        return Gathering(folder, run, missing)

    def labels_kept(self, asked: int | None, usual: int) -> int:
        """Return how many labels of an image are written: as asked, or as the run was asked, or what is usual.

        Refuse more than the records have.
        """
        making = self.run.making
        if making is None or "top" not in making.layout:
            return asked or usual
        recorded, others = making.layout["top"], making.layout["top"] != OUTPUTS["jsonl"].top
        if asked is not None and recorded < min(asked, len(making.labels)):
            why = f"the run has recorded {counted(recorded, 'label')} of each image"
            raise UsageError(f"--top {asked}", why, "Ask for fewer, or run it anew with that --top.")
        return asked or (recorded if others else usual)

    def layout(self, top: int, raw: bool) -> Layout:
        """Return what is known before the first record."""
        making = self.run.making
        if making is None:
            return Layout(top=top, raw=raw)
        least: Any = making.settings.get("min_probability")
        reject = bool(making.layout.get("reject"))
        return Layout(making.labels, top, reject=reject, min_probability=least, raw=raw)

    def records(self) -> Iterator[Record]:
        """Yield all records of the parts that are there."""
        for shard in shards(self.folder.manifest, self.run.shard_size):
            if self.folder.is_done(shard):
                yield from self._part(shard.number, read_ids(self.folder.manifest, shard))

    @property
    def _is_evaluation(self) -> bool:
        """Whether a line of the manifest is a spec's number and an id."""
        return self.run.making is not None and "specs" in self.run.making.layout

    @property
    def _fingerprints(self) -> list[str]:
        """The fingerprints that records may have: one, or one for each spec of an evaluation."""
        making = self.run.making
        return [] if making is None else making.layout.get("fingerprints") or [making.settings["fingerprint"]]

    def _part(self, number: int, ids: list[str]) -> Iterator[Record]:
        """Yield the records of a part; refuse one that was edited."""
        name = self.folder.part(number).name
        path, hint = self.folder.name_of(name), f"Remove {name}, and run the same command again."
        try:
            with self.folder.readable_part(number) as file:
                lines = [each for each in record_lines(str(file)) if each.record is not None or each.torn]
        except UsageError as problem:
            raise BigainError(path, problem.why, hint) from problem
        if len(lines) != len(ids):
            raise BigainError(path, f"has {counted(len(lines), 'record')}, not {len(ids)}", hint)
        for id, each in zip(ids, lines, strict=True):
            record = each.record or {}
            mine = record.get("id") == (id.partition(" ")[2] if self._is_evaluation else id)
            why = problem_of(record) or ("" if mine else f"not the record of {id!r}")
            if self._fingerprints and fingerprint_of(record) not in self._fingerprints:
                why = why or "made with other settings"
            if why:
                raise BigainError(f"{path}, line {each.number}", why, hint)
            yield record
