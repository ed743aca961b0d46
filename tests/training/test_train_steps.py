"""What a step computes, and that all of it hangs on the seed and the step alone."""

from __future__ import annotations

import math
import signal
from typing import Any

import numpy as np
import pytest
import torch
import train_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigain_cli.cli.signals import EndingSignal
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bigain_cli.training.loss import as_input, compute_losses, draw_batch, mean_square_errors, shifted
from bigain_cli.training.muon import orthogonalised
from bigain_cli.training.networks import make_noise_schedule
from bigain_cli.training.recipe import Recipe
from bigain_cli.training.training_loop import Training

ARCHES = ("unet", "dit")


def finished(training: Training) -> dict[str, Tensor]:
    list(training.run())
    return training.checkpoint().tensors


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    first, again, other = (finished(cases.training(cases.recipe("dit", seed=seed))) for seed in (3, 3, 4))
    assert same(first, again)
    changed = [name for name in first if name.startswith("weight.") and not torch.equal(first[name], other[name])]
    assert len(changed) == sum(name.startswith("weight.") for name in first)


LATE = {"label_entry": "late", "contrast_labels": 9, "muon": 0.02, "shift": 2}
FIRST = {"classifier": 0.5, "classifier_first": 0.5, "shared_rate": 0.2, "compared": 0.75, "compare_to": 0.4}


@pytest.mark.parametrize(
    ("arch", "changes", "pauses"),
    [
        ("dit", {}, range(6)),
        ("dit", {**LATE, **FIRST, "depth": 3, "prediction": "v_prediction"}, (2, 4)),
        ("unet", {}, (2,)),
        ("unet", LATE, (2,)),
        ("unet", {**LATE, **FIRST}, (2, 4)),
        ("unet", {**LATE, **FIRST, "label_blocks": 2}, (4,)),
    ],
)
def test_continuing_from_any_checkpoint_ends_at_the_same_weights(
    arch: str, changes: dict[str, Any], pauses: Any, tmp_path: Any
) -> None:
    wanted = cases.recipe(arch, **changes)
    whole, states = cases.training(wanted), []
    states.append(whole.checkpoint())
    for _ in whole.run():
        states.append(whole.checkpoint())
    for pause in pauses:
        save_checkpoint(tmp_path / "state", states[pause])
        other = cases.training(wanted)
        other.restore(load_checkpoint(tmp_path / "state"))
        assert other.step == pause
        assert same(finished(other), states[-1].tensors)


def test_a_state_does_not_change_with_the_training() -> None:
    training = cases.training(cases.recipe("dit"))
    steps = training.run()
    next(steps)
    state = training.checkpoint()
    before = {name: value.clone() for name, value in state.tensors.items()}
    next(steps)
    assert same(state.tensors, before)


