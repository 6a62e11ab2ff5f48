import logging
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from torch import nn
from torchvision import transforms

import pytorch_feature_analysis as pfa

TRANSFORM = transforms.ToTensor()


class Net(nn.Module):
    """Small network with in-place operations that counts the images it has passed."""

    def __init__(self, seed=0, n_in=3):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(n_in, 5, 3)
            self.relu = nn.ReLU(inplace=True)
            self.fc = nn.Linear(5 * 6 * 6, 4)
        self.passes = []

    def forward(self, x):
        self.passes.append(len(x))
        return self.fc(self.relu(self.conv(x)).flatten(1))


def prepared(seed=0, name="net"):
    return pfa.prepare_models({name: (Net(seed), TRANSFORM)})


def pictures(folder, n=4, size=(8, 8), seed=0, prefix="p"):
    """Noise as PNG files; a dict from entry key to path."""
    rng = np.random.default_rng(seed)
    images = {}
    for i in range(n):
        path = folder / f"{prefix}{seed}_{i}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        images[f"{prefix}{i}",] = path
    return images


def image_set(images, **labels):
    return (labels or {"set": "a"}, dict(images), ("image",), [])


def get(rdm_df, layer, kind="unit_level", **conditions):
    wanted = {"layer": layer, "activation_type": kind, **conditions}
    return pfa.df_filter(rdm_df, list(wanted.items()))["matrix"].item()


def outputs_of(model, images):
    """What conv and fc put out, by calling the layers one by one."""
    x = torch.stack([TRANSFORM(Image.open(path)) for path in images.values()])
    with torch.no_grad():
        conv = model.conv(x)
        fc = model.fc(conv.clamp(min=0).flatten(1))
    return {"original_rgb": x.numpy(), "conv1": conv.numpy(), "fc1": fc.numpy()}


@pytest.fixture
def images(tmp_path):
    return pictures(tmp_path)


def test_unit_level_rdms_equal_scipy_on_the_outputs_of_each_layer(images):
    models = prepared()
    rdm_df = pfa.get_rdms(
        [image_set(images)],
        models,
        dissim_metrics=["corr", "euclidean_distance", "cityblock"],
        progress=False,
    )
    for layer, output in outputs_of(models["net"], images).items():
        rows = output.reshape(4, -1).astype(float)
        for metric, name in (
            ("corr", "correlation"),
            ("euclidean_distance", "euclidean"),
            ("cityblock", "cityblock"),
        ):
            found = get(rdm_df, layer, dissim_metric=metric)
            np.testing.assert_allclose(found, squareform(pdist(rows, name)), atol=1e-4, rtol=1e-5)


def test_feature_means_are_means_of_each_channel_over_space(images):
    models = prepared()
    rdm_df = pfa.get_rdms([image_set(images)], models, progress=False)
    outputs = outputs_of(models["net"], images)
    for layer in ("original_rgb", "conv1"):
        means = outputs[layer].astype(float).mean(axis=(2, 3))
        expected = 1 - np.corrcoef(means)
        np.testing.assert_allclose(get(rdm_df, layer, "feature_means"), expected, atol=1e-5)


def test_both_types_of_a_vector_are_the_same(images):
    rdm_df = pfa.get_rdms([image_set(images)], prepared(), progress=False)
    np.testing.assert_array_equal(get(rdm_df, "fc1"), get(rdm_df, "fc1", "feature_means"))


def test_a_combination_adds_the_function_of_its_entries_patterns(images):
    keys = list(images)
    labels, paths, types, _ = image_set(images)
    combos = [
        (("mean",), keys[:2], np.mean, {"axis": 0}, False),
        (("sum",), keys[1:3], np.add, {}, True),
    ]
    models = prepared()
    rdm_df = pfa.get_rdms(
        [(labels, paths, types, combos)],
        models,
        dissim_metrics=["euclidean_distance"],
        progress=False,
    )
    assert rdm_df["entry_keys"].iloc[0] == (*keys, ("mean",), ("sum",))
    for layer, output in outputs_of(models["net"], images).items():
        extra = [output[:2].mean(axis=0), output[1] + output[2]]
        rows = np.concatenate([output, extra]).reshape(6, -1).astype(float)
        expected = squareform(pdist(rows))
        np.testing.assert_allclose(get(rdm_df, layer), expected, rtol=1e-4, atol=1e-5)


