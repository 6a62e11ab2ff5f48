"""Image files of every mode to pixels."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile, ImageOps

import pytorch_feature_analysis as pfa

ORIENTATION = ExifTags.Base.Orientation


def encoded(image, file_format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format=file_format, **options)
    return stream.getvalue()


def grey_png(pixels, depth, transparent):
    """Build a one-row grey PNG by hand: Pillow writes none of 2 or 4 bits with transparency."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    bits = "".join(f"{value:0{depth}b}" for value in pixels)
    bits += "0" * (-len(bits) % 8)
    row = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    header = struct.pack(">IIBBBBB", len(pixels), 1, depth, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tRNS", struct.pack(">H", transparent))
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


def grey_tiff(width, height, bits, photometric, data):
    """Build an uncompressed grey TIFF by hand."""
    tags = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8 + 2 + 12 * 9 + 4),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, len(data)),
    ]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<HH" if kind == 3 else "<I", *value)
        for tag, kind, value in ((t, k, (v, 0) if k == 3 else (v,)) for t, k, v in tags)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def palette_image(transparency=None):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 0, (0, 0, 0)),
        ("1", 255, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (77, 0), (255, 255, 255)),
        ("La", (0, 0), (255, 255, 255)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
        ("RGBA", (1, 2, 3, 0), (255, 255, 255)),
        # 0.4 of 0 over white: 255 * 0.6
        ("RGBA", (0, 0, 0, 102), (153, 153, 153)),
        ("RGBa", (0, 0, 0, 102), (153, 153, 153)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YCbCr", (255, 128, 128), (255, 255, 255)),
        ("HSV", (0, 0, 200), (200, 200, 200)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16B", 257 * 7, (7, 7, 7)),
        ("I", 257 * 7, (7, 7, 7)),
    ],
)
def test_a_pixel_of_every_mode_becomes_its_rgb_over_white(mode, value, expected):
    image = Image.new(mode, (2, 3), value)
    loaded = pfa.load_image(image)
    assert (loaded.mode, loaded.size) == ("RGB", (2, 3))
    assert loaded.getpixel((1, 2)) == expected


def test_lab_is_converted_to_srgb():
    grey = pfa.load_image(Image.new("LAB", (1, 1), (136, 128, 128))).getpixel((0, 0))
    # L* = 136 / 2.55 = 53.33, neutral: sRGB 127 by the CIE definition.
    assert np.abs(np.array(grey) - 127).max() <= 1


def test_cmyk_follows_the_stated_formula():
    pixels = random_pixels(20, 20, 4)
    cmyk = Image.frombytes("CMYK", (20, 20), pixels.tobytes())
    paper = 255 - pixels.astype(float)
    by_hand = paper[..., :3] * paper[..., 3:] / 255
    assert np.abs(np.asarray(pfa.load_image(cmyk)) - by_hand).max() <= 1


@pytest.mark.parametrize("background", ["white", "black", (10, 200, 90), "#0ac85a"])
def test_alpha_is_composited_over_the_stated_background(background):
    pixels = random_pixels(40, 50, 4)
    colour = {"white": (255, 255, 255), "black": (0, 0, 0)}.get(background, (10, 200, 90))
    # Oracle: the definition of "over" in exact arithmetic.
    alpha = pixels[..., 3:].astype(float) / 255
    exact = pixels[..., :3] * alpha + np.array(colour) * (1 - alpha)
    loaded = np.asarray(pfa.load_image(Image.fromarray(pixels), background=background))
    assert np.abs(loaded - exact).max() <= 0.5
    # The hidden colour of transparent pixels does not come through.
    assert (loaded[pixels[..., 3] == 0] == colour).all()


def test_an_opaque_picture_does_not_depend_on_the_background():
    image = Image.fromarray(random_pixels(5, 5, 3))
    white, black = (pfa.load_image(image, background=colour) for colour in ("white", "black"))
    assert white.tobytes() == black.tobytes() == image.tobytes()
    glass = image.copy()
    glass.putalpha(128)
    white, black = (pfa.load_image(glass, background=colour) for colour in ("white", "black"))
    assert white.tobytes() != black.tobytes()


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [
        (None, [(10, 20, 30), (200, 100, 50)]),
        (1, [(10, 20, 30), (0, 0, 255)]),
        (b"\x00\xff", [(0, 0, 255), (200, 100, 50)]),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_a_palette_with_and_without_transparency(transparency, expected, from_file):
    image = palette_image(transparency)
    loaded = pfa.load_image(encoded(image) if from_file else image, background="blue")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == expected


@pytest.mark.parametrize(
    ("image", "transparent"),
    [
        (Image.fromarray(np.array([[5, 6]], dtype=np.uint8)), 5),
        (Image.fromarray(np.array([[300, 400]], dtype=np.uint16)), 300),
        (Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], dtype=np.uint8)), (1, 2, 3)),
    ],
)
def test_a_single_transparent_colour_of_a_png_is_transparent(image, transparent):
    loaded = pfa.load_image(encoded(image, transparency=transparent), keep_alpha=True)
    assert loaded.getchannel("A").tobytes() == b"\x00\xff"


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png_is_found_at_every_depth(depth):
    white = 2**depth - 1
    loaded = pfa.load_image(grey_png([1, white - 1, white], depth, white), keep_alpha=True)
    assert loaded.getchannel("A").tobytes()[2] == 0
    assert loaded.getchannel("A").tobytes()[0] == (0 if white == 1 else 255)
    assert loaded.getpixel((2, 0))[:3] == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_rounded():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    exact = np.round(values.astype(float) * 255 / 65535)
    for source in (Image.fromarray(values), encoded(Image.fromarray(values))):
        loaded = np.asarray(pfa.load_image(source))
        assert (loaded == exact[..., None]).all()
    as_integers = Image.fromarray(values.astype(np.int32))
    assert as_integers.mode == "I"
    assert (np.asarray(pfa.load_image(as_integers)) == exact[..., None]).all()


