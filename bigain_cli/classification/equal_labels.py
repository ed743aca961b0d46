"""Labels that a model cannot tell apart: their prompts have the same embeddings, to the bit.

So it is with two spellings of one word, and with a tokenizer that does not belong to the model. The scores of such
labels are tied exactly, and their order would mean nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.classification.label_prompts import LabelPrompts
from bigain_cli.errors import UsageError


def refuse_equal_labels(model: str, competing: Sequence[LabelPrompts], conditions: Conditions) -> None:
    """Refuse labels of which one has the embeddings of another; `conditions` are of all prompts, label by label."""
    seen: dict[tuple[bytes, ...], LabelPrompts] = {}
    start = 0
    for label in competing:
        end = start + len(label.texts)
        embeddings = [tensor[start:end] for tensor in conditions.tensors()]
        start = end
        if not all(bool(each.isfinite().all()) for each in embeddings):
            continue  # an overflow: it is computed again in another dtype
        other = seen.setdefault(tuple(sorted(map(_digest, zip(*embeddings, strict=True)))), label)
        if other is not label:
            why = f"{model} cannot tell them apart: {other.texts[0]!r} and {label.texts[0]!r} have equal embeddings"
            hint = (
                "Keep one of them, or write them otherwise; if it is so with all labels, check the model's tokenizer."
            )
            raise UsageError(f"labels {other.name!r} and {label.name!r}", why, hint)


def _digest(row: Sequence[Tensor]) -> bytes:
    """Return a digest of all that a network is told of one prompt."""
    digest = hashlib.blake2b(digest_size=16)
    for values in row:
        digest.update(values.reshape(-1).cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()
