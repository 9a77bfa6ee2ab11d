"""The grid of a study: settings, variants, test domains and draws become recipes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gen.config import load_config
from gen.schema import StudyConfig
from gen.sweep.checks import check_study
from gen.sweep.grid import draws_of, grid_of
from splits.errors import UserError
from splits.settings import World, exposure

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
CLASSES = tuple(sorted(["axe", "bed", "cat", "dog", "eye", "fox", "gun", "hat"]))
DATASET = SimpleNamespace(
    world=World(DOMAINS, CLASSES, "real"),
    classes=CLASSES,
    super_categories={name: "thing" if name < "d" else "other" for name in CLASSES},
    sha256="d" * 64,
)
STUDY = """
name: mine
dataset: world
model: rn-tiny
test_domains: [sketch, clipart]
settings: []
held_out: {count: 2, seed: 0}
training: {samples_seen: 100}
"""


def study(tmp_path, variants="", **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(STUDY + variants, encoding="utf-8")
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    config: StudyConfig = load_config("studies", str(path), overrides)
    check_study(config)
    return config


def recipes(config):
    draws = draws_of(config, DATASET)
    return list(grid_of(config, DATASET, draws, None))


def exposures(tmp_path, variants):
    return [
        exposure(recipe.setting, DATASET.world, recipe.test_domain, recipe.held_out)
        for recipe in recipes(study(tmp_path, variants))
    ]


def names(config, test_domain="sketch"):
    return [r.setting.name for r in recipes(config) if r.test_domain == test_domain]


def test_every_setting_meets_every_test_domain_and_draw(tmp_path):
    config = study(tmp_path, settings="[natural_only,cg_low_diversity]", held_out__draws=3)
    found = [(r.setting.name, r.test_domain, r.draw, r.held_out) for r in recipes(config)]
    draws = draws_of(config, DATASET)
    assert found == [
        (setting, domain, draw, draws[draw])
        for setting in ("natural_only", "cg_low_diversity")
        for domain in ("sketch", "clipart")
        for draw in range(3)
    ]
    assert len(set(draws)) == 3
    assert (
        draws[1]
        == draws_of(study(tmp_path, settings="[natural_only]", held_out__seed=1), DATASET)[0]
    )


def test_an_interpolation_takes_every_fraction_of_every_setting(tmp_path):
    config = study(
        tmp_path,
        "variants: {between: {of: [cg_low_diversity, cg_high_diversity], held_out: [0.05, 0.8]}}",
    )
    assert names(config) == [
        "cg_low_diversity-held_out_0.05",
        "cg_low_diversity-held_out_0.8",
        "cg_high_diversity-held_out_0.05",
        "cg_high_diversity-held_out_0.8",
    ]
    assert {r.setting.held_out for r in recipes(config)} == {0.05, 0.8}


def test_named_subsets_apply_to_the_test_domains_that_are_not_in_them(tmp_path):
    config = study(
        tmp_path, "variants: {s: {of: [cg_high_diversity], domains: [clipart, quickdraw+painting]}}"
    )
    assert names(config) == ["cg_high_diversity-clipart", "cg_high_diversity-painting_quickdraw"]
    assert names(config, "clipart") == ["cg_high_diversity-painting_quickdraw"]


def test_a_ladder_climbs_all_subsets_or_some(tmp_path):
    everything = study(
        tmp_path, "variants: {ladder: {of: [leave_out_domain], diversity: [1, 2, 3, 4]}}"
    )
    assert len(names(everything)) == 4 + 6 + 4 + 1
    assert all("sketch" not in name for name in names(everything))
    some = study(
        tmp_path, "variants: {ladder: {of: [leave_out_domain], diversity: [1, 2], subsets: 2}}"
    )
    assert len(names(some)) == 4
    assert set(names(some)) < set(names(everything))


def test_budgets_topping_up_and_captions_are_variants_too(tmp_path):
    config = study(
        tmp_path,
        """
variants:
  budgets: {of: [cg_high_diversity], budget: [balanced, exposure_matched, fixed_total]}
  full: {of: [natural_only], top_up: [true]}
  aligned: {of: [cg_high_diversity], caption: [caption_aligned]}
