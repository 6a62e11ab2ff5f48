"""Mean and standard deviation of RDMs over datasets."""

import numpy as np
import pandas as pd
import pytest
from made_study import similarity_stack, with_cells, with_order

import pytorch_feature_analysis as pfa


def test_mean_and_sd_are_those_of_the_cells():
    stack = similarity_stack()
    before = [matrix.copy() for matrix in stack["matrix"]]
    means = pfa.get_mean_rdms(stack)
    assert means["statistic"].tolist() == ["mean", "sd"]
    assert means["dissim_metric"].tolist() == ["linear_cka", "sd(linear_cka)"]
    assert means["n_rdms"].tolist() == [4, 4]
    cells = np.array([matrix[2, 7] for matrix in before])
    assert means["matrix"][0][2, 7] == pytest.approx(sum(cells) / 4)
    deviations = cells - sum(cells) / 4
    assert means["matrix"][1][2, 7] == pytest.approx(np.sqrt(sum(deviations**2) / 3))
    for matrix, old in zip(stack["matrix"], before, strict=True):
        np.testing.assert_array_equal(matrix, old)


def test_the_mean_is_a_stack_and_its_similarity_is_the_mean_similarity():
    stack = similarity_stack()
    means = pfa.get_mean_rdms(stack)
    pfa.check_rdm_stack(means)
    similarity = pfa.to_similarity(means[means["statistic"] == "mean"])["matrix"][0]
    np.testing.assert_allclose(similarity, np.mean([1 - m for m in stack["matrix"]], axis=0))
    with pytest.raises(ValueError, match=r"sd\(linear_cka\)"):
        pfa.to_similarity(means)


def test_models_are_matched_by_name_and_measures_are_groups():
    stack = similarity_stack(n_models=5)
    turned = with_order(stack, 1, [3, 0, 4, 1, 2])
    both = pd.concat([turned, stack.assign(dissim_metric="nbs")], ignore_index=True)
    means = pfa.get_mean_rdms(both)
    assert means["dissim_metric"].tolist() == ["linear_cka", "sd(linear_cka)", "nbs", "sd(nbs)"]
    np.testing.assert_allclose(means["matrix"][0], means["matrix"][2])
    np.testing.assert_allclose(means["matrix"][1], means["matrix"][3])


def test_a_cell_that_one_dataset_lacks_has_no_mean():
    stack = similarity_stack(n_models=4)
    matrix = stack["matrix"][1].copy()
    matrix[0, 1] = np.nan
    means = pfa.get_mean_rdms(with_cells(stack, 1, matrix=matrix))
    for statistic in means["matrix"]:
        np.testing.assert_array_equal(np.argwhere(np.isnan(statistic)), [[0, 1]])


def test_what_has_no_mean_is_refused():
    stack = similarity_stack(n_models=4)
    with pytest.raises(ValueError, match=r"one RDM alone.*Name in `over` all that differs"):
        pfa.get_mean_rdms(stack.iloc[:1])
    with pytest.raises(ValueError, match="`over` names 'data'"):
        pfa.get_mean_rdms(stack, ["data"])
    with pytest.raises(ValueError, match="more than one row with the entry key"):
        pfa.get_mean_rdms(pd.concat([stack, stack]))
    with pytest.raises(ValueError, match="has no rows"):
        pfa.get_mean_rdms(stack.iloc[:0])
    fewer = pd.concat([stack, similarity_stack(n_models=3, datasets=("cars",))])
    with pytest.raises(ValueError, match="not over the same entries"):
        pfa.get_mean_rdms(fewer)
    with pytest.raises(ValueError, match="has a column 'statistic', as the result will have"):
        pfa.get_mean_rdms(stack.assign(statistic="a"))
    with pytest.raises(TypeError, match="`df_name` must be a string"):
        pfa.get_mean_rdms(stack, df_name=3)
