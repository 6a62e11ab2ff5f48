import copy
import re

import numpy as np
import pandas as pd
import pytest
import torch
from made_decoding import accuracy_by_sklearn, analyse, noise_images
from made_runs import Maps, pictures, prepared
from PIL import Image
from torch import nn

import pytorch_feature_analysis as pfa

COLUMNS = [
    *("analysis_name", "model", "layer_label", "layer", "layer_num", "decoded_variable"),
    *("other_variable", "size", "decoding_type", "bin1", "bin2", "acc"),
]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def units_of(images, layer="conv1", model=None):
    model = prepared()["net"] if model is None else model
    return pfa.capture(model, [image["path"] for image in images], [layer])[layer].reshape(
        len(images), -1
    )


def within_by_sklearn(images, units, decoded, other, bin1, bin2):
    """Oracle: leaves out one value of the other variable after the other, fold by fold."""
    frame = pd.DataFrame(images)
    here = frame[decoded].isin([bin1, bin2]).to_numpy()
    labels, others = (frame.loc[here, name].to_numpy() for name in (decoded, other))
    folds = [
        accuracy_by_sklearn(units[here], labels, others != value, others == value)
        for value in np.unique(others)
        if len(set(labels[others == value])) == 2
    ]
    return np.mean(folds, axis=0)


def assert_within_bounds(found, bounds):
    low, high = np.transpose(bounds)
    found = np.asarray(found)
    assert ((found >= low - 1e-9) & (found <= high + 1e-9)).all()
    # The bounds must leave hardly any room.
    assert np.mean(high - low > 1e-9) < 0.1


@pytest.mark.parametrize("n_each", [1, 2])
def test_accuracies_are_those_of_scikit_learn_on_the_units(n_each):
    images = noise_images(n_each=n_each)
    layers = ["original_rgb", "conv1", "fc1"]
    df = analyse(images, layers=layers)
    assert 0.3 < df["acc"].mean() < 0.95
    for layer in layers:
        units = units_of(images, layer)
        rows = df[df["layer"] == layer]
        names = rows[["decoded_variable", "other_variable", "bin1", "bin2"]].to_numpy()
        assert_within_bounds(
            rows["acc"], [within_by_sklearn(images, units, *of_row) for of_row in names]
        )


def test_bins_that_differ_are_told_apart_without_error():
    def patch(red, blue):
        return Image.new("RGB", (8, 8), (red, 128, blue))

    images = [
        {"path": patch(red, blue), "obj": f"red{red}", "color": f"blue{blue}", "size": 1}
        for red in (0, 120, 255)
        for blue in (0, 100, 200, 255)
    ]
    df = analyse(images, layers=["original_rgb"])
    assert df["acc"].tolist() == [1.0] * (3 + 6)


@pytest.mark.parametrize("extra", [0, 2])
def test_bins_of_the_same_images_have_exactly_a_half(extra):
    drawn = list(pictures(4).values())
    images = [
        {"path": picture, "obj": obj, "color": f"color{i}", "size": 1}
        for obj in ("a", "b")
        for i, picture in enumerate(drawn)
    ]
    # Where one bin has images twice, the larger one would win each time.
    images += [{**image, "path": image["path"].copy()} for image in images[:extra]]
    df = analyse(images, layers=None, decoding_type="both")
    found = df[df["decoded_variable"] == "obj"]
    assert len(found) == 5 * (1 + 12)
    assert (found["acc"] == 0.5).all()


def test_all_groups_models_layers_variables_and_pairs_have_a_row():
    models = prepared(Maps(0), "first") | prepared(Maps(1), "second")
    df = analyse(noise_images(groups=(2, 10)), models, {"second": [("conv1", 1)]})
    assert list(df.columns) == COLUMNS
    n_layers, n_pairs = 5 + 1, 3 + 6
    assert len(df) == 2 * n_layers * n_pairs
    assert not df.duplicated(COLUMNS[:-1]).any()
    layers = df[["size", "model", "layer"]].drop_duplicates().to_numpy().tolist()
    of_first = [["first", name] for name in ("original_rgb", "conv1", "relu1", "dropout1", "fc1")]
    expected = [*of_first, ["second", "conv1"]]
    assert layers == [[size, *names] for size in (2, 10) for names in expected]
    assert df["layer_label"][9] == ("conv1", 1)
    assert df["decoded_variable"][:9].tolist() == ["obj"] * 3 + ["color"] * 6
    pairs = df[["bin1", "bin2"]][3:6].to_numpy().tolist()
    assert pairs == [["color0", f"color{i}"] for i in (1, 2, 3)]
    assert (df["acc"] != df["acc"][0]).any()


