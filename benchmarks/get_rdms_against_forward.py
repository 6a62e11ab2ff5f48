"""get_rdms of 92 images against loading them and the bare forward pass.

AlexNet, all layers, two metrics, both activation types, one image set. The limit is what no tool
can go below: read and transform the images, and pass them in batches of the fastest size.
"""

import tempfile
from pathlib import Path

from _bare import bare_calls
from _photographs import write_photographs
from _ratios import best_in_turns, state

import pytorch_feature_analysis as pfa

N_IMAGES = 92
BATCH_SIZES = (8, 16, 32, 46, 92)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), N_IMAGES)
        model = pfa.prepare_models({"alexnet": ("alexnet", "random")})["alexnet"]
        image_sets = [({"set": "all"}, {(p.stem,): p for p in paths}, ("image",), [])]

        def ours() -> None:
            pfa.get_rdms(
                image_sets,
                {"alexnet": model},
                dissim_metrics=["corr", "euclidean_distance"],
                progress=False,
            )

        load, passes = bare_calls(model, paths, BATCH_SIZES)
        loading, own, *passing = best_in_turns([load, ours, *passes], repeats=5)
    best = min(passing)
    state(
        "get_rdms, AlexNet, 92 images, all layers, against load + best forward",
        own / (loading + best),
        1.5,
        at_most=True,
        detail=f"{own:.2f} s against {loading:.2f} + {best:.2f} s,"
        f" {BATCH_SIZES[passing.index(best)]} images a batch",
    )


if __name__ == "__main__":
    main()
