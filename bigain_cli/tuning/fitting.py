"""Fit what is tuned to some of the recorded errors, and give the probabilities of others.

Time weights and biases are those of a multinomial logistic regression on the moments of the losses, which is convex; a
normal prior keeps weights near equal and biases near none. The temperature is fitted last, to the gaps that follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification import estimators
from bigain_cli.classification.tuned_losses import never_negative, weights_at
from bigain_cli.tuning.recorded_errors import OWN, TUNABLE, Array, RecordedErrors, Variant

Numbers = NDArray[np.int64]
WEIGHT_SPREAD = 1.0  # of the prior of a time weight's coefficient
BIAS_SPREAD = 0.5  # of the prior of a label's bias, in logits
NEWTON_STEPS, TOLERANCE = 50, 1e-9
LEAST = 1e-12  # smaller probabilities count as this one


@dataclass(frozen=True)
class Choice:
    """What is tuned; whatever is, the temperature is fitted with it."""

    temperature: bool = False
    score: bool = False
    degree: int = 0  # of the time weights
    template: bool = False
    bias: bool = False


@dataclass(frozen=True)
class Fitted:
    """A way to judge errors; without a temperature, probabilities say how sure the draws are about the order."""

    score: str
    temperature: float | None
    coefficients: Array = dataclasses.field(default_factory=lambda: np.zeros(0))
    bias: Array | None = None  # [labels]
    variant: Variant = OWN

    def probabilities(self, data: RecordedErrors, images: Numbers) -> Array:
        """Return every label's probability."""  # [images labels]
        losses = self.losses(data, images)
        if self.temperature is None:
            leaders = losses.mean(axis=1).argmin(axis=1)
            pairs = zip(losses, leaders, strict=True)
            return np.stack([estimators.probabilities(table, int(leader), None) for table, leader in pairs])
        gaps, errors = gaps_of(losses)
        return estimators.gap_softmax(np.hypot(self.temperature, errors), gaps)

    def losses(self, data: RecordedErrors, images: Numbers) -> Array:
        """Return the losses of some images."""  # [images draws labels]
        losses = data.losses(self.variant, self.score)[images]
        if len(self.coefficients):
            losses = losses * weights_at(data.times[images], list(self.coefficients))[..., None]
        return losses if self.bias is None else losses + self.bias


def gaps_of(losses: Array) -> tuple[Array, Array]:
    """Return each label's gap to the leader, and its standard error."""  # [images draws labels] -> [images labels]
    means = losses.mean(axis=1)
    leaders = means.argmin(axis=1)[:, None, None]
    differences = losses - np.take_along_axis(losses, leaders, axis=2)
    errors = differences.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return differences.mean(axis=1), errors


def log_losses(probabilities: Array, truth: Numbers) -> Array:
    """Return minus the logarithm of the true label's probability, for each image."""
    return -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], LEAST))


def fit(choice: Choice, baseline: Fitted, data: RecordedErrors, images: Numbers) -> Fitted:
    """Fit a choice to some images."""
    if choice == Choice():
        return baseline
    scores = TUNABLE if choice.score else (baseline.score,)
    variants = data.variants if choice.template else (OWN,)
    tried = [
        _with_temperature(Fitted(score, None, variant=variant), data, images)
        for score in scores
        for variant in variants
    ]
    truth = data.truth[images]
    best = min(tried, key=lambda found: float(log_losses(found.probabilities(data, images), truth).mean()))
    if choice.degree or choice.bias:
        best = _adjusted(choice, best, data, images)
    return best


def _with_temperature(found: Fitted, data: RecordedErrors, images: Numbers) -> Fitted:
    """Fit the temperature; where none beats chance, take one that makes all labels alike."""
    key = (found.variant, found.score, images.tobytes())  # several choices begin with the same fit
    is_plain = not len(found.coefficients) and found.bias is None
    if is_plain and key in data.temperatures:
        return dataclasses.replace(found, temperature=data.temperatures[key])
    gaps, errors = gaps_of(found.losses(data, images))
    temperature = estimators.fitted_temperature(gaps, errors, data.truth[images])
    temperature = temperature or 1e6 * max(float(gaps.max()), LEAST)
    if is_plain:
        data.temperatures[key] = temperature
    return dataclasses.replace(found, temperature=temperature)


