"""One NaN policy: the same three words, with one meaning, wherever RDMs lack cells."""

import inspect
import itertools
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from made_stacks import upper, with_dead
from pandas.testing import assert_frame_equal
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.cli import main
from pytorch_feature_analysis.linkage import linkage_of_known
from pytorch_feature_analysis.missing_cells import (
    count_missing,
    dead_entries,
    finite_or_nan,
    known_matrix,
)

N = 8
NAMES = list("abcdefgh")
ALL = ("omit", "pairwise", "raise")
OF_ONE = ("omit", "raise")


def rdm(seed):
    points = np.random.default_rng(seed).normal(size=(N, 3))
    return np.linalg.norm(points[:, None] - points, axis=2)


def without(matrix, *pairs, value=np.nan):
    matrix = matrix.copy()
    for i, j in pairs:
        matrix[i, j] = matrix[j, i] = value
    return matrix


def stack_of(*matrices, variable="layer", values=None):
    return pd.DataFrame(
        {
            variable: values or [f"{variable}{k}" for k in range(len(matrices))],
            "matrix": list(matrices),
            "entry_keys": [NAMES] * len(matrices),
        },
        index=range(10, 10 + len(matrices)),
    )


def many(*matrices, **kwargs):
    """Three or more RDMs, of which the first ones are given."""
    whole = [rdm(k) for k in range(3)]
    return stack_of(*matrices, *whole[len(matrices) :], **kwargs)


def meta(first, **options):
    return pfa.get_meta_rdms(many(first), None, ["layer"], progress=False, **options)


def means(first, **options):
    return pfa.get_mean_rdms(many(first, variable="dataset"), **options)


def to_reference(first, **options):
    return pfa.compare_to_reference(many(first), (rdm(7), NAMES), num_perms=19, **options)


def of_reference(first, **options):
    return pfa.compare_to_reference(many(), (first, NAMES), **options)


def differences(first, **options):
    return pfa.compare_fits(many(first), (rdm(7), NAMES), num_boot=19, **options)


def ceiling(first, **options):
    return pfa.noise_ceiling(many(first, variable="subject"), **options)


def halves(first, **options):
    return pfa.reliability(many(first, variable="subject"), **options)


def regression(first, **options):
    return pfa.regress_rdms(many(first), (rdm(7), NAMES), **options)


def agreement(first, **options):
    return pfa.compare_rdms(first, rdm(1), **options)


def mantel(first, **options):
    test = pfa.permutation_test(first, rdm(1), num_perms=19, **options)
    return test.statistic, test.p_value, test.null


def coordinates(first, **options):
    return pfa.mds_coordinates(stack_of(first), **options)


def aligned(first, **options):
    return pfa.aligned_mds_coordinates(many(first), **options)


def panels(first, **options):
    axes = pfa.plot_mds_panels(many(first), show=False, **options)
    plt.close(axes[0].figure)
    return [dots.get_offsets().filled(np.nan) for ax in axes for dots in ax.collections]


def figure_of(draw):
    def call(first, **options):
        figure, ax = plt.subplots()
        try:
            result = draw(first, ax=ax, show=False, **options)
            drawn = [image.get_array().filled(np.nan) for image in ax.images]
            places = [dots.get_offsets().filled(np.nan) for dots in ax.collections]
            return [*drawn, *places, *([result] if isinstance(result, float) else [])]
        finally:
            plt.close(figure)

    call.__name__ = draw.__name__
    return call


@figure_of
def mds_map(first, **options):
    return pfa.rdm_mds(stack_of(first), **options)


@figure_of
def shepard(first, **options):
    return pfa.plot_shepard(stack_of(first), **options)


@figure_of
def heat_map(first, **options):
    return pfa.plot_heatmap(stack_of(first), **options)


