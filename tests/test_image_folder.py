"""Image tables from folders."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

import pytorch_feature_analysis as pfa


@pytest.fixture
def make_folder(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def test_the_guides_folder_becomes_a_table(make_folder):
    folder = make_folder(
        *(f"obj{i}/obj{i}_{color}.png" for i in (10, 2) for color in ("red", "000"))
    )
    table = pfa.read_image_folder(folder)
    expected = pd.DataFrame(
        {
            "path": [
                str(folder / f"obj{i}" / f"obj{i}_{color}.png")
                for i in (2, 10)
                for color in ("000", "red")
            ],
            "obj": ["obj2", "obj2", "obj10", "obj10"],
            "color": ["000", "red", "000", "red"],
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    assert all(type(value) is str for value in table.to_numpy().ravel())


def test_the_table_goes_straight_into_image_sets(make_folder):
    table = pfa.read_image_folder(make_folder("a/a_x.png", "a/a_y.png", "b/b_x.png"))
    sets = pfa.package_image_sets(table, ["color"], ["obj"])
    assert [labels for labels, *_ in sets] == [{"obj": "a"}, {"obj": "b"}]
    assert [Path(path).name for path in sets[0][1].values()] == ["a_x.png", "a_y.png"]


@pytest.mark.parametrize(
    ("pattern", "name", "values"),
    [
        ("{a}.png", "x.png", {"a": "x"}),
        ("{a}_{b}.png", "x_y.png", {"a": "x", "b": "y"}),
        ("{a}/{b}/{c}.png", "x/y/z.png", {"a": "x", "b": "y", "c": "z"}),
        ("fixed/{a}-v{b}.png", "fixed/x-v2.png", {"a": "x", "b": "2"}),
        ("{a}/{a}_{b}.png", "dark_cup/dark_cup_red_hot.png", {"a": "dark_cup", "b": "red_hot"}),
        ("{b}_{a}.png", "x_y.png", {"b": "x", "a": "y"}),
        ("{a}+(1)[x].png", "q+(1)[x].png", {"a": "q"}),
        ("{{{a}}}.png", "{x}.png", {"a": "x"}),
        ("{größe}.png", "12.png", {"größe": "12"}),
        ("{a} {b}.png", "ein Böser.png", {"a": "ein", "b": "Böser"}),
        (".hidden/{a}.png", ".hidden/x.png", {"a": "x"}),
        ("{a}.png/{b}", "x.png/y", {"a": "x", "b": "y"}),
    ],
)
def test_variables_are_read_off_the_names(make_folder, pattern, name, values):
    table = pfa.read_image_folder(make_folder(name), pattern)
    assert table.columns.tolist() == ["path", *values]
    assert table.drop(columns="path").to_dict("records") == [values]


def test_names_are_matched_whichever_way_accents_are_written(make_folder):
    decomposed = unicodedata.normalize("NFD", "rösti_grün.png")
    folder = make_folder(decomposed)
    table = pfa.read_image_folder(folder, unicodedata.normalize("NFC", "rösti_{farbe}.png"))
    assert table["farbe"].tolist() == [unicodedata.normalize("NFC", "grün")]
    assert table["path"].tolist() == [str(folder / decomposed)]


def test_rows_are_in_natural_order_whatever_the_file_system_gives(make_folder, monkeypatch):
    names = ["b1.png", "a10.png", "a2.png", "a02.png", "a1b20.png", "a1b3.png", "a.png"]
    folder = make_folder(*names)
    expected = ["a", "a1b3", "a1b20", "a02", "a2", "a10", "b1"]
    assert pfa.read_image_folder(folder, "{x}.png")["x"].tolist() == expected
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((top, d, sorted(f)[::-1]) for top, d, f in walk(*a, **k))
    )
    assert pfa.read_image_folder(folder, "{x}.png")["x"].tolist() == expected


def test_folders_are_sorted_before_the_names_in_them(make_folder):
    folder = make_folder("a b/z.png", "a/z.png", "a/y.png")
    table = pfa.read_image_folder(folder, "{x}/{y}.png")
    assert table[["x", "y"]].to_numpy().tolist() == [["a", "y"], ["a", "z"], ["a b", "z"]]


def test_files_that_do_not_fit_are_left_out_and_counted(make_folder, caplog):
    folder = make_folder(
        "a/a_x.png", "a/notes.txt", "a/deep/a_y.png", "top.png", "a/.DS_Store", ".git/b_x.png"
    )
    with caplog.at_level(logging.INFO, logger="pytorch_feature_analysis"):
        assert len(pfa.read_image_folder(folder, "{a}/{b}_{c}.png")) == 1
    assert "1 files in" in caplog.text
    assert "2 others are left out" in caplog.text


def test_the_suffix_counts_with_its_letter_case(make_folder):
    folder = make_folder("x.png", "y.PNG")
    assert pfa.read_image_folder(folder, "{a}.png")["a"].tolist() == ["x"]


def test_a_file_whose_repeated_variable_disagrees_is_left_out_with_a_warning(make_folder, caplog):
    folder = make_folder("cup/cup_red.png", "cup/pen_red.png")
    assert pfa.read_image_folder(folder)["obj"].tolist() == ["cup"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert os.fspath(Path("cup/pen_red.png")) in caplog.text


def test_links_to_folders_are_followed(make_folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x.png").touch()
    folder = make_folder("b/y.png")
    (folder / "a").symlink_to(elsewhere, target_is_directory=True)
    (folder / "b" / "round").symlink_to(folder, target_is_directory=True)
    assert pfa.read_image_folder(folder, "{a}/{b}.png")["b"].tolist() == ["x", "y"]


def test_a_name_that_can_be_read_in_two_ways_is_an_error(make_folder):
    folder = make_folder("cup_dark_red.png")
    with pytest.raises(ValueError, match="in more than one way") as caught:
        pfa.read_image_folder(folder, "{obj}_{color}.png")
    assert "obj='cup', color='dark_red', or obj='cup_dark', color='red'" in str(caught.value)
    assert len(pfa.read_image_folder(folder, "{obj}_dark_{color}.png")) == 1


@pytest.mark.parametrize(
    ("names", "pattern", "match"),
    [
        (["a.jpg"], "{x}.png", "No file in `folder` .* fits `pattern` '{x}.png'. It holds, .*'a"),
        (["a.PNG"], "{x}.png", r"'a\.PNG', for example, would if letter case did not count"),
        (["a/b_x.png"], "{x}/{x}_{y}.png", r"'a/b_x\.png', .* would have two values"),
        (["a/b/c.png"], "{x}.png", r"It holds, for example, 'a/b/c\.png'"),
        (["a/c.png"], "{x}/{y}/{z}.png", r"It holds, for example, 'a/c\.png'"),
        ([], "{x}.png", "The folder holds no files"),
        ([".x.png"], "{x}.png", "The folder holds no files"),
    ],
)
def test_when_nothing_fits_the_error_shows_what_is_there(make_folder, names, pattern, match):
    with pytest.raises(ValueError, match=match):
        pfa.read_image_folder(make_folder(*names), pattern)


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("obj.png", "it names no variable"),
        ("", "it names no variable"),
        ("{obj", "cannot be understood: "),
        ("obj}.png", "cannot be understood: .*brace itself is written twice"),
        ("{}.png", "braces may hold only the name"),
        ("{a b}.png", "braces may hold only the name"),
        ("{a.b}.png", "braces may hold only the name"),
        ("{a[0]}.png", "braces may hold only the name"),
        ("{a:3}.png", "braces may hold only the name"),
        ("{a!r}.png", "braces may hold only the name"),
        ("{path}.png", "'path' is the column of the files"),
        ("{a}{b}.png", "there must be some text between two variables"),
        ("{a}{a}.png", "there must be some text between two variables"),
        ("*/{a}.png", "it has no wildcards"),
        ("{a}?.png", "it has no wildcards"),
        ("x\\{a}.png", "write '/' between folders"),
        ("/{a}.png", "it must be a path within the folder"),
        ("{a}/", "it must be a path within the folder"),
        ("../{a}.png", "it must be a path within the folder"),
        ("x//{a}.png", "it must be a path within the folder"),
    ],
)
def test_a_pattern_that_cannot_be_understood_is_an_error(tmp_path, pattern, match):
    with pytest.raises(ValueError, match=match) as caught:
        pfa.read_image_folder(tmp_path, pattern)
    assert repr(pattern) in str(caught.value)


def test_the_folder_and_the_pattern_must_be_of_the_right_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match="`folder` must be a folder that exists"):
        pfa.read_image_folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="`folder` must be a folder that exists"):
        pfa.read_image_folder(tmp_path / "file")
    with pytest.raises(TypeError, match="`folder` must be a path, not NoneType"):
        pfa.read_image_folder(None)
    with pytest.raises(TypeError, match="`pattern` must be a string, not list"):
        pfa.read_image_folder(tmp_path, ["{a}.png"])
