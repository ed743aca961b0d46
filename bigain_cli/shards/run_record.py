"""run.json: what a run is, so that every process that joins it does the same work with the same weights and versions.

Its first process says how many records there are; the first that has loaded the model says with what they are made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.shards.manifest import Manifest
from bigain_cli.shards.run_differences import as_read, refuse_difference, refuse_other_labels, refuse_other_presence
from bigain_cli.shards.run_folder import MANIFEST, RECORD, RunFolder

SHARD_SIZE = 256


@dataclass(frozen=True)
class Making:
    """With what records are made; two processes with the same make the same bytes."""

    settings: Mapping[str, Any]
    labels: tuple[str, ...]  # all that compete, "none" included
    layout: Mapping[str, Any]  # what else decides what is in a record
    batch: int
    device_kind: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json; before a model was loaded, nothing is known of how records are made."""

    manifest: str  # its SHA-256
    count: int
    shard_size: int
    making: Making | None = None
    device_kinds: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what is written."""
        made: dict[str, Any] = {} if self.making is None else asdict(self.making)
        kinds = {} if self.making is None else {"device_kinds": list(self.device_kinds)}
        known = {"manifest": self.manifest, "count": self.count, "shard_size": self.shard_size}
        fingerprint = {"fingerprint": made["settings"].get("fingerprint")} if made else {}
        return {**known, **fingerprint, **made, **kinds, "warnings": list(self.warnings)}


def read_record(folder: RunFolder) -> RunRecord | None:
    """Read run.json, if it is there."""
    try:
        content = folder.read_record()
        if content is None:
            return None
        found = read_json(content)
    except ValueError as problem:
        raise UsageError(folder.name_of(RECORD), "not the record of a run", "Use another folder.") from problem
    try:
        making = None
        if "settings" in found:
            names = ("settings", "layout", "batch", "device_kind", "versions")
            making = Making(labels=tuple(found["labels"]), **{name: found[name] for name in names})
        about = str(found["manifest"]), int(found["count"]), int(found["shard_size"])
        return RunRecord(*about, making, tuple(found.get("device_kinds", ())), tuple(found["warnings"]))
    except (KeyError, TypeError, ValueError) as problem:
        raise UsageError(folder.name_of(RECORD), "not the record of a run", "Use another folder.") from problem


def begin(folder: RunFolder, manifest: Manifest, shard_size: int | None) -> RunRecord:
    """Write down how many records a new run has, or check that of one that is continued."""
    with folder.locked():
        found = read_record(folder)
        if (found is None or found.making is None) and (folder.parts() or folder.journals()):
            why = "is gone, and without it nobody knows what its parts hold"
            raise UsageError(folder.name_of(RECORD), why, "Put it back, or use another folder.")
        if found is None:
            mine = RunRecord(manifest.sha256, manifest.count, shard_size or SHARD_SIZE)
            found = mine if folder.begin_record(_written(mine)) else read_record(folder) or mine
    if found.manifest != manifest.sha256:
        why = "was changed after the run began"
        raise UsageError(folder.name_of(MANIFEST), why, "Put it back, or use another folder.")
    if shard_size not in (None, found.shard_size):
        why = f"this run has shards of {found.shard_size}"
        raise UsageError(f"--shard-size {shard_size}", why, "Leave the option out, or use another folder.")
    return found


def join(folder: RunFolder, making: Making) -> RunRecord:
    """Write down how records are made, or refuse to make others than those that are there.

    Another kind of device is a warning: the last digits of scores can differ.
    """
    with folder.locked():
        found = read_record(folder)
        if found is None:
            raise UsageError(folder.name, "no run in it: there is no run.json", "Start the run anew.")
        if found.making is None:
            mine = replace(found, making=making, device_kinds=(making.device_kind,))
            found = mine if folder.complete_record(_written(mine)) else read_record(folder) or mine
        _refuse_others(folder, found.making, making)
        if making.device_kind not in found.device_kinds:
            kinds = (*found.device_kinds, making.device_kind)
            warning = f"several kinds of devices ({', '.join(kinds)}): the last digits of scores can differ"
            found = replace(found, device_kinds=kinds, warnings=(warning,))
            folder.replace_record(_written(found))
    return found


def refuse_other_options(folder: RunFolder, run: RunRecord, labels: Sequence[str], known: Mapping[str, Any]) -> None:
    """Name the first of the options known before a model is loaded that the run was not begun with.

    Only so can a finished run refuse them, for which no model is loaded. Without `labels`, they are not known.
    """
    if run.making is None:
        return
    refuse_other_presence(folder, run.making.settings, known)
    before = as_read({**run.making.settings, **run.making.layout})
    known = {name: value for name, value in known.items() if not _is_newer(name, run.making)}
    refuse_other_labels(folder, run.making.labels, tuple(labels) or run.making.labels)
    refuse_difference(folder, {name: before.get(name) for name in known}, as_read(known))


def _refuse_others(folder: RunFolder, there: Making | None, here: Making) -> None:
    """Name the first thing in which this process would make other records."""
    assert there is not None
    refuse_other_presence(folder, there.settings, here.settings)
    refuse_other_labels(folder, there.labels, here.labels)
    before, now = (as_read({**each.settings, **each.layout, **each.versions}) for each in (there, here))
    refuse_difference(folder, before, {name: value for name, value in now.items() if not _is_newer(name, there)})
    same_kind = there.device_kind == here.device_kind
    if same_kind and there.batch != here.batch:
        why = f"this run has batches of {there.batch}, and here they are of {here.batch}"
        raise UsageError(folder.name, why, f"Add --batch {there.batch}.")


def _is_newer(name: str, there: Making) -> bool:
    """Return whether a run's record is older than an entry of its layout: the groups of its tree."""
    return name == "tree" and name not in there.layout and there.settings.get("shortlist") == "tree"


def _written(record: RunRecord) -> bytes:
    text = json.dumps(record.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")
