"""Decoding of a large layer from distances, against scikit-learn's machines on its units."""

import itertools
import time

import numpy as np
import torch
from _ratios import best_seconds, state
from sklearn.svm import SVC

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.decoding_folds import Comparison, decode, within_folds

N_OBJECTS, N_COLORS = 4, 8


def conv1_units() -> np.ndarray:
    """Activations of AlexNet's conv1 (32 images, 193,600 units) to pictures of two factors."""
    rng = np.random.default_rng(0)
    shape = (3, 224, 224)
    objects, colors = (
        rng.normal(size=(n, *shape)).astype(np.float32) for n in (N_OBJECTS, N_COLORS)
    )
    images = [
        0.03 * obj + 0.03 * color + rng.normal(size=shape).astype(np.float32)
        for obj in objects
        for color in colors
    ]
    model = pfa.prepare_models({"alexnet": ("alexnet", "random")})["alexnet"]
    found = pfa.capture(model, torch.from_numpy(np.stack(images)), ["conv1"])["conv1"]
    return found.reshape(len(images), -1)


def comparisons() -> list[Comparison]:
    """Make those of all pairs of objects, then of all pairs of colours."""
    objects, colors = np.divmod(np.arange(N_OBJECTS * N_COLORS), N_COLORS)
    made = []
    for decoded, other in ((objects, colors), (colors, objects)):
        for first, second in itertools.combinations(np.unique(decoded), 2):
            members = np.flatnonzero((decoded == first) | (decoded == second))
            labels = decoded[members] == second
            folds, strata = within_folds(labels, other[members])
            made.append(Comparison(members, labels, tuple(folds), tuple(strata), 0))
    return made


def on_units(units: np.ndarray, planned: list[Comparison]) -> np.ndarray:
    accuracies = []
    for one in planned:
        rows = units[one.members]
        right = []
        for fold in one.folds:
            machine = SVC(kernel="linear", C=1).fit(rows[fold.train], one.labels[fold.train])
            right.append(machine.score(rows[fold.test], one.labels[fold.test]))
        accuracies.append(np.mean(right))
    return np.array(accuracies)


def from_distances(units: np.ndarray, planned: list[Comparison]) -> np.ndarray:
    return decode(pfa.compute_rdm(units, "squared_euclidean"), planned)[:, 0]


def against_machines_on_units() -> None:
    units, planned = conv1_units(), comparisons()
    n_fits = sum(len(one.folds) for one in planned)
    start = time.perf_counter()
    expected = on_units(units, planned)
    peer = time.perf_counter() - start
    np.testing.assert_allclose(from_distances(units, planned), expected)
    own = best_seconds(lambda: from_distances(units, planned))
    state(
        f"{n_fits} linear SVCs, 32 x {units.shape[1]:,}, against scikit-learn, times faster",
        peer / own,
        10,
        at_most=False,
        detail=f"{own:.3f} s against {peer:.2f} s",
    )


if __name__ == "__main__":
    against_machines_on_units()
