"""Loading in bulk, hashes, the guide's image helpers and preprocessing."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torchvision import transforms

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import image_checks
from pytorch_feature_analysis._image_decoding import describe_image
from pytorch_feature_analysis.image_checks import check_images, image_hash


def random_image(width, height, seed=0, channels=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    for name, size in (("a.png", (4, 6)), ("b.jpg", (50, 40)), ("c.bmp", (3, 3))):
        random_image(*size).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("keep_bytes", [0, 10**6])
@pytest.mark.parametrize("num_threads", [None, 1, 3])
def test_checked_images_come_in_order_with_size_and_hash(folder, num_threads, keep_bytes):
    paths = [folder / "b.jpg", str(folder / "a.png"), folder / "c.bmp", folder / "a.png"]
    checked = check_images(paths, num_threads=num_threads, keep_bytes=keep_bytes)
    assert [image.size for image in checked] == [(50, 40), (4, 6), (3, 3), (4, 6)]
    for path, image in zip(map(Path, paths), checked, strict=True):
        assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        if keep_bytes:
            assert image.image.tobytes() == pfa.load_image(path).tobytes()
        else:
            assert image.image is None


def test_pictures_are_kept_within_the_budget_and_checked_beyond_it(folder):
    images = [random_image(10, 10, seed) for seed in range(5)]
    checked = check_images(images, num_threads=1, keep_bytes=900)
    assert [image.image is not None for image in checked] == [True, True, False, False, False]
    assert [image.size for image in checked] == [(10, 10)] * 5
    mixed = [random_image(*size) for size in ((10, 10), (10, 10), (5, 5), (1, 1))]
    kept = [
        image.image is not None for image in check_images(mixed, num_threads=1, keep_bytes=500)
    ]
    assert kept == [True, False, True, False]
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"d\.png"):
        check_images([*images, folder / "d.png"], num_threads=1, keep_bytes=400)


def test_an_image_that_comes_several_times_is_decoded_once(folder, monkeypatch):
    calls = []
    plain = image_checks._check_one

    def counted(source, **options):
        calls.append(source)
        return plain(source, **options)

    monkeypatch.setattr(image_checks, "_check_one", counted)
    picture = random_image(2, 2)
    path = folder / "a.png"
    check_images([path, picture, str(path), picture, path])
    assert len(calls) == 2


@pytest.mark.parametrize("keep_bytes", [0, 10**6])
@pytest.mark.parametrize("orientation", range(10))
def test_sizes_are_those_of_the_upright_picture(tmp_path, orientation, keep_bytes):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name in ("a.jpg", "a.png", "a.tif"):
        random_image(30, 20).save(tmp_path / name, exif=exif.tobytes())
        [upright] = check_images([tmp_path / name], keep_bytes=keep_bytes)
        assert upright.size == pfa.load_image(tmp_path / name).size
        assert upright.size == ((20, 30) if orientation in (5, 6, 7, 8) else (30, 20))
    [stored] = check_images([tmp_path / "a.jpg"], exif=False, keep_bytes=keep_bytes)
    assert stored.size == (30, 20)


@pytest.mark.parametrize("keep_bytes", [0, 10**6])
def test_one_error_names_all_images_that_cannot_be_read(folder, keep_bytes):
    whole = (folder / "b.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    bad = [folder / name for name in ("gone.png", "cut.jpg", "empty.png", "text.png")]
    images = [folder / "a.png", *bad, Image.new("F", (2, 2)), bad[0]]
    with pytest.raises(ValueError, match="`image_sets` names 5 images that") as caught:
        check_images(images, keep_bytes=keep_bytes)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("of 6:")
    assert lines[1:5] == [
        f"  {bad[0]}: there is no such file",
        lines[2],
        f"  {bad[2]}: the file is empty (0 bytes)",
        f"  {bad[3]}: this is not an image file that Pillow can read, or only the start of one",
    ]
    assert f"{bad[1]}: image file is truncated" in lines[2]
    assert lines[5].startswith("  a PIL image of mode F: it holds floating-point numbers")
    assert "a.png" not in str(caught.value).replace(str(bad), "")


def test_one_bad_image_is_named_in_the_singular_with_its_argument():
    with pytest.raises(ValueError, match=r"`pictures` names 1 image that cannot be read, of 1:"):
        check_images(["gone.png"], argument="pictures")


@pytest.mark.parametrize("keep_bytes", [0, 10**6])
def test_a_file_with_damaged_exif_is_named_in_the_log(tmp_path, caplog, keep_bytes):
    path = tmp_path / "old.png"
    random_image(30, 20).save(path, exif=b"Exif\0\0no TIFF in here")
    assert check_images([path], keep_bytes=keep_bytes)[0].size == (30, 20)
    assert f"{path} has EXIF data that cannot be read" in caplog.text


def test_the_quick_check_of_a_jpeg_finds_every_cut(tmp_path):
    for progressive in (False, True):
        path = tmp_path / "a.jpg"
        random_image(80, 60).save(path, progressive=progressive)
        whole = path.read_bytes()
        for cut in [*range(0, len(whole), len(whole) // 15), len(whole) - 3]:
            path.write_bytes(whole[:cut])
            with pytest.raises(ValueError, match=r"a\.jpg"):
                check_images([path])


def test_the_kinds_of_check_images_are_checked():
    with pytest.raises(TypeError, match=r"`image_sets` must be a list of images, not 'a.png'"):
        check_images("a.png")
    with pytest.raises(TypeError, match="`image_sets` must be the path of an image file"):
        check_images([None])
    with pytest.raises(ValueError, match="`num_threads` must be at least 1, not 0"):
        check_images([], num_threads=0)
    assert check_images([]) == []


def test_the_hash_of_a_file_is_that_of_its_bytes(folder):
    data = (folder / "a.png").read_bytes()
    expected = hashlib.sha256(data).hexdigest()
    assert image_hash(folder / "a.png") == image_hash(data) == expected


def test_the_hash_of_a_pil_image_is_of_all_that_decides_its_rgb():
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 1, 2, 3])

    def changed(change):
        other = image.copy()
        change(other)
        return image_hash(other)

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    hashes = {
        "same": image_hash(image),
        "pixel": changed(lambda other: other.putpixel((0, 0), 0)),
        "palette": changed(lambda other: other.putpalette([0, 0, 0, 1, 2, 4])),
        "transparency": changed(lambda other: other.info.update(transparency=1)),
        "orientation": changed(lambda other: other.info.update(exif=exif.tobytes())),
        "mode": image_hash(Image.new("L", (4, 2), 1)),
        "size": image_hash(Image.new("L", (2, 4), 1)),
    }
    assert len(set(hashes.values())) == len(hashes)
    assert image_hash(image.copy()) == image_hash(image)
    assert image_hash(Image.new("L", (2, 4), 1)) == hashes["size"]


def test_images_are_described_by_path_or_mode(folder):
    assert describe_image(folder / "a.png") == str(folder / "a.png")
    assert describe_image(Image.new("L", (1, 1))) == "a PIL image of mode L"
    with Image.open(folder / "a.png") as opened:
        assert describe_image(opened) == f"a PIL image of mode RGB from {folder / 'a.png'}"


def test_a_mask_is_zero_only_where_all_channels_are_above_the_threshold():
    pixels = [(255, 255, 255), (231, 231, 231), (231, 230, 231), (230, 255, 255), (0, 0, 0)]
    image = Image.new("RGB", (5, 1))
    image.putdata(pixels)
    mask = pfa.nonwhite_pixel_mask(image)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 0, 1, 1, 1]]
    assert pfa.nonwhite_pixel_mask(image, 229).tolist() == [[0, 0, 0, 0, 1]]


def test_the_mask_equals_the_double_loop_and_has_height_before_width():
    image = random_image(7, 5)
    loop = [
        [0 if all(c > 120 for c in image.getpixel((x, y))) else 1 for x in range(7)]
        for y in range(5)
    ]
    assert pfa.nonwhite_pixel_mask(image, thresh=120).tolist() == loop


def test_transparent_pixels_count_as_white():
    assert pfa.nonwhite_pixel_mask(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).tolist() == [[0]]


def test_the_threshold_must_be_a_number():
    with pytest.raises(TypeError, match="`thresh` must be a number, not '230'"):
        pfa.nonwhite_pixel_mask(Image.new("L", (1, 1)), "230")


@pytest.mark.parametrize("name", ["mask.jpg", "mask.PNG", "mask.bmp"])
def test_a_saved_mask_comes_back_as_zeros_and_ones(tmp_path, name):
    mask = np.zeros((12, 20), dtype=int)
    mask[3:9, 5:15] = 1
    before = mask.copy()
    image = pfa.save_mask(mask, tmp_path / name)
    assert (image.mode, image.size) == ("RGB", (20, 12))
    assert (np.asarray(image) == 255 * mask[..., None]).all()
    read = np.asarray(pfa.load_image(tmp_path / name))[..., 0]
    assert ((read > 127) == mask).all()
    if not name.endswith("jpg"):
        assert (read == 255 * mask).all()
    assert (mask == before).all()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_boolean_masks_and_text_paths_will_do(tmp_path):
    pfa.save_mask(np.eye(3, dtype=bool), str(tmp_path / "mask.png"))
    assert pfa.load_image(tmp_path / "mask.png").getpixel((2, 2)) == (255, 255, 255)


def test_a_bad_mask_or_file_name_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="`mask` must hold only 0 and 1"):
        pfa.save_mask(np.full((2, 2), 255), tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"`mask` must have the shape .* not \(2, 2, 3\)"):
        pfa.save_mask(np.zeros((2, 2, 3)), tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"`fname` must end in the suffix .* not 'mask.xyz'"):
        pfa.save_mask(np.eye(2), tmp_path / "mask.xyz")
    with pytest.raises(OSError, match=r"`fname` is .*no folder"):
        pfa.save_mask(np.eye(2), tmp_path / "nowhere" / "mask.png")
    assert list(tmp_path.iterdir()) == []


def test_a_shrunk_square_spans_its_share_of_the_middle():
    image = pfa.shrink_image(Image.new("RGB", (100, 100)), 0.5)
    dark = pfa.nonwhite_pixel_mask(image, thresh=127)
    assert image.size == (224, 224)
    expected = np.zeros((224, 224))
    expected[56:168, 56:168] = 1
    assert (dark == expected).all()


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.77, 0.9, 1])
@pytest.mark.parametrize("width", [10, 33, 100, 224])
def test_a_square_gets_the_border_of_the_stated_rule(width, ratio):
    picture = random_image(width, width)
    # Oracle: the rule, with Pillow's own paste and resize.
    pad = round(width * (1 - ratio) / (2 * ratio))
    canvas = Image.new("RGB", (width + 2 * pad,) * 2, "lime")
    canvas.paste(picture, (pad, pad))
    shrunk = pfa.shrink_image(picture, ratio, "lime", (60, 60))
    assert shrunk.tobytes() == canvas.resize((60, 60)).tobytes()


@pytest.mark.parametrize(
    ("size", "output", "columns", "rows"),
    [
        ((200, 100), (80, 80), (20, 60), (30, 50)),
        ((100, 200), (80, 80), (30, 50), (20, 60)),
        ((100, 100), (160, 80), (60, 100), (20, 60)),
        ((200, 100), (160, 80), (40, 120), (20, 60)),
    ],
)
def test_a_shrunk_picture_keeps_its_aspect(size, output, columns, rows):
    image = pfa.shrink_image(Image.new("RGB", size), 0.5, output_size=output)
    assert image.size == output
    dark = pfa.nonwhite_pixel_mask(image, thresh=127).astype(bool)
    assert tuple(np.flatnonzero(dark.any(axis=0))[[0, -1]] + [0, 1]) == columns
    assert tuple(np.flatnonzero(dark.any(axis=1))[[0, -1]] + [0, 1]) == rows


def test_the_border_has_the_pad_colour_also_behind_transparency():
    image = pfa.shrink_image(Image.new("RGBA", (10, 10), (0, 0, 0, 0)), 0.5, (1, 2, 3), (20, 20))
    assert set(np.asarray(image).reshape(-1, 3).sum(axis=1)) == {6}


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((0,), ValueError, "`shrink_ratio` must be above 0 and at most 1, not 0"),
        ((1.5,), ValueError, "`shrink_ratio` must be above 0 and at most 1, not 1.5"),
        (("half",), TypeError, "`shrink_ratio` must be a number"),
        ((float("nan"),), ValueError, "`shrink_ratio` must be a number, not NaN"),
        ((0.001,), ValueError, "leaves less than one pixel"),
        ((0.5, "nocolour"), ValueError, "`pad_color` must be"),
        ((0.5, "white", 224), TypeError, "`output_size` must be a list of width and height"),
        ((0.5, "white", (224,)), ValueError, r"`output_size` must be \(width, height\)"),
        ((0.5, "white", (0, 5)), ValueError, "`output_size` must be at least 1"),
    ],
)
def test_bad_arguments_of_shrink_image_are_named(arguments, error, match):
    with pytest.raises(error, match=match):
        pfa.shrink_image(Image.new("RGB", (10, 10)), *arguments)


def test_pixels_near_the_target_on_all_channels_become_transparent():
    image = Image.new("RGB", (4, 1))
    image.putdata([(255, 255, 255), (251, 251, 251), (250, 255, 255), (0, 0, 0)])
    clear = pfa.alphatize_image(image)
    assert clear.mode == "RGBA"
    assert list(clear.getchannel("A").tobytes()) == [0, 0, 255, 255]
    assert clear.convert("RGB").tobytes() == image.tobytes()
    assert list(pfa.alphatize_image(image, alpha_range=6).getchannel("A").tobytes()) == [
        *(0, 0, 0),
        255,
    ]
    assert image.mode == "RGB"


def test_alphatize_agrees_with_almost_equals_pixel_by_pixel():
    image = random_image(20, 20, seed=3)
    target = (120, 130, 140)
    alpha = pfa.alphatize_image(image, target, 60).getchannel("A")
    for x in range(20):
        for y in range(20):
            near = pfa.almost_equals(image.getpixel((x, y)), target, 60)
            assert alpha.getpixel((x, y)) == (0 if near else 255)


def test_alphatize_keeps_transparency_that_is_there():
    image = random_image(5, 5, channels=4)
    alpha = np.asarray(pfa.alphatize_image(image, "black", 1))[..., 3]
    black = (np.asarray(image)[..., :3] == 0).all(axis=-1)
    assert (alpha == np.where(black, 0, np.asarray(image)[..., 3])).all()


def test_bad_arguments_of_alphatize_are_named():
    with pytest.raises(ValueError, match="`alpha_target` must be"):
        pfa.alphatize_image(Image.new("L", (1, 1)), (255, 255))
    with pytest.raises(TypeError, match="`alpha_range` must be a number"):
        pfa.alphatize_image(Image.new("L", (1, 1)), "white", "5")


def test_preprocessing_is_scaling_and_the_imagenet_standardisation():
    image = random_image(224, 224)
    batch = pfa.preprocess_image(image)
    assert batch.shape == (1, 3, 224, 224)
    assert batch.dtype == torch.float32
    # Oracle: the published means and deviations, by numpy. At 224 pixels nothing is resized.
    by_hand = np.asarray(image) / 255
    by_hand = (by_hand - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(batch[0].permute(1, 2, 0).numpy(), by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 50), (224, 448)), ((300, 600), (448, 224)), ((500, 375), (224, 298))],
)
def test_preprocessing_brings_the_short_side_to_224_and_cuts_nothing(size, expected):
    left_black = Image.new("L", size, 255)
    left_black.paste(0, (0, 0, size[0] // 2, size[1]))
    batch = pfa.preprocess_image(left_black)
    assert batch.shape == (1, 3, *expected)
    assert (batch[0, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_preprocessing_takes_paths_grey_and_transparent_pictures(tmp_path):
    glass = Image.new("RGBA", (224, 224), (0, 0, 0, 0))
    glass.save(tmp_path / "glass.png")
    white = pfa.preprocess_image(Image.new("L", (224, 224), 255))
    assert torch.equal(pfa.preprocess_image(tmp_path / "glass.png"), white)
    black = pfa.preprocess_image(Image.new("1", (224, 224), 0))
    assert torch.equal(pfa.preprocess_image(glass, background="black"), black)


def test_a_transform_of_ones_own_is_used():
    double = transforms.Compose([transforms.ToTensor(), lambda tensor: tensor.double() * 2])
    batch = pfa.preprocess_image(Image.new("RGB", (3, 2), "white"), double)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, torch.full((1, 3, 2, 3), 2.0))


@pytest.mark.parametrize(
    ("transform", "error", "match"),
    [
        ("weights", TypeError, "`transform` must be a callable .* not 'weights'"),
        (lambda image: image, TypeError, "`transform` must return a tensor, not Image"),
        (transforms.PILToTensor(), ValueError, "floating-point tensor .* not torch.uint8"),
        (lambda image: torch.zeros(1, 3, 2, 2), ValueError, r"of shape \(1, 3, 2, 2\)"),
    ],
)
def test_a_transform_that_will_not_do_is_named(transform, error, match):
    with pytest.raises(error, match=match):
        pfa.preprocess_image(Image.new("RGB", (3, 2)), transform)


def test_inputs_of_the_helpers_are_unchanged():
    image = random_image(8, 8, channels=4)
    before = image.tobytes()
    pfa.nonwhite_pixel_mask(image)
    pfa.shrink_image(image, 0.5)
    pfa.alphatize_image(image)
    pfa.preprocess_image(image)
    image_hash(image)
    check_images([image])
    assert (image.mode, image.size, image.tobytes()) == ("RGBA", (8, 8), before)


def test_nothing_is_logged_for_sound_images(folder, caplog):
    with caplog.at_level(logging.DEBUG, logger="pytorch_feature_analysis"):
        check_images([folder / "a.png", folder / "b.jpg"])
    assert caplog.text == ""