def test_a_combination_of_another_shape_is_refused(images):
    labels, paths, types, _ = image_set(images)
    combos = [(("bad",), list(images)[:2], lambda patterns: patterns[0].sum(), {}, False)]
    with pytest.raises(ValueError, match=r"combination \('bad',\).*np\.mean"):
        pfa.get_rdms([(labels, paths, types, combos)], prepared(), progress=False)


def test_a_kernel_set_is_the_rdm_of_its_channels_at_its_layers_only(images):
    models = prepared()
    rdm_df = pfa.get_rdms(
        [image_set(images)],
        models,
        kernel_sets=[("all", "all"), ("two", {("net", "conv1"): [0, 3]})],
        dissim_metrics=["euclidean_distance"],
        progress=False,
    )
    two = pfa.df_filter(rdm_df, [("kernel_set_name", "two")])
    assert two["layer"].unique().tolist() == ["conv1"]
    assert two["kernel_inds"].tolist() == [(0, 3), (0, 3)]
    conv = outputs_of(models["net"], images)["conv1"][:, [0, 3]].astype(float)
    for kind, rows in (("unit_level", conv.reshape(4, -1)), ("feature_means", conv.mean((2, 3)))):
        np.testing.assert_allclose(get(two, "conv1", kind), squareform(pdist(rows)), rtol=1e-4)


@pytest.mark.parametrize(
    ("kernel_sets", "message"),
    [
        ([("k", {("net", "conv1"): [5]})], r"channels \[5\] of layer 'conv1'.*0 to 4"),
        ([("k", {("nat", "conv1"): [0]})], "Did you mean 'net'"),
        ([("k", {("net", "conv9"): [0]})], "no such layer"),
        ([("k", {("net", "conv1"): [1, 1]})], "each once"),
        ([], "at least one set"),
    ],
)
def test_bad_kernel_sets_are_refused(images, kernel_sets, message):
    with pytest.raises(ValueError, match=message):
        pfa.get_rdms([image_set(images)], prepared(), kernel_sets=kernel_sets, progress=False)


def test_layers_are_named_by_name_label_or_path_in_the_order_asked_for(images):
    rdm_df = pfa.get_rdms(
        [image_set(images)],
        prepared(),
        which_layers={"net": [("fc1", 3), "relu", "original_rgb"]},
        activation_types=["unit_level"],
        progress=False,
    )
    assert rdm_df["layer_label"].tolist() == [("fc1", 3), ("relu", 2), ("original_rgb", 0)]


def test_an_unknown_layer_or_model_is_refused_with_the_right_names(images):
    with pytest.raises(ValueError, match=r"'conv9' for model 'net'.*conv1, relu1, fc1"):
        pfa.get_rdms([image_set(images)], prepared(), which_layers=["conv9"], progress=False)
    with pytest.raises(ValueError, match=r"'nat'.*Did you mean 'net'"):
        pfa.get_rdms([image_set(images)], prepared(), which_layers={"nat": ["conv1"]})
    with pytest.raises(ValueError, match=r"'cor'.*Did you mean 'corr'"):
        pfa.get_rdms([image_set(images)], prepared(), dissim_metrics=["cor"])


def test_a_custom_metric_gets_the_patterns(images):
    def rank_dissim(x, y):
        return 1 - spearmanr(x, y).statistic

    rdm_df = pfa.get_rdms(
        [image_set(images)],
        prepared(),
        which_layers=["conv1"],
        dissim_metrics=["spearman", ("mine", rank_dissim)],
        progress=False,
    )
    spearman, mine = (get(rdm_df, "conv1", dissim_metric=name) for name in ("spearman", "mine"))
    np.testing.assert_allclose(mine, spearman, atol=1e-12)


def test_the_numbers_of_a_set_do_not_depend_on_what_else_is_asked_for(tmp_path):
    one, other = pictures(tmp_path, 5), pictures(tmp_path, 17, seed=1)
    alone = pfa.get_rdms([image_set(one, set="one")], prepared(), progress=False)
    both = pfa.get_rdms(
        [image_set(other, set="other"), image_set(one, set="one")],
        prepared(),
        dissim_metrics=["corr", "cosine"],
        progress=False,
    )
    for layer in ("original_rgb", "conv1", "relu1", "fc1"):
        for kind in ("unit_level", "feature_means"):
            np.testing.assert_array_equal(
                get(alone, layer, kind), get(both, layer, kind, set="one", dissim_metric="corr")
            )


