"""The classifier on the middle block: what it trains first, at which times, and that it leaves no trace in a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import train_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.errors import UsageError
from bigain_cli.training.loss import compared_images, compute_losses, draw_batch
from bigain_cli.training.muon import matrices_of
from bigain_cli.training.networks import make_noise_schedule, make_trainable
from bigain_cli.training.recipe import Recipe, load_recipe
from bigain_cli.training.trainer import train

LATE = {"label_entry": "late", "classifier": 0.5, "classifier_first": 0.5, "contrast_labels": 2}


@pytest.mark.parametrize("arch", ["unet", "dit"])
def test_the_part_up_to_the_middle_learns_first_and_then_all_weights_do(arch: str) -> None:
    training = cases.training(cases.recipe(arch, **LATE, decay=0.0))
    shared = {id(weight) for weight in training.trainable.shared_weights()}
    before = [weight.detach().clone() for weight in training.weights]
    for step in training.run():
        moved = [not torch.equal(weight, old) for weight, old in zip(training.weights, before, strict=True)]
        is_first = step.number <= training.recipe.first_steps
        later = [
            has_moved for weight, has_moved in zip(training.weights, moved, strict=True) if id(weight) not in shared
        ]
        assert sum(moved) - sum(later) > 0.9 * len(shared)
        assert not any(later) if is_first else sum(later) > 0.5 * len(later)
        assert (step.error.item() == 0) is is_first and step.classifier.item() > 0
    assert training.recipe.first_steps == 3 and any(moved)


@pytest.mark.parametrize(
    "changes", [{"arch": "dit", "width": 32}, {"arch": "unet", "label_entry": "late", "width": 16}]
)
def test_orthogonal_steps_leave_the_embedding_of_the_time_alone(changes: dict[str, object]) -> None:
    """They made it so large that a U-Net did not learn to predict noise at all."""
    network = make_trainable(cases.recipe(**changes), cases.vocabulary()).network
    moved = {id(weight) for weight in matrices_of(network)}
    names = [name for name, weight in network.named_parameters() if id(weight) in moved]
    assert len(names) > 5 and not [name for name in names if "time" in name]


@pytest.mark.parametrize(("arch", "shape"), [("unet", (4, 12, 8, 8)), ("dit", (4, 3, 16, 16))])
def test_a_later_label_does_not_reach_the_classifier(arch: str, shape: tuple[int, ...]) -> None:
    trainable = make_trainable(cases.recipe(arch, **LATE, depth=3), cases.vocabulary())
    noisy, t = torch.randn(shape), torch.tensor([0, 100, 500, 999])
    middle = trainable.features(noisy, t)
    seen: list[torch.Tensor] = []
    handle = trainable.feature_block().register_forward_hook(lambda *args: seen.append(args[2]))
    trainable(noisy, t, torch.tensor([[0], [1], [2], [3]]))
    handle.remove()
    assert torch.equal(seen[0], middle)


@settings(max_examples=20, deadline=None)
@given(
    low=st.floats(0, 0.5), width=st.floats(0.05, 0.5), share=st.floats(0.05, 1), tilt=st.sampled_from([0.5, 1.0, 2.0])
)
def test_compared_images_have_times_in_the_window_and_others_have_any(
    low: float, width: float, share: float, tilt: float
) -> None:
    wanted = cases.recipe(compare_from=low, compare_to=low + width, compared=share, batch=16, tilt=tilt)
    trainable, images = make_trainable(cases.recipe("dit"), cases.vocabulary()), cases.toy(400)
    plain = cases.recipe(compared=share, batch=16, tilt=tilt)
    batch, other = (draw_batch(images.pixels, images.labels, trainable, each, 1000, 0) for each in (wanted, plain))
    count = compared_images(wanted, 400)
    assert 0 < count <= 400 and abs(count - share * 400) <= 1
    inside = batch.t[:count]
    assert int(low * 1000) <= int(inside.min()) and int(inside.max()) <= (low + width) * 1000
    assert torch.equal(batch.t[count:], other.t[count:])


def test_the_whole_schedule_is_the_default() -> None:
    """Recipes of earlier versions draw the same times."""
    trainable, images = make_trainable(cases.recipe("dit"), cases.vocabulary()), cases.toy(64)
    wanted = cases.recipe("dit", tilt=1.5)
    batch = draw_batch(images.pixels, images.labels, trainable, wanted, 1000, 3)
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(4, 64, generator=generator)[3]
    assert torch.equal(batch.t, (uniform.double().pow(1.5) * 1000).long())


def test_images_that_are_not_compared_count_in_the_error_alone() -> None:
    wanted = cases.recipe(compared=0.5, contrast=3.0, drop=0.0)
    trainable, images = make_trainable(wanted, cases.vocabulary()), cases.toy(8)
    schedule = make_noise_schedule(torch.device("cpu"))
    batch = draw_batch(images.pixels, images.labels, trainable, wanted, 1000, 0)
    first, second = batch.select(slice(4)), batch.select(slice(4, None))
    whole = cases.recipe(contrast=3.0, drop=0.0)
    losses = compute_losses(trainable, batch, schedule, wanted, True)
    compared = compute_losses(trainable, first, schedule, whole, True)
    plain = compute_losses(trainable, second, schedule, whole, False)
    assert losses.contrast.item() == pytest.approx(compared.contrast.item(), rel=1e-5)
    assert losses.error.item() == pytest.approx((compared.error.item() + plain.error.item()) / 2, rel=1e-5)


@given(steps=st.integers(2, 60), share=st.floats(0, 0.99), warmup=st.integers(0, 40))
def test_the_rate_rises_and_falls_once_for_each_part(steps: int, share: float, warmup: int) -> None:
    changes = {"classifier": 1.0, "label_entry": "late", "classifier_first": share}
    wanted = Recipe(images=steps * 4, batch=4, warmup=warmup * 4, rate=1.0, **changes)
    alone = Recipe(images=max(1, wanted.first_steps) * 4, batch=4, warmup=warmup * 4, rate=1.0)
    after = Recipe(images=max(1, steps - wanted.first_steps) * 4, batch=4, warmup=warmup * 4, rate=1.0)
    for step in range(steps):
        part, begin = (alone, 0) if step < wanted.first_steps else (after, wanted.first_steps)
        assert wanted.rate_at(step) == pytest.approx(part.rate_at(step - begin))


def test_a_finished_model_has_no_classifier_and_recommends_the_times(tmp_path: Path) -> None:
    job = cases.job(tmp_path / "m", recipe=cases.recipe(**LATE, compare_from=0.1, compare_to=0.5))
    list(train(job))
    for file in tmp_path.glob("m/*/*.safetensors"):
        if file.parent.name in ("unet", "text_encoder"):
            assert not [name for name in load_file(file) if "classifier" in name]
    assert ModelCard.read(tmp_path / "m").times == (0.1, 0.5)


@pytest.mark.parametrize(
    ("given_values", "what"),
    [
        ({"classifier": 1.0}, "--classifier 1.0: the whole of this network reads the label"),
        ({"classifier": 1.0, "arch": "dit"}, "--classifier 1.0: the whole of this network reads the label"),
        ({"muon": 0.02, "precision": "float16"}, "--precision float16: does not go with muon"),
        ({"classifier_first": 0.5}, "--classifier-first 0.5: there is no classifier"),
        ({"compared": 0.5}, "--compared 0.5: has no effect: labels are not compared while contrast is 0"),
        ({"shared_rate": 0.5}, "--shared-rate 0.5: has no effect: there is no classifier"),
        ({"keep": "shared"}, "--keep shared: has no effect: there is no classifier"),
        ({"keep": "some"}, "--keep some: unknown"),
        ({"compare_from": 0.5, "compare_to": 0.5, "contrast": 1.0}, "--compare-to 0.5: must be above compare_from"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(given_values: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_recipe(None, given_values)
    assert what in str(refused.value)
