"""compute_etas of 10 x 10 images against loading them and the bare forward pass.

AlexNet, all layers, a two-way analysis of variance of each of its units. The limit is what no tool
can go below: read and transform the images, and pass them in batches of the fastest size.
"""

import tempfile
from pathlib import Path

from _bare import bare_calls
from _photographs import write_photographs
from _ratios import best_in_turns, state

import pytorch_feature_analysis as pfa

N_LEVELS = 10
BATCH_SIZES = (10, 20, 25, 50, 100)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), N_LEVELS**2)
        model = pfa.prepare_models({"alexnet": ("alexnet", "random")})["alexnet"]
        images = {divmod(i, N_LEVELS): path for i, path in enumerate(paths)}
        image_set = ({"set": "all"}, images, ("object", "colour"), [])

        def ours() -> None:
            pfa.compute_etas(image_set, ("alexnet", model), progress=False)

        load, passes = bare_calls(model, paths, BATCH_SIZES)
        loading, own, *passing = best_in_turns([load, ours, *passes], repeats=5)
    best = min(passing)
    state(
        "compute_etas, AlexNet, 10 x 10 images, all layers, against load + best forward",
        own / (loading + best),
        1.3,
        at_most=True,
        detail=f"{own:.2f} s against {loading:.2f} + {best:.2f} s,"
        f" {BATCH_SIZES[passing.index(best)]} images a batch",
    )


if __name__ == "__main__":
    main()
