"""What can be told from the patterns of a layer: linear decoding of variables of the images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from torch import nn

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    check_text,
)
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis.decoding_folds import Comparison
from pytorch_feature_analysis.decoding_plan import (
    Pair,
    make_groups,
    pairs_of,
    plan_cross,
    plan_within,
)
from pytorch_feature_analysis.decoding_run import decode_layers, make_call
from pytorch_feature_analysis.decoding_table import check_save_path, save_table
from pytorch_feature_analysis.rdm_call import RESERVED_LABELS

_DECODING_TYPES = {"within": ["within"], "cross": ["cross"], "both": ["within", "cross"]}
_CROSS_BY = ("pairs", "leave_one_out")
_LAYER_COLUMNS = ("analysis_name", "model", "layer_label", "layer", "layer_num")
_COLUMNS = (
    *(*_LAYER_COLUMNS, "decoded_variable", "other_variable", "decoding_type", "bin1", "bin2"),
    *("train_values", "test_values", "activation_type", "acc", "p"),
)


def run_2way_svm_analysis(
    image_list: pd.DataFrame | Iterable[Mapping[str, Any]],
    var1: str,
    var2: str,
    grouping_vars: Sequence[str],
    models_dict: Mapping[str, nn.Module],
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    analysis_name: str = "svm",
    save_path: str | os.PathLike[str] | None = None,
    *,
    decoding_type: str = "within",
    cross_by: str = "pairs",
    activation_type: str = "unit_level",
    num_perms: int = 0,
    num_cores: int | str | None = None,
    batch_size: int | str | None = None,
    device: Any = None,
    num_threads: int | None = None,
    memory_budget: int | str | None = None,
    progress: bool = True,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Decode each of two variables of images from the patterns of layers, pair by pair of values.

    For each group of images, model, layer and each of the two variables, every pair of its values
    (two bins of images) is told apart by a linear support vector machine with C = 1. Folds are
    matched by the other variable: each leaves out all images of both bins with one value of it,
    so that what is tested has never been seen, in either bin.

    Parameters
    ----------
    image_list : pandas.DataFrame or list of dict
        One row or dict per image, with ``path`` (a path or a PIL image) and all variables, as in
        `package_image_sets`. Several images may have the same values.
    var1, var2 : str
        The variables; var1 is decoded first, with var2 as the other one, then var2.
    grouping_vars : list of str
        Images with equal values of these are decoded among themselves. Empty for one group.
    models_dict : dict of str to torch.nn.Module
        Models of `prepare_models`.
    which_layers : dict of str to sequence, or sequence, optional
        Per model (or for all) the layers, as in `get_rdms`: names ('conv1'), labels
        (('conv1', 1)), module paths, 'original_rgb'. Default: the input and all leaf modules.
    analysis_name : str, default 'svm'
        Goes into the column of that name.
    save_path : path, optional
        Table to write, ``.csv`` or ``.parquet`` (which keeps types; `read_rdms` reads it). Where
        there is one already, rows that say the same (by all columns but `acc` and `p`) are
        replaced, in their place, and all others kept.
    decoding_type : {'within', 'cross', 'both'}
        'within': as above. 'cross': learn at some values of the other variable, and test at
        others.
    cross_by : {'pairs', 'leave_one_out'}
        For 'cross': learn at each value of the other variable and test at each other one; or
        learn at all but one and test at that. Only values that both bins have count.
    activation_type : {'unit_level', 'feature_means'}
        The flattened output, or the mean of each channel over positions or tokens.
    num_perms : int, default 0
        Shuffles of the labels, for p values.
    num_cores : int, None or 'na'
        Worker processes; None and 'na' leave it to `joblib.parallel_config`. Results do not
        depend on it.
    batch_size : int or 'auto', optional
        Images a forward pass; default 16, or fewer for large networks, as in `get_rdms`.
    device : str or torch.device, optional
        Where the networks run; default where they are.
    num_threads : int, optional
        Threads of torch and BLAS in each worker; default as they are set here.
    memory_budget : int or str, optional
        Room for patterns that wait for the rest of their group: '2GB', '512MB' or bytes; default
        a quarter of the machine's memory. Beyond it, as in `get_rdms`, several passes are made,
        or patterns wait in temporary files.
    progress : bool, default True
        Show progress bars.
    random_state : int, numpy Generator or None, default 0
        Seed of the shuffles; None draws fresh entropy.

    Returns
    -------
    pandas.DataFrame
        One row per group, model, layer, variable and pair of values (and for 'cross' each choice
        of values to learn and to test at), in this order, with the columns

        - analysis_name, model (str), layer_label (tuple), layer (str), layer_num (int),
        - decoded_variable, other_variable (str), and the grouping variables,
        - decoding_type ('within' or 'cross'), bin1, bin2 (the values, in sorted order),
        - train_values, test_values: tuples of values of the other variable, None for 'within';
          only where cross-decoding was asked for,
        - activation_type (str), only where it is not 'unit_level',
        - acc: the accuracy, from 0 to 1, 0.5 at chance, 1 where all are told apart: the mean over
          folds of the mean over the two bins of the share of their images that were told rightly,
        - p, only with `num_perms`: ``(1 + hits) / (1 + num_perms)``, where hits are shuffles with
          an accuracy as large.

    Raises
    ------
    ValueError
        Unknown variables, models or layers; a group where a variable has one value only; a bin
        with one image; bins without two common values, for 'cross'; a `save_path` that holds
        something else, which is left as it is.

    Warns
    -----
    UserWarning
        Names layers whose patterns hold NaN or inf: their accuracies are NaN.

    See Also
    --------
    get_decoding_rdms : Accuracies as a stack of RDMs.

    Notes
    -----
    **Folds.** Bins may be of unequal size. Images with a value that only one of the bins has are
    learnt from in all folds. Where the bins share fewer than two values, no folds can be matched:
    the i-th image of each bin (in order of the other variable, then of the list) is left out,
    over and over in the smaller bin until the larger has been gone through.

    **Ties.** A decision value of 0 (within rounding) counts half; bins of the same images have
    exactly 0.5.

    **Shuffles** exchange the labels of the two bins among images with the same value of the other
    variable (among all images where folds are not matched). All layers and models share them. With
    one image of each bin at each of k values there are only 2 ** (k - 1) that differ, of which
    one is the data: p then is never far below 2 ** (1 - k).

    **Precision.** Predictions are those of ``sklearn.svm.SVC(kernel='linear', C=1)`` on the units,
    but where a decision value is so near to 0 that it is within the 1e-3 at which both end their
    search. They are made from inner products about the mean pattern, in float64, which does not
    change the machine; a large mean that all patterns share costs no digits, as it does there.

    References
    ----------
    Cortes, C. and Vapnik, V. (1995). Support-vector networks. Machine Learning 20, 273-297.
        https://doi.org/10.1007/BF00994018
    Chang, C.-C. and Lin, C.-J. (2011). LIBSVM. ACM Trans. Intell. Syst. Technol. 2, 27.
        https://doi.org/10.1145/1961189.1961199
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero. Stat. Appl.
        Genet. Mol. Biol. 9, 39. https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    Bright and dark patches are told apart whatever their blue:

    >>> import torch
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(224), torch.nn.Flatten())
    >>> models = pfa.prepare_models({"net": (net, pfa.standard_transform)})
    >>> images = [
    ...     {"path": Image.new("RGB", (64, 64), (red, red, blue)), "light": light, "blue": blue}
    ...     for light, red in (("dark", 0), ("bright", 255))
    ...     for blue in (0, 100, 200)
    ... ]
    >>> df = pfa.run_2way_svm_analysis(images, "light", "blue", [], models, ["flatten1"],
    ...                                progress=False)
    >>> df[["layer", "decoded_variable", "bin1", "bin2", "acc"]]
          layer decoded_variable    bin1  bin2  acc
    0  flatten1            light  bright  dark  1.0
    1  flatten1             blue       0   100  1.0
    2  flatten1             blue       0   200  1.0
    3  flatten1             blue     100   200  1.0
    """
    variables = {"var1": var1, "var2": var2}
    reserved = (*_COLUMNS, *RESERVED_LABELS)
    images = make_groups(image_list, variables, grouping_vars, reserved=reserved)
    check_name(decoding_type, _DECODING_TYPES, argument="decoding_type", what="type of decoding")
    check_name(cross_by, _CROSS_BY, argument="cross_by", what="way to cross")
    check_text(analysis_name, argument="analysis_name")
    num_perms = check_count(num_perms, argument="num_perms", minimum=0)
    root = check_random_state(random_state)
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
    planned = [
        [
            (group.labels | cells, comparison)
            for decoded, other in ((0, 1), (1, 0))
            for kind in _DECODING_TYPES[decoding_type]
            for pair in pairs_of(group, decoded, other)
            for cells, comparison in _comparisons(pair, kind, cross_by, root)
        ]
        for group in call.sets
    ]
    labels = [*call.sets[0].labels]
    crossed = ["train_values", "test_values"] if decoding_type != "within" else []
    names = ["decoded_variable", "other_variable", *labels, "decoding_type", "bin1", "bin2"]
    names += crossed
    file = None
    if save_path is not None:
        cells_of_rows = [cells for of_group in planned for cells, _ in of_group]
        file = check_save_path(save_path, pd.DataFrame(cells_of_rows, columns=names))

    comparisons = [[comparison for _, comparison in of_group] for of_group in planned]
    rows = [
        {
            "analysis_name": analysis_name,
            "activation_type": activation_type,
            **one.layer_cells,
            **cells,
            "acc": acc,
            "p": p,
        }
        for one in decode_layers(call, comparisons, num_perms, progress=progress)
        for (cells, _), (acc, p) in zip(planned[one.group], one.found.tolist(), strict=True)
    ]
    columns = [*_LAYER_COLUMNS, *names]
    columns += ["activation_type"] if activation_type != "unit_level" else []
    columns += ["acc", "p"] if num_perms else ["acc"]
    df = pd.DataFrame(rows, columns=columns)
    if file is not None:
        save_or_rescue(partial(save_table, df), file)
    return df


def _comparisons(
    pair: Pair, kind: str, cross_by: str, root: int
) -> Iterator[tuple[dict[str, Any], Comparison]]:
    """Yield the comparisons of two bins, each with its cells of a row."""
    cells = {
        "decoded_variable": pair.decoded,
        "other_variable": pair.other,
        "decoding_type": kind,
        "bin1": pair.bins[0],
        "bin2": pair.bins[1],
        "train_values": None,
        "test_values": None,
    }
    if kind == "within":
        yield cells, plan_within(pair, root)
        return
    for train, test, comparison in plan_cross(pair, cross_by, root):
        yield cells | {"train_values": train, "test_values": test}, comparison
