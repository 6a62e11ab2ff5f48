"""RDMs of all layers within an amount of memory: time and peak memory of two large calls.

ResNet-50 with 128 images has 16 GB of activations, AlexNet with 1,000 images 5 GB. The time is
held against what no tool can do without: the planned passes of the bare network, and the products
of the patterns as single BLAS calls.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _memory import peak_memory
from _photographs import write_photographs
from _ratios import best_seconds, state

import pytorch_feature_analysis as pfa

METRICS = ["corr", "euclidean_distance"]


HELD: list[bool] = []


def claim(*args, **kwargs) -> None:
    """State a claim, and go on to the next."""
    HELD.append(state(*args, stop=False, **kwargs))


def call(name: str, folder: str, budget: str) -> tuple[list, dict, dict]:
    paths = sorted(Path(folder).glob("*.jpg"))
    models = pfa.prepare_models({name: (name, "random")})
    image_sets = [({"set": "all"}, {(p.stem,): p for p in paths}, ("image",), [])]
    return image_sets, models, {"dissim_metrics": METRICS, "memory_budget": budget}


def child(name: str, folder: str, budget: str, out: str) -> None:
    """Make one call, in a process of its own, which is what is measured."""
    image_sets, models, options = call(name, folder, budget)
    start = time.perf_counter()
    rdm_df = pfa.get_rdms(image_sets, models, out, progress=False, **options)
    print(json.dumps({"seconds": time.perf_counter() - start, "rows": len(rdm_df)}))


def run_child(name: str, folder: str, budget: str, out: str) -> tuple[dict, float]:
    command = [sys.executable, __file__, "--child", name, folder, budget, out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = peak_memory(process)
    printed, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the call for {name} failed")
    return json.loads(printed.splitlines()[-1]), peak


def bare_seconds(model: torch.nn.Module, n_images: int, batch_size: int) -> float:
    """One pass of the network alone, over inputs that are there already."""
    batch = torch.randn(batch_size, 3, 224, 224)
    n_batches = -(-n_images // batch_size)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(n_batches):
                model(batch)

    return best_seconds(forward, repeats=1)


def product_seconds(model: torch.nn.Module, n_images: int) -> float:
    """Time the products of each layer's patterns, in float64, one BLAS call each."""
    layers = pfa.list_layers(model)
    units = [3 * 224 * 224, *layers.loc[layers["fired"], "n_units"].astype(int)]
    room = np.ones(n_images * max(units))
    seconds = 0.0
    for n_units in units:
        patterns = room[: n_images * n_units].reshape(n_images, n_units)
        start = time.perf_counter()
        patterns @ patterns.T
        seconds += time.perf_counter() - start
    return seconds


def resnet50(folder: str, out: str) -> None:
    image_sets, models, options = call("resnet50", folder, "2GB")
    plan = pfa.plan_rdms(image_sets, models, **options).iloc[0]
    model = models["resnet50"]
    bare = bare_seconds(model, len(image_sets[0][1]), plan["batch_size"])
    products = product_seconds(model, len(image_sets[0][1]))
    found, peak = run_child("resnet50", folder, "2GB", out)
    limit = plan["full_passes"] * bare + products
    claim(
        f"ResNet-50, {plan['images']} images, {plan['layers']} layers, 2 GB: time against"
        f" {plan['full_passes']:.2f} bare passes and the products",
        found["seconds"] / limit,
        1.4,
        at_most=True,
        detail=f"{found['seconds']:.1f} s against {plan['full_passes']:.2f} x {bare:.1f} s +"
        f" {products:.1f} s; {plan['regime']}, planned {plan['seconds']:.0f} s,"
        f" {plan['activation_bytes'] / 1e9:.1f} GB of activations",
    )
    claim(
        "ResNet-50, the same: peak memory in GB",
        peak / 1e9,
        3.5,
        at_most=True,
        detail="budget 2 GB + 1.5 GB",
    )


def alexnet(folder: str, out: str) -> None:
    image_sets, models, options = call("alexnet", folder, "1GB")
    plan = pfa.plan_rdms(image_sets, models, **options).iloc[0]
    found, peak = run_child("alexnet", folder, "1GB", out)
    print(
        f"AlexNet, {plan['images']} images, {plan['layers']} layers, 1 GB:"
        f" {found['seconds']:.0f} s ({plan['regime']}, {plan['passes']} passes, planned"
        f" {plan['seconds']:.0f} s)"
    )
    claim(
        "AlexNet, the same: peak memory in GB",
        peak / 1e9,
        2.5,
        at_most=True,
        detail="",
    )
    images = list(image_sets[0][1].values())
    worst = 0.0
    for layer in ("conv3", "fc1"):
        rows = pfa.capture(models["alexnet"], images, [layer])[layer].reshape(len(images), -1)
        where = [("layer", layer), ("activation_type", "unit_level"), ("dissim_metric", "corr")]
        rdm = pfa.read_rdms(out, where=where)["matrix"].item()
        expected = 1 - np.corrcoef(rows.astype(float))
        worst = max(worst, np.abs(rdm - expected).max() / expected.max())
    claim(
        "AlexNet, the same: largest difference from np.corrcoef of all activations",
        worst,
        1e-9,
        at_most=True,
        detail="as a share of the largest dissimilarity; conv3 and fc1",
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), 128)
        resnet50(folder, f"{folder}/resnet50.parquet")
        write_photographs(Path(folder), 1000)
        alexnet(folder, f"{folder}/alexnet.parquet")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
        sys.exit(not all(HELD))
