"""Stacks to rsatoolbox and back, beside its own numbers and files."""

import sys

import numpy as np
import pandas as pd
import pytest
from made_stacks import rows_where
from scipy.spatial.distance import squareform
from test_stack_files import assert_same, guide_stack, same

import pytorch_feature_analysis as pfa

rsatoolbox_rdm = pytest.importorskip("rsatoolbox.rdm")
RDMs = rsatoolbox_rdm.RDMs

# Its own writers leave files open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def stack_of(n_rows=4, n=4, **columns):
    stack = guide_stack(n_rows, n, **columns).drop(columns="kernel_inds")
    matrices = [matrix.copy() for matrix in stack["matrix"]]
    matrices[1][0, 2] = matrices[1][2, 0] = np.nan
    stack["matrix"] = matrices
    for matrix in matrices:
        matrix.flags.writeable = False
    return stack


def rdms_of_rsatoolbox():
    return RDMs(
        np.arange(12.0).reshape(2, 6),
        dissimilarity_measure="Euclidean",
        descriptors={"session": "s1", "n": 3},
        rdm_descriptors={"layer": np.array(["a", "b"]), "weight": np.array([0.5, 1.5])},
        pattern_descriptors={"conds": ["w", "x", "y", "z"], "kind": np.array([1, 1, 2, 2])},
    )


def assert_same_cells(again, stack):
    """Equality of cells and their types, whatever the order of the columns."""
    assert set(again.columns) == set(stack.columns)
    for name in stack:
        for cell, expected in zip(again[name].tolist(), stack[name].tolist(), strict=True):
            assert same(cell, expected), (name, cell, expected)


@pytest.mark.parametrize("metrics", ["corr", ["corr", "euclidean_distance"] * 2])
def test_a_stack_comes_back_with_all_its_cells(metrics):
    stack = stack_of(dissim_metric=metrics, weight=[0.5, float("nan"), 1, "ü\u2603"])
    before = stack.copy(deep=False)
    rdms = pfa.to_rsatoolbox(stack)
    assert_same_cells(pfa.from_rsatoolbox(rdms), stack)
    assert_same(stack, before)
    assert rdms.dissimilarity_measure == ("corr" if metrics == "corr" else None)


def test_numbers_and_descriptors_are_where_rsatoolbox_looks_for_them():
    stack = stack_of()
    rdms = pfa.to_rsatoolbox(stack)
    # Oracle: rsatoolbox's own matrices, and its choice of RDMs and patterns.
    np.testing.assert_array_equal(rdms.get_matrices(), np.stack(stack["matrix"]))
    assert rdms.pattern_descriptors["color"] == ["000", "001", "002", "003"]
    (some,) = rdms.subset("model", "vgg19").subset("layer", "conv2").get_matrices()
    expected = rows_where(stack, model="vgg19", layer="conv2")["matrix"].iloc[0]
    np.testing.assert_array_equal(some, expected)
    some = rdms.subset_pattern("color", ["001", "003"])
    np.testing.assert_array_equal(
        some.dissimilarities[:, 0], [matrix[1, 3] for matrix in stack["matrix"]]
    )


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        # Keys of several parts, of other parts than the labels, tuples within tuples, numbers.
        ([("a", 1), ("b", 2)], [{"x": "a", "y": 1}, {"x": "b", "y": 2}]),
        ([("a",), ("b",), ("ü",)], [{"x": "a", "y": 1}, {"x": "b", "y": 1}, {"x": "ü", "y": 2}]),
        ([("a", 1), ("b",), (("c", 2),)], [{"x": 1}, {"x": 1}, {"x": 1}]),
        ([(("a", 1),), (("b", 1),), (("c", 2),)], [{"x": 1}, {"x": 1}, {"x": 1}]),
        ([(0,), (1,), (2,)], [{"index": 0}, {"index": 1}, {"index": 2}]),
    ],
)  # fmt: skip
def test_entry_keys_and_labels_of_all_kinds_come_back(keys, labels):
    stack = pd.DataFrame(
        {
            "matrix": [squareform(np.arange(1.0, len(keys) * (len(keys) - 1) / 2 + 1))],
            "entry_keys": [tuple(keys)],
            "entry_labels": [tuple(labels)],
        }
    )
    again = pfa.from_rsatoolbox(pfa.to_rsatoolbox(stack))
    assert_same_cells(again, stack)


def test_rdms_of_rsatoolbox_become_rows():
    rdms = rdms_of_rsatoolbox()
    before = rdms.copy()
    stack = pfa.from_rsatoolbox(rdms)
    assert stack.drop(columns=["matrix", "entry_keys", "entry_labels"]).to_dict("list") == {
        "session": ["s1", "s1"],
        "n": [3, 3],
        "layer": ["a", "b"],
        "weight": [0.5, 1.5],
        "dissim_metric": ["Euclidean", "Euclidean"],
    }
    # Oracle: scipy's order of pairs.
    np.testing.assert_array_equal(stack["matrix"][1], squareform(np.arange(6.0, 12)))
    assert not stack["matrix"][1].flags.writeable
    assert stack["entry_keys"][0] == (("w", 1), ("x", 1), ("y", 2), ("z", 2))
    assert stack["entry_labels"][0][2] == {"conds": "y", "kind": 2}
    named = pfa.from_rsatoolbox(rdms, entry_variables=["conds"])
    assert named["entry_keys"][0] == (("w",), ("x",), ("y",), ("z",))
    assert same(named["entry_labels"][0], stack["entry_labels"][0])
    assert rdms == before
    pfa.check_rdm_stack(stack)
    bare = pfa.from_rsatoolbox(RDMs(np.arange(3.0)))
    assert bare["entry_keys"][0] == ((0,), (1,), (2,))


