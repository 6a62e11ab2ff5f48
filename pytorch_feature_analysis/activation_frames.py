"""From image sets and networks to a frame of activations: one table of responses a row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._files import check_path
from pytorch_feature_analysis.accumulation import SetPlan
from pytorch_feature_analysis.activation_types import patterns_of
from pytorch_feature_analysis.batches import Batch, counted, preprocessing_of, read_batches
from pytorch_feature_analysis.layouts import n_prefix_tokens
from pytorch_feature_analysis.pass_resources import in_batches_that_fit, using_threads
from pytorch_feature_analysis.rdm_call import Call, LaidOut
from pytorch_feature_analysis.rdm_plan import ModelPlan
from pytorch_feature_analysis.stream import Target, stream_outputs


def get_activations(
    image_sets: Sequence[Any],
    models_dict: Mapping[str, nn.Module],
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    out_folder: str | os.PathLike[str] | None = None,
    *,
    activation_types: Sequence[str] = ("unit_level",),
    exclude_prefix_tokens: bool = False,
    calls: str = "last",
    batch_size: int | str | None = None,
    device: Any = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Activations of networks for image sets: a frame with one table of responses a row.

    What `get_similarity_rdms` compares. For RDMs of many images at all layers `get_rdms` needs no
    such room.

    Parameters
    ----------
    image_sets : list
        As in `get_rdms`, without combinations.
    models_dict : dict of str to torch.nn.Module
        Models of `prepare_models`.
    which_layers : dict of str to sequence, or sequence, optional
        As in `get_rdms`. Default: the input and all leaf modules.
    out_folder : path, optional
        Write each table into this new folder, as ``.npy``, and map it from there: for more
        activations than there is memory. The frame is of use as long as the folder is.
    activation_types : sequence of {'unit_level', 'feature_means', 'cls_token'}
        As in `get_rdms`.
    exclude_prefix_tokens, calls, batch_size, device, num_threads, progress
        As in `get_rdms`.

    Returns
    -------
    pandas.DataFrame
        One row per image set, model, layer and activation type, with the columns

        - model, layer (str), layer_label (tuple), layer_num (int), activation_type (str), and the
          labels of the image sets,
        - activations: ndarray (n_entries, n_units), in the network's own precision, means in
          float64; read-only,
        - entry_keys, entry_labels: tuples, what the rows of `activations` are.

    Raises
    ------
    ValueError
        Unknown models, layers or activation types; image sets with combinations.
    FileExistsError
        `out_folder` exists, and is not empty.

    See Also
    --------
    get_similarity_rdms : Compares the rows.
    read_activations : The same frame from files of yours.
    capture : Activations of images as arrays.

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(112), torch.nn.Flatten())
    >>> models = pfa.prepare_models({"net": (net, pfa.standard_transform)})
    >>> images = {(name,): Image.new("RGB", (64, 64), name) for name in ("red", "green", "blue")}
    >>> image_sets = [({"size": "large"}, images, ("color",), [])]
    >>> df = pfa.get_activations(image_sets, models, ["avgpool1", "flatten1"], progress=False)
    >>> df[["model", "layer", "size", "activation_type"]]
      model     layer   size activation_type
    0   net  avgpool1  large      unit_level
    1   net  flatten1  large      unit_level
    >>> df["activations"][0].shape, df["entry_keys"][0]
    ((3, 12), (('red',), ('green',), ('blue',)))
    """
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    folder = None if out_folder is None else _check_new_folder(out_folder)
    call = Call.of(
        image_sets,
        models_dict,
        which_layers=which_layers,
        num_cores=1,
        activation_types=activation_types,
        exclude_prefix_tokens=exclude_prefix_tokens,
        calls=calls,
        batch_size=batch_size,
        device=device,
        num_threads=num_threads,
    )
    with_combinations = [one.labels for one in call.sets if one.combos]
    if with_combinations:
        raise ValueError(
            f"`image_sets`: the set {with_combinations[0]} has combinations, of which there are no"
            " activations; leave them out, or take get_rdms."
        )
    if any("activations" in one.labels for one in call.sets):
        raise ValueError(
            "`image_sets`: 'activations' cannot be the name of a label, since the column of the"
            " activations is called so."
        )
    laid_out = LaidOut.of(call, None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    total = len(laid_out.pool.images) * len(call.plans)
    keeper = _Keeper(laid_out.set_plans, folder)

    def pass_all(size: int, *, plan: ModelPlan, consume: Any, done: float) -> None:
        # What was kept of a pass that broke off is written again.
        bar.n = done
        images, names = laid_out.pool.images, laid_out.pool.names
        transform = preprocessing_of(plan.model, plan.name)
        batches = counted(read_batches(images, transform, size, names=names), bar.update)
        stream_outputs(plan.model, batches, plan.targets, consume, device=device)

    with tqdm(total=total, desc="images", unit="image", disable=not progress) as bar:
        for plan in call.plans:
            kinds: dict[str, set[str]] = {}
            for row in laid_out.rows:
                if row.plan is plan:
                    kinds.setdefault(row.layer.label[0], set()).add(row.activation_type)
            n_prefix = n_prefix_tokens(plan.model) if exclude_prefix_tokens else 0
            consume = partial(keeper.keep, plan.name, kinds, n_prefix)
            run = partial(pass_all, plan=plan, consume=consume, done=bar.n)
            size = plan.batch_size_for(len(laid_out.pool.images))
            with using_threads(call.settings.num_threads):
                in_batches_that_fit(run, size, plan.name)
    rows = []
    for row in laid_out.rows:
        image_set, (layer, number) = call.sets[row.set_index], row.layer.label
        array = keeper.tables[row.set_index, row.plan.name, layer, row.activation_type]
        array.flags.writeable = False
        rows.append(
            {
                "model": row.plan.name,
                "layer": layer,
                "layer_label": row.layer.label,
                "layer_num": number,
                "activation_type": row.activation_type,
                **image_set.labels,
                "activations": array,
                "entry_keys": image_set.entry_keys,
                "entry_labels": image_set.entry_labels,
            }
        )
    cells = {name: [row[name] for row in rows] for name in rows[0]}
    held = ("layer_label", "activations", "entry_keys", "entry_labels")
    return pd.DataFrame(
        {name: object_series(of) if name in held else of for name, of in cells.items()}
    )


class _Keeper:
    """Takes the outputs of passes, and puts them into the tables of all sets."""

    def __init__(self, sets: Sequence[SetPlan], folder: Path | None) -> None:
        self._sets, self._folder = sets, folder
        self._batch: Batch | None = None
        self._places: list[tuple[list[int], list[int]]] = []
        self.tables: dict[tuple[int, str, str, str], np.ndarray] = {}
        """By number of the set, model, layer and activation type."""

    def keep(
        self,
        model: str,
        kinds: Mapping[str, set[str]],
        n_prefix: int,
        target: Target,
        batch: Batch,
        output: torch.Tensor,
    ) -> None:
        """Keep what a layer put out for a batch, by the types of activations of each layer."""
        if batch is not self._batch:
            self._batch, self._places = batch, [self._find(batch, plan) for plan in self._sets]
        layer = target.label[0]
        for kind in kinds.get(layer, ()):
            patterns = patterns_of(output, target.layout, kind, n_prefix)
            for number, (places, rows) in enumerate(self._places):
                if places:
                    table = self._table((number, model, layer, kind), self._sets[number], patterns)
                    table[places] = patterns[rows]

    def _find(self, batch: Batch, plan: SetPlan) -> tuple[list[int], list[int]]:
        """Places of a batch's images in a set, and their rows in the batch."""
        rows = {position: row for row, position in enumerate(batch.positions)}
        places = [place for place, position in enumerate(plan.positions) if position in rows]
        return places, [rows[plan.positions[place]] for place in places]

    def _table(
        self, key: tuple[int, str, str, str], plan: SetPlan, patterns: np.ndarray
    ) -> np.ndarray:
        shape = (len(plan.positions), patterns.shape[1])
        if key not in self.tables:
            if self._folder is None:
                self.tables[key] = np.empty(shape, patterns.dtype)
            else:
                self.tables[key] = np.lib.format.open_memmap(
                    self._folder / f"{len(self.tables):06d}.npy",
                    mode="w+",
                    dtype=patterns.dtype,
                    shape=shape,
                )
        if self.tables[key].shape != shape:
            raise ValueError(
                f"the images of the set {plan.name} have different sizes after the model's"
                f" preprocessing, so that layer '{key[2]}' has no one shape; use a transform that"
                " evens them."
            )
        return self.tables[key]


def _check_new_folder(out_folder: Any) -> Path:
    folder = check_path(out_folder, argument="out_folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"`out_folder` is '{folder}', which exists and is not an empty folder: name a new one."
        )
    return folder
