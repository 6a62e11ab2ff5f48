"""Coordinates of the entries of RDMs: of one alone, or of several turned to each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_count, check_name
from pytorch_feature_analysis.embedding import NUM_NEIGHBORS, Embedding, embed_items
from pytorch_feature_analysis.map_alignment import procrustes_aligned
from pytorch_feature_analysis.missing_cells import known_matrix
from pytorch_feature_analysis.rdm_stack import check_row, checked_stack, differing

_MATRIX = "rdm_df['matrix']"
# Columns of the matrix and its entries.
_OF_ENTRIES = ("matrix", "entry_keys", "entry_labels", "dissim_rankings", "perm_scramble")


def mds_coordinates(
    rdm_df: pd.DataFrame | pd.Series,
    dims: int = 2,
    *,
    method: str = "metric",
    num_starts: int = 8,
    num_neighbors: int = NUM_NEIGHBORS,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
) -> pd.DataFrame:
    """Place the entries of an RDM as points whose distances stand for their dissimilarities.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, such as `df_filter` gives, or that row.
    dims : int, default 2
        Number of coordinates.
    method : {'metric', 'nonmetric', 'classical', 'tsne', 'umap'}, default 'metric'
        'metric' finds the least raw stress, the sum over pairs of the squared difference of
        distance and dissimilarity. 'nonmetric' finds distances in the order of the
        dissimilarities, whatever their sizes, with the least stress-1. 'classical' is Torgerson's
        scaling, which gives Euclidean distances back exactly, and sees other dissimilarities
        through their squares. 'tsne' and 'umap' (extra ``umap``) keep neighbours together, and
        say little of larger distances; both start from the classical solution.
    num_starts : int, default 8
        For 'metric' and 'nonmetric', the number of configurations to start from; the least stress
        is kept. The first is the classical solution, so that ``num_starts=1`` has nothing random.
    num_neighbors : int, default 15
        For 'tsne' the perplexity, of which a third of the other entries is the most, and for
        'umap' how many neighbours count.
    random_state : int, numpy Generator or None, default 0
        Where the other starts, and the samples of 'umap', come from. None is fresh entropy.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': entries without any
        finite one have no point, and single ones have no weight; a log line counts
        them, and 'tsne' and 'umap', which need them, refuse. 'raise': an error that says how many.
        There is no 'pairwise', which is about two RDMs or more.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric (of 'pwcca', say) and its transpose.

    Returns
    -------
    DataFrame
        One row per entry, in the order of the RDM, with the columns

        entry_key : tuple
            as in the stack.
        entry variables
            one column for each, from ``entry_labels``.
        dim1, dim2, ... : float
            coordinates in the unit of the dissimilarities, about 0, on principal axes (dim1
            varies most); in each the entry furthest from 0 is on the positive side. Those of
            'tsne' and 'umap' are as these give them, about 0. NaN for entries without a finite
            dissimilarity, which are named in the log.

    Raises
    ------
    ValueError
        If there is not exactly one row, or a dissimilarity is negative, or missing with 'raise',
        or the RDM is not symmetric and `symmetrize` is False, or the finite ones leave groups of
        entries unconnected.

    See Also
    --------
    rdm_mds : the same as a picture.
    aligned_mds_coordinates : the same for each RDM of a stack, turned to each other.

    References
    ----------
    Borg and Groenen (2005). Modern Multidimensional Scaling, 2nd edition.
    doi:10.1007/0-387-28981-X

    Torgerson (1952). Multidimensional scaling: I. Theory and method. Psychometrika 17, 401-419.
    doi:10.1007/BF02288916

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> line = np.array([0.0, 1.0, 5.0])
    >>> row = pd.DataFrame({
    ...     'matrix': [np.abs(line[:, None] - line)],
    ...     'entry_keys': [(('left',), ('middle',), ('right',))],
    ...     'entry_labels': [({'side': 'left'}, {'side': 'middle'}, {'side': 'right'})],
    ... })
    >>> pfa.mds_coordinates(row, dims=1).round(6)
       entry_key    side  dim1
    0    (left,)    left  -2.0
    1  (middle,)  middle  -1.0
    2   (right,)   right   3.0
    """
    row = check_row(rdm_df)
    matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=f"row {row.name!r}")
    points = embed_items(
        matrix,
        dims,
        method=method,
        num_starts=num_starts,
        num_neighbors=num_neighbors,
        random_state=random_state,
        symmetrize=symmetrize,
        names=row["entry_keys"],
        argument=_MATRIX,
    ).points
    coordinates = {f"dim{k + 1}": points[:, k] for k in range(points.shape[1])}
    return _per_entry(row["entry_keys"], row["entry_labels"], {}, coordinates)


def aligned_mds_coordinates(
    rdm_df: pd.DataFrame,
    panels: Hashable = "layer",
    dims: int = 2,
    *,
    align_to: Hashable = "previous",
    rescale: bool = True,
    method: str = "metric",
    num_starts: int = 8,
    num_neighbors: int = NUM_NEIGHBORS,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
) -> pd.DataFrame:
    """Place the entries of each RDM of a stack as points, each map turned to the one before.

    A map says nothing of where it is, how it is turned or whether it is mirrored. These are chosen
    by Procrustes analysis, so that an entry keeps its place from layer to layer as far as its
    distances do; distances within a map stay in proportion.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack with one row for each value of `panels`, in their order. Entries are matched by
        their keys, and may be in some of the rows only.
    panels : str, default 'layer'
        The column that tells the RDMs apart.
    dims : int, default 2
        Number of coordinates.
    align_to : 'previous' or a value of `panels`, default 'previous'
        What each map is turned to: where its entries were last, or the map of this value.
    rescale : bool, default True
        Give each map the size of the one it is turned to, over the entries in both: the root mean
        square of the distances from their middle. False keeps the unit of the dissimilarities,
        which may differ between layers.
    method, num_starts, num_neighbors, random_state, nan_policy, symmetrize
        As in `mds_coordinates`.

    Returns
    -------
    DataFrame
        One row per RDM and entry, in the order of both, with the columns

        columns of `rdm_df`
            but those of the matrix and its entries.
        entry_key : tuple
            as in the stack.
        entry variables
            one column for each, from ``entry_labels``.
        dim1, dim2, ... : float
            NaN for entries without a finite dissimilarity.

    Raises
    ------
    ValueError
        If there is no such column, or several rows with one value of it, or two maps to be turned
        to each other share no entry, and as `mds_coordinates`.

    See Also
    --------
    plot_mds_panels : the same as a figure.

    References
    ----------
    Schönemann (1966). A generalized solution of the orthogonal Procrustes problem. Psychometrika
    31, 1-10. doi:10.1007/BF02289451

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> line = np.array([0.0, 1.0, 5.0])
    >>> matrix = np.abs(line[:, None] - line)
    >>> keys = (('left',), ('middle',), ('right',))
    >>> stack = pd.DataFrame({
    ...     'layer': ['conv1', 'conv2'],
    ...     'matrix': [matrix, 2 * matrix[::-1, ::-1]],
    ...     'entry_keys': [keys, keys[::-1]],
    ... })
    >>> frame = pfa.aligned_mds_coordinates(stack, dims=1)
    >>> frame.pivot(index='layer', columns='entry_key', values='dim1').round(3).to_numpy().tolist()
    [[-2.0, -1.0, 3.0], [-2.0, -1.0, 3.0]]
    """
    maps = aligned_maps(
        rdm_df,
        panels,
        dims,
        align_to=align_to,
        rescale=rescale,
        method=method,
        num_starts=num_starts,
        num_neighbors=num_neighbors,
        random_state=random_state,
        nan_policy=nan_policy,
        symmetrize=symmetrize,
    )
    kept = [name for name in rdm_df.columns if name not in _OF_ENTRIES]
    frames = [
        _per_entry(
            each.row["entry_keys"],
            each.row["entry_labels"],
            {name: each.row[name] for name in kept},
            {f"dim{k + 1}": each.points[:, k] for k in range(each.points.shape[1])},
        )
        for each in maps
    ]
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class AlignedMap:
    """The map of one row of a stack, turned to those of others."""

    panel: Any
    row: pd.Series
    points: np.ndarray
    embedding: Embedding

    def places(self) -> dict[Hashable, np.ndarray]:
        """Points of the entries that have one, by their keys."""
        return {
            key: point
            for key, point in zip(self.row["entry_keys"], self.points, strict=True)
            if np.isfinite(point).all()
        }


def aligned_maps(
    rdm_df: pd.DataFrame,
    panels: Hashable,
    dims: int,
    *,
    align_to: Hashable,
    rescale: bool,
    nan_policy: str,
    **how: Any,
) -> list[AlignedMap]:
    """Embed each row of a stack, and turn the maps as `aligned_mds_coordinates` says."""
    stack = checked_stack(rdm_df)
    dims = check_count(dims, argument="dims")
    if stack.empty:
        raise ValueError("`rdm_df` must have a row for each panel, and has none.")
    names = _check_panels(stack, panels, align_to)
    embeddings = []
    for position, row in enumerate(stack.to_dict("records")):
        what = f"{panels} {names[position]!r}"
        matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=what)
        argument = f"rdm_df['matrix'] of {names[position]!r}"
        embeddings.append(
            embed_items(matrix, dims, names=row["entry_keys"], argument=argument, **how)
        )
    rows = [stack.iloc[position] for position in range(len(stack))]
    first = 0 if align_to == "previous" else names.index(align_to)
    last: dict[Hashable, np.ndarray] = {}
    aligned: dict[int, np.ndarray] = {}
    for position in [first, *(k for k in range(len(rows)) if k != first)]:
        keys, points = rows[position]["entry_keys"], embeddings[position].points
        if last:
            nowhere = np.full(dims, np.nan)
            reference = np.array([last.get(key, nowhere) for key in keys])
            try:
                points = procrustes_aligned(points, reference, rescale=rescale)
            except ValueError as error:
                raise ValueError(
                    f"`rdm_df` has no entry of {panels} {names[position]!r} in what it is to be"
                    f" turned to, by `align_to` {align_to!r}; maps without a common entry cannot"
                    " be aligned."
                ) from error
        aligned[position] = points
        if align_to == "previous" or position == first:
            found = zip(keys, points, strict=True)
            last.update({key: point for key, point in found if np.isfinite(point).all()})
    return [
        AlignedMap(name, row, aligned[k], embedding)
        for k, (name, row, embedding) in enumerate(zip(names, rows, embeddings, strict=True))
    ]


def _check_panels(stack: pd.DataFrame, panels: Hashable, align_to: Hashable) -> list[Any]:
    """Return the value of each row, or raise unless they are all different."""
    check_name(panels, list(stack.columns), argument="panels", what="column", owner=" of `rdm_df`")
    names = stack[panels].tolist()
    twice = stack[panels][stack[panels].duplicated()]
    if len(twice):
        rows = stack[stack[panels] == twice.iloc[0]]
        others = ", ".join(map(str, differing(rows)))
        raise ValueError(
            f"`rdm_df` has {len(rows)} rows of {panels} {twice.iloc[0]!r}, and a panel needs one."
            + (f" They differ in {others}." if others else "")
            + " Select them with df_filter, or take another column for `panels`."
        )
    if align_to != "previous":
        check_name(align_to, names, argument="align_to", what="panel")
    return names


def _per_entry(
    keys: Sequence[Hashable],
    labels: Sequence[Mapping[Any, Any]],
    of_row: Mapping[Any, Any],
    coordinates: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Return a frame of one row per entry, whose columns have different names."""
    variables = list(dict.fromkeys(name for label in labels for name in label))
    for name in [*of_row, *variables]:
        if name in coordinates or name == "entry_key":
            kind = "an entry variable" if name in variables else "a column"
            raise ValueError(
                f"`rdm_df` has {kind} {name!r}, which is a column of the coordinates."
                " Rename it" + (" in `entry_labels`." if name in variables else ".")
            )
    columns: dict[Any, Any] = {name: [value] * len(keys) for name, value in of_row.items()}
    columns["entry_key"] = list(keys)
    for name in variables:
        # An entry's own value stands before that of its RDM.
        columns[name] = [label.get(name) for label in labels]
    return pd.DataFrame({**columns, **coordinates})
