"""Networks that predict something else than the noise are trained on its error, and are read as what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import train_cases as cases

import bigain_cli as bigain
from bigain_cli.errors import UsageError
from bigain_cli.training.loss import compute_losses, draw_batch
from bigain_cli.training.networks import make_noise_schedule, make_trainable
from bigain_cli.training.noise_prediction import noise_prediction
from bigain_cli.training.trainer import train


@pytest.mark.parametrize("prediction", ["flow", "v_prediction", "sample"])
def test_a_folder_says_what_its_network_predicts(prediction: str, tmp_path: Path) -> None:
    job = cases.job(tmp_path / "model", recipe=cases.recipe("dit", prediction=prediction))
    for _ in train(job):
        pass
    config = json.loads((tmp_path / "model" / "scheduler" / "scheduler_config.json").read_text())
    assert config["prediction_type"] == prediction
    backbone = bigain.load(str(tmp_path / "model"), "cpu", "float32", None)
    assert backbone.process.prediction == prediction
    assert len(list(bigain.generate(backbone, "bird", steps=2))) == 1


def test_the_loss_of_a_flow_is_that_of_the_noise_it_stands_for() -> None:
    recipe = cases.recipe("dit", prediction="flow")
    trainable = make_trainable(recipe, cases.vocabulary())
    schedule = make_noise_schedule(torch.device("cpu"), "flow")
    images = cases.toy(4)
    batch = draw_batch(images.pixels, images.labels, trainable, recipe, len(schedule), 0)

    class Exact:
        classifier = None

        def __call__(self, noisy: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            return (batch.noise - batch.clean)[:, None].expand(-1, rows.shape[1], -1, -1, -1)

    exact: Any = Exact()
    for with_contrast in (False, True):
        loss = compute_losses(exact, batch, schedule, recipe, with_contrast)
        assert loss.error.item() < 1e-9
    assert noise_prediction(exact, make_noise_schedule(torch.device("cpu"))) is exact


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(UsageError, match="prediction mood: unknown"):
        cases.recipe(prediction="mood")
