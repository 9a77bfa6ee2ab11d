"""Captions relate a class to a noun; half of them name the domain, the aligned ones never do."""

from __future__ import annotations

import shlex
from collections import Counter

import pytest

from gen.config import make_config
from gen.datasets.captions import (
    caption,
    captions,
    captions_sha256,
    check_nouns,
    domain_nouns,
    generic_nouns,
    patterns,
    prompts,
)
from gen.datasets.icons.domains import DOMAINS
from gen.schema import CaptionStyle
from splits.errors import UserError

SHORT, PUBLISHED = CaptionStyle.short, CaptionStyle.published
IDS = [f"train_sketch_cat_{number:05d}" for number in range(2000)]
GENERIC = {"image", "picture"}
TOLERANCE = 0.05
"""four and a half standard errors of a share of one half among 2000"""


def written(*, aligned=False, domain="sketch", seed=0):
    own = () if aligned else domain_nouns(domain, SHORT)
    return [caption(seed, name, "cat", own, SHORT) for name in IDS]


def taken_apart(text):
    """Pattern and noun of a caption about a cat in the domain sketch."""
    for pattern in patterns(SHORT):
        for noun in (*generic_nouns(), *domain_nouns("sketch", SHORT)):
            if text.removesuffix(".") == pattern.format(noun=noun, name="cat"):
                return pattern, noun
    raise AssertionError(f"no pattern gives {text!r}")


def test_six_patterns_are_equally_likely():
    counts = Counter(taken_apart(text)[0] for text in written())
    assert len(counts) == 6
    assert all(abs(count / len(IDS) - 1 / 6) < TOLERANCE for count in counts.values())


def test_four_nouns_are_equally_likely_so_that_half_of_the_captions_name_the_domain():
    counts = Counter(taken_apart(text)[1] for text in written())
    assert set(counts) == GENERIC | {"sketch", "drawing"}
    assert all(abs(count / len(IDS) - 1 / 4) < TOLERANCE for count in counts.values())


@pytest.mark.parametrize("domain", DOMAINS)
def test_half_of_the_captions_name_the_domain(domain):
    named = [
        any(noun in text for noun in domain_nouns(domain, SHORT)) for text in written(domain=domain)
    ]
    assert abs(sum(named) / len(IDS) - 1 / 2) < TOLERANCE


def test_half_of_the_captions_end_with_a_full_stop():
    assert abs(sum(text.endswith(".") for text in written()) / len(IDS) - 1 / 2) < TOLERANCE


@pytest.mark.parametrize("domain", DOMAINS)
def test_aligned_captions_have_generic_nouns_only(domain):
    assert {taken_apart(text)[1] for text in written(aligned=True, domain=domain)} == GENERIC


def test_pattern_noun_and_full_stop_are_independent_of_each_other():
    counts = Counter((*taken_apart(text), text.endswith(".")) for text in written())
    assert len(counts) == 6 * 4 * 2


def test_a_caption_depends_on_seed_and_id_alone():
    own = domain_nouns("sketch", SHORT)
    backwards = [caption(0, name, "cat", own, SHORT) for name in reversed(IDS)]
    assert backwards[::-1] == written()
    other_seed = written(seed=1)
    assert 0.8 < sum(a != b for a, b in zip(written(), other_seed, strict=True)) / len(IDS) < 1


def test_nouns_of_domains_are_two_each_and_no_domain_shares_them():
    nouns = [noun for domain in DOMAINS for noun in domain_nouns(domain, SHORT)]
    assert len(nouns) == 2 * len(DOMAINS)
    assert len({*nouns, *generic_nouns()}) == len(nouns) + 2


def test_prompts_are_the_twelve_captions_that_name_no_domain():
    texts = prompts("cat", SHORT)
    assert len(set(texts)) == len(texts) == 12
    assert {text.removesuffix(".") for text in written(aligned=True)} == set(texts)


# ------------------------------------------------------------------------------ published ones


def published(domain):
    """Every published caption of a cat in a domain, without full stop."""
    own = domain_nouns(domain, PUBLISHED)
    return {caption(0, name, "cat", own, PUBLISHED).removesuffix(".") for name in IDS}


