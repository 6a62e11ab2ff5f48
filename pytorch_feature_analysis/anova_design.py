"""Designs of analyses of variance: which sums over images the sums of squares follow from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import helmert

from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.image_sets import ImageSet

# Cells without an image are all to be filled, so that more of them are named than elsewhere.
listed = partial(in_words, most=10)

_FORBIDDEN = ("total", "error", "interaction")
_SUFFIXES = (
    *("eta2_mean", "eta2_stdev", "eta2_stdev_kernelmeans"),
    *("partial_eta2_mean", "omega2_mean", "significant"),
)


@dataclass(frozen=True)
class Design:
    """Which sums to keep, and which sums of squares follow from them."""

    weights: np.ndarray
    """(n_sums, n_images): each sum weights the images so."""
    bases: dict[str, slice | np.ndarray]
    """Per effect an orthonormal basis of its space: some of the sums, or (df, n_sums) by which
    these are mixed."""
    mean: slice | np.ndarray
    """The same for the grand mean."""
    model: slice
    """Sums that together make up all that is no residual, the mean included."""
    dfs: dict[str, int]
    """Degrees of freedom of all effects and the residual."""
    residual: str
    """'error', or the interaction that stands in for it."""

    @property
    def n_images(self) -> int:
        """Count the images."""
        return self.weights.shape[1]

    @property
    def effects(self) -> list[str]:
        """All effects, the one that is the residual last."""
        return [name for name in self.dfs if name != "error"]

    @property
    def bytes_a_unit(self) -> int:
        """Memory of a unit while images pass."""
        return 8 * (len(self.weights) + 2)


def make_design(image_set: ImageSet, factors: list[str], ss_type: str | None) -> Design:
    """Check that the factors are crossed, and find the sums that their effects need."""
    places = [image_set.entry_types.index(name) for name in factors]
    keys = [tuple(key[place] for place in places) for key in image_set.images]
    levels = [list(dict.fromkeys(column)) for column in zip(*keys, strict=True)]
    for name, found in zip(factors, levels, strict=True):
        if len(found) < 2:
            raise ValueError(
                f"`image_set`: the factor '{name}' has one level, {found[0]!r}; it takes at least"
                " two. Name another entry type in `factors`."
            )
    n_in_cell = dict.fromkeys(itertools.product(*levels), 0)
    for key in keys:
        n_in_cell[key] += 1
    empty = [cell for cell, count in n_in_cell.items() if not count]
    if empty:
        raise ValueError(
            f"`image_set` must hold an image for every combination of {listed(factors)}, but has"
            f" none for {listed(empty)}. Add them, or leave a level out."
        )
    counts = np.array(list(n_in_cell.values()))
    is_balanced = counts.min() == counts.max()
    if not is_balanced and ss_type is None:
        fewest, most = (
            min(n_in_cell, key=n_in_cell.__getitem__),
            max(n_in_cell, key=n_in_cell.__getitem__),
        )
        raise ValueError(
            f"`image_set` has from {counts.min()} (for {fewest!r}) to {counts.max()} images (for"
            f" {most!r}) for the combinations of {listed(factors)}. Even them out, or choose"
            " `ss_type`='II' or 'III'."
        )
    ranks = [{level: rank for rank, level in enumerate(found)} for found in levels]
    codes = np.array([[rank[part] for rank, part in zip(ranks, key, strict=True)] for key in keys])

    every = range(len(factors))
    terms = [term for size in every for term in itertools.combinations(every, size + 1)]
    names = {term: ":".join(factors[i] for i in term) for term in terms}
    if len(factors) == 2:
        names[terms[-1]] = "interaction"
    _check_effect_names(list(names.values()), image_set)
    shape = [len(found) for found in levels]
    dfs = {
        names[term]: int(np.prod([shape[i] - 1 for i in term], dtype=np.int64)) for term in terms
    }
    residual = names[terms[-1]]
    if counts.max() > 1:
        residual = "error"
        dfs["error"] = len(keys) - len(counts)
    else:
        terms = terms[:-1]
    contrasts = [helmert(size).T for size in shape]
    if is_balanced:
        return _balanced(codes, contrasts, {term: names[term] for term in terms}, dfs, residual)
    cells = np.ravel_multi_index(tuple(codes.T), shape)
    return _unbalanced(cells, counts, contrasts, names, dfs, str(ss_type))


def _balanced(
    codes: np.ndarray,
    contrasts: Sequence[np.ndarray],
    names: Mapping[tuple[int, ...], str],
    dfs: dict[str, int],
    residual: str,
) -> Design:
    """Effects of equal cells are orthogonal, and so their bases are the sums themselves."""
    n_images = len(codes)
    columns = [np.full((n_images, 1), n_images**-0.5)]
    bases: dict[str, slice | np.ndarray] = {}
    start = 1
    for term, name in names.items():
        scale = np.prod([float(len(contrasts[i])) for i in term]) / n_images
        columns.append(np.sqrt(scale) * _products(codes, contrasts, term))
        bases[name] = slice(start, start + dfs[name])
        start += dfs[name]
    return Design(np.hstack(columns).T, bases, slice(0, 1), slice(0, start), dict(dfs), residual)


def _unbalanced(
    cells: np.ndarray,
    counts: np.ndarray,
    contrasts: Sequence[np.ndarray],
    names: Mapping[tuple[int, ...], str],
    dfs: dict[str, int],
    ss_type: str,
) -> Design:
    """Take the sums of cells, over the root of their size, which mix like equal images.

    An effect's space is what its columns add to those of the effects that it is adjusted for.
    """
    n_cells = len(counts)
    roots = np.sqrt(counts)
    codes = np.array(np.unravel_index(np.arange(n_cells), [len(one) for one in contrasts])).T
    columns = {term: _products(codes, contrasts, term) for term in names}
    bases: dict[str, slice | np.ndarray] = {}
    for term, name in names.items():
        others = [
            columns[other]
            for other in names
            if other != term and (ss_type == "III" or not set(term) < set(other))
        ]
        spanned = np.hstack([np.ones((n_cells, 1)), *others, columns[term]])
        orthonormal = np.linalg.qr(roots[:, None] * spanned)[0]
        bases[name] = orthonormal[:, -dfs[name] :].T.copy()
    weights = (cells == np.arange(n_cells)[:, None]) / roots[:, None]
    mean = (roots / np.sqrt(counts.sum()))[None]
    return Design(weights, bases, mean, slice(0, n_cells), dict(dfs), "error")


def _products(
    codes: np.ndarray, contrasts: Sequence[np.ndarray], term: tuple[int, ...]
) -> np.ndarray:
    """Columns of an effect: the products of its factors' contrasts, a row for each of `codes`."""
    found = np.ones((len(codes), 1))
    for i in term:
        own = contrasts[i][codes[:, i]]
        found = (found[:, :, None] * own[:, None, :]).reshape(len(codes), -1)
    return found


def _check_effect_names(names: Sequence[str], image_set: ImageSet) -> None:
    own = {name for name in names if name in image_set.entry_types}
    wrong = sorted(own.intersection(_FORBIDDEN))
    twice = sorted({name for name in names if names.count(name) > 1})
    if wrong or twice:
        raise ValueError(
            f"`image_set`: {listed(wrong or twice)} cannot be the name of a factor, since a part"
            " of the variance bears it. Rename the entry type."
        )
    taken = {f"{name}_{suffix}" for name in names for suffix in _SUFFIXES}
    for label in image_set.labels:
        if label in taken:
            raise ValueError(
                f"`image_set`: the label {label!r} is the name of a column of the result. Rename"
                " the label."
            )
