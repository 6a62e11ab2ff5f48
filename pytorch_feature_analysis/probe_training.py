"""Linear classifiers trained on features, by AdamW or as logistic regression."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import count

import numpy as np
import torch

from pytorch_feature_analysis.probe_search import Setting

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_MAX_STEPS = 1000
# Weights of classifiers that are trained side by side: 64 MB of them, of their gradients, and of
# the two moments.
_MOST_WEIGHTS = 2**24

Classifier = tuple[np.ndarray, np.ndarray]
"""Weights (n_classes, n_features) and biases (n_classes)."""


def train_adamw(
    x: torch.Tensor,
    y: torch.Tensor,
    n_classes: int,
    settings: Sequence[Setting],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[Classifier]:
    """Train a classifier for each of the settings, from the same start and on the same batches.

    Cross-entropy is brought down by AdamW with a learning rate that falls to 0 along half a
    cosine, step by step. Weights start as those of `torch.nn.Linear` do.
    """
    n_together = max(1, _MOST_WEIGHTS // (n_classes * x.shape[1]))
    trained: list[Classifier] = []
    for start in range(0, len(settings), n_together):
        some = settings[start : start + n_together]
        weights, biases = _train(x, y, n_classes, some, epochs, batch_size, seed)
        trained.extend(zip(weights.cpu().numpy(), biases.cpu().numpy(), strict=True))
    return trained


@torch.no_grad()
def _train(
    x: torch.Tensor,
    y: torch.Tensor,
    n_classes: int,
    settings: Sequence[Setting],
    epochs: int,
    batch_size: int,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (n_settings, n_classes, n_features) and biases (n_settings, n_classes)."""
    n, n_features = x.shape
    n_settings = len(settings)
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(n_features)
    shapes = (n_classes, n_features), (n_classes,)
    parameters = []
    for shape in shapes:
        start = torch.empty(shape).uniform_(-bound, bound, generator=generator).to(x)
        parameters.append(start.repeat(n_settings, *[1] * len(shape)))
    weights, biases = parameters
    moments = [(torch.zeros_like(one), torch.zeros_like(one)) for one in parameters]
    rates = torch.tensor([one.learning_rate for one in settings], dtype=torch.float64)
    decays = torch.tensor([one.weight_decay for one in settings], dtype=torch.float64)
    n_steps = epochs * math.ceil(n / batch_size)
    numbers = count()
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator).to(x.device)
        for batch in order.split(batch_size):
            step = next(numbers)
            inputs = x[batch]
            # The gradient of cross-entropy: probabilities, less 1 at the true class.
            errors = inputs @ weights.reshape(-1, n_features).T + biases.reshape(-1)
            errors = errors.reshape(len(batch), n_settings, n_classes).softmax(dim=2)
            errors[torch.arange(len(batch), device=x.device), :, y[batch]] -= 1
            errors = errors.reshape(len(batch), -1) / len(batch)
            gradients = (errors.T @ inputs).reshape(weights.shape), errors.sum(0).view_as(biases)
            rate = rates * 0.5 * (1 + math.cos(math.pi * step / n_steps))
            for one, gradient, pair in zip(parameters, gradients, moments, strict=True):
                _adamw_step(one, gradient, pair, rate, decays, step + 1)
    return weights, biases


def _adamw_step(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    moments: tuple[torch.Tensor, torch.Tensor],
    rates: torch.Tensor,
    decays: torch.Tensor,
    number: int,
) -> None:
    """Algorithm 2 of Loshchilov and Hutter (2019), its first axis being settings."""

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.to(parameter).reshape(-1, *[1] * (parameter.ndim - 1))

    mean, square = moments
    mean.lerp_(gradient, 1 - _BETAS[0])
    square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
    parameter.mul_(spread(1 - rates * decays))
    scale = (square / (1 - _BETAS[1] ** number)).sqrt_().add_(_EPSILON)
    parameter.sub_(spread(rates / (1 - _BETAS[0] ** number)) * mean / scale)


def train_logistic(x: np.ndarray, y: np.ndarray, C: float) -> Classifier:
    """Fit scikit-learn's logistic regression, whose softmax has one row of weights a class."""
    # Deferred: only a call needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, max_iter=_MAX_STEPS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y)
    for one in caught:
        if not issubclass(one.category, ConvergenceWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if any(issubclass(one.category, ConvergenceWarning) for one in caught):
        warnings.warn(
            f"logistic regression with C={C:g} has not converged in {_MAX_STEPS} steps: give"
            " features of about unit length or variance, or a smaller `C`.",
            stacklevel=2,
        )
    weights, biases = model.coef_, model.intercept_
    if len(weights) == 1:
        # Two classes have one row there; half of it, with either sign, is the same softmax.
        weights = np.concatenate([-weights, weights]) / 2
        biases = np.concatenate([-biases, biases]) / 2
    return weights, biases


def accuracy_of(classifier: Classifier, x: np.ndarray, y: np.ndarray) -> float:
    """Share of rows told rightly; minus infinity where training has run away."""
    weights, biases = classifier
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        return -math.inf
    return float(((x @ weights.T + biases).argmax(axis=1) == y).mean())
