"""Image sets, packaged from image tables and checked."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.image_sets import Combination, ImageSet, check_image_sets


def mean_of(patterns):
    return sum(patterns) / len(patterns)


@pytest.fixture
def images():
    return [
        {"path": f"{obj}_{color}_{view}.png", "obj": obj, "color": color, "view": view}
        for obj in ("cup", "pen")
        for color in ("red", "blue")
        for view in (1, 2)
    ]


@pytest.fixture
def image_set():
    return (
        {"obj": "cup"},
        {("red", 1): "r1.png", ("red", 2): "r2.png", ("blue", 1): Image.new("L", (2, 2))},
        ("color", "view"),
        [(("mean", 1), [("red", 1), ("blue", 1)], mean_of, {}, False)],
    )


def test_image_sets_are_the_guides_tuples(images):
    assert pfa.package_image_sets(images, ["color", "view"], ["obj"]) == [
        (
            {"obj": obj},
            {
                ("red", 1): f"{obj}_red_1.png",
                ("red", 2): f"{obj}_red_2.png",
                ("blue", 1): f"{obj}_blue_1.png",
                ("blue", 2): f"{obj}_blue_2.png",
            },
            ("color", "view"),
            [],
        )
        for obj in ("cup", "pen")
    ]


def test_a_table_gives_the_same_sets_as_its_list_of_dicts(images):
    table = pd.DataFrame(images, index=[5] * len(images))
    sets = pfa.package_image_sets(table, ["color", "view"], ["obj"])
    assert sets == pfa.package_image_sets(images, ["color", "view"], ["obj"])
    assert type(next(iter(sets[0][1]))[1]) is int


def test_the_order_of_a_dicts_own_keys_does_not_matter(images):
    shuffled = [
        {name: image[name] for name in order}
        for image, order in zip(
            images,
            [["view", "path", "obj", "color"], ["color", "view", "obj", "path"]] * 4,
            strict=True,
        )
    ]
    arguments = (["color", "view"], ["obj"])
    sets = pfa.package_image_sets(shuffled, *arguments)
    assert sets == pfa.package_image_sets(images, *arguments)
    assert len(sets) == 2
    # The order of the variables that are asked for does.
    turned = pfa.package_image_sets(images, ["view", "color"], ["obj"])
    assert list(turned[0][1])[:2] == [(1, "red"), (2, "red")]
    assert turned[0][2] == ("view", "color")


def test_entry_keys_follow_entry_vars_not_the_dict():
    images = [{"b": 4, "a": 3, "path": "x.png", "g": 0}, {"a": 5, "g": 0, "path": "y.png", "b": 6}]
    [(labels, entries, types, combos)] = pfa.package_image_sets(images, ["a", "b"], ["g"])
    assert entries == {(3, 4): "x.png", (5, 6): "y.png"}
    assert (labels, types, combos) == ({"g": 0}, ("a", "b"), [])


def test_sets_and_entries_come_in_order_of_first_appearance(images):
    order = [7, 0, 5, 3, 6, 1, 4, 2]
    sets = pfa.package_image_sets([images[i] for i in order], ["obj", "color"], ["view"])
    assert [labels["view"] for labels, *_ in sets] == [2, 1]
    assert list(sets[0][1]) == [
        ("pen", "blue"),
        ("pen", "red"),
        ("cup", "blue"),
        ("cup", "red"),
    ]


def test_no_grouping_variable_makes_one_set_without_labels(images):
    [(labels, entries, *_)] = pfa.package_image_sets(images, ["obj", "color", "view"], [])
    assert labels == {}
    assert len(entries) == 8


def test_paths_may_be_paths_or_pictures():
    picture = Image.new("L", (1, 1))
    images = [{"path": Path("x.png"), "a": 1}, {"path": picture, "a": 2}]
    [(_, entries, *_)] = pfa.package_image_sets(images, ["a"], [])
    assert entries[(1,)] == Path("x.png")
    assert entries[(2,)] is picture


def test_packaging_leaves_its_input_alone(images):
    table = pd.DataFrame(images)
    before, entry_vars, grouping_vars = copy.deepcopy(images), ["color", "view"], ["obj"]
    first = pfa.package_image_sets(images, entry_vars, grouping_vars)
    pfa.package_image_sets(table, entry_vars, grouping_vars)
    first[0][0]["obj"] = "changed"
    assert images == before
    assert (entry_vars, grouping_vars) == (["color", "view"], ["obj"])
    pd.testing.assert_frame_equal(table, pd.DataFrame(before))


def test_a_duplicate_entry_key_names_both_images(images):
    with pytest.raises(ValueError, match=r"two images with the entry key \('red',\)") as caught:
        pfa.package_image_sets(images, ["color"], ["obj"])
    message = str(caught.value)
    assert "cup_red_1.png and cup_red_2.png" in message
    assert "{'obj': 'cup'}" in message


def test_a_variable_that_one_image_lacks_is_named_with_the_image(images):
    del images[3]["color"]
    with pytest.raises(ValueError, match="`entry_vars` names 'color', which the image") as caught:
        pfa.package_image_sets(images, ["color", "view"], ["obj"])
    assert "cup_blue_2.png (`image_list[3]`) lacks. It has: path, obj, view" in str(caught.value)
    with pytest.raises(ValueError, match="`image_list` has no column 'size'"):
        pfa.package_image_sets(pd.DataFrame(images), ["color", "size"], ["obj"])


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
@pytest.mark.parametrize("variable", ["color", "obj"])
def test_a_missing_value_is_an_error_that_names_the_image(images, missing, variable):
    images[2][variable] = missing
    for given in (images, pd.DataFrame(images)):
        with pytest.raises(ValueError, match=rf"cup_blue_1\.png\): '{variable}' has a missing"):
            pfa.package_image_sets(given, ["color", "view"], ["obj"])


@pytest.mark.parametrize(
    ("entry_vars", "grouping_vars", "error", "match"),
    [
        ("color", ["obj"], TypeError, "`entry_vars` must be a list of variable names"),
        (["color"], "obj", TypeError, "`grouping_vars` must be a list of variable names"),
        ([], ["obj"], ValueError, "`entry_vars` must name at least one"),
        (["color"], ["color"], ValueError, "`entry_vars` and `grouping_vars` both name 'color'"),
        (["color", "color"], ["obj"], ValueError, "`entry_vars` names a variable twice"),
        (["path"], ["obj"], ValueError, "`entry_vars` names 'path'"),
        ([1], ["obj"], TypeError, "`entry_vars` must hold names, not 1"),
    ],
)
def test_bad_variables_are_named(images, entry_vars, grouping_vars, error, match):
    with pytest.raises(error, match=match):
        pfa.package_image_sets(images, entry_vars, grouping_vars)


@pytest.mark.parametrize(
    ("image_list", "error", "match"),
    [
        ([], ValueError, "`image_list` must hold at least one image"),
        ("images", TypeError, "`image_list` must be an image table"),
        ({"path": "x.png", "a": 1}, TypeError, "`image_list` must be an image table"),
        (5, TypeError, "`image_list` must be an image table"),
        ([("x.png", 1)], TypeError, r"`image_list\[0\]` must be a dict"),
        ([{"a": 1}], ValueError, r"`image_list\[0\]` must have a 'path' .* not None"),
        ([{"a": 1, "path": float("nan")}], ValueError, r"`image_list\[0\]` must have a 'path'"),
        ([{"a": [1], "path": "x.png"}], TypeError, r"x\.png\): 'a' has the value \[1\]"),
    ],
)
def test_a_bad_image_list_is_an_error(image_list, error, match):
    with pytest.raises(error, match=match):
        pfa.package_image_sets(image_list, ["a"], [])


def test_a_checked_set_lists_its_entries_with_combinations_last(image_set):
    [checked] = check_image_sets([image_set])
    assert isinstance(checked, ImageSet)
    assert checked.entry_keys == (("red", 1), ("red", 2), ("blue", 1), ("mean", 1))
    assert checked.entry_labels[2:] == (
        {"color": "blue", "view": 1},
        {"color": "mean", "view": 1},
    )
    assert checked.images[("red", 1)] == "r1.png"
    assert checked.images[("blue", 1)] is image_set[1][("blue", 1)]
    assert checked.combos == [
        Combination(("mean", 1), [("red", 1), ("blue", 1)], mean_of, {}, False)
    ]
    assert check_image_sets([checked]) == [checked]


def test_checking_copies_what_it_returns(image_set):
    labels, images, types, combos = image_set
    before = (dict(labels), dict(images), types, list(combos))
    kwargs = combos[0][3]
    [checked] = check_image_sets((image_set,))
    checked.combos[0].kwargs["new"] = 1
    checked.combos[0].keys.clear()
    assert (kwargs, len(combos[0][1])) == ({}, 2)
    checked.labels["new"] = 1
    checked.images.clear()
    checked.combos.clear()
    assert (labels, images, types, combos) == before


def test_packaged_sets_pass_the_check(images):
    sets = pfa.package_image_sets(images, ["color"], ["obj", "view"])
    checked = check_image_sets(sets)
    assert [image_set.labels for image_set in checked] == [labels for labels, *_ in sets]
    assert checked[0].combos == []


def test_numpy_scalars_become_plain_values():
    [checked] = check_image_sets(
        [({"n": np.int64(3)}, {(np.str_("a"), np.float64(0.5)): "x.png"}, ("s", "f"), [])]
    )
    assert checked.labels == {"n": 3}
    assert [type(value) for value in (checked.labels["n"], *checked.entry_keys[0])] == [
        int,
        str,
        float,
    ]


def test_a_list_of_pairs_serves_as_images_and_may_not_repeat_a_key():
    pairs = [(("a",), "x.png"), (("b",), "y.png")]
    [checked] = check_image_sets([({}, pairs, ("s",))])
    assert checked.images == dict(pairs)
    with pytest.raises(ValueError, match=r"the entry key \('a',\) twice, for x.png and z\.png"):
        check_image_sets([({}, [*pairs, (("a",), "z.png")], ("s",), [])])


def with_part(image_set, position, value):
    return tuple(value if i == position else part for i, part in enumerate(image_set))


@pytest.mark.parametrize(
    ("position", "value", "error", "match"),
    [
        (0, ["cup"], TypeError, "the labels must be a dict"),
        (0, {1: "cup"}, TypeError, "the labels' names must be strings, not 1"),
        (0, {"obj": None}, ValueError, "the label 'obj' has a missing value"),
        (0, {"obj": ["cup"]}, TypeError, "the label 'obj' has the value"),
        (0, {"model": "cup"}, ValueError, "'model' cannot be the name of a label"),
        (1, {}, ValueError, "has no images"),
        (1, "x.png", TypeError, "the images must be a dict"),
        (1, ["x.png"], TypeError, "the images must be a dict"),
        (1, {"red": "x.png"}, TypeError, "the entry key must be a tuple"),
        (1, {("red",): "x.png"}, ValueError, r"\('red',\) has 1 values, but the entry types"),
        (1, {("red", None): "x.png"}, ValueError, r"the entry key \('red', None\) has a missing"),
        (1, {("red", 1): None}, TypeError, r"entry \('red', 1\) must be a path or a PIL image"),
        (1, {("red", 1): ""}, TypeError, "must be a path or a PIL image, not ''"),
        (2, "color", TypeError, r"write \('color',\) for one"),
        (2, 5, TypeError, "the entry types must be a tuple of names"),
        (2, ("color", 1), TypeError, "the entry types must be a tuple of names"),
        (2, (), ValueError, "the entry types must be one or more different names"),
        (2, ("color", "color"), ValueError, "the entry types must be one or more different"),
        (3, "mean", TypeError, "the combinations must be a list"),
        (3, [("mean", 1)], TypeError, "a combination must be a tuple"),
    ],
)
def test_a_bad_part_of_an_image_set_is_named(image_set, position, value, error, match):
    bad = with_part(image_set, position, value)
    with pytest.raises(error, match=match) as caught:
        check_image_sets([image_set, bad], reserved=["model"])
    assert "`image_sets[1]`" in str(caught.value)


def test_a_bare_key_gets_the_tuple_to_write():
    with pytest.raises(TypeError, match=r"not 'red'; write \('red',\)"):
        check_image_sets([({}, {"red": "x.png"}, ("color",), [])])


KEYS = [("red", 1), ("blue", 1)]


@pytest.mark.parametrize(
    ("combo", "error", "match"),
    [
        ((("red", 1), KEYS, mean_of, {}, False), ValueError, "is the name of a combination and"),
        (("mean", KEYS, mean_of, {}, False), TypeError, "the name of a combination must be a"),
        ((("m",), KEYS, mean_of, {}, False), ValueError, "has 1 values"),
        ((("m", 1), [], mean_of, {}, False), ValueError, "must combine at least one entry"),
        ((("m", 1), "red", mean_of, {}, False), TypeError, "must be a list of entry keys"),
        ((("m", 1), [("rad", 1)], mean_of, {}, False), ValueError, r"Did you mean '\('red', 1\)'"),
        ((("m", 1), KEYS, "mean", {}, False), TypeError, "needs a function in third place"),
        ((("m", 1), KEYS, mean_of, [], False), TypeError, "needs a dict of keyword arguments"),
        ((("m", 1), KEYS, mean_of, {}, None), TypeError, "needs True or False in fifth place"),
    ],
)
def test_a_bad_combination_is_named(image_set, combo, error, match):
    with pytest.raises(error, match=match):
        check_image_sets([with_part(image_set, 3, [combo])])


def test_two_combinations_of_one_name_are_an_error(image_set):
    with pytest.raises(ValueError, match=r"\('mean', 1\) is the name of a combination and of"):
        check_image_sets([with_part(image_set, 3, image_set[3] * 2)])


def test_two_sets_of_the_same_labels_are_an_error(image_set):
    twin = with_part(image_set, 0, dict(image_set[0]))
    other = with_part(image_set, 0, {"obj": "pen"})
    with pytest.raises(ValueError, match=r"`image_sets\[0\]` and `image_sets\[2\]` have the same"):
        check_image_sets([image_set, other, twin])
    assert len(check_image_sets([image_set, other])) == 2


def test_sets_with_labels_of_different_names_are_an_error(image_set):
    other = with_part(image_set, 0, {"object": "pen"})
    with pytest.raises(ValueError, match=r"`image_sets\[1\]` has the labels \['object'\]"):
        check_image_sets([image_set, other])


@pytest.mark.parametrize(
    ("image_sets", "error", "match"),
    [
        ([], ValueError, "`image_sets` must hold at least one image set"),
        ("sets", TypeError, "`image_sets` must be a list of image sets"),
        ({"a": 1}, TypeError, r"not a dict; pfa\.package_image_sets"),
        (pd.DataFrame(), TypeError, r"not a DataFrame; pfa\.package_image_sets"),
        ([{"path": "x.png"}], TypeError, "must be a list of image sets"),
        ([5], TypeError, r"`image_sets\[0\]` must be a tuple .* not int"),
        ([({}, {})], TypeError, r"`image_sets\[0\]` must be a tuple .* of length 2"),
    ],
)
def test_what_is_no_list_of_image_sets_is_an_error(image_sets, error, match):
    with pytest.raises(error, match=match):
        check_image_sets(image_sets)


def test_a_single_set_without_its_list_is_recognised(image_set):
    with pytest.raises(TypeError, match="Put a single image set into a list"):
        check_image_sets(image_set)
