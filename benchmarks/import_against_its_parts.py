"""Importing the package against importing what it cannot do without."""

import os
import subprocess
import sys
import tempfile
import time

from _ratios import state

PARTS = "import torch, torchvision, pandas, scipy.stats, joblib"
WHOLE = "import pytorch_feature_analysis"


def seconds(code: str, cache: str) -> float:
    """Of a process that keeps its compiled modules in a folder, as an installed package has."""
    given = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=given | {"PYTHONPYCACHEPREFIX": cache}
    )
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        for code in (PARTS, WHOLE):
            seconds(code, cache)
        # Taken in turns, so that a busy moment of the machine hits both.
        pairs = [(seconds(PARTS, cache), seconds(WHOLE, cache)) for _ in range(7)]
    parts, whole = (min(times) for times in zip(*pairs, strict=True))
    state(
        "import pytorch_feature_analysis, against its parts",
        whole / parts,
        1.1,
        at_most=True,
        detail=f"{whole:.2f} s against {parts:.2f} s",
    )


if __name__ == "__main__":
    main()
