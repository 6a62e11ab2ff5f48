"""Effect sizes and tests of the units of a layer, from their sums of squares."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betaincinv, fdtrc
from scipy.stats import false_discovery_control

from pytorch_feature_analysis.anova_design import Design
from pytorch_feature_analysis.layouts import Layout


def summary(
    sums: dict[str, np.ndarray], design: Design, layout: Layout, alpha: float, *, maps: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Row of a layer, and all that is returned of its units."""
    total = sums["ss_total"]
    is_defined = np.isfinite(total)
    is_alive = is_defined & (total > 0)
    alive = slice(None) if is_alive.all() else np.flatnonzero(is_alive)
    row: dict[str, Any] = {
        "n_units": len(total),
        "n_constant_units": int((total == 0).sum()),
        "n_undefined_units": int((~is_defined).sum()),
    }
    found = dict(sums)
    total = total[alive]
    error = sums[f"ss_{design.residual}"][alive]
    df_error = design.dfs[design.residual]

    def keep(name: str, values: np.ndarray) -> None:
        if maps:
            found[name] = np.full(row["n_units"], np.nan)
            found[name][alive] = values

    for name in design.effects:
        ss, df = sums[f"ss_{name}"][alive], design.dfs[name]
        eta2 = ss / total
        row[f"{name}_eta2_mean"] = _mean(eta2)
        row[f"{name}_eta2_stdev"] = float(eta2.std()) if len(eta2) else np.nan
        row[f"{name}_eta2_stdev_kernelmeans"] = _spread_of_channels(eta2, is_alive, layout)
        keep(f"eta2_{name}", eta2)
        if name == design.residual:
            continue
        # 0 / 0 is undefined, and an effect without error is beyond all bounds.
        with np.errstate(divide="ignore", invalid="ignore"):
            partial = ss / (ss + error)
            omega2 = (ss - df / df_error * error) / (total + error / df_error)
            ratio = (ss / df) / (error / df_error)
        row[f"{name}_partial_eta2_mean"] = _mean(partial)
        row[f"{name}_omega2_mean"] = _mean(omega2)
        row[f"{name}_significant"] = _share_significant(ratio, df, df_error, alpha)
        keep(f"partial_eta2_{name}", partial)
        keep(f"omega2_{name}", omega2)
        keep(f"F_{name}", ratio)
        if maps:
            p = fdtrc(df, df_error, ratio)
            p[np.isposinf(ratio)] = 0
            tested = ~np.isnan(p)
            adjusted = np.full(len(p), np.nan)
            if tested.any():
                adjusted[tested] = false_discovery_control(p[tested])
            keep(f"p_{name}", p)
            keep(f"p_fdr_{name}", adjusted)
    return row, found


def _mean(values: np.ndarray) -> float:
    """Mean of what is a number; NaN where nothing is."""
    if np.isnan(values).any():
        values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _spread_of_channels(values: np.ndarray, is_alive: np.ndarray, layout: Layout) -> float:
    """Return the spread over channels of their means over positions, of units that are alive."""
    shape, positions = layout.shape, layout.position_axes
    if not len(values):
        return np.nan
    if len(values) == len(is_alive):
        return float(values.reshape(shape).mean(axis=positions).std())
    whole = np.zeros(len(is_alive))
    whole[is_alive] = values
    sums = whole.reshape(shape).sum(axis=positions)
    counts = is_alive.reshape(shape).sum(axis=positions)
    return float((sums[counts > 0] / counts[counts > 0]).std())


def _share_significant(ratio: np.ndarray, df: int, df_error: int, alpha: float) -> float:
    """Share of units that Benjamini and Hochberg's procedure rejects, without their p values.

    A unit's p value takes longer than its passes through the network do. The number of
    rejections is the largest k for which k units have ``p <= alpha k / n``, and so the first at
    which the steps from k to the number of units with ``p <= alpha k / n``, down from n, stand
    still; each takes one critical value of F.
    """
    n = k = int((~np.isnan(ratio)).sum())
    if not n:
        return np.nan
    # Few are left to sort, where there is nothing.
    ranked = np.sort(ratio[ratio >= _critical(df, df_error, alpha)])
    while k:
        critical = _critical(df, df_error, alpha * k / n)
        rejected = len(ranked) - int(np.searchsorted(ranked, critical))
        if rejected == k:
            break
        k = rejected
    return k / n


def _critical(df: int, df_error: int, p: float) -> float:
    """F that is exceeded with probability `p`, which may be very small."""
    x = betaincinv(df_error / 2, df / 2, p)
    return float(df_error * (1 - x) / (df * x)) if x > 0 else np.inf
