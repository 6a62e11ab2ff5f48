"""The networks of a table of models; stand-ins take the place of packages beyond torchvision."""

import configparser
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.table_models import EXTRAS


def to_tensor(image):
    return torch.from_numpy(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255)


class Clip(nn.Module):
    """A network with two parts, of which images run through one, as open_clip's are."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.Dropout())
        self.transformer = nn.Linear(4, 5)
        self.logit_scale = nn.Parameter(torch.ones([]))

    def forward(self, image=None, text=None):
        features = None if image is None else nn.functional.normalize(self.visual(image))
        return features, None if text is None else self.transformer(text), self.logit_scale.exp()


@pytest.fixture
def open_clip(monkeypatch):
    calls = []

    def create_model_and_transforms(model_name, pretrained=None):
        calls.append((model_name, pretrained))
        return Clip(), "the transform for training", to_tensor

    module = types.ModuleType("open_clip")
    module.create_model_and_transforms = create_model_and_transforms
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return calls


@pytest.fixture
def timm(monkeypatch):
    calls = []

    def create_model(model_name, pretrained=False):
        calls.append((model_name, pretrained))
        return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout())

    def create_transform(input_size, is_training=True):
        assert not is_training
        assert input_size == (3, 8, 8)
        return to_tensor

    module = types.ModuleType("timm")
    module.create_model = create_model
    module.data = types.SimpleNamespace(
        resolve_model_data_config=lambda model: {"input_size": (3, 8, 8)},
        create_transform=create_transform,
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return calls


def test_networks_of_torchvision_are_named_with_their_weights():
    table = {
        "a": {"source": "torchvision", "model_name": "vgg16"},
        "resnet50": {"source": "torchvision", "model_parameters": {"weights": "DEFAULT"}},
        "b": {"source": "TorchVision", "model_name": "resnet50", "weights": "IMAGENET1K_V1"},
        "c": {"model_name": "alexnet", "model_parameters": {"weights": None}},
        "cornet_s": {"weights": "random"},
    }
    assert pfa.table_models(table) == {
        "a": ("vgg16", "trained"),
        "resnet50": ("resnet50", "DEFAULT"),
        "b": ("resnet50", "IMAGENET1K_V1"),
        "c": ("alexnet", "random"),
        "cornet_s": ("cornet_s", "random"),
    }


def test_what_is_found_is_what_prepare_models_takes():
    table = pd.DataFrame({"model": ["one", "two"], "model_name": "squeezenet1_1"})
    models = pfa.prepare_models(pfa.table_models(table.assign(weights="random")))
    assert list(models) == ["one", "two"]
    assert type(models["two"]).__name__ == "SqueezeNet"


def test_networks_of_timm_come_with_the_transform_of_their_weights(timm):
    table = {
        "vit": {
            "source": "timm",
            "model_name": "vit_base_patch16_224.augreg_in21k",
            "model_parameters": {"extract_cls_token": True},
        },
        "seresnet50": {"source": "timm"},
    }
    state = torch.get_rng_state()
    found = pfa.table_models(table)
    assert torch.equal(torch.get_rng_state(), state)
    assert timm == [("vit_base_patch16_224.augreg_in21k", True), ("seresnet50", True)]
    module, transform = found["vit"]
    assert transform is to_tensor
    assert not any(part.training for part in module.modules())
    assert pfa.prepare_models(found)["vit"] is module


@pytest.mark.parametrize(
    ("fields", "call"),
    [
        (
            {
                "source": "custom",
                "model_name": "OpenCLIP",
                "model_parameters": {"variant": "RN50", "dataset": "openai"},
            },
            ("RN50", "openai"),
        ),
        (
            {"source": "open_clip", "model_name": "ViT-B-32", "weights": "laion2b_s34b_b79k"},
            ("ViT-B-32", "laion2b_s34b_b79k"),
        ),
        (
            {"source": "OpenCLIP", "model_parameters": {"variant": "hf-hub:organisation/name"}},
            ("hf-hub:organisation/name", None),
        ),
    ],
)
def test_networks_of_open_clip_come_with_the_transform_for_inference(open_clip, fields, call):
    state = torch.get_rng_state()
    module, transform = pfa.table_models({"clip": fields})["clip"]
    assert torch.equal(torch.get_rng_state(), state)
    assert open_clip == [call]
    assert transform is to_tensor
    assert not any(part.training for part in module.modules())


def test_the_part_of_a_network_that_sees_images_is_analysed(open_clip):
    fields = {"source": "open_clip", "weights": "openai", "module_name": "visual"}
    table = pfa.read_model_table({"RN50": fields})
    models = pfa.prepare_models(pfa.table_models(table))
    which_layers = {row.model: [row.module] for row in table.itertuples()}
    image = Image.fromarray(np.full((8, 8, 3), 100, dtype=np.uint8))
    captured = pfa.capture(models["RN50"], [image], which_layers["RN50"])
    expected = models["RN50"].visual(to_tensor(image)[None]).detach().numpy()
    (activations,) = captured.values()
    np.testing.assert_allclose(activations, expected, rtol=1e-5, atol=1e-6)


def test_networks_of_ones_own_stand_in_their_place():
    own = (nn.Linear(2, 2), to_tensor)
    table = {"a": {"source": "ssl"}, "b": {"model_name": "vgg16"}, "c": {"source": "timm"}}
    found = pfa.table_models(table, {"c": own, "a": own})
    assert list(found) == ["a", "b", "c"]
    assert found == {"a": own, "b": ("vgg16", "trained"), "c": own}


def test_networks_that_are_not_to_be_had_by_name_are_named_all_at_once(timm):
    table = {
        "dino": {"source": "ssl"},
        "seresnet50": {"source": "timm"},
        "align": {"source": "custom", "model_name": "Kakaobrain_Align"},
        "mine": {"size": 5},
    }
    match = (
        r"by name: 'dino' \(source 'ssl'\), 'align' \(source 'custom'\), 'mine' \(source ''\)\."
        r" Give them in `own_models`, .* known are: torchvision, timm, open_clip"
    )
    with pytest.raises(ValueError, match=match):
        pfa.table_models(table)
    assert not timm  # nothing was built before


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, extra):
    monkeypatch.setitem(sys.modules, extra, None)
    fields = {"source": extra, "model_name": "hf-hub:organisation/name"}
    table = {"a": fields, "vgg16": {}, "b": fields}
    match = rf"models of {extra} \(a, b\), .*: pip install 'pytorch_feature_analysis\[{extra}\]'"
    with pytest.raises(ImportError, match=match):
        pfa.table_models(table)
    assert list(pfa.table_models({"vgg16": {}})) == ["vgg16"]


def test_every_extra_that_is_named_is_declared():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    for extra in EXTRAS:
        assert extra in config["options.extras_require"][extra]


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"source": "torchvision", "model_name": "resnet51"}, ValueError, "you mean 'resnet50'"),
        ({"model_name": "vgg16", "weights": "V1"}, ValueError, "`table` names 'V1'"),
        (
            {"model_name": "vgg16", "parameters": "DEFAULT"},
            TypeError,
            "parameters of model 'a'",
        ),
        ({"source": "timm", "weights": "random"}, ValueError, "model 'a' the weights 'random', "),
        ({"source": "open_clip"}, ValueError, "which weights of open_clip model 'a' has"),
    ],
)
def test_what_names_no_network_is_refused(timm, open_clip, fields, error, match):
    with pytest.raises(error, match=match):
        pfa.table_models({"seresnet50": {"source": "timm"}, "a": fields})
    assert not timm  # nothing was built before
    assert not open_clip


def test_networks_of_ones_own_must_be_those_of_models_of_the_table():
    with pytest.raises(ValueError, match=r"`own_models` names 'dina', .* Did you mean 'dino'"):
        pfa.table_models({"dino": {}}, {"dina": nn.Identity()})
    with pytest.raises(TypeError, match="`own_models` must be a dict"):
        pfa.table_models({"dino": {}}, [nn.Identity()])
