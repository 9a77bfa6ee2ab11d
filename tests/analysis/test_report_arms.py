"""Reports on a study with several arms: each has its own, and one page lies over all of them."""

import re
import shutil
from dataclasses import replace
from urllib.parse import unquote

import polars as pl
import pytest
from planting import COMMAND, DRAWS, EMPTY_SVG, SETTINGS, write_arms

from analysis.report import tables
from analysis.report.arm_figure import arms_figure
from analysis.report.arm_views import scores_view
from analysis.report.arms import (
    arm_cost,
    arm_differences,
    arm_headline,
    arm_keys,
    arm_scores,
    label_of,
)
from analysis.report.arms_page import (
    accuracy_section,
    arms_banner,
    arms_lines,
    difference_section,
    is_complete,
    write_arms_page,
)
from analysis.report.page import write_report
from analysis.report.section import Text
from analysis.report.study import load_results
from analysis.report.study_comparison import ComparedStudy
from analysis.report.views import MISSING
from analysis.statistics import holm

WITHOUT = "upper_bound_low"
FEW = tuple(name for name in SETTINGS if name != WITHOUT)
ARMS = {"infonce": {"pretrained": ("b32",)}, "sigmoid": {"settings": FEW, "pretrained": ("b32",)}}
LABELS = list(ARMS)
TWO = ("natural_only", "cg_high_diversity")


