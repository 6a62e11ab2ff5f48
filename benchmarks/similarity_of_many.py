"""get_similarity_rdms of 40 representations of 1,000 x 512: what is shared is made once.

All 780 debiased linear CKAs, against the products that cannot be done without; and all 780
SVCCAs, against two-array calls, of which a few are timed.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from _ratios import best_seconds, state

import pytorch_feature_analysis as pfa

N, N_STIMULI, N_UNITS = 40, 1000, 512
N_CALLS = 5


def main() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(N_STIMULI, N_UNITS)) for _ in range(N)]
    df = pd.DataFrame(
        {
            "layer": [f"layer{i}" for i in range(N)],
            "activations": tables,
            "entry_keys": [list(range(N_STIMULI))] * N,
        }
    )

    def cka() -> None:
        pfa.get_similarity_rdms(df, [("linear_cka", {"debiased": True})], progress=False)

    def products() -> None:
        grams = np.stack([(x @ x.T).ravel() for x in tables])
        grams -= grams.mean()
        grams @ grams.T

    own, least = best_seconds(cka, repeats=3), best_seconds(products, repeats=3)
    held = state(
        "780 debiased linear CKAs of 1,000 x 512, against 40 Gram products and one of all",
        own / least,
        2,
        at_most=True,
        detail=f"{own:.1f} s against {least:.1f} s",
        stop=False,
    )

    def svcca() -> None:
        pfa.get_similarity_rdms(df, ["svcca"], progress=False)

    def one_by_one() -> None:
        for x, y in pairwise(tables[: N_CALLS + 1]):
            pfa.svcca(x, y)

    own = best_seconds(svcca, repeats=1)
    single = best_seconds(one_by_one, repeats=1) / N_CALLS * (N * (N - 1) // 2)
    held &= state(
        "780 SVCCAs of 1,000 x 512, against so many calls of two arrays, times faster",
        single / own,
        10,
        at_most=False,
        detail=f"{own:.1f} s against 780 x {single / 780:.2f} s",
        stop=False,
    )
    raise SystemExit(not held)


if __name__ == "__main__":
    main()
