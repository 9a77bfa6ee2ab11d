"""A study planned from its file: arms, mixtures, runs and their twins. No image is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from planted_datasets import plant

from gen.runs import run_identity, sha256_of
from gen.schema import ModelKind
from gen.sweep.study import arm_study, load_study, save_study
from splits.errors import UserError

TWO_MODELS = "grid={model: [rn-tiny, vit-tiny]}"
TWO_DOMAINS = "test_domains=[sketch,clipart]"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    plant(folder, "icons-debug")
    return folder


@pytest.fixture
def study(data):
    def load(*overrides, name="debug", runs=Path("runs")):
        return load_study(name, overrides, data=data, runs=runs)

    return load


def names(study):
    return [run.name for run in study.runs]


def stems(study):
    """Names of runs without the hash of their identity."""
    return [name.rpartition("-")[0] for name in names(study)]


def test_two_models_are_two_arms_of_the_same_mixtures(study):
    both = study(TWO_MODELS)
    settings = ("natural_only", "leave_out_domain", "cg_low_diversity", "cg_high_diversity")
    models = ("rn-tiny", "vit-tiny")
    assert stems(both) == [f"{name}-sketch-{model}-s0" for model in models for name in settings]
    assert [(run.arm, run.model.vision.kind.name) for run in both.runs[3:5]] == [
        ("rn-tiny", "resnet"),
        ("vit-tiny", "vit"),
    ]
    assert len(both.mixtures) == 4
    assert len({id(mixture) for run in both.runs for mixture in run.mixtures.values()}) == 4
    assert settings == both.settings


def test_a_model_is_the_same_run_in_a_grid_and_alone_but_for_its_label(study):
    alone, both = study("model=vit-tiny"), study(TWO_MODELS)
    assert [name.replace("-vit-tiny", "") for name in names(both)[4:]] == names(alone)
    assert run_identity(both.runs[4]) == run_identity(alone.runs[0])


def test_an_arm_of_a_study_is_a_study(study):
    both = study(TWO_MODELS, "include=[{model: vit-tiny, seed: 7, setting: natural_only}]")
    vit = arm_study(both, "vit-tiny")
    assert (vit.config.model, vit.config.seeds, vit.model.vision.kind.name) == (
        *("vit-tiny", [0, 7], "vit"),
    )
    assert vit.runs == tuple(run for run in both.runs if run.arm == "vit-tiny")
    assert arm_study(vit, "vit-tiny") == vit
    one = study()
    assert arm_study(one, "").runs == one.runs
    with pytest.raises(UserError, match="did you mean `vit-tiny`"):
        arm_study(both, "vit-tin")


def test_pretrained_models_belong_to_every_arm_and_are_evaluated_once(study, tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"weights")
    both = study(TWO_MODELS, f"pretrained={{mine: {{model: 'local-dir:{tmp_path}'}}}}")
    assert [run.setting for run in both.runs].count("pretrained-mine") == 1
    assert both.runs[-1].arm == ""
    for label in ("rn-tiny", "vit-tiny"):
        assert arm_study(both, label).runs[-1] is both.runs[-1]


def test_what_is_left_out_takes_its_mixtures_and_targets_with_it(study):
    whole = study(TWO_DOMAINS)
    part = study(
        TWO_DOMAINS,
        "exclude=[{setting: natural_only, test_domain: clipart},{setting: leave_out_domain}]",
    )
    assert set(names(part)) < set(names(whole))  # what is left keeps its name
    assert [run.test_domains for run in part.runs] == [["sketch"], *[["sketch"], ["clipart"]] * 2]
    assert set(whole.mixtures) - set(part.mixtures) == {
        "natural_only.clipart",
        "leave_out_domain.sketch",
        "leave_out_domain.clipart",
    }


def test_a_run_for_one_seed_may_serve_less_than_that_for_another(study):
    out = "exclude=[{setting: natural_only, test_domain: clipart, seed: 1}]"
    first, second, *_ = study(TWO_DOMAINS, "seeds=[0,1]", out).runs
    assert (first.test_domains, second.test_domains) == (["sketch", "clipart"], ["sketch"])


LADDER = (
    "variants={all: {of: [cg_low_diversity], held_out: [1.0]}, none: {of: [cg_low_diversity], "
    "held_out: [0.0]}}"
)


def test_equal_settings_of_two_names_are_trained_once(study):
    found = study(LADDER, TWO_MODELS, "settings=[cg_low_diversity,upper_bound_low]", "seeds=[0,1]")
    twins = {run.name: run.twin.name for run in found.runs if run.twin}
    told = {a.rpartition("-")[0]: b.rpartition("-")[0] for a, b in twins.items()}
    ends = [f"sketch-{model}-s{seed}" for model in ("rn-tiny", "vit-tiny") for seed in (0, 1)]
    assert told == {
        f"cg_low_diversity-held_out_{share}-{end}": f"{name}-{end}"
        for share, name in ((1, "upper_bound_low"), (0, "cg_low_diversity"))
        for end in ends
    }
    keys = [sha256_of(run_identity(run)) for run in found.runs]
    assert [run.twin is not None for run in found.runs] == [
        key in keys[:place] for place, key in enumerate(keys)
    ]
    assert all(run_identity(run) == run_identity(run.twin) for run in found.runs if run.twin)
    assert len(set(names(found))) == len(found.runs)


def test_nobody_has_a_twin_where_no_two_settings_are_equal(study):
    assert not [run for run in study(TWO_MODELS, TWO_DOMAINS).runs if run.twin]


def test_a_grid_is_saved_as_it_was_asked_for(study, tmp_path):
    overrides = (
        "grid={model: [rn-tiny, vit-tiny], training.objective: [infonce]}",
        "exclude=[{model: vit-tiny, setting: [natural_only, leave_out_domain]}]",
        "include=[{training.samples_seen: 6400, seed: 3}]",
    )
    before = study(*overrides, runs=tmp_path)
    save_study(before)
    saved = OmegaConf.load(tmp_path / "debug" / "study.yaml")
    assert [model.vision.kind for model in saved.models.values()] == ["resnet", "vit", "resnet"]
    (tmp_path / "saved.yaml").write_text(OmegaConf.to_yaml(saved.study))
    after = study(name=str(tmp_path / "saved.yaml"), runs=tmp_path)
    assert names(after) == names(before)
    assert sorted(p.name for p in (tmp_path / "debug" / "mixtures").iterdir()) == sorted(
        before.mixtures
    )


def test_of_one_arm_the_model_that_is_trained_is_saved(study, tmp_path):
    save_study(study("grid={model: [vit-tiny]}", runs=tmp_path))
    assert OmegaConf.load(tmp_path / "debug" / "study.yaml").model.vision.kind == "vit"


@pytest.mark.parametrize(
    ("grid", "found", "where"),
    [
        ("training.batch_size: [64, 1]", "is 1, which is out of range", "batch_size1"),
        ("model: [rn-tiny, clippo-tiny]", "pixels", "clippo-tiny"),
        (
            "model: [rn-tiny, classifier-rn-tiny], training.objective: [infonce, sigmoid]",
            "the model is a classifier",
            "classifier-rn-tiny-sigmoid",
        ),
    ],
)
def test_every_arm_is_checked_and_named(grid, found, where, study):
    with pytest.raises(UserError, match=found) as caught:
        study(f"grid={{{grid}}}")
    assert caught.value.where.endswith(f"arm {where}")


def test_causes_are_refused_where_the_dataset_has_too_few_domains(study, monkeypatch):
    asked = "analysis.kinds=[similarity,causes]"
    assert study(asked).runs
    monkeypatch.setattr("gen.sweep.analysis_checks.FEWEST_DOMAINS", 100)
    with pytest.raises(UserError, match="`causes` leaves a domain out") as caught:
        study(asked, TWO_MODELS)
    assert caught.value.where == "study debug, key `analysis.kinds`, arm rn-tiny"
    assert study().runs


def test_an_arm_that_cannot_be_may_be_left_out(study):
    found = study(
        "grid={model: [rn-tiny, classifier-rn-tiny], training.objective: [infonce, sigmoid]}",
        "exclude=[{model: classifier-rn-tiny, training.objective: sigmoid}]",
    )
    assert [arm.label for arm in found.arms] == [
        *("rn-tiny-infonce", "rn-tiny-sigmoid", "classifier-rn-tiny-infonce"),
    ]
    assert arm_study(found, "classifier-rn-tiny-infonce").model.kind is ModelKind.classifier


def test_pretrained_models_stand_beside_no_classifier(study, tmp_path):
    with pytest.raises(UserError, match="in a study of classifiers"):
        study(
            "grid={model: [rn-tiny, classifier-rn-tiny]}",
            f"pretrained={{mine: {{model: 'local-dir:{tmp_path}'}}}}",
        )
