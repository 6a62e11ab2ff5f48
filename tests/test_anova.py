import itertools
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import Maps, Tokens, pictures, prepared
from PIL import Image
from scipy import stats
from torch import nn

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import anova, anova_sums, anova_tables
from pytorch_feature_analysis.anova import compute_etas, compute_etas_for_model_and_imageset_fast

OBJECTS, COLORS = ("cup", "pen", "fan"), ("red", "blue")
IDENTITY = ("identity1", 1)


def table_run(keys, table, entry_types=("obj", "color"), **options):
    """Run on given responses: each image's colour says which row of the table it makes."""
    table = torch.as_tensor(np.asarray(table))
    images = {key: Image.new("RGB", (1, 1), (i % 256, i // 256, 0)) for i, key in enumerate(keys)}

    def transform(image):
        red, green, _ = image.getpixel((0, 0))
        return table[red + 256 * green]

    models = pfa.prepare_models({"net": (nn.Sequential(nn.Identity()), transform)})
    options = {"which_layers": ["identity1"], "progress": False, **options}
    df, ss_dict = compute_etas(
        ({"set": "s"}, images, entry_types), ("net", models["net"]), **options
    )
    return df, ss_dict[IDENTITY]


def crossed(*levels, n=None):
    return list(itertools.product(*levels, *([range(n)] if n else [])))


def anova_by_loops(keys, table, n_factors=2):
    """Sums of squares of a balanced design by its textbook formulas, one factor set at a time."""
    table = np.asarray(table, dtype=np.float64)
    table = table - table[0]
    grand = table.mean(axis=0)
    found = {"total": ((table - grand) ** 2).sum(axis=0)}
    effects = {}
    for size in range(1, n_factors + 1):
        for term in itertools.combinations(range(n_factors), size):
            # Deviations of the marginal means that no smaller effect explains.
            effect = np.zeros_like(table)
            for i, key in enumerate(keys):
                mine = [k for k, other in enumerate(keys) if all(other[f] == key[f] for f in term)]
                effect[i] = table[mine].mean(axis=0) - grand
                for smaller in effects:
                    if set(smaller) < set(term):
                        effect[i] -= effects[smaller][i]
            effects[term] = effect
            found[term] = (effect**2).sum(axis=0)
    found["error"] = ((table - grand - sum(effects.values())) ** 2).sum(axis=0)
    return found


def image_table(n_objects=3, n_colors=4, seed=0):
    made = list(pictures(n_objects * n_colors, seed=seed).values())
    keys = crossed([f"o{i}" for i in range(n_objects)], [f"c{i}" for i in range(n_colors)])
    return dict(zip(keys, made, strict=True))


def run(images, network=None, **options):
    model = prepared(network)["net"]
    options = {"progress": False, **options}
    return compute_etas(({"set": "a"}, images, ("obj", "color")), ("net", model), **options)


def assert_close(found, expected, rtol=1e-10):
    assert list(found) == list(expected)
    for layer, of_layer in expected.items():
        assert list(found[layer]) == list(of_layer)
        for name, values in of_layer.items():
            scale = np.nanmax(np.abs(values), initial=0)
            np.testing.assert_allclose(
                found[layer][name], values, rtol=rtol, atol=rtol * scale, err_msg=f"{layer} {name}"
            )


def test_two_by_two_by_hand():
    # Grand mean 4.5, rows 1.5 and 7.5, columns 3 and 6.
    df, found = table_run(crossed("ab", "xy"), [[1.0], [2.0], [5.0], [10.0]], maps=True)
    ss = {name: float(values[0]) for name, values in found.items() if name.startswith("ss_")}
    assert ss == pytest.approx(
        {"ss_total": 49, "ss_obj": 36, "ss_color": 9, "ss_interaction": 4}, rel=1e-14
    )
    assert found["F_obj"][0] == pytest.approx(9)
    assert found["F_color"][0] == pytest.approx(2.25)
    # With one and one degrees of freedom, F is the square of a Cauchy variable.
    assert found["p_obj"][0] == pytest.approx(1 - 2 / np.pi * np.arctan(3))
    assert found["partial_eta2_obj"][0] == pytest.approx(36 / 40)
    assert found["omega2_obj"][0] == pytest.approx((36 - 4) / (49 + 4))
    row = df.iloc[0]
    assert row["obj_eta2_mean"] == pytest.approx(36 / 49)
    assert row["interaction_eta2_mean"] == pytest.approx(4 / 49)
    assert not {"F_interaction", "p_interaction", "ss_error"} & set(found)


def test_the_alias_is_the_function():
    assert compute_etas_for_model_and_imageset_fast is compute_etas


@pytest.mark.parametrize("network", [Maps, Tokens])
def test_every_layer_has_the_sums_of_a_plain_analysis_in_memory(network):
    images = image_table()
    df, ss_dict = run(images, network(), batch_size=5)
    activations = pfa.capture(prepared(network())["net"], list(images.values()), batch_size=5)
    assert list(ss_dict) == df["layer_label"].tolist()
    assert [label[0] for label in ss_dict] == list(activations)
    for (layer, _), found in ss_dict.items():
        expected = anova_by_loops(list(images), activations[layer])
        names = {"total": "total", (0,): "obj", (1,): "color", (0, 1): "interaction"}
        for key, name in names.items():
            assert found[f"ss_{name}"].shape == activations[layer].shape[1:]
            tolerance = 1e-12 * expected["total"].max()
            np.testing.assert_allclose(
                found[f"ss_{name}"], expected[key], rtol=1e-10, atol=tolerance
            )
        parts = found["ss_obj"] + found["ss_color"] + found["ss_interaction"]
        np.testing.assert_allclose(parts, found["ss_total"], rtol=1e-12)


def test_rows_describe_the_layer_and_average_over_units_and_channels():
    images = image_table()
    df, ss_dict = run(images, maps=True)
    assert list(df.columns[:9]) == [
        *["model", "layer", "layer_label", "layer_num", "set"],
        *["n_images", "n_units", "n_constant_units", "n_undefined_units"],
    ]
    row = df.set_index("layer").loc["relu1"]
    found = ss_dict["relu1", 2]
    constant = found["ss_total"] == 0
    assert row["n_units"] == 180
    assert row["n_constant_units"] == constant.sum()
    for name in ("obj", "color", "interaction"):
        eta2 = found[f"eta2_{name}"]
        assert np.isnan(eta2[constant]).all()
        ratio = found[f"ss_{name}"][~constant] / found["ss_total"][~constant]
        np.testing.assert_array_equal(eta2[~constant], ratio)
        assert row[f"{name}_eta2_mean"] == pytest.approx(np.nanmean(eta2))
        assert row[f"{name}_eta2_stdev"] == pytest.approx(np.nanstd(eta2))
        of_channels = np.nanmean(eta2, axis=(1, 2))
        assert row[f"{name}_eta2_stdev_kernelmeans"] == pytest.approx(np.std(of_channels))
    assert row["obj_partial_eta2_mean"] == pytest.approx(np.nanmean(found["partial_eta2_obj"]))
    assert row["obj_omega2_mean"] == pytest.approx(np.nanmean(found["omega2_obj"]))


def test_channels_of_tokens_are_on_the_last_axis():
    df, ss_dict = run(image_table(), Tokens(), which_layers=["layernorm1"], maps=True)
    (found,) = ss_dict.values()
    assert found["eta2_obj"].shape == (17, 6)
    expected = np.std(np.nanmean(found["eta2_obj"], axis=0))
    assert df["obj_eta2_stdev_kernelmeans"][0] == pytest.approx(expected)


def test_small_differences_about_a_mean_of_a_million_are_kept():
    rng = np.random.default_rng(0)
    # Whole numbers of sixteenths, which float32 holds exactly there.
    small = rng.integers(0, 16, (6, 50)) / 16
    keys = crossed(OBJECTS, COLORS)
    _, near_zero = table_run(keys, small.astype(np.float32))
    _, far = table_run(keys, (1e6 + small).astype(np.float32))
    assert ((1e6 + small).astype(np.float32).astype(float) - 1e6 == small).all()
    for name, values in near_zero.items():
        np.testing.assert_array_equal(far[name], values)
    expected = anova_by_loops(keys, small)
    np.testing.assert_allclose(far["ss_obj"], expected[0,], rtol=1e-12, atol=1e-14)


def test_repeated_cells_have_an_error_of_their_own():
    rng = np.random.default_rng(1)
    keys = crossed(OBJECTS, COLORS, n=4)
    table = rng.normal(size=(24, 30)) + rng.normal(size=(6, 30)).repeat(4, axis=0)
    df, found = table_run(keys, table, ("obj", "color", "view"), maps=True, batch_size=7)
    expected = anova_by_loops(keys, table)
    names = {"total": "total", (0,): "obj", (1,): "color", (0, 1): "interaction", "error": "error"}
    for key, name in names.items():
        np.testing.assert_allclose(found[f"ss_{name}"], expected[key], rtol=1e-10)
    for key, name, df_effect in (((0,), "obj", 2), ((1,), "color", 1), ((0, 1), "interaction", 2)):
        ratio = (expected[key] / df_effect) / (expected["error"] / 18)
        np.testing.assert_allclose(found[f"F_{name}"], ratio, rtol=1e-9)
        # Oracles: scipy's F distribution, and its procedure of Benjamini and Hochberg.
        p = stats.f.sf(ratio, df_effect, 18)
        np.testing.assert_allclose(found[f"p_{name}"], p, rtol=1e-8)
        p_fdr = stats.false_discovery_control(p)
        np.testing.assert_allclose(found[f"p_fdr_{name}"], p_fdr, rtol=1e-8)
        assert df[f"{name}_significant"][0] == np.mean(p_fdr < 0.05)
    assert 0 < df["obj_significant"][0] < 1


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_the_share_of_significant_units_is_that_of_their_p_values(alpha):
    rng = np.random.default_rng(2)
    for effect in (0.0, 0.3, 1.0, 5.0):
        ratio = stats.f.rvs(2, 18, size=400, random_state=rng) * (1 + effect * rng.random(400))
        ratio[:2] = np.nan, np.inf
        p = stats.f.sf(ratio[1:], 2, 18)
        expected = np.mean(stats.false_discovery_control(p) <= alpha)
        assert anova_tables._share_significant(ratio, 2, 18, alpha) == expected


def test_three_factors_have_all_effects():
    rng = np.random.default_rng(3)
    for n in (None, 2):
        keys = crossed(OBJECTS, COLORS, range(4), n=n)
        table = rng.normal(size=(len(keys), 10))
        types = ("obj", "color", "size", "view")[: 4 if n else 3]
        df, found = table_run(keys, table, types, factors=["obj", "color", "size"])
        expected = anova_by_loops(keys, table, n_factors=3)
        factors = ("obj", "color", "size")
        for term in [key for key in expected if isinstance(key, tuple)]:
            name = ":".join(factors[i] for i in term)
            np.testing.assert_allclose(found[f"ss_{name}"], expected[term], rtol=1e-10)
        assert ("ss_error" in found) == (n is not None)
        assert ("obj:color:size_significant" in df) == (n is not None)
        parts = sum(values for name, values in found.items() if name != "ss_total")
        np.testing.assert_allclose(parts, found["ss_total"], rtol=1e-12)


def residual_by_least_squares(columns, table):
    design = np.column_stack([np.ones(len(table)), *columns])
    return ((table - design @ np.linalg.lstsq(design, table, rcond=None)[0]) ** 2).sum(axis=0)


def test_unequal_cells_by_types_two_and_three_are_differences_of_least_squares():
    rng = np.random.default_rng(4)
    keys = [key for key in crossed(OBJECTS, COLORS, n=4) if rng.random() < 0.6 or key[2] == 0]
    table = rng.normal(size=(len(keys), 8)) + 3
    # Sum-to-zero codes, under which type III asks what it should.
    codes_a = {"cup": [1, 0], "pen": [0, 1], "fan": [-1, -1]}
    a = np.array([codes_a[key[0]] for key in keys])
    b = np.array([[1 if key[1] == "red" else -1] for key in keys])
    full = residual_by_least_squares([a, b, a * b], table)
    additive = residual_by_least_squares([a, b], table)
    expected = {
        "II": {
            "obj": residual_by_least_squares([b], table) - additive,
            "color": residual_by_least_squares([a], table) - additive,
        },
        "III": {
            "obj": residual_by_least_squares([b, a * b], table) - full,
            "color": residual_by_least_squares([a, a * b], table) - full,
        },
    }
    for ss_type, number in (("II", 2), ("III", 3)):
        _, found = table_run(keys, table, ("obj", "color", "view"), ss_type=ss_type)
        _, same = table_run(keys, table, ("obj", "color", "view"), ss_type=number)
        for name, values in expected[ss_type].items():
            np.testing.assert_allclose(found[f"ss_{name}"], values, rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(found[f"ss_{name}"], same[f"ss_{name}"])
        np.testing.assert_allclose(found["ss_interaction"], additive - full, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found["ss_error"], full, rtol=1e-10)
        total = ((table - table.mean(axis=0)) ** 2).sum(axis=0)
        np.testing.assert_allclose(found["ss_total"], total, rtol=1e-10)
    assert np.abs(expected["II"]["obj"] - expected["III"]["obj"]).max() > 1e-3


@pytest.mark.parametrize("ss_type", ["II", "III"])
def test_statsmodels_finds_the_same_sums_f_and_p(ss_type):
    ols = pytest.importorskip("statsmodels.formula.api").ols
    anova_lm = pytest.importorskip("statsmodels.stats.anova").anova_lm
    rng = np.random.default_rng(12)
    keys = [key for key in crossed(OBJECTS, COLORS, n=4) if rng.random() < 0.6 or key[2] == 0]
    table = rng.normal(size=(len(keys), 3)) + [[key[0] == "cup"] for key in keys]
    types = ("obj", "color", "view")
    _, found = table_run(keys, table, types, ss_type=ss_type, maps=True)
    terms = {"obj": "C(obj, Sum)", "color": "C(color, Sum)"}
    terms["interaction"] = "C(obj, Sum):C(color, Sum)"
    for unit in range(table.shape[1]):
        frame = pd.DataFrame(keys, columns=types).assign(response=table[:, unit])
        fitted = ols("response ~ C(obj, Sum) * C(color, Sum)", frame).fit()
        expected = anova_lm(fitted, typ=ss_type)
        assert found["ss_error"][unit] == pytest.approx(expected.loc["Residual", "sum_sq"])
        for name, term in terms.items():
            for key, column in (("ss", "sum_sq"), ("F", "F"), ("p", "PR(>F)")):
                value = found[f"{key}_{name}"][unit]
                assert value == pytest.approx(expected.loc[term, column], rel=1e-8), (name, key)


def test_with_equal_cells_the_types_do_not_differ():
    keys = crossed(OBJECTS, COLORS, n=2)
    table = np.random.default_rng(5).normal(size=(12, 4))
    types = ("obj", "color", "view")
    _, plain = table_run(keys, table, types)
    _, second = table_run(keys, table, types, ss_type="II")
    for name, values in plain.items():
        np.testing.assert_array_equal(second[name], values)


def test_unequal_cells_are_refused_with_their_counts():
    keys = [*crossed(OBJECTS, COLORS, n=1), ("cup", "blue", 1), ("cup", "blue", 2)]
    table = np.zeros((8, 1))
    with pytest.raises(ValueError, match=r"from 1 \(for \('cup', 'red'\)\) to 3 images.*ss_type"):
        table_run(keys, table, ("obj", "color", "view"))


def test_neither_order_nor_batches_nor_threads_matter_but_labels_do():
    images = image_table()
    _, expected = run(images, batch_size=12)
    shuffled = list(images.items())
    np.random.default_rng(6).shuffle(shuffled)
    for options in ({"batch_size": 5}, {"batch_size": 12, "num_threads": 2}, {}):
        _, found = run(dict(shuffled), **options)
        # The passes themselves are float32.
        assert_close(found, expected, rtol=1e-4)
    swapped = dict(zip(images, [*list(images.values())[1:], images["o0", "c0"]], strict=True))
    _, other = run(swapped, batch_size=12)
    total, ss = expected["fc1", 4]["ss_total"], expected["fc1", 4]["ss_obj"]
    np.testing.assert_allclose(other["fc1", 4]["ss_total"], total, rtol=1e-4)
    assert np.abs(other["fc1", 4]["ss_obj"] - ss).max() > 1e-2 * total.max()


def test_chunks_and_threads_give_the_same_sums(monkeypatch):
    images = image_table()
    _, expected = run(images, batch_size=5)
    monkeypatch.setattr(anova_sums, "_MANY_NUMBERS", 1)
    monkeypatch.setattr(anova_sums, "_CHUNK_ELEMENTS", 1)
    big = Maps()
    _, found = run(images, big, batch_size=5, num_threads=2)
    assert_close(found, expected, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 12])
def test_the_batches_in_which_images_come_change_nothing(batch_size):
    keys = crossed(OBJECTS, COLORS, n=2)
    table = np.random.default_rng(11).normal(1000, 1, size=(len(keys), 5))
    types = ("obj", "color", "view")
    _, found = table_run(keys, table, types, maps=True, batch_size=batch_size)
    _, expected = table_run(keys, table, types, maps=True)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def test_out_of_memory_the_batch_is_halved_and_the_log_says_so(caplog):
    class Small(Maps):
        def forward(self, x):
            if len(x) > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().forward(x)

    df, found = run(image_table(), Small())
    assert [line.split(";")[1][:36] for line in caplog.messages] == [
        " going on with batches of 6 images. ",
        " going on with batches of 3 images. ",
    ]
    same_df, expected = run(image_table(), batch_size=3)
    assert_close(found, expected, rtol=1e-12)
    assert df.equals(same_df)


def test_groups_of_layers_within_the_memory_give_the_same_numbers():
    images = image_table()
    df, expected = run(images, batch_size=5)
    # Sums, squares and first response of the 192 units of the input: one such layer a pass.
    needed = 192 * 8 * (1 + 2 + 3 + 2)
    passes = []
    real = anova.stream_outputs

    def watched(model, batches, targets, consume, **options):
        passes.append([target.label[0] for target in targets])
        real(model, batches, targets, consume, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anova, "stream_outputs", watched)
        small, found = run(images, batch_size=5, memory_budget=needed)
    assert len(passes) > 2
    assert_close(found, expected, rtol=1e-14)
    assert small.equals(df)
    with pytest.raises(ValueError, match=rf"'original_rgb' take .* `memory_budget`={needed}"):
        run(images, memory_budget=needed - 1)
    with pytest.raises(TypeError, match="`memory_budget` must be an amount"):
        run(images, memory_budget="much")


def test_constant_and_undefined_units_are_counted_and_left_out():
    keys = crossed(OBJECTS, COLORS)
    table = np.random.default_rng(7).normal(size=(6, 4))
    table[:, 1] = 0.1
    table[2, 3] = np.nan
    df, found = table_run(keys, table, maps=True)
    row = df.iloc[0]
    assert (row["n_constant_units"], row["n_undefined_units"]) == (1, 1)
    assert found["ss_total"][1] == found["ss_obj"][1] == found["ss_interaction"][1] == 0
    for name in ("eta2_obj", "partial_eta2_obj", "omega2_obj", "F_obj", "p_obj", "p_fdr_obj"):
        assert np.isnan(found[name]).tolist() == [False, True, False, True]
    assert row["obj_eta2_mean"] == pytest.approx(found["eta2_obj"][[0, 2]].mean())
    all_constant, _ = table_run(keys, np.ones((6, 3)), maps=True)
    assert all_constant["n_constant_units"][0] == 3
    assert all_constant.filter(like="obj_").isna().all(axis=None)


def test_an_effect_without_error_is_beyond_bounds_and_rounding_is_no_effect():
    keys = crossed(OBJECTS, COLORS)
    table = np.array([[0.1, 0.7, 0.3][OBJECTS.index(obj)] for obj, _ in keys])[:, None]
    df, found = table_run(keys, table, maps=True)
    assert found["F_obj"][0] == np.inf
    assert found["p_obj"][0] == 0
    assert found["ss_color"][0] == found["ss_interaction"][0] == 0
    assert np.isnan(found["F_color"][0])
    assert df["obj_significant"][0] == 1


def test_dropout_has_the_numbers_of_the_layer_before_in_arrays_of_its_own():
    _, ss_dict = run(image_table())
    before, after = ss_dict["relu1", 2], ss_dict["dropout1", 3]
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
        assert not np.shares_memory(after[name], values)


def test_model_and_layers_come_as_in_the_guide(caplog):
    images = image_table(2, 2)
    model = prepared()["net"]
    image_set = ({"set": "a"}, images, ("obj", "color"), [])
    df, _ = compute_etas(image_set, ("net", model), {"net": ["fc1"], "b": []}, progress=False)
    assert df["layer"].tolist() == ["fc1"]
    by_name, _ = compute_etas(
        image_set, ("squeeze", "squeezenet1_1", "random"), ["conv1"], progress=False
    )
    whole = pfa.prepare_models({"squeeze": ("squeezenet1_1", "random")})["squeeze"]
    same, _ = compute_etas(image_set, ("squeeze", whole), ["conv1"], progress=False)
    assert by_name.equals(same)
    unused = Maps()
    unused.idle = nn.Linear(2, 2)
    with caplog.at_level(logging.WARNING):
        run(images, unused)
    assert "fc2" in caplog.text


def test_inputs_and_model_are_left_as_they_were():
    images = image_table(2, 2)
    pixels = {key: np.asarray(image).copy() for key, image in images.items()}
    labels, factors = {"set": "a"}, ["obj", "color"]
    model = prepared()["net"].train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compute_etas((labels, images, ("obj", "color")), ("net", model), factors=factors)
    assert list(images) == list(pixels)
    for key, image in images.items():
        np.testing.assert_array_equal(np.asarray(image), pixels[key])
    assert (labels, factors) == ({"set": "a"}, ["obj", "color"])
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


IMAGES = image_table(2, 2)
SET = ({"set": "a"}, IMAGES, ("obj", "color"), [])
COMBO = (("o0", "mean"), [("o0", "c0")], np.mean, {}, False)


@pytest.mark.parametrize(
    ("image_set", "kind", "message"),
    [
        ([SET], TypeError, r"not list; of a list of image sets, give one: image_sets\[0\]"),
        ("images", TypeError, "`image_set` must be a tuple"),
        (({}, {("a",): "x.png"}, ("obj",)), ValueError, "at least two entry types"),
        (({}, dict(list(IMAGES.items())[:3]), SET[2]), ValueError, r"none for \('o1', 'c1'\)"),
        (({}, dict(list(IMAGES.items())[:2]), SET[2]), ValueError, "'obj' has one level, 'o0'"),
        (({}, IMAGES, ("obj", "error")), ValueError, "'error' cannot be the name of a factor"),
        (({"model": 1}, IMAGES, SET[2]), ValueError, "`image_set`: 'model' cannot be"),
        (({"obj_eta2_mean": 1}, IMAGES, SET[2]), ValueError, "label 'obj_eta2_mean'"),
        (({}, IMAGES, ("obj",)), ValueError, r"`image_set`: the entry key .* has 2 values"),
        (({}, IMAGES, SET[2], [COMBO]), ValueError, r"has combinations \(\('o0', 'mean'\)\)"),
        (
            ({}, dict.fromkeys(IMAGES, "no_such.png"), SET[2]),
            ValueError,
            "no_such.png",
        ),
    ],
)
def test_bad_image_sets_are_refused(image_set, kind, message):
    with pytest.raises(kind, match=message):
        compute_etas(image_set, ("net", prepared()["net"]), progress=False)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"factors": ["obj", "size"]}, ValueError, "`factors` names 'size'"),
        ({"factors": ["obj"]}, ValueError, "two or more entry types"),
        ({"factors": "obj"}, TypeError, "`factors` must be a list"),
        ({"ss_type": "I"}, ValueError, "type I depends on the order"),
        ({"ss_type": 2.0}, TypeError, "`ss_type`"),
        ({"alpha": 5}, ValueError, "`alpha` must be between 0 and 1"),
        ({"alpha": "5%"}, TypeError, "`alpha` must be a number"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1"),
        ({"num_threads": 0}, ValueError, "`num_threads` must be at least 1"),
        ({"device": "abacus"}, ValueError, "`device` must be a device"),
        ({"which_layers": ["conv9"]}, ValueError, "'conv9' for model 'net'"),
        ({"which_layers": {"other": ["conv1"]}}, ValueError, "`model_desc` names 'net'"),
        ({"which_layers": []}, ValueError, "`which_layers` names no layer"),
        ({"model_desc": "net"}, TypeError, r"\(name, architecture, weights\)"),
        ({"model_desc": ("net", "alexnet")}, TypeError, r"\('net', 'alexnet', 'trained'\)"),
        ({"model_desc": (1, nn.ReLU())}, TypeError, "with a string as name, not 1"),
        ({"model_desc": ("net", nn.ReLU())}, ValueError, "carries no `preprocessing`"),
    ],
)
def test_bad_arguments_are_refused(options, kind, message):
    options = {"model_desc": ("net", prepared()["net"]), "progress": False, **options}
    with pytest.raises(kind, match=message):
        compute_etas(SET, **options)


def test_images_of_different_sizes_are_refused():
    images = dict(IMAGES)
    images["o1", "c1"] = Image.new("RGB", (10, 8))
    network = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match="different sizes after the model's preprocessing"):
        run(images, network)
