"""Trees of labels: every label is in one leaf, the same labels give the same tree, and near ones are together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import nested

from bigain_cli.errors import UsageError
from bigain_cli.labels import presets, read_labels
from bigain_cli.shortlist.label_tree import LEAF, Branch, digest_of, tree_of_groups, tree_of_vectors
from bigain_cli.shortlist.tree_files import read_groups, shipped_trees

Case = tuple[np.ndarray, list[str]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Vectors of labels, some of them equal."""
    count, width = draw(st.integers(2, 60)), draw(st.integers(1, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = rng.standard_normal((count, width)) * 10.0 ** draw(st.integers(-6, 6))
    vectors[rng.random(count) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 1.0
    return vectors, [f"label {number}" for number in rng.permutation(count)]


def leaves(tree: Branch) -> list[Branch]:
    return [branch for branch in tree.walk() if not branch.parts]


@given(cases())
def test_every_label_is_in_one_leaf_and_leaves_are_small(case: Case) -> None:
    tree = tree_of_vectors(*case)
    assert sorted(label for leaf in leaves(tree) for label in leaf.labels) == list(range(len(case[1])))
    for branch in tree.walk():
        assert set(branch.typical) <= set(branch.labels) and branch.typical
        assert sorted(branch.labels) == sorted(label for part in branch.parts or [branch] for label in part.labels)
        assert len(branch.labels) <= LEAF or branch.parts


@given(cases(), st.randoms(use_true_random=False))
def test_the_tree_of_the_same_labels_is_the_same_in_any_order(case: Case, random: object) -> None:
    vectors, names = case
    order = np.random.default_rng(random.randrange(2**32)).permutation(len(names))  # type: ignore[attr-defined]
    other = vectors[order], [names[number] for number in order]
    assert digest_of(tree_of_vectors(*case), names) == digest_of(tree_of_vectors(*other), other[1])


@given(cases(), st.floats(1e-3, 1e3))
def test_the_scale_of_the_vectors_changes_nothing(case: Case, scale: float) -> None:
    vectors, names = case
    vectors = np.round(vectors / np.abs(vectors).max(), 3)  # so that rounding is no matter
    scales = (1.0, 2.0 ** round(np.log2(scale)))
    assert len({digest_of(tree_of_vectors(each * vectors, names), names) for each in scales}) == 1


def test_siblings_of_nested_classes_share_a_branch() -> None:
    """A leaf of ten holds few groups of the ten groups of ten that the classes were made in."""
    model = nested((10, 10), (1.0, 0.3))
    vectors = model.means.flatten(1).double().numpy()
    found = leaves(tree_of_vectors(vectors, [model.names[number] for number in range(100)]))
    pure = [leaf for leaf in found if len({label // 10 for label in leaf.labels}) == 1]
    assert sum(len(leaf.labels) for leaf in pure) >= 80


def test_groups_of_a_file_become_branches(tmp_path: Path) -> None:
    file = tmp_path / "pets.json"
    names = ["cat", "lion", "dog", "wolf", "cup"]
    groups = {"cats": ["cat", "lion", "lynx"], "dogs": [["dog"], "wolf"], "things": ["cup"]}
    file.write_text(json.dumps({"tree": groups}))
    tree = tree_of_groups(read_groups(str(file), names), np.eye(5), names)
    assert sorted(tuple(names[each] for each in leaf.labels) for leaf in leaves(tree)) == [
        ("cat", "lion"),
        ("cup",),
        ("dog",),
        ("wolf",),
    ]
    assert len(tree.parts) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1", "not valid JSON"),
        ("{}", 'has no "tree"'),
        ("[]", 'has no "tree"'),
        ('{"tree": ["cat"]}', "has no label 'dog'"),
        ('{"tree": ["cat", "dog", "dog"]}', "the label 'dog' is in it twice"),
        ('{"tree": ["cat", "dog", 3]}', "'3' is neither a name nor a group"),
        ('{"tree": "cat"}', "'cat' is neither a name nor a group"),
        ('{"tree": ' + "[" * 200 + '"cat"' + "]" * 200 + "}", "more than 100 groups in each other"),
        ('{"tree": ' + "[" * 100_000 + '"cat"' + "]" * 100_000 + "}", "nested too deeply"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str | bytes, why: str) -> None:
    file = tmp_path / "tree.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match="tree") as refused:
        read_groups(str(file), ["cat", "dog"])
    assert why in str(refused.value)


def test_an_unknown_tree_is_refused() -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_groups("nowhere.json", ["cat", "dog"])


def test_the_shipped_tree_has_each_label_of_its_preset_once() -> None:
    """And names its source and licence; near classes share a group."""
    labels = [label.name for label in read_labels("imagenet", presets()).labels]
    document = json.loads(shipped_trees()["imagenet"].read_text())
    assert "WordNet 3.1" in document["source"] and "Princeton University" in document["licence"]
    tree = tree_of_groups(read_groups("imagenet", labels), np.random.default_rng(0).standard_normal((1000, 4)), labels)
    assert sorted(tree.labels) == list(range(1000))
    together = [{labels[each] for each in branch.labels} for branch in tree.walk() if len(branch.labels) < 100]
    assert any({"tabby cat", "Siamese cat"} <= names and "goldfish" not in names for names in together)


def test_a_shipped_tree_does_for_some_of_its_labels() -> None:
    labels = [label.name for label in read_labels("imagenet100", presets()).labels]
    known = {label.name for label in read_labels("imagenet", presets()).labels}
    some = [label for label in labels if label in known]
    tree = tree_of_groups(read_groups("imagenet", some), np.eye(len(some)), some)
    assert len(some) > 50 and sorted(tree.labels) == list(range(len(some)))
