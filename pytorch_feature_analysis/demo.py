"""The main job on real images, end to end: `run_demo`, which ``pfa demo`` calls.

Handwritten digits are written as PNG files; a small network is trained on other digits; then come
the calls that any user would make, from the folder to the third order, with pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from pytorch_feature_analysis._checks import child_seed
from pytorch_feature_analysis._files import check_writable
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.image_folder import read_image_folder
from pytorch_feature_analysis.image_sets import package_image_sets
from pytorch_feature_analysis.matrices import get_upper_triang
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.models import prepare_models, trained_weights_file
from pytorch_feature_analysis.plotting.mds import rdm_mds
from pytorch_feature_analysis.rdms import get_rdms

N_SHEETS = 4
SAMPLES_PER_SHEET = 3
SIDE = 64
"""Pixels of the PNG files; the digits themselves have 8 by 8."""

digit_transform = transforms.Compose(
    [transforms.Grayscale(), transforms.Resize(16, antialias=True), transforms.ToTensor()]
)
"""Preprocessing of the small network: ink is dark, so 1 is paper."""


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
    files: dict[str, Path]


def write_digits(folder: str | os.PathLike[str]) -> tuple[Path, np.ndarray, np.ndarray]:
    """Write real handwritten digits as ``sheet1/3_2.png`` (sheet, digit and sample).

    Parameters
    ----------
    folder : path
        Where the tree goes; made where it is missing.

    Returns
    -------
    tuple
        The folder; and the digits that were not written, (n, 8, 8) from 0 to 16, with their
        classes (n,): a network can be trained on them.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning
    Repository (1998), doi:10.24432/C50P49; as shipped by scikit-learn.

    Examples
    --------
    >>> import tempfile
    >>> from pytorch_feature_analysis.demo import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     folder, digits, classes = write_digits(folder)
    ...     len(list(folder.glob("*/*.png"))), len(digits)
    (120, 1677)
    """
    from sklearn.datasets import load_digits

    folder = Path(folder)
    data = load_digits()
    written = np.zeros(len(data.target), dtype=bool)
    for digit in range(10):
        places = np.flatnonzero(data.target == digit)[: N_SHEETS * SAMPLES_PER_SHEET]
        written[places] = True
        for i, place in enumerate(places):
            sheet, sample = divmod(i, SAMPLES_PER_SHEET)
            path = folder / f"sheet{sheet + 1}" / f"{digit}_{sample + 1}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            _as_picture(data.images[place]).save(path)
    return folder, data.images[~written], data.target[~written]


def _as_picture(digit: np.ndarray) -> Image.Image:
    """Dark ink on white paper."""
    grey = Image.fromarray(np.uint8(255 - digit * (255 / 16)))
    return grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def digit_network(random_state: int = 0) -> nn.Sequential:
    """Small convolutional network for digits (1, 16, 16), untrained; torch's seed is left alone.

    Examples
    --------
    >>> import torch
    >>> from pytorch_feature_analysis.demo import digit_network
    >>> digit_network()(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 10])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(random_state, "digit_network"))
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(64 * 16, 64),
            nn.ReLU(inplace=True),
            nn.Linear(64, 10),
        )


def train_on_digits(
    network: nn.Module,
    digits: np.ndarray,
    classes: np.ndarray,
    *,
    n_epochs: int = 12,
    random_state: int = 0,
) -> nn.Module:
    """Train `network` in place, a few seconds on a laptop, and return it."""
    images = torch.stack([digit_transform(_as_picture(digit)) for digit in digits])
    targets = torch.as_tensor(classes)
    order = torch.Generator().manual_seed(child_seed(random_state, "training"))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    for _ in range(n_epochs):
        for batch in torch.randperm(len(images), generator=order).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), targets[batch]).backward()
            optimizer.step()
    return network.eval()


