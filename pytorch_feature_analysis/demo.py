"""The main job on real images, end to end: `run_demo`, which ``pfa demo`` calls.

Handwritten digits are written as PNG files; a small network is trained on other digits; then come
the calls that any user would make, from the folder to the third order, with pictures.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from torch import nn

from pytorch_feature_analysis._files import check_writable, leftovers
from pytorch_feature_analysis.activations import capture
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.demo_digits import (
    N_WRITTEN,
    digit_network,
    digit_transform,
    train_on_digits,
    write_digits,
)
from pytorch_feature_analysis.demo_figures import draw_digits, draw_layers
from pytorch_feature_analysis.image_folder import read_image_folder
from pytorch_feature_analysis.image_sets import package_image_sets
from pytorch_feature_analysis.matrices import get_upper_triang
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.models import prepare_models, trained_weights_file
from pytorch_feature_analysis.rdms import get_rdms
from pytorch_feature_analysis.stack_parts import parts_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUTS = {
    "images": "images",
    "RDMs": "rdms.parquet",
    "second order": "second_order.parquet",
    "third order": "third_order.parquet",
    "map of digits": "mds_digits.png",
    "map of layers": "mds_layers.png",
}
"""What the demo writes, and the names it has in the demo's folder."""

_RESOLUTION = 160
# The image, the last map and the output.
_SUMMARISED = {
    "trained": ["original_rgb", "conv3", "fc2"],
    "untrained": ["original_rgb", "conv3", "fc2"],
    "alexnet": ["original_rgb", "conv5", "fc3"],
}


@dataclass(frozen=True)
class DemoResult:
    """What the demo made and where it lies."""

    folder: Path
    rdm_df: pd.DataFrame
    second_order: pd.DataFrame
    third_order: pd.DataFrame
    accuracy: dict[str, float]
    """Share of the demo's own images that the trained and the untrained network name rightly."""
    alexnet_weights: str
    """'trained' or 'random'."""
    table: pd.DataFrame
    """Per layer, how unlike images of the same digit and of other digits are; `compare_digits`."""
    figures: dict[str, Figure]
    files: dict[str, Path]

    def summary(self) -> str:
        """Put the main results into a few lines of text, and say where everything lies."""
        right = ", ".join(f"{name} {share:.0%}" for name, share in self.accuracy.items())
        shown = [
            layer in _SUMMARISED[model]
            for model, layer in zip(self.table["model"], self.table["layer"], strict=True)
        ]
        table = self.table.loc[shown].drop(columns="layer_num").round(3)
        agreement = [1 - get_upper_triang(m).mean() for m in self.third_order["matrix"]]
        metrics = self.third_order["dissim_metric_sub_sub"]
        agreed = ", ".join(
            f"{r:.2f} by {metric}" for r, metric in zip(agreement, metrics, strict=True)
        )
        width = max(map(len, self.files))
        return "\n".join(
            [
                f"Digits named rightly: {right} (chance is 10%)",
                "",
                f"Mean 1 - r of two images (alexnet has {self.alexnet_weights} weights):",
                table.to_string(index=False),
                "",
                f"Correlation of the sheets in how alike layers are: {agreed}",
                "",
                f"In {self.folder}:",
                *(f"  {what:<{width}}  {path.name}" for what, path in self.files.items()),
            ]
        )


