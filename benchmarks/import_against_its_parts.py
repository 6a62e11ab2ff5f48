"""Importing the package against importing what it cannot do without."""

import subprocess
import sys
import time

from _ratios import state

PARTS = "import torch, torchvision, pandas, scipy.stats, joblib"


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    seconds(PARTS)
    # Taken in turns, so that a busy moment of the machine hits both.
    pairs = [(seconds(PARTS), seconds("import pytorch_feature_analysis")) for _ in range(7)]
    parts, whole = (min(times) for times in zip(*pairs, strict=True))
    state(
        "import pytorch_feature_analysis, against its parts",
        whole / parts,
        1.15,
        at_most=True,
        detail=f"{whole:.2f} s against {parts:.2f} s",
    )


if __name__ == "__main__":
    main()
