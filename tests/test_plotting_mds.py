import io
import logging
from copy import deepcopy

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from PIL import Image
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.plotting._labels import place_labels
from pytorch_feature_analysis.plotting._projected import Label3D, Picture3D

CORNERS = np.array([[0, 0], [4, 0], [4, 3], [0, 3.0]])
NAMES = ("red", "green", "blue", "grey")
KEYS = tuple((name,) for name in NAMES)


@pytest.fixture(autouse=True)
def closed_figures():
    """Draw without a screen, and leave no figure open."""
    mpl.use("agg")
    plt.close("all")
    yield
    plt.close("all")


def stack_of(points, keys, **columns):
    matrix = squareform(pdist(points))
    cells = {"matrix": [matrix], "entry_keys": [tuple(keys)]}
    return pd.DataFrame({**cells, **{name: [value] for name, value in columns.items()}})


def corners():
    return stack_of(CORNERS, KEYS)


def many(n_items=24, n_dims=2, seed=0):
    points = np.random.default_rng(seed).normal(size=(n_items, n_dims))
    return stack_of(points, [(f"layer {i}", "alexnet") for i in range(n_items)])


def kill(row, item):
    """Leave an item without any finite dissimilarity."""
    row.loc[0, "matrix"][item] = row.loc[0, "matrix"][:, item] = np.nan


def plain_picture(width=30, height=20, colour=(200, 30, 30)):
    return Image.new("RGB", (width, height), colour)


def drawn(rdm_df, *args, **kwargs):
    """Draw on a figure of its own that stays open, and return its axes."""
    pfa.rdm_mds(rdm_df, *args, show=False, **kwargs)
    figure = plt.gcf()
    figure.draw_without_rendering()
    return figure.axes[0]


def dot_places(ax):
    return np.concatenate([c.get_offsets() for c in ax.collections])


def labels_of(ax):
    ours = [text for text in ax.texts if not text.get_text().startswith("stress")]
    return {text.get_text(): text for text in ours}


def note_of(ax):
    return [text.get_text() for text in ax.texts if text.get_text().startswith("stress")]


def pictures_of(ax):
    return [child for child in ax.get_children() if isinstance(child, (AxesImage, Picture3D))]


def assert_inside(artists, frame, slack=0.5):
    for artist in artists:
        box = artist.get_window_extent()
        assert box.x0 >= frame.x0 - slack, artist
        assert box.y0 >= frame.y0 - slack, artist
        assert box.x1 <= frame.x1 + slack, artist
        assert box.y1 <= frame.y1 + slack, artist


# What is returned, and what is drawn of the points


def test_my_mds_is_the_same_function():
    assert pfa.my_mds is pfa.rdm_mds


def test_planar_points_are_drawn_exactly():
    truth = np.random.default_rng(0).normal(size=(8, 2))
    row = stack_of(truth, [(i,) for i in range(8)])
    ax = drawn(row)
    assert pfa.rdm_mds(row, ax=plt.figure().add_subplot()) < 1e-6
    assert procrustes(truth, dot_places(ax))[2] < 1e-12


def test_only_the_stress_is_returned_and_it_is_that_of_the_points():
    rdm = 1 - np.corrcoef(np.random.default_rng(0).normal(size=(9, 20)))
    row = pd.DataFrame({"matrix": [rdm], "entry_keys": [tuple((i,) for i in range(9))]})
    for method in ("metric", "classical"):
        stress = pfa.rdm_mds(row, method=method, show=False)
        assert type(stress) is float
        points = pfa.mds_coordinates(row, method=method)[["dim1", "dim2"]].to_numpy()
        # Oracle: the formula on the points of mds_coordinates.
        expected = ((pdist(points) - squareform(rdm, checks=False)) ** 2).sum()
        assert stress == pytest.approx(expected)


def test_coordinates_are_scaled_by_one_least_and_one_greatest_value():
    row = many()
    points = pfa.mds_coordinates(row)[["dim1", "dim2"]].to_numpy()
    expected = (points - points.min()) / (points.max() - points.min())
    np.testing.assert_allclose(dot_places(drawn(row)), expected, atol=1e-12)


def test_both_axes_have_one_scale_and_the_limits_asked_for():
    ax = drawn(corners(), plot_limits=(-0.5, 1.5))
    assert ax.get_xlim() == ax.get_ylim() == (-0.5, 1.5)
    assert ax.bbox.width == pytest.approx(ax.bbox.height)
    assert list(ax.get_xticks()) == list(ax.get_yticks()) == []


def test_one_seed_gives_one_figure_and_another_seed_may_not():
    rdm = 1 - np.corrcoef(np.random.default_rng(3).normal(size=(15, 30)))
    row = pd.DataFrame({"matrix": [rdm], "entry_keys": [tuple((i,) for i in range(15))]})
    first, second = dot_places(drawn(row)), dot_places(drawn(row))
    np.testing.assert_array_equal(first, second)
    stresses = {pfa.rdm_mds(row, num_starts=2, random_state=s, show=False) for s in range(6)}
    assert len(stresses) > 1


def test_a_series_is_as_good_as_a_frame_of_one_row():
    assert pfa.rdm_mds(corners().iloc[0], show=False) == pfa.rdm_mds(corners(), show=False)


def test_the_guides_positional_order_is_kept():
    import inspect

    names = list(inspect.signature(pfa.rdm_mds).parameters)
    guide = (
        "rdm_df dims plot_opts other_dot_opts plot_limits cond_labels label_offset label_opts"
        " plot_dots cond_colors cond_pics pic_size alphatize_pics add_pic_border alpha_target"
        " alpha_range pic_offset line_trajectories show_stress plot_style fig_title fig_size show"
        " save_opts"
    )
    assert names[: len(guide.split())] == guide.split()


