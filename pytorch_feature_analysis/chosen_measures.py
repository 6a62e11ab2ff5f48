"""Measures of similarity as they are asked for, and as stacks name them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import (
    check_name,
    check_random_state,
    check_sequence,
    in_words,
)
from pytorch_feature_analysis.similarity import MEASURES, Measure

# What else has dissimilarities that are one less a similarity.
_ONE_LESS = ("corr", "cosine", "spearman", "minibatch_cka")


@dataclass(frozen=True)
class ChosenMeasure:
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


def check_measures(measures: Any) -> list[ChosenMeasure]:
    """Return what was asked for, or raise."""
    listed = check_sequence(measures, argument="measures", of="measures")
    if not listed:
        raise ValueError(f"`measures` names none; there are: {', '.join(sorted(MEASURES))}.")
    chosen = [_as_chosen(spec) for spec in listed]
    names = [(one.name, one.rdm_metric) for one in chosen]
    twice = [name for name, _ in dict.fromkeys(names) if [n for n, _ in names].count(name) > 1]
    if len(set(names)) < len(names):
        raise ValueError(f"`measures` names {in_words(twice)} more than once.")
    return chosen


def _as_chosen(spec: Any) -> ChosenMeasure:
    if isinstance(spec, Measure):
        return ChosenMeasure(spec)
    name, extra = spec, {}
    if isinstance(spec, (tuple, list)):
        if len(spec) != 2:
            raise ValueError(
                f"`measures` takes names, (name, options) and (name, function), not {spec!r}."
            )
        name, extra = spec
    if callable(extra):
        # What stands before a bracket is what `to_similarity` goes by.
        if not isinstance(name, str) or name.partition("(")[0] in {*MEASURES, *_ONE_LESS}:
            raise ValueError(
                f"`measures`: {name!r} cannot be the name of a function of your own; take a string"
                f" that begins with none of the names in MEASURES, nor with {_ONE_LESS}."
            )
        return ChosenMeasure(_own(name, extra))
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
    return ChosenMeasure(MEASURES[name], options)


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


def direction_of(dissim_metric: Any, own: Iterable[Measure] = ()) -> str | None:
    """Say what cells by a measure are: 1 less a 'similarity', a 'distance', or None: unknown."""
    name = str(dissim_metric).partition("(")[0]
    if name in _ONE_LESS:
        return "similarity"
    known = {**MEASURES, **{measure.name: measure for measure in own}}
    return known[name].direction if name in known else None


def whole_name(name: str, rdm_metric: Any) -> str:
    """Name of a measure with the metric of its RDMs, if it has one, as an option among others."""
    if not isinstance(rdm_metric, str):
        return name
    base, _, options = name.partition("(")
    return f"{base}({f'{options[:-1]}, ' if options else ''}rdm_metric={rdm_metric})"
