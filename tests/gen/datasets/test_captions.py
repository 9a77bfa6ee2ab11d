"""Captions relate a class to a noun; half of them name the domain, the aligned ones never do."""

from __future__ import annotations

from collections import Counter

import pytest

from gen.datasets.captions import PATTERNS, caption, domain_nouns, generic_nouns, prompts
from gen.datasets.icons.domains import DOMAINS
from splits.errors import UserError

IDS = [f"train_sketch_cat_{number:05d}" for number in range(2000)]
GENERIC = {"image", "picture"}
TOLERANCE = 0.05
"""four and a half standard errors of a share of one half among 2000"""


def captions(*, aligned=False, domain="sketch"):
    return [caption(0, name, domain, "cat", aligned=aligned) for name in IDS]


def taken_apart(text):
    """Pattern and noun of a caption about a cat in the domain sketch."""
    for pattern in PATTERNS:
        for noun in (*generic_nouns(), *domain_nouns("sketch")):
            if text.removesuffix(".") == pattern.format(noun=noun, name="cat"):
                return pattern, noun
    raise AssertionError(f"no pattern gives {text!r}")


def test_six_patterns_are_equally_likely():
    counts = Counter(taken_apart(text)[0] for text in captions())
    assert len(counts) == 6
    assert all(abs(count / len(IDS) - 1 / 6) < TOLERANCE for count in counts.values())


def test_four_nouns_are_equally_likely_so_that_half_of_the_captions_name_the_domain():
    counts = Counter(taken_apart(text)[1] for text in captions())
    assert set(counts) == GENERIC | {"sketch", "drawing"}
    assert all(abs(count / len(IDS) - 1 / 4) < TOLERANCE for count in counts.values())


@pytest.mark.parametrize("domain", DOMAINS)
def test_half_of_the_captions_name_the_domain(domain):
    named = [any(noun in text for noun in domain_nouns(domain)) for text in captions(domain=domain)]
    assert abs(sum(named) / len(IDS) - 1 / 2) < TOLERANCE


def test_half_of_the_captions_end_with_a_full_stop():
    assert abs(sum(text.endswith(".") for text in captions()) / len(IDS) - 1 / 2) < TOLERANCE


@pytest.mark.parametrize("domain", DOMAINS)
def test_aligned_captions_have_generic_nouns_only(domain):
    assert {taken_apart(text)[1] for text in captions(aligned=True, domain=domain)} == GENERIC


def test_pattern_noun_and_full_stop_are_independent_of_each_other():
    counts = Counter((*taken_apart(text), text.endswith(".")) for text in captions())
    assert len(counts) == 6 * 4 * 2


def test_a_caption_depends_on_seed_and_id_alone():
    backwards = [caption(0, name, "sketch", "cat", aligned=False) for name in reversed(IDS)]
    assert backwards[::-1] == captions()
    other_seed = [caption(1, name, "sketch", "cat", aligned=False) for name in IDS]
    assert 0.8 < sum(a != b for a, b in zip(captions(), other_seed, strict=True)) / len(IDS) < 1


def test_nouns_of_domains_are_two_each_and_no_domain_shares_them():
    nouns = [noun for domain in DOMAINS for noun in domain_nouns(domain)]
    assert len(nouns) == 2 * len(DOMAINS)
    assert len({*nouns, *generic_nouns()}) == len(nouns) + 2


def test_prompts_are_the_twelve_captions_that_name_no_domain():
    texts = prompts("cat")
    assert len(set(texts)) == len(texts) == 12
    assert {text.removesuffix(".") for text in captions(aligned=True)} == set(texts)


def test_a_domain_without_nouns_is_told_with_where_to_add_them():
    with pytest.raises(UserError, match=r"`cubism` has no medium nouns(?s:.*)nouns\.yaml"):
        domain_nouns("cubism")
