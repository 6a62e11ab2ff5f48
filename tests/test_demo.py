"""The demo: what it computes, against numbers made by hand, and what it draws."""

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import AxesImage
from PIL import Image, ImageOps
from scipy.spatial.distance import pdist

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import demo
from pytorch_feature_analysis.cli import main
from pytorch_feature_analysis.demo import compare_digits, run_demo
from pytorch_feature_analysis.demo_digits import digit_network, train_on_digits, write_digits
from pytorch_feature_analysis.demo_figures import COLOURS, INKS

pytestmark = pytest.mark.slow  # one run of the demo serves them all

DOCS = Path(__file__).parents[1] / "docs" / "figures"
# Layers of the small network, and of AlexNet, with the image.
N_LAYERS = 13 + 13 + 22


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory, lines):
    """One run of the demo, with the cache of weights empty."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "anew"
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - global
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder.parent.parent))
        done = run_demo(folder, report=lines.append, progress=False)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - global
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    return done


@pytest.fixture(scope="module")
def drawn(result):
    """The figures, drawn at the size at which they are saved."""
    for figure in result.figures.values():
        FigureCanvasAgg(figure).draw()
    return result.figures


def upper(matrix):
    """Cells above the diagonal, one by one."""
    return [matrix[i, j] for i in range(len(matrix)) for j in range(i + 1, len(matrix))]


def only(df, **values):
    """The row with these values."""
    (row,) = pfa.df_filter(df, list(values.items())).to_dict("records")
    return row


# What it computes


def test_all_files_are_there_and_hold_what_was_returned(result):
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "images",
        "mds_digits.png",
        "mds_layers.png",
        "rdms.parquet",
        "second_order.parquet",
        "third_order.parquet",
    ]
    for name, expected in {
        "RDMs": result.rdm_df,
        "second order": result.second_order,
        "third order": result.third_order,
    }.items():
        found = pfa.read_rdms(result.files[name])
        # The file has its rows model by model.
        order = [name for name in ("sheet", "model", "layer_num") if name in found]
        found, expected = (
            df.sort_values(order, kind="stable", ignore_index=True) for df in (found, expected)
        )
        pd.testing.assert_frame_equal(found, expected)


def test_the_images_are_all_digits_in_each_of_four_sheets(result):
    table = pfa.read_image_folder(result.files["images"], "{sheet}/{digit}_{sample}.png")
    assert len(table) == 120
    assert set(table.value_counts(["sheet", "digit"])) == {3}
    with Image.open(table["path"][0]) as picture:
        assert (picture.size, picture.mode) == ((64, 64), "L")


def test_digits_that_are_written_are_not_trained_on(tmp_path):
    others, classes = write_digits(tmp_path)
    # scikit-learn has 1797 digits.
    assert others.shape == (1797 - 120, 8, 8)
    assert len(classes) == len(others)
    from sklearn.datasets import load_digits

    count = Counter(digit.tobytes() for digit in load_digits().images)
    count.subtract(digit.tobytes() for digit in others)
    assert sum(count.values()) == 120
    assert min(count.values()) == 0
    # Dark ink on white paper, at the places where the digit has it.
    with Image.open(tmp_path / "sheet1" / "0_1.png") as picture:
        first = np.asarray(picture, float)
    small = first.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), load_digits().images[0].ravel())[0, 1] < -0.95


def test_the_trained_network_names_digits_and_the_untrained_one_guesses(result):
    assert result.accuracy["trained"] > 0.9
    assert result.accuracy["untrained"] < 0.3


def test_the_untrained_network_is_the_trained_one_before_its_training():
    one, same, other = digit_network(3), digit_network(3), digit_network(4)
    weights = [network[0].weight.detach().clone() for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    threads = torch.get_num_threads()
    rng = np.random.default_rng(0)
    digits, classes = rng.uniform(0, 16, (8, 8, 8)), np.arange(8)
    for network in (one, same):
        assert train_on_digits(network, digits, classes, n_epochs=1) is network
        assert not network.training
    assert torch.get_num_threads() == threads
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, weights[0])


def test_every_layer_of_all_networks_has_its_rdms(result):
    assert len(result.rdm_df) == N_LAYERS * 4 * 2
    assert result.rdm_df.groupby("model", sort=False)["layer"].nunique().to_dict() == {
        "trained": 13,
        "untrained": 13,
        "alexnet": 22,
    }
    assert all(matrix.shape == (30, 30) for matrix in result.rdm_df["matrix"])
    assert np.isfinite(np.stack(result.rdm_df["matrix"].tolist())).all()


def test_rdms_of_the_images_are_those_of_their_pixels(result):
    row = only(
        result.rdm_df,
        model="trained",
        layer="original_rgb",
        sheet="sheet2",
        dissim_metric="corr",
    )
    pixels = []
    for digit, sample in row["entry_keys"]:
        with Image.open(result.files["images"] / "sheet2" / f"{digit}_{sample}.png") as picture:
            small = ImageOps.invert(picture).resize((16, 16), Image.Resampling.BILINEAR)
        pixels.append(np.asarray(small, float).ravel())
    # Pillow's resizing and numpy's correlation.
    np.testing.assert_allclose(row["matrix"], 1 - np.corrcoef(pixels), atol=1e-6)


def test_the_second_order_is_one_minus_the_correlation_of_upper_triangles(result):
    assert len(result.second_order) == 4 * 2
    row = only(result.second_order, sheet="sheet3", dissim_metric_sub="euclidean_distance")
    assert row["entry_keys"][:2] == (("trained", "original_rgb"), ("trained", "conv1"))
    assert row["entry_keys"][-1] == ("alexnet", "fc3")
    triangles = [
        upper(
            only(
                result.rdm_df,
                model=model,
                layer=layer,
                sheet="sheet3",
                dissim_metric="euclidean_distance",
            )["matrix"]
        )
        for model, layer in row["entry_keys"]
    ]
    assert np.shape(triangles) == (N_LAYERS, 30 * 29 / 2)
    np.testing.assert_allclose(row["matrix"], 1 - np.corrcoef(triangles), atol=1e-12)


def test_the_third_order_compares_the_sheets(result):
    assert result.third_order["dissim_metric_sub_sub"].tolist() == ["corr", "euclidean_distance"]
    row = only(result.third_order, dissim_metric_sub_sub="corr")
    assert row["entry_keys"] == (("sheet1",), ("sheet2",), ("sheet3",), ("sheet4",))
    triangles = [
        upper(only(result.second_order, sheet=sheet, dissim_metric_sub="corr")["matrix"])
        for (sheet,) in row["entry_keys"]
    ]
    np.testing.assert_allclose(row["matrix"], 1 - np.corrcoef(triangles), atol=1e-12)
    assert row["matrix"].max() < 0.2
    assert row["entry_keys_sub"][0] == ("trained", "original_rgb")
    assert row["entry_keys_sub_sub"][0] == ("0", "1")


def test_the_table_holds_means_over_pairs_of_one_digit_and_of_two(result):
    table = result.table
    assert len(table) == N_LAYERS
    row = only(table, model="trained", layer="fc2")
    same, other = [], []
    for sheet in ("sheet1", "sheet2", "sheet3", "sheet4"):
        rdm = only(result.rdm_df, model="trained", layer="fc2", sheet=sheet, dissim_metric="corr")
        for i, (first, _) in enumerate(rdm["entry_keys"]):
            for j, (second, _) in enumerate(rdm["entry_keys"][:i]):
                (same if first == second else other).append(rdm["matrix"][i, j])
    assert (len(same), len(other)) == (4 * 10 * 3, 4 * (435 - 30))
    assert row["same digit"] == pytest.approx(np.mean(same))
    assert row["other digit"] == pytest.approx(np.mean(other))
    assert row["ratio"] == pytest.approx(np.mean(other) / np.mean(same))


def test_digits_are_told_apart_best_by_the_output_of_the_trained_network(result):
    ratio = result.table.set_index(["model", "layer"])["ratio"]
    # Real digits: those of one class are alike as images already.
    assert (ratio > 1).all()
    assert ratio["trained", "fc2"] > 1.5 * ratio["trained", "original_rgb"]
    assert ratio["trained", "fc2"] > 1.5 * ratio["untrained", "fc2"]
    assert ratio["trained", "original_rgb"] == ratio["untrained", "original_rgb"]


def test_the_table_is_made_of_the_stack_alone():
    keys = (("0", "1"), ("0", "2"), ("1", "1"))
    matrix = np.array([[0, 0.1, 0.4], [0.1, 0, 0.6], [0.4, 0.6, 0]])
    stack = pd.DataFrame(
        {
            "model": "a",
            "layer": "conv1",
            "layer_num": 1,
            "dissim_metric": ["corr", "euclidean_distance"],
            "matrix": [matrix, 7 * matrix],
            "entry_keys": [keys] * 2,
        }
    )
    (row,) = compare_digits(stack).to_dict("records")
    assert row["same digit"] == pytest.approx(0.1)
    assert row["other digit"] == pytest.approx(0.5)
    assert row["ratio"] == pytest.approx(5)


# What it says


def test_each_step_is_reported_and_the_summary_says_where_things_are(result, lines):
    assert [line[:3] for line in lines] == ["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]
    assert "AlexNet's weights: random" in lines[2]
    summary = result.summary()
    assert f"trained {result.accuracy['trained']:.0%}, untrained" in summary
    assert str(result.folder) in summary
    for path in result.files.values():
        assert path.name in summary
    numbers = only(result.table, model="trained", layer="fc2")
    for name in ("same digit", "other digit", "ratio"):
        assert f"{numbers[name]:.3f}" in summary
    agreement = 1 - np.mean(upper(result.third_order["matrix"][0]))
    assert f"{agreement:.2f} by corr" in summary
    assert len(summary.splitlines()) < 30
    assert all(len(line) < 100 for line in summary.splitlines() if str(result.folder) not in line)


def test_the_command_runs_it_and_prints_the_summary(result, monkeypatch, tmp_path):
    calls = []

    def stand_in(folder, *, report, progress, random_state):
        calls.append((folder, progress, random_state))
        report("1/6  one step")
        return result

    monkeypatch.setattr(demo, "run_demo", stand_in)
    said = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), "--seed", "7", "--quiet"])
    assert said.exit_code == 0
    assert said.stdout == f"1/6  one step\n\n{result.summary()}\n"
    assert calls == [(str(tmp_path), False, 7)]
    CliRunner().invoke(main, ["demo"])
    assert calls[1][0] == "demo_output"


@pytest.mark.parametrize("in_cache", [True, False])
def test_alexnet_is_trained_where_its_weights_are_in_the_cache(tmp_path, monkeypatch, in_cache):
    asked = []

    def stop(models, **_options):
        asked.append(models["alexnet"])
        raise InterruptedError

    file = tmp_path / "alexnet.pth" if in_cache else None
    monkeypatch.setattr(demo, "trained_weights_file", lambda name: file)
    monkeypatch.setattr(demo, "train_on_digits", lambda network, *_args, **_options: network)
    monkeypatch.setattr(demo, "prepare_models", stop)
    with pytest.raises(InterruptedError):
        run_demo(tmp_path / "demo")
    assert asked == [("alexnet", "trained" if in_cache else "random")]


def test_a_folder_with_other_things_is_refused_and_left_as_it_is(tmp_path, monkeypatch):
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    with pytest.raises(ValueError, match=r"holds something else \('thesis\.tex'\); the demo need"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    (tmp_path / "own" / "images" / "sheet1").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "own" / "images" / "sheet1" / "x_1.png")
    monkeypatch.setattr(demo, "train_on_digits", lambda network, *_args, **_options: network)
    with pytest.raises(ValueError, match="holds images that are not the demo's"):
        run_demo(tmp_path / "own")


def test_what_an_earlier_demo_computed_is_not_used_again(result, tmp_path, monkeypatch):
    def stop(*_args):
        raise InterruptedError

    (tmp_path / "rdms.parquet").write_bytes(result.files["RDMs"].read_bytes())
    monkeypatch.setattr(demo, "write_digits", stop)
    with pytest.raises(InterruptedError):
        run_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_was_killed_can_be_run_again(tmp_path, monkeypatch):
    def stop(*_args):
        raise InterruptedError

    parts = tmp_path / "rdms.parquet.parts"
    parts.mkdir()
    (parts / f"{'0' * 32}.parquet").write_bytes(b"")
    (tmp_path / "rdms.parquet.lock").write_bytes(b"")
    monkeypatch.setattr(demo, "write_digits", stop)
    with pytest.raises(InterruptedError):
        run_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


# What it draws


def test_no_figure_is_left_with_pyplot(drawn):
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.mark.parametrize("name", ["map of digits", "map of layers"])
def test_nothing_that_is_drawn_is_cut_off(drawn, name):
    figure = drawn[name]
    whole = figure.bbox.padded(0.5).extents
    n_inside = 0
    for ax in figure.axes:
        assert ax.axison
        for artist in [*ax.get_children(), ax.title]:
            box = artist.get_tightbbox()
            if not artist.get_visible() or box is None or not np.isfinite(box.extents).all():
                continue
            assert (box.extents[:2] >= whole[:2]).all(), artist
            assert (box.extents[2:] <= whole[2:]).all(), artist
        # Pictures and dots lie within the frame, too, where they would be clipped.
        for artist in [*ax.images, *ax.collections, *ax.lines]:
            box = artist.get_window_extent().extents
            assert (box[:2] >= ax.bbox.extents[:2] - 0.5).all(), artist
            assert (box[2:] <= ax.bbox.extents[2:] + 0.5).all(), artist
            n_inside += 1
    assert n_inside > 5


def pictures_of(ax):
    return [image for image in ax.get_children() if isinstance(image, AxesImage)]


def test_each_panel_has_a_thumbnail_per_digit_with_its_aspect_kept(drawn):
    figure = drawn["map of digits"]
    assert len(figure.axes) == 5
    for ax in figure.axes:
        pictures = pictures_of(ax)
        assert len(pictures) == 30
        for picture in pictures:
            height, width = picture.get_array().shape[:2]
            box = picture.get_window_extent()
            assert box.width / box.height == pytest.approx(width / height, rel=1e-6)


def test_thumbnails_lie_where_the_embedding_puts_their_entries_or_lines_lead_there(result, drawn):
    chosen = {"model": "trained", "layer": "fc2", "sheet": "sheet2", "dissim_metric": "corr"}
    row = pfa.df_filter(result.rdm_df, list(chosen.items()))
    coordinates = pfa.mds_coordinates(row)
    points = coordinates[["dim1", "dim2"]].to_numpy()
    titles = {ax.get_title(): ax for ax in drawn["map of digits"].axes}
    ax = titles["trained network, fc2 (output)"]
    boxes = np.array([picture.get_window_extent().extents for picture in pictures_of(ax)])
    led = {}
    for line in ax.lines:
        start, end = ax.transData.transform(line.get_xydata())
        away = np.abs(np.clip(end, boxes[:, :2], boxes[:, 2:]) - end).max(axis=1)
        led[int(away.argmin())] = start
        assert away.min() < 0.01
    assert 3 <= len(led) < 15
    # A turn, a scale and a shift, as those with a line have it, put all others on their pictures.
    here, there = points[list(led)], np.array(list(led.values()))
    u, sizes, v = np.linalg.svd((here - here.mean(axis=0)).T @ (there - there.mean(axis=0)))
    scale = sizes.sum() / ((here - here.mean(axis=0)) ** 2).sum()
    expected = (points - here.mean(axis=0)) @ u @ v * scale + there.mean(axis=0)
    np.testing.assert_allclose(expected[list(led)], there, atol=0.01)
    on_picture = (boxes[:, :2] - 0.01 < expected) & (expected < boxes[:, 2:] + 0.01)
    assert set(np.flatnonzero(~on_picture.all(axis=1))) == set(led)
    # And each is the picture of its entry, in the colour of its digit.
    for picture, (digit, sample) in zip(pictures_of(ax), coordinates["entry_key"], strict=True):
        pixels = np.asarray(picture.get_array())
        inked = pixels[pixels[..., 3] > 250][:, :3]
        assert {colors.to_hex(pixel / 255) for pixel in inked} == {INKS[int(digit)].lower()}
        with Image.open(result.files["images"] / "sheet2" / f"{digit}_{sample}.png") as image:
            grey = 255 - np.asarray(image, float)
        rows, columns = (np.flatnonzero((grey > 30).any(axis=axis)) for axis in (1, 0))
        inside = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.corrcoef(inside.ravel(), pixels[..., 3].ravel())[0, 1] > 0.999


def test_thumbnails_do_not_overlap_and_panels_are_of_one_size(drawn):
    axes = drawn["map of digits"].axes
    sizes = np.array([ax.bbox.size for ax in axes])
    np.testing.assert_allclose(sizes, sizes[0].mean(), rtol=0.01)
    for ax in axes:
        boxes = np.array([picture.get_window_extent().extents for picture in pictures_of(ax)])
        apart = (boxes[:, None, :2] >= boxes[None, :, 2:] - 0.01).any(axis=2)
        assert (apart | apart.T | np.eye(len(boxes), dtype=bool)).all()


def test_maps_are_turned_to_that_of_the_images(drawn):
    middles = []
    for ax in drawn["map of digits"].axes:
        boxes = np.array([picture.get_window_extent().extents for picture in pictures_of(ax)])
        middles.append(ax.transData.inverted().transform((boxes[:, :2] + boxes[:, 2:]) / 2))
    for other in middles[1:]:
        centred, target = (places - places.mean(axis=0) for places in (other, middles[0]))
        angles = np.radians(range(0, 360, 45))
        turns = [[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles]
        away = [np.linalg.norm(centred @ np.array(turn) - target) for turn in turns]
        mirrored = [np.linalg.norm(centred * [-1, 1] @ np.array(turn) - target) for turn in turns]
        assert np.argmin([*away, *mirrored]) == 0


def test_labels_are_layers_of_the_entry_keys_in_their_networks_colour(result, drawn):
    (ax,) = drawn["map of layers"].axes
    labels = Counter(
        (text.get_text(), colors.to_hex(text.get_color()))
        for text in ax.texts
        if not text.get_text().startswith("stress")
    )
    keys = result.second_order["entry_keys"][0]
    expected = Counter(
        (layer, "#000000" if layer == "original_rgb" else COLOURS[model])
        for model, layer in keys
        if (model != "alexnet" and layer.startswith(("conv", "fc")))
        or (model, layer) == ("trained", "original_rgb")
        or (model == "alexnet" and layer in ("conv1", "conv5", "fc3"))
    )
    assert labels == expected
    assert sum(labels.values()) == 14


def test_labels_do_not_overlap(drawn):
    (ax,) = drawn["map of layers"].axes
    boxes = [text.get_window_extent() for text in ax.texts]
    overlapping = [
        (first, second)
        for i, first in enumerate(boxes)
        for second in boxes[:i]
        if first.x0 < second.x1 - 1
        and second.x0 < first.x1 - 1
        and first.y0 < second.y1 - 1
        and second.y0 < first.y1 - 1
    ]
    assert overlapping == []


def test_each_network_is_a_line_from_its_image_to_its_output(result, drawn):
    (ax,) = drawn["map of layers"].axes
    keys = list(result.second_order["entry_keys"][0])
    sheets = pfa.df_filter(result.second_order, ("dissim_metric_sub", "corr"))
    mean = pd.DataFrame(
        {"matrix": [sum(sheets["matrix"]) / 4], "entry_keys": [tuple(keys)]},
    )
    points = pfa.mds_coordinates(mean)[["dim1", "dim2"]].to_numpy()
    lines = {line.get_color(): line.get_xydata() for line in ax.lines if len(line.get_xdata()) > 2}
    assert set(lines) == set(COLOURS.values())
    ends = np.concatenate([lines[COLOURS[name]][[0, -1]] for name in COLOURS])
    wanted = [
        keys.index(key)
        for name, output in (("trained", "fc2"), ("untrained", "fc2"), ("alexnet", "fc3"))
        for key in ((name, "original_rgb"), (name, output))
    ]
    distances, drawn_distances = pdist(points[wanted]), pdist(ends)
    scale = drawn_distances.max() / distances.max()
    np.testing.assert_allclose(drawn_distances, scale * distances, rtol=1e-6, atol=1e-6)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["the image", "trained on digits", "untrained", "AlexNet, random weights"]


@pytest.mark.parametrize("name", ["mds_digits.png", "mds_layers.png"])
def test_the_figures_of_the_documentation_are_the_demos(result, name):
    kept = matplotlib.image.imread(DOCS / name)
    made = matplotlib.image.imread(result.folder / name)
    assert (DOCS / name).stat().st_size < 300_000
    # Another machine's rounding moves dots a little, and the cut below them with it.
    assert kept.shape[1] == made.shape[1]
    assert abs(kept.shape[0] - made.shape[0]) < 0.1 * made.shape[0]


def test_the_result_cannot_be_changed_by_accident(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.folder = "elsewhere"
