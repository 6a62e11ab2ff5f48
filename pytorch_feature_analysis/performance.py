"""Whether networks that are alike also perform alike: similarity beside the gap in accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_columns, check_name, check_sequence
from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.matrices import check_symmetric, mean_of_both
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words
from pytorch_feature_analysis.regroup import label_columns

METHODS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
    "pearson": stats.pearsonr,
    "spearman": stats.spearmanr,
}
_FEWEST_PAIRS = 3
# Of gaps that are shares of the same number of images many are equal, but for rounding.
_DECIMALS = 12
# What the rows of one network and dataset may not differ in, if their mean is to mean anything.
_SETTINGS = ("solver", "mode", "settings")


def link_to_performance(
    similarity_stack: pd.DataFrame,
    performance_frame: pd.DataFrame,
    *,
    dataset_variable: str = "dataset",
    model_variable: str = "model",
    metric: str = "accuracy",
    method: str | Sequence[str] = ("pearson", "spearman"),
    domains: Mapping[Any, Any] | pd.Series | None = None,
    missing: str = "raise",
    symmetrize: bool = False,
    measures: Sequence[Any] = (),
) -> pd.DataFrame:
    """Correlate the similarity of networks with the gap between their accuracies, by dataset.

    Over all unordered pairs of networks f and g, the similarity s(f, g) on a dataset is set beside
    ``|acc_f - acc_g|`` on the same dataset.

    Parameters
    ----------
    similarity_stack : DataFrame
        RDMs whose entries are networks, one for each dataset and measure: of
        `get_similarity_rdms` or `get_meta_rdms` with ``entry_variables=['model']``. Rows of
        shuffles are left out. It is not changed.
    performance_frame : DataFrame
        Accuracies with the columns `dataset_variable`, `model_variable` and `metric`, as of
        `probe_models`; of several rows (seeds) of one network and dataset the mean is taken. It is
        not changed.
    dataset_variable : str, default 'dataset'
        Column of both frames.
    model_variable : str, default 'model'
        Column of `performance_frame`, and the part of the entries of the stack that it names.
    metric : str, default 'accuracy'
        Column of `performance_frame`.
    method : str or list of str, default ``('pearson', 'spearman')``
        Correlation coefficients.
    domains : dict or Series, optional
        The domain of each dataset, for a column of that name.
    missing : {'raise', 'drop'}
        What to do where networks or datasets of the stack are not in `performance_frame`: raise,
        or leave them out.
    symmetrize : bool, default False
        Take the mean of both directions of measures that are not symmetric.
    measures : list of Measure, default none
        Measures of one's own that the stack was made with; what is not known is a distance.

    Returns
    -------
    DataFrame
        One row for each row of the stack and method, with the columns

        - those of the stack that tell its RDMs apart, such as `dataset_variable` and
          ``dissim_metric``, and domain, with `domains`,
        - direction: 'similarity' where r is that of ``s = 1 - matrix``, 'distance' where it is
          that of the matrix itself,
        - method,
        - r: float, the correlation. Below 0 (of a distance: above 0) where networks that are alike
          perform alike; NaN where it is not defined,
        - p: float, two-sided, as if pairs were independent,
        - n_pairs: int, the pairs whose similarity and gap are known,
        - reason: str, why r is NaN, or None.

    Raises
    ------
    ValueError
        Networks or datasets without accuracies; several rows of a network that differ in more
        than the seed; a stack that has gone through `to_similarity`.

    See Also
    --------
    probe_models : Accuracies.
    df_agg : For a summary, as below.

    Notes
    -----
    All pairs of a network have it in common, so that `p` is too small. It serves for comparison
    with studies that state it.

    Gaps are rounded to 12 decimals, so that equal ones are ties.

    References
    ----------
    Kornblith, S., Norouzi, M., Lee, H. and Hinton, G. (2019). Similarity of neural network
        representations revisited. ICML. https://doi.org/10.48550/arXiv.1905.00414

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dataset": ["pets", "flowers"],
    ...     "dissim_metric": "linear_cka",
    ...     "entry_keys": [["a", "b", "c"]] * 2,
    ...     "matrix": [np.array([[0, 2, 5], [2, 0, 3], [5, 3, 0]]) / 10,
    ...                np.array([[0, 5, 3], [5, 0, 2], [3, 2, 0]]) / 10],
    ... })
    >>> accuracies = pd.DataFrame({
    ...     "dataset": ["pets"] * 3 + ["flowers"] * 3,
    ...     "model": ["a", "b", "c"] * 2,
    ...     "accuracy": [0.9, 0.7, 0.4] * 2,
    ... })
    >>> table = pfa.link_to_performance(
    ...     stack, accuracies, domains={"pets": "natural", "flowers": "natural"}
    ... )
    >>> table[["dataset", "domain", "method", "r", "n_pairs"]].round(3)
       dataset   domain    method    r  n_pairs
    0     pets  natural   pearson -1.0        3
    1     pets  natural  spearman -1.0        3
    2  flowers  natural   pearson  0.5        3
    3  flowers  natural  spearman  0.5        3

    Summed up by domain:

    >>> pfa.df_agg(table, ["domain", "method"], ["r"], ["mean", "std", "count"]).round(3)
        domain    method  r_mean  r_std  r_count
    0  natural   pearson   -0.25  1.061        2
    1  natural  spearman   -0.25  1.061        2
    """
    methods = [method] if isinstance(method, str) else method
    methods = check_sequence(methods, argument="method", of="correlation coefficients")
    for name in methods:
        check_name(name, METHODS, argument="method", what="correlation coefficient")
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

    rows = []
    labels = [
        name for name in label_columns(similarity_stack) if name != "domain" or domain_of is None
    ]
    cells = {name: stack[name].tolist() for name in labels}
    for k, (dataset, models) in enumerate(zip(datasets, networks, strict=True)):
        if dataset not in accuracies:
            continue
        known = [place for place, model in enumerate(models) if model in accuracies[dataset]]
        performance = np.array([accuracies[dataset][models[place]] for place in known])
        direction = direction_of(stack["dissim_metric"][k], measures) or "distance"
        matrix = _check_matrix(stack["matrix"][k], direction, dataset, symmetrize)
        closeness, gaps = _pairs(matrix[np.ix_(known, known)], performance, direction)
        own = {name: cells[name][k] for name in labels}
        if domain_of is not None:
            own["domain"] = domain_of[dataset]
        rows += [
            {**own, "direction": direction, "method": name, **_correlated(closeness, gaps, name)}
            for name in methods
        ]
    if not rows:
        raise ValueError(
            "`similarity_stack` has no row of a dataset that `performance_frame` has accuracies"
            " of, so there is nothing to correlate."
        )
    columns = {name: object_series([row[name] for row in rows]) for name in rows[0]}
    table = pd.DataFrame(columns).infer_objects()
    return table.astype({"r": float, "p": float, "n_pairs": int})


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


def _check_matrix(
    matrix: np.ndarray, direction: str, dataset: Any, symmetrize: bool
) -> np.ndarray:
    diagonal = np.diag(matrix)
    if direction == "similarity" and np.isfinite(diagonal).any() and np.nanmin(diagonal) > 0.5:
        raise ValueError(
            f"`similarity_stack` holds similarities for dataset {dataset!r}, with"
            f" {np.nanmin(diagonal):g} on the diagonal, where 1 less a similarity is expected."
            " Give the stack as it was before `to_similarity`."
        )
    if symmetrize:
        return mean_of_both(matrix)
    check_symmetric(matrix, what=f"`similarity_stack`: the RDM of dataset {dataset!r}")
    return matrix


class _Pairs(NamedTuple):
    closeness: np.ndarray
    gaps: np.ndarray


def _pairs(matrix: np.ndarray, performance: np.ndarray, direction: str) -> _Pairs:
    """Similarity, or distance, and gap of each pair of which both are known."""
    first, second = np.triu_indices(len(matrix), k=1)
    values = matrix[first, second]
    gaps = np.abs(performance[first] - performance[second]).round(_DECIMALS)
    closeness = 1 - values if direction == "similarity" else values
    is_known = np.isfinite(closeness) & np.isfinite(gaps)
    return _Pairs(closeness[is_known], gaps[is_known])


def _correlated(closeness: np.ndarray, gaps: np.ndarray, method: str) -> dict[str, Any]:
    reason = None
    r = p = np.nan
    if len(gaps) < _FEWEST_PAIRS:
        reason = f"fewer than {_FEWEST_PAIRS} pairs"
    elif _is_constant(gaps):
        reason = "all gaps are the same"
    elif _is_constant(closeness):
        reason = "all pairs are equally similar"
    else:
        r, p = METHODS[method](closeness, gaps)
    return {"r": r, "p": p, "n_pairs": len(gaps), "reason": reason}


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 10.0**-_DECIMALS * np.abs(values).max())
