"""What the similarity of networks goes with, such as the gain by transfer from one to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from pytorch_feature_analysis._checks import check_columns, check_free, check_name, check_sequence
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.rdm_stack import as_key, checked_stack, in_words, name_of
from pytorch_feature_analysis.regroup import MADE_ANEW, is_scramble
from pytorch_feature_analysis.similarity_tables import compared_values, numbers_of
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, is_lineage

# From pairs of keys to numbers.
_Pairs = dict[tuple[EntryKey, EntryKey], float]

METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "pearson": pearsonr,
    "spearman": spearmanr,
}
_FEWEST = 3
_RESULTS = ("direction", "method", "r", "p", "n_pairs", "n_missing", "reason")
_EQUAL = {"similarity": "equal similarities", "distance": "equal distances"}
# Numbers that differ by less, beside the largest, are equal but for rounding.
_ROUNDING = 1e-12


def correlate_with(
    rdm_df: pd.DataFrame,
    frame: pd.DataFrame,
    column: str | None = None,
    *,
    method: Sequence[str] | str = ("pearson", "spearman"),
    pair_columns: Sequence[str] = ("source", "target"),
) -> pd.DataFrame:
    """Correlate the similarities of pairs of networks with a number that each pair has.

    Such as what a network gains on a task by starting from the weights of another. Each row of
    the stack is correlated by itself; no network is paired with itself.

    Parameters
    ----------
    rdm_df : DataFrame
        Matrices of networks by networks: of `get_net_similarity`, or layers. It is not changed.
    frame : DataFrame
        The number of each pair, in one of two forms:

        - a row a pair, its networks in the `pair_columns` and the number in `column`. A pair may
          stand in both directions, as (a, b) and (b, a): then both count;
        - without `column`, a table as of `similarity_table`, sources down and targets across.

        Networks are named by their entry keys, with or without the tuple.
    column : str, optional
        The column of the number, where `frame` has a row a pair.
    method : {'pearson', 'spearman'} or list of these, default both
        Pearson's correlation, or that of ranks.
    pair_columns : (str, str), default ('source', 'target')
        Columns of `frame` that name the two networks. The first is the row of the matrix, the
        second the column, which matters where the measure is not symmetric.

    Returns
    -------
    DataFrame
        A row for each row of `rdm_df` and each method. Behind the columns of `rdm_df` that say
        what the row is, there are

        direction : str
            'similarity', where the matrix holds 1 less a similarity, or 'distance', where it holds
            distances, or a measure that is not known. So a positive r says that more similar
            pairs, or more distant pairs, have larger numbers.
        method : str
            Name of the correlation.
        r : float
            The correlation, -1 to 1.
        p : float
            Its two-sided p value, see Notes.
        n_pairs : int
            The number of pairs, 30 for all of six networks in both directions.
        n_missing : int
            How many more there would be, whose number or similarity is not there or NaN: all in
            both directions if any pair of `frame` stands in both, else one for each pair.
        reason : str
            Why r and p are NaN; otherwise empty.

    Raises
    ------
    ValueError
        `frame` names networks that no row of `rdm_df` has, or a pair twice.

    See Also
    --------
    link_to_performance : Similarity beside the gap in accuracy.
    similarity_table : Makes a table of that form.

    Notes
    -----
    p is that of `scipy.stats.pearsonr` and `scipy.stats.spearmanr`, for pairs that are drawn
    independently. Here all pairs of a network share it, and (a, b) and (b, a) share both, with one
    and the same similarity: there is less evidence than n pairs, and p is optimistic as a rule. A
    test that shuffles the networks, not the pairs, knows that. With many rows (layers, groups),
    some p are small by chance.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "layer": ["fc1"],
    ...     "dissim_metric": ["svcca"],
    ...     "matrix": [np.array([[0, 0.2, 0.7], [0.2, 0, 0.5], [0.7, 0.5, 0]])],
    ...     "entry_keys": [["digit", "loop", "prime"]],
    ... })
    >>> gains = pd.DataFrame({
    ...     "source": ["digit", "digit", "loop"],
    ...     "target": ["loop", "prime", "prime"],
    ...     "gain": [0.4, 0.1, 0.3],
    ... })
    >>> results = pfa.correlate_with(stack, gains, "gain")
    >>> results[["layer", "direction", "method", "r", "n_pairs"]].round(3)
      layer   direction    method      r  n_pairs
    0   fc1  similarity   pearson  0.954        3
    1   fc1  similarity  spearman  1.000        3
    """
    methods = check_methods(method)
    checked = checked_stack(rdm_df, columns=["dissim_metric"], argument="rdm_df")
    if column is None:
        given = _pairs_of_table(frame)
    else:
        given = _pairs_of_rows(frame, column, pair_columns)
    _check_networks(given, checked["entry_keys"].tolist(), is_table=column is None)
    labels = [
        name
        for name in rdm_df.columns
        if name not in MADE_ANEW
        and name not in PROVENANCE_COLUMNS
        and not is_lineage(name)
        and not is_scramble(name)
    ]
    check_free(labels, _RESULTS, argument="rdm_df")
    results = []
    for matrix, metric, keys in zip(
        checked["matrix"], checked["dissim_metric"], checked["entry_keys"], strict=True
    ):
        values, direction = compared_values(matrix, metric, argument="rdm_df")
        x, y, n_missing = _paired(values, keys, given)
        for name in methods:
            r, p, reason = correlate(x, y, name, (_EQUAL[direction], "equal numbers"))
            results.append((direction, name, r, p, len(x), n_missing, reason))
    repeated = np.repeat(np.arange(len(checked)), len(methods))
    told = checked[labels].iloc[repeated].reset_index(drop=True)
    return pd.concat([told, pd.DataFrame(results, columns=list(_RESULTS))], axis=1)


def _pairs_of_rows(frame: Any, column: Any, pair_columns: Any) -> _Pairs:
    """Numbers of the pairs of a frame with a row a pair."""
    names = check_sequence(pair_columns, argument="pair_columns", of="two names of columns")
    if len(names) != 2:
        raise ValueError(f"`pair_columns` must be two names of columns, not {names}.")
    check_columns(frame, [*names, column], argument="frame")
    values = numbers_of(frame[[column]], argument="frame")[:, 0].tolist()
    pairs: _Pairs = {}
    for one, other, value in zip(*(frame[name].tolist() for name in names), values, strict=True):
        pair = as_key(one), as_key(other)
        if pair in pairs:
            raise ValueError(
                f"`frame` has the pair {one!r}, {other!r} in more than one row; take one, or their"
                " mean with `df_agg`."
            )
        pairs[pair] = value
    return pairs


def _pairs_of_table(frame: Any) -> _Pairs:
    """Numbers of the pairs of a table, sources down and targets across."""
    check_columns(frame, [], argument="frame")
    sources, targets = ([as_key(name) for name in axis.tolist()] for axis in frame.axes)
    if len(set(sources)) < len(sources) or len(set(targets)) < len(targets):
        raise ValueError(
            "`frame` names a network more than once in its index or its columns; keep one."
        )
    values = numbers_of(
        frame, argument="frame", what="numbers, of networks by networks, where `column` is None"
    )
    return {
        (source, target): float(values[i, j])
        for i, source in enumerate(sources)
        for j, target in enumerate(targets)
    }


def _check_networks(
    given: _Pairs, entry_keys: Sequence[Sequence[EntryKey]], *, is_table: bool
) -> None:
    known = dict.fromkeys(key for keys in entry_keys for key in keys)
    unknown = dict.fromkeys(key for pair in given for key in pair if key not in known)
    if unknown:
        hint = (
            " Without `column`, its index and columns are the names of networks."
            if is_table
            else ""
        )
        raise ValueError(
            f"`frame` names {in_words(map(name_of, unknown))}, which no row of `rdm_df` has. The"
            f" entries there are: {in_words(map(name_of, known), 20)}.{hint}"
        )


def _paired(
    values: np.ndarray, keys: Sequence[EntryKey], given: _Pairs
) -> tuple[np.ndarray, np.ndarray, int]:
    """Similarities and numbers of all pairs that have both, and how many pairs lack one."""
    places = {key: place for place, key in enumerate(keys)}
    own = {
        (a, b): number
        for (a, b), number in given.items()
        if a != b and a in places and b in places and np.isfinite(number)
    }
    both = np.array(
        [(values[places[a], places[b]], number) for (a, b), number in own.items()]
    ).reshape(-1, 2)
    both = both[np.isfinite(both).all(axis=1)]
    n_pairs = len(keys) * (len(keys) - 1)
    if not any((b, a) in own for a, b in own):
        n_pairs //= 2
    return both[:, 0], both[:, 1], n_pairs - len(both)


def check_methods(method: Any) -> list[str]:
    """Return the names of correlations, of which there is one at least, or raise."""
    listed = [method] if isinstance(method, str) else method
    methods = check_sequence(listed, argument="method", of="names")
    if not methods:
        raise ValueError(f"`method` names none; there are: {', '.join(METHODS)}.")
    for name in methods:
        check_name(name, METHODS, argument="method", what="correlation")
    return methods


def correlate(
    x: np.ndarray, y: np.ndarray, method: str, equal: tuple[str, str]
) -> tuple[float, float, str]:
    """Return r, p, and why they are NaN: `equal` says it of x and of y that do not differ."""
    if len(x) < _FEWEST:
        return np.nan, np.nan, f"fewer than {_FEWEST} pairs"
    for values, reason in zip((x, y), equal, strict=True):
        if np.ptp(values) <= _ROUNDING * np.abs(values).max():
            return np.nan, np.nan, reason
    result = METHODS[method](x, y)
    return float(result.statistic), float(result.pvalue), ""
