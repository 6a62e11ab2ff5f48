"""Maps with pictures: sizes, overlaps, colours of categories, and what is not there."""

import logging

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from PIL import Image
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.plotting import _fonts
from pytorch_feature_analysis.plotting._paper import COLOURS
from pytorch_feature_analysis.plotting._pictures import BLANK, Picture2D, ink_box
from pytorch_feature_analysis.plotting._projected import Leader3D, Picture3D


@pytest.fixture(autouse=True)
def closed_figures():
    mpl.use("agg")
    plt.close("all")
    yield
    plt.close("all")


def stack_of(points, kinds=("cup", "hat", "shoe")):
    n_items = len(points)
    labels = tuple({"obj": kinds[k % len(kinds)], "n": k} for k in range(n_items))
    return pd.DataFrame(
        {
            "matrix": [squareform(pdist(points))],
            "entry_keys": [tuple((label["obj"], label["n"]) for label in labels)],
            "entry_labels": [labels],
        }
    )


def crowd(n_items=25, dims=2):
    return stack_of(np.random.default_rng(0).normal(size=(n_items, dims)))


def far_apart():
    return stack_of(np.array([[0, 0], [4, 0], [4, 3], [0, 3.0]]))


def pictures_for(row, width=40, height=30):
    return dict.fromkeys(row.loc[0, "entry_keys"], Image.new("RGB", (width, height), "teal"))


def drawn(row, *args, **kwargs):
    pfa.rdm_mds(row, *args, show=False, **kwargs)
    figure = plt.gcf()
    figure.draw_without_rendering()
    return figure.axes[0]


def pictures_of(ax):
    return [child for child in ax.get_children() if isinstance(child, (Picture2D, Picture3D))]


def boxes_of(ax):
    return np.array([picture.get_window_extent().extents for picture in pictures_of(ax)])


def count_overlaps(boxes, slack=0.01):
    count = 0
    for i, (left, bottom, right, top) in enumerate(boxes):
        for west, south, east, north in boxes[:i]:
            wide = min(right, east) - max(left, west)
            count += wide > slack and min(top, north) - max(bottom, south) > slack
    return count


def points_of(boxes, ax):
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=1) * 72 / ax.figure.dpi


# Overlap


@pytest.mark.parametrize("overlap", ["shrink", "repel"])
@pytest.mark.parametrize("dims", [2, 3])
def test_pictures_hide_each_other_no_longer(overlap, dims):
    row = crowd(12, dims)
    pictures = pictures_for(row)
    assert count_overlaps(boxes_of(drawn(row, dims, cond_pics=pictures, pic_size=0.2))) > 3
    ax = drawn(row, dims, cond_pics=pictures, pic_size=0.2, overlap=overlap)
    assert len(boxes_of(ax)) == 12
    assert count_overlaps(boxes_of(ax)) == 0


def test_allow_is_the_default_and_pictures_with_room_stay_as_they_are():
    row = far_apart()
    pictures = pictures_for(row)
    expected = boxes_of(drawn(row, cond_pics=pictures))
    for overlap in ("allow", "shrink", "repel"):
        ax = drawn(row, cond_pics=pictures, overlap=overlap)
        np.testing.assert_allclose(boxes_of(ax), expected, atol=1e-6)
        assert len(ax.lines) == 0


def test_shrunk_pictures_are_alike_and_as_large_as_they_can_be():
    row = crowd(12)
    ax = drawn(row, cond_pics=pictures_for(row), pic_size=0.2, overlap="shrink")
    boxes = boxes_of(ax)
    sizes = points_of(boxes, ax)
    np.testing.assert_allclose(sizes, sizes[0])
    assert 6 < sizes[0] < 0.2 * 7 * 72
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * 1.002
    assert count_overlaps(np.hstack([middle - half, middle + half]), slack=0) == 1


