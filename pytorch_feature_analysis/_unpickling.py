"""An unpickler that builds frames, arrays and plain values, and calls nothing else."""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Callable
from typing import IO, Any

import numpy as np

Pair = tuple[str, str]
"""Module and name of a class or function, as a pickle spells them."""


class RefusedError(Exception):
    """What a pickle asked for and does not get; the text completes "asks for"."""


class ForgedError(RefusedError):
    """What no version of pandas or numpy writes, and no list of allowed names makes good."""


def _reconstruct(subtype: type, shape: tuple[int, ...], _typecode: Any) -> np.ndarray:
    """Make the empty array that numpy's pickles fill in afterwards."""
    if subtype is not np.ndarray or shape != (0,):
        raise ForgedError(f"an array of class {subtype!r} and shape {shape!r}")
    return np.empty(0)


# One basic type with its size and byte order. Left out are types with fields: the state of one can
# claim that its bytes hold no Python objects when they do, and numpy then follows any address.
_BASIC_DTYPE = re.compile(r"[<>|=]?(\?|[biufc]\d{1,2}|O8?|[SUV]\d+|[mM]8(\[\w+\])?)")


def _dtype(spec: Any, _align: Any = False, _copy: Any = True) -> np.dtype:
    if not (isinstance(spec, str) and _BASIC_DTYPE.fullmatch(spec)):
        raise ForgedError(f"the array type {spec!r}")
    # Old pickles pass 0 and 1, on which numpy 2.4 warns. The copy keeps the state that is set next
    # away from numpy's own single instance.
    return np.dtype(spec, False, True)


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    if not isinstance(buffer, (bytes, bytearray)):
        raise ForgedError(f"an array over {type(buffer).__name__}")
    array = np.frombuffer(buffer, dtype=dtype)
    if order == "K" and axes is not None:
        return array.reshape(shape, order="C").transpose(axes)
    return array.reshape(shape, order=order)


def _scalar(dtype: np.dtype, *value: Any) -> Any:
    rebuild = np.float64(0).__reduce__()[0]
    return rebuild(dtype, *value)  # type: ignore[operator]


