"""The command `pfa explore`: a stack as a page to be opened in a browser."""

from __future__ import annotations

from typing import Any

import click
import pandas as pd

from pytorch_feature_analysis._cli_arguments import counted, read_where
from pytorch_feature_analysis._cli_entries import find_pictures, pictures_options, read_pictures
from pytorch_feature_analysis._cli_messages import Step, show_bars
from pytorch_feature_analysis._cli_options import (
    example,
    quiet_option,
    seed_option,
    symmetrize_option,
    where_option,
)
from pytorch_feature_analysis._files import check_writable
from pytorch_feature_analysis.explorer import explore as write_page
from pytorch_feature_analysis.rdm_stack import checked_stack


@click.command(
    cls=Step,
    says={
        "path": "STACK",
        "rdm_df": "STACK",
        "columns": "--where",
        "pictures": "--pictures",
    },
    epilog=example(
        "pfa explore stack.parquet --pictures stimuli",
        '    --pattern "{obj}/{obj}_{color}.png" --out explore.html',
    ),
)
@click.argument("path", metavar="STACK")
@where_option
@pictures_options("Show images of this folder.")
@click.option("--step", metavar="COLUMN", help="What the slider goes along.  [default: layer]")
@click.option("--title", metavar="TEXT", help="Title of the page.")
@click.option(
    "--method",
    type=click.Choice(["metric", "classical"]),
    default="metric",
    show_default=True,
    help="How entries are placed: least stress, or Torgerson's scaling.",
)
@symmetrize_option
@seed_option("the starts of the embedding")
@click.option(
    "--out",
    "out",
    default="explore.html",
    show_default=True,
    metavar="FILE",
    help="The page, in one file that needs no network.",
)
@quiet_option
def explore(
    path: str,
    where: tuple[str, ...],
    folder: str | None,
    pattern: str | None,
    out: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Write a page to explore the RDMs of a stack in a browser."""
    table = read_pictures(folder, pattern)
    check_writable(out, argument="out")
    stack = checked_stack(read_where(path, where))
    pictures = None if table is None else _pictures_of_rows(table, stack)
    write_page(stack, pictures, out, progress=show_bars(quiet), **options)
    click.echo(f"{out}: {counted(stack, 'RDM')}")


def _pictures_of_rows(table: pd.DataFrame, stack: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return image sets, one for the rows that have the same values in the pictures' names."""
    sets: dict[Any, tuple[dict[str, Any], dict[Any, str]]] = {}
    found = set()
    for _, row in stack.drop(columns="matrix").iterrows():
        of_entries = {name for label in row["entry_labels"] for name in label}
        names = [name for name in table.columns[1:] if name in row and name not in of_entries]
        of_row = {name: str(row[name]) for name in names}
        place = tuple(of_row.items())
        if (place, row["entry_keys"]) in found:
            continue
        found.add((place, row["entry_keys"]))
        sets.setdefault(place, (of_row, {}))[1].update(find_pictures(table, row))
    return list(sets.values())
