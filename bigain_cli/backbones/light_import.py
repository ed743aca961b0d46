"""Import the networks of diffusers without what they do not use; for a process that is the command's alone.

diffusers also works where transformers and scipy are not installed, and its networks do without torch's compiler and
without each other; importing all of that takes longer than importing torch. Here it seems to be missing, but only while
diffusers is imported: afterwards everything can be imported as usual. diffusers remembers what it found, so a process
that wants its pipelines or `torch.compile` imports diffusers itself, and the library never calls this.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

MISSING = ("transformers", "scipy")
COMPILER = "torch._dynamo"
PACKAGES = ("diffusers.models.transformers", "diffusers.models.unets")  # which import all their modules
MODULES = (  # what the backbones need
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.transformers.dit_transformer_2d",
    "diffusers.schedulers.scheduling_ddpm",
)


def import_networks() -> None:
    """Import diffusers' networks, if it is not imported yet; as usual if this release of it cannot do without more."""
    if "diffusers" in sys.modules:
        return
    try:
        with _in_place({**dict.fromkeys(MISSING), COMPILER: _compiler_marks()}):
            folder = Path(str(importlib.import_module("diffusers.utils").__file__)).parents[1]
            with _in_place({name: _bare_package(name, folder) for name in PACKAGES}):
                for name in MODULES:
                    importlib.import_module(name)
    except (ImportError, AttributeError, RuntimeError, TypeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "diffusers"]:
            del sys.modules[name]


@contextmanager
def _in_place(stand_ins: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Put stand-ins in the place of modules that are not imported yet; None lets an import fail, as Python defines."""
    placed: dict[str, Any] = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(placed)
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]


def _bare_package(name: str, folder: Path) -> ModuleType:
    """Return a package without the code of its own file: its modules are imported one by one."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder.joinpath(*name.split(".")[1:]))]
    return module_from_spec(spec)


def _compiler_marks() -> ModuleType:
    """Return a module with the compiler's marks for functions, which say nothing where nothing is compiled."""
    module = ModuleType(COMPILER)
    vars(module).update(allow_in_graph=_mark, disable=_mark)
    return module


def _mark(function: Callable[..., Any] | None = None, *options: Any, **more: Any) -> Callable[..., Any]:
    """Return a function or class as it is; without one, a decorator that does so."""
    return _mark if function is None else function
