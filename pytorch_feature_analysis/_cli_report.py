"""The command `pfa report`: a page about a stack, with its figures and a methods section."""

from __future__ import annotations

from typing import Any

import click

from pytorch_feature_analysis._cli_arguments import counted, read_where
from pytorch_feature_analysis._cli_entries import (
    pictures_of_all,
    pictures_options,
    read_pictures,
)
from pytorch_feature_analysis._cli_messages import Step
from pytorch_feature_analysis._cli_options import (
    example,
    seed_option,
    symmetrize_option,
    where_option,
)
from pytorch_feature_analysis._files import check_writable
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.report import write_report


@click.command(
    cls=Step,
    says={
        "path": "STACK",
        "rdm_df": "STACK",
        "columns": "--where",
        "cond_pics": "--pictures",
        "pictures": "--pictures",
    },
    epilog=example(
        "pfa report layers.parquet --below stack.parquet --out report.html",
    ),
)
@click.argument("path", metavar="STACK")
@where_option
@click.option(
    "--below",
    multiple=True,
    metavar="STACK",
    help="A stack that this one was made of, which says how; may be repeated.",
)
@pictures_options("Draw images of this folder.")
@click.option(
    "--num-rdms",
    type=click.IntRange(min=1),
    default=9,
    show_default=True,
    help="Most RDMs that are drawn.",
)
@click.option("--title", metavar="TEXT", help="Title of the page.")
@symmetrize_option
@seed_option("the starts of the maps")
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="The page, in one file that needs no network.",
)
def report(
    path: str,
    where: tuple[str, ...],
    below: tuple[str, ...],
    folder: str | None,
    pattern: str | None,
    out: str,
    **options: Any,
) -> None:
    """Write a page about a stack, with figures, settings and methods."""
    table = read_pictures(folder, pattern)
    check_writable(out, argument="out")
    stack = checked_stack(read_where(path, where, provenance=True))
    pictures = pictures_of_all(table, stack)
    import matplotlib as mpl

    mpl.use("Agg")
    write_report(stack, out, below=below, pictures=pictures, **options)
    click.echo(f"{out}: {counted(stack, 'RDM')}")
