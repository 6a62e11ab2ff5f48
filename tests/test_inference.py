"""Rows against references: values, joins, tests, intervals, and what is refused."""

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
import rsatoolbox
from scipy import stats

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.permuted_items import permuted_agreements
from pytorch_feature_analysis.resampled_items import Resampled, spread_of

N = 12
NAMES = [f"image {k}" for k in range(N)]
METHODS = {
    "pearson": "corr",
    "spearman": "spearman",
    "cosine": "cosine",
    "kendall_tau_a": "tau-a",
    "kendall_tau_b": "tau-b",
    "whitened_pearson": "corr_cov",
    "whitened_cosine": "cosine_cov",
}


def rdm(seed, n=N, p=5):
    return pfa.compute_rdm(np.random.default_rng(seed).normal(size=(n, p)), "L2squared")


def stack_of(*seeds, names=NAMES, **columns):
    return pd.DataFrame(
        {
            "layer": [f"layer {seed}" for seed in seeds],
            "matrix": [rdm(seed, len(names)) for seed in seeds],
            "entry_keys": [names] * len(seeds),
            **columns,
        }
    )


def brains(n_subjects=6, seed=100, noise=1.0, names=NAMES, true=0):
    n = len(names)
    return pd.DataFrame(
        {
            "subject": [f"s{k}" for k in range(n_subjects)],
            "matrix": [rdm(true, n) + noise * rdm(seed + k, n) for k in range(n_subjects)],
            "entry_keys": [names] * n_subjects,
        }
    )


def rdms_of(frame):
    """The same for rsatoolbox."""
    vectors = np.stack([pfa.get_upper_triang(matrix) for matrix in frame["matrix"]])
    return rsatoolbox.rdm.RDMs(vectors)


