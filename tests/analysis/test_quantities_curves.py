"""Curves of diversity and exposure: the axes are read from mixtures, not from names."""

from dataclasses import replace

import polars as pl
import pytest
from planting import write_study

from analysis.report.curve_figures import curve_figure
from analysis.report.exposure_axes import DIVERSITY, HELD_OUT, SEEN, curves, placed
from analysis.report.quantities import curves_section
from analysis.report.study import load_results

HIGH, LOW, DG = "cg_high_diversity", "cg_low_diversity", "leave_out_domain"
SETTINGS = ("natural_only", DG, LOW, HIGH, f"{HIGH}-a", f"{HIGH}-b", f"{HIGH}-c", f"{DG}-a")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Variants with names that tell nothing; `shown` says what they show."""
    study = write_study(tmp_path_factory.mktemp("ladder") / "planted", settings=SETTINGS)
    return load_results(study.plan, study.folder)


def shown(results, changes):
    """The results, with other exposures of the mixtures of some settings."""
    mixtures = dict(results.mixtures)
    for name, manifest in results.mixtures.items():
        if change := changes.get(manifest["setting"]):
            mixtures[name] = change(manifest)
    return replace(results, mixtures=mixtures)


def with_cells(manifest, exposure_of):
    """The manifest with another exposure of some cells, and no more samples than that."""
    exposure = [
        [exposure_of(domain, name, old) for name, old in zip(manifest["classes"], row, strict=True)]
        for domain, row in zip(manifest["domains"], manifest["exposure"], strict=True)
    ]
    realised = [[round(40 * share) for share in row] for row in exposure]
    return manifest | {"exposure": exposure, "realised": realised}


def other_domains(*names):
    def change(manifest):
        kept = {"real", manifest["test_domain"], *names}
        return with_cells(manifest, lambda domain, _, old: old * (domain in kept))

    return change


def of_test_domain(share_of):
    def change(manifest):
        def exposure_of(domain, name, old):
            is_test = domain == manifest["test_domain"]
            return share_of(name, name in manifest["held_out"]) if is_test else old

        return with_cells(manifest, exposure_of)

    return change


@pytest.fixture(scope="module")
def ladder(results):
    return shown(
        results,
        {
            f"{HIGH}-a": other_domains("painting"),
            f"{HIGH}-b": other_domains("sketch", "painting"),
            f"{HIGH}-c": other_domains("sketch"),
            f"{DG}-a": other_domains("sketch"),
        },
    )


def places(table, axis):
    """Places of a curve's points in the first test domain, by family."""
    rows = table.filter(test_domain="quickdraw").group_by("family").agg(pl.col(axis).sort())
    return {family: values for family, values in rows.iter_rows()}


def test_a_ladder_of_domains_is_one_curve_per_exposure_to_the_test_domain(ladder):
    table = curves(placed(ladder), DIVERSITY)
    assert places(table, DIVERSITY) == {
        "nothing of the test domain": [0, 1, 4],
        "its seen classes": [0, 1, 1, 2, 4],
    }
    row = table.filter(test_domain="quickdraw", setting=f"{HIGH}-b").row(0, named=True)
    assert (row["others"], row["value"]) == ("painting, sketch", pytest.approx(0.5))


def test_a_share_of_whole_classes_is_no_share_of_samples(results):
    changed = shown(
        results,
        {
            f"{HIGH}-a": of_test_domain(lambda name, held_out: name < "class 04" and not held_out),
            f"{HIGH}-b": of_test_domain(lambda _, held_out: 0.5 * (not held_out)),
            f"{HIGH}-c": of_test_domain(lambda _, held_out: 0.25 * (not held_out)),
        },
    )
    assert places(curves(placed(changed), SEEN), SEEN) == {
        "all other domains, whole classes": [0, 0, pytest.approx(3 / 9), 1],
        "all other domains, samples of every class": [0, 0, 0.25, 0.5, 1],
    }


def test_interpolation_to_the_upper_bound_is_a_curve(results):
    shares = {"a": 0.05, "b": 0.5, "c": 1.0}
    changed = shown(
        results,
        {
            f"{HIGH}-{letter}": of_test_domain(lambda _, held_out, s=share: s if held_out else 1.0)
            for letter, share in shares.items()
        },
    )
    table = curves(placed(changed), HELD_OUT)
    assert places(table, HELD_OUT) == {"all other domains": [0, 0.05, 0.5, 1]}


def test_other_budgets_are_other_curves(ladder):
    def rebudgeted(manifest):
        budget = manifest["budget"] | {"rule": "balanced"}
        return other_domains("sketch")(manifest) | {"budget": budget}

    table = curves(placed(shown(ladder, {f"{HIGH}-c": rebudgeted})), DIVERSITY)
    assert f"{HIGH}-c" not in set(table["setting"])  # alone on its curve
    assert all("budget fixed total" in family for family in table["family"])


def test_two_places_make_no_curve(planted_source):
    results = load_results(planted_source.plan, planted_source.folder)
    for axis in (DIVERSITY, SEEN, HELD_OUT):
        assert curves(placed(results), axis).is_empty()
    assert curves_section(results) is None


def test_what_nobody_knows_has_no_place(rich_source):
    table = placed(load_results(rich_source.plan, rich_source.folder))
    row = table.filter(setting="pretrained-ViT-B-32").row(0, named=True)
    assert row["value"] == pytest.approx(0.6)
    assert (row["other_domains"], row["seen_share"], row["held_out_share"]) == (None, None, None)


def test_a_manifest_without_exposures_has_no_shares(ladder):
    lacking = shown(
        ladder,
        {
            HIGH: lambda manifest: {
                key: value for key, value in manifest.items() if key != "exposure"
            }
        },
    )
    rows = placed(lacking).filter(setting=HIGH)
    assert rows["seen_share"].null_count() == rows.height
    assert set(rows["other_domains"]) == {4}


def test_the_figure_has_a_line_per_family_and_every_point(ladder):
    table = curves(placed(ladder), DIVERSITY)
    figure = curve_figure(table, DIVERSITY)
    quickdraw, clipart = (axes for axes in figure.axes if axes.get_visible())
    assert (quickdraw.get_title(loc="left"), clipart.get_title(loc="left")) == (
        "test domain quickdraw",
        "test domain clipart",
    )
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [*table["family"].unique(maintain_order=True), "chance"]
    drawn = sum(len(container.lines[0].get_xdata()) for container in quickdraw.containers)
    assert drawn == table.filter(test_domain="quickdraw").height


def test_missing_points_are_counted_in_the_section(ladder):
    gone = ladder.evaluation.filter(pl.col("setting") != f"{HIGH}-b")
    section = curves_section(replace(ladder, evaluation=gone))
    chart = section.parts[1]
    assert chart.name == chart.data == "score_by_other_domains"
    assert chart.note.endswith("2 of 16 points are missing.")
