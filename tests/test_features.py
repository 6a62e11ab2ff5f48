"""The feature store: datasets of every kind, what is not done twice, and what is refused."""

import gc
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import webdataset
from made_runs import Maps, Tokens, pictures, prepared
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import features

N = 11


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())


def tensors(n=N, seed=0):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def extract(models, datasets, folder, module="conv1", **options):
    return pfa.extract_features(models, datasets, folder, module, progress=False, **options)


def unit(table):
    return table / np.linalg.norm(table, axis=1, keepdims=True)


@pytest.fixture
def folder_of_classes(tmp_path):
    for k, image in enumerate(pictures(N).values()):
        place = tmp_path / "pictures" / ("cat" if k % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"p{k:02d}.png")
    return tmp_path / "pictures"


class Pairs(Dataset):
    def __init__(self, n=N):
        self.images = list(pictures(n).values())

    def __len__(self):
        return len(self.images)

    def __getitem__(self, k):
        return self.images[k], k % 3


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(pictures(N).values(), range(N), strict=True)


def test_features_are_those_of_the_layer_at_unit_length(tmp_path):
    model, x = net(), tensors()
    made = extract({"net": model}, {"noise": TensorDataset(x, torch.arange(N))}, tmp_path)
    assert made["made"].tolist() == [True]
    df = pfa.read_features(tmp_path)
    assert df[["dataset", "model", "split"]].to_numpy().tolist() == [["noise", "net", "all"]]
    # What the in-place ReLU would have overwritten.
    expected = model[0](x).detach().numpy().reshape(N, -1)
    assert expected.min() < 0
    np.testing.assert_allclose(df["activations"][0], unit(expected), atol=1e-6)
    assert df["activations"][0].dtype == np.float32
    assert isinstance(df["activations"][0], np.memmap)
    assert df["entry_keys"][0] == tuple((k,) for k in range(N))
    assert df["entry_labels"][0][2] == {"index": 2}
    assert df["targets"][0] == tuple(range(N))
    raw = extract({"net": model}, {"raw": TensorDataset(x)}, tmp_path, normalize=False)
    assert raw["n_units"].item() == expected.shape[1]
    df = pfa.read_features(tmp_path, datasets=["raw"])
    np.testing.assert_allclose(df["activations"][0], expected, atol=1e-5)
    assert df["targets"][0] is None
    # NumPy reads it as any other archive.
    with np.load(raw["path"].item()) as archive:
        assert json.loads(str(archive["settings"]))["module"] == "conv1"
        np.testing.assert_array_equal(archive["features"], df["activations"][0])


