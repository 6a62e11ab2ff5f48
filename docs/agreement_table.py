"""Numbers of this library beside those of others, on the same inputs: the page `agreement.rst`.

``python docs/agreement_table.py`` writes it; tests/test_agreement.py checks every line.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import mne_rsa
import numpy as np
import pandas as pd
import rsatoolbox
import statsmodels.api as sm
from PIL import Image
from rsatoolbox.data import noise as rsatoolbox_noise
from scipy import spatial, stats
from sklearn.covariance import LedoitWolf
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from statsmodels.formula.api import ols
from torch import nn

import pytorch_feature_analysis as pfa

PAGE = Path(__file__).parent / "agreement.rst"
N, P, Q = 24, 10, 7
NAMES = [f"image {k:02d}" for k in range(N)]
METHODS = {
    "pearson": "corr",
    "spearman": "spearman",
    "cosine": "cosine",
    "kendall_tau_a": "tau-a",
    "kendall_tau_b": "tau-b",
    "whitened_pearson": "corr_cov",
    "whitened_cosine": "cosine_cov",
}


class Line(NamedTuple):
    """One number, or table of numbers, computed twice."""

    ours: str
    theirs: str
    difference: float
    """The largest, as a share of the largest number."""
    bound: float


class Wrong(NamedTuple):
    """Where another package is not followed."""

    theirs: str
    case: str
    given: float
    right: float


def patterns(seed: int, n: int = N, p: int = P) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, p))


def cells(matrix: np.ndarray) -> np.ndarray:
    return pfa.get_upper_triang(matrix)


def rdms_of(*matrices: np.ndarray) -> rsatoolbox.rdm.RDMs:
    return rsatoolbox.rdm.RDMs(np.stack([cells(matrix) for matrix in matrices]))


def line(ours: str, theirs: str, found: object, expected: object, bound: float = 1e-12) -> Line:
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    largest = np.abs(found - expected).max() / np.abs(expected).max()
    return Line(ours, theirs, float(largest), bound)


def rdms() -> Iterator[Line]:
    x = patterns(0)
    data = rsatoolbox.data.Dataset(x)
    corr = pfa.compute_rdm(x, "corr")
    yield line("compute_rdm, 'corr'", "numpy.corrcoef", corr, 1 - np.corrcoef(x))
    yield line(
        "compute_rdm, 'corr'",
        "rsatoolbox.rdm.calc_rdm, 'correlation'",
        corr,
        rsatoolbox.rdm.calc_rdm(data, "correlation").get_matrices()[0],
    )
    yield line("compute_rdm, 'corr'", "mne_rsa.compute_rdm", cells(corr), mne_rsa.compute_rdm(x))
    yield line(
        "compute_rdm, 'L2squared', by units",
        "rsatoolbox.rdm.calc_rdm, 'euclidean'",
        pfa.compute_rdm(x, "L2squared") / P,
        rsatoolbox.rdm.calc_rdm(data, "euclidean").get_matrices()[0],
    )
    for ours, theirs in (("euclidean_distance", "euclidean"), ("cosine", "cosine")):
        yield line(
            f"compute_rdm, '{ours}'",
            f"scipy.spatial.distance.pdist, '{theirs}'",
            cells(pfa.compute_rdm(x, ours)),
            spatial.distance.pdist(x, theirs),
        )
    yield line(
        "compute_rdm, 'spearman'",
        "scipy.stats.spearmanr",
        pfa.compute_rdm(x, "spearman"),
        1 - stats.spearmanr(x, axis=1).statistic,
    )
    stack = pd.DataFrame(
        {
            "layer": ["a", "b", "c"],
            "matrix": [pfa.compute_rdm(patterns(seed), "corr") for seed in range(3)],
            "entry_keys": [NAMES] * 3,
        }
    )
    yield line(
        "get_meta_rdms",
        "numpy.corrcoef of triangles",
        pfa.get_meta_rdms(stack, None, ["layer"])["matrix"][0],
        1 - np.corrcoef([cells(matrix) for matrix in stack["matrix"]]),
    )


def measured() -> Iterator[Line]:
    rng = np.random.default_rng(1)
    conditions, runs = (
        np.array([f(r, c) for r in range(4) for c in range(6) for _ in range(3)])
        for f in (lambda _, c: f"c{c}", lambda r, _: r)
    )
    x = rng.normal(size=(len(runs), P)) + 2 * patterns(2, 6)[[int(c[1]) for c in conditions]]
    frame = pd.DataFrame(
        {
            "activations": pd.Series([x], dtype=object),
            "entry_keys": pd.Series([conditions.tolist()], dtype=object),
            "run": pd.Series([runs.tolist()], dtype=object),
        }
    )
    data = rsatoolbox.data.Dataset(
        x,
        obs_descriptors={
            "condition": conditions,
            "run": runs,
            "both": np.array([f"{c} {r}" for c, r in zip(conditions, runs, strict=True)]),
        },
    )
    precision = rsatoolbox_noise.prec_from_unbalanced(data, "both")
    for ours, theirs in ((None, None), ("repetitions", precision)):
        yield line(
            f"get_pattern_rdms, 'crossnobis', noise={ours!r}",
            "rsatoolbox.rdm.calc_rdm, 'crossnobis'",
            pfa.get_pattern_rdms(frame, noise=ours)["matrix"][0],
            rsatoolbox.rdm.calc_rdm(
                data, "crossnobis", "condition", noise=theirs, cv_descriptor="run"
            ).get_matrices()[0],
        )
    residuals = patterns(3, 40)
    for method in ("shrinkage_diag", "shrinkage_eye", "full"):
        yield line(
            f"noise_covariance, '{method}'",
            "rsatoolbox.data.noise.cov_from_residuals",
            pfa.noise_covariance(residuals, method),
            rsatoolbox_noise.cov_from_residuals(residuals, method=method),
        )
    centred = residuals - residuals.mean(axis=0)
    yield line(
        "noise_covariance, 'shrinkage_eye', dof=n",
        "sklearn.covariance.LedoitWolf",
        pfa.noise_covariance(centred, "shrinkage_eye", dof=len(centred)),
        LedoitWolf(assume_centered=True).fit(centred).covariance_,
    )


def comparisons() -> Iterator[Line]:
    one, other, third, fourth = (pfa.compute_rdm(patterns(seed), "L2squared") for seed in range(4))
    for ours, theirs in METHODS.items():
        yield line(
            f"compare_rdms, '{ours}'",
            f"rsatoolbox.rdm.compare, '{theirs}'",
            pfa.compare_rdms(one, other, method=ours),
            rsatoolbox.rdm.compare(rdms_of(one), rdms_of(other), theirs)[0, 0],
            1e-10,
        )
    for ours, function in (
        ("pearson", stats.pearsonr),
        ("spearman", stats.spearmanr),
        ("kendall_tau_b", stats.kendalltau),
    ):
        yield line(
            f"compare_rdms, '{ours}'",
            f"scipy.stats.{function.__name__}",
            pfa.compare_rdms(one, other, method=ours),
            function(cells(one), cells(other)).statistic,
        )
    yield line(
        "compare_rdms, 'kendall_tau_a'",
        "mne_rsa.rsa, 'kendall-tau-a'",
        pfa.compare_rdms(one, other, method="kendall_tau_a"),
        mne_rsa.rsa(cells(one), cells(other), metric="kendall-tau-a"),
    )
    row = pfa.stack_from_matrices({"one": one}, NAMES)
    held = pfa.stack_from_matrices({"third": third, "fourth": fourth}, NAMES)
    for ours, theirs in (("pearson", "partial"), ("spearman", "partial-spearman")):
        yield line(
            f"compare_to_reference, '{ours}', controls",
            f"mne_rsa.rsa, '{theirs}'",
            pfa.compare_to_reference(row, (other, NAMES), method=ours, controls=held)["r"],
            mne_rsa.rsa(cells(other), [cells(m) for m in (one, third, fourth)], metric=theirs)[0],
            1e-10,
        )
    several = pfa.stack_from_matrices({"one": one, "third": third, "fourth": fourth}, NAMES)
    table = np.stack([cells(m) for m in (one, third, fourth)], axis=1)
    scaled = (table - table.mean(axis=0)) / table.std(axis=0)
    aim = (cells(other) - cells(other).mean()) / cells(other).std()
    yield line(
        "regress_rdms, weights='any'",
        "sklearn.linear_model.LinearRegression",
        pfa.regress_rdms(several, (other, NAMES), weights="any")["weight"],
        LinearRegression().fit(scaled, aim).coef_,
        1e-10,
    )
    yield line(
        "regress_rdms, weights='any', by units",
        "mne_rsa.rsa, 'regression'",
        pfa.regress_rdms(several, (other, NAMES), weights="any")["weight"]
        * cells(other).std()
        / table.std(axis=0),
        mne_rsa.rsa(cells(other), list(table.T), metric="regression"),
        1e-10,
    )


def inference() -> Iterator[Line]:
    true = pfa.compute_rdm(patterns(0), "L2squared")
    subjects = pfa.stack_from_matrices(
        {k: true + pfa.compute_rdm(patterns(10 + k), "L2squared") for k in range(8)},
        NAMES,
        subject=[f"s{k}" for k in range(8)],
    )
    subjects = subjects.drop(columns="name")
    theirs = rdms_of(*subjects["matrix"])
    for method in ("pearson", "cosine", "spearman"):
        found = pfa.noise_ceiling(subjects, method=method)
        yield line(
            f"noise_ceiling, '{method}'",
            "rsatoolbox.inference.boot_noise_ceiling",
            found[["ceiling_low", "ceiling_high"]].iloc[0],
            rsatoolbox.inference.boot_noise_ceiling(theirs, METHODS[method]),
            1e-10,
        )
    rows = pfa.stack_from_matrices(
        {k: pfa.compute_rdm(patterns(20 + k), "L2squared") + k * true for k in range(3)}, NAMES
    )
    fits = pfa.compare_to_reference(rows, subjects)
    models = [
        rsatoolbox.model.ModelFixed(str(k), cells(matrix))
        for k, matrix in enumerate(rows["matrix"])
    ]
    yield line(
        "compare_to_reference",
        "rsatoolbox.inference.eval_fixed",
        fits["r"],
        rsatoolbox.inference.eval_fixed(models, theirs, method="corr").get_means(),
        1e-10,
    )


def representations() -> Iterator[Line]:
    x, y = patterns(0), patterns(0) @ patterns(1, P, Q) + 0.5 * patterns(2, N, Q)
    kernels = [pfa.compute_rdm(one, "L2squared") for one in (x, y)]
    rdms = [rdms_of(one) for one in kernels]
    yield line(
        "linear_cka",
        "rsatoolbox.rdm.compare, 'cosine_cov'",
        pfa.linear_cka(x, y),
        rsatoolbox.rdm.compare(*rdms, "cosine_cov")[0, 0],
    )
    yield line(
        "nbs",
        "rsatoolbox.rdm.compare, 'bures'",
        pfa.nbs(x, y),
        rsatoolbox.rdm.compare(*rdms, "bures")[0, 0],
        1e-7,
    )
    wide = np.pad(y, ((0, 0), (0, P - Q)))
    # scipy scales both to unit norm and fits a scale too, which leaves 1 less the square of s.
    disparity = spatial.procrustes(x, wide)[2]
    yield line(
        "nbs",
        "scipy.spatial.procrustes",
        pfa.nbs(x, y),
        np.sqrt(1 - disparity),
    )
    found = pfa.cca(x[:, :4], y[:, :4])
    scores = CCA(n_components=4, scale=False, max_iter=10_000, tol=1e-12).fit_transform(
        x[:, :4], y[:, :4]
    )
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(scores[0].T, scores[1].T, strict=True)]
    yield line("cca", "sklearn.cross_decomposition.CCA", found, expected, 1e-6)
    reduced = np.abs(pfa.pca(x, 3))
    yield line("pca", "sklearn.decomposition.PCA", reduced, np.abs(PCA(3).fit_transform(x)), 1e-10)
    yield line(
        "rsa, 'pearson'",
        "scipy.stats.pearsonr",
        pfa.rsa(x, y),
        stats.pearsonr(*(cells(1 - np.corrcoef(one)) for one in (x, y))).statistic,
    )


def units() -> Iterator[Line]:
    network = nn.Sequential(nn.AvgPool2d(112))
    model = pfa.prepare_models({"pixels": (network, pfa.standard_transform)})["pixels"]
    rng = np.random.default_rng(0)
    images = {
        (f"a{a}", f"b{b}"): Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
        for a in range(3)
        for b in range(4)
    }
    _, sums = pfa.compute_etas(
        ({"set": "noise"}, images, ("a", "b")), ("pixels", model), ["avgpool1"], progress=False
    )
    of_layer = next(iter(sums.values()))
    table = pd.DataFrame(list(images), columns=["a", "b"])
    responses = [
        model(model.preprocessing(image)[None]).detach().numpy().ravel()[0]
        for image in images.values()
    ]
    fitted = ols("y ~ C(a) + C(b)", table.assign(y=np.array(responses, float))).fit()
    expected = sm.stats.anova_lm(fitted)["sum_sq"]
    yield line(
        "compute_etas, sums of squares",
        "statsmodels.stats.anova_lm",
        [of_layer[name].ravel()[0] for name in ("ss_a", "ss_b")],
        expected.iloc[:2],
        1e-5,
    )


PARTS: dict[str, Callable[[], Iterator[Line]]] = {
    "RDMs of networks": rdms,
    "RDMs of measured patterns": measured,
    "Comparisons of RDMs": comparisons,
    "Subjects and models": inference,
    "Measures of similarity": representations,
    "Units": units,
}


def wrong_ones() -> Iterator[Wrong]:
    """Compute the cases in which another package is not followed."""
    # Two items, three folds, a single true difference of 1 and noise that cancels over folds.
    folds = np.array([[[0.0, 0], [1, 0]], [[0, 2], [1, 2]], [[0, -2], [1, -2]]])
    yield Wrong(
        "mne_rsa.compute_rdm_cv, 'sqeuclidean'",
        "Two items that differ by 1, and a shift of each of three runs that both items share. A"
        " cross-validated distance multiplies the difference in one run with that in another, and"
        " is 1. Here an item of one run is set beside the other item of the other runs, and all"
        " that differs between runs counts as a difference of items.",
        float(mne_rsa.compute_rdm_cv(folds, metric="sqeuclidean")[0]),
        1.0,
    )
    true = np.array([[0.0, 0], [10, 0], [0, 10], [7, 7]])
    rows = [(c, r) for r in range(3) for c in range(4) if (c, r) != (3, 1)]
    data = rsatoolbox.data.Dataset(
        np.array([true[c] + 5 * r for c, r in rows]),
        obs_descriptors={
            "condition": np.array([f"c{c}" for c, _ in rows]),
            "run": np.array([r for _, r in rows]),
        },
    )
    made = rsatoolbox.rdm.calc_rdm_unbalanced(data, "crossnobis", "condition", cv_descriptor="run")
    yield Wrong(
        "rsatoolbox.rdm.calc_rdm_unbalanced, 'crossnobis'",
        "Four conditions in three runs without noise, 5 added to all patterns of each next run,"
        " and one condition missing in the second run. The first and the last differ by (7, 7),"
        " whose squared length by two channels is 49, whatever is added to a run. Products of a"
        " condition with itself are taken from other runs than those with the other condition.",
        float(made.get_matrices()[0][0, 3]),
        49.0,
    )
    residuals = np.random.default_rng(0).normal(size=(20, 3))
    conditions = np.repeat(np.arange(5), 4)
    means = np.stack([residuals[conditions == k].mean(axis=0) for k in range(5)])
    deviations = residuals - means[conditions]
    data = rsatoolbox.data.Dataset(residuals, obs_descriptors={"c": conditions})
    given = rsatoolbox_noise.cov_from_measurements(data, "c", method="full")
    yield Wrong(
        "rsatoolbox.data.noise.cov_from_measurements",
        "Variance of the first of three channels, five conditions of four repetitions each:"
        " squared deviations from condition means, divided by 20 - 5, the number of observations"
        " less that of means. It divides by (5 - 1) x 4.",
        float(given[0, 0]),
        float((deviations[:, 0] ** 2).sum() / 15),
    )


def all_lines() -> dict[str, list[Line]]:
    """Compute all lines; what other packages say on the way is not of interest."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return {title: list(part()) for title, part in PARTS.items()}


