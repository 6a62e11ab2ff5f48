"""RDMs of measured patterns: values beside rsatoolbox, designs, noise, and what is refused."""

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
import rsatoolbox
from rsatoolbox.data import Dataset, noise

import pytorch_feature_analysis as pfa

NAMES = ["ant", "bee", "cat", "dog", "elk"]
P = 8
# numpy, about a table of integers that rsatoolbox fills with NaN.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
METHODS = ("shrinkage_diag", "shrinkage_eye", "full", "diag")


def subject(seed=0, n_runs=4, n_repetitions=3, noise_of=1.0, p=P):
    """Observations in a shuffled order, of all conditions equally often in each run."""
    rng = np.random.default_rng(seed)
    keys, runs, _ = zip(
        *itertools.product(NAMES, range(n_runs), range(n_repetitions)), strict=True
    )
    order = rng.permutation(len(keys))
    true = rng.normal(size=(len(NAMES), p))
    mixing = np.eye(p) + 0.5 * rng.normal(size=(p, p))
    places = np.array([NAMES.index(keys[k]) for k in order])
    return {
        "activations": true[places] + noise_of * rng.normal(size=(len(keys), p)) @ mixing,
        "entry_keys": [keys[k] for k in order],
        "run": [runs[k] for k in order],
    }


def frame_of(*subjects, **columns):
    frame = pd.DataFrame({"subject": [f"s{k}" for k in range(len(subjects))]})
    for name in subjects[0]:
        frame[name] = pd.Series([one[name] for one in subjects], dtype=object)
    for name, cells in columns.items():
        frame[name] = pd.Series(cells, dtype=object)
    return frame


def dataset_of(one):
    return Dataset(
        np.array(one["activations"]),
        obs_descriptors={
            "c": np.array(one["entry_keys"]),
            "r": np.array(one["run"]),
            "both": np.array(
                [f"{c} {r}" for c, r in zip(one["entry_keys"], one["run"], strict=True)]
            ),
        },
    )


def by_rsatoolbox(one, precision=None, function=rsatoolbox.rdm.calc_rdm):
    made = function(dataset_of(one), "crossnobis", "c", noise=precision, cv_descriptor="r")
    # calc_rdm sorts its entries, calc_rdm_unbalanced has them in the order in which they come.
    order = np.argsort(made.pattern_descriptors["c"])
    return made.get_matrices()[0][np.ix_(order, order)]


def in_order(row):
    """The matrix with its entries sorted by name."""
    order = np.argsort([key[0] for key in row["entry_keys"]])
    return row["matrix"][np.ix_(order, order)]


@pytest.fixture
def one():
    return subject()


def test_without_noise_crossnobis_is_that_of_rsatoolbox(one):
    stack = pfa.get_pattern_rdms(frame_of(one), ["crossnobis", "cv_squared_euclidean"], noise=None)
    for function in (rsatoolbox.rdm.calc_rdm, rsatoolbox.rdm.calc_rdm_unbalanced):
        expected = by_rsatoolbox(one, function=function)
        np.testing.assert_allclose(in_order(stack.iloc[0]), expected, atol=1e-10)
    # The other one has no division by the number of channels.
    np.testing.assert_allclose(in_order(stack.iloc[1]), expected * P, atol=1e-10)


@pytest.mark.parametrize(("source", "by"), [("repetitions", "both"), ("runs", "c")])
@pytest.mark.parametrize("method", METHODS)
def test_with_noise_of_repetitions_crossnobis_is_that_of_rsatoolbox(one, method, source, by):
    precision = noise.prec_from_unbalanced(dataset_of(one), by, method=method)
    stack = pfa.get_pattern_rdms(frame_of(one), noise=source, noise_method=method)
    for function in (rsatoolbox.rdm.calc_rdm, rsatoolbox.rdm.calc_rdm_unbalanced):
        expected = by_rsatoolbox(one, precision, function)
        np.testing.assert_allclose(in_order(stack.iloc[0]), expected, atol=1e-10)
    assert stack["noise"].tolist() == [source]


