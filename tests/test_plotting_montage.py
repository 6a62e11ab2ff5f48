"""Pictures on one sheet."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import pytorch_feature_analysis as pfa


def colored(n, size=(40, 20)):
    return [Image.new("RGB", size, (10 * i, 100, 200)) for i in range(n)]


def drawn(ax):
    """Left, right, lower and upper end of each picture."""
    return [tuple(np.round(image.get_extent(), 6)) for image in ax.images]


def test_pictures_stand_in_order_in_rows_and_keep_their_aspect():
    ax = pfa.plot_montage(colored(5), columns=3, show=False)
    places = drawn(ax)
    assert len(places) == 5
    for left, right, low, high in places:
        assert right - left == pytest.approx(1)
        assert low - high == pytest.approx(0.5)
    assert [place[0] for place in places[:3]] == sorted(place[0] for place in places[:3])
    assert places[3][0] == places[0][0]
    assert places[3][3] > places[0][2]
    colors = [np.asarray(image.get_array())[0, 0, 0] for image in ax.images]
    assert colors == [0, 10, 20, 30, 40]
    # Nothing lies on anything else, and all is within the axes.
    for i, (left, right, _low, high) in enumerate(places):
        assert ax.get_xlim()[0] <= left
        assert right <= ax.get_xlim()[1]
        for other_left, other_right, other_low, other_high in places[:i]:
            assert left >= other_right or other_left >= right or high >= other_low
            assert not (left == other_left and other_high < high < other_low)
    plt.close(ax.figure)


def test_labels_stand_below_their_pictures(tmp_path):
    pictures = dict(zip("abcd", colored(4, (30, 60)), strict=True))
    ax = pfa.plot_montage(
        pictures, list("wxyz"), fig_title="four", show=False, save_opts=tmp_path / "sheet.png"
    )
    assert [text.get_text() for text in ax.texts] == list("wxyz")
    for text, (left, right, low, _) in zip(ax.texts, drawn(ax), strict=True):
        x, y = text.get_position()
        assert left < x < right
        assert y >= low
    assert ax.get_title() == "four"
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    plt.close("all")


def test_pictures_that_cannot_be_drawn_are_named(tmp_path):
    with pytest.raises(ValueError, match="`pictures` is empty"):
        pfa.plot_montage([])
    with pytest.raises(ValueError, match="`labels` must name each of the 2 pictures"):
        pfa.plot_montage(colored(2), ["a"])
    with pytest.raises(ValueError, match="`pictures` has 2 pictures that cannot be read"):
        pfa.plot_montage([tmp_path / "none.png", *colored(1), tmp_path / "nothing.png"])


def boxes_of(ax):
    """Boxes of the labels and of the title, in pixels."""
    ax.figure.draw_without_rendering()
    texts = [text for text in [*ax.texts, ax.title] if text.get_text()]
    return [text.get_window_extent() for text in texts]


@pytest.mark.parametrize("given", [False, True])
def test_long_labels_and_titles_are_broken_into_lines_that_keep_clear(given):
    labels = [f"picture {k} has a name of many words" for k in range(6)]
    ax = plt.subplots(figsize=(4, 5))[1] if given else None
    title = "a title that is longer than the pictures are wide in all"
    ax = pfa.plot_montage(colored(6), labels, columns=3, ax=ax, fig_title=title, show=False)
    boxes = boxes_of(ax)
    assert len(boxes) == 7
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(7) for j in range(i))
    pictures = [image.get_window_extent() for image in ax.images]
    assert not any(box.overlaps(picture) for box in boxes for picture in pictures)
    whole = ax.figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
    assert all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)


def test_the_axes_reach_beyond_all_pictures():
    """A picture falls on whole pixels, and one at the end of the axes would be cut there."""
    ax = pfa.plot_montage([Image.new("L", (8, 8))] * 6, columns=3, show=False)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    extents = np.array([image.get_extent() for image in ax.get_images()])
    assert left < extents[:, :2].min() - 0.01
    assert right > extents[:, :2].max() + 0.01
    assert top < extents[:, 2:].min() - 0.01
    assert bottom > extents[:, 2:].max() + 0.01


def test_a_title_on_given_axes_is_broken_no_sooner_than_it_must():
    figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    title = "one of each kind, at each of the places"
    pfa.plot_montage([Image.new("L", (8, 8))] * 40, columns=10, ax=ax, fig_title=title)
    assert ax.get_title() == title
    plt.close(figure)
