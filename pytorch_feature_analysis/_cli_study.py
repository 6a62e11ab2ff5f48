"""The commands of a whole study: `pfa study`, and one for each of its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import click

from pytorch_feature_analysis._cli_messages import Step, show_bars
from pytorch_feature_analysis._cli_options import (
    example,
    num_cores_option,
    quiet_option,
    scheduler_option,
)
from pytorch_feature_analysis._dask import using_scheduler
from pytorch_feature_analysis.study import plan_study, run_study

_HELP = {
    "study": (None, "Run all steps of a study that are not yet done."),
    "features": ("features", "Keep the features of a study's networks on its datasets."),
    "similarity": ("similarity", "Compare the networks of a study on each of its datasets."),
    "consistency": ("consistency", "Tell whether networks alike on one dataset are on another."),
    "probe": ("probes", "Train linear probes on the features of a study."),
    "performance": ("performance", "Tell whether networks that are alike perform alike."),
}


def _command(name: str) -> click.Command:
    step, text = _HELP[name]

    def run(
        path: str, dry_run: bool, scheduler: str | None, num_cores: int | None, quiet: bool
    ) -> None:
        plan = plan_study(path)
        if dry_run:
            shown = plan if step is None else plan[plan["step"] == step]
            click.echo(shown.to_string(index=False) if len(shown) else f"no section [{step}]")
            return
        with using_scheduler(scheduler) if scheduler else contextlib.nullcontext():
            done = run_study(
                path,
                None if step is None else [step],
                num_cores=num_cores,
                progress=show_bars(quiet),
            )
        for row in done.to_dict("records"):
            state = "made" if row["made"] else "was there"
            click.echo(f"{row['step']}: {state}, {', '.join(row['writes'])}")

    run.__doc__ = f"{text}\n\n    STUDY is a TOML or JSON file; `run_study` says what is in it."
    options: list[Callable[[Any], Any]] = [
        click.argument("path", metavar="STUDY"),
        click.option("--dry-run", is_flag=True, help="Say what is done and what is to do."),
        scheduler_option,
        num_cores_option,
        quiet_option,
    ]
    for option in reversed(options):
        run = option(run)
    says = {"path": "STUDY", "steps": "STUDY"}
    return click.command(
        name, cls=Step, says=says, epilog=example(f"pfa {name} study.toml --dry-run")
    )(run)


STUDY_COMMANDS = [_command(name) for name in _HELP]
