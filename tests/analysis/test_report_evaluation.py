"""The report's sections on evaluation: what is planted (planted_tables.py) is what they show."""

import shutil
from dataclasses import replace

import polars as pl
import pytest
from planting import DRAWS, EVERYTHING, load, write_study

from analysis.report import evaluation_tables as et
from analysis.report import evaluation_views as ev
from analysis.report import probe_tables as pt
from analysis.report.evaluation import evaluation_sections
from analysis.report.probe_figures import site_figure
from analysis.report.section import Chart, Table
from analysis.report.study import load_results
from analysis.report.views import MISSING, NONE

SETTINGS = ("natural_only", "cg_high_diversity", "upper_bound_high")
TITLES = [
    "Prompts",
    "What held-out classes are taken for",
    "Calibration",
    "More scores",
    "Classes",
    "Retrieval",
    "Linear probes",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished study that asks for everything; to be read only."""
    folder = tmp_path_factory.mktemp("whole") / "planted"
    return write_study(folder, settings=SETTINGS, **EVERYTHING | {"milestones": (800,)})


@pytest.fixture(scope="module")
def results(whole):
    return load(whole)


@pytest.fixture(scope="module")
def sections(results):
    return evaluation_sections(results)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Two settings of a classifier, which has no prompts and no captions."""
    folder = tmp_path_factory.mktemp("classifier") / "planted"
    settings = ("natural_only", "cg_high_diversity")
    return load(write_study(folder, settings=settings, prompts=("head",)))


@pytest.fixture(scope="module")
def lacking(whole, tmp_path_factory):
    """Sections of the whole study without the run of cg_high_diversity for quickdraw."""
    folder = tmp_path_factory.mktemp("lacking") / "planted"
    shutil.copytree(whole.folder, folder)
    (gone,) = folder.glob("cg_high_diversity-quickdraw-*")
    shutil.rmtree(gone)
    return evaluation_sections(load_results(whole.plan, folder))


def only(table, **keys):
    (row,) = table.filter(**keys).iter_rows(named=True)
    return row


def row_of(view, *names):
    (row,) = (row for row in view.rows if row[: len(names)] == list(names))
    return row


def parts_of(sections, kind):
    return [part for section in sections for part in section.parts if isinstance(part, kind)]


# ---------------------------------------------------------------------------- sections


def test_a_study_that_asks_for_everything_has_every_section_in_order(sections):
    assert [section.title for section in sections] == TITLES


def test_every_chart_is_drawn_and_names_a_table_of_its_section(sections):
    for section in sections:
        tables = {part.name for part in section.parts if isinstance(part, Table)}
        charts = [part for part in section.parts if isinstance(part, Chart)]
        assert {chart.data for chart in charts} <= tables
        assert all(chart.figure is not None and chart.figure.axes for chart in charts)


@pytest.mark.parametrize("kind", [Chart, Table])
def test_names_of_charts_and_of_tables_are_unique(sections, kind):
    names = [part.name for part in parts_of(sections, kind)]
    assert len(set(names)) == len(names) > 5


def test_every_view_has_a_cell_for_every_column(sections):
    views = [part.view for part in parts_of(sections, Table) if part.view]
    assert len(views) == 9
    for view in views:
        assert view.rows
        assert {len(row) for row in view.rows} == {len(view.columns)}


def test_every_chart_tells_its_samples_and_that_intervals_are_over_them(sections):
    for chart in parts_of(sections, Chart):
        assert "n = " in chart.note
        assert "95 %" in chart.note
        assert "over test samples" in chart.note


def test_a_classifier_has_no_prompts_no_retrieval_and_here_no_probes(classifier):
    titles = [section.title for section in evaluation_sections(classifier)]
    assert titles == TITLES[1:5]


def test_a_study_without_any_finished_run_has_no_section(whole, tmp_path):
    assert evaluation_sections(load_results(whole.plan, tmp_path)) == []


# ---------------------------------------------------------------------------- prompts, scores


def test_prompt_sets_have_their_planted_accuracies(results):
    table = et.prompt_scores(results).filter(split="test", classes="held_out")
    assert table.height == (len(SETTINGS) + 1) * 2 * 4
    for prompts, right in (("domain_free", 5), ("single", 4), ("ensemble", 6), ("domain", 6)):
        row = only(table, prompts=prompts, setting="cg_high_diversity", test_domain="quickdraw")
        assert row["value"] == pytest.approx(right / 10)
        assert row["lo"] < row["value"] < row["hi"]
        assert (row["n"], row["missing"]) == (30, False)


def test_scores_of_milestones_are_not_among_those_of_the_final_weights(results):
    assert not results.evaluation.filter(~pl.col("final")).is_empty()
    keys = [*et.KEYS, "split", "classes", "prompts", "metric"]
    for table in (et.prompt_scores(results), et.more_scores(results), et.retrieval(results)):
        assert table.height
        assert not table.select(keys).is_duplicated().any()


def test_the_text_says_which_set_makes_the_headline_and_that_it_names_no_domain(sections):
    text = sections[0].parts[0].text
    assert "the first set, domain_free." in text
    assert "domain_free names no domain" in text


def test_a_column_tells_its_chance_and_a_row_its_samples(results):
    view = ev.prompts_view(et.prompt_scores(results), results.plan.prompts)
    assert "domain_free, held-out classes (chance 8.3\u00a0%)" in view.columns
    row = row_of(view, "quickdraw", "CG high diversity")
    assert row[2].startswith("50.0\u00a0% (")
    assert row[-1] == "30 + 90"


def test_scores_without_chance_tell_none(results):
    view = ev.calibration_view(et.calibration(results))
    assert view.columns[2:] == ["held-out classes", "seen classes", "Samples"]
    assert row_of(view, "quickdraw", "CG high diversity")[2] == "25.0\u00a0% (20.0 to 30.0)"


def test_more_scores_stand_beside_the_headline(results):
    view = ev.scores_view(et.more_scores(results))
    assert len(view.columns) == 2 + 2 * 4 + 1
    assert view.columns[3] == "balanced top-5, held-out classes (chance 41.7\u00a0%)"


# ---------------------------------------------------------------------------- confusion


def test_what_is_taken_for_what_sums_to_one_beside_its_chance(results):
    table = et.taken_for(results)
    sums = table.select(pl.sum_horizontal("value", "wrong_within", "accuracy"))
    assert sums.to_series().to_list() == pytest.approx([1] * table.height)
    row = only(
        table,
        setting="cg_high_diversity",
        test_domain="quickdraw",
        split="test",
        classes="held_out",
    )
    # planted: the wrong answer is the next class, which is seen (held out are 03, 07 and 11)
    assert (row["value"], row["wrong_within"]) == pytest.approx((0.5, 0))
    assert (row["chance"], row["accuracy_chance"]) == pytest.approx((9 / 12, 1 / 12))


def test_samples_of_seen_classes_are_taken_for_held_out_ones_as_planted(results):
    row = only(
        et.taken_for(results),
        setting="cg_high_diversity",
        test_domain="quickdraw",
        split="test",
        classes="seen",
    )
    # two of ten wrong, of which those of classes 02, 06 and 10 (of nine) choose the held-out next
    assert row["value"] == pytest.approx(0.2 * 3 / 9)
    assert row["wrong_within"] == pytest.approx(0.2 * 6 / 9)
    assert row["chance"] == pytest.approx(3 / 12)


# ---------------------------------------------------------------------------- classes, retrieval


def test_every_tested_class_of_every_run_has_a_row_and_held_out_ones_a_cell(results):
    table = et.class_scores(results)
    assert table.height == (len(SETTINGS) + 1) * 2 * 2 * 12
    assert (
        table.filter(split="test", setting="natural_only", test_domain="clipart")["held_out"].sum()
        == 3
    )
    view = ev.classes_view(table)
    assert [row[1] for row in view.rows] == ["class 03", "class 07", "class 11"] * 2
    row = row_of(view, "quickdraw", "class 07")
    place = view.columns.index("CG high diversity")
    assert row[place].startswith("5 of 10 (")
    assert row[place].endswith("; class 08 5×")


def test_retrieval_has_both_ways_their_chances_and_one_modality_gap(results):
    table = et.retrieval(results).filter(
        split="test", setting="cg_high_diversity", test_domain="quickdraw"
    )
    row = only(table, classes="held_out", metric="image_to_text_r5")
    assert (row["direction"], row["k"]) == ("image_to_text", 5)
    assert (row["value"], row["chance"]) == pytest.approx((0.5 * 0.65, 5 / 120))
    view = ev.retrieval_view(et.retrieval(results))
    names = ("quickdraw", "CG high diversity")
    gap = view.columns.index("modality gap")
    assert row_of(view, *names, "held-out classes")[gap] == NONE
    accuracy = (3 * 5 + 9 * 8) / 120
    assert row_of(view, *names, "all classes")[gap].startswith(f"{1.1 - 0.5 * accuracy:.2f} (")


def test_chances_that_differ_stand_in_their_cells():
    rows = [
        {"test_domain": "a", "setting": "s", "draw": draw, "seed": 0, "split": "test"}
        | {"classes": "held_out", "metric": "image_to_text_r1", "value": 0.5, "lo": 0.4}
        | {"hi": 0.6, "n": 10, "chance": chance, "missing": False}
        for draw, chance in ((0, 0.1), (1, 0.2))
    ]
    view = ev.retrieval_view(pl.DataFrame(rows))
    cells = [row[-2] for row in view.rows]
    assert cells == [
        "50.0\u00a0% (40.0 to 60.0), chance 10.0\u00a0%",
        "50.0\u00a0% (40.0 to 60.0), chance 20.0\u00a0%",
    ]


def test_a_recall_beyond_the_gallery_is_not_missing(results):
    beyond = (pl.col("metric") == "image_to_text_r10") & (pl.col("domain") == "clipart")
    small = replace(results, evaluation=results.evaluation.filter(~beyond))
    (section,) = (s for s in evaluation_sections(small) if s.title == "Retrieval")
    (table,) = (part for part in section.parts if isinstance(part, Table))
    place = table.view.columns.index("image → caption, R@10 (chance 8.3\u00a0%)")
    cells = {row[place] for row in table.view.rows if row[0] == "clipart"}
    assert cells == {NONE}
    for chart in (part for part in section.parts if isinstance(part, Chart)):
        texts = chart.figure.findobj(lambda artist: hasattr(artist, "get_text"))
        assert not [text for text in texts if "missing" in text.get_text()]


# ---------------------------------------------------------------------------- missing runs


def test_a_missing_run_is_a_row_that_says_so_in_every_table(lacking):
    views = [part.view for part in parts_of(lacking, Table) if part.view]
    for view in views:
        if "CG high diversity" in view.columns:  # classes are its rows, settings its columns
            place = view.columns.index("CG high diversity")
            cells = [row[place] for row in view.rows if row[0] == "quickdraw"]
        else:
            rows = [row for row in view.rows if row[:2] == ["quickdraw", "CG high diversity"]]
            cells = [cell for row in rows for cell in row[3:]]
        assert cells
        assert set(cells) <= {MISSING, NONE}
        assert MISSING in cells


def test_a_missing_run_is_null_in_every_csv_and_never_zero(lacking):
    for table in parts_of(lacking, Table):
        rows = table.frame.filter(test_domain="quickdraw", setting="cg_high_diversity")
        assert rows.height
        score = "equivalent" if table.name == "equivalent_shots" else "value"
        assert rows[score].null_count() == rows.height
        others = table.frame.filter(test_domain="clipart", setting="cg_high_diversity")
        assert others[score].null_count() == 0


def test_charts_say_that_a_run_is_missing(lacking):
    for chart in parts_of(lacking, Chart):
        texts = [text.get_text() for text in chart.figure.findobj(lambda a: hasattr(a, "get_text"))]
        shows = not chart.name.endswith("clipart")
        assert ("missing" in texts) == shows, chart.name


# ---------------------------------------------------------------------------- draws and seeds


def test_draws_and_seeds_have_rows_of_their_own(tmp_path):
    settings = ("natural_only", "leave_out_domain")
    study = write_study(tmp_path / "s", DRAWS, (0, 1), settings)
    results = load(study)
    table = et.more_scores(results).filter(
        split="test",
        classes="held_out",
        metric="balanced_top1",
        setting="leave_out_domain",
        test_domain="quickdraw",
    )
    assert table.select("draw", "seed", "value").rows() == [
        (draw, seed, pytest.approx(0.4 + 0.1 * draw)) for draw in range(3) for seed in (0, 1)
    ]
    classes = et.class_scores(results).filter(split="test", seed=0, setting="natural_only")
    for draw, held_out in enumerate(DRAWS):
        of_draw = classes.filter("held_out", draw=draw, test_domain="clipart")
        assert tuple(of_draw["class_name"]) == held_out
    notes = [chart.note for chart in parts_of(evaluation_sections(results), Chart)]
    assert sum("none averaged" in note for note in notes) >= 2


# ---------------------------------------------------------------------------- probes


@pytest.fixture(scope="module")
def probes(results):
    return pt.probe_scores(results)


def test_probes_concern_the_test_domain_and_the_natural_one(probes):
    pairs = probes.filter(test_domain="quickdraw").select("trained_on", "domain").unique()
    assert set(pairs.rows()) == {
        ("quickdraw", "quickdraw"),
        ("real", "quickdraw"),
        ("real", "real"),
    }


def test_a_full_probe_stands_at_its_site_beside_the_zero_shot_score(results, probes):
    table = pt.tested_here(pt.site_scores(probes, pt.zero_shot_scores(results)))
    row = only(
        table,
        test_domain="quickdraw",
        setting="cg_high_diversity",
        trained_on="real",
        classes="held_out",
        site="layer3",
    )
    assert row["value"] == pytest.approx(0.4 + 0.3 - 0.1 - 0.05)
    assert row["zero_shot"] == pytest.approx(0.5)
    view = pt.sites_view(table)
    assert view.columns[4:] == [
        *("stem", "layer1", "layer2", "layer3", "layer4", "embedding", "Zero-shot", "Samples")
    ]
    assert "Chance: 8.3\u00a0%." in view.caption


def two_architectures(results, probes):
    """Full probes of two settings, the sites of one of which are other ones."""
    table = pt.tested_here(pt.site_scores(probes, pt.zero_shot_scores(results)))
    two = table.filter(pl.col("setting").is_in(["natural_only", "cg_high_diversity"]))
    blocks = {"stem": "patches", "layer1": "block3", "layer2": "block6", "embedding": "embedding"}
    other = two.filter(pl.col("site").is_in(list(blocks)), setting="natural_only")
    named = other.with_columns(
        pl.col("site").replace_strict(blocks), depth=pl.col("depth").clip(upper_bound=3)
    )
    return pl.concat([named, two.filter(setting="cg_high_diversity")])


def test_sites_of_two_architectures_have_one_column_each_and_their_own_axis(results, probes):
    table = two_architectures(results, probes)
    view = pt.sites_view(table)
    sites = ["patches", "stem", "block3", "layer1", "block6", "layer2", "embedding"]
    assert view.columns[4:-2] == [*sites, "layer3", "layer4"]
    row = next(row for row in view.rows if row[1] == "natural only")
    assert [text == NONE for text in row[4:-2]] == [False, True] * 3 + [False, True, True]
    panels = site_figure(table.filter(test_domain="quickdraw")).axes[:2]
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in panels]
    assert ticks[0] == ["patches", "block3", "block6", "embedding"]
    assert ticks[1] == ["stem", "layer1", "layer2", "layer3", "layer4", "embedding"]


