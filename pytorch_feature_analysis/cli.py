"""The command line: each step of the pipeline as a command, a few lines over a public function.

Options bear the names of the functions' arguments, so that an error which names an argument can
be shown with the option that the user typed.
"""

from __future__ import annotations

import contextlib
from typing import Any

import click

from pytorch_feature_analysis._cli_arguments import (
    parse_layers,
    parse_model,
    parse_models,
    read_images,
    read_where,
    what_is_in,
)
from pytorch_feature_analysis._cli_explore import explore
from pytorch_feature_analysis._cli_maps import mds
from pytorch_feature_analysis._cli_messages import Group, Step, show_bars
from pytorch_feature_analysis._cli_options import (
    batch_size_option,
    device_option,
    example,
    layers_option,
    list_option,
    memory_option,
    metric_option,
    models_option,
    name_option,
    nan_policy_option,
    num_cores_option,
    num_perms_option,
    pattern_option,
    quiet_option,
    scheduler_option,
    seed_option,
    symmetrize_option,
    threads_option,
    transform_option,
    where_option,
)
from pytorch_feature_analysis._cli_pick import pick
from pytorch_feature_analysis._cli_rdm import rdm
from pytorch_feature_analysis._cli_report import report
from pytorch_feature_analysis._cli_study import STUDY_COMMANDS
from pytorch_feature_analysis._cli_units import anova, decode
from pytorch_feature_analysis._dask import using_scheduler
from pytorch_feature_analysis._version import __version__
from pytorch_feature_analysis.activations import list_layers
from pytorch_feature_analysis.architectures import find_weights
from pytorch_feature_analysis.image_sets import package_image_sets
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.models import prepare_model, prepare_models
from pytorch_feature_analysis.rdms import get_rdms, plan_rdms
from pytorch_feature_analysis.stack_files import check_stack_path


@click.group(
    "pfa",
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example(
        'pfa rdms stimuli --pattern "{obj}/{obj}_{color}.png" --entry color --group obj',
        "    --model alexnet:random --out stack.parquet",
        "pfa meta stack.parquet --entry layer --out layers.parquet",
        "pfa mds layers.parquet --where obj=cup --where activation_type=unit_level",
        "    --out layers_of_cup.png",
    ),
)
@click.version_option(__version__, prog_name="pfa")
def main() -> None:
    """Go from a folder of images to RDMs of networks, RDMs of RDMs, and maps of them.

    `pfa demo` shows it all on real images, and each command has an example in its help.
    """


@click.command(
    cls=Step,
    epilog=example(
        "pfa demo --out my_demo",
    ),
)
@click.option(
    "--out",
    "folder",
    default="demo_output",
    show_default=True,
    metavar="FOLDER",
    help="Where images, stacks and figures go.",
)
@seed_option("untrained weights and of the training")
@quiet_option
def demo(folder: str, random_state: int, quiet: bool) -> None:
    """Run the whole pipeline on handwritten digits, in a minute.

    A small network is trained on digits; its RDMs, those of its untrained twin and of AlexNet are
    compared layer by layer, and drawn. Nothing is downloaded.
    """
    from pytorch_feature_analysis.demo import run_demo

    result = run_demo(
        folder, report=click.echo, progress=show_bars(quiet), random_state=random_state
    )
    click.echo(f"\n{result.summary()}")


@click.command(
    cls=Step,
    epilog=example(
        "pfa layers resnet18 --csv > layers_of_resnet18.csv",
    ),
)
@click.argument("model")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def layers(model: str, as_csv: bool) -> None:
    """List the layers of a network of torchvision, or of cornet_s.

    MODEL is its name. Weights, as in alexnet:trained, may stand behind it; a network has the same
    layers with all of them, so they are not loaded.
    """
    _, architecture, weights = parse_model(model)
    # An error for weights that do not exist, as in the other commands.
    find_weights(architecture, weights, argument="model")
    table = list_layers(prepare_model(architecture, "random"))
    if as_csv:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        shown = table.astype(object).where(table.notna(), "-")
        click.echo(shown.to_string(index=False))


