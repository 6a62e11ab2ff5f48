"""What the restricted reader of pickles lets through, and what it refuses.

The attacks are live: the plain `pickle.loads` carries them out (see the first test of them).
"""

from __future__ import annotations

import datetime as dt
import io
import pickle
import pickletools
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis._files import restricted_load

DATA = Path(__file__).parent / "data"


def load(content, **kwargs):
    return restricted_load(io.BytesIO(content), "some.p", **kwargs)


class Call:
    """Pickles as a call of a function, with a state to set on what it returns."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


class FrameWithState:
    """Pickles as a frame that gets a state of our choice, through the opcodes of real ones."""

    __class__ = property(lambda self: pd.DataFrame)

    def __init__(self, manager):
        self.manager = manager

    def __reduce_ex__(self, protocol):
        state = {
            "_mgr": self.manager,
            "_typ": "dataframe",
            "_metadata": [],
            "attrs": {},
            "_flags": {"allows_duplicate_labels": True},
        }
        return pickle.loads(pickle.dumps(_newobj)), (pd.DataFrame,), state


_newobj = pd.DataFrame().__reduce_ex__(2)[0]


def global_named(module, name, protocol):
    """A pickle that asks for one global and calls it with no argument."""
    if protocol == 2:
        return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b")R."
    parts = b"".join(
        b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)
    )  # SHORT_BINUNICODE
    return b"\x80\x04" + parts + b"\x93)R."


def same(one, other):
    """Equality of value and type, through all levels."""
    if type(one) is not type(other):
        return False
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return all(same(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))
    if isinstance(one, (pd.Series, pd.Index)):
        return one.equals(other) and one.dtype == other.dtype
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and all(map(same, one.ravel().tolist(), other.ravel().tolist()))
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return one is other or one == other or (one != one and other != other)


RDM = np.array([[0.0, 1.5], [1.5, 0.0]])

PLAIN = {
    "containers": [(1, "a"), {"k": {1, 2}}, frozenset("a"), None, True, 2.5, 1 + 2j, 10**30],
    "bytes": [b"\x00\xff", bytearray(b"ab"), slice(1, 2), range(3)],
    "ordered": OrderedDict(a=1, b=2),
    "dates": [
        dt.date(2020, 1, 2),
        dt.datetime(2020, 1, 2, 3, tzinfo=dt.UTC),
        dt.timedelta(2),
        pd.Timestamp("2020-01-02"),
        pd.Timedelta(1),
    ],
    "missing": [pd.NA, pd.NaT, float("nan")],
    "numbers of numpy": [np.float32(1.5), np.int64(3), np.bool_(True), np.str_("ü")],
    "arrays": [
        RDM,
        RDM.T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        np.zeros((0, 3)),
        b"",
        np.array(3),
        np.array([1.0, 2.0], dtype=">f8"),
        np.array(["abc", "d"]),
        np.array([b"abc"]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.array([("a", 1), None], dtype=object),
    ],
    "series": pd.Series([1, 2], name="x"),
    "index": pd.Index(["a", "b"]),
    "stack": pd.DataFrame(
        {
            "layer": ["conv1", "fc1"],
            "layer_num": [1, 2],
            "matrix": [RDM, np.full((2, 2), np.nan)],
            "entry_keys": [(("a",), ("b",)), (("c",), ("ü",))],
            "entry_labels": [({"x": "a"}, {"x": "b"})] * 2,
            "perm": ["orig_data", 1],
            "share": [0.5, np.nan],
            "is_random": [True, False],
        }
    ),
    "object strings": pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}, index=[3, 5]),
    "concatenated": pd.concat([pd.DataFrame({"a": [1], "b": ["x"]})] * 2),
    "several levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["x", None])
    ),
    "types of pandas": pd.DataFrame(
        {
            "category": pd.Categorical(["x", "y"]),
            "integer": pd.array([1, None], dtype="Int64"),
            "real": pd.array([1.5, None], dtype="Float64"),
            "boolean": pd.array([True, None], dtype="boolean"),
            "string": pd.array(["a", None], dtype="string"),
            "time": pd.to_datetime(["2020-01-01", "2021-01-01"]),
            "zoned": pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("UTC"),
            "span": pd.to_timedelta([1, 2], unit="s"),
        },
        index=pd.to_datetime(["2020-01-01", "2021-01-01"]),
    ),
    "categories": pd.DataFrame({"a": [1, 2]}, index=pd.CategoricalIndex(["a", "b"])),
    "empty": pd.DataFrame(),
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", PLAIN)
def test_frames_arrays_and_plain_values_are_read_back(name, protocol):
    content = pickle.dumps(PLAIN[name], protocol)
    # Oracle: the unpickler of the standard library.
    assert same(load(content), pickle.loads(content))


def test_objects_that_occur_twice_stay_one():
    keys = (("a",), ("b",))
    again = load(pickle.dumps([keys, keys, RDM, RDM]))
    assert again[0] is again[1]
    assert again[2] is again[3]


@pytest.mark.parametrize("version", ["1.0", "1.5"])
def test_stacks_pickled_by_old_versions_of_pandas_are_read(version):
    # Made by data/make_old_pickles.py, whose numbers these are.
    rdm_df = pfa.pickle_read(DATA / f"rdms_pandas_{version}.p")
    assert rdm_df.shape == (4, 16)
    assert rdm_df.index.tolist() == [0, 1, 0, 1]
    assert rdm_df["layer"].tolist() == ["conv1", "conv1", "fc1", "fc1"]
    assert rdm_df["layer_num"].tolist() == [1, 1, 2, 2]
    assert rdm_df["perm"].tolist() == ["orig_data", 1, "orig_data", 1]
    np.testing.assert_array_equal(rdm_df["matrix"].iloc[2], [[0, 2, 4], [2, 0, 6], [4, 6, 0]])
    np.testing.assert_array_equal(rdm_df["matrix"].iloc[3], [[0, 4, 6], [4, 0, 2], [6, 2, 0]])
    assert rdm_df["entry_keys"].iloc[0] == [("000",), ("001",), ("002",)]
    assert rdm_df["perm_scramble"].iloc[1] == [2, 0, 1]


def test_the_attacks_below_work_without_the_restriction(tmp_path):
    trap = tmp_path / "trapped"
    content = pickle.dumps(Call(eval, f"open({str(trap)!r}, 'w').close()"))
    pickle.loads(content)
    assert trap.exists()
    trap.unlink()
    with pytest.raises(ValueError, match=r"'some.p' is a pickle that asks for builtins\.eval"):
        load(content)
    assert not trap.exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("operator", "attrgetter"),
        ("functools", "partial"),
        ("importlib", "import_module"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "matrix"),
        ("numpy.core.multiarray", "fromfile"),
        ("pandas", "read_pickle"),
        ("pandas", "eval"),
        ("pandas", "DataFrame.to_pickle"),
        ("pandas.core.frame", "DataFrame.eval"),
        ("pandas.io.pickle", "read_pickle"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "load"),
        ("copyreg", "_reconstructor"),
        ("fractions", "Fraction"),
        ("a.package.of.nowhere", "f"),
    ],
)
def test_every_other_function_is_refused_by_name(module, name, protocol):
    with pytest.raises(ValueError, match=f"asks for {module}.{name}, which no stack of RDMs"):
        load(global_named(module, name, protocol))


def test_a_refused_module_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "module_with_a_trap.py").write_text("open('trapped', 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"module_with_a_trap\.f"):
        load(global_named("module_with_a_trap", "f", 4))
    assert not (tmp_path / "trapped").exists()


def test_exact_pairs_are_let_through_on_request(tmp_path):
    content = pickle.dumps([Fraction(1, 3)])
    assert load(content, allow=[("fractions", "Fraction")]) == [Fraction(1, 3)]
    path = tmp_path / "third.p"
    path.write_bytes(content)
    assert pfa.pickle_read(path, allow=[("fractions", "Fraction")]) == [Fraction(1, 3)]
    for near in (("fractions", "Fractio"), ("fraction", "Fraction")):
        with pytest.raises(ValueError, match=r"fractions\.Fraction"):
            load(content, allow=[near])
    # Dots in an allowed name reach into nothing.
    dotted = global_named("fractions", "Fraction.from_float", 4)
    with pytest.raises(ValueError, match=r"some\.p"):
        load(dotted, allow=[("fractions", "Fraction.from_float")])
    with pytest.raises(TypeError, match=r"`allow` must hold pairs of names.*'fractions'"):
        load(content, allow=["fractions"])


def test_a_type_whose_state_hides_objects_among_bytes_is_refused():
    # With these flags, numpy would take the eight bytes for the address of an object.
    fields = {"a": (np.dtype(object), 0)}
    state = (3, "|", None, ("a",), fields, 8, 1, 0)
    dtype = Call(np.dtype, "V8", False, True, state=state)
    array = Call(
        *np.empty(0).__reduce__()[:1],
        np.ndarray,
        (0,),
        b"b",
        state=(1, (1,), dtype, False, bytes(8)),
    )
    with pytest.raises(ValueError, match="an array type with fields"):
        load(pickle.dumps(array))
    with pytest.raises(ValueError, match="an array type with fields"):
        load(pickle.dumps(np.zeros(2, dtype=[("a", float)])))


def test_the_flags_of_a_type_are_its_own():
    dtype = Call(np.dtype, "f8", False, True, state=(3, "<", None, None, None, -1, -1, 63))
    assert load(pickle.dumps(dtype)).flags == np.dtype("f8").flags


@pytest.mark.parametrize("spec", ["O,O", "f8,f8", [("a", "O")], "object", "(2,)O"])
def test_only_basic_types_of_arrays_are_made(spec):
    with pytest.raises(ValueError, match="asks for the array type"):
        load(pickle.dumps(Call(np.dtype, spec)))


def test_arrays_are_not_made_over_any_memory():
    # As a function, ndarray takes bytes for the addresses of objects.
    with pytest.raises(ValueError, match=r"a call of <class 'numpy\.ndarray'>"):
        load(pickle.dumps(Call(np.ndarray, (1,), np.dtype(object), bytes(8))))
    frombuffer = np.empty(1).__reduce_ex__(5)[0]
    with pytest.raises(ValueError, match="an array over ndarray"):
        load(pickle.dumps(Call(frombuffer, np.zeros(2), np.dtype("f8"), (2,), "C")))
    with pytest.raises(ValueError, match="cannot be read as a pickle"):
        load(pickle.dumps(Call(frombuffer, bytes(8), np.dtype(object), (1,), "C")))


def test_an_array_is_filled_once():
    filled = pickle.dumps(np.arange(3.0), 2)[:-1]
    state = pickle.dumps(np.arange(50.0).__reduce__()[2], 2)[2:-1]
    assert pickletools.dis(filled + b".", out=io.StringIO()) is None
    with pytest.raises(ValueError, match="a change of an array that is in use"):
        load(filled + state + b"b.")


@pytest.mark.parametrize(
    "target", [b"cpandas\nDataFrame\n", b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n"]
)
def test_classes_are_not_changed(target):
    # BUILD with the state (None, {"to_csv": pandas.NA}), which sets attributes.
    content = b"\x80\x02" + target + b"N}X\x06\x00\x00\x00to_csvcpandas\nNA\ns\x86b."
    with pytest.raises(ValueError, match="asks for a change of <class"):
        load(content)
    assert callable(pd.DataFrame.to_csv)
    assert not hasattr(np.ndarray, "to_csv")


@pytest.mark.parametrize(
    "places", [slice(0, 10**7, 5 * 10**6), np.array([-(10**6), 1]), np.array([0, 0])]
)
def test_a_frame_whose_blocks_point_elsewhere_is_refused(places):
    # Oracle for what blocks look like: those of a real frame, through their own reconstructor.
    real = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    manager = real._mgr
    rebuild, (values, _, ndim) = manager.blocks[0].__reduce__()
    class_of_manager = type(manager)

    def content(where):
        block = Call(rebuild, values, where, ndim)
        return pickle.dumps(
            FrameWithState(Call(class_of_manager, (block,), [real.columns, real.index]))
        )

    assert load(content(slice(0, 2, 1)))["b"].tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="a frame whose blocks do not fit its columns"):
        load(content(places))


def test_codes_beyond_their_categories_are_refused():
    categorical = pd.Categorical(["a", "b"])
    categorical._ndarray[:] = 9
    with pytest.raises(ValueError, match="cannot be read as a pickle"):
        load(pickle.dumps(categorical))
    index = pd.MultiIndex(
        levels=[["a"], ["b"]], codes=[[5], [0]], names=[None, None], verify_integrity=False
    )
    with pytest.raises(ValueError, match="cannot be read as a pickle"):
        load(pickle.dumps(index))


def test_strings_beyond_their_buffer_are_refused():
    import pyarrow as pa

    rebuild, (parts,) = pa.array(["abc"], pa.large_string()).__reduce__()
    dtype, length, nulls, offset, _, *rest = parts
    far = [None, pa.py_buffer(np.array([0, 10**9]).tobytes()), pa.py_buffer(b"abc")]
    with pytest.raises(ValueError, match="cannot be read as a pickle"):
        load(pickle.dumps(Call(rebuild, (dtype, length, nulls, offset, far, *rest))))


@pytest.mark.parametrize(
    "content",
    [
        b"(cos\nsystem\nio.",
        b"(ios\nsystem\n.",
        b"(S'echo'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
        b"Pa\n.",
    ],
)
def test_opcodes_that_frames_do_not_use_are_refused(content):
    with pytest.raises(ValueError, match=r"an opcode that frames do not use|asks for os\.system"):
        load(content)


def test_only_latin1_is_decoded():
    import codecs

    assert load(pickle.dumps(b"\xff", 2)) == b"\xff"
    with pytest.raises(ValueError, match="asks for the encoding 'hex'"):
        load(pickle.dumps(Call(codecs.encode, "ff", "hex"), 2))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_cut_short_anywhere_is_named(protocol):
    content = pickle.dumps(PLAIN["stack"], protocol)
    for length in range(0, len(content) - 1, 37):
        with pytest.raises(ValueError, match=r"'some\.p' (cannot be read|is a pickle)"):
            load(content[:length])


@pytest.mark.parametrize(
    "content", [b"", b"model,layer\na,b\n", b"PAR1\x15\x04", b"\x89PNG\r\n", b"\x1f\x8b\x08"]
)
def test_another_kind_of_file_is_named(content, tmp_path):
    path = tmp_path / "stack.p"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"stack\.p' cannot be read as a pickle: it is damaged"):
        pfa.pickle_read(path)
