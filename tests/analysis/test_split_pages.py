"""Pages of mixtures: what they say is what the manifests say."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_mixtures import DOMAINS, HIGH, LOW, ids_of, manifest_of, save

from analysis.report.page import write_report
from analysis.report.split_manifests import read_manifest, read_manifests
from analysis.report.split_pages import (
    shared_ids,
    summary_lines,
    write_comparison,
    write_split_pages,
)
from analysis.report.split_views import exposure_lines
from analysis.report.study import load_results
from splits.errors import UserError
from splits.files import write_text

LACKING = "cg_high_diversity.clipart"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's folder with two mixtures, their pages, their comparison, and three problems."""
    folder = tmp_path_factory.mktemp("study")
    mixtures = folder / "mixtures"
    low = manifest_of(LOW, name="cg_low_diversity")
    save(mixtures / "cg_high_diversity.quickdraw", manifest_of(HIGH), ids_of(HIGH))
    save(mixtures / "cg_low_diversity.quickdraw", low, ids_of(LOW))
    old = manifest_of(HIGH)
    save(mixtures / LACKING, {k: v for k, v in old.items() if k not in ("notes", "trimmed")})
    save(mixtures / "torn.quickdraw", {})
    (mixtures / "torn.quickdraw" / "manifest.json").write_text('{"setting":')
    found = sorted(path.name for path in mixtures.iterdir())
    manifests, problems = read_manifests(mixtures, [*found, "gone.quickdraw"])
    list(write_split_pages(manifests, problems, folder / "splits", "planted"))
    pair = ("cg_high_diversity.quickdraw", "cg_low_diversity.quickdraw")
    write_comparison(manifests, problems, mixtures, pair, "planted")
    return folder


def read(study, name):
    return (study / "splits" / f"{name}.html").read_text(encoding="utf-8")