def load(studies):
    return [
        ComparedStudy(
            load_results(study.plan, study.folder),
            {"study": {"model": "m", "training": {"objective": study.plan.arm}, "resources": 1}},
        )
        for study in studies
    ]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished study with two arms, the second without one setting; to be read only."""
    return write_arms(tmp_path_factory.mktemp("arms") / "planted", ARMS)


@pytest.fixture
def studies(source, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(source[0].folder, tmp_path / "planted")
    return [replace(study, folder=tmp_path / "planted") for study in source]


def deleted(studies, start):
    """Delete the run whose name starts so; its name."""
    names = [run.name for study in studies for run in study.plan.runs]
    (name,) = [name for name in names if name.startswith(start)]
    shutil.rmtree(studies[0].folder / name)
    return name


def test_scores_of_arms_are_the_planted_ones(source):
    scores = arm_scores(arm_headline(load(source))).filter(split="test", test_domain="quickdraw")
    found = {(row["setting"], row["arm"]): row for row in scores.iter_rows(named=True)}
    assert found["cg_high_diversity", "infonce"]["value"] == pytest.approx(0.5)
    assert found["cg_high_diversity", "sigmoid"]["value"] == pytest.approx(0.7)
    assert found["leave_out_domain", "sigmoid"]["value"] == pytest.approx(0.1)
    assert (WITHOUT, "sigmoid") not in found
    row = found["cg_high_diversity", "sigmoid"]
    assert row["lo"] < row["value"] < row["hi"]
    assert (row["scores"], row["missing"], row["n"]) == (1, 0, 30)


def test_a_pretrained_model_belongs_to_no_arm_and_counts_once(source):
    headline = arm_headline(load(source))
    rows = headline.filter(setting="pretrained-b32", split="test", classes="held_out")
    assert rows.select("arm", "test_domain").rows() == [("", "quickdraw"), ("", "clipart")]
    assert "pretrained-b32" not in arm_differences(load(source))["setting"]
    assert arm_cost(load(source))["runs"].to_list() == [11, 9]


def test_not_planned_is_not_missing(studies):
    deleted(studies, "cg_low_diversity-clipart-sigmoid")
    view = scores_view(arm_scores(arm_headline(load(studies))), LABELS, "test")
    cells = {tuple(row[:2]): row[2:4] for row in view.rows}
    assert cells["clipart", "CG low diversity"] == ["50.0\xa0% (32.6 to 67.4)", MISSING]
    assert cells["clipart", "upper bound, low"][1] == "not planned"
    assert [row[4] for row in view.rows] == ["30"] * len(view.rows)


def test_differences_are_paired_and_corrected_over_all_arms(source, tmp_path):
    third = write_arms(tmp_path / "planted", ARMS | {"another": {"settings": TWO}})
    table = arm_differences(load(third)).filter(split="test")
    assert table["arm"].unique(maintain_order=True).to_list() == ["sigmoid", "another"]
    rows = {(row["arm"], row["test_domain"], row["setting"]): row for row in table.rows(named=True)}
    assert len(rows) == 2 * (5 + 2)
    better = rows["sigmoid", "quickdraw", "cg_high_diversity"]
    assert (better["value_baseline"], better["value_arm"]) == pytest.approx((0.5, 0.7))
    assert better["difference"] == pytest.approx(0.2)
    assert better["lo"] <= 0.2 <= better["hi"]
    assert (better["n"], better["unpaired"]) == (30, None)
    assert rows["another", "clipart", "natural_only"]["difference"] == 0
    assert table["p_holm"].to_list() == pytest.approx(holm(table["p"].to_list()))


def test_an_arm_without_a_run_is_told_and_has_no_difference(studies):
    deleted(studies, "cg_low_diversity-clipart-sigmoid")
    arms = load(studies)
    section = difference_section(arms, arm_differences(arms))
    notes = [part.text for part in section.parts if isinstance(part, Text)]
    assert notes[1:] == [
        "sigmoid: Not paired, because they are missing in planted (sigmoid): CG low diversity in "
        "clipart.",
        f"Planned for infonce and not sigmoid: {WITHOUT} in quickdraw, {WITHOUT} in clipart.",
    ]


def test_the_banner_counts_every_run_of_all_arms_once(studies):
    arms = load(studies)
    assert arms_banner(arms) == ["21 runs expected: 21 done, 0 new, 0 failed."]
    assert is_complete(arms)
    name = deleted(studies, "natural_only-sigmoid")
    (studies[0].folder / "other").mkdir()
    (studies[0].folder / "other" / "run.json").write_text("{}")
    arms = load(studies)
    assert arms_banner(arms) == [
        "21 runs expected: 20 done, 1 new, 0 failed.",
        f"new: {name}",
        "not part of this study: other",
    ]
    assert not is_complete(arms)


def test_findings_name_what_is_clear_after_correction(source):
    arms = load(source)
    (line,) = [line for line in arms_lines(arms, arm_differences(arms)) if line[:2] == "  "]
    assert line == (
        "  Of 10 comparisons with infonce, sigmoid is better in 0 and worse in 2 (leave out domain "
        "in quickdraw −30.0, leave out domain in clipart −30.0) after Holm's correction; the "
        "others show no clear difference."
    )


def test_cost_is_summed_per_arm_and_tells_what_is_done(studies):
    deleted(studies, "cg_low_diversity-clipart-sigmoid")
    cost = arm_cost(load(studies)).rows(named=True)
    assert [(row["arm"], row["done"], row["runs"]) for row in cost] == [
        ("infonce", 11, 11),
        ("sigmoid", 8, 9),
    ]
    assert [row["train_seconds"] for row in cost] == [1100, 800]
    assert [row["samples_per_second"] for row in cost] == [900, 900]


def test_keys_are_those_in_which_arms_differ(source):
    assert arm_keys(load(source)).to_dict(as_series=False) == {
        "arm": ["infonce", "sigmoid"],
        "training.objective": ["infonce", "sigmoid"],
    }


def test_several_draws_and_seeds_give_means_and_a_range_without_interval(tmp_path):
    grid = {"draws": DRAWS, "seeds": (0, 1), "settings": ("leave_out_domain", "cg_high_diversity")}
    headline = arm_headline(load(write_arms(tmp_path / "planted", {"a": grid, "b": grid})))
    scores = arm_scores(headline).filter(split="test", test_domain="quickdraw", arm="a")
    first, second = scores.sort("setting", descending=True).rows(named=True)
    assert (first["value"], first["smallest"], first["largest"]) == pytest.approx((0.5, 0.4, 0.6))
    assert (second["value"], second["smallest"], second["largest"]) == pytest.approx(
        (0.55, 0.5, 0.6)
    )
    assert (first["lo"], first["scores"], first["missing"]) == (None, 6, 0)
    view = scores_view(arm_scores(headline), ["a", "b"], "test")
    assert view.rows[0][2] == "50.0\xa0% (40.0 to 60.0, n 6)"
    assert "which is no interval" in view.caption


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_figure_has_a_point_per_arm_and_says_what_is_not_there(studies):
    deleted(studies, "cg_low_diversity-clipart-sigmoid")
    shown = arm_headline(load(studies)).filter(
        pl.col("arm") != "", split="test", classes="held_out"
    )
    figure = arms_figure(shown, SETTINGS, LABELS)
    assert sorted(texts(figure)) == ["missing", "not planned", "not planned"]
    for axes, points in zip(figure.axes, (11, 10), strict=True):
        assert len(axes.containers) == points
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*LABELS, "chance"]


def test_settings_that_share_weights_are_named_in_the_arms_that_have_them(source):
    arms = load(source)
    plan = arms[0].results.plan
    twins = (plan.runs[0], replace(plan.runs[1], twin=plan.runs[0].name), *plan.runs[2:])
    changed = replace(arms[0].results, plan=replace(plan, runs=twins))
    several = [replace(arms[0], results=changed), arms[1]]
    section = accuracy_section(several, arm_headline(several))
    (note,) = [part.text for part in section.parts if isinstance(part, Text)]
    assert note == (
        "infonce: The same mixture by several names is one model, trained once; that its numbers "
        "agree is no replication: natural only in quickdraw, clipart = leave out domain in "
        "quickdraw."
    )
    cost = tables.cost(changed)
    assert cost["same_weights_as"].drop_nulls().to_list() == [plan.runs[0].name]
    assert cost["train_seconds"].null_count() == 2  # its own and the pretrained model's


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Folder of the reports on a study with two arms, without what figures show."""
    folder = tmp_path_factory.mktemp("reported")
    asked = {"a b": {"settings": TWO, "pretrained": ("b32",)}, "sigmoid": {"settings": TWO[:1]}}
    arms = load(write_arms(folder / "planted", asked))
    pages = folder / "planted" / "splits"
    pages.mkdir()
    for page in ("index", *(path.name for path in (folder / "planted" / "mixtures").iterdir())):
        (pages / f"{page}.html").touch()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("analysis.report.page.svg_text", lambda _figure, _name: EMPTY_SVG)
        for arm in arms:
            write_report(arm.results, folder / "planted" / "report" / label_of(arm), COMMAND)
        write_arms_page(arms, folder / "planted" / "report", COMMAND)
    return folder / "planted" / "report"


