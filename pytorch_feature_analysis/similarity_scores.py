"""What a stack of similarity says of each pair: similarities, and how far from chance they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.cell_values import codes_of, crossed
from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.matrices import is_symmetric
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words
from pytorch_feature_analysis.regroup import label_columns


def to_similarity(rdm_df: pd.DataFrame, measures: Sequence[Any] = ()) -> pd.DataFrame:
    """Turn the dissimilarities ``1 - s`` of a stack back into the similarities s.

    Parameters
    ----------
    rdm_df : DataFrame
        Rows of `get_similarity_rdms` whose measure is a similarity, or of `get_meta_rdms` or
        `get_rdms` by 'corr', 'cosine' or 'spearman'. It is not changed.
    measures : list of Measure, default none
        Measures of one's own that the stack was made with.

    Returns
    -------
    DataFrame
        A new frame with the similarities in ``matrix``.

    Raises
    ------
    ValueError
        Rows whose measure is a distance, of which there is no similarity, or is not known.

    See Also
    --------
    similarity_table : One row as a table of networks by networks.
    calibrate_similarity : Similarities beside those of shuffled stimuli.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dissim_metric": ["linear_cka(debiased=True)"],
    ...     "matrix": [np.array([[0, 0.25], [0.25, 0]])],
    ...     "entry_keys": [["conv1", "conv2"]],
    ... })
    >>> pfa.to_similarity(stack)["matrix"][0].tolist()
    [[1.0, 0.75], [0.75, 1.0]]
    """
    checked = checked_stack(rdm_df, columns=["dissim_metric"], argument="rdm_df")
    wrong = [
        name
        for name in dict.fromkeys(checked["dissim_metric"])
        if direction_of(name, measures) != "similarity"
    ]
    if wrong:
        raise ValueError(
            f"`rdm_df` has rows by {in_words(wrong)}, whose matrices are not 1 less a similarity"
            " that is known here; leave them out with `df_filter`."
        )
    result = rdm_df.copy(deep=False)
    similarities = [1 - matrix for matrix in checked["matrix"]]
    for matrix in similarities:
        matrix.flags.writeable = False
    result["matrix"] = object_series(similarities, result.index)
    return result


def calibrate_similarity(rdm_df: pd.DataFrame, measures: Sequence[Any] = ()) -> pd.DataFrame:
    """Set each score beside those of the same representations with their stimuli shuffled.

    High values of many measures are no sign of likeness where there are few stimuli: what
    unrelated representations of the same widths have, the shuffles show.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack of `get_similarity_rdms` or `get_meta_rdms` with `num_perms`. It is not changed.
    measures : list of Measure, default none
        Measures of one's own that the stack was made with; what is not known is a distance.

    Returns
    -------
    DataFrame
        A row for each pair of entries of each RDM (of measures that are not symmetric, for each
        ordered pair), with the columns

        - those of the stack whose cells are plain values, such as ``dissim_metric``,
        - entry_1, entry_2: tuple, the keys of the pair,
        - score: float, the similarity, or the distance, as `direction` says,
        - direction: 'similarity' or 'distance',
        - null_mean, null_sd: float, of the scores of the shuffles,
        - z: float, ``(score - null_mean) / null_sd``: above 0 where a similarity is higher than
          by chance, below 0 where a distance is smaller,
        - p: float, ``(1 + hits) / (1 + num_perms)``, where a hit is a shuffle whose score is as
          near to identity as the score, or nearer: one-sided, not corrected for several pairs,
        - corrected: float, 1 for the best score, 0 for the mean of the shuffles:
          ``(score - null_mean) / (1 - null_mean)`` of a similarity, ``1 - score / null_mean`` of
          a distance,
        - num_perms: int.

        NaN where the score, or one of the shuffles, is.

    Raises
    ------
    ValueError
        An RDM has no shuffles, or there are several rows of one number.

    See Also
    --------
    get_similarity_rdms : Makes the stack, with `num_perms`.
    to_similarity : The similarities as a stack.

    References
    ----------
    Hubert, L. and Arabie, P. (1985). Comparing partitions. J. Classif. 2, 193-218 (correction for
        chance). https://doi.org/10.1007/BF01908075
    Phipson, B. and Smyth, G. K. (2010). Permutation P-values should never be zero. Stat. Appl.
        Genet. Mol. Biol. 9, 39. https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    Two unrelated representations of few stimuli, and one that has a part in common with the
    first:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> x, y, noise = np.random.default_rng(0).normal(size=(3, 16, 12))
    >>> df = pd.DataFrame({
    ...     "model": ["x", "y", "like x"],
    ...     "activations": [x, y, x + noise],
    ...     "entry_keys": [list(range(16))] * 3,
    ... })
    >>> stack = pfa.get_similarity_rdms(df, ["linear_cka"], ["model"], num_perms=99)
    >>> table = pfa.calibrate_similarity(stack)
    >>> table[["entry_1", "entry_2", "score", "null_mean", "p", "corrected"]].round(2)
      entry_1    entry_2  score  null_mean     p  corrected
    0    (x,)       (y,)   0.44       0.38  0.19       0.08
    1    (x,)  (like x,)   0.64       0.43  0.01       0.38
    2    (y,)  (like x,)   0.38       0.42  0.82      -0.08
    """
    checked = checked_stack(rdm_df, columns=["dissim_metric", "perm"], argument="rdm_df")
    carried = label_columns(rdm_df)
    code = codes_of(checked["entry_keys"])
    for name in carried:
        code = crossed(code, codes_of(checked[name]))
    tables = []
    for rdm in dict.fromkeys(code.tolist()):
        rows = checked[code == rdm]
        labels = {name: rows[name].iloc[0] for name in carried}
        originals = rows["perm"] == "orig_data"
        shuffled = len(rows) - originals.sum()
        if originals.sum() != 1 or not shuffled or rows["perm"].duplicated().any():
            raise ValueError(
                f"`rdm_df` must have, for each RDM, one row 'orig_data' in `perm` and the shuffles"
                f" numbered, but has {rows['perm'].tolist()[:5]} for {labels}. Make it with"
                " `num_perms` of at least 1, and keep all its rows."
            )
        direction = direction_of(labels["dissim_metric"], measures) or "distance"
        scores = np.stack(rows["matrix"][~originals].tolist())
        table = _calibrated(rows["matrix"][originals].item(), scores, direction)
        keys = rows["entry_keys"].iloc[0]
        ends = [object_series([keys[k] for k in table.pop(end)]) for end in ("row", "column")]
        own = {name: object_series([label] * len(table)) for name, label in labels.items()}
        tables.append(pd.DataFrame({**own, "entry_1": ends[0], "entry_2": ends[1], **table}))
    return pd.concat(tables, ignore_index=True).infer_objects()


def _calibrated(rdm: np.ndarray, shuffled: np.ndarray, direction: str) -> pd.DataFrame:
    """Scores of the pairs of an RDM beside those of its shuffles (num_perms, n, n)."""
    rows, columns = np.triu_indices(len(rdm), k=1)
    if not is_symmetric(np.nan_to_num(rdm)):
        rows, columns = np.nonzero(~np.eye(len(rdm), dtype=bool))
    score, null = rdm[rows, columns], shuffled[:, rows, columns]
    # A dissimilarity as near to 0, or nearer; a hair for what rounding does.
    hits = (null <= score + 1e-12 * np.abs(score)).sum(axis=0)
    is_known = np.isfinite(score) & np.isfinite(null).all(axis=0)
    if direction == "similarity":
        score, null = 1 - score, 1 - null
    mean, sd = null.mean(axis=0), null.std(axis=0, ddof=1 if len(null) > 1 else 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (score - mean) / sd
        is_one = direction == "similarity"
        corrected = (score - mean) / (1 - mean) if is_one else 1 - score / mean
    found = {
        "null_mean": mean,
        "null_sd": sd,
        "z": z,
        "p": (1 + hits) / (1 + len(null)),
        "corrected": corrected,
    }
    known = {name: np.where(is_known, values, np.nan) for name, values in found.items()}
    return pd.DataFrame(
        {
            "row": rows,
            "column": columns,
            "score": score,
            "direction": direction,
            **known,
            "num_perms": len(null),
        }
    )