@pytest.mark.parametrize("method", METHODS)
def test_with_residuals_crossnobis_is_that_of_rsatoolbox(one, method):
    residuals = np.random.default_rng(3).normal(size=(40, P)) * np.arange(1, P + 1)
    precision = noise.prec_from_residuals(residuals, method=method)
    stack = pfa.get_pattern_rdms(
        frame_of(one, residuals=[residuals]), noise="residuals", noise_method=method
    )
    expected = by_rsatoolbox(one, precision)
    np.testing.assert_allclose(in_order(stack.iloc[0]), expected, atol=1e-10)
    # The same by what was made of them before.
    for name, array in (("precision", precision), ("covariance", np.linalg.inv(precision))):
        given = pfa.get_pattern_rdms(frame_of(one, **{name: [array]}), noise=name)
        np.testing.assert_allclose(in_order(given.iloc[0]), expected, atol=1e-10)
    if method == "diag":
        given = pfa.get_pattern_rdms(
            frame_of(one, precision=[np.diag(precision)]), noise="precision"
        )
        np.testing.assert_allclose(in_order(given.iloc[0]), expected, atol=1e-10)


def test_noise_of_each_run_is_taken_as_in_rsatoolbox(one):
    runs = range(4)
    tables = np.random.default_rng(3).normal(size=(4, 40, P)) * np.arange(1, 5)[:, None, None]
    precisions = noise.prec_from_residuals(list(tables))
    expected = by_rsatoolbox(one, list(precisions))
    residuals, precision = (
        dict(zip(runs, tables, strict=True)),
        dict(zip(runs, precisions, strict=True)),
    )
    frame = frame_of(one, residuals=[residuals], precision=[precision])
    for source in ("residuals", "precision"):
        stack = pfa.get_pattern_rdms(frame, noise=source, noise_by_run=True)
        np.testing.assert_allclose(in_order(stack.iloc[0]), expected, atol=1e-10)
    # Of repetitions within each run.
    conditions = np.array(one["entry_keys"])
    own = []
    for run in runs:
        here = np.array(one["run"]) == run
        part = Dataset(one["activations"][here], obs_descriptors={"c": conditions[here]})
        own.append(noise.prec_from_unbalanced(part, "c"))
    stack = pfa.get_pattern_rdms(frame, noise_by_run=True)
    np.testing.assert_allclose(in_order(stack.iloc[0]), by_rsatoolbox(one, own), atol=1e-10)
    # All residuals together: deviations from the mean of each run.
    pooled = pfa.get_pattern_rdms(frame, noise="residuals", noise_method="full")
    deviations = np.concatenate([table - table.mean(axis=0) for table in tables])
    precision = np.linalg.inv(deviations.T @ deviations / (4 * 39))
    np.testing.assert_allclose(in_order(pooled.iloc[0]), by_rsatoolbox(one, precision), atol=1e-10)


def unbalanced():
    """Conditions that runs lack, and as many repetitions as chance has it."""
    one = subject(5)
    keep = np.random.default_rng(0).random(len(one["run"])) < 0.4
    return {
        name: [x for x, k in zip(cells, keep, strict=True) if k] for name, cells in one.items()
    }


