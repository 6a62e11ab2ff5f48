"""From image sets and models to a stack of RDMs: `get_rdms`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    check_sequence,
)
from pytorch_feature_analysis._parallel import check_num_cores, iter_parallel
from pytorch_feature_analysis._version import __version__
from pytorch_feature_analysis.accumulation import ACTIVATION_TYPES
from pytorch_feature_analysis.activations import DEFAULT_BATCH_SIZE
from pytorch_feature_analysis.dissimilarity import check_metrics
from pytorch_feature_analysis.fingerprints import fingerprint
from pytorch_feature_analysis.image_sets import ImageSet, check_image_sets
from pytorch_feature_analysis.models import check_device
from pytorch_feature_analysis.rdm_jobs import ImagePool, Job, JobResult, run_job
from pytorch_feature_analysis.rdm_plan import (
    ModelPlan,
    Row,
    check_kernel_sets,
    check_memory,
    draw_scrambles,
    plan_rows,
    plan_sets,
)
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_files import check_stack_path
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, RDM_COLUMNS
from pytorch_feature_analysis.store import add_rows, read_finished
from pytorch_feature_analysis.stream import n_prefix_tokens

_log = logging.getLogger(__name__)


def get_rdms(
    image_sets: Sequence[Any],
    models_dict: Mapping[str, nn.Module],
    out_fname: str | os.PathLike[str] | None = None,
    rdm_name: str = "default_name",
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    dissim_metrics: Sequence[Any] = ("corr",),
    kernel_sets: Sequence[tuple[str, Any]] = (("all", "all"),),
    num_perms: int = 0,
    num_cores: int | str | None = "na",
    verbose: bool = False,
    debug_check: bool = False,
    append: bool = True,
    *,
    activation_types: Sequence[str] = ("unit_level", "feature_means"),
    exclude_prefix_tokens: bool = False,
    calls: str = "last",
    batch_size: int = DEFAULT_BATCH_SIZE,
    device: Any = None,
    num_threads: int | None = None,
    progress: bool = True,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Representational dissimilarity matrices of image sets at the layers of networks.

    One forward pass per image and model serves all layers, activation types, metrics and kernel
    sets; an image that belongs to several sets goes through once. What a layer put out is read
    inside its forward hook, before a later in-place operation can overwrite it.

    Parameters
    ----------
    image_sets : sequence of tuple
        ``(labels, {entry_key: path or PIL image}, entry_types, combinations)``, as
        `package_image_sets` makes them. ``labels`` is a dict that names the set, and
        ``entry_types`` names the parts of the entry keys. A combination
        ``(key, [entry keys], function, options, unpack)`` adds an entry whose pattern is
        ``function([patterns], **options)``, or ``function(*patterns, **options)`` with `unpack`;
        patterns have the layer's own shape.
    models_dict : dict of str to torch.nn.Module
        Models of `prepare_models`.
    out_fname : path, optional
        File of the stack, ``.parquet`` or ``.p``/``.pkl``. None writes nothing.
    rdm_name : str, default 'default_name'
        Goes into the column ``df_name``.
    which_layers : dict of str to sequence, or sequence, optional
        Per model (or for all models) the layers: names ('conv1'), labels (('conv1', 1)), module
        paths ('layer4.2', 'encoder.layers.encoder_layer_5'), earlier calls of a reused module
        ('relu2@1'), 'original_rgb'. Models that are not named, and by default all, give the
        input and every leaf module that a forward pass calls.
    dissim_metrics : sequence, default ('corr',)
        As in `compute_rdm`: names, or ``(name, function)``.
    kernel_sets : sequence of tuple, default (('all', 'all'),)
        ``(name, {(model, layer): [channel, ...]})``: RDMs of these channels only, at these layers
        only; ``(name, 'all')`` is all channels of all layers.
    num_perms : int, default 0
        Copies of each RDM with rows and columns shuffled together. Copy k of all RDMs of an image
        set has one scramble, whatever the model, layer or metric.
    num_cores : int, None or 'na'
        Worker processes, one model each at a time; None and 'na' leave it to
        `joblib.parallel_config`. At the same `num_threads` the results are the same bits for any
        number of workers.
    verbose : bool, default False
        Log what is done at a level that is shown by default.
    debug_check : bool, default False
        Compute the RDMs of the first image set again with `scipy.spatial.distance` and raise
        where they differ.
    append : bool, default True
        Serve rows that are in `out_fname` and were made from the same images, weights,
        preprocessing and settings, and add what is missing to it. False computes everything and
        keeps the earlier file under another name (``....superseded...``).
    activation_types : sequence of {'unit_level', 'feature_means', 'cls_token'}
        'unit_level': the flattened output. 'feature_means': the mean of each channel over
        positions or tokens; for a vector the same as 'unit_level'. 'cls_token': the class token,
        at layers that put out tokens.
    exclude_prefix_tokens : bool, default False
        Leave class and register tokens out of the mean over tokens.
    calls : {'last', 'all'}
        Which calls of a module that runs several times a pass; 'all' adds 'relu2@1', 'relu2@2'
        before the last, which keeps the plain label.
    batch_size : int, default 16
        Images a forward pass. Short batches are padded to it, so that the numbers of a set do not
        depend on what else is asked for.
    device : str or torch.device, optional
        Where the networks run (they return to where they were); default where they are. The
        RDMs are computed on the host.
    num_threads : int, optional
        Threads of torch and BLAS in each worker; default as they are set.
    progress : bool, default True
        Show a progress bar.
    random_state : int, numpy Generator or None, default 0
        Seed of the scrambles; None draws fresh entropy.

    Returns
    -------
    pandas.DataFrame
        The rows of this call, in the order image set, model, layer, metric, activation type,
        kernel set, permutation, with the columns

        - df_name (str), model (str), layer (str), layer_num (int), layer_label (tuple),
          dissim_metric (str), activation_type (str),
        - matrix: ndarray (n_entries, n_entries), float64, read-only,
        - entry_keys: tuple of tuples; entry_labels: tuple of dicts,
        - kernel_set_name (str), kernel_inds: 'all' or tuple of int,
        - perm: 'orig_data' or 1..`num_perms`; perm_scramble: tuple of int,
        - dissim_rankings: tuple of int, the greedy order of `get_extreme_dissims_total`,
        - and one column per image-set label.

    Raises
    ------
    ValueError
        Unreadable images (all named at once), unknown layers, metrics or models, a layer that
        was named but is never called, images of one set with different sizes.

    Warns
    -----
    UserWarning
        Names the entries whose pattern is constant at a layer (NaN in their rows and columns);
        says what changed when rows in `out_fname` had to be computed anew.

    Notes
    -----
    Inner-product metrics are computed from float32 activations in float64 (see `compute_rdm`).
    The file holds the union of all calls that appended to it; `read_rdms` with
    ``provenance=True`` tells what each row was made from. Memory: the patterns of the image sets
    that are under way at the same time; a set that fits into one batch is not copied at all.

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten())
    >>> models = pfa.prepare_models({"net": (net, pfa.standard_transform)})
    >>> colours = {(name,): Image.new("RGB", (64, 64), name) for name in ("red", "green", "blue")}
    >>> image_sets = [({"shape": "square"}, colours, ("color",), [])]
    >>> rdm_df = pfa.get_rdms(image_sets, models, progress=False)
    >>> rdm_df[["layer", "activation_type", "shape"]]
              layer activation_type   shape
    0  original_rgb      unit_level  square
    1  original_rgb   feature_means  square
    2      avgpool1      unit_level  square
    3      avgpool1   feature_means  square
    4      flatten1      unit_level  square
    5      flatten1   feature_means  square
    """
    sets = check_image_sets(image_sets, reserved=[*RDM_COLUMNS, *PROVENANCE_COLUMNS])
    models = _check_models(models_dict)
    metrics = check_metrics(dissim_metrics)
    types = _check_types(activation_types)
    requests = _check_which_layers(which_layers, models)
    kernels = check_kernel_sets(kernel_sets, models)
    num_perms = check_count(num_perms, argument="num_perms", minimum=0)
    batch_size = check_count(batch_size, argument="batch_size")
    if num_threads is not None:
        num_threads = check_count(num_threads, argument="num_threads")
    num_cores = check_num_cores(num_cores)
    device = check_device(device)
    root = check_random_state(random_state)
    path = None if out_fname is None else check_stack_path(out_fname, argument="out_fname")
    level = logging.WARNING if verbose else logging.INFO

    stored = read_finished(path) if path is not None and append else None
    pool = ImagePool.of_sets(sets, decode=stored is None)
    plans = [
        ModelPlan(name, model, requests[name], calls, kernels[name])
        for name, model in models.items()
    ]
    for plan in plans:
        if stored is None or not plan.recall_layers(stored):
            unfired = plan.find_layers(pool, device)
            if unfired:
                _log.warning(
                    "model '%s': no forward pass calls %s; they have no rows",
                    plan.name,
                    ", ".join(unfired),
                )
        plan.check_layers(types, exclude_prefix_tokens)

    n_kinds = len(metrics) * len(types)
    n_rdms = sum(len(plan.layers) * len(plan.kernel_sets) * n_kinds for plan in plans)
    check_memory(n_rdms, sets, num_perms)
    scrambles = draw_scrambles(sets, num_perms, root)
    set_plans, set_hashes = plan_sets(sets, pool)
    settings = {
        "rdm_name": rdm_name,
        "batch_size": batch_size,
        "exclude_prefix_tokens": exclude_prefix_tokens,
    }
    rows = list(plan_rows(set_hashes, sets, plans, metrics, types, scrambles, settings))
    served = _served(stored, rows)
    missing = [row for row in rows if row.key not in served]
    _log.log(level, "%d rows: %d served from %s", len(rows), len(served), path)

    jobs = []
    if missing and stored is not None:
        pool = ImagePool.of_sets(sets, decode=True)
    for plan in plans:
        wanted = frozenset(row.cell for row in missing if row.plan is plan)
        if not wanted:
            continue
        if not plan.targets:
            plan.find_layers(pool, device)
        jobs.append(
            Job(
                model_name=plan.name,
                model=plan.model,
                targets=tuple(plan.targets),
                sets=tuple(set_plans),
                images=pool.images,
                image_names=pool.names,
                metrics=tuple(metrics),
                kernel_sets=plan.kernel_sets,
                wanted=wanted,
                n_prefix_tokens=n_prefix_tokens(plan.model) if exclude_prefix_tokens else 0,
                batch_size=batch_size,
                device=device,
                num_threads=num_threads,
                progress=progress and num_cores in (None, 1),
                debug_check=debug_check,
            )
        )

    fresh: list[dict[str, Any]] = []
    undefined: list[str] = []
    try:
        show_jobs = progress and num_cores not in (None, 1)
        results = iter_parallel(run_job, jobs, num_cores=num_cores, progress=show_jobs)
        for job, result in zip(jobs, results, strict=True):
            _log.log(level, "model '%s' took %.1f s", job.model_name, result.seconds)
            undefined += _undefined_in_words(job, result)
            for row in missing:
                if row.plan.name == job.model_name:
                    order = scrambles[row.set_index][row.perm]
                    names = _names(row, sets[row.set_index], rdm_name, job, order)
                    source = _provenance(row, set_hashes[row.set_index], job, result, random_state)
                    fresh.append({**names, **source})
                    fresh[-1].update(_matrix(result.rdms[row.cell][row.metric_index], order))
    finally:
        # Whatever ended the run, the models that are done are kept.
        if path is not None and fresh:
            place = {row.key: i for i, row in enumerate(rows)}
            fresh.sort(key=lambda made: place[made["row_key"]])
            add_rows(path, stored, _as_frame(fresh, sets))
    if undefined:
        _warn_of_undefined(undefined)
    made = {row["row_key"]: row for row in fresh}
    own = _as_frame([made.get(row.key) or served[row.key] for row in rows], sets)
    return own.drop(columns=list(PROVENANCE_COLUMNS))


