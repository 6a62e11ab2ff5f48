"""Subsets of stimuli in files."""

import json

import numpy as np
import pytest

import pytorch_feature_analysis as pfa


@pytest.fixture
def path(tmp_path):
    return tmp_path / "subset.json"


def test_a_subset_comes_back_in_ascending_order(path):
    chosen = pfa.stratified_subset(np.repeat([0, 1, 2], 20), 12)
    pfa.save_subset(path, chosen[::-1], n_stimuli=60)
    read = pfa.read_subset(path, n_stimuli=60)
    np.testing.assert_array_equal(read, chosen)
    assert read.dtype == chosen.dtype
    assert json.loads(path.read_text()) == {"n_stimuli": 60, "indices": chosen.tolist()}


def test_the_subset_of_another_dataset_is_told_by_its_number_of_stimuli(path):
    pfa.save_subset(path, [1, 2], n_stimuli=np.int64(60))
    with pytest.raises(ValueError, match="a subset of 60 stimuli, and `n_stimuli` is 59"):
        pfa.read_subset(path, n_stimuli=59)
    assert pfa.read_subset(path).tolist() == [1, 2]
    pfa.save_subset(path, [1, 2])
    assert pfa.read_subset(path, n_stimuli=59).tolist() == [1, 2]


def test_another_subset_is_kept_and_the_same_one_is_not_written_again(path, caplog):
    pfa.save_subset(path, [1, 2])
    pfa.save_subset(path, np.array([2, 1]))
    assert [file.name for file in path.parent.iterdir()] == ["subset.json"]
    assert not caplog.messages
    pfa.save_subset(path, [3])
    assert pfa.read_subset(path).tolist() == [3]
    assert pfa.read_subset(path.with_name("subset.superseded.json")).tolist() == [1, 2]
    assert "would have been overwritten" in caplog.text


def test_a_list_of_positions_is_read(path):
    path.write_text("[5, 0, 3]")
    assert pfa.read_subset(path, n_stimuli=6).tolist() == [0, 3, 5]


def test_lists_of_positions_by_class_are_read(path):
    path.write_text('{"0": [3, 1], "1": [0, 8], "n_stimuli": [4]}')
    assert pfa.read_subset(path).tolist() == [0, 1, 3, 4, 8]


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        ("[0, 1", ValueError, "cannot be read as JSON"),
        ('{"0": [1], "0": [2]}', ValueError, "'0' stands in it twice"),
        ("{}", ValueError, "holds no position"),
        ("[]", ValueError, "holds no position"),
        ("7", ValueError, "must hold a list of positions"),
        ('{"0": 7}', ValueError, "must hold a list of positions"),
        ("[0, 1.0]", TypeError, "whole numbers, the positions, not 1.0"),
        ("[0, true]", TypeError, "whole numbers, the positions, not True"),
        ('["0"]', TypeError, "the positions, not '0'"),
        ("[0, -1]", ValueError, "holds the position -1; they go from 0."),
        ("[0, 9]", ValueError, "the position 9; they go from 0 to 8, the last of the dataset's"),
        ('{"0": [4], "1": [2, 4]}', ValueError, "holds the position 4 more than once"),
    ],
)
def test_what_is_no_subset_is_refused(path, content, error, match):
    path.write_text(content)
    n_stimuli = 9 if "9" in content else None
    with pytest.raises(error, match=match):
        pfa.read_subset(path, n_stimuli=n_stimuli)


def test_what_is_no_subset_is_not_written(path):
    for indices, error, match in [
        ([], ValueError, "`indices` holds no position"),
        ([1, 1], ValueError, "`indices` holds the position 1 more than once"),
        ([5], ValueError, "`indices` holds the position 5; they go from 0 to 4"),
        ([-1], ValueError, "`indices` holds the position -1"),
        ([0.0], TypeError, "`indices` must hold whole numbers"),
        (np.array([True, False]), TypeError, "`indices` must hold whole numbers"),
        ("12", TypeError, "`indices` must be a list or array"),
    ]:
        with pytest.raises(error, match=match):
            pfa.save_subset(path, indices, n_stimuli=5)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        pfa.save_subset(path.parent / "nowhere" / "subset.json", [1])
    assert not list(path.parent.iterdir())


def test_a_file_that_is_not_there_is_an_error_and_not_the_whole_dataset(path):
    with pytest.raises(FileNotFoundError):
        pfa.read_subset(path)
