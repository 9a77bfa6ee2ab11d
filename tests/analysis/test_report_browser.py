import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

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


@pytest.fixture(params=[1280, 390])
def page(request, planted_report, tmp_path):
    """The report, open in a window of that width."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        size = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get((planted_report / "index.html").as_uri())
        assert driver.execute_script("return innerWidth") == request.param
        yield driver
    finally:
        driver.quit()


def test_the_page_opens_without_errors_or_requests_and_fits_the_window(page):
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    fits = "return document.documentElement.scrollWidth <= innerWidth"
    assert page.execute_script(fits)
    assert page.execute_script("return document.body.scrollWidth <= innerWidth")


def test_every_figure_and_table_is_visible(page):
    figures = page.find_elements(By.CSS_SELECTOR, "figure svg")
    assert len(figures) == 6
    for figure in figures:
        assert figure.size["width"] > 300
        assert figure.size["height"] > 150
    assert all(table.is_displayed() for table in page.find_elements(By.TAG_NAME, "table"))
