"""Folds of a decoding analysis, and linear support vector machines from distances alone.

A linear SVC sees patterns through their inner products only, and, since the weights of its dual
sum up to zero over the classes, only through inner products about any common centre. These follow
from the squared distances between patterns: fits cost no more for a layer of a million units than
for one of ten, and a large mean that all patterns share takes no digits from their differences.

Bins are told apart by codes: whole numbers in the order of the values that they stand for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytorch_feature_analysis.matrices import double_centred

# A decision value that is so small a part of what it is the sum of is rounding, no decision.
_TIE = 1e-9
# A shuffled accuracy that is the observed one but for the rounding of a mean counts as a hit.
_SAME = 1e-12


class Fold(NamedTuple):
    """Which of the images of a comparison are learnt from, and which are left out to be told."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Two bins to tell apart, and how."""

    members: np.ndarray
    """(n,), rows of the matrix of distances; an image that stands twice has its row twice."""
    labels: np.ndarray
    """(n,) bool, whether the image is of the second bin."""
    folds: tuple[Fold, ...]
    """Places among the members."""
    strata: tuple[np.ndarray, ...]
    """Places of the images among which labels may be exchanged."""
    seed: int
    """Of the shuffles."""


def common_values(labels: np.ndarray, others: np.ndarray) -> list[int]:
    """List the values (codes) of the other variable that both bins have."""
    return np.intersect1d(others[labels], others[~labels]).tolist()


def within_folds(labels: np.ndarray, others: np.ndarray) -> tuple[list[Fold], list[np.ndarray]]:
    """Folds that each leave images of both bins out, and the strata of their shuffles.

    Parameters
    ----------
    labels
        (n,) bool, whether each image is of the second bin.
    others
        (n,) codes of the other variable.

    Returns
    -------
    folds
        One for each value that both bins have: it leaves out all images with that value. Where
        they share fewer than two, the i-th of each bin, in order of value, is left out; through
        the smaller bin they go in circles.
    strata
        The images of each value; all images where the folds are not matched.
    """
    places = np.arange(len(labels))
    common = common_values(labels, others)
    if len(common) >= 2:
        folds = [Fold(places[others != value], places[others == value]) for value in common]
        return folds, [places[others == value] for value in common]
    in_order = np.argsort(others, kind="stable")
    first, second = in_order[~labels[in_order]], in_order[labels[in_order]]
    folds = []
    for i in range(max(len(first), len(second))):
        test = np.array([first[i % len(first)], second[i % len(second)]])
        folds.append(Fold(np.setdiff1d(places, test), test))
    return folds, [places]


def k_folds(labels: np.ndarray, k: int, generator: np.random.Generator) -> list[Fold]:
    """Share the images of each bin out among k folds at random, as evenly as can be."""
    fold_of = np.empty(len(labels), dtype=int)
    for of_bin in (np.flatnonzero(~labels), np.flatnonzero(labels)):
        fold_of[generator.permutation(of_bin)] = np.arange(len(of_bin)) % k
    places = np.arange(len(labels))
    return [Fold(places[fold_of != i], places[fold_of == i]) for i in range(k)]


def cross_splits(
    labels: np.ndarray, others: np.ndarray, cross_by: str
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the values to train at and those to test at, of those that both bins have."""
    common = common_values(labels, others)
    if cross_by == "pairs":
        for train in common:
            for test in common:
                if train != test:
                    yield [train], [test]
    elif len(common) > 1:
        for test in common:
            yield [value for value in common if value != test], [test]


def centred_products(squared_distances: np.ndarray) -> np.ndarray:
    """Inner products (n, n) of patterns about their mean, from their squared distances."""
    return double_centred(squared_distances / -2)


def decision_values(products: np.ndarray, labels: np.ndarray, fold: Fold) -> np.ndarray:
    """Decision values of a linear SVC with C = 1 for the images that a fold leaves out.

    Parameters
    ----------
    products
        (n, n) inner products of all images.
    labels
        (n,) bool.

    Returns
    -------
    ndarray (n_test,)
        Positive for the second bin, exactly 0 for neither. Where all that is learnt from is of
        one bin (which shuffling can bring about), there is no other to choose.
    """
    from sklearn.svm import SVC

    targets = labels[fold.train]
    if targets.all() or not targets.any():
        return np.full(len(fold.test), 1.0 if targets[0] else -1.0)
    machine = SVC(kernel="precomputed", C=1.0)
    machine.fit(products[np.ix_(fold.train, fold.train)], targets)
    supports = fold.train[machine.support_]
    # What `decision_function` does, without its checks, which take as long as the fit.
    to_supports, weights = products[np.ix_(fold.test, supports)], machine.dual_coef_[0]
    intercept = machine.intercept_[0]
    values: np.ndarray = to_supports @ weights + intercept
    sizes = np.abs(to_supports) @ np.abs(weights) + abs(intercept)
    values[np.abs(values) <= _TIE * sizes] = 0
    return values


def accuracy(values: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the bins of the share of their images on the right side; a tie counts half."""
    scores = np.where(values == 0, 0.5, (values > 0) == labels)
    shares = [scores[labels == which].mean() for which in (False, True) if (labels == which).any()]
    return float(np.mean(shares))


def decode(
    squared_distances: np.ndarray, comparisons: Sequence[Comparison], num_perms: int = 0
) -> np.ndarray:
    """Accuracies of comparisons, and their p values.

    Parameters
    ----------
    squared_distances
        (n_images, n_images) between patterns.
    num_perms
        Shuffles of the labels.

    Returns
    -------
    ndarray (n_comparisons, 2)
        Accuracy and p value; both NaN where a pattern holds NaN or inf, p NaN without shuffles.
    """
    found = np.full((len(comparisons), 2), np.nan)
    with _without_checks():
        for row, comparison in zip(found, comparisons, strict=True):
            members = comparison.members
            block = squared_distances[np.ix_(members, members)]
            if np.isfinite(block).all():
                products = centred_products(block)
                row[0] = _Machines(products, comparison.folds).accuracy(comparison.labels)
                if num_perms:
                    row[1] = _p_value(products, comparison, row[0], num_perms)
    return found


class _Machines:
    """Fits of all folds; labels that were met before are not fitted again.

    With few images in each stratum there are few ways to label them.
    """

    def __init__(self, products: np.ndarray, folds: Sequence[Fold]) -> None:
        self._products, self._folds = products, folds
        self._known: dict[tuple[int, bytes], np.ndarray] = {}

    def accuracy(self, labels: np.ndarray) -> float:
        scores = []
        for number, fold in enumerate(self._folds):
            key = (number, np.packbits(labels[fold.train]).tobytes())
            if key not in self._known:
                self._known[key] = decision_values(self._products, labels, fold)
            scores.append(accuracy(self._known[key], labels[fold.test]))
        return float(np.mean(scores))


def _p_value(
    products: np.ndarray, comparison: Comparison, observed: float, num_perms: int
) -> float:
    machines = _Machines(products, comparison.folds)
    generator = np.random.default_rng(comparison.seed)
    labels = comparison.labels.copy()
    hits = 0
    for _ in range(num_perms):
        for stratum in comparison.strata:
            labels[stratum] = comparison.labels[generator.permutation(stratum)]
        hits += machines.accuracy(labels) >= observed - _SAME
    return (1 + hits) / (1 + num_perms)


@contextlib.contextmanager
def _without_checks() -> Iterator[None]:
    """Spare scikit-learn the checks of what is known to be right: half the time of a small fit."""
    from sklearn import config_context

    with config_context(assume_finite=True, skip_parameter_validation=True):
        yield