def test_pictures_are_not_shrunk_to_nothing(caplog):
    points = np.random.default_rng(0).normal(size=(10, 2))
    points[1] = points[0]
    row = stack_of(points)
    with caplog.at_level(logging.INFO):
        ax = drawn(row, cond_pics=pictures_for(row), overlap="shrink")
    assert points_of(boxes_of(ax), ax)[0] == pytest.approx(6, rel=1e-3)
    assert "Pictures overlap at 6.0 points" in caplog.text
    assert "`overlap` 'repel'" in caplog.text
    # Those that are asked to be smaller still are not enlarged.
    ax = drawn(row, cond_pics=pictures_for(row), overlap="shrink", pic_points=4)
    assert points_of(boxes_of(ax), ax)[0] == pytest.approx(4, rel=1e-3)


def test_a_picture_that_was_moved_off_its_point_is_led_back_to_it():
    points = np.random.default_rng(0).normal(scale=0.02, size=(20, 2))
    row = stack_of(np.vstack([points, [[5, 5], [-5, 5]]]))
    coordinates = pfa.mds_coordinates(row)[["dim1", "dim2"]].to_numpy()
    places = (coordinates - coordinates.min()) / (coordinates.max() - coordinates.min())
    ax = drawn(row, cond_pics=pictures_for(row), overlap="repel", pic_size=0.08)
    boxes = boxes_of(ax)
    assert count_overlaps(boxes) == 0
    pixels = ax.transData.transform(places)
    off = [
        k
        for k, (x, y) in enumerate(pixels)
        if not (boxes[k, 0] <= x <= boxes[k, 2] and boxes[k, 1] <= y <= boxes[k, 3])
    ]
    assert 10 < len(off) <= 20
    starts = np.array([line.get_xydata()[0] for line in ax.lines])
    np.testing.assert_allclose(starts, places[off], atol=1e-6)
    for line, k in zip(ax.lines, off, strict=True):
        x, y = ax.transData.transform(line.get_xydata()[1])
        assert boxes[k, 0] - 1 <= x <= boxes[k, 2] + 1
        assert boxes[k, 1] - 1 <= y <= boxes[k, 3] + 1
        assert line.get_marker() == "o"
    # The two that are far away are where they belong.
    middle = (boxes[20:, :2] + boxes[20:, 2:]) / 2
    np.testing.assert_allclose(middle, pixels[20:], atol=1e-6)


def test_moved_pictures_leave_room_to_see_where_they_belong(caplog):
    row = crowd(60)
    with caplog.at_level(logging.INFO):
        ax = drawn(row, cond_pics=pictures_for(row, 30, 30), overlap="repel", pic_size=0.2)
    boxes = boxes_of(ax)
    assert count_overlaps(boxes) == 0
    share = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum() / ax.bbox.size.prod()
    assert 0.1 < share < 0.26
    assert "% of the size asked for" in caplog.text


def test_lines_in_space_lead_to_points_too():
    row = crowd(40, 3)
    ax = drawn(row, 3, cond_pics=pictures_for(row), overlap="repel", pic_points=40)
    assert any(isinstance(child, Leader3D) for child in ax.get_children())


# Sizes in points


@pytest.mark.parametrize("overlap", ["allow", "repel"])
@pytest.mark.parametrize("labels", [None, True])
def test_pictures_have_the_size_in_points_that_was_asked_for(overlap, labels):
    row = crowd(10)
    pictures = pictures_for(row)
    for size in (7, 4):
        ax = drawn(
            row,
            cond_pics=pictures,
            pic_points=24,
            overlap=overlap,
            cond_labels=labels,
            fig_size=size,
        )
        np.testing.assert_allclose(points_of(boxes_of(ax), ax), 24, rtol=1e-3)
        assert (boxes_of(ax)[:, :2] >= ax.bbox.min - 1).all()
        assert (boxes_of(ax)[:, 2:] <= ax.bbox.max + 1).all()
    ax = drawn(crowd(10, 3), 3, cond_pics=pictures, pic_points=24)
    assert points_of(boxes_of(ax), ax).mean() == pytest.approx(24, rel=0.02)


def test_large_pictures_are_kept_at_what_their_points_need():
    row = far_apart()
    ax = drawn(row, cond_pics=pictures_for(row, 3000, 1500), pic_points=36)
    assert np.asarray(pictures_of(ax)[0].get_array()).shape == (150, 300, 4)


