"""get_rdms of 92 images against loading them and the bare forward pass.

AlexNet, all layers, two metrics, both activation types, one image set. The limit is what no tool
can go below: read and transform the images, and pass them in batches of the fastest size.
"""

import tempfile
from pathlib import Path

import torch
from _photographs import write_photographs
from _ratios import best_seconds, state
from PIL import Image

import pytorch_feature_analysis as pfa

N_IMAGES = 92
BATCH_SIZES = (4, 8, 16, 32, 64)


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

        def load() -> torch.Tensor:
            return torch.stack(
                [model.preprocessing(Image.open(path).convert("RGB")) for path in paths]
            )

        inputs = load()

        def forward(batch_size: int) -> None:
            with torch.no_grad():
                for start in range(0, N_IMAGES, batch_size):
                    model(inputs[start : start + batch_size])

        loading = best_seconds(load)
        passing = {size: best_seconds(lambda size=size: forward(size)) for size in BATCH_SIZES}
        own = best_seconds(ours, repeats=5)
    best = min(passing, key=lambda size: passing[size])
    state(
        "get_rdms, AlexNet, 92 images, all layers, against load + forward in the best batches",
        own / (loading + passing[best]),
        1.5,
        at_most=True,
        detail=f"{own:.2f} s against {loading:.2f} + {passing[best]:.2f} s, {best} images a batch",
    )


if __name__ == "__main__":
    main()