class Tables(HTMLParser):
    """Every table of a page as rows of text."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.cell = [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell.replace("\N{NARROW NO-BREAK SPACE}", ""))
            self.cell = None


def rows_by_name(table):
    return {row[0]: row[1:] for row in table[1:]}


# ---------------------------------------------------------------------------- one mixture


def test_the_domains_of_a_page_have_the_counts_of_the_manifest(study):
    rows = rows_by_name(Tables(read(study, "cg_high_diversity.quickdraw")).tables[0])
    assert rows["clipart"] == [
        "64 + 24",
        "32 + 12",
        "16 + 6",
        "0 + 0",
        "22",
        "6.1\N{NO-BREAK SPACE}%",
    ]
    assert rows["quickdraw"][2:5] == ["240 + 0", "24 + 0", "240"]
    assert rows["all"][2:5] == ["336 + 26", "32 + 2", "362"]
    assert sum(int(rows[domain][4]) for domain in DOMAINS) == int(np.sum(HIGH)) == 362


def test_the_largest_and_smallest_cells_are_the_manifests(study):
    page = read(study, "cg_high_diversity.quickdraw")
    cells = Tables(page).tables[1][1:]
    assert cells[0][1:3] == ["quickdraw", "axe"]
    assert cells[0][3:] == ["360", "180", "90", "9"]
    smallest = next(row for row in cells if row[0] == "smallest")
    assert (smallest[1], smallest[2], smallest[5]) == ("clipart", "$x$", "4")
    assert "the 11 cells that hold samples" in page
    assert "does not show 1; shown, but without a sample: 0" in page


def test_a_page_tells_rule_notes_hashes_and_held_out_classes(study):
    page = read(study, "cg_high_diversity.quickdraw")
    for text in (
        "every cell was shrunk by 0.5",
        "Every domain.",
        "1 (draw 0): bed",
        "rule published, seed 0, size 1\N{NARROW NO-BREAK SPACE}234, top up no",
        f"{362:064d}",
        "d" * 64,
    ):
        assert text in page


def test_a_base_is_named_with_its_size(tmp_path):
    base = {"name": "cc12m", "sha256": "b" * 64, "samples": 1000}
    save(tmp_path / "with_base.quickdraw", manifest_of(HIGH, base=base))
    manifests, problems = read_manifests(tmp_path, ["with_base.quickdraw"])
    list(write_split_pages(manifests, problems, tmp_path / "splits", "planted"))
    page = (tmp_path / "splits" / "with_base.quickdraw.html").read_text()
    assert "cc12m: all of its 1\N{NARROW NO-BREAK SPACE}000 samples, on top" in page
    assert "  and all 1000 samples of cc12m" in summary_lines(manifests, problems)


def test_exposure_is_told_in_words(tmp_path):
    exposure = [[1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5], [1, 0, 0.2, 0]]
    save(tmp_path / "m", manifest_of(HIGH, exposure=exposure))
    assert exposure_lines(read_manifest(tmp_path / "m")) == [
        "real (natural): all samples of every class.",
        "clipart: 50.0\N{NO-BREAK SPACE}% of the samples of every class.",
        "quickdraw (test): of the seen classes 20.0\N{NO-BREAK SPACE}% to 100.0\N{NO-BREAK SPACE}% "
        "of the samples (2 of 3 classes); of the held-out classes nothing.",
    ]


@pytest.mark.parametrize(
    ("realised", "effective"),
    [
        ([[10] * 4] * 3, 3.0),
        ([[10] * 4, [0] * 4, [0] * 4], 1.0),
        ([[20] * 4, [10] * 4, [10] * 4], math.exp(1.5 * math.log(2))),
        ([[0] * 4] * 3, 0.0),
    ],
)
def test_the_effective_number_of_domains_is_known_by_hand(tmp_path, realised, effective):
    save(tmp_path / "m", manifest_of(realised))
    assert read_manifest(tmp_path / "m").effective_domains == pytest.approx(effective)


counts = st.lists(st.lists(st.integers(0, 10_000), min_size=4, max_size=4), min_size=3, max_size=3)


@settings(max_examples=30, deadline=None)
@given(realised=counts)
def test_effective_domains_lie_between_one_and_the_domains_shown(tmp_path_factory, realised):
    folder = tmp_path_factory.mktemp("any") / "m"
    save(folder, manifest_of(realised))
    shown = sum(sum(row) > 0 for row in realised)
    assert min(1, shown) - 1e-9 <= read_manifest(folder).effective_domains <= shown + 1e-9


def test_the_terminal_gets_one_line_per_domain(study):
    manifests, problems = read_manifests(
        study / "mixtures", ["cg_high_diversity.quickdraw", "gone"]
    )
    assert summary_lines(manifests, problems) == [
        "held-out classes (1): bed",
        "",
        "cg_high_diversity, test domain quickdraw: 362 samples, sha256 000000000000",
        "  real         seen      80   held-out     20",
        "  clipart      seen      16   held-out      6",
        "  quickdraw    seen     240   held-out      0",
        "damaged or absent: gone/manifest.json cannot be read (No such file or directory)",
    ]


# ---------------------------------------------------------------------------- comparison


def test_a_comparison_has_the_numbers_known_by_hand(study):
    name = "compare-cg_high_diversity.quickdraw-vs-cg_low_diversity.quickdraw"
    page = read(study, name)
    by_domain, changed, facts = Tables(page).tables
    rows = rows_by_name(by_domain)
    assert rows["clipart"] == ["22", "0", "−22", "0.00", "16 → 0", "6 → 0", "0", "0.000"]
    assert rows["quickdraw"] == ["240", "330", "+90", "1.38", "240 → 330", "0 → 0", "240", "0.727"]
    assert rows["all"][:4] == ["362", "550", "+188", "1.52"]
    assert rows["all"][-2:] == ["340", "0.594"]  # of 572 different ids
    assert changed[1][:6] == ["real", "axe", "30", "60", "+30", "2.00"]
    assert "11 of 12 cells differ" in page
    assert ["Samples", "362", "550"] in facts
    assert all(row[0] != "Test domain" for row in facts)  # it is the same


def test_repeated_ids_count_once_as_shared(tmp_path):
    ids = ids_of(HIGH)
    ids.write_parquet(tmp_path / "a.parquet")
    pl.concat([ids, ids]).write_parquet(tmp_path / "b.parquet")
    shared = shared_ids(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert shared[None] == (362, 362)
    assert shared["clipart"] == (22, 22)


def compare(study, *pair):
    names = ["cg_high_diversity.quickdraw", "cg_low_diversity.quickdraw", LACKING]
    manifests, problems = read_manifests(study / "mixtures", names)
    return write_comparison(manifests, problems, study / "mixtures", pair, "planted")


def test_an_unknown_name_is_answered_with_the_nearest(study):
    with pytest.raises(UserError, match=r"did you mean `cg_low_diversity\.quickdraw`"):
        compare(study, "cg_high_diversity.quickdraw", "cg_low_diversty.quickdraw")


def test_a_damaged_mixture_cannot_be_compared(study):
    with pytest.raises(UserError, match="lacks notes, trimmed"):
        compare(study, LACKING, "cg_low_diversity.quickdraw")


def test_a_comparison_without_a_table_or_of_two_worlds_is_refused(study, tmp_path):
    mixtures = tmp_path / "mixtures"
    save(mixtures / "a", manifest_of(HIGH))
    save(mixtures / "b", manifest_of(HIGH))
    save(mixtures / "c", manifest_of(HIGH, domains=["real", "sketch", "quickdraw"]))
    manifests, problems = read_manifests(mixtures, ["a", "b", "c"])
    with pytest.raises(UserError, match="table cannot be read"):
        write_comparison(manifests, problems, mixtures, ("a", "b"), "planted")
    with pytest.raises(UserError, match="different domains or classes"):
        write_comparison(manifests, problems, mixtures, ("a", "c"), "planted")


# ---------------------------------------------------------------------------- index and problems


def test_the_index_has_a_row_and_a_link_per_mixture(study):
    page = read(study, "index")
    (table,) = Tables(page).tables
    assert [row[1:8] for row in table[1:]] == [
        ["quickdraw", "0", "362", "3 of 3", "2.22", "240", "0"],
        ["quickdraw", "0", "550", "2 of 3", "1.96", "330", "0"],
    ]
    links = re.findall(r'<a href="([^"]+)"', page)
    assert len(links) == 2
    assert all((study / "splits" / link).is_file() for link in links)


def test_problems_are_named_on_the_index_and_not_fatal(study):
    page = read(study, "index")
    assert "2 of 5 mixtures could be read" in page
    for problem in (
        f"{LACKING}/manifest.json lacks notes, trimmed",
        "torn.quickdraw/manifest.json is no JSON",
        "gone.quickdraw/manifest.json cannot be read",
    ):
        assert problem in page


def test_a_study_without_any_manifest_has_an_index_that_says_so(tmp_path):
    manifests, problems = read_manifests(tmp_path / "mixtures", ["a", "b"])
    *_, index = write_split_pages(manifests, problems, tmp_path / "splits", "planted")
    assert "0 of 2 mixtures could be read" in index.read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 361}, "its cells sum to 362, its size is 361"),
        ({"realised": [[1, 2], [3, 4]]}, "`realised` is 2 × 2, not 3 × 4"),
        ({"requested": [[1], [2, 3]]}, "is not a mixture's"),
        ({"test_domain": "sketch"}, "test domain"),
        ({"held_out": ["zebra"]}, "held-out class"),
        ({"budget": None}, "holds None as `budget`"),
        ({"sha256": 7}, "holds 7 as `sha256`"),
        ({"domains": [[], 1, None]}, "is not a mixture's"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_a_problem(tmp_path, change, says):
    save(tmp_path / "m", manifest_of(HIGH) | change)
    manifests, problems = read_manifests(tmp_path, ["m"])
    assert not manifests
    assert says in problems["m"]
    assert problems["m"].startswith("m/manifest.json")


# ---------------------------------------------------------------------------- pages


def test_pages_ask_nobody_for_anything_and_escape_names(study):
    pages = list((study / "splits").iterdir())
    assert len(pages) == 4
    for path in pages:
        page = path.read_text(encoding="utf-8")
        addresses = re.findall(r"""\S*https?://[^"'\s]*""", page)
        assert all(address.startswith("xmlns") for address in addresses)
        assert page.count("<script") == 1  # the one that sorts tables
        assert "<dog>" not in page
        assert "{{" not in page
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids)) > 0
    assert "cat &amp; &lt;dog&gt;" in read(study, "cg_high_diversity.quickdraw")


def test_equal_manifests_give_equal_bytes(study, tmp_path):
    name = "cg_high_diversity.quickdraw"
    manifests, _ = read_manifests(study / "mixtures", [name])
    list(write_split_pages(manifests, {}, tmp_path, "planted"))
    assert (tmp_path / f"{name}.html").read_text() == read(study, name)


def test_the_report_of_a_study_links_the_pages_that_are_there(planted_study):
    folder, run = planted_study.folder, planted_study.plan.runs[1]
    name, *_ = run.mixtures.values()
    write_text(folder / "splits" / f"{name}.html", "")
    results = load_results(planted_study.plan, folder)
    page = write_report(results, folder / "report", "clipgen report planted").read_text()
    assert re.findall(r'href="\.\./splits/([^"]+)"', page) == [f"{name}.html"]
