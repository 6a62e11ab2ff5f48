"""Which factor drives a unit: analyses of variance of every unit of a network, in one pass.

A sum of squares is the squared length of the responses of a unit, as a vector over images,
projected onto a space of few dimensions. So each layer keeps one number a unit for every basis
vector of these spaces, and the sum of squares; images go by and are forgotten. All sums are of
deviations from the first image, in float64: a response to one image is as near to the mean as the
unit's own variance allows, so that no large means are squared and subtracted again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.linalg import helmert
from scipy.special import betaincinv, fdtrc
from scipy.stats import false_discovery_control
from torch import nn

from pytorch_feature_analysis._checks import check_count, check_name, check_sequence
from pytorch_feature_analysis._decoding import describe_image
from pytorch_feature_analysis._threads import blas_threads
from pytorch_feature_analysis.activations import choose_targets
from pytorch_feature_analysis.batches import (
    Batch,
    KeptInputs,
    preprocessing_of,
    read_batches,
    to_input,
)
from pytorch_feature_analysis.image_sets import ImageSet, check_image_sets
from pytorch_feature_analysis.images import check_images
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.models import check_device, prepare_models
from pytorch_feature_analysis.planning import (
    LayerLoad,
    NoRoomError,
    Pass,
    check_memory_budget,
    in_words,
    share_out,
)
from pytorch_feature_analysis.rdm_jobs import using_threads
from pytorch_feature_analysis.stream import Target, as_float, stream_outputs

_log = logging.getLogger(__name__)

# Decoded images may take one part in so many of the budget.
_PIXEL_SHARE = 8
# Units that are worked on at a time, times images and sums: two megabytes, long enough for a fast
# product, and short enough for the processor's caches.
_CHUNK_ELEMENTS = 2**18
# From so many numbers on, a layer's units are shared out among threads.
_MANY_NUMBERS = 2**18
# From so many units of the network on, so many images a pass; see `rdm_plan`. Each pass reads and
# writes all sums, so that batches of small networks may be larger than those of `get_rdms`.
_BATCH_SIZES = ((16_000_000, 8), (8_000_000, 16), (0, 32))
_FORBIDDEN = ("total", "error", "interaction")
_SUFFIXES = (
    *("eta2_mean", "eta2_stdev", "eta2_stdev_kernelmeans"),
    *("partial_eta2_mean", "omega2_mean", "significant"),
)
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
        Images a forward pass; short batches are padded to it. Default: up to 32, or 16 or 8 for
        networks with more than 8 or 16 million units, so that batches are equally long.
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
    checked = _check_image_set(image_set)
    design = _make_design(checked, _check_factors(factors, checked), _check_ss_type(ss_type))
    alpha = _check_alpha(alpha)
    if batch_size is not None:
        batch_size = check_count(batch_size, argument="batch_size")
    where = check_device(device)
    if num_threads is None:
        num_threads = torch.get_num_threads()
    num_threads = check_count(num_threads, argument="num_threads")
    budget = check_memory_budget(memory_budget)
    name, model = _check_model(model_desc)
    request = _check_which_layers(which_layers, name)

    sources = list(checked.images.values())
    loaded = check_images(sources, argument="image_set", keep_bytes=budget // _PIXEL_SHARE)
    names = [describe_image(source) for source in sources]
    images = [found.image or source for found, source in zip(loaded, sources, strict=True)]
    example = to_input(images[0], preprocessing_of(model, name), names[0])
    targets, left_out, n_units = choose_targets(
        model, example, request, model_name=name, device=where
    )
    if left_out:
        _log.warning("model '%s': these layers have no rows: %s", name, ", ".join(left_out))
    if batch_size is None:
        most = next(size for least, size in _BATCH_SIZES if n_units >= least)
        batch_size = -(-len(images) // -(-len(images) // most))

    distinct = {target.label[0]: target for target in targets if not target.same_as}
    passes = _share_out(list(distinct.values()), design, budget)
    # Later passes take from a file what the first has decoded and transformed.
    inputs = KeptInputs() if len(passes) > 1 else None
    sums: dict[str, dict[str, np.ndarray]] = {}
    with _bar(len(images) * len(passes), shown=progress) as bar, using_threads(num_threads):
        for one in passes:
            transform = preprocessing_of(model, name)
            batches = read_batches(images, transform, batch_size, names=names, inputs=inputs)
            chosen = [distinct[layer] for layer in one.layers]
            with _Accumulator(design, num_threads) as accumulator:
                stream_outputs(model, _counted(batches, bar), chosen, accumulator, device=where)
                sums.update((layer, accumulator.finish(layer)) for layer in one.layers)
    if inputs is not None:
        inputs.close()

    rows = []
    ss_dict: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    done: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]] = {}
    for target in targets:
        owner = target.same_as or target.label[0]
        if owner not in done:
            done[owner] = _summary(sums.pop(owner), design, target.layout, alpha, maps=maps)
            summary, found = done[owner]
        else:
            summary, found = done[owner]
            # So that no two layers share an array.
            found = {key: values.copy() for key, values in found.items()}
        ss_dict[target.label] = {
            key: values.reshape(target.layout.shape) for key, values in found.items()
        }
        identity = {
            "model": name,
            "layer": target.label[0],
            "layer_label": target.label,
            "layer_num": target.label[1],
        }
        rows.append({**identity, **checked.labels, "n_images": len(images), **summary})
    return pd.DataFrame(rows), ss_dict


compute_etas_for_model_and_imageset_fast = compute_etas


@dataclass(frozen=True)
class _Design:
    """Which sums to keep, and which sums of squares follow from them."""

    weights: np.ndarray
    """(n_sums, n_images): each sum weights the images so."""
    bases: dict[str, slice | np.ndarray]
    """Per effect an orthonormal basis of its space: some of the sums, or (df, n_sums) by which
    these are mixed."""
    mean: slice | np.ndarray
    """The same for the grand mean."""
    model: slice
    """Sums that together make up all that is no residual, the mean included."""
    dfs: dict[str, int]
    """Degrees of freedom of all effects and the residual."""
    residual: str
    """'error', or the interaction that stands in for it."""

    @property
    def n_images(self) -> int:
        """Count the images."""
        return self.weights.shape[1]

    @property
    def effects(self) -> list[str]:
        """All effects, the one that is the residual last."""
        return [name for name in self.dfs if name != "error"]

    @property
    def bytes_a_unit(self) -> int:
        """Memory of a unit while images pass."""
        return 8 * (len(self.weights) + 2)


def _make_design(image_set: ImageSet, factors: list[str], ss_type: str | None) -> _Design:
    places = [image_set.entry_types.index(name) for name in factors]
    keys = [tuple(key[place] for place in places) for key in image_set.images]
    levels = [list(dict.fromkeys(column)) for column in zip(*keys, strict=True)]
    for name, found in zip(factors, levels, strict=True):
        if len(found) < 2:
            raise ValueError(
                f"`image_set`: the factor '{name}' has one level, {found[0]!r}; it takes at least"
                " two. Name another entry type in `factors`."
            )
    n_in_cell = dict.fromkeys(itertools.product(*levels), 0)
    for key in keys:
        n_in_cell[key] += 1
    empty = [cell for cell, count in n_in_cell.items() if not count]
    if empty:
        raise ValueError(
            f"`image_set` must hold an image for every combination of {_listed(factors)}, but has"
            f" none for {_listed(empty)}. Add them, or leave a level out."
        )
    counts = np.array(list(n_in_cell.values()))
    is_balanced = counts.min() == counts.max()
    if not is_balanced and ss_type is None:
        fewest, most = (
            min(n_in_cell, key=n_in_cell.__getitem__),
            max(n_in_cell, key=n_in_cell.__getitem__),
        )
        raise ValueError(
            f"`image_set` has from {counts.min()} (for {fewest!r}) to {counts.max()} images (for"
            f" {most!r}) for the combinations of {_listed(factors)}. Even them out, or choose"
            " `ss_type`='II' or 'III'."
        )
    ranks = [{level: rank for rank, level in enumerate(found)} for found in levels]
    codes = np.array([[rank[part] for rank, part in zip(ranks, key, strict=True)] for key in keys])

    every = range(len(factors))
    terms = [term for size in every for term in itertools.combinations(every, size + 1)]
    names = {term: ":".join(factors[i] for i in term) for term in terms}
    if len(factors) == 2:
        names[terms[-1]] = "interaction"
    _check_effect_names(list(names.values()), image_set)
    shape = [len(found) for found in levels]
    dfs = {
        names[term]: int(np.prod([shape[i] - 1 for i in term], dtype=np.int64)) for term in terms
    }
    residual = names[terms[-1]]
    if counts.max() > 1:
        residual = "error"
        dfs["error"] = len(keys) - len(counts)
    else:
        terms = terms[:-1]
    contrasts = [helmert(size).T for size in shape]
    if is_balanced:
        return _balanced(codes, contrasts, {term: names[term] for term in terms}, dfs, residual)
    cells = np.ravel_multi_index(tuple(codes.T), shape)
    return _unbalanced(cells, counts, contrasts, names, dfs, str(ss_type))


def _balanced(
    codes: np.ndarray,
    contrasts: Sequence[np.ndarray],
    names: Mapping[tuple[int, ...], str],
    dfs: dict[str, int],
    residual: str,
) -> _Design:
    """Effects of equal cells are orthogonal, and so their bases are the sums themselves."""
    n_images = len(codes)
    columns = [np.full((n_images, 1), n_images**-0.5)]
    bases: dict[str, slice | np.ndarray] = {}
    start = 1
    for term, name in names.items():
        scale = np.prod([float(len(contrasts[i])) for i in term]) / n_images
        columns.append(np.sqrt(scale) * _products(codes, contrasts, term))
        bases[name] = slice(start, start + dfs[name])
        start += dfs[name]
    return _Design(np.hstack(columns).T, bases, slice(0, 1), slice(0, start), dict(dfs), residual)


def _unbalanced(
    cells: np.ndarray,
    counts: np.ndarray,
    contrasts: Sequence[np.ndarray],
    names: Mapping[tuple[int, ...], str],
    dfs: dict[str, int],
    ss_type: str,
) -> _Design:
    """Take the sums of cells, over the root of their size, which mix like equal images.

    An effect's space is what its columns add to those of the effects that it is adjusted for.
    """
    n_cells = len(counts)
    roots = np.sqrt(counts)
    codes = np.array(np.unravel_index(np.arange(n_cells), [len(one) for one in contrasts])).T
    columns = {term: _products(codes, contrasts, term) for term in names}
    bases: dict[str, slice | np.ndarray] = {}
    for term, name in names.items():
        others = [
            columns[other]
            for other in names
            if other != term and (ss_type == "III" or not set(term) < set(other))
        ]
        spanned = np.hstack([np.ones((n_cells, 1)), *others, columns[term]])
        orthonormal = np.linalg.qr(roots[:, None] * spanned)[0]
        bases[name] = orthonormal[:, -dfs[name] :].T.copy()
    weights = (cells == np.arange(n_cells)[:, None]) / roots[:, None]
    mean = (roots / np.sqrt(counts.sum()))[None]
    return _Design(weights, bases, mean, slice(0, n_cells), dict(dfs), "error")


def _products(
    codes: np.ndarray, contrasts: Sequence[np.ndarray], term: tuple[int, ...]
) -> np.ndarray:
    """Columns of an effect: the products of its factors' contrasts, a row for each of `codes`."""
    found = np.ones((len(codes), 1))
    for i in term:
        own = contrasts[i][codes[:, i]]
        found = (found[:, :, None] * own[:, None, :]).reshape(len(codes), -1)
    return found


