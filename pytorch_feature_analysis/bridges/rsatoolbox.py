"""Stacks to and from the RDMs objects of rsatoolbox."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_sequence, in_words
from pytorch_feature_analysis.bridges._descriptors import (
    ENTRY_COLUMNS,
    METRIC,
    PARTS,
    descriptors_of,
    frame_of_descriptors,
)
from pytorch_feature_analysis.matrices import is_condensable, to_condensed
from pytorch_feature_analysis.rdm_stack import checked_stack

if TYPE_CHECKING:
    from rsatoolbox.rdm.rdms import RDMs

logger = logging.getLogger(__name__)


def to_rsatoolbox(rdm_df: pd.DataFrame) -> RDMs:
    """Turn a stack into an RDMs object of rsatoolbox.

    Parameters
    ----------
    rdm_df : DataFrame
        The stack, whose rows have the same entries: where their order differs, it becomes that
        of the first row. It is not changed.

    Returns
    -------
    rsatoolbox.rdm.RDMs
        With a row a RDM, in the order of the stack. Its ``rdm_descriptors`` are the columns; its
        ``pattern_descriptors`` the variables of the entry labels, and ``entry_key`` where these
        are not just the parts of the entry keys; ``dissimilarity_measure`` is the column
        ``dissim_metric``, if that is the same in all rows (else it is a descriptor too).

    Raises
    ------
    ImportError
        rsatoolbox is not installed: ``pip install 'pytorch_feature_analysis[rsatoolbox]'``.
    ValueError
        Rows with other entries than the first; matrices that are not symmetric, or have other
        values than 0 on the diagonal, which an RDMs object has no room for; no row.

    See Also
    --------
    from_rsatoolbox : Its inverse.

    Notes
    -----
    NaN stay. The index of the frame is left out. Cells are handed on as they are: rsatoolbox
    (0.3) saves tuples to HDF5 as text, and no text beyond ASCII; its pickles, and `write_rdms`,
    hold both.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pfa.categorical_rdm({"cat": "animal", "dog": "animal", "cup": "tool"})
    >>> rdms = pfa.to_rsatoolbox(stack)
    >>> rdms.dissimilarities.tolist(), rdms.pattern_descriptors["entry"]
    ([[0.0, 1.0, 1.0]], ['cat', 'dog', 'cup'])
    """
    stack = checked_stack(rdm_df)
    if not len(stack):
        raise ValueError("`rdm_df` must have a row at least, and has none.")
    try:
        from rsatoolbox.rdm.rdms import RDMs
    except ImportError as error:
        raise ImportError(
            "`to_rsatoolbox` needs the package rsatoolbox, which is not installed:"
            " pip install 'pytorch_feature_analysis[rsatoolbox]'"
        ) from error
    keys = stack["entry_keys"].iloc[0]
    rows = zip(stack["matrix"].tolist(), stack["entry_keys"].tolist(), strict=True)
    triangles = [_triangle(k, matrix, own, keys) for k, (matrix, own) in enumerate(rows)]
    columns = [name for name in rdm_df.columns if name not in ENTRY_COLUMNS]
    measure = None
    if METRIC in columns and len(set(stack[METRIC].map(repr))) == 1:
        measure = stack[METRIC].iloc[0]
        columns.remove(METRIC)
    if not rdm_df.index.equals(pd.RangeIndex(len(rdm_df))):
        logger.info("The index of `rdm_df` is not among the descriptors")
    return RDMs(
        np.stack(triangles),
        dissimilarity_measure=measure,
        rdm_descriptors={str(name): stack[name].tolist() for name in columns},
        pattern_descriptors=descriptors_of(keys, stack["entry_labels"].iloc[0]),
    )


def from_rsatoolbox(rdms: RDMs, *, entry_variables: Sequence[str] | None = None) -> pd.DataFrame:
    """Turn an RDMs object of rsatoolbox into a stack.

    Parameters
    ----------
    rdms : rsatoolbox.rdm.RDMs
        What ``calc_rdm`` computes, or ``load_rdm`` reads. It is not changed.
    entry_variables : list of str, optional
        The pattern descriptors whose values are the entry keys. By default ``entry_key`` where
        `to_rsatoolbox` made it, else all but ``index``, and that alone where there is no other.

    Returns
    -------
    DataFrame
        A row an RDM, with a column for each of ``descriptors`` and ``rdm_descriptors`` (without
        ``index`` where it just counts), the ``dissim_metric``, which is the
        ``dissimilarity_measure``, and ``matrix``, ``entry_keys`` and ``entry_labels``: all
        pattern descriptors by name.

    Raises
    ------
    TypeError
        `rdms` is something else.
    ValueError
        Two patterns have the same entry key, as after a bootstrap; a descriptor that is not
        there.

    See Also
    --------
    to_rsatoolbox : Its inverse.
    read_rdms : Reads files of ``RDMs.save`` too.

    Notes
    -----
    Numbers and texts of numpy become those of Python, arrays and lists in descriptors tuples.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> from rsatoolbox.rdm import RDMs
    >>> rdms = RDMs(np.array([[1.0, 2.0, 3.0]]), "euclidean",
    ...             pattern_descriptors={"name": ["a", "b", "c"]})
    >>> pfa.from_rsatoolbox(rdms)["matrix"][0].tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]
    """
    if not all(hasattr(rdms, part) for part in PARTS):
        raise TypeError(
            f"`rdms` must be an RDMs object of rsatoolbox, not {type(rdms).__name__}. A file of"
            " RDMs.save is read by `read_rdms`."
        )
    if entry_variables is not None:
        entry_variables = check_sequence(
            entry_variables, argument="entry_variables", of="pattern descriptors"
        )
    content = {part: getattr(rdms, part) for part in PARTS}
    content |= {
        "descriptors": rdms.descriptors,
        "dissimilarity_measure": rdms.dissimilarity_measure,
    }
    return frame_of_descriptors(content, entry_variables=entry_variables)


def _triangle(
    k: int, matrix: np.ndarray, own: tuple[Any, ...], keys: tuple[Any, ...]
) -> np.ndarray:
    """Return the triangle of a row, with its entries in the order of `keys`."""
    if own != keys:
        places = {key: place for place, key in enumerate(own)}
        if set(own) != set(keys):
            different = [key for key in (*keys, *own) if (key in places) != (key in set(keys))]
            raise ValueError(
                "`rdm_df` must have the same entries in all rows, as RDMs of one object have: the"
                f" row at position {k} differs from the first in {in_words(different)}. Make one"
                " object for each set of entries (rdm_df.groupby('entry_keys')), or take what"
                " they share with `subset_rdm_df`."
            )
        order = [places[key] for key in keys]
        matrix = matrix[np.ix_(order, order)]
    if not is_condensable(matrix):
        raise ValueError(
            f"`rdm_df` must have symmetric matrices with zeros on the diagonal, of which an RDMs"
            f" object keeps one triangle; that of the row at position {k} is not so. Take"
            " (matrix + matrix.T) / 2, or set the diagonal to 0, if that is what you mean."
        )
    return to_condensed(matrix)
