"""From users' files to a frame of activations, such as `get_activations` gives."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import RandomState, check_name, check_random_state
from pytorch_feature_analysis.activation_schema import check_activations
from pytorch_feature_analysis.activation_sources import (
    Source,
    check_variable,
    choose_arrays,
    find_sources,
)
from pytorch_feature_analysis.array_files import unreadable_as_value_error
from pytorch_feature_analysis.name_patterns import NamePattern
from pytorch_feature_analysis.number_tables import CsvLayout, NumberTable, is_counter
from pytorch_feature_analysis.rdm_stack import in_words
from pytorch_feature_analysis.stimulus_names import (
    Entries,
    OnePer,
    as_entries,
    check_distinct,
    check_stimuli,
    names_of_cells,
    plain_name,
    read_name_lists,
)

logger = logging.getLogger(__name__)


def read_activations(
    pattern: str | os.PathLike[str],
    *,
    rows: str = "stimuli",
    stimuli: Sequence[Any] | str | os.PathLike[str] | None = None,
    variable: str | None = None,
    parts: str | None = None,
    stimulus_pattern: str | None = None,
    stimuli_variable: str | None = None,
    one_per: str | None = None,
    pick: str = "first",
    random_state: RandomState = 0,
    only_shared: bool = False,
    header: bool | None = None,
    index: bool | None = None,
) -> pd.DataFrame:
    r"""Read activations from files of one's own: the frame that `get_similarity_rdms` takes.

    Stimuli are known by name wherever a name can be had, and each row of the frame says which ones
    its activations are of; `get_similarity_rdms` joins rows by them, so that files may hold the
    stimuli in different orders.

    Parameters
    ----------
    pattern : path
        The files, with what varies in braces, as in `read_image_folder`:
        ``'activations/m{model}_x{data}/{layer}.csv'``. Each variable becomes a column, but for
        those whose name begins with ``_``. It may also be the path of one file. The suffix says
        what a file is: ``.npy``, ``.npz``, ``.csv``, ``.tsv`` (tabs), ``.mat``, ``.pt`` or
        ``.pth`` (torch.save), ``.h5`` or ``.hdf5``, ``.txt`` (numpy.savetxt), and ``.p``, ``.pkl``
        or ``.pickle``.
    rows : {'stimuli', 'units'}, default 'stimuli'
        What the first axis of the arrays is. With 'units' the stimuli are the last axis: tables
        of units x stimuli.
    stimuli : list, or path, optional
        Names of the stimuli in their order; or the path of a text file with one name a line, in
        which variables may stand: ``'{model}_ecoVal/imagepaths.txt'``. Of files that have names
        themselves, these stimuli are taken by name, and put in this order. By default, names are
        those in the files; stimuli without any are numbered from 0.
    variable : str, optional
        Which array of a file of several: its name, ``'layers/conv1'`` within groups or nested
        dicts; or, with variables in braces, each array that fits, as a row of its own:
        ``'{layer}'``. Not needed where a file has but one array of numbers with two axes or more.
    parts : str, optional
        A variable of `pattern` or of `variable` that counts or names parts of the stimuli: arrays
        that differ in it alone are joined to one row, in natural order, and it becomes no column.
        Parts with one stimulus each, and no names, are named by it.
    stimulus_pattern : str, optional
        What to read off the names: ``'{category}/{image}.png'`` is compared with the end of each
        name, and the entry keys are the values of its variables (without those that begin with
        ``_``). By default, the whole name is the key.
    stimuli_variable : str, optional
        Name, within each file, of the array of the stimuli's names.
    one_per : str, optional
        Keep one stimulus for each value of this variable of `stimulus_pattern`: ``'category'``.
        Files with the same stimuli keep the same ones.
    pick : {'first', 'random'}, default 'first'
        Which one: the first in the first file, or one at random.
    random_state : int, numpy Generator or None, default 0
        Seed of ``pick='random'``.
    only_shared : bool, default False
        Keep the stimuli that all rows have, in the order of the first row. By default, rows keep
        theirs.
    header, index : bool, optional
        Whether the first row and the first column of .csv and .tsv files are names. By default
        the first row is where it holds text, or counts the columns; the first column where it
        holds text, counts the rows, or has no name above it, or one such as 'stimulus' or 'id'.

    Returns
    -------
    pandas.DataFrame
        One row per file, or per array of a file, in natural order, with the columns

        - a column of str for each variable of `pattern` and `variable`,
        - activations: ndarray (n_entries, n_units), or of more axes as in the file, read-only,
        - entry_keys, entry_labels: tuples, what the rows of `activations` are.

    Raises
    ------
    FileNotFoundError
        The folder, or a text file of names, does not exist.
    ValueError
        No file fits the pattern; files cannot be read (all are named) or would run code; two
        files for one row; several arrays where one is needed; names that occur twice, or are not
        as many as the stimuli; some files with names and some without.
    ImportError
        An HDF5 file (``.h5``, or ``.mat`` of version 7.3) without the package h5py, which
        ``pip install 'pytorch_feature_analysis[hdf5]'`` brings.

    See Also
    --------
    get_activations : The same frame, of networks and images.
    get_similarity_rdms : Compares its rows.

    Notes
    -----
    ``.npy`` files and files of `torch.save` are mapped, not read: the frame is of use as long as
    they are, and they may be larger than memory. Choices of stimuli (`one_per`, `only_shared`,
    names in another order) and `parts` make copies. NaN stay, and it is for the measures to refuse
    them. Pickles, and pickles within files of numpy, are read as by `pickle_read`, files of
    `torch.save` with ``weights_only=True``: they hold arrays, or dicts of them, and cannot run
    code.

    Examples
    --------
    One ``.npy`` a layer:

    >>> import os, tempfile
    >>> from pathlib import Path
    >>> import numpy as np, pandas as pd, pytorch_feature_analysis as pfa
    >>> old, folder = os.getcwd(), tempfile.TemporaryDirectory()
    >>> os.chdir(folder.name)
    >>> rng = np.random.default_rng(0)
    >>> conv, fc = rng.normal(size=(4, 3, 1, 1)), rng.normal(size=(4, 2))
    >>> os.makedirs("acts/alexnet")
    >>> np.save("acts/alexnet/conv1.npy", conv)
    >>> np.save("acts/alexnet/fc1.npy", fc)
    >>> df = pfa.read_activations("acts/{model}/{layer}.npy", stimuli=["a", "b", "c", "d"])
    >>> df[["model", "layer"]].values.tolist()
    [['alexnet', 'conv1'], ['alexnet', 'fc1']]
    >>> df["activations"][0].shape, df["entry_keys"][0]
    ((4, 3, 1, 1), (('a',), ('b',), ('c',), ('d',)))
    >>> pfa.get_similarity_rdms(df, ["linear_cka"])["entry_keys"][0]
    (('conv1',), ('fc1',))

    One ``.npz`` a model, with an array a layer:

    >>> np.savez("alexnet.npz", conv1=conv, fc1=fc)
    >>> df = pfa.read_activations("{model}.npz", variable="{layer}")
    >>> df[["model", "layer"]].values.tolist()
    [['alexnet', 'conv1'], ['alexnet', 'fc1']]

    A folder a model, which lists its images, and one image a category to be kept:

    >>> for model, order in [("deit", [0, 1, 2, 3]), ("swin", [3, 1, 0, 2])]:
    ...     os.mkdir(f"{model}_ecoVal")
    ...     np.save(f"{model}_ecoVal/cls_tokens.npy", fc[order])
    ...     paths = np.array(["val/cat/1.jpg", "val/cat/2.jpg", "val/dog/1.jpg", "val/emu/1.jpg"])
    ...     _ = Path(f"{model}_ecoVal/imagepaths.txt").write_text("\n".join(paths[order]))
    >>> df = pfa.read_activations(
    ...     "{model}_ecoVal/cls_tokens.npy",
    ...     stimuli="{model}_ecoVal/imagepaths.txt",
    ...     stimulus_pattern="{category}/{image}.jpg",
    ...     one_per="category",
    ... )
    >>> df["entry_keys"][0]
    (('cat', '1'), ('dog', '1'), ('emu', '1'))
    >>> pfa.get_similarity_rdms(df, ["linear_cka"], ["model"])["matrix"][0].round(6).max()
    np.float64(0.0)

    What thingsvision writes: features, here in two parts, and the names of the images:

    >>> os.makedirs("vgg16/conv1")
    >>> np.save("vgg16/conv1/features_01.npy", fc[:3])
    >>> np.save("vgg16/conv1/features_02.npy", fc[3:])
    >>> _ = Path("vgg16/conv1/file_names.txt").write_text("a.jpg\nb.jpg\nc.jpg\nd.jpg\n")
    >>> df = pfa.read_activations(
    ...     "{model}/{layer}/features_{part}.npy",
    ...     parts="part",
    ...     stimuli="{model}/{layer}/file_names.txt",
    ... )
    >>> df[["model", "layer"]].values.tolist(), df["activations"][0].shape
    ([['vgg16', 'conv1']], (4, 2))

    Tables of units x stimuli, with the stimuli's names in the first row:

    >>> os.makedirs("activations/m1_x2")
    >>> table = pd.DataFrame(fc.T, columns=["a", "b", "c", "d"])
    >>> table.to_csv("activations/m1_x2/fc1.csv", index=False)
    >>> df = pfa.read_activations("activations/m{model}_x{data}/{layer}.csv", rows="units")
    >>> df[["model", "data", "layer"]].values.tolist(), df["activations"][0].shape
    ([['1', '2', 'fc1']], (4, 2))
    >>> os.chdir(old)
    >>> folder.cleanup()
    """
    check_name(rows, ("stimuli", "units"), argument="rows", what="kind of rows")
    check_name(pick, ("first", "random"), argument="pick", what="way to pick")
    root = check_random_state(random_state)
    for argument, flag in (("header", header), ("index", index)):
        if flag not in (None, True, False):
            raise TypeError(f"`{argument}` must be True, False or None, not {flag!r}.")
    if stimuli is not None and stimuli_variable is not None:
        raise ValueError("`stimuli` and `stimuli_variable` both say where names are; give one.")
    fields = check_variable(variable)
    parsed = _check_stimulus_pattern(stimulus_pattern)
    chooser = None if one_per is None else OnePer(_check_one_per(one_per, parsed), pick, root)

    files = find_sources(pattern)
    names = [*files[0].labels, *fields]
    if parts is not None:
        check_name(parts, names, argument="parts", what="variable", owner=" of the files")
    given = check_stimuli(stimuli, [name for name in names if name != parts])
    axis = 0 if rows == "stimuli" else -1
    layout = CsvLayout(header, index)
    sources = choose_arrays(files, variable, stimuli_variable, layout, parts=parts, axis=axis)
    lists = [None if isinstance(given, str) else given] * len(sources)
    if isinstance(given, str):
        lists = [*read_name_lists([source.labels for source in sources], given)]
    loaded = [_load(source, names, rows) for source, names in zip(sources, lists, strict=True)]
    _check_all_or_none_named(loaded, parsed)
    made: dict[tuple[Any, ...], Entries] = {}
    found = [(one.array, _entries_of(one, parsed, made)) for one in loaded]
    if only_shared:
        found = _shared(found)
    elif len({frozenset(entries.keys) for _, entries in found}) > 1:
        logger.info("The rows have different stimuli; `only_shared=True` keeps what all have.")
    if chooser is not None:
        found = [_taken(*row, chooser.places(row[1])) for row in found]
    return _as_frame(sources, found)


@dataclass(frozen=True)
class _Loaded:
    """An array with the stimuli on its first axis, and their names where there are any."""

    source: Source
    array: np.ndarray
    names: list[Any] | None


def _load(source: Source, given: list[Any] | None, rows: str) -> _Loaded:
    """Read an array, and put it in the order of the names given where it has names itself."""
    table = _read(source.load, source)
    array, own = table.array, table.row_names
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{source.name} must be real numbers, not of type {array.dtype}; `variable` says"
            " which array to take."
        )
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"{source.name} must have stimuli on one axis and units on others, and has the shape"
            f" {array.shape}."
        )
    other = array.shape[-1] if rows == "stimuli" else array.shape[0]
    if rows == "units":
        array, own = np.moveaxis(array, -1, 0), table.column_names
    if source.load_names is not None:
        own = names_of_cells(_read(source.load_names, source).array)
        _check_number(own, array, other, rows, source)
    own = None if own is None else [plain_name(name) for name in own]
    if own is not None:
        check_distinct(own, source.name)
    if given is None:
        return _Loaded(source, array, own)
    if own is None or is_counter(list(map(str, own))):
        _check_number(given, array, other, rows, source)
        return _Loaded(source, array, given)
    return _Loaded(source, _in_order(array, own, given, source), given)


def _read(load: Callable[[], NumberTable], source: Source) -> NumberTable:
    try:
        with unreadable_as_value_error():
            return load()
    except ValueError as error:
        raise ValueError(f"{source.name} cannot be read: {error}") from error


def _check_number(
    names: Sequence[Any], array: np.ndarray, other: int, rows: str, source: Source
) -> None:
    if len(names) == len(array):
        return
    advice = (
        f" The other axis fits: is it rows='{'units' if rows == 'stimuli' else 'stimuli'}'?"
        if len(names) == other
        else " One name for each is needed, in their order."
    )
    raise ValueError(
        f"{source.name} has {len(array)} stimuli, and there are {len(names)} names.{advice}"
    )


def _in_order(
    array: np.ndarray, own: Sequence[Any], given: Sequence[Any], source: Source
) -> np.ndarray:
    places = {str(name): place for place, name in enumerate(own)}
    lacking = [name for name in given if str(name) not in places]
    if lacking:
        raise ValueError(
            f"`stimuli` names {in_words(lacking)}, which {source.name} lacks; its own names are"
            f" {in_words(own)}."
        )
    order = [places[str(name)] for name in given]
    return array if order == list(range(len(own))) else array[order]


def _check_all_or_none_named(loaded: Sequence[_Loaded], pattern: NamePattern | None) -> None:
    named = [one.source.name for one in loaded if one.names is not None]
    without = [one.source.name for one in loaded if one.names is None]
    if named and without:
        raise ValueError(
            f"{named[0]} names its stimuli and {without[0]} does not, so that they cannot be"
            " joined; give the names by `stimuli`, or read these files by themselves."
        )
    if without and pattern is not None:
        raise ValueError(
            f"`stimulus_pattern` is read off the names of stimuli, and {without[0]} has none;"
            " give them by `stimuli`, a list or the path of a text file."
        )


def _entries_of(
    loaded: _Loaded, pattern: NamePattern | None, made: dict[tuple[Any, ...], Entries]
) -> Entries:
    """Entries of an array; arrays with the same names share theirs."""
    names = range(len(loaded.array)) if loaded.names is None else loaded.names
    if tuple(names) not in made:
        made[tuple(names)] = as_entries(list(names), pattern, loaded.source.name)
    return made[tuple(names)]


def _shared(found: Sequence[tuple[np.ndarray, Entries]]) -> list[tuple[np.ndarray, Entries]]:
    common = set(found[0][1].keys).intersection(*(entries.keys for _, entries in found))
    if not common:
        raise ValueError(
            "`only_shared=True`, and there is no stimulus that all rows have; the first has"
            f" {in_words(found[0][1].keys)}."
        )
    kept = [key for key in found[0][1].keys if key in common]
    rows = []
    for array, entries in found:
        places = {key: place for place, key in enumerate(entries.keys)}
        rows.append(_taken(array, entries, [places[key] for key in kept]))
    return rows


def _taken(
    array: np.ndarray, entries: Entries, places: Sequence[int]
) -> tuple[np.ndarray, Entries]:
    if list(places) == list(range(len(array))):
        return array, entries
    return array[places], entries.taken(places)


def _as_frame(
    sources: Sequence[Source], found: Sequence[tuple[np.ndarray, Entries]]
) -> pd.DataFrame:
    cells: dict[str, Any] = {
        name: [source.labels[name] for source in sources]
        for name in sources[0].labels
        if not name.startswith("_")
    }
    arrays = [array.view() for array, _ in found]
    for array in arrays:
        array.flags.writeable = False
    df = pd.DataFrame(cells, index=range(len(found)))
    df["activations"] = object_series(arrays)
    df["entry_keys"] = object_series([entries.keys for _, entries in found])
    df["entry_labels"] = object_series([entries.labels for _, entries in found])
    # Labels of names that are tuples already are those of any frame of one's own.
    df["entry_labels"] = check_activations(df)["entry_labels"]
    return df


def _check_stimulus_pattern(stimulus_pattern: Any) -> NamePattern | None:
    if stimulus_pattern is None:
        return None
    parsed = NamePattern.parse(stimulus_pattern, argument="stimulus_pattern")
    if all(name.startswith("_") for name in parsed.variables):
        raise ValueError(
            f"`stimulus_pattern` {stimulus_pattern!r} names no variable but such as begin with"
            " '_', which are left out."
        )
    return parsed


def _check_one_per(one_per: Any, pattern: NamePattern | None) -> str:
    if pattern is None:
        raise ValueError(
            f"`one_per` is {one_per!r}, and nothing says what that is: give `stimulus_pattern`,"
            " such as '{category}/{image}.png'."
        )
    known = [name for name in pattern.variables if not name.startswith("_")]
    check_name(one_per, known, argument="one_per", what="variable", owner=" of `stimulus_pattern`")
    return str(one_per)
