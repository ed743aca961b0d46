"""A package's public names on first use: its module `public` imports them plainly, and is imported when one is needed.

In: a package's name; out: its `__getattr__` and `__dir__`. Must not know any of the names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions by which a package gives the names in its module `public`."""

    def names() -> dict[str, Any]:
        module = importlib.import_module(f"{package}.public")
        return {name: value for name, value in vars(module).items() if not name.startswith("_")}

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return sorted(names())
        if name.startswith("_") or name not in (found := names()):  # a private name is no reason to import anything
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        vars(sys.modules[package]).update(found)
        return found[name]

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names()})

    return __getattr__, __dir__
