"""What a trained network predicts, as the noise: the loss is that of ε̂, whatever the network's output means.

On the path of constant variance that all trained backbones share, "flow" is rectified flow but for the scale of its
input and of its time. Must not know losses.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bigain_cli.backbones.base import repeat
from bigain_cli.backbones.noise_schedule import NoiseSchedule


def noise_prediction(trainable: Any, schedule: NoiseSchedule) -> Any:
    """Return the network, or what makes ε̂ of its output."""
    if schedule.prediction == "epsilon":
        return trainable

    def predict(noisy: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """Return ε̂ of each image for each of its rows."""  # [b m c h w]
        output = trainable(noisy, t, rows).flatten(0, 1)
        noise = schedule.to_noise(output, repeat(noisy, rows.shape[1]), repeat(t, rows.shape[1]))
        return noise.unflatten(0, rows.shape)

    return predict