@figure_of
def model_map(first, **options):
    table = pd.DataFrame({"model": NAMES, "objective": ["x", "y"] * (N // 2)})
    return pfa.plot_model_map(stack_of(first), table, "objective", **options)


@figure_of
def matrices(first, **options):
    return pfa.plot_rdm(stack_of(first), **options)


@figure_of
def datasets(first, **options):
    stack = stack_of(first, rdm(1), variable="dataset")
    return pfa.plot_dataset_scatter(stack, "dataset0", "dataset1", **options)


@figure_of
def spread(first, **options):
    return pfa.plot_similarity_spread(many(first, variable="dataset"), **options)


def by_measures(first):
    return many(first, variable="dissim_metric", values=["linear_cka", "nbs", "procrustes"])


@figure_of
def measure_map(first, **options):
    return pfa.plot_measure_comparison(by_measures(first), **options)


def measure_table(first, **options):
    return pfa.compare_measures(by_measures(first), **options)


def metric_of(name, matrix):
    """A metric that gives a matrix of the rows of an identity."""
    return name, lambda x, y: matrix[x.argmax(), y.argmax()]


@figure_of
def metric_maps(first, ax, **options):
    other = ax.figure.add_axes((0.8, 0, 0.1, 0.1))
    frame = pd.DataFrame({"activations": [np.eye(N)], "entry_keys": [NAMES]})
    metrics = [metric_of("given", first), metric_of("other", rdm(1))]
    pfa.plot_metric_comparison(frame, metrics=metrics, axes=[ax, other], **options)


def order(first, **options):
    return pfa.linkage_order(stack_of(first), **options)


def extreme(first, **options):
    return pfa.get_extreme_dissims_total(first, 4, **options)


def matching(first, **options):
    return pfa.get_dissims_that_match(first, 2.0, 4, **options)


def uniform(first, **options):
    return pfa.get_most_uniform_dissims(first, 4, **options)


def report(first, **options):
    return pfa.selection_report(first, [0, 2, 4], **options)


def stimuli(first, **options):
    return pfa.select_stimuli(many(first), 4, **options)


def stimuli_for_each(first, **options):
    return pfa.select_stimuli(many(first), 4, combine="min", **options)


def disagreement(first, **options):
    return pfa.max_disagreement(stack_of(first), stack_of(rdm(1)), 4, **options)


def consistency(first, **options):
    stack = many(first, variable="dataset")
    return pfa.get_consistency(stack, num_boot=19, **options)


def consistency_rdms(first, **options):
    return pfa.get_consistency_rdms(many(first, variable="dataset"), **options)


# A call of each public function with one RDM given; which function, the policies that it takes,
# its default, and what has the missing cells in its error.
TABLE = [
    (meta, pfa.get_meta_rdms, ALL, "pairwise", "`rdm_df`", "row 10"),
    (means, pfa.get_mean_rdms, ALL, "omit", "`rdm_df`", "row 10"),
    (to_reference, pfa.compare_to_reference, ALL, "omit", "`rdm_df`", "row 10"),
    (of_reference, pfa.compare_to_reference, ALL, "omit", "the reference", ""),
    (differences, pfa.compare_fits, ALL, "omit", "`rdm_df`", "row 10"),
    (ceiling, pfa.noise_ceiling, OF_ONE, "omit", "the reference", "subject 'subject0'"),
    (halves, pfa.reliability, OF_ONE, "omit", "the reference", "subject 'subject0'"),
    (regression, pfa.regress_rdms, OF_ONE, "omit", "`rdm_df`", "row 10"),
    (agreement, pfa.compare_rdms, ALL, "omit", "`rdm1`", ""),
    (mantel, pfa.permutation_test, ALL, "omit", "`rdm1`", ""),
    (coordinates, pfa.mds_coordinates, OF_ONE, "omit", "`rdm_df`", "row 10"),
    (mds_map, pfa.rdm_mds, OF_ONE, "omit", "`rdm_df`", "row 10"),
    (aligned, pfa.aligned_mds_coordinates, OF_ONE, "omit", "`rdm_df`", "layer 'layer0'"),
    (panels, pfa.plot_mds_panels, OF_ONE, "omit", "`rdm_df`", "layer 'layer0'"),
    (shepard, pfa.plot_shepard, OF_ONE, "omit", "`rdm_df`", "row 10"),
    (model_map, pfa.plot_model_map, OF_ONE, "omit", "`rdm_df`", "row 10"),
    (heat_map, pfa.plot_heatmap, ALL, "pairwise", "`rdm_df`", "row 10"),
    (matrices, pfa.plot_rdm, ALL, "pairwise", "`rdm_df`", "row 10"),
    (datasets, pfa.plot_dataset_scatter, ALL, "omit", "`similarity_df`", "row 10"),
    (spread, pfa.plot_similarity_spread, ALL, "omit", "`similarity_df`", "row 10"),
    (measure_map, pfa.plot_measure_comparison, ALL, "pairwise", "`similarity_df`", "row 10"),
    (measure_table, pfa.compare_measures, ALL, "pairwise", "`similarity_df`", "row 10"),
    (metric_maps, pfa.plot_metric_comparison, ALL, "pairwise", "`activations_df`", "'given'"),
    (order, pfa.linkage_order, OF_ONE, "omit", "`rdm_df`", "row 10"),
    (extreme, pfa.get_extreme_dissims_total, OF_ONE, "omit", "`input_rdm`", ""),
    (matching, pfa.get_dissims_that_match, OF_ONE, "omit", "`input_rdm`", ""),
    (uniform, pfa.get_most_uniform_dissims, OF_ONE, "omit", "`input_rdm`", ""),
    (report, pfa.selection_report, OF_ONE, "omit", "`input_rdm`", ""),
    (stimuli, pfa.select_stimuli, ALL, "omit", "`rdm_df`", "row 10"),
    (stimuli_for_each, pfa.select_stimuli, ALL, "omit", "`rdm_df`", "row 10"),
    (disagreement, pfa.max_disagreement, ALL, "pairwise", "`rdm_df`", "`row_a`"),
    (consistency, pfa.get_consistency, ALL, "pairwise", "`similarity_stack`", "row 10"),
    (consistency_rdms, pfa.get_consistency_rdms, ALL, "pairwise", "`similarity_stack`", "row 10"),
]
every = pytest.mark.parametrize(
    ("call", "function", "policies", "default", "owner", "name"),
    TABLE,
    ids=[line[0].__name__ for line in TABLE],
)


def assert_same(left, right):
    """Equality to the last bit, of frames with matrices, arrays, lists and numbers."""
    if isinstance(left, pd.DataFrame):
        left, right = left.copy(), right.copy()
        if "matrix" in left:
            assert_same(left.pop("matrix").tolist(), right.pop("matrix").tolist())
        assert_frame_equal(left, right, check_exact=True)
    elif isinstance(left, (list, tuple)) and len(left) and not isinstance(left[0], str):
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, np.ndarray):
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right or (left != left and right != right)


def test_the_table_has_every_public_function_that_takes_a_policy():
    takes = {
        name
        for name in pfa.__all__
        if inspect.isfunction(getattr(pfa, name))
        and "nan_policy" in inspect.signature(getattr(pfa, name)).parameters
    }
    # What measured patterns lack are channels: see the tests of pattern_rdms.
    others = {"my_mds", "rdm_mds", "get_pattern_rdms"}
    assert takes - others == {line[1].__name__ for line in TABLE} - {"rdm_mds"}
    assert {"my_mds", "rdm_mds"} < takes


@every
def test_the_argument_is_keyword_only_with_its_default(
    call, function, policies, default, owner, name
):
    parameter = inspect.signature(function).parameters["nan_policy"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default == default


@every
def test_whole_rdms_give_the_same_under_all_policies(
    call, function, policies, default, owner, name
):
    expected = call(rdm(0))
    for policy in policies:
        assert_same(call(rdm(0), nan_policy=policy), expected)


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_raise_names_the_rdm_and_says_how_many_it_lacks(
    call, function, policies, default, owner, name, value
):
    holed = without(rdm(0), (0, 1), (2, 5), value=value)
    with pytest.raises(ValueError, match="`nan_policy` is 'raise'") as error:
        call(holed, nan_policy="raise")
    said = str(error.value)
    assert f"and {owner} has 2 missing dissimilarities (NaN or infinite)" in said
    assert f"2 of 28 in {name}" in said if name else "of 28. " in said
    others = "'omit' or 'pairwise'" if "pairwise" in policies else "'omit'"
    assert f"Take {others}, or leave out what lacks them" in said


@every
def test_another_word_is_refused_and_those_that_there_are_named(
    call, function, policies, default, owner, name
):
    with pytest.raises(ValueError, match="`nan_policy` names 'drop', which is not a policy") as e:
        call(rdm(0), nan_policy="drop")
    assert str(e.value).endswith(f"There are: {', '.join(policies)}.")
    if "pairwise" not in policies:
        with pytest.raises(ValueError, match=r"'pairwise', which .*; take 'omit' or 'raise'"):
            call(rdm(0), nan_policy="pairwise")


@every
def test_the_default_is_the_policy_that_it_names(call, function, policies, default, owner, name):
    holed = without(with_dead(rdm(0), 3), (0, 1))
    assert_same(call(holed), call(holed, nan_policy=default))


@every
def test_infinite_cells_are_missing_as_nan_is(call, function, policies, default, owner, name):
    holed = without(rdm(0), (0, 1), (2, 5))
    for policy in set(policies) - {"raise"}:
        found = call(without(rdm(0), (0, 1), (2, 5), value=np.inf), nan_policy=policy)
        if call in (extreme, matching, uniform):
            # These give back what came in.
            found = tuple(finite_or_nan(one) if k == 0 else one for k, one in enumerate(found))
        assert_same(found, call(holed, nan_policy=policy))


@every
def test_nothing_that_came_in_is_changed(call, function, policies, default, owner, name):
    holed = without(with_dead(rdm(0), 3), (0, 1))
    before = holed.copy()
    for policy in set(policies) - {"raise"}:
        call(holed, nan_policy=policy)
        np.testing.assert_array_equal(holed, before)


# What the words mean, by hand.

HOLED = [without(rdm(0), (0, 1)), with_dead(without(rdm(1), (4, 5)), 3), rdm(2)]
LACKING = np.isnan(np.stack(HOLED)).any(axis=0)
COMMON = ~LACKING[np.triu_indices(N, k=1)]


def test_omit_compares_all_rdms_of_a_group_on_the_same_cells(caplog):
    result = pfa.get_meta_rdms(
        stack_of(*HOLED), None, ["layer"], nan_policy="omit", progress=False
    )
    # Oracle: numpy's correlation of the cells that all have.
    expected = 1 - np.corrcoef([upper(matrix)[COMMON] for matrix in HOLED])
    np.testing.assert_allclose(result["matrix"][0], expected, atol=1e-12)
    assert (
        "2 of 3 RDMs have missing cells: left out, for all RDMs of a group, are 1 items without"
        " any finite dissimilarity, and 2 further cells." in caplog.text
    )


def test_pairwise_compares_each_two_rdms_on_the_cells_that_both_have(caplog):
    result = pfa.get_meta_rdms(stack_of(*HOLED), None, ["layer"], progress=False)
    for i, j in itertools.combinations(range(3), 2):
        x, y = upper(HOLED[i]), upper(HOLED[j])
        both = np.isfinite(x) & np.isfinite(y)
        r = np.corrcoef(x[both], y[both])[0, 1]
        np.testing.assert_allclose(result["matrix"][0][i, j], 1 - r, atol=1e-12)
    assert "left out, pair by pair, are 1 items" in caplog.text


def test_what_is_omitted_is_omitted_wherever_items_stand():
    turned = [5, 2, 7, 0, 3, 1, 6, 4]
    stack = stack_of(HOLED[0], HOLED[1][np.ix_(turned, turned)], HOLED[2])
    stack["entry_keys"] = [NAMES, [NAMES[k] for k in turned], NAMES]
    for options in ({}, {"num_perms": 3}):
        left, right = (
            pfa.get_meta_rdms(one, None, ["layer"], nan_policy="omit", progress=False, **options)[
                "matrix"
            ].tolist()
            for one in (stack, stack_of(*HOLED))
        )
        np.testing.assert_allclose(left, right, atol=1e-12)


def test_shuffles_are_among_the_items_that_omit_leaves():
    dead = [with_dead(rdm(0), 3), rdm(1), with_dead(rdm(2), 6)]
    options = {"nan_policy": "omit", "num_perms": 4, "progress": False}
    result = pfa.get_meta_rdms(stack_of(*dead), None, ["layer"], **options)
    for row in result.itertuples():
        shuffled = []
        for matrix, scramble in zip(dead, row.perm_scramble, strict=True):
            left = [item for item in scramble if item not in (3, 6)]
            shuffled.append(upper(matrix[np.ix_(left, left)]))
        np.testing.assert_allclose(row.matrix, 1 - np.corrcoef(shuffled), atol=1e-12)


def test_rdms_with_nothing_in_common_have_no_dissimilarity_when_cells_are_omitted():
    stack = stack_of(np.full((N, N), np.nan), rdm(1), rdm(2))
    with pytest.warns(UserWarning, match="without common cells"):
        omit = pfa.get_meta_rdms(stack, None, ["layer"], nan_policy="omit", progress=False)
    assert np.isnan(omit["matrix"][0]).all()
    with pytest.warns(UserWarning, match="without common cells"):
        pairwise = pfa.get_meta_rdms(stack, None, ["layer"], progress=False)
    assert np.isfinite(pairwise["matrix"][0][1, 2])


def test_a_row_that_is_not_compared_is_not_refused():
    stack = stack_of(*HOLED, rdm(3))
    options = {"nan_policy": "raise", "progress": False}
    subsets = [("whole", ["layer2", "layer3"])]
    found = pfa.get_meta_rdms(stack, None, ["layer"], subsets, **options)
    assert found["entry_keys"][0] == (("layer2",), ("layer3",))
    with pytest.raises(ValueError, match=r"in 2 of 3 RDMs: 1 of 28 in row 10, 8 of 28 in row 11"):
        pfa.get_meta_rdms(stack.iloc[:3], None, ["layer"], **options)


def test_the_mean_omits_cells_or_is_of_the_rdms_that_have_them(caplog):
    stack = stack_of(*HOLED, variable="dataset")
    omit = pfa.get_mean_rdms(stack)
    mean, sd = omit["matrix"]
    np.testing.assert_array_equal(np.isnan(mean), LACKING)
    np.testing.assert_array_equal(mean, np.mean(HOLED, axis=0))
    np.testing.assert_array_equal(sd, np.std(HOLED, axis=0, ddof=1))
    pairwise = pfa.get_mean_rdms(stack, nan_policy="pairwise")
    mean, sd = pairwise["matrix"]
    assert mean[0, 1] == (HOLED[1][0, 1] + HOLED[2][0, 1]) / 2
    # Oracle: numpy's functions that leave NaN out.
    np.testing.assert_allclose(mean, np.nanmean(HOLED, axis=0), atol=1e-15)
    np.testing.assert_allclose(sd, np.nanstd(HOLED, axis=0, ddof=1), atol=1e-15)
    for means in (omit, pairwise):
        assert means["n_missing"].tolist() == [9, 9]
        assert means["n_rdms"].tolist() == [3, 3]
    assert "9 of 28 pairs of entries are missing" in caplog.text


def test_a_cell_that_one_rdm_alone_has_has_a_mean_and_no_spread():
    holed = without(rdm(0), (0, 1), (2, 3)), without(rdm(1), (2, 3))
    stack = stack_of(*holed, variable="dataset")
    mean, sd = pfa.get_mean_rdms(stack, nan_policy="pairwise")["matrix"]
    assert mean[0, 1] == rdm(1)[0, 1]
    assert np.isnan([sd[0, 1], mean[2, 3], sd[2, 3]]).all()


def test_how_many_cells_a_mean_lacks_tells_no_groups_apart():
    rows = []
    for subject, first in (("s1", HOLED[0]), ("s2", rdm(4)), ("s3", rdm(6))):
        runs = stack_of(first, rdm(5), variable="run")
        rows.append(pfa.get_mean_rdms(runs.assign(subject=subject), ["run"]))
    subjects = pd.concat(rows, ignore_index=True)
    subjects = subjects[subjects["statistic"] == "mean"]
    assert subjects["n_missing"].tolist() == [1, 0, 0]
    ceilings = pfa.noise_ceiling(subjects)
    assert ceilings["n_subjects"].tolist() == [3]
    assert ceilings["n_pairs"].tolist() == [27]


def test_two_rdms_are_compared_on_what_both_have(caplog):
    caplog.set_level(logging.INFO)
    x, y = upper(HOLED[0]), upper(HOLED[1])
    both = np.isfinite(x) & np.isfinite(y)
    for policy in ("omit", "pairwise"):
        found = pfa.compare_rdms(HOLED[0], HOLED[1], nan_policy=policy)
        assert found == pytest.approx(np.corrcoef(x[both], y[both])[0, 1], abs=1e-12)
    assert f"{28 - both.sum()} of 28 cells are left out" in caplog.text


def test_policies_of_references_are_those_of_meta_rdms():
    rows, reference = stack_of(*HOLED), (without(rdm(7), (6, 7)), NAMES)
    known = np.isfinite(upper(reference[0]))
    pairwise = pfa.compare_to_reference(rows, reference, nan_policy="pairwise")
    for k, found in enumerate(pairwise["r"]):
        x, y = upper(HOLED[k]), upper(reference[0])
        both = np.isfinite(x) & known
        assert found == pytest.approx(np.corrcoef(x[both], y[both])[0, 1], abs=1e-12)
        assert pairwise["n_pairs"][k] == both.sum()
    weights = pfa.regress_rdms(rows, reference, weights="any", num_folds=0)
    assert weights["n_pairs"].tolist() == [(COMMON & known).sum()] * 3


def test_subjects_with_missing_cells_have_ceilings_on_the_common_ones():
    subjects = stack_of(*HOLED, variable="subject")
    left = [matrix[np.ix_([0, 2, 4, 6, 7], [0, 2, 4, 6, 7])] for matrix in HOLED]
    assert pfa.noise_ceiling(subjects)["n_pairs"].tolist() == [COMMON.sum()]
    assert np.isfinite(left).all()


def test_a_reordered_rdm_is_compared_on_the_cells_that_are_there():
    omit = pfa.permutation_test(HOLED[1], rdm(5), num_perms=19)
    kept = [k for k in range(N) if k != 3]
    smaller = (one[np.ix_(kept, kept)] for one in (HOLED[1], rdm(5)))
    assert omit.statistic == pytest.approx(pfa.compare_rdms(*smaller), abs=1e-12)
    pairwise = pfa.permutation_test(HOLED[1], rdm(5), num_perms=19, nan_policy="pairwise")
    assert pairwise.statistic == pytest.approx(omit.statistic, abs=1e-12)


def test_a_map_omits_entries_without_and_pairs_that_are_missing(caplog):
    row = stack_of(HOLED[1])
    found = pfa.mds_coordinates(row, random_state=1)
    assert np.flatnonzero(found["dim1"].isna()).tolist() == [3]
    kept = [k for k in range(N) if k != 3]
    smaller = pd.DataFrame(
        {
            "matrix": [HOLED[1][np.ix_(kept, kept)]],
            "entry_keys": [[NAMES[k] for k in kept]],
        }
    )
    alone = pfa.mds_coordinates(smaller, random_state=1)
    np.testing.assert_allclose(found.loc[kept, "dim1"], alone["dim1"], atol=1e-9)
    assert "leaves out 1 of 8 items" in caplog.text
    assert "leaves out 1 of 21 dissimilarities of the other items" in caplog.text


def test_a_heat_map_omits_entries_and_leaves_single_cells_grey(caplog):
    caplog.set_level(logging.INFO)
    row = stack_of(HOLED[1])
    (grey,) = heat_map(HOLED[1])
    np.testing.assert_array_equal(grey, HOLED[1])
    (drawn,) = heat_map(HOLED[1], nan_policy="omit")
    kept = [k for k in range(N) if k != 3]
    np.testing.assert_array_equal(drawn, HOLED[1][np.ix_(kept, kept)])
    assert "1 of 8 rows and 1 of 8 columns, which have no finite cell, and 1 f" in caplog.text
    ax = pfa.plot_heatmap(row, nan_policy="omit", order="linkage", half=True, show=False)
    assert "d" not in [label.get_text() for label in ax.get_xticklabels()]
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="nothing is left to draw"):
        heat_map(np.full((N, N), np.nan), nan_policy="omit")


def test_what_a_heat_map_does_not_draw_is_not_refused():
    row = stack_of(HOLED[1])
    sides = {"rows": {"entry": ["a", "b"]}, "columns": {"entry": ["e", "f", "g"]}}
    ax = pfa.plot_heatmap(row, **sides, nan_policy="raise", show=False)
    plt.close(ax.figure)
    sides["rows"] = {"entry": ["a", "d"]}
    with pytest.raises(ValueError, match=r"3 missing .* 3 of 6 in row 10"):
        pfa.plot_heatmap(row, **sides, nan_policy="raise", show=False)
    ax = pfa.plot_heatmap(row, **sides, nan_policy="omit", show=False)
    assert ax.images[0].get_array().shape == (1, 3)
    plt.close(ax.figure)


def test_lines_of_a_table_without_a_number_are_left_out():
    table = pd.DataFrame({"net": [0.1, np.nan], "other": [np.nan, np.nan]}, index=["one", "two"])
    ax = pfa.plot_heatmap(table, nan_policy="omit", show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["net"]
    plt.close(ax.figure)
    with pytest.raises(ValueError, match=r"has 3 missing dissimilarities .* of 4\. Take"):
        pfa.plot_heatmap(table, nan_policy="raise", show=False)


def test_average_linkage_of_known_cells_is_that_of_scipy_where_all_are():
    for seed in range(5):
        cells = upper(rdm(seed))
        # Oracle: scipy.
        expected = linkage(cells, method="average")
        np.testing.assert_allclose(linkage_of_known(cells), expected, atol=1e-12)
        np.testing.assert_array_equal(leaves_list(linkage_of_known(cells)), leaves_list(expected))


def test_an_order_omits_missing_cells_from_the_means(caplog):
    # a and b are alike, c and d, e and f; a is known to e alone, and is nearest to b.
    points = np.array([0, 0.5, 10, 10.7, 30, 30.9])
    matrix = np.abs(points[:, None] - points)
    for i, j in ((0, 2), (0, 3), (1, 3)):
        matrix[i, j] = matrix[j, i] = np.inf
    row = pd.DataFrame({"matrix": [matrix], "entry_keys": [list("abcdef")]})
    assert "".join(key for (key,) in pfa.linkage_order(row)) == "efabcd"
    assert "0 of 6 entries, which have no finite dissimilarity, and 3 further" in caplog.text


def test_groups_that_nothing_joins_are_joined_last():
    cells = squareform(np.array([1.0, np.nan, np.nan, np.nan, np.nan, 2.0]))
    tree = linkage_of_known(upper(cells))
    np.testing.assert_array_equal(tree, [[0, 1, 1, 2], [2, 3, 2, 2], [4, 5, 2, 4]])


def brute_force(matrices, count, value):
    """The best set of all, by the mean over rows of what each pair of items has."""
    sets = itertools.combinations(range(N), count)
    return set(max(sets, key=lambda chosen: value(matrices, np.array(chosen))))


def total(matrix, chosen):
    return np.nansum(matrix[np.ix_(chosen, chosen)])


@pytest.mark.parametrize("seed", range(4))
def test_stimuli_are_chosen_on_common_cells_or_on_those_of_each_row(seed):
    scale = 1 + 3 * np.random.default_rng(seed).random(3)
    matrices = [
        scale[0] * without(rdm(seed), (0, 1), (2, 3), (5, 6)),
        scale[1] * without(rdm(seed + 4), (0, 1), (4, 6), (2, 7)),
        scale[2] * rdm(seed + 8),
    ]
    stack = stack_of(*matrices)

    def on_common(matrices, chosen):
        return total(np.mean(matrices, axis=0), chosen)

    def on_each(matrices, chosen):
        return total(np.nanmean(matrices, axis=0), chosen)

    for policy, value in (("omit", on_common), ("pairwise", on_each)):
        found = pfa.select_stimuli(stack, 4, scale="none", nan_policy=policy)
        assert set(found["index"]) == brute_force(matrices, 4, value)
        lacking = np.isnan(matrices)
        lacking = lacking.any(axis=0) if policy == "omit" else lacking.all(axis=0)
        chosen = found["index"].to_numpy()
        means = np.mean(matrices, axis=0) if policy == "omit" else np.nanmean(matrices, axis=0)
        for i, mean in zip(chosen, found["mean_dissim"], strict=True):
            assert mean == pytest.approx(np.nanmean([means[i, j] for j in chosen if j != i]))
        assert found["n_missing"].tolist() == lacking[np.ix_(chosen, chosen)].sum(axis=1).tolist()

    def smallest_mean(matrices, chosen):
        pairs = [upper(matrix[np.ix_(chosen, chosen)]) for matrix in matrices]
        return min(np.nanmean(cells) for cells in pairs)

    found = pfa.select_stimuli(stack, 4, combine="min", scale="none", nan_policy="pairwise")
    assert set(found["index"]) == brute_force(matrices, 4, smallest_mean)


def test_a_stimulus_that_one_row_lacks_is_last_or_chosen_by_the_others():
    far = rdm(0)
    far[3] = far[:, 3] = 40
    far[3, 3] = 0
    stack = stack_of(with_dead(rdm(1), 3), far, far)
    assert 3 not in pfa.select_stimuli(stack, 7)["index"].tolist()
    assert 3 in pfa.select_stimuli(stack, 3, nan_policy="pairwise")["index"].tolist()
    assert pfa.select_stimuli(stack, 8)["index"].tolist()[-1] == 3
    dead = [with_dead(rdm(k), *items) for k, items in ((0, range(4)), (1, range(4, 8)))]
    with pytest.raises(ValueError, match="without any dissimilarity in one row or another"):
        pfa.select_stimuli(stack_of(*dead), 3)


def test_ranks_of_a_disagreement_are_of_common_pairs_when_others_are_omitted():
    first, second = without(rdm(0), (0, 1), (2, 3)), rdm(1)
    rows = [stack_of(one) for one in (first, second)]
    common = without(second, (0, 1), (2, 3))
    omit = pfa.max_disagreement(*rows, 5, nan_policy="omit")
    assert_frame_equal(omit, pfa.max_disagreement(rows[0], stack_of(common), 5))
    pairwise = pfa.max_disagreement(*rows, 5)
    assert not np.allclose(omit["mean_disagreement"], pairwise["mean_disagreement"])


def test_a_choice_of_items_logs_what_it_omits(caplog):
    caplog.set_level(logging.INFO)
    pfa.get_extreme_dissims_total(HOLED[1], 4)
    assert "1 of 8 entries, which have no finite dissimilarity, and 1 further" in caplog.text
    caplog.clear()
    pfa.get_extreme_dissims_total(rdm(0), 4)
    assert not caplog.records


def test_datasets_are_compared_on_pairs_of_models_that_all_or_both_have():
    stack = stack_of(*HOLED, variable="dataset")
    omit = pfa.get_consistency(stack, nan_policy="omit", ci=None)
    assert omit["n_pairs"].tolist() == [COMMON.sum()] * 3
    pairwise = pfa.get_consistency(stack, ci=None)
    for found, policy in ((omit, "omit"), (pairwise, "pairwise")):
        options = {"nan_policy": policy, "progress": False}
        matrix = pfa.get_meta_rdms(stack, None, ["dataset"], **options)["matrix"][0]
        np.testing.assert_allclose(found["r"], 1 - upper(matrix), atol=1e-12)


def pfa_(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.stdout + result.stderr


def test_the_command_line_takes_the_policies_of_each_step(tmp_path):
    path, out = tmp_path / "stack.p", tmp_path / "out.p"
    pfa.write_rdms(stack_of(*HOLED), path)
    meta = ["meta", path, "--entry", "layer", "--group", "perm", "-q", "--out"]
    assert pfa_(*meta, out, "--nan-policy", "omit")[0] == 0
    expected = 1 - np.corrcoef([upper(matrix)[COMMON] for matrix in HOLED])
    np.testing.assert_allclose(pfa.read_rdms(out)["matrix"][0], expected, atol=1e-12)
    for words in (
        [*meta, tmp_path / "other.p"],
        ["mds", path, "--where", "layer=layer0", "--out", tmp_path / "map.png"],
        ["pick", path, "-n", 3],
    ):
        code, said = pfa_(*words, "--nan-policy", "raise")
        assert code == 2
        assert "has" in said
        assert "1 of 28 in row" in said
        assert pfa_(*words, "--nan-policy", "drop")[0] == 2
    code, said = pfa_("mds", path, "--out", tmp_path / "map.png", "--nan-policy", "pairwise")
    assert code == 2
    assert "is not one of 'omit', 'raise'" in said


def test_what_the_shared_functions_say_of_a_small_matrix():
    matrix = without(with_dead(rdm(0), 3), (0, 1))
    assert count_missing(matrix) == (1, 1)
    assert dead_entries(upper(matrix)[None]).tolist() == [[k == 3 for k in range(N)]]
    one_sided = rdm(0)
    one_sided[0, 1] = np.inf
    assert np.isnan(known_matrix(one_sided, "raise", owner="it")[0, 1])
    assert finite_or_nan(matrix) is matrix


def test_metrics_are_drawn_of_the_stimuli_and_cells_that_all_have():
    frame = pd.DataFrame({"activations": [np.eye(N)], "entry_keys": [NAMES]})
    metrics = [metric_of(f"metric {k}", matrix) for k, matrix in enumerate(HOLED)]
    kept = np.ix_(*[[k for k in range(N) if k != 3]] * 2)
    for policy, expected in (
        ("pairwise", HOLED),
        ("omit", [np.where(LACKING, np.nan, matrix)[kept] for matrix in HOLED]),
    ):
        axes = pfa.plot_metric_comparison(frame, metrics=metrics, nan_policy=policy, show=False)
        for ax, matrix in zip(axes, expected, strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), matrix)
        plt.close(axes[0].figure)


def test_a_metric_without_any_cell_leaves_nothing_to_draw():
    with pytest.raises(ValueError, match="every stimulus is without any finite cell"):
        metric_maps(np.full((N, N), np.nan), nan_policy="omit")
    assert np.isnan(metric_maps(np.full((N, N), np.nan))[0]).all()


def test_measures_are_compared_on_the_pairs_that_both_or_all_have():
    stack = stack_of(*HOLED, variable="dissim_metric", values=["linear_cka", "nbs", "procrustes"])
    pairwise = pfa.compare_measures(stack)
    omit = pfa.compare_measures(stack, nan_policy="omit")
    assert omit["n_pairs"].tolist() == [COMMON.sum()] * 2
    for k, own in enumerate(HOLED[1:]):
        x, y = upper(HOLED[0]), upper(own)
        both = np.isfinite(x) & np.isfinite(y)
        assert pairwise["n_pairs"][k] == both.sum()
        r = np.corrcoef(x[both], y[both])[0, 1]
        assert pairwise["r"][k] == pytest.approx(r, abs=1e-12)
        r = np.corrcoef(x[COMMON], y[COMMON])[0, 1]
        assert omit["r"][k] == pytest.approx(r, abs=1e-12)


def test_the_spread_is_of_the_pairs_that_all_have_or_two():
    stack = stack_of(*HOLED, variable="dataset")
    mean, sd = np.nanmean(HOLED, axis=0), np.nanstd(HOLED, axis=0, ddof=1)
    for policy, drawn in (("omit", COMMON), ("pairwise", np.ones(28, dtype=bool))):
        ax = pfa.plot_similarity_spread(stack, nan_policy=policy, show=False)
        points = ax.collections[0].get_offsets()
        np.testing.assert_allclose(points, np.c_[upper(mean), upper(sd)][drawn], atol=1e-12)
        plt.close(ax.figure)
