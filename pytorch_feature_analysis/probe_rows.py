"""Features of one network or of several, and the rows that probes of them give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_name, check_share
from pytorch_feature_analysis.linear_probe import LinearProbe, fit_probe, score_probabilities
from pytorch_feature_analysis.probe_data import (
    check_features,
    check_several,
    check_targets,
    classes_of,
    codes_in,
)
from pytorch_feature_analysis.probe_settings import ProbeSettings

MODES = ("single", "concat", "concat_pca", "ensemble")
_COMBINING = ("concat", "concat_pca")


def combine_features(
    features: Sequence[npt.ArrayLike],
    test_features: Sequence[npt.ArrayLike],
    *,
    mode: str = "concat",
    variance: float = 0.99,
) -> tuple[np.ndarray, np.ndarray]:
    """Put the features of several networks beside one another, and keep what varies.

    Parameters
    ----------
    features : list of array-like (n_samples, n_features)
        Of each network the features of the samples to learn from, in the same order. They are not
        changed.
    test_features : list of array-like (n_test, n_features)
        Of each network those of the samples to test with.
    mode : {'concat', 'concat_pca'}
        'concat': all columns. 'concat_pca': the scores of their leading principal components,
        which are found from `features` alone.
    variance : float, default 0.99
        For 'concat_pca': the fewest components are kept that have more than this share of the
        variance.

    Returns
    -------
    features : ndarray (n_samples, n_combined)
        Those of all networks in one table.
    test_features : ndarray (n_test, n_combined)
        The same of the test data. Both are for `train_linear_probe`, which makes them itself with
        ``mode='concat'``.

    See Also
    --------
    train_linear_probe : Does so with ``mode='concat'``.

    Notes
    -----
    Nothing is scaled: a network whose features vary more has more weight. Rows of unit length for
    each network make them comparable.

    References
    ----------
    Jolliffe, I. T. and Cadima, J. (2016). Principal component analysis: a review and recent
        developments. Phil. Trans. R. Soc. A 374, 20150202. https://doi.org/10.1098/rsta.2015.0202

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x, y, noise = np.random.default_rng(0).normal(size=(3, 40, 2))
    >>> almost_x = x + 0.01 * noise
    >>> train, test = pfa.combine_features([x[:30], almost_x[:30]], [x[30:], almost_x[30:]])
    >>> train.shape, test.shape
    ((30, 4), (10, 4))
    >>> train, test = pfa.combine_features(
    ...     [x[:30], almost_x[:30]], [x[30:], almost_x[30:]], mode="concat_pca"
    ... )
    >>> train.shape, test.shape
    ((30, 2), (10, 2))
    """
    check_name(mode, _COMBINING, argument="mode", what="way to combine features")
    share = check_variance(variance)
    tables, test_tables = _check_tables(features, test_features, mode)
    return _combined(tables, test_tables, mode, share)


def check_variance(variance: Any) -> float:
    """Return a share between 0 and 1, or raise."""
    share = check_share(variance, argument="variance")
    if share in (0, 1):
        raise ValueError(
            f"`variance` must lie between 0 and 1, not be {share:g}; mode 'concat' keeps all."
        )
    return share


@dataclass(frozen=True)
class ProbeData:
    """What probes learn from and are tested with, checked."""

    tables: list[np.ndarray]
    """Of one network or of several."""
    targets: np.ndarray
    test_tables: list[np.ndarray]
    test_targets: np.ndarray

    @classmethod
    def of(
        cls, features: Any, targets: Any, test_features: Any, test_targets: Any, *, mode: str
    ) -> ProbeData:
        """Check the arguments of `train_linear_probe`; one network's features are no list."""
        tables, test_tables = _check_tables(features, test_features, mode)
        true = check_targets(targets, len(tables[0]), argument="targets")
        test_true = check_targets(test_targets, len(test_tables[0]), argument="test_targets")
        codes_in(test_true, classes_of(true), argument="test_targets", of="`targets`")
        return cls(tables, true, test_tables, test_true)

    def rows(
        self, mode: str, variance: float, settings: ProbeSettings, seeds: Sequence[int]
    ) -> Iterator[dict[str, Any]]:
        """Train and test with each seed; yields the cells of a row."""
        tables, test_tables = self.tables, self.test_tables
        if mode in _COMBINING:
            both = _combined(tables, test_tables, mode, variance)
            tables, test_tables = [both[0]], [both[1]]
        probes: list[LinearProbe] = []
        for seed in seeds:
            if settings.depends_on_seed or not probes:
                probes = [fit_probe(x, self.targets, settings, seed) for x in tables]
                told = [
                    probe.probabilities(x) for probe, x in zip(probes, test_tables, strict=True)
                ]
                classes = probes[0].classes
                scores = score_probabilities(
                    np.mean(told, axis=0), self.test_targets, classes.tolist()
                )
            # Each member of an ensemble has settings of its own.
            chosen = probes[0] if len(probes) == 1 else None
            yield {
                "seed": seed,
                "solver": settings.solver,
                "mode": mode,
                "learning_rate": chosen.learning_rate if chosen else math.nan,
                "weight_decay": chosen.weight_decay if chosen else math.nan,
                "C": chosen.C if chosen else math.nan,
                "validation_accuracy": chosen.validation_accuracy if chosen else math.nan,
                "accuracy": scores.accuracy,
                "accuracy_top5": scores.accuracy_top5,
                "mean_per_class_recall": scores.mean_per_class_recall,
                "n_train": len(self.targets),
                "n_test": len(self.test_targets),
                "n_features": sum(x.shape[1] for x in tables),
                "n_classes": len(classes),
            }


def _check_tables(
    features: Any, test_features: Any, mode: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    if mode == "single":
        given = {"features": [features], "test_features": [test_features]}
    else:
        given = {
            name: check_several(value, argument=name, what=f"mode '{mode}'")
            for name, value in (("features", features), ("test_features", test_features))
        }
    if len(given["features"]) != len(given["test_features"]):
        raise ValueError(
            f"`test_features` has tables of {len(given['test_features'])} networks, and `features`"
            f" of {len(given['features'])}: the same are needed."
        )
    named = {
        name: [name if mode == "single" else f"{name}[{k}]" for k in range(len(tables))]
        for name, tables in given.items()
    }
    tables = [
        check_features(table, argument=name)
        for table, name in zip(given["features"], named["features"], strict=True)
    ]
    test_tables = [
        check_features(table, argument=name, n_features=like.shape[1])
        for table, name, like in zip(
            given["test_features"], named["test_features"], tables, strict=True
        )
    ]
    for name, several in (("features", tables), ("test_features", test_tables)):
        numbers = [len(table) for table in several]
        if len(set(numbers)) > 1:
            raise ValueError(
                f"`{name}` must have the same samples in the rows of all tables, and these have"
                f" {', '.join(map(str, numbers))} rows."
            )
    return tables, test_tables


def _combined(
    tables: Sequence[np.ndarray], test_tables: Sequence[np.ndarray], mode: str, variance: float
) -> tuple[np.ndarray, np.ndarray]:
    x, x_test = np.concatenate(tables, axis=1), np.concatenate(test_tables, axis=1)
    if mode == "concat":
        return x, x_test
    # Deferred: only a call needs it.
    from sklearn.decomposition import PCA

    if not x.std(axis=0).any():
        raise ValueError("`features` are the same for all samples, so there are no components.")
    model = PCA(n_components=variance).fit(x)
    return model.transform(x), model.transform(x_test)
