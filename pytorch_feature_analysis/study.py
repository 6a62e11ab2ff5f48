"""A whole study of consistency from one file: the steps, what is done, and what is left."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._parallel import NumCores, check_num_cores
from pytorch_feature_analysis.comparisons import get_similarity_rdms
from pytorch_feature_analysis.consistency import get_consistency
from pytorch_feature_analysis.consistency_contrasts import compare_consistency
from pytorch_feature_analysis.consistency_rdms import get_consistency_rdms
from pytorch_feature_analysis.csv_files import EXACT, write_table
from pytorch_feature_analysis.feature_files import feature_path
from pytorch_feature_analysis.feature_store import read_features
from pytorch_feature_analysis.features import extract_features
from pytorch_feature_analysis.model_probes import probe_models
from pytorch_feature_analysis.performance import link_to_performance
from pytorch_feature_analysis.probe_table import RESULTS
from pytorch_feature_analysis.stack_files import read_rdms, write_rdms
from pytorch_feature_analysis.study_file import Study, read_study, splits_of
from pytorch_feature_analysis.study_state import (
    INPUTS,
    OUTPUTS,
    is_done,
    key_of,
    note_made,
    read_made,
)

logger = logging.getLogger(__name__)


def plan_study(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Say what `run_study` would do; nothing is computed, and no network is built.

    Parameters
    ----------
    path : path
        The study file.

    Returns
    -------
    DataFrame
        A row per step that the file asks for: ``step``, ``state`` ('done', 'to do', or, of
        features, how many files there are), ``writes`` (the files), and ``what``.

    Raises
    ------
    ValueError
        The file has an unknown key, or lacks one; see `run_study`.

    See Also
    --------
    run_study : Does it; says what is in the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "study.toml")
    ...     _ = file.write_text('''
    ...         [models]
    ...         trained = "alexnet"
    ...         untrained = "alexnet:random"
    ...         [datasets]
    ...         pets = "pictures/pets"
    ...         [features]
    ...         module = "fc2"
    ...         [similarity]
    ...         measures = ["linear_cka"]
    ...     ''')
    ...     plan = pfa.plan_study(file)
    >>> plan[["step", "state"]]
             step       state
    0    features  0 of 2 files
    1  similarity       to do
    """
    study = read_study(path)
    made = read_made(study)
    rows = []
    for step in _steps(study):
        if step == "features":
            files = [
                feature_path(study.out / "features", dataset, model, split)
                for dataset, given in study.datasets.items()
                for split in splits_of(given)
                for model in study.model_names()
            ]
            state = f"{sum(file.exists() for file in files)} of {len(files)} files"
            what = f"{len(study.model_names())} models, {len(study.datasets)} datasets"
        else:
            state = "done" if is_done(study, step, made) else "to do"
            what = ", ".join(f"{key}={value}" for key, value in study.options[step].items())
        rows.append(
            {"step": step, "state": state, "writes": ", ".join(OUTPUTS[step]), "what": what}
        )
    return pd.DataFrame(rows)