def test_a_group_has_the_numbers_that_it_has_alone():
    images = noise_images(groups=(2, 10))
    both = analyse(images)
    alone = analyse(images[12:])
    pd.testing.assert_frame_equal(
        both[both["size"] == 10].reset_index(drop=True), alone, check_exact=True
    )
    without = analyse(images[12:], grouping=[])
    pd.testing.assert_frame_equal(alone.drop(columns="size"), without, check_exact=True)


def test_the_order_of_the_images_does_not_matter(rng):
    halves = {"obj0": "color[0-4]", "obj1": "color[5-9]", "obj2": "color."}
    # Of obj0 and obj1, which share no colour, all labels are shuffled together.
    images = [
        image
        for image in noise_images(n_colors=10)
        if re.fullmatch(halves[image["obj"]], image["color"])
    ]
    expected = analyse(images, num_perms=99)
    in_disorder = [images[i] for i in rng.permutation(len(images))]
    found = analyse(pd.DataFrame(in_disorder), num_perms=99)
    pd.testing.assert_frame_equal(found, expected)


def test_values_of_several_kinds_are_decoded():
    names = {"obj0": 3, "obj1": "three", "obj2": (3, 1)}
    images = [{**image, "obj": names[image["obj"]], "size": 0.5} for image in noise_images()]
    df = analyse(images)
    assert df["bin1"][:3].tolist() == [3, 3, "three"]
    assert df["bin2"][:3].tolist() == ["three", (3, 1), (3, 1)]
    assert df["acc"].tolist() == analyse(noise_images())["acc"].tolist()


def test_feature_means_are_decoded_from_means_over_positions():
    images = noise_images()
    df = analyse(images, activation_type="feature_means")
    assert df["activation_type"].unique().tolist() == ["feature_means"]
    means = pfa.capture(prepared()["net"], [i["path"] for i in images], ["conv1"])["conv1"]
    means = means.astype(float).mean(axis=(2, 3))
    expected = within_by_sklearn(images, means, "obj", "color", "obj0", "obj1")
    assert_within_bounds(df["acc"][:1], [expected])


def test_bins_of_unequal_size_agree_with_scikit_learn():
    images = noise_images()
    del images[1]  # of obj0, color1
    df = analyse(images)
    units = units_of(images)
    names = df[["decoded_variable", "other_variable", "bin1", "bin2"]].to_numpy()
    expected = [within_by_sklearn(images, units, *of_row) for of_row in names]
    assert_within_bounds(df["acc"], expected)


@pytest.mark.parametrize("cross_by", ["pairs", "leave_one_out"])
def test_cross_decoding_agrees_with_scikit_learn(cross_by):
    images = noise_images(n_each=3)
    df = analyse(images, decoding_type="cross", cross_by=cross_by)
    n_splits = {"pairs": 3 * 4 * 3 + 6 * 3 * 2, "leave_one_out": 3 * 4 + 6 * 3}
    assert len(df) == n_splits[cross_by]
    assert list(df.columns) == [*COLUMNS[:-1], "train_values", "test_values", "acc"]
    units, frame = units_of(images), pd.DataFrame(images)
    expected = []
    for row in df.itertuples():
        labels, others = frame[row.decoded_variable], frame[row.other_variable]
        here = labels.isin([row.bin1, row.bin2])
        assert not set(row.train_values) & set(row.test_values)
        train = (here & others.isin(row.train_values)).to_numpy()
        test = (here & others.isin(row.test_values)).to_numpy()
        expected.append(accuracy_by_sklearn(units, labels.to_numpy(), train, test))
    assert_within_bounds(df["acc"], expected)


