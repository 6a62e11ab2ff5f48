"""Images on their way to a network."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import functional

from pytorch_feature_analysis import batches
from pytorch_feature_analysis.batches import (
    KeptInputs,
    preprocessing_of,
    read_batches,
    tensor_batches,
    to_input,
)


def picture(number, size=(4, 4)):
    return Image.new("RGB", size, (number, 0, 0))


def numbers(batch):
    return (batch.tensor[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("n_images", [1, 2, 3, 4, 7])
def test_images_come_in_order_and_batches_are_padded_with_the_last(n_images):
    images = [picture(10 * i) for i in range(n_images)]
    found = list(read_batches(images, functional.to_tensor, 3))
    assert [batch.positions for batch in found] == [
        list(range(start, min(start + 3, n_images))) for start in range(0, n_images, 3)
    ]
    for batch in found:
        own = [10 * i for i in batch.positions]
        assert numbers(batch) == own + [own[-1]] * (3 - len(own))


def test_a_change_of_size_begins_a_new_batch():
    sizes = [(4, 4), (4, 4), (4, 6), (4, 6), (4, 6), (4, 6), (4, 4)]
    images = [picture(10 * i, size) for i, size in enumerate(sizes)]
    found = list(read_batches(images, functional.to_tensor, 3))
    assert [batch.positions for batch in found] == [[0, 1], [2, 3, 4], [5], [6]]
    assert [tuple(batch.tensor.shape) for batch in found] == [
        (3, 3, 4, 4),
        (3, 3, 6, 4),
        (3, 3, 6, 4),
        (3, 3, 4, 4),
    ]


def test_images_are_prepared_ahead_in_threads_but_not_without_bound():
    done, threads = [], set()

    def transform(image):
        threads.add(threading.current_thread().name)
        done.append(1)
        return functional.to_tensor(image)

    reading = read_batches([picture(i) for i in range(50)], transform, 4)
    next(reading)
    deadline = time.monotonic() + 5
    while len(done) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert 8 <= len(done) <= 4 + 1 + 2 * 4
    assert threading.current_thread().name not in threads
    reading.close()


def test_images_that_are_no_longer_wanted_are_given_up():
    done = []

    def transform(image):
        if image.getpixel((0, 0))[0] >= 4:
            time.sleep(0.02)
        done.append(1)
        return functional.to_tensor(image)

    reading = read_batches([picture(i) for i in range(50)], transform, 4)
    next(reading)
    reading.close()
    assert len(done) < 4 + 4
    ended = len(done)
    time.sleep(0.1)
    assert len(done) == ended


@pytest.mark.parametrize("position", [0, 5, 9])
def test_what_goes_wrong_in_a_thread_comes_out(position):
    def transform(image):
        if image.getpixel((0, 0))[0] == position:
            raise KeyError("a fault of the user's own transform")
        return functional.to_tensor(image)

    images = [picture(i) for i in range(10)]
    names = [f"image {i}" for i in range(10)]
    before = threading.active_count()
    with pytest.raises(KeyError, match="a fault of the user's own") as caught:
        list(read_batches(images, transform, 4, names=names))
    assert caught.value.__notes__ == [
        f"This came from the model's `preprocessing` of image {position}."
    ]
    assert threading.active_count() <= before


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "missing.png"
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        list(read_batches([picture(1), path], functional.to_tensor, 2))


def test_paths_and_pictures_are_loaded_as_rgb(tmp_path):
    grey = Image.new("L", (4, 4), 100)
    grey.save(tmp_path / "grey.png")
    for image in (grey, tmp_path / "grey.png", str(tmp_path / "grey.png")):
        found = to_input(image, functional.to_tensor, "grey")
        np.testing.assert_allclose(found, 100 / 255)
        assert found.shape == (3, 4, 4)


def test_a_transform_may_add_the_batch_axis():
    found = to_input(picture(9), lambda image: functional.to_tensor(image)[None], "nine")
    assert found.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("transform", "came"),
    [
        (np.asarray, "it gave ndarray"),
        (lambda image: image, "it gave Image"),
        (functional.pil_to_tensor, r"it gave a tensor of torch.uint8 and shape \(3, 4, 4\)"),
        (lambda image: torch.tensor(1.0), r"it gave a tensor of torch.float32 and shape \(\)"),
        (lambda image: None, "it gave NoneType"),
    ],
)
def test_a_transform_that_makes_no_input_is_refused(transform, came):
    with pytest.raises(TypeError, match=rf"`preprocessing` must turn .* but for red\.png {came}"):
        to_input(picture(9), transform, "red.png")


def test_a_model_without_preprocessing_is_told_how_to_get_one():
    model = nn.Linear(3, 3)
    with pytest.raises(
        ValueError, match=r"this Linear carries no `preprocessing`.*prepare_models"
    ):
        preprocessing_of(model)
    with pytest.raises(ValueError, match=r"model 'mine' carries no `preprocessing`"):
        preprocessing_of(model, "mine")
    model.preprocessing = functional.to_tensor
    assert preprocessing_of(model) is functional.to_tensor


@pytest.mark.parametrize("n_images", [1, 3, 4, 6])
def test_tensors_are_cut_into_padded_batches_and_copied(n_images):
    images = torch.arange(float(n_images))[:, None].repeat(1, 2)
    found = list(tensor_batches(images, 3))
    assert [position for batch in found for position in batch.positions] == list(range(n_images))
    assert {len(batch.tensor) for batch in found} == {3}
    for batch in found:
        own = batch.tensor[: len(batch.positions), 0].tolist()
        assert own == batch.positions
        assert batch.tensor[len(own) :, 0].tolist() == [own[-1]] * (3 - len(own))
        batch.tensor.zero_()
    assert images[:, 0].tolist() == list(range(n_images))


def test_the_number_of_threads_changes_nothing(monkeypatch):
    images = [picture(i) for i in range(20)]
    expected = [batch.tensor for batch in read_batches(images, functional.to_tensor, 6)]
    monkeypatch.setattr(batches, "_PREFETCH_THREADS", 1)
    found = [batch.tensor for batch in read_batches(images, functional.to_tensor, 6)]
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


@pytest.fixture
def kept():
    inputs = KeptInputs()
    yield inputs
    inputs.close()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]
)
def test_inputs_that_are_kept_come_back_as_they_were(kept, dtype):
    shapes = [(3, 8, 8), (3, 10, 12), (5,), (1, 1)]
    inputs = [(100 * torch.randn(shape)).to(dtype) for shape in shapes]
    assert kept.get(0) is None
    for position in (2, 0, 3, 1):
        kept.put(position, inputs[position])
    for position, tensor in enumerate(inputs):
        found = kept.get(position)
        assert found.dtype == dtype
        assert torch.equal(found, tensor)
        found.zero_()
        assert torch.equal(kept.get(position), tensor)
    assert kept.get(4) is None


def test_inputs_that_do_not_lie_together_or_need_gradients_are_kept(kept):
    wide = torch.randn(8, 6, requires_grad=True)
    kept.put(0, wide.T[::2])
    kept.put(1, wide[:1].expand(3, 6))
    assert torch.equal(kept.get(0), wide.T[::2])
    assert torch.equal(kept.get(1), wide[:1].expand(3, 6))


def test_an_input_is_kept_once(kept):
    kept.put(0, torch.ones(2))
    kept.put(0, torch.zeros(2))
    assert kept.get(0).tolist() == [1, 1]


class Disk:
    """A file on a disk that holds so many bytes."""

    def __init__(self, file, room, how):
        self._file, self._room, self._how = file, room, how

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        if self._file.tell() + len(content) > self._room:
            if self._how == "fails":
                raise OSError(28, "No space left on device")
            return self._file.write(bytes(content)[: self._room - self._file.tell()])
        return self._file.write(content)


@pytest.mark.parametrize("how", ["fails", "writes a part"])
def test_where_the_disk_is_full_inputs_are_made_anew(how, kept):
    one = 3 * 4 * 4 * 4
    kept._file = Disk(kept._file, 5 * one + 7, how)
    made = []

    def transform(image):
        made.append(image.getpixel((0, 0))[0])
        return functional.to_tensor(image)

    images = [picture(10 * i) for i in range(8)]
    expected = [batch.tensor for batch in read_batches(images, functional.to_tensor, 3)]
    for n_made in (8, 3, 3):
        made.clear()
        found = [batch.tensor for batch in read_batches(images, transform, 3, inputs=kept)]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert len(made) == n_made
    # What is small enough for the rest of the disk is not put there either.
    kept.put(99, torch.ones(1))
    assert kept.get(99) is None


def test_inputs_are_taken_from_where_they_are_kept(kept):
    images = [picture(10 * i, (4, 4 + 2 * (i > 3))) for i in range(7)]
    names = [f"image {i}" for i in range(7)]
    first = list(read_batches(images, functional.to_tensor, 3, names=names, inputs=kept))

    def fail(image):
        raise AssertionError("an image was prepared again")

    again = list(read_batches([None] * 7, fail, 3, names=names, inputs=kept))
    assert [batch.positions for batch in again] == [batch.positions for batch in first]
    for one, other in zip(again, first, strict=True):
        assert torch.equal(one.tensor, other.tensor)
    # In batches of another size too.
    whole = list(read_batches([None] * 7, fail, 4, names=names, inputs=kept))
    assert [batch.positions for batch in whole] == [[0, 1, 2, 3], [4, 5, 6]]
    assert numbers(whole[1]) == [40, 50, 60, 60]


def test_inputs_that_nobody_closes_leave_no_open_file():
    inputs = KeptInputs()
    file = inputs._file
    inputs.put(0, torch.ones(3))
    del inputs
    gc.collect()
    assert file.closed


def test_kept_inputs_have_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(batches.tempfile, "tempdir", str(tmp_path))
    inputs = KeptInputs()
    inputs.put(0, torch.ones(3))
    assert list(tmp_path.iterdir()) == []
    inputs.close()
