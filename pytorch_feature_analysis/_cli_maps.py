"""The command `pfa mds`: maps of the entries of one RDM, or of several side by side."""

from __future__ import annotations

from typing import Any

import click

from pytorch_feature_analysis._cli_arguments import counted, only_row, read_where
from pytorch_feature_analysis._cli_entries import (
    join_by,
    label_entries,
    pictures_of_all,
    pictures_options,
    read_pictures,
)
from pytorch_feature_analysis._cli_messages import Step
from pytorch_feature_analysis._cli_options import (
    example,
    figure_option,
    nan_policy_option,
    seed_option,
    symmetrize_option,
    where_option,
)
from pytorch_feature_analysis.embedding import METHODS
from pytorch_feature_analysis.plotting._map_looks import OVERLAPS
from pytorch_feature_analysis.plotting.mds import rdm_mds
from pytorch_feature_analysis.plotting.mds_panels import plot_mds_panels
from pytorch_feature_analysis.rdm_stack import check_rdm_stack


@click.command(
    cls=Step,
    says={"path": "STACK", "columns": "--where", "cond_pics": "--pictures"},
    epilog=example(
        "pfa mds layers.parquet --where obj=cup --where activation_type=unit_level",
        "    --lines model --out layers_of_cup.png",
        "pfa mds stack.parquet --where obj=cup --where model=alexnet --where layer=conv1",
        "    --where activation_type=unit_level --pictures stimuli",
        '    --pattern "{obj}/{obj}_{color}.png" --overlap repel --out colors_of_cup.png',
        "pfa mds stack.parquet --where obj=cup --where model=alexnet",
        "    --where activation_type=unit_level --panels layer --color-by color",
        "    --out colors_from_layer_to_layer.png",
    ),
)
@click.argument("rdm_df", metavar="STACK")
@where_option
@pictures_options("Draw images of this folder.")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAPS),
    default="allow",
    show_default=True,
    help="Pictures that hide each other: leave them, make all smaller, or move them apart.",
)
@click.option(
    "--labels/--no-labels",
    default=None,
    help="Write each entry's key.  [default: where there are no pictures]",
)
@click.option(
    "--color-by",
    metavar="VARIABLE",
    help="Colour the entries by this variable of theirs, with a legend.",
)
@click.option(
    "--lines",
    metavar="VARIABLE",
    help="Join the entries that have the same value of this variable, such as model.",
)
@click.option(
    "--panels",
    metavar="COLUMN",
    help="Draw all RDMs that are chosen, one for each value of this column, such as layer, turned"
    " so that entries keep their places.",
)
@click.option("--paths", is_flag=True, help="With --panels, add each entry's way through them.")
@click.option(
    "--dims", type=click.IntRange(2, 3), default=2, show_default=True, help="Dimensions."
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="metric",
    show_default=True,
    help="Least stress, that of ranks, Torgerson's scaling, or neighbours kept together.",
)
@click.option("--title", "fig_title", help="Title of the figure.")
@nan_policy_option("omit", "raise")
@symmetrize_option
@seed_option("the starts of the embedding")
@figure_option
def mds(
    rdm_df: str,
    where: tuple[str, ...],
    folder: str | None,
    pattern: str | None,
    labels: bool | None,
    color_by: str | None,
    lines: str | None,
    panels: str | None,
    paths: bool,
    dims: int,
    save_opts: str,
    **options: Any,
) -> None:
    """Draw the entries of an RDM, or of several, as a map.

    What is near on it is alike.
    """
    if lines is not None and color_by is not None:
        raise click.UsageError("--lines and --color-by both give colours; take one of them.")
    if panels is None and paths:
        raise click.UsageError("--paths go through --panels, and there are none.")
    if panels is not None and (lines is not None or dims != 2):
        raise click.UsageError("--panels have two dimensions and no --lines; see --paths.")
    table = read_pictures(folder, pattern)
    stack = check_rdm_stack(read_where(rdm_df, where))
    rows = [only_row(stack)] if panels is None else [row for _, row in stack.iterrows()]
    pictures = pictures_of_all(table, stack)
    shown = {}
    if pictures is None if labels is None else labels:
        for row in rows:
            shown.update(label_entries(row, lines if color_by is None else color_by))
    options |= {
        "cond_labels": shown or None,
        "cond_pics": pictures,
        "color_by": color_by,
        "show": False,
        "save_opts": save_opts,
    }
    import matplotlib as mpl

    mpl.use("Agg")
    if panels is not None:
        plot_mds_panels(stack, panels, trajectories=paths, **options)
        click.echo(f"{save_opts}: {counted(stack, 'panel')}")
        return
    joined = join_by(rows[0], lines) if lines is not None else {}
    fit = rdm_mds(rows[0], dims, **joined, **options)
    what = "trustworthiness" if options["method"] in ("tsne", "umap") else "stress"
    click.echo(f"{save_opts}: {len(rows[0]['entry_keys'])} entries, {what} {fit:.4g}")
