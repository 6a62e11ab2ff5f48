"""A store of features, read as a frame of activations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._files import check_path
from pytorch_feature_analysis.checkpoints import load_without_code
from pytorch_feature_analysis.feature_files import StoredFeatures, read_feature_file
from pytorch_feature_analysis.subset_files import read_subset


def read_features(
    folder: str | os.PathLike[str],
    *,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    subsets: Mapping[Any, Any] | None = None,
) -> pd.DataFrame:
    """Open a feature store as a frame of activations, which `get_similarity_rdms` takes.

    Parameters
    ----------
    folder : path
        A store of `extract_features`, or a folder ``<dataset>/<model>/features_<split>.pt`` with
        ``targets_<split>.pt`` beside, tensors that torch saved; no code in them is run.
    datasets, models, splits : list of str, optional
        Which to open; default all there are.
    subsets : dict, optional
        By dataset, or by (dataset, split), the places of the stimuli to take, as of
        `stratified_subset`, or the path of a file of `save_subset`.

    Returns
    -------
    DataFrame
        A row per file with the columns dataset, model, split, activations (n_stimuli, n_units,
        mapped from the file), entry_keys, entry_labels, and targets (a tuple of classes, or None).
        Models are in the order of their names.

    Raises
    ------
    ValueError
        There is no such dataset, model or split; a file that is not whole; places outside of a
        dataset.

    Examples
    --------
    A folder with tensors that torch saved:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for model in ("resnet18", "vgg19"):
    ...         place = Path(folder, "flowers", model)
    ...         place.mkdir(parents=True)
    ...         torch.save(torch.eye(4, 3), place / "features_test.pt")
    ...         torch.save(torch.tensor([0, 0, 1, 1]), place / "targets_test.pt")
    ...     df = pfa.read_features(folder, subsets={"flowers": [1, 2]})
    >>> df[["dataset", "model", "split", "targets"]]
       dataset     model split targets
    0  flowers  resnet18  test  (0, 1)
    1  flowers     vgg19  test  (0, 1)
    >>> df["activations"][0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    root = check_path(folder, argument="folder")
    if not root.is_dir():
        raise FileNotFoundError(f"`folder`: there is no folder '{root}'.")
    files = [file for file in map(_StoreFile.of, sorted(root.glob("*/*/*"))) if file is not None]
    if not files:
        raise ValueError(
            f"`folder`: '{root}' holds no features: no '<dataset>/<model>/<split>.npz', and no"
            " '<dataset>/<model>/features_<split>.pt'."
        )
    for argument, names in (("dataset", datasets), ("model", models), ("split", splits)):
        known = list(dict.fromkeys(getattr(file, argument) for file in files))
        for name in names or ():
            check_name(name, known, argument=f"{argument}s", what=argument)
        files = [file for file in files if names is None or getattr(file, argument) in names]
    known_places = {file.dataset for file in files} | {
        (file.dataset, file.split) for file in files
    }
    for name in subsets or ():
        check_name(name, known_places, argument="subsets", what="dataset")
    shared: dict[Any, Any] = {}
    rows = [_row(file, subsets or {}, shared) for file in files]
    cells = {name: [row[name] for row in rows] for name in rows[0]}
    held = ("activations", "entry_keys", "entry_labels", "targets")
    return pd.DataFrame(
        {name: object_series(of) if name in held else of for name, of in cells.items()}
    )


@dataclass(frozen=True)
class _StoreFile:
    """A file of a store, of this library or of tensors that torch saved."""

    path: Path
    dataset: str
    model: str
    split: str

    @classmethod
    def of(cls, path: Path) -> _StoreFile | None:
        """Tell a file by its name; None where it is something else."""
        dataset, model, stem = path.parts[-3], path.parts[-2], path.stem
        if stem.startswith(".") or ".superseded" in path.name:
            return None
        if path.suffix == ".npz":
            return cls(path, dataset, model, stem)
        if path.suffix == ".pt" and stem.startswith("features_"):
            return cls(path, dataset, model, stem.removeprefix("features_"))
        return None

    def read(self) -> StoredFeatures:
        """Open it."""
        if self.path.suffix == ".npz":
            return read_feature_file(self.path)
        features = _read_tensor(self.path).numpy()
        beside = self.path.with_name(f"targets_{self.split}.pt")
        targets = _read_tensor(beside).tolist() if beside.exists() else None
        keys = [(number,) for number in range(len(features))]
        return StoredFeatures(features, keys, targets, {"key_names": ["index"]})


def _read_tensor(path: Path) -> torch.Tensor:
    found = load_without_code(
        path,
        name=f"'{path}'",
        content="a tensor",
        remedy="load it yourself and save the tensor alone",
        mmap=True,
    )
    if isinstance(found, (list, tuple)) and all(isinstance(one, (int, float)) for one in found):
        return torch.tensor(found)
    if not isinstance(found, torch.Tensor):
        raise ValueError(f"'{path}' holds a {type(found).__name__}, not a tensor.")
    return found


def _row(file: _StoreFile, subsets: Mapping[Any, Any], shared: dict[Any, Any]) -> dict[str, Any]:
    stored = file.read()
    dataset = stored.settings.get("dataset", file.dataset)
    split = stored.settings.get("split", file.split)
    features, keys, targets = stored.features, stored.keys, stored.targets
    if targets is not None and len(targets) != len(keys):
        raise ValueError(
            f"'{file.path}' has features of {len(keys)} stimuli, and {len(targets)} targets."
        )
    chosen = subsets.get((file.dataset, file.split), subsets.get(file.dataset))
    if isinstance(chosen, (str, os.PathLike)):
        chosen = read_subset(chosen, n_stimuli=len(keys))
    if chosen is not None:
        places = _check_places(chosen, len(keys), what=f"the dataset {dataset}")
        features, keys = features[places], [keys[k] for k in places]
        targets = None if targets is None else [targets[k] for k in places]
    names = stored.settings["key_names"]
    # The models of a dataset share what is the same, which a copy each would make large.
    key = (dataset, split, tuple(keys), None if targets is None else tuple(targets))
    if key not in shared:
        labels = tuple(dict(zip(names, one, strict=True)) for one in keys)
        shared[key] = (key[2], labels, key[3])
    features.flags.writeable = False
    return {
        "dataset": dataset,
        "model": stored.settings.get("model", file.model),
        "split": split,
        "activations": features,
        "entry_keys": shared[key][0],
        "entry_labels": shared[key][1],
        "targets": shared[key][2],
    }


def _check_places(places: Any, n: int, *, what: str) -> np.ndarray:
    """Return places of stimuli as an array, or raise unless they are in `what`, each once."""
    found = np.asarray(places)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise TypeError(f"`subsets` must hold lists of whole numbers, not {places!r}.")
    if len(found) and (found.min() < 0 or found.max() >= n):
        outside = found.max() if found.min() >= 0 else found.min()
        raise ValueError(
            f"`subsets` names stimulus {outside} of {what}, which has the stimuli 0 to {n - 1}."
        )
    if len(np.unique(found)) < len(found):
        raise ValueError(f"`subsets` names a stimulus of {what} more than once.")
    return found