def test_a_whitened_correlation_worked_by_hand():
    # In units of noise (1, 2, 2) and less their means, the patterns are (-1, 0, 1) and (-1, 1, 0)
    # in both runs: c is 2 for each with itself, and 1 between.
    patterns = np.array([[0.0, 2, 4], [0, 4, 2]] * 2)
    one = {"activations": patterns, "entry_keys": ["a", "b"] * 2, "run": [1, 1, 2, 2]}
    frame = frame_of(one, covariance=[np.diag([1.0, 4, 4])])
    metrics = ["cv_whitened_corr", "cv_corr"]
    stack = pfa.get_pattern_rdms(frame, metrics, noise="covariance")
    assert stack["matrix"][0][0, 1] == pytest.approx(1 - 1 / 2)
    # As they are, they are (-2, 0, 2) and (-2, 2, 0): the same here, as both channels have 4.
    assert stack["matrix"][1][0, 1] == pytest.approx(1 - 1 / 2)
    frame = frame_of(one, covariance=[np.diag([1.0, 1, 4])])
    # In units of (1, 1, 2): (0, 2, 2) and (0, 4, 1), less their means (-4, 2, 2) and (-5, 7, -2)
    # thirds, whose products are 24, 78 and 30 ninths.
    stack = pfa.get_pattern_rdms(frame, metrics, noise="covariance")
    assert stack["matrix"][0][0, 1] == pytest.approx(1 - 30 / np.sqrt(24 * 78))
    assert stack["matrix"][1][0, 1] == pytest.approx(1 / 2)
    assert stack["noise"].tolist() == ["covariance", None]


def test_whitened_correlations_take_the_noise_that_crossnobis_takes(one):
    metrics = ["cv_whitened_corr", "cv_corr"]
    plain, same = pfa.get_pattern_rdms(frame_of(one), metrics, noise=None)["matrix"]
    np.testing.assert_array_equal(plain, same)
    with_noise = frame_of(one, covariance=[np.cov(np.random.default_rng(0).normal(size=(P, 30)))])
    for options in ({}, {"noise_by_run": True}, {"noise": "runs"}):
        found = pfa.get_pattern_rdms(frame_of(one), metrics, **options)
        assert not np.allclose(found["matrix"][0], found["matrix"][1], atol=0.01)
    # The order of channels makes no difference.
    order = np.random.default_rng(1).permutation(P)
    turned = {**one, "activations": one["activations"][:, order]}
    covariance = with_noise["covariance"][0][np.ix_(order, order)]
    np.testing.assert_allclose(
        pfa.get_pattern_rdms(with_noise, metrics, noise="covariance")["matrix"][0],
        pfa.get_pattern_rdms(
            frame_of(turned, covariance=[covariance]), metrics, noise="covariance"
        )["matrix"][0],
        atol=1e-12,
    )


# Not rsatoolbox 0.3.2: where runs lack conditions, calc_rdm raises (shapes that do not fit), and
# calc_rdm_unbalanced takes products of a condition with itself from other runs than those with
# another one. Without noise, four conditions in three runs, and 5 added to all patterns of a run:
#   true = [[0, 0], [10, 0], [0, 10], [7, 7]]; patterns of run r: true + 5 * r, run 1 without the
#   last: 40.67 instead of 49, 20.67 instead of 29. And one condition that is in a single run makes
#   all of its RDM NaN.
@pytest.mark.parametrize("source", [None, "repetitions", "runs"])
def test_unbalanced_designs_are_the_mean_over_pairs_of_runs(source):
    one = unbalanced()
    table, keys, runs = (np.array(one[name]) for name in ("activations", "entry_keys", "run"))
    means = {
        (name, run): table[(keys == name) & (runs == run)].mean(axis=0)
        for name, run in set(zip(one["entry_keys"], one["run"], strict=True))
    }
    assert len(means) < len(NAMES) * 4
    precision = np.eye(P)
    if source:
        by = "both" if source == "repetitions" else "c"
        precision = noise.prec_from_unbalanced(dataset_of(one), by)
    stack = pfa.get_pattern_rdms(frame_of(one), noise=source)
    found = in_order(stack.iloc[0])
    for (i, first), (j, second) in itertools.combinations(enumerate(NAMES), 2):
        differences = [
            means[first, run] - means[second, run]
            for run in range(4)
            if (first, run) in means and (second, run) in means
        ]
        products = [x @ precision @ y / P for x, y in itertools.permutations(differences, 2)]
        assert found[i, j] == pytest.approx(np.mean(products), abs=1e-10)
    design = pfa.get_pattern_design(frame_of(one)).iloc[0]
    assert design["n_missing"] == len(NAMES) * 4 - len(means)
    assert design["n_observations"] == len(runs)


