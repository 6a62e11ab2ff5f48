"""From the results of jobs to rows of a stack, with their provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from pytorch_feature_analysis._checks import RandomState
from pytorch_feature_analysis._version import __version__
from pytorch_feature_analysis.fingerprints import fingerprint
from pytorch_feature_analysis.image_sets import ImageSet
from pytorch_feature_analysis.rdm_call import Call, LaidOut
from pytorch_feature_analysis.rdm_jobs import Job, JobResult
from pytorch_feature_analysis.rdm_plan import Row
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, RDM_COLUMNS


def finished_rows(
    rows: Iterable[Row],
    laid_out: LaidOut,
    job: Job,
    result: JobResult,
    random_state: RandomState,
) -> list[dict[str, Any]]:
    """Make the rows that a job was for."""
    made = []
    # Cells that are one computation share their matrix.
    known: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        order = laid_out.scrambles[row.set_index][row.perm]
        rdm = result.rdms[row.cell][row.metric_index]
        key = (id(rdm), row.perm)
        if key not in known:
            known[key] = _matrix(rdm, order if row.perm else None)
        source = _provenance(row, laid_out.set_hashes[row.set_index], job, result, random_state)
        names = _names(row, laid_out.call.sets[row.set_index], laid_out, order)
        made.append({**names, **source, **known[key]})
    return made


def as_frame(rows: Sequence[Mapping[str, Any]], call: Call) -> pd.DataFrame:
    """Stack with its columns in their order, those of provenance last."""
    columns = [*RDM_COLUMNS, *call.sets[0].labels, *call.mark, *PROVENANCE_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def served_rows(
    stored: pd.DataFrame | None, rows: Sequence[Row], call: Call
) -> dict[str, dict[str, Any]]:
    """Rows of earlier calls that were made from just what this call asks for, by key."""
    if stored is None:
        return {}
    keys = {row.key for row in rows}
    found = stored[stored["row_key"].isin(keys)]
    # Beside exact rows, the mark has become a float.
    records = [
        dict(zip(found.columns, cells, strict=True)) | call.mark
        for cells in found.itertuples(index=False)
    ]
    return {record["row_key"]: record for record in records}


def _names(
    row: Row, image_set: ImageSet, laid_out: LaidOut, order: tuple[int, ...]
) -> dict[str, Any]:
    return {
        "df_name": laid_out.call.rdm_name,
        "model": row.plan.name,
        "layer": row.layer.label[0],
        "layer_num": row.layer.label[1],
        "layer_label": row.layer.label,
        "dissim_metric": laid_out.call.settings.metrics[row.metric_index].name,
        "activation_type": row.activation_type,
        "entry_keys": image_set.entry_keys,
        "entry_labels": image_set.entry_labels,
        "kernel_set_name": row.kernel_set.name,
        "kernel_inds": row.kernel_set.of_layer(row.layer.label[0]),
        "perm": row.perm or "orig_data",
        "perm_scramble": order,
        **image_set.labels,
        **laid_out.call.mark,
    }


def _matrix(rdm: np.ndarray, order: tuple[int, ...] | None) -> dict[str, Any]:
    matrix = rdm if order is None else rdm[np.ix_(order, order)]
    matrix.flags.writeable = False
    return {"matrix": matrix, "dissim_rankings": greedy_order(matrix)}


def _provenance(
    row: Row, images_hash: str, job: Job, result: JobResult, random_state: RandomState
) -> dict[str, Any]:
    run: dict[str, Any] = {
        "model_hash": row.plan.model_hash,
        "images_hash": images_hash,
        "preprocessing": row.plan.preprocessing,
        "layers": row.plan.layers_text,
        "random_state": repr(random_state),
        "batch_size": result.batch_size,
        "num_threads": job.num_threads,
        "device": str(job.device) if job.device is not None else "as the model",
        "versions": f"pytorch_feature_analysis {__version__}, torch {torch.__version__},"
        f" numpy {np.__version__}",
    }
    return {"row_key": row.key, "run_id": fingerprint(run)[:16], **run}


def undefined_in_words(job: Job, result: JobResult) -> list[str]:
    """Name the entries without a dissimilarity, and where that is so."""
    set_names = dict(zip(job.set_indices, (plan.name for plan in job.sets), strict=True))
    places = []
    for (index, layer, kind, _), keys in sorted(result.undefined.items(), key=repr):
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        places.append(
            f"{', '.join(map(str, keys[:3]))}{more} of {set_names[index]} at layer '{layer}'"
            f" of model '{job.model_name}' ({kind})"
        )
    return places
