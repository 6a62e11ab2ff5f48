"""One RDM against a loop over pairs of patterns, and against what other packages do."""

import contextlib
import io
import time

import numpy as np
from _ratios import best_seconds, state
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def pair_loop(patterns: np.ndarray) -> np.ndarray:
    n = len(patterns)
    rdm = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            rdm[i, j] = rdm[j, i] = 1 - np.corrcoef(patterns[i], patterns[j])[0, 1]
    return rdm


def against_pair_loop() -> None:
    patterns = np.random.default_rng(0).normal(size=(60, 193_600)).astype(np.float32)
    np.testing.assert_allclose(pfa.compute_rdm(patterns), pair_loop(patterns), atol=1e-6)
    own = best_seconds(lambda: pfa.compute_rdm(patterns), repeats=5)
    loop = min(seconds(lambda: pair_loop(patterns)) for _ in range(2))
    state(
        "correlation RDM, 60 x 193,600, against a loop of np.corrcoef, times faster",
        loop / own,
        25,
        at_most=False,
        detail=f"{own:.3f} s against {loop:.2f} s",
    )


def against_rsatoolbox() -> None:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    patterns = np.random.default_rng(0).normal(size=(400, 50_000))

    def theirs() -> np.ndarray:
        # Its progress output is of no interest here.
        with contextlib.redirect_stdout(io.StringIO()):
            return calc_rdm(Dataset(patterns), method="correlation").get_matrices()[0]

    np.testing.assert_allclose(pfa.compute_rdm(patterns), theirs(), atol=1e-10)
    own = best_seconds(lambda: pfa.compute_rdm(patterns), repeats=5)
    peer = min(seconds(theirs) for _ in range(2))
    state(
        "correlation RDM, 400 x 50,000, against rsatoolbox, times faster",
        peer / own,
        20,
        at_most=False,
        detail=f"{own:.3f} s against {peer:.2f} s",
    )


def against_scipy_and_mne_rsa() -> None:
    from mne_rsa import compute_rdm

    patterns = np.random.default_rng(0).normal(size=(400, 50_000))
    np.testing.assert_allclose(
        squareform(pfa.compute_rdm(patterns), checks=False), pdist(patterns, "correlation")
    )
    own = best_seconds(lambda: pfa.compute_rdm(patterns), repeats=5)
    for name, theirs in (
        ("scipy pdist", lambda: pdist(patterns, "correlation")),
        ("mne-rsa", lambda: compute_rdm(patterns, metric="correlation")),
    ):
        peer = seconds(theirs)
        state(
            f"correlation RDM, 400 x 50,000, against {name}, times faster",
            peer / own,
            10,
            at_most=False,
            detail=f"{own:.3f} s against {peer:.2f} s",
        )


if __name__ == "__main__":
    against_pair_loop()
    against_rsatoolbox()
    against_scipy_and_mne_rsa()