@settings(max_examples=12, deadline=None)
@given(count=st.integers(2, 23), batch=st.integers(1, 9))
def test_every_image_comes_once_before_any_comes_twice(count: int, batch: int) -> None:
    training = Training.__new__(Training)  # the order alone: networks have no part in it
    training.recipe, training.device = cases.recipe("dit", batch=batch), torch.device("cpu")
    training.labels, training._order = torch.zeros(count), None
    seen = []
    for training.step in range(math.ceil(3 * count / batch)):
        seen += training._batch_index().tolist()
    epochs = [seen[begin : begin + count] for begin in (0, count, 2 * count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert count < 8 or epochs[0] != epochs[1]


def test_the_average_follows_its_formula() -> None:
    training = cases.training(cases.recipe("dit", ema=0.4))
    mean = [weight.detach().double().clone() for weight in training.weights]
    for number, _ in enumerate(training.run()):
        keep = min(0.4, (1 + number) / (10 + number))
        mean = [
            keep * old + (1 - keep) * new.detach().double() for old, new in zip(mean, training.weights, strict=True)
        ]
    for expected, found in zip(mean, training.averaged().values(), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_rate_rises_in_a_line_and_ends_in_half_a_cosine() -> None:
    wanted = Recipe(images=6400, batch=64, warmup=640, rate=2.0)
    assert wanted.steps == 100
    assert wanted.rate_at(0) == pytest.approx(0.2) and wanted.rate_at(4) == pytest.approx(1.0, rel=0.01)
    assert wanted.rate_at(50) == pytest.approx(1.0)
    assert 0 < wanted.rate_at(99) < 0.001
    assert Recipe(images=64, warmup=0, rate=2.0).rate_at(0) == 2.0
    assert [step.rate for step in cases.training(cases.recipe("dit")).run()] == [
        cases.recipe("dit").rate_at(step) for step in range(6)
    ]


def sample_of(arch: str = "unet", count: int = 64, **changes: Any) -> tuple[Any, Any, Any, Recipe]:
    wanted = cases.recipe(arch, batch=16, images=64, **changes)
    training = cases.training(wanted, cases.toy(count))
    sample = draw_batch(training.pixels, training.labels, training.trainable, wanted, 1000, 5)
    return training, sample, training.trainable, wanted


@pytest.mark.parametrize("arch", ARCHES)
def test_wrong_rows_never_belong_to_the_right_class(arch: str) -> None:
    training, sample, trainable, _ = sample_of(arch, 300, drop=0.0)
    owner = torch.full((trainable.empty + 1,), -1)
    for label, (start, count) in enumerate(zip(trainable.first_rows, trainable.row_counts, strict=True)):
        owner[start : start + count] = label
    assert torch.equal(owner[sample.rows], training.labels)
    assert (owner[sample.wrong_rows[:, 0]] != training.labels).all() and (owner[sample.wrong_rows] >= 0).all()
    for label in range(3):  # all others come, and all of their sentences
        assert set(owner[sample.wrong_rows[training.labels == label, 0]].tolist()) == {0, 1, 2} - {label}
    assert set(sample.wrong_rows[:, 0].tolist()) == set(sample.rows.tolist()) == set(range(trainable.empty))


@pytest.mark.parametrize("arch", ARCHES)
def test_dropped_labels_use_the_empty_row(arch: str) -> None:
    training, sample, trainable, _ = sample_of(arch, 300, drop=0.3)
    assert torch.equal(sample.has_label, sample.rows != trainable.empty)
    assert 0.2 < 1 - sample.has_label.float().mean() < 0.4
    assert sample_of(arch, 300, drop=0.0)[1].has_label.all()
    if arch == "unet":
        empty = training.trainable.tokenizer("", padding="max_length", max_length=trainable.ids.shape[1]).input_ids
        assert trainable.ids[trainable.empty].tolist() == empty
    else:
        assert trainable.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.num_embeddings == 4


@pytest.mark.parametrize("arch", ARCHES)
def test_flipping_mirrors_whole_images(arch: str) -> None:
    training, sample, _, wanted = sample_of(arch)
    plain, mirrored = (as_input(pixels, wanted) for pixels in (training.pixels, training.pixels.flip(-1)))
    turned = [torch.equal(clean, image) for clean, image in zip(sample.clean, mirrored, strict=True)]
    for number, clean in enumerate(sample.clean):
        assert turned[number] or torch.equal(clean, plain[number])
    assert 16 < sum(turned) < 48
    assert torch.equal(sample_of(arch, flip=False)[1].clean, plain)


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 10**9), tilt=st.floats(0.2, 5))
def test_times_are_times_of_the_schedule(step: int, tilt: float) -> None:
    wanted = cases.recipe("dit", tilt=tilt)
    trainable: Any = TRAINABLE
    sample = draw_batch(IMAGES.pixels, IMAGES.labels, trainable, wanted, 1000, step)
    assert sample.t.dtype == torch.int64 and 0 <= int(sample.t.min()) <= int(sample.t.max()) < 1000


IMAGES = cases.toy(24)
TRAINABLE = cases.training(cases.recipe("dit")).trainable


@pytest.mark.parametrize(("arch", "entry"), [("unet", "early"), ("unet", "late"), ("dit", "early"), ("dit", "late")])
@pytest.mark.parametrize("others", [1, 9])
def test_the_losses_are_those_of_a_slow_loop(arch: str, entry: str, others: int) -> None:
    changes = {"label_entry": entry, "contrast_labels": others, "size": 16, "width": 16}
    training, sample, trainable, wanted = sample_of(arch, 8, drop=0.4, sharpness=7.0, **changes)
    assert sample.wrong_rows.shape == (8, min(others, 2)), "there are two wrong labels"
    with torch.no_grad():
        for parameter in trainable.parameters():  # a fresh DiT answers nothing to every label
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
        seen = compute_losses(trainable, sample, training.schedule, wanted, True)
        rights, terms = [], []
        for number in range(8):
            t = sample.t[number : number + 1]
            a, s = training.schedule.a[t], training.schedule.s[t]
            noise = sample.noise[number]
            noisy = (a * sample.clean[number] + s * noise)[None]
            rows = [sample.rows[number], *sample.wrong_rows[number]]
            right, *wrong = (float(((trainable(noisy, t, row[None, None])[0, 0] - noise) ** 2).mean()) for row in rows)
            rights.append(right)
            if sample.has_label[number]:
                terms.append(math.log(1 + sum(math.exp(-7.0 * math.log(each / right)) for each in wrong)))
    assert 0 < len(terms) < 8
    contrast = sum(terms) / len(terms)
    assert float(seen.error) == pytest.approx(sum(rights) / 8, rel=1e-5)
    assert float(seen.contrast) == pytest.approx(contrast, rel=1e-4)
    balanced = sum(map(math.log, rights)) / 8
    assert float(seen.total) == pytest.approx(balanced + wanted.contrast * contrast, rel=1e-4)


def test_without_contrast_the_error_is_the_same_and_the_wrong_labels_are_not_run() -> None:
    training, sample, trainable, wanted = sample_of("dit", 8)
    with torch.no_grad():
        both, alone = (compute_losses(trainable, sample, training.schedule, wanted, on) for on in (True, False))
    torch.testing.assert_close(both.error, alone.error)
    assert float(alone.contrast) == 0
    torch.testing.assert_close(alone.total, both.total - wanted.contrast * both.contrast)


def test_every_time_counts_alike() -> None:
    """The loss follows relative errors: halving all of them moves it equally wherever they were."""
    training, sample, _, wanted = sample_of("dit", 8)

    def loss(scale: float) -> float:
        class Network:  # answers with errors from 1e-4 to 1 times `scale`
            classifier = None

            def __call__(self, *_: Any) -> torch.Tensor:
                size = scale * torch.logspace(-2, 0, 8)[:, None, None, None]
                return (sample.noise + size)[:, None]

        losses = compute_losses(Network(), sample, training.schedule, wanted, False)  # type: ignore[arg-type]
        return float(losses.total)

    assert loss(1.0) - loss(0.5) == pytest.approx(math.log(4), rel=1e-4)
    assert math.isfinite(loss(0.0))


@pytest.mark.parametrize(
    ("weight", "begin", "expected"),
    [(0.1, 0.0, "111111"), (0.1, 0.5, "000111"), (0.1, 0.9, "000000"), (0.0, 0.0, "000000")],
)
def test_contrast_waits_for_its_share_of_the_training(weight: float, begin: float, expected: str) -> None:
    wanted = cases.recipe("dit", contrast=weight, contrast_from=begin)
    seen = [float(step.contrast) > 0 for step in cases.training(wanted).run()]
    assert seen == [each == "1" for each in expected]


def test_errors_are_mean_squares_in_float32() -> None:
    output, noise = torch.randn(2, 5, 3, 4, 4).bfloat16(), torch.randn(2, 1, 3, 4, 4)
    assert torch.equal(mean_square_errors(output, noise), (output.float() - noise).square().mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("arch", "first", "last"), [("unet", "conv_in", "conv_out"), ("dit", "pos_embed.proj", "proj_out_2")]
)
def test_a_late_network_runs_what_precedes_its_labels_once_for_each_image(arch: str, first: str, last: str) -> None:
    _, sample, trainable, wanted = sample_of(arch, 8, label_entry="late", contrast_labels=2)
    rows: dict[str, int] = {}
    for name in (first, last):
        layer = trainable.network.get_submodule(name)
        layer.register_forward_hook(lambda module, args, output, name=name: rows.update({name: len(output)}))
    compute_losses(trainable, sample, make_noise_schedule(torch.device("cpu")), wanted, True).total.backward()
    assert rows == {first: 8, last: 24}
    assert all(weight.grad is not None for weight in trainable.network.parameters() if weight.requires_grad)


@pytest.mark.parametrize("arch", ARCHES)
def test_the_gradient_of_a_shared_prefix_is_that_of_whole_passes(arch: str) -> None:
    _, sample, trainable, wanted = sample_of(arch, 8, label_entry="late", contrast_labels=2)
    schedule, gradients = make_noise_schedule(torch.device("cpu")), []
    for trainable.is_late in (True, False):
        trainable.zero_grad()
        compute_losses(trainable, sample, schedule, wanted, True).total.backward()
        gradients.append([weight.grad.clone() for weight in trainable.parameters() if weight.grad is not None])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 9))
