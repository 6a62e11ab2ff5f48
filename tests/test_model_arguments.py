import copy
import re

import numpy as np
import pytest
from torch import nn

from pytorch_feature_analysis.model_arguments import check_models, check_which_layers


def test_models_come_back_in_a_dict_of_their_own():
    models = {"a": nn.ReLU(), "b": nn.Flatten()}
    found = check_models(models)
    assert found == models
    assert found is not models


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([nn.ReLU()], "must be a dict from names to models"),
        ({}, "must be a dict from names to models"),
        ({"net": "alexnet"}, "model 'net' must be a torch.nn.Module, not 'alexnet'"),
    ],
)
def test_what_are_no_models_is_named(models, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        check_models(models)


@pytest.mark.parametrize(
    ("which_layers", "expected"),
    [
        (None, {"a": None, "b": None}),
        (["conv1", ("fc1", 3)], {"a": ["conv1", ("fc1", 3)], "b": ["conv1", ("fc1", 3)]}),
        ({"b": ("conv1",)}, {"a": None, "b": ["conv1"]}),
        (np.array(["conv1", "fc1"]), {"a": ["conv1", "fc1"], "b": ["conv1", "fc1"]}),
    ],
)
def test_layers_are_told_for_each_model(which_layers, expected):
    before = copy.deepcopy(which_layers)
    found = check_which_layers(which_layers, ["a", "b"])
    assert found == expected
    assert found["a"] is None or found["a"] is not found["b"]
    np.testing.assert_equal(which_layers, before)


@pytest.mark.parametrize(
    ("which_layers", "error", "message"),
    [
        ({"c": ["conv1"]}, ValueError, "`which_layers` names 'c', which is not a model"),
        ({"a": []}, ValueError, "`which_layers` names no layer for model 'a'"),
        ([], ValueError, "`which_layers` names no layer for model 'a'"),
        ("conv1", TypeError, "`which_layers` must be a list of layers, not 'conv1'"),
        ({"a": None}, TypeError, "`which_layers` must be a list of layers, not None"),
    ],
)
def test_bad_layers_are_named(which_layers, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_which_layers(which_layers, ["a", "b"])
