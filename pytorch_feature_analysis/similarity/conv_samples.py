"""What is a sample, and what a unit, of a convolutional layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count, check_name
from pytorch_feature_analysis.similarity._inputs import check_maps

MODES = ("flatten", "positions", "avgpool", "interpolate")


def conv_samples(
    maps: npt.ArrayLike, mode: str = "flatten", *, size: int | tuple[int, int] | None = None
) -> np.ndarray:
    """Turn maps of a convolutional layer into a table for a measure of similarity.

    Parameters
    ----------
    maps : array-like (n_stimuli, n_channels, height, width)
        Activations of the layer. They are not changed.
    mode : {'flatten', 'positions', 'avgpool', 'interpolate'}, default 'flatten'
        'flatten': each channel at each position is a unit. 'positions': each position is a sample
        of its own, for layers whose maps have one size. 'avgpool': the mean of each channel.
        'interpolate': as 'positions', of maps resized to `size`, so that layers with maps of
        different sizes can be compared.
    size : int or (int, int), optional
        Height and width for 'interpolate'; one number for both.

    Returns
    -------
    ndarray
        'flatten': (n_stimuli, n_channels * height * width). 'avgpool': (n_stimuli, n_channels).
        'positions', 'interpolate': (n_stimuli * height * width, n_channels), the positions of a
        stimulus behind each other, row by row.

    Raises
    ------
    ValueError
        An unknown mode, another shape, or `size` missing where it is needed.

    See Also
    --------
    dft_cca : Compares maps frequency by frequency.

    Notes
    -----
    'interpolate' is bilinear with pixels as squares, as ``torch.nn.functional.interpolate`` with
    ``mode='bilinear'``: where maps become smaller, positions in between are left out.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> maps = np.arange(24.0).reshape(2, 3, 2, 2)
    >>> [pfa.conv_samples(maps, mode).shape for mode in ("flatten", "positions", "avgpool")]
    [(2, 12), (8, 3), (2, 3)]
    >>> pfa.conv_samples(maps, "interpolate", size=1).tolist()
    [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]
    """
    check_name(mode, MODES, argument="mode", what="kind of samples")
    values = check_maps(maps, argument="maps")
    if (size is None) == (mode == "interpolate"):
        raise ValueError(
            "`size` must be given for the mode 'interpolate'."
            if size is None
            else f"`size` is for the mode 'interpolate', not for '{mode}'."
        )
    if mode == "flatten":
        return values.reshape(len(values), -1).copy()
    if mode == "avgpool":
        pooled: np.ndarray = values.mean(axis=(2, 3), dtype=np.float64)
        return pooled
    if size is not None:
        sides = zip(values.shape[2:], _check_size(size), strict=True)
        down, across = (_bilinear(old, new) for old, new in sides)
        values = down @ values.astype(np.float64) @ across.T
    # A copy also where there is but one channel, or one position.
    return np.array(values.transpose(0, 2, 3, 1), order="C").reshape(-1, values.shape[1])


def _check_size(size: Any) -> tuple[int, int]:
    """Return height and width, or raise."""
    sides = [size, size] if isinstance(size, (int, np.integer)) else size
    if not isinstance(sides, (list, tuple, np.ndarray)):
        raise TypeError(f"`size` must be one number or two, not {size!r}.")
    if len(sides) != 2:
        raise ValueError(f"`size` must be one number or two, not {size!r}.")
    height, width = (check_count(side, argument="size") for side in sides)
    return height, width


def _bilinear(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of the old positions in each new one."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    below = np.minimum(centres.astype(int), max(old - 2, 0))
    share = centres - below
    weights = np.zeros((new, old))
    weights[np.arange(new), below] = 1 - share
    weights[np.arange(new), np.minimum(below + 1, old - 1)] += share
    return weights
