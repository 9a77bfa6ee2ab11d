"""Text is drawn as CLIPPO draws it: cut to its ink, row by row; cut off only where one asks."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen.config import load_config
from gen.models.rendering import (
    GROUND,
    INK,
    Renderer,
    renderer_of,
    smallest_canvas,
    warn_of_cut,
)
from splits.errors import UserError

# columns of ink (of 8 or 16), the same in all rows but the first and the last
GLYPHS = {
    "a": "..######",  # 7 columns with the one left of it
    "b": "########",  # nothing left of it: 8 columns
    "i": ".....#..",  # 4 columns, the smallest width
    ".": ".......#",  # its 4 columns end in the empty half
    "w": "################",  # 16 columns
    "|": "...............#",  # 2 columns: the glyph ends before the smallest width
    " ": "........",
}
WIDTHS = {"a": 7, "b": 8, "i": 4, ".": 4, "w": 16, "|": 2, " ": 4}
INK_OF = {"a": ".######", "b": "########", "i": ".#..", ".": ".#..", "w": "#" * 16, "|": ".#"}
BOX_COLUMNS = ".#....#"
TRUETYPE = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"
PANGRAM = "the quick brown fox jumps over the lazy dog. " * 12


def hex_line(character: str, columns: str) -> str:
    row = f"{int(columns.replace('.', '0').replace('#', '1'), 2):0{len(columns) // 4}X}"
    empty = "0" * len(row)
    return f"{ord(character):04X}:{empty}{row * 14}{empty}\n"


@pytest.fixture
def font(tmp_path):
    path = tmp_path / "tiny.hex"
    path.write_text("".join(hex_line(*glyph) for glyph in GLYPHS.items()))
    return str(path)


def picture(canvas: torch.Tensor) -> list[str]:
    """The middle of every text row, `#` for ink, without the ground at its end."""
    assert set(canvas.unique().tolist()) <= {INK, GROUND}
    rows = canvas[8::16].numpy() == INK
    return ["".join(".#"[int(ink)] for ink in row).rstrip(".") for row in rows]


def test_every_glyph_is_cut_to_its_ink_with_one_column_left_of_it(font):
    for name, columns in INK_OF.items():
        (line, *others) = picture(Renderer(64, font).encode([name + "b"])[0])
        assert line == columns + "#" * 8
        assert others == [""] * 3


def test_a_space_is_as_wide_as_the_narrowest_letter(font):
    assert picture(Renderer(64, font).encode(["b b"])[0])[0] == "########....########"


def test_text_is_black_on_grey_and_keeps_its_rows(font):
    canvas = Renderer(64, font).encode(["bb"])[0]
    assert canvas.dtype == torch.uint8
    assert canvas.shape == (64, 64)
    expected = torch.full((64, 64), 127, dtype=torch.uint8)
    expected[1:15, :16] = 0
    assert torch.equal(canvas, expected)


def test_a_row_ends_where_the_width_reaches_the_canvas_less_the_widest_letter(font):
    # 64 - 8 = 56 columns: the seventh letter reaches them and begins a row, the fourteenth one too
    lines = picture(Renderer(64, font).encode(["b" * 14])[0])
    assert [len(line) // 8 for line in lines] == [6, 7, 1, 0]
    # 64 - 16 = 48: w, whose end reaches them, begins a row
    lines = picture(Renderer(64, font).encode(["bbbb" + "w" + "b"])[0])
    assert lines == ["#" * 32, "#" * 24, "", ""]


def test_words_are_cut_between_any_two_letters(font):
    lines = picture(Renderer(64, font).encode(["b bbbbbbb"])[0])
    assert [len(line) for line in lines] == [52, 16, 0, 0]


@given(text=st.text("abi.w| ", max_size=24), pixels=st.sampled_from([64, 80, 128]))
def test_letters_stand_side_by_side_in_the_row_of_their_end(text, pixels, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "law.hex"
    if not path.exists():
        path.write_text("".join(hex_line(*glyph) for glyph in GLYPHS.items()))
    expected, done = [""] * (pixels // 16), 0
    for name in text:
        done += WIDTHS[name]
        row = int(done / (pixels - max(WIDTHS[other] for other in text)))
        if row >= len(expected):
            with pytest.raises(UserError, match="does not fit"):
                Renderer(pixels, str(path)).encode([text])
            return
        expected[row] += INK_OF.get(name, "....")
    lines = picture(Renderer(pixels, str(path)).encode([text])[0])
    assert lines == [line.rstrip(".") for line in expected]


# Hand-made glyphs of 16 rows, no two rows alike in all of them, so that nothing may be mirrored,
# shifted or turned unseen; what is drawn of them, and the box, are written out once more below.
HAND_MADE = {
    "l": ["........"] + [".#......"] * 13 + ["........", "#......."],
    "7": ["..####.."] + [".....#.."] * 14 + ["....#..."],
    "-": ["........"] * 8 + ["..#####."] + ["........"] * 7,
    " ": ["........"] * 16,
}
CUT_TO_INK = {
    "l": ["...."] + [".#.."] * 13 + ["....", "#..."],  # its ink begins in column 0: nothing left
    "7": [".####"] + ["....#"] * 14 + ["...#."],
    "-": ["......"] * 8 + [".#####"] + ["......"] * 7,
    " ": ["...."] * 16,
    "?": [".......", ".......", ".######"] + [".#....#"] * 9 + [".######"] + ["......."] * 3,
}


def by_the_rule(text, pixels):
    """The canvas, row ⌊w / (S − m)⌋ for every letter, letter by letter and pixel by pixel."""
    letters = [CUT_TO_INK.get(name, CUT_TO_INK["?"]) for name in text]
    widest, done, used = max(len(letter[0]) for letter in letters), 0, {}
    canvas = [[GROUND] * pixels for _ in range(pixels)]
    for letter in letters:
        done += len(letter[0])
        row = done // (pixels - widest)
        if row < pixels // 16:
            left = used.get(row, 0)
            for y, line in enumerate(letter):
                for x, mark in enumerate(line):
                    canvas[16 * row + y][left + x] = INK if mark == "#" else GROUND
            used[row] = left + len(letter[0])
    return torch.tensor(canvas, dtype=torch.uint8)


@pytest.fixture
def hand_made(tmp_path):
    path = tmp_path / "hand.hex"
    lines = []
    for name, rows in HAND_MADE.items():
        code = "".join(f"{int(row.replace('.', '0').replace('#', '1'), 2):02X}" for row in rows)
        lines.append(f"{ord(name):04X}:{code}\n")
    path.write_text("".join(lines))
    return str(path)


@pytest.mark.parametrize("pixels", [64, 72, 96])
@pytest.mark.parametrize("text", ["l7-", "7 l?-", "l" * 30, "7-" * 12, "-?7l " * 5, "?" * 20])
def test_every_pixel_is_where_the_rule_has_it(hand_made, text, pixels):
    assert torch.equal(Renderer(pixels, hand_made).encode([text])[0], by_the_rule(text, pixels))


@pytest.mark.parametrize("text", ["-?7l " * 20, "l" * 61, "7" * 1000, "l" * 768 + "-"])
def test_where_texts_are_cut_the_rows_that_there_is_no_room_for_are_left_off(hand_made, text):
    with pytest.raises(UserError, match=r"(?s)does not fit.*cut_texts"):
        Renderer(64, hand_made).encode([text])
    drawn = Renderer(64, hand_made, cut=True).encode([text])[0]
    assert torch.equal(drawn, by_the_rule(text[:768], 64))


def test_a_letter_after_the_768th_is_not_looked_at(hand_made):
    # a wide last letter would shorten all rows
    renderer = Renderer(64, hand_made, cut=True)
    texts = ["l" * 768, "l" * 768 + "?", "l" * 767 + "?"]
    same, beyond, within = renderer.encode(texts)
    assert torch.equal(same, beyond)
    assert not torch.equal(same, within)
    assert [Renderer(640, hand_made, cut=True).fits(text) for text in texts] == [True, False, True]


def test_texts_that_fit_are_drawn_alike_whether_others_are_cut_or_not():
    texts = ["a cat, image", "", "painting of an adhesive bandage"]
    plain, cutting = (Renderer(64, "unifont", cut=cut) for cut in (False, True))
    assert torch.equal(plain.encode(texts), cutting.encode(texts))
    assert all(renderer.fits(text) for renderer in (plain, cutting) for text in texts)


def test_texts_that_are_cut_are_told_once_with_their_number_and_the_longest():
    texts = ["a cat", PANGRAM[:80], PANGRAM]
    config = load_config("models", "clippo-tiny", ["cut_texts=true"])
    with pytest.warns(UserWarning, match="do not fit on a canvas") as caught:
        warn_of_cut(renderer_of(config, 64), texts, "captions")
    (warning,) = caught
    told = str(warning.message)
    assert told.startswith("2 of 3 captions do not fit on a canvas of 64 × 64 pixels")
    assert f"the longest has {len(PANGRAM)} characters: '{PANGRAM[:80]}…'" in told


def test_nothing_is_told_where_nothing_is_cut(recwarn):
    warn_of_cut(Renderer(64, "unifont", cut=True), ["a cat"], "captions")
    warn_of_cut(Renderer(64, "unifont"), [PANGRAM], "captions")  # an error elsewhere
    assert not recwarn.list


def test_a_text_that_does_not_fit_names_the_smallest_canvas_that_it_fits_on(font):
    # 64: 56 columns a row, four rows end before 224 of them; 28 letters reach 224
    assert Renderer(64, font).encode(["b" * 27]).shape == (1, 64, 64)
    with pytest.raises(UserError, match=r"(?s)'b{28}' does not fit.*4 rows.*pixels=80 "):
        Renderer(64, font).encode(["b", "b" * 28])
    assert Renderer(80, font).encode(["b" * 28]).shape == (1, 80, 80)
    assert smallest_canvas("b" * 27, font) == 64
    assert smallest_canvas("", font) == 64


@pytest.mark.parametrize("count", [30, 100, 300, 540])
def test_the_smallest_canvas_holds_the_text_and_the_one_before_does_not(count):
    pixels = smallest_canvas(PANGRAM[:count], "unifont")
    Renderer(pixels, "unifont").encode([PANGRAM[:count]])
    if pixels > 64:
        with pytest.raises(UserError, match=f"pixels={pixels} "):
            Renderer(pixels - 16, "unifont").encode([PANGRAM[:count]])


@pytest.mark.parametrize("pixels", [0, 32, 63])
def test_a_canvas_that_is_too_small_for_text_is_refused_with_the_reason(pixels):
    with pytest.raises(UserError, match=rf"(?s){pixels} × {pixels}.*64 × 64.*16 pixels high"):
        Renderer(pixels, "unifont")


def test_upper_case_letters_are_drawn_as_lower_case_ones():
    upper, lower = Renderer(96, "unifont").encode(["A Çat, PHOTO", "a çat, photo"])
    assert torch.equal(upper, lower)
    assert len(Renderer(96, "unifont").encode(["cat", "car", "cat."]).unique(dim=0)) == 3


def test_unknown_characters_are_boxes_and_counted(font):
    renderer = Renderer(64, font)
    expected = "########" + BOX_COLUMNS + "########"
    assert picture(renderer.encode(["b東b"])[0])[0] == expected
    assert renderer.unknown_glyphs(["b東b\n", "東Xb"]) == {"東": 2, "\n": 1, "x": 1}
    assert Renderer(64, "unifont").unknown_glyphs(["Ça va? – “œ” 5 €"]) == {}


def test_the_letters_of_unifont_look_like_letters():
    canvas = Renderer(64, "unifont").encode(["Hi"])[0, :16, :13].numpy() == INK
    assert ["".join(".#"[int(ink)] for ink in row) for row in canvas] == [
        ".............",
        ".............",
        ".............",
        ".#........#..",
        ".#........#..",
        ".#...........",
        ".#.###...##..",
        ".##...#...#..",
        ".#....#...#..",
        ".#....#...#..",
        ".#....#...#..",
        ".#....#...#..",
        ".#....#...#..",
        ".#....#.#####",
        ".............",
        ".............",
    ]


def test_a_truetype_font_is_drawn_in_black_within_the_rows():
    renderer = Renderer(64, str(TRUETYPE))
    texts = ["gjpq", "ÄÖÜÉ", "i", " ", "W" * 12]
    canvases = renderer.encode(texts)
    assert set(canvases.unique().tolist()) == {INK, GROUND}
    assert len(canvases.unique(dim=0)) == len(texts)
    assert (canvases[0, 16:] == GROUND).all()
    assert (canvases[:, :, 0] == GROUND).all()  # the column left of every letter
    assert renderer.unknown_glyphs(["gä東"]) == {"東": 1}


def test_a_glyph_that_is_too_wide_for_16_pixels_is_a_box_and_counted():
    renderer = Renderer(64, str(TRUETYPE.with_name("STIXGeneral.ttf")))
    assert renderer.unknown_glyphs(["x―-"]) == {"―": 1}


def test_letters_of_a_truetype_font_do_not_touch():
    ink = Renderer(64, str(TRUETYPE)).encode(["wwww"])[0, :16].numpy() == INK
    edges = np.diff(ink.any(axis=0).astype(int), prepend=0)
    assert (edges == 1).sum() == 4


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("comic", None, "font `comic` is unknown"),
        ("absent.hex", None, "cannot be read"),
        ("absent.ttf", None, "cannot be read"),
        ("broken.otf", "no font", "cannot be read"),
        ("broken.hex", "0041:00\n", "glyph 1 is '0041:00'"),
    ],
)
def test_a_font_that_cannot_be_used_is_explained(tmp_path, name, content, found):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=found):
        Renderer(64, name if name == "comic" else str(tmp_path / name))


def test_no_texts_give_no_canvases_and_an_empty_one_is_all_ground():
    assert Renderer(64, "unifont").encode([]).shape == (0, 64, 64)
    assert (Renderer(64, "unifont").encode([""]) == GROUND).all()


def test_changing_what_was_encoded_does_not_change_what_is_encoded_next():
    renderer = Renderer(64, "unifont")
    renderer.encode(["cat"]).zero_()
    assert (renderer.encode(["cat"]) == GROUND).any()
