"""Minibatch CKA: all layers of networks compared in one pass, without keeping activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import tee
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    check_text,
    child_generator,
)
from pytorch_feature_analysis._image_decoding import describe_image
from pytorch_feature_analysis.activation_types import check_prefix_tokens, check_types, patterns_of
from pytorch_feature_analysis.activations import choose_targets
from pytorch_feature_analysis.batches import Batch, preprocessing_of, read_batches, to_input
from pytorch_feature_analysis.image_checks import check_images
from pytorch_feature_analysis.layouts import Layout, n_prefix_tokens
from pytorch_feature_analysis.matrices import u_centred
from pytorch_feature_analysis.model_arguments import check_models, check_which_layers
from pytorch_feature_analysis.models import check_device
from pytorch_feature_analysis.pass_resources import using_threads
from pytorch_feature_analysis.preprocessing import description_of
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.similarity.hsic import FEWEST, merge_short
from pytorch_feature_analysis.stream import Target, stream_outputs

# Under which keys loaders that yield dicts have their images.
_INPUT_KEYS = ("image", "images", "pixel_values", "input", "inputs", "x")
_KEPT_PIXELS = 2**29
# Numbers that are taken from their reference and multiplied at a time: what a processor's caches
# hold, in so many parts.
_CHUNK_NUMBERS = 2**20
_PARTS = 8


def get_minibatch_cka(
    models_dict: Mapping[str, nn.Module],
    images: Sequence[Any] | Iterable[Any],
    which_layers: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    batch_size: int = 32,
    epochs: int = 1,
    *,
    activation_types: Sequence[str] = ("unit_level",),
    exclude_prefix_tokens: bool = False,
    df_name: str = "minibatch_cka",
    device: Any = None,
    num_threads: int | None = None,
    progress: bool = True,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Linear CKA of all layers of one or of several networks, from one pass a batch.

    Of each batch, the unbiased HSIC of every pair of layers is added to sums, and one ratio is
    made at the end, as by `minibatch_cka`. No activations are kept beyond their batch.

    Parameters
    ----------
    models_dict : dict of str to torch.nn.Module
        Models of `prepare_models`; any modules, where `images` is a loader.
    images : sequence of path or PIL image, or loader
        A list goes through each model's own preprocessing, shuffled in each epoch. A loader is
        any iterable of batches (tensors; tuples or lists whose first part is a tensor; dicts with
        an 'image', 'pixel_values', 'input' or 'x'), which are the input of all networks as they
        are.
    which_layers : dict of str to sequence, or sequence, optional
        As in `get_rdms`: per model, or for all. Default: the input and all leaf modules.
    batch_size : int, default 32
        Images a batch of a list, at least 4; batches are as equally long as can be, and none has
        fewer than 4. A loader has its own.
    epochs : int, default 1
        How often to go through the images; sums go on over them.
    activation_types : sequence of {'unit_level', 'feature_means', 'cls_token'}
        As in `get_rdms`. With several, entry keys are (model, layer, activation type).
    exclude_prefix_tokens : bool, default False
        Leave class and register tokens out of means over tokens.
    df_name : str, default 'minibatch_cka'
        Name of the result.
    device : str or torch.device, optional
        Where the networks run; default where they are.
    num_threads : int, optional
        Threads of torch and BLAS; default as they are set here.
    progress : bool, default True
        Show a bar of batches.
    random_state : int, numpy Generator or None, default 0
        Seed of the order of the images.

    Returns
    -------
    DataFrame
        One row: ``matrix`` is 1 - CKA (`to_similarity` gives CKA), ``entry_keys`` are (model,
        layer) in the order asked for, and ``dissim_metric`` tells batch size and epochs.

    Raises
    ------
    ValueError
        Fewer than four images, unknown models or layers, an iterator that is gone after one
        epoch.
    TypeError
        A loader whose batches hold no tensor.

    See Also
    --------
    minibatch_cka : The same of arrays.
    get_similarity_rdms : Of activations that are kept, by any measure.

    Notes
    -----
    Batches of fewer than four stimuli are merged with those before or behind. A layer that is the
    same for all images of all batches has NaN. Smaller batches take fewer products, and give a
    noisier estimate. Of networks in float32, products of patterns about one of them are made in
    float32, and summed in float64: CKA is exact to about 1e-6.

    References
    ----------
    Nguyen, T., Raghu, M. and Kornblith, S. (2021). Do wide and deep networks learn the same
        things? ICLR. https://doi.org/10.48550/arXiv.2010.15327

    Examples
    --------
    >>> import torch
    >>> import pytorch_feature_analysis as pfa
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())
    >>> batches = list(torch.randn(40, 3).split(16))
    >>> row = pfa.get_minibatch_cka({"net": net}, batches, ["fc1", "relu1"], progress=False)
    >>> row["entry_keys"][0]
    (('net', 'fc1'), ('net', 'relu1'))
    >>> pfa.to_similarity(row)["matrix"][0].round(2).tolist()
    [[1.0, 0.88], [0.88, 1.0]]
    """
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    models = check_models(models_dict)
    requests = check_which_layers(which_layers, models)
    batch_size = check_count(batch_size, argument="batch_size", minimum=FEWEST)
    epochs = check_count(epochs, argument="epochs")
    types = check_types(activation_types)
    where = check_device(device)
    if num_threads is None:
        num_threads = torch.get_num_threads()
    num_threads = check_count(num_threads, argument="num_threads")
    root = check_random_state(random_state)
    check_text(df_name, argument="df_name")
    source: _Listed | _Loaded
    if isinstance(images, (list, tuple)) and not any(map(_is_batch, images[:1])):
        source = _Listed(images, models, batch_size, root)
    else:
        source = _Loaded(images, models, epochs)

    layers = []
    for name, model in models.items():
        check_prefix_tokens(model, name, types, exclude_prefix_tokens)
        targets, *_ = choose_targets(
            model, source.examples[name], requests[name], model_name=name, device=where
        )
        n_left_out = n_prefix_tokens(model) if exclude_prefix_tokens else 0
        layers.append(_Layers(name, model, targets, types, n_left_out))
    entries = [
        {"model": one.name, "layer": layer, "activation_type": kind}
        for one in layers
        for layer, kind in one.entries
    ]
    keys = [tuple(entry.values())[: 3 if len(types) > 1 else 2] for entry in entries]
    sums = np.zeros((len(keys), len(keys)))
    with (
        using_threads(num_threads),
        tqdm(total=source.n_batches and source.n_batches * epochs, disable=not progress) as bar,
    ):
        for epoch in range(epochs):
            for batches in source.epoch(epoch):
                grams = [gram for one in layers for gram in one.grams(batches[one.name], where)]
                n = len(batches[layers[0].name].positions)
                rows = np.stack([gram.ravel() for gram in grams])
                sums += rows @ rows.T / (n * (n - 3))
                bar.update()
    norms = np.sqrt(np.diag(sums))
    norms[norms == 0] = np.nan
    rdm = 1 - sums / np.multiply.outer(norms, norms)
    rdm = (rdm + rdm.T) / 2
    np.fill_diagonal(rdm, 0)
    rdm.flags.writeable = False
    size = f"batch_size={batch_size}, " if isinstance(source, _Listed) else ""
    row = {
        "df_name": df_name,
        "dissim_metric": f"minibatch_cka({size}epochs={epochs})",
        "dissim_rankings": greedy_order(rdm),
        "entry_keys": tuple(keys),
        "entry_labels": tuple(entries),
        "matrix": rdm,
        "perm": "orig_data",
    }
    return pd.DataFrame({name: object_series([cell]) for name, cell in row.items()})


