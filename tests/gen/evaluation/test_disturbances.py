"""Ways to write a prompt: typos are edits of letters, drawn by names; fonts have names."""

from __future__ import annotations

import pytest
import torch

from gen.evaluation.disturbances import (
    EDITS,
    NEIGHBOURS,
    SHIFTS,
    TEXT_DRAWS,
    Shifted,
    disturbances,
    edits_of,
    misspelt,
)
from gen.evaluation.score import CLEAN, TYPOS
from gen.models.rendering import GROUND, Renderer
from gen.models.vocabulary import full_vocabulary
from splits.errors import UserError

CLASSES = ("cat", "traffic light", "owl", "hot dog", "zebra")
DRAWN = Renderer(96, "unifont")


def distance(a, b):
    """Damerau and Levenshtein's distance of two texts, by its recurrence."""
    table = {(i, -1): i + 1 for i in range(-1, len(a))} | {(-1, j): j + 1 for j in range(len(b))}
    for i in range(len(a)):
        for j in range(len(b)):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i] != b[j])
            )
            if i and j and a[i] == b[j - 1] and a[i - 1] == b[j]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(a) - 1, len(b) - 1]


def test_the_four_kinds_of_typo_of_a_short_word_are_all_that_there_are():
    assert edits_of("aab") == {
        "swap": ["aba"],
        "drop": ["ab", "aa"],
        "double": ["aaab", "aabb"],
        "neighbour": ["sab", "asb", "aav", "aan"],
    }


def test_only_letters_are_mistyped():
    assert edits_of("7 %") == {"swap": [], "drop": [], "double": [], "neighbour": []}
    assert edits_of("a 7")["drop"] == []  # nothing would be left to read
    assert edits_of("a b")["swap"] == []


def test_keys_are_neighbours_of_each_other():
    assert NEIGHBOURS["q"] == "w"
    assert NEIGHBOURS["g"] == "fh"
    assert all(key in NEIGHBOURS[other] for key, others in NEIGHBOURS.items() for other in others)


@pytest.mark.parametrize("edits", EDITS)
def test_every_name_has_as_many_edits_as_were_asked_for(edits):
    for draw in range(TEXT_DRAWS):
        found = misspelt(CLASSES, edits, draw)
        assert list(found) == list(CLASSES)
        distances = [distance(name, text) for name, text in found.items()]
        assert max(distances) <= edits
        assert min(distances) >= 1


def test_no_name_becomes_that_of_another_class():
    short = ("at", "ta", "aat", "att", "t")
    names = [text for draw in range(30) for text in misspelt(short, 1, draw).values()]
    assert not set(names) & set(short)


def test_a_name_without_letters_stays():
    assert misspelt(("7", "cat"), 2, 0)["7"] == "7"


def test_typos_depend_on_the_draw_and_the_name_alone():
    assert misspelt(("cat",), 1, 0)["cat"] == misspelt(CLASSES, 1, 0)["cat"]
    assert len({tuple(misspelt(CLASSES, 1, draw).values()) for draw in range(TEXT_DRAWS)}) == 3


def test_a_second_typo_goes_on_from_the_first():
    once, twice = (misspelt(CLASSES, edits, 1) for edits in (1, 2))
    assert all(distance(once[name], twice[name]) <= 1 for name in CLASSES)


def test_what_reads_tokens_has_no_fonts():
    found = disturbances(full_vocabulary(), CLASSES)
    assert [(way.name, way.strength, way.draw) for way in found] == [
        (CLEAN, None, 0),
        *((TYPOS, edits, draw) for edits in EDITS for draw in range(TEXT_DRAWS)),
        ("upper_case", None, 0),
        ("title_case", None, 0),
    ]
    assert [way.written("a cat") for way in found[-2:]] == ["A CAT", "A Cat"]


def test_what_is_drawn_is_also_drawn_in_fonts_that_training_did_not_use_and_elsewhere():
    names = [way.name for way in disturbances(DRAWN, CLASSES)]
    fonts = ["font_DejaVuSans", "font_DejaVuSerif", "font_DejaVuSansMono"]
    assert names[-len(SHIFTS) - 3 :] == [*fonts, *["moved_down"] * len(SHIFTS)]
    drawn = [way.texts.encode(["a cat"]) for way in disturbances(DRAWN, CLASSES)[-6:]]
    assert len({canvas.numpy().tobytes() for canvas in drawn}) == 6
    mono = next(w for w in disturbances(DRAWN, CLASSES) if w.name == "font_DejaVuSansMono").texts
    own = [way.name for way in disturbances(mono, CLASSES) if way.name.startswith("font")]
    assert own == ["font_DejaVuSans", "font_DejaVuSerif", "font_unifont"]


def test_a_text_that_is_moved_has_its_ink_lower_and_nothing_else():
    plain, moved = DRAWN.encode(["a cat"]), Shifted(DRAWN, 8).encode(["a cat"])
    assert torch.equal(moved[:, 8:], plain[:, :-8])
    assert (moved[:, :8] == GROUND).all()


def test_a_text_whose_last_row_would_be_moved_off_the_canvas_cannot_be_read():
    full = "jumping " * 9
    assert DRAWN.encode([full]).shape == (1, 96, 96)
    with pytest.raises(UserError, match="8 pixels lower"):
        Shifted(DRAWN, 8).encode(["a cat", full])
