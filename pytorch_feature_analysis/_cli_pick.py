"""The command `pfa pick`: stimuli chosen by an RDM, and a sheet of their pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from pytorch_feature_analysis._cli_arguments import check_new, read_where
from pytorch_feature_analysis._cli_entries import find_pictures, pictures_options
from pytorch_feature_analysis._cli_messages import Step
from pytorch_feature_analysis._cli_options import (
    example,
    nan_policy_option,
    seed_option,
    symmetrize_option,
    where_option,
)
from pytorch_feature_analysis.csv_files import write_table
from pytorch_feature_analysis.image_folder import read_image_folder
from pytorch_feature_analysis.rdm_stack import check_rdm_stack
from pytorch_feature_analysis.stimuli import SCALES, select_stimuli
from pytorch_feature_analysis.subsets import EFFORTS, METHODS

_MATRIX_SUFFIXES = {".npy", ".csv", ".txt"}


def _effort(_ctx: click.Context, _parameter: click.Parameter, text: str) -> int | str:
    return int(text) if text.isdigit() else text


@click.command(
    cls=Step,
    says={
        "path": "STACK_OR_MATRIX",
        "columns": "--where",
        "rdm_df": "STACK_OR_MATRIX",
        "groups": "--per",
    },
    epilog=example(
        "pfa pick stack.parquet -n 20 --where layer=fc1 --where activation_type=unit_level",
        "    --where dissim_metric=corr --out chosen.csv",
        "    --pictures stimuli --pattern '{obj}.png' --montage chosen.png",
    ),
)
@click.argument("path", metavar="STACK_OR_MATRIX")
@click.option("-n", "--num-items", type=int, required=True, help="How many to choose.")
@where_option
@click.option(
    "--combine",
    type=click.Choice(["mean", "min"]),
    default="mean",
    show_default=True,
    help="Over several rows: different on average, or for every row.",
)
@click.option(
    "--scale",
    type=click.Choice(list(SCALES)),
    help="How several rows are brought to one scale.  [default: mean]",
)
@click.option(
    "--direction",
    type=click.Choice(["max", "min"]),
    default="max",
    show_default=True,
    help="As different, or as alike, as can be.",
)
@click.option(
    "--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How to look."
)
@click.option(
    "--effort",
    metavar="|".join([*EFFORTS, "INTEGER"]),
    callback=_effort,
    default="default",
    show_default=True,
    help="How long to search: a name, or a number of swaps.",
)
@click.option(
    "--include",
    "must_include",
    multiple=True,
    metavar="KEY",
    help="An entry that is in already. Keys of several parts are written as JSON:"
    ' \'["cup", "red"]\'.',
)
@click.option("--exclude", multiple=True, metavar="KEY", help="An entry that is left out.")
@click.option(
    "--per",
    "groups",
    metavar="VARIABLE=COUNT",
    help="So many of each value of a variable, as in animal=5.",
)
@nan_policy_option("omit", "pairwise", "raise")
@symmetrize_option
@seed_option("the search")
@pictures_options("Where the images are, for --montage.")
@click.option("--montage", metavar="FILE", help="A sheet of the chosen pictures.")
@click.option("--out", metavar="FILE", help="The chosen entries, .csv.  [default: printed]")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace --out (the old one is kept) and --montage where they exist.",
)
def pick(
    path: str,
    where: tuple[str, ...],
    must_include: tuple[str, ...],
    exclude: tuple[str, ...],
    groups: str | None,
    folder: str | None,
    pattern: str | None,
    montage: str | None,
    out: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Choose the stimuli that differ most, by one RDM or several."""
    given = [option is not None for option in (folder, pattern, montage)]
    if any(given) and not all(given):
        raise click.UsageError("--pictures, --pattern and --montage go together.")
    for argument, file in (("out", out), ("montage", montage)):
        if file is not None:
            check_new(file, argument, overwrite)
    stack = check_rdm_stack(_read(path, where))
    keys = stack["entry_keys"].iloc[0] if len(stack) else ()
    chosen = select_stimuli(
        stack,
        must_include=[_key(text, keys) for text in must_include],
        exclude=[_key(text, keys) for text in exclude],
        groups=_groups(groups),
        **options,
    )
    if montage is not None:
        pictures = find_pictures(read_image_folder(str(folder), str(pattern)), stack.iloc[0])
        _draw(chosen, pictures, montage)
    table = chosen.drop(columns="entry_key")
    if out is None:
        click.echo(table.to_csv(index=False), nl=False)
        return
    write_table(table, out)
    click.echo(f"{out}: {len(chosen)} of {len(keys)}, mean {chosen['mean_dissim'].mean():.4g}")


def _read(path: str, where: tuple[str, ...]) -> pd.DataFrame:
    """Read a stack, or a matrix as a stack of one row whose entries are numbered."""
    suffix = Path(path).suffix.lower()
    if suffix not in _MATRIX_SUFFIXES:
        return read_where(path, where)
    if where:
        raise click.UsageError(f"{path} is one matrix, which has no columns for --where.")
    try:
        if suffix == ".npy":
            matrix = np.load(path, allow_pickle=False)
        else:
            matrix = np.loadtxt(path, delimiter="," if suffix == ".csv" else None, ndmin=2)
    except FileNotFoundError:
        raise FileNotFoundError(f"`path` is '{path}', but there is no such file.") from None
    except ValueError as error:
        raise ValueError(
            f"`path` is '{path}', which cannot be read as a matrix ({str(error).rstrip('.')})."
            " It must hold numbers alone, a row a line; a stack is .parquet or .p."
        ) from error
    keys = tuple((number,) for number in range(len(matrix)))
    return pd.DataFrame([{"matrix": matrix, "entry_keys": keys}])


def _key(text: str, keys: Sequence[Any]) -> Any:
    """Return the entry that is meant, or the text, which the function then refuses by name."""
    for key in keys:
        if len(key) == 1 and str(key[0]) == text:
            return key
    try:
        parts = tuple(map(str, json.loads(text)))
    except (ValueError, TypeError):
        return (text,)
    return next((key for key in keys if tuple(map(str, key)) == parts), parts)


def _groups(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    variable, _, count = text.partition("=")
    if not variable or not count.isdigit():
        raise click.UsageError(f"--per {text!r} is not VARIABLE=COUNT, such as animal=5.")
    return variable, int(count)


def _draw(chosen: pd.DataFrame, pictures: dict[Any, str], montage: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from pytorch_feature_analysis.plotting.montage import plot_montage

    keys = chosen["entry_key"].tolist()
    missing = [key for key in keys if key not in pictures]
    if missing:
        raise ValueError(
            f"`folder` has no picture of {missing[0]!r} and {len(missing) - 1} more of the chosen"
            " entries; look at --pattern."
            if len(missing) > 1
            else f"`folder` has no picture of the chosen entry {missing[0]!r}; look at --pattern."
        )
    names = [", ".join(map(str, key)) for key in keys]
    plot_montage([pictures[key] for key in keys], names, show=False, save_opts=montage)
