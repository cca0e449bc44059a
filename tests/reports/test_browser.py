"""The page in a real browser: nothing blocked, nothing fetched, nothing broken."""

import os
import shutil
from dataclasses import replace

import pytest

from reports.page import Problem, page

pytestmark = pytest.mark.browser
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[dev]'")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path):
    """Opens a page's text; what a browser complains about, or asks for, lands in `seen`."""
    contexts = []

    def opened(text, **options):
        path = tmp_path / "index.html"
        path.write_text(text, encoding="utf-8")
        context = chromium.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.seen = []
        tab.on("console", lambda message: tab.seen.append(message.text))
        tab.on("pageerror", lambda error: tab.seen.append(str(error)))
        tab.on("request", lambda request: tab.seen.append(request.url) if request.url != path.as_uri() else None)
        tab.on("dialog", lambda dialog: (tab.seen.append(dialog.message), dialog.dismiss()))
        tab.goto(path.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()


def fits(tab):
    """Whether the page is no wider than its window."""
    return tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_clean_and_fits(open_page, two_machines, width, scheme):
    tab = open_page(page(two_machines), viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert tab.seen == []
    assert fits(tab)
    assert tab.locator("figure svg").count() == 6
    if folder := os.environ.get("ADAPTBENCH_SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/two-machines-{width}-{scheme}.png", full_page=True)


def test_dark_and_light_differ_and_are_readable(open_page, suite):
    shades = []
    for scheme in ("light", "dark"):
        tab = open_page(page(suite), color_scheme=scheme)
        shades.append(
            tab.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        )
    assert shades[0] != shades[1]
    for scheme in shades:
        background, ink = (sum(map(int, shade[4:-1].split(","))) for shade in scheme)
        assert abs(background - ink) > 500


def test_the_policy_holds(open_page, suite):
    tab = open_page(page(suite))
    tab.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.com/a.png\"><p style=\"color:red\">')"
    )
    tab.wait_for_timeout(100)
    assert sum("Content Security Policy" in text for text in tab.seen) == 2


def test_a_heading_sorts_its_column_by_value_with_absent_last(open_page, suite):
    tab = open_page(page(suite))
    names = tab.locator("#s1-headline tbody th bdi")
    heading = tab.locator("#s1-headline thead th", has_text="Train time")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert names.all_inner_texts() == ["full_finetuning", "skip_tuning", "coop", "clip_adapter", "zero_shot"]
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names.all_inner_texts() == ["clip_adapter", "coop", "skip_tuning", "full_finetuning", "zero_shot"]
    other = tab.locator("#s1-headline thead th", has_text="Method")
    other.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert names.all_inner_texts() == ["clip_adapter", "coop", "full_finetuning", "skip_tuning", "zero_shot"]
    assert tab.seen == []


def test_the_average_stays_below(open_page, suite):
    tab = open_page(page(suite))
    tab.locator("#s1-datasets thead button").first.click()
    assert tab.locator("#s1-datasets tr").last.inner_text().startswith("Average")


def test_all_is_there_without_javascript(open_page, suite):
    tab = open_page(page(suite), java_script_enabled=False)
    assert tab.locator("#s1-headline tbody tr").count() == 5
    assert tab.locator("figure svg").count() == 3
    assert tab.locator("thead button").count() == 0


def test_labels_in_pictures_are_text(open_page, suite):
    tab = open_page(page(suite))
    assert tab.locator("figure svg text", has_text="skip_tuning").count() == 3


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x07" + "x" * 10_000


@pytest.mark.parametrize("width", [1280, 400])
def test_hostile_strings_break_nothing(open_page, record, width):
    environment = replace(record().environment, cpu=HOSTILE, platform=HOSTILE, versions={HOSTILE: HOSTILE})
    runs = [
        record(HOSTILE[:n], HOSTILE, seed=s, suite=HOSTILE, settings={HOSTILE: HOSTILE}, command=HOSTILE, warnings=(HOSTILE,),
               recipe_row=HOSTILE, environment=environment, base=50 + n % 7, train_seconds=float(n))
        for n in (5, 9, 10_000) for s in (1, 2)
    ]  # fmt: skip
    runs.append(
        record("bad", HOSTILE, suite=HOSTILE, status="failed", reason=HOSTILE, accuracy={}, environment=environment)
    )
    tab = open_page(page(runs, [Problem(HOSTILE, HOSTILE)]), viewport={"width": width, "height": 900})
    assert tab.seen == []
    assert fits(tab)
    assert tab.locator("img").count() == 0
    assert tab.evaluate("document.documentElement.scrollHeight") < 20_000
    if folder := os.environ.get("ADAPTBENCH_SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/hostile-{width}.png", full_page=True)


def test_ids_are_unique_and_links_lead_somewhere(open_page, two_machines):
    tab = open_page(page(two_machines))
    assert tab.evaluate(
        "[...document.querySelectorAll('[id]')].length === new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
    )
    assert (
        tab.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).length"
        )
        == 0
    )
