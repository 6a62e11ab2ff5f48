"""The command `pfa rdm`: RDMs of a stack as a figure."""

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
    figure_option,
    nan_policy_option,
    where_option,
)
from pytorch_feature_analysis.plotting.rdm import plot_rdm
from pytorch_feature_analysis.rdm_stack import check_rdm_stack


@click.command(
    cls=Step,
    says={"path": "STACK", "columns": "--where"},
    epilog=example(
        "pfa rdm stack.parquet --where obj=cup --where model=alexnet",
        "    --where activation_type=unit_level --titles layer --scale rank --out layers.png",
        "pfa rdm layers.parquet --where obj=cup --where activation_type=unit_level",
        "    --groups model --out layers_of_cup.png",
    ),
)
@click.argument("rdm_df", metavar="STACK")
@where_option
@click.option(
    "--order",
    metavar="linkage|VARIABLE",
    help="linkage, to have alike entries side by side with their tree, or a variable of the"
    " entries.  [default: as they are]",
)
@click.option("--groups", metavar="VARIABLE", help="Mark the entries that share a value of it.")
@pictures_options("Draw images of this folder beside.")
@click.option(
    "--labels/--no-labels",
    default=None,
    help="Name the entries.  [default: where there is room, and no pictures are]",
)
@click.option(
    "--scale",
    type=click.Choice(["raw", "rank"]),
    default="raw",
    show_default=True,
    help="Dissimilarities, or their ranks within each RDM.",
)
@click.option(
    "--half", type=click.Choice(["lower", "upper"]), help="Draw this half alone.  [default: both]"
)
@click.option("--titles", metavar="COLUMN", help="What stands above each of several RDMs.")
@click.option("--title", "fig_title", help="Title of the figure.")
@nan_policy_option("pairwise", "omit", "raise")
@figure_option
def rdm(
    rdm_df: str,
    where: tuple[str, ...],
    folder: str | None,
    pattern: str | None,
    half: str | None,
    save_opts: str,
    **options: Any,
) -> None:
    """Draw RDMs as matrices: all rows that are chosen, on one scale."""
    table = read_pictures(folder, pattern)
    stack = check_rdm_stack(read_where(rdm_df, where))
    pictures = pictures_of_all(table, stack)
    import matplotlib as mpl

    mpl.use("Agg")
    plot_rdm(
        stack, pictures=pictures, half=half or False, show=False, save_opts=save_opts, **options
    )
    click.echo(f"{save_opts}: {counted(stack, 'RDM')}")
