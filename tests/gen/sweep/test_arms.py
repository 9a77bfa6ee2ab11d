"""Arms of a study: what its grid names, less what is excluded, and what is included."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.config import load_config
from gen.runs import Target
from gen.schema import Objective
from gen.sweep import arms as arms_module
from gen.sweep.arms import planned_arms
from gen.sweep.entries import Combination, combinations_of
from splits.errors import UserError

OWN = load_config("studies", "debug")
PLACES = [
    *(
        ("natural_only", Target(domain, draw))
        for domain in ("sketch", "clipart")
        for draw in (0, 1)
    ),
    ("ladder", Target("sketch", 0)),  # applies to one target
]


@pytest.fixture(autouse=True, scope="module")
def models_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms_module, "load_config", cache(load_config))
        yield


def arms_of(*overrides):
    """The arms of the debug study with overrides, had it these places."""
    config = load_config("studies", "debug", overrides)

    def load(more):
        return load_config("studies", "debug", [*overrides, *more])

    return planned_arms(config, load, PLACES)


def labels(*overrides):
    return [arm.label for arm in arms_of(*overrides)]


def test_a_study_without_a_grid_is_one_arm_without_a_name():
    (arm,) = arms_of("seeds=[0,1]")
    assert (arm.label, arm.config.model, arm.config.seeds) == ("", "rn-tiny", [0, 1])
    assert arm.model == load_config("models", "rn-tiny")
    assert arm.combinations == set(combinations_of(PLACES, [0, 1]))


def test_every_combination_of_the_lists_is_an_arm():
    arms = arms_of("grid={model: [vit-tiny, rn-tiny], training.objective: [infonce, sigmoid]}")
    found = [(arm.label, arm.config.model, arm.config.training.objective.name) for arm in arms]
    assert found == [
        ("vit-tiny-infonce", "vit-tiny", "infonce"),
        ("vit-tiny-sigmoid", "vit-tiny", "sigmoid"),
        ("rn-tiny-infonce", "rn-tiny", "infonce"),
        ("rn-tiny-sigmoid", "rn-tiny", "sigmoid"),
    ]
    assert arms[0].model == load_config("models", "vit-tiny")
    assert not arms[0].config.grid  # as if it were the only one


def test_labels_tell_numbers_with_their_keys_in_an_order_of_their_own():
    grid = "training.learning_rate: [1e-5], training.flip: [false], training.samples_seen: [640]"
    told = ["samples_seen640-learning_rate1e-05-flipfalse"]
    assert labels(f"grid={{{grid}}}") == told
    assert labels(f"grid={{{', '.join(reversed(grid.split(', ')))}}}") == told


def test_a_model_in_a_file_is_called_by_the_name_of_the_file(tmp_path):
    text = "embed_dim: 8\nvision: {kind: vit, layers: [1], width: 64, patch_size: 8}\n"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my model.yaml").write_text(text)
    paths = [str(tmp_path / folder / "my model.yaml") for folder in ("a", "b")]
    assert labels(f"grid={{model: [{paths[0]}, rn-tiny]}}") == ["my_model", "rn-tiny"]
    with pytest.raises(UserError, match="two arms would be called `my_model`"):
        labels(f"grid={{model: [{', '.join(paths)}]}}")


def test_the_study_s_own_arm_gets_a_name_when_others_are_included():
    assert labels("include=[{seed: 5}]") == [""]
    assert labels("include=[{training.objective: sigmoid}]") == ["rn-tiny", "rn-tiny-sigmoid"]


def test_an_exclude_leaves_out_what_fits_all_of_its_keys():
    grid = "grid={model: [rn-tiny, vit-tiny]}"
    entry = "{model: vit-tiny, setting: [natural_only], test_domain: [sketch, clipart], draw: 1}"
    rn, vit = arms_of(grid, f"exclude=[{entry}]")
    assert rn.combinations == set(combinations_of(PLACES, [0]))
    assert rn.combinations - vit.combinations == {
        Combination("natural_only", "sketch", 1, 0),
        Combination("natural_only", "clipart", 1, 0),
    }


def test_an_arm_of_which_nothing_is_left_is_none():
    grid = "grid={model: [rn-tiny, vit-tiny], training.objective: [infonce, sigmoid]}"
    out = "exclude=[{model: vit-tiny, training.objective: sigmoid}]"
    assert labels(grid, out) == ["rn-tiny-infonce", "rn-tiny-sigmoid", "vit-tiny-infonce"]
    assert len(labels(grid, out, "include=[{seed: 3}]")) == 3  # and it does not come back
    assert len(labels(grid, out, "include=[{model: vit-tiny, training.objective: sigmoid}]")) == 4


def test_an_include_adds_runs_to_one_arm_or_to_all():
    grid = "grid={model: [rn-tiny, vit-tiny]}"
    rn, vit, long = arms_of(
        grid,
        "include=[{seed: [4, 3], setting: ladder}, {model: vit-tiny, seed: 7, draw: 1},"
        "{training.samples_seen: 6400, setting: ladder}]",
    )
    ladder = {Combination("ladder", "sketch", 0, seed) for seed in (3, 4)}
    assert rn.combinations == {*combinations_of(PLACES, [0]), *ladder}
    assert (rn.config.seeds, vit.config.seeds, long.config.seeds) == ([0, 3, 4], [0, 3, 4, 7], [0])
    assert vit.combinations - rn.combinations == {
        Combination("natural_only", "sketch", 1, 7),
        Combination("natural_only", "clipart", 1, 7),
    }
    assert (long.label, long.config.training.samples_seen) == ("rn-tiny-samples_seen6400", 6400)
    assert long.combinations == {Combination("ladder", "sketch", 0, 0)}


def test_includes_come_after_excludes():
    (arm,) = arms_of("exclude=[{setting: natural_only}]", "include=[{setting: natural_only}]")
    assert arm.combinations == set(combinations_of(PLACES, [0]))


def test_two_entries_may_speak_of_one_arm():
    entry = "{{training.samples_seen: 6400, setting: {}}}"
    _, long = arms_of(f"include=[{entry.format('ladder')}, {entry.format('natural_only')}]")
    assert long.combinations == set(combinations_of(PLACES, [0]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grid={training.objctive: [sigmoid]}", r"did you mean `training\.objective`"),
        ("grid={training.objective: [sigmoi]}", "Invalid value 'sigmoi'"),
        ("grid={training.samples_seen: [many]}", "could not be converted to Integer"),
        ("grid={training.compile: [auto, never]}", r"`training\.compile` decides no weights"),
        ("grid={training.stream.shards: [a.tar]}", r"`training\.stream\.shards` is unknown"),
        ("grid={seeds: [1]}", "key `seeds` is unknown"),
        ("grid={model: [[rn-tiny]]}", r"a value of `model` is \['rn-tiny'\]"),
        ("grid={model: [rn-tiny, rn-tny]}", "did you mean `rn-tiny`"),
        ("grid={model: []}", r"key `model` is \[\]"),
        ("grid={training.warmup: [0.1, 1e-1]}", r"key `training\.warmup` is \[0\.1, 0\.1\]"),
        ("exclude=[{}]", "the entry is empty"),
        ("exclude=[{seting: ladder}]", "did you mean `setting`"),
        ("exclude=[{setting: laddr}]", "did you mean `ladder`"),
        ("exclude=[{test_domain: skech}]", "test domain `skech` is unknown"),
        ("exclude=[{draw: 2}]", "draw `2` is unknown"),
        ("exclude=[{seed: 1}]", "seed `1` is unknown"),
        ("exclude=[{seed: zero}]", "key `seed` is zero"),
        ("exclude=[{setting: []}]", r"key `setting` is \[\]"),
        ("exclude=[{model: vit-tiny}]", "model `vit-tiny` is unknown"),
        ("exclude=[{training.objective: sigmoi}]", "Invalid value 'sigmoi'"),
        ("exclude=[{setting: ladder, draw: 1}]", "the entry fits no run"),
        ("exclude=[{seed: 0}]", "`exclude` leaves no run"),
        ("include=[{seed: 0}]", "the entry adds no run that is not there already"),
        ("include=[{setting: ladder, draw: 1}]", "the entry adds no run"),
        ("include=[{model: rn-tiny}]", "the entry adds no run that is not there already"),
        ("include=[{model: [rn-tiny, vit-tiny]}]", "expected: one value"),
        ("include=[{seed: -1}]", "key `seed` is -1"),
        ("include=[{training.images: disk}]", r"`training\.images` decides no weights"),
        ("grid={training.stream.share: [0.1, 0.2]}", "no arms apart where nothing is streamed"),
        ("include=[{training.stream.buffer: 5}]", "no arms apart where nothing is streamed"),
        ("grid={training.text_pairs.share: [0, 0.5]}", "no arms apart where there are no pairs"),
    ],
)
def test_what_means_nothing_is_refused(override, message):
    with pytest.raises(UserError, match=message) as caught:
        arms_of(override)
    assert "command line" not in caught.value.where


def test_an_include_for_arms_that_are_all_excluded_says_so():
    with pytest.raises(UserError, match="and `exclude` leaves none of them"):
        arms_of("exclude=[{seed: 0}]", "include=[{seed: 1}]")


def test_streams_tell_arms_apart_where_there_are_shards():
    shards, grid = "training.stream.shards=[a.tar]", "grid={training.stream.share: [0.1, 0.2]}"
    assert labels(shards, grid) == ["share0.1", "share0.2"]


def test_pairs_of_texts_tell_arms_apart_where_they_have_a_source():
    source, grid = (
        "training.text_pairs.source=captions",
        "grid={training.text_pairs.share: [0, 0.5]}",
    )
    assert labels(source, grid) == ["share0.0", "share0.5"]


def test_an_error_says_which_entry_is_wrong():
    with pytest.raises(UserError) as caught:
        arms_of("exclude=[{draw: 1}, {draw: 9}]")
    assert caught.value.where == "study debug, exclude[1]"


# Any grid at all: the planned arms against the definition, written as sets of (model, objective,
# combination).

ARM_KEYS = {"model": ["rn-tiny", "vit-tiny"], "training.objective": ["infonce", "sigmoid"]}
RUN_KEYS = {
    "setting": ["natural_only", "ladder"],
    "test_domain": ["sketch", "clipart"],
    "draw": [0, 1],
    "seed": [0],
}
GRIDS = st.fixed_dictionaries(
    {},
    optional={
        key: st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)
        for key, values in ARM_KEYS.items()
    },
)
RUN_CHOICES = {
    key: st.lists(st.sampled_from(values), min_size=1, unique=True)
    for key, values in RUN_KEYS.items()
}
ARM_CHOICES = {key: st.sampled_from(values) for key, values in ARM_KEYS.items()}
ENTRIES = st.fixed_dictionaries({}, optional=RUN_CHOICES | ARM_CHOICES).filter(bool)
EXTRA_SEEDS = {"seed": st.lists(st.integers(0, 4), min_size=1, unique=True)}
INCLUDES = st.fixed_dictionaries({}, optional=RUN_CHOICES | ARM_CHOICES | EXTRA_SEEDS).filter(bool)


def load_quickly(config, pairs):
    """What `load_config` would load, without reading files."""
    for key, text in (pair.split("=", 1) for pair in pairs):
        value = json.loads(text)
        if key == "model":
            config = replace(config, model=value)
        else:
            training = replace(config.training, objective=Objective[value])
            config = replace(config, training=training)
    return config


def fits(entry, model, objective, combination):
    facts = {"model": model, "training.objective": objective, **combination._asdict()}
    return all(facts[key] in listed(value) for key, value in entry.items())


def listed(value):
    return value if isinstance(value, list) else [value]


def defined(config):
    """The runs of a study by definition, or None where it says something that changes nothing."""
    own = {"model": config.model, "training.objective": config.training.objective.name}
    lists = [config.grid.get(key, [value]) for key, value in own.items()]
    everything = combinations_of(PLACES, config.seeds)
    full = {(*arm, combination) for arm in product(*lists) for combination in everything}
    left_out = [{run for run in full if fits(entry, *run)} for entry in config.exclude]
    runs = full.difference(*left_out)
    known = {key: {run[place] for run in full} for place, key in enumerate(own)}
    known["seed"] = set(config.seeds)
    named = [item for entry in config.exclude for item in entry.items() if item[0] in known]
    sensible = all(left_out) and all({*listed(value)} <= known[key] for key, value in named)
    of_grid = {run[:2] for run in runs}
    for entry in config.include:
        named = tuple(entry.get(key, value) for key, value in own.items())
        arms = {named} if entry.keys() & own else of_grid
        seeds = entry.get("seed", config.seeds)
        choice = {key: value for key, value in entry.items() if key not in own}
        added = {
            (*arm, combination)
            for arm in arms
            for combination in combinations_of(PLACES, seeds)
            if fits(choice, *arm, combination)
        }
        sensible = sensible and not added <= runs
        runs |= added
    return runs if sensible and runs else None


@settings(max_examples=50)
@given(
    GRIDS,
    st.lists(ENTRIES, max_size=2),
    st.lists(INCLUDES, max_size=2),
    st.sampled_from([[0], [0, 1]]),
)
def test_the_runs_of_any_grid_are_its_combinations_less_excluded_plus_included(
    grid, exclude, include, seeds
):
    config = replace(OWN, grid=grid, exclude=exclude, include=include, seeds=seeds)
    expected = defined(config)
    try:
        arms = planned_arms(config, partial(load_quickly, config), PLACES)
    except UserError:
        assert expected is None
        return
    found = [
        (arm.config.model, arm.config.training.objective.name, combination)
        for arm in arms
        for combination in arm.combinations
    ]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert len({arm.label for arm in arms}) == len(arms)
    assert all({c.seed for c in arm.combinations} == set(arm.config.seeds) for arm in arms)
