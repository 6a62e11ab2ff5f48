"""get_rdms of 92 images against loading them and the bare forward pass.

AlexNet, all layers, two metrics, both activation types, one image set. The limit is what no tool
can go below: read and transform the images, and pass them in batches of the same size.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from _ratios import best_seconds, state
from PIL import Image

import pytorch_feature_analysis as pfa

N_IMAGES = 92
BATCH_SIZE = 16


def write_photographs(folder: Path) -> list[Path]:
    """JPEG files of the size of ImageNet's, with structure at all scales."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(N_IMAGES):
        picture = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = picture.resize((500, 375), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number:03d}.jpg")
        picture.save(paths[-1], quality=90)
    return paths


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder))
        model = pfa.prepare_models({"alexnet": ("alexnet", "random")})["alexnet"]
        image_sets = [({"set": "all"}, {(p.stem,): p for p in paths}, ("image",), [])]

        def ours() -> None:
            pfa.get_rdms(
                image_sets,
                {"alexnet": model},
                dissim_metrics=["corr", "euclidean_distance"],
                batch_size=BATCH_SIZE,
                progress=False,
            )

        def load_and_forward() -> None:
            inputs = [model.preprocessing(Image.open(path).convert("RGB")) for path in paths]
            model.eval()
            with torch.no_grad():
                for start in range(0, N_IMAGES, BATCH_SIZE):
                    model(torch.stack(inputs[start : start + BATCH_SIZE]))

        limit, own = best_seconds(load_and_forward), best_seconds(ours)
    state(
        "get_rdms, AlexNet, 92 images, all layers, against load + forward",
        own / limit,
        2.0,
        at_most=True,
        detail=f"{own:.2f} s against {limit:.2f} s",
    )


if __name__ == "__main__":
    main()
