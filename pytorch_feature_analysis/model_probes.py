"""Linear probes of the features of many networks on many datasets: frame in, frame out."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, iter_finished
from pytorch_feature_analysis.activation_schema import check_activations
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.fingerprints import fingerprint
from pytorch_feature_analysis.probe_data import check_targets
from pytorch_feature_analysis.probe_rows import MODES, ProbeData, check_variance
from pytorch_feature_analysis.probe_settings import ProbeSettings, check_seeds
from pytorch_feature_analysis.probe_table import RESULTS, ProbeTable
from pytorch_feature_analysis.rdm_stack import in_words

logger = logging.getLogger(__name__)

_PARTS = ("train", "test")


def probe_models(
    features_df: pd.DataFrame,
    grouping_variables: Sequence[str] = ("dataset", "model"),
    *,
    model_sets: Sequence[Sequence[Any]] | None = None,
    mode: str = "single",
    variance: float = 0.99,
    solver: str = "logistic",
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 20,
    batch_size: int = 1024,
    learning_rates: float | Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
    weight_decays: float | Sequence[float] | None = None,
    C: float | Sequence[float] = 1.0,
    validation: float = 0.2,
    out_fname: str | os.PathLike[str] | None = None,
    device: Any = None,
    num_threads: int | None = None,
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train linear probes on the features of networks, each on each dataset, and test them.

    Parameters
    ----------
    features_df : DataFrame
        Two rows for each network and dataset, ``split`` 'train' and 'test', with ``activations``
        (n_samples, n_features), ``entry_keys`` (the samples), ``targets`` (the class of each
        sample, as strings or numbers) and the columns named next: rows of `get_activations`, with
        targets put beside them, or of one's own. It is not changed.
    grouping_variables : list of str, default ``['dataset', 'model']``
        Columns that tell the probes apart; ``['dataset', 'model', 'layer']`` probes each layer.
    model_sets : list of lists of models, optional
        For a `mode` other than 'single': the values of the column ``model`` to go together. Their
        samples are matched by their entry keys.
    mode, variance, solver, seeds, epochs, batch_size, learning_rates, weight_decays, C, validation
        As in `train_linear_probe`.
    out_fname : path, optional
        CSV file that each row is added to as soon as it is there. Rows that the file has, with
        the same settings and of the same data, are taken from it and not made again; rows of the
        same settings and of other data are replaced.
    device, num_threads
        As in `train_linear_probe`.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show a bar.

    Returns
    -------
    DataFrame
        One row for each dataset, network (or set of these, as 'first+second') and seed, in the
        order of the frame, with the grouping variables, the columns of `train_linear_probe`, and

        - settings: str, all that was asked for,
        - data_key: str, the same for the same features and targets.

    Raises
    ------
    ValueError
        Before any work: rows that are missing or there twice, targets that do not fit, samples or
        targets that differ among networks of a set.
    RuntimeError
        At the end, names the probes that could not be trained, with the reasons; all others are in
        `out_fname`, or, without one, in a temporary file that is named too.

    See Also
    --------
    train_linear_probe : For the features of one network.
    link_to_performance : Similarity of networks beside the difference of their accuracies.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(1)
    >>> targets = ["cat", "dog"] * 20
    >>> is_dog = np.array([0, 1] * 20)[:, None]
    >>> df = pd.DataFrame([
    ...     {
    ...         "dataset": "pets", "model": model, "split": split, "targets": targets,
    ...         "activations": signal * is_dog + rng.normal(size=(40, 3)),
    ...         "entry_keys": [f"{split}{k}" for k in range(40)],
    ...     }
    ...     for model, signal in [("blind", 0), ("sharp", 9)]
    ...     for split in ["train", "test"]
    ... ])
    >>> pfa.probe_models(df, seeds=[0], progress=False)[["dataset", "model", "accuracy"]]
      dataset  model  accuracy
    0    pets  blind       0.5
    1    pets  sharp       1.0
    >>> both = pfa.probe_models(df, model_sets=[["blind", "sharp"]], mode="ensemble", seeds=[0],
    ...                         progress=False)
    >>> both[["model", "accuracy"]]
             model  accuracy
    0  blind+sharp       1.0
    """
    check_name(mode, MODES, argument="mode", what="mode")
    share = check_variance(variance)
    settings = ProbeSettings.of(
        solver=solver,
        epochs=epochs,
        batch_size=batch_size,
        learning_rates=learning_rates,
        weight_decays=weight_decays,
        C=C,
        validation=validation,
        device=device,
        num_threads=num_threads,
    )
    checked_seeds = check_seeds(seeds)
    check_num_cores(num_cores)
    labels = _check_grouping(grouping_variables, with_model=model_sets is not None)
    columns = [*labels, "split", "targets"]
    frame = check_activations(features_df, columns=columns, argument="features_df")
    units = _units_of(frame, labels)
    units = _check_sets(units, model_sets, mode)
    table = ProbeTable(labels, out_fname)

    told = settings.name if mode != "concat_pca" else f"{settings.name}, variance={share}"
    data_keys = _data_keys(units)
    wanted = [
        [
            {
                **unit.labels,
                "seed": seed,
                "mode": mode,
                "settings": told,
                "data_key": data_key,
            }
            for seed in checked_seeds
        ]
        for unit, data_key in zip(units, data_keys, strict=True)
    ]
    tasks = []
    for unit, rows in zip(units, wanted, strict=True):
        missing = [row for row in rows if table.get(row) is None]
        # Seeds that make no difference are one piece of work.
        step = 1 if settings.depends_on_seed else max(1, len(missing))
        tasks += [_Task(unit, missing[k : k + step]) for k in range(0, len(missing), step)]
    n_rows = sum(len(rows) for rows in wanted)
    n_missing = sum(len(task.rows) for task in tasks)
    if n_missing < n_rows:
        logger.info("%d of %d rows are in '%s' already.", n_rows - n_missing, n_rows, out_fname)

    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    failed = {}
    work = partial(_run, mode=mode, variance=share, settings=settings)
    with tqdm(total=len(tasks), desc="probes", disable=not progress) as bar:
        for place, result in iter_finished(work, tasks, num_cores=num_cores):
            if isinstance(result, Exception):
                failed[place] = result
            else:
                table.add(result)
            bar.update()
    if failed:
        reasons = {tasks[place].unit.name: failed[place] for place in sorted(failed)}
        _raise_failed(reasons, table, out_fname, n_rows - n_missing + len(tasks) > len(failed))
    found = [table.get(row) for rows in wanted for row in rows]
    return pd.DataFrame(found, columns=[*labels, *RESULTS])