def test_equivalent_shots_are_those_of_the_mean_curve(results, probes):
    few_shot = pt.few_shot_scores(probes, pt.zero_shot_scores(results))
    assert few_shot["site"].drop_nulls().unique().to_list() == ["embedding"]
    table = pt.shots_of_zero_shot(few_shot)
    keys = {"test_domain": "quickdraw", "trained_on": "quickdraw", "classes": "held_out"}
    # planted: full 0.9; mean at k shots 0.9 (1 - 0.6 / (1 + log2 k)) + 0.01 - 0.05
    one, two = 0.9 * 0.4 - 0.04, 0.9 * 0.7 - 0.04
    row = only(table, setting="cg_high_diversity", **keys)
    assert row["shots"] == pytest.approx(2 ** ((0.5 - one) / (two - one)))
    weak = only(table, setting="natural_only", **keys)
    assert (weak["shots"], weak["equivalent"]) == (None, "< 1")
    strong = only(table, setting="upper_bound_high", **keys)
    assert (strong["shots"], strong["equivalent"]) == (None, "> 16")


def test_a_few_shot_cell_shows_the_spread_over_draws_of_images(results, probes):
    view = pt.few_shot_view(pt.few_shot_scores(probes, pt.zero_shot_scores(results)))
    row = row_of(view, "quickdraw", "CG high diversity", "quickdraw", "held-out classes")
    assert row[view.columns.index("1 image")] == "32.0\u00a0% (31.0 to 33.0)"
    assert "over 3 draws" in view.caption
