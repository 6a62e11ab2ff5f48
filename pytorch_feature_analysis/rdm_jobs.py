"""Work of one `get_rdms` call: the pool of its images, and a model's pass over some of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

from pytorch_feature_analysis._decoding import describe_image
from pytorch_feature_analysis._parallel import iter_finished
from pytorch_feature_analysis._threads import blas_threads
from pytorch_feature_analysis.accumulation import (
    Cell,
    KernelSet,
    RdmAccumulator,
    SetPlan,
    n_held,
)
from pytorch_feature_analysis.activations import capture
from pytorch_feature_analysis.batches import KeptInputs
from pytorch_feature_analysis.dissimilarity import Metric
from pytorch_feature_analysis.image_sets import ImageSet
from pytorch_feature_analysis.images import check_images, image_hash
from pytorch_feature_analysis.pattern_rows import Arena
from pytorch_feature_analysis.stream import (
    Batch,
    Target,
    preprocessing_of,
    read_batches,
    stream_outputs,
)

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

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
    is_decoded: bool

    @classmethod
    def of_sets(cls, sets: Sequence[ImageSet], *, decode: bool, keep_bytes: int = 0) -> ImagePool:
        """Read all images; one error names all that cannot be read.

        With `decode` every image is decoded (and its pixels kept, up to `keep_bytes` of all
        images), otherwise only hashed: enough to know whether its rows are there already.
        """
        listed = [image for image_set in sets for image in image_set.images.values()]
        if not decode:
            try:
                hashes = [image_hash(image) for image in listed]
                loaded = listed
            except (OSError, ValueError):
                decode = True
        if decode:
            checked = check_images(listed, keep_bytes=keep_bytes)
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
            decode,
        )


@dataclass(frozen=True)
class Job:
    """One pass of one model over the images of some sets; one unit of parallel work."""

    model_name: str
    model: nn.Module
    targets: tuple[Target, ...]
    """Of the layers that are wanted."""
    sets: tuple[SetPlan, ...]
    set_indices: tuple[int, ...]
    """Places of `sets` in the call, by which cells name them."""
    images: tuple[Any, ...]
    """In the order of the positions in `sets`."""
    image_names: tuple[str, ...]
    images_key: str
    """The same for jobs with the same inputs of the network, which can be kept for the next."""
    metrics: tuple[Metric, ...]
    kernel_sets: tuple[KernelSet, ...]
    wanted: frozenset[Cell]
    n_prefix_tokens: int
    batch_size: int
    device: Any
    num_threads: int
    debug_check: bool
    projection: int | None = None
    projection_root: int = 0
    spilled: frozenset[str] = frozenset()
    """Layers whose patterns wait in a file."""
    held_bytes: int = 0
    """Bytes of patterns that wait in memory, in this job or a later one like it."""
    room: int = 2**62
    """Bytes that copies of patterns may take."""
    keep_inputs: bool = False
    """Whether further jobs need the same inputs."""


@dataclass(frozen=True)
class JobResult:
    """What came of a job; cells as the job's `wanted` names them."""

    rdms: dict[Cell, list[np.ndarray]]
    undefined: dict[Cell, list[Any]]
    batch_size: int
    seconds: float


class JobRunner:
    """Does jobs, one after the other, and keeps for the next what is dear to make anew.

    That is memory, which the system clears before it hands it out, and the inputs of the network,
    where several passes need them. In each process and thread it begins with nothing.
    """

    def __init__(self, tick: Callable[[int], Any] | None = None) -> None:
        self._own = threading.local()
        self._tick = tick

    def __reduce__(self) -> tuple[type[JobRunner], tuple[()]]:
        return JobRunner, ()

    def __call__(self, job: Job) -> JobResult:
        """Pass the images and return the RDMs."""
        start = time.perf_counter()
        accumulator, batch_size = in_batches_that_fit(
            partial(self._run, job), job.batch_size, job.model_name
        )

        def in_call(found: dict[Cell, list[Any]]) -> dict[Cell, list[Any]]:
            return {
                cell._replace(set_index=job.set_indices[cell.set_index]): of
                for cell, of in found.items()
            }

        return JobResult(
            in_call(accumulator.rdms),
            in_call(accumulator.undefined),
            batch_size,
            time.perf_counter() - start,
        )

    def _run(self, job: Job, batch_size: int) -> RdmAccumulator:
        place = {index: i for i, index in enumerate(job.set_indices)}
        wanted = {cell._replace(set_index=place[cell.set_index]) for cell in job.wanted}
        same = twins(wanted, job.targets, job.kernel_sets)
        accumulator = RdmAccumulator(
            job.sets,
            job.metrics,
            job.kernel_sets,
            frozenset(wanted - same.keys()),
            job.n_prefix_tokens,
            n_slots=n_held(job.sets, batch_size),
            spilled=job.spilled,
            room=job.room,
            arena=self._arena(job.held_bytes),
            projection=job.projection,
            projection_root=job.projection_root,
        )
        layers = {cell.layer for cell in accumulator.wanted}
        targets = [target for target in job.targets if target.label[0] in layers]
        with using_threads(job.num_threads):
            batches = read_batches(
                job.images,
                preprocessing_of(job.model, job.model_name),
                batch_size,
                names=job.image_names,
                inputs=self._inputs(job),
            )
            batches = accumulator.one_shape_a_set(batches, job.image_names)
            if self._tick is not None:
                batches = counted(batches, self._tick)
            try:
                stream_outputs(job.model, batches, targets, accumulator, device=job.device)
            finally:
                accumulator.close()
            if job.debug_check:
                _check_against_scipy(job, accumulator, targets, batch_size)
        for cell, original in same.items():
            accumulator.rdms[cell] = accumulator.rdms[original]
            if original in accumulator.undefined:
                accumulator.undefined[cell] = accumulator.undefined[original]
        return accumulator

    def _arena(self, size: int) -> Arena:
        arena: Arena | None = getattr(self._own, "arena", None)
        if arena is None:
            arena = self._own.arena = Arena()
        arena.clear(size)
        return arena

    def _inputs(self, job: Job) -> KeptInputs | None:
        """Return the inputs that an earlier job of the same model and images may have left."""
        key, inputs = getattr(self._own, "inputs", ("", None))
        if key == job.images_key:
            return inputs
        if inputs is not None:
            inputs.close()
        inputs = KeptInputs() if job.keep_inputs else None
        self._own.inputs = (job.images_key, inputs)
        return inputs