def _latin1(text: str, encoding: str) -> bytes:
    """Give the bytes that protocol 2 wrote as text; no other codec is looked up."""
    if encoding not in ("latin1", "latin-1"):
        raise ForgedError(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _restore_array(data: Any) -> Any:
    """Rebuild an Arrow array, and check its offsets before anything follows them."""
    from pyarrow import lib

    array = lib._restore_array(data)
    array.validate(full=True)
    return array


def _py_buffer(buffer: Any) -> Any:
    from pyarrow import lib

    if not isinstance(buffer, (bytes, bytearray)):
        raise ForgedError(f"a buffer over {type(buffer).__name__}")
    return lib.py_buffer(buffer)


def _new_index(kind: type, state: dict[str, Any]) -> Any:
    import pandas as pd

    if not issubclass(kind, pd.Index):
        raise ForgedError(f"an index of class {kind!r}")
    new_index = importlib.import_module("pandas.core.indexes.base")._new_Index
    index = new_index(kind, state)
    if kind is pd.MultiIndex:
        # pandas takes the codes of a pickle on trust; this constructor compares them with levels.
        return pd.MultiIndex(
            levels=list(index.levels), codes=list(index.codes), names=list(index.names)
        )
    return index


def _block_manager(blocks: Any, axes: Any) -> Any:
    return _checked_manager(_managers().BlockManager(blocks, axes))


def _single_block_manager(block: Any, axis: Any) -> Any:
    return _checked_manager(_managers().SingleBlockManager(block, axis))


def _managers() -> Any:
    return importlib.import_module("pandas.core.internals.managers")


def _checked_manager(manager: Any) -> Any:
    """Raise unless each column of a frame has one place in one block.

    pandas writes to the places without looking; others than these are somebody else's memory.
    """
    if manager.ndim == 2:
        manager._verify_integrity()
    places = [block.mgr_locs.as_array for block in manager.blocks]
    found = np.sort(np.concatenate(places)) if places else np.empty(0)
    if not np.array_equal(found, np.arange(len(manager.items))):
        raise ForgedError("a frame whose blocks do not fit its columns")
    return manager


def _timestamp(value: Any, _freq: Any = None, tz: Any = None) -> Any:
    """Rebuild a Timestamp that pandas before 1.3 wrote with a frequency."""
    import pandas as pd

    return pd.Timestamp(value, tz=tz)


# Where each class is found today, then the modules under which other versions pickled it.
_HOMES = {
    "DataFrame": ("pandas", "pandas.core.frame"),
    "Series": ("pandas", "pandas.core.series"),
    "Index": ("pandas", "pandas.core.indexes.base"),
    "RangeIndex": ("pandas", "pandas.core.indexes.range"),
    "MultiIndex": ("pandas", "pandas.core.indexes.multi"),
    "CategoricalIndex": ("pandas", "pandas.core.indexes.category"),
    "DatetimeIndex": ("pandas", "pandas.core.indexes.datetimes"),
    "_new_DatetimeIndex": ("pandas.core.indexes.datetimes",),
    "_unpickle_block": ("pandas._libs.internals",),
    "__pyx_unpickle_NDArrayBacked": ("pandas._libs.arrays",),
    "_unpickle_timestamp": ("pandas._libs.tslibs.timestamps",),
    "_timedelta_unpickle": ("pandas._libs.tslibs.timedeltas",),
    "_nat_unpickle": ("pandas._libs.tslibs.nattype",),
    "NA": ("pandas", "pandas._libs.missing"),
    "Categorical": ("pandas", "pandas.core.arrays.categorical"),
    "CategoricalDtype": ("pandas", "pandas.core.dtypes.dtypes"),
    "DatetimeTZDtype": ("pandas", "pandas.core.dtypes.dtypes"),
    "StringDtype": ("pandas", "pandas.core.arrays.string_"),
    "BooleanDtype": ("pandas", "pandas.core.arrays.boolean"),
    "Int64Dtype": ("pandas", "pandas.core.arrays.integer"),
    "Float64Dtype": ("pandas", "pandas.core.arrays.floating"),
    "ArrowStringArray": ("pandas.arrays", "pandas.core.arrays.string_arrow"),
    "StringArray": ("pandas.arrays", "pandas.core.arrays.string_"),
    "BooleanArray": ("pandas.arrays", "pandas.core.arrays.boolean"),
    "IntegerArray": ("pandas.arrays", "pandas.core.arrays.integer"),
    "FloatingArray": ("pandas.arrays", "pandas.core.arrays.floating"),
    "DatetimeArray": ("pandas.arrays", "pandas.core.arrays.datetimes"),
    "TimedeltaArray": ("pandas.arrays", "pandas.core.arrays.timedeltas"),
    "OrderedDict": ("collections",),
    "type_for_alias": ("pyarrow.lib",),
    "date": ("datetime",),
    "time": ("datetime",),
    "datetime": ("datetime",),
    "timedelta": ("datetime",),
    "timezone": ("datetime",),
}
_BUILTINS = {"set", "frozenset", "slice", "bytes", "bytearray", "complex", "range"}

# Exact pairs only: a prefix such as "numpy." would let in `numpy.load`, and a dotted name any
# attribute of what is allowed. The values are where to import from, or what stands in.
_ALLOWED: dict[Pair, Pair | Callable[..., Any]] = {
    **{(old, name): (homes[0], name) for name, homes in _HOMES.items() for old in homes},
    **{
        (old, name): ("builtins", name)
        for name in _BUILTINS
        for old in ("builtins", "__builtin__")
    },
    ("__builtin__", "xrange"): ("builtins", "range"),
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.internals.managers", "BlockManager"): _block_manager,
    ("pandas.core.internals.managers", "SingleBlockManager"): _single_block_manager,
    **{
        ("pandas.core.indexes.numeric", name): ("pandas", "Index")
        for name in ("Int64Index", "UInt64Index", "Float64Index")
    },
    ("pandas.core.internals.blocks", "new_block"): ("pandas._libs.internals", "_unpickle_block"),
    ("pandas._libs.tslibs.nattype", "__nat_unpickle"): (
        "pandas._libs.tslibs.nattype",
        "_nat_unpickle",
    ),
    ("pandas._libs.tslibs.timestamps", "Timestamp"): _timestamp,
    ("pyarrow.lib", "_restore_array"): _restore_array,
    ("pyarrow.lib", "py_buffer"): _py_buffer,
}
# Passed to a reconstructor, never called: as a function, ndarray makes an array of Python objects
# out of any bytes.
_NOT_CALLED = {("numpy", "ndarray"), ("pandas", "NA"), ("pandas._libs.missing", "NA")}


# The C unpickler can be told what to import, but not what to do with it; its Python twin, which
# pandas builds its own reader on as well, can.
_Base: Any = pickle._Unpickler


class RestrictedUnpickler(_Base):
    """Loads one pickle; see `pickle_read` for what it lets through."""

    dispatch = _Base.dispatch.copy()

    def __init__(self, file: IO[bytes], extra: frozenset[Pair]) -> None:
        super().__init__(file)
        self._extra = extra
        self._found: dict[int, Any] = {}
        self._callables: dict[int, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        pair = (module, name)
        if pair in self._extra:
            found = getattr(importlib.import_module(module), name)
        elif pair in _ALLOWED:
            found = _ALLOWED[pair]
            if isinstance(found, tuple):
                found = getattr(importlib.import_module(found[0]), found[1])
        else:
            raise RefusedError(f"{module}.{name}")
        self._found[id(found)] = found
        if pair not in _NOT_CALLED:
            self._callables[id(found)] = found
        return found

    def _check_call(self, func: Any) -> None:
        if id(func) not in self._callables:
            raise ForgedError(f"a call of {func!r}")

    def load_reduce(self) -> None:
        self._check_call(self.stack[-2])
        super().load_reduce()

    def load_newobj(self) -> None:
        cls, args = self.stack[-2:]
        self._check_call(cls)
        if cls in (_block_manager, _single_block_manager) and not args:
            # Before 1.3, pandas made an empty one and filled it in.
            manager = getattr(
                _managers(), "BlockManager" if cls is _block_manager else "SingleBlockManager"
            )
            self.stack[-2:] = [manager.__new__(manager, (), [], False)]
        else:
            super().load_newobj()

    def load_newobj_ex(self) -> None:
        self._check_call(self.stack[-3])
        super().load_newobj_ex()

    def load_build(self) -> None:
        inst, state = self.stack[-2:]
        # The state of a class or function would change it for the whole session.
        if id(inst) in self._found:
            raise ForgedError(f"a change of {inst!r}")
        if isinstance(inst, np.dtype):
            self.stack[-1] = _checked_dtype_state(inst, state)
        elif isinstance(inst, np.ndarray) and inst.shape != (0,):
            raise ForgedError("a change of an array that is in use")
        super().load_build()
        kind = type(inst).__name__
        if kind in ("BlockManager", "SingleBlockManager"):
            _checked_manager(inst)
        elif kind == "Categorical":
            type(inst).from_codes(inst.codes, dtype=inst.dtype)

    def _refuse_opcode(self) -> None:
        raise pickle.UnpicklingError("an opcode that frames do not use")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build
    # INST and OBJ call what they import, and are of protocols 0 and 1, which frames do not use;
    # EXT takes names from a registry of this process, PERSID from an application.
    for _opcode in (
        pickle.INST,
        pickle.OBJ,
        pickle.EXT1,
        pickle.EXT2,
        pickle.EXT4,
        pickle.PERSID,
        pickle.BINPERSID,
    ):
        dispatch[_opcode[0]] = _refuse_opcode


def _checked_dtype_state(dtype: np.dtype, state: Any) -> tuple[Any, ...]:
    """Let a state set the byte order and the unit of time, and nothing else.

    The flags are the type's own: with others, numpy takes bytes for the addresses of objects.
    """
    version, order, subdtype, names, fields, itemsize, alignment, _flags, *rest = state
    as_is = (
        subdtype is names is fields is None
        and itemsize in (-1, dtype.itemsize)
        and alignment in (-1, dtype.alignment)
        and order in ("|", "<", ">", "=")
        and (order == "|" or not dtype.hasobject)
    )
    if not as_is or (rest and dtype.kind not in "mM"):
        raise ForgedError(f"an array type with fields or unusual properties ({state!r})")
    return (version, order, None, None, None, itemsize, alignment, dtype.flags, *rest)
