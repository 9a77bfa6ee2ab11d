"""Images are opened by content, checked whole, made upright RGB, and kept where they may be."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fftpack import dct

from gen.datasets.images import MAX_PIXELS, BadImage, phash, prepare, shrink, square

RNG = np.random.default_rng(0)


def picture(height=40, width=60):
    """A smooth picture with a bright upper left corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    grey = 230 - 100 * rows / height - 100 * columns / width
    return np.stack([grey, grey * 0.8, 250 - grey], axis=2).astype(np.uint8)


def file(image, form, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def decoded(encoded):
    return cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def corners(image):
    """Mean brightness of the four quarters."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    halves = (slice(0, height), slice(height, None)), (slice(0, width), slice(width, None))
    return [[image[rows, columns].mean() for columns in halves[1]] for rows in halves[0]]


# ------------------------------------------------------------------------------ kept or not


@pytest.mark.parametrize(("form", "extension"), [("JPEG", "jpg"), ("PNG", "png")])
def test_plain_files_keep_their_bytes(form, extension):
    content = file(picture(), form)
    for short_side in (0, 40, 41):
        encoded = prepare(content, short_side)
        assert encoded.data == content
        assert (encoded.extension, encoded.width, encoded.height) == (extension, 60, 40)


@pytest.mark.parametrize(
    ("form", "options", "extension"),
    [
        ("GIF", {}, "png"),
        ("BMP", {}, "png"),
        ("TIFF", {}, "png"),
        ("TIFF", {"compression": "jpeg"}, "jpg"),
        ("WEBP", {"lossless": True}, "png"),
        ("WEBP", {"quality": 90}, "jpg"),
        ("JPEG2000", {}, "jpg"),
        ("PPM", {}, "png"),
        ("AVIF", {}, "jpg"),
    ],
)
def test_other_formats_become_png_where_they_lost_nothing_and_jpeg_elsewhere(
    form, options, extension
):
    encoded = prepare(file(picture(), form, **options), 0)
    assert encoded.extension == extension
    assert np.abs(decoded(encoded).astype(int) - picture()).mean() < 12


def test_an_image_is_what_its_content_is_whatever_its_pixels_are():
    exact = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert (decoded(prepare(file(exact, "PNG"), 0)) == exact).all()
    assert (decoded(prepare(file(exact, "BMP"), 0)) == exact).all()


# ------------------------------------------------------------------------------ RGB and upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_rotated_image_is_turned_upright(orientation, form):
    upright = Image.fromarray(picture())
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = upright.transpose(stored[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file(image, form, exif=exif)
    encoded = prepare(content, 0)
    assert (encoded.width, encoded.height) == (60, 40)
    assert np.abs(decoded(encoded).astype(int) - picture()).mean() < 5
    assert (encoded.data == content) == (orientation == 1)


def test_a_cmyk_jpeg_becomes_rgb():
    content = file(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    encoded = prepare(content, 0)
    assert Image.open(io.BytesIO(encoded.data)).mode == "RGB"
    assert np.abs(decoded(encoded).astype(int) - picture()).mean() < 8


def test_grey_and_palette_images_become_rgb():
    grey = prepare(file(Image.fromarray(picture()).convert("L"), "JPEG"), 0)
    assert Image.open(io.BytesIO(grey.data)).mode == "RGB"
    flat = np.zeros((8, 8, 3), np.uint8)
    flat[:, 4:] = (250, 10, 20)
    palette = prepare(file(Image.fromarray(flat).convert("P"), "PNG"), 0)
    assert np.abs(decoded(palette).astype(int) - flat).max() < 60  # the web palette is coarse
    assert Image.open(io.BytesIO(palette.data)).mode == "RGB"


def test_16_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.round(ramp / 257)
    for content in (cv2.imencode(".png", ramp)[1].tobytes(), file(Image.fromarray(ramp), "TIFF")):
        assert (decoded(prepare(content, 0)) == expected[:, :, None]).all()
    colour = cv2.imencode(".png", np.stack([ramp] * 3, axis=2))[1].tobytes()
    encoded = prepare(colour, 0)
    assert encoded.data != colour
    assert np.abs(decoded(encoded) - expected[:, :, None]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (6, 6), (200, 200, 200, 255))
    image.paste((200, 0, 0, 0), (0, 0, 3, 6))
    if mode in ("RGBA", "LA"):
        content = file(image.convert(mode), "PNG")
    else:  # one colour is declared transparent
        flat = Image.new("RGB", (6, 6), (200, 200, 200))
        flat.paste((0, 0, 0), (0, 0, 3, 6))
        shown = flat.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else flat
        transparent = shown.getpixel((0, 0))
        content = file(shown, "PNG", transparency=transparent)
    pixels = decoded(prepare(content, 0))
    assert (pixels[:, :3] == 255).all()
    assert np.abs(pixels[:, 3:].astype(int) - 200).max() <= 1


# ------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_truncated_file_is_refused(form, share):
    content = file(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    with pytest.raises(BadImage, match=r"damaged|not an image"):
        prepare(content[: int(share * len(content))], 0)


@pytest.mark.parametrize(("form", "missing"), [("JPEG", 4), ("JPEG", 20), ("PNG", 8), ("PNG", 20)])
def test_even_the_last_bytes_of_the_pixels_are_missed(form, missing):
    content = file(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    with pytest.raises(BadImage, match="damaged"):
        prepare(content[:-missing], 0)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_is_refused_with_the_number_of_its_frames(form):
    frames = [Image.fromarray(np.roll(picture(), 9 * shift, axis=1)) for shift in range(3)]
    content = file(frames[0], form, save_all=True, append_images=frames[1:])
    with pytest.raises(BadImage, match=r"^animated: 3 frames$"):
        prepare(content, 0)


def test_a_jpeg_with_a_preview_behind_it_is_an_image():
    frames = [Image.fromarray(picture()), Image.fromarray(picture(20, 30))]
    encoded = prepare(file(frames[0], "MPO", save_all=True, append_images=frames[1:]), 0)
    assert (encoded.width, encoded.height, encoded.extension) == (60, 40, "jpg")


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\xff\xd8\xff", bytes(100), b"GIF89a"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(BadImage) as caught:
        prepare(content, 0)
    assert "0x" not in str(caught.value)  # an address would differ every time


def test_nothing_is_refused_as_empty():
    with pytest.raises(BadImage, match=r"^empty: 0 bytes$"):
        prepare(b"", 0)


def test_postscript_is_not_opened_because_that_would_run_a_program():
    content = file(Image.fromarray(picture()), "EPS")
    with pytest.raises(BadImage, match="not an image of a known format"):
        prepare(content, 0)


@pytest.mark.parametrize("side", [9500, 60000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert side * side > MAX_PIXELS
    with pytest.raises(BadImage, match="too large"):
        prepare(b"\x89PNG\r\n\x1a\n" + chunks, 0)


def test_floating_point_pixels_have_no_known_range():
    with pytest.raises(BadImage, match="floating-point"):
        prepare(file(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_an_image_or_refused_but_never_a_crash(place, noise):
    content = bytearray(file(picture(), "JPEG"))
    place %= len(content)
    content[place : place + len(noise)] = noise
    try:
        encoded = prepare(bytes(content), 0)
    except BadImage:
        return
    assert decoded(encoded).shape == (encoded.height, encoded.width, 3)


# ------------------------------------------------------------------------------ sizes


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60))
def test_a_shrunk_image_keeps_its_shape_and_none_is_enlarged(height, width, short_side):
    image = np.zeros((height, width, 3), np.uint8)
    small = shrink(image, short_side)
    if min(height, width) <= short_side:
        assert small is image
    else:
        assert min(small.shape[:2]) == short_side
        assert abs(max(small.shape[:2]) - max(height, width) * short_side / min(height, width)) <= 1


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(shrink(stripes, 16).astype(int) - 127).max() <= 1
    assert np.abs(square(stripes, 16).astype(int) - 127).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (90, 20), (3, 3), (8, 31)])
def test_a_square_is_cut_from_the_centre(height, width):
    assert square(np.zeros((height, width, 3), np.uint8), 8).shape == (8, 8, 3)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    assert (square(wide, 10) == 200).all()
    assert (square(wide, 40) == 200).all()
    assert (square(wide.transpose(1, 0, 2), 10) == 200).all()


def test_a_large_jpeg_is_made_smaller_and_a_large_png_stays_lossless():
    assert prepare(file(picture(400, 600), "JPEG"), 64).extension == "jpg"
    encoded = prepare(file(picture(400, 600), "PNG"), 64)
    assert (encoded.extension, encoded.width, encoded.height) == ("png", 96, 64)
    assert (decoded(encoded) == shrink(picture(400, 600), 64)).all()


# ------------------------------------------------------------------------------ hashes


def published_phash(image):
    """The definition of imagehash.phash (hash_size 8, highfreq_factor 4), restated bit by bit."""
    grey = Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    spectrum = dct(dct(np.asarray(grey), axis=0), axis=1)
    low = [spectrum[row, column] for row in range(8) for column in range(8)]
    middle = (sorted(low)[31] + sorted(low)[32]) / 2
    return int("".join("1" if value > middle else "0" for value in low), 2)


def test_hashes_are_those_of_the_published_definition():
    images = [
        picture(),
        RNG.integers(0, 256, (50, 31, 3), dtype=np.uint8),
        RNG.integers(0, 256, (7, 90, 3), dtype=np.uint8),
        picture()[::-1, ::-1],
    ]
    assert [phash(image) for image in images] == [published_phash(image) for image in images]


def test_a_hash_survives_resizing_and_compression_and_tells_images_apart():
    soft = [cv2.GaussianBlur(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8), (0, 0), 6)] * 1
    soft += [cv2.GaussianBlur(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8), (0, 0), 6)]
    first, other = map(phash, soft)
    encoded = prepare(file(soft[0], "JPEG", quality=60), 48)
    assert (encoded.phash ^ first).bit_count() <= 6
    assert (first ^ other).bit_count() > 12


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("colour", [0, 77, 255, (200, 10, 60)])
def test_a_flat_image_has_no_hash_because_all_of_them_would_share_one(colour, form):
    flat = np.full((30, 40, 3), colour, np.uint8)
    assert prepare(file(flat, form), 0).phash is None
    flat[:, :20] ^= 64
    assert prepare(file(flat, form), 0).phash is not None
