"""Labels become prompts; words that say nothing to a model are refused, or told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from planted_photos import CPU, colour_model
from torch import nn
from torch.nn.functional import normalize

from gen.models.pretrained import Tokens
from gen.models.rendering import Renderer
from gen.models.vocabulary import build_vocabulary
from gen.schema import PromptSet
from gen.use.wording import (
    check_labels,
    check_texts,
    embed_ensembles,
    known_prompts,
    own_prompts,
    words_read,
)
from splits.errors import UserError

CAPTIONS = ["image of a cat", "image of a dog", "sketch of a cat"]
SEEN = ["image of a cat", "image of a dog"]
"""by the run; the vocabulary is that of all captions"""


def world(captions=CAPTIONS, seen=SEEN, **mixture):
    """A run on the samples with some of a dataset's captions, and the dataset."""
    samples = pl.DataFrame({"id": captions, "caption": captions})
    ids = pl.Series("id", [*seen, *seen])
    run = SimpleNamespace(
        mixture=SimpleNamespace(ids=ids, **{"base": None, **mixture}),
        training=SimpleNamespace(
            stream=SimpleNamespace(shards=""), text_pairs=SimpleNamespace(source="")
        ),
        caption="caption",
    )
    return run, SimpleNamespace(samples=samples, classes=("cat", "dog"))


def model(texts, **planted):
    """A model that reads texts so, and a run of it."""
    run, dataset = world(**planted)
    plain = colour_model()
    return replace(plain, learner=replace(plain.learner, texts=texts), run=run, dataset=dataset)


def test_labels_are_two_different_ones_at_least():
    check_labels(["cat", "dog"])
    for labels, told in ((["cat"], "1 label"), ([], "no labels"), (["a", "b", "a"], "more than")):
        with pytest.raises(UserError, match=told):
            check_labels(labels)


def test_a_prompt_of_the_users_has_one_place_for_the_label():
    assert own_prompts(["a cat", "{x}"], ["photo of {}", "{}!"]) == [
        ["photo of a cat", "a cat!"],
        ["photo of {x}", "{x}!"],
    ]
    for pattern in ("photo", "{} and {}"):
        with pytest.raises(UserError, match="places for the label"):
            own_prompts(["cat"], [pattern])


def test_a_model_that_was_there_already_is_asked_by_the_published_patterns():
    (cat,) = known_prompts(["cat"], PromptSet.domain_free, colour_model())
    assert "an image of a cat" in cat
    assert len(cat) == 12


def test_a_labels_embedding_is_the_mean_direction_of_its_sentences():
    class Axes(nn.Module):
        def encode_text(self, rows):
            return rows

    class Lengths:
        def encode(self, texts):
            return torch.tensor([[len(text), 1.0] for text in texts])

    plain = colour_model()
    found = embed_ensembles(
        replace(plain, learner=replace(plain.learner, model=Axes(), texts=Lengths())),
        [["a", "abc"], ["ab", "abcd"]],
        CPU,
    )
    sides = [normalize(torch.tensor([length, 1.0]), dim=0) for length in (1.0, 3.0, 2.0, 4.0)]
    assert torch.allclose(found[0], normalize(sides[0] + sides[1], dim=0))
    assert torch.allclose(found[1], normalize(sides[2] + sides[3], dim=0))


def test_words_without_tokens_are_named_all_at_once_with_known_ones_like_them():
    with pytest.raises(UserError, match="no tokens") as told:
        check_texts(model(build_vocabulary(CAPTIONS)), ["image of a cats", "image of a zebra"])
    assert "`cats` (near: cat)" in told.value.found
    assert "`zebra`" in told.value.found
    assert "`image`" not in told.value.found
    assert "cat, dog" in told.value.expected


def test_words_that_the_run_never_read_are_a_warning():
    used = model(build_vocabulary(CAPTIONS))
    assert check_texts(used, ["image of a cat."[:-1]]) == []
    (warning,) = check_texts(used, ["Sketch of a cat"])
    assert "`sketch`" in warning


def test_the_words_that_a_run_read_are_those_of_its_mixture():
    assert words_read(model(None)) == {"image", "of", "a", "cat", "dog"}


def test_nobody_knows_what_a_base_or_a_file_of_texts_or_a_pretrained_model_taught():
    assert words_read(colour_model()) is None
    assert words_read(model(None, base="cc3m")) is None
    streamed, paired = model(None), model(None)
    streamed.run.training.stream.shards = "x-{0..9}.tar"
    paired.run.training.text_pairs.source = "mine.tsv"
    assert words_read(streamed) is None
    assert words_read(paired) is None


def test_an_exported_models_empty_rows_count_as_no_tokens():
    class Letters:
        context_length = 9

        def encode(self, text):
            return [ord(letter) for letter in text]

        def __call__(self, texts):
            return torch.tensor([[ord(letter) for letter in text] for text in texts])

    plain = colour_model()
    plain.learner.model.token_embedding = nn.Embedding(128, 4)
    plain.learner.model.token_embedding.weight.data[ord("z")] = 0
    used = replace(plain, learner=replace(plain.learner, texts=Tokens(Letters())))
    assert check_texts(used, ["cat", "dog"]) == []
    with pytest.raises(UserError, match="`zoo`"):
        check_texts(used, ["cat", "zoo"])


def test_letters_that_a_clippo_cannot_draw_are_a_warning():
    used = model(Renderer(64, "unifont"))
    assert check_texts(used, ["cat"]) == []
    warnings = check_texts(used, ["猫"])
    assert any("the font lacks 猫" in warning for warning in warnings)


def test_a_text_whose_end_a_clippo_does_not_see_is_a_warning():
    used = model(Renderer(64, "unifont", cut=True))
    assert check_texts(used, ["cat"]) == []
    assert any("do not fit" in warning for warning in check_texts(used, ["cat dog " * 20]))
