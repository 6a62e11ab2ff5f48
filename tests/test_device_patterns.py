"""Patterns on a device, tried on the processor in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_runs import (
    FAST,
    SLOW,
    Maps,
    Tokens,
    budget,
    image_set,
    matrices,
    pictures,
    prepared,
    use_disk,
)
from test_gram import HARD_CASES, all_of, exact, noise

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import accumulation, device_patterns
from pytorch_feature_analysis.device_patterns import DevicePatterns, DeviceTable, fast_dtype
from pytorch_feature_analysis.gram import pattern_geometry

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["32", "64"])


def geometry(patterns, dtype, kept=None):
    """Geometry by numbers of one type, of patterns that are kept in it or in another."""
    return pattern_geometry(DevicePatterns(torch.as_tensor(patterns, dtype=kept or dtype), dtype))


@pytest.mark.parametrize("case", HARD_CASES)
def test_hard_cases_keep_their_digits_in_float64(case):
    patterns = HARD_CASES[case]
    found = all_of(geometry(patterns, torch.float64))
    # oracle: brute force in longdouble
    for matrix, expected in zip(found, exact(patterns), strict=True):
        np.testing.assert_allclose(matrix, expected, rtol=1e-11, atol=1e-13 * expected.max())


# Float32 is 6e-8 of what it holds, so a small difference of patterns is known to that share of
# the patterns, whatever is done with it.
FLOAT32 = {
    "a common mean of 1e4": 2e-3,
    "offsets of their own": 2e-3,
    "scales of their own": 5e-6,
    "faint contrast beside strong": 1e-2,
    "what a random deep network does": 5e-5,
    "that, at different contrasts": 5e-5,
    "a chain of small steps": 5e-3,
    "three units": 1e-4,
}


@pytest.mark.parametrize("case", FLOAT32)
def test_hard_cases_in_float32_keep_the_digits_that_its_numbers_have(case):
    patterns = HARD_CASES[case].astype(np.float32)
    found = all_of(geometry(patterns, torch.float32))
    # oracle: brute force in longdouble, of the same float32 numbers
    for matrix, expected in zip(found, exact(patterns), strict=True):
        tolerance = FLOAT32[case] * np.maximum(expected, 1e-3 * np.median(expected))
        assert (np.abs(matrix - expected) <= tolerance + 1e-13 * expected.max()).all()


def test_small_dissimilarities_of_a_random_deep_network_keep_four_digits_in_float32():
    patterns = HARD_CASES["what a random deep network does"]
    expected = exact(patterns)[0]
    off_diagonal = ~np.eye(len(patterns), dtype=bool)
    assert np.median(expected[off_diagonal]) < 5e-4
    found = geometry(patterns, torch.float32).corr()
    np.testing.assert_allclose(found, expected, rtol=5e-5)
    # A product of the standardised patterns as they are loses them.
    unit = torch.as_tensor(patterns) - torch.as_tensor(patterns).mean(dim=1, keepdim=True)
    unit /= unit.norm(dim=1, keepdim=True)
    naive = 1 - (unit @ unit.T).numpy()
    assert np.abs(naive[off_diagonal] / expected[off_diagonal] - 1).max() > 5e-4


@BOTH
@pytest.mark.parametrize("shape", [(5, 7), (3, 1), (1, 10), (9, 8192), (4, 20_000), (130, 300)])
def test_any_number_of_patterns_and_units_is_taken(shape, dtype):
    patterns = noise(*shape).astype(np.float32)
    # oracle: the geometry on the host
    expected = all_of(pattern_geometry(patterns))
    for found, matrix in zip(all_of(geometry(patterns, dtype)), expected, strict=True):
        tolerance = 2e-5 if dtype == torch.float32 else 1e-11
        np.testing.assert_allclose(found, matrix, rtol=tolerance, atol=tolerance)


@BOTH
def test_identical_patterns_are_exactly_zero_apart_and_stand_alike(dtype):
    patterns = noise(9, 501)
    patterns[[3, 7]] = patterns[1]
    for matrix in all_of(geometry(patterns, dtype)):
        assert (matrix[np.ix_([1, 3, 7], [1, 3, 7])] == 0).all()
        np.testing.assert_array_equal(matrix[3], matrix[1])
        np.testing.assert_array_equal(matrix[:, 7], matrix[:, 1])
        assert (matrix[0, 1:] > 0).all()


@BOTH
def test_rdms_are_symmetric_with_zero_on_the_diagonal(dtype):
    patterns = np.r_[noise(20, 300), 1 + 1e-4 * noise(5, 300)]
    found = geometry(patterns, dtype)
    for matrix in [*all_of(found), found.dot_product()]:
        np.testing.assert_array_equal(matrix, matrix.T)
    for matrix in all_of(found):
        assert (np.diag(matrix) == 0).all()


@BOTH
def test_a_constant_pattern_has_distances_but_no_direction(dtype):
    patterns = noise(4, 50).astype(np.float32)
    patterns[1], patterns[2] = 0.1, 0.3
    found, expected = geometry(patterns, dtype), pattern_geometry(patterns)
    assert (found.spreads[1:3] == 0).all()
    assert (found.spreads[[0, 3]] > 0).all()
    for matrix, oracle in zip(all_of(found), all_of(expected), strict=True):
        np.testing.assert_allclose(matrix, oracle, rtol=1e-5, atol=1e-7)
    assert np.isnan(found.corr()[1, [0, 2, 3]]).all()


@BOTH
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_pattern_with_nan_or_inf_is_nan_and_leaves_the_others_alone(broken, dtype):
    patterns = noise(5, 3000)
    patterns[3, 2000] = broken
    others = [0, 1, 2, 4]
    alone = all_of(geometry(patterns[others], dtype))
    for found, expected in zip(all_of(geometry(patterns, dtype)), alone, strict=True):
        assert np.isnan(found[3]).all()
        assert np.isnan(found[:, 3]).all()
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        np.testing.assert_allclose(found[np.ix_(others, others)], expected, rtol=tolerance)


@BOTH
def test_patterns_that_are_all_broken_or_all_constant_are_told(dtype):
    broken = all_of(geometry(np.full((3, 4), np.nan), dtype))
    assert all(np.isnan(matrix).all() for matrix in broken)
    constant = geometry(np.repeat([[1.0], [2.0], [2.0]], 10, axis=1), dtype)
    np.testing.assert_array_equal(
        constant.squared_euclidean(), [[0, 10, 10], [10, 0, 0], [10, 0, 0]]
    )


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [
        (torch.float32, [1e25, 1e-25]),
        (torch.float32, [2e-23]),
        (torch.float64, [1e200, 1e-200]),
        (torch.float64, [1e-160]),
    ],
)
def test_patterns_whose_squares_the_device_cannot_hold_stand_as_they_should(dtype, sizes):
    # Beside others whose squares it holds, so that only a part is in doubt.
    patterns = noise(6, 300)
    for row, size in enumerate(sizes):
        patterns[row] *= size
    patterns = torch.as_tensor(patterns, dtype=dtype)
    found = geometry(patterns, dtype)
    expected = pattern_geometry(patterns.double().numpy())
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(found.corr(), expected.corr(), rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(found.spreads, expected.spreads, rtol=tolerance)


def test_patterns_are_not_changed():
    patterns = torch.as_tensor(HARD_CASES["a common mean of 1e4"])
    before = patterns.clone()
    for dtype in (torch.float32, torch.float64):
        pattern_geometry(DevicePatterns(patterns, dtype))
    assert torch.equal(patterns, before)


def test_patterns_are_read_by_any_rows_and_units():
    patterns = noise(6, 40).astype(np.float32)
    source = DevicePatterns(torch.as_tensor(patterns))
    out = np.empty((3, 8))
    source.read(np.array([4, 0, 4]), 7, 15, out)
    np.testing.assert_array_equal(out, patterns[[4, 0, 4], 7:15])
    assert (len(source), source.n_units) == (6, 40)


def test_a_table_on_the_device_keeps_patterns_in_slots_and_grows():
    patterns = torch.as_tensor(noise(6, 5))
    table = DeviceTable(2, patterns)
    table.put([1, 0], patterns[:2])
    table.put([5, 3], patterns[[5, 3]])
    assert torch.equal(table.rows[[1, 0, 5, 3]], patterns[[0, 1, 5, 3]])
    assert table.rows.dtype == torch.float64
    table.close()
    assert table.rows.numel() == 0


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [
        ("cpu", None, torch.float64),
        ("mps", None, torch.float32),
        ("cuda", (8, 0), torch.float64),
        ("cuda", (9, 0), torch.float64),
        ("cuda", (8, 6), torch.float32),
        ("cuda", (7, 5), torch.float32),
    ],
)
def test_float64_is_taken_where_it_is_fast(device, capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert fast_dtype(torch.device(device)) == expected


METRICS = ["corr", "cosine", "euclidean_distance", "spearman", "cityblock"]


@pytest.fixture(params=[torch.float32, torch.float64], ids=["32", "64"])
def on_device(request, monkeypatch):
    """As on a device that is fast in one type of number; returns how near the host's RDMs are."""
    monkeypatch.setattr(device_patterns, "fast_dtype", lambda _: request.param)
    # What follows from patterns as they are has the same numbers, but for float32's mean.
    return 1e-4 if request.param == torch.float32 else 2e-5


