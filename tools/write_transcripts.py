"""Run the transcripts in README.md and docs/, and write what their commands print into them.

    python tools/write_transcripts.py                      # all pages
    python tools/write_transcripts.py docs/classify.md     # one of them

Offline, with the embedded models only. Look at the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from doc_pages import FENCE, ROOT, Step, pages, steps, written

ENVIRONMENT = {"BIGAIN_MODEL": "mini", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"COLUMNS": "80", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
# What a slow machine shows, and a fast one does not: how far a run is, and what it will take.
PROGRESS = re.compile(
    r"^bigain: (?:\d+/\d+ .*|\d+ images? so far.*|.*, (?:about|at most) [\d.]+ (?:s|min|h|days))\n", re.M
)
Run = Callable[[str, Path], str]  # from a command and the folder to run it in to what it prints


def run_in_shell(command: str, folder: Path) -> str:
    """Run a command as a reader types it, and return what it prints on stdout and stderr."""
    scripts, here = Path(sys.executable).parent, f"{ROOT}:{ROOT / 'bigain_cli' / 'alias'}"
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": here, "PATH": f"{scripts}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**env, "HF_HUB_CACHE": str(folder / ".hub")},  # with nothing in it
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.stdout


def run_steps(transcript: str, folder: Path, run: Run = run_in_shell) -> Iterator[tuple[Step, str]]:
    """Yield every step of a transcript with what its command prints now, without progress and blanks at line ends."""
    for step in steps(transcript):
        printed = PROGRESS.sub("", run(step.command, folder))
        yield step, re.sub(r"[ \t]+$", "", printed, flags=re.M)


def refreshed(text: str, folder: Path) -> str:
    """Return a page with its transcripts as they are now."""

    def fresh(match: re.Match[str]) -> str:
        if match[1] != "console":
            return match[0]
        found = [Step(step.command, output) for step, output in run_steps(match[2], folder)]
        return f"```console\n{written(found)}```"

    return FENCE.sub(fresh, text)


def main() -> None:
    """Write all pages, or those that are named."""
    for page in [Path(name).resolve() for name in sys.argv[1:]] or pages():
        before = page.read_text()
        with tempfile.TemporaryDirectory() as folder:
            after = refreshed(before, Path(folder))
        page.write_text(after)
        print(f"{page.relative_to(ROOT)}: {'written' if after != before else 'unchanged'}")


if __name__ == "__main__":
    main()