def run_demo(
    folder: str | os.PathLike[str] = "demo_output",
    *,
    report: Callable[[str], None] | None = None,
    progress: bool = True,
    random_state: int = 0,
) -> DemoResult:
    """Go from a folder of images to RDMs of the third order, with pictures, in about a minute.

    Parameters
    ----------
    folder : path, default 'demo_output'
        Where images, stacks and figures go. Stacks and figures of an earlier demo there are
        computed anew.
    report : callable, optional
        Called with a line of text at each step.
    progress : bool, default True
        Show progress bars.
    random_state : int, default 0
        Seed of the untrained weights and of the training.

    Returns
    -------
    DemoResult
        The stacks, a table, and the paths of all files.

    Notes
    -----
    AlexNet is trained on ImageNet where its weights are in torch's cache, otherwise random; it is
    never downloaded.
    """
    say = report or (lambda _line: None)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "stack": folder / "rdms.parquet",
        "second order": folder / "second_order.parquet",
        "third order": folder / "third_order.parquet",
        "digits at chosen layers": folder / "mds_digits.png",
        "layers and networks": folder / "mds_layers.png",
    }
    for path in files.values():
        check_writable(path, argument="folder")
        path.unlink(missing_ok=True)

    say("1/6  writing 120 handwritten digits as PNG files")
    images, others, classes = write_digits(folder / "images")
    files["images"] = images

    say("2/6  training a small network on 1,677 other digits")
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
    table = read_image_folder(images, "{sheet}/{digit}_{sample}.png")
    image_sets = package_image_sets(table, ["digit", "sample"], ["sheet"])
    rdm_df = get_rdms(
        image_sets,
        models,
        files["stack"],
        "digits",
        dissim_metrics=["corr", "euclidean_distance"],
        progress=progress,
        random_state=random_state,
    )

    say("4/6  second order: how alike are the layers of all networks, sheet by sheet")
    second = get_meta_rdms(
        rdm_df,
        files["second order"],
        entry_variables=["model", "layer"],
        grouping_variables=["sheet", "activation_type", "dissim_metric"],
        df_name="layers",
    )

    say("5/6  third order: do the sheets agree on that")
    third = get_meta_rdms(
        second,
        files["third order"],
        entry_variables=["sheet"],
        grouping_variables=["activation_type", "dissim_metric", "dissim_metric_sub"],
        df_name="sheets",
    )

    say("6/6  figures")
    pictures = {
        (row.digit, row.sample): row.path for row in table[table["sheet"] == "sheet1"].itertuples()
    }
    _draw_digits(rdm_df, pictures, files["digits at chosen layers"])
    _draw_layers(second, files["layers and networks"], alexnet_weights)
    return DemoResult(
        folder,
        rdm_df,
        second,
        third,
        {name: _accuracy(models[name], table) for name in ("trained", "untrained")},
        alexnet_weights,
        _digit_table(rdm_df),
        files,
    )


def _accuracy(model: nn.Module, table: pd.DataFrame) -> float:
    images = torch.stack([digit_transform(Image.open(path)) for path in table["path"]])
    with torch.no_grad():
        named = model(images).argmax(dim=1).numpy()
    return float((named == table["digit"].astype(int).to_numpy()).mean())


def _digit_table(rdm_df: pd.DataFrame) -> pd.DataFrame:
    """Mean correlation dissimilarity of images of the same digit and of different digits."""
    units = df_filter(rdm_df, [("dissim_metric", "corr"), ("activation_type", "unit_level")])
    rows = []
    for (model, layer, number), group in units.groupby(
        ["model", "layer", "layer_num"], sort=False
    ):
        digits = np.array([key[0] for key in group["entry_keys"].iloc[0]])
        same = get_upper_triang(digits[:, None] == digits[None, :])
        triangles = np.array([get_upper_triang(matrix) for matrix in group["matrix"]])
        within, between = triangles[:, same].mean(), triangles[:, ~same].mean()
        rows.append((model, layer, number, within, between, between / within))
    columns = ["model", "layer", "layer_num", "same digit", "other digit", "ratio"]
    return pd.DataFrame(rows, columns=columns)


def _draw_digits(rdm_df: pd.DataFrame, pictures: dict[tuple[str, str], str], path: Path) -> None:
    """MDS of the digits of one sheet at three layers of the trained and the untrained network."""
    from matplotlib.figure import Figure

    layers = {"original_rgb": "the image", "conv3": "conv3", "fc2": "fc2 (output)"}
    figure = Figure(figsize=(10.5, 7.4), layout="constrained")
    axes = figure.subplots(2, len(layers))
    for panels, model in zip(axes, ("trained", "untrained"), strict=True):
        for ax, (layer, title) in zip(panels, layers.items(), strict=True):
            row = df_filter(
                rdm_df,
                [
                    ("model", model),
                    ("layer", layer),
                    ("sheet", "sheet1"),
                    ("activation_type", "unit_level"),
                    ("dissim_metric", "corr"),
                ],
            )
            rdm_mds(row, cond_pics=pictures, plot_dots=False, pic_size=0.11, ax=ax, show=False)
            ax.set_title(f"{model}: {title}")
    figure.savefig(path, dpi=150)


def _draw_layers(second: pd.DataFrame, path: Path, alexnet_weights: str) -> None:
    """MDS of all layers of all networks, each network a trajectory from image to output."""
    from matplotlib.figure import Figure

    row = df_filter(
        second,
        [
            ("sheet", "sheet1"),
            ("activation_type", "unit_level"),
            ("dissim_metric_sub", "corr"),
        ],
    )
    colours = {"trained": "#c1272d", "untrained": "#3b6fb6", "alexnet": "#7f7f7f"}
    keys = row["entry_keys"].item()
    trajectories = [
        ([key for key in keys if key[0] == model], {"linewidth": 1.5, "c": colour})
        for model, colour in colours.items()
    ]
    figure = Figure(figsize=(8, 8), layout="constrained")
    ax = figure.subplots()
    rdm_mds(
        row,
        cond_colors={key: colours[key[0]] for key in keys},
        cond_labels={key: key[1] for key in keys if key[0] != "alexnet"},
        line_trajectories=trajectories,
        ax=ax,
        show=False,
    )
    ax.set_title("Layers of three networks, by how they represent the digits")
    names = {**dict.fromkeys(colours), "alexnet": f"AlexNet ({alexnet_weights})"}
    for model, colour in colours.items():
        ax.plot([], [], color=colour, marker="o", label=names[model] or model)
    ax.legend(loc="best", frameon=False)
    figure.savefig(path, dpi=150)
