"""A vocabulary renumbers open_clip's tokens: nothing is lost, the end of a text stays largest."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest

from gen.datasets.captions import caption, domain_nouns, prompts
from gen.datasets.icons.domains import DOMAINS
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle
from splits.errors import UserError

STYLE = CaptionStyle.short
CLASSES = ("cat", "traffic light", "ice cream")
TEXTS = sorted(
    {text for name in CLASSES for text in prompts(name, STYLE)}
    | {
        caption(0, str(number), name, domain_nouns(domain, STYLE), STYLE)
        for domain in DOMAINS
        for name in CLASSES
        for number in range(30)
    }
)
VOCABULARY = build_vocabulary(TEXTS)
PADDING = 0


def open_clip_tokens(texts):
    return open_clip.get_tokenizer("RN50")(texts).numpy()


def test_encoding_and_mapping_back_gives_the_tokens_of_open_clip():
    tokens = VOCABULARY.encode(TEXTS).numpy()
    whole = open_clip_tokens(TEXTS)
    assert (VOCABULARY.token_ids[tokens] == whole[:, : VOCABULARY.context_length]).all()
    assert (whole[:, VOCABULARY.context_length :] == 0).all()


def test_only_used_tokens_are_kept_and_the_context_is_as_long_as_the_longest_text():
    used = open_clip_tokens(TEXTS)
    assert set(VOCABULARY.token_ids) == set(used.ravel())
    assert VOCABULARY.size < 100
    assert VOCABULARY.context_length == (used != 0).sum(axis=1).max()


def test_every_text_begins_with_the_start_and_its_largest_token_is_the_end():
    tokens = VOCABULARY.encode(TEXTS).numpy()
    start, end = VOCABULARY.size - 2, VOCABULARY.size - 1
    assert VOCABULARY.token_ids[[start, end]].tolist() == [49406, 49407]
    assert (tokens[:, 0] == start).all()
    assert ((tokens == end).sum(axis=1) == 1).all()
    for row in tokens:
        assert (row[row.argmax() + 1 :] == PADDING).all()


def test_the_order_of_the_texts_does_not_matter():
    again = build_vocabulary(TEXTS[::-1])
    assert (again.token_ids == VOCABULARY.token_ids).all()
    assert again.context_length == VOCABULARY.context_length


@pytest.mark.parametrize("text", ["a zebra, image", "image of a 東京"])
def test_a_word_that_no_caption_has_is_an_error_that_shows_the_text(text):
    with pytest.raises(UserError, match=text):
        VOCABULARY.encode([TEXTS[0], text])


def test_a_text_that_is_too_long_is_an_error_that_shows_it():
    text = " ".join(["cat"] * VOCABULARY.context_length)
    with pytest.raises(UserError, match=text):
        VOCABULARY.encode([text])
    longest = " ".join(["cat"] * (VOCABULARY.context_length - 2))
    assert (VOCABULARY.encode([longest]) != PADDING).all()


def test_no_texts_give_no_rows():
    assert VOCABULARY.encode([]).shape == (0, VOCABULARY.context_length)
    assert VOCABULARY.encode(np.array([TEXTS[0]])).shape == (1, VOCABULARY.context_length)
