"""get_similarity_rdms of 64 networks on 10,000 stimuli: debiased linear CKA of all 2,016 pairs.

Time is set beside the upper blocks of Z'Z, in double precision, for Z the 10,000 x (64 x 512)
table of all features: what comparing by way of units cannot do without. An eighth of the blocks
is timed.
Memory is that of a process of its own, with features of 1,024 units in float32.
"""

import subprocess
import sys
import time
from itertools import combinations_with_replacement, islice

import numpy as np
import pandas as pd
from _memory import peak_memory
from _ratios import state

import pytorch_feature_analysis as pfa

N_MODELS, N_STIMULI, N_UNITS = 64, 10_000, 512
SHARE = 8
N_WIDE = 1024


def make_frame(n_units: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "model": [f"model{i}" for i in range(N_MODELS)],
            "activations": [
                rng.standard_normal((N_STIMULI, n_units), dtype=np.float32)
                for _ in range(N_MODELS)
            ],
            "entry_keys": [tuple(range(N_STIMULI))] * N_MODELS,
        }
    )


def compare(df: pd.DataFrame) -> float:
    start = time.perf_counter()
    measures = [("linear_cka", {"debiased": True})]
    pfa.get_similarity_rdms(df, measures, ["model"], progress=False)
    return time.perf_counter() - start


def time_blocks(df: pd.DataFrame) -> float:
    """Seconds of all blocks, of which some are made."""
    tables = [table.astype(np.float64) for table in df["activations"][: N_MODELS // SHARE + 8]]
    n_blocks = N_MODELS * (N_MODELS + 1) // 2
    some = list(islice(combinations_with_replacement(range(len(tables)), 2), n_blocks // SHARE))
    start = time.perf_counter()
    for i, j in some:
        tables[i].T @ tables[j]
    return (time.perf_counter() - start) * n_blocks / len(some)


def main() -> None:
    df = make_frame(N_UNITS)
    own = compare(df)
    blocks = time_blocks(df)
    held = state(
        "2,016 debiased linear CKAs of 10,000 x 512, against the upper blocks of Z'Z",
        own / blocks,
        1.5,
        at_most=True,
        detail=f"{own:.0f} s against {blocks:.0f} s",
        stop=False,
    )
    del df
    process = subprocess.Popen([sys.executable, __file__, "wide"])
    peak = peak_memory(process, every=0.1)
    if process.returncode:
        sys.exit(process.returncode)
    held &= state(
        "the same of 10,000 x 1,024, gigabytes of memory at most",
        peak / 1e9,
        8,
        at_most=True,
        detail=f"{N_MODELS * N_STIMULI * N_WIDE * 4 / 1e9:.1f} of them are the features",
        stop=False,
    )
    raise SystemExit(not held)


if __name__ == "__main__":
    if sys.argv[1:] == ["wide"]:
        compare(make_frame(N_WIDE))
    else:
        main()