def test_the_stress_is_on_the_plot_and_in_the_log(caplog):
    rdm = 1 - np.corrcoef(np.random.default_rng(0).normal(size=(9, 20)))
    row = pd.DataFrame({"matrix": [rdm], "entry_keys": [tuple((i,) for i in range(9))]})
    with caplog.at_level(logging.INFO):
        ax = drawn(row)
    stress = pfa.rdm_mds(row, show=False)
    normalised = stress_1(embed(rdm)[0], rdm)
    assert note_of(ax) == [f"stress {stress:.3g}, stress-1 {normalised:.2g}"]
    assert f"stress {stress:.6g}" in caplog.text
    assert note_of(drawn(row, show_stress=False)) == []
    assert note_of(drawn(corners())) == ["stress 0"]


def test_a_blank_label_is_none():
    row = many(4)
    keys = row.loc[0, "entry_keys"]
    ax = drawn(row, cond_labels={key: "first" if key == keys[0] else " " for key in keys})
    assert list(labels_of(ax)) == ["first"]


def test_nothing_is_printed(capsys):
    pfa.rdm_mds(corners(), show=False)
    assert capsys.readouterr().out == ""


# Entries without a place


def test_dead_entries_have_no_point_and_are_named(caplog):
    row = many(6)
    kill(row, 2)
    keys = row.loc[0, "entry_keys"]
    with caplog.at_level(logging.WARNING):
        ax = drawn(
            row,
            cond_labels=True,
            cond_pics={keys[2]: plain_picture()},
            line_trajectories=[(keys, {})],
        )
    assert "('layer 2', 'alexnet')" in caplog.text
    assert len(dot_places(ax)) == 5
    assert "layer 2, alexnet" not in labels_of(ax)
    assert pictures_of(ax) == []
    assert len(ax.lines[0].get_xdata()) == 5


def test_a_matrix_that_is_not_symmetric_is_drawn_on_request():
    row = corners()
    row.loc[0, "matrix"][0, 1] += 0.5
    with pytest.raises(ValueError, match=r"not symmetric: \[0, 1\]"):
        pfa.rdm_mds(row, show=False)
    both = corners()
    both["matrix"] = [(row["matrix"][0] + row["matrix"][0].T) / 2]
    expected = pfa.rdm_mds(both, show=False)
    assert pfa.rdm_mds(row, show=False, symmetrize=True) == pytest.approx(expected)
    with pytest.raises(ValueError, match="not symmetric"):
        pfa.mds_coordinates(row)
    found = pfa.mds_coordinates(row, symmetrize=True)
    pd.testing.assert_frame_equal(found, pfa.mds_coordinates(both))


def test_entries_in_one_place_are_drawn():
    row = pd.DataFrame({"matrix": [np.zeros((3, 3))], "entry_keys": [(("a",), ("b",), ("c",))]})
    np.testing.assert_allclose(dot_places(drawn(row, cond_labels=True)), 0.5)


# Dots


def test_dots_have_their_options():
    ax = drawn(corners(), 2, {"s": 80, "c": "orange", "marker": "^", "edgecolors": "blue"})
    (dots,) = ax.collections
    assert dots.get_sizes() == [80]
    np.testing.assert_array_equal(dots.get_facecolor(), [colors.to_rgba("orange")])
    np.testing.assert_array_equal(dots.get_edgecolor(), [colors.to_rgba("blue")])


def test_a_list_of_options_goes_by_the_order_of_entries():
    row = many(5)
    kill(row, 1)
    (dots,) = drawn(row, plot_opts={"s": [10, 20, 30, 40, 50]}).collections
    np.testing.assert_array_equal(dots.get_sizes(), [10, 30, 40, 50])
    (dots,) = drawn(row, plot_opts={"c": [1, 2, 3, 4, 5], "cmap": "gray"}).collections
    np.testing.assert_array_equal(dots.get_array(), [1, 3, 4, 5])


def test_one_colour_stays_one_colour_for_as_many_entries_as_it_has_parts():
    row = stack_of(CORNERS[:3], KEYS[:3])
    (dots,) = drawn(row, plot_opts={"c": (0.2, 0.4, 0.6)}).collections
    np.testing.assert_allclose(dots.get_facecolor(), [(0.2, 0.4, 0.6, 1)])


def test_colours_go_by_entry_and_others_are_black():
    (dots,) = drawn(corners(), cond_colors={("blue",): "blue", "red": (1, 0, 0)}).collections
    expected = [colors.to_rgba(c) for c in ("red", "black", "blue", "black")]
    np.testing.assert_array_equal(dots.get_facecolor(), expected)
    (dots,) = drawn(
        corners(), plot_opts={"color": "pink"}, cond_colors={("blue",): "blue"}
    ).collections
    expected = [colors.to_rgba(c) for c in ("pink", "pink", "blue", "pink")]
    np.testing.assert_array_equal(dots.get_facecolor(), expected)


def test_options_of_single_dots_go_by_entry():
    sizes = {key: 10.0 * i + 10 for i, key in enumerate(KEYS)}
    markers = {("red",): "s", ("blue",): "s"}
    ax = drawn(corners(), other_dot_opts={"s": sizes, "marker": markers})
    squares, circles = ax.collections
    np.testing.assert_array_equal(squares.get_sizes(), [10, 30])
    np.testing.assert_array_equal(circles.get_sizes(), [20, 40])
    assert len(squares.get_paths()[0]) != len(circles.get_paths()[0])