@pytest.mark.parametrize("method", METHODS)
def test_agreements_are_those_of_rsatoolbox(method):
    rows, subjects = stack_of(0, 1, 2), brains()
    found = pfa.compare_to_reference(rows, subjects, method=method)
    expected = rsatoolbox.rdm.compare(rdms_of(rows), rdms_of(subjects), METHODS[method])
    np.testing.assert_allclose(found["r"], expected.mean(axis=1), atol=1e-10)
    assert found["n_subjects"].tolist() == [6] * 3
    assert found["n_pairs"].tolist() == [N * (N - 1) // 2] * 3
    for k in range(3):
        one = pfa.compare_rdms(rows["matrix"][k], subjects["matrix"][0], method=method)
        assert one == pytest.approx(expected[k, 0], abs=1e-10)


@pytest.mark.parametrize("method", ["whitened_pearson", "whitened_cosine"])
def test_whitened_ones_take_missing_cells_as_rsatoolbox_does(method):
    first, second = rdm(0), rdm(1)
    for i, j in ((0, 1), (2, 7), (3, 4)):
        first[i, j] = first[j, i] = np.nan
        second[i, j] = second[j, i] = np.nan
    frames = [pd.DataFrame({"matrix": [one]}) for one in (first, second)]
    expected = rsatoolbox.rdm.compare(*map(rdms_of, frames), METHODS[method])[0, 0]
    assert pfa.compare_rdms(first, second, method=method) == pytest.approx(expected, abs=1e-10)
    # By the covariance itself: 4 with itself, 1 with a cell that shares an item.
    i, j = np.triu_indices(N, k=1)
    known = np.isfinite(pfa.get_upper_triang(first))
    shared = (i[:, None] == i) * 1 + (j[:, None] == j) + (i[:, None] == j) + (j[:, None] == i)
    inverse = np.linalg.inv(np.where(shared == 2, 4, shared)[np.ix_(known, known)])
    x, y = (pfa.get_upper_triang(one)[known] for one in (first, second))
    if method == "whitened_pearson":
        x, y = x - x.mean(), y - y.mean()
    by_hand = x @ inverse @ y / np.sqrt((x @ inverse @ x) * (y @ inverse @ y))
    assert pfa.compare_rdms(first, second, method=method) == pytest.approx(by_hand, abs=1e-10)


def test_whitened_cosine_of_squared_distances_is_linear_cka():
    x, y = (np.random.default_rng(seed).normal(size=(N, 5)) for seed in (0, 1))
    rdms = [pfa.compute_rdm(one, "L2squared") for one in (x, y)]
    assert pfa.compare_rdms(*rdms, method="whitened_cosine") == pytest.approx(
        pfa.linear_cka(x, y), abs=1e-12
    )


def test_entries_are_joined_by_their_keys_and_what_is_dropped_is_said(caplog):
    rows = stack_of(0, 1)
    whole = pfa.compare_to_reference(rows, (rdm(5), NAMES))
    order = np.random.default_rng(3).permutation(N)
    shuffled = rdm(5)[np.ix_(order, order)], [NAMES[k] for k in order]
    pd.testing.assert_frame_equal(pfa.compare_to_reference(rows, shuffled), whole)
    table = pd.DataFrame(shuffled[0], index=shuffled[1], columns=shuffled[1])
    pd.testing.assert_frame_equal(pfa.compare_to_reference(rows, table.iloc[::-1]), whole)
    fewer = rdm(5)[:8, :8], NAMES[:8]
    with caplog.at_level(logging.WARNING):
        found = pfa.compare_to_reference(rows, fewer)
    assert "the reference lacks 4 of 12 entries, which are left out: 'image 8'" in caplog.text
    assert found["n_entries"].tolist() == [8, 8]
    expected = stats.pearsonr(
        pfa.get_upper_triang(rdm(0)[:8, :8]), pfa.get_upper_triang(rdm(5)[:8, :8])
    )
    assert found["r"][0] == pytest.approx(expected.statistic, abs=1e-12)
    more = rdm(5, N + 2), [*NAMES, "a", "b"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        pfa.compare_to_reference(rows, more)
    assert "the rows lack 2 of 14 entries, which are left out: 'a', 'b'" in caplog.text


def test_several_references_are_told_apart_by_their_columns():
    both = pd.concat(
        [brains().assign(roi="V1"), brains(seed=200, true=1).assign(roi="IT")], ignore_index=True
    )
    found = pfa.compare_to_reference(stack_of(0, 1), both)
    assert found[["layer", "reference_roi"]].to_numpy().tolist() == [
        *(["layer 0", "V1"], ["layer 1", "V1"], ["layer 0", "IT"], ["layer 1", "IT"]),
    ]
    alone = pfa.compare_to_reference(stack_of(0, 1), brains(seed=200, true=1))
    np.testing.assert_array_equal(found["r"][2:], alone["r"])
    np.testing.assert_array_equal(found["ceiling_low"][2:], alone["ceiling_low"])


def test_all_orders_of_few_entries_are_those_of_brute_force():
    names = NAMES[:5]
    rows, subjects = stack_of(0, 1, names=names), brains(3, names=names)
    found = pfa.compare_to_reference(rows, subjects, num_perms=200)
    assert found["test"].tolist() == ["all permutations"] * 2
    assert found["num_perms"].tolist() == [120] * 2
    for k in range(2):
        null = []
        for order in itertools.permutations(range(5)):
            permuted = [matrix[np.ix_(order, order)] for matrix in subjects["matrix"]]
            null.append(
                np.mean([pfa.compare_rdms(rows["matrix"][k], matrix) for matrix in permuted])
            )
        p = np.mean(np.abs(null) >= np.abs(null[0]) - 1e-12)
        assert found["p"][k] == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("method", ["pearson", "spearman", "kendall_tau_a", "whitened_cosine"])
def test_drawn_orders_give_the_null_of_a_loop(method):
    rows, subjects = stack_of(0, 1), brains(3)
    found = pfa.compare_to_reference(rows, subjects, method=method, num_perms=40)
    assert found["test"].tolist() == ["permutation"] * 2
    one = pfa.permutation_test(rdm(0), rdm(1), method=method, num_perms=40)
    assert one.null.shape == (40,)
    assert not one.is_exact
    hits = np.sum(np.abs(one.null) >= abs(one.statistic))
    assert one.p_value == (1 + hits) / 41
    # The same orders again, by hand: entries are those numbered from 0.
    order = pfa.permutation_test(np.arange(144).reshape(12, 12) % 1, rdm(1), num_perms=40)
    assert np.isnan(order.statistic)


def test_orders_and_draws_do_not_depend_on_rows_order_or_anything_else():
    rows, subjects = stack_of(0, 1), brains()
    options = {"num_perms": 50, "num_boot": 30}
    whole = pfa.compare_to_reference(rows, subjects, **options)
    alone = pfa.compare_to_reference(rows.iloc[[1]], subjects, **options)
    columns = ["r", "p", "ci_low", "ci_high", "ceiling_low"]
    np.testing.assert_allclose(alone[columns].iloc[0], whole[columns].iloc[1], atol=1e-12)
    order = np.random.default_rng(8).permutation(N)
    turned = rows.assign(
        matrix=[matrix[np.ix_(order, order)] for matrix in rows["matrix"]],
        entry_keys=[[NAMES[k] for k in order]] * 2,
    )
    again = pfa.compare_to_reference(turned, subjects, **options)
    np.testing.assert_allclose(again[columns], whole[columns], atol=1e-12)
    other = pfa.compare_to_reference(rows, subjects, **options, random_state=1)
    assert (other["p"] != whole["p"]).any()


def shuffled(frame, *places):
    """The same RDMs, with the entries of some rows in another order each."""
    matrices, entry_keys = frame["matrix"].tolist(), frame["entry_keys"].tolist()
    for place in places:
        order = np.random.default_rng(place).permutation(N)
        matrices[place] = matrices[place][np.ix_(order, order)]
        entry_keys[place] = [entry_keys[place][k] for k in order]
    return frame.assign(matrix=matrices, entry_keys=entry_keys)


@pytest.mark.parametrize("nan_policy", ["omit", "pairwise"])
@pytest.mark.parametrize("method", ["pearson", "spearman", "whitened_cosine"])
def test_where_the_entries_of_a_row_stand_changes_nothing(nan_policy, method):
    rows, subjects = stack_of(0, 1, 2, 3), brains(3)
    rows["matrix"] = [with_missing(rdm(0), (0, 1)), rdm(1), with_missing(rdm(2), (4, 7)), rdm(3)]
    first, second, third = subjects["matrix"]
    subjects["matrix"] = [first, with_missing(second, (2, 9)), third]
    options = {"method": method, "nan_policy": nan_policy}
    whole = pfa.compare_to_reference(rows, subjects, num_perms=20, num_boot=20, **options)
    assert set(whole["n_pairs"]) == ({63} if nan_policy == "omit" else {64, 65})
    fits = pfa.compare_fits(rows, subjects, num_boot=20, **options)
    for turned, other in (
        (shuffled(rows, 0, 2), subjects),
        (shuffled(rows, 0, 1, 3), shuffled(subjects, 0, 2)),
    ):
        again = pfa.compare_to_reference(turned, other, num_perms=20, num_boot=20, **options)
        pd.testing.assert_frame_equal(again, whole, rtol=0, atol=1e-12)
        again = pfa.compare_fits(turned, other, num_boot=20, **options)
        pd.testing.assert_frame_equal(again, fits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["pearson", "kendall_tau_a"])
def test_any_number_of_workers_gives_the_same(method, monkeypatch):
    monkeypatch.setattr("pytorch_feature_analysis.permuted_items._ORDERS_A_JOB", 7)
    monkeypatch.setattr("pytorch_feature_analysis.resampled_items._DRAWS_A_JOB", 7)
    names = NAMES[:8]
    rows, subjects = stack_of(0, 1, names=names), brains(3, names=names)
    options = {"method": method, "num_perms": 20, "num_boot": 20}
    one = pfa.compare_to_reference(rows, subjects, **options)
    two = pfa.compare_to_reference(rows, subjects, **options, num_cores=2)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    pd.testing.assert_frame_equal(
        pfa.compare_fits(rows, subjects, method=method, num_boot=20),
        pfa.compare_fits(rows, subjects, method=method, num_boot=20, num_cores=2),
        check_exact=True,
    )


def test_alternatives():
    near = pd.DataFrame({"matrix": [rdm(0)], "entry_keys": [NAMES]})
    reference = (rdm(0) + 0.3 * rdm(1), NAMES)
    p = {
        alternative: pfa.compare_to_reference(
            near, reference, num_perms=99, alternative=alternative
        )["p"][0]
        for alternative in ("two-sided", "greater", "less")
    }
    assert p["two-sided"] == p["greater"] == 0.01
    assert p["less"] == 1


def test_shuffles_of_the_stack_are_its_null():
    rows = stack_of(0, 1).assign(perm="orig_data")
    rng = np.random.default_rng(0)
    shuffles = []
    for number in range(19):
        order = rng.permutation(N)
        shuffles.append(
            rows.assign(
                perm=f"perm{number}",
                matrix=[matrix[np.ix_(order, order)] for matrix in rows["matrix"]],
            )
        )
    whole = pd.concat([rows, *shuffles], ignore_index=True)
    found = pfa.compare_to_reference(whole, (rdm(0), NAMES))
    assert len(found) == 2
    assert found["test"].tolist() == ["shuffles"] * 2
    assert found["num_perms"].tolist() == [19, 19]
    null = [
        pfa.compare_rdms(matrix, rdm(0))
        for matrix in whole["matrix"][2:][whole["layer"][2:] == "layer 1"]
    ]
    hits = np.sum(np.abs(null) >= abs(found["r"][1]))
    assert found["p"].tolist() == [1 / 20, (1 + hits) / 20]


def test_p_is_corrected_for_all_tests_of_the_frame():
    found = pfa.compare_to_reference(stack_of(*range(6)), brains(), num_perms=199)
    np.testing.assert_allclose(found["p_bonferroni"], np.minimum(found["p"] * 6, 1))
    np.testing.assert_allclose(found["p_fdr"], stats.false_discovery_control(found["p"]))


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlations_are_those_of_residuals(method):
    rows, subjects = stack_of(0, 1), brains(3)
    held = pfa.stack_from_matrices({"a": rdm(7), "b": rdm(8)}, NAMES)
    found = pfa.compare_to_reference(rows, subjects, method=method, controls=held)

    def seen(matrix):
        cells = pfa.get_upper_triang(matrix)
        return stats.rankdata(cells) if method == "spearman" else cells

    table = np.stack([np.ones(66), seen(rdm(7)), seen(rdm(8))], axis=1)

    def left(matrix):
        cells = seen(matrix)
        return cells - table @ np.linalg.lstsq(table, cells, rcond=None)[0]

    for k in range(2):
        expected = np.mean(
            [
                np.corrcoef(left(rows["matrix"][k]), left(matrix))[0, 1]
                for matrix in subjects["matrix"]
            ]
        )
        assert found["r"][k] == pytest.approx(expected, abs=1e-10)
    # What is the control itself has nothing left.
    alone = pfa.compare_to_reference(stack_of(7), subjects, method=method, controls=held)
    assert np.isnan(alone["r"][0])
    assert "the controls explain all" in alone["reason"][0]


def test_permutations_with_controls_permute_what_is_left():
    names = NAMES[:5]
    rows, subjects = stack_of(0, names=names), brains(2, names=names)
    control = (rdm(7, 5), names)
    found = pfa.compare_to_reference(rows, subjects, controls=control, num_perms=120)
    table = np.stack([np.ones(10), pfa.get_upper_triang(rdm(7, 5))], axis=1)

    def left(cells):
        return cells - table @ np.linalg.lstsq(table, cells, rcond=None)[0]

    own = left(pfa.get_upper_triang(rows["matrix"][0]))
    rests = []
    for matrix in subjects["matrix"]:
        square = np.zeros((5, 5))
        square[np.triu_indices(5, k=1)] = left(pfa.get_upper_triang(matrix))
        rests.append(square + square.T)
    null = [
        np.mean(
            [
                np.corrcoef(own, left(pfa.get_upper_triang(rest[np.ix_(order, order)])))[0, 1]
                for rest in rests
            ]
        )
        for order in itertools.permutations(range(5))
    ]
    orders = np.array(list(itertools.permutations(range(5))))
    cells = [
        np.stack([pfa.get_upper_triang(matrix) for matrix in matrices])
        for matrices in (rows["matrix"], subjects["matrix"], [control[0]])
    ]
    permuted = permuted_agreements(cells[0], cells[1], orders, "pearson", cells[2])
    np.testing.assert_allclose(permuted[:, 0], null, atol=1e-10)
    assert found["r"][0] == pytest.approx(null[0], abs=1e-10)
    assert found["p"][0] == pytest.approx(np.mean(np.abs(null) >= abs(null[0]) - 1e-9), abs=1e-12)


def with_missing(matrix, *pairs):
    matrix = matrix.copy()
    for i, j in pairs:
        matrix[i, j] = matrix[j, i] = np.nan
    return matrix


def test_policies_for_missing_cells():
    dead = rdm(1)
    dead[3] = dead[:, 3] = np.nan
    rows = stack_of(0, 1, 2).assign(matrix=[with_missing(rdm(0), (0, 1)), dead, rdm(2)])
    reference = (with_missing(rdm(5), (4, 5)), NAMES)
    omit = pfa.compare_to_reference(rows, reference)
    # Cells that any lacks are left out for all, and an entry without any for its row alone.
    assert omit["n_pairs"].tolist() == [64, 54, 64]
    assert omit["n_entries"].tolist() == [12, 11, 12]
    pairwise = pfa.compare_to_reference(rows, reference, nan_policy="pairwise")
    assert pairwise["n_pairs"].tolist() == [64, 54, 65]
    for k, found in enumerate(pairwise["r"]):
        x, y = pfa.get_upper_triang(rows["matrix"][k]), pfa.get_upper_triang(reference[0])
        known = np.isfinite(x) & np.isfinite(y)
        assert found == pytest.approx(np.corrcoef(x[known], y[known])[0, 1], abs=1e-12)
    with pytest.raises(ValueError, match="`nan_policy` is 'raise', and `rdm_df` has"):
        pfa.compare_to_reference(rows, reference, nan_policy="raise")
    tested = pfa.compare_to_reference(rows, reference, num_perms=19, num_boot=19)
    assert tested[["p", "ci_low"]].notna().all(axis=None)
    np.testing.assert_allclose(tested["r"], omit["r"])


def test_why_r_is_not_defined():
    flat = pd.DataFrame({"matrix": [1.0 - np.eye(N)], "entry_keys": [NAMES]})
    assert pfa.compare_to_reference(flat, (rdm(0), NAMES))["reason"][0] == (
        "all dissimilarities of the row are equal"
    )
    found = pfa.compare_to_reference(stack_of(0), (1.0 - np.eye(N), NAMES), num_perms=9)
    assert found["reason"][0] == "all dissimilarities of the reference are equal"
    assert np.isnan(found["p"][0])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            {"reference": (rdm(5)[:2, :2], NAMES[:2])},
            ValueError,
            "share 2 entries, and at least 3",
        ),
        ({"reference": rdm(5)}, TypeError, r"a pair \(matrix, entry_keys\)"),
        ({"reference": (np.triu(rdm(5)), NAMES)}, ValueError, "is not symmetric.*symmetrize"),
        ({"reference": (1 - rdm(5), NAMES)}, ValueError, "1 on its diagonal.*`ignore_diagonal`"),
        ({"reference": (rdm(5), ["a"] * N)}, ValueError, "'a'"),
        ({"method": "pearsn"}, ValueError, "Did you mean 'pearson'"),
        ({"alternative": "both"}, ValueError, "two-sided"),
        ({"nan_policy": "drop"}, ValueError, "omit"),
        ({"num_boot": 1}, ValueError, "at least 2 draws"),
        ({"num_boot": 9, "resample": "both"}, ValueError, "a single subject to draw from"),
        ({"method": "cosine", "controls": (rdm(7), NAMES)}, ValueError, "partial correlations"),
        ({"controls": (rdm(7)[:5, :5], NAMES[:5])}, ValueError, "`controls` lack 7"),
        ({"ci": 1.5}, ValueError, "`ci`"),
    ],
)
def test_what_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        pfa.compare_to_reference(stack_of(0), **{"reference": (rdm(5), NAMES), **call})