def test_pictures_in_a_pdf_have_the_resolution_of_print(tmp_path):
    row = far_apart()
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    pictures = dict.fromkeys(row.loc[0, "entry_keys"], noise)
    sizes = {}
    for dpi in (100, None, 300):
        path = tmp_path / f"{dpi}.pdf"
        save_opts = path if dpi is None else (path, {"dpi": dpi})
        pfa.rdm_mds(row, cond_pics=pictures, pic_points=72, save_opts=save_opts)
        sizes[dpi] = path.stat().st_size
    assert sizes[None] == pytest.approx(sizes[300], rel=0.01)
    assert sizes[300] > 5 * sizes[100]


# Colours of categories


def test_colours_go_by_a_variable_of_the_entries_and_have_a_legend():
    row = crowd(9)
    ax = drawn(row, color_by="obj")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cup", "hat", "shoe"]
    assert len(ax.collections) == 3
    for dots, colour in zip(ax.collections, COLOURS, strict=False):
        np.testing.assert_array_equal(dots.get_facecolor(), [colors.to_rgba(colour)] * 3)
    handles = [line.get_color() for line in ax.get_legend().legend_handles]
    assert handles == list(COLOURS[:3])
    forms = [len(dots.get_paths()[0].vertices) for dots in ax.collections]
    assert len(set(forms)) > 1


def test_entries_without_a_value_have_the_colour_of_the_text_and_no_legend():
    row = far_apart()
    values = ["a", np.nan, None, float("nan")]
    labels = tuple({"own": value} for value in values)
    ax = drawn(row.assign(entry_labels=[labels]), color_by="own")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a"]
    faces = np.concatenate([dots.get_facecolors() for dots in ax.collections])
    black = (faces == colors.to_rgba("black")).all(axis=1)
    assert sorted(black) == [False, True, True, True]


def test_borders_have_the_colours_of_a_variable():
    row = crowd(6)
    ax = drawn(row, color_by="obj", cond_pics=pictures_for(row))
    frames = [frame.get_edgecolor() for frame in ax.patches]
    assert frames == [colors.to_rgba(colour) for colour in COLOURS[:3]] * 2
    assert {frame.get_linewidth() for frame in ax.patches} == {1.5}
    off = drawn(row, color_by="obj", cond_pics=pictures_for(row), add_pic_border={"linewidth": 0})
    assert {frame.get_linewidth() for frame in off.patches} == {0}


def test_a_given_marker_stays_and_axes_of_yours_get_no_legend():
    row = crowd(6)
    (dots,) = drawn(row, plot_opts={"marker": "^"}, color_by="obj").collections
    assert len(dots.get_facecolor()) == 6
    ax = plt.figure().add_subplot()
    pfa.rdm_mds(row, color_by="obj", ax=ax)
    assert ax.get_legend() is None
    assert ax.get_legend_handles_labels()[1] == ["cup", "hat", "shoe"]


def test_many_values_have_colours_that_differ_and_too_many_are_refused():
    row = crowd(20)
    ax = drawn(row, color_by="n")
    shades = {tuple(dots.get_facecolor()[0]) for dots in ax.collections}
    assert sum(len(dots.get_facecolor()) for dots in ax.collections) == 20
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [str(k) for k in range(20)]
    assert len(shades) > 5
    with pytest.raises(ValueError, match=r"`color_by` names 'n', which has 25 values"):
        drawn(crowd(25), color_by="n")
    with pytest.raises(ValueError, match=r"`color_by` names 'ob'.*Did you mean 'obj'"):
        drawn(row, color_by="ob")
    with pytest.raises(ValueError, match="`cond_colors` and `color_by` both"):
        drawn(row, color_by="obj", cond_colors={("cup", 0): "red"})


# Pictures that are not there


