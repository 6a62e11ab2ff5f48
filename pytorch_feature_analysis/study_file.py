"""The file that says what a study is made of: networks, datasets, and what to do with them."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._files import check_path
from pytorch_feature_analysis.checkpoints import load_strictly, read_state_dict
from pytorch_feature_analysis.comparisons import get_similarity_rdms
from pytorch_feature_analysis.consistency import get_consistency
from pytorch_feature_analysis.features import extract_features
from pytorch_feature_analysis.image_folder import read_image_folder
from pytorch_feature_analysis.model_probes import probe_models
from pytorch_feature_analysis.model_table import read_model_table
from pytorch_feature_analysis.models import prepare_models
from pytorch_feature_analysis.performance import link_to_performance
from pytorch_feature_analysis.table_models import table_models

# What the study sets itself, of the arguments of each step.
_GIVEN = {
    *("models_dict", "datasets", "out_folder", "activations_df", "entry_variables"),
    *("grouping_variables", "out_fname", "df_name", "keep_variables", "num_cores", "progress"),
    *("similarity_stack", "model_table", "dataset_variable", "features_df", "model_sets"),
    *("performance_frame", "model_variable", "measures"),
}


def _arguments(function: Callable[..., Any], *more: str) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in _GIVEN] + [
        *more
    ]


SECTIONS: dict[str, list[str]] = {
    "features": _arguments(extract_features),
    "similarity": _arguments(get_similarity_rdms, "measures", "split", "subsets"),
    "consistency": _arguments(get_consistency),
    "probes": _arguments(probe_models),
    "performance": _arguments(link_to_performance),
}
"""By step the keys that a study file may have for it."""
_MODEL_KEYS = ("file", "function", "arguments", "weights")
_OTHER = ("out", "models", "model_table", "datasets", "random_state", "transform")


@dataclass(frozen=True)
class Study:
    """A study file that was read and checked."""

    path: Path
    out: Path
    """Where results go."""
    models: dict[str, Any]
    """By name, as in the file; none where they are those of the table."""
    model_table: pd.DataFrame | None
    datasets: dict[str, Any]
    options: dict[str, dict[str, Any]]
    """By step, of the steps that were asked for."""
    random_state: int
    transform: str

    def model_names(self) -> list[str]:
        """Names of all networks."""
        if self.models or self.model_table is None:
            return list(self.models)
        return self.model_table["model"].tolist()

    def networks(self) -> dict[str, nn.Module]:
        """Build all networks."""
        given = {name: _network(name, one, self.path.parent) for name, one in self.models.items()}
        if not given and self.model_table is not None:
            given = table_models(self.model_table)
        return prepare_models(given, random_state=self.random_state, transform=self.transform)

    def sources(self) -> dict[str, Any]:
        """Find all datasets, as `extract_features` takes them."""
        return {
            name: {
                split: _dataset(one, self.path.parent) for split, one in splits_of(given).items()
            }
            for name, given in self.datasets.items()
        }

    def subsets(self) -> dict[str, Any]:
        """Name the files of the stimuli to compare over, by dataset."""
        named = self.options["similarity"].get("subsets", {})
        return {name: self.path.parent / file for name, file in named.items()}


def read_study(path: str | os.PathLike[str]) -> Study:
    """Read a study file, TOML or JSON, and check it; see `run_study`.

    Raises
    ------
    ValueError
        It cannot be read, or has a key that is not known (the message lists those that are).
    """
    file = check_path(path, argument="path")
    content = _load(file)
    for key in content:
        check_name(key, [*_OTHER, *SECTIONS], argument=file.name, what="key")
    for needed in ("datasets", "features"):
        if not isinstance(content.get(needed), dict) or not content[needed]:
            raise ValueError(f"`{file.name}` needs a section [{needed}].")
    options = {}
    for step, allowed in SECTIONS.items():
        if step in content:
            section = _section(content, step, file.name)
            for key in section:
                check_name(key, allowed, argument=file.name, what="key", owner=f" of [{step}]")
            options[step] = section
    if "module" not in options["features"]:
        raise ValueError(f"`{file.name}` needs the key 'module' in [features], the layer to take.")
    for step, before in (
        ("similarity", ()),
        ("consistency", ("similarity",)),
        ("probes", ()),
        ("performance", ("similarity", "probes")),
    ):
        missing = [name for name in before if step in options and name not in options]
        if missing:
            raise ValueError(f"`{file.name}`: [{step}] needs [{missing[0]}] before it.")
    table = None
    if "model_table" in content:
        table = read_model_table(file.parent / content["model_table"])
    models = _section(content, "models", file.name) if "models" in content else {}
    if not models and table is None:
        raise ValueError(f"`{file.name}` needs a section [models], or a `model_table`.")
    for name, one in models.items():
        _check_model(name, one, file.name)
    datasets = _section(content, "datasets", file.name)
    for name, given in datasets.items():
        _check_dataset(name, given, file.name)
    study = Study(
        path=file,
        out=file.parent / content.get("out", f"{file.stem}_results"),
        models=models,
        model_table=table,
        datasets=datasets,
        options=options,
        random_state=content.get("random_state", 0),
        transform=content.get("transform", "weights"),
    )
    if table is not None:
        known = table["model"].tolist()
        for name in study.model_names():
            check_name(name, known, argument=f"{file.name}, models", what="model of its table")
    return study


def _load(file: Path) -> dict[str, Any]:
    suffix = file.suffix.lower()
    if suffix not in (".toml", ".json"):
        raise ValueError(f"`path` must be a .toml or .json file, not '{file}'.")
    if not file.is_file():
        raise FileNotFoundError(f"`path` is '{file}', but there is no such file.")
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"'{file}' cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"'{file}' must hold an object, not a {type(content).__name__}.")
    return content


def _section(content: Mapping[str, Any], name: str, file: str) -> dict[str, Any]:
    section = content[name]
    if not isinstance(section, dict):
        raise ValueError(f"`{file}`: [{name}] must be a section with keys, not {section!r}.")
    return dict(section)


def _check_model(name: str, given: Any, file: str) -> None:
    if isinstance(given, str):
        return
    if not isinstance(given, dict):
        raise ValueError(
            f"`{file}`: model '{name}' must be 'NETWORK:WEIGHTS', as in 'alexnet:random', or"
            f" {{file = ..., function = ...}}, not {given!r}."
        )
    for key in given:
        check_name(key, _MODEL_KEYS, argument=file, what="key", owner=f" of '{name}'")
    for needed in ("file", "function"):
        if needed not in given:
            raise ValueError(f"`{file}`: model '{name}' lacks the key '{needed}'.")
    arguments = given.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ValueError(
            f"`{file}`: the 'arguments' of model '{name}' must be {{name = value}}, not"
            f" {arguments!r}."
        )


def _network(name: str, given: Any, folder: Path) -> Any:
    """Turn a model of the file into what `prepare_models` takes."""
    if isinstance(given, str):
        architecture, _, weights = given.partition(":")
        weights = weights or "trained"
        is_path = not weights.startswith("http") and (folder / weights).is_file()
        return architecture, str(folder / weights) if is_path else weights
    made = _call(folder / given["file"], given["function"], given.get("arguments", {}))
    if "weights" in given:
        owner = f"model '{name}'"
        network = made[0] if isinstance(made, tuple) else made
        load_strictly(
            network, read_state_dict(folder / given["weights"], owner=owner), owner=owner
        )
    return made


def _call(file: Path, function: str, arguments: Mapping[str, Any]) -> Any:
    """Call a function of a Python file, which the study file names."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file '{file}', which the study takes a model from.")
    spec = importlib.util.spec_from_file_location(f"_pfa_study_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"'{file}' is not a file of Python, which models can be taken from.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions = [key for key, value in vars(module).items() if callable(value)]
    check_name(function, functions, argument="function", what="function", owner=f" of '{file}'")
    return getattr(module, function)(**arguments)


def splits_of(given: Any) -> dict[str, Any]:
    """Return the splits of a dataset of the file; 'all' of one that has none."""
    if isinstance(given, str) or "path" in given:
        return {"all": given}
    return dict(given)


def _check_dataset(name: str, given: Any, file: str) -> None:
    if not isinstance(given, (str, dict)) or not given:
        raise ValueError(
            f"`{file}`: dataset '{name}' must be a folder, {{path = ..., pattern = ...}}, or a"
            f" section with one of these for each split, not {given!r}."
        )
    for split, one in splits_of(given).items():
        if isinstance(one, str):
            continue
        owner = f" of dataset '{name}', {split}"
        if not isinstance(one, dict) or "path" not in one:
            raise ValueError(f"`{file}`: {split!r}{owner} must be a folder or have a 'path'.")
        for key in one:
            check_name(key, ["path", "pattern"], argument=file, what="key", owner=owner)


def _dataset(given: Any, folder: Path) -> Any:
    if isinstance(given, str):
        return folder / given
    if "pattern" in given:
        return read_image_folder(folder / given["path"], given["pattern"])
    return folder / given["path"]