def test_an_orthogonalised_matrix_has_the_same_directions_and_singular_values_near_1(rows, columns, seed) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(orthogonalised([matrix])[0])
    large = torch.linalg.svdvals(matrix) > 0.05 * torch.linalg.matrix_norm(matrix)
    assert (values[large] > 0.6).all() and (values < 1.3).all()
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    projected = left.T @ orthogonalised([matrix])[0] @ right.T
    assert (projected - projected.diag().diag()).abs().max() < 1e-3


def test_many_matrices_are_orthogonalised_each_as_if_alone() -> None:
    shapes = [(4, 9), (9, 4), (4, 4), (7, 3), (3, 30), (4, 5)]
    matrices = [
        torch.randn(shape, generator=torch.Generator().manual_seed(number)) for number, shape in enumerate(shapes)
    ]
    for together, matrix in zip(orthogonalised(matrices), matrices, strict=True):
        torch.testing.assert_close(together, orthogonalised([matrix])[0])


@settings(max_examples=20, deadline=None)
@given(most=st.integers(0, 7), seed=st.integers(0, 99))
def test_a_shifted_image_is_a_part_of_its_mirrored_surroundings(most: int, seed: int) -> None:
    pixels, uniform = cases.toy(4, seed).pixels, torch.rand(2, 4, generator=torch.Generator().manual_seed(seed))
    for image, moved, (dy, dx) in zip(pixels, shifted(pixels, most, uniform), uniform.T, strict=True):
        wide = np.pad(image.numpy(), ((0, 0), (most, most), (most, most)), mode="reflect")
        y, x = (int(each * (2 * most + 1)) for each in (dy, dx))
        assert np.array_equal(moved.numpy(), wide[:, y : y + 16, x : x + 16])


