"""Which factor drives a unit: analyses of variance of every unit of a network, in one pass.

A sum of squares is the squared length of the responses of a unit, as a vector over images,
projected onto a space of few dimensions. So each layer keeps one number a unit for every basis
vector of these spaces, and the sum of squares; images go by and are forgotten. All sums are of
deviations from the first image, in float64: a response to one image is as near to the mean as the
unit's own variance allows, so that no large means are squared and subtracted again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import check_count, check_name, check_sequence
from pytorch_feature_analysis._image_decoding import describe_image
from pytorch_feature_analysis.activations import choose_targets
from pytorch_feature_analysis.anova_design import Design, listed, make_design
from pytorch_feature_analysis.anova_sums import Accumulator
from pytorch_feature_analysis.anova_tables import summary
from pytorch_feature_analysis.batches import (
    KeptInputs,
    counted,
    pass_at_once,
    preprocessing_of,
    read_batches,
    to_input,
)
from pytorch_feature_analysis.image_checks import check_images
from pytorch_feature_analysis.image_sets import ImageSet, check_image_sets
from pytorch_feature_analysis.model_arguments import check_which_layers
from pytorch_feature_analysis.models import check_device, prepare_models
from pytorch_feature_analysis.pass_resources import in_batches_that_fit, using_threads
from pytorch_feature_analysis.planning import (
    PIXEL_SHARE,
    LayerLoad,
    NoRoomError,
    Pass,
    check_memory_budget,
    share_out,
    size_in_words,
)
from pytorch_feature_analysis.stream import Target, stream_outputs

logger = logging.getLogger(__name__)

# From so many units of the network on, so many images a batch, where not all pass at once. Each
# batch reads and writes all sums, so that it may be larger than those of `get_rdms`.
_BATCH_SIZES = ((16_000_000, 8), (8_000_000, 16), (2_000_000, 32), (0, 64))
_OWN_COLUMNS = (
    *("model", "layer", "layer_label", "layer_num", "n_images", "n_units"),
    *("n_constant_units", "n_undefined_units"),
)


def compute_etas(
    image_set: Any,
    model_desc: Sequence[Any],
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    *,
    factors: Sequence[str] | None = None,
    ss_type: str | int | None = None,
    maps: bool = False,
    alpha: float = 0.05,
    batch_size: int | None = None,
    device: Any = None,
    num_threads: int | None = None,
    memory_budget: int | str | None = None,
    progress: bool = True,
) -> tuple[pd.DataFrame, dict[tuple[str, int], dict[str, np.ndarray]]]:
    """Analysis of variance of every unit: how much of its variance each factor explains.

    The images cross two factors (objects and colours, say), or more. Of each unit's responses to
    them, the variance is split into main effects and interactions, and eta squared, the share of
    each in the whole, is averaged over the units of a layer. One pass over the images serves all
    layers, and the memory does not depend on how many images there are.

    Parameters
    ----------
    image_set : tuple
        ``(labels, {(level, level, ...): path or PIL image}, entry_types)``, as one of those that
        `package_image_sets` makes (a fourth part, the combinations, must be empty).
        ``entry_types`` names the parts of the keys.
    model_desc : tuple
        ``(name, architecture, weights)``, of which `prepare_models` makes a model, or
        ``(name, model)`` with a model that it has made.
    which_layers : dict of str to sequence, sequence or None, default None
        The layers as in `get_rdms`: a list, or a dict from models' names to lists, of which that
        of this model is taken. None: the input and every leaf module.
    factors : sequence of str, optional
        Which entry types are the factors; default the first two. The others only number the
        images of a cell.
    ss_type : {'II', 'III', 2, 3}, optional
        How to split the variance where cells hold unequal numbers of images, which without it
        raises. II: each effect beyond all that do not contain it. III: each effect beyond all
        others, levels weighted alike. With equal numbers both are the same.
    maps : bool, default False
        Return effect sizes and tests of every unit beside the sums of squares.
    alpha : float, default 0.05
        False discovery rate at which units count as significant.
    batch_size : int, optional
        Images a forward pass; short batches are padded to it. Default: up to 64, or 32, 16 or 8
        for networks with more than 2, 8 or 16 million units, so that batches are equally long;
        but all of up to 128 images, where the network puts out up to 128 million units for them.
    device : str or torch.device, optional
        Where the network runs; default where it is. The sums are made on the host.
    num_threads : int, optional
        Threads of torch and of the sums; default those that torch is set to.
    memory_budget : int or str, optional
        Room for the sums: '2GB', '512MB' or bytes; default a quarter of the machine's memory.
        Where those of all layers do not fit, groups of layers have a pass each. The network, a
        batch's activations and what is returned come on top.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    df : pandas.DataFrame
        One row a layer, in the order asked for, with the columns

        - model, layer (str), layer_label (tuple), layer_num (int), and the image set's labels,
        - n_images, n_units, n_constant_units (units with the same response to all images),
          n_undefined_units (with NaN or infinite responses) (int); both are left out of all that
          follows,
        - per effect (a factor's name, 'interaction'; 'a:b' with more than two factors):
          ``{effect}_eta2_mean``, in [0, 1], 1 where the effect explains all;
          ``{effect}_eta2_stdev``, over units; ``{effect}_eta2_stdev_kernelmeans``, over channels
          of the means over positions (or tokens); both divide by n,
        - per tested effect: ``{effect}_partial_eta2_mean``, ``{effect}_omega2_mean`` (may be
          negative), and ``{effect}_significant``, the share of units with ``p_fdr < alpha``.
    ss_dict : dict of tuple to dict of str to ndarray
        Per layer label arrays in the shape of one image's output, float64: ``ss_total``,
        ``ss_{effect}``, and ``ss_error`` where cells hold several images. With `maps` also
        ``eta2_{effect}`` and, for effects that are tested, ``partial_eta2_``, ``omega2_``,
        ``F_``, ``p_`` and ``p_fdr_{effect}`` (Benjamini and Hochberg over the units of the
        layer). Constant units have 0 in the sums and NaN in the rest.

    Raises
    ------
    ValueError
        Empty cells (all named), unequal cells without `ss_type`, a factor with one level, unknown
        layers or factors, a layer whose sums alone are beyond `memory_budget`.

    See Also
    --------
    package_image_sets : Makes the image set of a table.
    compute_tolerances : The same question asked of RDMs.

    Notes
    -----
    With N images and SS the sum of squares of an effect with d degrees of freedom,
    ``eta2 = SS / SS_total``, ``partial_eta2 = SS / (SS + SS_error)``,
    ``omega2 = (SS - d * MS_error) / (SS_total + MS_error)`` and ``F = (SS / d) / MS_error``. With
    one image a cell there is no error to be told from the interaction of all factors, which then
    takes its place and is not tested itself. With equal cells, effects and error add up to
    ``SS_total``; with unequal ones they need not.

    Sums that are nothing but rounding, about 1e-14 of ``SS_total``, are exactly 0. An effect
    without any error has F infinite and p 0; it and the error both 0 give NaN.

    Memory: 8 bytes a unit for the sum of squares, the first response, the mean, and each degree
    of freedom of the effects (18 for 10 x 10 images), or each cell where they hold several images.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). J. R. Stat. Soc. B 57, 289-300.
        https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    Langsrud, Ø. (2003). ANOVA for unbalanced data. Statistics and Computing 13, 163-167.
        https://doi.org/10.1023/A:1023260610025
    Olejnik, S. and Algina, J. (2003). Psychological Methods 8, 434-447.
        https://doi.org/10.1037/1082-989X.8.4.434

    Examples
    --------
    Brightness alone drives a unit that takes the mean of red and green:

    >>> import torch
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(224), torch.nn.Flatten())
    >>> model = pfa.prepare_models({"net": (net, pfa.standard_transform)})["net"]
    >>> images = {
    ...     (light, blue): Image.new("RGB", (64, 64), (level, level, amount))
    ...     for light, level in (("dim", 50), ("bright", 200))
    ...     for blue, amount in (("none", 0), ("much", 255))
    ... }
    >>> image_set = ({"set": "patches"}, images, ("light", "blue"))
    >>> df, ss_dict = pfa.compute_etas(image_set, ("net", model), ["flatten1"], progress=False)
    >>> ss = ss_dict["flatten1", 2]
    >>> (ss["ss_light"] / ss["ss_total"]).round(6).tolist()
    [1.0, 1.0, 0.0]
    >>> df[["layer", "light_eta2_mean", "blue_eta2_mean", "interaction_eta2_mean"]].round(3)
          layer  light_eta2_mean  blue_eta2_mean  interaction_eta2_mean
    0  flatten1            0.667           0.333                    0.0
    """
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    checked = _check_image_set(image_set)
    design = make_design(checked, _check_factors(factors, checked), _check_ss_type(ss_type))
    alpha = _check_alpha(alpha)
    if batch_size is not None:
        batch_size = check_count(batch_size, argument="batch_size")
    where = check_device(device)
    if num_threads is None:
        num_threads = torch.get_num_threads()
    num_threads = check_count(num_threads, argument="num_threads")
    budget = check_memory_budget(memory_budget)
    name, model = _check_model(model_desc)
    request = _request_of(name, which_layers)

    sources = list(checked.images.values())
    loaded = check_images(sources, argument="image_set", keep_bytes=budget // PIXEL_SHARE)
    names = [describe_image(source) for source in sources]
    images = [found.image or source for found, source in zip(loaded, sources, strict=True)]
    transform = preprocessing_of(model, name)
    example = to_input(images[0], transform, names[0])
    targets, left_out, n_units = choose_targets(
        model, example, request, model_name=name, device=where
    )
    if left_out:
        logger.warning("model '%s': these layers have no rows: %s", name, ", ".join(left_out))
    if batch_size is None:
        most = next(size for least, size in _BATCH_SIZES if n_units >= least)
        if pass_at_once(len(images), n_units):
            most = max(most, len(images))
        batch_size = -(-len(images) // -(-len(images) // most))

    distinct = {target.label[0]: target for target in targets if not target.same_as}
    passes = _share_out(list(distinct.values()), design, budget)
    # Later passes take from a file what the first has decoded and transformed.
    inputs = KeptInputs() if len(passes) > 1 else None
    sums: dict[str, dict[str, np.ndarray]] = {}
    total = len(images) * len(passes)
    bar = tqdm(total=total, desc="images", unit="image", disable=not progress)

    def run(layers: Sequence[str], size: int) -> dict[str, dict[str, np.ndarray]]:
        batches = read_batches(images, transform, size, names=names, inputs=inputs)
        batches = counted(batches, bar.update)
        chosen = [distinct[layer] for layer in layers]
        accumulator = Accumulator(design, num_threads)
        stream_outputs(model, batches, chosen, accumulator, device=where)
        return accumulator.sums_of_squares

    with bar, using_threads(num_threads):
        for one in passes:
            found, batch_size = in_batches_that_fit(partial(run, one.layers), batch_size, name)
            sums |= found
    if inputs is not None:
        inputs.close()

    return _told_by_layer(targets, sums, design, checked, name, alpha, maps=maps)


compute_etas_for_model_and_imageset_fast = compute_etas


def _told_by_layer(
    targets: Sequence[Target],
    sums: dict[str, dict[str, np.ndarray]],
    design: Design,
    image_set: ImageSet,
    name: str,
    alpha: float,
    *,
    maps: bool,
) -> tuple[pd.DataFrame, dict[tuple[str, int], dict[str, np.ndarray]]]:
    """Make the rows and maps of the layers asked for, of the sums of those that are distinct."""
    rows = []
    ss_dict: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    done: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]] = {}
    for target in targets:
        owner = target.same_as or target.label[0]
        if owner not in done:
            done[owner] = summary(sums.pop(owner), design, target.layout, alpha, maps=maps)
            layer_row, of_units = done[owner]
        else:
            layer_row, of_units = done[owner]
            # So that no two layers share an array.
            of_units = {key: values.copy() for key, values in of_units.items()}
        ss_dict[target.label] = {
            key: values.reshape(target.layout.shape) for key, values in of_units.items()
        }
        identity = {
            "model": name,
            "layer": target.label[0],
            "layer_label": target.label,
            "layer_num": target.label[1],
        }
        rows.append(
            {**identity, **image_set.labels, "n_images": len(image_set.images), **layer_row}
        )
    return pd.DataFrame(rows), ss_dict


def _share_out(targets: Sequence[Target], design: Design, budget: int) -> list[Pass]:
    """Group the layers whose sums fit into the memory together, one group a pass."""
    loads = []
    for place, target in enumerate(targets):
        needed = design.bytes_a_unit * target.layout.n_units
        # The order of definition stands for that of execution.
        loads.append(LayerLoad(target.label[0], needed, needed, float(place)))
    try:
        return share_out(loads, budget)
    except NoRoomError as error:
        raise ValueError(
            f"`memory_budget` has room for {size_in_words(budget)}, but the sums of layer"
            f" '{error.layer}' take {size_in_words(error.needed)}: give at least"
            f" `memory_budget`={error.needed}, or leave the layer out with `which_layers`."
        ) from None


def _check_image_set(image_set: Any) -> ImageSet:
    if not isinstance(image_set, (ImageSet, tuple, list)) or (
        not isinstance(image_set, ImageSet) and len(image_set) not in (3, 4)
    ):
        hint = ""
        if isinstance(image_set, (tuple, list)) and len(image_set) == 1:
            hint = "; of a list of image sets, give one: image_sets[0]"
        raise TypeError(
            "`image_set` must be a tuple (labels, {(level, level): path}, entry_types), not"
            f" {type(image_set).__name__}{hint}."
        )
    try:
        (checked,) = check_image_sets([image_set], argument="image_set", reserved=_OWN_COLUMNS)
    except (TypeError, ValueError) as error:
        # It is one set here, not the first of several.
        raise type(error)(str(error).replace("`image_set[0]`", "`image_set`")) from None
    if checked.combos:
        raise ValueError(
            f"`image_set` has combinations ({listed([one.name for one in checked.combos])}),"
            " which no pass through the network makes. Leave them out."
        )
    return checked


def _check_factors(factors: Any, image_set: ImageSet) -> list[str]:
    types = image_set.entry_types
    if factors is None:
        if len(types) < 2:
            raise ValueError(
                f"`image_set` must have at least two entry types to cross, not only"
                f" {listed(types)}."
            )
        return list(types[:2])
    found = check_sequence(factors, argument="factors", of="entry types")
    for name in found:
        check_name(name, types, argument="factors", what="entry type", owner=" of `image_set`")
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"`factors` must name two or more entry types, each once, not {found!r}.")
    return found


def _check_ss_type(ss_type: Any) -> str | None:
    known = {None: None, "II": "II", "III": "III", 2: "II", 3: "III"}
    if isinstance(ss_type, bool) or not isinstance(ss_type, (str, int, type(None))):
        raise TypeError(f"`ss_type` must be 'II', 'III' or None, not {ss_type!r}.")
    if ss_type not in known:
        raise ValueError(
            f"`ss_type` must be 'II', 'III' or None, not {ss_type!r}: type I depends on the order"
            " of the factors."
        )
    return known[ss_type]


def _check_alpha(alpha: Any) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float, np.number)):
        raise TypeError(f"`alpha` must be a number between 0 and 1, not {alpha!r}.")
    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must be between 0 and 1, not {alpha!r}.")
    return float(alpha)


def _check_model(model_desc: Any) -> tuple[str, nn.Module]:
    form = "`model_desc` must be (name, architecture, weights) or (name, model)"
    if not isinstance(model_desc, (tuple, list)) or len(model_desc) not in (2, 3):
        raise TypeError(f"{form}, not {model_desc!r}.")
    name, base, *weights = model_desc
    if not isinstance(name, str):
        raise TypeError(f"{form} with a string as name, not {name!r}.")
    if weights:
        return name, prepare_models({name: (base, weights[0])})[name]
    if not isinstance(base, nn.Module):
        raise TypeError(
            f"{form}; '{name}' must be a torch.nn.Module, not {base!r}. Name its weights too:"
            f" ({name!r}, {base!r}, 'trained')."
        )
    return name, base


def _request_of(name: str, which_layers: Any) -> list[Any] | None:
    """Layers asked for of one model, where `which_layers` may be about others too."""
    if isinstance(which_layers, Mapping):
        check_name(
            name, which_layers, argument="model_desc", what="model", owner=" of `which_layers`"
        )
        which_layers = {name: which_layers[name]}
    return check_which_layers(which_layers, [name])[name]
