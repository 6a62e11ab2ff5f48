"""Features and targets of a linear probe: checked, and split for validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_sequence, in_words


def check_features(features: Any, *, argument: str, n_features: int | None = None) -> np.ndarray:
    """Return features as a table (n_samples, n_features) of float32 or float64, or raise."""
    try:
        array = np.asarray(features)
    except ValueError:
        raise ValueError(
            f"`{argument}` must be a table (n_samples, n_features), and its rows differ in length."
        ) from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{argument}` must hold real numbers, not {array.dtype}.")
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"`{argument}` must be a table (n_samples, n_features), not an array of shape"
            f" {array.shape}."
        )
    array = array.reshape(len(array), -1)
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(
            f"`{argument}` has {array.shape[1]} features, and those trained on have {n_features}."
        )
    n_undefined = int((~np.isfinite(array)).sum())
    if n_undefined:
        raise ValueError(
            f"`{argument}` has {n_undefined} values that are NaN or infinite; leave out these"
            " samples or features."
        )
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def check_targets(targets: Any, n_samples: int, *, argument: str) -> np.ndarray:
    """Return one class a sample, all of them strings or all numbers, or raise."""
    if isinstance(targets, (str, Mapping)) or np.ndim(targets) != 1:
        raise ValueError(f"`{argument}` must be a list of classes, one for each sample.")
    # By way of objects, since numpy would turn a number among strings into a string.
    is_array = hasattr(targets, "__array__")
    array = np.asarray(targets) if is_array else np.array(list(targets), dtype=object)
    if len(array) != n_samples:
        raise ValueError(
            f"`{argument}` has {len(array)} classes for {n_samples} samples: one is needed for"
            " each."
        )
    if array.dtype == object:
        values = array.tolist()
        if all(isinstance(value, str) for value in values):
            array = array.astype(str)
        elif all(isinstance(value, (int, float, np.number)) for value in values):
            array = np.array(values)
    if array.dtype.kind not in "biufU" or (array.dtype.kind == "f" and np.isnan(array).any()):
        kinds = sorted({type(value).__name__ for value in array.tolist()})
        raise TypeError(
            f"`{argument}` must be all strings or all numbers, none of them missing; it has values"
            f" of type {', '.join(kinds)}{', with NaN' if array.dtype.kind == 'f' else ''}."
        )
    return array


def classes_of(targets: np.ndarray) -> np.ndarray:
    """Return the classes of targets, sorted; raises where there is only one."""
    classes = np.unique(targets)
    if len(classes) < 2:
        raise ValueError(
            f"`targets` must be of two classes or more, and all are {classes[0].item()!r}."
        )
    return classes


def codes_in(targets: np.ndarray, classes: np.ndarray, *, argument: str, of: str) -> np.ndarray:
    """Give each target its place among sorted classes, or raise with those that are not there."""
    if (targets.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise TypeError(
            f"`{argument}` has classes such as {targets[0].item()!r}, and {of} such as"
            f" {classes[0].item()!r}: strings and numbers are never the same class."
        )
    places = np.minimum(np.searchsorted(classes, targets), len(classes) - 1)
    strange = np.unique(targets[classes[places] != targets]).tolist()
    if strange:
        raise ValueError(
            f"`{argument}` has {in_words(strange)}, which {of} have not. Leave these out."
        )
    return places


def check_several(features: Any, *, argument: str, what: str) -> list[Any]:
    """Return a list of two tables or more, or raise."""
    if isinstance(features, np.ndarray):
        raise TypeError(
            f"`{argument}` must be a list of tables, one for each network, for {what}, not one"
            f" array of shape {features.shape}."
        )
    tables = check_sequence(features, argument=argument, of="tables, one for each network")
    if len(tables) < 2:
        raise ValueError(f"`{argument}` must be two tables or more for {what}.")
    return tables


def stratified(
    y: np.ndarray, classes: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of samples to learn from and of those to choose by, classes in balance."""
    # Deferred: only a call needs it.
    from sklearn.model_selection import train_test_split

    alone = classes[np.bincount(y, minlength=len(classes)) < 2]
    advice = (
        "To choose among settings, part of each class is set aside; give one value each of"
        " `learning_rates` and `weight_decays`, or of `C`, to do without"
    )
    if len(alone):
        raise ValueError(
            f"`targets` has one sample of class {', '.join(map(repr, alone[:5].tolist()))}"
            f"{' and others' if len(alone) > 5 else ''}, which cannot be in both parts. {advice},"
            " or leave the class out."
        )
    n_aside = math.ceil(share * len(y))
    if min(n_aside, len(y) - n_aside) < len(classes):
        raise ValueError(
            f"`validation`={share:g} of {len(y)} samples makes parts of {len(y) - n_aside} and"
            f" {n_aside}, and each must have room for {len(classes)} classes. {advice}."
        )
    kept, aside = train_test_split(
        np.arange(len(y)), test_size=share, stratify=y, random_state=seed
    )
    return kept, aside
