"""get_meta_rdms of 5,000 RDMs of 92 entries against the bare product of their triangles.

The triangles V of the RDMs are stacked already, 5,000 x 4,186 numbers, and ``V @ V.T`` takes half
the multiplications that it seems to, since numpy sees the transpose. By Spearman's correlation
nobody can do without ranking each triangle, once. Memory is what a process of its own takes at its
highest beyond the RDMs themselves.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from _ratios import state
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

import pytorch_feature_analysis as pfa

N_RDMS = 5000
N_ENTRIES = 92
N_ROUNDS = {"corr": 6, "spearman": 2}
COPIES = 4


def make_stack(n_rdms: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    keys = tuple((f"{i:03d}",) for i in range(N_ENTRIES))
    points = rng.normal(size=(n_rdms, N_ENTRIES, 5))
    return pd.DataFrame(
        {
            "obj": [f"{i:04d}" for i in range(n_rdms)],
            "dissim_metric": "corr",
            "matrix": [squareform(pdist(some)) for some in points],
            "entry_keys": [keys] * n_rdms,
        }
    )


def compare(stack: pd.DataFrame, metric: str) -> np.ndarray:
    grouping = ["dissim_metric"]
    meta = pfa.get_meta_rdms(
        stack, None, ["obj"], grouping_variables=grouping, dissim_metrics=[metric], progress=False
    )
    return meta["matrix"].item()


def shortest(functions, n_rounds: int) -> list[float]:
    """Shortest times of several functions, taken in turns: a busy moment hits all of them."""
    rounds = []
    for _ in range(n_rounds):
        seconds = []
        for function in functions:
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        rounds.append(seconds)
    return [min(times) for times in zip(*rounds, strict=True)]


def highest_memory() -> int:
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def print_copies() -> None:
    """Print how many copies of the triangles each comparison takes."""
    for metric in N_ROUNDS:
        compare(make_stack(10), metric)
    stack = make_stack(N_RDMS)
    before = highest_memory()
    of_triangles = N_RDMS * N_ENTRIES * (N_ENTRIES - 1) // 2 * 8
    # What is highest stays so: the metric that takes more comes last.
    for metric in N_ROUNDS:
        compare(stack, metric)
        print((highest_memory() - before) / of_triangles)


def copies() -> list[float]:
    command = [sys.executable, __file__, "copies"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line) for line in printed.split()]


def main() -> None:
    # First, because a process inherits the highest memory of the one that starts it.
    memory = dict(zip(N_ROUNDS, copies(), strict=True))

    stack = make_stack(N_RDMS)
    triangles = np.array([squareform(matrix, checks=False) for matrix in stack["matrix"]])
    found = compare(stack, "corr")[:100, :100]
    np.testing.assert_allclose(found, 1 - np.corrcoef(triangles[:100]), atol=1e-12)
    bare, corr = shortest(
        [lambda: triangles @ triangles.T, lambda: compare(stack, "corr")], N_ROUNDS["corr"]
    )
    ranking, spearman = shortest(
        [lambda: rankdata(triangles, axis=1), lambda: compare(stack, "spearman")],
        N_ROUNDS["spearman"],
    )
    sizes = "5,000 RDMs of 92 entries"
    limit = 3 * bare + ranking
    holds = [
        state(
            f"get_meta_rdms, {sizes}, against the product of their triangles",
            corr / bare,
            1.5,
            at_most=True,
            detail=f"{corr:.2f} s against {bare:.2f} s",
            stop=False,
        ),
        state(
            f"get_meta_rdms, Spearman, {sizes}, against three products and a ranking",
            spearman / limit,
            1,
            at_most=True,
            detail=f"{spearman:.2f} s against 3 x {bare:.2f} s + {ranking:.2f} s",
            stop=False,
        ),
    ]
    for metric, figure in memory.items():
        holds.append(
            state(
                f"get_meta_rdms, {metric}, {sizes}, memory at its highest, in copies of triangles",
                figure,
                COPIES,
                at_most=True,
                detail=f"{figure * triangles.nbytes / 1e6:.0f} MB, of which the result is 200",
                stop=False,
            )
        )
    sys.exit(not all(holds))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_copies()
    else:
        main()
