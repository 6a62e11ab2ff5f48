"""How measures depend on the number of stimuli, beside the measures on subsets drawn again."""

import numpy as np
import pandas as pd
import pytest
from made_representations import related

import pytorch_feature_analysis as pfa

DEBIASED = ("linear_cka", {"debiased": True})


def activations(n=40, groups=("a", "b")):
    rows = []
    for seed, group in enumerate(groups):
        x, y = related(n, 4, 6, seed=seed)
        rows += [
            {"data": group, "layer": name, "activations": t, "entry_keys": tuple(range(n))}
            for name, t in (("conv1", x), ("conv2", y), ("fc1", np.abs(x)))
        ]
    return pd.DataFrame(rows)


def table_of(df, measures, sizes, **options):
    return pfa.sample_size_sensitivity(df, measures, sizes, progress=False, **options)


def drawn_by(table, **options):
    """The subsets that a call draws, told by a measure that sees them."""
    seen = []

    def see(x, y):
        seen.append((tuple(x[:, 0]), tuple(y[:, 0])))
        return 0.0

    table_of(table, [("seen", see)], **options)
    return seen


def numbered(n=12):
    """Activations that say which stimulus they are."""
    first = np.arange(n, dtype=float)
    order = np.roll(np.arange(n), 3)
    return pd.DataFrame(
        {
            "layer": ["conv1", "conv2"],
            "activations": [first[:, None], first[order][:, None]],
            "entry_keys": [tuple(range(n)), tuple(order.tolist())],
        }
    )


def test_a_subset_is_the_same_stimuli_in_all_representations():
    seen = drawn_by(numbered(), sizes=[5, 8], repeats=4)
    assert all(one == other for one, other in seen)
    subsets = list(dict.fromkeys(one for one, _ in seen))
    assert [len(one) for one in subsets] == [12, *[5] * 4, *[8] * 4]
    assert all(len(set(one)) == len(one) for one in subsets)
    # Other sizes and further repeats change none of them; another seed does.
    more = drawn_by(numbered(), sizes=[8, 6, 5], repeats=6)
    assert set(seen) <= set(more)
    other = drawn_by(numbered(), sizes=[5, 8], repeats=4, random_state=1)
    assert set(seen) & set(other) == {seen[0]}


@pytest.mark.parametrize("num_cores", [1, 2])
def test_means_and_spread_are_those_of_the_measure_on_the_subsets(num_cores):
    df = activations()
    table = table_of(
        df, ["linear_cka", "procrustes_distance"], [10, 25], repeats=6, num_cores=num_cores
    )
    assert table.columns.tolist() == [
        *("data", "measure", "n_stimuli", "layer_1", "layer_2", "mean", "sd", "full", "bias"),
        "repeats",
    ]
    assert len(table) == 2 * 2 * 2 * 3
    subsets = {}

    def see(x, y):
        subsets.setdefault(len(x), {})[tuple(x[:, 0])] = None
        return 0.0

    ids = [np.arange(40.0)[:, None]] * 6
    table_of(df.assign(activations=ids), [("seen", see)], [10, 25], repeats=6)
    for row in table.itertuples():
        x, y = (
            df[(df["data"] == row.data) & (df["layer"] == layer)]["activations"].item()
            for layer in (row.layer_1, row.layer_2)
        )
        function = getattr(pfa, row.measure)
        places = [np.array(one, dtype=int) for one in subsets[row.n_stimuli]]
        values = [function(x[place], y[place]) for place in places]
        assert len(values) == row.repeats == 6
        assert row.mean == pytest.approx(np.mean(values), abs=1e-9)
        assert row.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
        assert row.full == pytest.approx(function(x, y), abs=1e-9)
        assert row.bias == pytest.approx(np.mean(values) - function(x, y), abs=1e-9)


