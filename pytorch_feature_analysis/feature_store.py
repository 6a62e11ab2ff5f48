"""A store of features, read as a frame of activations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._files import check_path
from pytorch_feature_analysis.checkpoints import load_without_code
from pytorch_feature_analysis.feature_files import (
    StoredFeatures,
    path_name,
    read_feature_file,
)
from pytorch_feature_analysis.subset_files import check_positions, read_subset


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
        By dataset, or by (dataset, split), the positions of the stimuli to take, as of
        `stratified_subset`, or the path of a file of `save_subset`. Stimuli come in the order of
        the dataset.

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

    See Also
    --------
    extract_features : Makes the store.
    read_activations : Of files of any other form.

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
            " '<dataset>/<model>/features_<split>.pt'. `extract_features` writes them."
        )
    for argument, names in (("dataset", datasets), ("model", models), ("split", splits)):
        if names is not None:
            known = list(dict.fromkeys(getattr(file, argument) for file in files))
            wanted = [path_name(name) for name in names]
            for name in wanted:
                check_name(name, known, argument=f"{argument}s", what=argument)
            files = [file for file in files if getattr(file, argument) in wanted]
    chosen = _check_subsets(subsets or {}, files)
    shared: dict[Any, Any] = {}
    rows = [_row(file, chosen, shared) for file in files]
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


def _check_subsets(subsets: Mapping[Any, Any], files: Sequence[_StoreFile]) -> dict[Any, Any]:
    """Return subsets by the names that datasets and splits have in paths."""
    known = {file.dataset for file in files} | {(file.dataset, file.split) for file in files}
    found = {}
    for key, subset in subsets.items():
        name = tuple(map(path_name, key)) if isinstance(key, tuple) else path_name(key)
        check_name(name, known, argument="subsets", what="dataset")
        found[name] = subset
    return found


def _row(file: _StoreFile, subsets: Mapping[Any, Any], shared: dict[Any, Any]) -> dict[str, Any]:
    stored = file.read()
    dataset = stored.settings.get("dataset", file.dataset)
    split = stored.settings.get("split", file.split)
    features, keys, targets = stored.features, stored.keys, stored.targets
    if targets is not None and len(targets) != len(keys):
        raise ValueError(
            f"'{file.path}' has features of {len(keys)} stimuli, and {len(targets)} targets: it is"
            " damaged, or of two runs. Make it anew with `extract_features`."
        )
    subset = subsets.get((file.dataset, file.split), subsets.get(file.dataset))
    if subset is not None:
        if isinstance(subset, (str, os.PathLike)):
            positions = read_subset(subset, n_stimuli=len(keys))
        else:
            positions = check_positions(subset, len(keys), f"`subsets` of '{dataset}'")
        features, keys = features[positions], [keys[k] for k in positions]
        targets = None if targets is None else [targets[k] for k in positions]
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
