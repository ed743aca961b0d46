"""Laws of the label presets in `prompts/`: shape, order, names and the grammar of their captions.

In: the CSV files alone, and torchvision's own class lists where it ships them.
Knows nothing of how the presets are loaded or scored.
"""

import csv
import re
from pathlib import Path

import pytest

PROMPTS = Path(__file__).parents[1] / "prompts"

CLASSES = {
    "aircraft": 100,
    "caltech101": 101,
    "cifar10": 10,
    "cifar100": 100,
    "coco": 80,
    "dtd": 47,
    "eurosat": 10,
    "flowers102": 102,
    "food101": 101,
    "imagenet": 1000,
    "imagenet100": 100,
    "mnist": 10,
    "objectnet": 113,
    "pets": 37,
    "stl10": 10,
}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = dict(zip("0123456789", WORDS, strict=True))

VOWEL_LETTER_CONSONANT_SOUND = {"euphonium", "eurofighter", "european", "ewer", "unicycle"}
CONSONANT_LETTER_VOWEL_SOUND = {"f-16a/b", "f/a-18", "hourglass"}
SINGULAR_IN_S = {"flandres", "hercules", "patas", "pyrenees", "rhinoceros", "triceratops"}

# Class ids where a torchvision name has another standard synonym that says more to a reader.
IMAGENET_SYNONYMS = {
    124: "crawdad",
    154: "Pekingese",
    341: "pig",
    358: "fitch",
    383: "ring-tailed lemur",
    408: "amphibious vehicle",
    421: "banister",
    437: "lighthouse",
    458: "plaque",
    468: "taxi",
    469: "cauldron",
    487: "cellphone",
    509: "candy store",
    553: "filing cabinet",
    577: "tam-tam",
    589: "hair dryer",
    610: "T-shirt",
    612: "rickshaw",
    634: "sawmill",
    714: "plectrum",
    751: "race car",
    840: "mop",
    876: "vat",
    897: "washing machine",
    929: "popsicle",
}

# The ImageNet class ids of the hundred wnids of the CMC list (Tian et al., `imagenet100.txt`).
IMAGENET100 = """
15 45 54 57 64 74 90 99 119 120 122 131 137 151 155 157 158 166 167 169 176 180 209 211 222 228 234
236 242 246 267 268 272 275 277 281 299 305 313 317 331 342 368 374 407 421 431 449 452 455 479 494
498 503 508 544 560 570 592 593 599 606 608 619 620 653 659 662 665 667 674 682 703 708 717 724 748
758 765 766 772 775 796 798 830 854 857 858 872 876 882 904 908 936 938 953 959 960 993 994
"""


def read(preset: str) -> list[tuple[str, str, int]]:
    with (PROMPTS / f"{preset}.csv").open(encoding="utf-8", newline="") as lines:
        return [(row["prompt"], row["classname"], int(row["classidx"])) for row in csv.DictReader(lines)]


def names(preset: str) -> list[str]:
    return list(dict.fromkeys(name for _, name, _ in read(preset)))


