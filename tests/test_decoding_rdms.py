import numpy as np
import pandas as pd
import pytest
from made_decoding import analyse, noise_images
from made_runs import prepared

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.decoding_folds import k_folds


def test_a_stack_of_accuracies_has_those_of_the_analysis_in_its_matrices():
    images = noise_images(groups=(1, 2))
    rdm_df = pfa.get_decoding_rdms(
        images, "obj", ["size"], prepared(), ["conv1", "fc1"], matched_by="color", progress=False
    )
    df = analyse(images, layers=["conv1", "fc1"])
    assert rdm_df["entry_keys"][0] == (("obj0",), ("obj1",), ("obj2",))
    assert rdm_df["dissim_metric"].unique().tolist() == ["svm_accuracy"]
    for row in rdm_df.itertuples():
        same = df[(df["size"] == row.size) & (df["layer"] == row.layer)]
        expected = same[same["decoded_variable"] == "obj"]["acc"].tolist()
        np.testing.assert_array_equal(row.matrix[np.triu_indices(3, k=1)], expected)
        np.testing.assert_array_equal(row.matrix, row.matrix.T)
        np.testing.assert_array_equal(np.diag(row.matrix), 0)
        assert not row.matrix.flags.writeable


def test_a_stack_of_accuracies_goes_through_all_that_stacks_go_through(tmp_path):
    images = noise_images(n_objects=5)
    file = tmp_path / "svm.parquet"
    rdm_df = pfa.get_decoding_rdms(
        images, "obj", ["size"], prepared(), None, file, progress=False, df_name="mine"
    )
    assert list(rdm_df.columns[:15]) == list(pfa.stack_columns()["column"][:15])
    pd.testing.assert_frame_equal(pfa.read_rdms(file), rdm_df)
    pfa.check_rdm_stack(rdm_df)
    meta_df = pfa.get_meta_rdms(
        rdm_df,
        None,
        entry_variables=["layer"],
        grouping_variables=["model"],
        dissim_metrics=["euclidean_distance"],
    )
    assert meta_df["matrix"][0].shape == (5, 5)
    pfa.rdm_mds(rdm_df.iloc[:1], show=False)


def test_random_folds_are_even_and_follow_the_seed():
    labels = np.repeat([False, True], [7, 5])
    folds = k_folds(labels, 3, np.random.default_rng(0))
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(12))
    for fold in folds:
        assert 2 <= (~labels[fold.test]).sum() <= 3
        assert 1 <= labels[fold.test].sum() <= 2
        assert not set(fold.train) & set(fold.test)
    images = noise_images()

    def stack(seed):
        return pfa.get_decoding_rdms(
            images, "obj", [], prepared(), ["fc1"], num_folds=2, progress=False, random_state=seed
        )["matrix"][0]

    np.testing.assert_array_equal(stack(0), stack(0))
    assert any((stack(0) != stack(seed)).any() for seed in range(1, 5))


def test_bad_folds_are_named():
    with pytest.raises(ValueError, match=r"4 images with 'obj' = 'obj0'.*`num_folds`=5"):
        pfa.get_decoding_rdms(noise_images(), "obj", [], prepared(), num_folds=5)
    with pytest.raises(ValueError, match=r"`num_folds` .* and `matched_by`.*give one of them"):
        pfa.get_decoding_rdms(
            noise_images(), "obj", [], prepared(), num_folds=2, matched_by="color"
        )
    with pytest.raises(ValueError, match="`matched_by` names 'colour'"):
        pfa.get_decoding_rdms(noise_images(), "obj", [], prepared(), matched_by="colour")
