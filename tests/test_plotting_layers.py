"""Values from layer to layer."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def fits(models=("trained", "untrained"), layers=("conv1", "conv2", "fc1")):
    rows = [(model, layer) for model in models for layer in layers]
    r = np.linspace(-0.2, 0.6, len(rows))
    return pd.DataFrame(rows, columns=["model", "layer"]).assign(
        r=r, ci_low=r - 0.1, ci_high=r + 0.2, ceiling_low=0.5, ceiling_high=0.7
    )


def test_lines_bars_and_the_ceiling_are_those_of_the_table():
    table = fits()
    before = table.copy()
    ax = pfa.plot_layers(table, lines="model", show=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["conv1", "conv2", "fc1"]
    drawn = [container.lines[0].get_ydata() for container in ax.containers]
    np.testing.assert_allclose(np.concatenate(drawn), table["r"])
    bars = np.concatenate([c.lines[2][0].get_segments() for c in ax.containers])
    np.testing.assert_allclose(bars[:, :, 1], table[["ci_low", "ci_high"]])
    # Lines stand apart at a layer.
    assert ax.containers[0].lines[0].get_xdata()[0] < 0 < ax.containers[1].lines[0].get_xdata()[0]
    (band,) = ax.patches
    assert band.get_y() == 0.5
    assert band.get_height() == pytest.approx(0.2)
    assert [text.get_text() for text in ax.texts] == ["noise ceiling"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["trained", "untrained"]
    pd.testing.assert_frame_equal(table, before)


def test_layers_are_chosen_and_named():
    ax = pfa.plot_layers(
        fits(["only"]).drop(columns=["ci_low", "ceiling_low"]),
        layers=["fc1", "conv1"],
        names={"fc1": "last"},
        value_label="fit",
        show=False,
    )
    assert [label.get_text() for label in ax.get_xticklabels()] == ["last", "conv1"]
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), [0.6, -0.2])
    assert ax.get_ylabel() == "fit"
    assert ax.get_legend() is None
    assert not ax.patches


def test_a_layer_that_a_line_lacks_is_a_gap():
    ax = pfa.plot_layers(fits().iloc[1:], lines="model", layers=["conv1", "conv2"], show=False)
    first, second = (container.lines[0].get_ydata() for container in ax.containers)
    assert np.isnan(first[0])
    assert np.isfinite(second).all()


def test_ceilings_that_differ_are_not_drawn():
    table = fits().assign(ceiling_low=np.arange(6.0))
    assert not pfa.plot_layers(table, lines="model", show=False).patches


def test_it_is_saved(tmp_path):
    pfa.plot_layers(fits(), lines="model", show=False, save_opts=tmp_path / "layers.pdf")
    assert (tmp_path / "layers.pdf").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "several rows of the layer 'conv1'; take one"),
        ({"lines": "modle"}, "'modle'"),
        ({"lines": "model", "layers": ["conv3"]}, "'conv3'"),
        ({"lines": "model", "value": "rho"}, "'rho'"),
        ({"lines": "model", "names": {"x": "y"}}, "'x'"),
    ],
)
def test_what_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        pfa.plot_layers(fits(), show=False, **options)


def test_an_interval_beside_the_value_is_drawn_where_it_is():
    table = pd.DataFrame({"layer": ["a", "b", "c"], "r": [0.4, 0.5, 0.6]})
    table = table.assign(ci_low=[0.5, 0.4, 0.2], ci_high=[0.7, np.nan, 0.3])
    ax = pfa.plot_layers(table, show=False)
    bars = ax.containers[0].lines[2][0].get_segments()
    ends = [bar[:, 1].tolist() for bar in bars if len(bar) == 2]
    assert ends == [[0.5, 0.7], [0.2, 0.3]]
    low, high = ax.get_ylim()
    assert low < 0.2
    assert high > 0.7