@pytest.mark.parametrize("pooling", ["flatten", "mean", "cls"])
def test_pooling_is_that_of_activations(tmp_path, pooling):
    models = prepared(Tokens(), "tokens")
    images = pictures(7)
    layer = pfa.list_layers(models["tokens"]).query("layout == 'tokens'")["layer"].iloc[0]
    kind = {"flatten": "unit_level", "mean": "feature_means", "cls": "cls_token"}[pooling]
    expected = pfa.get_activations(
        [({}, images, ("image",), [])],
        models,
        [layer],
        activation_types=[kind],
        exclude_prefix_tokens=True,
        progress=False,
    )["activations"][0]
    extract(
        models,
        {"p": list(images.values())},
        tmp_path,
        layer,
        pooling=pooling,
        exclude_prefix_tokens=True,
        normalize=False,
    )
    found = pfa.read_features(tmp_path)["activations"][0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_kind_of_dataset_gives_the_same(tmp_path, folder_of_classes):
    models = prepared(Maps())
    images = list(pictures(N).values())
    table = pfa.read_image_folder(folder_of_classes, "{target}/{name}.png")
    table = table.sort_values("name")
    x = torch.stack([models["net"].preprocessing(image) for image in images])
    labels = torch.arange(N) % 3
    datasets = {
        "table": table,
        "paths": table["path"].tolist(),
        "pairs": Pairs(),
        "stream": Stream(),
        "images": images,
        "tensors": TensorDataset(x, labels),
        "loader": DataLoader(TensorDataset(x, labels), batch_size=4),
        "batches": [(x[:3], labels[:3]), (x[3:], labels[3:])],
        "folder": folder_of_classes,
    }
    files = extract(models, datasets, tmp_path / "store", batch_size=4)
    assert (files["n_stimuli"] == N).all()
    df = pfa.read_features(tmp_path / "store").set_index("dataset")
    for name in list(datasets)[:-1]:
        np.testing.assert_allclose(
            df["activations"][name], df["activations"]["pairs"], atol=1e-5, err_msg=name
        )
    assert df["entry_keys"]["table"][3] == ("p03",)
    assert df["entry_labels"]["table"][3] == {"name": "p03"}
    assert df["targets"]["table"][:3] == ("dog", "cat", "dog")
    assert df["targets"]["pairs"] == df["targets"]["loader"] == tuple(k % 3 for k in range(N))
    assert df["targets"]["batches"] == df["targets"]["tensors"] == df["targets"]["pairs"]
    assert df["targets"]["images"] is df["targets"]["paths"] is None
    assert df["entry_keys"]["paths"][0] == (table["path"].iloc[0],)
    assert df["entry_keys"]["folder"][0] == ("cat/p01.png",)
    assert df["targets"]["folder"] == ("cat",) * 5 + ("dog",) * 6
    np.testing.assert_allclose(
        df["activations"]["folder"][0], df["activations"]["pairs"][1], atol=1e-5
    )


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch, caplog):
    x = TensorDataset(tensors(), torch.arange(N))
    models = {"a": net()}
    extract(models, {"noise": x}, tmp_path)
    before = pfa.read_features(tmp_path)
    passes = []
    run = features.stream_outputs
    monkeypatch.setattr(
        features, "stream_outputs", lambda *parts, **more: passes.append(1) or run(*parts, **more)
    )
    again = extract(models, {"noise": x}, tmp_path)
    assert again["made"].tolist() == [False]
    assert again["n_units"].tolist() == [144]
    assert not passes
    more = extract({**models, "b": net()}, {"noise": x}, tmp_path)
    assert more["made"].tolist() == [False, True]
    assert len(passes) == 1
    # Others than those it was made with: made anew, and the old one kept.
    other = net()
    nn.init.ones_(other[0].bias)
    with caplog.at_level(logging.WARNING):
        changed = extract({"a": other}, {"noise": x}, tmp_path)
    assert changed["made"].item()
    assert "another weights" in caplog.text
    assert len(list((tmp_path / "noise" / "a").iterdir())) == 2
    after = pfa.read_features(tmp_path, models=["a"])
    assert not np.allclose(before["activations"][0], after["activations"][0])
    fewer = TensorDataset(tensors(9), torch.arange(9))
    with caplog.at_level(logging.WARNING):
        assert extract({"a": other}, {"noise": fewer}, tmp_path)["made"].item()
    assert "another number of stimuli" in caplog.text
    # The other model's file is still of more.
    assert len(pfa.read_features(tmp_path, models=["b"])["activations"][0]) == N


