"""Canonical correlations of convolutional layers, frequency by frequency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis.similarity._inputs import centred, check_maps, leading_svd


def dft_cca(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """CCA of convolutional layers, frequency by frequency.

    A discrete Fourier transform over the positions parts each layer into as many tables (n,
    n_channels) as there are frequencies; the mean is taken over the canonical correlations of all
    of them. For data that are closed under circular shifts, these are the correlations of all
    units together, at a fraction of the cost.

    Parameters
    ----------
    x : array-like (n_stimuli, p, height, width)
    y : array-like (n_stimuli, q, height, width)
        Activations of two convolutional layers with maps of one size; `conv_samples` brings them
        to one.

    Returns
    -------
    float
        From 0 to 1. NaN where one side is the same for all stimuli.

    See Also
    --------
    conv_samples : Other ways to treat positions.
    cca : Of tables.

    References
    ----------
    Raghu, M., Gilmer, J., Yosinski, J. and Sohl-Dickstein, J. (2017). SVCCA. NeurIPS, section 4.
        https://doi.org/10.48550/arXiv.1706.05806

    Examples
    --------
    A shift of all maps moves only phases:

    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(30, 2, 4, 4))
    >>> round(pfa.dft_cca(x, np.roll(x, 1, axis=3)), 6)
    1.0
    """
    coefficients = dft_coefficients(x, y)
    return float(coefficients.mean()) if len(coefficients) else float("nan")


def dft_coefficients(x: npt.ArrayLike, y: npt.ArrayLike) -> np.ndarray:
    """Canonical correlations at all frequencies, decreasing."""
    maps = [
        check_maps(side, argument=name).astype(np.float64) for name, side in (("x", x), ("y", y))
    ]
    for name, side in zip("xy", maps, strict=True):
        if len(side) < 2 or not np.isfinite(side).all():
            raise ValueError(f"`{name}` must have at least 2 stimuli, and no NaN or infinity.")
    if maps[0].shape[2:] != maps[1].shape[2:] or len(maps[0]) != len(maps[1]):
        raise ValueError(
            "`x` and `y` must have the same stimuli and maps of one size, but their shapes are"
            f" {maps[0].shape} and {maps[1].shape}; conv_samples(..., 'interpolate') resizes maps."
        )
    tables = [
        np.fft.fft2(side, norm="ortho").transpose(2, 3, 0, 1).reshape(-1, *side.shape[:2])
        for side in maps
    ]
    scales = [np.abs(of_side).max() for of_side in tables]
    found = []
    for pair in zip(*tables, strict=True):
        bases = [
            leading_svd(centred(side), scale)[0] for side, scale in zip(pair, scales, strict=True)
        ]
        found.append(np.linalg.svd(bases[0].conj().T @ bases[1], compute_uv=False))
    return np.sort(np.clip(np.concatenate(found), 0, 1))[::-1]
