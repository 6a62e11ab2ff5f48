from __future__ import annotations

import enum
import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_cells import same

from pytorch_feature_analysis import _cells

CELLS = [
    None,
    True,
    0,
    -(10**30),
    0.1,
    -0.0,
    5e-324,
    1e22,
    float("inf"),
    "",
    "orig_data",
    "Zoë \u2603 \U0001f600 \x00 \ud800",
    (),
    ((),),
    ("conv1", 1),
    (("a", 1), ("b", 1.0), ("c", True), ("d", None)),
    [1, [2, ()]],
    {},
    {"color": "red", "size": (1, 2.5)},
    {1: "a", (2, "x"): {"deep": [None]}, None: 0},
    {"dict": {"float": "nan"}, "list": []},
    {3, 4},
    frozenset({"a"}),
    1 - 2j,
    b"\x00\xff",
    range(1, 9, 2),
    pd.NA,
    pd.NaT,
    np.float32(0.1),
    np.float64(0.1),
    np.int8(-3),
    np.uint64(2**64 - 1),
    np.bool_(True),
    np.complex64(1 + 2j),
    np.str_("ü"),
    np.str_(""),
    np.bytes_(b"a"),
    np.datetime64("2020-01-02"),
    np.timedelta64(3, "s"),
    np.array([[1, 2], [3, 4]], dtype=">i2"),
    np.array(2.5),
    np.zeros((0, 3), dtype=np.float32),
    np.array(["abc", "d"]),
    np.array([True, False]),
    np.array([("a", 1), None, np.int64(3)], dtype=object),
]


@pytest.mark.parametrize("cell", [*CELLS, tuple(CELLS), {"all": CELLS}], ids=repr)
def test_cells_come_back_with_the_same_values_and_types(cell):
    assert same(_cells.decode(_cells.encode(cell)), cell)


@pytest.mark.parametrize("cell", [float("nan"), np.float32("nan"), np.datetime64("NaT")], ids=repr)
def test_missing_numbers_come_back_as_they_were(cell):
    again = _cells.decode(_cells.encode(cell))
    assert type(again) is type(cell)
    assert again != again


def test_equal_values_of_different_types_have_different_texts():
    alike = [1, 1.0, True, np.int64(1), np.int32(1), np.float64(1), np.bool_(True), 1 + 0j]
    assert len({_cells.encode(value) for value in alike}) == len(alike)
    assert len({_cells.encode(value) for value in [(1, 2), [1, 2], {1, 2}]}) == 3


def test_the_text_is_json_with_tuples_as_arrays():
    assert json.loads(_cells.encode(("conv1", 1))) == ["conv1", 1]
    assert json.loads(_cells.encode(float("nan"))) == {"float": "nan"}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (namedtuple("Pair", "x y")(1, 2), "Pair"),
        (enum.IntEnum("Level", ["LOW"]).LOW, "Level"),
        (Path("a"), "Path"),
        (("a", [{"b": len}]), "builtin_function_or_method"),
        (np.zeros(2, dtype=[("a", float)]), "ndarray"),
        (pd.Timestamp("2020"), "Timestamp"),
    ],
    ids=repr,
)
def test_what_would_come_back_as_something_else_is_refused_and_named(value, name):
    with pytest.raises(TypeError, match=rf"a value of .*{name}"):
        _cells.encode(value)


def test_no_text_makes_objects_of_bytes():
    for dtype in ("|O", "O", "f8,O", "V8"):
        with pytest.raises(ValueError, match="an array of type"):
            _cells.decode(json.dumps({"array": [dtype, [1], "AAAAAAAAAAA="]}))
    with pytest.raises(KeyError):
        _cells.decode('{"eval": "1"}')


def test_rows_can_share_what_none_of_them_can_change():
    for cell in (1, "a", None, ("a", (1, None)), frozenset("a"), b"a", np.float64(1)):
        assert _cells.is_immutable(cell)
    for cell in ([], {}, set(), ("a", ([],)), np.zeros(1), bytearray()):
        assert not _cells.is_immutable(cell)


def test_a_column_holds_cells_as_they_are():
    cells = [(1, 2), [3, 4], np.zeros((2, 2)), "a"]
    column = _cells.object_series(cells, pd.Index(list("wxyz")))
    assert column.dtype == object
    assert all(one is other for one, other in zip(column, cells, strict=True))