def test_subjects_are_checked():
    twice = brains().assign(subject="s1")
    with pytest.raises(ValueError, match="more than one RDM of subject 's1'"):
        pfa.compare_to_reference(stack_of(0), twice)
    with pytest.raises(ValueError, match="6 RDMs, and no column tells them apart"):
        pfa.compare_to_reference(stack_of(0), brains().drop(columns="subject"))
    odd = brains().assign(entry_keys=[NAMES] * 5 + [[*NAMES[:-1], "other"]])
    with pytest.raises(ValueError, match=r"subjects with other entries: .*'other'"):
        pfa.compare_to_reference(stack_of(0), odd)


def test_nothing_given_is_changed():
    rows, subjects = stack_of(0, 1), brains()
    before = [[matrix.copy() for matrix in frame["matrix"]] for frame in (rows, subjects)]
    pfa.compare_to_reference(rows, subjects, num_perms=9, num_boot=9)
    pfa.compare_fits(rows, subjects, num_boot=9)
    for frame, kept in zip((rows, subjects), before, strict=True):
        for matrix, old in zip(frame["matrix"], kept, strict=True):
            np.testing.assert_array_equal(matrix, old)
    assert list(rows.columns) == ["layer", "matrix", "entry_keys"]


def test_draws_leave_copies_out_and_follow_subjects():
    rows, subjects = stack_of(0, 1), brains(4)
    found = pfa.compare_to_reference(rows, subjects, num_boot=400)
    by_hand = {"both": [], "items": [], "subjects": []}
    rng = np.random.default_rng(5)
    for _ in range(400):
        items, who = rng.integers(N, size=N), rng.integers(4, size=4)
        i, j = np.triu_indices(N, k=1)
        kept = items[i] != items[j]
        first, second = items[i][kept], items[j][kept]
        r = np.array(
            [
                np.corrcoef(rows["matrix"][0][first, second], matrix[first, second])[0, 1]
                for matrix in subjects["matrix"]
            ]
        )
        whole = np.array(
            [pfa.compare_rdms(rows["matrix"][0], matrix) for matrix in subjects["matrix"]]
        )
        by_hand["both"].append(r[who].mean())
        by_hand["items"].append(r.mean())
        by_hand["subjects"].append(whole[who].mean())
    both, items, of_subjects = (np.var(one, ddof=1) for one in by_hand.values())
    a, b = 12 / 11, 4 / 3
    variance = b * of_subjects + a * items - a * b * (both - items - of_subjects)
    variance = min(max(variance, b * of_subjects, a * items), both)
    assert found["se"][0] == pytest.approx(np.sqrt(variance), rel=0.15)
    reach = stats.t.ppf(0.975, 3) * found["se"][0]
    assert found["ci_high"][0] == pytest.approx(found["r"][0] + reach)
    for what, expected, n in (("stimuli", items, 12), ("subjects", of_subjects, 4)):
        alone = pfa.compare_to_reference(rows, subjects, num_boot=400, resample=what)
        assert alone["se"][0] == pytest.approx(np.sqrt(expected * n / (n - 1)), rel=0.15)


