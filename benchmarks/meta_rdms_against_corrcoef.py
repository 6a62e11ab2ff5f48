"""get_meta_rdms of 150 RDMs of 100 x 100 against one np.corrcoef of their upper triangles."""

import numpy as np
import pandas as pd
from _ratios import best_seconds, state

import pytorch_feature_analysis as pfa

N_RDMS = 150
N_ENTRIES = 100
ALLOWANCE = 0.05
"""Seconds beside the ratio: what a frame of any size costs."""


def main() -> None:
    rng = np.random.default_rng(0)
    keys = tuple((f"{i:03d}",) for i in range(N_ENTRIES))
    matrices = [pfa.compute_rdm(rng.normal(size=(N_ENTRIES, 20))) for _ in range(N_RDMS)]
    rdm_df = pd.DataFrame(
        {
            "obj": [f"{i:03d}" for i in range(N_RDMS)],
            "dissim_metric": "corr",
            "matrix": matrices,
            "entry_keys": [keys] * N_RDMS,
        }
    )
    inds = np.triu_indices(N_ENTRIES, k=1)

    def ours() -> pd.DataFrame:
        return pfa.get_meta_rdms(rdm_df, None, ["obj"], grouping_variables=["dissim_metric"])

    def bare() -> np.ndarray:
        return 1 - np.corrcoef(np.array([matrix[inds] for matrix in matrices]))

    np.testing.assert_allclose(ours()["matrix"].item(), bare(), atol=1e-12)
    limit, own = best_seconds(bare, repeats=7), best_seconds(ours, repeats=7)
    state(
        "get_meta_rdms, 150 RDMs of 100 x 100, beyond 50 ms, against np.corrcoef",
        max(own - ALLOWANCE, 0) / limit,
        3,
        at_most=True,
        detail=f"{own * 1000:.0f} ms against {limit * 1000:.0f} ms",
    )


if __name__ == "__main__":
    main()