def run_demo(
    folder: str | os.PathLike[str] = "demo_output",
    *,
    report: Callable[[str], object] | None = None,
    progress: bool = True,
    random_state: int = 0,
) -> DemoResult:
    """Go from a folder of images to RDMs of the third order, with pictures, in about a minute.

    Parameters
    ----------
    folder : path, default 'demo_output'
        Where images, stacks and figures go; made where it is missing. Those of an earlier demo
        are computed anew. A folder that holds anything else is refused.
    report : callable, optional
        Called with a line of text at each step.
    progress : bool, default True
        Show progress bars.
    random_state : int, default 0
        Seed of the untrained weights and of the training.

    Returns
    -------
    DemoResult
        The stacks, a table, the figures, and the paths of all files.

    Notes
    -----
    AlexNet is trained on ImageNet where its weights are in torch's cache, otherwise random; it is
    never downloaded.
    """
    say = report or (lambda _line: None)
    folder = Path(folder)
    files = _prepare_folder(folder)

    say(f"1/6  writing {N_WRITTEN} handwritten digits as PNG files")
    others, classes = write_digits(files["images"])

    say(f"2/6  training a small network on {len(others):,} other digits")
    trained = train_on_digits(
        digit_network(random_state), others, classes, random_state=random_state
    )
    alexnet_weights = "trained" if trained_weights_file("alexnet") else "random"
    models = prepare_models(
        {
            "trained": (trained, digit_transform),
            "untrained": (digit_network(random_state), digit_transform),
            "alexnet": ("alexnet", alexnet_weights),
        },
        random_state=random_state,
    )

    say(f"3/6  RDMs of every layer of three networks (AlexNet's weights: {alexnet_weights})")
    table = read_image_folder(files["images"], "{sheet}/{digit}_{sample}.png")
    if len(table) != N_WRITTEN:
        raise ValueError(
            f"`folder`: '{files['images']}' holds images that are not the demo's. Name a folder"
            " that is empty or not there yet."
        )
    image_sets = package_image_sets(table, ["digit", "sample"], ["sheet"])
    rdm_df = get_rdms(
        image_sets,
        models,
        files["RDMs"],
        "digits",
        dissim_metrics=["corr", "euclidean_distance"],
        activation_types=["unit_level"],
        progress=progress,
    )

    say("4/6  second order: how alike are the layers of all networks, sheet by sheet?")
    second = get_meta_rdms(
        rdm_df,
        files["second order"],
        entry_variables=["model", "layer"],
        grouping_variables=["sheet", "dissim_metric"],
        df_name="layers",
        progress=progress,
    )

    say("5/6  third order: do the sheets agree on that?")
    third = get_meta_rdms(
        second,
        files["third order"],
        entry_variables=["sheet"],
        grouping_variables=["dissim_metric", "dissim_metric_sub"],
        df_name="sheets",
        progress=progress,
    )

    say("6/6  figures")
    figures = {
        "map of digits": draw_digits(rdm_df, table),
        "map of layers": draw_layers(second, alexnet_weights),
    }
    for name, figure in figures.items():
        figure.savefig(files[name], dpi=_RESOLUTION)
    accuracy = {name: _accuracy(models[name], table) for name in ("trained", "untrained")}
    return DemoResult(
        folder,
        rdm_df,
        second,
        third,
        accuracy,
        alexnet_weights,
        compare_digits(rdm_df),
        figures,
        files,
    )


def _prepare_folder(folder: Path) -> dict[str, Path]:
    """Make the folder, free of what an earlier demo computed; where the outputs go."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {what: folder / name for what, name in OUTPUTS.items()}
    # What a demo that was killed leaves behind.
    unfinished = [parts_folder(path) for path in files.values()]
    left = [*leftovers(folder), *(folder / f"{name}.lock" for name in OUTPUTS.values())]
    own = {path.name for path in (*files.values(), *unfinished, *left)}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if foreign:
        raise ValueError(
            f"`folder` is '{folder}', which holds something else ('{foreign[0]}'); the demo needs"
            " a folder of its own. Name one that is empty or not there yet."
        )
    for path in left:
        path.unlink(missing_ok=True)
    for path in unfinished:
        shutil.rmtree(path, ignore_errors=True)
    for what, path in files.items():
        if what != "images":
            check_writable(path, argument="folder").unlink(missing_ok=True)
    return files


def _accuracy(model: nn.Module, table: pd.DataFrame) -> float:
    outputs = capture(model, table["path"].tolist(), ["fc2"])["fc2"]
    return float((outputs.argmax(axis=1) == table["digit"].astype(int)).mean())


def compare_digits(rdm_df: pd.DataFrame) -> pd.DataFrame:
    """Mean correlation dissimilarity of images of the same digit and of other digits.

    Parameters
    ----------
    rdm_df : DataFrame
        The demo's stack.

    Returns
    -------
    DataFrame
        A row per layer: model, layer, layer_num, 'same digit' and 'other digit' (means over the
        pairs of images and over sheets, 0 identical, larger more different), and 'ratio' of the
        latter to the former, which is above 1 where images of one digit are alike.
    """
    rows = []
    for names, group in df_filter(rdm_df, ("dissim_metric", "corr")).groupby(
        ["model", "layer", "layer_num"], sort=False
    ):
        digits = np.array([key[0] for key in group["entry_keys"].iloc[0]])
        same = get_upper_triang(digits[:, None] == digits[None, :])
        triangles = np.array([get_upper_triang(matrix) for matrix in group["matrix"]])
        within, between = triangles[:, same].mean(), triangles[:, ~same].mean()
        rows.append((*names, within, between, between / within))
    columns = ["model", "layer", "layer_num", "same digit", "other digit", "ratio"]
    return pd.DataFrame(rows, columns=columns)
