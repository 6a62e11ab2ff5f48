"""The command `pfa report`: a page about a stack, with its figures and a methods section."""

from __future__ import annotations

from typing import Any

import click

from pytorch_feature_analysis._cli_arguments import pictures_of_all, read_where
from pytorch_feature_analysis._cli_messages import Step
from pytorch_feature_analysis._cli_options import (
    example,
    seed_option,
    symmetrize_option,
    where_option,
)
from pytorch_feature_analysis._files import check_writable
from pytorch_feature_analysis.image_folder import read_image_folder
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
@click.option("--pictures", "folder", metavar="FOLDER", help="Draw images of this folder.")
@click.option(
    "--pattern",
    help="Where the pictures are within it, with the entries' variables in braces:"
    " '{obj}/{obj}_{color}.png'.",
)
@click.option(
    "--num-rdms",
    type=click.IntRange(min=1),
    default=9,
    show_default=True,
    help="Most RDMs that are drawn.",
)
@click.option("--title", help="Title of the page.")
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
    """Write a page about a stack: summary, figures, settings and methods."""
    if (folder is None) != (pattern is None):
        raise click.UsageError(
            "--pictures and --pattern go together: a folder, and what is in it."
        )
    check_writable(out, argument="out")
    stack = checked_stack(read_where(path, where, provenance=True))
    pictures = None
    if folder is not None:
        pictures = pictures_of_all(read_image_folder(folder, str(pattern)), stack)
    import matplotlib as mpl

    mpl.use("Agg")
    write_report(stack, out, below=below, pictures=pictures, **options)
    click.echo(f"{out}: {len(stack)} {'RDM' if len(stack) == 1 else 'RDMs'}")
