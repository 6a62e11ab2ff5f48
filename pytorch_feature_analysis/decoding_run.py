"""Decoding at all layers: one pass over the images, then the machines of all comparisons.

The pass gives the squared distances between the patterns of each group of images at every layer;
the machines of all pairs, folds and shuffles are fitted to these (see `decoding_folds`), so that
the number of units no longer matters.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._parallel import iter_parallel
from pytorch_feature_analysis.decoding_folds import Comparison, decode
from pytorch_feature_analysis.rdm_call import Call, LaidOut
from pytorch_feature_analysis.rdm_jobs import finished_jobs

_ACTIVATION_TYPES = ("unit_level", "feature_means")


class Decoded(NamedTuple):
    """What came of a group of images at a layer."""

    group: int
    """Its place in the call."""
    layer_cells: dict[str, Any]
    """Cells of a row that name the layer."""
    found: np.ndarray
    """(n_comparisons, 2): accuracies and p values."""


def make_call(groups: Sequence[Any], activation_type: Any, **options: Any) -> Call:
    """Check the groups and the options that decoding shares with `get_rdms`."""
    check_name(
        activation_type, _ACTIVATION_TYPES, argument="activation_type", what="activation type"
    )
    return Call.of(
        groups,
        activation_types=[activation_type],
        dissim_metrics=["squared_euclidean"],
        **options,
    )


def decode_layers(
    call: Call,
    comparisons: Sequence[Sequence[Comparison]],
    num_perms: int = 0,
    *,
    progress: bool,
) -> list[Decoded]:
    """Make the comparisons of each group at all layers of all models, in the order of these."""
    laid_out = LaidOut.of(call, None)
    planner, shared_out = laid_out.passes(laid_out.rows)
    jobs = [job for run, passes in shared_out for job in planner.jobs(run, passes)]
    found = {}
    for job, result in finished_jobs(jobs, num_cores=call.num_cores, progress=progress):
        for cell, (distances,) in result.rdms.items():
            found[job.model_name, cell] = distances
    matrices = [found[row.plan.name, row.cell] for row in laid_out.rows]
    # Layers that hand their input on share a matrix.
    distinct = {
        id(matrix): (matrix, comparisons[row.set_index])
        for row, matrix in zip(laid_out.rows, matrices, strict=True)
    }
    values = iter_parallel(
        partial(_decode_item, num_perms=num_perms),
        list(distinct.values()),
        num_cores=call.num_cores,
        progress=progress,
        description="decoding",
    )
    by_matrix = dict(zip(distinct, values, strict=True))
    decoded = [
        Decoded(
            row.set_index,
            {
                "model": row.plan.name,
                "layer_label": row.layer.label,
                "layer": row.layer.label[0],
                "layer_num": row.layer.label[1],
            },
            by_matrix[id(matrix)],
        )
        for row, matrix in zip(laid_out.rows, matrices, strict=True)
    ]
    _warn_of_undefined(decoded)
    return decoded


def _decode_item(item: tuple[np.ndarray, Sequence[Comparison]], *, num_perms: int) -> np.ndarray:
    return decode(*item, num_perms)


def _warn_of_undefined(decoded: Sequence[Decoded]) -> None:
    places = dict.fromkeys(
        f"'{one.layer_cells['layer']}' of model '{one.layer_cells['model']}'"
        for one in decoded
        if np.isnan(one.found[:, 0]).any()
    )
    if places:
        warnings.warn(
            "patterns with NaN or inf cannot be decoded; there are NaN accuracies at layer"
            f" {', '.join(places)}.",
            stacklevel=4,
        )