def test_what_is_added_to_a_run_makes_no_difference_where_runs_lack_conditions():
    true = np.array([[0.0, 0], [10, 0], [0, 10], [7, 7]])
    places = [(k, run) for run in range(3) for k in range(4) if (k, run) != (3, 1)]
    frame = pd.DataFrame(
        {
            "activations": [[true[k] + 5 * run for k, run in places]],
            "entry_keys": [[k for k, _ in places]],
            "run": [[run for _, run in places]],
        }
    )
    (matrix,) = pfa.get_pattern_rdms(frame, noise=None)["matrix"]
    np.testing.assert_allclose(pfa.get_upper_triang(matrix), [50, 50, 49, 100, 29, 29])


def test_metrics_of_networks_compare_the_means_of_conditions(one):
    own = ("largest", lambda x, y: np.abs(x - y).max())
    metrics = ["corr", "cv_corr", own, "cityblock"]
    stack = pfa.get_pattern_rdms(frame_of(one), metrics)
    assert stack["dissim_metric"].tolist() == ["corr", "cv_corr", "largest", "cityblock"]
    assert stack["noise"].tolist() == [None] * 4
    keys = np.array(one["entry_keys"])
    means = np.stack([one["activations"][keys == name].mean(axis=0) for name in NAMES])
    for row in (0, 2, 3):
        np.testing.assert_allclose(
            in_order(stack.iloc[row]), pfa.compute_rdm(means, metrics[row]), atol=1e-12
        )
    # Without noise, cross-validation changes nothing.
    sure = pfa.get_pattern_rdms(frame_of(subject(noise_of=0)), ["corr", "cv_corr"])
    np.testing.assert_allclose(sure["matrix"][0], sure["matrix"][1], atol=1e-12)
    # They need no runs.
    runless = frame_of(one).drop(columns="run")
    np.testing.assert_array_equal(
        pfa.get_pattern_rdms(runless, ["corr"])["matrix"][0], stack["matrix"][0]
    )


def test_patterns_that_differ_in_noise_alone_are_0_apart_on_average():
    rng = np.random.default_rng(0)
    keys, runs = NAMES * 12, np.repeat(range(6), 10).tolist()
    tables = rng.normal(size=(300, 60, 20))
    frame = frame_of(
        *[{"activations": table, "entry_keys": keys, "run": runs} for table in tables],
        residuals=list(rng.normal(size=(300, 50, 20))),
    )
    metrics = ["crossnobis", "cv_squared_euclidean", "corr"]
    stacks = [
        pfa.get_pattern_rdms(frame, metrics),
        pfa.get_pattern_rdms(frame, noise="residuals"),
        pfa.get_pattern_rdms(frame, noise_by_run=True, noise_method="diag"),
        pfa.get_pattern_rdms(frame, noise="runs"),
    ]
    for (metric, source), rows in pd.concat(stacks).groupby(
        ["dissim_metric", "noise"], dropna=False
    ):
        cells = np.stack(rows["matrix"].map(pfa.get_upper_triang).tolist())
        error = cells.mean(axis=1).std(ddof=1) / np.sqrt(len(cells))
        if metric == "corr" or source == "runs":
            # Not cross-validated; and a covariance that has seen how runs differ, which is why it
            # is not the default (it is what rsatoolbox makes of the descriptor of conditions).
            assert cells.mean() > 4 * error
        else:
            assert abs(cells.mean()) < 4 * error
            assert 0.4 < (cells < 0).mean() < 0.6


