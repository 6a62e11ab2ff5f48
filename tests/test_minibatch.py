"""Minibatch CKA of networks, beside CKA of their activations batch by batch."""

import numpy as np
import pytest
import torch
from made_runs import Maps, Tokens, pictures, prepared
from PIL import Image
from torch import nn

import pytorch_feature_analysis as pfa


class Backwards(nn.Module):
    """Its layers are defined in another order than they are called; the ReLU is in place."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.b = nn.Conv2d(4, 6, 3)
        self.act = nn.ReLU(inplace=True)
        self.a = nn.Conv2d(3, 4, 3)
        for weights in self.parameters():
            weights.data = torch.randn(weights.shape, generator=generator) / 4

    def forward(self, x):
        return self.b(self.act(self.a(x)))


class Vectors(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(3 * 8 * 8, 5)

    def forward(self, x):
        return self.fc(self.flatten(x))


def inputs(n=26, seed=0):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def cka(row):
    return pfa.to_similarity(row)["matrix"].item()


def offline(models, batches, layers):
    """CKA of each pair by `minibatch_cka`, of activations that are captured whole."""
    found = {
        (name, layer): [
            pfa.capture(model, batch, [layer])[layer].reshape(len(batch), -1) for batch in batches
        ]
        for name, model in models.items()
        for layer in layers[name]
    }
    return [
        [pfa.minibatch_cka(zip(a, b, strict=True)) for b in found.values()] for a in found.values()
    ]


def run(models, images, which_layers=None, **options):
    return pfa.get_minibatch_cka(models, images, which_layers, progress=False, **options)


MODELS = {"maps": Backwards, "vectors": Vectors}
LAYERS = {"maps": ["conv2", "relu1", "conv1"], "vectors": ["fc1", "original_rgb"]}


def test_it_is_the_pooled_cka_of_all_pairs_in_the_order_asked_for():
    models = {name: make() for name, make in MODELS.items()}
    layers = {"maps": ["relu1", "conv1"], "vectors": ["fc1", "original_rgb"]}
    batches = inputs().split([9, 10, 7])
    row = run(models, batches, layers)
    assert len(row) == 1
    keys = [(name, layer) for name in models for layer in layers[name]]
    assert list(row["entry_keys"][0]) == keys
    np.testing.assert_allclose(cka(row), offline(models, batches, layers), atol=1e-6)
    # What the in-place ReLU overwrites is not what the convolution put out.
    assert cka(row)[0, 1] < 0.999
    assert np.array_equal(row["matrix"][0], row["matrix"][0].T)
    assert not np.diag(row["matrix"][0]).any()


def test_hooks_are_gone_afterwards_and_modes_are_as_they_were():
    model = Backwards().train()
    run({"net": model}, inputs().split(9))
    with pytest.raises(ValueError, match="NaN or infinite"):
        run({"net": model}, [torch.full((8, 3, 8, 8), float("nan"))])
    assert all(len(module._forward_hooks) == 0 for module in model.modules())
    assert all(module.training for module in model.modules())


def test_one_batch_is_the_debiased_cka_and_the_order_of_batches_does_not_matter():
    models, x = {"net": Backwards()}, inputs()
    layers = {"net": ["conv1", "conv2"]}
    (whole,) = [cka(run(models, [x], layers))]
    a, b = (pfa.capture(models["net"], x, [name])[name].reshape(26, -1) for name in layers["net"])
    assert whole[0, 1] == pytest.approx(pfa.linear_cka(a, b, True), abs=1e-6)
    batches = list(x.split([9, 10, 7]))
    forth, back = (cka(run(models, order, layers)) for order in (batches, batches[::-1]))
    np.testing.assert_allclose(forth, back, atol=1e-9)
    assert abs(forth[0, 1] - cka(run(models, batches[2:], layers))[0, 1]) > 1e-4
    # The same batches again change nothing.
    twice = cka(run(models, batches, layers, epochs=2))
    np.testing.assert_allclose(twice, forth, atol=1e-9)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: (x, torch.zeros(len(x))),
        lambda x: [x, "labels"],
        lambda x: {"pixel_values": x, "labels": None},
        lambda x: {"image": x},
    ],
)
def test_loaders_may_yield_what_they_like(wrap):
    models, batches = {"net": Backwards()}, inputs().split(9)
    expected = cka(run(models, batches))
    np.testing.assert_array_equal(cka(run(models, [wrap(x) for x in batches])), expected)
    np.testing.assert_array_equal(cka(run(models, (wrap(x) for x in batches))), expected)


def test_a_data_loader_of_torch_serves():
    x = inputs()
    dataset = torch.utils.data.TensorDataset(x, torch.arange(26))
    loader = torch.utils.data.DataLoader(dataset, batch_size=9)
    models = {"net": Backwards()}
    np.testing.assert_array_equal(cka(run(models, loader)), cka(run(models, x.split(9))))


@pytest.mark.parametrize("sizes", [[9, 9, 6, 2], [2, 1, 7, 16], [24, 1, 1]])
def test_short_batches_are_merged(sizes):
    models, layers = {"net": Backwards()}, {"net": ["conv1", "conv2"]}
    batches = inputs().split(sizes)
    np.testing.assert_allclose(
        cka(run(models, batches, layers)), offline(models, batches, layers), atol=1e-6
    )


@pytest.mark.parametrize("batch_size", [4, 7, 64])
def test_images_go_through_each_models_own_preprocessing(batch_size):
    images = list(pictures(17).values())
    models = {**prepared(Maps(), "maps"), **prepared(Tokens(), "tokens")}
    row = run(models, images, batch_size=batch_size, epochs=2)
    assert row["dissim_metric"].item() == f"minibatch_cka(batch_size={batch_size}, epochs=2)"
    again = run(models, images, batch_size=batch_size, epochs=2)
    np.testing.assert_array_equal(row["matrix"].item(), again["matrix"].item())
    other = run(models, images, batch_size=batch_size, epochs=2, random_state=1)
    same = np.allclose(row["matrix"].item(), other["matrix"].item(), atol=1e-7)
    assert same == (batch_size == 64)
    if batch_size == 64:
        keys = row["entry_keys"].item()
        tables = {
            (name, layer): pfa.capture(models[name], images, [layer])[layer].reshape(17, -1)
            for name, layer in keys
        }
        expected = [[pfa.linear_cka(tables[a], tables[b], True) for b in keys] for a in keys]
        np.testing.assert_allclose(cka(row), expected, atol=1e-5)


def test_layers_that_hand_on_their_input_are_alike():
    row = run({"net": nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout(), nn.Flatten())}, [inputs()])
    keys = [layer for _, layer in row["entry_keys"].item()]
    places = [keys.index(name) for name in ("conv1", "dropout1")]
    assert row["matrix"].item()[tuple(places)] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("images", "options", "error", "match"),
    [
        ([Image.new("RGB", (9, 9))] * 3, {}, ValueError, "`images` holds 3 images"),
        ([], {}, ValueError, "`images` holds 0 images"),
        (iter([]), {}, ValueError, "without any batch"),
        ([inputs(3)], {}, ValueError, "3 stimuli in all"),
        (7, {}, TypeError, "`images` must be a list"),
        ([{"pictures": inputs()}], {}, TypeError, "'pictures'.*'pixel_values'"),
        ([inputs().to(torch.uint8)], {}, TypeError, "tensors of floats"),
        ([inputs()], {"batch_size": 3}, ValueError, "`batch_size` must be at least 4"),
        ([inputs()], {"epochs": 0}, ValueError, "`epochs` must be at least 1"),
        (iter([inputs()]), {"epochs": 2}, ValueError, "an iterator, which is gone"),
        ([inputs()], {"which_layers": ["conv9"]}, ValueError, "conv9"),
        ([inputs()], {"df_name": 3}, TypeError, "`df_name`"),
    ],
)
def test_bad_input_is_refused(images, options, error, match):
    models = prepared(Backwards())
    with pytest.raises(error, match=match):
        run(models, images, **options)


def test_types_of_activations_are_entries_of_their_own():
    net, x = Tokens(), inputs(20)
    models = prepared(net, "tokens")
    images = [Image.new("RGB", (8, 8), (9 * i, 7 * i % 31, 200 - 5 * i)) for i in range(20)]
    types = ["unit_level", "feature_means", "cls_token"]
    row = run(models, images, batch_size=32, activation_types=types, exclude_prefix_tokens=True)
    found = dict(zip(row["entry_keys"].item(), cka(row), strict=True))
    labels = row["entry_labels"].item()
    assert [tuple(label.values()) for label in labels] == list(found)
    frame = pfa.get_activations(
        [({}, {(i,): image for i, image in enumerate(images)}, ("image",), [])],
        models,
        activation_types=types,
        exclude_prefix_tokens=True,
        progress=False,
    )
    assert len(frame) == len(found)
    tables = {
        ("tokens", layer, kind): table.reshape(20, -1)
        for layer, kind, table in zip(
            frame["layer"], frame["activation_type"], frame["activations"], strict=True
        )
    }
    assert any(kind == "cls_token" for *_, kind in tables)
    expected = [[pfa.linear_cka(tables[a], tables[b], True) for b in found] for a in found]
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"'net'.*has none"):
        run({"net": Backwards()}, [x], activation_types=["cls_token"])


def test_a_layer_that_is_the_same_for_all_images_has_nan():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    nn.init.zeros_(net[0].weight)
    nn.init.constant_(net[0].bias, 0.1)
    row = run({"net": net}, inputs().split(13), ["conv1", "original_rgb"])
    assert np.isnan(cka(row)[0, 1])
    assert row["entry_keys"].item() == (("net", "conv1"), ("net", "original_rgb"))


def test_models_that_prepare_images_alike_read_them_once():
    read = []

    def transform(image):
        read.append(image)
        return torch.as_tensor(np.array(image), dtype=torch.float32).permute(2, 0, 1) / 255

    images = [Image.new("RGB", (8, 8), (9 * i, 0, 200 - 5 * i)) for i in range(12)]
    models = {**prepared(Maps(), "a", transform), **prepared(Backwards(), "b", transform)}
    run(models, images, batch_size=6)
    # Beside the first, of which each model is shown a copy before.
    assert len(read) == 12 + 2


def test_a_picture_goes_into_a_stack_file(tmp_path):
    row = run({"net": Backwards()}, inputs().split(9))
    pfa.write_rdms(row, tmp_path / "cka.parquet")
    back = pfa.read_rdms(tmp_path / "cka.parquet")
    np.testing.assert_array_equal(back["matrix"].item(), row["matrix"].item())
    assert back["entry_keys"].item() == row["entry_keys"].item()
