"""Noise of measured patterns: estimated from them, from residuals, or given by the frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.measured_patterns import NOISE_COLUMNS, Measured
from pytorch_feature_analysis.noise_covariance import covariance_from, covariance_of
from pytorch_feature_analysis.rdm_stack import Rows


@dataclass(frozen=True)
class Noise:
    """Where the noise of the rows of a frame comes from."""

    frame: pd.DataFrame
    rows: Rows
    source: str | None
    """'repetitions', 'runs', the column that has it, or None for no noise."""
    method: str
    by_run: bool

    def known(self, k: int, n_channels: int) -> np.ndarray:
        """Which channels have noise that is finite in row `k`."""
        kept = np.ones(n_channels, dtype=bool)
        if self.source not in NOISE_COLUMNS:
            return kept
        for array in self._given(k).values():
            if array.shape[-1] != n_channels:
                raise ValueError(
                    f"has {self.source!r} of shape {array.shape}, but {n_channels} channels"
                )
            if self.source == "residuals":
                kept &= np.isfinite(array).all(axis=0)
            elif array.ndim == 1:
                kept &= np.isfinite(array)
            else:
                kept &= np.isfinite(np.diag(array))
        return kept

    def _given(self, k: int) -> dict[Any, np.ndarray]:
        """Arrays of noise of row `k` by run; by None where they are for all."""
        cell = self.frame[self.source].iloc[k]
        by_run = cell if isinstance(cell, Mapping) else {None: cell}
        if self.by_run and not isinstance(cell, Mapping):
            raise TypeError(
                f"must have a dict from runs to arrays in {self.source!r} for noise_by_run=True,"
                f" not {type(cell).__name__}"
            )
        if isinstance(cell, Mapping) and not self.by_run and self.source != "residuals":
            raise TypeError(
                f"has a dict in {self.source!r}; set noise_by_run=True, or give one array for all"
                " runs"
            )
        found = {}
        for run, value in by_run.items():
            array = np.asarray(value)
            square = array.ndim == 2 and array.shape[0] == array.shape[1]
            fits = array.ndim == 2 if self.source == "residuals" else square or array.ndim == 1
            if array.dtype.kind not in "biuf" or not fits or not array.size:
                shape = (
                    "(n_samples, n_channels)"
                    if self.source == "residuals"
                    else "(n_channels, n_channels) or, for the diagonal, (n_channels,)"
                )
                raise ValueError(
                    f"must have an array of numbers {shape} in {self.source!r}, not one of shape"
                    f" {array.shape} and type {array.dtype}"
                )
            found[run] = array
        return found

    def of(self, k: int, measured: Measured) -> list[np.ndarray] | None:
        """Covariances of noise of row `k`: one for all runs, or one a run; None for none."""
        return None if self.source is None else self.rows.checked(k, self._of, k, measured)

    def _of(self, k: int, measured: Measured) -> list[np.ndarray]:
        if self.source == "repetitions":
            return self._of_repetitions(measured)
        if self.source == "runs":
            return self._of_runs(measured)
        given = self._given(k)
        kept = measured.kept
        names: tuple[Any, ...] = (None,)
        if self.by_run:
            names = measured.run_names
            if lacking := [name for name in names if name not in given]:
                raise ValueError(f"has no {self.source!r} of the runs {in_words(lacking)}")
        if self.source == "residuals":
            deviations = {name: _centred(array[:, kept], name) for name, array in given.items()}
            if self.by_run:
                chosen = [[deviations[name]] for name in names]
            else:
                chosen = [list(deviations.values())]
            return [
                covariance_of(
                    np.concatenate(tables),
                    sum(len(table) - 1 for table in tables),
                    self.method,
                )
                for tables in chosen
            ]
        kind = str(self.source)
        return [covariance_from(_of_channels(given[name], kept, kind), kind) for name in names]

    def _of_repetitions(self, measured: Measured) -> list[np.ndarray]:
        """From deviations within runs, which are independent of the means of runs."""
        means, counts = measured.run_means()
        deviations = measured.observations - means[measured.runs, measured.conditions]
        every = np.ones(len(deviations), dtype=bool)
        here = [(every, counts, "each run")]
        if self.by_run:
            here = [
                (measured.runs == run, counts[run], f"the run {name!r}")
                for run, name in enumerate(measured.run_names)
            ]
        found = []
        for chosen, cells, where in here:
            dof = int(chosen.sum()) - int((cells > 0).sum())
            if dof < 1:
                raise ValueError(
                    f"has one observation of each condition in {where}, and no telling noise from"
                    " it by noise='repetitions'; give 'residuals' or a 'covariance', or use"
                    f" noise='runs' or None{' (or noise_by_run=False)' if self.by_run else ''}"
                )
            found.append(covariance_of(deviations[chosen], dof, self.method))
        return found

    def _of_runs(self, measured: Measured) -> list[np.ndarray]:
        """From deviations of all observations of a condition from their mean over runs."""
        own = measured.condition_means()[measured.conditions]
        dof = len(own) - len(measured.entry_keys)
        if dof < 1:
            raise ValueError(
                "has one observation of each condition, and no telling noise from it; give"
                " 'residuals' or a 'covariance', or use noise=None"
            )
        return [covariance_of(measured.observations - own, dof, self.method)]


def _centred(residuals: np.ndarray, run: Any) -> np.ndarray:
    if len(residuals) < 2:
        where = "" if run is None else f" of the run {run!r}"
        raise ValueError(f"has a single sample of 'residuals'{where}; two or more are needed")
    table = residuals.astype(np.float64)
    return table - table.mean(axis=0)


def _of_channels(array: np.ndarray, kept: np.ndarray, kind: str) -> np.ndarray:
    """Covariance or precision of the channels that stay."""
    table = array.astype(np.float64)
    if table.ndim == 1 or kept.all():
        return table[kept] if table.ndim == 1 else table
    if kind == "precision" and np.isfinite(table).all():
        # Of fewer channels it is the inverse of what their covariance is, not a part of it.
        return np.linalg.inv(covariance_from(table, kind)[np.ix_(kept, kept)])
    return table[np.ix_(kept, kept)]
