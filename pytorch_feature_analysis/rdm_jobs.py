"""Work of one `get_rdms` call: the pool of its images, and one model's pass over them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

from pytorch_feature_analysis._decoding import describe_image
from pytorch_feature_analysis.accumulation import Cell, KernelSet, RdmAccumulator, SetPlan
from pytorch_feature_analysis.activations import capture
from pytorch_feature_analysis.dissimilarity import Metric
from pytorch_feature_analysis.image_sets import ImageSet
from pytorch_feature_analysis.images import check_images, image_hash
from pytorch_feature_analysis.stream import Target, preprocessing_of, read_batches, stream_outputs

# Decoded images are kept for the pass (and for further models) up to this size.
_KEPT_PIXEL_BYTES = 2**29
# Metrics whose plain definition scipy has under a name of its own, for `debug_check`.
_SCIPY_NAMES = {
    "corr": "correlation",
    "euclidean_distance": "euclidean",
    "squared_euclidean": "sqeuclidean",
    "cosine": "cosine",
}


@dataclass(frozen=True)
class ImagePool:
    """The distinct images of all sets, by content, in the order in which the sets need them."""

    images: tuple[Any, ...]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    positions: tuple[tuple[int, ...], ...]
    """Per set, where its images stand in `images`."""

    @classmethod
    def of_sets(cls, sets: Sequence[ImageSet], *, decode: bool) -> ImagePool:
        """Read all images; one error names all that cannot be read.

        With `decode` every image is decoded (and its pixels kept where that is cheap), otherwise
        only hashed: enough to know whether its rows are there already.
        """
        listed = [image for image_set in sets for image in image_set.images.values()]
        if not decode:
            try:
                hashes = [image_hash(image) for image in listed]
                loaded = listed
            except (OSError, ValueError):
                decode = True
        if decode:
            checked = check_images(listed, keep_bytes=_KEPT_PIXEL_BYTES)
            hashes = [image.sha256 for image in checked]
            loaded = [image.image or source for image, source in zip(checked, listed, strict=True)]
        first = {content: i for i, content in reversed(list(enumerate(hashes)))}
        distinct = {content: place for place, content in enumerate(dict.fromkeys(hashes))}
        in_order = [first[content] for content in distinct]
        ends = np.cumsum([len(image_set.images) for image_set in sets]).tolist()
        return cls(
            tuple(loaded[i] for i in in_order),
            tuple(describe_image(listed[i]) for i in in_order),
            tuple(distinct),
            tuple(
                tuple(distinct[content] for content in hashes[end - len(image_set.images) : end])
                for end, image_set in zip(ends, sets, strict=True)
            ),
        )


@dataclass(frozen=True)
class Job:
    """All that one model's RDMs are made from; one unit of parallel work."""

    model_name: str
    model: nn.Module
    targets: tuple[Target, ...]
    sets: tuple[SetPlan, ...]
    images: tuple[Any, ...]
    image_names: tuple[str, ...]
    metrics: tuple[Metric, ...]
    kernel_sets: tuple[KernelSet, ...]
    wanted: frozenset[Cell]
    n_prefix_tokens: int
    batch_size: int
    device: Any
    num_threads: int | None
    progress: bool
    debug_check: bool


@dataclass(frozen=True)
class JobResult:
    """What came of a job; cells as the job's `wanted` names them."""

    rdms: dict[Cell, list[np.ndarray]]
    undefined: dict[Cell, list[Any]]
    num_threads: int
    seconds: float


def run_job(job: Job) -> JobResult:
    """Pass one model's images and return its RDMs."""
    start = time.perf_counter()
    # Only what the wanted cells need is passed: sets that are complete in the file stay out.
    places = sorted({cell.set_index for cell in job.wanted})
    positions = list(dict.fromkeys(p for i in places for p in job.sets[i].positions))
    renumbered = {position: place for place, position in enumerate(positions)}
    sets = [
        replace(job.sets[i], positions=tuple(renumbered[p] for p in job.sets[i].positions))
        for i in places
    ]
    local = {index: place for place, index in enumerate(places)}
    accumulator = RdmAccumulator(
        sets,
        job.metrics,
        job.kernel_sets,
        frozenset(cell._replace(set_index=local[cell.set_index]) for cell in job.wanted),
        job.n_prefix_tokens,
    )
    images = [job.images[p] for p in positions]
    names = [job.image_names[p] for p in positions]
    layers = {cell.layer for cell in job.wanted}
    targets = [target for target in job.targets if target.label[0] in layers]
    with _threads(job.num_threads):
        batches = read_batches(
            images, preprocessing_of(job.model, job.model_name), job.batch_size, names=names
        )
        batches = accumulator.one_shape_a_set(batches, names)
        if job.progress:
            batches = _counted(batches, len(images), job.model_name)
        stream_outputs(job.model, batches, targets, accumulator, device=job.device)
        num_threads = torch.get_num_threads()
    if job.debug_check:
        _check_against_scipy(job, accumulator, images, targets)

    def in_job(found: dict[Cell, list[Any]]) -> dict[Cell, list[Any]]:
        return {cell._replace(set_index=places[cell.set_index]): of for cell, of in found.items()}

    return JobResult(
        in_job(accumulator.rdms),
        in_job(accumulator.undefined),
        num_threads,
        time.perf_counter() - start,
    )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Hold torch and BLAS to `number` threads; None leaves them as they are."""
    if number is None:
        yield
        return
    # Comes with scikit-learn; imported where it is used, as that is.
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


def _counted(batches: Iterable[Any], n_images: int, name: str) -> Iterator[Any]:
    """Show how many images have passed."""
    from tqdm.auto import tqdm

    with tqdm(total=n_images, desc=name, unit="image") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch.positions))


def _check_against_scipy(
    job: Job, accumulator: RdmAccumulator, images: Sequence[Any], targets: Sequence[Target]
) -> None:
    """Recompute the unit-level RDMs of the first set from captured activations."""
    first = accumulator.sets[0]
    pictures = [images[position] for position in first.positions]
    for target in targets:
        cell = Cell(0, target.label[0], "unit_level", "all")
        if cell not in accumulator.rdms or first.combinations:
            continue
        name = target.label if "@" not in target.label[0] else target.label[0]
        found = capture(job.model, pictures, [name], batch_size=job.batch_size, device=job.device)[
            target.label[0]
        ]
        rows = found.reshape(len(pictures), -1).astype(float)
        for metric, rdm in zip(job.metrics, accumulator.rdms[cell], strict=True):
            if metric.name not in _SCIPY_NAMES or np.isnan(rdm).any():
                continue
            expected = squareform(pdist(rows, _SCIPY_NAMES[metric.name]))
            if not np.allclose(rdm, expected, rtol=1e-4, atol=1e-9 * max(expected.max(), 1)):
                raise RuntimeError(
                    f"debug_check: the '{metric.name}' RDM of layer {target.label[0]} of model"
                    f" '{job.model_name}' for the set {first.name} differs from scipy's by up to"
                    f" {np.abs(rdm - expected).max():.3g}."
                )
