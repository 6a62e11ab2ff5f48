"""Similarity of networks beside the gap in their accuracies."""

import copy

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

import pytorch_feature_analysis as pfa

MODELS = list("abcdef")


def square(values, n=6):
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, k=1)] = values
    return matrix + matrix.T


def accuracies(datasets=("pets",), models=MODELS, seed=0, **columns):
    rng = np.random.default_rng(seed)
    rows = [(dataset, model) for dataset in datasets for model in models]
    frame = pd.DataFrame(rows, columns=["dataset", "model"])
    return frame.assign(accuracy=rng.integers(20, 100, len(rows)) / 128, **columns)


def gaps_of(frame, dataset="pets", models=MODELS):
    own = frame[frame["dataset"] == dataset].groupby("model")["accuracy"].mean()
    values = own[models].to_numpy()
    first, second = np.triu_indices(len(models), k=1)
    return np.abs(values[first] - values[second])


def stack_of(matrices, datasets=("pets",), measure="linear_cka", models=MODELS):
    keys = [[(model,) for model in models]] * len(matrices)
    return pd.DataFrame(
        {
            "dataset": list(datasets),
            "dissim_metric": measure,
            "entry_keys": keys,
            "matrix": matrices,
        }
    )


def noise(seed=1, n_pairs=15):
    return np.random.default_rng(seed).uniform(size=n_pairs)


def test_a_gap_of_one_less_the_similarity_is_correlated_by_minus_1():
    frame = accuracies()
    table = pfa.link_to_performance(stack_of([square(gaps_of(frame))]), frame)
    assert table["method"].tolist() == ["pearson", "spearman"]
    np.testing.assert_allclose(table["r"], -1)
    assert table["n_pairs"].tolist() == [15, 15]
    assert (table["p"] < 1e-10).all()
    assert table["direction"].tolist() == ["similarity"] * 2
    assert (table["reason"] == "").all()


def test_r_and_p_are_those_of_scipy_on_the_upper_triangle():
    datasets = ["pets", "cars"]
    frame = accuracies(datasets)
    values = [noise(1), noise(2)]
    table = pfa.link_to_performance(stack_of([square(v) for v in values], datasets), frame)
    rows = iter(table.itertuples())
    for dataset, of_dataset in zip(datasets, values, strict=True):
        gaps = gaps_of(frame, dataset).round(12)
        for oracle in (pearsonr, spearmanr):
            row, expected = next(rows), oracle(1 - of_dataset, gaps)
            assert row.dataset == dataset
            assert row.r == pytest.approx(expected.statistic)
            assert row.p == pytest.approx(expected.pvalue)


def test_a_distance_is_taken_as_it_is():
    frame = accuracies()
    matrix = square(gaps_of(frame))
    for measure in ("procrustes_distance", "a measure of my own"):
        table = pfa.link_to_performance(stack_of([matrix], measure=measure), frame)
        np.testing.assert_allclose(table["r"], 1)
        assert table["direction"].tolist() == ["distance"] * 2


def test_networks_are_matched_by_name_and_seeds_averaged():
    one, two = accuracies(seed=1, seed_=0), accuracies(seed=2, seed_=1)
    frame = pd.concat([one, two]).rename(columns={"seed_": "seed"})
    values = noise()
    expected = pfa.link_to_performance(stack_of([square(values)]), frame)
    mixed = frame.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        pfa.link_to_performance(stack_of([square(values)]), mixed), expected
    )
    order = [3, 1, 5, 0, 2, 4]
    turned = stack_of([square(values)[np.ix_(order, order)]], models=[MODELS[k] for k in order])
    result = pfa.link_to_performance(turned, frame)
    np.testing.assert_allclose(result["r"], expected["r"])
    means = (one["accuracy"] + two["accuracy"]).to_numpy() / 2
    gaps = np.abs(means[:, None] - means)
    expected_r = pearsonr(1 - values, gaps[np.triu_indices(6, k=1)]).statistic
    assert result["r"][0] == pytest.approx(expected_r)