class _Bar:
    """Counts the images that have passed, here or in workers."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._of_jobs = 0

    def tick(self, n_images: int) -> None:
        """Count images that have passed in this process."""
        self._bar.update(n_images)

    def job_is_done(self, n_images: int) -> None:
        """Count those of a job that has ended, wherever that was."""
        self._of_jobs += n_images
        self._bar.update(max(0, self._of_jobs - self._bar.n))


def finished_jobs(
    jobs: Sequence[Job], *, num_cores: int | None, progress: bool
) -> Iterator[tuple[Job, JobResult]]:
    """Do all jobs and yield each with its result as it ends; a bar counts their images."""
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    total = sum(len(job.images) for job in jobs)
    hidden = not (progress and jobs)
    with tqdm(total=total, desc="images", unit="image", disable=hidden) as shown:
        bar = _Bar(shown)
        for place, result in iter_finished(JobRunner(bar.tick), jobs, num_cores=num_cores):
            bar.job_is_done(len(jobs[place].images))
            yield jobs[place], result


def twins(
    wanted: Iterable[Cell], targets: Sequence[Target], kernel_sets: Sequence[KernelSet]
) -> dict[Cell, Cell]:
    """Cells whose patterns are those of another wanted cell, and that other."""
    owners = {target.label[0]: target.same_as for target in targets if target.same_as}
    channels = {kernel_set.name: kernel_set.of_layer for kernel_set in kernel_sets}
    every = set(wanted)
    found = {}
    for cell in every:
        original = cell._replace(layer=owners.get(cell.layer, cell.layer))
        of_layer = channels[cell.kernel_set]
        same_channels = of_layer(cell.layer) == of_layer(original.layer)
        if original != cell and original in every and same_channels:
            found[cell] = original
    return found


def in_batches_that_fit(
    run: Callable[[int], _Result], batch_size: int, model_name: str
) -> tuple[_Result, int]:
    """Call `run` with a batch size, and with half of it as often as there is no memory for it.

    Returns what came of it, and the last batch size.
    """
    asked = batch_size
    while True:
        try:
            return run(batch_size), batch_size
        except (MemoryError, RuntimeError) as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler, whose traceback holds what the pass has allocated.
        batch_size //= 2
        logger.warning(
            "model '%s': out of memory; going on with batches of %d images. Their numbers agree"
            " with those of batches of %d to about 1e-4; `batch_size`=%d asks for them from the"
            " start.",
            *(model_name, batch_size, asked, batch_size),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a pass failed for want of memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "out of memory"))


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """Hold torch and BLAS to `number` threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        with blas_threads(number):
            yield
    finally:
        torch.set_num_threads(before)


def counted(batches: Iterable[Batch], tick: Callable[[int], Any]) -> Iterator[Batch]:
    """Tell how many images have passed."""
    for batch in batches:
        yield batch
        tick(len(batch.positions))


def _check_against_scipy(
    job: Job, accumulator: RdmAccumulator, targets: Sequence[Target], batch_size: int
) -> None:
    """Recompute the unit-level RDMs of the first set from captured activations."""
    first = accumulator.sets[0]
    pictures = [job.images[position] for position in first.positions]
    for target in targets:
        cell = Cell(0, target.label[0], "unit_level", "all")
        if cell not in accumulator.rdms or first.combinations:
            continue
        name = target.label if "@" not in target.label[0] else target.label[0]
        found = capture(job.model, pictures, [name], batch_size=batch_size, device=job.device)[
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
