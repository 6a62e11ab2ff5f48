"""Rows of a frame of measured patterns: observations of conditions, in runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_name, check_sequence, in_words
from pytorch_feature_analysis.activation_schema import as_table
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.crossvalidated import run_means
from pytorch_feature_analysis.rdm_stack import Rows, as_key, labels_of

NOISE_COLUMNS = ("residuals", "covariance", "precision")
_FRAME = "patterns_df"


@dataclass(frozen=True)
class Measured:
    """Observations of one row of the frame that can be used, and what they are of."""

    observations: np.ndarray
    """(n_observations, n_channels), finite float64."""
    conditions: np.ndarray
    """Numbers of conditions, from 0 in the order of `entry_keys`."""
    runs: np.ndarray
    """Numbers of runs, likewise; empty where runs are not known."""
    entry_keys: tuple[tuple[Hashable, ...], ...]
    entry_labels: tuple[dict[str, Any], ...]
    run_names: tuple[Hashable, ...]
    kept: np.ndarray
    """Which of the row's channels these are."""
    n_left_out: int
    """Observations without any number."""

    def condition_means(self) -> np.ndarray:
        """Mean of all observations of each condition (n_conditions, n_channels)."""
        return run_means(self.observations, self.conditions, np.zeros_like(self.conditions))[0][0]

    def present(self) -> np.ndarray:
        """Whether each run has each condition (n_runs, n_conditions)."""
        found = np.zeros((len(self.run_names), len(self.entry_keys)), dtype=bool)
        found[self.runs, self.conditions] = True
        return found

    def run_means(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (n_runs, n_conditions, n_channels), and how many observations each is of."""
        return run_means(self.observations, self.conditions, self.runs)


@dataclass(frozen=True)
class Reader:
    """Reads the rows of a frame, whose columns were checked."""

    frame: pd.DataFrame
    rows: Rows
    keys: list[Any]
    labels: list[Any]
    run_variable: str
    runs_in: str | None
    """'column', 'labels', or None where the frame does not say."""
    condition_variables: list[str] | None
    nan_policy: str

    @classmethod
    def of(
        cls,
        patterns_df: Any,
        run_variable: Any,
        condition_variables: Any,
        *,
        columns: Sequence[str],
        nan_policy: str,
        needs_runs: bool,
    ) -> Reader:
        """Check the columns of a frame, which needs `columns` too."""
        check_columns(patterns_df, ["activations", "entry_keys", *columns], argument=_FRAME)
        if patterns_df.empty:
            raise ValueError(f"`{_FRAME}` has no rows, so there is nothing to make RDMs of.")
        if not isinstance(run_variable, str):
            raise TypeError(f"`run_variable` must be the name of a column, not {run_variable!r}.")
        rows = Rows(patterns_df.index, _FRAME)
        keys = [rows.checked(k, _names, cell) for k, cell in enumerate(patterns_df["entry_keys"])]
        labels = labels_of(patterns_df, rows, keys)
        variables = set.intersection(*(set(label) for row in labels for label in row))
        runs_in = _where_runs_are(run_variable, patterns_df.columns, variables)
        if runs_in is None and needs_runs:
            raise ValueError(
                f"`run_variable` is {run_variable!r}, which is neither a column of `{_FRAME}`"
                " (with the run of each observation in its cells) nor a name in the `entry_labels`"
                " of all observations. Columns:"
                f" {', '.join(map(str, patterns_df.columns))}; names:"
                f" {', '.join(sorted(map(str, variables)))}. Name the runs, which"
                " cross-validation is between, or take a metric without it, such as 'corr'."
            )
        return cls(
            frame=patterns_df,
            rows=rows,
            keys=keys,
            labels=labels,
            run_variable=run_variable,
            runs_in=runs_in,
            condition_variables=_check_condition_variables(condition_variables, variables),
            nan_policy=nan_policy,
        )

    @property
    def kept_columns(self) -> list[Any]:
        """Columns that tell what a row is of."""
        taken = {"activations", "entry_keys", "entry_labels", *NOISE_COLUMNS}
        if self.runs_in == "column":
            taken.add(self.run_variable)
        return [name for name in self.frame.columns if name not in taken]

    def read(self, k: int, known: Callable[[int, int], np.ndarray]) -> Measured:
        """Read what row `k` has measured, in the channels of ``known(k, n_channels)`` only."""
        return self.rows.checked(k, self._read, k, known)

    def _read(self, k: int, known: Callable[[int, int], np.ndarray]) -> Measured:
        table = as_table(self.frame["activations"].iloc[k])
        keys, labels = self.keys[k], self.labels[k]
        if len(table) != len(keys):
            raise ValueError(
                f"has {len(keys)} entry_keys, but its activations are {table.shape}: one row is"
                " needed for each"
            )
        finite = np.isfinite(table)
        usable = finite.any(axis=1)
        kept = finite[usable].all(axis=0) & known(k, table.shape[1])
        if self.nan_policy == "raise" and not (usable.all() and kept.all()):
            raise ValueError(
                f"has NaN or infinite values in {int((~kept).sum())} of {len(kept)} channels and"
                f" no value in {int((~usable).sum())} of {len(usable)} observations; leave these"
                " out, or use nan_policy='omit'"
            )
        if not (usable.any() and kept.any()):
            raise ValueError(
                f"has no channel of {len(kept)} without NaN or infinite values, so nothing is left"
                " to compare; leave out the observations that hold them"
            )
        observations = np.array(table[np.ix_(usable, kept)], dtype=np.float64)
        places = np.flatnonzero(usable).tolist()
        conditions, found_keys, found_labels = self._conditions(
            [keys[i] for i in places], [labels[i] for i in places]
        )
        runs: np.ndarray = np.zeros(0, dtype=np.intp)
        run_names: tuple[Hashable, ...] = ()
        if self.runs_in is not None:
            names = self._run_names(k, labels)
            runs, run_names = _numbered([names[i] for i in places])
        return Measured(
            observations=observations,
            conditions=conditions,
            runs=runs,
            entry_keys=found_keys,
            entry_labels=found_labels,
            run_names=run_names,
            kept=kept,
            n_left_out=int((~usable).sum()),
        )

    def _conditions(
        self, keys: Sequence[Any], labels: Sequence[dict[str, Any]]
    ) -> tuple[np.ndarray, tuple[Any, ...], tuple[Any, ...]]:
        names = self.condition_variables
        if names is None and self.runs_in == "labels":
            names = [name for name in labels[0] if name != self.run_variable]
            if not names:
                raise ValueError(
                    f"has nothing but {self.run_variable!r} in its `entry_labels`, so there is no"
                    " condition; name it there too"
                )
        if names is not None:
            if lacking := [name for name in names if any(name not in one for one in labels)]:
                raise ValueError(
                    f"has observations without {in_words(lacking)} in their `entry_labels`; name"
                    " what all have with `condition_variables`"
                )
            keys = [as_key(tuple(one[name] for name in names)) for one in labels]
            labels = [{name: one[name] for name in names} for one in labels]
        numbers, distinct = _numbered(keys)
        if len(distinct) < 2:
            raise ValueError(
                f"has the single condition {distinct[0]!r}, and an RDM needs two or more; give"
                " observations of one condition the same entry key, and others another"
            )
        first = np.unique(numbers, return_index=True)[1].tolist()
        return numbers, tuple(keys[i] for i in first), tuple(labels[i] for i in first)

    def _run_names(self, k: int, labels: Sequence[dict[str, Any]]) -> list[Any]:
        """Run of every observation of row `k`, by column or by label."""
        name = self.run_variable
        if self.runs_in == "labels":
            names = [label[name] for label in labels]
        else:
            cell = self.frame[name].iloc[k]
            if isinstance(cell, (str, bytes)) or not isinstance(
                cell, (Sequence, np.ndarray, pd.Index, pd.Series)
            ):
                raise TypeError(
                    f"must have the run of each observation in {name!r}, a list of {len(labels)},"
                    f" not {cell!r}; stack the observations of all runs in one row"
                )
            names = list(cell)
            if len(names) != len(labels):
                raise ValueError(
                    f"has {len(names)} runs in {name!r}, but {len(labels)} observations: one run"
                    " is needed for each"
                )
        if any(frozen(one) is None for one in names):
            raise ValueError(
                f"has observations without a run in {name!r}; name it, or leave them out"
            )
        return names


def _where_runs_are(
    run_variable: str, columns: Collection[Any], variables: Collection[Any]
) -> str | None:
    """Say what tells runs apart: a 'column', the 'labels' of entries, or nothing."""
    if run_variable in columns:
        return "column"
    return "labels" if run_variable in variables else None


def _check_condition_variables(given: Any, variables: Collection[Any]) -> list[str] | None:
    """Return the names that tell conditions apart, None for all; or raise."""
    if given is None:
        return None
    wanted = check_sequence(given, argument="condition_variables", of="names in `entry_labels`")
    for name in wanted:
        check_name(
            name,
            sorted(variables, key=str),
            argument="condition_variables",
            what="name",
            owner=" in the `entry_labels` of all observations",
        )
    if not wanted:
        raise ValueError("`condition_variables` is empty; name what tells conditions apart.")
    return wanted


def _names(cell: Any) -> tuple[tuple[Hashable, ...], ...]:
    """Return the names of observations, which may repeat, as a tuple of tuples."""
    if not isinstance(cell, (tuple, list, np.ndarray, pd.Index)) or not len(cell):
        raise TypeError(
            "must have a list in `entry_keys` with the condition of each observation, not"
            f" {cell!r}"
        )
    return tuple(map(as_key, cell))


def _numbered(names: Sequence[Any]) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Numbers of the distinct names in the order in which they come, and these."""
    distinct: dict[Hashable, Any] = {}
    for name in names:
        distinct.setdefault(frozen(name), _plain(name))
    number = {name: k for k, name in enumerate(distinct)}
    return np.array([number[frozen(name)] for name in names]), tuple(distinct.values())


def _plain(name: Any) -> Any:
    return name.item() if isinstance(name, np.generic) else name