def test_both_ways_stand_under_one_another():
    df = analyse(noise_images(), decoding_type="both")
    within = df[df["decoding_type"] == "within"]
    assert within["train_values"].isna().all()
    assert within["acc"].tolist() == analyse(noise_images())["acc"].tolist()
    cross = df[df["decoding_type"] == "cross"]
    assert cross["acc"].tolist() == analyse(noise_images(), decoding_type="cross")["acc"].tolist()


def test_an_image_that_stands_in_several_groups_passes_once():
    class Counting(Maps):
        n_passed = 0

        def forward(self, x):
            Counting.n_passed += len(x)
            return super().forward(x)

    images = noise_images()
    images += [{**image, "size": 2} for image in images]
    df = analyse(images, prepared(Counting()), batch_size=4)
    # Two or three more to survey the network.
    assert 12 <= Counting.n_passed <= 12 + 5
    halves = [df[df["size"] == size]["acc"].tolist() for size in (1, 2)]
    assert halves[0] == halves[1]


def test_a_small_memory_budget_changes_no_number():
    images = noise_images(groups=(1, 2))
    expected = analyse(images, layers=None, batch_size=4)
    found = analyse(images, layers=None, batch_size=4, memory_budget=14_000)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_shuffles_depend_on_nothing_but_the_seed_and_what_is_compared():
    images = noise_images(groups=(1, 2))
    options = {"num_perms": 9, "decoding_type": "both", "cross_by": "leave_one_out"}
    df = analyse(images, **options)
    assert df["p"].between(0.1, 1).all()
    pd.testing.assert_frame_equal(analyse(images, **options), df, check_exact=True)
    alone = analyse(images[12:], **options)
    assert df[df["size"] == 2]["p"].tolist() == alone["p"].tolist()
    # The same network under another name, and beside another one.
    models = prepared(Maps(1), "a") | prepared(Maps(0), "b")
    beside = analyse(images, models, **options)
    assert beside[beside["model"] == "b"]["p"].tolist() == df["p"].tolist()
    assert analyse(images, **options, random_state=1)["p"].tolist() != df["p"].tolist()
    # Another group has shuffles of its own, also where its images are the same.
    same = analyse([*images[:12], *({**image, "size": 2} for image in images[:12])], **options)
    accs, ps = ([same[same["size"] == n][name].tolist() for n in (1, 2)] for name in ("acc", "p"))
    assert accs[0] == accs[1]
    assert ps[0] != ps[1]


def test_the_number_of_workers_changes_nothing():
    images = noise_images(groups=(1, 2))
    models = prepared(Maps(0), "a") | prepared(Maps(1), "b")
    one, two = (
        analyse(images, models, None, num_perms=3, num_cores=n, num_threads=1) for n in (1, 2)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_patterns_with_nan_have_no_accuracy():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(192, 3)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.fc(x.flatten(1)) * torch.tensor([1.0, float("nan"), 1.0]))

    with pytest.warns(
        UserWarning, match=r"NaN or inf cannot be decoded.*'relu1' of model 'net'"
    ) as caught:
        df = pfa.run_2way_svm_analysis(
            noise_images(),
            *("obj", "color", ["size"], prepared(Broken()), ["fc1", "relu1"]),
            num_perms=2,
            progress=False,
        )
    assert [warning.filename for warning in caught] == [__file__]
    is_broken = df["layer"] == "relu1"
    assert df.loc[is_broken, ["acc", "p"]].isna().all(axis=None)
    assert df.loc[~is_broken, ["acc", "p"]].notna().all(axis=None)


