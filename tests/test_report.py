"""The page about a stack: its numbers, what it warns of, and that nothing in it runs."""

import base64
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from made_stacks import make_stack
from PIL import Image

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.cli import main

LAYERS = [("conv1", 1), ("conv2", 2), ("fc1", 3)]
HOSTILE = "<img src=x onerror=alert(1)></script>"


class Page(HTMLParser):
    """The text of a page, its tags, and the table cells, as a browser would find them."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.addresses, self.handlers = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)

    def figures(self):
        mark = "data:image/svg+xml;base64,"
        return [base64.b64decode(a.removeprefix(mark)).decode() for a in self.addresses]


@pytest.fixture(autouse=True)
def without_a_screen():
    mpl.use("agg")


@pytest.fixture
def stack():
    made = make_stack(np.random.default_rng(0), models=("alexnet",), layers=LAYERS)
    made = pfa.df_filter(made, [("activation_type", "unit_level"), ("dissim_metric", "corr")])
    return made[made["obj"] == made["obj"].iloc[0]].reset_index(drop=True)


def report(stack, folder, **options):
    return Page(pfa.write_report(stack, folder / "report.html", **options))


def test_the_page_has_the_numbers_of_the_stack(stack, tmp_path):
    before = stack.copy()
    page = report(stack, tmp_path)
    pd.testing.assert_frame_equal(stack, before)
    n = len(stack["matrix"][0])
    assert f"Each holds the dissimilarities of {n} entries" in page.text
    for row in stack.itertuples():
        cells = row.matrix[np.triu_indices(n, 1)]
        numbers = (cells.min(), np.median(cells), cells.max())
        line = " ".join([row.layer, str(n), *(f"{value:.4g}" for value in numbers), "0"])
        assert line in page.text
    assert len(page.figures()) == 3
    assert all(figure.lstrip().startswith("<?xml") for figure in page.figures())


def test_the_page_is_one_file_that_runs_nothing_and_needs_no_network(stack, tmp_path):
    page = report(stack, tmp_path)
    assert "script" not in page.tags
    assert all(address.startswith("data:") for address in page.addresses)
    assert page.handlers == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_same_stack_gives_the_same_bytes(stack, tmp_path):
    first = pfa.write_report(stack, tmp_path / "first.html").read_bytes()
    assert pfa.write_report(stack, tmp_path / "second.html").read_bytes() == first


def test_the_table_says_what_its_numbers_are_of(stack, tmp_path):
    words = "Numbers are of the dissimilarities above the diagonal."
    assert f"Rows {words}" in report(stack, tmp_path).text
    many = pd.concat([stack] * 67, ignore_index=True)
    page = report(many.assign(layer=range(201)), tmp_path, num_rdms=1)
    assert f"Rows The first 200 of 201. {words}" in page.text


def test_the_title_is_no_name_that_nobody_gave(stack, tmp_path):
    nameless = stack.assign(df_name="default_name")
    assert report(nameless, tmp_path).text.startswith("Stack of RDMs")
    pfa.write_rdms(nameless, tmp_path / "my rdms.parquet")
    assert report(tmp_path / "my rdms.parquet", tmp_path).text.startswith("my rdms")


def test_columns_of_any_name_tell_rows_apart(stack, tmp_path):
    odd = stack.rename(columns={"layer": 0}).assign(dissim_metric=[["corr"]] * len(stack))
    page = report(odd.assign(note=["x", None, np.nan]), tmp_path)
    assert "0 note entries" in page.text
    assert "conv1 x" in page.text
    assert "None" not in page.text
    assert "nan" not in page.text


@pytest.mark.parametrize("name", ["caf\udce9", "bell \x07", r"$\frac$ \$", "a\nb", ""])
def test_names_of_any_letters_are_drawn(stack, tmp_path, name):
    keys = tuple((f"{name}{k}",) for k in range(len(stack["matrix"][0])))
    named = stack.drop(columns="entry_labels").assign(
        layer=pd.Series([f"{name}{k}" for k in range(len(stack))], dtype=object),
        entry_keys=[keys] * len(stack),
    )
    page = report(named, tmp_path, num_rdms=1)
    assert "No figure" not in page.text
    for figure in page.figures():
        ET.fromstring(figure)


def test_labels_may_be_missing(stack, tmp_path):
    sizes = (1.0, pd.NA, None, np.nan)
    labels = tuple({"size": size, "place": k} for k, size in enumerate(sizes))
    named = stack.assign(entry_labels=[labels] * len(stack))
    assert "No figure" not in report(named, tmp_path, num_rdms=1).text


def test_rows_whose_metric_is_missing_are_on_a_scale_of_ranks(stack, tmp_path):
    page = report(stack.assign(dissim_metric=["corr", None, None]), tmp_path)
    assert "Ranks of the dissimilarities" in page.text
    assert len(page.figures()) == 3


def test_missing_cells_are_no_value_that_all_have(stack, tmp_path):
    infinite = np.full_like(stack["matrix"][0], np.inf)
    gone = stack.drop(columns="dissim_rankings").assign(matrix=[infinite] * len(stack))
    page = report(gone, tmp_path)
    assert "are missing" in page.text
    assert "the same value in all cells" not in page.text


def test_markup_in_names_is_text(stack, tmp_path):
    n = len(stack["matrix"][0])
    keys = tuple((f"{HOSTILE}{k}",) for k in range(n))
    labels = tuple({HOSTILE: key[0]} for key in keys)
    named = stack.drop(columns=["dissim_rankings"]).assign(
        layer=[f"{HOSTILE}{k}" for k in range(len(stack))],
        df_name=HOSTILE,
        entry_keys=[keys] * len(stack),
        entry_labels=[labels] * len(stack),
        preprocessing=HOSTILE,
        row_key="key",
    )
    page = report(named, tmp_path)
    assert page.handlers == []
    assert "script" not in page.tags
    assert page.tags.count("img") == len(page.figures()) == 3
    assert HOSTILE in page.text


def test_what_a_reader_must_know_stands_first(stack, tmp_path):
    holed, flat, crooked = (matrix.copy() for matrix in stack["matrix"][:3])
    holed[0, 1] = holed[1, 0] = np.nan
    flat[:] = 1 - np.eye(len(flat))
    crooked[0, 1] += 0.5
    odd = stack.drop(columns="dissim_rankings").assign(matrix=[holed, flat, crooked])
    page = report(odd, tmp_path, symmetrize=True)
    for words in (
        "1 cells in 1 of 3 RDMs are missing.",
        "1 of 3 RDMs have the same value in all cells",
        "1 of 3 RDMs are not symmetric",
        "does not say how its rows were computed",
    ):
        assert words in page.text
    assert "negative" not in page.text


def test_a_figure_that_cannot_be_drawn_is_said_and_the_others_stand(stack, tmp_path):
    below = [matrix - 1.5 * (1 - np.eye(len(matrix))) for matrix in stack["matrix"]]
    page = report(stack.drop(columns="dissim_rankings").assign(matrix=below), tmp_path)
    assert len(page.figures()) == 2
    assert "No figure 'Maps':" in page.text
    assert "3 of 3 RDMs have negative cells" in page.text


def test_settings_are_those_of_the_files(stack, tmp_path):
    made = {
        "row_key": "key",
        "run_id": "run",
        "images_hash": "c" * 64,
        "layers": "{}",
        "preprocessing": "resize 256",
        "random_state": 7,
        "batch_size": 16,
        "num_threads": 2,
        "device": "cpu",
        "versions": "torch 8.8",
        "model_hash": "abcdef0123456789",
    }
    pfa.write_rdms(stack.assign(**made), tmp_path / "rdms.parquet")
    page = report(tmp_path / "rdms.parquet", tmp_path)
    for words in ("resize 256", "torch 8.8", "abcdef012345", "Settings"):
        assert words in page.text
    assert "abcdef0123456" not in page.text
    assert "does not say how" not in page.text
    meta = pfa.get_meta_rdms(stack, None, ["layer"], grouping_variables=["model"], progress=False)
    above = report(meta, tmp_path, below=[tmp_path / "rdms.parquet"])
    assert "Settings of order 1" in above.text
    assert "The seed was 7." in above.text
    assert "does not say how" not in above.text


def test_rows_of_which_nothing_is_on_record_are_counted(stack, tmp_path):
    known = stack.assign(row_key="key", batch_size=16)
    both = pd.concat([known, stack.assign(layer=[f"{x} 2" for x in stack["layer"]])])
    page = report(both, tmp_path)
    assert "3 of 6 rows of order 1 do not say how they were computed." in page.text
    assert "rows alexnet 16 3 alexnet 3" in page.text


def test_shuffles_are_counted_and_not_drawn(stack, tmp_path):
    meta = pfa.get_meta_rdms(
        stack, None, ["layer"], grouping_variables=["model"], num_perms=5, progress=False
    )
    page = report(meta, tmp_path)
    assert "shuffles 5" in page.text
    assert "RDMs 1 order 2" in page.text


def test_of_many_rdms_some_are_drawn_and_the_page_says_so(stack, tmp_path):
    page = report(stack, tmp_path, num_rdms=2)
    assert "2 of 3 RDMs are drawn." in page.text
    rdms = page.figures()[1]
    assert rdms.count('id="axes_') == 3  # two and the bar of colours
    with pytest.raises(ValueError, match="`num_rdms` must be"):
        report(stack, tmp_path, num_rdms=0)


def test_pictures_that_are_not_there_are_one_warning_a_figure(stack, tmp_path, caplog):
    keys = stack["entry_keys"][0]
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "there.png")
    pictures = dict.fromkeys(keys, tmp_path / "there.png")
    pictures[keys[0]] = tmp_path / "not_there.png"
    path = pfa.write_report(stack, tmp_path / "report.html", pictures=pictures)
    assert len([m for m in caplog.messages if "not there" in m]) == 2
    assert path.stat().st_size < 3_000_000


def test_pictures_of_no_entry_are_refused(stack, tmp_path):
    with pytest.raises(ValueError, match="`pictures` names no entry of this RDM, but 'nobody'"):
        report(stack, tmp_path, pictures={"nobody": tmp_path / "there.png"})


def test_bad_targets_and_stacks_are_refused_before_any_work(stack, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        pfa.write_report(stack, tmp_path / "nowhere" / "report.html")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        pfa.write_report(stack, tmp_path)
    with pytest.raises(ValueError, match="no rows"):
        pfa.write_report(stack.iloc[:0], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page_of_chosen_rows(stack, tmp_path):
    pfa.write_rdms(stack, tmp_path / "rdms.parquet")
    out = tmp_path / "page.html"
    words = [str(tmp_path / "rdms.parquet"), "--where", "layer=conv1", "--out", str(out)]
    result = CliRunner().invoke(main, ["report", *words, "--title", "Mine & yours"])
    assert result.exit_code == 0, result.output
    assert f"{out}: 1 RDM" in result.output
    page = Page(out)
    assert "Mine & yours" in page.text
    assert "conv2" not in page.text
    assert CliRunner().invoke(main, ["report", *words, "--pictures", "x"]).exit_code == 2
