"""A table whose cells are coloured by their values, for notebooks and HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_count
from pytorch_feature_analysis.plotting._arguments import check_limits
from pytorch_feature_analysis.rdm_stack import in_words
from pytorch_feature_analysis.similarity_tables import numbers_of

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler


def style_similarity(
    table: pd.DataFrame,
    *,
    limits: tuple[float, float] | None = None,
    cmap: Any = "magma",
    decimals: int = 2,
) -> Styler:
    """Colour the cells of a table by their values, for notebooks and HTML.

    Parameters
    ----------
    table : DataFrame
        Numbers, as of `similarity_table` and `layerwise_table`. It is not changed.
    limits : (float, float), optional
        Values at the ends of the colours; default the least and the largest of the table.
    cmap : str or matplotlib colormap, default 'magma'
        Missing cells are grey.
    decimals : int, default 2
        How many of them are shown.

    Returns
    -------
    pandas.io.formats.style.Styler
        Shown by a notebook as it is; ``to_html`` and ``to_latex`` write it.

    See Also
    --------
    plot_heatmap : The same as a figure.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> table = pd.DataFrame({"digit": [0.75, 0.25], "prime": [1, 1]}, index=["conv1", "fc1"])
    >>> html = pfa.style_similarity(table, limits=(0, 1)).to_html()
    >>> "0.75" in html, "background-color" in html
    (True, True)
    """
    check_columns(table, [], argument="table")
    for axis in table.axes:
        if not axis.is_unique:
            twice = axis[axis.duplicated()].unique()
            raise ValueError(
                f"`table` has more than one row or column {in_words(twice)}; rename them, so that"
                " each cell has one place."
            )
    decimals = check_count(decimals, argument="decimals", minimum=0)
    values = numbers_of(table, argument="table")
    drawn = values[np.isfinite(values)]
    if limits is None:
        limits = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
    low, high = check_limits(limits)
    coloured = table.style.background_gradient(cmap, axis=None, vmin=low, vmax=high)
    # Behind the gradient, which makes them black.
    return coloured.highlight_null("#cccccc").format(precision=decimals, na_rep="")
