"""Options that several commands have, and how their examples are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click


def example(*lines: str) -> str:
    """Lines of a shell, to be shown as they are."""
    shown = [
        f"  {line}" + (" \\" if following.startswith(" ") else "")
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
    ]
    # click keeps the lines of a paragraph that begins with this sign.
    return "\b\n" + "\n".join(["Example:", *shown])


def _split(_ctx: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def list_option(*names: str, **kwargs: Any) -> Callable[[Any], Any]:
    """Return an option that may be repeated, or hold several values between commas."""
    return click.option(*names, multiple=True, callback=_split, **kwargs)


def metric_option(what: str) -> Callable[[Any], Any]:
    """Return the option --metric, which says what is compared, with the names used most."""
    return list_option(
        "--metric",
        "dissim_metrics",
        default=["corr"],
        show_default=True,
        metavar="METRIC",
        help=f"How to compare two {what}: corr, euclidean_distance, cosine, spearman, ...",
    )


def num_perms_option(what: str) -> Callable[[Any], Any]:
    """Return the option --num-perms, which says what becomes of the shuffles."""
    return click.option("--num-perms", type=int, default=0, show_default=True, help=what)


def name_option(argument: str, column: str, default: str) -> Callable[[Any], Any]:
    """Return the option --name, which goes into a column of the result."""
    return click.option(
        "--name",
        argument,
        default=default,
        show_default=True,
        metavar="NAME",
        help=f"Goes into the column {column}.",
    )


def seed_option(what: str) -> Callable[[Any], Any]:
    """Return the option --seed, which says what it is the seed of."""
    return click.option(
        "--seed",
        "random_state",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help=f"Seed of {what}.",
    )


class _BatchSize(click.ParamType[int | str]):
    """A number of images, or 'auto'."""

    name = "INTEGER|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return the number, or 'auto'."""
        if isinstance(value, int) or value == "auto":
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number of images nor 'auto'.", param, ctx)


symmetrize_option = click.option(
    "--symmetrize",
    is_flag=True,
    help="Take the mean of both directions of an RDM that is not symmetric.",
)


def nan_policy_option(default: str, *others: str) -> Callable[[Any], Any]:
    """Return the option --nan-policy of a command whose function takes these."""
    return click.option(
        "--nan-policy",
        type=click.Choice([default, *others]),
        default=default,
        show_default=True,
        help="What happens to missing dissimilarities.",
    )


batch_size_option = click.option(
    "--batch-size",
    type=_BatchSize(),
    help="Images a pass; auto measures which is fastest.  [default: as suits the network]",
)
scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Share the work out among the workers of a Dask scheduler, such as tcp://10.0.0.1:8786.",
)
num_cores_option = click.option("--num-cores", type=int, help="Worker processes.  [default: 1]")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress bars.")
where_option = click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Keep the rows with this value. Repeat it for more columns, or for several values of a"
    " column. Tuples are written as JSON: 'layer_label=[\"conv1\", 1]'.",
)
figure_option = click.option(
    "--out",
    "save_opts",
    required=True,
    metavar="FILE",
    help="The figure; its suffix chooses the format.",
)
pattern_option = click.option(
    "--pattern",
    required=True,
    metavar="PATTERN",
    help="Where images are within the folder, with the design's variables in braces:"
    " '{obj}/{obj}_{color}.png'.",
)
models_option = click.option(
    "--model",
    "models_dict",
    required=True,
    multiple=True,
    metavar="[NAME=]NETWORK[:WEIGHTS]",
    help="A network of torchvision or cornet_s; WEIGHTS is trained (the default), random, the name"
    " of published weights, a URL or a file. Repeat it for several networks. They are called"
    " alexnet for alexnet:trained, alexnet_random for alexnet:random, or NAME.",
)
layers_option = list_option(
    "--layer",
    "which_layers",
    metavar="[NAME=]LAYER",
    help="A layer (see `pfa layers`), of all networks or of the one called NAME.  [default: all]",
)
memory_option = click.option(
    "--memory-budget",
    metavar="SIZE",
    help="Room for what waits for further images, as 2GB or 512MB.  [default: a quarter of the"
    " memory]",
)
threads_option = click.option(
    "--num-threads", type=int, help="Threads of each worker.  [default: all cores]"
)
device_option = click.option(
    "--device", metavar="DEVICE", help="Where the networks run, such as cuda.  [default: cpu]"
)
transform_option = click.option(
    "--transform",
    type=click.Choice(["weights", "whole"]),
    default="weights",
    show_default=True,
    help="Prepare images as the weights ask for, which cuts borders, or cut nothing.",
)
