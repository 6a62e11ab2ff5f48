"""Pairs of networks: how alike they are, and how far apart their accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_columns, check_name
from pytorch_feature_analysis.matrices import check_symmetric, mean_of_both
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words
from pytorch_feature_analysis.regroup import label_columns
from pytorch_feature_analysis.similarity_tables import compared_values

# Of gaps that are shares of the same number of images many are equal, but for rounding.
_DECIMALS = 12
# What the rows of one network and dataset may not differ in, if their mean is to mean anything.
_SETTINGS = ("solver", "mode", "settings")


def get_performance_gaps(
    similarity_stack: pd.DataFrame,
    performance_frame: pd.DataFrame,
    *,
    dataset_variable: str = "dataset",
    model_variable: str = "model",
    metric: str = "accuracy",
    domains: Mapping[Any, Any] | pd.Series | None = None,
    missing: str = "raise",
    symmetrize: bool = False,
    measures: Sequence[Any] = (),
) -> pd.DataFrame:
    """Set the similarity of each pair of networks beside the gap between their accuracies.

    These are the pairs that `link_to_performance` correlates.

    Parameters
    ----------
    similarity_stack, performance_frame, dataset_variable, model_variable, metric, domains, \
missing, symmetrize, measures
        As in `link_to_performance`.

    Returns
    -------
    DataFrame
        One row for each row of the stack and unordered pair of networks, with the columns

        - those of the stack that tell its RDMs apart, and domain, with `domains`,
        - direction: 'similarity' or 'distance', what the next but two is,
        - model_1, model_2: the networks,
        - similarity: float, or distance,
        - gap: float, the absolute difference of the accuracies,
        - accuracy_1, accuracy_2: float.

    See Also
    --------
    plot_similarity_against_gap : Draws it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dataset": ["pets"],
    ...     "dissim_metric": "linear_cka",
    ...     "entry_keys": [["a", "b", "c"]],
    ...     "matrix": [np.array([[0, 2, 5], [2, 0, 3], [5, 3, 0]]) / 10],
    ... })
    >>> accuracies = pd.DataFrame({
    ...     "dataset": ["pets"] * 3, "model": ["a", "b", "c"], "accuracy": [0.9, 0.7, 0.4],
    ... })
    >>> pairs = pfa.get_performance_gaps(stack, accuracies)
    >>> pairs[["dataset", "model_1", "model_2", "similarity", "gap"]].round(3)
      dataset model_1 model_2  similarity  gap
    0    pets       a       b         0.8  0.2
    1    pets       a       c         0.5  0.5
    2    pets       b       c         0.7  0.3
    """
    tables = []
    for of_rdm in match_performance(
        similarity_stack,
        performance_frame,
        names=(dataset_variable, model_variable, metric),
        domains=domains,
        missing=missing,
        symmetrize=symmetrize,
        measures=measures,
    ):
        first, second = np.triu_indices(len(of_rdm.models), k=1)
        n = len(first)
        columns = {
            **{name: object_series([label] * n) for name, label in of_rdm.labels.items()},
            "direction": of_rdm.direction,
            "model_1": object_series([of_rdm.models[k] for k in first]),
            "model_2": object_series([of_rdm.models[k] for k in second]),
            "similarity": of_rdm.closeness,
            "gap": of_rdm.gaps,
            "accuracy_1": of_rdm.performance[first],
            "accuracy_2": of_rdm.performance[second],
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True).infer_objects()


@dataclass(frozen=True)
class OfRdm:
    """One RDM of networks, and what they can do on its dataset."""

    labels: dict[str, Any]
    direction: str
    models: list[Any]
    performance: np.ndarray
    closeness: np.ndarray
    """Similarities or distances of all pairs, row by row above the diagonal."""
    gaps: np.ndarray


def match_performance(
    similarity_stack: pd.DataFrame,
    performance_frame: pd.DataFrame,
    *,
    names: tuple[str, str, str],
    domains: Any,
    missing: str,
    symmetrize: bool,
    measures: Sequence[Any],
) -> list[OfRdm]:
    """Check both frames, and match them; never nothing."""
    dataset_variable, model_variable, metric = names
    check_name(missing, ("raise", "drop"), argument="missing", what="way to go on")
    stack = checked_stack(
        similarity_stack, columns=[dataset_variable, "dissim_metric"], argument="similarity_stack"
    )
    stack = stack[stack["perm"] == "orig_data"].reset_index(drop=True)
    accuracies = _accuracies(performance_frame, dataset_variable, model_variable, metric)
    domain_of = None if domains is None else _check_domains(domains, stack[dataset_variable])
    networks = [
        _networks(keys, labels, model_variable)
        for keys, labels in zip(stack["entry_keys"], stack["entry_labels"], strict=True)
    ]
    datasets = stack[dataset_variable].tolist()
    if missing == "raise":
        _check_all_known(datasets, networks, accuracies)
    labels = [
        name for name in label_columns(similarity_stack) if name != "domain" or domain_of is None
    ]
    cells = {name: stack[name].tolist() for name in labels}
    found = []
    for k, (dataset, models) in enumerate(zip(datasets, networks, strict=True)):
        if dataset not in accuracies:
            continue
        known = [place for place, model in enumerate(models) if model in accuracies[dataset]]
        here = [models[place] for place in known]
        performance = np.array([accuracies[dataset][model] for model in here])
        matrix = stack["matrix"][k]
        if symmetrize:
            matrix = mean_of_both(matrix)
        else:
            check_symmetric(matrix, what=f"`similarity_stack`: the RDM of dataset {dataset!r}")
        values, direction = compared_values(
            matrix, stack["dissim_metric"][k], argument="similarity_stack", measures=measures
        )
        own = {name: cells[name][k] for name in labels}
        if domain_of is not None:
            own["domain"] = domain_of[dataset]
        first, second = np.triu_indices(len(known), k=1)
        closeness = values[np.ix_(known, known)][first, second]
        gaps = np.abs(performance[first] - performance[second]).round(_DECIMALS)
        found.append(OfRdm(own, direction, here, performance, closeness, gaps))
    if not found:
        raise ValueError(
            "`similarity_stack` has no row of a dataset that `performance_frame` has accuracies"
            " of, so there is nothing to correlate."
        )
    return found


def _accuracies(
    frame: pd.DataFrame, dataset_variable: str, model_variable: str, metric: str
) -> dict[Any, dict[Any, float]]:
    """Mean accuracy of each network by dataset."""
    check_columns(frame, [dataset_variable, model_variable, metric], argument="performance_frame")
    if frame[metric].dtype.kind not in "biuf":
        raise TypeError(
            f"`performance_frame` must have numbers in the column {metric!r}, not"
            f" {frame[metric].dtype}."
        )
    means: dict[Any, dict[Any, float]] = {}
    for (dataset, model), rows in frame.groupby(
        [dataset_variable, model_variable], sort=False, observed=True
    ):
        differ = [
            name
            for name in _SETTINGS
            if name in rows and rows[name].duplicated().sum() < len(rows) - 1
        ]
        if not differ and "seed" in rows and rows["seed"].duplicated().any():
            differ = ["(several rows of one seed)"]
        if differ:
            raise ValueError(
                f"`performance_frame` has rows of {model!r} on {dataset!r} that differ in more"
                f" than the seed: {', '.join(differ)}. Keep those of one kind with `df_filter`."
            )
        means.setdefault(dataset, {})[model] = float(rows[metric].mean(skipna=False))
    return means


def _check_domains(domains: Any, datasets: Iterable[Any]) -> dict[Any, Any]:
    if not isinstance(domains, (Mapping, pd.Series)):
        raise TypeError(
            "`domains` must be a dict, or a Series with datasets as its index, not"
            f" {type(domains).__name__}."
        )
    found = dict(domains.items())
    absent = [name for name in dict.fromkeys(datasets) if name not in found]
    if absent:
        raise ValueError(f"`domains` has no domain for {in_words(absent)}.")
    return found


def _networks(
    keys: Sequence[Any], labels: Sequence[Mapping[str, Any]], variable: str
) -> list[Any]:
    """Which network each entry is."""
    if all(variable in label for label in labels):
        models = [label[variable] for label in labels]
    elif all(len(key) == 1 for key in keys):
        models = [key[0] for key in keys]
    else:
        raise ValueError(
            f"`similarity_stack` must have networks as entries, but {keys[0]!r} has several parts"
            f" of which none is called {variable!r}. Make it with"
            f" `entry_variables`=[{variable!r}]."
        )
    twice = [model for model in dict.fromkeys(models) if models.count(model) > 1]
    if twice:
        raise ValueError(
            f"`similarity_stack` has several entries of {in_words(twice)} in one RDM. Choose one"
            " layer of each network, and make it with"
            f" `entry_variables`=[{variable!r}]."
        )
    return models


def _check_all_known(
    datasets: Sequence[Any],
    networks: Sequence[Sequence[Any]],
    accuracies: Mapping[Any, Mapping[Any, float]],
) -> None:
    absent = [name for name in dict.fromkeys(datasets) if name not in accuracies]
    advice = "Add them, or leave out what has none with `missing`='drop'."
    if absent:
        raise ValueError(
            f"`performance_frame` has no accuracies on dataset {in_words(absent)}. {advice}"
        )
    for dataset, models in zip(datasets, networks, strict=True):
        strange = [model for model in models if model not in accuracies[dataset]]
        if strange:
            raise ValueError(
                f"`performance_frame` has no accuracies of {in_words(strange)} on dataset"
                f" {dataset!r}. {advice}"
            )