def plain(name: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", name.casefold()).split())


def are_similar(ours: str, theirs: str) -> bool:
    """Say whether two names share a word, or one without its spaces contains the other."""
    ours, theirs = plain(ours), plain(theirs)
    joined, other = ours.replace(" ", ""), theirs.replace(" ", "")
    return bool(set(ours.split()) & set(theirs.split())) or joined in other or other in joined


def articles(prompt: str) -> list[tuple[str, str]]:
    return re.findall(r"\b(an?) ([^\s,.]+)", prompt.casefold())


def article_is_wrong(article: str, word: str) -> bool:
    vowel = (word[0] in "aeiou" or word in CONSONANT_LETTER_VOWEL_SOUND) and word not in VOWEL_LETTER_CONSONANT_SOUND
    return vowel != (article == "an")


def test_every_preset_is_listed():
    assert {path.stem for path in PROMPTS.glob("*.csv")} == set(CLASSES)


@pytest.mark.parametrize("preset", CLASSES)
class TestEveryPreset:
    def test_is_utf8_with_unix_line_ends_and_the_header(self, preset):
        raw = (PROMPTS / f"{preset}.csv").read_bytes()
        assert b"\r" not in raw and raw.endswith(b"\n") and not raw.endswith(b"\n\n")
        assert raw.decode("utf-8").split("\n", 1)[0] == "prompt,classname,classidx"

    def test_has_every_class_index_in_order(self, preset):
        indices = [index for _, _, index in read(preset)]
        assert indices == sorted(indices)
        assert list(dict.fromkeys(indices)) == list(range(CLASSES[preset]))

    def test_names_and_indices_are_one_to_one(self, preset):
        pairs = {(name, index) for _, name, index in read(preset)}
        assert len(pairs) == len({plain(name) for name, _ in pairs}) == CLASSES[preset]

    def test_prompts_are_distinct(self, preset):
        prompts = [prompt.casefold() for prompt, _, _ in read(preset)]
        assert len(prompts) == len(set(prompts))

    def test_cells_are_tidy(self, preset):
        for prompt, name, _ in read(preset):
            for cell in (prompt, name):
                assert cell and cell == " ".join(cell.split()) and "_" not in cell
            assert not set(name) & set(',;"?()'), name

    def test_prompts_are_captions_with_one_full_stop(self, preset):
        for prompt, _, _ in read(preset):
            assert re.fullmatch(r"a (centered satellite )?photo of [^.]+\.", prompt), prompt

    def test_prompts_say_the_class_name(self, preset):
        for prompt, name, _ in read(preset):
            spoken = DIGITS[name] if preset == "mnist" else name
            assert re.search(rf"(?<!\w){re.escape(spoken)}s?(?!\w)", prompt), (prompt, name)

    def test_articles_follow_the_sound(self, preset):
        for prompt, _, _ in read(preset):
            wrong = [(article, word) for article, word in articles(prompt) if article_is_wrong(article, word)]
            assert not wrong, prompt

    def test_no_article_stands_before_a_plural(self, preset):
        for prompt, name, _ in read(preset):
            last = plain(name).split()[-1]
            plural = re.search(r"[^sui]s$", last) and last not in SINGULAR_IN_S
            assert not (plural and re.search(rf"\ban? {re.escape(name)}", prompt, re.IGNORECASE)), prompt


def test_the_article_law_catches_a_wrong_article():
    assert article_is_wrong("a", "airplane") and article_is_wrong("an", "cat")
    assert article_is_wrong("a", "hourglass") and article_is_wrong("an", "unicycle")


def test_every_exception_is_needed():
    words = {word for preset in CLASSES for prompt, _, _ in read(preset) for _, word in articles(prompt)}
    assert words >= VOWEL_LETTER_CONSONANT_SOUND | CONSONANT_LETTER_VOWEL_SOUND
    last = {plain(name).split()[-1] for preset in CLASSES for name in names(preset)}
    assert last >= SINGULAR_IN_S


@pytest.mark.parametrize("preset", ["cifar10", "cifar100", "dtd", "eurosat", "food101", "pets", "stl10"])
def test_alphabetical_datasets_are_alphabetical(preset):
    assert names(preset) == sorted(names(preset), key=lambda name: name.casefold().replace(" ", "_"))


@pytest.mark.parametrize(
    ("preset", "index", "name"),
    [
        ("aircraft", 0, "Boeing 707-320"),
        ("aircraft", 36, "Antonov An-12"),
        ("aircraft", 72, "F-16A/B Fighting Falcon"),
        ("aircraft", 99, "Yakovlev Yak-42"),
        ("caltech101", 0, "face"),
        ("caltech101", 3, "motorbike"),
        ("caltech101", 4, "accordion"),
        ("caltech101", 52, "inline skate"),
        ("caltech101", 100, "yin-yang symbol"),
        ("cifar10", 0, "airplane"),
        ("cifar10", 9, "truck"),
        ("cifar100", 1, "aquarium fish"),
        ("cifar100", 99, "worm"),
        ("dtd", 0, "banded"),
        ("dtd", 46, "zigzagged"),
        ("eurosat", 0, "annual crop land"),
        ("eurosat", 9, "sea or lake"),
        ("food101", 0, "apple pie"),
        ("food101", 100, "waffles"),
        ("objectnet", 0, "alarm clock"),
        ("objectnet", 32, "bath towel"),
        ("objectnet", 91, "T-shirt"),
        ("objectnet", 112, "wok"),
        ("pets", 0, "Abyssinian"),
        ("pets", 36, "Yorkshire terrier"),
        ("stl10", 2, "car"),
        ("stl10", 9, "truck"),
    ],
)
def test_known_positions_in_the_dataset_order(preset, index, name):
    assert names(preset)[index] == name


def test_imagenet_follows_torchvision():
    from torchvision.models._meta import _IMAGENET_CATEGORIES as theirs

    ours = names("imagenet")
    dissimilar = {index: name for index, name in enumerate(ours) if not are_similar(name, theirs[index])}
    assert dissimilar == IMAGENET_SYNONYMS


def test_no_imagenet_name_is_another_class_of_torchvision():
    from torchvision.models._meta import _IMAGENET_CATEGORIES as theirs

    positions = {}
    for index, name in enumerate(theirs):
        positions.setdefault(plain(name), set()).add(index)
    for index, name in enumerate(names("imagenet")):
        assert positions.get(plain(name), {index}) == {index}, name


def test_imagenet100_is_a_part_of_imagenet_in_its_order():
    whole = [(prompt, name) for prompt, name, _ in read("imagenet")]
    positions = [whole.index((prompt, name)) for prompt, name, _ in read("imagenet100")]
    assert positions == [int(position) for position in IMAGENET100.split()] == sorted(positions)


def test_coco_follows_torchvision():
    from torchvision.models._meta import _COCO_CATEGORIES

    theirs = [name for name in _COCO_CATEGORIES if name not in ("__background__", "N/A")]
    for ours, name in zip(names("coco"), theirs, strict=True):
        assert are_similar(ours, name), (ours, name)


def test_flowers102_follows_torchvision():
    from torchvision.datasets import Flowers102

    for ours, name in zip(names("flowers102"), Flowers102.classes, strict=True):
        assert are_similar(ours, name), (ours, name)


def test_mnist_follows_torchvision():
    from torchvision.datasets import MNIST

    assert [f"{name} - {DIGITS[name]}" for name in names("mnist")] == MNIST.classes
