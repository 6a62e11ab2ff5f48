"""How often tests of RDMs are wrong where there is nothing, and intervals hold the truth.

2,000 simulations each, seeds 0 to 1999. Stimuli are drawn with two parts of features, which each
subject weighs in a way of its own; a model sees one part. The truth that an interval must hold is
the mean of what is estimated, over all simulations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import joblib
import numpy as np
import pandas as pd
from _ratios import state
from scipy import stats

import pytorch_feature_analysis as pfa

N_SIMULATIONS = 2000
N_ENTRIES, N_SUBJECTS = 20, 8
NUM_PERMS, NUM_BOOT = 199, 200
ALPHA, CI = 0.05, 0.95
# The 99.9 % binomial range of the share of 2,000 that are wrong at 5 %.
LOW, HIGH = (stats.binom.ppf(q, N_SIMULATIONS, ALPHA) / N_SIMULATIONS for q in (0.0005, 0.9995))


def rdm_of(points: np.ndarray) -> np.ndarray:
    return pfa.compute_rdm(points, "L2squared")


def subjects_of(
    parts: np.ndarray, n_subjects: int, rng: np.random.Generator, spread: float = 0.5
) -> list[np.ndarray]:
    """RDMs of subjects that weigh two parts of the features alike on average, and have noise."""
    distances = [rdm_of(part) for part in parts]
    found = []
    for _ in range(n_subjects):
        weights = rng.gamma(1 / spread**2, spread**2, size=2)
        noise = rdm_of(rng.normal(size=(len(parts[0]), 4)))
        found.append(weights[0] * distances[0] + weights[1] * distances[1] + noise)
    return found


def stack_of(matrices: list[np.ndarray], column: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column: [f"{column} {k}" for k in range(len(matrices))],
            "matrix": matrices,
            "entry_keys": [tuple(range(len(matrices[0])))] * len(matrices),
        }
    )


def single(seed: int) -> float:
    """Return p of a permutation test of two unrelated RDMs."""
    rng = np.random.default_rng(seed)
    one, other = (rdm_of(rng.normal(size=(N_ENTRIES, 5))) for _ in range(2))
    return pfa.permutation_test(one, other, num_perms=NUM_PERMS).p_value


def partial(seed: int) -> float:
    """Return p of a row and a reference that have nothing in common but the control."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N_ENTRIES, 4))
    row, reference = (
        rdm_of(np.hstack([shared, rng.normal(size=(N_ENTRIES, 4))])) for _ in range(2)
    )
    keys = tuple(range(N_ENTRIES))
    table = pfa.compare_to_reference(
        stack_of([row], "row"),
        (reference, keys),
        controls=(rdm_of(shared), keys),
        num_perms=NUM_PERMS,
        alternative="greater",
    )
    return float(table["p"][0])


def of_subjects(seed: int, **options: object) -> float:
    """Return p of a row that has nothing in common with the subjects."""
    rng = np.random.default_rng(seed)
    parts, other = rng.normal(size=(2, N_ENTRIES, 4)), rng.normal(size=(N_ENTRIES, 4))
    table = pfa.compare_to_reference(
        stack_of([rdm_of(other)], "row"),
        stack_of(subjects_of(parts, N_SUBJECTS, rng), "subject"),
        **options,
    )
    return float(table["p"][0])


def difference(seed: int, n_entries: int = N_ENTRIES, n_subjects: int = N_SUBJECTS) -> float:
    """Return p of two rows, each of which sees one part."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, n_entries, 4))
    table = pfa.compare_fits(
        stack_of([rdm_of(part) for part in parts], "row"),
        stack_of(subjects_of(parts, n_subjects, rng), "subject"),
        num_boot=NUM_BOOT,
    )
    return float(table["p"][0])


def interval(
    seed: int, n_entries: int, n_subjects: int, drawn: str, method: str
) -> tuple[float, float, float]:
    """Estimate and interval of a row that sees one part; what is not drawn is the same always."""
    fixed, rng = np.random.default_rng(N_SIMULATIONS), np.random.default_rng(seed)
    of_stimuli = fixed if drawn == "subjects" else rng
    of_people = fixed if drawn == "stimuli" else rng
    parts = of_stimuli.normal(size=(2, n_entries, 4))
    table = pfa.compare_to_reference(
        stack_of([rdm_of(parts[0])], "row"),
        stack_of(subjects_of(parts, n_subjects, of_people), "subject"),
        method=method,
        num_boot=NUM_BOOT,
        ci=CI,
        resample=drawn,
    )
    return tuple(table.loc[0, ["r", "ci_low", "ci_high"]])


def simulate(function: Callable[..., object], *args: object, **options: object) -> np.ndarray:
    """Run all simulations, in two processes."""
    jobs = (joblib.delayed(function)(seed, *args, **options) for seed in range(N_SIMULATIONS))
    return np.array(joblib.Parallel(n_jobs=2, batch_size=50)(jobs))


def check_tests() -> bool:
    holds = True
    for name, function, options in (
        ("permutation_test", single, {}),
        ("permutations with a control", partial, {}),
        ("permutations, 8 subjects", of_subjects, {"num_perms": NUM_PERMS}),
        ("permutations, Spearman", of_subjects, {"num_perms": NUM_PERMS, "method": "spearman"}),
        ("draws, difference of two rows, 8 subjects", difference, {}),
        (
            "draws, difference of two rows, 30 entries, 20 subjects",
            difference,
            {"n_entries": 30, "n_subjects": 20},
        ),
    ):
        p = simulate(function, **options)
        share = float(np.mean(p <= ALPHA))
        for bound, at_most in ((HIGH, True), (LOW, False)):
            holds &= state(
                f"{name}: share of p <= {ALPHA} under the null",
                share,
                round(bound, 4),
                at_most=at_most,
                detail="2,000 simulations",
                digits=4,
                stop=False,
            )
    return holds


def check_intervals() -> bool:
    holds = True
    for n_entries, n_subjects, drawn, method in (
        (20, 8, "both", "pearson"),
        (20, 8, "both", "spearman"),
        (40, 16, "both", "pearson"),
        (20, 1, "stimuli", "pearson"),
        (40, 1, "stimuli", "pearson"),
        (20, 8, "subjects", "pearson"),
    ):
        found = simulate(interval, n_entries, n_subjects, drawn, method)
        truth = found[:, 0].mean()
        inside = (found[:, 1] <= truth) & (truth <= found[:, 2])
        share = 100 * float(inside.mean())
        error = 100 * float(np.sqrt(inside.mean() * (1 - inside.mean()) / N_SIMULATIONS))
        holds &= state(
            f"coverage of {100 * CI:.0f} % intervals, {n_entries} entries, {n_subjects} subjects,"
            f" draws of {drawn}, {method}, percent",
            share,
            90,
            at_most=False,
            detail=f"standard error {error:.1f}, r = {truth:.2f}",
            digits=1,
            stop=False,
        )
    return holds


if __name__ == "__main__":
    if not check_tests() & check_intervals():
        sys.exit(1)
