"""The page in a real browser: nothing blocked, nothing fetched, nothing broken."""

import os
import re
from dataclasses import replace

import pytest

from harness.records import AnalysisRecord, BlockRecord, ProfileRecord, SimulationRecord, TestRecord
from reports.__main__ import write
from reports.format.text import Problem
from reports.pages.compare import compare_page
from reports.pages.page import page
from reports.pages.site import site
from reports.tables.heatmap import STEPS

pytestmark = pytest.mark.browser


def fits(tab):
    """Whether the page is no wider than its window."""
    return tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_clean_and_fits(open_page, two_machines_page, width, scheme):
    tab = open_page(two_machines_page, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert tab.seen == []
    assert fits(tab)
    assert tab.locator(".plot svg").count() == 6
    if folder := os.environ.get("ADAPTBENCH_SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/two-machines-{width}-{scheme}.png", full_page=True)


def test_dark_and_light_differ_and_are_readable(open_page, suite_page):
    shades = []
    for scheme in ("light", "dark"):
        tab = open_page(suite_page, color_scheme=scheme)
        shades.append(
            tab.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        )
    assert shades[0] != shades[1]
    for scheme in shades:
        background, ink = (sum(map(int, shade[4:-1].split(","))) for shade in scheme)
        assert abs(background - ink) > 500


def test_the_policy_holds(open_page, suite_page):
    tab = open_page(suite_page)
    tab.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.com/a.png\"><p style=\"color:red\">')"
    )
    tab.wait_for_timeout(100)
    assert sum("Content Security Policy" in text for text in tab.seen) == 2