def page() -> str:
    """Make the text of the page."""
    text = [
        "Agreement with other packages",
        "=============================",
        "",
        "The same inputs, computed here and elsewhere. The difference is the largest of all",
        "numbers, as a share of the largest number. ``make agreement`` makes this page anew, and",
        "a test checks every line.",
        "",
    ]
    for title, lines in all_lines().items():
        text += [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", ""]
        text += ["   * - Here", "     - There", "     - Difference, less than"]
        for one in lines:
            text += [f"   * - ``{one.ours}``", f"     - ``{one.theirs}``"]
            text.append(f"     - {_rounded_up(one.difference):.0e}")
        text.append("")
    title = "Where another package is not followed"
    text += [title, "-" * len(title), ""]
    text += [
        "Found with rsatoolbox 0.3.2 and mne-rsa 1.0. Each case is small enough to be worked by",
        "hand.",
        "",
    ]
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for one in wrong_ones():
            text += [f"``{one.theirs}``", f"    {one.case}", ""]
            text += [f"    It gives {one.given:.4g}, and {one.right:.4g} is right.", ""]
    return "\n".join(text)


def _rounded_up(difference: float) -> float:
    """Round up to a power of ten that does not hang on the machine: 1e-12 at least."""
    if difference < 1e-12:
        return 1e-12
    return float(10.0 ** np.ceil(np.log10(difference)))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
