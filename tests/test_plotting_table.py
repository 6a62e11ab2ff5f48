"""Coloured tables: the values, and the colour of each."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa


def test_a_styled_table_has_its_values_and_their_colours():
    table = pd.DataFrame({"a": [0.0, 0.25], "b": [1.0, np.nan]}, index=["conv1", "fc1"])
    before = table.copy()
    html = pfa.style_similarity(table, cmap="viridis").to_html()
    for shown in ("0.00", "0.25", "1.00", "conv1"):
        assert shown in html
    assert "nan" not in html.lower()
    for value in (0.0, 0.25, 1.0):
        assert mpl.colors.rgb2hex(mpl.colormaps["viridis"](value)) in html
    assert "background-color: #cccccc" in html
    pd.testing.assert_frame_equal(table, before)
    halves = pfa.style_similarity(table, limits=(-1, 1), cmap="viridis", decimals=3).to_html()
    assert mpl.colors.rgb2hex(mpl.colormaps["viridis"](0.5)) in halves
    assert "0.250" in halves


def test_a_table_without_differences_can_be_styled():
    assert "#cccccc" in pfa.style_similarity(pd.DataFrame({"a": [np.nan]})).to_html()
    assert "1.00" in pfa.style_similarity(pd.DataFrame({"a": [1.0, 1.0]})).to_html()


@pytest.mark.parametrize(
    ("table", "options", "error", "match"),
    [
        ([[1, 2]], {}, TypeError, "`table` must be a pandas DataFrame"),
        (pd.DataFrame({"a": ["x"]}), {}, TypeError, "`table` must hold numbers.*'a'"),
        (pd.DataFrame({"a": [1.0]}), {"decimals": -1}, ValueError, "`decimals`"),
        (pd.DataFrame({"a": [1.0]}), {"limits": 3}, ValueError, "`limits`"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), {}, ValueError, "`table`.*'a'"),
    ],
)
def test_what_cannot_be_styled_is_refused(table, options, error, match):
    with pytest.raises(error, match=match):
        pfa.style_similarity(table, **options)
