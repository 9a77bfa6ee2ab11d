"""What was found is shown with its name, whatever that is, and whether or not it is still there."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image
from planted_photos import GREEN, RED, photo

from gen.use.pictures import GAP, PER_ROW, SIDE, write_grid, write_page

NAMES = ["a/red.png", "gone.png", 'alert(1)<|script>&".png', "grün\n.png"]


@pytest.fixture
def found(tmp_path):
    """Four images, the second of which is there no more."""
    for name in NAMES:
        photo(tmp_path / name, RED if "red" in name else GREEN, size=(40, 20))
    (tmp_path / "gone.png").unlink()
    return pl.DataFrame({"rank": [1, 2, 3, 4], "path": NAMES, "similarity": [0.9, 0.5, 0.4, 0.1]})


def test_a_page_needs_nothing_else_and_escapes_names(found, tmp_path):
    write_page(found, tmp_path, tmp_path / "p.html", title="<b>cats</b>", note="by a model")
    text = (tmp_path / "p.html").read_text()
    assert "<b>" not in text
    assert "alert(1)&lt;|script&gt;&amp;&#34;.png" in text
    assert "grün\\n.png" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    images = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert len(images) == 3
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(images[0]))))
    assert image.shape == (SIDE // 2, SIDE, 3)
    assert np.abs(image.mean(axis=(0, 1)) - RED).max() < 3


def test_a_grid_has_an_image_in_every_place_that_is_filled(found, tmp_path):
    many = pl.concat([found, found])
    write_grid(many, tmp_path, tmp_path / "g.png")
    sheet = np.asarray(Image.open(tmp_path / "g.png"))
    assert sheet.shape[1] == GAP + PER_ROW * (SIDE + GAP)
    middle = GAP + SIDE // 2
    assert sheet[middle, middle].tolist() == list(RED)
    assert sheet[middle, middle + SIDE + GAP].tolist() == [0xEE] * 3  # of the one that is gone
    assert sheet[middle, middle + 2 * (SIDE + GAP)].tolist() == list(GREEN)
