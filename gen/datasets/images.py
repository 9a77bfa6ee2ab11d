"""Images that other people made: checked, turned upright, made RGB, shrunk, hashed.

An image is opened by its content, whatever its name says, and decoded whole. Its bytes are kept
where nothing has to change; otherwise it is encoded again: as PNG where the source was lossless,
as JPEG elsewhere.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import IO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.fft import dctn

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""formats that are opened; others (EPS, for one) would start programs or are no photographs"""
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
)
"""endings of file names that may hold an image"""
KEPT = {"JPEG": "jpg", "PNG": "png"}
"""formats whose bytes may be kept, and the extension of theirs"""
LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")
MAX_PIXELS = 89_478_485
"""of one image; more is taken for a decompression bomb (the limit at which Pillow warns)"""
JPEG_QUALITY = 95
HASH_SIDE = 8
HASH_PIXELS = 4 * HASH_SIDE


class BadImage(Exception):
    """An image that cannot be taken; the message is the reason."""


@dataclass(frozen=True)
class Encoded:
    """An image that is ready for a shard.

    Attributes:
        data: encoded, RGB, upright.
        extension: `jpg` or `png`.
        width, height: pixels.
        phash: 64-bit perceptual hash; None of a flat image.
    """

    data: bytes
    extension: str
    width: int
    height: int
    phash: int | None


def prepare(content: bytes, short_side: int) -> Encoded:
    """Check an encoded image and bring it into the form in which datasets keep images.

    Args:
        content: the file.
        short_side: pixels that the short side shall have at most; 0: any number.

    Raises:
        BadImage: it is no image, damaged, animated, or too large.
    """
    source = _open(io.BytesIO(content), animated=False)
    try:
        image, plain = _upright_rgb(source), _is_plain(source, content)
    except BadImage:
        raise
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        raise BadImage(f"damaged: {_words(error)}") from None
    shrunk = shrink(image, short_side)
    if plain and shrunk is image and _decodes_to(content, image.shape):
        data, extension = content, KEPT[str(source.format)]
    else:
        extension = "jpg" if _is_lossy(source, content) else "png"
        data = _encode(shrunk, extension)
    height, width = shrunk.shape[:2]
    return Encoded(data, extension, width, height, phash(shrunk))


def decode_first(file: IO[bytes]) -> np.ndarray:
    """Decode an image as datasets do, but of an animated one the first frame.

    Args:
        file: an encoded image, at its beginning; only its header is read of what is refused by it.

    Returns:
        uint8 RGB [H, W, 3], upright.

    Raises:
        BadImage: it is no image, damaged, or too large.
    """
    source = _open(file, animated=True)
    try:
        return _upright_rgb(source)
    except BadImage:
        raise
    except Exception as error:  # as in `prepare`
        raise BadImage(f"damaged: {_words(error)}") from None


def shrink(image: np.ndarray, short_side: int) -> np.ndarray:
    """Resize so that the short side has `short_side` pixels; never enlarge (0: never resize)."""
    height, width = image.shape[:2]
    if not 0 < short_side < min(height, width):
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def square(image: np.ndarray, pixels: int) -> np.ndarray:
    """The centre square of an image, resized to `pixels`; the image itself where it is that."""
    height, width = image.shape[:2]
    if height == width == pixels:
        return image
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    centre = image[top : top + side, left : left + side]
    if side == pixels:
        return centre
    way = cv2.INTER_AREA if pixels < side else cv2.INTER_CUBIC  # antialiased, or smooth
    return cv2.resize(centre, (pixels, pixels), interpolation=way)


def phash(image: np.ndarray) -> int | None:
    """Perceptual hash (64 bits) that hardly changes when an image is resized or compressed.

    The 8 × 8 lowest frequencies (DCT-II) of a 32 × 32 grey image, each compared with their median:
    the bits of `imagehash.phash`, row by row, the highest bit first. A grey image of one brightness
    has none: all flat images, whatever their colours, would share one hash.

    Args:
        image: uint8 RGB [H, W, 3] of any size.
    """
    size = (HASH_PIXELS, HASH_PIXELS)
    small = Image.fromarray(image).convert("L").resize(size, Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=np.float64)
    if grey.min() == grey.max():
        return None
    low = dctn(grey)[:HASH_SIDE, :HASH_SIDE].ravel()
    return int(np.packbits(low > np.median(low)).view(">u8")[0])


def _open(file: IO[bytes], *, animated: bool) -> Image.Image:
    """Read the header, and refuse what must not be decoded, be it because it is animated."""
    if not file.read(1):
        raise BadImage("empty: 0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, or what is checked below
            source = _opened(file)
            # MPO: a JPEG of which some cameras append a preview
            one = animated or source.format == "MPO"
            frames = 1 if one else int(getattr(source, "n_frames", 1))
            if source.format == "PNG" and source.width * source.height <= MAX_PIXELS:
                source.verify()  # the checksums of its chunks, and whether the last is there
                source = _opened(file)
    except UnidentifiedImageError:
        raise BadImage("not an image of a known format") from None
    except Image.DecompressionBombError:
        raise BadImage(f"too large: more than {2 * MAX_PIXELS} pixels") from None
    except Exception as error:  # as above
        raise BadImage(f"damaged: {_words(error)}") from None
    if frames > 1:
        raise BadImage(f"animated: {frames} frames")
    if source.width * source.height > MAX_PIXELS:
        size = f"{source.width} × {source.height}"
        raise BadImage(f"too large: {size} pixels, more than {MAX_PIXELS}")
    return source


def _opened(file: IO[bytes]) -> Image.Image:
    file.seek(0)
    return Image.open(file, formats=FORMATS)


def _upright_rgb(source: Image.Image) -> np.ndarray:
    """Decode whole; uint8 RGB [H, W, 3]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.load()
        image = ImageOps.exif_transpose(source)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float64) / 257  # 65535 becomes 255
        image = Image.fromarray(grey.round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise BadImage(f"pixels of {'32-bit' if image.mode == 'I' else 'floating-point'} numbers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _is_plain(source: Image.Image, content: bytes) -> bool:
    """Whether the file is an 8-bit RGB JPEG or PNG that stands upright and hides nothing."""
    return (
        source.format in KEPT
        and source.mode == "RGB"
        and not source.has_transparency_data
        and source.getexif().get(0x0112, 1) == 1  # orientation
        and not (source.format == "PNG" and content[24] > 8)  # bits per channel
    )


def _decodes_to(content: bytes, shape: tuple[int, ...]) -> bool:
    """Whether the decoder that training uses sees the same shape."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return image is not None and image.shape == shape


def _is_lossy(source: Image.Image, content: bytes) -> bool:
    if source.format == "WEBP":  # the first chunk of pixels tells
        lossless, lossy = content.find(b"VP8L"), content.find(b"VP8 ")
        return lossless < 0 or 0 <= lossy < lossless
    return source.format in LOSSY or source.info.get("compression") == "jpeg"  # the last: TIFF


def _encode(image: np.ndarray, extension: str) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if extension == "jpg" else []
    return cv2.imencode(f".{extension}", image[:, :, ::-1], quality)[1].tobytes()


def _words(error: Exception) -> str:
    """What a decoder says, without addresses in memory, which would differ every time."""
    text = re.sub(r"<[^>]*0x[^>]*>", "", str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__
