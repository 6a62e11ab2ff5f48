"""Permutation tests and bootstraps of RDMs against what they cannot do without, and rsatoolbox."""

import time
import warnings

import numpy as np
import pandas as pd
import rsatoolbox
from _ratios import best_in_turns, state

import pytorch_feature_analysis as pfa

N_ENTRIES, N_ROWS, NUM_PERMS = 92, 100, 10_000
N_MODELS, N_SUBJECTS, NUM_BOOT = 20, 12, 1000
# Of the peer's loops so many steps are timed.
PEER_PERMS, PEER_DRAWS = 100, 20
NAMES = [f"image {k}" for k in range(N_ENTRIES)]


def make_rdms(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack(
        [pfa.compute_rdm(rng.normal(size=(N_ENTRIES, 20)), "L2squared") for _ in range(n)]
    )


def make_stack(matrices: np.ndarray, column: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column: [f"{column} {k}" for k in range(len(matrices))],
            "matrix": list(matrices),
            "entry_keys": [NAMES] * len(matrices),
        }
    )


def vectors(matrices: np.ndarray) -> np.ndarray:
    return np.stack([pfa.get_upper_triang(matrix) for matrix in matrices])


def compare_permutations() -> None:
    matrices, (reference,) = make_rdms(N_ROWS, 0), make_rdms(1, 1)
    stack = make_stack(matrices, "row")
    cells = vectors(matrices)
    other = np.random.default_rng(2).normal(size=(cells.shape[1], NUM_PERMS))

    def ours() -> None:
        pfa.compare_to_reference(stack, (reference, NAMES), num_perms=NUM_PERMS)

    def product() -> None:
        cells @ other

    own, bare = best_in_turns([ours, product], repeats=5)
    what = f"{NUM_PERMS:,} permutations of {N_ENTRIES} x {N_ENTRIES}, {N_ROWS} rows"
    state(
        f"{what}, against one product of the same shape",
        own / bare,
        5,
        at_most=True,
        detail=f"{own:.2f} s against {bare:.2f} s",
    )
    rows = rsatoolbox.rdm.RDMs(cells)
    rng = np.random.default_rng(3)
    start = time.perf_counter()
    for _ in range(PEER_PERMS):
        order = rng.permutation(N_ENTRIES)
        permuted = rsatoolbox.rdm.RDMs(vectors(reference[None][:, order][:, :, order]))
        rsatoolbox.rdm.compare(rows, permuted, method="corr")
    peer = (time.perf_counter() - start) * NUM_PERMS / PEER_PERMS
    state(
        f"{what}, times faster than a loop of rsatoolbox's compare",
        peer / own,
        20,
        at_most=False,
        detail=f"{own:.2f} s against {peer:.0f} s",
    )


def compare_bootstraps() -> None:
    subjects = make_rdms(N_SUBJECTS, 4) + make_rdms(1, 5)
    models = make_rdms(1, 5) + make_rdms(N_MODELS, 6)
    stack, reference = make_stack(models, "model"), make_stack(subjects, "subject")

    def ours() -> None:
        pfa.compare_to_reference(stack, reference, num_boot=NUM_BOOT)

    (own,) = best_in_turns([ours], repeats=3)
    data = rsatoolbox.rdm.RDMs(
        vectors(subjects), pattern_descriptors={"index": list(range(N_ENTRIES))}
    )
    theirs = [
        rsatoolbox.model.ModelFixed(f"model {k}", cells) for k, cells in enumerate(vectors(models))
    ]
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rsatoolbox.inference.eval_dual_bootstrap(theirs, data, method="corr", N=PEER_DRAWS)
    peer = (time.perf_counter() - start) * NUM_BOOT / PEER_DRAWS
    state(
        f"{NUM_BOOT:,} draws of stimuli and subjects, {N_MODELS} rows, {N_SUBJECTS} subjects,"
        f" {N_ENTRIES} entries, times faster than rsatoolbox's dual bootstrap",
        peer / own,
        10,
        at_most=False,
        detail=f"{own:.1f} s against {peer:.0f} s",
    )


if __name__ == "__main__":
    compare_permutations()
    compare_bootstraps()
