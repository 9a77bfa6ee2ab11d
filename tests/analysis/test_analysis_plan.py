"""What a study promises its report, and which test samples the domains are compared on."""

from dataclasses import replace

import polars as pl
import pytest

from analysis.plan import coverage_of, plan_of, plans_of
from analysis.subject import compared_samples
from gen.datasets.samples import Dataset
from gen.runs import Run, Target
from gen.schema import HEAD, ModelConfig, ModelKind, StudyConfig, TrainingConfig
from gen.sweep.arms import Arm
from gen.sweep.study import Study
from splits.budget import Budget
from splits.mixture import Recipe, build_mixture
from splits.pool import build_pool
from splits.settings import SETTINGS

CLASSES = ("axe", "bed", "cat", "dog")
SHORT = {("sketch", "bed"): 0, ("photo", "dog"): 1}
"""test images of cells that have fewer than two"""
DRAWS = (("axe",), ("cat",))


def rows():
    for split, count in (("train", 4), ("test", 2)):
        for domain in ("photo", "sketch"):
            for label, name in enumerate(CLASSES):
                number = SHORT.get((domain, name), count) if split == "test" else count
                for i in range(number):
                    yield f"{split}/{domain}/{name}/{i}", split, domain, name, label, i


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    columns = ["id", "split", "domain", "class_name", "class_id", "position"]
    folder = tmp_path_factory.mktemp("pictures")
    table = pl.DataFrame(list(rows()), schema=columns, orient="row")
    table.write_parquet(folder / "samples.parquet")
    manifest = {
        "config": {"name": "pictures", "pixels": 8},
        "domains": ["photo", "sketch"],
        "natural": "photo",
        "classes": list(CLASSES),
        "sha256": "d" * 64,
    }
    return Dataset(folder, manifest)


def test_domains_are_compared_on_classes_that_all_of_them_can_test(dataset):
    classes = dataset.comparable_classes
    assert classes == ["axe", "cat"]
    samples = compared_samples(dataset.samples, "test", classes)
    assert samples["split"].unique().to_list() == ["test"]
    assert samples.group_by("class_name", "class_id").len().sort("class_name").rows() == [
        ("axe", 0, 4),
        ("cat", 1, 4),
    ]


def test_a_plan_knows_the_test_images_that_there_are(dataset):
    tests = coverage_of(dataset)
    assert list(tests) == ["test"]
    assert tests["test"]["sketch"] == {"axe", "cat", "dog"}
    assert tests["test"]["photo"] == set(CLASSES)


GRID = {"natural_only": (0, 1), "cg_low_diversity": (1,)}
"""settings, with the draws that one run of each serves"""


def study_of(dataset, folder, labels):
    """A study with a run per setting and arm; the last arm has no `cg_low_diversity`."""
    pool = build_pool(dataset.samples.filter(pl.col("split") == "train"), dataset.world)
    mixtures = {
        (name, draw): build_mixture(pool, recipe_of(name, draw, dataset))
        for name, draws in GRID.items()
        for draw in draws
    }
    config = StudyConfig(
        name="s",
        dataset="pictures",
        test_domains=["sketch", "photo"],  # in which no run is tested
        training=TrainingConfig(samples_seen=100, batch_size=8),
    )
    runs = tuple(
        Run(
            folder=folder / f"{name}{label}",
            setting=name,
            held_out={Target("sketch", draw): DRAWS[draw] for draw in draws},
            mixtures={Target("sketch", draw): mixtures[name, draw] for draw in draws},
            model=ModelConfig(),
            training=TrainingConfig(),
            seed=0,
            pixels=32,
            arm=label,
        )
        for label in labels
        for name, draws in GRID.items()
        if name == "natural_only" or len(labels) == 1 or label != labels[-1]
    )
    return Study(
        config=config,
        model=ModelConfig(),
        dataset=dataset,
        base=None,
        draws=DRAWS,
        folder=folder,
        mixtures={f"{name}.{draw}": mixture for (name, draw), mixture in mixtures.items()},
        runs=runs,
        arms=tuple(Arm(label, config, ModelConfig()) for label in labels),
    )


def recipe_of(name, draw, dataset):
    return Recipe(
        setting=SETTINGS[name],
        test_domain="sketch",
        held_out=DRAWS[draw],
        draw=draw,
        budget=Budget(),
        caption="caption",
        dataset_sha256=dataset.sha256,
    )


def test_a_plan_holds_the_grid_of_its_study(dataset, tmp_path):
    plan = plan_of(study_of(dataset, tmp_path, [""]))
    assert plan.draws == DRAWS
    assert plan.test_domains == ("sketch",)
    assert (plan.prompts[0], plan.probes) == ("domain_free", False)
    assert plan.dataset_sha256 == dataset.sha256
    assert plan.settings == ("natural_only", "cg_low_diversity")
    assert plan.runs[0].mixtures == {
        Target("sketch", 0): "natural_only.sketch",
        Target("sketch", 1): "natural_only.sketch.d1",
    }
    assert plan.grid == {
        ("natural_only", Target("sketch", 0)),
        ("natural_only", Target("sketch", 1)),
        ("cg_low_diversity", Target("sketch", 1)),
    }
    assert plan.is_tested("test", "sketch", ["bed", "cat"])
    assert not plan.is_tested("test", "sketch", ["bed"])
    assert not plan.is_tested("test_unseen_drawing", "sketch", CLASSES)


def test_every_arm_has_a_plan_and_knows_the_runs_of_the_others(dataset, tmp_path):
    study = study_of(dataset, tmp_path, ["a", "b"])
    plans = plans_of(study)
    assert {label: plan.arm for label, plan in plans.items()} == {"a": "a", "b": "b"}
    assert [run.name for run in plans["a"].runs] == ["natural_onlya", "cg_low_diversitya"]
    assert plans["b"].settings == ("natural_only",)
    names = {"natural_onlya", "cg_low_diversitya", "natural_onlyb"}
    assert plans["a"].siblings == plans["b"].siblings == names


def test_one_arm_is_tested_as_its_model_can_be_whatever_the_file_says(dataset, tmp_path):
    study = study_of(dataset, tmp_path, ["classifier"])
    arm = replace(study.arms[0], model=ModelConfig(kind=ModelKind.classifier))
    assert plans_of(replace(study, arms=(arm,)))["classifier"].prompts == (HEAD,)


def test_one_arm_is_the_study_itself(dataset, tmp_path):
    ((label, plan),) = plans_of(study_of(dataset, tmp_path, ["alone"])).items()
    assert (label, plan.arm, plan.title, plan.siblings) == ("alone", "", "s", frozenset())


def test_a_plan_names_the_run_whose_weights_another_takes_over(dataset, tmp_path):
    study = study_of(dataset, tmp_path, [""])
    first, second = study.runs
    plan = plan_of(replace(study, runs=(first, replace(second, twin=first))))
    assert [run.twin for run in plan.runs] == ["", "natural_only"]
