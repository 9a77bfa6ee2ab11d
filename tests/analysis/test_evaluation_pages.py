"""The page of a setting and test domain: every class, and what it is mistaken for."""

import re
import shutil
from dataclasses import replace

import pytest
from planting import CLASSES, HELD_OUT, write_study

from analysis.report.evaluation_page_views import domains_view
from analysis.report.evaluation_pages import page_names, write_evaluation_pages
from analysis.report.study import load_results


@pytest.fixture(scope="module")
def results(rich_source):
    return load_results(rich_source.plan, rich_source.folder)


@pytest.fixture(scope="module")
def pages(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "splits"
    write_evaluation_pages(results, folder, {"leave_out_domain.quickdraw"}, {"classes"})
    return folder


def rows_of(page, caption):
    """Cells of the table whose caption begins so, row by row."""
    table = page[page.index(f"<caption><span>{caption}") :].partition("</table>")[0]
    body = table.partition("<tbody>")[2]
    return [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)
        for row in body.split("</tr>")[:-1]
    ]


def test_there_is_a_page_per_setting_and_test_domain(results, pages):
    names = page_names(results)
    assert len(names) == 7 * 2
    assert names["cg_low_diversity.clipart"] == "CG low diversity in clipart"
    assert {path.stem for path in pages.iterdir()} == set(names)


def test_accuracies_are_the_planted_ones_per_domain_and_class_set(pages):
    page = (pages / "leave_out_domain.quickdraw.html").read_text(encoding="utf-8")
    rows = rows_of(page, "Balanced top-1 accuracy per domain")
    assert len(rows) == 2 * 6
    cells = next(row for row in rows if row[:2] == ["quickdraw", "new instances"])
    assert [cell.partition("\xa0")[0] for cell in cells[2:]] == ["40.0", "80.0", "70.0"]


def test_every_class_stands_with_what_it_is_taken_for(pages):
    page = (pages / "leave_out_domain.quickdraw.html").read_text(encoding="utf-8")
    rows = rows_of(page, "Every class")
    assert [row[0] for row in rows[:3]] == list(HELD_OUT)
    assert [row[0] for row in rows[3:]] == [name for name in CLASSES if name not in HELD_OUT]
    name, group, right, score, taken_for, times = rows[0]
    assert (name, group, right, taken_for, times) == (
        "class 03",
        "held out",
        "4 of 10",
        "class 04",
        "6",
    )
    assert score.startswith("40.0\xa0% (16.8 to 68.7)")  # Wilson's interval of 4 in 10


def test_tables_link_to_those_of_the_report_that_there_are(pages):
    page = (pages / "leave_out_domain.quickdraw.html").read_text(encoding="utf-8")
    captions = re.findall(r"<caption>(.*?)</caption>", page, flags=re.DOTALL)
    linked = ['href="../tables/classes.csv"' in caption for caption in captions]
    assert linked == [False, False, True, True]
    assert page.count("../tables/") == 2


def test_best_and_worst_classes_and_confusions_are_told(pages):
    page = (pages / "leave_out_domain.quickdraw.html").read_text(encoding="utf-8")
    rows = rows_of(page, "Classes that are recognised best")
    assert len(rows) == 6  # half of twelve classes
    assert rows[0][3:] == ["class 11 (held out)", "40.0\xa0%"]
    (held_out, *_) = rows_of(page, "First choices across the two class sets")
    assert held_out[0] == "held-out class taken for a seen one"
    assert held_out[2].startswith("60.0\xa0%")
    assert held_out[3] == "75.0\xa0%"  # nine of twelve classes are seen


def test_the_page_leads_to_what_the_model_saw_where_that_has_a_page(pages):
    link = '<a href="../../splits/leave_out_domain.quickdraw.html">'
    assert link in (pages / "leave_out_domain.quickdraw.html").read_text()
    assert "What it saw" not in (pages / "leave_out_domain.clipart.html").read_text()
    page = (pages / "pretrained-ViT-B-32.clipart.html").read_text()
    assert "what it was shown is not known" in page


def test_a_missing_seed_has_rows_that_say_so_beside_the_others(tmp_path):
    study = write_study(tmp_path / "s", seeds=(0, 1), settings=("leave_out_domain",))
    shutil.rmtree(next(study.folder.glob("leave_out_domain-clipart-s1-*")))
    write_evaluation_pages(load_results(study.plan, study.folder), tmp_path, (), ())
    page = (tmp_path / "leave_out_domain.clipart.html").read_text()
    for caption, height in (
        ("Balanced top-1 accuracy per domain", 2 * 6 * 2),
        ("First choices across", 2 * 2 * 2),
        ("Every class", 12 * 2),
    ):
        rows = rows_of(page, caption)
        assert [row[2] for row in rows] == ["0", "1"] * (height // 2)
        for row in rows:
            assert [cell == "missing" for cell in row[3:]] == [row[2] == "1"] * len(row[3:])


def test_a_score_that_cannot_exist_is_not_missing(planted_source):
    plan = planted_source.plan
    seen = frozenset(CLASSES) - set(HELD_OUT)
    tests = plan.tests | {"test_unseen_drawing": plan.tests["test"] | {"sketch": seen}}
    nothing = load_results(planted_source.plan, planted_source.folder).evaluation.clear()
    view = domains_view(nothing, replace(plan, tests=tests), 0, [0])
    row = next(row for row in view.rows if row[:2] == ["sketch", "unseen drawings"])
    assert row[2:] == ["–", "missing", "missing"]


def test_a_missing_run_has_a_page_that_says_so(rich_study, tmp_path):
    (folder,) = rich_study.folder.glob("cg_low_diversity-clipart-*")
    shutil.rmtree(folder)
    results = load_results(rich_study.plan, rich_study.folder)
    write_evaluation_pages(results, tmp_path, (), ())
    page = (tmp_path / "cg_low_diversity.clipart.html").read_text()
    assert f"{folder.name}: new." in page
    assert page.count('<td class="missing">missing</td>') == 12 * 3