def test_every_link_of_every_page_leads_somewhere(report):
    pages = list(report.rglob("*.html"))
    links = 0
    for page in pages:
        outside_figures = re.sub(r"<svg.*?</svg>", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r'href="([^"#][^"]*)"', outside_figures):
            if not link.startswith("data:"):
                assert (page.parent / unquote(link)).is_file(), (page, link)
                links += 1
    assert len(pages) == 1 + 2 + (4 + 2) + 2
    assert links > 100


def test_the_page_over_arms_asks_nobody_and_leads_to_each(report):
    page = (report / "index.html").read_text()
    assert "default-src 'none'" in page
    assert "src=" not in page.replace('src="data:', "")
    assert 'href="sigmoid/index.html"' in page
    assert "&lt;b&gt;" in page
    assert (
        '<a href="../index.html">All arms of study planted</a>'
        in (report / "sigmoid" / "index.html").read_text()
    )
    text = (report / "report.md").read_text()
    assert "# Study planted: 2 ways to train, side by side" in text
    assert "not planned" in text
    for name in ("headline", "arm_scores", "arm_differences", "arm_cost", "arm_keys"):
        assert pl.read_csv(report / "tables" / f"{name}.csv").height
    assert {path.stem for path in (report / "figures").iterdir()} == {
        "arms",
        "arms-unseen-drawings",
    }


def test_equal_results_give_equal_bytes(source, tmp_path):
    first, second = (
        write_arms_page(load(source), tmp_path / name, COMMAND).read_bytes() for name in "ab"
    )
    assert first == second
