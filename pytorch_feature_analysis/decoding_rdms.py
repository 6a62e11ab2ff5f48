"""RDMs whose dissimilarities are accuracies of decoding, as a stack."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from torch import nn

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    check_text,
)
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis.decoding_plan import (
    make_groups,
    pairs_of,
    plan_k_folds,
    plan_within,
    values_of,
)
from pytorch_feature_analysis.decoding_run import decode_layers, make_call
from pytorch_feature_analysis.matrices import to_square
from pytorch_feature_analysis.rdm_call import RESERVED_LABELS
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_files import check_stack_path, write_rdms
from pytorch_feature_analysis.stack_schema import RDM_COLUMNS


def get_decoding_rdms(
    image_list: pd.DataFrame | Iterable[Mapping[str, Any]],
    variable: str,
    grouping_vars: Sequence[str],
    models_dict: Mapping[str, nn.Module],
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    out_fname: str | os.PathLike[str] | None = None,
    *,
    matched_by: str | None = None,
    num_folds: int | None = None,
    df_name: str = "default_name",
    activation_type: str = "unit_level",
    num_cores: int | str | None = None,
    batch_size: int | str | None = None,
    device: Any = None,
    num_threads: int | None = None,
    memory_budget: int | str | None = None,
    progress: bool = True,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Stack of RDMs whose dissimilarity is how well a linear machine tells two values apart.

    The entries are the values of a variable, of which there must be several images each; the
    dissimilarity of two values is the accuracy of their cross-validated linear decoding with
    C = 1, as in `run_2way_svm_analysis`.

    Parameters
    ----------
    image_list : pandas.DataFrame or list of dict
        One row or dict per image, with ``path`` and all variables.
    variable : str
        The variable whose values are the entries.
    grouping_vars : list of str
        Images with equal values of these make one RDM a layer. Empty for one group.
    models_dict, which_layers
        As in `get_rdms`.
    out_fname : path, optional
        File of the stack, ``.parquet`` or ``.p``/``.pkl``; written as by `write_rdms`.
    matched_by : str, optional
        Another variable, by whose values folds are matched: each leaves out the images of one.
        Default: the i-th image of each of the two values is left out, in the order of the list.
    num_folds : int, optional
        Share the images of each value out among so many folds at random instead.
    df_name : str, default 'default_name'
        Goes into the column of that name.
    activation_type, num_cores, batch_size, device, num_threads, memory_budget, progress
        As in `run_2way_svm_analysis`.
    random_state : int, numpy Generator or None, default 0
        Seed of the folds of `num_folds`.

    Returns
    -------
    pandas.DataFrame
        One row per group, model and layer, with the columns of `get_rdms`. `matrix`: accuracies
        from 0 to 1 (0.5 at chance, 1 where two values are told apart without error), 0 on the
        diagonal; `dissim_metric` is 'svm_accuracy'.

    Raises
    ------
    ValueError
        As `run_2way_svm_analysis`; more folds than there are images of a value.

    Warns
    -----
    UserWarning
        Names layers whose patterns hold NaN or inf: their accuracies are NaN.

    See Also
    --------
    run_2way_svm_analysis : Accuracies as a table, matched by another variable.

    Notes
    -----
    With few images, cross-validation can tell values apart systematically wrongly: accuracies lie
    below 0.5 then, which is no smaller a distance than 0.5.

    References
    ----------
    Walther, A., Nili, H., Ejaz, N., Alink, A., Kriegeskorte, N. and Diedrichsen, J. (2016).
        Reliability of dissimilarity measures for multi-voxel pattern analysis. NeuroImage 137,
        188-200. https://doi.org/10.1016/j.neuroimage.2015.12.012

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(224), torch.nn.Flatten())
    >>> models = pfa.prepare_models({"net": (net, pfa.standard_transform)})
    >>> images = [
    ...     {"path": Image.new("RGB", (64, 64), (red, red, blue)), "light": light}
    ...     for light, red in (("dark", 0), ("bright", 255))
    ...     for blue in (0, 100, 200)
    ... ]
    >>> rdm_df = pfa.get_decoding_rdms(
    ...     images, "light", [], models, ["flatten1"], progress=False
    ... )
    >>> rdm_df["entry_keys"][0]
    (('bright',), ('dark',))
    >>> rdm_df["matrix"][0].tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    variables = {"variable": variable}
    if matched_by is not None:
        variables["matched_by"] = matched_by
        if num_folds is not None:
            raise ValueError(
                "`num_folds` shares images out at random, and `matched_by` by the values of a"
                " variable: give one of them."
            )
    images = make_groups(image_list, variables, grouping_vars, reserved=RESERVED_LABELS)
    if num_folds is not None:
        num_folds = check_count(num_folds, argument="num_folds", minimum=2)
    check_text(df_name, argument="df_name")
    root = check_random_state(random_state)
    path = None if out_fname is None else check_stack_path(out_fname, argument="out_fname")
    call = make_call(
        images,
        activation_type,
        models_dict=models_dict,
        which_layers=which_layers,
        num_cores=num_cores,
        batch_size=batch_size,
        device=device,
        num_threads=num_threads,
        memory_budget=memory_budget,
    )
    # The other variable, or the number of the image: they are second among the entry types.
    comparisons = [
        [
            plan_within(pair, root) if num_folds is None else plan_k_folds(pair, num_folds, root)
            for pair in pairs_of(group, 0, 1)
        ]
        for group in call.sets
    ]
    rows = []
    for one in decode_layers(call, comparisons, progress=progress):
        group = call.sets[one.group]
        values, _ = values_of(group, 0)
        matrix = to_square(one.found[:, 0])
        matrix.flags.writeable = False
        rows.append(
            {
                "df_name": df_name,
                **one.layer_cells,
                "dissim_metric": "svm_accuracy",
                "activation_type": activation_type,
                "matrix": matrix,
                "entry_keys": tuple((value,) for value in values),
                "entry_labels": tuple({variable: value} for value in values),
                "kernel_set_name": "all",
                "kernel_inds": "all",
                "perm": "orig_data",
                "perm_scramble": tuple(range(len(values))),
                "dissim_rankings": greedy_order(matrix),
                **group.labels,
            }
        )
    rdm_df = pd.DataFrame(rows, columns=[*RDM_COLUMNS, *call.sets[0].labels])
    if path is not None:
        save_or_rescue(partial(write_rdms, rdm_df), path)
    return rdm_df