def test_values_keep_one_scale_of_colours_over_markers():
    values = dict(zip(KEYS, [0.0, 1.0, 5.0, 9.0], strict=True))
    ax = drawn(corners(), other_dot_opts={"c": values, "marker": {("red",): "s"}})
    assert [c.get_clim() for c in ax.collections] == [(0, 9), (0, 9)]


def test_an_option_that_has_no_default_must_be_given_to_all():
    with pytest.raises(ValueError, match=r"`other_dot_opts` has no 'hatch' for \('green',\)"):
        pfa.rdm_mds(corners(), other_dot_opts={"hatch": {("red",): "/"}}, show=False)


def test_dots_can_be_left_out():
    assert len(drawn(corners(), plot_dots=False).collections) == 0


# Labels


def test_labels_equal_the_entry_keys():
    assert list(labels_of(drawn(corners(), cond_labels=True))) == list(NAMES)
    row = many(5)
    expected = [", ".join(key) for key in row.loc[0, "entry_keys"]]
    assert list(labels_of(drawn(row, cond_labels=True))) == expected
    assert list(labels_of(drawn(row, 3, cond_labels=True))) == expected


def test_labels_are_those_given_and_near_their_points():
    ax = drawn(corners(), cond_labels={("red",): "a rose", "blue": 7}, label_offset=0.02)
    labels = labels_of(ax)
    assert set(labels) == {"a rose", "7"}
    places = dict(zip(NAMES, ax.transData.transform(dot_places(ax)), strict=True))
    for name, text in (("red", "a rose"), ("blue", "7")):
        box = labels[text].get_window_extent()
        nearest = np.clip(places[name], box.min, box.max)
        distance = np.hypot(*(nearest - places[name]))
        assert distance == pytest.approx(0.02 * ax.bbox.width / 1.2, rel=0.05)


def test_labels_have_their_options_and_stay_above_when_aligned():
    options = {"fontsize": 17, "color": "green", "ha": "left"}
    ax = drawn(corners(), cond_labels=True, label_opts=options, label_offset=0.05)
    for name, place in zip(NAMES, dot_places(ax), strict=True):
        text = labels_of(ax)[name]
        assert (text.get_fontsize(), text.get_color()) == (17, "green")
        np.testing.assert_allclose(text.get_position(), np.add(place, (0, 0.05)), atol=1e-9)


@pytest.mark.parametrize("dims", [2, 3])
def test_labels_cover_neither_each_other_nor_dots(dims):
    row = many(20, dims)
    ax = drawn(row, dims, cond_labels={key: key[0] for key in row.loc[0, "entry_keys"]})
    boxes = [text.get_window_extent() for text in labels_of(ax).values()]
    assert len(boxes) == 20
    # A line of text has room above and below its letters, which may touch that of another.
    for i, box in enumerate(boxes):
        for other in boxes[:i]:
            shared = Bbox.intersection(box, other)
            assert shared is None or shared.width * shared.height < 0.1 * box.width * box.height
    if dims == 2:
        dots = ax.transData.transform(dot_places(ax))
        assert not any(box.contains(*dot) for box in boxes for dot in dots)


