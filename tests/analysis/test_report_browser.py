"""The report as a browser shows it: a small study, and one of more than a hundred runs."""

import contextlib

import pytest
from planting import BINDING, COMMAND, EVERYTHING, MANY_RUNS, write_arms, write_study
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from analysis.report.arms_page import write_arms_page
from analysis.report.page import write_report
from analysis.report.rendering import HERE
from analysis.report.study import load_results
from analysis.report.study_comparison import ComparedStudy

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MOST_BYTES = 10_000_000
MOST_SECONDS = 8
"""of a processor, for a page that needs four to six of them"""
WIDTHS = (1280, 390)


@contextlib.contextmanager
def browser(profile, width):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def rich_report(rich_source, tmp_path_factory):
    """Folder of the report on a study with all that a study may ask for."""
    folder = tmp_path_factory.mktemp("rich") / "report"
    write_report(load_results(rich_source.plan, rich_source.folder), folder, COMMAND)
    return folder


@pytest.fixture(params=WIDTHS)
def page(request, rich_report, tmp_path):
    """The report, open in a window of that width."""
    with browser(tmp_path / "profile", request.param) as driver:
        driver.get((rich_report / "index.html").as_uri())
        assert driver.execute_script("return innerWidth") == request.param
        yield driver


def assert_sound(driver):
    """No errors, no requests, nothing wider than the window."""
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    fits = "return {}.scrollWidth <= innerWidth"
    assert driver.execute_script(fits.format("document.documentElement"))
    assert driver.execute_script(fits.format("document.body"))


def seconds(driver):
    """Processor time in which the page's thread loads: the least of three, others slow it."""
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    return min(_seconds_of_a_load(driver) for _ in range(3))


def _seconds_of_a_load(driver):
    driver.refresh()
    found = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    spent = {metric["name"]: metric["value"] for metric in found}
    assert spent["LayoutDuration"] > 0
    return spent["TaskDuration"]


def test_the_page_opens_without_errors_or_requests_and_fits_the_window(page):
    assert_sound(page)
    assert seconds(page) < MOST_SECONDS


def test_every_figure_and_table_is_visible(page):
    figures = page.find_elements(By.CSS_SELECTOR, "figure svg")
    assert len(figures) > 5
    for figure in figures:
        assert figure.size["width"] > 300
        assert figure.size["height"] > 150
    assert all(table.is_displayed() for table in page.find_elements(By.TAG_NAME, "table"))


def column(table, number):
    """Texts of a column, as the page shows them."""
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text for row in rows_of(table)]


def rows_of(table):
    return table.find_elements(By.CSS_SELECTOR, "tbody tr")


def test_a_table_is_sorted_by_keyboard_up_down_and_back(page):
    table = next(
        found
        for found in page.find_elements(By.TAG_NAME, "table")
        if found.find_element(By.TAG_NAME, "caption").text.startswith("Differences on the same")
    )
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    number = [head.text.split("\xa0")[0] for head in heads].index("Difference")
    written = column(table, number)
    button = heads[number].find_element(By.TAG_NAME, "button")

    def values():
        return [float(text.replace("−", "-")) for text in column(table, number)]

    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert values() == sorted(values())
    assert heads[number].get_attribute("aria-sort") == "ascending"
    page.switch_to.active_element.send_keys(Keys.SPACE)
    assert values() == sorted(values(), reverse=True)
    assert heads[number].get_attribute("aria-sort") == "descending"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert column(table, number) == written != sorted(written)
    assert heads[number].get_attribute("aria-sort") is None


def test_bounds_are_numbers_and_what_has_no_number_stands_last(tmp_path):
    cells = ["> 16", "no number: at chance", "2.5", "< 1", "needs 3 draws", "16", "missing"]
    rows = "".join(f"<tr><td>{cell.replace('<', '&lt;')}</td></tr>" for cell in cells)
    table = f"<table><thead><tr><th>Shots</th></tr></thead><tbody>{rows}</tbody></table>"
    script = (HERE / "sorting.js").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    page.write_text(f"<meta charset=utf-8>{table}<script>{script}</script>", encoding="utf-8")
    absent = ["no number: at chance", "needs 3 draws", "missing"]
    with browser(tmp_path / "profile", 1280) as driver:
        driver.get(page.as_uri())
        found, button = (driver.find_element(By.TAG_NAME, name) for name in ("table", "button"))
        button.click()
        assert column(found, 0) == ["< 1", "2.5", "> 16", "16", *absent]
        button.click()
        assert column(found, 0) == ["> 16", "16", "2.5", "< 1", *absent]


def test_the_first_key_leads_to_the_link_that_skips_to_the_content(page):
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = page.switch_to.active_element
    assert link.get_attribute("class") == "skip"
    link.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.tag_name == "main"


def test_the_page_of_a_setting_opens_and_fits(rich_report, tmp_path):
    with browser(tmp_path / "profile", 390) as driver:
        driver.get((rich_report / "splits" / "cg_high_diversity.clipart.html").as_uri())
        assert_sound(driver)
        assert len(driver.find_elements(By.TAG_NAME, "table")) == 4


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_over_several_arms_opens_and_fits(width, drawn_figures, tmp_path):
    asked = {"settings": ("natural_only", "cg_high_diversity")}
    studies = write_arms(tmp_path / "planted", {"infonce": asked, "sigmoid": asked})
    arms = [
        ComparedStudy(load_results(study.plan, study.folder), {"study": {"of": study.plan.arm}})
        for study in studies
    ]
    page = write_arms_page(arms, tmp_path / "report", COMMAND)
    with browser(tmp_path / "profile", width) as driver:
        driver.get(page.as_uri())
        assert_sound(driver)
        figures = driver.find_elements(By.CSS_SELECTOR, "figure svg")
        assert [figure.size["height"] > 150 for figure in figures] == [True, True]


def test_without_script_everything_is_there_and_heads_are_words(rich_report, tmp_path):
    with browser(tmp_path / "profile", 1280) as driver:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        driver.get((rich_report / "index.html").as_uri())
        assert driver.find_elements(By.TAG_NAME, "button") == []
        tables = driver.find_elements(By.TAG_NAME, "table")
        assert len(tables) > 5
        assert all(table.is_displayed() for table in tables)


@pytest.fixture(scope="module")
def many_report(tmp_path_factory):
    """Folder of the report on more than a hundred runs, with all that icons can be asked."""
    folder = tmp_path_factory.mktemp("many")
    on_icons = [name for name in EVERYTHING["analyses"] if name not in BINDING]
    asked = EVERYTHING | MANY_RUNS | {"analyses": on_icons}
    study = write_study(folder / "planted", **asked)
    assert len(study.plan.runs) > 100
    write_report(load_results(study.plan, study.folder), folder / "report", COMMAND)
    return folder / "report"


def test_more_than_a_hundred_runs_open_at_once_in_one_small_file(many_report, tmp_path):
    page = many_report / "index.html"
    assert page.stat().st_size < MOST_BYTES
    for width in WIDTHS:
        with browser(tmp_path / f"profile-{width}", width) as driver:
            driver.get(page.as_uri())
            assert_sound(driver)
            assert seconds(driver) < MOST_SECONDS
