"""Agreement of two RDMs, and measures that compare representations by way of their RDMs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.agreement import (
    METHODS,
    Cells,
    agreements,
    is_inner_product,
    unit_rows,
)
from pytorch_feature_analysis.dissimilarity import compute_rdm
from pytorch_feature_analysis.matrices import (
    check_square,
    double_centred,
    is_symmetric,
    to_condensed,
    to_square,
    u_centred,
)
from pytorch_feature_analysis.missing_cells import check_nan_policy, common_cells, refuse_missing
from pytorch_feature_analysis.similarity._inputs import check_pair, permuted_pairs
from pytorch_feature_analysis.similarity._measure import Measure

logger = logging.getLogger(__name__)

CENTRINGS = ("double", "u", "double_upper")
ENTRIES = ("upper", "all")


def compare_rdms(
    rdm1: npt.ArrayLike,
    rdm2: npt.ArrayLike,
    *,
    method: str = "pearson",
    centering: str | None = None,
    entries: str = "upper",
    nan_policy: str = "omit",
) -> float:
    """Agreement of two RDMs of the same items.

    Parameters
    ----------
    rdm1, rdm2 : array-like (n_items, n_items)
        Symmetric.
    method : str, default 'pearson'
        How the entries are compared: 'pearson', 'spearman', 'cosine', 'kendall_tau_a',
        'kendall_tau_b', 'whitened_pearson' or 'whitened_cosine'. tau-a counts ties for no
        agreement, which does not favour RDMs that have many; tau-b leaves them out. Whitened ones
        take into account that dissimilarities of the same item share its noise.
    centering : {None, 'double', 'u', 'double_upper'}, default None
        'double': take the means of rows and columns off, and compare **all** entries. 'u':
        U-centre, and compare the triangle. 'double_upper': centre as 'double', and compare the
        triangle, without the diagonal, which then is not 0.
    entries : {'upper', 'all'}, default 'upper'
        Without centring: the upper triangle, or all entries.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit' leaves out of both RDMs
        what either lacks, and 'pairwise' compares them on what both have, which is the same for
        two. 'raise': an error that says which lacks how many.

    Returns
    -------
    float
        From -1 over 0 (unrelated) to 1 (the same order, or the same but for scale). NaN where an
        RDM does not vary, or fewer than 3 cells are known in both.

    Raises
    ------
    ValueError
        The RDMs are not square, symmetric and of one size; `entries` beside `centering`; missing
        cells beside `centering`, or with 'raise'.

    See Also
    --------
    rsa : From representations on.
    compare_to_reference : Rows of a stack and reference RDMs, with tests.

    Notes
    -----
    A log line at level INFO says how many cells are left out.

    The cosine of the squared Euclidean RDMs with 'double' is biased `linear_cka`, and with 'u' it
    is the debiased one. With 'double_upper' it is neither. 'whitened_cosine' of whole RDMs is the
    cosine with 'double'; it also takes RDMs with missing cells.

    References
    ----------
    Diedrichsen, J., Berlot, E., Mur, M., Schütt, H. H., Shahbazi, M. and Kriegeskorte, N. (2021).
        Comparing representational geometries using whitened unbiased-distance-matrix similarity.
        Neurons Behav. Data Anal. Theory. https://doi.org/10.51628/001c.27664
    Nili, H., Wingfield, C., Walther, A., Su, L., Marslen-Wilson, W. and Kriegeskorte, N. (2014).
        A toolbox for representational similarity analysis. PLoS Comput. Biol. 10, e1003553.
        https://doi.org/10.1371/journal.pcbi.1003553
    Székely, G. J. and Rizzo, M. L. (2014). Partial distance correlation with methods for
        dissimilarities. Ann. Statist. 42, 2382-2412. https://doi.org/10.1214/14-AOS1255

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> near, far = [[0, 1, 2], [1, 0, 3], [2, 3, 0]], [[0, 1, 4], [1, 0, 9], [4, 9, 0]]
    >>> [round(pfa.compare_rdms(near, far, method=how), 4) for how in ("pearson", "spearman")]
    [0.9897, 1.0]
    """
    check_name(method, METHODS, argument="method", what="way to compare RDMs")
    check_name(entries, ENTRIES, argument="entries", what="choice of entries")
    check_nan_policy(nan_policy)
    if centering is not None:
        check_name(centering, CENTRINGS, argument="centering", what="way to centre an RDM")
        if entries == "all" and centering != "double":
            raise ValueError(
                f"`entries` is 'all', but the `centering` '{centering}' compares the triangle."
            )
    _check_plain(method, centering, entries, argument="method")
    first, second = (_check_rdm(rdm, name) for rdm, name in ((rdm1, "rdm1"), (rdm2, "rdm2")))
    if first.shape != second.shape:
        raise ValueError(
            f"`rdm1` and `rdm2` must be of the same items, but they have {len(first)} and"
            f" {len(second)}."
        )
    for name, rdm in (("rdm1", first), ("rdm2", second)):
        refuse_missing(nan_policy, [_entries_of(rdm, None, entries)], owner=f"`{name}`")
        if centering is not None and not np.isfinite(rdm).all():
            raise ValueError(
                f"`{name}` has missing cells, so that its means are unknown: leave their items out"
                " before centring."
            )
    one, other = (_entries_of(rdm, centering, entries) for rdm in (first, second))
    n_missing = len(one) - int(_in_both(one, other).sum())
    if n_missing:
        logger.info("%d of %d cells are left out, which either RDM lacks.", n_missing, len(one))
    return _agreement(one, other, method)


def rsa(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    rdm_metric: Any = "corr",
    compare: str = "pearson",
    centering: str | None = None,
) -> float:
    """Representational similarity analysis: agreement of the RDMs of two representations.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    rdm_metric : str or (str, callable), default 'corr'
        How two patterns are compared, as in `compute_rdm`.
    compare : str, default 'pearson'
        How the upper triangles of the RDMs are compared, as `method` in `compare_rdms`.
    centering : {None, 'double', 'u', 'double_upper'}, default None
        How the RDMs are centred before, and which entries are compared, as in `compare_rdms`.

    Returns
    -------
    float
        From -1 over 0 (unrelated) to 1 (the same). NaN where an RDM does not vary.

    Raises
    ------
    ValueError
        RDMs with missing cells beside `centering`.

    See Also
    --------
    compare_rdms : Of RDMs that are there.

    References
    ----------
    Kriegeskorte, N., Mur, M. and Bandettini, P. (2008). Representational similarity analysis -
        connecting the branches of systems neuroscience. Front. Syst. Neurosci. 2, 4.
        https://doi.org/10.3389/neuro.06.004.2008

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(10, 5))
    >>> round(pfa.rsa(x, 3 * x + 1), 6), round(pfa.rsa(x, x**3, "cosine", "spearman"), 3)
    (1.0, 0.897)
    """
    first, second = check_pair(x, y, minimum=3)
    options = {"rdm_metric": rdm_metric, "compare": compare, "centering": centering}
    return _compare_triangles(
        _prepare_rsa(first, **options), _prepare_rsa(second, **options), **options
    )


def distance_correlation(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Distance correlation of two representations (Székely et al.).

    The root of the cosine, over all entries, of the double-centred Euclidean distances. 0 (for
    unlimited data) only where the two are independent, also beyond linear dependence.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.

    Returns
    -------
    float
        From 0 to 1 (the same but for rotation, translation and scale). NaN where one side is the
        same for all stimuli. Of few stimuli it is above 0 for unrelated data too.

    See Also
    --------
    linear_cka : The same of inner products, without the root.

    References
    ----------
    Székely, G. J., Rizzo, M. L. and Bakirov, N. K. (2007). Measuring and testing dependence by
        correlation of distances. Ann. Statist. 35, 2769-2794.
        https://doi.org/10.1214/009053607000000505

    Examples
    --------
    A parabola has no linear correlation, but depends:

    >>> import pytorch_feature_analysis as pfa
    >>> round(pfa.distance_correlation([[-2], [-1], [0], [1], [2]], [[4], [1], [0], [1], [4]]), 4)
    0.5159
    """
    first, second = check_pair(x, y)
    return _compare_roots(_prepare_distances(first), _prepare_distances(second))


