"""The page of `explore` without a browser: what is in it, what cannot run in it, bad input."""

import base64
import hashlib
import io
import json
import logging
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from made_stacks import meta, random_rdm, small_stack, with_dead
from PIL import Image
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import explorer
from pytorch_feature_analysis.cli import main

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "{{ 7*7 }} {% raw %}",
    "back\\slash \"double\" 'single' `tick` ${x}",
    "@{x} $index @$name",
    "<!-- <script>",
    "&lt;b&gt; \u2028 \x07",
    "$$x^2$$",
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def page(tmp_path):
    """Write a page, and give what is in it."""

    def write(stack, pictures=None, **options):
        path = pfa.explore(stack, pictures, tmp_path / "page.html", progress=False, **options)
        return data_of(path)

    return write


def data_of(path):
    text = Path(path).read_text(encoding="utf-8")
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


def numbers(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def points_of(row):
    return numbers(row["points"]).reshape(-1, 2)


def picture_of(uri):
    kind, _, text = uri.partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def saved_pictures(folder, keys, size=(40, 30)):
    paths = {}
    for k, key in enumerate(keys):
        paths[key] = folder / f"{k}.png"
        Image.new("RGB", size, (20 * k, 90, 200)).save(paths[key])
    return paths


# What is in the page


def test_matrices_come_back_as_float32(rng, page):
    stack = small_stack(rng)
    for row, matrix in zip(page(stack)["rows"], stack["matrix"], strict=True):
        triangle = matrix[np.triu_indices(len(matrix), 1)]
        np.testing.assert_array_equal(numbers(row["cells"]), triangle.astype(np.float32))
        assert row["square"] is False
        assert row["range"] == [triangle.min(), triangle.max()]


def test_what_is_not_symmetric_is_kept_square_and_needs_symmetrize(rng, page):
    stack = small_stack(rng, n_rows=2)
    matrix = stack["matrix"][1].copy()
    matrix[0, 3] += 0.5
    stack["matrix"] = [stack["matrix"][0], matrix]
    with pytest.raises(ValueError, match=r"row 1 of `rdm_df` is not symmetric.*`symmetrize`=True"):
        page(stack)
    row = page(stack, symmetrize=True)["rows"][1]
    assert row["square"] is True
    np.testing.assert_array_equal(numbers(row["cells"]).reshape(5, 5), matrix.astype(np.float32))
    # Oracle: the map of the mean of both directions.
    mean = (matrix + matrix.T) / 2
    expected = pfa.mds_coordinates(stack.iloc[[1]].assign(matrix=[mean]), num_starts=1)
    np.testing.assert_allclose(pdist(points_of(row)), pdist(expected[["dim1", "dim2"]]), rtol=1e-4)


def test_missing_cells_stay_missing_and_dead_entries_have_no_point(rng, page, caplog):
    stack = small_stack(rng, n_rows=1)
    matrix = with_dead(stack["matrix"][0], 2)
    matrix[0, 1] = matrix[1, 0] = np.inf
    row = page(stack.assign(matrix=[matrix]))["rows"][0]
    cells = numbers(row["cells"])
    expected = matrix[np.triu_indices(5, 1)]
    np.testing.assert_array_equal(np.isfinite(cells), np.isfinite(expected))
    np.testing.assert_array_equal(np.isnan(points_of(row)[:, 0]), np.arange(5) == 2)
    assert "('c',)" in caplog.text


def test_maps_are_those_of_mds_coordinates_each_turned_to_the_last(rng, page):
    stack = small_stack(rng, n_rows=4, n_items=8)
    last = None
    for k, row in enumerate(page(stack)["rows"]):
        table = pfa.mds_coordinates(stack.iloc[[k]], num_starts=1)
        expected = table[["dim1", "dim2"]].to_numpy()
        if last is not None:
            # Oracle: scipy's orthogonal Procrustes; the points are centred already.
            expected = expected @ orthogonal_procrustes(expected, last)[0]
        np.testing.assert_allclose(points_of(row), expected, atol=1e-5)
        last = expected


def test_rows_of_other_entries_between_do_not_disturb_the_alignment(rng, page):
    stack = small_stack(rng, n_rows=2, n_items=8)
    other = small_stack(rng, n_rows=1, n_items=4).assign(layer="between")
    mixed = pd.concat([stack[:1], other, stack[1:]], ignore_index=True)
    alone, among = page(stack)["rows"], page(mixed)["rows"]
    assert [row["points"] for row in alone] == [among[0]["points"], among[2]["points"]]


def test_an_order_of_entries_of_its_own_is_matched_by_key(rng, page):
    stack = small_stack(rng, n_rows=1, n_items=6)
    matrix, keys = stack["matrix"][0], stack["entry_keys"][0]
    order = np.array([3, 0, 5, 1, 4, 2])
    turned = stack.assign(
        layer="turned",
        matrix=[matrix[np.ix_(order, order)]],
        entry_keys=[tuple(keys[i] for i in order)],
    )
    one, two = page(pd.concat([stack, turned], ignore_index=True))["rows"]
    np.testing.assert_allclose(points_of(two), points_of(one)[order], atol=1e-4)


def test_rows_are_chosen_by_the_columns_in_which_they_differ(rng, page):
    stack = small_stack(rng, n_rows=4).assign(
        model=["a", "a", "b", "b"],
        layer=["conv", "fc", "conv", "pool"],
        layer_num=[1, 3, 1, 2],
        family=["x", "x", "y", "y"],
        same="always",
        run_id=list("wxyz"),
        kernel_inds=[(1, 2), (3,), (4,), (5,)],
    )
    data = page(stack)
    # `family` says what `model` says, and the number of a layer what its name does.
    assert data["columns"] == [
        {"name": "model", "values": ["a", "b"]},
        {"name": "layer", "values": ["conv", "fc", "pool"]},
    ]
    assert [row["at"] for row in data["rows"]] == [[0, 0], [0, 1], [1, 0], [1, 2]]
    assert data["step"] == 1
    asked = page(stack, columns=["family", "layer_num"], step="family")
    assert [column["name"] for column in asked["columns"]] == ["family", "layer_num"]
    assert asked["step"] == 0


def test_rows_that_are_alike_in_all_columns_are_numbered(rng, page):
    stack = small_stack(rng, n_rows=3).assign(layer=["a", "a", "b"])
    data = page(stack)
    assert data["columns"][1] == {"name": "row", "values": ["1", "2", "3"]}
    assert page(stack[:1])["columns"] == []
    # A column of that name keeps its values.
    own = page(stack.assign(row=["p", "p", "q"], layer="a"))
    assert own["columns"] == [
        {"name": "row", "values": ["p", "q"]},
        {"name": "row number", "values": ["1", "2", "3"]},
    ]


def test_rows_of_several_sets_of_entries_share_what_they_have_in_common(rng, page):
    first, second = small_stack(rng, n_rows=2), small_stack(rng, n_rows=1, n_items=7)
    data = page(pd.concat([first, second.assign(layer="other")], ignore_index=True))
    assert [entry["label"] for entry in data["entries"]] == list("abcdefg")
    assert [row["set"] for row in data["rows"]] == [0, 0, 1]
    assert data["sets"][1]["entries"] == list(range(7))
    assert [len(points_of(row)) for row in data["rows"]] == [5, 5, 7]


def test_the_second_order_has_labels_of_all_parts_and_what_they_are(rng, page):
    stack = pd.concat(
        [small_stack(rng).assign(model=model) for model in ("one", "two")], ignore_index=True
    )
    data = page(meta(stack, ["model", "layer"]))
    assert data["entries"][7] == {
        "label": "two, layer1",
        "variables": {"model": "two", "layer": "layer1"},
    }
    assert data["pictures"] == []


def test_labels_are_those_given_in_any_script(rng, page):
    labels = {"a": "кошка 猫", ("b",): "كلب"}
    data = page(small_stack(rng), labels=labels)
    assert [entry["label"] for entry in data["entries"]] == ["кошка 猫", "كلب", "c", "d", "e"]
    with pytest.raises(ValueError, match="`labels` names no entry of this RDM, but 'z'"):
        page(small_stack(rng), labels={"z": "?"})


def test_the_title_is_that_given_or_the_name_of_the_stack(rng, tmp_path):
    stack = small_stack(rng)
    for expected, frame, options in (
        ("RDM explorer", stack, {}),
        ("colours", stack.assign(df_name="colours"), {}),
        ("<i>Mine &amp;", stack, {"title": "<i>Mine &"}),
    ):
        path = pfa.explore(frame, out=tmp_path / "a.html", progress=False, **options)
        shown = expected.replace("<i>", "&lt;i&gt;")
        assert f"<title>{shown}</title>" in path.read_text(encoding="utf-8")


# Pictures


def test_pictures_are_small_and_each_is_there_once(rng, page, tmp_path):
    stack = small_stack(rng)
    keys = stack["entry_keys"][0]
    pictures = saved_pictures(tmp_path, keys[:3], size=(4000, 3000))
    pictures[keys[3]] = Path(pictures[keys[0]])
    data = page(stack, pictures)
    assert data["sets"] == [{"entries": [0, 1, 2, 3, 4], "pictures": [0, 1, 2, 0, -1]}]
    assert [picture_of(uri).size for uri in data["pictures"]] == [(256, 192)] * 3
    colour = picture_of(data["pictures"][2]).convert("RGB").getpixel((100, 100))
    np.testing.assert_allclose(colour, (40, 90, 200), atol=6)
    small = page(stack, pictures, picture_size=32)
    assert picture_of(small["pictures"][0]).size == (32, 24)


def test_many_pictures_are_smaller(rng, page, monkeypatch):
    monkeypatch.setattr("pytorch_feature_analysis._explorer_pictures._MOST_PIXELS", 5 * 50**2)
    stack = small_stack(rng)
    pictures = {key: Image.new("RGB", (100, 100)) for key in stack["entry_keys"][0]}
    assert {picture_of(uri).size for uri in page(stack, pictures)["pictures"]} == {(50, 50)}


def test_images_and_arrays_serve_as_pictures_and_short_keys_too(rng, page):
    array = np.zeros((6, 8, 3), dtype=np.uint8)
    data = page(small_stack(rng), {"a": Image.new("RGB", (5, 5)), "b": array, "c": array / 255})
    assert [picture_of(uri).size for uri in data["pictures"]] == [(5, 5), (8, 6), (8, 6)]


def test_image_sets_serve_the_rows_of_their_labels(rng, page, tmp_path):
    stack = small_stack(rng, n_rows=3).assign(obj=["cup", "hat", "cup"])
    keys = stack["entry_keys"][0]
    paths = saved_pictures(tmp_path, range(10))
    table = [
        {"path": paths[k], "obj": "cup" if k < 5 else "hat", "color": keys[k % 5][0]}
        for k in range(10)
    ]
    sets = pfa.package_image_sets(table, ["color"], ["obj"])
    data = page(stack, sets)
    assert [data["sets"][row["set"]]["pictures"] for row in data["rows"]] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [0, 1, 2, 3, 4],
    ]
    assert page(stack, sets[0][1])["sets"] == [
        {"entries": [0, 1, 2, 3, 4], "pictures": [0, 1, 2, 3, 4]}
    ]
    with pytest.raises(ValueError, match=r"the labels of none are in a row.*\{'obj': 'cup'\}"):
        page(stack.assign(obj="pen"), sets)