def test_twelve_bits_are_scaled_by_their_own_white():
    packed = bytes([0xFF, 0xF8, 0x00])  # 4095, 2048
    loaded = pfa.load_image(grey_tiff(2, 1, 12, 1, packed))
    assert [loaded.getpixel((x, 0))[0] for x in (0, 1)] == [255, 128]
    pgm = b"P5 2 1 4095\n" + bytes([0x0F, 0xFF, 0x08, 0x00])
    assert [pfa.load_image(pgm).getpixel((x, 0))[0] for x in (0, 1)] == [255, 128]


def test_a_tiff_whose_zero_is_white_is_turned_round():
    data = struct.pack("<HH", 0, 65535)
    for photometric, expected in ((1, [0, 255]), (0, [255, 0])):
        loaded = pfa.load_image(grey_tiff(2, 1, 16, photometric, data))
        assert [loaded.getpixel((x, 0))[0] for x in (0, 1)] == expected


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (Image.new("F", (2, 2)), r"floating-point numbers \(mode F\).*scale it to 0\.\.255"),
        (Image.new("I", (2, 2), 65536), r"whole numbers from 65536 to 65536 \(mode I\)"),
        (Image.new("I", (2, 2), -1), r"whole numbers from -1 to -1"),
        (Image.new("RGB", (0, 5)), r"no pixels \(0 x 5\)"),
    ],
)
def test_values_without_a_known_black_and_white_are_refused(image, match):
    with pytest.raises(ValueError, match=match):
        pfa.load_image(image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied_once(orientation, file_format):
    image = Image.fromarray(random_pixels(24, 16, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(image, file_format, exif=exif.tobytes(), **options)
    # Oracle: Pillow's own transposition.
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    loaded = pfa.load_image(data)
    assert loaded.size == ((24, 16) if orientation >= 5 else (16, 24))
    assert loaded.tobytes() == upright.tobytes()
    assert pfa.load_image(loaded).tobytes() == loaded.tobytes()
    opened = Image.open(io.BytesIO(data))
    assert pfa.load_image(opened).tobytes() == upright.tobytes()
    if file_format != "TIFF":
        as_stored = pfa.load_image(data, exif=False)
        assert as_stored.size == image.size
        assert pfa.load_image(as_stored).tobytes() == as_stored.tobytes()


def test_an_unknown_orientation_is_no_orientation():
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    assert pfa.load_image(encoded(Image.new("RGB", (3, 5)), exif=exif.tobytes())).size == (3, 5)


def test_damaged_exif_counts_as_upright_and_is_logged(caplog):
    data = encoded(Image.new("RGB", (16, 24), "red"), exif=b"Exif\0\0no TIFF in here")
    assert pfa.load_image(data).size == (16, 24)
    assert "EXIF data that cannot be read" in caplog.text


FORMATS = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "webp": ("WEBP", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "ppm": ("PPM", {}),
}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_short_is_an_error_wherever_it_is_cut(name, lenient, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    file_format, options = FORMATS[name]
    data = encoded(Image.fromarray(random_pixels(40, 50, 3)), file_format, **options)
    whole = pfa.load_image(data).tobytes()
    refused = 0
    for cut in [*range(0, len(data), len(data) // 20), *range(len(data) - 5, len(data))]:
        with warnings.catch_warnings():
            # Pillow warns of a cut TIFF directory before it refuses the file.
            warnings.simplefilter("ignore")
            with contextlib.suppress(ValueError):
                # What is missing may have been behind the pixels.
                assert pfa.load_image(data[:cut]).tobytes() == whole
                continue
        refused += 1
    assert refused >= 20
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_strictness_holds_in_all_threads_and_the_users_setting_comes_back(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(Image.fromarray(random_pixels(60, 60, 3)), "JPEG")
    accepted = []

    def load_often():
        for _ in range(20):
            try:
                accepted.append(pfa.load_image(data[: len(data) // 2]))
            except ValueError:
                pfa.load_image(data)

    threads = [threading.Thread(target=load_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted == []
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_keep_alpha_keeps_the_pictures_own_transparency():
    pixels = random_pixels(6, 7, 4)
    assert (np.asarray(pfa.load_image(Image.fromarray(pixels), keep_alpha=True)) == pixels).all()
    opaque = pfa.load_image(Image.new("L", (2, 2), 9), keep_alpha=True)
    assert (opaque.mode, opaque.getpixel((0, 0))) == ("RGBA", (9, 9, 9, 255))


def test_an_animation_gives_its_first_frame_and_an_open_image_the_one_it_stands_at():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pfa.load_image(data).getpixel((0, 0)) == (255, 0, 0)
    with Image.open(io.BytesIO(data)) as opened:
        opened.seek(1)
        assert pfa.load_image(opened).getpixel((0, 0)) == (0, 255, 0)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(random_pixels(3, 4, 3)),
        Image.fromarray(random_pixels(3, 4, 4)),
        Image.fromarray(random_pixels(3, 4)),
        palette_image(1),
        palette_image(b"\x00\x80"),
    ],
)
def test_a_loaded_image_is_new_and_the_input_is_unchanged(image):
    def state():
        palette = image.im.getpalette("RGBA", "RGBA") if image.mode == "P" else None
        return image.mode, image.size, image.tobytes(), dict(image.info), palette

    before = state()
    loaded = pfa.load_image(image, background="blue")
    loaded.paste((1, 2, 3), (0, 0, *loaded.size))
    assert state() == before
    assert loaded.info == {}


def test_path_text_bytes_and_stream_give_the_same(tmp_path):
    image = Image.fromarray(random_pixels(5, 6, 3))
    path = tmp_path / "ö 图.png"
    image.save(path)
    stream = io.BytesIO(path.read_bytes())
    stream.seek(3)
    for source in (path, str(path), path.read_bytes(), stream):
        assert pfa.load_image(source).tobytes() == image.tobytes()
    assert stream.tell() == 3


def test_what_cannot_be_read_is_named_with_its_reason(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(FileNotFoundError, match=r"gone\.png: there is no such file. Correct"):
        pfa.load_image(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"empty\.png: the file is empty \(0 bytes\)\. Replace"):
        pfa.load_image(empty)
    with pytest.raises(ValueError, match=r"text\.png: this is not an image file"):
        pfa.load_image(text)
    with pytest.raises(ValueError, match="this is a folder"):
        pfa.load_image(tmp_path)


@pytest.mark.parametrize("source", [None, 3, np.zeros((2, 2, 3), dtype=np.uint8), ["a.png"]])
def test_what_is_no_path_or_image_is_a_type_error(source):
    with pytest.raises(TypeError, match=r"`image` must be the path .* not \w+; .*fromarray"):
        pfa.load_image(source)


@pytest.mark.parametrize(
    "background", ["nocolour", (1, 2), (1, 2, 256), (1, 2, -1), (1.0, 2, 3), None, 7, "#ffffff80"]
)
def test_a_background_that_is_no_colour_is_an_error(background):
    with pytest.raises(ValueError, match=r"`background` must be \(red, green, blue\)"):
        pfa.load_image(Image.new("RGB", (1, 1)), background=background)
