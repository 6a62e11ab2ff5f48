"""Centred kernel alignment: how alike two representations make the same stimuli similar.

Of centred data the Gram matrix K is never needed where there are fewer units than stimuli:
``sum(K * L)`` is the squared Frobenius norm of ``Y' X``, and what the debiased estimate takes off
follows from the diagonals of K and L.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.gram import pattern_geometry
from pytorch_feature_analysis.matrices import double_centred, u_centred
from pytorch_feature_analysis.similarity._inputs import check_pair, permuted_pairs
from pytorch_feature_analysis.similarity._measure import Measure
from pytorch_feature_analysis.similarity.hsic import FEWEST, merge_short

# Numbers that are made at a time: a quarter of a gigabyte.
_CHUNK = 2**25
BANDWIDTHS = ("absolute", "median_all", "median_nonzero")


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike, debiased: bool = False) -> float:
    """Linear centred kernel alignment of two representations.

    ``CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` for the Gram matrices ``K = X X'`` and
    ``L = Y Y'``. It ignores rotations and one common scale of either side, and the means of
    units; no other linear map.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    debiased : bool, default False
        Take the unbiased estimate of each HSIC (Song et al.): near 0 for representations that
        have nothing in common, also where there are more units than stimuli, where the biased
        one is near 1. It may be negative, and needs four stimuli.

    Returns
    -------
    float
        From 0 (unrelated) to 1 (the same but for rotation and scale); debiased down to -1. NaN
        where one side is the same for all stimuli.

    See Also
    --------
    minibatch_cka : For data that come in batches.
    rbf_cka : With a Gaussian kernel.
    hsic : What it is a ratio of.

    Notes
    -----
    Memory is a copy of both sides and one matrix of the smaller of units and stimuli, or of as
    many rows as there are units on the narrower side, a stretch at a time.

    References
    ----------
    Kornblith, S., Norouzi, M., Lee, H. and Hinton, G. (2019). Similarity of neural network
        representations revisited. ICML. https://doi.org/10.48550/arXiv.1905.00414
    Song, L., Smola, A., Gretton, A., Bedo, J. and Borgwardt, K. (2012). Feature selection via
        dependence maximization. JMLR 13, 1393-1434.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1], [2, 1]])
    >>> round(pfa.linear_cka(x, 3 * x[:, ::-1]), 6)
    1.0
    >>> round(pfa.linear_cka(x, x[:, :1]), 6), round(pfa.linear_cka(x, x[:, :1], True), 6)
    (0.900033, 0.87831)
    """
    first, second = check_pair(x, y, minimum=FEWEST if debiased else 2, copy=False)
    return _compare_linear(_Linear(first), _Linear(second), debiased=debiased)


def rbf_cka(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    sigma: float | None = None,
    bandwidth: str = "absolute",
    fraction: float = 1.0,
    normalize: bool = False,
    debiased: bool = False,
) -> float:
    """Centred kernel alignment with the kernel ``exp(-d ** 2 / (2 sigma ** 2))``.

    Small widths compare which stimuli are near each other; large ones approach `linear_cka`.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    sigma : float, optional
        The width of the kernel, for the bandwidth 'absolute'.
    bandwidth : {'absolute', 'median_all', 'median_nonzero'}
        'absolute': `sigma` on both sides. 'median_all', 'median_nonzero': on each side `fraction`
        times the square root of the median squared distance, over all entries of the matrix of
        distances, or over those that are not 0.
    fraction : float, default 1
        See `bandwidth`.
    normalize : bool, default False
        Bring each row to unit length before; an absolute width (0.2 to 0.8 are in use) then means
        the same for all representations.
    debiased : bool, default False
        As in `linear_cka`.

    Returns
    -------
    float
        From 0 to 1; debiased down to -1. NaN where one side is the same for all stimuli.

    Raises
    ------
    ValueError
        `sigma` is missing, given beside a median, or not above 0.

    See Also
    --------
    linear_cka : What large widths approach.

    References
    ----------
    Kornblith, S., Norouzi, M., Lee, H. and Hinton, G. (2019). Similarity of neural network
        representations revisited. ICML. https://doi.org/10.48550/arXiv.1905.00414

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x, y = [[0], [1], [2], [4]], [[0], [1], [4], [16]]
    >>> round(pfa.rbf_cka(x, y, bandwidth="median_all"), 4)
    0.9445
    """
    options: dict[str, Any] = {"bandwidth": bandwidth, "fraction": fraction}
    options |= {"sigma": sigma, "normalize": normalize, "debiased": debiased}
    first, second = check_pair(x, y, minimum=FEWEST if debiased else 2)
    return _compare_kernels(_prepare_rbf(first, **options), _prepare_rbf(second, **options))


def minibatch_cka(pairs_of_batches: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> float:
    """Linear CKA of representations that come in batches, none of which is kept.

    The unbiased HSIC of both sides, and of each with itself, are summed over the batches, and one
    ratio is made at the end (Nguyen et al.): the expectation does not depend on the batch size,
    as that of a mean of ratios does.

    Parameters
    ----------
    pairs_of_batches : iterable of (array-like (n, p), array-like (n, q))
        Batches of both representations, each with the same stimuli in the rows. A batch of fewer
        than four stimuli is merged with the one before, or behind.

    Returns
    -------
    float
        As `linear_cka` debiased, with which it agrees exactly for one batch of all stimuli.

    Raises
    ------
    ValueError
        There are fewer than four stimuli in all; sides of a batch, or widths of batches, differ.

    See Also
    --------
    linear_cka : For data in one piece.
    get_minibatch_cka : All layers of two networks.

    References
    ----------
    Nguyen, T., Raghu, M. and Kornblith, S. (2021). Do wide and deep networks learn the same
        things? ICLR. https://doi.org/10.48550/arXiv.2010.15327

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> x, noise = rng.normal(size=(2, 64, 5))
    >>> y = x + noise
    >>> round(pfa.minibatch_cka([(x[:32], y[:32]), (x[32:], y[32:])]), 3)
    0.513
    """
    sums = np.zeros(3)
    pairs = merge_short(_checked(pairs_of_batches), np.concatenate, argument="pairs_of_batches")
    for first, second in pairs:
        n = len(first)
        one, other = _Linear(first), _Linear(second)
        sums += np.array(
            [
                _product(one, other, debiased=True),
                one.squared_norm(debiased=True),
                other.squared_norm(debiased=True),
            ]
        ) / (n * (n - 3))
    return _ratio(*sums)


def _checked(
    pairs: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    before: tuple[np.ndarray, np.ndarray] | None = None
    for x, y in pairs:
        batch = check_pair(x, y, minimum=1)
        for name, was, now in zip("xy", before or batch, batch, strict=True):
            if was.shape[1] != now.shape[1]:
                raise ValueError(
                    f"`pairs_of_batches` has batches of `{name}` with {was.shape[1]} and with"
                    f" {now.shape[1]} units; all must be of one layer."
                )
        before = batch
        yield batch


class _Linear:
    """A representation, and what follows from it alone once it is centred.

    The centred copy, in double precision, is made when it is needed, and kept by those alone who
    compare two.
    """

    def __init__(self, table: np.ndarray, order: np.ndarray | None = None) -> None:
        self._table, self._order = table, order
        self.n_stimuli, self.n_units = table.shape
        self.is_wide = self.n_units > self.n_stimuli

    def centred(self) -> np.ndarray:
        """Make a centred copy (n_stimuli, n_units)."""
        return self.rows(slice(None))

    def rows(self, stimuli: slice) -> np.ndarray:
        """Make a centred copy of some stimuli's rows."""
        first, mean = self._shift
        rows = self._taken(stimuli)
        # In this order a unit that does not vary is exactly 0.
        rows -= first
        rows -= mean
        return rows

    @cached_property
    def _shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Pattern of the first stimulus, and the mean of what others differ from it."""
        first = self._taken(slice(1))[0]
        total = np.zeros(self.n_units)
        step = max(1, _CHUNK // self.n_units)
        for start in range(0, self.n_stimuli, step):
            total += (self._taken(slice(start, start + step)) - first).sum(axis=0)
        return first, total / self.n_stimuli

    def _taken(self, stimuli: slice) -> np.ndarray:
        places: Any = stimuli if self._order is None else self._order[stimuli]
        return np.array(self._table[places], dtype=np.float64)

    def permuted(self, order: np.ndarray) -> _Linear:
        """Give the same for the stimuli in another order."""
        other = _Linear(self._table, order if self._order is None else self._order[order])
        if "gram" in vars(self):
            other.__dict__["gram"] = permuted_pairs(self.gram, order)
        return other

    @cached_property
    def x(self) -> np.ndarray:
        return self.centred()

    @cached_property
    def gram(self) -> np.ndarray:
        x = self.centred()
        return x @ x.T

    @cached_property
    def diagonal(self) -> np.ndarray:
        """Of the Gram matrix."""
        return np.diag(self.gram) if self.is_wide else _diagonal(self.x)

    @cached_property
    def _squared(self) -> float:
        product = self.gram if self.is_wide else self.x.T @ self.x
        return float(np.vdot(product, product))

    def squared_norm(self, *, debiased: bool) -> float:
        """Squared norm of the centred Gram matrix."""
        return _debias(self._squared, self, self) if debiased else self._squared


def _diagonal(x: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", x, x)


def _product(first: _Linear, second: _Linear, *, debiased: bool) -> float:
    """Inner product of the centred Gram matrices."""
    if first.is_wide and second.is_wide:
        total = float(np.vdot(first.gram, second.gram))
    else:
        total = _squared_product(first.x, second.x)
    return _debias(total, first, second) if debiased else total


def _squared_product(x: np.ndarray, y: np.ndarray) -> float:
    """Squared norm of ``X' Y``, a stretch of the wider one's units at a time."""
    narrow, wide = sorted((x, y), key=lambda side: side.shape[1])
    step = max(1, _CHUNK // narrow.shape[1])
    total = 0.0
    for start in range(0, wide.shape[1], step):
        part = narrow.T @ wide[:, start : start + step]
        total += float(np.vdot(part, part))
    return total


def _debias(total: Any, first: _Linear, second: _Linear) -> Any:
    """From the inner product of HKH and HLH to that of U(K) and U(L)."""
    return _debiased(total, first.diagonal, second.diagonal)


def _debiased(total: Any, k: np.ndarray, other: np.ndarray) -> Any:
    # Rows of a centred Gram matrix sum to 0, so that without its diagonal k they sum to -k; what
    # is left of Song's estimate are products of the two diagonals. Either may be a table, a
    # representation a row.
    n = k.shape[-1]
    sums = np.multiply.outer(k.sum(axis=-1), other.sum(axis=-1))
    return total - (1 + 2 / (n - 2)) * (k @ other.T) + sums / ((n - 1) * (n - 2))


def _ratio(product: float, first: float, second: float) -> float:
    scale = np.sqrt(max(first, 0.0)) * np.sqrt(max(second, 0.0))
    return float(product / scale) if scale > 0 else float("nan")


def _prepare_linear(x: np.ndarray, **_options: Any) -> _Linear:
    return _Linear(x)


def _compare_linear(first: _Linear, second: _Linear, *, debiased: bool = False) -> float:
    return _ratio(
        _product(first, second, debiased=debiased),
        first.squared_norm(debiased=debiased),
        second.squared_norm(debiased=debiased),
    )


def _all_linear(prepared: Sequence[_Linear], *, debiased: bool = False) -> np.ndarray:
    n = prepared[0].n_stimuli
    widths = np.array([one.n_units for one in prepared], dtype=float)
    # Multiplications of the two ways that lead there.
    by_units = n * (widths.sum() ** 2 + (widths**2).sum()) / 2
    by_stimuli = n**2 / 2 * (widths.sum() + len(widths) ** 2)
    if by_units <= by_stimuli:
        products, diagonals = _products_of_units(prepared)
    elif len(prepared) * n**2 <= 2 * _CHUNK:
        grams = np.stack([one.gram.ravel() for one in prepared])
        products, diagonals = grams @ grams.T, grams[:, :: n + 1]
    else:
        products, diagonals = _products_of_grams(prepared)
    if debiased:
        products = _debiased(products, diagonals, diagonals)
    norms = np.sqrt(np.maximum(np.diag(products), 0))
    norms[norms == 0] = np.nan
    return products / np.multiply.outer(norms, norms)


def _products_of_units(prepared: Sequence[_Linear]) -> tuple[np.ndarray, np.ndarray]:
    """Inner products of all Gram matrices by way of products of units, and their diagonals.

    Of all representations one block is in memory, centred, and one of the others beside it.
    """
    n = prepared[0].n_stimuli
    length = max(1, 2 * _CHUNK // (n * max(one.n_units for one in prepared)))
    blocks = [range(i, min(i + length, len(prepared))) for i in range(0, len(prepared), length)]
    products = np.empty((len(prepared),) * 2)
    diagonals = np.empty((len(prepared), n))
    tables: dict[int, np.ndarray] = {}
    for number, here in enumerate(blocks):
        tables.clear()
        tables |= {i: prepared[i].centred() for i in here}
        for i in here:
            diagonals[i] = _diagonal(tables[i])
            for j in range(here.start, i + 1):
                products[i, j] = products[j, i] = _squared_product(tables[i], tables[j])
        for there in blocks[:number]:
            for j in there:
                other = prepared[j].centred()
                for i in here:
                    products[i, j] = products[j, i] = _squared_product(tables[i], other)
    return products, diagonals


def _products_of_grams(prepared: Sequence[_Linear]) -> tuple[np.ndarray, np.ndarray]:
    """Inner products of all Gram matrices, a tile of all at a time, and their diagonals."""
    n = prepared[0].n_stimuli
    length = max(1, math.isqrt(2 * _CHUNK // len(prepared)))
    stretches = [slice(start, min(start + length, n)) for start in range(0, n, length)]
    products = np.zeros((len(prepared),) * 2)
    diagonals = np.empty((len(prepared), n))
    room = np.empty(len(prepared) * min(length, n) ** 2)
    for number, here in enumerate(stretches):
        rows = [one.rows(here) for one in prepared]
        for there in stretches[number:]:
            # What is right of the diagonal stands below it too.
            weight = 1 if there is here else 2
            shape = (len(prepared), here.stop - here.start, there.stop - there.start)
            tiles = room[: math.prod(shape)].reshape(shape)
            for one, own, tile in zip(prepared, rows, tiles, strict=True):
                np.matmul(own, own.T if there is here else one.rows(there).T, out=tile)
            if there is here:
                diagonals[:, here] = np.diagonal(tiles, axis1=1, axis2=2)
            cells = tiles.reshape(len(prepared), -1)
            products += weight * (cells @ cells.T)
    return products, diagonals


def _prepare_rbf(
    x: np.ndarray,
    *,
    sigma: float | None = None,
    bandwidth: str = "absolute",
    fraction: float = 1.0,
    normalize: bool = False,
    debiased: bool = False,
) -> np.ndarray:
    """Centred kernel of unit norm; NaN where it has none."""
    width = _check_bandwidth(sigma, bandwidth, fraction)
    if normalize:
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        x = x / np.where(norms > 0, norms, 1)
    squared = pattern_geometry(x).squared_euclidean()
    if not squared.any():
        return np.full(squared.shape, np.nan)
    if bandwidth != "absolute":
        among = squared if bandwidth == "median_all" else squared[squared > 0]
        width *= float(np.sqrt(np.median(among)))
    if width == 0:
        raise ValueError(
            "`bandwidth` is 'median_all', but more than half of the distances are 0, and so is"
            " their median; 'median_nonzero' leaves these out."
        )
    with np.errstate(over="ignore"):
        # Less 1, which centring takes off anyway: so wide kernels keep their digits.
        kernel = np.expm1((np.sqrt(squared) / width) ** 2 / -2)
    kernel = u_centred(kernel) if debiased else double_centred(kernel)
    norm = np.linalg.norm(kernel)
    return kernel / norm if norm > 0 else np.full(kernel.shape, np.nan)


def _check_bandwidth(sigma: Any, bandwidth: Any, fraction: Any) -> float:
    check_name(bandwidth, BANDWIDTHS, argument="bandwidth", what="rule for the width of a kernel")
    if bandwidth != "absolute" and sigma is not None:
        raise ValueError(
            f"`sigma` is the width for the bandwidth 'absolute'; '{bandwidth}' finds its own, to"
            " be scaled by `fraction`."
        )
    argument, value = ("sigma", sigma) if bandwidth == "absolute" else ("fraction", fraction)
    if value is None:
        raise ValueError(
            "`sigma` must be given for the bandwidth 'absolute'; 'median_all' and"
            " 'median_nonzero' find a width."
        )
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"`{argument}` must be a number above 0, not {value!r}.")
    if not 0 < value < np.inf:
        raise ValueError(f"`{argument}` must be a number above 0, not {value!r}.")
    return float(value)


def _compare_kernels(first: np.ndarray, second: np.ndarray, **_options: Any) -> float:
    return float(np.vdot(first, second))


def _all_kernels(prepared: Sequence[np.ndarray], **_options: Any) -> np.ndarray:
    rows = np.stack([kernel.ravel() for kernel in prepared])
    return rows @ rows.T


LINEAR_CKA = Measure(
    "linear_cka",
    linear_cka,
    _prepare_linear,
    _compare_linear,
    direction="similarity",
    value_range=(0.0, 1.0),
    ignores=("translation", "scale", "rotation", "unit order"),
    needs="more stimuli than units, or debiased=True: else it is near 1 for any data",
    saturates=True,
    copies=True,
    permute=_Linear.permuted,
    compare_all=_all_linear,
)
RBF_CKA = Measure(
    "rbf_cka",
    rbf_cka,
    _prepare_rbf,
    _compare_kernels,
    direction="similarity",
    value_range=(0.0, 1.0),
    ignores=("translation", "rotation", "unit order"),
    needs="a width of the kernel: sigma, or a bandwidth by the median",
    saturates=True,
    permute=permuted_pairs,
    compare_all=_all_kernels,
)
