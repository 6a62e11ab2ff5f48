"""Frames of activations, beside `capture` layer by layer."""

import numpy as np
import pandas as pd
import pytest
from made_runs import Maps, Tokens, image_set, pictures, prepared

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.activation_schema import check_activations


def frame_of(sets, models=None, **options):
    return pfa.get_activations(sets, models or prepared(), progress=False, **options)


def two_sets():
    images = list(pictures(9).items())
    # They share images, in another order.
    return [image_set(images[:6], set="a"), image_set(images[:3:-1], set="b")]


@pytest.mark.parametrize("batch_size", [2, 4, None])
@pytest.mark.parametrize("in_files", [False, True])
def test_each_row_holds_what_its_layer_put_out(batch_size, in_files, tmp_path):
    folder = tmp_path / "new" / "arrays" if in_files else None
    sets, models = two_sets(), prepared()
    df = frame_of(sets, models, batch_size=batch_size, out_folder=folder)
    assert len(df) == 2 * len(df["layer"].unique())
    for labels, images, *_ in sets:
        expected = pfa.capture(models["net"], list(images.values()))
        rows = df[df["set"] == labels["set"]]
        assert rows["layer"].tolist() == list(expected)
        for row in rows.itertuples():
            units = expected[row.layer].reshape(len(images), -1)
            np.testing.assert_allclose(row.activations, units, atol=1e-6)
            assert row.activations.dtype == np.float32
            assert isinstance(row.activations, np.memmap) == in_files
            assert row.entry_keys == tuple(images)
            assert not row.activations.flags.writeable


def test_means_of_channels_and_class_tokens():
    sets, models = two_sets()[:1], prepared(Maps())
    images = list(sets[0][1].values())
    df = frame_of(sets, models, which_layers=["conv1"], activation_types=["feature_means"])
    expected = pfa.capture(models["net"], images, ["conv1"])["conv1"].mean(axis=(2, 3))
    np.testing.assert_allclose(df["activations"][0], expected, atol=1e-6)

    models = prepared(Tokens())
    types = ["unit_level", "feature_means", "cls_token"]
    for without in (False, True):
        df = frame_of(sets, models, activation_types=types, exclude_prefix_tokens=without)
        tokens = df[df["activation_type"] == "cls_token"]["layer"].tolist()
        assert tokens
        expected = pfa.capture(models["net"], images, tokens)
        for layer in tokens:
            found = df[df["layer"] == layer].set_index("activation_type")["activations"]
            first = int(without)
            means = expected[layer][:, first:].mean(axis=1)
            np.testing.assert_allclose(found["feature_means"], means, atol=1e-6)
            np.testing.assert_allclose(found["cls_token"], expected[layer][:, 0], atol=1e-6)


def test_the_same_rdms_come_of_them():
    sets, models = two_sets(), prepared()
    df = frame_of(sets, models)
    rdm_df = pfa.get_rdms(sets, models, activation_types=["unit_level"], progress=False)
    for row, rdm in zip(df.itertuples(), rdm_df.itertuples(), strict=True):
        assert (row.layer, row.set) == (rdm.layer, rdm.set)
        np.testing.assert_allclose(pfa.compute_rdm(row.activations), rdm.matrix, atol=1e-5)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        frame_of(two_sets(), out_folder=tmp_path)
    with pytest.raises(FileExistsError, match="not an empty folder"):
        frame_of(two_sets(), out_folder=tmp_path / "mine.txt")
    with pytest.raises(ValueError, match="conv9"):
        frame_of(two_sets(), which_layers=["conv9"], out_folder=tmp_path / "other")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_no_label_is_called_activations():
    with pytest.raises(ValueError, match="'activations' cannot be the name of a label"):
        frame_of([image_set(pictures(3), activations="large")])


def test_combinations_have_no_activations():
    images = pictures(3)
    keys = list(images)
    combined = ({"set": "a"}, images, ("image",), [(("mean",), keys[:2], np.mean, {"axis": 0})])
    with pytest.raises((ValueError, TypeError), match="combination"):
        frame_of([combined])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"activations": [np.ones((3, 2))] * 2},
            ValueError,
            "has 4 entry_keys, but its activations",
        ),
        ({"activations": [np.ones(4)] * 2}, ValueError, r"array \(n_entries, n_units\)"),
        ({"activations": [np.full((4, 2), "a")] * 2}, TypeError, "real numbers"),
        ({"entry_keys": [["a", "a", "b", "c"]] * 2}, ValueError, "more than once"),
        ({"entry_keys": [3, 4]}, TypeError, "must have a tuple of tuples"),
    ],
)
def test_a_frame_of_ones_own_is_checked_row_by_row(change, error, match):
    good = {"activations": [np.ones((4, 2))] * 2, "entry_keys": [list("abcd")] * 2}
    checked = check_activations(pd.DataFrame(good))
    assert checked["entry_keys"][0] == (("a",), ("b",), ("c",), ("d",))
    assert checked["entry_labels"][0][1] == {"entry": "b"}
    with pytest.raises(error, match=match):
        check_activations(pd.DataFrame(good | change))
    with pytest.raises(ValueError, match="entry_keys"):
        check_activations(pd.DataFrame({"activations": good["activations"]}))