def test_damaged_files_are_made_anew_and_it_is_said(tmp_path, caplog):
    x = TensorDataset(tensors())
    path = extract({"a": net()}, {"noise": x}, tmp_path)["path"].item()
    whole = pfa.read_features(tmp_path)["activations"][0].copy()
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a whole file of features"):
        pfa.read_features(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert extract({"a": net()}, {"noise": x}, tmp_path)["made"].item()
    assert "made anew" in caplog.text
    assert Path(path).with_name("all.superseded.npz").read_bytes() == content[: len(content) // 2]
    np.testing.assert_array_equal(pfa.read_features(tmp_path)["activations"][0], whole)


def test_a_pass_that_fails_leaves_no_file_and_what_was_made(tmp_path):
    bad = net()
    nn.init.constant_(bad[0].bias, float("nan"))
    x = {"noise": TensorDataset(tensors())}
    with pytest.raises(ValueError, match="'conv1' of model 'bad' puts out NaN"):
        extract({"good": net(), "bad": bad}, x, tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")] == ["noise/good/all.npz"]
    assert extract({"good": net()}, x, tmp_path)["made"].tolist() == [False]


def test_loaders_that_shuffle_are_found_out(tmp_path):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(tensors(), torch.arange(N)), batch_size=4, shuffle=True)
    with pytest.raises(ValueError, match=r"other targets for 'b' than for 'a' .*must not shuffle"):
        extract({"a": net(), "b": net()}, {"noise": loader}, tmp_path)


@pytest.mark.parametrize("num_cores", [1, 2])
def test_splits_and_models_have_files_of_their_own(tmp_path, num_cores):
    x = tensors()
    splits = {"train": TensorDataset(x[:7]), "test": TensorDataset(x[7:])}
    models = {"a": net(), "b": net()}
    files = extract(models, {"wds/noise": splits}, tmp_path, num_cores=num_cores)
    assert files["split"].tolist() == ["train", "train", "test", "test"]
    assert (tmp_path / "wds_noise" / "a" / "train.npz").exists()
    df = pfa.read_features(tmp_path, splits=["test"], models=["b"])
    assert df[["dataset", "model", "split"]].to_numpy().tolist() == [["wds/noise", "b", "test"]]
    assert df["activations"][0].shape == (4, 144)
    with pytest.raises(ValueError, match="`splits` names 'val'"):
        pfa.read_features(tmp_path, splits=["val"])
    with pytest.raises(ValueError, match="`models` names 'c'"):
        pfa.read_features(tmp_path, models=["c"])


def test_subsets_are_taken_by_name(tmp_path):
    x, targets = tensors(), torch.arange(N)
    extract({"a": net(), "b": net()}, {"noise": TensorDataset(x, targets)}, tmp_path)
    whole = pfa.read_features(tmp_path)
    some = pfa.read_features(tmp_path, subsets={"noise": [1, 4, 5, 9]})
    np.testing.assert_array_equal(some["activations"][1], whole["activations"][1][[1, 4, 5, 9]])
    assert some["entry_keys"][0] == ((1,), (4,), (5,), (9,))
    assert some["targets"][0] == (1, 4, 5, 9)
    pfa.save_subset(tmp_path / "some.json", [1, 4, 5, 9], n_stimuli=N)
    by_file = pfa.read_features(tmp_path, subsets={("noise", "all"): tmp_path / "some.json"})
    assert by_file["entry_keys"][0] == some["entry_keys"][0]
    # Models share what is the same.
    assert some["entry_keys"][0] is some["entry_keys"][1]
    for wrong, error, match in (
        ([0, 11], ValueError, "`subsets` of 'noise' holds the position 11; .* 0 to 10"),
        ([0, -1], ValueError, "holds the position -1"),
        ([2, 2], ValueError, "more than once"),
        ([0.5], TypeError, "whole numbers"),
    ):
        with pytest.raises(error, match=match):
            pfa.read_features(tmp_path, subsets={"noise": wrong})
    with pytest.raises(ValueError, match="`subsets` names 'nois'"):
        pfa.read_features(tmp_path, subsets={"nois": [0]})


def test_workers_in_other_folders_find_what_was_named_from_here(
    folder_of_classes, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    relative = folder_of_classes.relative_to(tmp_path)
    (source,) = features.check_sources({"pets": relative})
    assert all(one.image.is_absolute() for one in source.stimuli())
    made = extract(prepared(Maps()), {"pets": relative}, "store")
    path = Path(made["path"].item())
    assert path.is_absolute()
    assert path.is_relative_to(tmp_path / "store" / "pets")


# webdataset leaves a shard open that it was not read to the end of, as the first stimulus is.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_of_webdataset_are_read_by_its_own_pipeline(tmp_path):
    shards = str(tmp_path / "shard-%03d.tar")
    with webdataset.ShardWriter(shards, maxcount=4, verbose=0) as writer:
        for k in range(10):
            image = Image.fromarray(np.full((20, 20, 3), 20 * k, np.uint8))
            writer.write({"__key__": f"{k:03d}", "png": image, "cls": k % 2})
    pipeline = webdataset.WebDataset(
        str(tmp_path / "shard-{000..002}.tar"), shardshuffle=False, empty_check=False
    )
    pipeline = pipeline.decode("pil").to_tuple("png", "cls")
    network = nn.Sequential(nn.AvgPool2d(32), nn.Flatten())
    models = pfa.prepare_models({"mean": (network, pfa.standard_transform)})
    store = tmp_path / "store"
    extract(models, {"grey": pipeline}, store, "avgpool1", normalize=False)
    df = pfa.read_features(store)
    assert df["targets"][0] == (0, 1) * 5
    level = df["activations"][0][:, 0]
    # 20 levels of 255 a step, in the unit of the transform.
    np.testing.assert_allclose(np.diff(level), 20 / 255 / 0.229, rtol=1e-3)
    assert not extract(models, {"grey": pipeline}, store, "avgpool1", normalize=False)[
        "made"
    ].any()
    gc.collect()


def test_names_with_slashes_are_found_by_their_names(tmp_path):
    x = {"made/noise": TensorDataset(tensors())}
    made = extract({"hub/net": net()}, x, tmp_path)
    assert Path(made["path"].item()).relative_to(tmp_path).parts[:2] == ("made_noise", "hub_net")
    df = pfa.read_features(
        tmp_path, datasets=["made/noise"], models=["hub/net"], subsets={"made/noise": [3, 0]}
    )
    assert df[["dataset", "model"]].to_numpy().tolist() == [["made/noise", "hub/net"]]
    assert df["entry_keys"][0] == ((0,), (3,))
    with pytest.raises(ValueError, match=r"'hub/net', and .* 'hub_net' would be the same file"):
        extract({"hub/net": net(), "hub_net": net()}, x, tmp_path)


def test_it_is_a_frame_of_activations(tmp_path):
    models = {"a": net(), "b": nn.Sequential(nn.Flatten(), nn.Linear(192, 6))}
    x = {name: TensorDataset(tensors(30, seed)) for seed, name in enumerate(("one", "two"))}
    extract(models, x, tmp_path, {"a": "conv1", "b": "fc1"})
    df = pfa.read_features(tmp_path)
    stack = pfa.get_similarity_rdms(
        df, [("linear_cka", {"debiased": True})], ["model"], ["dataset"], progress=False
    )
    assert stack["dataset"].tolist() == ["one", "two"]
    expected = pfa.linear_cka(df["activations"][0], df["activations"][1], debiased=True)
    assert 1 - stack["matrix"][0][0, 1] == pytest.approx(expected)


def test_a_store_of_torch_files_is_read(tmp_path):
    for model in ("m1", "m2"):
        place = tmp_path / "wds_flowers" / model
        place.mkdir(parents=True)
        torch.save(torch.arange(12.0).reshape(4, 3), place / "features_test.pt")
        torch.save(torch.tensor([0, 1, 1, 0]), place / "targets_test.pt")
    df = pfa.read_features(tmp_path)
    assert df[["dataset", "model", "split"]].iloc[1].tolist() == ["wds_flowers", "m2", "test"]
    np.testing.assert_array_equal(df["activations"][0], np.arange(12.0).reshape(4, 3))
    assert df["targets"][0] == (0, 1, 1, 0)
    torch.save(torch.tensor([0]), tmp_path / "wds_flowers" / "m1" / "targets_test.pt")
    with pytest.raises(ValueError, match="features of 4 stimuli, and 1 targets"):
        pfa.read_features(tmp_path)

    class Runs:
        def __reduce__(self):
            return (print, ("run",))

    torch.save(Runs(), tmp_path / "wds_flowers" / "m1" / "features_test.pt")
    with pytest.raises(ValueError, match="could run code; it is refused"):
        pfa.read_features(tmp_path)


def test_bad_input_is_refused_before_any_network_runs(tmp_path, folder_of_classes):
    models, good = prepared(Maps()), TensorDataset(tensors())
    broken = folder_of_classes / "cat" / "broken.png"
    broken.write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    table = pd.DataFrame({"path": [str(broken)] * 2, "name": ["a", "a"]})
    cases = [
        ({"models_dict": {}}, TypeError, "models_dict"),
        ({"datasets": [good]}, TypeError, "`datasets` must be a dict"),
        ({"datasets": {"x": {}}}, ValueError, "'x' has no splits"),
        ({"datasets": {3: good}}, TypeError, "name of a dataset"),
        ({"datasets": {"x": 3}}, TypeError, r"`datasets\['x'\]` must be a folder"),
        ({"datasets": {"x": iter([1])}}, TypeError, "an iterator, which is gone"),
        ({"datasets": {"x": []}}, ValueError, "holds no stimuli"),
        ({"datasets": {"x": [3]}}, TypeError, "must yield images"),
        ({"datasets": {"x": tmp_path / "nowhere"}}, FileNotFoundError, "no folder"),
        ({"datasets": {"x": tmp_path / "empty"}}, ValueError, "no folders of pictures"),
        ({"datasets": {"x": folder_of_classes}}, ValueError, r"broken\.png"),
        ({"datasets": {"x": table}}, ValueError, r"\('a',\) more than once"),
        ({"module": "conv9"}, ValueError, "conv9"),
        ({"module": {"other": "conv1"}}, ValueError, "no layer of the models net"),
        ({"pooling": "max"}, ValueError, "flatten"),
        ({"pooling": "cls"}, ValueError, "has none"),
        ({"batch_size": 0}, ValueError, "`batch_size`"),
    ]
    for wrong, error, match in cases:
        arguments = {"models_dict": models, "datasets": {"x": good}, "module": "conv1", **wrong}
        with pytest.raises(error, match=match):
            pfa.extract_features(**arguments, out_folder=tmp_path / "s", progress=False)
    assert not list((tmp_path / "s").rglob("*.npz")) if (tmp_path / "s").exists() else True
    with pytest.raises(FileNotFoundError, match="no folder"):
        pfa.read_features(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no features"):
        pfa.read_features(tmp_path / "empty")


def test_a_network_for_pictures_alone_says_what_it_lacks(tmp_path):
    images = [Image.new("RGB", (8, 8))] * 3
    with pytest.raises(ValueError, match="carries no `preprocessing`"):
        extract({"net": net()}, {"x": images}, tmp_path)
