"""What dissimilarities are called, in figures in few words and in a text in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.dissimilarity import METRICS
from pytorch_feature_analysis.similarity import MEASURES

_ONE_MINUS = "1 \N{MINUS SIGN} "
# By the name that all aliases of a metric share; others are called by their names.
_IN_FEW_WORDS = {
    "corr": "Pearson r",
    "spearman": "Spearman \N{GREEK SMALL LETTER RHO}",
    "euclidean_distance": "Euclidean distance",
    "squared_euclidean": "squared Euclidean distance",
    "cosine": "cosine",
}
_METRICS = {
    "corr": f"{_ONE_MINUS}Pearson's correlation",
    "spearman": f"{_ONE_MINUS}Spearman's rank correlation",
    "cosine": f"{_ONE_MINUS}the cosine",
    "dot_product": f"{_ONE_MINUS}the dot product",
    "euclidean_distance": "the Euclidean distance",
    "squared_euclidean": "the squared Euclidean distance",
    "cityblock": "the city-block distance",
    "seuclidean": "the standardised Euclidean distance",
    "jensenshannon": "the Jensen-Shannon distance",
}
_OTHERS = {
    "crossnobis": "the cross-validated Mahalanobis distance (crossnobis)",
    "cv_squared_euclidean": "the cross-validated squared Euclidean distance",
    "cv_corr": f"{_ONE_MINUS}the cross-validated correlation",
    "cv_whitened_corr": f"{_ONE_MINUS}the cross-validated correlation in units of noise",
    "svm_accuracy": "the cross-validated accuracy of a linear support vector machine",
}
_MEASURES = {
    "linear_cka": "linear CKA",
    "rbf_cka": "CKA with a Gaussian kernel",
    "minibatch_cka": "CKA estimated over minibatches",
    "cca": "the mean canonical correlation",
    "svcca": "SVCCA",
    "pwcca": "projection-weighted CCA",
    "procrustes_distance": "the Procrustes distance",
    "angular_procrustes": "the angular Procrustes distance",
    "shape_distance": "the shape distance",
    "nbs": "the normalised Bures similarity",
    "distance_correlation": "the distance correlation",
    "rsa": "the correlation of RDMs",
    "mutual_knn": "the overlap of nearest neighbours",
    "jaccard_knn": "the Jaccard overlap of nearest neighbours",
    "linear_predictivity": "cross-validated linear predictivity",
}


def metric_in_words(metric: str, *, one_less: bool = True) -> str:
    """Say what a dissimilarity is; where it is 1 less a similarity, that, or the similarity."""
    name = METRICS[metric].name if metric in METRICS else metric
    is_one_less = one_less and direction_of(name) == "similarity"
    words = _IN_FEW_WORDS.get(name, metric)
    return f"{_ONE_MINUS}{words}" if is_one_less else words


def metric_in_full(metric: Any) -> str:
    """Say what a dissimilarity is as a sentence goes on; a name of one's own is in quotes."""
    name = str(metric)
    base, bracket, options = name.partition("(")
    if base == "sd" and bracket:
        # As `get_mean_rdms` calls it.
        return f"the standard deviation of {metric_in_full(options.removesuffix(')'))}"
    known = METRICS.get(base)
    if known is not None:
        plain = known.name.removeprefix("unit_")
        words = _METRICS.get(plain, f"the '{plain}' distance")
        return words if plain == known.name else f"{words} of patterns of unit length"
    if base in _OTHERS:
        return _OTHERS[base]
    if base in _MEASURES:
        words = _MEASURES[base] + (f" ({options}" if bracket else "")
        return (_ONE_MINUS if direction_of(name) == "similarity" else "") + words
    return f"'{name}'"


def are_measures(metrics: Sequence[Any]) -> bool:
    """Whether entries were compared by their patterns, not by RDMs of these.

    A name of one's own among measures is one of theirs.
    """
    names = [str(metric).removeprefix("sd(").partition("(")[0] for metric in metrics]
    is_any = any(name in _MEASURES or name in MEASURES for name in names)
    return is_any and not any(name in METRICS for name in names)


def measure_of(row: pd.Series) -> str | None:
    """Say what the cells of a row are, where its metric is named.

    They are similarities where the diagonal is not 0.
    """
    metric: Any = row.get("dissim_metric")
    if not isinstance(metric, str):
        return None
    diagonal = row["matrix"].diagonal()
    return metric_in_words(metric, one_less=np.allclose(diagonal[np.isfinite(diagonal)], 0))
