"""A study that could test nothing is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from gen.config import load_config
from gen.sweep.checks import (
    check_base,
    check_dataset,
    check_mirrored,
    check_prompts,
    check_study,
    check_testable,
)
from splits.errors import UserError

ROWS = [("sketch", "axe"), ("sketch", "bed"), ("clipart", "axe"), ("clipart", "cat")]
DATASET = SimpleNamespace(
    name="mine",
    folder=Path("data/mine"),
    is_base=False,
    comparable_classes=["axe"],
    samples=pl.DataFrame(
        [(domain, name, "test") for domain, name in ROWS] + [("sketch", "cat", "train")],
        ["domain", "class_name", "split"],
        orient="row",
    ),
)


def test_held_out_classes_that_no_test_image_shows_are_refused():
    with pytest.raises(UserError, match=r"none of the held-out classes .* in `sketch`: cat"):
        check_testable(DATASET, ["clipart", "sketch"], [("axe",), ("cat",)])


def test_one_class_that_can_be_tested_is_enough():
    check_testable(DATASET, ["sketch", "clipart"], [("axe", "cat"), ("bed", "cat")])


def test_a_dataset_with_too_few_comparable_classes_is_refused():
    with pytest.raises(UserError, match="1 classes have two test images in every domain"):
        check_dataset(DATASET)


def test_a_base_is_no_dataset_to_test_and_a_dataset_is_no_base():
    base = SimpleNamespace(**(vars(DATASET) | {"is_base": True}))
    with pytest.raises(UserError, match="has no classes to test"):
        check_dataset(base)
    with pytest.raises(UserError, match="and is no base"):
        check_base(DATASET)
    check_base(base)


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("prompts=[]", r"`evaluation\.prompts` is \[\]"),
        ("prompts=[single,single]", r"`evaluation\.prompts` is \[single, single\]"),
        ("shots=[]", r"`evaluation\.shots` is \[\]"),
        ("shots=[0,1]", r"`evaluation\.shots` is \[0, 1\]"),
        ("shots=[2,2]", r"`evaluation\.shots` is \[2, 2\]"),
        ("shots=[4,2]", r"`evaluation\.shots` is \[4, 2\]"),
        ("probe_images=2", r"`evaluation\.probe_images` is 2"),
        ("probe_seeds=0", r"`evaluation\.probe_seeds` is 0"),
    ],
)
def test_an_evaluation_that_asks_for_nothing_sensible_is_refused(override, found):
    check_study(load_config("studies", "debug"))
    with pytest.raises(UserError, match=found):
        check_study(load_config("studies", "debug", [f"evaluation.{override}"]))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_pairs_of_texts_that_is_no_share_is_refused(share):
    check_study(load_config("studies", "debug", ["training.text_pairs.share=0"]))
    with pytest.raises(UserError, match=rf"`training\.text_pairs\.share` is {share}"):
        check_study(load_config("studies", "debug", [f"training.text_pairs.share={share}"]))


@pytest.mark.parametrize(
    "override",
    [
        *("cpus=0", "gpus=-1", "nodes=0", "minutes=0", "signal_seconds=0"),
        *("memory_gb=-1", "parallel=-1", "requeues=-1"),
    ],
)
def test_resources_that_nobody_can_give_are_refused(override):
    key, _, value = override.partition("=")
    with pytest.raises(UserError, match=rf"`resources\.{key}` is {value}"):
        check_study(load_config("studies", "debug", [f"resources.{override}"]))


OPENAI = "evaluation.prompts=[domain_free,openai]"


def test_clips_own_templates_need_clips_whole_vocabulary():
    clip = load_config("models", "rn-tiny")
    with pytest.raises(UserError, match="prompt set `openai`") as caught:
        check_prompts(load_config("studies", "debug", [OPENAI]), clip)
    assert caught.value.fix == "evaluation.prompts=[domain_free]"


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("rn-tiny", []),
        ("rn-tiny", [OPENAI, "base=pairs"]),
        ("rn-tiny", [OPENAI, "training.stream.shards=[a.tar]"]),
        ("clippo-tiny", [OPENAI]),
        ("classifier-rn-tiny", [OPENAI]),
    ],
)
def test_who_knows_all_words_or_reads_none_may_be_asked_with_any_prompts(model, overrides):
    check_prompts(load_config("studies", "debug", overrides), load_config("models", model))


def test_scenes_named_from_left_to_right_are_not_mirrored():
    scenes = SimpleNamespace(**(vars(DATASET) | {"is_scenes": True}))
    study = load_config("studies", "debug", ["training.flip=true"])
    with pytest.raises(UserError, match=r"`training.flip` is true"):
        check_mirrored(scenes, study)
    check_mirrored(scenes, load_config("studies", "debug", ["training.flip=false"]))
    check_mirrored(scenes, load_config("studies", "debug", ["caption=caption_aligned"]))
    check_mirrored(SimpleNamespace(is_scenes=False), study)