def test_inputs_do_not_change():
    images, grouping, layers = noise_images(), ["size"], {"net": ["conv1"]}
    table = pd.DataFrame(images)
    before = copy.deepcopy((images, grouping, layers))
    kept = table.copy()
    models = prepared()
    weights = copy.deepcopy(models["net"].state_dict())
    for listed in (images, table):
        pfa.run_2way_svm_analysis(
            listed, "obj", "color", grouping, models, layers, num_perms=1, progress=False
        )
    assert (images, grouping, layers) == before
    pd.testing.assert_frame_equal(table, kept)
    assert all(torch.equal(models["net"].state_dict()[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding_type": "across"}, "`decoding_type` names 'across'.*within, cross, both"),
        ({"cross_by": "all"}, "`cross_by` names 'all'.*pairs, leave_one_out"),
        ({"activation_type": "cls_token"}, "`activation_type` names 'cls_token'"),
        ({"layers": ["conv9"]}, "which_layers.*'conv9'.*Did you mean|conv9"),
        ({"layers": {"alexnet": ["conv1"]}}, "`which_layers` names 'alexnet'.*There is: net"),
        ({"layers": []}, "`which_layers` names no layer for model 'net'"),
        ({"num_perms": -1}, "`num_perms` must be at least 0"),
        ({"grouping": ["sise"]}, "`grouping_vars` names 'sise'.*It has: path, obj, color, size"),
        ({"grouping": ["obj"]}, "`var1` and `grouping_vars` both name 'obj'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        analyse(noise_images(), **options)


def test_bad_variables_are_named():
    images, models = noise_images(), prepared()
    with pytest.raises(ValueError, match=r"`var2` names 'colour'.*It has: path, obj, color"):
        pfa.run_2way_svm_analysis(images, "obj", "colour", [], models)
    with pytest.raises(ValueError, match="`var1` and `var2` must name two variables"):
        pfa.run_2way_svm_analysis(images, "obj", "obj", [], models)
    with pytest.raises(TypeError, match="`var1` must be the name of a variable, not 3"):
        pfa.run_2way_svm_analysis(images, 3, "color", [], models)
    renamed = [{**image, "layer": 1} for image in images]
    with pytest.raises(ValueError, match="`var1` names 'path'"):
        pfa.run_2way_svm_analysis(images, "path", "color", [], models)
    with pytest.raises(ValueError, match=r"`grouping_vars` names 'layer'.*Rename"):
        pfa.run_2way_svm_analysis(renamed, "obj", "color", ["layer"], models)
    # A parquet file would take it for the column of RDMs.
    renamed = [{**image, "matrix": 1} for image in images]
    with pytest.raises(ValueError, match=r"`grouping_vars` names 'matrix'.*Rename"):
        pfa.run_2way_svm_analysis(renamed, "obj", "color", ["matrix"], models)
    lacking = [*images[:3], {key: images[3][key] for key in ("path", "color", "size")}]
    with pytest.raises(ValueError, match=r"`var1` names 'obj'.*`image_list\[3\]`"):
        pfa.run_2way_svm_analysis(lacking, "obj", "color", [], models)
    with pytest.raises(TypeError, match="`image_list` must be an image table"):
        pfa.run_2way_svm_analysis("images", "obj", "color", [], models)
    with pytest.raises(TypeError, match="must be a dict with 'path'"):
        pfa.run_2way_svm_analysis(["a.png"], "obj", "color", [], models)
    with pytest.raises(ValueError, match="`image_list` must hold at least one image"):
        pfa.run_2way_svm_analysis([], "obj", "color", [], models)
    with pytest.raises(TypeError, match="`models_dict` must be a dict"):
        pfa.run_2way_svm_analysis(images, "obj", "color", [], list(models.values()))
    with pytest.raises(TypeError, match="`models_dict`: model 'net' must be a torch"):
        pfa.run_2way_svm_analysis(images, "obj", "color", [], {"net": "alexnet"})


def test_designs_that_cannot_be_decoded_are_named():
    images = noise_images(groups=(1, 2))
    one_value = [image for image in images if image["size"] == 1 or image["obj"] == "obj1"]
    with pytest.raises(ValueError, match="but one value of 'obj' in the group size=2, 'obj1'"):
        analyse(one_value)
    alone = [*noise_images(), {**noise_images()[0], "obj": "lonely", "color": "color9"}]
    with pytest.raises(ValueError, match="1 image with 'obj' = 'lonely' in the group size=1"):
        analyse(alone)
    apart = [
        image
        for image in noise_images()
        if (image["obj"] == "obj0") == (image["color"] in ("color0", "color1"))
    ]
    with pytest.raises(ValueError, match=r"'obj0'.*'obj1'.*fewer than two values.*\(none\)"):
        analyse(apart, decoding_type="cross")