def test_a_heading_sorts_its_column_by_value_with_absent_last(open_page, suite_page):
    tab = open_page(suite_page)
    names = tab.locator("#s1-headline tbody th bdi")
    heading = tab.locator("#s1-headline thead th", has_text="Train time")
    printed = names.all_inner_texts()
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"  # less time is better
    assert names.all_inner_texts() == ["clip_adapter", "coop", "skip_tuning", "full_finetuning", "zero_shot"]
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert names.all_inner_texts() == ["full_finetuning", "skip_tuning", "coop", "clip_adapter", "zero_shot"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert names.all_inner_texts() == printed
    other = tab.locator("#s1-headline thead th", has_text="Method")
    other.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert names.all_inner_texts() == ["clip_adapter", "coop", "full_finetuning", "skip_tuning", "zero_shot"]
    assert tab.seen == []


def test_a_large_page_opens_with_most_of_it_folded(open_page, large_page):
    """Work at opening, counted: what a browser parses grows with runs, what it lays out hardly."""
    tab = open_page(large_page)
    parsed, drawn = tab.evaluate("""() => {
        const all = [...document.body.querySelectorAll('*')];
        return [all.length, all.filter(each => each.checkVisibility()).length];
    }""")
    assert parsed < 6_000
    assert drawn < 3_500
    tab.locator("details:has(> .runs) > summary").click()
    tab.get_by_label("Search runs").fill("method_4 dataset_02")
    run = tab.locator(".runs > details:visible").nth(1)
    assert tab.locator(".runs > details:visible").count() == 3
    run.locator("summary").first.click()
    run.locator("polyline").first.wait_for()
    assert run.locator("summary bdi").first.inner_text() == "method_4 on dataset_02, 16 shots, seed 2"
    assert run.locator("figcaption", has_text="Accuracy by class").count() == 2
    assert "--methods method_4 --seeds 2" in run.locator("pre").last.inner_text()
    assert tab.evaluate("document.querySelectorAll('*').length") < 8_000
    assert tab.seen == []


def test_a_comparison_has_its_verdict_first_and_folds_what_did_not_change(open_page, record):
    def side(gain):
        return [record(m, d, s, base=70 + s + (m == "coop") * gain * (1 + s / 100))
                for m in ("coop", "maple", "vpt") for d in ("digits", "shapes") for s in (1, 2, 3)]  # fmt: skip

    tab = open_page(compare_page(side(0), side(5), ("results/old", "results/new")))
    assert tab.get_by_role("heading", level=1).inner_text() == "old (A) beside new (B)"
    assert tab.locator("header .verdict").inner_text().startswith("H in B, of 3 methods: higher for 1 (coop +")
    assert tab.locator("#sides tbody tr").first.inner_text().split("\t") == ["Folder", "results/old", "results/new"]
    assert tab.locator("#c0 tbody th").all_inner_texts() == ["coop"]
    assert " to " in tab.locator("#c0 tbody .details").first.inner_text()
    assert not tab.locator("#c0-rest").is_visible()
    tab.get_by_text("No change found for 2 methods").click()
    assert tab.locator("#c0-rest tbody th").all_inner_texts() == ["maple", "vpt"]
    assert tab.seen == []


def test_a_large_page_lists_its_runs_without_javascript(open_page, large_page):
    tab = open_page(large_page, java_script_enabled=False)
    tab.locator("details:has(> .runs) > summary").click()
    lines = tab.locator(".runs tbody tr").all_inner_texts()
    assert len(lines) == 198
    assert lines[0].split("\t") == ["method_0 on dataset_00, 16 shots, seed 1", "base 60.13 · new 50.00 · H 54.60", "", "13.0 s",
                                    "2026-01-02T03:04:01+00:00"]  # fmt: skip


def rows(tab, table):
    return tab.locator(f"#{table} tbody th bdi:visible").all_inner_texts()


def test_a_filter_leaves_the_rows_that_hold_every_word(open_page, suite_page):
    tab = open_page(suite_page)
    tab.locator("#s1 .tools:has(+ div > #s1-datasets) input").fill("DIG")
    assert rows(tab, "s1-datasets") == ["digits"]
    tab.locator("details:has(> .runs) > summary").click()
    tab.get_by_label("Search runs").fill("SHAPES coop")
    assert tab.locator(".runs > details:visible > summary bdi").all_inner_texts() == [
        f"coop on shapes, 16 shots, seed {seed}" for seed in (1, 2, 3)
    ]
    assert tab.seen == []


def test_the_heat_map_takes_another_reference_row_and_comes_back(open_page, suite_page):
    tab = open_page(suite_page)
    cells = tab.locator("#s1-map tbody td bdi")
    printed = cells.all_inner_texts()
    scores = [float(v) for v in tab.locator("#s1-map tbody td").evaluate_all("tds => tds.map(td => td.dataset.value)")]
    legend = tab.locator(".scroll:has(> #s1-map) + .legend")
    explained = legend.inner_text()
    assert explained.startswith("Points above (blue) or below (orange) zero_shot;")
    tab.get_by_role("combobox", name="Difference to").select_option(label="coop")
    level = scores[2 * rows(tab, "s1-map").index("coop") :][:2]
    assert [float(c.replace("−", "-").replace("±", "")) for c in cells.all_inner_texts()] == pytest.approx(
        [round(score - level[i % 2], 2) for i, score in enumerate(scores)]
    )
    assert legend.inner_text() == explained.replace("zero_shot", "coop")
    tints = tab.locator("#s1-map tbody td").evaluate_all(
        "tds => tds.map(td => Number(td.className.match(/tint.?(\\d)/)[1]))"
    )
    assert tints == [sum(abs(score - level[i % 2]) >= step for step in STEPS) for i, score in enumerate(scores)]
    assert "zero_shot" not in tab.locator("#s1-map caption").text_content()
    tab.get_by_role("combobox", name="Difference to").select_option(label="as printed")
    assert cells.all_inner_texts() == printed
    assert legend.inner_text() == explained


def test_a_hidden_method_leaves_every_table_and_figure(open_page, suite_page):
    tab = open_page(suite_page)
    tab.locator("#methods summary").click()
    tab.get_by_role("checkbox", name="coop").uncheck()
    assert "coop" not in rows(tab, "s1-headline")
    assert "coop" not in tab.locator("#s1-datasets thead bdi:visible").all_inner_texts()
    assert tab.locator("#s1-datasets tbody tr").first.locator("td:visible").count() == 4
    assert tab.locator(".plot text:visible", has_text="coop").count() == 0
    assert tab.locator(".plot text:visible", has_text="skip_tuning").count() == 3
    tab.get_by_role("checkbox", name="coop").check()
    assert tab.locator(".plot text:visible", has_text="coop").count() == 3


CLIPBOARD = ["clipboard-read", "clipboard-write"]


def copied(tab, table, name):
    """What a table's button leaves on the clipboard, line by line."""
    tab.evaluate("navigator.clipboard.writeText('')")
    tab.locator(f".tools:has(+ div > #{table})").get_by_role("button", name=name, exact=True).click()
    for _ in range(200):
        if text := tab.evaluate("navigator.clipboard.readText()"):
            break
        tab.wait_for_timeout(50)
    return text.replace("\r\n", "\n").splitlines()


def test_tables_are_copied_as_csv_markdown_and_latex(open_page, suite_page):
    tab = open_page(suite_page, permissions=CLIPBOARD)
    rows = copied(tab, "s1-map", "CSV")
    assert rows[0] == "method,digits_percent,digits_points,shapes_percent,shapes_points"
    assert rows[-1].split(",")[2::2] == ["0.0", "0.0"]
    rows = copied(tab, "s1-map", "Markdown")
    assert rows[:2] == ["| Method | digits | shapes |", "|---|---:|---:|"]
    assert rows[-1] == "| zero\\_shot | ±0 | ±0 |"
    rows = copied(tab, "s1-map", "LaTeX")
    assert rows[1:4] == ["\\begin{tabular}{lrr}", "\\toprule", "Method & digits & shapes \\\\"]
    assert "zero\\_shot & $\\pm$0 & $\\pm$0 \\\\" in rows
    assert tab.seen == []


def test_a_copied_row_says_how_many_datasets_it_averages(open_page, record):
    runs = [record("zero_shot"), record("zero_shot", "shapes"), record("=1+1", base=95)]
    tab = open_page(page(runs), permissions=CLIPBOARD)
    _, *rows = copied(tab, "s1-headline", "CSV")
    assert [row.split(",")[:: len(row.split(",")) - 1] for row in rows] == [
        ["'=1+1", "1 of 2 datasets"],
        ["zero_shot", "reference"],
    ]


@pytest.fixture(scope="module")
def varied(record, gpu):
    """Every kind of part, few of each: axe looks at every element."""
    runs = [record(m, base=70 + i + s, seed=s, warnings=("first epoch slow",))
            for i, m in enumerate(("zero_shot", "coop")) for s in (1, 2)]  # fmt: skip
    runs.append(record(environment=gpu))
    looked = AnalysisRecord(
        images=4, image_shift=(0.1, 0.5), image_blocks_with_gradient=1, rank_gradient_after=(0.6, 0.4)
    )
    block = BlockRecord(tower="image", block=0, forward_seconds=0.1, backward_seconds=None, saved_bytes=9)
    profile = ProfileRecord(blocks=(block,), simulated={"fast": SimulationRecord(
        peak_bytes={"train": {"parameters": 9}}, step_flops=9, test_batch_flops=9)})  # fmt: skip
    runs.append(record(suite="analysis", analysis=looked, profile=profile, epoch_losses=(2.0, 1.0)))
    methods, executions = ("coop", "full_finetuning"), ("reference", "fast")
    runs += [record(m, suite="cost", execution=e, profile=profile) for m in methods for e in executions]
    settings = [{"depth": d, "skip": s} for d, s in ((2, True), (4, True), (2, False))]
    runs += [record(suite="ablation", settings=s, base=60.0 + s["depth"]) for s in settings]
    return [*runs, record("coop", "shapes", status="failed", reason="no\nmemory", accuracy={})]


def unfolded(tab):
    """The page with its folds open; of the runs, the first alone."""
    tab.evaluate("document.querySelectorAll('details:not(.runs > * ~ *)').forEach(d => { d.open = true; })")
    return tab


SCHEMES = pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])])


