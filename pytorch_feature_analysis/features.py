"""The feature store: one file of features for each dataset, model and split."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import check_count, check_name
from pytorch_feature_analysis._files import check_path, keep_previous
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, iter_finished
from pytorch_feature_analysis.activation_types import check_prefix_tokens, patterns_of
from pytorch_feature_analysis.activations import choose_targets
from pytorch_feature_analysis.batches import (
    Batch,
    preprocessing_of,
    read_batches,
    tensor_batches,
    to_input,
)
from pytorch_feature_analysis.feature_files import (
    FeatureWriter,
    StoredFeatures,
    feature_path,
    read_feature_file,
)
from pytorch_feature_analysis.feature_sources import Source, Stimulus, check_sources, chunks
from pytorch_feature_analysis.fingerprints import weights_hash
from pytorch_feature_analysis.layouts import n_prefix_tokens
from pytorch_feature_analysis.model_arguments import check_models, check_which_layers
from pytorch_feature_analysis.models import check_device
from pytorch_feature_analysis.pass_resources import in_batches_that_fit, using_threads
from pytorch_feature_analysis.preprocessing import description_of
from pytorch_feature_analysis.stream import Target, stream_outputs

logger = logging.getLogger(__name__)

_KINDS = {"flatten": "unit_level", "mean": "feature_means", "cls": "cls_token"}


def extract_features(
    models_dict: Mapping[str, nn.Module],
    datasets: Mapping[str, Any],
    out_folder: str | os.PathLike[str],
    module: str | Mapping[str, str],
    *,
    pooling: str = "flatten",
    normalize: bool = True,
    exclude_prefix_tokens: bool = False,
    batch_size: int = 32,
    device: Any = None,
    num_threads: int | None = None,
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Pass datasets through networks, and keep the features of one layer of each in files.

    Each dataset, model and split has a file of its own, ``<out_folder>/<dataset>/<model>/
    <split>.npz``, which is written whole or not at all. What is there already is not computed
    again, so that a call that was killed, or that has more models, goes on where it is needed.

    Parameters
    ----------
    models_dict : dict of str to torch.nn.Module
        Models of `prepare_models`.
    datasets : dict
        By name a dataset, or a dict of its splits, as ``{'train': ..., 'test': ...}``. Each is

        - a folder with a folder of pictures for each class,
        - a table with the column ``path``, such as `read_image_folder` makes; the column
          ``target`` holds classes, all others are the keys of the stimuli,
        - a list of paths,
        - a dataset of torch, or any iterable that can be gone through again (a pipeline of
          webdataset, say), of pairs of a PIL image, or a tensor that is the input as it is, and a
          target,
        - a loader of batches of such tensors. It must not shuffle.
    out_folder : path
        The store. Made where it does not exist.
    module : str or dict of str to str
        The layer of each model, or of all, as in `get_rdms`: ``'avgpool'``, ``'layer4.1'``.
    pooling : {'flatten', 'mean', 'cls'}, default 'flatten'
        All units of the layer, the mean of each channel over positions, or the class token.
    normalize : bool, default True
        Bring the features of each stimulus to unit length.
    exclude_prefix_tokens : bool, default False
        With 'mean', leave class and register tokens out.
    batch_size : int, default 32
        Images a pass; halved where there is no memory for it.
    device : str or torch.device, optional
        Where the networks run; default where they are.
    num_threads : int, optional
        Threads of torch; default as they are set here.
    num_cores : int, None or 'na', default None
        Workers, each of which does whole files; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show a bar of files.

    Returns
    -------
    DataFrame
        A row per file: dataset, model, split, n_stimuli, n_units, path, and ``made``: whether it
        was made by this call.

    Raises
    ------
    ValueError
        Unreadable pictures (all of a split named at once, before any network runs); unknown
        layers; stimuli or targets that differ between the models of a dataset.

    See Also
    --------
    read_features : The store as a frame of activations.

    Notes
    -----
    A file is made anew, and the old one kept beside it, where the model's weights, preprocessing,
    layer, the settings or the pictures are others than those it was made with; of datasets other
    than files, only the number of stimuli is known beforehand. Half-written and damaged files are
    made anew. Features are float32.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())
    >>> images = torch.rand(6, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> noise = torch.utils.data.TensorDataset(images, torch.arange(6) % 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = pfa.extract_features(
    ...         {"net": net}, {"noise": noise}, folder, "conv1", progress=False
    ...     )
    ...     df = pfa.read_features(folder)
    ...     norms = (df["activations"][0] ** 2).sum(axis=1)
    >>> files[["dataset", "model", "split", "n_stimuli", "n_units", "made"]]
      dataset model split  n_stimuli  n_units  made
    0   noise   net   all          6       18  True
    >>> norms.round(5).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    models = check_models(models_dict)
    check_name(pooling, _KINDS, argument="pooling", what="kind of pooling")
    kind = _KINDS[pooling]
    of_models = dict(module) if isinstance(module, Mapping) else dict.fromkeys(models, module)
    missing = [name for name in models if name not in of_models]
    if missing:
        raise ValueError(
            f"`module` names no layer of the models {', '.join(missing)}; give each one."
        )
    wanted = {name: [layer] for name, layer in of_models.items()}
    requests = check_which_layers(wanted, models)
    for name, model in models.items():
        check_prefix_tokens(model, name, [kind], exclude_prefix_tokens)
    batch_size = check_count(batch_size, argument="batch_size")
    where = check_device(device)
    threads = torch.get_num_threads() if num_threads is None else num_threads
    threads = check_count(threads, argument="num_threads")
    check_num_cores(num_cores)
    # Workers may stand in other folders.
    folder = check_path(out_folder, argument="out_folder").absolute()
    sources = check_sources(datasets)

    of_model = {
        name: {
            "model": name,
            "module": of_models[name],
            "weights": weights_hash(model),
            "preprocessing": _preprocessing(model),
        }
        for name, model in models.items()
    }
    jobs = []
    for source in sources:
        for name, model in models.items():
            settings = {
                "dataset": source.dataset,
                "split": source.split,
                **of_model[name],
                "pooling": pooling,
                "normalize": bool(normalize),
                "exclude_prefix_tokens": bool(exclude_prefix_tokens),
                "key_names": list(source.key_names),
                "content": source.content,
            }
            layers = requests[name]
            path = feature_path(folder, source.dataset, name, source.split)
            jobs.append(
                _Job(model, source, path, layers, kind, settings, batch_size, where, threads)
            )
    _check_places(jobs)
    agreement = _Agreement()
    shapes: dict[int, tuple[int, ...]] = {}
    for place, job in enumerate(jobs):
        stored = job.found()
        if stored is not None:
            shapes[place] = agreement.add(job, stored)
    to_do = [place for place in range(len(jobs)) if place not in shapes]
    with tqdm(total=len(to_do), desc="files", disable=not (progress and to_do)) as bar:
        for number, _ in iter_finished(_run, [jobs[k] for k in to_do], num_cores=num_cores):
            job = jobs[to_do[number]]
            shapes[to_do[number]] = agreement.add(job, read_feature_file(job.path))
            bar.update()
    made = set(to_do)
    return pd.DataFrame(
        [
            {
                "dataset": job.source.dataset,
                "model": job.settings["model"],
                "split": job.source.split,
                "n_stimuli": shapes[place][0],
                "n_units": shapes[place][1],
                "path": os.fspath(job.path),
                "made": place in made,
            }
            for place, job in enumerate(jobs)
        ]
    )


@dataclass(frozen=True)
class _Job:
    """One file to be."""

    model: nn.Module
    source: Source
    path: Path
    layers: Any
    kind: str
    settings: dict[str, Any]
    batch_size: int
    device: Any
    num_threads: int

    def found(self) -> StoredFeatures | None:
        """Open the file where it is there, whole, and of these settings."""
        if not self.path.exists():
            return None
        try:
            stored = read_feature_file(self.path)
        except ValueError as error:
            logger.warning("%s It is made anew.", error)
            return None
        changed = [
            key for key, value in self.settings.items() if stored.settings.get(key) != value
        ]
        if self.source.n_stimuli not in (None, len(stored.keys)):
            changed.append("number of stimuli")
        if changed:
            logger.warning(
                "'%s' was made with another %s; it is made anew.", self.path, ", ".join(changed)
            )
            return None
        return stored


def _check_places(jobs: Sequence[_Job]) -> None:
    """Raise where two files to be have one path."""
    owners: dict[Path, str] = {}
    for job in jobs:
        names = f"{job.source.name}, model '{job.settings['model']}'"
        other = owners.setdefault(job.path, names)
        if other != names:
            raise ValueError(
                f"The features of {other}, and of {names} would be the same file '{job.path}'."
                " Give other names: in names of files, a slash is '_'."
            )


def _run(job: _Job) -> None:
    """Make a file."""
    with using_threads(job.num_threads):
        in_batches_that_fit(lambda size: _pass(job, size), job.batch_size, job.settings["model"])


def _pass(job: _Job, batch_size: int) -> None:
    name = job.settings["model"]
    first = next(job.source.stimuli())
    example = _as_input(first, job.model, name)
    choice = choose_targets(job.model, example, job.layers, model_name=name, device=job.device)
    n_prefix = n_prefix_tokens(job.model) if job.settings["exclude_prefix_tokens"] else 0
    writer = FeatureWriter(job.path.parent)
    keys: list[Any] = []
    targets: list[Any] = []

    def keep(target: Target, _batch: Batch, output: torch.Tensor) -> None:
        features = patterns_of(output, target.layout, job.kind, n_prefix)
        if not np.isfinite(features).all():
            raise ValueError(
                f"layer '{target.label[0]}' of model '{name}' puts out NaN or infinite values for"
                f" the dataset {job.source.name}. Look at its weights and images, or take another"
                " layer."
            )
        writer.add(_unit_length(features) if job.settings["normalize"] else features)

    def batches() -> Iterator[Batch]:
        for chunk in chunks(job.source.stimuli(), batch_size):
            yield from _batches(chunk, job.model, name, batch_size)
            keys.extend(one.key for one in chunk)
            targets.extend(one.target for one in chunk)

    try:
        stream_outputs(job.model, batches(), choice.targets[:1], keep, device=job.device)
        keep_previous(job.path)
        writer.save(job.path, keys, targets if job.source.has_targets else None, job.settings)
    finally:
        writer.close()


def _batches(
    chunk: list[Stimulus], model: nn.Module, name: str, batch_size: int
) -> Iterator[Batch]:
    if isinstance(chunk[0].image, torch.Tensor):
        yield from tensor_batches(torch.stack([one.image for one in chunk]), batch_size)
        return
    images = [one.image for one in chunk]
    names = [f"stimulus {one.key}" for one in chunk]
    yield from read_batches(images, preprocessing_of(model, name), batch_size, names=names)


def _as_input(stimulus: Stimulus, model: nn.Module, name: str) -> torch.Tensor:
    if isinstance(stimulus.image, torch.Tensor):
        return stimulus.image
    return to_input(stimulus.image, preprocessing_of(model, name), f"stimulus {stimulus.key}")


def _preprocessing(model: nn.Module) -> str | None:
    """Describe the preprocessing; None of a model without, which takes tensors alone."""
    transform = getattr(model, "preprocessing", None)
    return description_of(transform) if callable(transform) else None


def _unit_length(features: np.ndarray) -> np.ndarray:
    table = features.astype(np.float64)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    unit: np.ndarray = table / np.where(norms > 0, norms, 1)
    return unit


class _Agreement:
    """Sees to it that all models of a dataset have the same stimuli and targets."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], tuple[str, StoredFeatures]] = {}

    def add(self, job: _Job, stored: StoredFeatures) -> tuple[int, ...]:
        """Return the shape of the features, or raise where they differ from those before."""
        name, place = job.settings["model"], (job.source.dataset, job.source.split)
        model, other = self._first.setdefault(place, (name, stored))
        for what, one, two in (
            ("stimuli", other.keys, stored.keys),
            ("targets", other.targets or [], stored.targets or []),
        ):
            if one == two:
                continue
            unlike = [
                k for k, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]
            ]
            detail = f"{len(one)} and {len(two)}"
            if unlike:
                detail = f"the first differ at {unlike[0]}: {one[unlike[0]]!r}, {two[unlike[0]]!r}"
            raise ValueError(
                f"The dataset {job.source.name} has other {what} for '{name}' than for '{model}'"
                f" ({detail}). A loader must not shuffle; remove '{job.path}' or the other file,"
                " and call again."
            )
        return stored.features.shape
