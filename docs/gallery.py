"""Pictures of reports for the docs: python docs/gallery.py RESULTS OTHER. Needs Chromium, driven by Playwright.

RESULTS holds runs of base2new, cost, few-shot and ablation, OTHER those of base2new to compare its own with. Pictures are of what a
page shows, as it shows it; which runs they are of is on the page.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from reports.__main__ import compare, report

IMAGES = Path(__file__).parent / "images"
WIDE, PHONE = 1280, 390
CURVES = ("few-shot", "ablation")
RUN = "coop on demo-letters, 16 shots, seed 1"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(results: Path, other: Path) -> None:
    """Renders the reports, and writes a picture of each of their parts to images/."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        raise SystemExit("The pictures need Chromium: apt-get install chromium")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = Path(folder)
        render(results, other, pages)
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            wide, phone = (opened(browser, pages / "base2new.html", width, scheme) for width in (WIDE, PHONE))
            top(wide, "table.headline", f"report-{scheme}")
            top(wide, "dl.facts", f"report-first-{scheme}")
            top(phone, "p.verdict", f"report-first-phone-{scheme}")
        top(opened(browser, pages / "base2new.html", PHONE), "table.headline", "report-phone")
        report_parts(opened(browser, pages / "base2new.html"))
        for suite in CURVES:
            picture(first_figures(opened(browser, pages / f"{suite}.html")), f"suite-{suite}")
        run = next(p for p in sorted((pages / "site" / "runs").iterdir()) if RUN in p.read_text(encoding="utf-8"))
        for name, path in (("run", run), ("compare", pages / "compare.html")):
            opened(browser, path).screenshot(path=IMAGES / f"report-{name}.png", full_page=True)
        costs = opened(browser, pages / "site" / "published.html").locator(".scroll:has(table[id$='-cost'])")
        picture(costs.last, "report-cost")
        browser.close()


def render(results: Path, other: Path, pages: Path) -> None:
    """Writes every page that pictures are taken of below `pages`."""
    for suite in ("base2new", *CURVES):
        report([results / suite], pages / f"{suite}.html")
    report([results / "base2new", results / "cost"], pages / "site", pages=True)
    compare(results / "base2new", other / "base2new", pages / "compare.html")


def opened(browser: Browser, page: Path, width: int = WIDE, scheme: str = "light") -> Page:
    """A tab that shows a page's file."""
    tab = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    tab.goto(page.resolve().as_uri())
    return tab


def top(tab: Page, last: str, name: str) -> None:
    """A report from its title to the end of the first element that the selector `last` finds."""
    width, end = tab.evaluate("last => [innerWidth, document.querySelector(last).getBoundingClientRect().bottom]", last)
    clip = {"x": 0, "y": 0, "width": width, "height": end + 4}
    tab.screenshot(path=IMAGES / f"{name}.png", clip=clip, full_page=True)


def report_parts(tab: Page) -> None:
    """The figures and the heat map of a suite."""
    picture(first_figures(tab), "suite-base2new")
    picture(tab.locator(".scroll:has(table.map)").first, "report-heat-map")


def first_figures(tab: Page) -> Locator:
    """The first figures on a page; the figure alone where it is only one."""
    charts = tab.locator(".charts").first
    alone = charts.locator("figure:only-child")
    return alone if alone.count() else charts


def picture(part: Locator, name: str) -> None:
    """Writes a part of a page to images/<name>.png."""
    part.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:]]
    if len(folders) != 2 or not all(folder.is_dir() for folder in folders):
        raise SystemExit(f"Name two folders of runs: python {sys.argv[0]} RESULTS OTHER")
    main(*folders)