def test_an_image_in_several_sets_goes_through_once(tmp_path):
    images = pictures(tmp_path, 6)
    keys = list(images)
    # A copy of a file is the same image.
    copy = tmp_path / "copy.png"
    copy.write_bytes(images[keys[0]].read_bytes())
    sets = [
        image_set({key: images[key] for key in keys[:4]}, set="first"),
        image_set({key: images[key] for key in keys[2:]}, set="second"),
        image_set({("copy",): copy, keys[5]: images[keys[5]]}, set="third"),
    ]
    models = prepared()
    rdm_df = pfa.get_rdms(sets, models, batch_size=2, progress=False)
    survey_passes = models["net"].passes[:-3]
    assert models["net"].passes[-3:] == [2, 2, 2]
    assert len(survey_passes) <= 2
    for name, members in (
        ("first", keys[:4]),
        ("second", keys[2:]),
        ("third", [keys[0], keys[5]]),
    ):
        rows = outputs_of(models["net"], {key: images[key] for key in members})["conv1"]
        expected = 1 - np.corrcoef(rows.reshape(len(members), -1))
        np.testing.assert_allclose(get(rdm_df, "conv1", set=name), expected, atol=1e-5)


def test_permutations_are_seeded_and_shared_by_all_rows_of_a_set(tmp_path):
    sets = [image_set(pictures(tmp_path, 6, seed=seed), set=str(seed)) for seed in (0, 1)]
    arguments = {"num_perms": 3, "dissim_metrics": ["corr", "cosine"], "progress": False}
    models = {**prepared(), **prepared(1, "second")}
    rdm_df = pfa.get_rdms(sets, models, **arguments)
    assert rdm_df["perm"].drop_duplicates().tolist() == ["orig_data", 1, 2, 3]
    names = ["set", "model", "layer", "activation_type", "dissim_metric"]
    for _, rows in rdm_df.groupby(names):
        original = rows["matrix"].iloc[0]
        assert rows["perm_scramble"].iloc[0] == tuple(range(6))
        for scramble, matrix in zip(rows["perm_scramble"], rows["matrix"], strict=True):
            np.testing.assert_array_equal(matrix, original[np.ix_(scramble, scramble)])
    scrambles = rdm_df.groupby(["set", "perm"])["perm_scramble"].unique()
    assert (scrambles.map(len) == 1).all()
    assert len({scramble[0] for scramble in scrambles}) == 7
    # One model and one set alone draw the same scrambles; another seed draws others.
    alone = pfa.get_rdms(sets[1:], prepared(), **arguments)
    first = alone[alone["perm"] == 2]["perm_scramble"].iloc[0]
    assert first == scrambles["1", 2][0]
    other = pfa.get_rdms(sets[1:], prepared(), **arguments, random_state=1)
    assert other[other["perm"] == 2]["perm_scramble"].iloc[0] != first


def test_permutations_beyond_memory_are_refused_with_a_word_on_what_to_do(images):
    with pytest.raises(ValueError, match=r"num_perms.*get_meta_rdms"):
        pfa.get_rdms([image_set(images)], prepared(), num_perms=10**9, progress=False)


def test_rankings_are_the_greedy_order_of_each_matrix(images):
    rdm_df = pfa.get_rdms([image_set(images)], prepared(), num_perms=1, progress=False)
    for matrix, ranking in zip(rdm_df["matrix"], rdm_df["dissim_rankings"], strict=True):
        assert tuple(pfa.get_extreme_dissims_total(matrix)[1]) == ranking


def test_two_workers_give_the_same_bits_as_one(tmp_path):
    sets = [image_set(pictures(tmp_path, 7))]
    models = {**prepared(), **prepared(1, "second")}
    arguments = {"num_threads": 1, "num_perms": 1, "progress": False}
    serial = pfa.get_rdms(sets, models, num_cores=1, **arguments)
    parallel = pfa.get_rdms(sets, models, num_cores=2, **arguments)
    assert_stacks_equal(serial, parallel)


