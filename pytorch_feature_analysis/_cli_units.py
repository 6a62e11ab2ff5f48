"""The commands `pfa anova` and `pfa decode`: what the units of networks carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from pytorch_feature_analysis._cli_arguments import (
    check_new,
    counted,
    parse_layers,
    parse_models,
    read_images,
)
from pytorch_feature_analysis._cli_messages import Step, show_bars
from pytorch_feature_analysis._cli_options import (
    batch_size_option,
    device_option,
    example,
    layers_option,
    list_option,
    memory_option,
    models_option,
    name_option,
    num_cores_option,
    num_perms_option,
    pattern_option,
    quiet_option,
    seed_option,
    threads_option,
    transform_option,
)
from pytorch_feature_analysis._files import atomic_write, check_writable, save_or_rescue
from pytorch_feature_analysis.anova import compute_etas
from pytorch_feature_analysis.anova_design import make_design
from pytorch_feature_analysis.csv_files import write_table
from pytorch_feature_analysis.decoding import run_2way_svm_analysis
from pytorch_feature_analysis.image_checks import check_images
from pytorch_feature_analysis.image_sets import check_image_sets, package_image_sets
from pytorch_feature_analysis.layers import resolve_layers
from pytorch_feature_analysis.model_arguments import check_which_layers
from pytorch_feature_analysis.models import prepare_models


@click.command(
    cls=Step,
    says={
        "image_list": "FOLDER",
        "image_set": "FOLDER",
        "entry_vars": "--factor or --sample",
        "model_desc": "--model",
    },
    epilog=example(
        'pfa anova stimuli --pattern "{obj}/{color}_{view}.png" --factor obj,color --sample view',
        "    --model alexnet:trained --model alexnet:random --out etas.csv",
    ),
)
@click.argument("folder")
@pattern_option
@list_option(
    "--factor",
    "factors",
    required=True,
    metavar="VARIABLE",
    help="A variable that may explain the units' responses, two or more, with images of every"
    " combination. Repeat it, or use commas.",
)
@list_option(
    "--sample",
    "sample_vars",
    metavar="VARIABLE",
    help="What tells images of the same combination apart, where there are several.",
)
@list_option(
    "--group",
    "grouping_vars",
    metavar="VARIABLE",
    help="Analyze the images of each of its values by themselves.",
)
@models_option
@layers_option
@click.option(
    "--ss-type",
    type=click.Choice(["II", "III"]),
    help="Sums of squares where combinations have unequal numbers of images.  [default: refuse]",
)
@click.option(
    "--alpha",
    type=float,
    default=0.05,
    show_default=True,
    help="False discovery rate at which units count as significant.",
)
@click.option("--batch-size", type=int, help="Images a pass.  [default: as suits the network]")
@memory_option
@threads_option
@device_option
@transform_option
@seed_option("random weights")
@click.option("--out", required=True, metavar="FILE", help="The table, .csv, one row a layer.")
@click.option(
    "--maps",
    metavar="FILE",
    help="The effect sizes and tests of every unit, .npz: arrays that are called"
    " MODEL/LAYER/eta2_VARIABLE and so forth, behind the values of --group.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace --out (the old one is kept) and --maps where they exist.",
)
@quiet_option
def anova(
    folder: str,
    pattern: str,
    factors: list[str],
    sample_vars: list[str],
    grouping_vars: list[str],
    models_dict: tuple[str, ...],
    which_layers: list[str],
    device: str | None,
    transform: str,
    random_state: int,
    out: str,
    maps: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Split the variance of every unit among the images' variables."""
    for argument, file, suffix in (("out", out, ".csv"), ("maps", maps, ".npz")):
        if file is not None:
            check_new(file, argument, overwrite, suffix)
    table = read_images(
        folder, pattern, factors=factors, sample_vars=sample_vars, grouping_vars=grouping_vars
    )
    image_sets = package_image_sets(table, [*factors, *sample_vars], grouping_vars)
    if len(image_sets) > 1:
        # No finished analysis is to be lost to a fault of a later one.
        if len(set(factors)) == len(factors) > 1:
            for checked in check_image_sets(image_sets, argument="image_set"):
                make_design(checked, factors, options["ss_type"])
        check_images(table["path"].tolist(), argument="image_list")
    models = prepare_models(
        parse_models(models_dict), random_state=random_state, transform=transform, device=device
    )
    layers = check_which_layers(parse_layers(which_layers, models), models)
    for name, wanted in layers.items():
        if wanted is not None:
            resolve_layers(models[name], wanted, model_name=name)
    tables: list[pd.DataFrame] = []
    arrays: dict[str, np.ndarray] = {}
    for name, model in models.items():
        for image_set in image_sets:
            df, of_layers = compute_etas(
                image_set,
                (name, model),
                layers[name],
                factors=factors,
                maps=maps is not None,
                device=device,
                progress=show_bars(quiet),
                **options,
            )
            tables.append(df)
            if maps is not None:
                place = [*map(str, image_set[0].values()), name]
                arrays |= {
                    "/".join([*place, layer, key]): values
                    for (layer, _), found in of_layers.items()
                    for key, values in found.items()
                }
    etas = pd.concat(tables, ignore_index=True)
    save_or_rescue(lambda file: write_table(etas, file), out)
    if maps is not None:
        save_or_rescue(lambda file: _write_arrays(arrays, file), maps)
    click.echo(f"{out}: {len(etas)} rows of {counted(models, 'model')}")
    by_layer = etas.set_index(["model", "layer"])
    for column in map(str, by_layer):
        effect = column.removesuffix("_eta2_mean")
        if effect != column and not effect.endswith("_partial"):
            click.echo(_most(f"eta squared of {effect}", by_layer[column]))