def test_gaps_that_are_equal_but_for_rounding_are_ties():
    frame = accuracies(models=list("abcd")).assign(accuracy=[0.1, 0.2, 0.3, 0.4])
    assert 0.2 - 0.1 != 0.3 - 0.2
    values = [0.6, 0.2, 0.4, 0.3, 0.1, 0.5]
    table = pfa.link_to_performance(stack_of([square(values, 4)], models=list("abcd")), frame)
    assert table["r"][1] == pytest.approx(spearmanr(-np.array(values), [1, 2, 3, 1, 2, 1])[0])


def test_domains_are_a_column_and_can_be_summed_up():
    datasets = ["pets", "cars", "eyes"]
    frame = accuracies(datasets)
    stack = stack_of([square(noise(seed)) for seed in range(3)], datasets)
    domains = {"pets": "natural", "cars": "natural", "eyes": "specialized", "more": "other"}
    table = pfa.link_to_performance(stack, frame, domains=domains, method="pearson")
    assert table["domain"].tolist() == ["natural", "natural", "specialized"]
    summary = pfa.df_agg(table, ["domain"], ["r"], ["mean", "std", "count"])
    assert summary["r_count"].tolist() == [2, 1]
    assert summary["r_mean"][0] == pytest.approx(table["r"][:2].mean())
    again = pfa.link_to_performance(stack, frame, domains=pd.Series(domains), method="pearson")
    pd.testing.assert_frame_equal(again, table)
    with pytest.raises(ValueError, match="`domains` has no domain for 'eyes'"):
        pfa.link_to_performance(stack, frame, domains={"pets": "a", "cars": "b"})
    own = pfa.link_to_performance(stack.assign(domain="mine"), frame)
    assert own["domain"].tolist() == ["mine"] * 6


def test_what_tells_the_rows_of_the_stack_apart_is_kept():
    stack = pd.concat(
        [
            stack_of([square(noise())], measure=measure).assign(
                layer="last", n=7, perm="orig_data"
            )
            for measure in ("linear_cka", "rsa")
        ]
    )
    shuffled = stack.assign(perm=1)
    table = pfa.link_to_performance(pd.concat([stack, shuffled]), accuracies())
    assert list(table) == [
        *["dataset", "dissim_metric", "layer", "n"],
        *["direction", "method", "r", "p", "n_pairs", "reason"],
    ]
    assert table["dissim_metric"].tolist() == ["linear_cka"] * 2 + ["rsa"] * 2
    assert table["n"].dtype == np.int64


def test_a_stack_of_similarity_and_a_frame_of_probes_fit_together():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 30)
    rows = [
        {
            "dataset": dataset,
            "model": model,
            "split": split,
            "activations": np.c_[strength * y, -y] + rng.normal(size=(60, 2)),
            "entry_keys": list(range(60)),
            "targets": y,
        }
        for dataset in ("pets", "cars")
        for strength, model in enumerate(MODELS)
        for split in ("train", "test")
    ]
    df = pd.DataFrame(rows)
    performance = pfa.probe_models(df, progress=False)
    train = df[df["split"] == "train"].drop(columns="targets")
    stack = pfa.get_similarity_rdms(
        train, ["linear_cka", "procrustes_distance"], ["model"], ["dataset"], progress=False
    )
    table = pfa.link_to_performance(stack, performance)
    assert len(table) == 2 * 2 * 2
    # The stronger the signal, the more alike and the better.
    is_similarity = table["direction"] == "similarity"
    assert (table["r"][is_similarity] < 0).all()
    assert (table["r"][~is_similarity] > 0).all()


