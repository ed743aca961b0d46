"""Prompts from arguments, and from a file or stdin with one prompt per line. Torch-free."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from bigain_cli.errors import UsageError
from bigain_cli.labels.label_sets import decode_utf8
from bigain_cli.limits import read_text_bytes, read_text_file


def read_prompts(arguments: Sequence[str], source: str | None) -> tuple[str, ...]:
    """Return every prompt, stripped; blank lines of a file, and lines that begin with #, are skipped."""
    prompts = [prompt.strip() for prompt in arguments]
    for prompt in prompts:
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise UsageError(f"prompt {prompt!r}", "not UTF-8", "Write it in UTF-8.")
    if source is not None:
        lines = map(str.strip, io.StringIO(_read_text(source), newline=None))
        prompts += [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        why = "nothing to generate" if source is None else f"{source} holds none"
        raise UsageError("no prompt", why, 'Give one, such as "a photo of a dog", or --prompts-from FILE.')
    return tuple(prompts)


def _read_text(source: str) -> str:
    try:
        name = f"--prompts-from {source}"
        data = read_text_bytes(sys.stdin.buffer, name) if source == "-" else read_text_file(source, name)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise UsageError(f"--prompts-from {source}", why, "Give a file of prompts, or - for stdin.") from problem
    return decode_utf8(data, name)
