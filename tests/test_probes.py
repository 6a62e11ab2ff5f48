"""Linear probes: the search, the training, the scores, and frames of many of them."""

import copy
import math
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import probe_rows, probe_training
from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.probe_search import WEIGHT_DECAYS, Setting, search
from pytorch_feature_analysis.probe_training import train_adamw

QUICK = {"learning_rates": 0.1, "weight_decays": 0.0}


@pytest.fixture(scope="module")
def digits():
    """Features, targets, test features and test targets: digits in rows of unit length."""
    x, y = load_digits(return_X_y=True)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1200], order[1200:]
    return x[train], y[train], x[test], y[test]


def clouds(n_classes=3, n_each=20, spread=0.1, seed=0, n_features=None):
    """Classes about the corners of a simplex."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), n_each)
    x = np.eye(n_classes, n_features)[y]
    return x + spread * rng.normal(size=x.shape), y


def probe(data, **options):
    return pfa.train_linear_probe(*data, progress=False, **options)


# The search.


def test_the_grid_has_64_points_nine_a_decade():
    assert len(WEIGHT_DECAYS) == 64
    np.testing.assert_allclose(WEIGHT_DECAYS[::9], 10.0 ** np.arange(-6, 2))
    np.testing.assert_allclose(np.diff(np.log10(WEIGHT_DECAYS)), 1 / 9)


def visits(objective, learning_rates=(0.1,), weight_decays=None):
    """What the search finds, and the points of the grid that each sweep tries."""
    sweeps = []

    def scores_of(settings):
        sweeps.append(
            [(one.learning_rate, WEIGHT_DECAYS.index(one.weight_decay)) for one in settings]
        )
        return [objective(*one) for one in sweeps[-1]]

    best, score = search(scores_of, learning_rates, weight_decays)
    return (best.learning_rate, WEIGHT_DECAYS.index(best.weight_decay)), score, sweeps


COARSE = list(range(0, 64, 9))


def points(sweeps):
    return [[point for _, point in sweep] for sweep in sweeps]


def test_the_search_closes_in_on_the_optimum_by_steps_of_4_2_and_1():
    # 33 is nearest to 36 of the coarse points; then 32, from where 30 and 34 are worse; then 33.
    best, score, sweeps = visits(lambda _, point: -abs(point - 33))
    assert best == (0.1, 33)
    assert score == 0
    assert points(sweeps) == [COARSE, [32, 40], [30, 34], [31, 33]]


@pytest.mark.parametrize("optimum", range(64))
def test_every_point_of_the_grid_can_be_found(optimum):
    assert visits(lambda _, point: -abs(point - optimum))[0] == (0.1, optimum)


def test_the_larger_weight_decay_wins_a_tie_within_a_sweep():
    # All coarse points alike: the largest. At the end of the grid there is one neighbour only.
    best, _, sweeps = visits(lambda *_: 0.5)
    assert best == (0.1, 63)
    assert points(sweeps) == [COARSE, [59], [61], [62]]
    # Both neighbours of 27 alike, and better than it: the larger one.
    best, _, _ = visits(lambda _, point: {27: 0.5, 23: 0.6, 31: 0.6}.get(point, 0))
    assert best == (0.1, 31)


def test_a_neighbour_that_is_as_good_does_not_take_over():
    best, _, sweeps = visits(lambda _, point: 0.5 if 20 <= point <= 35 else 0)
    assert best == (0.1, 27)
    assert points(sweeps)[1:] == [[23, 31], [25, 29], [26, 28]]


def test_no_point_is_tried_twice():
    # From 4 the search goes to 0, which was a coarse point.
    _, _, sweeps = visits(lambda _, point: {0: 0.5, 4: 0.6}.get(point, 0))
    tried = [point for sweep in points(sweeps) for point in sweep]
    assert len(tried) == len(set(tried))
    assert points(sweeps)[1] == [4]


def test_each_learning_rate_has_its_own_search_and_the_first_wins_a_tie():
    def objective(rate, point):
        return 1 - abs(point - {0.1: 10, 0.01: 50}[rate]) / 100

    best, _, sweeps = visits(objective, (0.1, 0.01))
    assert best == (0.1, 10)
    assert visits(objective, (0.01, 0.1))[0] == (0.01, 50)
    assert sweeps[1] == [(0.1, 5), (0.1, 13), (0.01, 50), (0.01, 58)]


def test_weight_decays_of_ones_own_are_all_tried_and_the_larger_wins():
    own = [WEIGHT_DECAYS[k] for k in (40, 3, 20)]
    best, _, sweeps = visits(lambda _, point: 1 if point > 3 else 0, weight_decays=own)
    assert best == (0.1, 40)
    assert points(sweeps) == [[3, 20, 40]]


# The training.


def test_training_is_that_of_torch_step_by_step():
    # Oracle: torch.nn.Linear, autograd, torch.optim.AdamW and its cosine schedule.
    x, y = clouds(4, 15, spread=0.5)
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    settings = [Setting(0.1, 0.0), Setting(0.03, 1.0), Setting(0.001, 0.01)]
    trained = train_adamw(inputs, targets, 4, settings, epochs=3, batch_size=16, seed=5)
    for setting, (weights, biases) in zip(settings, trained, strict=True):
        generator = torch.Generator().manual_seed(5)
        layer = torch.nn.Linear(4, 4)
        with torch.no_grad():
            layer.weight.uniform_(-0.5, 0.5, generator=generator)
            layer.bias.uniform_(-0.5, 0.5, generator=generator)
        optimizer = torch.optim.AdamW(
            layer.parameters(), setting.learning_rate, weight_decay=setting.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3 * 4)
        for _ in range(3):
            for batch in torch.randperm(60, generator=generator).split(16):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(layer(inputs[batch]), targets[batch])
                loss.backward()
                optimizer.step()
                schedule.step()
        np.testing.assert_allclose(weights, layer.weight.detach(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(biases, layer.bias.detach(), rtol=1e-4, atol=1e-5)


def test_classifiers_trained_side_by_side_or_in_turn_are_the_same(monkeypatch):
    x, y = (torch.tensor(one) for one in clouds(3, 30, spread=0.5))
    assert x.dtype == torch.float64
    settings = [Setting(0.1, decay) for decay in (0.0, 0.1, 1.0)]
    options = {"epochs": 2, "batch_size": 32, "seed": 0}
    together = train_adamw(x, y, 3, settings, **options)
    monkeypatch.setattr(probe_training, "_MOST_WEIGHTS", 10)
    for one, other in zip(together, train_adamw(x, y, 3, settings, **options), strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-10)


def test_training_leaves_the_seed_of_torch_alone():
    x, y = clouds()
    before = torch.get_rng_state()
    pfa.fit_linear_probe(x, y, solver="adamw", **QUICK)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("solver", ["logistic", "adamw"])
def test_separable_data_are_told_without_an_error(solver):
    x, y = clouds(3, 20, spread=0.05)
    x_test, y_test = clouds(3, 10, spread=0.05, seed=1)
    df = probe((x, y, x_test, y_test), solver=solver)
    assert df["accuracy"].tolist() == [1.0] * 3
    assert df["mean_per_class_recall"].tolist() == [1.0] * 3


@pytest.mark.parametrize("options", [{}, {"solver": "adamw", "batch_size": 64}])
def test_accuracy_is_that_of_scikit_learn_within_a_hundredth(digits, options):
    x, y, x_test, y_test = digits
    # Features of about unit size; as many steps as it takes on few samples.
    x, x_test = 8 * x, 8 * x_test
    oracle = LogisticRegression(max_iter=1000).fit(x, y).score(x_test, y_test)
    df = probe((x, y, x_test, y_test), **options)
    assert oracle > 0.95
    np.testing.assert_allclose(df["accuracy"], oracle, atol=0.01)


def test_probabilities_are_those_of_scikit_learn_for_two_classes_and_for_more(digits):
    x, y, x_test, _ = digits
    for is_chosen in (y < 2, y < 11):
        oracle = LogisticRegression(C=3.0, max_iter=1000).fit(x[is_chosen], y[is_chosen])
        fitted = pfa.fit_linear_probe(x[is_chosen], y[is_chosen], C=3.0)
        assert fitted.weights.shape == (len(np.unique(y[is_chosen])), 64)
        np.testing.assert_allclose(
            fitted.probabilities(x_test), oracle.predict_proba(x_test), atol=1e-5
        )
        assert fitted.predict(x_test).tolist() == oracle.predict(x_test).tolist()


def test_the_search_finds_settings_that_are_better_than_the_worst(digits):
    df = probe(digits, solver="adamw", seeds=[0], batch_size=256)
    poor = probe(digits, solver="adamw", seeds=[0], learning_rates=1e-4, weight_decays=10.0)
    assert df["accuracy"].item() > poor["accuracy"].item() + 0.1
    assert df["learning_rate"].item() in (1e-1, 1e-2, 1e-3, 1e-4)
    assert df["weight_decay"].item() in WEIGHT_DECAYS
    assert 0.9 < df["validation_accuracy"].item() <= 1


def test_the_smallest_of_several_c_wins_a_tie_and_the_best_wins():
    x, y = clouds(2, 20, spread=0.01)
    assert pfa.fit_linear_probe(x, y, C=[10.0, 1.0]).C == 1.0
    # Rare classes are told only where they count more than the penalty.
    x, y = np.r_[x[:20], x[20:24]], y[:24]
    assert pfa.fit_linear_probe(x, y, C=[1e-4, 1e3], validation=0.25).C == 1e3


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(digits):
    data = digits[0][:300], digits[1][:300], *digits[2:]
    df = probe(data, solver="adamw", weight_decays=[1e-3, 1e-1])
    again = probe(data, solver="adamw", weight_decays=[1e-3, 1e-1], seeds=[2, 1, 0])
    pd.testing.assert_frame_equal(df, again[::-1].reset_index(drop=True))
    assert len(set(df["validation_accuracy"])) > 1
    assert not np.array_equal(
        *(
            pfa.fit_linear_probe(*data[:2], solver="adamw", seed=seed, **QUICK).weights
            for seed in (0, 1)
        )
    )


def test_a_logistic_regression_without_a_choice_is_fitted_once_for_all_seeds(monkeypatch):
    calls = []
    fit = probe_rows.fit_probe
    monkeypatch.setattr(
        probe_rows, "fit_probe", lambda *args: calls.append(args[-1]) or fit(*args)
    )
    x, y = clouds()
    df = probe((x, y, x, y), seeds=[4, 7])
    assert calls == [4]
    assert df["seed"].tolist() == [4, 7]
    probe((x, y, x, y), seeds=[4, 7], C=[1.0, 2.0])
    assert calls == [4, 4, 7]


def test_the_columns_are_those_of_the_docstring():
    x, y = clouds(6, 10)
    df = probe((x, y, x[::2], y[::2]), solver="adamw", **QUICK)
    row = df.iloc[0].to_dict()
    assert (row["n_train"], row["n_test"], row["n_features"], row["n_classes"]) == (60, 30, 6, 6)
    assert (row["learning_rate"], row["weight_decay"]) == (0.1, 0.0)
    assert math.isnan(row["C"])
    assert math.isnan(row["validation_accuracy"])
    assert list(df) == [
        *["seed", "solver", "mode", "learning_rate", "weight_decay", "C", "validation_accuracy"],
        *["accuracy", "accuracy_top5", "mean_per_class_recall"],
        *["n_train", "n_test", "n_features", "n_classes"],
    ]


# The scores.


def test_scores_by_hand():
    # Seven classes; the true one is first, fifth, sixth, and first again in a tie.
    probabilities = np.array(
        [
            [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
            [0.3, 0.2, 0.1, 0.15, 0.05, 0.12, 0.08],
            [0.3, 0.2, 0.1, 0.15, 0.05, 0.12, 0.08],
            [0.25, 0.25, 0.1, 0.1, 0.1, 0.1, 0.1],
        ]
    )
    scores = pfa.score_probabilities(probabilities, list("acga"), list("abcdefg"))
    assert scores.accuracy == 2 / 4
    assert scores.accuracy_top5 == 3 / 4
    assert scores.mean_per_class_recall == pytest.approx((1 + 0 + 0) / 3)


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, targets = rng.random((200, 8)), rng.integers(8, size=200)
    scores = pfa.score_probabilities(probabilities, targets, range(8))
    told = probabilities.argmax(axis=1)
    assert scores.mean_per_class_recall == pytest.approx(balanced_accuracy_score(targets, told))
    assert scores.accuracy_top5 == top_k_accuracy_score(targets, probabilities, k=5)
    order = rng.permutation(8)
    assert pfa.score_probabilities(probabilities[:, order], targets, order) == scores


def test_top5_is_nan_under_6_classes():
    for n_classes, is_nan in ((5, True), (6, False)):
        x, y = clouds(n_classes, 10)
        df = probe((x, y, x, y), seeds=[0])
        assert np.isnan(df["accuracy_top5"].item()) == is_nan


def test_some_classes_alone_are_told_apart():
    x, y = clouds(4, 20, spread=0.6)
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    fitted = pfa.fit_linear_probe(x, names)
    whole = fitted.probabilities(x)
    some = fitted.probabilities(x, ["dog", "bee"])
    # A softmax over some is that over all, divided by their sum.
    pair = whole[:, [3, 1]]
    np.testing.assert_allclose(some, pair / pair.sum(axis=1, keepdims=True))
    assert set(fitted.predict(x, ["dog", "bee"])) == {"dog", "bee"}
    is_one = np.isin(names, ["dog", "bee"])
    scores = fitted.score(x[is_one], names[is_one], classes=["dog", "bee"])
    assert scores.accuracy > fitted.score(x[is_one], names[is_one]).accuracy
    with pytest.raises(ValueError, match="`classes` has 'cow', which the targets of the probe"):
        fitted.predict(x, ["cow"])
    with pytest.raises(ValueError, match="`features` has 3 features, and those trained on have 4"):
        fitted.predict(x[:, :3])
    assert not fitted.weights.flags.writeable


# Several networks.


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-3), (np.float64, 1e-10)])
def test_the_components_are_those_of_scikit_learn(digits, dtype, atol):
    x, x_test = (digits[k].astype(dtype) for k in (0, 2))
    train, test = pfa.combine_features(
        [x[:, :40], x[:, 20:]], [x_test[:, :40], x_test[:, 20:]], mode="concat_pca"
    )
    both, both_test = (np.concatenate([one[:, :40], one[:, 20:]], axis=1) for one in (x, x_test))
    # Oracle: singular values of the centred table.
    centre = both.mean(axis=0)
    _, s, v = np.linalg.svd((both - centre).astype(np.float64), full_matrices=False)
    n_kept = int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.99) + 1)
    assert train.shape == (1200, n_kept)
    assert n_kept < 64
    np.testing.assert_allclose(
        np.abs(test), np.abs((both_test - centre) @ v[:n_kept].T), atol=atol
    )
    model = PCA(0.99, svd_solver="full").fit(both)
    np.testing.assert_allclose(train, model.transform(both), atol=atol)
    assert train.dtype == dtype


def test_concatenated_features_are_one_table():
    x, y = clouds(4, 20)
    other = x[:, ::-1] ** 2
    df = probe(([x, other], y, [x, other], y), mode="concat")
    both = np.concatenate([x, other], axis=1)
    expected = probe((both, y, both, y))
    pd.testing.assert_frame_equal(df.drop(columns="mode"), expected.drop(columns="mode"))
    assert df["n_features"].tolist() == [8] * 3


def test_an_ensemble_is_the_mean_of_the_softmax_of_its_members(digits):
    x, y, x_test, y_test = digits
    parts = [slice(0, 20), slice(20, 40), slice(40, 64)]
    df = probe(
        ([x[:, part] for part in parts], y, [x_test[:, part] for part in parts], y_test),
        mode="ensemble",
        seeds=[0],
    )
    means = np.zeros((len(x_test), 10))
    for part in parts:
        fitted = pfa.fit_linear_probe(x[:, part], y)
        logits = x_test[:, part] @ fitted.weights.T + fitted.bias
        means += np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) / 3
    assert df["accuracy"].item() == np.mean(means.argmax(axis=1) == y_test)
    assert df["accuracy_top5"].item() == top_k_accuracy_score(y_test, means, k=5)
    members = [probe((x[:, part], y, x_test[:, part], y_test), seeds=[0]) for part in parts]
    assert df["accuracy"].item() > max(one["accuracy"].item() for one in members)
    assert df["n_features"].item() == 64
    assert math.isnan(df["C"].item())


def test_nothing_that_is_given_is_changed():
    x, y = clouds(3, 20)
    x, y = x.astype(np.float32), y.astype(str)
    tables = [x, 2 * x]
    before = copy.deepcopy((x, y, tables))
    for mode in ("concat", "concat_pca", "ensemble"):
        probe((tables, y, tables, y), mode=mode, solver="adamw", **QUICK)
    probe((x, y, x, y), C=[1.0, 2.0])
    np.testing.assert_equal((x, y, tables), before)


# What is refused.


def changed(**parts):
    x, y = clouds(3, 10)
    data = {"features": x, "targets": y, "test_features": x, "test_targets": y}
    return data | parts


X, Y = clouds(3, 10)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"features": np.where(X > 1, np.nan, X)},
            r"`features` has \d+ values that are NaN or inf",
        ),
        (
            {"test_features": np.full_like(X, np.inf)},
            r"`test_features` has 90 values that are NaN or infinite",
        ),
        (
            {"test_features": X[:, :2]},
            "`test_features` has 2 features, and those trained on have 3",
        ),
        ({"features": X[0]}, r"`features` must be a table .* of shape \(3,\)"),
        ({"features": X.astype(str)}, "`features` must hold real numbers, not <U"),
        ({"targets": Y[:-1]}, "`targets` has 29 classes for 30 samples"),
        ({"targets": [None, *Y[1:]]}, "`targets` must be all strings or all numbers"),
        ({"targets": ["a", *Y[1:]]}, "it has values of type int64, str"),
        ({"targets": np.where(Y == 2, np.nan, Y)}, "of type float, with NaN"),
        ({"targets": np.zeros(30)}, "`targets` must be of two classes or more, and all are 0.0"),
        ({"test_targets": Y + 1}, "`test_targets` has 3, which `targets` have not"),
        ({"test_targets": Y.astype(str)}, "strings and numbers are never the same class"),
        ({"solver": "svm"}, "`solver` names 'svm', which is not a solver"),
        ({"mode": "sum"}, "`mode` names 'sum', which is not a mode"),
        ({"mode": "concat"}, "`features` must be a list of tables"),
        ({"mode": "ensemble", "features": [X]}, "`features` must be two tables or more"),
        ({"seeds": []}, "`seeds` must be one seed or more"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": [-1]}, "`seeds` must be from 0 to 4294967295"),
        ({"learning_rates": []}, "`learning_rates` is empty"),
        ({"learning_rates": [0]}, "`learning_rates` must be numbers above 0, not 0"),
        ({"weight_decays": "none"}, "`weight_decays` must be a list of numbers"),
        ({"C": [True]}, "`C` must be a list of numbers"),
        ({"validation": 1}, "`validation` must lie between 0 and 1"),
        ({"variance": 1.0}, "`variance` must lie between 0 and 1"),
        ({"device": "toaster"}, "`device` must be a device that this machine has"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(parts, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pfa.train_linear_probe(**changed(**parts), progress=False)


def test_tables_of_several_networks_need_the_same_samples():
    with pytest.raises(ValueError, match=r"`features` must have the same samples .* 30, 29 rows"):
        pfa.combine_features([X, X[1:]], [X, X])
    with pytest.raises(ValueError, match="`test_features` has tables of 3 networks, and `featur"):
        pfa.combine_features([X, X], [X, X, X])
    with pytest.raises(ValueError, match=r"`test_features\[1\]` has 2 features"):
        pfa.combine_features([X, X], [X, X[:, :2]])
    with pytest.raises(ValueError, match="`mode` names 'ensemble'"):
        pfa.combine_features([X, X], [X, X], mode="ensemble")
    with pytest.raises(ValueError, match="the same for all samples"):
        pfa.combine_features([X * 0, X * 0], [X, X], mode="concat_pca")


def test_a_class_with_one_sample_is_named_where_some_are_to_be_set_aside():
    y = np.where(np.arange(30) == 0, 7, Y)
    for options in ({"solver": "adamw"}, {"C": [1.0, 2.0]}):
        with pytest.raises(ValueError, match="`targets` has one sample of class 7, which cannot"):
            pfa.fit_linear_probe(X, y, **options)
    # Where there is nothing to choose, all are learnt from.
    assert 7 in pfa.fit_linear_probe(X, y).classes
    assert 7 in pfa.fit_linear_probe(X, y, solver="adamw", **QUICK).classes


def test_parts_too_small_for_all_classes_are_named():
    with pytest.raises(ValueError, match="parts of 28 and 2, and each must have room for 3 class"):
        pfa.fit_linear_probe(X, Y, solver="adamw", validation=0.05)


def test_weights_that_run_away_are_no_result():
    with pytest.raises(ValueError, match="have run away to infinity"):
        pfa.fit_linear_probe(
            X, Y, solver="adamw", learning_rates=100.0, weight_decays=100.0, epochs=50
        )


def test_a_logistic_regression_that_does_not_end_says_so(monkeypatch):
    monkeypatch.setattr(probe_training, "_MAX_STEPS", 1)
    with pytest.warns(UserWarning, match=r"C=1 has not converged in 1 steps"):
        pfa.fit_linear_probe(X, Y)


# Frames of many.


def features_frame(models=("a", "b", "c"), datasets=("pets",), n_each=15):
    rows = []
    for d, dataset in enumerate(datasets):
        for m, model in enumerate(models):
            for s, split in enumerate(("train", "test")):
                x, y = clouds(3, n_each, spread=0.3 + 0.2 * m, seed=100 * d + 10 * m + s)
                rows.append(
                    {
                        "dataset": dataset,
                        "model": model,
                        "split": split,
                        "activations": x,
                        "entry_keys": [f"{split}{k}" for k in range(len(x))],
                        "targets": np.array(["x", "y", "z"])[y].tolist(),
                    }
                )
    return pd.DataFrame(rows)


def put(df, row, column, cell):
    """A frame with another cell."""
    cells = df[column].tolist()
    cells[row] = cell
    return df.assign(**{column: object_series(cells, df.index)})


def run(df, **options):
    return pfa.probe_models(df, progress=False, **options)


@pytest.fixture
def trained(monkeypatch):
    """The seeds that probes are trained with, in order; 'fail' holds calls that are to fail."""
    calls, fit = [], probe_rows.fit_probe

    def counted(x, targets, settings, seed):
        calls.append(seed)
        if len(calls) in trained_fail:
            raise MemoryError("no room")
        return fit(x, targets, settings, seed)

    trained_fail = set()
    monkeypatch.setattr(probe_rows, "fit_probe", counted)
    return calls, trained_fail


def test_a_frame_gives_the_rows_of_its_parts():
    df = features_frame(datasets=("pets", "cars"))
    before = copy.deepcopy(df.to_dict("records"))
    result = run(df, solver="adamw", weight_decays=[0.0, 0.1], seeds=[3, 1])
    np.testing.assert_equal(df.to_dict("records"), before)
    assert result[["dataset", "model", "seed"]].to_numpy().tolist() == [
        [dataset, model, seed]
        for dataset in ("pets", "cars")
        for model in "abc"
        for seed in (3, 1)
    ]
    train, test = df.iloc[8], df.iloc[9]
    assert (train["dataset"], train["model"], test["split"]) == ("cars", "b", "test")
    expected = probe(
        (train["activations"], train["targets"], test["activations"], test["targets"]),
        solver="adamw",
        weight_decays=[0.0, 0.1],
        seeds=[3, 1],
    )
    own = result[(result["dataset"] == "cars") & (result["model"] == "b")].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[list(expected)], expected)


def test_rows_do_not_depend_on_the_workers_nor_on_a_file(tmp_path):
    df = features_frame(models=("a", "b"))
    alone = run(df, C=[0.1, 1.0])
    with joblib.parallel_config("threading", n_jobs=2):
        pd.testing.assert_frame_equal(run(df, C=[0.1, 1.0]), alone)
    pd.testing.assert_frame_equal(run(df, C=[0.1, 1.0], out_fname=tmp_path / "p.csv"), alone)
    pd.testing.assert_frame_equal(pfa.combine_csvs(tmp_path / "p.csv"), alone)


def test_nothing_is_trained_twice(tmp_path, trained):
    calls, _ = trained
    file = tmp_path / "probes.csv"
    df = features_frame()
    first = run(df, C=[0.1, 1.0], seeds=[0, 1], out_fname=file)
    assert calls == [0, 1] * 3
    again = run(df, C=[0.1, 1.0], seeds=[0, 1], out_fname=file)
    assert len(calls) == 6
    pd.testing.assert_frame_equal(again, first)
    # A further seed, a further model, another setting: only what is new.
    run(df, C=[0.1, 1.0], seeds=[0, 1, 2], out_fname=file)
    assert calls[6:] == [2] * 3
    run(features_frame(models="abcd"), C=[0.1, 1.0], seeds=[0], out_fname=file)
    assert calls[9:] == [0]
    run(df, C=[0.1, 10.0], seeds=[0], out_fname=file)
    assert calls[10:] == [0] * 3
    table = pfa.combine_csvs(file)
    assert len(table) == 6 + 3 + 1 + 3
    assert table["settings"].nunique() == 2


def test_other_data_under_the_same_name_are_trained_anew_and_replace_the_row(tmp_path, trained):
    calls, _ = trained
    file = tmp_path / "probes.csv"
    df = features_frame()
    old = run(df, out_fname=file)
    assert calls == [0] * 3
    df = put(df, 2, "activations", df["activations"][2] + 1e-3)
    new = run(df, out_fname=file)
    assert calls == [0] * 4
    assert (old["data_key"] != new["data_key"]).tolist() == [False] * 3 + [True] * 3 + [False] * 3
    pd.testing.assert_frame_equal(pfa.combine_csvs(file), new)


def test_a_model_that_fails_loses_nothing_of_the_others(tmp_path, trained):
    calls, failing = trained
    file = tmp_path / "probes.csv"
    df = features_frame()
    failing.add(2)
    with pytest.raises(
        RuntimeError, match=r"not train 1 of .* model='b' \(MemoryError: no room\)"
    ):
        run(df, out_fname=file)
    assert len(calls) == 3
    assert pfa.combine_csvs(file)["model"].unique().tolist() == ["a", "c"]
    result = run(df, out_fname=file)
    assert len(calls) == 4
    assert result["model"].unique().tolist() == ["a", "b", "c"]


def test_without_a_file_what_was_computed_is_kept_in_one_that_is_named(trained):
    calls, failing = trained
    failing.add(3)
    df = features_frame()
    with pytest.raises(RuntimeError, match="model='c'") as caught:
        run(df)
    (note,) = caught.value.__notes__
    rescued = note.split("'")[1]
    result = run(df, out_fname=rescued)
    assert len(calls) == 4
    assert result["model"].tolist() == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_features_that_are_nan_fail_as_one_model(tmp_path):
    df = features_frame()
    df = put(df, 0, "activations", np.full_like(df["activations"][0], np.nan))
    with pytest.raises(RuntimeError, match=r"model='a' \(ValueError: `features` has 135 values"):
        run(df, out_fname=tmp_path / "probes.csv")
    assert pfa.combine_csvs(tmp_path / "probes.csv")["model"].unique().tolist() == ["b", "c"]


def test_a_run_that_is_interrupted_goes_on_behind_what_is_done(tmp_path, monkeypatch):
    file = tmp_path / "probes.csv"
    df = features_frame()
    fit, calls = probe_rows.fit_probe, []

    def interrupted(*args):
        calls.append(args[-1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args)

    monkeypatch.setattr(probe_rows, "fit_probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(df, C=[0.1, 1.0], seeds=[0, 1], out_fname=file)
    assert len(pfa.combine_csvs(file)) == 3
    run(df, C=[0.1, 1.0], seeds=[0, 1], out_fname=file)
    assert len(calls) == 4 + 3
    assert len(pfa.combine_csvs(file)) == 6


def test_samples_of_several_networks_are_matched_by_their_keys():
    df = features_frame(models=("a", "b"))
    expected = run(df, model_sets=[["a", "b"]], mode="concat")
    assert expected["model"].tolist() == ["a+b"] * 3
    assert expected["n_features"].tolist() == [6] * 3
    shuffled = df.copy()
    order = np.random.default_rng(0).permutation(45)
    for k in (2, 3):
        shuffled = put(shuffled, k, "activations", df["activations"][k][order])
        for name in ("entry_keys", "targets"):
            shuffled = put(shuffled, k, name, [df[name][k][place] for place in order])
    result = run(shuffled, model_sets=[["a", "b"]], mode="concat")
    pd.testing.assert_frame_equal(result, expected)


def test_an_ensemble_of_a_frame_is_that_of_its_features():
    df = features_frame()
    train, test = df[df["split"] == "train"], df[df["split"] == "test"]
    for mode in ("concat_pca", "ensemble"):
        result = run(df, model_sets=[["a", "c"], ["c", "b", "a"]], mode=mode, seeds=[0])
        expected = probe(
            (
                train["activations"].tolist()[::-1],
                train["targets"].iloc[0],
                test["activations"].tolist()[::-1],
                test["targets"].iloc[0],
            ),
            mode=mode,
            seeds=[0],
        )
        assert result["model"].tolist() == ["a+c", "c+b+a"]
        pd.testing.assert_frame_equal(result[1:].reset_index(drop=True)[list(expected)], expected)


def test_columns_of_ones_own_tell_probes_apart(tmp_path):
    df = pd.concat([features_frame(("a",)).assign(layer=layer) for layer in (1, 2)])
    names = ["dataset", "model", "layer"]
    file = tmp_path / "probes.csv"
    result = run(df, grouping_variables=names, out_fname=file)
    assert result["layer"].tolist() == [1] * 3 + [2] * 3
    pd.testing.assert_frame_equal(run(df, grouping_variables=names, out_fname=file), result)
    with pytest.raises(ValueError, match="several rows 'train' for dataset='pets', model='a'"):
        run(df)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda df: df[:5], {}, "`features_df` has no row 'test' for dataset='pets', model='c'"),
        (lambda df: df[:0], {}, "`features_df` has no rows"),
        (lambda df: df.drop(columns="targets"), {}, "`features_df` has no column 'targets'"),
        (lambda df: df.assign(split="val"), {}, "names 'val', which is not a value of the column"),
        (lambda df: df.assign(targets=[["x"]] * 6), {}, r"`features_df.targets\[0\]` has 1 class"),
        (lambda df: df, {"grouping_variables": ["seed"]}, "the result has 'seed' itself"),
        (lambda df: df, {"mode": "concat"}, "`mode` 'concat' needs `model_sets`"),
        (lambda df: df, {"model_sets": [["a", "b"]]}, "`model_sets` go with `mode` 'concat'"),
        (
            lambda df: df,
            {"model_sets": [["a", "q"]], "mode": "concat"},
            "`model_sets` names 'q', which is not a model of `features_df`",
        ),
        (
            lambda df: df,
            {"model_sets": [["a"]], "mode": "concat"},
            "`model_sets` must be lists of two models or more",
        ),
        (lambda df: df, {"out_fname": "probes.txt"}, "`out_fname` must end in .csv"),
    ],
)
def test_what_is_wrong_with_a_frame_is_named_before_any_work(change, options, message, trained):
    with pytest.raises((ValueError, TypeError), match=message):
        run(change(features_frame()), **options)
    assert trained[0] == []


def test_networks_of_other_samples_or_targets_do_not_go_together():
    options = {"model_sets": [["a", "b"]], "mode": "ensemble"}
    df = features_frame()
    df = put(df, 2, "entry_keys", ["odd", *df["entry_keys"][2][1:]])
    with pytest.raises(ValueError, match=r"other samples 'train': only one of them has .*odd"):
        run(df, **options)
    df = features_frame()
    df = put(df, 3, "targets", ["z", *df["targets"][3][1:]])
    with pytest.raises(ValueError, match=r"other targets 'test' for \('test0',\)"):
        run(df, **options)
    df = pd.concat([features_frame(), features_frame(("a",), ("cars",))])
    with pytest.raises(ValueError, match="no rows of 'b' where it has dataset='cars'"):
        run(df, **options)


def test_a_file_that_holds_another_table_is_left_as_it_is(tmp_path, trained):
    file = tmp_path / "other.csv"
    file.write_text("city,height\nboston,71\n")
    with pytest.raises(ValueError, match="holds another table: it lacks the columns dataset"):
        run(features_frame(), out_fname=file)
    assert file.read_text() == "city,height\nboston,71\n"
    assert trained[0] == []


def test_another_process_that_writes_other_data_to_the_file_changes_nothing_here(
    tmp_path, monkeypatch
):
    file = tmp_path / "probes.csv"
    df, other = features_frame(), features_frame(n_each=12)
    expected = run(df)
    fit, calls = probe_rows.fit_probe, []

    def meanwhile(*args):
        calls.append(args[-1])
        if len(calls) == 3:
            run(other, out_fname=file)
        return fit(*args)

    monkeypatch.setattr(probe_rows, "fit_probe", meanwhile)
    pd.testing.assert_frame_equal(run(df, out_fname=file), expected)
    assert pfa.combine_csvs(file)["n_train"].tolist() == [36] * 6 + [45] * 3


def test_labels_that_look_like_numbers_or_nothing_are_found_again(tmp_path, trained):
    df = features_frame(models=("007", "None", "a,b"))
    first = run(df, out_fname=tmp_path / "probes.csv")
    again = run(df, out_fname=tmp_path / "probes.csv")
    assert len(trained[0]) == 3
    pd.testing.assert_frame_equal(again, first)
    assert again["model"].unique().tolist() == ["007", "None", "a,b"]


def test_no_warning_is_lost_and_none_is_made():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(features_frame(), num_threads=1)