@pytest.mark.parametrize(("name", "kind"), [("rdms.h5", "hdf5"), ("rdms.pkl", "pkl")])
def test_files_of_rsatoolbox_are_read_with_and_without_it(name, kind, tmp_path):
    rdms = rdms_of_rsatoolbox()
    expected = pfa.from_rsatoolbox(rdms)
    rdms.save(str(tmp_path / name), file_type=kind)
    loaded = pfa.from_rsatoolbox(rsatoolbox_rdm.load_rdm(str(tmp_path / name)))
    assert_same_cells(pfa.read_rdms(tmp_path / name), loaded)
    assert_same_cells(loaded, expected)
    with pytest.raises(ValueError, match="`entry_keys` is for files"):
        pfa.read_rdms(tmp_path / name, entry_keys=["a", "b", "c", "d"])


def test_rows_with_the_same_entries_in_another_order_are_joined_by_them():
    stack = stack_of(2)
    order = [2, 0, 3, 1]
    other = stack.copy()
    for name in ("entry_keys", "entry_labels"):
        cells = list(stack[name])
        other[name] = [cells[0], tuple(cells[1][k] for k in order)]
    other["matrix"] = [stack["matrix"][0], stack["matrix"][1][np.ix_(order, order)]]
    assert np.array_equal(
        pfa.to_rsatoolbox(other).dissimilarities,
        pfa.to_rsatoolbox(stack).dissimilarities,
        equal_nan=True,
    )
    by_position = other.assign(entry_keys=stack["entry_keys"], entry_labels=stack["entry_labels"])
    assert not np.array_equal(
        pfa.to_rsatoolbox(by_position).dissimilarities,
        pfa.to_rsatoolbox(stack).dissimilarities,
        equal_nan=True,
    )


def test_what_an_rdms_object_cannot_hold_is_refused():
    stack = stack_of(2)
    keys = stack["entry_keys"][0]
    other = stack.assign(entry_keys=[keys, (*keys[:3], ("new",))])
    with pytest.raises(
        ValueError, match=r"position 1 differs .*'003'.*'new'.*groupby.*subset_rdm"
    ):
        pfa.to_rsatoolbox(other)
    crooked = stack.assign(matrix=[stack["matrix"][0], np.triu(np.ones((4, 4)), 1)])
    with pytest.raises(ValueError, match=r"symmetric .* position 1 is not so.*matrix\.T"):
        pfa.to_rsatoolbox(crooked)
    with pytest.raises(ValueError, match="zeros on the diagonal"):
        pfa.to_rsatoolbox(stack.assign(matrix=[matrix + 1 for matrix in stack["matrix"]]))
    with pytest.raises(ValueError, match="must have a row at least"):
        pfa.to_rsatoolbox(stack.iloc[:0])
    uneven = stack.assign(entry_labels=[({"x": 1}, {"x": 1}, {"x": 1}, {"y": 1})] * 2)
    with pytest.raises(ValueError, match="the same variables in the entry labels"):
        pfa.to_rsatoolbox(uneven)
    with pytest.raises(ValueError, match="`rdm_df` has no column 'matrix'"):
        pfa.to_rsatoolbox(stack.drop(columns="matrix"))


def test_what_is_no_stack_of_rsatoolbox_is_refused():
    with pytest.raises(TypeError, match="must be an RDMs object of rsatoolbox, not dict"):
        pfa.from_rsatoolbox({})
    rdms = rdms_of_rsatoolbox()
    with pytest.raises(ValueError, match=r"`entry_variables` names 'cond'.*Did you mean 'conds'"):
        pfa.from_rsatoolbox(rdms, entry_variables=["cond"])
    with pytest.raises(TypeError, match="`entry_variables` must be a list"):
        pfa.from_rsatoolbox(rdms, entry_variables="conds")
    with pytest.raises(ValueError, match=r"several patterns with the entry key \(1,\)"):
        pfa.from_rsatoolbox(rdms, entry_variables=["kind"])
    # As in a bootstrap over patterns.
    drawn = rdms.subsample_pattern("conds", ["w", "w", "x"])
    with pytest.raises(ValueError, match=r"several patterns with the entry key .*average"):
        pfa.from_rsatoolbox(drawn, entry_variables=["conds"])
    rdms.rdm_descriptors["short"] = [1]
    with pytest.raises(ValueError, match="`rdms` has 2 RDMs, and 1 values of the descriptor 'sho"):
        pfa.from_rsatoolbox(rdms)
    del rdms.rdm_descriptors["short"]
    rdms.rdm_descriptors["matrix"] = [1, 2]
    with pytest.raises(ValueError, match=r"descriptors named 'matrix'.*rename"):
        pfa.from_rsatoolbox(rdms)


def test_without_rsatoolbox_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rsatoolbox.rdm.rdms", None)
    with pytest.raises(ImportError, match=r"pip install 'pytorch_feature_analysis\[rsatoolbox\]'"):
        pfa.to_rsatoolbox(stack_of())
