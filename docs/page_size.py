"""Size, nodes, first paint and load of reports in one file: the table in reports.md, `python -m docs.page_size BEFORE AFTER`.

Each checkout makes its pages of the made records of tests/fakes/eighteen.py; Chromium then opens them in turns. It takes minutes.
Needs Playwright and Chromium.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

RUNS = (6, 594, 5000)
TURNS = 5
MAKE = """
import sys
sys.path[:0] = [".", "tests"]
from pathlib import Path
from fakes.eighteen import METHODS, eighteen
from tests.reports.conftest import GPU, make_record
from reports.pages.page import page
for runs in map(int, sys.argv[2:]):
    few = dict(methods={m: METHODS[m] for m in ("zero_shot", "coop")}, datasets=["dtd"]) if runs < 100 else {}
    seeds = range(1, -(-runs // (18 * 11)) + 1) if runs >= 100 else (1, 2, 3)
    Path(sys.argv[1], f"{runs}.html").write_text(page(eighteen(make_record, GPU, seeds=seeds, **few)[:runs]), encoding="utf-8")
"""
OPENED = """() => ({
    nodes: document.querySelectorAll('*').length,
    paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,
    load: performance.getEntriesByType('navigation')[0].loadEventEnd,
})"""


def opened(browser: Browser, page: Path) -> dict[str, float]:
    """Nodes, and milliseconds to the first paint and to the end of loading, in a context of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    tab = context.new_page()
    tab.goto(page.as_uri(), timeout=0)
    while not tab.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
        tab.wait_for_timeout(20)  # a wait in the page would be kept out by its content policy
    found: dict[str, float] = tab.evaluate(OPENED)
    context.close()
    return found


def main() -> None:
    """Print a line for each number of runs and checkout: medians of the turns."""
    checkouts = [Path(argument).resolve() for argument in sys.argv[1:] or ["."]]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folders = [Path(made, str(i)) for i in range(len(checkouts))]
        for checkout, folder in zip(checkouts, folders, strict=True):
            folder.mkdir()
            environment = {**os.environ, "PYTHONPATH": str(checkout)}
            subprocess.run(
                [sys.executable, "-c", MAKE, folder, *map(str, RUNS)], cwd=checkout, env=environment, check=True
            )
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        print("| runs | checkout | MB | nodes | first paint, ms | load, ms |\n|---:|---|---:|---:|---:|---:|")
        for runs in RUNS:
            pages = [folder / f"{runs}.html" for folder in folders]
            turns = [[opened(browser, page) for page in pages] for _ in range(TURNS)]
            for i, page in enumerate(pages):
                paint, load = (statistics.median(turn[i][name] for turn in turns) for name in ("paint", "load"))
                size = page.stat().st_size / 1e6
                print(f"| {runs:,} | {checkouts[i].name} | {size:.2f} | {turns[0][i]['nodes']:,} | {paint:,.0f} | {load:,.0f} |",
                      flush=True)  # fmt: skip
        browser.close()


if __name__ == "__main__":
    main()
