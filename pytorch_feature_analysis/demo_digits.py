"""The demo's images and its network: handwritten digits, and what learns to tell them apart."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torchvision import transforms

from pytorch_feature_analysis._checks import child_seed

N_SHEETS = 4
SAMPLES_PER_SHEET = 3
N_WRITTEN = 10 * N_SHEETS * SAMPLES_PER_SHEET
SIDE = 64
"""Pixels of the PNG files; the digits themselves have 8 by 8."""

digit_transform = transforms.Compose(
    [
        transforms.Grayscale(),
        ImageOps.invert,
        transforms.Resize(16, antialias=True),
        transforms.ToTensor(),
    ]
)
"""Preprocessing of the small network: 1 is ink, 0 is paper."""


def write_digits(folder: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Write real handwritten digits as ``sheet1/3_2.png`` (sheet, digit and sample).

    Parameters
    ----------
    folder : path
        Where the tree goes; made where it is missing.

    Returns
    -------
    tuple of ndarray
        The digits that were not written, (n, 8, 8) from 0 to 16, and their classes (n,): a
        network can be trained on them.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning
    Repository (1998), doi:10.24432/C50P49; as shipped by scikit-learn.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from pytorch_feature_analysis.demo_digits import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     digits, classes = write_digits(folder)
    ...     len(list(pathlib.Path(folder).glob("*/*.png"))), len(digits)
    (120, 1677)
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    written = np.zeros(len(data.target), dtype=bool)
    for digit in range(10):
        places = np.flatnonzero(data.target == digit)
        # Evenly from all writers, who follow one another in the file.
        chosen = np.linspace(0, len(places) - 1, N_SHEETS * SAMPLES_PER_SHEET).astype(int)
        written[places[chosen]] = True
        for i, place in enumerate(places[chosen]):
            sample, sheet = divmod(i, N_SHEETS)
            path = Path(folder, f"sheet{sheet + 1}", f"{digit}_{sample + 1}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            _as_picture(data.images[place]).save(path)
    return data.images[~written], data.target[~written]


def _as_picture(digit: np.ndarray) -> Image.Image:
    """Dark ink on white paper."""
    grey = Image.fromarray(np.uint8(255 - digit * (255 / 16)))
    return grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def digit_network(random_state: int = 0) -> nn.Sequential:
    """Small convolutional network for digits (1, 16, 16), untrained; torch's seed is left alone.

    Examples
    --------
    >>> import torch
    >>> from pytorch_feature_analysis.demo_digits import digit_network
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
    n_epochs: int = 10,
    random_state: int = 0,
) -> nn.Module:
    """Train `network` in place, a few seconds on a laptop, and return it."""
    images = torch.stack([digit_transform(_as_picture(digit)) for digit in digits])
    targets = torch.as_tensor(classes)
    order = torch.Generator().manual_seed(child_seed(random_state, "training"))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    with _one_thread():
        for _ in range(n_epochs):
            for batch in torch.randperm(len(images), generator=order).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(images[batch]), targets[batch]).backward()
                optimizer.step()
    return network.eval()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch work alone: on small batches, threads wait for each other more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
