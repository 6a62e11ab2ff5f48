"""What no tool can do without: reading images, and the forward pass alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image


def bare_calls(
    model: torch.nn.Module, paths: Sequence[Path], batch_sizes: Sequence[int]
) -> tuple[Callable[[], torch.Tensor], list[Callable[[], None]]]:
    """Return what loads the images, and what passes them in batches of each size."""

    def load() -> torch.Tensor:
        return torch.stack(
            [model.preprocessing(Image.open(path).convert("RGB")) for path in paths]
        )

    inputs = load()

    def forward(batch_size: int) -> None:
        with torch.no_grad():
            for start in range(0, len(inputs), batch_size):
                model(inputs[start : start + batch_size])

    return load, [partial(forward, size) for size in batch_sizes]
