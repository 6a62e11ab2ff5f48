"""What a dissimilarity is called in a sentence: the words for the column `dissim_metric`."""

from __future__ import annotations

from typing import Any

from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.dissimilarity import METRICS

_ONE_MINUS = "1 \N{MINUS SIGN} "
# By the name that all aliases of a metric share, without its `unit_`.
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


def metric_in_words(dissim_metric: Any) -> str:
    """Say what cells by this metric or measure are, as a noun; a name of one's own in quotes."""
    name = str(dissim_metric)
    base, bracket, options = name.partition("(")
    known = METRICS.get(base)
    if known is not None:
        unit = "unit_" if known.name.startswith("unit_") else ""
        words = _METRICS.get(
            known.name.removeprefix(unit), f"the '{known.name.removeprefix(unit)}' distance"
        )
        return f"{words} of patterns of unit length" if unit else words
    if base in _OTHERS:
        return _OTHERS[base]
    if base in _MEASURES:
        words = _MEASURES[base] + (f" ({options}" if bracket else "")
        return (_ONE_MINUS if direction_of(name) == "similarity" else "") + words
    return f"'{name}'"
