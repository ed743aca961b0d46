"""Print a digest of what `classify`, `evaluate` and `generate` write: two versions can be compared byte by byte.

    python tools/record_digests.py > digests.json
    python tools/record_digests.py --against digests.json

Uses the embedded models only, one thread, offline. Digests of `mini` depend on the machine's kernels and on the
release of torch, so compare two versions on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FIGURES = "maps"  # a folder of figures, whose words may change
COMMAND = Path(sys.executable).with_name("bigain")
COLOURS = {"red": (220, 30, 30), "green": (40, 150, 60), "blue": (40, 80, 200)}
RUNS = {  # in a folder with images/ and the labelled dataset/ and things/
    "classify-colours-jsonl": "classify images -m colours -l red,green,blue --jsonl",
    "classify-colours-json": "classify images -m colours -l red,green,blue --json --top 3",
    "classify-colours-csv": "classify images -m colours -l red,green,blue --csv",
    "classify-colours-tsv": "classify images -m colours -l red,green,blue --tsv --reject",
    "classify-colours-vote": "classify images -m colours -l red,green --jsonl --score vote",
    "classify-colours-budget": "classify images -m colours -l red,green --jsonl --budget 40",
    "classify-mini-race": "classify images -l cifar10 --jsonl",
    "classify-mini-fixed": "classify images -l cat,dog,ship --jsonl --schedule fixed --draws 8",
    "classify-mini-staged": "classify images -l cifar10 --jsonl --schedule staged",
    "classify-mini-ttest": "classify images -l cat,dog --jsonl --schedule ttest --draws 24",
    "classify-mini-lgtm": "classify images -l cat,dog,ship --jsonl --merge 0.7 --draws 8",
    "classify-mini-iekvd": "classify images -l cat,dog --jsonl -c iekvd:2@0.9 --draws 8",
    "classify-mini-both": "classify images -l cat,dog --jsonl -c lgtm:0.3+todo:2 --draws 8",
    "classify-mini-templates": "classify images -l cat,dog --jsonl -t 'a {}' -t 'a photo of a {}' --draws 8",
    "classify-mini-heatmap": "classify images -l cat,dog --jsonl --heatmap maps --draws 8",
    "classify-dit": "classify images -m mini-dit -l cifar10 --jsonl --draws 8",
    "classify-dit-tome": "classify images -m mini-dit -l cat,dog --jsonl -c tome:0.3 --draws 8",
    "evaluate-colours": "evaluate dataset -m colours --records out.jsonl -o out.json",
    "evaluate-mini": "evaluate things -c none -c lgtm:0.5 --records out.jsonl --json --draws 8",
    "evaluate-mini-images": "evaluate things -c none -c todo:2 --limit 0 --generate 10 --steps 3 --keep kept --json",
    "generate-colours": "generate red -m colours -n 2 -o out/",
    "generate-mini": "generate 'a horse' 'a ship' -n 2 --steps 6 -o out/",
    "generate-mini-lgtm": "generate 'a cat' --merge 0.7 --steps 6 -o out.png",
    "generate-mini-euler": "generate 'a cat' --sampler euler-a --steps 6 --guidance 3 -o out.png",
    "generate-dit": "generate dog -m mini-dit --steps 6 -o out.png",
}


def make_images(folder: Path) -> None:
    """Write a few images: plain colours, noise over a gradient, and one that is broken."""
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / "images" / f"{name}.png")
    for number in range(3):
        slope = np.linspace(0, 200, 48)[:, None, None] * generator.random(3)
        pixels = slope + generator.normal(30, 12, (48, 40, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "images" / f"noise{number}.png")
    (folder / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    for dataset, classes in (("dataset", tuple(COLOURS)), ("things", ("cat", "ship"))):
        for place, name in enumerate(classes):
            (folder / dataset / name).mkdir(parents=True)
            for number in range(5):
                colour = np.array(list(COLOURS.values())[place]) + generator.normal(0, 25, (32, 32, 3))
                image = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))
                image.save(folder / dataset / name / f"{number}.png")


def digests(command: str) -> dict[str, str]:
    """Run a command in a fresh folder; return its exit code and a digest of stdout and of every file it left."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"  # records hold paths as given, so the folder's own name enters nothing
        folder.mkdir()
        make_images(folder)
        there = set(folder.rglob("*"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BIGAIN_")}
        environment = {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LC_ALL": "C.UTF-8"}
        run = subprocess.run([str(COMMAND), *shlex.split(command)], cwd=folder, env=environment, capture_output=True)
        found = {"exit": str(run.returncode), "stdout": _digest(_stable(run.stdout, folder))}
        for path in sorted(set(folder.rglob("*")) - there):
            if path.is_file() and path.parent.name != FIGURES:
                found[str(path.relative_to(folder))] = _digest(_stable(path.read_bytes(), folder))
    if run.returncode not in (0, 1):
        found["stderr"] = run.stderr.decode(errors="replace")
    return found


def _stable(content: bytes, folder: Path) -> bytes:
    """Take clock readings out of what an evaluation writes, which holds them by design."""
    if content.startswith(b"PK"):  # arrays
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays) if name != "seconds")
    if content.startswith((b"{", b"[")):
        try:
            documents = [json.loads(line) for line in content.splitlines()]
        except ValueError:
            documents = [json.loads(content)]
        text = json.dumps([_without_seconds(document) for document in documents], ensure_ascii=False)
        return text.replace(str(folder), "").encode()
    return content.replace(str(folder).encode(), b"")


def _without_seconds(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items() if "seconds" not in key}
    return [_without_seconds(item) for item in value] if isinstance(value, list) else value


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def machine() -> dict[str, str]:
    """Return what the last bits may depend on."""
    versions = {name: version(name) for name in ("torch", "diffusers", "numpy", "pillow")}
    return {"system": platform.system(), "kind": platform.machine(), "python": platform.python_version(), **versions}


def main() -> int:
    """Print all digests, or the runs whose digests differ from those of a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="FILE", help="digests that an earlier version printed")
    parser.add_argument("--only", metavar="TEXT", default="", help="runs whose name contains this")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()} if not asked.only else {}
    found |= {name: digests(command) for name, command in RUNS.items() if asked.only in name}
    if asked.against is None:
        print(json.dumps(found, indent=1))
        return 0
    before = json.loads(Path(asked.against).read_text())
    if found.pop("machine", before.get("machine")) != before.get("machine"):
        print("other versions or another machine than those of the digests: last bits may differ")
    changed = 0
    for name, own in found.items():
        differing = [
            key
            for key in sorted(own.keys() | before.get(name, {}).keys())
            if own.get(key) != before.get(name, {}).get(key)
        ]
        changed += bool(differing)
        print(f"{name}: {'same' if not differing else 'DIFFERS in ' + ', '.join(differing)}")
    print(f"{len(found) - changed} of {len(found)} runs wrote the same bytes")
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