def test_the_published_captions_of_a_domain_are_six_patterns_with_four_nouns():
    assert published("painting") == {
        sentence
        for with_article, noun in (
            ("an image", "image"),
            ("a picture", "picture"),
            ("a painting", "painting"),
            ("art", "art"),
        )
        for sentence in (
            f"{with_article} of a cat",
            f"a cat {noun}",
            f"{with_article} depicting a cat",
            f"a cat depicted in {with_article}",
            f"{with_article} showing a cat",
            f"a cat is visible in {with_article}",
        )
    }


@pytest.mark.parametrize(
    ("domain", "nouns"),
    [
        ("real", ("a photo", "a snapshot")),
        ("clipart", ("a clipart", "an illustration")),
        ("infograph", ("an infograph", "an informational chart")),
        ("quickdraw", ("a quickdraw", "a doodle")),
        ("sketch", ("a sketch", "a drawing")),
    ],
)
def test_the_published_nouns_stand_with_their_articles(domain, nouns):
    media = {text.removesuffix(" of a cat") for text in published(domain) if " of a cat" in text}
    assert media == {"an image", "a picture", *nouns}


def test_the_published_prompts_are_the_aligned_captions_without_full_stop():
    words = [captions(0, name, "cat", ("sketch", "drawing"), PUBLISHED) for name in IDS]
    aligned = {text["caption_aligned"].removesuffix(".") for text in words}
    assert aligned == set(prompts("cat", PUBLISHED))
    assert len(aligned) == 12
    assert not set(prompts("cat", PUBLISHED)) & set(prompts("cat", SHORT)) - {
        "an image of a cat",
        "a picture of a cat",
    }


# ------------------------------------------------------------------------------ other domains


def test_a_dataset_brings_nouns_for_its_own_domains_and_may_replace_known_ones():
    own = {"cubism": ["cubist art", "collage"], "sketch": ["scribble", "draft"]}
    assert domain_nouns("cubism", PUBLISHED, own) == ("cubist art", "collage")
    assert domain_nouns("sketch", PUBLISHED, own) == ("scribble", "draft")
    assert domain_nouns("real", PUBLISHED, own) == ("photo", "snapshot")


STRANGE = ["comic & cartoon", "v1.5", "on", "1.5", "a: b", "l'art", 'the "new"', "größe", "x, y"]


def test_all_domains_without_nouns_are_told_with_the_override_that_mends_it():
    with pytest.raises(UserError, match="no words for the medium of `comic & cart") as caught:
        check_nouns(["real", *STRANGE], PUBLISHED)
    override = next(word for word in shlex.split(caught.value.fix) if word.startswith("nouns="))
    content = {"kind": "folder", "name": "mine", "pixels": 8}
    read = make_config("datasets", content, [override], where="the test")
    assert read.nouns == {domain: ["noun", "other noun"] for domain in STRANGE}
    check_nouns(["real", *STRANGE], PUBLISHED, read.nouns)


def test_plain_names_stand_without_quotation_marks():
    with pytest.raises(UserError) as caught:
        check_nouns(["comic & cartoon", "v1.5"], PUBLISHED)
    wanted = "'nouns={comic & cartoon: [noun, other noun], v1.5: [noun, other noun]}'"
    assert wanted in caught.value.fix


@pytest.mark.parametrize("name", ["Real World", "real_world", "REAL WORLD"])
@pytest.mark.parametrize("style", CaptionStyle)
def test_capitals_and_underscores_make_no_other_domain(name, style):
    assert domain_nouns(name, style) == ("photo", "snapshot")


def test_the_hash_of_the_words_changes_with_words_that_are_used_only():
    own = {"cubism": ["cubist art", "collage"]}
    before = captions_sha256(["real"], PUBLISHED)
    assert captions_sha256(["real"], PUBLISHED, own) == before
    assert captions_sha256(["real", "cubism"], PUBLISHED, own) != before
    assert captions_sha256(["real"], SHORT) != before


@pytest.mark.parametrize("nouns", [["comic"], ["comic", "comic"], ["a", "b", "c"]])
def test_a_domain_has_two_different_nouns(nouns):
    with pytest.raises(UserError, match="two different words"):
        domain_nouns("cartoon", PUBLISHED, {"cartoon": nouns})