def test_the_stack_has_what_the_rows_are_of_and_goes_through_files(tmp_path, one):
    frame = frame_of(one, subject(1), roi=["V1", "IT"]).set_index(pd.Index(["x", "y"]))
    path = tmp_path / "stack.parquet"
    stack = pfa.get_pattern_rdms(frame, ["crossnobis", "corr"], path, df_name="brains")
    assert stack.columns.tolist() == [
        *["df_name", "subject", "roi", "dissim_metric", "noise", "matrix", "entry_keys"],
        *["entry_labels", "perm", "perm_scramble", "dissim_rankings"],
    ]
    assert stack["subject"].tolist() == ["s0", "s0", "s1", "s1"]
    assert stack["roi"].tolist() == ["V1", "V1", "IT", "IT"]
    assert set(stack["df_name"]) == {"brains"}
    assert set(stack["perm"]) == {"orig_data"}
    assert stack["entry_labels"][0][0] == {"entry": stack["entry_keys"][0][0][0]}
    pd.testing.assert_frame_equal(pfa.check_rdm_stack(stack), stack)
    read = pfa.read_rdms(path)
    for k in range(4):
        np.testing.assert_array_equal(read["matrix"][k], stack["matrix"][k])
    assert read["entry_keys"].tolist() == stack["entry_keys"].tolist()
    with pytest.raises(ValueError, match="read-only"):
        stack["matrix"][0][0, 0] = 1


def test_brains_and_networks_meet_in_one_stack():
    brains = pfa.get_pattern_rdms(frame_of(*map(subject, range(3))))
    rng = np.random.default_rng(0)
    network = pd.DataFrame(
        {
            "layer": ["conv1", "fc1"],
            "matrix": [pfa.compute_rdm(rng.normal(size=(5, 9))) for _ in range(2)],
            "entry_keys": [NAMES] * 2,
        }
    )
    # Subjects with other numbers of channels are still those of one reference.
    brains = pd.concat(
        [brains, pfa.get_pattern_rdms(frame_of(subject(4, p=6)).assign(subject="s4"))]
    )
    found = pfa.compare_to_reference(network, brains)
    assert found["n_subjects"].tolist() == [4, 4]
    assert pfa.noise_ceiling(brains)["n_subjects"].tolist() == [4]
    both = pd.concat([network, brains], ignore_index=True)
    assert len(pfa.check_rdm_stack(both)) == 6
    meta = pfa.get_meta_rdms(brains, None, entry_variables=["subject"])
    assert meta["matrix"][0].shape == (4, 4)


def test_runs_and_conditions_may_be_parts_of_the_entry_keys(one):
    expected = pfa.get_pattern_rdms(frame_of(one))
    numbers = range(len(one["run"]))
    keys = list(zip(one["entry_keys"], one["run"], numbers, strict=True))
    labels = [dict(zip(("animal", "session", "trial"), key, strict=True)) for key in keys]
    frame = frame_of(
        {"activations": one["activations"], "entry_keys": keys, "entry_labels": labels}
    )
    found = pfa.get_pattern_rdms(frame, run_variable="session", condition_variables=["animal"])
    np.testing.assert_array_equal(found["matrix"][0], expected["matrix"][0])
    assert found["entry_keys"][0] == expected["entry_keys"][0]
    assert found["entry_labels"][0][0] == {"animal": found["entry_keys"][0][0][0]}
    # Without the trials, what is not the run is the condition.
    fewer = [{name: label[name] for name in ("animal", "session")} for label in labels]
    frame = frame_of(
        {
            "activations": one["activations"],
            "entry_keys": [key[:2] for key in keys],
            "entry_labels": fewer,
        }
    )
    again = pfa.get_pattern_rdms(frame, run_variable="session")
    np.testing.assert_array_equal(again["matrix"][0], expected["matrix"][0])
    assert again["entry_labels"][0] == found["entry_labels"][0]


