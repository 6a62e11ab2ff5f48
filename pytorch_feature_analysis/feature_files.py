"""Files of features: what one network makes of one split of a dataset, written as it comes.

A file is an uncompressed ``.npz`` with the arrays ``features`` (n_stimuli, n_units), ``keys`` and
``targets`` (JSON texts, a stimulus each) and ``settings`` (a JSON text), so that NumPy reads it
without this library, and features are mapped from where they lie and not loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from pytorch_feature_analysis._files import atomic_write

_COPIED_AT_A_TIME = 2**24


def feature_path(folder: Path, dataset: str, model: str, split: str) -> Path:
    """Say where a file of a store is."""
    return folder / path_name(dataset) / path_name(model) / f"{path_name(split)}.npz"


def path_name(name: str) -> str:
    """Say what a dataset, model or split is called in paths: a slash becomes '_'."""
    return name.replace("/", "_").replace(os.sep, "_")


class StoredFeatures(NamedTuple):
    """What a file holds."""

    features: np.ndarray
    """(n_stimuli, n_units), mapped from the file."""
    keys: list[Any]
    """Tuples, a stimulus each."""
    targets: list[Any] | None
    """A class each; None where there are none."""
    settings: dict[str, Any]


class FeatureWriter:
    """Takes features a batch at a time, and writes the file when all are there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the file to be, so that they have room on the same disk.
        self._rows: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see `close`
        self._shape = (0, 0)

    def add(self, features: np.ndarray) -> None:
        """Add rows (n, n_units)."""
        n, n_units = self._shape
        if n and features.shape[1] != n_units:
            raise ValueError(
                f"the stimuli before have {n_units} units, and stimulus {n} has"
                f" {features.shape[1]}: images have different sizes after the model's"
                " preprocessing. Use a transform that evens them, or pooling='mean'."
            )
        self._rows.write(np.ascontiguousarray(features, dtype="<f4").data)
        self._shape = (n + len(features), features.shape[1])

    def save(
        self,
        path: Path,
        keys: Sequence[Any],
        targets: Sequence[Any] | None,
        settings: Mapping[str, Any],
    ) -> None:
        """Write the file, whole or not at all."""
        self._rows.seek(0)
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            with archive.open("features.npy", "w", force_zip64=True) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
                np.lib.format.write_array_header_1_0(file, header)
                shutil.copyfileobj(self._rows, file, _COPIED_AT_A_TIME)
            texts = {"keys": _as_texts(keys), "settings": np.array(json.dumps(dict(settings)))}
            if targets is not None:
                texts["targets"] = _as_texts(targets)
            for name, array in texts.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    def close(self) -> None:
        """Give back the room on the disk."""
        self._rows.close()


def read_feature_file(path: Path) -> StoredFeatures:
    """Open a file; features are mapped.

    Raises
    ------
    ValueError
        It is not a whole file of features.
    """
    try:
        # Opened here, since numpy leaves what is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            keys = [as_key(json.loads(text)) for text in archive["keys"].tolist()]
            settings = json.loads(str(archive["settings"]))
            targets = None
            if "targets" in archive.files:
                targets = [json.loads(text) for text in archive["targets"].tolist()]
        features = _mapped(path, "features.npy")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"'{path}' is not a whole file of features ({type(error).__name__}: {error})."
            " Make it anew with `extract_features`."
        ) from error
    if len(features) != len(keys):
        raise ValueError(
            f"'{path}' is not a whole file of features: it has {len(keys)} keys, and features of"
            f" {len(features)} stimuli."
        )
    return StoredFeatures(features, keys, targets, settings)


def as_key(value: Any) -> tuple[Any, ...]:
    """Turn what JSON made of a key back into a tuple."""
    return tuple(value) if isinstance(value, list) else (value,)


def _as_texts(values: Sequence[Any]) -> np.ndarray:
    return np.array([json.dumps(value, ensure_ascii=False) for value in values], dtype=np.str_)


def _mapped(path: Path, member: str) -> np.ndarray:
    """Map an array of an archive in which nothing is compressed."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED:
            return np.asarray(np.load(path, allow_pickle=False)[Path(member).stem])
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        length = file.tell()
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        n_name, n_extra = np.frombuffer(raw.read(4), dtype="<u2").tolist()
    offset = info.header_offset + 30 + n_name + n_extra + length
    if not np.prod(shape):
        return np.empty(shape, dtype)
    mapped: np.ndarray = np.memmap(
        path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )
    return mapped