def _check_models(models_dict: Any) -> dict[str, nn.Module]:
    if not isinstance(models_dict, Mapping) or not models_dict:
        raise TypeError(
            "`models_dict` must be a dict from names to models, as prepare_models returns it, not"
            f" {models_dict!r}."
        )
    for name, model in models_dict.items():
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"`models_dict`: model {name!r} must be a torch.nn.Module, not {model!r};"
                " prepare_models makes one of it."
            )
    return dict(models_dict)


def _check_types(activation_types: Any) -> list[str]:
    types = check_sequence(activation_types, argument="activation_types", of="activation types")
    for kind in types:
        check_name(kind, ACTIVATION_TYPES, argument="activation_types", what="type of activation")
    if not types or len(set(types)) < len(types):
        raise ValueError(f"`activation_types` must name at least one type, each once: {types}.")
    return types


def _check_which_layers(
    which_layers: Any, models: Mapping[str, nn.Module]
) -> dict[str, list[Any] | None]:
    """Per model the layers asked for, None for all."""
    if which_layers is None:
        return dict.fromkeys(models)
    if isinstance(which_layers, Mapping):
        for name in which_layers:
            check_name(name, models, argument="which_layers", what="model")
        of_model = dict(which_layers)
    else:
        of_model = dict.fromkeys(models, which_layers)
    requests: dict[str, list[Any] | None] = dict.fromkeys(models)
    for name, layers in of_model.items():
        requests[name] = check_sequence(layers, argument="which_layers", of="layers")
        if not layers:
            raise ValueError(
                f"`which_layers` names no layer for model '{name}'; leave the model out of it for"
                " all layers."
            )
    return requests


