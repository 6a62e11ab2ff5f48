"""Linear predictivity: how much of one representation a linear map of another foretells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import RandomState, check_count, check_random_state
from pytorch_feature_analysis.similarity._inputs import check_pair, permuted_rows
from pytorch_feature_analysis.similarity._measure import Measure

_PENALTIES = tuple(10.0**power for power in range(-3, 7))


def linear_predictivity(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    cv: int = 5,
    ridge: float | Sequence[float] = _PENALTIES,
    *,
    random_state: RandomState = 0,
) -> float:
    """Cross-validated share of the variance of `y` that ridge regression on `x` explains.

    Stimuli are shared out among folds at random; in each, the map from x to y is learnt from the
    others, and the errors on the fold are summed over all units of y:
    ``R2 = 1 - sum((y - prediction) ** 2) / sum((y - mean) ** 2)``, with the means of the stimuli
    that were learnt from.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
        What is predicted from.
    y : array-like (n_stimuli, q)
        What is predicted, for the same stimuli.
    cv : int, default 5
        Folds, at least two.
    ridge : float or sequence of float, default 1e-3, 1e-2, ..., 1e6
        Penalties; of several, the one with the least error in leave-one-out predictions of the
        stimuli that are learnt from, one for all units.
    random_state : int, numpy Generator or None, default 0
        Seed of the folds.

    Returns
    -------
    float
        1: foretold without error; 0: no better than the mean; negative: worse. Not symmetric. NaN
        where y is the same for all stimuli.

    Raises
    ------
    ValueError
        More folds than stimuli, or a penalty that is not above 0.

    See Also
    --------
    cca : Symmetric, and without cross-validation.

    References
    ----------
    Yamins, D. L. K. et al. (2014). Performance-optimized hierarchical models predict neural
        responses in higher visual cortex. PNAS 111, 8619-8624.
        https://doi.org/10.1073/pnas.1403112111

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> y = x @ rng.normal(size=(5, 3))
    >>> round(pfa.linear_predictivity(x, y), 4)
    1.0
    >>> pfa.linear_predictivity(rng.normal(size=(60, 5)), y) < 0.1
    True
    """
    options: dict[str, Any] = {"cv": cv, "ridge": ridge, "random_state": random_state}
    return _compare(*check_pair(x, y), **options)


def _prepare(x: np.ndarray, **_options: Any) -> np.ndarray:
    return x


def _compare(
    x: np.ndarray,
    y: np.ndarray,
    *,
    cv: int = 5,
    ridge: float | Sequence[float] = _PENALTIES,
    random_state: RandomState = 0,
) -> float:
    # Deferred: it takes long to import.
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold

    cv = check_count(cv, argument="cv", minimum=2, maximum=len(x))
    penalties = np.atleast_1d(np.asarray(ridge, dtype=float))
    if penalties.ndim != 1 or not len(penalties) or not (penalties > 0).all():
        raise ValueError(f"`ridge` must hold penalties above 0, not {ridge!r}.")
    errors = spread = 0.0
    # The mean of what does not vary may differ from it in the last digit, but for 0.
    y = y - y[0]
    folds = KFold(cv, shuffle=True, random_state=check_random_state(random_state) % 2**32)
    for train, test in folds.split(x):
        machine = RidgeCV(alphas=penalties).fit(x[train], y[train])
        predicted = machine.predict(x[test]).reshape(len(test), -1)
        errors += ((y[test] - predicted) ** 2).sum()
        spread += ((y[test] - y[train].mean(axis=0)) ** 2).sum()
    return float(1 - errors / spread) if spread > 0 else float("nan")


LINEAR_PREDICTIVITY = Measure(
    "linear_predictivity",
    linear_predictivity,
    _prepare,
    _compare,
    direction="similarity",
    value_range=(-np.inf, 1.0),
    ignores=("translation", "unit order"),
    needs="enough stimuli to learn a map of all units from a part of them",
    is_symmetric=False,
    permute=permuted_rows,
)
