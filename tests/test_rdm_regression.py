"""Several RDMs that explain a reference together."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import LinearRegression

import pytorch_feature_analysis as pfa

N = 24
NAMES = [f"image {k}" for k in range(N)]


def rdm(seed):
    return pfa.compute_rdm(np.random.default_rng(seed).normal(size=(N, 3)), "L2squared")


MODELS = pfa.stack_from_matrices({"form": rdm(0), "color": rdm(1), "size": rdm(2)}, NAMES)


def brains(weights, n_subjects=5, noise=0.5):
    parts = sum(w * rdm(k) for k, w in enumerate(weights))
    return pfa.stack_from_matrices(
        {k: parts + noise * rdm(100 + k) for k in range(n_subjects)},
        NAMES,
        subject=[f"s{k}" for k in range(n_subjects)],
    ).drop(columns="name")


def scaled(matrix):
    cells = pfa.get_upper_triang(matrix)
    return (cells - cells.mean()) / cells.std()


@pytest.mark.parametrize("weights", ["any", "nonnegative"])
def test_weights_are_those_of_least_squares(weights):
    subjects = brains([3, 1, -0.5])
    found = pfa.regress_rdms(MODELS, subjects, weights=weights)
    table = np.stack([scaled(matrix) for matrix in MODELS["matrix"]], axis=1)
    expected = []
    for matrix in subjects["matrix"]:
        if weights == "any":
            expected.append(LinearRegression().fit(table, scaled(matrix)).coef_)
        else:
            expected.append(nnls(table, scaled(matrix))[0])
    np.testing.assert_allclose(found["weight"], np.mean(expected, axis=0), atol=1e-10)
    np.testing.assert_allclose(
        found["se"], np.std(expected, axis=0, ddof=1) / np.sqrt(5), atol=1e-10
    )
    r = [
        np.corrcoef(table @ own, scaled(matrix))[0, 1]
        for own, matrix in zip(expected, subjects["matrix"], strict=True)
    ]
    np.testing.assert_allclose(found["r"], np.mean(r), atol=1e-10)
    assert (found["weight"].min() < 0) == (weights == "any")


def test_what_was_not_fitted_is_predicted_less_well_and_noise_not_at_all():
    found = pfa.regress_rdms(MODELS, brains([3, 1, 0]))
    assert 0.5 < found["r_cv"][0] < found["r"][0] + 0.02
    assert found["n_folds"].tolist() == [5] * 3
    noise = pfa.stack_from_matrices({k: rdm(50 + k) for k in range(30)}, NAMES)
    blind = pfa.regress_rdms(noise, (rdm(7), NAMES), weights="any")
    assert blind["r"][0] > 0.25
    assert blind["r_cv"][0] < 0.2
    without = pfa.regress_rdms(MODELS, brains([3, 1, 0]), num_folds=0)
    assert np.isnan(without["r_cv"][0])
    np.testing.assert_array_equal(without["weight"], found["weight"])


def test_folds_follow_the_seed_and_not_the_order_of_entries():
    subjects = brains([3, 1, 0])
    found = pfa.regress_rdms(MODELS, subjects)
    assert pfa.regress_rdms(MODELS, subjects, random_state=1)["r_cv"][0] != found["r_cv"][0]
    order = np.random.default_rng(0).permutation(N)
    turned = pfa.stack_from_matrices(
        dict(
            zip(
                MODELS["name"],
                (matrix[np.ix_(order, order)] for matrix in MODELS["matrix"]),
                strict=True,
            )
        ),
        [NAMES[k] for k in order],
    )
    again = pfa.regress_rdms(turned, subjects)
    np.testing.assert_allclose(again["weight"], found["weight"], atol=1e-12)
    np.testing.assert_allclose(again["r"], found["r"], atol=1e-12)
    np.testing.assert_allclose(again["r_cv"], found["r_cv"], atol=1e-12)


def test_what_is_refused():
    twice = pd.concat([MODELS, MODELS.iloc[[0]].assign(name="copy")], ignore_index=True)
    with pytest.raises(ValueError, match="has 4 rows of which 3 would say the same"):
        pfa.regress_rdms(twice, (rdm(7), NAMES), weights="any")
    assert len(pfa.regress_rdms(twice, (rdm(7), NAMES))) == 4
    flat = pfa.stack_from_matrices({"flat": 1 - np.eye(N), "form": rdm(0)}, NAMES)
    with pytest.raises(ValueError, match="row at position 0 are equal"):
        pfa.regress_rdms(flat, (rdm(7), NAMES))
    with pytest.raises(ValueError, match="has 3 rows to explain 3 dissimilarities"):
        pfa.regress_rdms(MODELS, (rdm(7)[:3, :3], NAMES[:3]))
    with pytest.raises(ValueError, match="`num_folds` is 1"):
        pfa.regress_rdms(MODELS, (rdm(7), NAMES), num_folds=1)
    with pytest.raises(ValueError, match="'nonnegative'"):
        pfa.regress_rdms(MODELS, (rdm(7), NAMES), weights="positive")
    holed = rdm(7)
    holed[0, 1] = holed[1, 0] = np.nan
    assert pfa.regress_rdms(MODELS, (holed, NAMES))["n_pairs"][0] == N * (N - 1) // 2 - 1
    with pytest.raises(ValueError, match="`nan_policy` is 'raise'"):
        pfa.regress_rdms(MODELS, (holed, NAMES), nan_policy="raise")