class _Part(NamedTuple):
    """Samples of one network."""

    activations: np.ndarray
    entry_keys: tuple[Any, ...]
    targets: Any


@dataclass(frozen=True)
class _Unit:
    """What a probe, or an ensemble of these, is trained and tested with."""

    labels: dict[str, Any]
    members: list[dict[str, _Part]]
    """Of each network the two parts, by their names."""

    @property
    def name(self) -> str:
        """For messages."""
        return ", ".join(f"{name}={value!r}" for name, value in self.labels.items())


class _Task(NamedTuple):
    """A unit, and the rows to be made of it, which say the seeds."""

    unit: _Unit
    rows: list[dict[str, Any]]


def _run(
    task: _Task, *, mode: str, variance: float, settings: ProbeSettings
) -> list[dict[str, Any]] | Exception:
    """Return the finished rows, or what went wrong, so that all others go on."""
    train, test = ([member[part] for member in task.unit.members] for part in _PARTS)
    tables = [[one.activations for one in part] for part in (train, test)]
    x, x_test = (part[0] if mode == "single" else part for part in tables)
    try:
        data = ProbeData.of(x, train[0].targets, x_test, test[0].targets, mode=mode)
        seeds = [row["seed"] for row in task.rows]
        made = data.rows(mode, variance, settings, seeds)
        return [{**row, **cells} for row, cells in zip(task.rows, made, strict=True)]
    except Exception as error:
        return error


def _raise_failed(
    reasons: dict[str, Exception], table: ProbeTable, out_fname: Any, has_rows: bool
) -> None:
    told = "; ".join(
        f"{name} ({type(error).__name__}: {error})" for name, error in reasons.items()
    )
    failure = RuntimeError(
        f"`probe_models` could not train {len(reasons)} of the probes: {told} Mend or leave out"
        " these rows of `features_df`, and make the same call."
    )
    if out_fname is None and has_rows:
        rescued = Path(tempfile.mkdtemp(prefix="pfa-")) / "probes.csv"
        table.write(rescued)
        failure.add_note(f"What was computed is in '{rescued}', which can be the `out_fname`.")
    elif has_rows:
        failure.add_note(f"What was computed is in '{out_fname}'.")
    raise failure from next(iter(reasons.values()))


def _check_grouping(grouping_variables: Any, *, with_model: bool) -> list[str]:
    labels = check_sequence(
        grouping_variables, argument="grouping_variables", of="names of columns"
    )
    taken = [name for name in labels if name in {*RESULTS, "split", "targets", "activations"}]
    if not labels or taken or len(set(labels)) < len(labels):
        raise ValueError(
            f"`grouping_variables` must be one column or more, each once, that tell probes apart,"
            f" not {labels}{f': the result has {taken[0]!r} itself' if taken else ''}."
        )
    if with_model and "model" not in labels:
        raise ValueError("`model_sets` needs 'model' among the `grouping_variables`.")
    return labels