def test_variances_of_draws_are_put_together_as_published():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(3, 500, 2))
    drawn = (drawn - drawn.mean(axis=1, keepdims=True)) / drawn.std(axis=1, ddof=1, keepdims=True)
    # Of both 2.5, of items and of subjects 1 each: 0.5 is of what they share.
    resampled = Resampled(np.sqrt(2.5) * drawn[0], drawn[1], drawn[2])
    spread = spread_of(resampled, 12, 4)
    a, b = 12 / 11, 4 / 3
    np.testing.assert_allclose(spread.error**2, a + b - 0.5 * a * b)
    assert spread.degrees == 3
    # Never less than of either alone, nor more than of both.
    less = spread_of(Resampled(3 * drawn[0], drawn[1], drawn[2]), 12, 4)
    np.testing.assert_allclose(less.error**2, b)
    more = spread_of(Resampled(np.sqrt(1.5) * drawn[0], drawn[1], drawn[2]), 12, 4)
    np.testing.assert_allclose(more.error**2, 1.5)


def test_differences_are_paired():
    rows, subjects = stack_of(0, 1, 2), brains(5)
    found = pfa.compare_fits(rows, subjects, num_boot=200)
    assert found[["layer_1", "layer_2"]].to_numpy().tolist() == [
        *(["layer 0", "layer 1"], ["layer 0", "layer 2"], ["layer 1", "layer 2"]),
    ]
    single = pfa.compare_to_reference(rows, subjects, num_boot=200)
    np.testing.assert_allclose(found["difference"][0], single["r"][0] - single["r"][1])
    # A row and its copy differ in nothing, in any draw.
    same = pd.concat([rows.iloc[[0]], rows.iloc[[0]].assign(layer="copy")], ignore_index=True)
    copies = pfa.compare_fits(same, subjects, num_boot=50)
    assert copies[["difference", "se"]].to_numpy().tolist() == [[0, 0]]
    with pytest.raises(ValueError, match="1 RDM, and a difference needs two"):
        pfa.compare_fits(rows.iloc[[0]], subjects)
    with pytest.raises(ValueError, match="`rdm_df` has a column 'r', as the result will have"):
        pfa.compare_fits(rows.assign(r=[1, 2, 3]), subjects)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_intervals_agree_with_rsatoolbox_but_for_the_noise_of_draws(monkeypatch):
    names = [f"image {k}" for k in range(20)]
    rows, subjects = stack_of(0, 1, 2, names=names), brains(8, names=names)
    ours = pfa.compare_to_reference(rows, subjects, num_boot=2000)
    state = np.random.get_state()  # noqa: NPY002 - rsatoolbox draws from it, and takes no seed
    try:
        np.random.seed(0)  # noqa: NPY002
        theirs = rsatoolbox.inference.eval_dual_bootstrap(
            [
                rsatoolbox.model.ModelFixed(f"{k}", pfa.get_upper_triang(matrix))
                for k, matrix in enumerate(rows["matrix"])
            ],
            rdms_of(subjects),
            method="corr",
            N=500,
        )
    finally:
        np.random.set_state(state)  # noqa: NPY002
    # Standard errors of 500 draws are known to a few percent.
    np.testing.assert_allclose(ours["se"], theirs.get_sem(), rtol=0.15)
    low, high = theirs.get_ci(0.95)
    np.testing.assert_allclose(ours["ci_low"], ours["r"] - (high - low) / 2, atol=0.05)