def test_biased_cka_of_unrelated_data_falls_with_the_number_of_stimuli():
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            "layer": ["conv1", "fc1"],
            "activations": list(rng.normal(size=(2, 500, 30))),
            "entry_keys": [tuple(range(500))] * 2,
        }
    )
    table = table_of(df, ["linear_cka", DEBIASED], [10, 40, 160], repeats=30)
    biased, debiased = (rows["mean"].tolist() for _, rows in table.groupby("measure", sort=False))
    assert biased == sorted(biased, reverse=True)
    assert biased[0] > 0.7 > 0.3 > biased[2]
    assert np.abs(debiased).max() < 0.03


def test_all_stimuli_are_one_subset_and_one_repeat_has_no_spread():
    df = activations(groups=["a"])
    table = table_of(df, ["linear_cka"], [40], repeats=3)
    np.testing.assert_allclose(table[["sd", "bias"]], 0, atol=1e-12)
    assert table_of(df, ["linear_cka"], [20], repeats=1)["sd"].isna().all()


def test_both_directions_of_a_measure_that_has_two_are_rows():
    df = activations(groups=["a"])
    table = table_of(df, ["linear_predictivity", "linear_cka"], [30], repeats=2)
    counts = table["measure"].value_counts()
    assert counts.to_dict() == {"linear_predictivity": 6, "linear_cka": 3}
    values = table.set_index(["measure", "layer_1", "layer_2"])["full"]["linear_predictivity"]
    assert values["conv1", "conv2"] != values["conv2", "conv1"]


def test_entries_may_be_of_several_variables():
    df = activations().rename(columns={"data": "model"})
    table = table_of(df, ["rsa"], [20], entry_variables=["model", "layer"], repeats=2)
    assert table.columns[2:6].tolist() == ["model_1", "layer_1", "model_2", "layer_2"]
    assert table["measure"].unique().tolist() == ["rsa(rdm_metric=corr)"]
    assert len(table) == 15


def test_inputs_stay_as_they_were():
    df = activations()
    copies = [x.copy() for x in df["activations"]]
    shallow = df.copy()
    table_of(df, ["linear_cka", "svcca"], [20], repeats=2)
    pd.testing.assert_frame_equal(
        df.drop(columns="activations"), shallow.drop(columns="activations")
    )
    for now, before in zip(df["activations"], copies, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"sizes": []}, ValueError, "`sizes` is empty"),
        ({"sizes": 20}, TypeError, "`sizes` must be a list of numbers of stimuli"),
        ({"sizes": [20, 20]}, ValueError, "`sizes` has a number more than once"),
        ({"sizes": [1]}, ValueError, "`sizes` must be at least 2, not 1"),
        ({"sizes": [41]}, ValueError, "`sizes` has 41, but there are 40 stimuli in .* data='a'"),
        ({"sizes": [3], "measures": [DEBIASED]}, ValueError, "has 3, but 'linear_cka.* 4 stimuli"),
        ({"repeats": 0}, ValueError, "`repeats` must be at least 1"),
        ({"measures": ["cka"]}, ValueError, "`measures` names 'cka'"),
        ({"random_state": -1}, ValueError, "`random_state`"),
        ({"entry_variables": ["depth"]}, ValueError, "`entry_variables` names 'depth'"),
        (
            {"entry_variables": ["data"], "grouping_variables": ["layer"], "measures": 3},
            TypeError,
            "`measures` must be a list",
        ),
    ],
)
def test_bad_options_are_refused(options, error, match):
    given = {"measures": ["linear_cka"], "sizes": [20], **options}
    with pytest.raises(error, match=match):
        pfa.sample_size_sensitivity(activations(), progress=False, **given)


def test_a_lone_representation_has_no_pair():
    with pytest.raises(ValueError, match="one representation of data='b', and so no pair"):
        table_of(activations().iloc[:4], ["linear_cka"], [20])
    taken = activations().rename(columns={"data": "mean"})
    with pytest.raises(ValueError, match="has a column 'mean', as the result"):
        table_of(taken, ["linear_cka"], [20])
