"""Find the folder of a run by its name: on a disk, or the address of an object store."""

from __future__ import annotations

from pathlib import Path

from bigain_cli.images.urls import is_url
from bigain_cli.shards.run_folder import RunFolder


def run_folder(name: str, cache: str) -> RunFolder:
    """Return the folder, whether or not it is there; `cache` is for what this machine keeps of a stored one."""
    if not is_url(name):
        return RunFolder(Path(name))
    from bigain_cli.shards.stored_run_folder import StoredRunFolder

    folder = StoredRunFolder(name, cache)
    folder.check_address()
    return folder


def make_run_folder(name: str, cache: str) -> RunFolder:
    """Return a folder in which a run can begin or go on; refuse one that holds anything else."""
    folder = run_folder(name, cache)
    folder.make()
    return folder


def existing_run_folder(name: str, cache: str) -> RunFolder:
    """Return a folder that has a run."""
    folder = run_folder(name, cache)
    folder.check_begun()
    return folder
