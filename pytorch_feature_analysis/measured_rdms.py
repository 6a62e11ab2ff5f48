"""RDMs of what one row of a frame of measured patterns holds, by any metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.crossvalidated import (
    correlation_distances,
    correlation_distances_by_run,
    runs_in_common,
    squared_distances,
    squared_distances_by_run,
    without_run_means,
)
from pytorch_feature_analysis.dissimilarity import METRICS, Metric, check_metrics, compute_rdms
from pytorch_feature_analysis.matrices import to_condensed
from pytorch_feature_analysis.measured_patterns import Measured
from pytorch_feature_analysis.noise_covariance import whitened, whitened_by_channel

CROSSVALIDATED = ("crossnobis", "cv_squared_euclidean", "cv_corr", "cv_whitened_corr")
WHITENED = ("crossnobis", "cv_whitened_corr")
"""Those in units of noise."""


def check_dissim_metrics(dissim_metrics: Any) -> list[str | Metric]:
    """Names of cross-validated metrics as they are, and all others resolved."""
    if isinstance(dissim_metrics, (str, Metric)) or not isinstance(dissim_metrics, Sequence):
        raise TypeError(f"`dissim_metrics` must be a list of metrics, not {dissim_metrics!r}.")
    metrics: list[str | Metric] = []
    for spec in dissim_metrics:
        if isinstance(spec, str):
            check_name(spec, [*CROSSVALIDATED, *METRICS], argument="dissim_metrics", what="metric")
        is_own = isinstance(spec, str) and spec in CROSSVALIDATED
        metrics += [spec] if is_own else check_metrics([spec])
    names = [_name(metric) for metric in metrics]
    if not names:
        raise ValueError("`dissim_metrics` is empty; name at least one, such as 'crossnobis'.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"`dissim_metrics` names {', '.join(map(repr, twice))} more than once.")
    return metrics


def check_runs(measured: Measured, metric: str) -> None:
    """Raise unless some pair of conditions has two runs in common."""
    advice = f"give several, or take a metric without cross-validation in place of '{metric}'"
    if len(measured.run_names) < 2:
        raise ValueError(
            f"has the single run {measured.run_names[0]!r}, and '{metric}' is a mean over pairs of"
            f" different runs; {advice}, such as 'corr'"
        )
    common = to_condensed(runs_in_common(measured.present()))
    if not (common > 1).any():
        raise ValueError(
            f"has no two conditions that share two runs, and '{metric}' is a mean over pairs of"
            f" these; {advice}, such as 'corr'"
        )


def rdms_of(
    measured: Measured, metrics: Sequence[str | Metric], covariances: list[np.ndarray] | None
) -> list[tuple[str, np.ndarray]]:
    """RDMs of one row of the frame by all metrics, with their names."""
    plain = [metric for metric in metrics if isinstance(metric, Metric)]
    found: dict[str, np.ndarray] = {}
    if plain:
        rdms = compute_rdms(measured.condition_means(), plain)
        found = {metric.name: rdm for metric, rdm in zip(plain, rdms, strict=True)}
    if len(plain) < len(metrics):
        means, counts = measured.run_means()
        present = counts > 0
        for metric in metrics:
            if metric == "cv_corr":
                found[metric] = correlation_distances(means, present)
            elif metric == "cv_squared_euclidean":
                found[metric] = squared_distances(means, present)
            elif metric == "crossnobis":
                found[metric] = _crossnobis(means, present, covariances)
            elif metric == "cv_whitened_corr":
                found[metric] = _whitened_correlations(means, present, covariances)
    return [(_name(metric), found[_name(metric)]) for metric in metrics]


def _crossnobis(
    means: np.ndarray, present: np.ndarray, covariances: list[np.ndarray] | None
) -> np.ndarray:
    if covariances is not None and len(covariances) > 1:
        distances = squared_distances_by_run(means, present, covariances)
    else:
        if covariances is not None:
            (means,) = whitened([without_run_means(means, present)], covariances[0])
        distances = squared_distances(means, present)
    return distances / means.shape[-1]


def _whitened_correlations(
    means: np.ndarray, present: np.ndarray, covariances: list[np.ndarray] | None
) -> np.ndarray:
    if covariances is not None and len(covariances) > 1:
        return correlation_distances_by_run(means, present, covariances)
    if covariances is not None:
        (means,) = whitened_by_channel([means], covariances[0])
    return correlation_distances(means, present)


def _name(metric: str | Metric) -> str:
    return metric.name if isinstance(metric, Metric) else metric
