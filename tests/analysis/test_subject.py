"""What analyses look at: the levels that a tower has, and the classes that all domains can test."""

from __future__ import annotations

from types import SimpleNamespace

import open_clip
import pytest

from analysis.sites import list_sites, split_heads
from analysis.subject import Subject
from gen.config import load_config
from gen.models.classifier import build_classifier
from gen.runs import Target
from gen.schema import AnalysisConfig, SiteLevel

RESIDUAL, HEAD, CHANNEL = SiteLevel.residual, SiteLevel.head, SiteLevel.channel


def subject(model, levels=(RESIDUAL,), **run):
    names = {"name": "run", "analysis": AnalysisConfig(levels=list(levels)), **run}
    dataset = SimpleNamespace(comparable_classes=["axe", "bed", "cat"])
    return Subject(SimpleNamespace(**names), dataset, SimpleNamespace(model=model))


def test_levels_that_a_tower_lacks_are_left_out_and_told():
    model = build_classifier(load_config("models", "classifier-rn-tiny"), 32, 3, 0)
    with pytest.warns(UserWarning, match="run has no sites of level head"):
        assert subject(model, [RESIDUAL, HEAD, CHANNEL]).levels == [RESIDUAL, CHANNEL]


def test_a_model_with_whole_attention_has_heads_once_they_are_split():
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 4, "vocab_size": 9, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CLIP(16, vision, text)
    split_heads(model)
    found = subject(model, [RESIDUAL, HEAD])
    assert found.levels == [RESIDUAL, HEAD]
    assert [site.heads for site in list_sites(model, HEAD)] == [2, 2]
    assert found.places["block2.heads"] == (HEAD, 1)


def test_held_out_classes_are_numbered_among_those_that_count():
    held_out = {Target("sketch", 0): ("cat", "dog"), Target("sketch", 1): ("axe",)}
    found = subject(None, held_out=held_out, draws={0: ("cat", "dog"), 1: ("axe",)})
    assert found.held_out("sketch") == {0: [2], 1: [0]}
    assert found.held_out("quickdraw") == {}
    assert [(s.name, s.draw, s.members) for s in found.class_sets][:3] == [
        ("all", None, (0, 1, 2)),
        ("seen", 0, (0, 1)),
        ("held_out", 0, (2,)),
    ]