@pytest.mark.parametrize("missing", [float("nan"), pd.NA])
def test_pictures_that_are_not_there_are_blanks_with_a_name_and_counted_once(
    caplog, tmp_path, missing
):
    row = far_apart()
    keys = row.loc[0, "entry_keys"]
    pictures = {
        **pictures_for(row),
        keys[0]: tmp_path / "none.png",
        keys[1]: None,
        keys[2]: missing,
    }
    with caplog.at_level(logging.WARNING):
        ax = drawn(row, cond_pics=pictures)
    (record,) = caplog.records
    assert record.getMessage().startswith("`cond_pics` has 3 of 4 pictures that are not there")
    assert "none.png" in record.getMessage()
    shown = pictures_of(ax)
    assert len(shown) == 4
    for picture in shown[:3]:
        np.testing.assert_array_equal(picture.get_array(), BLANK)
    names = [text for text in ax.texts if "cup" in text.get_text() or "hat" in text.get_text()]
    named = {text.get_text().replace("\n", " "): text for text in names}
    assert set(named) == {"cup, 0", "hat, 1"}
    for name, picture in zip(("cup, 0", "hat, 1"), shown, strict=False):
        own, around = named[name].get_window_extent(), picture.get_window_extent()
        assert around.x0 <= own.x0 < own.x1 <= around.x1
        assert around.y0 <= own.y0 < own.y1 <= around.y1
    assert len(drawn(row, 3, cond_pics=pictures).texts) > 0


def test_an_entry_that_has_no_picture_in_the_dict_is_a_dot(caplog):
    row = far_apart()
    keys = row.loc[0, "entry_keys"]
    with caplog.at_level(logging.WARNING):
        ax = drawn(row, cond_pics={keys[0]: Image.new("RGB", (4, 4))})
    assert caplog.records == []
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 3


# Letters


def test_letters_that_the_style_lacks_come_from_another_font(caplog):
    row = far_apart()
    labels = dict(zip(row.loc[0, "entry_keys"], ["кошка", "γάτα", "cat", "ж"], strict=True))
    # A font of matplotlib's own that has no Cyrillic.
    style = {"font.family": "cmr10", "axes.formatter.use_mathtext": True}
    with caplog.at_level(logging.INFO):
        ax = drawn(row, cond_labels=labels, plot_style=style, fig_title="кот")
    assert "are drawn in" in caplog.text
    texts = {text.get_text(): text for text in [*ax.texts, ax.title]}
    assert {"кошка", "γάτα", "cat", "кот"} <= set(texts)
    assert texts["кошка"].get_fontfamily()[0] == "cmr10"
    assert len(texts["кошка"].get_fontfamily()) > 1
    ax.figure.canvas.draw()


def test_letters_that_no_font_has_are_squares_and_one_log_line(caplog, monkeypatch):
    monkeypatch.setattr(_fonts, "_installed", dict)
    row = far_apart()
    labels = dict(zip(row.loc[0, "entry_keys"], ["猫 a", "犬", "猫", "x"], strict=True))
    pictures = {row.loc[0, "entry_keys"][3]: "nowhere.png"}
    # Warnings are errors here, also those of matplotlib at drawing.
    with caplog.at_level(logging.WARNING):
        ax = drawn(row, cond_labels=labels, fig_title="猫", cond_pics=pictures)
    ax.figure.canvas.draw()
    lines = [record.getMessage() for record in caplog.records if "No font" in record.message]
    assert len(lines) == 1
    assert "犬 猫" in lines[0]
    assert {"\u25a1 a", "\u25a1", "x"} <= {text.get_text() for text in ax.texts}
    assert ax.get_title() == "\u25a1"


def test_plain_letters_change_no_family_and_log_nothing(caplog):
    caplog.set_level(logging.INFO, logger=_fonts.__name__)
    with _fonts.legible(["plain", 7, "line\nbreak"]) as write:
        assert mpl.rcParams["font.family"] == ["sans-serif"]
        assert write("plain") == "plain"
    assert caplog.records == []


# Other methods


