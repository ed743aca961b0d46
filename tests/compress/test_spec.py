from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain_cli.compress import OPERATORS, Spec, parse
from bigain_cli.compress.operators import OperatorInfo
from bigain_cli.compress.spec import Term
from bigain_cli.errors import UsageError

KNOWN = "Known: lgtm, tome, sito, abm, iekvd, todo, avg."
TAKES = "'lgtm' takes compat, mode=, gate=, pad=, stride=, levels=, blocks=, plan=, share=, bias."
numbers = st.floats(-100, 100, allow_nan=False)
VALUES = {
    "mode": st.sampled_from(["mean", "prune", "mlerp"]),
    "gate": st.floats(0, 50),
    "pad": st.sampled_from(["zero", "replicate"]),
    "pool": st.sampled_from(["sum", "max"]),
    "stride": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "plan": st.sampled_from(["shared", "per-label"]),
    "share": st.sampled_from(["block", "level"]),
    "bias": st.booleans(),
    "alpha": st.tuples(numbers, numbers),
}
where = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"levels": st.one_of(st.integers(1, 64), st.just("all"))}),
    st.fixed_dictionaries({"blocks": st.sets(st.integers(0, 30), min_size=1).map(lambda s: tuple(sorted(s)))}),
)


@st.composite
def terms(draw: st.DrawFn) -> Term:
    name = draw(st.sampled_from(sorted(OPERATORS)))
    info: OperatorInfo = OPERATORS[name]
    amount = draw(st.floats(0, 1)) if info.amount == "ratio" else draw(st.integers(1, 64))
    options = {key: draw(VALUES[key]) for key in info.options if key in VALUES} | draw(where)
    if info.amount == "ratio":
        options |= {"mlp": draw(st.booleans()), "cross": draw(st.booleans())}
    return Term(name, amount, draw(st.sampled_from(["", *info.variants])), **options)


