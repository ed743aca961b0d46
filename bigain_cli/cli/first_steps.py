"""What the command says to those who do not know it yet: commands to type, with their own images in them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence

from bigain_cli.errors import UsageError
from bigain_cli.images import SUFFIXES
from bigain_cli.images.urls import is_url
from bigain_cli.near_names import did_you_mean, listed
from bigain_cli.outputs.text import safe

OWN_LABELS = ("-l", "cat,dog", "-m", "sd1.5")
EMBEDDED = "Without -l and -m it knows the ten classes of a small model that comes with it"
NOTE = f"""{EMBEDDED};
sd1.5 reads any labels, needs a GPU, and is downloaded once (about 4.3 GB)."""
START = f"""bigain classifies images with a diffusion model, and generates images with it.

  bigain classify photo.jpg
  bigain classify photo.jpg -l cat,dog -m sd1.5
  bigain classify photos/ -o photos.html
  bigain generate horse -o horse.png

{NOTE}
bigain --help lists all verbs, bigain VERB --help the options of one."""


def instead_of_a_verb(arguments: Sequence[str], verbs: Collection[str]) -> str:
    """Return how to classify an image that stands where a verb should; refuse anything else."""
    name = arguments[0]
    if not _is_input(name):
        raise UsageError(name, "no such verb", did_you_mean(name, verbs, f"Verbs: {listed(verbs)}."))
    given_alone = len(arguments) == 1
    lines = [("bigain", "classify", *arguments)]
    lines += [(*lines[0], *(("-o", "report.html") if os.path.isdir(name) else OWN_LABELS))] * given_alone
    commands = "\n".join(f"  {safe(shlex.join(line))}" for line in lines)
    note = f"\n\n{EMBEDDED}." if os.path.isdir(name) else f"\n\n{NOTE}"
    note *= given_alone
    return f"bigain: {safe(name)} is no verb. To classify it:\n\n{commands}{note}"


def _is_input(name: str) -> bool:
    """Return whether a word is an image, a folder, a pattern or a URL, there or not, and no misspelt verb."""
    return os.path.lexists(name) or is_url(name) or os.path.splitext(name)[1].lower() in SUFFIXES or os.sep in name