@pytest.mark.long
@SCHEMES
def test_no_accessibility_rule_of_axe_is_broken(open_page, varied, violations, scheme, rules):
    tab = open_page(page(varied, [Problem("a.json", "cut")]), color_scheme=scheme)
    assert violations(unfolded(tab), rules) == []


def test_the_average_stays_below_and_bold_is_the_best_of_it_alone(open_page, suite_page):
    tab = open_page(suite_page)
    tab.locator("#s1-datasets thead button").first.click()
    average = tab.locator("#s1-datasets tr").last
    assert average.inner_text().startswith("Average")
    weights = average.locator("bdi").evaluate_all("all => all.map(e => getComputedStyle(e).fontWeight)")
    assert weights[0] == "600"
    assert sorted(weights[1:]) == ["400"] * 4 + ["700"]


def test_all_is_there_without_javascript(open_page, suite_page):
    tab = open_page(suite_page, java_script_enabled=False)
    assert tab.locator("#s1-headline tbody tr").count() == 5
    assert tab.locator("#s1-front tbody bdi").first.is_visible()
    assert tab.locator(".limits li").all_inner_texts() == [
        "8, 16, 24 and 80 GiB: all 5 methods fit; best skip_tuning (H 69.72, 55.2 s, 260 MiB)."
    ]
    assert tab.locator("circle title", has_text="coop: H ").count() == 2
    assert tab.locator(".plot svg").count() == 3
    assert tab.locator("thead button").count() == 0


