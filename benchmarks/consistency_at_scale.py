"""get_consistency of 64 models on 23 datasets by 3 measures, within and between all categories.

Its time against that of a loop of scipy's calls over the same draws, of which a part is timed;
and how often the intervals hold the truth, in 2,000 simulations each, seeds 0 to 1999.
"""

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
from _ratios import state
from scipy.stats import pearsonr, spearmanr
from threadpoolctl import threadpool_limits

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.model_sets import check_model_sets

N_DATASETS, N_MEASURES, NUM_BOOT = 23, 3, 1000
CATEGORIES = {
    "objective": {"Supervised": 30, "Self-Supervised": 20, "Image-Text": 14},
    "architecture_class": {"Transformer": 40, "Convolutional": 24},
    "dataset_class": {"ImageNet1k": 37, "Large": 11, "ImageNet21k": 9, "XLarge": 7},
    "size_class": {"small": 32, "medium": 14, "large": 8, "xlarge": 10},
}
MODELS = [f"model{k:02d}" for k in range(64)]
N_DRAWS_TIMED = 3
N_SIMULATIONS = 2000

Population = Callable[[np.random.Generator, int, float], list[np.ndarray]]
"""Similarities of n models on two datasets, of a population whose r is known."""


def make_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = {
        name: rng.permutation(np.repeat(list(counts), list(counts.values())))
        for name, counts in CATEGORIES.items()
    }
    return pd.DataFrame({"model": MODELS, **columns})


def distances(features: np.ndarray) -> np.ndarray:
    rdm = ((features[:, None] - features) ** 2).sum(axis=-1)
    return (rdm + rdm.T) / 2


def stack_of(matrices: list[np.ndarray], models: list[str], measure: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dataset": [f"dataset{k:02d}" for k in range(len(matrices))],
            "dissim_metric": measure,
            "matrix": matrices,
            "entry_keys": [tuple((model,) for model in models)] * len(matrices),
        }
    )


def make_stack() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    common = rng.normal(size=(len(MODELS), 6))
    return pd.concat(
        [
            stack_of(
                [distances(common + rng.normal(size=common.shape)) for _ in range(N_DATASETS)],
                MODELS,
                f"measure{k}",
            )
            for k in range(N_MEASURES)
        ],
        ignore_index=True,
    )


def seconds_of_loop(stack: pd.DataFrame, table: pd.DataFrame, method: str) -> tuple[float, int]:
    """Time scipy's calls of all sets, measures and pairs of datasets in a few draws, scaled up.

    A call gets the pairs as often as the draw has them; the draws themselves are given.
    """
    correlate = pearsonr if method == "pearson" else spearmanr
    sets = check_model_sets(table, None, None, MODELS, MODELS).pairs_among(MODELS)
    matrices = stack["matrix"].tolist()[:N_DATASETS]
    n_dataset_pairs = N_DATASETS * (N_DATASETS - 1) // 2
    spent, n_calls = 0.0, 0
    for pair in sets:
        counts = pair.draw(0, N_DRAWS_TIMED, MODELS).astype(int)
        for own in counts:
            times = own[pair.first] * own[pair.second]
            cells = (np.repeat(pair.first, times), np.repeat(pair.second, times))
            start = time.perf_counter()
            # Each dataset with the next, which take as long as any other two.
            for a, b in pairwise(matrices):
                correlate(a[cells], b[cells])
            spent += time.perf_counter() - start
            n_calls += N_DATASETS - 1
    whole = len(sets) * n_dataset_pairs * N_MEASURES * NUM_BOOT
    return spent / n_calls * whole, whole


def sums_of_parts(rng: np.random.Generator, n: int, rho: float) -> list[np.ndarray]:
    """Similarities that are sums of two models' own parts, the hardest for draws of models."""
    common, own = rng.normal(size=(2, n))
    parts = (common, rho * common + np.sqrt(1 - rho**2) * own)
    return [(part[:, None] + part) * (1 - np.eye(n)) for part in parts]


def distances_of_features(rng: np.random.Generator, n: int, rho: float) -> list[np.ndarray]:
    common, own = rng.normal(size=(2, n, 5))
    return [distances(common), distances(np.sqrt(rho) * common + np.sqrt(1 - rho) * own)]


COVERED: list[tuple[int, Population]] = [
    (20, sums_of_parts),
    (40, sums_of_parts),
    (20, distances_of_features),
]


def coverage(population: Population, n: int, rho: float) -> float:
    """Share of simulations whose interval holds the correlation of the population."""
    models = [f"m{k}" for k in range(n)]
    held = 0
    for seed in range(N_SIMULATIONS):
        matrices = population(np.random.default_rng(seed), n, rho)
        stack = stack_of(matrices, models, "simulated")
        found = pfa.get_consistency(stack, num_boot=500, random_state=seed)
        held += found["ci_low"].item() <= rho <= found["ci_high"].item()
    return held / N_SIMULATIONS


def main() -> None:
    stack, table = make_stack(), make_table()
    held = True
    for method in ("pearson", "spearman"):
        start = time.perf_counter()
        pfa.get_consistency(stack, table, method=method, num_boot=NUM_BOOT)
        own = time.perf_counter() - start
        loop, n_calls = seconds_of_loop(stack, table, method)
        what = f"64 models x 23 datasets x 3 measures, 28 pairs of sets, 1,000 draws, {method}"
        held &= state(
            f"get_consistency, {what}, seconds",
            own,
            60,
            at_most=True,
            detail="one core",
            stop=False,
        )
        held &= state(
            "the same, times faster than a loop of scipy's calls",
            loop / own,
            50,
            at_most=False,
            detail=f"{own:.1f} s against {n_calls:,} calls, {loop / n_calls * 1e6:.0f} us each",
            stop=False,
        )
    for n, population in COVERED:
        share = coverage(population, n, 0.7)
        error = np.sqrt(share * (1 - share) / N_SIMULATIONS)
        held &= state(
            f"coverage of 95 % intervals, {n} models, {population.__name__}, percent",
            100 * share,
            90,
            at_most=False,
            detail=f"standard error {100 * error:.1f}, {N_SIMULATIONS:,} simulations",
            digits=1,
            stop=False,
        )
    raise SystemExit(not held)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
