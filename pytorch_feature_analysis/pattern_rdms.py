"""RDMs of measured patterns (voxels, sensors, neurons), in a stack as those of networks."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import (
    check_free,
    check_name,
    check_text,
)
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis.crossvalidated import runs_in_common
from pytorch_feature_analysis.matrices import to_condensed
from pytorch_feature_analysis.measured_noise import Noise
from pytorch_feature_analysis.measured_patterns import NOISE_COLUMNS, Measured, Reader
from pytorch_feature_analysis.measured_rdms import (
    WHITENED,
    check_dissim_metrics,
    check_runs,
    rdms_of,
)
from pytorch_feature_analysis.missing_cells import check_nan_policy
from pytorch_feature_analysis.noise_covariance import NOISE_METHODS
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_files import check_stack_path, write_rdms

logger = logging.getLogger(__name__)

_NOISES = ("repetitions", "runs", *NOISE_COLUMNS)
_RESULTS = (
    *("df_name", "dissim_metric", "noise", "matrix", "perm", "perm_scramble", "dissim_rankings"),
)
_COUNTS = (
    *("n_conditions", "n_runs", "n_observations", "n_observations_left_out", "n_channels"),
    *("n_channels_left_out", "n_missing", "n_pairs_apart"),
)


def get_pattern_rdms(
    patterns_df: pd.DataFrame,
    dissim_metrics: Sequence[Any] = ("crossnobis",),
    out_fname: str | os.PathLike[str] | None = None,
    *,
    run_variable: str = "run",
    condition_variables: Sequence[str] | None = None,
    noise: str | None = "repetitions",
    noise_method: str = "shrinkage_diag",
    noise_by_run: bool = False,
    nan_policy: str = "omit",
    df_name: str = "default_name",
) -> pd.DataFrame:
    """RDMs of conditions that were measured repeatedly: a stack, as of networks.

    Patterns of voxels, sensors or neurons have noise, and noise makes every distance larger. A
    cross-validated distance multiplies the difference of two conditions in one run with that in
    another, whose noise is independent: its expectation is the distance of the true patterns. With
    x the mean pattern of a condition in a run, S the covariance of noise and p channels,

    - 'crossnobis' is the mean of ``(x_i^a - x_j^a) inv(S) (x_i^b - x_j^b)' / p``,
    - 'cv_squared_euclidean' is the mean of ``(x_i^a - x_j^a) (x_i^b - x_j^b)'``, not divided by p,

    over all pairs of different runs a, b that have both conditions. 'cv_corr' is ``1 - c_ij /
    sqrt(c_ii c_jj)``, where c is the mean over pairs of different runs of the covariance over
    channels of ``x_i^a`` and ``x_j^b``; 'cv_whitened_corr' is the same of ``x inv(S)^(1/2)``, the
    symmetric root, in which each channel stays itself.

    Parameters
    ----------
    patterns_df : DataFrame
        A frame of activations with a row for each subject, region and so on. It is not changed.
        It has the columns

        - activations: array (n_observations, n_channels), as of trials or of estimates by run,
        - entry_keys: list of n_observations names, the condition of each; they repeat,
        - the run of each observation: a column `run_variable` of lists of n_observations values,
          or a name in the dicts of ``entry_labels``,
        - residuals, covariance or precision, where `noise` names it,

        and any further ones, which say what a row is of.
    dissim_metrics : list, default ``['crossnobis']``
        The four above, and any metric of `compute_rdm`, which compares the means of all
        observations of each condition, and so is not cross-validated.
    out_fname : path, optional
        File of the stack, see `write_rdms`.
    run_variable : str, default 'run'
        The column, or the name in ``entry_labels``, of the runs (sessions, folds).
    condition_variables : list of str, optional
        Names in ``entry_labels`` that tell conditions apart. Default: the whole entry key, without
        the run where that is part of it.
    noise : str or None, default 'repetitions'
        What S of 'crossnobis' and 'cv_whitened_corr' is made of; other metrics take patterns as
        they are.

        - 'repetitions': deviations of observations from the mean of their condition in the same
          run, for designs with several of them,
        - 'runs': deviations from the mean of the condition over all runs, for designs with one
          estimate a run (see Notes),
        - 'residuals': samples of noise in the column of that name, an array
          (n_samples, n_channels) or a dict of these by run,
        - 'covariance', 'precision': S or its inverse in the column of that name,
          (n_channels, n_channels), or (n_channels,) for a diagonal,
        - None: S is the identity.
    noise_method : {'shrinkage_diag', 'shrinkage_eye', 'full', 'diag'}, default 'shrinkage_diag'
        How S is estimated, see `noise_covariance`.
    noise_by_run : bool, default False
        Each run has its own S, and a pair of runs the mean of theirs: from deviations within the
        run, or from the dicts from runs to arrays in the column.
    nan_policy : {'omit', 'raise'}, default 'omit'
        Leave out channels with NaN or infinite values in any observation (or in the noise), after
        observations without any number, and leave NaN where two conditions have no two runs in
        common; or raise.
    df_name : str, default 'default_name'
        Name of the stack.

    Returns
    -------
    DataFrame
        A row for each row of the frame and metric: ``df_name``, the frame's further columns,
        ``dissim_metric``, ``noise`` (None but for metrics with S), ``matrix``, ``entry_keys`` (the
        conditions, in the order in which they come) and ``entry_labels``, ``perm``,
        ``perm_scramble``, ``dissim_rankings``. Larger is more different. Cross-validated
        distances are around 0 for patterns that are the same, and below it as often as above:
        negative values are kept, since means would not be right without them.

    Raises
    ------
    ValueError
        A single run for a cross-validated metric; no two conditions that share two runs; a single
        condition; one observation a run for noise='repetitions'; a noise covariance that is
        singular; unknown names; no channel without NaN.
    TypeError
        Cells that are no arrays of numbers, or no lists.

    Warns
    -----
    UserWarning
        Names rows whose matrices have NaN, and how many. Channels and observations that are left
        out are in the log, and in `get_pattern_design`.

    See Also
    --------
    get_pattern_design : Numbers of runs, observations and channels.
    noise_covariance : S of residuals, with degrees of freedom of one's own.
    compare_to_reference, noise_ceiling : What takes the stack.

    Notes
    -----
    All pairs of runs count the same, however many observations their means are of. Where each
    condition is as often in each run, the result is that of rsatoolbox ('crossnobis' there too is
    divided by the number of channels). What is added to all patterns of a run makes no difference
    to 'crossnobis' and 'cv_squared_euclidean', also where a run lacks conditions; it does to
    correlations, and to S by noise='runs'.

    An S that is estimated from deviations over runs knows the patterns that it is to weight: it is
    larger where patterns of two runs differ, and 'crossnobis' by noise='runs' is too large, the
    more so the fewer observations there are (by 0.04 for 5 conditions in 6 runs, 20 channels, and
    patterns that differ in noise alone). Residuals and deviations within runs do not.

    'cv_corr' and 'cv_whitened_corr' are ratios, and not without bias. They may be outside of 0 to
    2, vary wildly where patterns have little reliable variance, and are NaN where c_ii is not
    above 0.

    'mahalanobis' of `compute_rdm` takes its covariance from the condition means, not from noise.
    Room is needed for the observations of one row of the frame in float64, about three times, and
    for S, n_runs times with `noise_by_run`.

    References
    ----------
    Walther, A., Nili, H., Ejaz, N., Alink, A., Kriegeskorte, N. and Diedrichsen, J. (2016).
        Reliability of dissimilarity measures for multi-voxel pattern analysis. NeuroImage 137,
        188-200. https://doi.org/10.1016/j.neuroimage.2015.12.012
    Diedrichsen, J. and Kriegeskorte, N. (2017). Representational models: a common framework for
        understanding encoding, pattern-component, and representational-similarity analysis. PLoS
        Comput. Biol. 13, e1005508. https://doi.org/10.1371/journal.pcbi.1005508
    Guggenmos, M., Sterzer, P. and Cichy, R. M. (2018). Multivariate pattern analysis for MEG: a
        comparison of dissimilarity measures. NeuroImage 173, 434-447.
        https://doi.org/10.1016/j.neuroimage.2018.02.044

    Examples
    --------
    Two runs of three conditions, of which the first two are the same but for noise:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> true = np.repeat([[0.0], [0.0], [1.0]], 50, axis=1)
    >>> brains = pd.DataFrame({
    ...     "subject": ["s1", "s2"],
    ...     "activations": [np.tile(true, (2, 1)) + rng.normal(0, 0.5, (6, 50)) for _ in "12"],
    ...     "entry_keys": [["cat", "dog", "cup"] * 2] * 2,
    ...     "run": [[1, 1, 1, 2, 2, 2]] * 2,
    ... })
    >>> stack = pfa.get_pattern_rdms(brains, ["cv_squared_euclidean", "squared_euclidean"])
    >>> stack[["subject", "dissim_metric"]].to_numpy().tolist()[:2]
    [['s1', 'cv_squared_euclidean'], ['s1', 'squared_euclidean']]
    >>> stack["entry_keys"][0]
    (('cat',), ('dog',), ('cup',))
    >>> [matrix[0].round().tolist() for matrix in stack["matrix"][:2]]
    [[0.0, -6.0, 45.0], [0.0, 11.0, 57.0]]
    """
    metrics = check_dissim_metrics(dissim_metrics)
    _check_options(noise, noise_method, noise_by_run, nan_policy)
    check_text(df_name, argument="df_name")
    path = None if out_fname is None else check_stack_path(out_fname, argument="out_fname")
    crossvalidated = [metric for metric in metrics if isinstance(metric, str)]
    source = noise if set(WHITENED) & set(crossvalidated) else None
    reader = Reader.of(
        patterns_df,
        run_variable,
        condition_variables,
        columns=[source] if source in NOISE_COLUMNS else [],
        nan_policy=nan_policy,
        needs_runs=bool(crossvalidated),
    )
    kept = reader.kept_columns
    check_free(kept, _RESULTS, argument="patterns_df")
    noises = Noise(patterns_df, reader.rows, source, noise_method, noise_by_run)
    cells: dict[str, list[Any]] = {name: [] for name in (*_RESULTS, "entry_keys", "entry_labels")}
    origins: list[int] = []
    lacking: dict[str, int] = {}
    for k in range(len(patterns_df)):
        measured = reader.read(k, noises.known)
        _log_left_out(measured, reader.frame.index[k])
        if crossvalidated:
            reader.rows.checked(k, check_runs, measured, crossvalidated[0])
        covariances = noises.of(k, measured)
        for metric, matrix in reader.rows.checked(k, rdms_of, measured, metrics, covariances):
            n_nan = int(np.isnan(to_condensed(matrix)).sum())
            if n_nan and nan_policy == "raise":
                reader.rows.fail(
                    k,
                    f"has {n_nan} pairs of conditions without '{metric}' (no two runs in common,"
                    " or patterns without variance); leave such conditions out, or use"
                    " nan_policy='omit'",
                )
            if n_nan:
                lacking[f"{metric} of the row {patterns_df.index[k]!r}"] = n_nan
            matrix.flags.writeable = False
            origins.append(k)
            cells["df_name"].append(df_name)
            cells["dissim_metric"].append(metric)
            cells["noise"].append(noise if metric in WHITENED else None)
            cells["matrix"].append(matrix)
            cells["entry_keys"].append(measured.entry_keys)
            cells["entry_labels"].append(measured.entry_labels)
            cells["perm"].append("orig_data")
            cells["perm_scramble"].append(tuple(range(len(matrix))))
            cells["dissim_rankings"].append(greedy_order(matrix))
    if lacking:
        shown = "; ".join(f"{n} pairs in {name}" for name, n in list(lacking.items())[:3])
        more = f"; and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        warnings.warn(
            "NaN, because conditions have no two runs in common or patterns no (reliable)"
            f" variance: {shown}{more}.",
            stacklevel=2,
        )
    stack = _stack_of(patterns_df[kept].iloc[origins].reset_index(drop=True), cells)
    if path is not None:
        save_or_rescue(partial(write_rdms, stack), path)
    return stack


def get_pattern_design(
    patterns_df: pd.DataFrame,
    *,
    run_variable: str = "run",
    condition_variables: Sequence[str] | None = None,
    noise: str | None = None,
) -> pd.DataFrame:
    """Numbers of runs, observations and channels behind the RDMs of `get_pattern_rdms`.

    Parameters
    ----------
    patterns_df, run_variable, condition_variables
        As in `get_pattern_rdms`.
    noise : str or None, default None
        As in `get_pattern_rdms`: channels that have no noise in that column are left out too.

    Returns
    -------
    DataFrame
        A row for each of the frame, with its further columns and ``n_conditions``, ``n_runs``;
        ``n_observations`` and ``n_channels`` that are used, ``n_observations_left_out`` and
        ``n_channels_left_out`` for NaN; ``n_missing``, how often a run lacks a condition;
        ``n_pairs_apart``, pairs of conditions that no two runs share, whose cross-validated
        distances are NaN.

    Raises
    ------
    ValueError
        As `get_pattern_rdms`, but that a single run will do.

    See Also
    --------
    get_pattern_rdms : The RDMs themselves.

    Notes
    -----
    These numbers are no columns of the stack, where they would tell apart what goes together, such
    as the same region of subjects with different numbers of voxels.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> brains = pd.DataFrame({
    ...     "subject": ["s1"],
    ...     "activations": [[[1, 2, np.nan], [2, 1, 0], [1, 1, 3]]],
    ...     "entry_keys": [["cat", "dog", "cat"]],
    ...     "run": [[1, 1, 2]],
    ... })
    >>> design = pfa.get_pattern_design(brains)
    >>> design[["n_conditions", "n_runs", "n_channels", "n_channels_left_out", "n_missing"]]
       n_conditions  n_runs  n_channels  n_channels_left_out  n_missing
    0             2       2           2                    1          1
    """
    _check_options(noise, NOISE_METHODS[0], False, "omit")
    reader = Reader.of(
        patterns_df,
        run_variable,
        condition_variables,
        columns=[noise] if noise in NOISE_COLUMNS else [],
        nan_policy="omit",
        needs_runs=True,
    )
    kept = reader.kept_columns
    check_free(kept, _COUNTS, argument="patterns_df")
    noises = Noise(patterns_df, reader.rows, noise, NOISE_METHODS[0], False)
    rows = []
    for k in range(len(patterns_df)):
        measured = reader.read(k, noises.known)
        present = measured.present()
        numbers = (
            *(present.shape[1], len(present), len(measured.observations), measured.n_left_out),
            *(int(measured.kept.sum()), int((~measured.kept).sum()), int((~present).sum())),
            int((to_condensed(runs_in_common(present)) < 2).sum()),
        )
        rows.append(dict(zip(_COUNTS, numbers, strict=True)))
    design = patterns_df[kept].copy()
    for name in _COUNTS:
        design[name] = [row[name] for row in rows]
    return design


def _check_options(noise: Any, noise_method: Any, noise_by_run: Any, nan_policy: Any) -> None:
    if isinstance(noise, np.ndarray):
        raise TypeError(
            "`noise` must be the name of a column that has the arrays, not an array; put it into a"
            " column 'covariance' or 'precision', one a row, and name that."
        )
    if noise is not None:
        check_name(noise, _NOISES, argument="noise", what="source of noise")
    check_name(noise_method, NOISE_METHODS, argument="noise_method", what="method")
    if not isinstance(noise_by_run, (bool, np.bool_)):
        raise TypeError(f"`noise_by_run` must be True or False, not {noise_by_run!r}.")
    if noise_by_run and noise in (None, "runs"):
        raise ValueError(
            f"`noise_by_run` is for noise of each run, and `noise` is {noise!r}; name another."
        )
    check_nan_policy(nan_policy, no_pairs="is about RDMs, and here patterns lack channels")


def _log_left_out(measured: Measured, index: Any) -> None:
    n_channels = int((~measured.kept).sum())
    if n_channels or measured.n_left_out:
        logger.warning(
            "the row %r: %d of %d channels and %d of %d observations are left out for NaN or"
            " infinite values.",
            index,
            n_channels,
            len(measured.kept),
            measured.n_left_out,
            measured.n_left_out + len(measured.observations),
        )


def _stack_of(kept: pd.DataFrame, cells: dict[str, list[Any]]) -> pd.DataFrame:
    plain = ("df_name", "dissim_metric", "perm")
    columns: dict[Any, Any] = {"df_name": cells["df_name"]}
    columns.update({name: kept[name] for name in kept.columns})
    for name in ("dissim_metric", "noise", "matrix", "entry_keys", "entry_labels", *_RESULTS[4:]):
        columns[name] = cells[name] if name in plain else object_series(cells[name])
    return pd.DataFrame(columns)