def test_the_value_and_the_note_say_what_the_method_is(caplog):
    row = crowd(12)
    kept = pfa.rdm_mds(row, method="tsne", show=False)
    assert 0.5 < kept <= 1
    note = f"t-SNE, trustworthiness {kept:.2f}"
    assert note in [text.get_text() for text in plt.gcf().axes[0].texts]
    stress = pfa.rdm_mds(row, method="nonmetric", show=False)
    assert stress < 1e-3
    coordinates = pfa.mds_coordinates(row, 3, method="tsne")
    assert list(coordinates.columns) == ["entry_key", "obj", "n", "dim1", "dim2", "dim3"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"overlap": "shrnk"}, ValueError, r"`overlap` names 'shrnk'.*Did you mean 'shrink'"),
        ({"pic_points": 0}, ValueError, "`pic_points` must be above 0"),
        ({"pic_points": "12pt"}, TypeError, "`pic_points` must be a number"),
        ({"num_neighbors": 0}, ValueError, "`num_neighbors` must be at least 2"),
    ],
)
def test_wrong_arguments_are_named(given, error, message):
    with pytest.raises(error, match=message):
        pfa.rdm_mds(far_apart(), show=False, **given)
    assert plt.get_fignums() == []


def on_paper(colour, box, size=40):
    """A picture of a rectangle of colour on white paper."""
    picture = Image.new("RGB", (size, size), "white")
    picture.paste(Image.new("RGB", (box[2] - box[0], box[3] - box[1]), colour), box[:2])
    return picture


def test_ink_is_what_is_not_transparent():
    picture = np.zeros((20, 40, 4), dtype=np.uint8)
    picture[2:6, 10:20, 3] = 255
    # By hand: from -10 to 0 across and from 4 to 8 up, of a longer side of 40.
    np.testing.assert_allclose(ink_box(picture), [-10 / 40, 4 / 40, 0, 8 / 40])
    np.testing.assert_allclose(ink_box(picture, is_framed=True), [-0.5, -0.25, 0.5, 0.25])
    np.testing.assert_allclose(ink_box(np.zeros_like(picture)), [-0.5, -0.25, 0.5, 0.25])


def extents(ax):
    return np.array([image.get_extent() for image in pictures_of(ax)])


def a_pair(distance):
    """Two points near each other between two far apart, and the keys of the two."""
    at = (1 - distance) / 2
    row = stack_of(np.array([[0.0, 0.0], [1.0, 0.0], [at, 0.0], [1 - at, 0.0]]))
    return row, row.loc[0, "entry_keys"][2:]


def test_white_paper_around_a_picture_moves_nothing():
    row, keys = a_pair(0.1)
    # Their paper lies over each other, their ink does not.
    options = {
        "cond_pics": dict.fromkeys(keys, on_paper("red", (15, 15, 25, 25))),
        "pic_size": 0.25,
    }
    as_they_are = extents(drawn(row, **options))
    np.testing.assert_allclose(extents(drawn(row, overlap="repel", **options)), as_they_are)
    # Frames are drawn round the paper.
    framed = extents(drawn(row, overlap="repel", add_pic_border=True, **options))
    assert np.abs(framed - as_they_are).max() > 0.01


# Left, top, right and bottom in pixels of 40: each lies towards the other, or away from it.
@pytest.mark.parametrize(
    "inks", [[(0, 9, 20, 29), (20, 9, 40, 29)], [(20, 9, 40, 29), (0, 9, 20, 29)]]
)
@pytest.mark.parametrize("overlap", ["repel", "shrink"])
def test_ink_that_is_off_the_middle_is_kept_clear(overlap, inks):
    row, keys = a_pair(0.1)
    pictures = {key: on_paper("red", ink) for key, ink in zip(keys, inks, strict=True)}
    ax = drawn(row, cond_pics=pictures, pic_size=0.3, overlap=overlap)
    boxes = []
    for (left, right, _, top), ink in zip(extents(ax), inks, strict=True):
        pixel = (right - left) / 40
        across, down = left + pixel * np.array(ink[::2]), top - pixel * np.array(ink[1::2])
        boxes.append([across[0], down[1], across[1], down[0]])
    assert count_overlaps(boxes, slack=1e-9) == 0