def test_the_order_of_channels_and_runs_makes_no_difference_and_shuffled_conditions_do(one):
    (whole,) = pfa.get_pattern_rdms(frame_of(one))["matrix"]
    channels = np.random.default_rng(0).permutation(P)
    renamed = [f"session {9 - run}" for run in one["run"]]
    moved = one | {"activations": one["activations"][:, channels], "run": renamed}
    np.testing.assert_allclose(
        pfa.get_pattern_rdms(frame_of(moved))["matrix"][0], whole, atol=1e-10
    )
    broken = one | {"run": one["run"][::-1]}
    assert not np.allclose(pfa.get_pattern_rdms(frame_of(broken))["matrix"][0], whole)
    # In units of noise, units of channels do not matter; without noise they do.
    units = one | {"activations": one["activations"] * np.arange(1, P + 1)}
    np.testing.assert_allclose(
        pfa.get_pattern_rdms(frame_of(units))["matrix"][0], whole, atol=1e-10
    )
    plain = [pfa.get_pattern_rdms(frame_of(x), noise=None)["matrix"][0] for x in (one, units)]
    assert not np.allclose(*plain)


def test_channels_and_observations_with_nan_are_left_out_and_counted(one, caplog):
    table = np.column_stack([one["activations"], np.ones(len(one["run"]))])
    table[3, -1] = np.nan
    lost = np.full((1, P + 1), np.nan)
    gaps = {
        "activations": np.vstack([table, lost]),
        "entry_keys": [*one["entry_keys"], "fox"],
        "run": [*one["run"], 0],
    }
    frame = frame_of(gaps)
    with caplog.at_level(logging.WARNING):
        stack = pfa.get_pattern_rdms(frame, ["crossnobis", "corr"])
    assert "the row 0: 1 of 9 channels and 1 of 61 observations are left out" in caplog.text
    expected = pfa.get_pattern_rdms(frame_of(one), ["crossnobis", "corr"])
    for k in range(2):
        np.testing.assert_array_equal(stack["matrix"][k], expected["matrix"][k])
    design = pfa.get_pattern_design(frame)
    assert design.to_dict("records") == [
        {
            "subject": "s0",
            "n_conditions": 5,
            "n_runs": 4,
            "n_observations": 60,
            "n_observations_left_out": 1,
            "n_channels": 8,
            "n_channels_left_out": 1,
            "n_missing": 0,
            "n_pairs_apart": 0,
        }
    ]
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 9 channels"):
        pfa.get_pattern_rdms(frame, nan_policy="raise")


@pytest.mark.parametrize("source", ["residuals", "covariance", "precision"])
def test_channels_without_noise_are_left_out_in_both(one, source):
    residuals = np.random.default_rng(3).normal(size=(40, P))
    covariance = pfa.noise_covariance(residuals)
    array = {"residuals": residuals, "covariance": covariance}.get(
        source, np.linalg.inv(covariance)
    )
    array = array.copy()
    array[:, 2] = np.nan
    if source != "residuals":
        array[2] = np.nan
    found = pfa.get_pattern_rdms(frame_of(one, **{source: [array]}), noise=source)
    fewer = np.delete(array, 2, axis=1)
    if source != "residuals":
        fewer = np.delete(fewer, 2, axis=0)
    rest = one | {"activations": np.delete(one["activations"], 2, axis=1)}
    expected = pfa.get_pattern_rdms(frame_of(rest, **{source: [fewer]}), noise=source)
    np.testing.assert_allclose(found["matrix"][0], expected["matrix"][0], atol=1e-12)
    design = pfa.get_pattern_design(frame_of(one, **{source: [array]}), noise=source)
    assert design["n_channels_left_out"].tolist() == [1]