def test_what_is_not_known_of_a_pair_leaves_it_out():
    frame = accuracies()
    values = noise()
    matrix = square(values)
    matrix[0, 1] = matrix[1, 0] = np.nan
    table = pfa.link_to_performance(stack_of([matrix]), frame)
    assert table["n_pairs"].tolist() == [14, 14]
    assert table["r"][0] == pytest.approx(pearsonr(1 - values[1:], gaps_of(frame)[1:]).statistic)
    unknown = frame.assign(accuracy=[np.nan, *frame["accuracy"][1:]])
    assert pfa.link_to_performance(stack_of([matrix]), unknown)["n_pairs"].tolist() == [10, 10]
    # A network of which one seed is not known is not known.
    seeds = pd.concat([frame.assign(seed=0), unknown.assign(seed=1)])
    assert pfa.link_to_performance(stack_of([matrix]), seeds)["n_pairs"].tolist() == [10, 10]


def test_what_is_not_defined_is_nan_with_a_reason():
    pair = pfa.link_to_performance(
        stack_of([square([0.5], 2)], models=["a", "b"]), accuracies(models=["a", "b"])
    )
    assert pair["r"].isna().all()
    assert pair["n_pairs"].tolist() == [1, 1]
    assert pair["reason"].tolist() == ["fewer than 3 pairs"] * 2
    stack = stack_of([square(noise())])
    same = pfa.link_to_performance(stack, accuracies().assign(accuracy=0.5))
    assert same["reason"].tolist() == ["all gaps are the same"] * 2
    alike = pfa.link_to_performance(stack_of([square(0.3)]), accuracies())
    assert alike["reason"].tolist() == ["all pairs are equally similar"] * 2
    assert alike[["r", "p"]].isna().all(axis=None)


def test_networks_and_datasets_without_accuracies_are_named_or_left_out_on_request():
    stack = stack_of([square(noise(1)), square(noise(2))], ["pets", "cars"])
    frame = accuracies(["pets"])
    with pytest.raises(ValueError, match="no accuracies on dataset 'cars'"):
        pfa.link_to_performance(stack, frame)
    fewer = frame[frame["model"] != "c"]
    with pytest.raises(ValueError, match="no accuracies of 'c' on dataset 'pets'"):
        pfa.link_to_performance(stack[:1], fewer)
    table = pfa.link_to_performance(stack, fewer, missing="drop")
    assert table["dataset"].tolist() == ["pets"] * 2
    assert table["n_pairs"].tolist() == [10, 10]
    keep = [0, 1, 3, 4, 5]
    part = square(noise(1))[np.ix_(keep, keep)][np.triu_indices(5, k=1)]
    models = [MODELS[k] for k in keep]
    assert table["r"][0] == pytest.approx(pearsonr(1 - part, gaps_of(fewer, models=models))[0])
    with pytest.raises(ValueError, match="nothing to correlate"):
        pfa.link_to_performance(stack[1:], frame, missing="drop")


def test_rows_of_several_kinds_are_not_averaged():
    stack = stack_of([square(noise())])
    one = accuracies(seed=0).assign(seed=0, solver="logistic")
    with pytest.raises(
        ValueError, match="'a' on 'pets' that differ in more than the seed: solver"
    ):
        pfa.link_to_performance(stack, pd.concat([one, one.assign(solver="adamw", seed=1)]))
    with pytest.raises(ValueError, match="several rows of one seed"):
        pfa.link_to_performance(stack, pd.concat([one, one]))


