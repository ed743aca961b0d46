"""Make the images in docs/images/: the HTML report in a browser, and `classify --watch` in a terminal.

    python tools/make_doc_images.py

Runs the command as it is now, with the embedded model, in a folder of its own. Needs Chromium, headless.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import itertools
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from doc_pages import DOCS, ROOT
from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

import bigain_cli as bigain
from bigain_cli.labels.templates import fill

IMAGES = DOCS / "images"
MOST_BYTES = 500_000  # of all of them together
SEEDS = {"cat": 2, "ship": 2, "horse": 0, "truck": 2, "deer": 1, "airplane": 2}  # of the images in the report
WATCHED = ("cat", 2)  # an image between whose first two labels the race takes a while
REPORT_SIZE = (1280, 650)
COLUMNS, LINES = 80, 24
WIDE, LINE, MARGIN = 740, 19, 14  # pixels of the terminal: its width, the height of a line, and around the text
SPARE = 200  # pixels that a headless browser may take from its window's height
MADE_FROM = IMAGES / "made_from.json"  # digests of what the images show
SHOWN = ("outputs/page/*", "outputs/html_article.py", "outputs/html_report.py", "outputs/live_table.py")
TABLE = "gap to the leader"  # of the live table
LONGEST, LAST = 1.2, 4000  # seconds of a frame at most, and milliseconds of the last one
TOGETHER = 0.05  # seconds within which what is written belongs to one state of the screen
COMMAND = [sys.executable, "-m", "bigain"]


def environment() -> dict[str, str]:
    """Return an environment in which the command of this clone runs as on a reader's machine."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "bigain_cli" / "alias")))
    size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
    return {**os.environ, **size, "PYTHONPATH": path, "BIGAIN_MODEL": "mini", "HF_HUB_OFFLINE": "1"}


def run(folder: Path, *arguments: str) -> None:
    """Run a command to its end."""
    subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)


def screenshot(page: Path, image: Path, size: tuple[int, int]) -> Image.Image:
    """Show a page in a browser window of a size, and return what it shows."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]
    window = f"--window-size={size[0]},{size[1] + SPARE}"
    subprocess.run(
        [browser, *flags, window, f"--screenshot={image}", page.as_uri()],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
    )
    with Image.open(image) as shown:
        return shown.convert("RGB").crop((0, 0, *size))


def generate_image(kind: str, seed: int, path: Path) -> None:
    """Generate an image with the embedded model."""
    next(iter(bigain.generate("mini", fill("a photo of a {}", kind), seed=seed))).save(path)


def report(folder: Path) -> None:
    """Generate some images, classify them to a page, and save what a browser shows of it."""
    (folder / "photos").mkdir()
    for kind, seed in SEEDS.items():
        generate_image(kind, seed, folder / "photos" / f"{kind}.png")
    run(folder, "classify", "photos", "-o", "report.html", "-q")
    shown = screenshot(folder / "report.html", folder / "report.png", REPORT_SIZE)
    save_png(shown, IMAGES / "report.png")


def save_png(image: Image.Image, path: Path) -> None:
    """Save an image of few colours as a small PNG."""
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def watch(folder: Path) -> None:
    """Save the live table of one image as an animation, frame by frame as a terminal shows it."""
    generate_image(*WATCHED, folder / "cat.png")
    frames = whole_frames(terminal_frames(folder, "classify", "cat.png", "--draws", "160", "--watch"))
    lines = max(lines_of(text) for text, _ in frames)
    shown = [screenshot_of_text(text, folder, lines) for text, _ in frames]
    moments = [moment for _, moment in frames]
    lasting = [round(1000 * min(after - before, LONGEST)) for before, after in itertools.pairwise(moments)]
    palette = shown[-1].quantize(32, dither=Image.Dither.NONE)
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in shown)
    first.save(
        IMAGES / "watch.gif", save_all=True, append_images=others, duration=[*lasting, LAST], loop=0, optimize=True
    )


def lines_of(text: str) -> int:
    """Count the lines that a text takes on the terminal."""
    plain = Text.from_ansi(text).plain.rstrip()
    return sum(max(1, -(-len(line) // COLUMNS)) for line in plain.split("\n"))


def whole_frames(frames: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return the frames without those in which only a part of the table was there yet."""
    full = max(text.count("\n") for text, _ in frames if TABLE in text)
    return [(text, moment) for text, moment in frames if TABLE not in text or text.count("\n") == full]


def terminal_frames(folder: Path, *arguments: str) -> list[tuple[str, float]]:
    """Run a command on a terminal; return each state of the screen and when it appeared."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen = Screen(f"$ bigain {' '.join(arguments)}\n")
    frames = [(screen.text(), time.monotonic())]
    with subprocess.Popen([*COMMAND, *arguments], cwd=folder, env=environment(), stdout=child, stderr=child):
        os.close(child)
        while data := _read(parent):
            if time.monotonic() - frames[-1][1] < TOGETHER:  # the rest of the same update
                frames.pop()
            screen.write(data)
            frames.append((screen.text(), time.monotonic()))
    os.close(parent)
    return frames


def _read(terminal: int) -> str:
    """Return what a program has written, or nothing at its end."""
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace")
    except OSError:  # the other side is closed
        return ""


class Screen:
    """The lines of a terminal, for programs that write, erase and rewrite whole lines."""

    def __init__(self, text: str) -> None:
        self._lines, self._row, self._rest = [""], 0, ""
        self.write(text)

    def write(self, data: str) -> None:
        """Follow the codes that move up or erase a line; keep those of colours."""
        *parts, self._rest = re.split(r"(\n|\r|\x1b\[[\d;?]*[A-Za-z])", self._rest + data)
        if "\x1b" not in self._rest:  # else it may be half a code
            parts, self._rest = [*parts, self._rest], ""
        for part in parts:
            if part == "\n":
                self._row += 1
                self._lines += [""] * (self._row == len(self._lines))
            elif up := re.fullmatch(r"\x1b\[(\d*)A", part):
                self._row = max(0, self._row - int(up[1] or 1))
            elif part == "\x1b[2K":
                self._lines[self._row] = ""
            elif part != "\r" and (part.endswith("m") or not part.startswith("\x1b")):
                self._lines[self._row] += part

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self._lines)


def screenshot_of_text(text: str, folder: Path, lines: int) -> Image.Image:
    """Show a terminal of so many lines in a browser."""
    console = Console(width=COLUMNS, height=LINES, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text))
    body = console.export_html(theme=MONOKAI, inline_styles=True)
    style = f"body{{margin:{MARGIN}px;background:#0d1117!important}}pre{{font:14px/{LINE}px monospace;margin:0}}"
    page = folder / "frame.html"
    page.write_text(body.replace("</head>", f"<style>{style}</style></head>"))
    return screenshot(page, folder / "frame.png", (WIDE, lines * LINE + 2 * MARGIN))


def digests() -> dict[str, str]:
    """Return the digests of the files that decide what the images show."""
    package = ROOT / "bigain_cli"
    files = sorted(path for pattern in SHOWN for path in package.glob(pattern) if path.is_file())
    return {
        path.relative_to(ROOT).as_posix(): hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        for path in files
    }


def main() -> None:
    """Make all images, and check their size."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report(folder)
        watch(folder)
    MADE_FROM.write_text(json.dumps(digests(), indent=1) + "\n")
    sizes = {path.name: path.stat().st_size for path in sorted(IMAGES.iterdir())}
    print(", ".join(f"{name} {size / 1e3:.0f} kB" for name, size in sizes.items()))
    if sum(sizes.values()) > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES / 1e3:.0f} kB together")


if __name__ == "__main__":
    main()
