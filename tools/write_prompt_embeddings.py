"""Write prompts.safetensors into a model's folder, so that its text encoder need not be loaded for the usual prompts.

    python tools/write_prompt_embeddings.py bigain_cli/backbones/mini

For text-conditioned models with a closed vocabulary; run it again whenever the text encoder changes. The prompts are
the empty one and each name of each class in each template of the model's card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bigain_cli.backbones.loading import load
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.prompt_embeddings import EMBEDDINGS_FILE, write_embeddings
from bigain_cli.backbones.vocabulary import PromptVocabulary


def main() -> None:
    """Compute each prompt's embedding by itself, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    card = ModelCard.read(folder)
    vocabulary = PromptVocabulary(card.classes, card.templates)
    prompts = ["", *(vocabulary.normalise(text) for name in card.classes for text in vocabulary.sentences(name))]
    (folder / EMBEDDINGS_FILE).unlink(missing_ok=True)
    backbone = load(str(folder), "cpu", "float32")
    rows = {prompt: backbone.condition([prompt]).rows[0] for prompt in dict.fromkeys(prompts)}
    print(f"{write_embeddings(folder, rows)}: {len(rows)} prompts")


if __name__ == "__main__":
    main()