def test_a_precision_of_all_channels_is_marginalised_where_one_has_nan(one):
    covariance = pfa.noise_covariance(np.random.default_rng(3).normal(size=(40, P)))
    table = one["activations"].copy()
    table[0, 0] = np.nan
    gaps = one | {"activations": table}
    frames = [
        frame_of(gaps, covariance=[covariance], precision=[np.linalg.inv(covariance)]),
        frame_of(one | {"activations": table[:, 1:]}, covariance=[covariance[1:, 1:]]),
    ]
    expected = pfa.get_pattern_rdms(frames[1], noise="covariance")["matrix"][0]
    for source in ("covariance", "precision"):
        found = pfa.get_pattern_rdms(frames[0], noise=source)["matrix"][0]
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_conditions_that_no_two_runs_share_are_nan_and_named(one):
    more = {
        "activations": np.vstack([one["activations"], np.zeros(P)]),
        "entry_keys": [*one["entry_keys"], "fox"],
        "run": [*one["run"], 0],
    }
    with pytest.warns(
        UserWarning, match="no two runs in common.*5 pairs in crossnobis of the row 0"
    ):
        stack = pfa.get_pattern_rdms(frame_of(more))
    matrix = stack["matrix"][0]
    place = stack["entry_keys"][0].index(("fox",))
    assert np.isnan(np.delete(matrix[place], place)).all()
    assert np.isfinite(np.delete(np.delete(matrix, place, 0), place, 1)).all()
    assert pfa.get_pattern_design(frame_of(more))["n_pairs_apart"].tolist() == [5]
    with pytest.raises(ValueError, match="5 pairs of conditions without 'crossnobis'"):
        pfa.get_pattern_rdms(frame_of(more), nan_policy="raise")


def test_the_frame_and_its_arrays_stay_as_they_are(one):
    residuals = {run: np.random.default_rng(run).normal(size=(20, P)) for run in range(4)}
    frame = frame_of(one, residuals=[residuals], covariance=[np.eye(P)])
    before, table = frame.copy(), one["activations"].copy()
    arrays = {run: array.copy() for run, array in residuals.items()}
    pfa.get_pattern_rdms(frame, ["crossnobis", "cv_corr", "corr"], noise="residuals")
    pfa.get_pattern_rdms(frame, noise="residuals", noise_by_run=True)
    pfa.get_pattern_rdms(frame, noise="covariance")
    pfa.get_pattern_design(frame)
    assert list(frame.columns) == list(before.columns)
    assert frame["activations"][0] is before["activations"][0]
    np.testing.assert_array_equal(frame["activations"][0], table)
    np.testing.assert_array_equal(frame["covariance"][0], np.eye(P))
    for run, array in arrays.items():
        np.testing.assert_array_equal(residuals[run], array)


def test_a_single_run_is_refused_with_what_to_do(one):
    frame = frame_of(one | {"run": ["a"] * 60})
    with pytest.raises(ValueError, match=r"position 0 .*single run 'a'.*such as 'corr'"):
        pfa.get_pattern_rdms(frame)
    assert len(pfa.get_pattern_rdms(frame, ["corr"])) == 1
    apart = frame_of(one | {"run": one["entry_keys"]})
    with pytest.raises(ValueError, match="no two conditions that share two runs"):
        pfa.get_pattern_rdms(apart, ["cv_corr"])


def test_noise_that_cannot_be_inverted_or_told_is_refused(one):
    few = frame_of(subject(n_runs=2, n_repetitions=1))
    with pytest.raises(ValueError, match=r"position 0 .*singular.*'shrinkage_diag'"):
        pfa.get_pattern_rdms(few, noise="runs", noise_method="full")
    assert np.isfinite(pfa.get_pattern_rdms(few, noise="runs")["matrix"][0]).all()
    with pytest.raises(ValueError, match=r"one observation of each condition in each run.*'runs'"):
        pfa.get_pattern_rdms(few)
    places = [k for k, run in enumerate(one["run"]) if run]
    first = [one["run"].index(0), *places]
    rest = {name: [cells[k] for k in first] for name, cells in one.items()}
    with pytest.raises(ValueError, match=r"in the run 0, and no telling.*noise_by_run=False"):
        pfa.get_pattern_rdms(frame_of(rest), noise_by_run=True)