def run_study(
    path: str | os.PathLike[str],
    steps: Sequence[str] | None = None,
    *,
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the steps of a study that are not yet done, and write their results.

    Parameters
    ----------
    path : path
        A TOML or JSON file with

        - ``out``: the folder for results; default ``<file>_results`` beside the file,
        - ``[models]``: by name ``"NETWORK:WEIGHTS"`` (``"alexnet:random"``, or a path of weights),
          or ``{file = "networks.py", function = "make", arguments = {depth = 3}, weights =
          "small.pt"}``, where the function returns a module, or a module and its transform
          (arguments and weights may be left out),
        - ``model_table``: a file of `read_model_table`; without ``[models]`` its networks are
          taken,
        - ``[datasets]``: by name a folder with a folder of pictures for each class,
          ``{path = ..., pattern = "{target}/{name}.png"}``, or one of these for each split,
        - ``[features]``, ``[similarity]``, ``[consistency]``, ``[probes]``, ``[performance]``: the
          steps, with the arguments of `extract_features`, `get_similarity_rdms`,
          `get_consistency`, `probe_models` and `link_to_performance`. Measures are names, or
          ``{name = "linear_cka", debiased = true}``. ``[similarity]`` also takes ``split``, and
          ``subsets`` (by dataset a file of `save_subset`). A step without a section is not run,
        - ``random_state`` and ``transform`` of `prepare_models`.

        Paths in it are relative to it.
    steps : list of str, optional
        Run these alone: 'features', 'similarity', 'consistency', 'probes', 'performance'.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show bars.

    Returns
    -------
    DataFrame
        A row per step: ``step``, ``made`` (whether it was run now), ``writes`` (paths).

    Raises
    ------
    ValueError
        The file has an unknown key, or lacks one; a step whose input is not there.

    See Also
    --------
    plan_study : What it would do.

    Notes
    -----
    A step is done when its settings and the files it was made from are the same as when its
    results were written. Results that are made anew do not replace the old ones, which are renamed
    to ``<name>.superseded...``. A study that is killed goes on with the next file of features, the
    next probe, or the next step.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> study = '''
    ...     [models]
    ...     one = "squeezenet1_1:random"
    ...     two = "squeezenet1_1:random"
    ...     [datasets]
    ...     colors = "pictures"
    ...     [features]
    ...     module = "avgpool1"
    ...     [similarity]
    ...     measures = ["rsa"]
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for color in ("red", "lime", "blue", "black", "white"):
    ...         place = Path(folder, "pictures", "dark" if color == "black" else "bright")
    ...         place.mkdir(parents=True, exist_ok=True)
    ...         Image.new("RGB", (64, 64), color).save(place / f"{color}.png")
    ...     _ = Path(folder, "study.toml").write_text(study)
    ...     first = pfa.run_study(Path(folder, "study.toml"), progress=False)
    ...     second = pfa.run_study(Path(folder, "study.toml"), progress=False)
    >>> first[["step", "made"]].to_numpy().tolist()
    [['features', True], ['similarity', True]]
    >>> second["made"].tolist()
    [False, False]
    """
    check_num_cores(num_cores)
    study = read_study(path)
    wanted = _steps(study)
    if steps is not None:
        named = check_sequence(steps, argument="steps", of="names of steps")
        for name in named:
            check_name(name, OUTPUTS, argument="steps", what="step")
            if name not in wanted:
                raise ValueError(
                    f"'{study.path.name}' has no section [{name}]; write one, or leave the step"
                    " out."
                )
        wanted = [name for name in wanted if name in named]
    study.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for step in wanted:
        for before in INPUTS[step]:
            if not all((study.out / name).exists() for name in OUTPUTS[before]):
                raise ValueError(
                    f"the step '{step}' needs the results of '{before}': run it first."
                )
        # Which features there are already is told file by file.
        made = step == "features" or not is_done(study, step, read_made(study))
        if made:
            key = key_of(study, step)
            made = _RUN[step](study, num_cores, progress)
            note_made(study, step, key)
        else:
            logger.info("'%s' is done.", step)
        paths = [os.fspath(study.out / name) for name in OUTPUTS[step]]
        rows.append({"step": step, "made": made, "writes": paths})
    return pd.DataFrame(rows)


def _steps(study: Study) -> list[str]:
    return [step for step in OUTPUTS if step in study.options]


def _features(study: Study, num_cores: NumCores, progress: bool) -> bool:
    options = dict(study.options["features"])
    files = extract_features(
        study.networks(),
        study.sources(),
        study.out / "features",
        options.pop("module"),
        **options,
        num_cores=num_cores,
        progress=progress,
    )
    return bool(files["made"].any())


def _similarity(study: Study, num_cores: NumCores, progress: bool) -> bool:
    options = dict(study.options["similarity"])
    measures = [_measure(one) for one in options.pop("measures", ["linear_cka"])]
    split, _ = options.pop("split", None), options.pop("subsets", None)
    df = _read_features(study, None if split is None else [split], study.subsets())
    grouping = ["dataset"] if len(df["split"].unique()) == 1 else ["dataset", "split"]
    stack = get_similarity_rdms(
        df,
        measures,
        ["model"],
        grouping,
        **options,
        num_cores=num_cores,
        progress=progress,
    )
    write_rdms(stack, study.out / "similarity.parquet")
    return True


def _consistency(study: Study, _num_cores: NumCores, _progress: bool) -> bool:
    options = dict(study.options["consistency"])
    stack = read_rdms(study.out / "similarity.parquet")
    table = get_consistency(stack, study.model_table, **options)
    write_table(table, study.out / "consistency.csv")
    # The draws and intervals are of the table alone.
    taken = inspect.signature(get_consistency_rdms).parameters
    own = {key: value for key, value in options.items() if key in taken}
    rdms = get_consistency_rdms(stack, study.model_table, **own)
    write_rdms(rdms, study.out / "consistency_rdms.parquet")
    write_table(compare_consistency(table), study.out / "consistency_tests.csv")
    return True


def _probes(study: Study, num_cores: NumCores, progress: bool) -> bool:
    df = _read_features(study, ["train", "test"])
    both = df.groupby("dataset")["split"].transform("nunique") == 2
    if not both.any():
        raise ValueError(
            f"'{study.path.name}': [probes] needs datasets with the splits 'train' and 'test'."
        )
    if not both.all():
        left_out = df["dataset"][~both].unique().tolist()
        logger.warning("no probes of %s: they lack 'train' or 'test'.", ", ".join(left_out))
    df = df[both].reset_index(drop=True)
    file = study.out / "probes.csv"
    probe_models(
        df, out_fname=file, num_cores=num_cores, progress=progress, **study.options["probes"]
    )
    return True


def _performance(study: Study, _num_cores: NumCores, _progress: bool) -> bool:
    stack = read_rdms(study.out / "similarity.parquet")
    # Names stay the text that they are: '01' is no number, and 'NA' not missing.
    names = dict.fromkeys(("dataset", "model"), str)
    probes = pd.read_csv(
        study.out / "probes.csv",
        dtype=names,
        keep_default_na=False,
        na_values=dict.fromkeys(RESULTS, ""),
        **EXACT,
    )
    table = link_to_performance(stack, probes, **study.options["performance"])
    write_table(table, study.out / "performance.csv")
    return True


_RUN: dict[str, Callable[[Study, NumCores, bool], bool]] = {
    "features": _features,
    "similarity": _similarity,
    "consistency": _consistency,
    "probes": _probes,
    "performance": _performance,
}


def _read_features(
    study: Study, splits: Sequence[str] | None, subsets: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    if splits is None:
        # The store may have more, of earlier studies.
        splits = list(
            dict.fromkeys(s for given in study.datasets.values() for s in splits_of(given))
        )
    return read_features(
        study.out / "features",
        datasets=list(study.datasets),
        models=study.model_names(),
        splits=splits,
        subsets=subsets,
    )


def _measure(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    options = dict(given)
    if "name" not in options:
        raise ValueError(f"`measures`: {given!r} has no 'name', such as 'linear_cka'.")
    return options.pop("name"), options