def test_labels_in_pictures_are_text(open_page, suite_page):
    tab = open_page(suite_page)
    assert tab.locator("figure svg text", has_text="skip_tuning").count() == 3


HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{0.__class__}${alert(3)}\x1b[31m\u202e\x07" + "x" * 10_000
)


@pytest.fixture(scope="module")
def hostile(record):
    """Runs in which everything that can be a text is a hostile one."""
    environment = replace(record().environment, cpu=HOSTILE, platform=HOSTILE, versions={HOSTILE: HOSTILE})
    test = TestRecord(accuracy_percent=50, correct=5, images=10, classes=2, class_names=(HOSTILE, "b"),
                      confusion=((0, 0, 3), (0, 1, 2), (1, 0, 3), (1, 1, 2)))  # fmt: skip
    looked = AnalysisRecord(images=4, image_shift=(0.1, 0.5), image_blocks_with_gradient=1)
    simulated = {"fast": SimulationRecord(peak_bytes={HOSTILE: {HOSTILE: 9}}, step_flops=9, test_batch_flops=9)}
    grid = [{HOSTILE: d, "skip": s} for d, s in ((2, True), (4, True), (2, False))]
    runs = [
        record(HOSTILE[:n], HOSTILE, seed=s, suite=HOSTILE, settings=settings, command=HOSTILE, analysis=looked,
               profile=ProfileRecord(simulated=simulated), warnings=(HOSTILE,), recipe_row=HOSTILE, environment=environment,
               base=50 + n % 7, train_seconds=float(n), execution=e, missing=dict.fromkeys(
                   ("train.peak_rss_bytes", "train.peak_allocated_bytes", "analysis.text_blocks_with_gradient"), HOSTILE))
        for n, settings, e in (*((9, settings, "fast") for settings in grid), (10_000, {"skip": HOSTILE}, "fast"),
                               (10_000, {"skip": HOSTILE}, "reference"))
        for s in (1, 2)
    ]  # fmt: skip
    runs = [replace(r, accuracy=dict.fromkeys(r.accuracy, test)) for r in runs]
    failed = record(
        "bad", HOSTILE, suite=HOSTILE, status="failed", reason=HOSTILE, accuracy={}, environment=environment
    )
    return [*runs, failed]


@pytest.mark.parametrize("width", [1280, 400])
def test_hostile_strings_break_nothing(open_page, hostile, width):
    tab = open_page(page(hostile, [Problem(HOSTILE, HOSTILE)]), viewport={"width": width, "height": 900})
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.seen == []
    assert fits(tab)
    assert tab.locator("img").count() == 0
    assert tab.evaluate("document.documentElement.scrollHeight") < 80_000
    if folder := os.environ.get("ADAPTBENCH_SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/hostile-{width}.png", full_page=True)


def test_ids_are_unique_and_links_lead_somewhere(open_page, varied):
    tab = open_page(page(varied))
    assert tab.evaluate(
        "[...document.querySelectorAll('[id]')].length === new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
    )
    assert (
        tab.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).length"
        )
        == 0
    )


KINDS = ["index.html", "suites/1-*.html", "methods/1-*.html", "datasets/1-*.html", "runs/1.html", "compared/index.html"]


@pytest.fixture(scope="module")
def sites(varied, hostile, record, gpu, tmp_path_factory):
    """A folder of every kind of page, of ordinary and of hostile records."""
    folder = tmp_path_factory.mktemp("sites")
    for name, runs in (("varied", varied), ("hostile", hostile)):
        write(folder / name, site(runs))
        write(folder / name / "compared", [("index.html", compare_page(runs, [*runs[2:], record(environment=gpu)]))])
    return folder


