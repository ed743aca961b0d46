"""README.md and the pages in docs/: their blocks of code, links, headings, and the commands in them.

A ```console block is a transcript: `$ ` starts a command, a line that ends with a backslash goes on in the next, and
what follows is what the command prints on a terminal. A page's transcripts run in order in one folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
BEFORE_A_COMMAND = {"do", "then", "else", "time", "xargs", "nice", "env"}


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command of a transcript, as it is typed, and what it prints."""

    command: str
    output: str


def pages() -> list[Path]:
    """Return the README and every page of docs/."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(language, inner) for language, inner in FENCE.findall(text)]


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", text)


def steps(transcript: str) -> list[Step]:
    """Split a transcript into its commands and what each prints."""
    found: list[tuple[list[str], list[str]]] = []
    continued = False
    for line in transcript.splitlines():
        if line.startswith("$ "):
            found.append(([line.removeprefix("$ ")], []))
        elif continued:
            found[-1][0].append(line)
        else:
            found[-1][1].append(line)
        continued = line.endswith("\\") and (continued or line.startswith("$ "))
    return [Step("\n".join(command), "".join(f"{line}\n" for line in output)) for command, output in found]


def written(found: list[Step]) -> str:
    """Return the transcript of some steps."""
    return "".join(f"$ {step.command}\n{step.output}" for step in found)


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of every `bigain VERB …` that a page's blocks and its code between backticks hold."""
    for block in blocks(text):
        if block.language in ("bash", "console"):
            lines = [step.command for step in steps(block.text)] if block.language == "console" else [block.text]
            for line in lines:
                yield from commands_in(line)
    for code in re.findall(r"`([^`\n]+)`", prose(text)):
        if code.startswith("bigain ") and "…" not in code:
            yield from commands_in(code)


def commands_in(script: str) -> Iterator[list[str]]:
    """Yield the words after each `bigain` in a shell script."""
    lines = [re.sub(r"(^|\s{2,})# .*", "", line) for line in script.replace("\\\n", " ").splitlines()]
    lexer = shlex.shlex("\n".join(lines), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();|&\n"):
            yield from _command(words)
            words = []
        else:
            words.append(word)


def _command(words: list[str]) -> Iterator[list[str]]:
    """Yield what follows `bigain` in a simple command, without redirections."""
    if "bigain" not in words:
        return
    at = words.index("bigain")
    if at and not (BEFORE_A_COMMAND & set(words[:at]) or "=" in words[at - 1]):
        return
    rest: list[str] = []
    skip = False
    for word in words[at + 1 :]:
        if skip:
            skip = False
        elif set(word) <= set("<>&"):
            skip = True
        else:
            rest.append(word)
    yield rest


def links(text: str) -> list[str]:
    """Return the targets of a page's links and images."""
    return re.findall(r"\]\(([^()\s]+)\)", prose(text)) + re.findall(r'(?:src|srcset|href)="([^"]+)"', prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors that a web page makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
