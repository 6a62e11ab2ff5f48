"""get_minibatch_cka of all layers of two networks against their bare forward passes.

AlexNet and ResNet-18, 256 images: CKA of all pairs of layers, within and between the networks. The
call has its default batch size, and the bare passes have the best of three.
"""

import tempfile
from pathlib import Path

from _bare import bare_calls
from _photographs import write_photographs
from _ratios import best_in_turns, state

import pytorch_feature_analysis as pfa

N_IMAGES = 256
BATCH_SIZES = (16, 32, 64)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), N_IMAGES)
        models = pfa.prepare_models({name: (name, "random") for name in ("alexnet", "resnet18")})

        def ours() -> None:
            pfa.get_minibatch_cka(models, paths, progress=False)

        calls = [bare_calls(model, paths, BATCH_SIZES) for model in models.values()]
        passes = [one for _, of_model in calls for one in of_model]
        seconds = best_in_turns([ours, *(load for load, _ in calls), *passes], repeats=3)
    own, loading, passing = seconds[0], seconds[1:3], seconds[3:]
    best = min(passing[: len(BATCH_SIZES)]) + min(passing[len(BATCH_SIZES) :])
    state(
        "get_minibatch_cka, AlexNet and ResNet-18, 256 images, all layers, against both forward"
        " passes",
        own / best,
        1.5,
        at_most=True,
        detail=f"{own:.1f} s against {best:.1f} s; to load the images for both takes"
        f" {sum(loading):.1f} s more",
    )


if __name__ == "__main__":
    main()
