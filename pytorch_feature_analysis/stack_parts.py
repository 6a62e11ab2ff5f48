"""The parts of a stack that is not finished, in a folder beside the file that is to hold them all.

A run that takes long writes each piece as a *part* once it is finished: into
``rdms.parquet.parts`` for ``rdms.parquet``, in the same format. A part holds rows and their
provenance in one file, so that a killed run leaves both or neither, and is named by a digest of
its row keys, so that a piece that is computed twice is one part.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._files import atomic_write
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.stack_parquet import (
    condition_names,
    read_names,
    read_parquet,
    write_parquet,
)
from pytorch_feature_analysis.stack_pickle import dump, load_frame
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

logger = logging.getLogger(__name__)

PARTS_SUFFIX = ".parts"
_PART_NAME = re.compile(r"[0-9a-f]{32}\.(parquet|p|pkl)", re.IGNORECASE)


def parts_folder(path: Path) -> Path:
    """Name the folder of the parts of a file; beside a link's target, as the file itself."""
    path = path.resolve()
    return path.with_name(f"{path.name}{PARTS_SUFFIX}")


def part_files(folder: Path) -> list[Path]:
    """List the parts in a folder by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(item for item in folder.iterdir() if _PART_NAME.fullmatch(item.name))


def part_name(row_keys: Sequence[str], suffix: str) -> str:
    """Name a part by what it holds, in whatever order."""
    return hashlib.sha256("\n".join(sorted(row_keys)).encode()).hexdigest()[:32] + suffix


def write_part(rows: pd.DataFrame, path: Path) -> None:
    """Write rows with their provenance as one file, which is whole or absent."""
    matrices = checked_stack(rows)["matrix"].tolist()
    with atomic_write(path) as temporary:
        if _is_parquet(path):
            write_parquet(rows, matrices, temporary)
        else:
            # A sidecar would be a second file, and a kill between the two would part them.
            dump(rows, temporary)


def read_part_keys(path: Path) -> set[str]:
    """Read the keys of the rows of a part; none where a file is no part of `write_part`."""
    _, part = _load(path, ())
    return set() if part is None else set(part["row_key"].tolist())


def read_parts(
    folder: Path,
    *,
    where: Any = None,
    columns: Sequence[str] | None = None,
    provenance: bool = False,
) -> pd.DataFrame:
    """Read all parts in a folder as one stack, each row once; arguments as in `read_rdms`.

    Parts come in the order of their names. A column that only some of them have is NaN in the
    rows of the others, as in a file that holds them all.
    """
    wanted = None
    if columns is not None:
        wanted = check_sequence(columns, argument="columns", of="column names")
    conditions = [] if where is None else condition_names(where)
    needed = None if wanted is None else [*wanted, *conditions]
    _name_strangers(folder)
    known: dict[str, None] = {}
    seen: set[str] = set()
    frames = []
    for path in part_files(folder):
        names, part = _load(path, needed)
        if part is None:
            logger.warning("'%s' is ignored: it has no row keys, as parts of a run do", path)
            continue
        known.update(dict.fromkeys(names))
        start = len(seen)
        part = part[[key not in seen for key in part["row_key"].tolist()]]
        seen.update(part["row_key"].tolist())
        part.index = pd.RangeIndex(start, start + len(part))
        frames.append(part if where is None else _matching(part, where, conditions))
    if not frames:
        raise FileNotFoundError(f"`path` is '{folder}', which holds no part of a stack.")
    readable = {*known, *PROVENANCE_COLUMNS}
    for name in conditions:
        check_name(name, readable, argument="where", what="column", owner=" of the parts")
    if not provenance:
        readable = {*known}
    for name in wanted or ():
        check_name(name, readable, argument="columns", what="column", owner=" of the parts")
    chosen = list(known) if wanted is None else list(dict.fromkeys(wanted))
    chosen = [name for name in chosen if name not in PROVENANCE_COLUMNS]
    return pd.concat(frames)[[*chosen, *PROVENANCE_COLUMNS] if provenance else chosen]


def _load(path: Path, needed: Collection[str] | None) -> tuple[list[str], pd.DataFrame | None]:
    """Read the names of a part's columns, and of these the needed ones with all provenance."""
    try:
        if _is_parquet(path):
            names = read_names(path)
            chosen = names if needed is None else [name for name in names if name in needed]
            part = read_parquet(path, columns=chosen, provenance=True)
        else:
            part, _ = load_frame(path)
            names = [name for name in part.columns if name not in PROVENANCE_COLUMNS]
            chosen = names if needed is None else [name for name in names if name in needed]
            for name in PROVENANCE_COLUMNS:
                if name not in part.columns:
                    part[name] = object_series([None] * len(part), part.index)
            part = part[[*chosen, *PROVENANCE_COLUMNS]]
    except ValueError as error:
        raise ValueError(
            f"{error} It is a part of a run that is not finished: without it, the run's call"
            " computes its rows again."
        ) from error
    return names, None if part["row_key"].isna().any() else part


def _matching(part: pd.DataFrame, where: Any, conditions: Sequence[str]) -> pd.DataFrame:
    # A column that this part lacks is filled in for the conditions alone.
    named = part.reindex(columns=list(dict.fromkeys(conditions)))
    named.index = pd.RangeIndex(len(named))
    return part.iloc[df_filter(named, where).index.to_numpy(dtype=np.intp)]


def _name_strangers(folder: Path) -> None:
    for item in sorted(folder.iterdir()):
        # What starts with a dot is a temporary file, or the system's own.
        if not _PART_NAME.fullmatch(item.name) and not item.name.startswith("."):
            logger.warning("'%s' is ignored: it is no part of a run", item)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"