def run(sets, models, **options):
    return pfa.get_rdms(sets, models, progress=False, **options)


def runs(sets, models, monkeypatch, **options):
    """RDMs as on a device, and on the host."""
    on_host = run(sets, models, **options)
    with monkeypatch.context() as patch:
        patch.setattr(accumulation, "stays_on_device", lambda output: True)
        return matrices(run(sets, models, **options)), matrices(on_host)


def assert_near(found, expected, tolerance):
    assert list(found) == list(expected)
    for row, matrix in expected.items():
        smallest = 1e-12 + 0.1 * tolerance * np.nanmax(np.abs(matrix))
        np.testing.assert_allclose(
            found[row], matrix, rtol=tolerance, atol=smallest, err_msg=str(row)
        )


@pytest.mark.parametrize("network", [Maps, Tokens])
@pytest.mark.parametrize("batch_size", [16, 4], ids=["one batch", "waiting"])
def test_rdms_of_a_device_are_those_of_the_host(network, batch_size, on_device, monkeypatch):
    images = list(pictures(10).items())
    mean = (("mean",), [key for key, _ in images[:2]], np.mean, {"axis": 0}, False)
    sets = [
        image_set(images[:7], [mean], set="combined"),
        image_set([images[i] for i in (8, 2, 5, 9)], set="shared"),
    ]
    kernels = [("all", "all"), ("two", {("net", "conv1"): [3, 0]})]
    types = ["unit_level", "feature_means"] + ["cls_token"] * (network is Tokens)
    options = {"dissim_metrics": METRICS, "kernel_sets": kernels, "activation_types": types}
    found, expected = runs(
        sets, prepared(network()), monkeypatch, batch_size=batch_size, **options
    )
    assert_near(found, expected, on_device)