def test_pictures_that_cannot_be_read_are_blank_and_counted_once(rng, page, tmp_path, caplog):
    stack = small_stack(rng)
    pictures = saved_pictures(tmp_path, stack["entry_keys"][0])
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_text("no picture")
    data = page(stack, pictures)
    assert [uri is None for uri in data["pictures"]] == [True, True, False, False, False]
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.getMessage().startswith("2 of 5 pictures cannot be read, and are blank")
    assert "('a',), ('b',)" in warning.getMessage()


@pytest.mark.parametrize("nothing", [None, np.nan, 3])
def test_what_is_no_picture_is_blank_for_each_entry(rng, page, caplog, nothing):
    data = page(small_stack(rng), {"a": nothing, "b": nothing, "c": Image.new("RGB", (5, 5))})
    shown = [k if k < 0 else data["pictures"][k] for k in data["sets"][0]["pictures"]]
    assert shown[:2] == [None, None]
    assert shown[2].startswith("data:")
    assert shown[3:] == [-1, -1]
    assert "pictures cannot be read, and are blank" in caplog.text


def test_image_sets_may_name_entries_by_a_single_value(rng, page):
    data = page(small_stack(rng), [({}, {"a": Image.new("RGB", (5, 5))})])
    assert data["sets"][0]["pictures"] == [0, -1, -1, -1, -1]


