"""Noise ceilings and reliability of subjects' RDMs."""

import itertools

import numpy as np
import pandas as pd
import pytest
import rsatoolbox

import pytorch_feature_analysis as pfa

N = 10
NAMES = [f"image {k}" for k in range(N)]
METHODS = {
    "pearson": "corr",
    "spearman": "spearman",
    "cosine": "cosine",
    "kendall_tau_a": "tau-a",
}


def rdm(seed):
    return pfa.compute_rdm(np.random.default_rng(seed).normal(size=(N, 4)), "L2squared")


def brains(n_subjects=6, noise=1.0):
    return pd.DataFrame(
        {
            "subject": [f"s{k}" for k in range(n_subjects)],
            "matrix": [rdm(0) + noise * rdm(100 + k) for k in range(n_subjects)],
            "entry_keys": [NAMES] * n_subjects,
        }
    )


def cells_of(frame):
    return np.stack([pfa.get_upper_triang(matrix) for matrix in frame["matrix"]])


@pytest.mark.filterwarnings("ignore:Noise ceiling for tau")
@pytest.mark.parametrize("method", METHODS)
def test_ceilings_are_those_of_rsatoolbox(method):
    found = pfa.noise_ceiling(brains(), method=method)
    expected = rsatoolbox.inference.boot_noise_ceiling(
        rsatoolbox.rdm.RDMs(cells_of(brains())), METHODS[method]
    )
    np.testing.assert_allclose(
        found.loc[0, ["ceiling_low", "ceiling_high"]].to_numpy(float), expected, atol=1e-10
    )
    row = pfa.compare_to_reference(brains().iloc[[0]], brains(), method=method)
    assert row["ceiling_low"][0] == pytest.approx(found["ceiling_low"][0], abs=1e-12)


def test_no_rdm_agrees_more_than_the_upper_ceiling():
    high = pfa.noise_ceiling(brains(), method="whitened_cosine")["ceiling_high"][0]
    subjects = brains()
    tried = [rdm(0), *subjects["matrix"], np.mean(list(subjects["matrix"]), axis=0)]
    rng = np.random.default_rng(0)
    tried += [tried[-1] + 0.1 * rdm(seed) * rng.random() for seed in range(50)]
    stack = pfa.stack_from_matrices(dict(enumerate(tried)), NAMES)
    found = pfa.compare_to_reference(stack, subjects, method="whitened_cosine")["r"]
    assert found.max() < high + 1e-12
    # And the mean of what the method sees comes close.
    assert found.max() > high - 0.01


def test_subjects_without_noise_have_a_ceiling_of_one():
    found = pfa.noise_ceiling(brains(noise=0))
    assert found[["ceiling_low", "ceiling_high"]].to_numpy().tolist() == [
        pytest.approx([1, 1], abs=1e-12)
    ]


def test_reliability_is_that_of_all_halves_by_hand():
    subjects = brains(4)
    cells = cells_of(subjects)
    scaled = (cells - cells.mean(axis=1, keepdims=True)) / cells.std(axis=1, keepdims=True)
    r = []
    for half in itertools.combinations(range(4), 2):
        if 0 in half:
            rest = [k for k in range(4) if k not in half]
            r.append(np.corrcoef(scaled[list(half)].mean(axis=0), scaled[rest].mean(axis=0))[0, 1])
    found = pfa.reliability(subjects)
    assert found["n_splits"][0] == 3
    assert found["r_halves"][0] == pytest.approx(np.mean(r), abs=1e-12)
    assert found["reliability"][0] == pytest.approx(2 * np.mean(r) / (1 + np.mean(r)), abs=1e-12)


def test_reliability_of_many_subjects_is_of_random_halves_and_seeded():
    subjects = brains(12)
    found = pfa.reliability(subjects, num_splits=50)
    assert found["n_splits"][0] == 50
    pd.testing.assert_frame_equal(found, pfa.reliability(subjects, num_splits=50))
    other = pfa.reliability(subjects, num_splits=50, random_state=1)
    assert other["r_halves"][0] != found["r_halves"][0]
    assert other["r_halves"][0] == pytest.approx(found["r_halves"][0], abs=0.03)
    # More subjects, and with less noise, are more reliable.
    assert found["reliability"][0] > pfa.reliability(brains(4))["reliability"][0]
    quiet = pfa.reliability(brains(12, noise=0.2), num_splits=50)
    assert quiet["reliability"][0] > found["reliability"][0]


def test_missing_cells_are_left_out_for_all_or_refused():
    subjects = brains()
    matrix = subjects["matrix"][2].copy()
    matrix[0, 1] = matrix[1, 0] = np.nan
    holed = subjects.assign(matrix=[*subjects["matrix"][:2], matrix, *subjects["matrix"][3:]])
    assert pfa.noise_ceiling(holed)["n_pairs"][0] == N * (N - 1) // 2 - 1
    with pytest.raises(
        ValueError, match=r"1 missing dissimilarities .*, in 1 of 6 RDMs: 1 of 45 in subject 's2'"
    ):
        pfa.noise_ceiling(holed, nan_policy="raise")


def test_what_is_refused():
    with pytest.raises(ValueError, match="the reference has a single subject"):
        pfa.noise_ceiling(brains(1))
    with pytest.raises(ValueError, match="no column 'subject'"):
        pfa.noise_ceiling(brains().drop(columns="subject"))
    with pytest.raises(ValueError, match=r"reference_roi='V1'.* has a single subject"):
        pfa.reliability(
            pd.concat([brains(1).assign(roi="V1"), brains(3).assign(roi="IT")], ignore_index=True)
        )
    with pytest.raises(ValueError, match="Did you mean 'pearson'"):
        pfa.reliability(brains(), method="person")
