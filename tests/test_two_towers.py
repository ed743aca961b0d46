"""Two-tower models: texts as in training, labels by what fits the image, and the same network afterwards."""

from __future__ import annotations

import csv
import html
import io
import re
import string
import sys
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import warm
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import tokenizer as clip_tokenizer
from tiny_towers import TOKENS, save_towers, tokenizer

from bigain_cli.classification.classifier import Classification, classify
from bigain_cli.classification.model_shortlist import MARGIN, ModelShortlist, kept_labels
from bigain_cli.classification.ranking import Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.labels import Label, LabelSet
from bigain_cli.shortlist.canonical_text import clip_text, siglip_text
from bigain_cli.shortlist.choice import MOST, read_choice
from bigain_cli.shortlist.two_towers import TwoTowers, find_towers, load_towers

KINDS = ("clip", "siglip", "siglip2")
TEXTS = [
    *("A photo of a Cat.", "a photo of a cat", "A PHOTO OF A CAT!", "  two   spaces ", "tabs\\tand\\nlines"),
    *("hyphen-ated", "emoji 🐱!", "ΣΊΣΥΦΟΣ", "İstanbul"),
    *("it's an X-ray", "St. Bernard", "(brackets)", "a/b", "50% off", "#hash", "e=mc^2", "under_score", "quo\"tes\""),
    *("a photo of a {}.", "Ångström", "Éclair", "ÜBER", "naïve café", "日本語 テキスト"),
    *("straße", "ﬁsh", "non\u00a0breaking", "thin\u2009space", "dash–en", "dash—em", "“curly”", "l’été", "¿qué?", "…"),
    *("a &amp; b", "&lt;tag&gt;", "AT&T", "R&amp;amp;B", "semi;colon", "co:lon", "com,ma", "ex!cla?mation", "~tilde`"),
    *("a@b.c", "$100", "plus+minus-", "*star*", "[x]", "back\\slash", "pipe|pipe", "", " ", ".", "a  .  b"),
]  # fmt: skip


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("towers")
    return {kind: save_towers(kind, root / kind) for kind in KINDS}


def published_siglip_tokenizer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return transformers' class, whose text functions need no SentencePiece, though its module does."""
    if "sentencepiece" not in sys.modules:
        monkeypatch.setitem(sys.modules, "sentencepiece", ModuleType("sentencepiece"))
    from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

    return SiglipTokenizer


def test_there_are_fifty_texts() -> None:
    assert len({*TEXTS}) >= 50


def test_siglip_texts_are_those_of_the_published_preprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    published = published_siglip_tokenizer(monkeypatch)
    no_marks = lambda text: published.remove_punctuation(None, text)  # noqa: E731
    with_lower = SimpleNamespace(do_lower_case=True, remove_punctuation=no_marks)
    for text in TEXTS:
        assert siglip_text(text) == published.canonicalize_text(with_lower, text)


def test_clip_texts_are_those_of_the_published_preprocessing() -> None:
    """The tokenizer of transformers does all but HTML's names, which the authors' own code writes out twice."""
    normalizer = clip_tokenizer().backend_tokenizer.normalizer
    for text in TEXTS:
        if text == "ΣΊΣΥΦΟΣ":  # the authors' Python writes its end with ς, Rust with σ
            continue
        published = normalizer.normalize_str(html.unescape(html.unescape(text))).strip()
        assert normalizer.normalize_str(clip_text(text)) == published
        assert clip_text(text) == re.sub(r"\s+", " ", published)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_tokens_are_those_of_the_canonical_text(kind: str, towers: dict[str, Path]) -> None:
    """The tokenizer in the folder keeps capitals and marks: what training never saw must be gone before it."""
    loaded, plain = load_towers(find_towers(str(towers[kind])), "cpu"), tokenizer()
    for text in TEXTS:
        words = re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()
        expected = plain(words, padding="max_length", max_length=TOKENS).input_ids
        assert loaded.token_ids([text]).tolist() == [expected]
        assert len(expected) == TOKENS


def test_texts_that_differ_in_marks_and_capitals_alone_are_the_same(towers: dict[str, Path]) -> None:
    for kind in ("siglip", "siglip2"):
        loaded = load_towers(find_towers(str(towers[kind])), "cpu")
        one, other = loaded.text_vectors(["A photo of a Cat.", "a photo of a cat"])
        assert torch.equal(one, other)
    loaded = load_towers(find_towers(str(towers["clip"])), "cpu")
    one, other, third = loaded.text_vectors(["A photo of a Cat", "a photo of a cat", "a photo of a cat."])
    assert torch.equal(one, other) and not torch.equal(one, third)


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_vectors_are_the_models_logits(kind: str, towers: dict[str, Path]) -> None:
    loaded = load_towers(find_towers(str(towers[kind])), "cpu")
    image, texts = Image.effect_noise((24, 24), 80).convert("RGB"), ["a red cat", "a blue dog", "a cup"]
    inputs = loaded.processor(images=image, return_tensors="pt")
    with torch.inference_mode():
        output = loaded.network(input_ids=loaded.token_ids(texts), **inputs)
    logits = loaded.scale * (loaded.text_vectors(texts) @ loaded.image_vector(image))
    bias = float(getattr(loaded.network, "logit_bias", torch.zeros(1)).detach())
    assert torch.allclose(logits + bias, output.logits_per_image[0].double(), atol=1e-4)


