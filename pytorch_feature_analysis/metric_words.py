"""What metrics of dissimilarity are called in figures and reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.chosen_measures import direction_of

# Others are called by their names.
_WORDS = {
    "corr": "Pearson r",
    "spearman": "Spearman \N{GREEK SMALL LETTER RHO}",
    "euclidean_distance": "Euclidean distance",
    "squared_euclidean": "squared Euclidean distance",
    "cosine": "cosine",
}


def metric_in_words(metric: str, *, one_less: bool = True) -> str:
    """Say what a dissimilarity is; where it is 1 less a similarity, that, or the similarity."""
    words = _WORDS.get(metric, metric)
    is_one_less = one_less and direction_of(metric) == "similarity"
    return f"1 \N{MINUS SIGN} {words}" if is_one_less else words


def measure_of(row: pd.Series) -> str | None:
    """Say what the cells of a row are, where its metric is named.

    They are similarities where the diagonal is not 0.
    """
    metric: Any = row.get("dissim_metric")
    if not isinstance(metric, str):
        return None
    diagonal = row["matrix"].diagonal()
    return metric_in_words(metric, one_less=np.allclose(diagonal[np.isfinite(diagonal)], 0))
