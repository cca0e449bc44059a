"""Pictures of a report for the docs: python docs/gallery.py SITE/index.html. Needs Chromium, driven by Playwright.

Pictures are taken of what the page shows, as it shows it; which runs they are of is on the page.
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 1500}, "color_scheme": "light"},
}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(page: Path) -> None:
    """Writes images/report-<view>.png, the top of the page in each view, and a picture of every suite's own figures."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        raise SystemExit("The pictures need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, options in VIEWS.items():
            tab = browser.new_context(**options).new_page()
            tab.goto(page.resolve().as_uri())
            tab.screenshot(path=IMAGES / f"report-{name}.png")
            if name == "light":
                figures(tab)
        browser.close()


def figures(tab: Page) -> None:
    """Writes images/suite-<name>.png: the first figures of each suite on the page."""
    for suite in tab.locator("main > section[data-suite]").all():
        charts, name = suite.locator(".charts").first, suite.get_attribute("data-suite") or ""
        if charts.count() and re.fullmatch(r"[\w-]+", name):
            alone = charts.locator("figure:only-child")
            (alone if alone.count() else charts).screenshot(path=IMAGES / f"suite-{name}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        raise SystemExit(f"Name a report's page: python {sys.argv[0]} site/index.html")
    main(Path(sys.argv[1]))
