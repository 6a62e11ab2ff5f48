"""From an image to a network's input."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models, transforms

from pytorch_feature_analysis.preprocessing import (
    callable_preprocessing,
    preset_preprocessing,
    whole_preprocessing,
)

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 410, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_that_of_weights_is_their_own_transform(image):
    for weights in (
        models.AlexNet_Weights.IMAGENET1K_V1,
        models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
        models.Inception_V3_Weights.IMAGENET1K_V1,
    ):
        found = preset_preprocessing(weights.transforms())(image)
        assert torch.equal(found, weights.transforms()(image))


def test_the_whole_image_is_that_of_the_guide(image):
    # Oracle: the guide's transform in torchvision's own classes.
    expected = transforms.Compose(
        [transforms.Resize(224), transforms.ToTensor(), transforms.Normalize(**IMAGENET)]
    )(image)
    found = whole_preprocessing(models.AlexNet_Weights.DEFAULT.transforms())(image)
    assert found.shape == (3, 224, 306)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_the_whole_image_keeps_the_interpolation_and_scaling_of_the_weights(image):
    preset = models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms()
    expected = transforms.Compose(
        [
            transforms.Resize(384, transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(**IMAGENET),
        ]
    )(image)
    assert torch.equal(whole_preprocessing(preset)(image), expected)


def test_an_image_that_is_cut_loses_its_border_and_a_whole_one_does_not():
    bordered = Image.new("RGB", (256, 256), "white")
    bordered.paste((0, 0, 0), (16, 16, 240, 240))
    preset = models.AlexNet_Weights.DEFAULT.transforms()
    assert len(preset_preprocessing(preset)(bordered)[0].unique()) == 1
    assert len(whole_preprocessing(preset)(bordered)[0].unique()) > 1


def test_what_is_cut_is_said_in_numbers():
    cut = {
        name: preset_preprocessing(models.get_model_weights(name).DEFAULT.transforms()).cut
        for name in ("alexnet", "resnet50", "efficientnet_b2")
    }
    assert "keeps the central 224 of 256 " in cut["alexnet"]
    assert "cuts 12.5 % of each side length" in cut["alexnet"]
    assert "keeps the central 224 of 232 " in cut["resnet50"]
    assert "cuts 3.4 % of each side" in cut["resnet50"]
    assert "cuts nothing of a square image" in cut["efficientnet_b2"]


def test_the_description_names_every_setting():
    preset = models.Inception_V3_Weights.DEFAULT.transforms()
    scaling = "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    assert preset_preprocessing(preset).description == (
        f"resize 342 (bilinear, antialias), centre crop 299, {scaling}"
    )
    assert whole_preprocessing(preset).description == (
        f"resize 299 (bilinear, antialias), no crop, {scaling}"
    )


def test_a_callable_is_used_as_it_is_and_described_without_addresses(image):
    def to_tensor(picture):
        return transforms.functional.to_tensor(picture)

    made = callable_preprocessing(to_tensor)
    assert made.transform is to_tensor
    assert torch.equal(made(image), transforms.ToTensor()(image))
    assert "to_tensor #" in made.description
    again = callable_preprocessing(transforms.Compose([transforms.Resize(8), to_tensor]))
    other = callable_preprocessing(transforms.Compose([transforms.Resize(9), to_tensor]))
    assert "0x" not in again.description
    assert again.description != other.description


def test_the_transform_of_weights_is_recognised_and_a_finished_one_kept():
    preset = models.AlexNet_Weights.DEFAULT.transforms()
    made = callable_preprocessing(preset)
    assert made.description == preset_preprocessing(preset).description
    assert callable_preprocessing(made) is made


def test_it_can_be_sent_to_another_process(image):
    for make in (preset_preprocessing, whole_preprocessing):
        made = make(models.AlexNet_Weights.DEFAULT.transforms())
        sent = pickle.loads(pickle.dumps(made))
        assert torch.equal(sent(image), made(image))
        assert sent.description == made.description