def _check_rdm(rdm: npt.ArrayLike, name: str) -> np.ndarray:
    matrix = check_square(rdm, argument=name).astype(np.float64)
    missing = np.isnan(matrix)
    if not is_symmetric(missing) or not is_symmetric(np.where(missing, 0, matrix)):
        raise ValueError(
            f"`{name}` is not symmetric, as an RDM must be here; take (rdm + rdm.T) / 2."
        )
    return matrix


def _entries_of(rdm: np.ndarray, centering: str | None, entries: str) -> np.ndarray:
    if centering in ("double", "double_upper"):
        rdm = double_centred(rdm)
    elif centering == "u":
        rdm = u_centred(rdm)
    if centering == "double" or (centering is None and entries == "all"):
        return rdm.ravel()
    return to_condensed(rdm)


def _check_plain(method: str, centering: str | None, entries: str, *, argument: str) -> None:
    if method.startswith("whitened") and (centering is not None or entries == "all"):
        raise ValueError(
            f"`{argument}` {method!r} is of the triangles as they are: leave `centering` and"
            " `entries` out."
        )


def _agreement(first: np.ndarray, second: np.ndarray, method: str) -> float:
    """Compare the entries that both have."""
    known = _in_both(first, second)
    cells = _cells_of(first, method).some(known)
    return float(agreements(first[None, known], second[None, known], method, cells)[0, 0])