@click.command(
    cls=Step,
    says={"image_list": "FOLDER", "image_sets": "--group"},
    epilog=example(
        'pfa rdms stimuli --pattern "{obj}/{obj}_{color}.png" --entry color --group obj',
        "    --model alexnet:trained --model alexnet:random --metric corr --out stack.parquet",
    ),
)
@click.argument("folder")
@pattern_option
@list_option(
    "--entry",
    "entry_vars",
    required=True,
    metavar="VARIABLE",
    help="What tells the images of an RDM apart. Repeat it, or use commas, for several.",
)
@list_option(
    "--group",
    "grouping_vars",
    metavar="VARIABLE",
    help="What tells the RDMs apart: one for each of its values.",
)
@models_option
@layers_option
@metric_option("patterns")
@list_option(
    "--activation-type",
    "activation_types",
    default=["unit_level", "feature_means"],
    show_default=True,
    metavar="TYPE",
    help="unit_level, feature_means or cls_token.",
)
@num_perms_option("Shuffled copies of each RDM.")
@num_cores_option
@scheduler_option
@batch_size_option
@memory_option
@threads_option
@device_option
@transform_option
@seed_option("random weights and of shuffles")
@name_option("rdm_name", "df_name", "default_name")
@click.option(
    "--out",
    "out_fname",
    required=True,
    metavar="FILE",
    help="The stack, .parquet or .p. What is in it already is not computed again.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what it would cost in time, memory and passes, and compute nothing.",
)
@quiet_option
def rdms(
    folder: str,
    pattern: str,
    entry_vars: list[str],
    grouping_vars: list[str],
    models_dict: tuple[str, ...],
    which_layers: list[str],
    device: str | None,
    transform: str,
    random_state: int,
    out_fname: str,
    scheduler: str | None,
    dry_run: bool,
    quiet: bool,
    rdm_name: str,
    **options: Any,
) -> None:
    """Compute the RDMs of a folder of images at layers of networks."""
    check_stack_path(out_fname, argument="out_fname")
    table = read_images(folder, pattern, entry_vars=entry_vars, grouping_vars=grouping_vars)
    image_sets = package_image_sets(table, entry_vars, grouping_vars)
    models = prepare_models(
        parse_models(models_dict), random_state=random_state, transform=transform, device=device
    )
    options |= {"which_layers": parse_layers(which_layers, models), "device": device}
    with using_scheduler(scheduler) if scheduler else contextlib.nullcontext():
        if dry_run:
            plan = plan_rdms(image_sets, models, **options)
            click.echo(plan.set_index("model").T.to_string())
            return
        stack = get_rdms(
            image_sets,
            models,
            out_fname,
            rdm_name,
            random_state=random_state,
            progress=show_bars(quiet),
            **options,
        )
    click.echo(what_is_in(stack, out_fname))


@click.command(
    cls=Step,
    says={"path": "STACK", "columns": "--where"},
    epilog=example(
        "pfa meta stack.parquet --entry model,layer --group obj,activation_type",
        "    --out layers.parquet",
    ),
)
@click.argument("rdm_df", metavar="STACK")
@list_option(
    "--entry",
    "entry_variables",
    required=True,
    metavar="COLUMN",
    help="What tells the RDMs apart that are compared. Repeat it, or use commas, for several.",
)
@list_option(
    "--group",
    "grouping_variables",
    metavar="COLUMN",
    help="What tells groups of RDMs apart, of which each gives one.  [default: all the rest]",
)
@list_option(
    "--keep", "keep_variables", metavar="COLUMN", help="Further columns to carry, as layer_num."
)
@metric_option("RDMs")
@where_option
@num_perms_option("Shuffled copies of each RDM.")
@num_cores_option
@nan_policy_option("pairwise", "omit", "raise")
@symmetrize_option
@seed_option("shuffles")
@name_option("df_name", "df_name", "meta_rdm")
@click.option(
    "--out", "out_fname", required=True, metavar="FILE", help="The result, .parquet or .p."
)
@quiet_option
def meta(
    rdm_df: str,
    entry_variables: list[str],
    grouping_variables: list[str],
    where: tuple[str, ...],
    out_fname: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Compare the RDMs of a stack: a stack one order higher."""
    check_stack_path(out_fname, argument="out_fname")
    stack = get_meta_rdms(
        read_where(rdm_df, where),
        out_fname,
        entry_variables,
        grouping_variables=grouping_variables or "rest",
        progress=show_bars(quiet),
        **options,
    )
    click.echo(what_is_in(stack, out_fname))


# What `pfa --help` lists, in the order of the work.
_SECTIONS: dict[str, list[click.Command]] = {
    "To see it all": [demo],
    "From images to stacks of RDMs": [layers, rdms, meta],
    "Figures and pages of a stack": [rdm, mds, explore, report],
    "Choice of stimuli": [pick],
    "What units carry": [anova, decode],
    "A study of many networks, and each of its steps": STUDY_COMMANDS,
}
for heading, commands in _SECTIONS.items():
    main.add_section(heading, commands)
