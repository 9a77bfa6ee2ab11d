"""A prompt set is a list of sentences; one that a model cannot read is refused by its name."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest

from gen.datasets.captions import domain_nouns, prompts
from gen.evaluation.prompts import (
    ANY_DOMAIN,
    Wording,
    all_sentences,
    check_captions,
    check_encodable,
    domains_of,
    sentences,
    wording_of,
)
from gen.models.rendering import Renderer
from gen.models.trained import run_vocabulary
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle, PromptSet
from splits.errors import UserError

SHORT, PUBLISHED = CaptionStyle.short, CaptionStyle.published
DOMAINS = ("real", "sketch")
WORDING = Wording(PUBLISHED, {name: domain_nouns(name, PUBLISHED) for name in DOMAINS})
CLASSES = ("cat", "traffic light")
OURS = [prompt_set for prompt_set in PromptSet if prompt_set is not PromptSet.openai]


def test_domain_free_prompts_are_the_captions_without_a_word_for_the_domain():
    found = sentences(PromptSet.domain_free, "cat", WORDING)
    assert found == prompts("cat", PUBLISHED)
    assert len(found) == 12
    assert not any(noun in text for own in WORDING.nouns.values() for noun in own for text in found)


def test_a_single_prompt_is_the_first_of_the_domain_free_ones():
    assert sentences(PromptSet.single, "cat", WORDING) == ["an image of a cat"]


def test_prompts_of_a_domain_have_its_two_nouns_in_every_pattern():
    assert sentences(PromptSet.domain, "cat", WORDING, "sketch") == [
        sentence.format(noun=noun)
        for sentence in (
            "a {noun} of a cat",
            "a cat {noun}",
            "a {noun} depicting a cat",
            "a cat depicted in a {noun}",
            "a {noun} showing a cat",
            "a cat is visible in a {noun}",
        )
        for noun in ("sketch", "drawing")
    ]


def test_the_ensemble_has_the_sentences_of_all_other_sets_of_ours_once():
    ensemble = sentences(PromptSet.ensemble, "cat", WORDING)
    others = {
        text
        for prompt_set in (PromptSet.domain_free, PromptSet.single, PromptSet.domain)
        for text in all_sentences(prompt_set, ["cat"], WORDING)
    }
    assert set(ensemble) == others
    assert len(ensemble) == 6 * (2 + 2 * len(DOMAINS))


def test_a_noun_that_two_domains_share_stands_once_in_the_ensemble():
    nouns = {"photo": ("photo", "snapshot"), "real": ("photo", "snapshot")}
    assert len(sentences(PromptSet.ensemble, "cat", Wording(SHORT, nouns))) == 6 * (2 + 2)


def test_openais_templates_are_the_eighty_published_ones():
    found = sentences(PromptSet.openai, "cat", WORDING)
    assert len(set(found)) == len(found) == 80
    assert found[0] == "a bad photo of a cat."
    assert found[-1] == "a tattoo of the cat."


def test_only_the_set_of_domains_differs_by_domain():
    assert domains_of(PromptSet.domain, WORDING) == DOMAINS
    for prompt_set in (PromptSet.domain_free, PromptSet.single, PromptSet.ensemble):
        assert domains_of(prompt_set, WORDING) == (ANY_DOMAIN,)


def dataset(config, domains=DOMAINS):
    return SimpleNamespace(caption_style=SHORT, domains=domains, manifest={"config": config})


def test_a_dataset_brings_its_own_nouns_which_stand_in_its_manifest():
    own = {"sketch": ["scribble", "draft"]}
    assert wording_of(dataset({"nouns": own})).nouns["sketch"] == ("scribble", "draft")
    assert wording_of(dataset({})).nouns == {n: domain_nouns(n, SHORT) for n in DOMAINS}


def test_every_sentence_of_ours_can_be_encoded_by_a_vocabulary_of_all_of_them():
    texts = [text for kind in OURS for text in all_sentences(kind, CLASSES, WORDING)]
    check_encodable(OURS, CLASSES, WORDING, build_vocabulary(texts))


def test_a_set_that_a_model_cannot_read_is_named_with_its_first_text_and_the_sets_that_it_can():
    texts = [text for name in CLASSES for text in prompts(name, PUBLISHED)]
    asked = [PromptSet.domain_free, PromptSet.domain]
    with pytest.raises(UserError, match="prompt set `domain`: the text 'a photo of a cat'") as info:
        check_encodable(asked, CLASSES, WORDING, build_vocabulary(texts))
    assert info.value.fix == "evaluation.prompts=[domain_free]"


def test_prompts_and_captions_that_fit_no_canvas_are_refused():
    canvas = Renderer(64, "unifont")
    long = "x" * 60
    with pytest.raises(UserError, match="prompt set `domain_free`: the text") as info:
        check_encodable([PromptSet.domain_free], [long], WORDING, canvas)
    assert info.value.fix.startswith("a dataset with pixels=")
    with pytest.raises(UserError, match="prompt set `ensemble`: the text") as info:
        check_encodable([PromptSet.ensemble], [long], WORDING, canvas)
    assert info.value.fix.startswith("evaluation.prompts=[domain_free], or a dataset with pixels=")
    with pytest.raises(UserError, match="retrieval: the text") as info:
        check_captions(["a cat", long], canvas)
    assert info.value.fix.startswith("evaluation.retrieval=false, or a dataset with pixels=")
    check_captions(["a cat"], canvas)


def test_a_models_vocabulary_has_the_words_of_all_sets_of_ours_even_if_no_caption_has_them():
    few = dataset({})
    few.classes = CLASSES
    few.samples = pl.DataFrame({"caption": ["a cat"], "caption_aligned": ["a cat"]})
    stream = SimpleNamespace(shards=[])
    run = SimpleNamespace(
        mixture=SimpleNamespace(base=None), training=SimpleNamespace(stream=stream)
    )
    check_encodable(OURS, CLASSES, wording_of(few), run_vocabulary(run, few))
