"""Analyses that cannot be made are refused before anything is trained."""

from __future__ import annotations

import pytest

from analysis import alignment, erasure, interchange
from analysis.domain_scores import MEASURES
from analysis.sites import list_sites
from gen.config import load_config
from gen.models.clip import build_clip
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import AnalysisConfig, AnalysisKind, SharingMeasure, SiteLevel
from gen.sweep.analysis_checks import (
    FEWEST_DOMAINS,
    check_analysis,
    check_binding,
    check_causes,
    check_tower,
    residual_sites,
)
from gen.sweep.checks import MIN_CLASSES
from splits.errors import UserError

WHERE = "study s"
PUBLISHED = [AnalysisKind.similarity, AnalysisKind.published_circuits]
CAUSES = AnalysisConfig(kinds=[AnalysisKind.similarity, AnalysisKind.causes])
RESIDUAL, HEAD, CHANNEL = SiteLevel.residual, SiteLevel.head, SiteLevel.channel


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": [AnalysisKind.sae]}, r"`analysis.kinds` is \[sae\].*similarity and others"),
        ({"kinds": [AnalysisKind.similarity] * 2}, "each once"),
        ({"levels": [CHANNEL]}, r"`analysis.levels` is \[channel\].*residual and others"),
        ({"images": 3}, "`analysis.images` is 3.*at least 4"),
    ],
)
def test_what_does_not_belong_together_is_an_error(values, message):
    check_analysis(AnalysisConfig(), WHERE)
    with pytest.raises(UserError, match=f"(?s){message}"):
        check_analysis(AnalysisConfig(**values), WHERE)


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("rn-tiny", {"levels": [RESIDUAL, HEAD]}, "names head.*levels of a resnet: residual, chan"),
        ("vit-tiny", {"levels": [RESIDUAL, CHANNEL]}, "names channel.*residual, head, neuron"),
        ("rn-tiny", {"primary_site": "layer9"}, "site `layer9` is unknown.*did you mean `layer"),
        ("rn-tiny", {"primary_site": "embedding"}, "site `embedding` is unknown"),
        ("vit-tiny", {"primary_site": "layer2"}, "site `layer2` is unknown.*block1, block2"),
        (
            "classifier-rn-tiny",
            {"kinds": [AnalysisKind.similarity, AnalysisKind.lens]},
            "a classifier has none",
        ),
        (
            "classifier-rn-tiny",
            {"kinds": [AnalysisKind.similarity, AnalysisKind.modalities]},
            "`modalities` holds images.*a classifier has none",
        ),
        (
            "classifier-rn-tiny",
            {"kinds": [AnalysisKind.similarity, AnalysisKind.binding]},
            "`binding` holds images of scenes.*a classifier has none",
        ),
        ("classifier-rn-tiny", {"kinds": PUBLISHED}, "a classifier has no texts.*kind clip"),
        ("vit-tiny", {"kinds": PUBLISHED}, "tower of kind vit has other sites.*resnet.*circuits"),
        ("resnet18-timm", {"kinds": PUBLISHED}, "a tower of kind timm has other sites"),
    ],
)
def test_what_an_image_tower_lacks_is_an_error(model, values, message):
    config = load_config("models", model)
    check_tower(AnalysisConfig(), config, WHERE)
    with pytest.raises(UserError, match=f"(?s){message}"):
        check_tower(AnalysisConfig(**values), config, WHERE)


def test_causes_need_a_domain_to_leave_out_and_two_to_tell_apart():
    check_causes(CAUSES, ("real", "sketch", "clipart"), WHERE)
    check_causes(AnalysisConfig(), ("real", "sketch"), WHERE)
    with pytest.raises(UserError, match=r"(?s)has 2: real, sketch.*at least 3 domains") as caught:
        check_causes(CAUSES, ("real", "sketch"), WHERE)
    assert caught.value.where == "study s, key `analysis.kinds`"
    assert "analysis.kinds" in caught.value.fix


def test_binding_needs_images_that_say_which_objects_they_show():
    asked = AnalysisConfig(kinds=[AnalysisKind.similarity, AnalysisKind.binding])
    check_binding(asked, is_scenes=True, where=WHERE)
    check_binding(AnalysisConfig(), is_scenes=False, where=WHERE)
    with pytest.raises(UserError, match=r"(?s)does not say what objects.*kind scenes") as caught:
        check_binding(asked, is_scenes=False, where=WHERE)
    assert caught.value.where == "study s, key `analysis.kinds`"
    assert "dataset: scenes" in caught.value.fix


def test_what_causes_refuse_is_refused_before_training():
    assert FEWEST_DOMAINS == erasure.FEWEST_DOMAINS == alignment.FEWEST_DOMAINS
    assert MIN_CLASSES >= interchange.LEAST_CLASSES  # every study has so many


@pytest.mark.parametrize("name", ["rn-tiny", "vit-tiny"])
def test_sites_are_known_before_a_tower_is_built(name):
    vocabulary = Vocabulary(full_vocabulary().token_ids[:20], 5)
    model = build_clip(load_config("models", name), vocabulary, 32, seed=0)
    sites = [site.name for site in list_sites(model, RESIDUAL)]
    assert residual_sites(load_config("models", name).vision) == sites


def test_measures_have_one_list():
    assert [measure.name for measure in SharingMeasure] == list(MEASURES)


def test_what_a_tower_has_is_accepted():
    check_tower(AnalysisConfig(levels=[RESIDUAL, HEAD]), load_config("models", "vit-tiny"), WHERE)
    found = AnalysisConfig(levels=[RESIDUAL, CHANNEL], primary_site="layer2")
    check_tower(found, load_config("models", "rn-tiny"), WHERE)
    check_tower(AnalysisConfig(kinds=PUBLISHED), load_config("models", "rn-tiny"), WHERE)
    check_tower(AnalysisConfig(levels=list(SiteLevel)), load_config("models", "resnet18-timm"), "")
