"""Measures of similarity that were asked for, and a group of representations compared by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_name, check_random_state, check_sequence
from pytorch_feature_analysis._threads import blas_threads, in_threads, n_blas_threads
from pytorch_feature_analysis.rdm_stack import in_words
from pytorch_feature_analysis.similarity import MEASURES, Measure

# What else has dissimilarities that are one less a similarity.
ONE_LESS = ("corr", "cosine", "spearman", "minibatch_cka")


@dataclass(frozen=True)
class Chosen:
    """A measure that was asked for, with its options."""

    measure: Measure
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rdm_metric(self) -> str | None:
        """Name of the metric of the RDMs that are compared, where it is a comparison of RDMs."""
        if self.measure.name != "rsa":
            return None
        metric = self.options.get("rdm_metric", "corr")
        return metric if isinstance(metric, str) else str(metric[0])

    @property
    def name(self) -> str:
        """As it is written into the column `dissim_metric`."""
        shown = {key: value for key, value in self.options.items() if key != "rdm_metric"}
        if not shown:
            return self.measure.name
        return f"{self.measure.name}({', '.join(f'{k}={shown[k]}' for k in sorted(shown))})"

    @property
    def minimum(self) -> int:
        """Fewest stimuli."""
        return max(self.measure.minimum, 4 if self.options.get("debiased") else 2)

    @property
    def saturates(self) -> bool:
        """Whether it is near its best for any data that have more units than stimuli."""
        return self.measure.saturates and not self.options.get("debiased")


def check_measures(measures: Any) -> list[Chosen]:
    """Resolve names, names with options, and functions of the user's own."""
    listed = check_sequence(measures, argument="measures", of="measures")
    if not listed:
        raise ValueError(f"`measures` names none; there are: {', '.join(sorted(MEASURES))}.")
    chosen = [_as_chosen(spec) for spec in listed]
    names = [(one.name, one.rdm_metric) for one in chosen]
    twice = [name for name, _ in dict.fromkeys(names) if [n for n, _ in names].count(name) > 1]
    if len(set(names)) < len(names):
        raise ValueError(f"`measures` names {in_words(twice)} more than once.")
    return chosen


def is_similarity(name: str, known: Mapping[str, Measure] = MEASURES) -> bool:
    """Tell by its name in `dissim_metric` whether a matrix is one less a similarity."""
    base = str(name).partition("(")[0]
    return base in ONE_LESS or (base in known and known[base].direction == "similarity")


def whole_name(name: str, rdm_metric: Any) -> str:
    """Name of a measure with the metric of its RDMs, if it has one, as an option among others."""
    if not isinstance(rdm_metric, str):
        return name
    base, _, options = name.partition("(")
    return f"{base}({f'{options[:-1]}, ' if options else ''}rdm_metric={rdm_metric})"


def _as_chosen(spec: Any) -> Chosen:
    if isinstance(spec, Measure):
        return Chosen(spec)
    name, extra = spec, {}
    if isinstance(spec, (tuple, list)):
        if len(spec) != 2:
            raise ValueError(
                f"`measures` takes names, (name, options) and (name, function), not {spec!r}."
            )
        name, extra = spec
    if callable(extra):
        # What stands before a bracket is what `to_similarity` goes by.
        if not isinstance(name, str) or name.partition("(")[0] in {*MEASURES, *ONE_LESS}:
            raise ValueError(
                f"`measures`: {name!r} cannot be the name of a function of your own; take a string"
                f" that begins with none of the names in MEASURES, nor with {ONE_LESS}."
            )
        return Chosen(_own(name, extra))
    check_name(name, MEASURES, argument="measures", what="measure")
    if not isinstance(extra, Mapping):
        raise TypeError(
            f"`measures`: behind '{name}' there must be a dict of options or a function, not"
            f" {extra!r}."
        )
    options = dict(extra)
    known = [
        option
        for option in inspect.signature(MEASURES[name].function).parameters
        if option not in ("x", "y")
    ]
    for option in options:
        check_name(option, known, argument="measures", what="option", owner=f" of '{name}'")
    if "random_state" in options:
        # One seed, whatever the pair.
        options["random_state"] = check_random_state(options["random_state"])
    return Chosen(MEASURES[name], options)


def _own(name: str, function: Callable[[np.ndarray, np.ndarray], float]) -> Measure:
    return Measure(
        name,
        function,
        _as_it_is,
        function,
        direction="distance",
        value_range=(-np.inf, np.inf),
        ignores=(),
        needs="what its author says",
    )


def _as_it_is(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def check_tables(
    tables: Sequence[np.ndarray], group: str, keys: Sequence[Any], chosen: Sequence[Chosen]
) -> None:
    """Raise unless the activations of a group are finite, and of enough stimuli."""
    for key, table in zip(keys, tables, strict=True):
        n_undefined = int((~np.isfinite(table)).sum())
        if n_undefined:
            raise ValueError(
                f"`activations_df`: the activations of {key!r}{group} hold {n_undefined} values"
                " that are NaN or infinite; leave out these units or stimuli, or the row."
            )
    for measure in chosen:
        if len(tables[0]) < measure.minimum:
            raise ValueError(
                f"`measures`: '{measure.name}' needs at least {measure.minimum} stimuli, and the"
                f" activations{group} have {len(tables[0])}."
            )


def compare_group(
    item: tuple[Sequence[np.ndarray], Sequence[np.ndarray | None], Chosen],
) -> np.ndarray:
    """RDM of a group's representations by one measure."""
    tables, orders, chosen = item
    measure, options = chosen.measure, chosen.options

    def prepare(place: int) -> Any:
        table, order = tables[place], orders[place]
        x = np.array(table if order is None else table[order], dtype=np.float64)
        return measure.prepare(x, **options)

    n_threads = n_blas_threads()
    # Decompositions are faster side by side than each in several threads.
    with blas_threads(1):
        prepared = in_threads(prepare, range(len(tables)), n_threads)
    values = measure.all_pairs(prepared, **options)
    rdm: np.ndarray = 1 - values if measure.direction == "similarity" else values
    if measure.is_symmetric:
        # What is left of it is rounding.
        rdm = (rdm + rdm.T) / 2
        np.fill_diagonal(rdm, 0)
    return rdm