def _units_of(frame: pd.DataFrame, labels: Sequence[str]) -> list[_Unit]:
    """One unit for each combination of labels, in the order of the frame."""
    if frame.empty:
        raise ValueError("`features_df` has no rows, so there is nothing to train.")
    units: dict[Any, _Unit] = {}
    for k, row in enumerate(frame.to_dict("records")):
        own = {name: row[name] for name in labels}
        unit = units.setdefault(frozen(tuple(own.values())), _Unit(own, [{}]))
        check_name(
            row["split"], _PARTS, argument="features_df", what="value of the column `split`"
        )
        if row["split"] in unit.members[0]:
            raise ValueError(
                f"`features_df` has several rows '{row['split']}' for {unit.name}. Add the column"
                " in which they differ to `grouping_variables`, or leave out all but one."
            )
        targets = check_targets(
            row["targets"], len(row["activations"]), argument=f"features_df.targets[{k}]"
        )
        unit.members[0][row["split"]] = _Part(row["activations"], row["entry_keys"], targets)
    for unit in units.values():
        missing = [part for part in _PARTS if part not in unit.members[0]]
        if missing:
            raise ValueError(f"`features_df` has no row '{missing[0]}' for {unit.name}.")
    return list(units.values())


def _check_sets(units: list[_Unit], model_sets: Any, mode: str) -> list[_Unit]:
    """Return the units of single networks, or those of sets of them."""
    if (model_sets is None) != (mode == "single"):
        raise ValueError(
            f"`mode` '{mode}' needs `model_sets`, the networks to go together."
            if model_sets is None
            else "`model_sets` go with `mode` 'concat', 'concat_pca' or 'ensemble', not 'single'."
        )
    if model_sets is None:
        return units
    sets = [
        check_sequence(one, argument="model_sets", of="lists of models")
        for one in check_sequence(model_sets, argument="model_sets", of="lists of models")
    ]
    known = list(dict.fromkeys(unit.labels["model"] for unit in units))
    for one in sets:
        for model in one:
            check_name(
                model, known, argument="model_sets", what="model", owner=" of `features_df`"
            )
        if len(one) < 2 or len(set(one)) < len(one):
            raise ValueError(
                f"`model_sets` must be lists of two models or more, each once, not {one}."
            )
    places: dict[Any, dict[Any, _Unit]] = {}
    for unit in units:
        rest = tuple(value for name, value in unit.labels.items() if name != "model")
        places.setdefault(frozen(rest), {})[unit.labels["model"]] = unit
    return [_joined(here, one) for here in places.values() for one in sets]


def _joined(here: dict[Any, _Unit], models: Sequence[Any]) -> _Unit:
    """Put networks together, the samples of all in the order of those of the first."""
    missing = [model for model in models if model not in here]
    if missing:
        raise ValueError(
            f"`model_sets` has {models}, and `features_df` no rows of {in_words(missing)} where it"
            f" has {next(iter(here.values())).name}."
        )
    first = here[models[0]]
    members = [_aligned(here[model], first) for model in models]
    labels = first.labels | {"model": "+".join(map(str, models))}
    return replace(first, labels=labels, members=members)


def _aligned(unit: _Unit, first: _Unit) -> dict[str, _Part]:
    member = {}
    for name in _PARTS:
        part, like = unit.members[0][name], first.members[0][name]
        if part.entry_keys != like.entry_keys:
            place = {key: k for k, key in enumerate(part.entry_keys)}
            if place.keys() != set(like.entry_keys):
                strange = [*place.keys() ^ set(like.entry_keys)]
                raise ValueError(
                    f"`features_df`: {unit.name} and {first.name} have other samples '{name}':"
                    f" only one of them has {in_words(strange)}."
                )
            order = [place[key] for key in like.entry_keys]
            part = _Part(part.activations[order], like.entry_keys, part.targets[order])
        differ = np.flatnonzero(part.targets != like.targets).tolist()
        if differ:
            raise ValueError(
                f"`features_df`: {unit.name} and {first.name} have other targets '{name}' for"
                f" {in_words(like.entry_keys[k] for k in differ)}."
            )
        member[name] = part
    return member


def _data_keys(units: Sequence[_Unit]) -> Iterator[str]:
    """Yield what tells the data of each unit apart; each table is gone through once."""
    known: dict[tuple[int, int], str] = {}
    for unit in units:
        keys = []
        for member in unit.members:
            for name in _PARTS:
                part = member[name]
                ids = id(part.activations), id(part.targets)
                if ids not in known:
                    known[ids] = fingerprint((part.activations, part.targets))
                keys.append(known[ids])
        yield fingerprint(keys)[:16]