def _adjusted(choice: Choice, found: Fitted, data: RecordedErrors, images: Numbers) -> Fitted:
    """Fit time weights and biases, too."""
    assert found.temperature is not None
    moments = data.moments(found.variant, found.score)[: choice.degree + 1, images]
    slopes, bias = regression(moments, data.truth[images], found.temperature, choice.bias)
    if slopes[0] <= 0:
        return found
    coefficients = never_negative(slopes[1:] / slopes[0])
    offsets = (bias - bias.mean()) / slopes[0] if choice.bias else None
    return _with_temperature(dataclasses.replace(found, coefficients=coefficients, bias=offsets), data, images)


def regression(moments: Array, truth: Numbers, temperature: float, with_bias: bool) -> tuple[Array, Array]:
    """Return slopes of the moments and a bias of each label, in logits: those of the greatest penalised likelihood.

    Newton's method with steps that are halved until the loss falls.
    """  # [slopes images labels], [images]
    count, labels = len(moments), moments.shape[2]
    centred = (moments - moments.mean(axis=2, keepdims=True)) / temperature
    right = np.zeros(moments.shape[1:])
    right[np.arange(len(truth)), truth] = 1
    stiffness = np.concatenate([np.zeros(1), np.full(count - 1, WEIGHT_SPREAD**-2), np.full(labels, BIAS_SPREAD**-2)])
    values = np.concatenate([np.ones(1), np.zeros(count - 1 + labels)])
    free = slice(0, count + labels if with_bias else count)

    def judged(values: Array) -> tuple[float, Array]:
        logits = -np.einsum("j,jik->ik", values[:count], centred) - values[count:]
        shifted = logits - logits.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-(logs * right).sum() + (stiffness * values**2).sum() / 2), np.exp(logs)

    loss, shares = judged(values)
    for _ in range(NEWTON_STEPS):
        slope, curve = _derivatives(centred, shares, right)
        step = np.zeros_like(values)
        hessian = curve[free, free] + np.diag(stiffness[free]) + 1e-9 * np.eye(len(values[free]))
        step[free] = np.linalg.solve(hessian, (slope + stiffness * values)[free])
        size = 1.0
        while (new := judged(values - size * step))[0] > loss and size > TOLERANCE:
            size /= 2
        gained, values, (loss, shares) = loss - new[0], values - size * step, new
        if gained < TOLERANCE:
            break
    return values[:count] / temperature, values[count:]


def _derivatives(moments: Array, shares: Array, right: Array) -> tuple[Array, Array]:
    """Return gradient and Hessian of the negative log-likelihood, in slopes and biases."""
    rest = right - shares
    slope = np.concatenate([np.einsum("ik,jik->j", rest, moments), rest.sum(axis=0)])
    means = np.einsum("ik,jik->ji", shares, moments)
    inner = np.einsum("ik,jik,lik->jl", shares, moments, moments) - means @ means.T
    mixed = np.einsum("ik,jik->jk", shares, moments - means[:, :, None])
    outer = np.diag(shares.sum(axis=0)) - shares.T @ shares
    return slope, np.block([[inner, mixed], [mixed.T, outer]])


def describe(found: Fitted, data: RecordedErrors, labels: Sequence[str]) -> dict[str, object]:
    """Return the entries of a profile."""
    bias = {} if found.bias is None else dict(zip(labels, (float(each) for each in found.bias), strict=True))
    return {
        "score": found.score,
        "temperature": found.temperature,
        "time_weights": tuple(float(each) for each in found.coefficients),
        "bias": bias,
        "templates": data.templates_of(found.variant),
    }