@pytest.mark.parametrize(
    ("columns", "options", "kind", "message"),
    [
        ({}, {"dissim_metrics": "crossnobis"}, TypeError, "list of metrics"),
        ({}, {"dissim_metrics": []}, ValueError, "is empty"),
        ({}, {"dissim_metrics": ["crossnobi"]}, ValueError, "Did you mean 'crossnobis'"),
        ({}, {"dissim_metrics": ["corr", "corr"]}, ValueError, "more than once"),
        ({}, {"noise": "residuals"}, ValueError, "no column 'residuals'"),
        ({}, {"noise": "residual"}, ValueError, "Did you mean 'residuals'"),
        ({}, {"noise": np.eye(P)}, TypeError, "column 'covariance' or 'precision'"),
        ({}, {"noise_method": "eye"}, ValueError, "`noise_method` names 'eye'"),
        ({}, {"noise_by_run": 1}, TypeError, "True or False"),
        ({}, {"noise": None, "noise_by_run": True}, ValueError, "`noise` is None"),
        ({}, {"noise": "runs", "noise_by_run": True}, ValueError, "`noise` is 'runs'"),
        ({}, {"nan_policy": "drop"}, ValueError, "`nan_policy` names 'drop'"),
        ({}, {"df_name": 3}, TypeError, "`df_name`"),
        ({}, {"run_variable": "session"}, ValueError, "neither a column .* nor a name"),
        ({}, {"run_variable": 3}, TypeError, "name of a column"),
        ({}, {"condition_variables": ["animal"]}, ValueError, "names 'animal'"),
        ({}, {"condition_variables": []}, ValueError, "is empty"),
        ({"run": [[1, 2]]}, {}, ValueError, "has 2 runs in 'run', but 60 observations"),
        ({"run": ["one"]}, {}, TypeError, "list of 60"),
        ({"run": [[None] * 60]}, {}, ValueError, "without a run"),
        ({"entry_keys": [NAMES]}, {}, ValueError, "5 entry_keys, but its activations"),
        ({"entry_keys": [["ant"] * 60]}, {}, ValueError, "single condition"),
        ({"entry_keys": ["ant"]}, {}, TypeError, "must have a list in `entry_keys`"),
        ({"activations": ["file.npy"]}, {}, TypeError, "real numbers"),
        ({"activations": [np.full((60, 2), np.nan)]}, {}, ValueError, "no channel of 2"),
        ({"matrix": [1]}, {}, ValueError, "has a column 'matrix'"),
        ({"residuals": [np.eye(3)]}, {"noise": "residuals"}, ValueError, "but 8 channels"),
        ({"residuals": [[1, 2]]}, {"noise": "residuals"}, ValueError, "n_samples, n_channels"),
        ({"residuals": [np.ones((1, P))]}, {"noise": "residuals"}, ValueError, "single sample"),
        (
            {"covariance": [{0: np.eye(P)}]},
            {"noise": "covariance"},
            TypeError,
            "noise_by_run=True",
        ),
        ({"covariance": [np.zeros((P, P))]}, {"noise": "covariance"}, ValueError, "no variance"),
        ({"precision": [np.zeros((P, P))]}, {"noise": "precision"}, ValueError, "not positive"),
        (
            {"covariance": [np.eye(P)]},
            {"noise": "covariance", "noise_by_run": True},
            TypeError,
            "dict from runs",
        ),
        (
            {"covariance": [{0: np.eye(P)}]},
            {"noise": "covariance", "noise_by_run": True},
            ValueError,
            "no 'covariance' of the runs",
        ),
    ],
)
def test_what_it_cannot_take_is_refused(one, columns, options, kind, message):
    with pytest.raises(kind, match=message):
        pfa.get_pattern_rdms(frame_of(one, **columns), **options)


def test_an_empty_frame_and_what_is_none_are_refused(one):
    with pytest.raises(ValueError, match="has no rows"):
        pfa.get_pattern_rdms(frame_of(one).iloc[:0])
    with pytest.raises(TypeError, match="DataFrame"):
        pfa.get_pattern_rdms([one])
    with pytest.raises(ValueError, match="has a column 'n_runs'"):
        pfa.get_pattern_design(frame_of(one, n_runs=[1]))