def test_the_same_step_draws_the_same_and_another_draws_otherwise() -> None:
    wanted = cases.recipe("dit")
    one, again, other = (draw_batch(IMAGES.pixels, IMAGES.labels, TRAINABLE, wanted, 1000, step) for step in (7, 7, 8))
    for name, value in vars(one).items():
        assert torch.equal(value, vars(again)[name])
    assert not torch.equal(one.noise, other.noise) and not torch.equal(one.t, other.t)


def test_bfloat16_trains_too() -> None:
    steps = list(cases.training(cases.recipe("dit", precision="bfloat16")).run())
    assert len(steps) == 6 and all(math.isfinite(step.error) for step in steps)


def test_lost_weights_are_not_kept() -> None:
    training = cases.training(cases.recipe("dit", rate=1e30))
    list(training.run())
    with pytest.raises(BigainError, match=r"step 6: the weights are not finite. Lower --rate"):
        training.checkpoint()


def test_a_checkpoint_of_something_else_is_refused_by_what_differs(tmp_path: Any) -> None:
    wanted = cases.recipe("dit")
    state = cases.training(wanted).checkpoint()
    with pytest.raises(UsageError, match=r"other settings \(depth 2 → 3; rate 0.001 → 0.002\)"):
        cases.training(cases.recipe("dit", depth=3, rate=0.002)).restore(state)
    with pytest.raises(UsageError, match=r"other images. Give the same data, the same --held-out too"):
        cases.training(wanted, cases.toy(seed=1)).restore(state)
    words = Checkpoint(**{**vars(state), "words": {"classes": ["a", "b"]}})
    with pytest.raises(UsageError, match=r"other --synonyms, --template or --from"):
        cases.training(wanted).restore(words)
    name = next(name for name in state.tensors if name.startswith("average."))
    for tensors in ({**state.tensors, name: torch.zeros(3)}, {k: v for k, v in state.tensors.items() if k != name}):
        with pytest.raises(UsageError, match="is not this network's"):
            cases.training(wanted).restore(Checkpoint(**{**vars(state), "tensors": tensors}))


