"""Runs of get_rdms that are killed (SIGKILL) at random moments, and made once more.

Each must end with the frame and the file of a run that was left alone, bit for bit, and must not
compute again what was finished. All runs are forked from this process, which starts no threads.

    python benchmarks/killed_and_resumed.py [NUMBER OF RUNS, default 20]
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet  # noqa: F401 - here, and not anew in each process
from _photographs import write_photographs
from _ratios import state
from sklearn.linear_model import LinearRegression  # noqa: F401 - the same

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import rdms

N_IMAGES = 24
NETWORKS = ["a", "b", "c", "d"]


def run(folder: Path, out: Path) -> None:
    """One run, with two image sets, which says how many rows it computed."""
    paths = sorted(folder.glob("*.jpg"))
    image_sets = [
        ({"half": half}, {(path.stem,): path for path in paths[half::2]}, ("image",), [])
        for half in (0, 1)
    ]
    models = pfa.prepare_models(dict.fromkeys(NETWORKS, ("squeezenet1_1", "random")))
    computed = 0
    finished_rows = rdms.finished_rows

    def counted(*args) -> list:
        nonlocal computed
        rows = finished_rows(*args)
        computed += len(rows)
        return rows

    rdms.finished_rows = counted
    rdm_df = pfa.get_rdms(
        image_sets,
        models,
        out,
        dissim_metrics=["corr", "euclidean_distance"],
        num_perms=1,
        memory_budget="40MB",
        progress=False,
    )
    pfa.write_rdms(rdm_df, out.with_name(f"{out.stem}_returned.parquet"))
    out.with_suffix(".txt").write_text(str(computed))


def forked(*args) -> int:
    """Begin a run in a process of its own."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run(*args)
        code = 0
    finally:
        os._exit(code)


def n_finished(out: Path) -> int:
    """Rows that are on the disk, in the file or in parts."""
    keys: set[str] = set()
    for path in (out, out.with_name(f"{out.name}.parts")):
        # A folder of parts may hold no more than what the kill left of the first one.
        with contextlib.suppress(FileNotFoundError):
            keys.update(pfa.read_rdms(path, columns=["layer"], provenance=True)["row_key"])
    return len(keys)


def equal(one: Path, other: Path) -> bool:
    """Tell whether two stacks are the same bits in the same order."""
    first, second = (pfa.read_rdms(path, provenance=True) for path in (one, other))
    same_matrices = len(first) == len(second) and all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(first["matrix"], second["matrix"], strict=True)
    )
    return same_matrices and first.drop(columns="matrix").equals(second.drop(columns="matrix"))


def main(n_runs: int) -> None:
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_photographs(folder, N_IMAGES)
        start = time.perf_counter()
        whole = folder / "whole.parquet"
        if os.waitpid(forked(folder, whole), 0)[1]:
            sys.exit("the run that was left alone failed")
        duration = time.perf_counter() - start
        n_rows = len(pfa.read_rdms(whole, columns=["layer"]))
        n_equal = n_thrifty = n_begun = 0
        for number in range(n_runs):
            out = folder / f"{number}.parquet"
            pid = forked(folder, out)
            # From the first unit on, so that something may be lost.
            time.sleep(moments.uniform(0.1, 1.0) * duration)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            finished = n_finished(out)
            n_begun += 0 < finished < n_rows
            if os.waitpid(forked(folder, out), 0)[1]:
                sys.exit(f"run {number}, killed with {finished} rows finished, cannot be resumed")
            returned = [path.with_name(f"{path.stem}_returned.parquet") for path in (whole, out)]
            n_equal += equal(whole, out) and equal(*returned)
            n_thrifty += int(out.with_suffix(".txt").read_text()) == n_rows - finished
    detail = f"{n_begun} of them were killed with some of the {n_rows} rows finished"
    state("killed and resumed: equal frames", n_equal, n_runs, at_most=False, detail=detail)
    state("of these, nothing done again", n_thrifty, n_runs, at_most=False, detail=detail)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
