"""The command `pfa rdm`: RDMs of a stack as a figure."""

from __future__ import annotations

from typing import Any

import click

from pytorch_feature_analysis._cli_arguments import pictures_of_all, read_where
from pytorch_feature_analysis._cli_messages import Step
from pytorch_feature_analysis._cli_options import example, nan_policy_option, where_option
from pytorch_feature_analysis.image_folder import read_image_folder
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
    help="linkage, to have alike entries side by side with their tree, or a variable of the"
    " entries.  [default: as they are]",
)
@click.option("--groups", metavar="VARIABLE", help="Mark the entries that share a value of it.")
@click.option("--pictures", "folder", metavar="FOLDER", help="Draw images of this folder beside.")
@click.option(
    "--pattern",
    help="Where the pictures are within it, with the entries' variables in braces:"
    " '{obj}/{obj}_{color}.png'.",
)
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
@click.option(
    "--out",
    "save_opts",
    required=True,
    metavar="FILE",
    help="The figure; its suffix chooses the format.",
)
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
    if (folder is None) != (pattern is None):
        raise click.UsageError(
            "--pictures and --pattern go together: a folder, and what is in it."
        )
    stack = check_rdm_stack(read_where(rdm_df, where))
    pictures = None
    if folder is not None:
        pictures = pictures_of_all(read_image_folder(folder, str(pattern)), stack)
    import matplotlib as mpl

    mpl.use("Agg")
    plot_rdm(
        stack, pictures=pictures, half=half or False, show=False, save_opts=save_opts, **options
    )
    click.echo(f"{save_opts}: {len(stack)} {'RDM' if len(stack) == 1 else 'RDMs'}")
