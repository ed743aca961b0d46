"""The prompts of a request: arguments first, then those of a file or of stdin, one a line."""

from __future__ import annotations

import sys
from pathlib import Path

from bigain_cli.errors import UsageError


def read_prompts(arguments: list[str], source: str | None) -> tuple[str, ...]:
    """Return every prompt, bare of blanks around it; of a file, blank lines and lines that begin with # are none."""
    prompts = [*map(str.strip, arguments), *(_lines(source) if source is not None else ())]
    for prompt in prompts:
        if not _is_text(prompt):
            raise UsageError(f"prompt {prompt!r}", "not UTF-8", "Write it in UTF-8.")
    if not prompts:
        why = "nothing to draw" if source is None else f"{source} holds none"
        raise UsageError("no prompt", why, 'Give one, such as "a photo of a dog", or --prompts-from FILE.')
    return tuple(prompts)


def _lines(source: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        hint = "Give a file of prompts, or - for stdin."
        raise UsageError(f"--prompts-from {source}", why, hint) from problem
    prompts = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as problem:
            hint = "Save the file as UTF-8."
            raise UsageError(f"--prompts-from {source}", f"line {number} is not UTF-8", hint) from problem
        if text and not text.startswith("#"):
            prompts.append(text)
    return prompts


def _is_text(prompt: str) -> bool:
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return False
    return True
