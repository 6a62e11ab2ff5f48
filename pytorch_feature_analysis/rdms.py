"""From image sets and models to a stack of RDMs: `get_rdms`, and what it will cost."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from pytorch_feature_analysis._checks import RandomState
from pytorch_feature_analysis.accumulation import Cell
from pytorch_feature_analysis.rdm_call import Call, LaidOut
from pytorch_feature_analysis.rdm_forecast import forecast
from pytorch_feature_analysis.rdm_jobs import finished_jobs
from pytorch_feature_analysis.rdm_plan import Row
from pytorch_feature_analysis.rdm_rows import (
    as_frame,
    finished_rows,
    served_rows,
    undefined_in_words,
)
from pytorch_feature_analysis.stack_files import check_stack_path
from pytorch_feature_analysis.stack_parts import part_files, parts_folder
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS
from pytorch_feature_analysis.store import RunStore

logger = logging.getLogger(__name__)


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
    batch_size: int | str | None = None,
    device: Any = None,
    num_threads: int | None = None,
    memory_budget: int | str | None = None,
    projection: int | None = None,
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
        Worker processes, one pass of one model each at a time; None and 'na' leave it to
        `joblib.parallel_config`, which may name other machines (`backend='dask'`). At the same
        `num_threads` the results are the same bits for any number of workers. Only this process
        writes files.
    verbose : bool, default False
        Log what is done at a level that is shown by default.
    debug_check : bool, default False
        Compute the RDMs of the first image set again with `scipy.spatial.distance` and raise
        where they differ.
    append : bool, default True
        Serve rows that are in `out_fname` and were made from the same images, weights,
        preprocessing and settings, and add what is missing to it. False computes everything and
        keeps the earlier file under another name (``....superseded...``). Passes that are
        finished are kept in the folder ``<out_fname>.parts`` until all are; after a run that was
        ended in the middle, the same call goes on behind them and ends with the same stack.
    activation_types : sequence of {'unit_level', 'feature_means', 'cls_token'}
        'unit_level': the flattened output. 'feature_means': the mean of each channel over
        positions or tokens; for a vector the same as 'unit_level'. 'cls_token': the class token,
        at layers that put out tokens.
    exclude_prefix_tokens : bool, default False
        Leave class and register tokens out of the mean over tokens.
    calls : {'last', 'all'}
        Which calls of a module that runs several times a pass; 'all' adds 'relu2@1', 'relu2@2'
        before the last, which keeps the plain label.
    batch_size : int, 'auto' or None, default None
        Images a forward pass. Short batches are padded to it, so that the numbers of a set do not
        depend on what else is asked for. None: 16, or 8 or 4 for networks with more than 8 or 16
        million units; but a set of up to 128 images, for which the network puts out up to 128
        million units, passes at once (padded to a multiple of 4). 'auto' measures which of 4, 16
        and 64 is fastest; a repeated call takes what the first has found. Where a batch does not
        fit into the memory, the pass is begun again with half of it, and a log line says so.
    device : str or torch.device, optional
        Where the networks run (they return to where they were); default where they are. The
        RDMs are computed on the host.
    num_threads : int, optional
        Threads of torch and BLAS in each worker; default as they are set here. With several
        workers on one machine, 1 is fastest.
    memory_budget : int or str, optional
        Room for the patterns that wait for the rest of their set, together with the stack:
        '2GB', '512MB' or bytes; default a quarter of the machine's memory. Workers on one machine
        share it. The networks, and what a pass of one batch takes, come on top. See `plan_rdms`.
    projection : int, optional
        Approximate: project each pattern at random to so many numbers (some thousands), so that
        large sets wait in little memory. A squared distance is then known with a standard error
        of about ``sqrt(2 / projection)`` of it; means and spreads of patterns are exact. Only
        metrics that follow from inner products. The rows carry a further column `projection`.
    progress : bool, default True
        Show a progress bar.
    random_state : int, numpy Generator or None, default 0
        Seed of the scrambles and of the projection; None draws fresh entropy.

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
        - perm: 'orig_data' or 1 to `num_perms`; perm_scramble: tuple of int,
        - dissim_rankings: tuple of int, the greedy order of `get_extreme_dissims_total`,
        - and one column per image-set label; `projection` (int), where it was asked for.

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

    See Also
    --------
    plan_rdms : What a call costs, before it is made.
    get_meta_rdms : Compares the RDMs.
    read_rdms : Reads the file.

    Notes
    -----
    Inner-product metrics are computed from float32 activations in float64 (see `compute_rdm`).
    The file holds the union of all calls that appended to it; `read_rdms` with
    ``provenance=True`` tells what each row was made from.

    **Memory.** A set that fits into one batch is compared as the batch passes, and is not copied
    at all. Patterns of larger sets wait for the rest of their set. Where those of all layers do
    not fit into `memory_budget`, several passes are made over the images, each for some of the
    layers and only as deep as these are, or patterns wait in temporary files (in the folder
    that the environment variable TMPDIR names), whichever takes less time. The numbers are the
    same bits in each case. Spearman's rho and metrics that are functions take copies of whole
    patterns.

    **Precision.** A float32 pass rounds differently in batches of another size, or with another
    number of threads: dissimilarities then agree to about 1e-4 of the largest.

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
    call = Call.of(
        image_sets,
        models_dict,
        rdm_name=rdm_name,
        which_layers=which_layers,
        dissim_metrics=dissim_metrics,
        kernel_sets=kernel_sets,
        num_perms=num_perms,
        num_cores=num_cores,
        debug_check=debug_check,
        activation_types=activation_types,
        exclude_prefix_tokens=exclude_prefix_tokens,
        calls=calls,
        batch_size=batch_size,
        device=device,
        num_threads=num_threads,
        memory_budget=memory_budget,
        projection=projection,
        random_state=random_state,
        is_kept=out_fname is not None,
    )
    path = None if out_fname is None else check_stack_path(out_fname, argument="out_fname")
    level = logging.WARNING if verbose else logging.INFO

    store = RunStore.open(path, append=append)
    laid_out = LaidOut.of(call, store.finished)
    served = served_rows(store.finished, laid_out.rows, call)
    missing = [row for row in laid_out.rows if row.key not in served]
    logger.log(level, "%d rows: %d served from %s", len(laid_out.rows), len(served), path)
    laid_out.make_ready(missing)
    planner, shared_out = laid_out.passes(missing)
    if planner.is_long(shared_out):
        for line in forecast(planner, shared_out).in_words():
            logger.log(level, "%s", line)
    jobs = [job for run, passes in shared_out for job in planner.jobs(run, passes)]

    made: dict[str, dict[str, Any]] = {}
    undefined: list[str] = []
    rows_of = _rows_by_cell(missing)
    with _naming_what_is_kept(path):
        for job, result in finished_jobs(jobs, num_cores=call.num_cores, progress=progress):
            done = (job.model_name, result.seconds, len(job.targets), len(job.images))
            logger.log(level, "model '%s' took %.1f s for %d layers of %d images", *done)
            undefined += undefined_in_words(job, result)
            rows = [row for cell in job.wanted for row in rows_of[job.model_name, cell]]
            finished = finished_rows(rows, laid_out, job, result, random_state)
            store.keep(as_frame(finished, call))
            made.update((row["row_key"], row) for row in finished)
    own = as_frame([made.get(row.key) or served[row.key] for row in laid_out.rows], call)
    store.merge(own)
    if undefined:
        _warn_of_undefined(sorted(undefined))
    return own.drop(columns=list(PROVENANCE_COLUMNS))


def plan_rdms(
    image_sets: Sequence[Any],
    models_dict: Mapping[str, nn.Module],
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    dissim_metrics: Sequence[Any] = ("corr",),
    kernel_sets: Sequence[tuple[str, Any]] = (("all", "all"),),
    num_perms: int = 0,
    num_cores: int | str | None = "na",
    *,
    activation_types: Sequence[str] = ("unit_level", "feature_means"),
    exclude_prefix_tokens: bool = False,
    calls: str = "last",
    batch_size: int | str | None = None,
    device: Any = None,
    num_threads: int | None = None,
    memory_budget: int | str | None = None,
    projection: int | None = None,
) -> pd.DataFrame:
    """Say what `get_rdms` would do with the same arguments, and what it would cost.

    The images are read, and each network is surveyed and timed with a few of them.

    Parameters
    ----------
    image_sets, models_dict, which_layers, dissim_metrics, kernel_sets, num_perms, num_cores
        As in `get_rdms`.
    activation_types, exclude_prefix_tokens, calls, batch_size, device, num_threads
        As in `get_rdms`.
    memory_budget, projection
        As in `get_rdms`.

    Returns
    -------
    pandas.DataFrame
        One row a model, with the columns

        - model (str), image_sets, images, layers, rdms (int): what is asked for,
        - regime (str): 'one batch' (each set is within one batch, nothing waits), 'one pass' (what
          waits fits into the memory), 'several passes' (some layers in each, stopped behind the
          deepest of them), 'file' (some layers wait in temporary files); several, joined by
          ' and ', where runs of sets differ,
        - passes (int), full_passes (float): passes over the images, and how many passes through
          the whole network take as long,
        - batch_size (int): of all sets, the largest,
        - activation_bytes (int): of all activations of all images, which are never held together,
        - memory_bytes, file_bytes (int): of the patterns that wait at the same time, at most, in
          memory and in temporary files,
        - stack_bytes (int): of the RDMs,
        - seconds (float): on one worker, without metrics that are functions or scipy's.

    See Also
    --------
    get_rdms : Does it.

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten())
    >>> models = pfa.prepare_models({"net": (net, pfa.standard_transform)})
    >>> colours = {(name,): Image.new("RGB", (64, 64), name) for name in ("red", "green", "blue")}
    >>> plan = pfa.plan_rdms([({"shape": "square"}, colours, ("color",), [])], models)
    >>> plan[["model", "images", "layers", "rdms", "regime", "passes"]]
      model  images  layers  rdms     regime  passes
    0   net       3       3     6  one batch       1
    """
    call = Call.of(
        image_sets,
        models_dict,
        which_layers=which_layers,
        dissim_metrics=dissim_metrics,
        kernel_sets=kernel_sets,
        num_perms=num_perms,
        num_cores=num_cores,
        activation_types=activation_types,
        exclude_prefix_tokens=exclude_prefix_tokens,
        calls=calls,
        batch_size=batch_size,
        device=device,
        num_threads=num_threads,
        memory_budget=memory_budget,
        projection=projection,
    )
    laid_out = LaidOut.of(call, None)
    return forecast(*laid_out.passes(laid_out.rows)).as_frame()


def _rows_by_cell(rows: Sequence[Row]) -> dict[tuple[str, Cell], list[Row]]:
    found: dict[tuple[str, Cell], list[Row]] = {}
    for row in rows:
        found.setdefault((row.plan.name, row.cell), []).append(row)
    return found


@contextmanager
def _naming_what_is_kept(path: Path | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if path is not None and part_files(parts_folder(path)):
            error.add_note(
                f"The passes that were finished are kept in '{parts_folder(path)}': the same call"
                " of get_rdms goes on behind them."
            )
        raise


def _warn_of_undefined(places: list[str]) -> None:
    more = f"; and {len(places) - 5} more places" if len(places) > 5 else ""
    warnings.warn(
        "constant patterns, or patterns with NaN, have no dissimilarity (NaN in their rows and"
        f" columns): {'; '.join(places[:5])}{more}.",
        stacklevel=3,
    )
