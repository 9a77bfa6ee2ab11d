"""Whatever lies in a folder is read as an image of it would be seen, or listed with a reason."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from planted_photos import GREEN, PIXELS, RED, WHITE, photo

from gen.datasets.images import MAX_PIXELS, BadImage
from gen.use import photos
from gen.use.photos import Skipped, find_files, read_batches, read_photo, shown, tell_skipped
from splits.errors import UserError


def png_header(width, height):
    """A PNG that says how large it is, and has no pixels."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def colours(image):
    """The colour at the left and at the right of an image."""
    middle = image.shape[0] // 2
    return tuple(image[middle, 1]), tuple(image[middle, -2])


def test_names_with_spaces_and_of_any_alphabet_are_read(tmp_path):
    names = ["a b.png", "Straße.png", "写真.png", "-n.png", "q\"'&<.png"]
    for name in names:
        photo(tmp_path / name)
    files, skipped = find_files([tmp_path])
    assert sorted(path.name for path in files) == sorted(names)
    assert not skipped
    (batch,) = read_batches(files, PIXELS, 10)
    assert batch.images.shape == (5, PIXELS, PIXELS, 3)


def test_a_photo_lies_as_its_exif_says(tmp_path):
    image = Image.new("RGB", (40, 20), RED)
    image.paste(GREEN, (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)
    image.save(tmp_path / "b.png")
    assert colours(read_photo(tmp_path / "a.png")) == (GREEN, RED)
    assert colours(read_photo(tmp_path / "b.png")) == (RED, GREEN)


def test_only_the_first_frame_of_an_animation_counts(tmp_path):
    first, second = Image.new("RGB", (9, 9), RED), Image.new("RGB", (9, 9), GREEN)
    for name in ("a.gif", "a.webp", "a.png", "a.tiff"):
        options = {"lossless": True} if name == "a.webp" else {}
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        assert colours(read_photo(tmp_path / name)) == (RED, RED), name


@pytest.mark.parametrize(
    ("mode", "ending", "colour", "seen"),
    [
        ("CMYK", "jpg", (0, 0, 0, 0), WHITE),
        ("RGBA", "png", (255, 0, 0, 0), WHITE),  # nothing of it is to be seen
        ("LA", "png", (0, 255), (0, 0, 0)),
        ("L", "jpg", 128, (128, 128, 128)),
        ("1", "png", 1, WHITE),
        ("I;16", "png", 65535, WHITE),
        ("P", "gif", 0, (0, 0, 0)),
    ],
)
def test_every_kind_of_pixels_becomes_rgb(tmp_path, mode, ending, colour, seen):
    path = tmp_path / f"a.{ending}"
    Image.new(mode, (9, 9), colour).save(path)
    image = read_photo(path)
    assert image.shape == (9, 9, 3)
    assert np.abs(image[4, 4].astype(int) - seen).max() <= 1


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path):
    whole = photo(tmp_path / "whole.jpg", size=(200, 200), quality=95).read_bytes()
    (tmp_path / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    files, skipped = find_files([tmp_path])
    (batch,) = read_batches(files, PIXELS, 10)
    reasons = {path.name: reason for path, reason in [*skipped, *batch.skipped]}
    assert [files[place].name for place in batch.places] == ["whole.jpg"]
    assert "truncated" in reasons.pop("broken.jpg")
    assert reasons == {
        "empty.jpg": "empty: 0 bytes",
        "text.jpg": "not an image of a known format",
        "phone.heic": "not an image of a known format: HEIC, convert it to JPEG",
        "link.jpg": "no regular file, or a link to nothing",
        "pipe.jpg": "no regular file, or a link to nothing",
    }


def test_a_huge_image_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr("gen.datasets.images._upright_rgb", lambda image: pytest.fail("decoded"))
    for width, height in ((MAX_PIXELS // 1000 + 1, 1000), (60_000, 60_000)):
        (tmp_path / "bomb.png").write_bytes(png_header(width, height))
        with pytest.raises(BadImage, match="too large"):
            read_photo(tmp_path / "bomb.png")


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT | os.O_WRONLY))
    files, (skipped,) = find_files([tmp_path])
    assert not files
    assert skipped.reason == "its name is not in UTF-8"
    assert shown(skipped.path).endswith("\\xff.png")


def test_a_terminal_is_shown_no_control_characters(tmp_path):
    assert shown(tmp_path / "a\x1b[2J\n.png") == f"{tmp_path}/a\\x1b[2J\\n.png"


def test_folders_are_walked_without_what_is_hidden_and_the_index(tmp_path):
    for name in ("b/c/1.png", "a.png", ".hidden/2.png", "b/.3.png", "mine/4.png"):
        photo(tmp_path / name)
    files, _ = find_files([tmp_path], without=tmp_path / "mine")
    assert [str(path.relative_to(tmp_path)) for path in files] == ["a.png", "b/c/1.png"]


def test_links_to_folders_are_followed_once(tmp_path):
    photo(tmp_path / "photos" / "1.png")
    photo(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "same").symlink_to(tmp_path / "elsewhere")
    files, skipped = find_files([tmp_path / "photos"])
    assert [path.name for path in files] == ["1.png", "2.png"]
    assert not skipped


def test_a_file_that_is_named_twice_counts_once_even_if_hidden(tmp_path):
    path, hidden = photo(tmp_path / "1.png"), photo(tmp_path / ".2.png")
    assert find_files([tmp_path, path, hidden])[0] == [path, hidden]


def test_a_place_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="there is no file or folder"):
        find_files([tmp_path / "none"])


def test_batches_keep_the_order_of_the_files(tmp_path):
    paths = [photo(tmp_path / f"{grey}.png", (grey, grey, grey)) for grey in range(0, 70, 10)]
    paths.insert(3, tmp_path / "none.png")
    batches = list(read_batches(paths, PIXELS, 3))
    assert [batch.places for batch in batches] == [[0, 1, 2], [4, 5], [6, 7]]
    read = np.concatenate([batch.images for batch in batches])
    assert read[:, 0, 0, 0].tolist() == list(range(0, 70, 10))
    assert [skipped.path.name for batch in batches for skipped in batch.skipped] == ["none.png"]


def test_the_terminal_names_some_and_counts_all(tmp_path):
    skipped = [Skipped(tmp_path / f"{number}.png", "torn") for number in range(photos.SHOWN + 2)]
    lines = tell_skipped(skipped, 100)
    assert lines[0] == f"{photos.SHOWN + 2} of 100 files could not be read:"
    assert lines[-1] == "  … and 2 more"
    assert len(lines) == photos.SHOWN + 2
    assert tell_skipped([], 100) == []


def test_a_command_that_read_nothing_is_a_mistake(tmp_path):
    for skipped in ([], [Skipped(tmp_path / "a.png", "torn")]):
        with pytest.raises(UserError, match="no image that could be read"):
            tell_skipped(skipped, len(skipped))