def test_what_is_wrong_is_named():
    frame, stack = accuracies(), stack_of([square(noise())])
    with pytest.raises(
        ValueError, match="give the dissimilarities, as they were before `to_similarity`"
    ):
        pfa.link_to_performance(pfa.to_similarity(stack), frame)
    with pytest.raises(ValueError, match="`similarity_stack` has no column 'dataset'"):
        pfa.link_to_performance(stack.drop(columns="dataset"), frame)
    with pytest.raises(ValueError, match="`performance_frame` has no column 'recall'"):
        pfa.link_to_performance(stack, frame, metric="recall")
    with pytest.raises(TypeError, match="must have numbers in the column 'model'"):
        pfa.link_to_performance(stack, frame, metric="model")
    with pytest.raises(ValueError, match="`method` names 'kendall'"):
        pfa.link_to_performance(stack, frame, method="kendall")
    with pytest.raises(ValueError, match="`missing` names 'ignore'"):
        pfa.link_to_performance(stack, frame, missing="ignore")
    with pytest.raises(TypeError, match="`domains` must be a dict, or a Series"):
        pfa.link_to_performance(stack, frame, domains=["natural"])
    layers = stack.assign(entry_keys=[[(model, "conv1") for model in MODELS]])
    with pytest.raises(ValueError, match="has several parts of which none is called 'model'"):
        pfa.link_to_performance(layers, frame)
    labels = [[{"model": "a", "layer": k} for k in range(6)]]
    twice = layers.assign(entry_keys=[[("a", k) for k in range(6)]], entry_labels=labels)
    with pytest.raises(ValueError, match="several entries of 'a' in one RDM"):
        pfa.link_to_performance(twice, frame)


def test_both_directions_of_a_measure_are_averaged_on_request():
    matrix = square(noise())
    matrix[0, 1] += 0.5
    with pytest.raises(
        ValueError, match="`similarity_stack`: the RDM of dataset 'pets' is not sy"
    ):
        pfa.link_to_performance(stack_of([matrix], measure="linear_predictivity"), accuracies())
    mean = pfa.link_to_performance(stack_of([(matrix + matrix.T) / 2]), accuracies())
    both = pfa.link_to_performance(stack_of([matrix]), accuracies(), symmetrize=True)
    pd.testing.assert_frame_equal(both, mean)


def test_nothing_that_is_given_is_changed():
    stack, frame = stack_of([square(noise())]), accuracies()
    domains = {"pets": "natural"}
    before = copy.deepcopy((stack.to_dict("records"), frame.to_dict("records"), domains))
    pfa.link_to_performance(stack, frame, domains=domains)
    np.testing.assert_equal((stack.to_dict("records"), frame.to_dict("records"), domains), before)


def test_the_pairs_themselves_are_those_that_are_correlated():
    stack = pd.DataFrame(
        {
            "dataset": ["pets"],
            "dissim_metric": "linear_cka",
            "entry_keys": [["a", "b", "c", "d"]],
            "matrix": [
                np.array(
                    [
                        [0, 0.1, 0.4, 0.3],
                        [0.1, 0, np.nan, 0.2],
                        [0.4, np.nan, 0, 0.5],
                        [0.3, 0.2, 0.5, 0],
                    ]
                )
            ],
        }
    )
    accuracies = pd.DataFrame(
        {
            "dataset": "pets",
            "model": ["a", "a", "b", "c", "d"],
            "seed": [0, 1, 0, 0, 0],
            "accuracy": [0.8, 0.9, 0.5, 0.6, 0.55],
        }
    )
    pairs = pfa.get_performance_gaps(stack, accuracies, domains={"pets": "natural"})
    assert pairs[["model_1", "model_2"]].agg("".join, axis=1).tolist() == [
        *("ab", "ac", "ad", "bc", "bd", "cd")
    ]
    np.testing.assert_allclose(pairs["similarity"], [0.9, 0.6, 0.7, np.nan, 0.8, 0.5])
    np.testing.assert_allclose(pairs["gap"], [0.35, 0.25, 0.3, 0.1, 0.05, 0.05])
    assert pairs["accuracy_1"][0] == pytest.approx(0.85)
    assert set(pairs["domain"]) == {"natural"}
    assert set(pairs["direction"]) == {"similarity"}
    link = pfa.link_to_performance(stack, accuracies, method="pearson")
    known = pairs.dropna()
    expected = np.corrcoef(known["similarity"], known["gap"])[0, 1]
    assert link["r"].item() == pytest.approx(expected)
    assert link["n_pairs"].item() == 5
