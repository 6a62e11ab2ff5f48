"""Tests of whether consistency differs between pairs of model sets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, ranksums

from pytorch_feature_analysis._checks import check_columns
from pytorch_feature_analysis.cell_values import codes_of, crossed
from pytorch_feature_analysis.model_sets import RESULT_COLUMNS
from pytorch_feature_analysis.rdm_stack import in_words


def compare_consistency(consistency_df: pd.DataFrame) -> pd.DataFrame:
    """Test for every two pairs of model sets whether their consistency is different.

    For each measure and column of the model table, Wilcoxon's rank-sum test compares the r of one
    pair of sets, one value per pair of datasets, with those of another.

    Parameters
    ----------
    consistency_df : DataFrame
        A frame of `get_consistency`, or rows of it. Columns that it does not make tell measures
        apart, also those that were added (the domain of the datasets, say). It is not changed.

    Returns
    -------
    DataFrame
        A row for every two pairs of sets, with the columns that tell measures apart and

        by : str
            The column of the table.
        set_1, set_2, other_set_1, other_set_2
            The two pairs of sets.
        n, n_other : int
            How many r each has that are not NaN.
        median, median_other : float
            Their medians.
        statistic, p : float
            Of the rank-sum test, two-sided; above 0 where the first pair is more consistent. NaN
            where a pair of sets has no r.
        p_bonferroni, p_fdr : float
            Corrected for all tests of this measure and column: p times their number, at most 1;
            and the false discovery rate of Benjamini and Hochberg.

        No rows where there is one pair of sets alone, as of 'all'.

    See Also
    --------
    get_consistency : Makes the frame.
    plot_consistency_boxes : Draws the values that are compared.

    Notes
    -----
    The test takes pairs of datasets for independent, which pairs that share a dataset are not,
    and the same models are behind all of them: p is a description, as in the literature, rather
    than a rate of error. The intervals of `get_consistency` are over models.

    References
    ----------
    Wilcoxon, F. (1945). Individual comparisons by ranking methods. Biometrics Bulletin 1, 80-83.
        https://doi.org/10.2307/3001968
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. J. R. Stat. Soc.
        B 57, 289-300. https://doi.org/10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> found = pd.DataFrame({
    ...     "by": "objective",
    ...     "dataset_1": ["cars", "cars", "pets"] * 2,
    ...     "dataset_2": ["pets", "flowers", "flowers"] * 2,
    ...     "set_1": ["x"] * 3 + ["y"] * 3,
    ...     "set_2": ["x"] * 3 + ["y"] * 3,
    ...     "r": [0.9, 0.8, 0.7, 0.3, 0.4, 0.2],
    ... })
    >>> tests = pfa.compare_consistency(found)
    >>> tests[["set_1", "other_set_1", "median", "median_other", "statistic", "p"]].round(3)
      set_1 other_set_1  median  median_other  statistic     p
    0     x           y     0.8           0.3      1.964  0.05
    """
    needed = ("by", "dataset_1", "dataset_2", "set_1", "set_2", "r")
    check_columns(consistency_df, needed, argument="consistency_df")
    if not pd.api.types.is_numeric_dtype(consistency_df["r"]):
        kind = consistency_df["r"].dtype
        raise TypeError(f"`consistency_df` must have numbers in `r`, not {kind}.")
    carried = [name for name in consistency_df.columns if name not in RESULT_COLUMNS]
    families = _codes(consistency_df, [*carried, "by"])
    parts = [
        _tests(consistency_df[families == family], carried)
        for family in dict.fromkeys(families.tolist())
    ]
    own = ["by", "set_1", "set_2", "other_set_1", "other_set_2", "n", "n_other", "median"]
    columns = [*carried, *own, "median_other", "statistic", "p", "p_bonferroni", "p_fdr"]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)[columns]


def _codes(df: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Numbers of the distinct rows of some columns."""
    code = np.zeros(len(df), dtype=np.intp)
    for name in columns if len(df) else []:
        code = crossed(code, codes_of(df[name]))
    return code


def _tests(df: pd.DataFrame, carried: list[str]) -> pd.DataFrame:
    """All tests of one measure and one column of the table."""
    codes = _codes(df, ["set_1", "set_2"])
    samples = {}
    for code in dict.fromkeys(codes.tolist()):
        rows = df[codes == code]
        sets = (rows["set_1"].iloc[0], rows["set_2"].iloc[0])
        if rows.duplicated(["dataset_1", "dataset_2"]).any():
            raise ValueError(
                f"`consistency_df` has more than one row of the same datasets for the sets"
                f" {in_words(sets)} by {rows['by'].iloc[0]!r}; add the column that tells them"
                " apart, such as 'dissim_metric', or keep one."
            )
        values = rows["r"].to_numpy(dtype=float)
        samples[sets] = values[~np.isnan(values)]
    found = []
    for (sets, one), (others, other) in combinations(samples.items(), 2):
        is_testable = len(one) > 0 and len(other) > 0
        statistic, p = ranksums(one, other) if is_testable else (np.nan, np.nan)
        found.append(
            {
                **dict(zip(("set_1", "set_2"), sets, strict=True)),
                **dict(zip(("other_set_1", "other_set_2"), others, strict=True)),
                "n": len(one),
                "n_other": len(other),
                "median": np.median(one) if len(one) else np.nan,
                "median_other": np.median(other) if len(other) else np.nan,
                "statistic": float(statistic),
                "p": float(p),
            }
        )
    tests = pd.DataFrame(found)
    if found:
        p = tests["p"].to_numpy()
        known = ~np.isnan(p)
        tests["p_bonferroni"] = np.minimum(p * known.sum(), 1)
        corrected = np.full(len(p), np.nan)
        if known.any():
            corrected[known] = false_discovery_control(p[known])
        tests["p_fdr"] = corrected
    for name in (*carried, "by"):
        tests[name] = [df[name].iloc[0]] * len(tests)
    return tests