def assert_stacks_equal(one, other):
    assert list(one.columns) == list(other.columns)
    for column in one.columns:
        if column == "matrix":
            for a, b in zip(one[column], other[column], strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            assert one[column].tolist() == other[column].tolist(), column


@pytest.mark.parametrize("name", ["rdms.parquet", "rdms.p"])
def test_a_second_call_computes_nothing_and_returns_the_same(tmp_path, images, name):
    models, sets, out = prepared(), [image_set(images)], tmp_path / name
    arguments = {"num_perms": 2, "progress": False}
    first = pfa.get_rdms(sets, models, out, **arguments)
    models["net"].passes.clear()
    written = out.read_bytes()
    second = pfa.get_rdms(sets, models, out, **arguments)
    assert models["net"].passes == []
    assert out.read_bytes() == written
    assert_stacks_equal(first, second)
    assert_stacks_equal(first, pfa.read_rdms(out))


def test_a_call_returns_its_own_rows_and_the_file_keeps_the_union(tmp_path, images):
    sets, out = [image_set(images)], tmp_path / "rdms.parquet"
    first = pfa.get_rdms(sets, prepared(), out, progress=False)
    models = {**prepared(1, "second"), **prepared()}
    both = pfa.get_rdms(sets, models, out, progress=False)
    assert models["net"].passes == []
    assert both["model"].drop_duplicates().tolist() == ["second", "net"]
    assert len(pfa.read_rdms(out)) == len(both) == 2 * len(first)
    again = pfa.get_rdms(sets, prepared(), out, which_layers=["fc1"], progress=False)
    assert again["layer"].unique().tolist() == ["fc1"]
    assert len(pfa.read_rdms(out)) == len(both)


def test_a_changed_image_is_computed_anew_and_the_old_row_is_kept_aside(tmp_path, images):
    out = tmp_path / "rdms.parquet"
    other = pictures(tmp_path, 3, seed=9)
    sets = [image_set(images, set="a"), image_set(other, set="b")]
    before = pfa.get_rdms(sets, prepared(), out, progress=False)
    path = next(iter(images.values()))
    Image.open(path).rotate(90).save(path)
    models = prepared()
    with pytest.warns(UserWarning, match="the images changed") as caught:
        after = pfa.get_rdms(sets, models, out, progress=False)
    assert len(caught) == 1
    assert str(out) in str(caught[0].message)
    fresh = pfa.get_rdms(sets, prepared(), progress=False)
    assert_stacks_equal(after, fresh)
    assert_stacks_equal(
        after[after["set"] == "b"].reset_index(drop=True),
        before[before["set"] == "b"].reset_index(drop=True),
    )
    old = pfa.read_rdms(tmp_path / "rdms.parquet.superseded.parquet")
    assert_stacks_equal(old, before[before["set"] == "a"].reset_index(drop=True))
    assert len(pfa.read_rdms(out)) == len(before)


def test_changed_weights_are_named(tmp_path, images):
    out = tmp_path / "rdms.p"
    pfa.get_rdms([image_set(images)], prepared(0), out, progress=False)
    with pytest.warns(UserWarning, match="weights or the architecture of model net changed"):
        after = pfa.get_rdms([image_set(images)], prepared(1), out, progress=False)
    assert_stacks_equal(after, pfa.get_rdms([image_set(images)], prepared(1), progress=False))
    assert len(pfa.read_rdms(tmp_path / "rdms.p.superseded.parquet")) == len(after)


def test_a_pickle_without_its_run_table_is_kept_and_never_served(tmp_path, images):
    out = tmp_path / "rdms.p"
    rdm_df = pfa.get_rdms([image_set(images)], prepared(), progress=False)
    wrong = rdm_df.assign(matrix=[np.zeros((4, 4))] * len(rdm_df))
    wrong.loc[0, "model"] = "somebody's"
    with out.open("wb") as file:
        pickle.dump(wrong, file)
    with pytest.warns(UserWarning, match="nothing is recorded of what made them"):
        again = pfa.get_rdms([image_set(images)], prepared(), out, progress=False)
    assert_stacks_equal(again, rdm_df)
    kept = pfa.read_rdms(out)
    assert (kept["model"] == "somebody's").sum() == 1
    assert len(pfa.read_rdms(tmp_path / "rdms.p.superseded.parquet")) == len(rdm_df) - 1


def test_without_append_the_earlier_file_is_kept_under_another_name(tmp_path, images):
    out = tmp_path / "rdms.parquet"
    first = pfa.get_rdms([image_set(images)], prepared(), out, progress=False)
    models = prepared(1, "second")
    pfa.get_rdms([image_set(images)], models, out, append=False, progress=False)
    assert pfa.read_rdms(out)["model"].unique().tolist() == ["second"]
    assert_stacks_equal(pfa.read_rdms(tmp_path / "rdms.superseded.parquet"), first)


def test_provenance_tells_what_made_a_row(tmp_path, images):
    out = tmp_path / "rdms.parquet"
    pfa.get_rdms([image_set(images)], prepared(), out, batch_size=3, progress=False)
    rows = pfa.read_rdms(out, provenance=True)
    assert rows["row_key"].is_unique
    assert rows["batch_size"].unique().tolist() == [3]
    assert rows["versions"].str.contains(f"torch {torch.__version__}", regex=False).all()
    assert rows["model_hash"].nunique() == rows["images_hash"].nunique() == 1


def test_models_that_are_done_are_kept_when_a_later_one_fails(tmp_path, images):
    class Failing(Net):
        def forward(self, x):
            if len(x) > 3:
                raise ArithmeticError("out of luck")
            return super().forward(x)

    out = tmp_path / "rdms.parquet"
    models = {**prepared(), **pfa.prepare_models({"bad": (Failing(), TRANSFORM)})}
    with pytest.raises(ArithmeticError, match="out of luck"):
        pfa.get_rdms([image_set(images)], models, out, progress=False)
    assert pfa.read_rdms(out)["model"].unique().tolist() == ["net"]


def test_unreadable_images_are_all_named_before_any_pass(tmp_path, images):
    (tmp_path / "empty.png").touch()
    whole = next(iter(images.values())).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    bad = {(name,): tmp_path / f"{name}.png" for name in ("empty", "cut", "missing")}
    models = prepared()
    with pytest.raises(ValueError, match=r"(?s)3 images.*empty\.png.*cut\.png.*missing\.png"):
        pfa.get_rdms([image_set({**images, **bad})], models, progress=False)
    assert models["net"].passes == []


def test_an_unwritable_target_is_found_before_the_work(tmp_path, images):
    models = prepared()
    for name, message in (
        ("nowhere/rdms.parquet", "nowhere"),
        ("rdms.csv", r"\.parquet"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            pfa.get_rdms([image_set(images)], models, tmp_path / name, progress=False)
    assert models["net"].passes == []


def test_a_file_of_another_kind_is_not_touched(tmp_path, images):
    out = tmp_path / "frame.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(out)
    before = out.read_bytes()
    with pytest.raises(ValueError, match=r"frame\.parquet"):
        pfa.get_rdms([image_set(images)], prepared(), out, progress=False)
    assert out.read_bytes() == before


def test_images_of_one_set_with_different_sizes_are_refused(tmp_path):
    images = {
        **pictures(tmp_path, 2),
        **pictures(tmp_path, 1, size=(8, 9), seed=1, prefix="wide"),
    }
    net = pfa.prepare_models({"net": (nn.Sequential(nn.Conv2d(3, 2, 3)), TRANSFORM)})
    with pytest.raises(ValueError, match=r"different sizes.*\(3, 8, 8\).*wide.*\(3, 8, 9\)"):
        pfa.get_rdms([image_set(images)], net, progress=False)


def test_sets_of_different_sizes_are_fine(tmp_path):
    small, large = pictures(tmp_path, 3), pictures(tmp_path, 3, size=(10, 12), seed=1)
    net = pfa.prepare_models({"net": (nn.Sequential(nn.Conv2d(3, 2, 3)), TRANSFORM)})
    sets = [image_set(small, set="small"), image_set(large, set="large")]
    rdm_df = pfa.get_rdms(sets, net, progress=False)
    for name, images in (("small", small), ("large", large)):
        x = torch.stack([TRANSFORM(Image.open(path)) for path in images.values()])
        with torch.no_grad():
            rows = net["net"](x).flatten(1).double().numpy()
        expected = 1 - np.corrcoef(rows)
        np.testing.assert_allclose(get(rdm_df, "conv1", set=name), expected, atol=1e-5)


def test_a_constant_pattern_is_nan_off_the_diagonal_and_named_once(tmp_path, images):
    black = tmp_path / "black.png"
    Image.new("RGB", (8, 8)).save(black)
    with pytest.warns(UserWarning, match=r"\('black',\).*original_rgb.*model 'net'") as caught:
        rdm_df = pfa.get_rdms(
            [image_set({**images, ("black",): black})],
            prepared(),
            dissim_metrics=["corr", "euclidean_distance"],
            progress=False,
        )
    assert len(caught) == 1
    matrix = get(rdm_df, "original_rgb", dissim_metric="corr")
    assert np.isnan(matrix[-1, :-1]).all()
    assert matrix[-1, -1] == 0
    assert np.isfinite(matrix[:-1, :-1]).all()
    assert np.isfinite(get(rdm_df, "original_rgb", dissim_metric="euclidean_distance")).all()


def test_a_layer_that_is_never_called_is_left_out_with_a_word_and_refused_when_named(
    images, caplog
):
    net = Net()
    net.aux = nn.Linear(2, 2)
    models = pfa.prepare_models({"net": (net, TRANSFORM)})
    with caplog.at_level(logging.WARNING):
        rdm_df = pfa.get_rdms([image_set(images)], models, progress=False)
    assert "fc2" in caplog.text
    assert "fc2" not in set(rdm_df["layer"])
    with pytest.raises(ValueError, match=r"fc2 \(never called"):
        pfa.get_rdms([image_set(images)], models, which_layers=["fc2"], progress=False)


def test_a_network_whose_output_cannot_be_captured_is_refused(images):
    class Opaque(nn.Module):
        def forward(self, x):
            return "nothing"

    models = pfa.prepare_models({"opaque": (Opaque(), TRANSFORM)})
    with pytest.raises(ValueError, match=r"no output of model 'opaque'.*holds no tensor"):
        pfa.get_rdms([image_set(images)], models, progress=False)


class TokenNet(nn.Module):
    """Class token and 16 patches, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 6, 2, 2)
            self.class_token = nn.Parameter(torch.ones(1, 1, 6))
            self.norm = nn.LayerNorm(6)
            self.head = nn.Linear(6, 3)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.norm(tokens * tokens.mean(dim=1, keepdim=True))[:, 0])


def test_tokens_are_averaged_with_or_without_the_class_token_or_it_is_taken_alone(images):
    models = pfa.prepare_models({"vit": (TokenNet(), TRANSFORM)})
    types = ["unit_level", "feature_means", "cls_token"]
    arguments = {"dissim_metrics": ["euclidean_distance"], "progress": False}
    rdm_df = pfa.get_rdms([image_set(images)], models, activation_types=types, **arguments)
    tokens = pfa.capture(models["vit"], list(images.values()), ["layernorm1"])["layernorm1"]
    assert tokens.shape == (4, 17, 6)
    for kind, rows in (
        ("unit_level", tokens.reshape(4, -1)),
        ("feature_means", tokens.mean(axis=1)),
        ("cls_token", tokens[:, 0]),
    ):
        expected = squareform(pdist(rows.astype(float)))
        np.testing.assert_allclose(get(rdm_df, "layernorm1", kind), expected, rtol=1e-5)
    # The class token exists only where tokens are.
    of_token = rdm_df[rdm_df["activation_type"] == "cls_token"]
    assert of_token["layer"].unique().tolist() == ["layernorm1"]
    without = pfa.get_rdms([image_set(images)], models, exclude_prefix_tokens=True, **arguments)
    expected = squareform(pdist(tokens[:, 1:].mean(axis=1).astype(float)))
    found = get(without, "layernorm1", "feature_means")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_class_token_is_refused_where_there_is_none(images):
    with pytest.raises(ValueError, match=r"activation_types.*model 'net'.*none"):
        pfa.get_rdms([image_set(images)], prepared(), activation_types=["cls_token"])
    with pytest.raises(ValueError, match="exclude_prefix_tokens"):
        pfa.get_rdms([image_set(images)], prepared(), exclude_prefix_tokens=True)


def test_every_call_of_a_reused_module_on_request(images):
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.conv(self.relu(self.conv(x) - 0.1)))

    models = pfa.prepare_models({"net": (Reused(), TRANSFORM)})
    x = torch.stack([TRANSFORM(Image.open(path)) for path in images.values()])
    with torch.no_grad():
        first = (models["net"].conv(x) - 0.1).clamp(min=0)
        last = models["net"].conv(first).clamp(min=0)
    plain = pfa.get_rdms([image_set(images)], models, progress=False)
    assert plain["layer"].unique().tolist() == ["original_rgb", "conv1", "relu1"]
    every = pfa.get_rdms([image_set(images)], models, calls="all", progress=False)
    assert every["layer"].unique().tolist() == [
        "original_rgb",
        "conv1@1",
        "conv1",
        "relu1@1",
        "relu1",
    ]
    for layer, output in (("relu1@1", first), ("relu1", last)):
        expected = 1 - np.corrcoef(output.flatten(1).double())
        np.testing.assert_allclose(get(every, layer), expected, atol=1e-5)


def test_arguments_are_unchanged_and_matrices_are_read_only(images):
    sets, models = [image_set(images)], prepared()
    layers, metrics = {"net": ["conv1"]}, ["corr"]
    rdm_df = pfa.get_rdms(sets, models, None, "x", layers, metrics, progress=False)
    assert sets == [image_set(images)]
    assert (layers, metrics) == ({"net": ["conv1"]}, ["corr"])
    assert not models["net"].conv._forward_hooks
    with pytest.raises(ValueError, match="read-only"):
        rdm_df["matrix"].iloc[0][0, 1] = 1


def test_debug_check_passes_on_right_numbers_and_fails_on_wrong_ones(images, monkeypatch):
    sets = [image_set(images)]
    pfa.get_rdms(sets, prepared(), debug_check=True, progress=False)
    from pytorch_feature_analysis import accumulation

    real = accumulation.compute_bounded_rdms
    monkeypatch.setattr(
        accumulation, "compute_bounded_rdms", lambda *args: [1.01 * rdm for rdm in real(*args)]
    )
    with pytest.raises(RuntimeError, match="debug_check: the 'corr' RDM"):
        pfa.get_rdms(sets, prepared(), debug_check=True, progress=False)


def test_pil_images_serve_as_images(images):
    loaded = {key: Image.open(path) for key, path in images.items()}
    arguments = {"progress": False, "which_layers": ["conv1"]}
    from_pil = pfa.get_rdms([image_set(loaded)], prepared(), **arguments)
    from_files = pfa.get_rdms([image_set(images)], prepared(), **arguments)
    np.testing.assert_array_equal(get(from_pil, "conv1"), get(from_files, "conv1"))


def test_a_label_may_not_hide_a_column(images):
    with pytest.raises(ValueError, match="matrix"):
        pfa.get_rdms([image_set(images, matrix="a")], prepared(), progress=False)


def test_models_must_come_prepared(images):
    with pytest.raises(ValueError, match=r"model 'bare' carries no `preprocessing`"):
        pfa.get_rdms([image_set(images)], {"bare": Net()}, progress=False)
    with pytest.raises(TypeError, match="prepare_models"):
        pfa.get_rdms([image_set(images)], {"alexnet": ("alexnet", "random")}, progress=False)


def test_verbose_logs_what_is_done(images, caplog):
    pfa.get_rdms([image_set(images)], prepared(), verbose=True, progress=False)
    assert "8 rows" in caplog.text
    assert "model 'net' took" in caplog.text


def test_a_new_file_has_the_rows_in_the_order_in_which_they_are_returned(tmp_path):
    sets = [image_set(pictures(tmp_path, 3, seed=seed), set=str(seed)) for seed in (0, 1)]
    models = {**prepared(), **prepared(1, "second")}
    out = tmp_path / "rdms.parquet"
    returned = pfa.get_rdms(sets, models, out, progress=False)
    assert returned["model"].iloc[[0, 8]].tolist() == ["net", "second"]
    assert_stacks_equal(pfa.read_rdms(out), returned)


def test_a_device_that_does_not_exist_is_refused_before_any_pass(images):
    models = prepared()
    with pytest.raises(ValueError, match="device"):
        pfa.get_rdms([image_set(images)], models, device="gpu", progress=False)
    assert models["net"].passes == []