@click.command(
    cls=Step,
    says={"image_list": "FOLDER"},
    epilog=example(
        'pfa decode stimuli --pattern "{obj}/{color}.png" --var1 obj --var2 color',
        "    --model alexnet:trained --layer conv5,fc2 --decoding-type both --num-perms 200",
        "    --out decoding.csv",
    ),
)
@click.argument("folder")
@pattern_option
@click.option(
    "--var1",
    required=True,
    metavar="VARIABLE",
    help="A variable that is decoded, pair by pair of its values.",
)
@click.option(
    "--var2",
    required=True,
    metavar="VARIABLE",
    help="The other one: what is tested has values of it that were not learnt. Then it is decoded"
    " itself, likewise.",
)
@list_option(
    "--group",
    "grouping_vars",
    metavar="VARIABLE",
    help="Decode the images of each of its values by themselves.",
)
@models_option
@layers_option
@click.option(
    "--decoding-type",
    type=click.Choice(["within", "cross", "both"]),
    default="within",
    show_default=True,
    help="Leave out one value of the other variable at a time, or learn at some and test at"
    " others.",
)
@click.option(
    "--cross-by",
    type=click.Choice(["pairs", "leave_one_out"]),
    default="pairs",
    show_default=True,
    help="For cross: learn at one value and test at one other, or learn at all but the one.",
)
@click.option(
    "--activation-type",
    type=click.Choice(["unit_level", "feature_means"]),
    default="unit_level",
    show_default=True,
    help="All units, or the mean of each channel.",
)
@num_perms_option("Shuffles, for p values.")
@num_cores_option
@batch_size_option
@memory_option
@threads_option
@device_option
@transform_option
@seed_option("random weights and of shuffles")
@name_option("analysis_name", "analysis_name", "svm")
@click.option(
    "--out",
    "save_path",
    required=True,
    metavar="FILE",
    help="The table, .csv or .parquet. Rows of other analyses that are in it stay.",
)
@quiet_option
def decode(
    folder: str,
    pattern: str,
    var1: str,
    var2: str,
    grouping_vars: list[str],
    models_dict: tuple[str, ...],
    which_layers: list[str],
    device: str | None,
    transform: str,
    random_state: int,
    save_path: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Decode two variables of the images from each layer, linearly."""
    check_writable(save_path, argument="save_path")
    table = read_images(folder, pattern, var1=[var1], var2=[var2], grouping_vars=grouping_vars)
    models = prepare_models(
        parse_models(models_dict), random_state=random_state, transform=transform, device=device
    )
    df = run_2way_svm_analysis(
        table,
        var1,
        var2,
        grouping_vars,
        models,
        parse_layers(which_layers, models),
        save_path=save_path,
        device=device,
        progress=show_bars(quiet),
        random_state=random_state,
        **options,
    )
    click.echo(f"{save_path}: {len(df)} accuracies of {counted(models, 'model')}")
    kinds = df.groupby(["decoded_variable", "decoding_type"], sort=False)
    for (variable, kind), rows in kinds:
        means = rows.groupby(["model", "layer"], sort=False)["acc"].mean()
        click.echo(_most(f"accuracy of {variable} ({kind})", means))


def _write_arrays(arrays: dict[str, Any], file: Path) -> None:
    with atomic_write(file) as temporary:
        np.savez_compressed(temporary, **arrays)


def _most(says: str, by_layer: pd.Series) -> str:
    """Say where the mean over a layer's rows is largest, model by model."""
    best = by_layer.groupby(["model", "layer"], sort=False).mean().dropna()
    found = [
        f"{of_model.max():.3f} at {of_model.droplevel(0).idxmax()} of {model}"
        for model, of_model in best.groupby("model", sort=False)
    ]
    return f"  highest {says}: {', '.join(found) or 'none is a number'}"