@given(st.lists(terms(), max_size=4))
def test_what_is_written_is_read_back(listed: list[Term]) -> None:
    spec = Spec(tuple(listed))
    assert parse(str(spec)) == spec
    assert str(parse(str(spec))) == str(spec)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("none", "none"),
        (" lgtm:0.70 ", "lgtm:0.7"),
        ("iekvd:2", "iekvd:2@0.9"),
        ("iekvd:2@.8:1.2", "iekvd:2@0.8:1.2"),
        ("iekvd:2@0.9:0.9", "iekvd:2@0.9"),
        ("lgtm:0.5+iekvd:2@0.9", "lgtm:0.5+iekvd:2@0.9"),
        ("lgtm:.5@pad=replicate@compat@gate=.5", "lgtm:0.5@compat@gate=0.5@pad=replicate"),
        ("lgtm:0.5@blocks=7-11,1-3,4,5,20", "lgtm:0.5@blocks=1-5,7-11,20"),
        ("lgtm:0.5@levels=1", "lgtm:0.5@levels=1"),
        ("lgtm:0.5@mode=mean@stride=2x2", "lgtm:0.5"),
        ("tome:0.5@fixed+cross+mlp", "tome:0.5@fixed+mlp+cross"),
        ("abm:0.5@pool=max", "abm:0.5@pool=max"),
        ("abm:0.5@pool=sum", "abm:0.5"),
        ("lgtm:0.5+iekvd:2+mlp", "lgtm:0.5+mlp+iekvd:2@0.9"),
        ("tome:1@bias@stride=4x2", "tome:1@bias@stride=4x2"),
        ("todo:3@levels=all+avg:2@levels=2", "todo:3@levels=all+avg:2@levels=2"),
    ],
)
def test_equal_meaning_has_one_text(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lgtmm:0.5", "compression 'lgtmm:0.5': unknown operator 'lgtmm'. Did you mean lgtm? " + KNOWN),
        (
            "zzz:1",
            "compression 'zzz:1': unknown operator 'zzz'. " + KNOWN,
        ),
        ("lgtm", "compression 'lgtm': 'lgtm' needs a ratio. Write lgtm:0.5."),
        ("tome@fixed", "compression 'tome@fixed': 'tome' needs a ratio. Write tome:0.5@fixed."),
        ("lgtm@compat:0.5", "compression 'lgtm@compat:0.5': 'lgtm' needs a ratio. Write lgtm:0.5@compat."),
        ("todo", "compression 'todo': 'todo' needs a factor. Write todo:2."),
        ("", "compression '': a term is empty. Write NAME:NUMBER, such as lgtm:0.5, or none."),
        ("lgtm:0.5+", "compression 'lgtm:0.5+': a term is empty. Write NAME:NUMBER, such as lgtm:0.5, or none."),
        (
            "lgtm:1.2",
            "compression 'lgtm:1.2': '1.2' is no ratio for 'lgtm'. Write the share of tokens to merge, from 0 to 1; "
            "at stride 2x2 one token in four stays: 0.75 at most.",
        ),
        (
            "iekvd:2.5",
            "compression 'iekvd:2.5': '2.5' is no factor for 'iekvd'. Write a whole number from 1 up: iekvd:2 keeps "
            "one key in four.",
        ),
        ("lgtm:0.5@gat=1", "compression 'lgtm:0.5@gat=1': unknown modifier '@gat=1'. Did you mean gate=? " + TAKES),
        ("lgtm:0.5@compta", "compression 'lgtm:0.5@compta': unknown modifier '@compta'. Did you mean compat? " + TAKES),
        (
            "lgtm:0.5@mode=max",
            "compression 'lgtm:0.5@mode=max': 'max' is no mode for 'lgtm'. Write mean or prune or mlerp.",
        ),
        ("lgtm:0.5@gate=-1", "compression 'lgtm:0.5@gate=-1': '-1' is no gate for 'lgtm'. Write a number from 0 up."),
        (
            "iekvd:2@x",
            "compression 'iekvd:2@x': 'x' is no alpha. Write a number such as 0.9, or NOISY:CLEAN such as 0.8:1.2.",
        ),
        ("todo:2@0.9", "compression 'todo:2@0.9': unknown modifier '@0.9'. 'todo' takes levels=, blocks=."),
        ("iekvd:2+mlp", "compression 'iekvd:2+mlp': '+mlp' follows no merging. Write it as lgtm:0.5+mlp."),
        ("lgtm:0.5+mlp+mlp", "compression 'lgtm:0.5+mlp+mlp': '+mlp' is written twice. Once is enough."),
        (
            "lgtm:0.5@gate=1@gate=2",
            "compression 'lgtm:0.5@gate=1@gate=2': gate is given twice for 'lgtm'. Keep one of them.",
        ),
        (
            "lgtm:0.5@levels=1@blocks=1",
            "compression 'lgtm:0.5@levels=1@blocks=1': levels and blocks both say where. Keep one of them.",
        ),
    ],
)
def test_errors_say_what_why_and_what_to_try(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        *("lgtm:nan", "lgtm:inf", "lgtm:-0.1", "lgtm:x", "lgtm:", "iekvd:0", "iekvd:-2", "iekvd:²", "iekvd:2@nan"),
        *("lgtm:0.5@stride=2", "lgtm:0.5@stride=0x2", "lgtm:0.5@stride=ax2", "lgtm:0.5@levels=0", "lgtm:0.5@levels="),
        *("lgtm:0.5@blocks=5-1", "lgtm:0.5@blocks=", "lgtm:0.5@blocks=-1", "lgtm:0.5@blocks=0-999999999"),
        *("tome:0.5@compat", "tome:0.5@gate=1", "abm:0.5@gate=1", "sito:0.5@mode=mean", "todo:2@bias", "lgtm:0.5@"),
        *("mlp", "+mlp", "none+lgtm:0.5", "lgtm:0.5@variant=compat", "lgtm:0.5@amount=1", "tome:.5@fixed@unshared"),
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_plan_for_all_labels_is_the_default() -> None:
    assert parse("lgtm:0.5").shared and parse("tome:0.5").shared
    assert not parse("lgtm:0.5@plan=per-label").shared
    assert not parse("tome:0.5@unshared").shared
    assert not parse("iekvd:2").shared and not parse("none").shared


def test_specs_are_read_without_torch() -> None:
    code = (
        "import sys; from bigain_cli.compress import OPERATORS, parse;"
        "parse('lgtm:0.5+iekvd:2'); print(len(OPERATORS));"
        "assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(OPERATORS)


def test_alpha_may_be_named_and_a_word_for_it_is_explained() -> None:
    assert parse("iekvd:2@alpha=0.8:1.2") == parse("iekvd:2@0.8:1.2")
    with pytest.raises(UsageError, match=r"'alpha' is no alpha\. Write a number such as 0\.9"):
        parse("iekvd:2@alpha")
    with pytest.raises(UsageError, match="a comma is no part of a spec"):
        parse("lgtm:0.5@blocks=1,2,none")
