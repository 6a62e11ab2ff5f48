"""RDMs of patterns of which only some are in memory: the same bits as of all at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from pytorch_feature_analysis import bounded_rdms, dissimilarity
from pytorch_feature_analysis.bounded_rdms import compute_bounded_rdms
from pytorch_feature_analysis.dissimilarity import METRICS, check_metrics, compute_rdms
from pytorch_feature_analysis.pattern_rows import SpillFile, Table

N, N_UNITS = 9, 501
A_PATTERN = 8 * N_UNITS
BY_PAIRS = [name for name, metric in METRICS.items() if metric.between is not None]


def noise(n=N, n_units=N_UNITS):
    return np.abs(np.random.default_rng(0).normal(size=(n, n_units)))


class Spy:
    """A source that notes how much of it is asked for at a time."""

    def __init__(self, patterns):
        self.n_units = patterns.shape[1]
        self._patterns = patterns
        self.sizes = []

    def __len__(self):
        return len(self._patterns)

    def read(self, rows, lo, hi, out):
        self.sizes.append(out.nbytes)
        out[...] = self._patterns[rows, lo:hi]


def bounded(patterns, names, room, make_store=Table):
    return compute_bounded_rdms(Spy(patterns), check_metrics(names), room, make_store)


@pytest.mark.parametrize("room", [1, 2 * A_PATTERN, 5 * A_PATTERN, 8 * A_PATTERN])
@pytest.mark.parametrize("name", BY_PAIRS)
def test_metrics_of_pairs_have_the_same_bits_in_blocks(name, room):
    patterns = noise()
    patterns[3] = patterns[2]
    patterns[5, 7], patterns[6] = np.nan, 0
    # oracle: all patterns at once, by scipy's pdist
    (expected,) = compute_rdms(patterns, [METRICS[name]])
    (found,) = bounded(patterns, [name], room)
    np.testing.assert_array_equal(found, expected)


def test_a_metric_in_blocks_is_that_of_scipy():
    (found,) = bounded(noise(), ["cityblock"], 3 * A_PATTERN)
    np.testing.assert_allclose(found, squareform(pdist(noise(), "cityblock")), rtol=1e-14)


@pytest.mark.parametrize("room", [1, 4 * A_PATTERN, 10**9])
def test_a_function_that_is_not_symmetric_is_called_for_every_ordered_pair(room):
    patterns, calls = noise(), []

    def first_less_second(x, y):
        calls.append(1)
        assert not x.flags.writeable
        assert x.shape == y.shape == (N_UNITS,)
        return x[0] - 2 * y[0]

    (found,) = bounded(patterns, [("mine", first_less_second)], room)
    np.testing.assert_array_equal(found, patterns[:, :1] - 2 * patterns[:, 0])
    assert len(calls) == N * N


@pytest.mark.parametrize("n_at_once", [2, 3, 4, 7])
def test_copies_of_patterns_take_no_more_than_the_room(n_at_once):
    source = Spy(noise())
    compute_bounded_rdms(source, [METRICS["cityblock"]], n_at_once * A_PATTERN, Table)
    # Two tables are there at a time.
    assert max(source.sizes) == n_at_once // 2 * A_PATTERN


def test_where_all_patterns_fit_they_are_read_once():
    source = Spy(noise())
    compute_bounded_rdms(source, [METRICS["cityblock"]], N * A_PATTERN, Table)
    assert source.sizes == [N * A_PATTERN]


@pytest.mark.parametrize("name", ["mahalanobis", "seuclidean", "unit_seuclidean"])
def test_a_metric_that_needs_all_patterns_at_once_is_refused_where_these_do_not_fit(name):
    few = noise(20, 3)
    (found,) = bounded(few, [name], few.nbytes)
    np.testing.assert_array_equal(found, compute_rdms(few, [METRICS[name]])[0])
    with pytest.raises(
        ValueError,
        match=rf"'{name}' needs all patterns at once, 20 of 3 units: 4.8e-07 GB, more than"
        r" `memory_budget` leaves \(4.8e-07 GB\)\. Raise it, or leave out",
    ):
        bounded(few, [name], few.nbytes - 1)


def in_a_file(*size):
    return SpillFile(*size, None)


@pytest.mark.parametrize("make_store", [Table, in_a_file])
def test_ranks_wait_in_the_store_and_give_the_same_bits(make_store):
    patterns = noise().round(1)  # with ties
    patterns[4] = 0.5
    patterns[5, 0] = np.inf
    asked = []

    def noted(*size):
        asked.append((size, make_store(*size)))
        return asked[-1][1]

    source = Spy(patterns)
    (found,) = compute_bounded_rdms(source, [METRICS["spearman"]], 1, noted)
    np.testing.assert_array_equal(found, compute_rdms(patterns, [METRICS["spearman"]])[0])
    # oracle: scipy's spearmanr, of whole and varied patterns
    whole = [0, 1, 2, 3, 6, 7, 8]
    expected = 1 - spearmanr(patterns[whole], axis=1).statistic
    np.testing.assert_allclose(found[np.ix_(whole, whole)], expected, atol=1e-12)
    ((size, store),) = asked
    assert size == (N, N_UNITS, np.dtype(np.float32))
    # Given back, and never more than one pattern was copied.
    assert max(source.sizes) == A_PATTERN
    assert store._file.closed if make_store is in_a_file else store._rows.size == 0


def test_ranks_that_float32_would_round_are_kept_in_float64(monkeypatch):
    asked = []

    def noted(*size):
        asked.append(size[2])
        return Table(*size)

    for limit in (N_UNITS, N_UNITS - 1):
        monkeypatch.setattr(dissimilarity, "_SINGLE_PRECISION_HALVES", limit)
        bounded(noise(), ["spearman"], 1, noted)
    assert asked == [np.float32, np.float64]
    # The ranks up to the real limit, and the halves of ties, are float32 numbers.
    assert float(np.float32(2**23 - 0.5)) == 2**23 - 0.5
    assert float(np.float32(2**24 - 0.5)) != 2**24 - 0.5


def test_a_store_is_given_back_when_something_fails():
    stores = []

    def noted(*size):
        stores.append(in_a_file(*size))
        return stores[-1]

    class Failing(Spy):
        def read(self, rows, lo, hi, out):
            if 5 in rows:
                raise OSError("no disk any more")
            super().read(rows, lo, hi, out)

    with pytest.raises(OSError, match="no disk any more"):
        compute_bounded_rdms(Failing(noise()), [METRICS["spearman"]], 1, noted)
    assert stores[0]._file.closed


def test_metrics_of_one_geometry_share_it(monkeypatch):
    computed = []
    real = bounded_rdms.pattern_geometry
    monkeypatch.setattr(
        bounded_rdms, "pattern_geometry", lambda source: computed.append(1) or real(source)
    )
    names = ["corr", "spearman", "cosine", "euclidean_distance", "unit_spearman", "cityblock"]
    found = bounded(noise(), names, 10**9)
    assert len(computed) == 2  # of the patterns, and of their ranks
    for rdm, expected in zip(found, compute_rdms(noise(), check_metrics(names)), strict=True):
        np.testing.assert_array_equal(rdm, expected)
