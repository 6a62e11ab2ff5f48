"""Subsets of a dataset's stimuli: so many of each class, drawn the same way each time."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    child_generator,
    child_seed,
    in_words,
)

logger = logging.getLogger(__name__)

Classes = dict[Hashable, np.ndarray]
_MOST = 10  # classes that a message names


def stratified_subset(
    targets: Any,
    max_total: int = 10_000,
    random_state: RandomState = 42,
    *,
    cap: bool = False,
) -> np.ndarray:
    """Choose about `max_total` stimuli, the same number of each class.

    A dataset of `max_total` stimuli or fewer is taken whole. Of a larger one, each class gives
    ``min(n_c, ceil(max_total / n_classes))`` of its n_c stimuli, without replacement.

    Parameters
    ----------
    targets : array-like (n_stimuli,)
        The class of each stimulus: whole numbers or names.
    max_total : int, default 10,000
        What the quota of a class follows from. It is **not a cap**: the quota is rounded up, so
        that 211 large classes give 211 · 48 = 10,128 stimuli. Classes smaller than the quota give
        all they have, and nothing makes up for them, so that there may be fewer too.
    random_state : int, Generator or None, default 42
        Of the draws.
    cap : bool, default False
        Have `max_total` stimuli at most: as many classes as needed, drawn at random among those
        that fill their quota, give one stimulus less.

    Returns
    -------
    ndarray of int
        Positions of the chosen stimuli in `targets`, in ascending order.

    Raises
    ------
    ValueError
        A stimulus without a class, or a number that is not whole.

    See Also
    --------
    per_class_subset : A given number of each class.
    save_subset : Keep the positions in a file.

    Notes
    -----
    The log says how many stimuli there are of how many classes, and warns of a total above
    `max_total` and of classes smaller than the quota, by name.

    The draw from a class depends on `random_state`, the class's name and its number of stimuli
    alone; other classes play no part. `per_class_subset` draws the same stimuli for the same
    quota, and a smaller quota gives a part of those of a larger one. For subsets that are
    independent of each other, take another `random_state`.

    The rule is that of the study of Ciernik et al.; the numbers drawn are not, since that study
    drew from numpy's global generator. `read_subset` reads its files.

    References
    ----------
    Ciernik, L., Linhardt, L., Morik, M., Dippel, J., Kornblith, S., & Muttenthaler, L. (2025).
        Objective drives the consistency of representational similarity across datasets. ICML.
        https://doi.org/10.48550/arXiv.2411.05561

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> targets = np.repeat(["cup", "hat", "pen"], [50, 40, 2])
    >>> chosen = pfa.stratified_subset(targets, max_total=10)
    >>> np.unique(targets[chosen], return_counts=True)[1].tolist()
    [4, 4, 2]
    """
    classes = _members(targets)
    max_total = check_count(max_total, argument="max_total")
    root = check_random_state(random_state)
    n_stimuli = sum(map(len, classes.values()))
    if n_stimuli <= max_total:
        logger.info("all %d stimuli are taken: max_total=%d.", n_stimuli, max_total)
        return np.arange(n_stimuli)
    quota = -(-max_total // len(classes))
    drawn = _draw(classes, quota, root)
    _log_short(classes, quota)
    total = sum(map(len, drawn.values()))
    if total > max_total:
        if cap:
            _drop_one_each(drawn, total - max_total, quota, root)
        else:
            logger.warning(
                "%d stimuli are taken, more than max_total=%d: %d of each class is a quota rounded"
                " up. With cap=True there are %d at most.",
                total,
                max_total,
                quota,
                max_total,
            )
    return _positions(drawn, n_stimuli)


def per_class_subset(
    targets: Any, per_class: int, *, random_state: RandomState = 42, short: str = "raise"
) -> np.ndarray:
    """Choose the same number of stimuli of each class.

    Parameters
    ----------
    targets : array-like (n_stimuli,)
        The class of each stimulus: whole numbers or names.
    per_class : int
        How many of each, without replacement.
    random_state : int, Generator or None, default 42
        Of the draws, which are those of `stratified_subset`: 1, 5 and 10 a class with the same
        `random_state` are parts of each other.
    short : {'raise', 'all'}, default 'raise'
        What to do about classes with fewer stimuli: ``'raise'`` names them in an error, ``'all'``
        takes all that they have, and the log names them.

    Returns
    -------
    ndarray of int
        Positions of the chosen stimuli in `targets`, in ascending order.

    Raises
    ------
    ValueError
        Classes with fewer than `per_class` stimuli.

    See Also
    --------
    stratified_subset : About so many in all.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> targets = np.array([0, 1, 0, 1, 0, 1])
    >>> targets[pfa.per_class_subset(targets, 2)].tolist().count(0)
    2
    """
    classes = _members(targets)
    per_class = check_count(per_class, argument="per_class")
    check_name(short, ["raise", "all"], argument="short", what="way to treat short classes")
    root = check_random_state(random_state)
    few = _short(classes, per_class)
    if few and short == "raise":
        least = min(few.values())
        raise ValueError(
            f"`per_class` asks for {per_class} stimuli of each class, which {_in_words(few)} do"
            f" not have. Ask for {least} at most; with short='all' they are taken whole."
        )
    _log_short(classes, per_class)
    return _positions(_draw(classes, per_class, root), sum(map(len, classes.values())))


def cells_of(values: Any, owner: str) -> list[Any]:
    """Return the items of a list, array, series or tensor as Python's own."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TypeError(
            f"{owner} must be a list or array with one item a stimulus, not {values!r}."
        )
    return [item.item() if isinstance(item, np.generic) else item for item in values]