class _Layers:
    """A network, and what of a batch its layers leave: their centred Gram matrices."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        targets: Sequence[Target],
        types: Sequence[str],
        n_prefix: int,
    ) -> None:
        self.name, self.model, self._n_prefix = name, model, n_prefix
        self._distinct = [target for target in targets if not target.same_as]
        self._kinds = {
            target.label[0]: [kind for kind in types if _has(target.layout, kind)]
            for target in targets
        }
        pairs = [(target, kind) for target in targets for kind in self._kinds[target.label[0]]]
        self.entries = [(target.label[0], kind) for target, kind in pairs]
        """Layers and types of activations, in the order asked for."""
        self._sources = [(target.same_as or target.label[0], kind) for target, kind in pairs]

    def grams(self, batch: Batch, device: Any) -> list[np.ndarray]:
        found: dict[tuple[str, str], np.ndarray] = {}

        def keep(target: Target, _: Batch, output: torch.Tensor) -> None:
            for kind in self._kinds[target.label[0]]:
                patterns = patterns_of(output, target.layout, kind, self._n_prefix, on_device=True)
                found[target.label[0], kind] = u_centred(_gram(patterns))

        stream_outputs(self.model, iter([batch]), self._distinct, keep, device=device)
        for (layer, _), gram in found.items():
            if not np.isfinite(gram).all():
                raise ValueError(
                    f"layer '{layer}' of model '{self.name}' puts out NaN or infinite values."
                )
        return [found[layer, kind] for layer, kind in self._sources]


def _has(layout: Layout, kind: str) -> bool:
    return kind != "cls_token" or layout.kind == "tokens"


def _gram(patterns: torch.Tensor) -> np.ndarray:
    """Gram matrix (n, n) of patterns (n, n_units) about the first, of which any will do here.

    Differences have all the digits that patterns differ in, and are 0 where they do not; their
    products are made in the patterns' own precision, a stretch of units at a time, and summed in
    float64.
    """
    n, n_units = patterns.shape
    length = max(256, _CHUNK_NUMBERS // (_PARTS * n))
    whole = n_units - n_units % length
    room = patterns.new_empty(_PARTS * n * length)
    sums = []
    for stretch, size in ((patterns[:, :whole], length), (patterns[:, whole:], n_units - whole)):
        parts = stretch.unflatten(1, (-1, max(size, 1))).transpose(0, 1)
        for chunk in parts.split(_PARTS):
            differences = room[: chunk.numel()].view(chunk.shape)
            torch.sub(chunk, chunk[:, :1], out=differences)
            sums.append(torch.bmm(differences, differences.transpose(1, 2)).sum(dim=0))
    gram: np.ndarray = torch.stack(sums).cpu().numpy().sum(axis=0, dtype=np.float64)
    return gram


class _Listed:
    """Images that each model prepares on its own."""

    def __init__(
        self, images: Sequence[Any], models: Mapping[str, nn.Module], batch_size: int, root: int
    ) -> None:
        if len(images) < FEWEST:
            raise ValueError(
                f"`images` holds {len(images)} images; the unbiased estimate needs at least"
                f" {FEWEST}."
            )
        loaded = check_images(images, argument="images", keep_bytes=_KEPT_PIXELS)
        self._images = [one.image or image for one, image in zip(loaded, images, strict=True)]
        self._names = [describe_image(image) for image in images]
        self._root = root
        self._transforms = {name: preprocessing_of(model, name) for name, model in models.items()}
        self._kinds = {name: description_of(one) for name, one in self._transforms.items()}
        self.n_batches = min(-(-len(images) // batch_size), len(images) // FEWEST)
        self.examples = {
            name: to_input(self._images[0], transform, self._names[0])
            for name, transform in self._transforms.items()
        }

    def epoch(self, number: int) -> Iterator[dict[str, Batch]]:
        generator = child_generator(self._root, "epoch", number)
        order = generator.permutation(len(self._images))
        parts = np.array_split(order, self.n_batches)
        # What is short is padded.
        size = max(map(len, parts))
        # Models that prepare images alike share them.
        streams = {
            self._kinds[name]: self._batches(transform, parts, size)
            for name, transform in self._transforms.items()
        }
        for _ in parts:
            made = {kind: next(stream) for kind, stream in streams.items()}
            yield {name: made[kind] for name, kind in self._kinds.items()}

    def _batches(self, transform: Any, parts: Sequence[np.ndarray], size: int) -> Iterator[Batch]:
        for part in parts:
            chosen = part.tolist()
            batches = list(
                read_batches(
                    [self._images[i] for i in chosen],
                    transform,
                    size,
                    names=[self._names[i] for i in chosen],
                )
            )
            if len(batches) > 1:
                raise ValueError(
                    "the images have different sizes after the model's preprocessing, so that no"
                    " layer has one shape; use a transform that evens them."
                )
            yield batches[0]


class _Loaded:
    """Batches that are the input of all networks."""

    def __init__(self, loader: Any, models: Mapping[str, nn.Module], epochs: int) -> None:
        try:
            batches = iter(loader)
        except TypeError:
            raise TypeError(
                "`images` must be a list of paths or PIL images, or an iterable of batches, not"
                f" {type(loader).__name__}."
            ) from None
        self._names = list(models)
        self._loader = loader
        if batches is loader:
            if epochs > 1:
                raise ValueError(
                    "`images` is an iterator, which is gone after one epoch; give a loader or a"
                    " list of batches for several."
                )
            # The first batch is looked at before.
            batches, self._loader = tee(loader)
        first = next(batches, None)
        if first is None:
            raise ValueError("`images` is a loader without any batch.")
        example = _input_of(first)[0]
        self.examples = dict.fromkeys(models, example)
        self.n_batches: int | None = None

    def epoch(self, _number: int) -> Iterator[dict[str, Batch]]:
        inputs = ([_input_of(batch)] for batch in self._loader)
        for (batch,) in merge_short(inputs, torch.cat, argument="images"):
            yield dict.fromkeys(self._names, Batch(list(range(len(batch))), batch))


def _is_batch(item: Any) -> bool:
    return isinstance(item, (torch.Tensor, Mapping)) or (
        isinstance(item, (tuple, list)) and bool(item) and isinstance(item[0], torch.Tensor)
    )


def _input_of(batch: Any) -> torch.Tensor:
    found = batch
    if isinstance(batch, Mapping):
        key = next((key for key in _INPUT_KEYS if key in batch), None)
        found = batch[key] if key is not None else None
        if key is None:
            raise TypeError(
                f"`images` yields dicts with the keys {list(batch)}, none of which is"
                f" {', '.join(map(repr, _INPUT_KEYS))}."
            )
    elif isinstance(batch, (tuple, list)) and batch:
        found = batch[0]
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or found.ndim < 2:
        raise TypeError(
            "`images` must yield tensors of floats (n_images, ...), or tuples or dicts with one,"
            f" not {type(found).__name__}."
        )
    return found