@pytest.fixture
def open_site(open_file, sites):
    """Opens a page of a site, which may ask for the site's own files."""

    def opened(name, **options):
        (path,) = sites.glob(name)
        return open_file(path, sites, **options)

    return opened


@pytest.mark.parametrize("records", ["varied", "hostile"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_page_opens_clean_and_fits_a_phone(open_site, records, kind):
    tab = open_site(f"{records}/{kind}", viewport={"width": 320, "height": 700})
    assert tab.seen == []
    assert fits(tab)
    assert tab.locator("img").count() == 0
    assert (
        tab.evaluate("getComputedStyle(document.querySelector('h1')).fontWeight") == "700"
    )  # the style sheet was read


@pytest.mark.parametrize("kind", [*KINDS, "suites/2-*.html", "suites/3-*.html", "suites/4-*.html", "published.html"])
def test_no_rule_of_axe_is_broken_on_any_kind_of_page(open_site, violations, kind):
    """In light, every rule; then in dark, the one that colours can break."""
    tab = unfolded(open_site(f"varied/{kind}", color_scheme="light"))
    assert violations(tab) == []
    tab.emulate_media(color_scheme="dark")
    assert violations(tab, ["color-contrast"]) == []


def test_a_table_is_sorted_without_a_mouse(open_site):
    tab = open_site("varied/suites/3-*.html")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('thead button')"):
            break
    style = "(e => getComputedStyle(e).outlineStyle + getComputedStyle(e).outlineWidth)(document.activeElement)"
    assert tab.evaluate(style) == "solid2px"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.closest('th').ariaSort") in ("ascending", "descending")


@pytest.mark.parametrize("kind", ["index.html", "suites/3-*.html", "datasets/1-*.html"])
def test_methods_are_hidden_on_the_pages_of_a_site(open_site, kind):
    tab = open_site(f"varied/{kind}")
    lines = tab.locator("table:not(#failures) tbody th bdi:visible", has_text=re.compile("^coop$"))
    assert lines.count() > 0
    tab.locator("#methods summary").click()
    tab.get_by_role("checkbox", name="coop", exact=True).uncheck()
    assert lines.count() == 0
    assert tab.locator("tbody th:visible").count() > 0
    tab.locator('a[href*="suites/"], a[href*="index.html"]').first.click()  # the choice goes along
    tab.wait_for_url("**/*.html?hide=coop")
    tab.wait_for_selector("#methods summary:has-text('shown)')")
    assert lines.count() == 0
    assert tab.seen == []


def test_methods_to_hide_are_those_that_the_page_shows(open_site):
    tab = open_site("varied/suites/4-*.html")
    tab.locator("#methods summary").click()
    assert tab.locator("#methods label").all_inner_texts() == [" coop", " full_finetuning"]


@pytest.mark.parametrize(("kind", "words"), [("methods/1-*.html", "shapes"), ("datasets/1-*.html", "zero_shot")])
def test_the_listings_of_a_site_are_filtered(open_site, kind, words):
    tab = open_site(f"varied/{kind}")
    table = tab.locator("table[data-sortable]", has_text=words).first
    tab.locator(f".tools:has(+ .scroll > #{table.get_attribute('id')}) input[type=search]").fill(words)
    assert set(table.locator("tbody th bdi:visible").all_inner_texts()) == {words}


def test_datasets_are_searched_on_the_index(open_site):
    tab = open_site("varied/index.html")
    tab.get_by_label("Search datasets").fill("SHAP")
    assert tab.locator("#datasets li:visible").all_inner_texts() == ["shapes"]


@pytest.mark.parametrize("kind", KINDS)
def test_print_leaves_out_what_paper_can_not_do_and_cuts_nothing_off(open_site, kind):
    tab = open_site(f"varied/{kind}", viewport={"width": 700, "height": 990}, color_scheme="dark")
    tab.emulate_media(media="print")
    assert tab.locator(".tools:visible, nav:visible").count() == 0
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth + 1).map(t => t.id)"
    assert tab.evaluate(cut) == []