def _members(targets: Any) -> Classes:
    """Positions of each class's stimuli, in ascending order."""
    places: dict[Hashable, list[int]] = {}
    for place, target in enumerate(cells_of(targets, "`targets`")):
        try:
            places.setdefault(target, []).append(place)
        except TypeError as error:
            raise TypeError(
                f"`targets` must hold one class a stimulus, but stimulus {place} has {target!r}."
            ) from error
    if not places:
        raise ValueError("`targets` is empty; give the class of each stimulus.")
    classes: Classes = {}
    for target, members in places.items():
        classes[_class_name(target, members[0])] = np.array(members)
    return classes


def _class_name(target: Any, place: int) -> Hashable:
    # A draw follows from the class's name, which is to be the same whether numbers came as float.
    if isinstance(target, float) and target.is_integer():
        return int(target)
    if isinstance(target, (str, int)):
        return target
    raise ValueError(
        f"`targets` must hold whole numbers or names, but stimulus {place} has {target!r}."
    )


def _draw(classes: Classes, quota: int, root: int) -> Classes:
    """Draw up to `quota` stimuli of each class, in an order that does not depend on it."""
    drawn = {}
    for name, members in classes.items():
        order = child_generator(root, "stimulus subset", name).permutation(len(members))
        drawn[name] = members[order[:quota]]
    return drawn


def _drop_one_each(drawn: Classes, excess: int, quota: int, root: int) -> None:
    """Take one stimulus from each of `excess` classes.

    There are as many that fill their quota: it is less than one above an even share.
    """
    full = [name for name, members in drawn.items() if len(members) == quota]
    full.sort(key=lambda name: child_seed(root, "one stimulus less", name))
    for name in full[:excess]:
        drawn[name] = drawn[name][:-1]
    gone = [name for name, members in drawn.items() if not len(members)]
    if gone:
        logger.warning(
            "%d of %d classes have no stimulus in the subset, since max_total is smaller than the"
            " number of classes: %s.",
            len(gone),
            len(drawn),
            in_words(gone, _MOST),
        )


def _positions(drawn: Classes, n_stimuli: int) -> np.ndarray:
    chosen = np.sort(np.concatenate(list(drawn.values())))
    sizes = [len(members) for members in drawn.values()]
    logger.info(
        "%d of %d stimuli are taken: %d to %d of each of %d classes.",
        len(chosen),
        n_stimuli,
        min(sizes),
        max(sizes),
        len(drawn),
    )
    return chosen


def _short(classes: Classes, quota: int) -> dict[Hashable, int]:
    return {name: len(members) for name, members in classes.items() if len(members) < quota}


def _log_short(classes: Classes, quota: int) -> None:
    few = _short(classes, quota)
    if few:
        logger.warning(
            "%d of %d classes have fewer than %d stimuli, and are taken whole: %s.",
            len(few),
            len(classes),
            quota,
            _in_words(few),
        )


def _in_words(sizes: Mapping[Hashable, int]) -> str:
    listed = [f"{name!r} ({size})" for name, size in list(sizes.items())[:_MOST]]
    more = f" and {len(sizes) - _MOST} more" if len(sizes) > _MOST else ""
    return ", ".join(listed) + more
