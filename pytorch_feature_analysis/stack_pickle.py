"""Stacks in pickles: the frame as it is, and a file beside it for where its rows came from.

That sidecar names the very pickle that it belongs to by its digest. A pickle takes its place only
when the sidecar that belongs to it lies ready under a second name, so that a writer killed between
the two leaves no pickle without one.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._files import (
    atomic_write,
    keep_previous,
    restricted_load,
    same_content,
)
from pytorch_feature_analysis.bridges._content import frame_of_content
from pytorch_feature_analysis.bridges._descriptors import frame_of_descriptors, is_of_rsatoolbox
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.stack_parquet import (
    condition_names,
    read_note,
    read_parquet,
    write_parquet,
)
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

logger = logging.getLogger(__name__)


def write_pickle(rdm_df: pd.DataFrame, path: Path, *, keep: bool) -> None:
    """Write a stack, and its sidecar where it has provenance; `keep` renames another content."""
    # Beside a link's target, so that both files stay together.
    path = path.resolve()
    known = [name for name in PROVENANCE_COLUMNS if name in rdm_df] if "row_key" in rdm_df else []
    settle(path)
    try:
        with atomic_write(path) as temporary:
            dump(rdm_df.drop(columns=known), temporary)
            if known:
                origin = rdm_df[known].reset_index(drop=True)
                with atomic_write(_next_sidecar(path)) as beside:
                    write_parquet(origin, None, beside, note={"sha256": _digest(temporary)})
            if keep and not same_content(path, temporary):
                kept = keep_previous(path)
                if kept is not None and _sidecar(path).exists():
                    _sidecar(path).replace(_sidecar(kept))
    except BaseException:
        settle(path)
        raise
    if known:
        _next_sidecar(path).replace(_sidecar(path))
    else:
        _sidecar(path).unlink(missing_ok=True)


def read_pickle(
    path: Path,
    where: Any,
    columns: Sequence[str] | None,
    provenance: bool,
    entry_keys: Any = None,
) -> pd.DataFrame:
    """Read a stack, by whomever it was made; arguments as in `read_rdms`."""
    wanted = None
    if columns is not None:
        wanted = check_sequence(columns, argument="columns", of="column names")
    conditions = [] if where is None else condition_names(where)
    needs_origin = provenance or any(name in PROVENANCE_COLUMNS for name in conditions)
    df, digest = load_frame(path, with_digest=needs_origin, entry_keys=entry_keys)
    extra: list[str] = []
    if needs_origin:
        extra = [name for name in PROVENANCE_COLUMNS if name not in df.columns]
        origin = _read_sidecar(path, digest, len(df))
        for name in extra:
            if origin is not None and name in origin.columns:
                df[name] = origin[name].array
            else:
                df[name] = object_series([None] * len(df), df.index)
    for argument, names in (("columns", wanted or ()), ("where", conditions)):
        for name in names:
            check_name(name, df.columns, argument=argument, what="column", owner=" of the file")
    if where is not None:
        df = df_filter(df, where)
    names = df.columns.tolist() if wanted is None else list(dict.fromkeys(wanted))
    names = [name for name in names if name not in extra]
    return df[[*names, *extra] if provenance else names]


def dump(df: pd.DataFrame, path: Path) -> None:
    """Pickle a frame as it is."""
    with path.open("wb") as file:
        pickle.dump(df, file, protocol=pickle.HIGHEST_PROTOCOL)


def load_frame(
    path: Path, *, with_digest: bool = False, entry_keys: Any = None
) -> tuple[pd.DataFrame, str]:
    """Read a pickled frame with read-only matrices, and the digest of just what was read."""
    with path.open("rb") as file:
        df = restricted_load(file, path)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest() if with_digest else ""
    if is_of_rsatoolbox(df):
        df, is_named = frame_of_descriptors(df, what=str(path)), True
    elif isinstance(df, Mapping) and any(isinstance(item, np.ndarray) for item in df.values()):
        content = {str(name): item for name, item in df.items()}
        df, is_named = frame_of_content(content, path, entry_keys), False
    else:
        is_named = True
    if entry_keys is not None and is_named:
        raise ValueError(
            f"`entry_keys` is for files that do not name the entries, and '{path}' does. Leave it"
            " out."
        )
    if not isinstance(df, pd.DataFrame):
        raise ValueError(
            f"'{path}' holds a {type(df).__name__}, not a frame with a stack of RDMs."
            " `pickle_read` reads it as it is."
        )
    if "matrix" in df.columns:
        for matrix in df["matrix"].tolist():
            if isinstance(matrix, np.ndarray):
                matrix.flags.writeable = False
    return df, digest


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.provenance.parquet")


def _next_sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.provenance.next.parquet")


def settle(path: Path) -> None:
    """Finish what a writer left that was stopped between a pickle and its sidecar."""
    ready = _next_sidecar(path)
    if not ready.exists():
        return
    try:
        is_of_pickle = path.exists() and _belongs(ready, _digest(path))
    except ValueError:
        is_of_pickle = False
    if is_of_pickle:
        ready.replace(_sidecar(path))
    else:
        ready.unlink()


def _belongs(sidecar: Path, digest: str) -> bool:
    return read_note(sidecar).get("sha256") == digest


def _read_sidecar(path: Path, digest: str, n_rows: int) -> pd.DataFrame | None:
    """Read where a pickle's rows came from; None when that is not known of this very file."""
    path = path.resolve()
    reason = None
    for sidecar in (_sidecar(path), _next_sidecar(path)):
        if not sidecar.exists():
            continue
        try:
            if _belongs(sidecar, digest):
                origin = read_parquet(sidecar, provenance=True)
                if len(origin) == n_rows:
                    return origin
            reason = reason or "it was written with another version of it"
        except (ValueError, OSError) as error:
            reason = reason or str(error)
    if reason is not None:
        logger.warning(
            "'%s' does not say where the rows of '%s' came from: %s. It is ignored.",
            _sidecar(path),
            path,
            reason,
        )
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