def _in_both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return common_cells(np.stack([first, second]))


def _cells_of(entries: np.ndarray, method: str) -> Cells:
    """Which pairs of items entries are of, where the method asks: then they are a triangle."""
    if method.startswith("whitened"):
        return Cells.of_triangle((1 + math.isqrt(1 + 8 * len(entries))) // 2)
    return Cells(entries, entries, 0)


class _Triangle(NamedTuple):
    """The entries of an RDM that are compared: as a rule its upper triangle."""

    entries: np.ndarray
    unit: np.ndarray | None
    """Entries whose inner products are the agreement, where there are such and none is missing:
    else which cells are compared depends on the pair."""


def _prepare_rsa(
    x: np.ndarray,
    *,
    rdm_metric: Any = "corr",
    compare: str = "pearson",
    centering: str | None = None,
) -> _Triangle:
    check_name(compare, METHODS, argument="compare", what="way to compare RDMs")
    _check_plain(compare, centering, "upper", argument="compare")
    rdm = compute_rdm(x, rdm_metric)
    if centering is not None:
        check_name(centering, CENTRINGS, argument="centering", what="way to centre an RDM")
        if not np.isfinite(rdm).all():
            raise ValueError(
                f"`centering`: an RDM by {rdm_metric!r} has missing cells, so that its means are"
                " unknown. Leave out the stimuli whose patterns are constant or zero."
            )
    compared = _entries_of(rdm, centering, "upper")
    unit = None
    if np.isfinite(compared).all() and is_inner_product(compare):
        (unit,) = unit_rows(compared[None], compare, _cells_of(compared, compare))
    return _Triangle(compared, unit)


def _permuted(triangle: _Triangle, order: np.ndarray) -> _Triangle:
    def permuted(values: np.ndarray) -> np.ndarray:
        return to_condensed(permuted_pairs(to_square(values), order))

    unit = None if triangle.unit is None else permuted(triangle.unit)
    return _Triangle(permuted(triangle.entries), unit)


def _compare_triangles(
    first: _Triangle, second: _Triangle, *, compare: str = "pearson", **_options: Any
) -> float:
    if first.unit is not None and second.unit is not None:
        return float(np.clip(first.unit @ second.unit, -1, 1))
    return _agreement(first.entries, second.entries, compare)


def _prepare_distances(x: np.ndarray) -> np.ndarray:
    distances = double_centred(compute_rdm(x, "euclidean_distance"))
    norm = np.linalg.norm(distances)
    return distances / norm if norm > 0 else np.full(distances.shape, np.nan)


def _compare_roots(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(np.clip(np.vdot(first, second), 0, 1)))


def _all_roots(prepared: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.stack([one.ravel() for one in prepared])
    products: np.ndarray = rows @ rows.T
    return np.sqrt(np.clip(products, 0, 1))


RSA = Measure(
    "rsa",
    rsa,
    _prepare_rsa,
    _compare_triangles,
    direction="similarity",
    value_range=(-1.0, 1.0),
    ignores=("unit order",),
    needs="at least three stimuli; what else it ignores depends on the RDM metric",
    minimum=3,
    permute=_permuted,
)
DISTANCE_CORRELATION = Measure(
    "distance_correlation",
    distance_correlation,
    _prepare_distances,
    _compare_roots,
    direction="similarity",
    value_range=(0.0, 1.0),
    ignores=("translation", "scale", "rotation", "unit order"),
    needs="many stimuli: of few it is above 0 for unrelated data too",
    permute=permuted_pairs,
    compare_all=_all_roots,
)