class _Sums:
    """What is kept of a layer's units."""

    def __init__(self, first: np.ndarray, n_sums: int) -> None:
        self.first = first.astype(np.float64)
        self.weighted = np.empty((n_sums, len(first)))
        self.squares = np.empty(len(first))
        self.is_empty = True


class _Accumulator:
    """Takes the outputs of a pass, and adds them to the sums of their layers."""

    def __init__(self, design: _Design, num_threads: int) -> None:
        self._design = design
        self._num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads)
        self._sums: dict[str, _Sums] = {}
        self._shapes: dict[str, torch.Size] = {}

    def __enter__(self) -> _Accumulator:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def __call__(self, target: Target, batch: Batch, output: torch.Tensor) -> None:
        layer = target.label[0]
        if self._shapes.setdefault(layer, output.shape[1:]) != output.shape[1:]:
            raise ValueError(
                "the images have different sizes after the model's preprocessing, so that layer"
                f" '{layer}' has no one shape; use a transform that evens them."
            )
        values = as_float(output).reshape(len(output), -1).cpu().numpy()
        weights = np.ascontiguousarray(self._design.weights[:, batch.positions])
        if layer not in self._sums:
            self._sums[layer] = _Sums(values[0], len(weights))
        sums = self._sums[layer]
        self._by_units(lambda units: _add(sums, weights, values, units), values.shape)
        sums.is_empty = False

    def finish(self, layer: str) -> dict[str, np.ndarray]:
        """Return the sums of squares of a layer (flat), and give up its sums."""
        sums = self._sums.pop(layer)
        names = ["total", *self._design.dfs]
        found = {f"ss_{name}": np.empty(len(sums.squares)) for name in names}
        self._by_units(
            lambda units: _sum_squares(sums, self._design, found, units), sums.weighted.shape
        )
        return found

    def _by_units(self, work: Any, shape: tuple[int, ...]) -> None:
        """Share a layer's units out among threads, each of which goes on chunk by chunk."""
        n_rows, n_units = shape
        length = max(256, _CHUNK_ELEMENTS // (n_rows + len(self._design.weights)))
        chunks = [slice(lo, min(lo + length, n_units)) for lo in range(0, n_units, length)]
        if n_rows * n_units < _MANY_NUMBERS or self._num_threads == 1:
            work(chunks)
            return
        parts = [chunks[i :: self._num_threads] for i in range(self._num_threads)]
        # Threads that each multiply chunks of their own are faster than threads that share each
        # product.
        with blas_threads(1):
            list(self._pool.map(work, parts))


def _add(sums: _Sums, weights: np.ndarray, values: np.ndarray, chunks: Iterable[slice]) -> None:
    """Add a batch (n_images, n_units) to the sums of some units."""
    # What is not a number is seen in the sums.
    with np.errstate(invalid="ignore", over="ignore"):
        for units in chunks:
            deviations = values[:, units].astype(np.float64)
            deviations -= sums.first[units]
            if sums.is_empty:
                sums.weighted[:, units] = weights @ deviations
            else:
                sums.weighted[:, units] += weights @ deviations
            deviations *= deviations
            squares = deviations.sum(axis=0)
            if sums.is_empty:
                sums.squares[units] = squares
            else:
                sums.squares[units] += squares


def _sum_squares(
    sums: _Sums, design: _Design, found: dict[str, np.ndarray], chunks: Iterable[slice]
) -> None:
    """Fill in the sums of squares of some units."""
    # Rounding of a sum of so many squares.
    rounding = 4 * np.sqrt(design.n_images) * np.finfo(float).eps
    with np.errstate(invalid="ignore", over="ignore"):
        for units in chunks:
            weighted, squares = sums.weighted[:, units], sums.squares[units]
            floor = rounding * squares

            def above(values: np.ndarray, floor: np.ndarray = floor) -> np.ndarray:
                # Written so that NaN stays.
                return np.where(values <= floor, 0.0, values)

            found["ss_total"][units] = above(squares - _projected(weighted, design.mean))
            residual = squares - _projected(weighted, design.model)
            found[f"ss_{design.residual}"][units] = above(residual)
            for name, basis in design.bases.items():
                found[f"ss_{name}"][units] = above(_projected(weighted, basis))


def _projected(weighted: np.ndarray, basis: slice | np.ndarray) -> np.ndarray:
    """Squared length of the projection onto a space, per unit."""
    mixed = weighted[basis] if isinstance(basis, slice) else basis @ weighted
    return np.einsum("ij,ij->j", mixed, mixed)


def _summary(
    sums: dict[str, np.ndarray], design: _Design, layout: Layout, alpha: float, *, maps: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Row of a layer, and all that is returned of its units."""
    total = sums["ss_total"]
    is_defined = np.isfinite(total)
    is_alive = is_defined & (total > 0)
    alive = slice(None) if is_alive.all() else np.flatnonzero(is_alive)
    row: dict[str, Any] = {
        "n_units": len(total),
        "n_constant_units": int((total == 0).sum()),
        "n_undefined_units": int((~is_defined).sum()),
    }
    found = dict(sums)
    total = total[alive]
    error = sums[f"ss_{design.residual}"][alive]
    df_error = design.dfs[design.residual]

    def keep(name: str, values: np.ndarray) -> None:
        if maps:
            found[name] = np.full(row["n_units"], np.nan)
            found[name][alive] = values

    for name in design.effects:
        ss, df = sums[f"ss_{name}"][alive], design.dfs[name]
        eta2 = ss / total
        row[f"{name}_eta2_mean"] = _mean(eta2)
        row[f"{name}_eta2_stdev"] = float(eta2.std()) if len(eta2) else np.nan
        row[f"{name}_eta2_stdev_kernelmeans"] = _spread_of_channels(eta2, is_alive, layout)
        keep(f"eta2_{name}", eta2)
        if name == design.residual:
            continue
        # 0 / 0 is undefined, and an effect without error is beyond all bounds.
        with np.errstate(divide="ignore", invalid="ignore"):
            partial = ss / (ss + error)
            omega2 = (ss - df / df_error * error) / (total + error / df_error)
            ratio = (ss / df) / (error / df_error)
        row[f"{name}_partial_eta2_mean"] = _mean(partial)
        row[f"{name}_omega2_mean"] = _mean(omega2)
        row[f"{name}_significant"] = _share_significant(ratio, df, df_error, alpha)
        keep(f"partial_eta2_{name}", partial)
        keep(f"omega2_{name}", omega2)
        keep(f"F_{name}", ratio)
        if maps:
            p = fdtrc(df, df_error, ratio)
            p[np.isposinf(ratio)] = 0
            tested = ~np.isnan(p)
            adjusted = np.full(len(p), np.nan)
            if tested.any():
                adjusted[tested] = false_discovery_control(p[tested])
            keep(f"p_{name}", p)
            keep(f"p_fdr_{name}", adjusted)
    return row, found


def _mean(values: np.ndarray) -> float:
    """Mean of what is a number; NaN where nothing is."""
    if np.isnan(values).any():
        values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _spread_of_channels(values: np.ndarray, is_alive: np.ndarray, layout: Layout) -> float:
    """Return the spread over channels of their means over positions, of units that are alive."""
    shape, positions = layout.shape, layout.position_axes
    if not len(values):
        return np.nan
    if len(values) == len(is_alive):
        return float(values.reshape(shape).mean(axis=positions).std())
    whole = np.zeros(len(is_alive))
    whole[is_alive] = values
    sums = whole.reshape(shape).sum(axis=positions)
    counts = is_alive.reshape(shape).sum(axis=positions)
    return float((sums[counts > 0] / counts[counts > 0]).std())


def _share_significant(ratio: np.ndarray, df: int, df_error: int, alpha: float) -> float:
    """Share of units that Benjamini and Hochberg's procedure rejects, without their p values.

    A unit's p value takes longer than its passes through the network do. The number of
    rejections is the largest k for which k units have ``p <= alpha k / n``, and so the first at
    which the steps from k to the number of units with ``p <= alpha k / n``, down from n, stand
    still; each takes one critical value of F.
    """
    n = k = int((~np.isnan(ratio)).sum())
    if not n:
        return np.nan
    # Few are left to sort, where there is nothing.
    ranked = np.sort(ratio[ratio >= _critical(df, df_error, alpha)])
    while k:
        critical = _critical(df, df_error, alpha * k / n)
        rejected = len(ranked) - int(np.searchsorted(ranked, critical))
        if rejected == k:
            break
        k = rejected
    return k / n


def _critical(df: int, df_error: int, p: float) -> float:
    """F that is exceeded with probability `p`, which may be very small."""
    x = betaincinv(df_error / 2, df / 2, p)
    return float(df_error * (1 - x) / (df * x)) if x > 0 else np.inf


def _share_out(targets: Sequence[Target], design: _Design, budget: int) -> list[Pass]:
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
            f"`memory_budget` has room for {in_words(budget)}, but the sums of layer"
            f" '{error.layer}' take {in_words(error.needed)}: give at least"
            f" `memory_budget`={error.needed}, or leave the layer out with `which_layers`."
        ) from None


def _bar(total: int, *, shown: bool) -> Any:
    if not shown:
        return nullcontext()
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="images", unit="image")


def _counted(batches: Iterable[Batch], bar: Any) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        if bar is not None:
            bar.update(len(batch.positions))


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
            f"`image_set` has combinations ({_listed([one.name for one in checked.combos])}),"
            " which no pass through the network makes. Leave them out."
        )
    return checked


def _check_factors(factors: Any, image_set: ImageSet) -> list[str]:
    types = image_set.entry_types
    if factors is None:
        if len(types) < 2:
            raise ValueError(
                f"`image_set` must have at least two entry types to cross, not only"
                f" {_listed(types)}."
            )
        return list(types[:2])
    found = check_sequence(factors, argument="factors", of="entry types")
    for name in found:
        check_name(name, types, argument="factors", what="entry type", owner=" of `image_set`")
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"`factors` must name two or more entry types, each once, not {found!r}.")
    return found


def _check_effect_names(names: Sequence[str], image_set: ImageSet) -> None:
    own = {name for name in names if name in image_set.entry_types}
    wrong = sorted(own.intersection(_FORBIDDEN))
    twice = sorted({name for name in names if names.count(name) > 1})
    if wrong or twice:
        raise ValueError(
            f"`image_set`: {_listed(wrong or twice)} cannot be the name of a factor, since a part"
            " of the variance bears it. Rename the entry type."
        )
    taken = {f"{name}_{suffix}" for name in names for suffix in _SUFFIXES}
    for label in image_set.labels:
        if label in taken:
            raise ValueError(
                f"`image_set`: the label {label!r} is the name of a column of the result. Rename"
                " the label."
            )


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


def _check_which_layers(which_layers: Any, name: str) -> list[Any] | None:
    if which_layers is None:
        return None
    if isinstance(which_layers, Mapping):
        check_name(
            name, which_layers, argument="model_desc", what="model", owner=" of `which_layers`"
        )
        which_layers = which_layers[name]
    layers = check_sequence(which_layers, argument="which_layers", of="layers")
    if not layers:
        raise ValueError("`which_layers` names no layer; None takes all of them.")
    return layers


def _listed(items: Iterable[Any], most: int = 10) -> str:
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(repr, items[:most])) + more
