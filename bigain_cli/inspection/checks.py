"""What can be said of an inspection before its model is loaded. Must not import torch."""

from __future__ import annotations

from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError


def inspected_spec(spec: str | Spec) -> Spec:
    """Return the compression to inspect; refuse one that does nothing."""
    if parsed := parse(spec):
        return parsed
    raise UsageError("compression 'none'", "there is nothing to inspect", "Write -c lgtm:0.5, for example.")