def test_labels_in_a_crowd_are_led_to_by_lines():
    crowd = 0.01 * np.random.default_rng(0).normal(size=(12, 2))
    row = stack_of(np.vstack([crowd, [[1, 1]]]), [(f"point {i}",) for i in range(13)])
    ax = drawn(row, cond_labels=True)
    assert len(ax.lines) > 3
    boxes = [text.get_window_extent() for text in labels_of(ax).values()]
    overlaps = sum(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
    assert overlaps <= 3


def test_a_label_goes_where_nothing_is_in_its_way():
    anchors = np.array([[50.0, 50.0, 50.0, 50.0]])
    sizes = np.array([[20.0, 10.0]])
    frame = np.array([0.0, 0.0, 100.0, 100.0])
    nothing = np.zeros((0, 4))
    above = place_labels(anchors, sizes, nothing, nothing, frame, gap=5)
    np.testing.assert_allclose(above, [[50, 60]])
    blocked = np.array([[30.0, 53.0, 70.0, 70.0]])
    below = place_labels(anchors, sizes, nothing, blocked, frame, gap=5)
    np.testing.assert_allclose(below, [[50, 40]])
    low = np.array([0.0, 0.0, 100.0, 56.0])
    np.testing.assert_allclose(place_labels(anchors, sizes, nothing, nothing, low, gap=5), below)


def test_a_long_label_hides_no_dot_though_the_dot_is_a_small_part_of_it():
    anchors = np.array([[100.0, 50.0, 100.0, 50.0]])
    sizes = np.array([[150.0, 10.0]])
    frame = np.array([0.0, 0.0, 200.0, 100.0])
    # Where the label would be above, there is a dot at its end.
    dot = np.array([[166.0, 58.0, 170.0, 62.0]])
    centre = place_labels(anchors, sizes, dot, np.zeros((0, 4)), frame, gap=5)
    np.testing.assert_allclose(centre, [[100, 40]])
    # The next place below is taken as well, and the dots there are no larger.
    dots = np.array([dot[0], [166.0, 38.0, 170.0, 42.0]])
    ((x, y),) = place_labels(anchors, sizes, dots, np.zeros((0, 4)), frame, gap=5)
    boxes = np.array([x - 75, y - 5, x + 75, y + 5])
    assert all((boxes[:2] >= d[2:]).any() or (boxes[2:] <= d[:2]).any() for d in dots)


def test_a_label_that_is_too_long_is_broken_into_lines():
    long = " ".join(["word"] * 40)
    ax = drawn(corners(), cond_labels={**dict.fromkeys(KEYS, "short"), ("red",): long})
    (text,) = [text for text in ax.texts if "word" in text.get_text()]
    assert text.get_text().replace("\n", " ") == long
    assert text.get_window_extent().width <= 0.5 * ax.bbox.width
    assert_inside([text], ax.bbox)
    assert ax.get_xlim()[1] - ax.get_xlim()[0] < 2


def test_labels_that_cannot_fit_do_not_shrink_the_rest_to_nothing():
    figure = plt.figure(figsize=(0.6, 0.6))
    for dims in (2, 3):
        ax = figure.add_subplot(projection="3d" if dims == 3 else None)
        pfa.rdm_mds(corners(), dims, cond_labels=True, label_opts={"fontsize": 60}, ax=ax)
        assert ax.get_xlim()[1] - ax.get_xlim()[0] < 5


# Pictures


def test_pictures_keep_their_aspect_and_size():
    pictures = {
        ("red",): plain_picture(300, 100),
        ("green",): plain_picture(40, 80),
        ("blue",): plain_picture(8, 8),
    }
    ax = drawn(corners(), cond_pics=pictures, pic_size=0.2)
    for image, aspect in zip(pictures_of(ax), (3, 0.5, 1), strict=True):
        box = image.get_window_extent()
        assert box.width / box.height == pytest.approx(aspect, rel=1e-6)
        left, right, bottom, top = image.get_extent()
        assert max(right - left, top - bottom) == pytest.approx(0.2)


def test_pictures_lie_on_their_points_or_where_the_offset_shifts_them():
    row = corners()
    pictures = dict.fromkeys(KEYS, plain_picture())
    places = dot_places(drawn(row))
    for offset in ((0, 0), (0.1, -0.05)):
        ax = drawn(row, cond_pics=pictures, pic_offset=offset)
        for image, place in zip(pictures_of(ax), places, strict=True):
            left, right, bottom, top = image.get_extent()
            middle = np.array([left + right, bottom + top]) / 2
            np.testing.assert_allclose(middle, place + offset, atol=1e-12)


def test_a_dot_under_a_picture_is_left_out():
    pictures = {("red",): plain_picture()}
    assert len(dot_places(drawn(corners(), cond_pics=pictures))) == 3
    shifted = drawn(corners(), cond_pics=pictures, pic_offset=(0.1, 0))
    assert len(dot_places(shifted)) == 4


def test_pictures_are_upright_and_their_white_is_transparent():
    picture = Image.new("RGB", (4, 2), "white")
    picture.putpixel((0, 0), (255, 0, 0))
    pictures = {("red",): picture}
    (image,) = pictures_of(drawn(corners(), cond_pics=pictures))
    pixels = np.asarray(image.get_array())
    assert image.origin == "upper"
    assert tuple(pixels[0, 0]) == (255, 0, 0, 255)
    assert pixels[1, 3, 3] == 0
    (image,) = pictures_of(drawn(corners(), cond_pics=pictures, alphatize_pics=False))
    assert np.asarray(image.get_array())[1, 3, 3] == 255
    (image,) = pictures_of(
        drawn(corners(), cond_pics=pictures, alpha_target=(255, 0, 0), alpha_range=1)
    )
    assert np.asarray(image.get_array())[[0, 1], [0, 3], 3].tolist() == [0, 255]


def test_pictures_come_from_paths_images_and_arrays(tmp_path):
    path = tmp_path / "picture.png"
    plain_picture().save(path)
    array = np.asarray(plain_picture())
    sources = (path, str(path), array, array / 255.0)
    pictures = dict(zip(KEYS, sources, strict=True))
    shown = [
        np.asarray(image.get_array())
        for image in pictures_of(drawn(corners(), cond_pics=pictures))
    ]
    for pixels in shown:
        np.testing.assert_array_equal(pixels, shown[0])
    grey = {("red",): np.full((5, 5), 100, np.uint8)}
    (image,) = pictures_of(drawn(corners(), cond_pics=grey))
    assert tuple(np.asarray(image.get_array())[0, 0]) == (100, 100, 100, 255)


def test_large_pictures_are_kept_at_what_print_needs():
    pictures = {("red",): plain_picture(3000, 1500)}
    (image,) = pictures_of(drawn(corners(), cond_pics=pictures))
    assert np.asarray(image.get_array()).shape == (210, 420, 4)


def test_pictures_have_borders_in_the_colour_of_their_entry():
    pictures = dict.fromkeys(KEYS[:2], plain_picture())
    ax = drawn(corners(), cond_pics=pictures, add_pic_border=True, cond_colors={"red": "red"})
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    expected = [colors.to_rgba("red"), colors.to_rgba("black")]
    assert [frame.get_edgecolor() for frame in frames] == expected
    for frame, image in zip(frames, pictures_of(ax), strict=True):
        np.testing.assert_allclose(
            frame.get_window_extent().bounds, image.get_window_extent().bounds
        )
    ax = drawn(corners(), cond_pics=pictures, add_pic_border={"ec": "blue", "lw": 3})
    assert {frame.get_edgecolor() for frame in ax.patches} == {colors.to_rgba("blue")}
    assert {frame.get_linewidth() for frame in ax.patches} == {3}
    assert len(drawn(corners(), cond_pics=pictures).patches) == 0


def test_all_pictures_that_cannot_be_read_are_named(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    pictures = {("red",): tmp_path, ("blue",): broken, ("grey",): np.zeros(3)}
    with pytest.raises(ValueError, match=r"`cond_pics` has 3 pictures") as caught:
        pfa.rdm_mds(corners(), cond_pics=pictures, show=False)
    for part in (tmp_path.name, "broken.png", "('grey',)", "not (3,)"):
        assert part in str(caught.value)
    assert plt.get_fignums() == []


def test_arrays_that_are_no_pictures_are_refused():
    with pytest.raises(ValueError, match="uint8, or floating point numbers from 0 to 1"):
        pfa.rdm_mds(corners(), cond_pics={("red",): np.full((4, 4), 200.0)}, show=False)


# Lines


def test_trajectories_join_their_entries_in_order():
    path = [("grey",), ("red",), "blue"]
    options = {"linewidth": 1, "c": "purple", "ls": "--"}
    ax = drawn(corners(), line_trajectories=[(path, options), ([("red",), ("green",)], {})])
    places = dict(zip(NAMES, dot_places(ax), strict=True))
    first, second = ax.lines
    np.testing.assert_allclose(first.get_xydata(), [places["grey"], places["red"], places["blue"]])
    assert (first.get_color(), first.get_linewidth(), first.get_linestyle()) == ("purple", 1, "--")
    assert (second.get_color(), second.get_linestyle()) == ("k", "-")
    assert ax.get_legend() is None


def test_named_trajectories_have_a_legend():
    lines = [(KEYS, {"label": "trained"}), (KEYS[::-1], {"label": "random"})]
    ax = drawn(corners(), line_trajectories=lines)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["trained", "random"]
    assert_inside([ax.get_legend()], ax.figure.bbox)


# Keys that are not there


def test_one_dict_serves_many_plots(caplog):
    more = {**dict.fromkeys(KEYS, "x"), ("violet",): "x"}
    pictures = {("violet",): "nowhere.png", ("red",): plain_picture()}
    with caplog.at_level(logging.INFO):
        ax = drawn(
            corners(),
            cond_labels=more,
            cond_pics=pictures,
            cond_colors=dict.fromkeys(more, "red"),
            other_dot_opts={"s": dict.fromkeys(more, 9)},
            line_trajectories=[([("red",), ("violet",), ("blue",)], {})],
        )
    assert len(pictures_of(ax)) == 1
    assert len(ax.lines[0].get_xdata()) == 2
    for argument in ("cond_labels", "cond_pics", "cond_colors", "line_trajectories"):
        assert f"`{argument}` names entries that are not in this RDM: ('violet',)" in caplog.text


@pytest.mark.parametrize(
    "given",
    [
        {"cond_labels": {("violet",): "x"}},
        {"cond_pics": {("violet",): "x.png"}},
        {"cond_colors": {("violet",): "red"}},
        {"other_dot_opts": {"s": {("violet",): 3}}},
        {"line_trajectories": [([("violet",)], {})]},
    ],
)
def test_a_dict_for_none_of_the_entries_is_refused(given):
    with pytest.raises(
        ValueError, match=r"names no entry of this RDM, but \('violet',\)"
    ) as caught:
        pfa.rdm_mds(corners(), show=False, **given)
    assert "('red',), ('green',)" in str(caught.value)
    assert plt.get_fignums() == []


# Three dimensions


def test_three_dimensions_show_points_in_space():
    truth = np.random.default_rng(0).normal(size=(7, 3))
    row = stack_of(truth, [(i,) for i in range(7)])
    assert pfa.rdm_mds(row, 3, show=False) < 1e-6 < 1e-2 < pfa.rdm_mds(row, 2, show=False)
    ax = drawn(row, 3)
    assert ax.name == "3d"
    places = np.column_stack(ax.collections[0]._offsets3d)
    shown = sorted(map(tuple, places.round(9)))
    points = pfa.mds_coordinates(row, 3)[["dim1", "dim2", "dim3"]].to_numpy()
    expected = (points - points.min()) / (points.max() - points.min())
    np.testing.assert_allclose(shown, sorted(map(tuple, expected.round(9))), atol=1e-8)
    assert ax.get_xlim() == ax.get_ylim() == ax.get_zlim()


def test_pictures_and_labels_follow_the_view_in_three_dimensions():
    row = many(6, 3)
    keys = row.loc[0, "entry_keys"]
    ax = drawn(
        row,
        3,
        cond_pics=dict.fromkeys(keys, plain_picture(60, 20)),
        cond_labels=True,
        add_pic_border=True,
        pic_size=0.12,
        line_trajectories=[(keys[:3], {"c": "red"})],
    )
    pictures = pictures_of(ax)
    assert len(pictures) == 6
    before = [picture.get_window_extent().bounds for picture in pictures]
    texts = [child for child in ax.get_children() if isinstance(child, Label3D)]
    gaps = []
    for azimuth in (-60, 10, 100):
        ax.view_init(azim=azimuth)
        ax.figure.canvas.draw()
        boxes = [picture.get_window_extent() for picture in pictures]
        for box in boxes:
            assert box.width / box.height == pytest.approx(3)
        points = [picture._projection._point for picture in pictures]
        for box, point in zip(boxes, points, strict=True):
            # Oracle: matplotlib's own projection of the point.
            from mpl_toolkits.mplot3d.proj3d import proj_transform

            x, y, _ = proj_transform(*point, ax.get_proj())
            np.testing.assert_allclose(
                [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2],
                ax.transData.transform((x, y)),
                atol=1e-6,
            )
        labels = [text.get_window_extent() for text in texts]
        gaps.append([abs(a.y0 - b.y0) for a, b in zip(labels, boxes, strict=True)])
    assert not np.allclose(before, [picture.get_window_extent().bounds for picture in pictures])
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=0.5)


def test_nearer_pictures_lie_over_farther_ones():
    row = many(6, 3)
    pictures = dict.fromkeys(row.loc[0, "entry_keys"], plain_picture())
    ax = drawn(row, 3, cond_pics=pictures)
    drawn_order = sorted(pictures_of(ax), key=lambda picture: picture.zorder)
    depths = [picture.do_3d_projection() for picture in drawn_order]
    assert depths == sorted(depths, reverse=True)
    assert min(p.get_window_extent().width for p in drawn_order) < max(
        p.get_window_extent().width for p in drawn_order
    )


# Nothing is cut off


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("style", ["classic", "default", "ggplot"])
def test_no_artist_leaves_the_figure(dims, style):
    row = many(12, dims)
    keys = row.loc[0, "entry_keys"]
    ax = drawn(
        row,
        dims,
        plot_style=style,
        plot_limits=(0, 1),
        cond_labels={key: f"a long name for {key[0]}" for key in keys},
        cond_pics=dict.fromkeys(keys[:6], plain_picture(90, 30)),
        pic_size=0.25,
        fig_title="A title that is far too long for one line of a figure of this size"
        + ", or is it" * 3,
        line_trajectories=[(keys, {"label": "all of them"})],
    )
    ax.figure.canvas.draw()
    assert len(labels_of(ax)) + len(pictures_of(ax)) == (18 if dims == 2 else 6) + (
        0 if dims == 2 else 12
    )
    inside = [*labels_of(ax).values(), *pictures_of(ax)]
    assert_inside(inside, ax.bbox)
    whole = [*inside, ax.title, ax.get_legend(), *ax.texts, *ax.figure.texts]
    assert_inside(whole, ax.figure.bbox)
    assert "\n" in ax.title.get_text()
    if dims == 2:
        radius = np.sqrt(ax.collections[0].get_sizes().max()) / 2 * ax.figure.dpi / 72
        dots = ax.transData.transform(dot_places(ax))
        assert (dots - radius >= ax.bbox.min - 0.5).all()
        assert (dots + radius <= ax.bbox.max + 0.5).all()


def test_the_title_is_the_one_given():
    assert drawn(corners(), fig_title="AlexNet, conv1").title.get_text() == "AlexNet, conv1"
    assert drawn(corners()).title.get_text() == ""


# Figures and files


def test_one_figure_is_made_and_stays_open_as_the_current_one():
    pfa.rdm_mds(corners(), show=False)
    assert len(plt.get_fignums()) == 1
    np.testing.assert_allclose(plt.gcf().get_size_inches(), (7, 7))
    pfa.rdm_mds(corners(), fig_size=(6, 4))
    assert len(plt.get_fignums()) == 2
    np.testing.assert_allclose(plt.gcf().get_size_inches(), (6, 4))


def test_axes_that_are_given_are_drawn_on_and_nothing_else():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    pfa.rdm_mds(corners(), cond_labels=True, ax=right, fig_title="right")
    assert plt.get_fignums() == [figure.number]
    assert left.collections == [] or len(left.collections) == 0
    assert len(dot_places(right)) == 4
    figure.canvas.draw()
    assert_inside(labels_of(right).values(), right.bbox)
    space = plt.figure().add_subplot(projection="3d")
    pfa.rdm_mds(corners(), 3, ax=space)
    assert len(plt.get_fignums()) == 2


def test_axes_in_a_subfigure_are_drawn_on(tmp_path):
    figure = plt.figure()
    ax = figure.subfigures(1, 2)[1].add_subplot()
    pfa.rdm_mds(corners(), cond_labels=True, ax=ax, save_opts=tmp_path / "whole.png")
    with Image.open(tmp_path / "whole.png") as image:
        assert image.size == tuple((figure.get_size_inches() * 200).astype(int))


def test_a_figure_is_saved_and_closed(tmp_path):
    for save_opts in (
        tmp_path / "path.png",
        str(tmp_path / "string.pdf"),
        {"fname": tmp_path / "dict.svg", "transparent": True},
        (tmp_path / "pair.jpg", {"dpi": 50}),
        str(tmp_path / "none"),
    ):
        pfa.rdm_mds(
            corners(),
            cond_labels=True,
            cond_pics={("red",): plain_picture()},
            save_opts=save_opts,
        )
        assert plt.get_fignums() == []
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["dict.svg", "none.png", "pair.jpg", "path.png", "string.pdf"]
    assert (tmp_path / "string.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "path.png") as image:
        assert image.size == (1400, 1400)
    with Image.open(tmp_path / "pair.jpg") as image:
        assert image.size == (350, 350)


def test_a_figure_in_three_dimensions_is_saved_in_every_format(tmp_path):
    row = many(5, 3)
    pictures = dict.fromkeys(row.loc[0, "entry_keys"], plain_picture())
    for suffix in ("png", "pdf", "svg"):
        path = tmp_path / f"space.{suffix}"
        pfa.rdm_mds(row, 3, cond_pics=pictures, cond_labels=True, save_opts=path)
        assert path.stat().st_size > 5000


def test_the_saved_figure_shows_the_pictures_where_the_points_are(tmp_path):
    # Oracle: the pixels of the file. Four patches of pure colours, found by their colours.
    patches = {("red",): (255, 0, 0), ("green",): (0, 255, 0), ("blue",): (0, 0, 255)}
    pictures = {key: plain_picture(10, 10, colour) for key, colour in patches.items()}
    path = tmp_path / "patches.png"
    pfa.rdm_mds(corners(), cond_pics=pictures, save_opts=path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    centres = []
    for colour in patches.values():
        rows, cols = np.nonzero((np.abs(pixels - colour) < 30).all(axis=-1))
        assert len(rows) > 1000
        assert np.ptp(rows) == pytest.approx(np.ptp(cols), abs=2)
        centres.append((cols.mean(), -rows.mean()))
    assert procrustes(CORNERS[:3], centres)[2] < 1e-4


def test_a_file_object_is_written_to():
    file = io.BytesIO()
    pfa.rdm_mds(corners(), save_opts={"fname": file, "format": "png"})
    assert Image.open(file).size == (1400, 1400)


def test_a_second_save_replaces_the_first_as_a_whole(tmp_path):
    path = tmp_path / "mds.png"
    for size in (7, 3):
        pfa.rdm_mds(corners(), fig_size=size, save_opts=path)
    assert [p.name for p in tmp_path.iterdir()] == ["mds.png"]
    with Image.open(path) as image:
        assert image.size == (600, 600)


def test_show_is_called_only_where_there_is_a_screen(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    pfa.rdm_mds(corners())
    assert shown == []
    plt.close("all")
    monkeypatch.setattr(mpl, "get_backend", lambda: "QtAgg")
    pfa.rdm_mds(corners(), show=False)
    assert shown == []
    plt.close("all")
    pfa.rdm_mds(corners(), save_opts=tmp_path / "shown.png")
    assert shown == [[1]]
    pfa.rdm_mds(corners(), ax=plt.figure().add_subplot())
    assert len(shown) == 1


def test_no_figure_is_left_when_drawing_fails():
    with pytest.raises(AttributeError):
        pfa.rdm_mds(corners(), plot_opts={"nonsense": 1}, show=False)
    assert plt.get_fignums() == []


# What must not change


@pytest.mark.parametrize(
    "style", ["classic", "dark_background", ["ggplot", {"font.size": 20}], None]
)
def test_no_global_style_is_changed(style, tmp_path):
    before = dict(mpl.rcParams)
    pfa.rdm_mds(corners(), plot_style=style, show=False)
    pfa.rdm_mds(corners(), 3, plot_style=style, save_opts=tmp_path / "a.png")
    with pytest.raises(AttributeError):
        pfa.rdm_mds(corners(), plot_style=style, plot_opts={"nonsense": 1}, show=False)
    assert dict(mpl.rcParams) == before


def test_the_style_is_used_for_this_plot():
    dark = drawn(corners(), plot_style="dark_background", cond_labels=True)
    assert dark.figure.get_facecolor() == colors.to_rgba("black")
    assert labels_of(dark)["red"].get_color() == "white"
    classic = drawn(corners())
    assert classic.figure.get_facecolor() == colors.to_rgba("white")


def test_the_first_call_does_not_colour_the_second():
    options: dict = {}
    pfa.rdm_mds(corners(), 2, options, cond_colors=dict.fromkeys(KEYS, "red"), show=False)
    assert options == {}
    (dots,) = drawn(many(7)).collections
    np.testing.assert_array_equal(dots.get_facecolor(), [colors.to_rgba("black")])
    with_sizes = {"other_dot_opts": {"s": dict.fromkeys(KEYS, 90)}}
    pfa.rdm_mds(corners(), **with_sizes, show=False)
    assert set(drawn(many(7)).collections[0].get_sizes()) == {36}


def test_what_is_given_is_not_changed():
    row = corners()
    matrix = row.loc[0, "matrix"].copy()
    given = {
        "plot_opts": {"s": 30, "linewidth": 2},
        "other_dot_opts": {"alpha": {("red",): 0.5}},
        "cond_labels": {("red",): "x"},
        "label_opts": {"size": 9},
        "cond_colors": {("red",): "red"},
        "cond_pics": {("blue",): np.zeros((4, 4, 3))},
        "add_pic_border": {"lw": 2},
        "line_trajectories": [([("red",), ("blue",)], {"c": "red"})],
        "plot_style": ["classic"],
    }
    copies = deepcopy(given)
    pfa.rdm_mds(row, show=False, **given)
    np.testing.assert_array_equal(given.pop("cond_pics")[("blue",)], np.zeros((4, 4, 3)))
    del copies["cond_pics"]
    assert given == copies
    assert list(row.columns) == ["matrix", "entry_keys"]
    np.testing.assert_array_equal(row.loc[0, "matrix"], matrix)
    assert row.loc[0, "matrix"].flags.writeable
    save_opts = {"fname": io.BytesIO(), "dpi": 20}
    pfa.rdm_mds(row, save_opts=save_opts)
    assert list(save_opts) == ["fname", "dpi"]


# Wrong input


def test_several_rows_are_refused_with_what_they_differ_in():
    row = stack_of(CORNERS, KEYS, layer="conv1", model="alexnet")
    two = pd.concat([row, row.assign(layer="relu1")], ignore_index=True)
    for function in (pfa.rdm_mds, pfa.mds_coordinates):
        with pytest.raises(ValueError, match=r"one row, and has 2, which differ in layer\."):
            function(two)
        with pytest.raises(ValueError, match=r"must have one row, and has none"):
            function(two.iloc[:0])
        with pytest.raises(TypeError, match=r"`rdm_df` must be a pandas DataFrame, not ndarray"):
            function(np.zeros((3, 3)))
        with pytest.raises(ValueError, match=r"no column 'entry_keys'"):
            function(two.iloc[:1].drop(columns="entry_keys"))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"dims": 1}, ValueError, r"`dims` must be from 2 to 3, not 1"),
        ({"method": "tsn"}, ValueError, r"`method` names 'tsn', .*Did you mean 'tsne'"),
        ({"plot_limits": (1, 0)}, ValueError, r"`plot_limits` must be \(low, high\)"),
        ({"plot_limits": 3}, ValueError, r"`plot_limits` must be two numbers"),
        ({"pic_size": 0}, ValueError, r"`pic_size` must be above 0"),
        ({"pic_offset": 0.1}, ValueError, r"`pic_offset` must be two numbers"),
        ({"label_offset": "x"}, TypeError, r"`label_offset` must be a number"),
        ({"fig_size": (1, 2, 3)}, ValueError, r"`fig_size` must be a number of inches, or two"),
        ({"fig_size": -1}, ValueError, r"`fig_size` must be above 0"),
        ({"cond_labels": ["a"]}, TypeError, r"`cond_labels` must be a dict by entry key"),
        ({"cond_colors": {("red",): "rde"}}, ValueError, r"has 'rde' for \('red',\)"),
        ({"plot_opts": [1]}, TypeError, r"`plot_opts` must be a dict of options"),
        ({"other_dot_opts": {"s": 3}}, TypeError, r"`other_dot_opts\['s'\]` must be a dict"),
        ({"line_trajectories": [["red", "blue"]]}, TypeError, r"must be a list of pairs"),
        ({"plot_style": "clasic"}, ValueError, r"`plot_style` names 'clasic'.*ggplot"),
        ({"plot_style": 3}, TypeError, r"`plot_style` must be the name"),
        ({"ax": 3}, TypeError, r"`ax` must be a matplotlib Axes, not int"),
        ({"save_opts": 3}, TypeError, r"`save_opts` must be 'na', a path"),
        ({"save_opts": {"dpi": 3}}, ValueError, r"`save_opts` has no 'fname'"),
        ({"save_opts": ("a.png", 3)}, ValueError, r"`save_opts` must be \(path, keywords"),
        ({"save_opts": "mds.xyz"}, ValueError, r"`save_opts` names 'xyz', .* file format.*png"),
        (
            {"save_opts": {"fname": io.BytesIO(), "format": "xyz"}},
            ValueError,
            r"`save_opts` names 'xyz', .* file format.*png",
        ),
        ({"save_opts": "/no/such/folder/a.png"}, FileNotFoundError, r"`save_opts` is"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_drawn(given, error, message):
    with pytest.raises(error, match=message):
        pfa.rdm_mds(corners(), show=False, **given)
    assert plt.get_fignums() == []


def test_axes_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match=r"`ax` must be made with projection='3d' for dims=3"):
        pfa.rdm_mds(corners(), 3, ax=plt.figure().add_subplot())
    with pytest.raises(ValueError, match=r"`ax` must be two-dimensional for dims=2"):
        pfa.rdm_mds(corners(), ax=plt.figure().add_subplot(projection="3d"))


# Coordinates


def test_coordinates_have_a_row_per_entry():
    labels = tuple({"colour": name, "n": i} for i, name in enumerate(NAMES))
    frame = pfa.mds_coordinates(stack_of(CORNERS, KEYS, entry_labels=labels))
    assert list(frame.columns) == ["entry_key", "colour", "n", "dim1", "dim2"]
    assert frame["entry_key"].tolist() == list(KEYS)
    assert frame["colour"].tolist() == list(NAMES)
    points = frame[["dim1", "dim2"]].to_numpy()
    np.testing.assert_allclose(pdist(points), pdist(CORNERS), atol=1e-9)


def test_coordinates_of_any_number_of_dimensions():
    row = many(8, 4)
    frame = pfa.mds_coordinates(row, 4, method="classical")
    points = frame[["dim1", "dim2", "dim3", "dim4"]].to_numpy()
    np.testing.assert_allclose(squareform(pdist(points)), row.loc[0, "matrix"], rtol=0, atol=1e-10)
    assert list(pfa.mds_coordinates(row, 1).columns[-1:]) == ["dim1"]


def test_dead_entries_have_no_coordinates():
    row = corners()
    kill(row, 1)
    frame = pfa.mds_coordinates(row)
    assert frame["dim1"].isna().tolist() == [False, True, False, False]


def test_an_entry_variable_that_would_hide_a_coordinate_is_refused():
    labels = tuple({"dim1": i} for i in range(4))
    with pytest.raises(ValueError, match=r"an entry variable 'dim1'"):
        pfa.mds_coordinates(stack_of(CORNERS, KEYS, entry_labels=labels))


def test_a_line_without_a_label_is_not_in_the_legend():
    pfa.rdm_mds(
        corners(),
        line_trajectories=[(KEYS[:2], {"label": None}), (KEYS[2:], {"label": "named"})],
        show=False,
    )
    assert [text.get_text() for text in plt.gca().get_legend().get_texts()] == ["named"]


def test_a_label_that_is_wider_than_the_figure_is_broken_into_lines_in_space_too():
    # The layout warns where it finds no room, and warnings are errors.
    pfa.rdm_mds(corners(), 3, cond_labels={"red": "x" * 300}, show=False)
    ax = plt.gca()
    (label,) = ax.findobj(Label3D)
    inside = ax.bbox.padded(1).extents
    box = label.get_window_extent().extents
    assert (box[:2] >= inside[:2]).all()
    assert (box[2:] <= inside[2:]).all()
