"""Images on their way to a network: loaded, preprocessed, and put in batches of one shape."""

from __future__ import annotations

import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import nn

from pytorch_feature_analysis.images import load_image

_PREFETCH_THREADS = 2
# Images and activations of one batch that are little for any machine.
_AT_ONCE_IMAGES, _AT_ONCE_UNITS = 128, 128_000_000


@dataclass(frozen=True)
class Batch:
    """Images of one shape, padded to the run's constant batch size."""

    positions: list[int]
    """Positions of the images in the run, one a row; the rows behind them are padding."""
    tensor: torch.Tensor


class KeptInputs:
    """Inputs of a network in a nameless temporary file, for further passes over the same images.

    Where the disk is full the rest is not kept, and made anew for each pass.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="pfa-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._turn = Lock()
        self._places: dict[int, tuple[int, torch.dtype, torch.Size]] = {}
        self._end = 0
        self._is_full = False

    def get(self, position: int) -> torch.Tensor | None:
        """Return the input of one image, if it is kept."""
        if position not in self._places:
            return None
        start, dtype, shape = self._places[position]
        content = torch.empty(shape, dtype=dtype)
        view = content.reshape(-1).view(torch.uint8).numpy().data
        with self._turn:
            self._file.seek(start)
            count = self._file.readinto(view)
        return content if count == view.nbytes else None

    def put(self, position: int, tensor: torch.Tensor) -> None:
        """Keep the input of one image."""
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        with self._turn:
            if self._is_full or position in self._places:
                return
            try:
                self._file.seek(self._end)
                is_whole = self._file.write(content.data) == content.nbytes
            except OSError:
                is_whole = False
            if is_whole:
                self._places[position] = (self._end, tensor.dtype, tensor.shape)
                self._end += content.nbytes
            self._is_full = not is_whole

    def close(self) -> None:
        """Give back the room on the disk."""
        self._file.close()


def pass_at_once(n_images: int, n_units: int) -> bool:
    """Tell whether images may all be in one batch, for a network that puts out so many units."""
    return n_images <= _AT_ONCE_IMAGES and n_images * n_units <= _AT_ONCE_UNITS


def read_batches(
    images: Sequence[Any],
    transform: Callable[[Any], torch.Tensor],
    batch_size: int,
    *,
    names: Sequence[str] | None = None,
    inputs: KeptInputs | None = None,
) -> Iterator[Batch]:
    """Load and transform images in threads ahead of the network, in batches of one shape.

    A batch holds consecutive images; where the shape changes a new one begins. Every batch is
    padded to `batch_size` rows (with its last image), because the rounding of a float32 forward
    pass depends on the batch shape. Inputs that are in `inputs` are taken from there, and the
    others left there.
    """
    names = [str(image) for image in images] if names is None else names

    def load(position: int) -> torch.Tensor:
        kept = inputs.get(position) if inputs is not None else None
        if kept is not None:
            return kept
        tensor = to_input(images[position], transform, names[position])
        if inputs is not None:
            inputs.put(position, tensor)
        return tensor

    def as_batch(positions: list[int], tensors: list[torch.Tensor]) -> Batch:
        padding = [tensors[-1]] * (batch_size - len(tensors))
        return Batch(positions, torch.stack([*tensors, *padding]))

    upcoming = iter(range(len(images)))
    pending: deque[Future[torch.Tensor]] = deque()
    positions: list[int] = []
    tensors: list[torch.Tensor] = []
    with ThreadPoolExecutor(_PREFETCH_THREADS) as pool:
        try:
            for position in range(len(images)):
                while (
                    len(pending) < 2 * batch_size and (ahead := next(upcoming, None)) is not None
                ):
                    pending.append(pool.submit(load, ahead))
                tensor = pending.popleft().result()
                if tensors and tensors[-1].shape != tensor.shape:
                    yield as_batch(positions, tensors)
                    positions, tensors = [], []
                positions.append(position)
                tensors.append(tensor)
                if len(tensors) == batch_size:
                    yield as_batch(positions, tensors)
                    positions, tensors = [], []
            if tensors:
                yield as_batch(positions, tensors)
        finally:
            pool.shutdown(cancel_futures=True)


def to_input(image: Any, transform: Callable[[Any], torch.Tensor], name: str) -> torch.Tensor:
    """One image, a path or PIL image, as the network gets it (without a batch axis)."""
    picture = load_image(image)
    try:
        tensor = transform(picture)
    except Exception as error:
        error.add_note(f"This came from the model's `preprocessing` of {name}.")
        raise
    if isinstance(tensor, torch.Tensor) and tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.ndim < 1:
        came = (
            f"a tensor of {tensor.dtype} and shape {tuple(tensor.shape)}"
            if isinstance(tensor, torch.Tensor)
            else type(tensor).__name__
        )
        raise TypeError(
            f"the model's `preprocessing` must turn a PIL image into a float tensor (channels,"
            f" height, width), but for {name} it gave {came}."
        )
    return tensor


def preprocessing_of(model: nn.Module, model_name: str = "") -> Callable[[Any], torch.Tensor]:
    """Return the preprocessing that the model carries; an error says how to give it one."""
    preprocessing = getattr(model, "preprocessing", None)
    if not callable(preprocessing):
        which = f"model '{model_name}'" if model_name else f"this {type(model).__name__}"
        raise ValueError(
            f"{which} carries no `preprocessing`, so images cannot be turned into its input."
            " Prepare it with prepare_models({'name': (module, transform)}), where `transform`"
            " turns a PIL image into a tensor (channels, height, width)."
        )
    return preprocessing


def tensor_batches(images: torch.Tensor, batch_size: int) -> Iterator[Batch]:
    """Cut a tensor (n_images, ...) into padded batches."""
    for start in range(0, len(images), batch_size):
        rows = images[start : start + batch_size]
        padding = rows[-1:].expand(batch_size - len(rows), *rows.shape[1:])
        yield Batch(list(range(start, start + len(rows))), torch.cat([rows, padding]))


def counted(batches: Iterable[Batch], tick: Callable[[int], Any]) -> Iterator[Batch]:
    """Tell how many images have passed."""
    for batch in batches:
        yield batch
        tick(len(batch.positions))
