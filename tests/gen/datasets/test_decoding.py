"""An image has the same pixels on every machine, with the faster JPEG decoder and without."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gen.datasets import decoding
from gen.datasets.decoding import decode

RNG = np.random.default_rng(0)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Soft colours with some noise, as photographs have them."""
    coarse = RNG.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(soft + RNG.integers(-9, 10, soft.shape), 0, 255).astype(np.uint8)


def file(image: Image.Image, form: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decode_without(data: bytes) -> np.ndarray:
    """What a machine without simplejpeg sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "simplejpeg", None)
        return decode(data)


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """How often simplejpeg decoded."""
    simplejpeg = pytest.importorskip("simplejpeg")
    noted: list[str] = []
    original = simplejpeg.decode_jpeg

    def noting(*args, **options):
        noted.append("called")
        return original(*args, **options)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", noting)
    return noted


@pytest.mark.parametrize("size", [(64, 64), (63, 61), (1, 1), (2, 3), (7, 33), (255, 100)])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1", "grey", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_both_decoders_see_the_same_pixels(calls, size, sampling, progressive):
    image, options = Image.fromarray(picture(*size)), {}
    if sampling in ("grey", "CMYK"):
        image = image.convert("L" if sampling == "grey" else "CMYK")
    else:
        options = {"keep_rgb": True} if sampling == "RGB" else {"subsampling": sampling}
    data = file(image, quality=int(RNG.integers(20, 98)), progressive=progressive, **options)
    pixels = decode(data)
    assert calls == ["called"]
    assert pixels.shape == (*size, 3)
    assert (pixels == decode_without(data)).all()
    if sampling != "CMYK":  # which has several conversions to RGB
        assert (pixels == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


PICTURE = picture()
JPEG = file(Image.fromarray(PICTURE), quality=90)


def outcome(decoder, data: bytes) -> bytes | None:
    try:
        return decoder(data).tobytes()
    except ValueError:
        return None


@settings(max_examples=60)
@given(place=st.integers(0, 10**6), noise=st.binary(min_size=1, max_size=4), cut=st.booleans())
def test_a_damaged_jpeg_has_the_same_pixels_or_none_with_both(place, noise, cut):
    data = bytearray(JPEG)
    place %= len(data)
    data[place : len(data) if cut else place + len(noise)] = b"" if cut else noise
    assert outcome(decode, bytes(data)) == outcome(decode_without, bytes(data))


def test_a_lossless_image_comes_back_as_it_was():
    for form in ("PNG", "BMP", "TIFF"):
        assert (decode(file(Image.fromarray(PICTURE), form)) == PICTURE).all()


@pytest.mark.parametrize("decoder", [decode, decode_without])
def test_exif_turns_an_image_whatever_is_installed(decoder):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    plain, turned = (file(Image.fromarray(PICTURE), **more) for more in ({}, {"exif": exif}))
    assert (decoder(turned) == decoder(plain)[::-1, ::-1]).all()


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff", bytes(100)])
@pytest.mark.parametrize("decoder", [decode, decode_without])
def test_what_is_no_image_is_an_error(decoder, data):
    with pytest.raises(ValueError):  # noqa: PT011 (its words are the decoder's)
        decoder(data)