def _served(stored: pd.DataFrame | None, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Rows of the file that were made from just what this call asks for, by key."""
    if stored is None:
        return {}
    keys = {row.key for row in rows}
    found = stored[stored["row_key"].isin(keys)]
    records = [
        dict(zip(found.columns, cells, strict=True)) for cells in found.itertuples(index=False)
    ]
    return {record["row_key"]: record for record in records}


def _names(
    row: Row, image_set: ImageSet, rdm_name: str, job: Job, order: tuple[int, ...]
) -> dict[str, Any]:
    return {
        "df_name": rdm_name,
        "model": row.plan.name,
        "layer": row.layer.label[0],
        "layer_num": row.layer.label[1],
        "layer_label": row.layer.label,
        "dissim_metric": job.metrics[row.metric_index].name,
        "activation_type": row.activation_type,
        "entry_keys": image_set.entry_keys,
        "entry_labels": image_set.entry_labels,
        "kernel_set_name": row.kernel_set.name,
        "kernel_inds": row.kernel_set.of_layer(row.layer.label[0]),
        "perm": row.perm or "orig_data",
        "perm_scramble": order,
        **image_set.labels,
    }


def _matrix(rdm: np.ndarray, order: tuple[int, ...]) -> dict[str, Any]:
    matrix = rdm[np.ix_(order, order)]
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
        "batch_size": job.batch_size,
        "num_threads": result.num_threads,
        "device": str(job.device) if job.device is not None else "as the model",
        "versions": f"pytorch_feature_analysis {__version__}, torch {torch.__version__},"
        f" numpy {np.__version__}",
    }
    return {"row_key": row.key, "run_id": fingerprint(run)[:16], **run}


def _as_frame(rows: list[dict[str, Any]], sets: Sequence[ImageSet]) -> pd.DataFrame:
    columns = [*RDM_COLUMNS, *sets[0].labels, *PROVENANCE_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def _undefined_in_words(job: Job, result: JobResult) -> list[str]:
    places = []
    for (index, layer, kind, _), keys in sorted(result.undefined.items(), key=repr):
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        places.append(
            f"{', '.join(map(str, keys[:3]))}{more} of {job.sets[index].name} at layer '{layer}'"
            f" of model '{job.model_name}' ({kind})"
        )
    return places


def _warn_of_undefined(places: list[str]) -> None:
    more = f"; and {len(places) - 5} more places" if len(places) > 5 else ""
    warnings.warn(
        "constant patterns, or patterns with NaN, have no dissimilarity (NaN in their rows and"
        f" columns): {'; '.join(places[:5])}{more}.",
        stacklevel=3,
    )