""",
        budget__total=9,
    )
    assert {r.budget.total for r in recipes(config)} == {0, 9}
    found = {r.setting.name: (r.budget.rule, r.budget.top_up, r.caption) for r in recipes(config)}
    assert found == {
        "cg_high_diversity-balanced": ("balanced", False, "caption"),
        "cg_high_diversity-exposure_matched": ("exposure_matched", False, "caption"),
        "cg_high_diversity-fixed_total": ("fixed_total", False, "caption"),
        "natural_only-topped_up": ("random", True, "caption"),
        "cg_high_diversity-caption_aligned": ("random", False, "caption_aligned"),
    }


def test_lists_of_a_variant_are_combined(tmp_path):
    config = study(
        tmp_path,
        "variants: {v: {of: [cg_high_diversity], seen_classes: [0.1, 0.5], domains: [painting], "
        "budget: [random, balanced]}}",
    )
    assert names(config) == [
        f"cg_high_diversity-seen_classes_{share}-painting-{rule}"
        for share in ("0.1", "0.5")
        for rule in ("random", "balanced")
    ]


def test_a_matrix_is_read_from_its_file(tmp_path):
    (tmp_path / "half.csv").write_text("domain,class_name,exposure\nreal,*,0.5\n")
    config = study(
        tmp_path, f"variants: {{m: {{of: [natural_only], matrix: [{tmp_path / 'half.csv'}]}}}}"
    )
    assert names(config) == ["half"]
    assert recipes(config)[0].setting.cells == (("real", "*", 0.5),)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("{v: {of: [cg_high_diversity]}}", "the variant varies nothing"),
        ("{v: {of: [], held_out: [0.5]}}", "the variant varies nothing"),
        ("{v: {of: [cg_hih_diversity], held_out: [0.5]}}", "did you mean `cg_high_diversity`"),
        ("{v: {of: [natural_only], held_out: [1.5]}}", "is 1.5"),
        ("{v: {of: [natural_only], helt_out: [1]}}", "did you mean `variants.v.held_out`"),
        ("{v: {of: [natural_only], domains: [clipat]}}", "did you mean `clipart`"),
        ("{v: {of: [natural_only], diversity: [5]}}", "subsets of 5 other domains"),
        ("{v: {of: [natural_only], domains: [clipart+sketch]}}", "applies to no test domain"),
        ("{v: {of: [natural_only], matrix: [a.csv], seen: [1]}}", "a matrix replaces the exposure"),
        ("{v: {of: [natural_only, cg_low_diversity], matrix: [a.csv]}}", "`of` names 2 settings"),
        ("{v: {of: [cg_high_diversity], domains: [clipart], diversity: [1]}}", "given twice"),
        ("{v: {of: [cg_high_diversity], domains: [painting+painting]}}", "stands twice"),
        (
            "{v: {of: [leave_out_domain], domains: [painting+infograph, infograph+painting]}}",
            "twice",
        ),
        ("{v: {of: [cg_high_diversity], seen: [1], subsets: 2}}", "without `diversity`"),
        ("{v: {of: [cg_high_diversity], diversity: [1], subsets: -1}}", "-1 subsets of 1"),
        ("[a]", "key `variants` is"),
        ("{v: 3}", "key `variants.v` is 3"),
        ("{v: {of: natural_only, seen: [1]}}", "key `variants.v.of` is natural_only"),
        ("{v: {of: [natural_only], seen: [[1]]}}", "key `variants.v.seen` is"),
        ("{v: {of: [natural_only], caption: [title]}}", "caption column `title` is unknown"),
        ("{v: {of: [natural_only], budget: [balancd]}}", "balanc"),
    ],
)
def test_an_impossible_variant_is_a_user_error(tmp_path, variants, message):
    with pytest.raises(UserError, match=message):
        exposures(tmp_path, f"variants: {variants}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out__classes": "[axe]"}, "given twice: by classes and count"),
        ({"held_out__count": 0}, "given in no way"),
        ({"held_out__draws": 0}, "`held_out.draws` is 0"),
        ({"held_out": "{count: 1, draws: 9}"}, "seeds [0-9] and [0-9] draw the same"),
        ({"held_out": "{classes: [axe], count: 0, draws: 2}"}, "`held_out.draws` is 2"),
        ({"held_out": "{published: kempf, count: 0}"}, "did you mean `kempf2025`"),
        ({"held_out": "{published: kempf2025, count: 0}"}, "held-out class `aircraft carrier`"),
    ],
)
def test_held_out_classes_that_are_given_wrongly_are_a_user_error(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        recipes(study(tmp_path, settings="[natural_only]", **changes))


def test_a_total_that_no_setting_takes_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"`budget.total` is 9, and no setting"):
        study(tmp_path, settings="[natural_only]", budget__total=9)


def test_a_study_without_settings_and_variants_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="key `settings` is"):
        study(tmp_path)


def test_the_published_classes_are_15():
    assert len(set(load_config("held_out", "kempf2025").classes)) == 15
