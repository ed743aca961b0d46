"""`--offline`, an option of every verb that has a model: neither models nor images are downloaded."""

from __future__ import annotations

import os

import typer
from typer.core import TyperOption

VARIABLE, OLDER = "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"  # which the hub's client reads, too
_TRUE = ("1", "ON", "YES", "TRUE")  # as it understands them


def is_offline() -> bool:
    """Return whether downloads are off, by the option or by the environment."""
    return (os.environ.get(VARIABLE) or os.environ.get(OLDER) or "").upper() in _TRUE


def offline_option(panel: str) -> TyperOption:
    """Return the option."""
    help = f"Download nothing: no model, no URL. So does {VARIABLE}=1."
    return TyperOption(
        param_decls=["--offline"],
        is_flag=True,
        expose_value=False,
        callback=_go_offline,
        help=help,
        rich_help_panel=panel,
    )


def _go_offline(context: typer.Context, _: object, given: bool) -> None:
    if given:
        os.environ[VARIABLE] = "1"