@pytest.mark.parametrize("kind", ["clip"])
def test_a_small_budget_takes_the_most_probable_labels_and_the_empty_prompt(
    kind: str, towers: dict[str, Path], models: dict[str, Path], images: Any
) -> None:
    labels = ["cat", "dog", "cup", "tree", "ship", "bird", "star", "fish"]
    made = ModelShortlist(
        read_choice(f"{towers[kind]}:6"), LabelSet(tuple(map(Label, labels)), "given"), reject=True, device="cpu"
    )
    run = Classification(
        str(models["epsilon"]), labels, reject=True, shortlist=made, rules=StoppingRules(budget=7, draws=8)
    )
    (found,) = [each for each in run.rankings(images[:1]) if each.finished]
    assert isinstance(found, Ranking) and found.evaluations <= 7
    (named,) = made._named.values()
    best = sorted(named.shares, key=lambda label: -named.shares[label])
    count = len(found.ranked) - 1
    assert {each.label for each in found.ranked} == {*(labels[label] for label in best[:count]), "none"}
    outside = 1 - sum(named.shares[label] for label in best[:count])
    assert found.remainder == pytest.approx(outside, abs=1e-9)


@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(2, 70), st.floats(0, 5))
def test_kept_labels_are_the_best_in_any_order(seed: int, labels: int, count: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    logits, names = spread * rng.standard_normal(labels), [f"label {number}" for number in range(labels)]
    found = kept_labels(logits, names, count)
    assert min(count, labels) <= len(found.labels) <= min(MOST * count, labels)
    left = set(range(labels)) - set(found.labels)
    worst = min(logits[label] for label in found.labels)
    assert all(logits[label] <= worst + 1e-4 for label in left)
    if count < labels and len(found.labels) < MOST * count:
        last = np.sort(logits)[::-1][count - 1]
        assert all(logits[label] < last - MARGIN + 1e-3 for label in left)
    share = np.exp(logits).sum()
    assert found.left_out == pytest.approx(sum(np.exp(logits[label]) for label in left) / share, abs=1e-3)
    order = rng.permutation(labels)
    other = kept_labels(logits[order], [names[label] for label in order], count)
    assert {names[order[label]] for label in other.labels} == {names[label] for label in found.labels}
    assert other.left_out == found.left_out


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_labels_that_the_model_names_are_asked(
    kind: str, towers: dict[str, Path], models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, images = [f"thing {letter}" for letter in "abcdefgh"], [("one", noise(1)), ("two", noise(2))]
    loaded: list[TwoTowers] = []
    text_vectors = TwoTowers.text_vectors
    monkeypatch.setattr(TwoTowers, "text_vectors", lambda self, texts: loaded.append(self) or text_vectors(self, texts))
    results = list(
        classify(str(models["epsilon"]), images, labels, rules=StoppingRules(draws=8), shortlist=f"{towers[kind]}:3")
    )
    assert len(loaded) == 1  # once for all images
    for result, (_, image) in zip(results, images, strict=True):
        assert isinstance(result, Ranking)
        vectors = loaded[0].text_vectors([f"a photo of a {label}." for label in labels])
        logits = (loaded[0].scale * (vectors @ loaded[0].image_vector(image))).numpy()
        expected = {labels[number] for number in kept_labels(logits, labels, 3).labels}
        assert {each.label for each in result.ranked} == expected
        assert result.not_asked == 8 - len(expected) > 0
        assert result.settings["shortlist"] == f"{towers[kind]}:3"
        assert sum(each.probability for each in result.ranked) + result.remainder == pytest.approx(1)


def test_the_model_leaves_before_the_network_comes(towers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory: list[weakref.ref[TwoTowers]] = []

    def load(*given: Any) -> TwoTowers:
        towers = load_towers(*given)
        in_memory.append(weakref.ref(towers))
        return towers

    monkeypatch.setattr("bigain_cli.classification.model_shortlist.load_towers", load)
    labels = LabelSet(tuple(map(Label, ("cat", "dog", "cup"))), "the labels given")
    made = ModelShortlist(read_choice(f"{towers['clip']}:2"), labels, device="cpu")
    kept = list(made.prepare_all(iter([("one", noise(1))])))
    assert len(in_memory) == 1 and in_memory[0]() is None
    monkeypatch.setattr("bigain_cli.classification.model_shortlist.load_towers", lambda *given: 1 / 0)
    assert list(made.prepare(iter(kept))) == kept  # and does not come again


def test_the_model_stays_where_images_come_in_several_parts(
    towers: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(
        "bigain_cli.classification.model_shortlist.load_towers",
        lambda *given: loaded.append("once") or load_towers(*given),
    )
    labels = LabelSet(tuple(map(Label, ("cat", "dog", "cup"))), "the labels given")
    made = ModelShortlist(read_choice(f"{towers['clip']}:2"), labels, device="cpu")
    whole = ModelShortlist(read_choice(f"{towers['clip']}:2"), labels, device="cpu")
    images = [(str(number), noise(number)) for number in range(4)]
    list(whole.prepare_all(iter(images)))
    assert len(loaded) == 1
    for each in images:
        list(made.prepare(iter([each])))
    assert len(loaded) == 3, "for the first part, and for all that follow"
    assert made._named == whole._named


def test_an_image_that_was_never_shown_is_asked_for_all_labels(towers: dict[str, Path]) -> None:
    labels = LabelSet(tuple(map(Label, ("cat", "dog", "cup"))), "the labels given")
    made = ModelShortlist(read_choice(f"{towers['clip']}:2"), labels, reject=True, device="cpu")
    assert made.search(b"unknown").first() == [0, 1, 2, 3]


def test_the_fingerprint_knows_the_models_weights(
    towers: dict[str, Path], models: dict[str, Path], tmp_path: Path
) -> None:
    other = save_towers("clip", tmp_path / "clip", seed=1)
    labels = ["cat", "dog", "cup"]
    found = [
        Classification(str(models["epsilon"]), labels, shortlist=choice).settings["fingerprint"]
        for choice in (f"{towers['clip']}:2", f"{other}:2", f"{other}:3", "off")
    ]
    assert len({*found}) == 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("trees", "neither tree, off, nor a model"),
        ("a/b:1", "keeps too few labels"),
        ("a/b:0", "keeps too few labels"),
        ("a/b:99999999999", "too many"),
        ("a/b/c:3", "neither tree"),
        ("", "neither tree"),
        (":5", "neither tree"),
    ],
)
def test_a_choice_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_choice(text)
    assert why in str(refused.value)


def test_a_choice_is_read() -> None:
    assert read_choice("google/siglip2-base-patch16-224").kept == 20
    assert read_choice("openai/clip-vit-base-patch32:7").name == "openai/clip-vit-base-patch32:7"
    with pytest.raises(UsageError, match="not about"):
        read_choice("off", "own.json")


def test_what_is_no_two_tower_model_is_refused(
    models: dict[str, Path], towers: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="kind is 'clip_text_model'"):
        find_towers(str(models["epsilon"] / "text_encoder"))
    with pytest.raises(ModelError):
        find_towers(str(tmp_path))
    with pytest.raises(ModelError, match="cannot be downloaded"):
        find_towers("nobody/nothing")
    (tmp_path / "config.json").write_bytes((towers["clip"] / "config.json").read_bytes())
    with pytest.raises(ModelError, match="no safetensors"):
        find_towers(str(tmp_path))


def test_an_interrupted_download_is_continued(
    towers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_bytes((towers["clip"] / "config.json").read_bytes())

    def download(name: str, local_files_only: bool = False, allow_patterns: Any = None) -> str:
        return str(tmp_path if local_files_only else towers["clip"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_towers("owner/clip").folder == towers["clip"]


def test_columns_say_how_many_labels_were_not_asked(
    towers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    noise(1).save("a.png")
    line = ("classify", "a.png", "-m", "colours", "--shortlist", f"{towers['clip']}:2")
    [record] = warm(*line, "--jsonl").records
    assert record["asked"] + record["not_asked"] == 11 and record["not_asked"] > 0
    [row] = csv.DictReader(io.StringIO(warm(*line, "--csv").out.decode()))
    assert [float(row[name]) for name in ("asked", "not_asked")] == [record["asked"], record["not_asked"]]
    assert float(row["remainder"]) == record["remainder"]
    [plain] = csv.DictReader(io.StringIO(warm(*line[:-2], "--csv").out.decode()))
    assert plain["asked"] == plain["not_asked"] == plain["remainder"] == ""


def test_a_tree_that_nobody_chose_is_said(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise(1).save("a.png")
    names = [f"l{number}" for number in range(50)]

    def said(count: int, *more: str) -> bool:
        labels = ",".join(names[:count])
        found = warm("classify", "a.png", "-m", str(models["pixels"]), "-l", labels, "--draws", "2", "--jsonl", *more)
        assert (found.records[0]["settings"].get("shortlist") == "tree") == (bool(more) or count > 49)
        return "--shortlist off asks all" in found.err

    assert said(50) and not said(49) and not said(49, "--shortlist", "tree")
