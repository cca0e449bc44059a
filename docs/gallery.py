"""Pictures of a report for the docs: python docs/gallery.py SITE/index.html. Needs Chromium, driven by Playwright."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 1500}, "color_scheme": "light"},
}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(page: Path) -> None:
    """Writes images/report-<view>.png, the top of the page in each view."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        raise SystemExit("The pictures need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, options in VIEWS.items():
            tab = browser.new_context(**options).new_page()
            tab.goto(page.resolve().as_uri())
            tab.screenshot(path=IMAGES / f"report-{name}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
