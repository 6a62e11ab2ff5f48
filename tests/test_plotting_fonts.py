"""Names in scripts that the style's font lacks, in each figure that writes names of the user's."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from made_figures import FIGURES, ITEMS, activations, pictures, rdms, similarities
from made_study import consistency_frame, gap_pairs, model_table, similarity_stack
from matplotlib.legend import Legend
from matplotlib.text import Text

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.plotting import _fonts

# A font that comes with matplotlib has it, and that of the default style does not.
NO = "\N{HIRAGANA LETTER NO}"
SQUARE = "\N{WHITE SQUARE}"


def layer_table():
    return pd.DataFrame({"layer": ["a", NO], "model": NO, "r": [0.1, 0.2]})


def sizes():
    columns = ["measure", "n_stimuli", "layer_1", "layer_2", "mean", "sd", "full", "bias"]
    rows = [(NO, n, "a", "b", 0.5, 0.1, 0.5, 1 / n) for n in (50, 100)]
    return pd.DataFrame(rows, columns=columns)


def one_objective():
    return model_table().assign(objective=NO)


def map_of_models(**options):
    models = pd.DataFrame({"model": [name for _, name in ITEMS], "kind": [NO] * 12})
    labels = tuple({"model": name} for _, name in ITEMS)
    stack = rdms().assign(entry_labels=[labels])
    return pfa.plot_model_map(stack, models, "kind", method="classical", **options)


# How often the letter is written, the title included.
CASES = {
    "plot_heatmap": (
        lambda **o: pfa.plot_heatmap(pd.DataFrame({NO: [1.0, 2]}), bar_label=NO, **o),
        3,
    ),
    "plot_layers": (lambda **o: pfa.plot_layers(layer_table(), value_label=NO, **o), 3),
    "lines of plot_layers": (lambda **o: pfa.plot_layers(layer_table(), lines="model", **o), 3),
    "plot_montage": (lambda **o: pfa.plot_montage(pictures(), [NO] * 12, **o), 13),
    "plot_model_map": (map_of_models, 2),
    "plot_shepard": (lambda **o: pfa.plot_shepard(rdms(), method="classical", **o), 1),
    "plot_dataset_scatter": (
        lambda **o: pfa.plot_dataset_scatter(
            similarity_stack(datasets=(NO, "b")),
            *(NO, "b"),
            model_table=one_objective(),
            column="objective",
            **o,
        ),
        3,
    ),
    "plot_similarity_spread": (
        lambda **o: pfa.plot_similarity_spread(similarity_stack(), names={"linear_cka": NO}, **o),
        3,
    ),
    "plot_consistency_boxes": (
        lambda **o: pfa.plot_consistency_boxes(
            consistency_frame(), names={"Self-Supervised": NO}, **o
        ),
        4,
    ),
    "plot_sample_sizes": (lambda **o: pfa.plot_sample_sizes(sizes(), **o), 2),
    "plot_similarity_against_gap": (
        lambda **o: pfa.plot_similarity_against_gap(
            gap_pairs(), ["pets"], names={"pets": NO, "linear_cka": NO}, **o
        ),
        3,
    ),
    "plot_metric_comparison": (
        lambda **o: pfa.plot_metric_comparison(
            activations().iloc[[0]], metrics=["pearson"], names={"pearson": NO}, **o
        ),
        2,
    ),
    "plot_measure_comparison": (
        lambda **o: pfa.plot_measure_comparison(similarities(), names={"linear_cka": NO}, **o),
        3,
    ),
    "plot_rdm": (lambda **o: pfa.plot_rdm(rdms(), groups=dict.fromkeys(NAMES, NO), **o), 3),
    "legend of plot_rdm": (
        lambda **o: pfa.plot_rdm(
            rdms(), order="linkage", groups={name: NO + name[0] for name in NAMES}, **o
        ),
        9,
    ),
    "plot_mds_panels": (
        lambda **o: pfa.plot_mds_panels(rdms(), names={"conv1": NO}, method="classical", **o),
        2,
    ),
    "rdm_mds": (lambda **o: pfa.rdm_mds(rdms(), cond_labels={"cat": NO}, **o), 2),
    "plot_stack_graph": (lambda **o: pfa.plot_stack_graph(rdms().assign(model=NO), **o), 2),
}
NAMES = [name for _, name in ITEMS]
PANELS = ("plot_similarity_against_gap", "plot_metric_comparison", "plot_mds_panels")


def texts_of(figure):
    return [text for text in figure.findobj(Text) if text.get_text()]


def as_drawn(text):
    """What is seen of a text that is no mathematics."""
    written, is_math = text._preprocess_math(text.get_text())
    return "" if is_math else written


def is_drawn_in(family, text):
    return family in text.get_fontfamily()


@pytest.fixture(autouse=True)
def default_style():
    with plt.style.context("default"):
        yield


@pytest.mark.parametrize("case", CASES)
def test_a_letter_that_the_style_lacks_is_drawn_in_a_font_that_has_it(case, monkeypatch):
    font = frozenset({ord(NO)})
    monkeypatch.setattr(_fonts, "_installed", lambda: {"STIXGeneral": font})
    draw, count = CASES[case]
    draw(fig_title=NO, show=False)
    # matplotlib warns of a letter that it has no font for, and warnings are errors.
    plt.gcf().draw_without_rendering()
    own = [text for text in texts_of(plt.gcf()) if NO in text.get_text()]
    assert len(own) >= count
    assert all(is_drawn_in("STIXGeneral", text) for text in own)


@pytest.mark.parametrize("case", CASES)
def test_a_letter_that_no_font_has_is_a_square(case, monkeypatch):
    monkeypatch.setattr(_fonts, "_installed", dict)
    draw, count = CASES[case]
    draw(fig_title=NO, show=False)
    plt.gcf().draw_without_rendering()
    texts = [text.get_text() for text in texts_of(plt.gcf())]
    assert len([text for text in texts if SQUARE in text]) >= count
    assert not [text for text in texts if NO in text]


@pytest.mark.parametrize("case", [case for case in CASES if case != "plot_stack_graph"])
def test_axes_that_were_drawn_before_take_the_fonts_too(case, monkeypatch):
    font = frozenset({ord(NO)})
    monkeypatch.setattr(_fonts, "_installed", lambda: {"STIXGeneral": font})
    figure, ax = plt.subplots(figsize=(6, 6))
    ax.set(title="before", xlabel="x", ylabel="y")
    figure.draw_without_rendering()
    CASES[case][0](fig_title=NO, **({"axes": [ax]} if case in PANELS else {"ax": ax}))
    figure.draw_without_rendering()
    assert any(is_drawn_in("STIXGeneral", text) for text in texts_of(figure))


def test_each_function_that_draws_is_here():
    drawing = {function.__name__ for _, function in FIGURES.values()}
    assert drawing == {case.split(" of ")[-1] for case in CASES}


MATHS = r"$\no_b$"
LEGENDS = (
    *("lines of plot_layers", "plot_model_map", "plot_dataset_scatter", "plot_sample_sizes"),
    *("plot_measure_comparison", "legend of plot_rdm"),
)


@pytest.mark.parametrize("case", CASES)
def test_dollars_in_a_name_are_no_mathematics(case, monkeypatch):
    monkeypatch.setitem(globals(), "NO", MATHS)
    draw, count = CASES[case]
    draw(fig_title=MATHS, show=False)
    # As mathematics, this one cannot be drawn.
    plt.gcf().draw_without_rendering()
    assert len([text for text in texts_of(plt.gcf()) if MATHS in as_drawn(text)]) >= count


@pytest.mark.parametrize("case", ["plot_heatmap", "plot_layers", "plot_rdm", "rdm_mds", *PANELS])
def test_nor_are_they_on_axes_that_were_drawn_before(case, monkeypatch):
    monkeypatch.setitem(globals(), "NO", MATHS)
    figure, ax = plt.subplots(figsize=(6, 6))
    ax.set(title="before", xlabel="x", ylabel="y")
    figure.suptitle("before")
    figure.draw_without_rendering()
    CASES[case][0](fig_title=MATHS, **({"axes": [ax]} if case in PANELS else {"ax": ax}))
    figure.draw_without_rendering()
    assert any(MATHS in as_drawn(text) for text in texts_of(figure))
    if case in (*PANELS, "plot_rdm"):
        assert figure.get_suptitle() == MATHS.replace("$", r"\$")


def test_mathematics_of_yours_is_drawn_as_such_afterwards():
    ax = pfa.plot_shepard(rdms(), method="classical", fig_title=MATHS, show=False)
    ax.set(title=r"$\rho^2$", xlabel="$x$")
    ax.figure.draw_without_rendering()
    narrow = ax.title.get_window_extent().width
    ax.title.set_parse_math(False)
    assert narrow < ax.title.get_window_extent().width


def test_dollars_are_left_alone_where_mathematics_is_off():
    with plt.rc_context({"text.parse_math": False}):
        ax = pfa.plot_shepard(rdms(), method="classical", fig_title=MATHS, show=False)
    assert ax.get_title() == MATHS


@pytest.mark.parametrize("case", LEGENDS)
def test_a_name_that_starts_with_an_underscore_is_in_the_legend(case, monkeypatch):
    monkeypatch.setitem(globals(), "NO", "_no")
    CASES[case][0](show=False)
    legends = plt.gcf().findobj(Legend)
    assert any("_no" in text.get_text() for one in legends for text in one.get_texts())


def test_so_is_one_on_a_map():
    stack = rdms()
    labels = tuple({**label, "kind": f"_{label['kind']}"} for label in stack["entry_labels"][0])
    pfa.rdm_mds(
        stack.assign(entry_labels=[labels]), color_by="kind", method="classical", show=False
    )
    texts = [text.get_text().strip() for text in plt.gca().get_legend().get_texts()]
    assert texts == ["_animal", "_plant", "_vehicle"]


@pytest.mark.parametrize("case", ["plot_heatmap", "plot_rdm", "rdm_mds"])
def test_tabs_and_returns_are_spaces_and_nothing(case, monkeypatch):
    monkeypatch.setitem(globals(), "NO", "one\ttwo\r\nthree\x07")
    draw, count = CASES[case]
    draw(fig_title=5, show=False)
    # matplotlib warns of what a font has no form for.
    plt.gcf().draw_without_rendering()
    texts = [text.get_text() for text in texts_of(plt.gcf())]
    assert texts.count("one two\nthree") >= count - 1
    assert "5" in texts