def test_nothing_is_compared_on_the_host_that_can_be_on_the_device(monkeypatch):
    asked, geometries = [], []
    real = DevicePatterns.own_geometry
    monkeypatch.setattr(accumulation, "stays_on_device", lambda output: True)
    monkeypatch.setattr(
        DevicePatterns, "own_geometry", lambda self: geometries.append(1) or real(self)
    )
    monkeypatch.setattr(DevicePatterns, "read", lambda *args: asked.append(args))
    options = {"which_layers": ["conv1"], "dissim_metrics": ["corr", "cosine"]}
    for batch_size in (16, 4):
        run([image_set(pictures(10))], prepared(), batch_size=batch_size, **options)
    assert len(geometries) == 4  # of units and of means, each once for both metrics
    assert not asked


@pytest.mark.parametrize("disk", [SLOW, FAST], ids=["several passes", "file"])
def test_layers_in_files_wait_on_the_host_and_others_on_the_device(disk, on_device, monkeypatch):
    use_disk(monkeypatch, disk)
    sets, models = [image_set(pictures(10))], prepared()
    options = {"batch_size": 4, "dissim_metrics": METRICS}
    options["memory_budget"] = budget(sets, models, 0.4, **options)
    tables = []

    class Noted(DeviceTable):
        def __init__(self, *args):
            tables.append(1)
            super().__init__(*args)

    monkeypatch.setattr(accumulation, "DeviceTable", Noted)
    assert_near(*runs(sets, models, monkeypatch, **options), on_device)
    assert tables


def test_projections_are_made_on_the_host(monkeypatch):
    monkeypatch.setattr(DeviceTable, "put", lambda *_: pytest.fail("kept on the device"))
    monkeypatch.setattr(DevicePatterns, "read", lambda *_: pytest.fail("read off the device"))
    options = {"projection": 20, "batch_size": 4}
    found, expected = runs([image_set(pictures(10))], prepared(), monkeypatch, **options)
    assert_near(found, expected, 0)


def test_constant_images_are_named_as_on_the_host(monkeypatch):
    from PIL import Image

    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    sets = [image_set({**pictures(6), ("grey",): grey})]
    monkeypatch.setattr(accumulation, "stays_on_device", lambda output: True)
    for batch_size in (16, 4):
        with pytest.warns(UserWarning, match=r"\('grey',\) of \(set=a\) at layer 'original_rgb'"):
            run(sets, prepared(), which_layers=["original_rgb"], batch_size=batch_size)