def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Any) -> None:
    path = tmp_path / "state"
    with pytest.raises(UsageError, match="no checkpoint to continue from"):
        load_checkpoint(path)
    save_checkpoint(path, cases.training(cases.recipe("dit")).checkpoint())
    whole = path.read_bytes()
    for broken in (b"", whole[:100], whole[: len(whole) // 2], b"no safetensors at all"):
        path.write_bytes(broken)
        with pytest.raises(UsageError, match="not a checkpoint"):
            load_checkpoint(path)
    from safetensors.torch import save_file

    for metadata in (None, {"training": "[]"}, {"training": '{"step": 3}'}):
        save_file({"a": torch.zeros(1)}, path, metadata)
        with pytest.raises(UsageError, match="not a checkpoint"):
            load_checkpoint(path)


@pytest.mark.usefixtures("signals")
def test_a_signal_waits_until_a_checkpoint_is_read(tmp_path: Any, monkeypatch: Any) -> None:
    path = tmp_path / "state"
    save_checkpoint(path, cases.training(cases.recipe("dit")).checkpoint())
    asarray, seen = torch.asarray, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        seen.append(asarray(*arguments, **options))
        return seen[-1]

    with monkeypatch.context() as patch, pytest.raises(EndingSignal) as caught:
        patch.setattr(torch, "asarray", interrupted)
        load_checkpoint(path)
    assert len(seen) == len(load_checkpoint(path).tensors) and caught.value.code == 143


@pytest.mark.parametrize("how", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_former_checkpoint(tmp_path: Any, monkeypatch: Any, how: BaseException) -> None:
    from bigain_cli.training import checkpoint

    path = tmp_path / "state"
    save_checkpoint(path, cases.training(cases.recipe("dit")).checkpoint())
    before = path.read_bytes()

    def half(tensors: object, target: Any, about: object) -> None:
        target.write_bytes(before[:1000])
        raise how

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises((BigainError, KeyboardInterrupt)):
        save_checkpoint(path, cases.training(cases.recipe("dit", seed=1)).checkpoint())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


BAD = {
    "size": (0, -32, 4, 30),
    "patch": (0, 3, 8),
    "width": (0, -8, 7, 20),
    "depth": (0,),
    "images": (0, -1),
    "batch": (0, 500_000),
    "rate": (0.0, -1.0, math.nan, math.inf),
    "warmup": (-1,),
    "decay": (-0.1, math.nan, math.inf),
    "ema": (-0.1, 1.0, math.nan),
    "drop": (-0.1, 1.0, math.nan),
    "contrast_from": (-0.1, 1.0, math.nan),
    "contrast": (-1.0, math.nan),
    "sharpness": (0.0, math.nan),
    "tilt": (0.0, -1.0, math.inf),
    "precision": ("float64",),
    "seed": (-1, 2**32),
    "arch": ("resnet",),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^(--)?{name} .*: .+\\. .+"):
        Recipe(**{name: value})


@pytest.mark.parametrize("width", [8, 24, 40, 56])
def test_every_width_that_is_allowed_makes_a_network(width: int) -> None:
    training = cases.training(cases.recipe("unet", width=width, images=2, batch=2))
    assert len(list(training.run())) == 1


@pytest.mark.parametrize(("arch", "size", "patch"), [("unet", 8, 1), ("unet", 32, 4), ("dit", 4, 2), ("dit", 6, 1)])
def test_thesquareest_sizes_that_are_allowed_make_a_network(arch: str, size: int, patch: int) -> None:
    wanted = cases.recipe(arch, size=size, patch=patch, images=2, batch=2)
    assert len(list(cases.training(wanted, cases.toy(size=size)).run())) == 1