def test_rows_whose_measure_is_missing_are_shown_without(rng, page):
    stack = small_stack(rng, n_rows=3, dissim_metric=["corr", None, np.nan])
    assert [row["measure"] for row in page(stack)["rows"]] == ["corr", "", ""]


def test_pictures_of_other_entries_are_logged_and_of_none_refused(rng, page, caplog):
    caplog.set_level(logging.INFO)
    stack = small_stack(rng)
    picture = Image.new("RGB", (5, 5))
    page(stack, {"a": picture, "z": picture})
    assert "`pictures` names entries that are not in this RDM: 'z'" in caplog.text
    with pytest.raises(ValueError, match=r"names no entry of this RDM, but 'z'.*\('a',\), \('b',"):
        page(stack, {"z": picture})


@pytest.mark.parametrize("pictures", ["folder", [1], [({}, "x")], 5])
def test_other_kinds_of_pictures_are_refused(rng, page, pictures):
    with pytest.raises(TypeError, match="`pictures` must be a dict from entry key to picture, or"):
        page(small_stack(rng), pictures)


# Safety


class Tags(HTMLParser):
    """Tags of a page as a browser would find them, with their attributes."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts, self._script = [], [], None

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag == "script":
            self._script = ""

    def handle_data(self, data):
        if self._script is not None:
            self._script += data

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._script)
            self._script = None


def tags_of(path):
    tags = Tags()
    tags.feed(path.read_bytes().decode("utf-8"))
    return tags


def hostile_stack(rng):
    n = len(HOSTILE)
    keys = tuple((text,) for text in HOSTILE)
    return pd.DataFrame(
        {
            "df_name": HOSTILE[1],
            HOSTILE[0]: HOSTILE,
            "layer": HOSTILE,
            "dissim_metric": HOSTILE[1],
            "matrix": [random_rdm(rng, n) for _ in range(n)],
            "entry_keys": [keys] * n,
            "entry_labels": [tuple({HOSTILE[1]: text} for text in HOSTILE)] * n,
        }
    )


def test_names_and_labels_that_hold_markup_are_data_alone(rng, tmp_path):
    stack = hostile_stack(rng)
    picture = tmp_path / "<img src=x onerror=alert(3)>.png"
    Image.new("RGB", (5, 5)).save(picture)
    pictures = {HOSTILE[0]: picture, HOSTILE[1]: tmp_path / "<b>nowhere<b>.png"}
    path = pfa.explore(stack, pictures, tmp_path / "a.html", progress=False)
    plain = pfa.explore(small_stack(rng), out=tmp_path / "b.html", progress=False)
    # The same tags with the same attributes as in a page without any of it.
    assert [tag for tag, _ in tags_of(path).found] == [tag for tag, _ in tags_of(plain).found]
    assert not any(name.startswith("on") for _, at in tags_of(path).found for name in at)
    data = data_of(path)
    assert [entry["label"] for entry in data["entries"]] == HOSTILE
    assert data["columns"][0] == {"name": HOSTILE[0], "values": HOSTILE}
    text = path.read_text(encoding="utf-8")
    assert "alert(3)" not in text
    assert "nowhere" not in text
    assert (
        text.count("alert(2)")
        == text.count("\\u003c/script\\u003e\\u003cscript\\u003ealert(2)") + 2
    )


def test_the_policy_lets_the_two_scripts_of_the_page_run_and_fetches_nothing(rng, tmp_path):
    tags = tags_of(pfa.explore(small_stack(rng), out=tmp_path / "a.html", progress=False))
    (policy,) = [a["content"] for tag, a in tags.found if a.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in tags.scripts[1:]
    ]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert not any("src" in a or "href" in a for tag, a in tags.found)


def test_the_scripts_of_the_page_make_no_markup_of_text():
    folder = Path(explorer.__file__).parent / "explorer_page"
    scripts = [path.read_text(encoding="utf-8") for path in folder.glob("*.js")]
    assert len(scripts) == 6
    for script in scripts:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


# Bad input, and what is written


def test_a_target_that_cannot_be_written_is_refused_before_any_work(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "checked_stack", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(FileNotFoundError, match=r"`out` is '.*', but there is no folder"):
        pfa.explore(small_stack(rng), out=tmp_path / "no" / "a.html")
    with pytest.raises(IsADirectoryError, match="Add a file name to it"):
        pfa.explore(small_stack(rng), out=tmp_path)


def test_a_page_that_is_there_is_replaced_whole_or_not_at_all(rng, tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_text("the old one")

    def fail(_data):
        raise RuntimeError("half way")

    with monkeypatch.context() as patched:
        patched.setattr(explorer, "render_page", fail)
        with pytest.raises(RuntimeError, match="half way"):
            pfa.explore(small_stack(rng), out=path, progress=False)
    assert path.read_text() == "the old one"
    assert pfa.explore(small_stack(rng), out=str(path), progress=False) == path
    assert path.read_bytes().startswith(b"<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_call_writes_the_same_page(rng, tmp_path):
    stack = small_stack(rng)
    one, two = (
        pfa.explore(stack, out=tmp_path / name, progress=False).read_bytes() for name in "ab"
    )
    assert one == two


def test_inputs_do_not_change(rng, page):
    stack = small_stack(rng)
    before = stack.copy(deep=True)
    pictures = {"a": Image.new("RGB", (500, 500))}
    page(stack, pictures)
    pd.testing.assert_frame_equal(stack, before)
    assert pictures["a"].size == (500, 500)


def test_a_row_without_a_map_is_shown_with_the_reason_and_one_warning(rng, page, caplog):
    stack = small_stack(rng, n_rows=3)
    stack["matrix"] = [stack["matrix"][0], -stack["matrix"][1], np.full((5, 5), np.nan)]
    rows = page(stack)["rows"]
    assert [row["points"] is None for row in rows] == [False, True, True]
    assert "not negative" in rows[1]["why"]
    assert rows[2]["range"] is None
    (warning,) = [r for r in caplog.records if r.name.endswith("explorer")]
    assert warning.getMessage().startswith("2 of 3 rows have no map on the page.")


def test_a_dissimilarity_that_is_the_only_one_has_another_colour_than_the_diagonal(page):
    stack = pd.DataFrame({"matrix": [0.5 * (1 - np.eye(2))], "entry_keys": [["a", "b"]]})
    assert page(stack)["rows"][0]["range"] == [0, 0.5]


def test_a_single_entry_is_a_page_too(page):
    row = page(pd.DataFrame({"matrix": [np.zeros((1, 1))], "entry_keys": [["a"]]}))["rows"][0]
    assert (row["cells"], row["range"], row["points"]) == ("", None, None)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"columns": ["laier"]}, ValueError, "`rdm_df` has no column 'laier'"),
        ({"columns": "layer"}, TypeError, "`columns` must be a list of names of columns"),
        ({"step": "laier"}, ValueError, "`step` names 'laier', which is not a column that rows"),
        ({"method": "nonmetric"}, ValueError, "`method` names 'nonmetric'"),
        ({"num_starts": 0}, ValueError, "`num_starts` must be at least 1"),
        ({"picture_size": 2}, ValueError, "`picture_size` must be at least 16, not 2"),
    ],
)
def test_bad_options_are_named(rng, page, options, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        page(small_stack(rng), **options)


def test_a_stack_without_rows_or_that_is_none_is_refused(rng, page):
    with pytest.raises(ValueError, match="`rdm_df` has no rows"):
        page(small_stack(rng)[:0])
    with pytest.raises(TypeError, match="`rdm_df` must be a pandas DataFrame, not list"):
        page([1])


def test_without_bokeh_the_error_says_what_to_install(rng, page, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(
        ImportError, match=r"pip install 'pytorch_feature_analysis\[interactive\]'"
    ):
        page(small_stack(rng))


# The command


def test_the_command_finds_the_pictures_of_each_row(rng, tmp_path):
    stack = small_stack(rng, n_rows=2).assign(obj=["cup", "hat"])
    stack = stack.assign(
        entry_labels=[tuple({"color": key[0]} for key in keys) for keys in stack["entry_keys"]]
    )
    pfa.write_rdms(stack, tmp_path / "stack.parquet")
    for obj in ("cup", "hat"):
        (tmp_path / obj).mkdir()
        for k, color in enumerate("abcde"):
            shade = 20 * k + 100 * (obj == "hat")
            Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / obj / f"{color}.png")
    out = tmp_path / "page.html"
    words = ["explore", tmp_path / "stack.parquet", "--pictures", tmp_path]
    words += ["--pattern", "{obj}/{color}.png", "--title", "Mine", "--out", out]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.output == f"{out}: 2 RDMs\n"
    data = data_of(out)
    assert data["title"] == "Mine"
    reds = [
        [
            picture_of(data["pictures"][k]).convert("RGB").getpixel((4, 4))[0]
            for k in data["sets"][row["set"]]["pictures"]
        ]
        for row in data["rows"]
    ]
    np.testing.assert_allclose(reds, [[0, 20, 40, 60, 80], [100, 120, 140, 160, 180]], atol=8)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nothing.parquet", "STACK is 'nothing.parquet', but there is no such file."),
        ("stack.parquet --out no/a.html", "--out is 'no/a.html', but there is no folder"),
        ("stack.parquet --pictures .", "--pictures and --pattern go together"),
        ("stack.parquet --step laier", "--step names 'laier', which is not a column"),
    ],
)
def test_bad_input_of_the_command_is_one_line(rng, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    pfa.write_rdms(small_stack(rng), "stack.parquet")
    result = CliRunner().invoke(main, ["explore", *words.split()])
    assert result.exit_code == 2
    assert said in result.output
    assert not Path("explore.html").exists()
