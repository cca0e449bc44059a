"""The report on 18 methods in a browser: one page, opened once."""

import io
from dataclasses import replace
from itertools import combinations

import pandas as pd
import pytest
from fakes.eighteen import eighteen, long_named

from reports.pages.page import page
from reports.results.quantities import QUANTITIES
from reports.results.section_results import in_numbers

pytestmark = pytest.mark.browser


THREE = ("dtd", "eurosat", "fgvc_aircraft")


@pytest.fixture(scope="module")
def runs(record, gpu):
    return eighteen(record, gpu, datasets=THREE, details=False)


@pytest.fixture(scope="module")
def shown(chromium, runs, tmp_path_factory):
    """The open page, which asked for nothing and complained of nothing."""
    path = tmp_path_factory.mktemp("eighteen") / "index.html"
    path.write_text(page(runs), encoding="utf-8")
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    tab = context.new_page()
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("request", lambda request: None if request.url.startswith(path.as_uri()) else complaints.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    context.close()
    assert complaints == []


def test_a_row_that_is_not_comparable_stays_last_in_every_order(shown):
    names = shown.locator("#s1-headline tbody th bdi")
    of_h = shown.locator("#s1-headline thead th").nth(3)
    assert of_h.inner_text().startswith("H")
    for order in ("descending", "ascending"):
        of_h.locator("button").click()
        assert of_h.get_attribute("aria-sort") == order
        assert names.last.inner_text() == "provp"
    shown.locator("#s1-headline thead button").first.click()
    assert names.all_inner_texts()[-2:] == ["zero_shot", "provp"]


@pytest.mark.long
def test_594_runs_are_one_small_file(record, gpu):
    assert len(page(eighteen(record, gpu)).encode()) < 1_500_000


def misplaced(tab):
    """Texts of charts, names and ticks alike, that reach out of their pictures or lie on others."""
    boxes = tab.locator(".plot svg").evaluate_all(
        """all => all.map(svg => [svg, ...svg.querySelectorAll("text")].map(e => [e, e.getBoundingClientRect()])
                                .map(([e, r]) => [e.textContent.trim(), r.left, r.top, r.right, r.bottom]))"""
    )
    assert len(boxes) > 3
    for (_, left, top, right, bottom), *texts in boxes:
        yield from (t[0] for t in texts if t[1] < left or t[2] < top or t[3] > right or t[4] > bottom)
        yield from ((a[0], b[0]) for a, b in combinations(texts, 2)
                    if min(a[3], b[3]) - max(a[1], b[1]) > 2 and min(a[4], b[4]) - max(a[2], b[2]) > 4)  # fmt: skip


def test_labels_lie_on_no_other_and_inside_their_pictures(shown):
    assert list(misplaced(shown)) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [2, 5, 18, 40])
def test_long_labels_lie_on_no_other_and_inside_their_pictures(open_page, record, gpu, number):
    """In every kind of chart: beside three datasets, curves over the shots of one."""
    runs = eighteen(record, gpu, long_named(number), THREE, details=False)
    on_one = [r for r in runs if (r.key.dataset, r.key.seed) == ("dtd", 1)]
    few = [replace(r, key=replace(r.key, suite="few-shot", shots=shots)) for r in on_one for shots in (1, 16)]
    tab = open_page(page([*runs, *few]))
    for width in (390, 768, 1440, 1920):
        tab.set_viewport_size({"width": width, "height": 900})
        assert list(misplaced(tab)) == []


def test_a_point_tells_its_figures_and_a_hidden_method_leaves_ring_and_caption(shown):
    plot = shown.locator("figure", has_text="H against training time")
    point = plot.locator('circle[data-name="skip_tuning"]')
    point.focus()
    assert plot.locator(".told").inner_text() == point.get_attribute("aria-label")
    assert point.get_attribute("aria-label").startswith("skip_tuning: H ")
    caption, ringed = plot.locator("figcaption .front"), plot.locator("circle.front:not(.off)")
    before, line = caption.inner_text(), plot.locator(".step").get_attribute("d")
    assert set(ringed.evaluate_all("all => all.map(e => e.dataset.name)")) == set(
        before.replace(" and ", ", ").split(", ")
    )
    shown.locator("#methods summary").click()
    shown.get_by_role("checkbox", name="skip_tuning").uncheck()
    assert "skip_tuning" not in caption.inner_text()
    assert plot.locator(".step").get_attribute("d") != line
    assert ringed.count() == len(caption.inner_text().replace(" and ", ", ").split(", "))
    shown.get_by_role("checkbox", name="skip_tuning").check()
    assert (caption.inner_text(), ringed.count()) == (before, len(before.replace(" and ", ", ").split(", ")))


def test_the_front_and_the_readers_limits_stand_on_the_first_screen(shown):
    shown.evaluate("scrollTo(0, 0)")
    front = shown.locator("#s1-front")
    assert front.locator("tbody bdi").all_inner_texts()[::4] == ["skip_tuning", "tip_adapter_f", "linear_probe", "taskres",
                                                                 "tip_adapter", "zero_shot"]  # fmt: skip
    limits = shown.locator(".limits")
    assert front.bounding_box()["y"] + front.bounding_box()["height"] < 900
    assert limits.locator("form").bounding_box()["y"] < 900
    assert limits.locator("ul").inner_text().startswith("8 GiB: 11 of 17 methods fit; best skip_tuning (H 58.07, ")
    limits.get_by_label("Device memory").fill("3.5")
    said = limits.get_by_role("status").locator("p")
    best, also, near = said.all_inner_texts()
    assert best.startswith("Best: tip_adapter_f (H 54.03, ")
    assert [words.split(" ")[0] for words in also.removeprefix("Also fit: ").split("; ")] == [
        "linear_probe", "taskres", "tip_adapter", "clip_adapter", "zero_shot"]  # fmt: skip
    assert near.startswith("Only just outside: skip_tuning (H 58.07, ")
    limits.get_by_label("New classes matter").uncheck()
    assert said.first.inner_text().startswith("Best: tip_adapter_f (Base 59.41, ")
    limits.get_by_label("Classes trained on").fill("20")
    assert said.last.inner_text() == "Time and memory as on dtd, trained on 24 classes."
    limits.get_by_label("Training time").fill("0.2")
    assert said.first.inner_text().startswith("Best: tip_adapter (Base 54.40, ")
    for label in ("Device memory", "Training time", "Classes trained on"):
        limits.get_by_label(label).fill("")
    limits.get_by_label("New classes matter").check()
    assert limits.locator("ul").is_visible()
    assert limits.get_by_role("status").is_hidden()


def test_a_wide_table_uses_the_window_says_that_it_goes_on_and_lets_columns_be_chosen(shown):
    table, tools = shown.locator("#s1-headline"), shown.locator(".tools:has(+ .scroll > #s1-headline)")
    whole = "table => table.offsetWidth <= table.parentElement.clientWidth + 1"
    assert table.evaluate(whole)
    assert table.bounding_box()["width"] > shown.locator("main").bounding_box()["width"]
    assert tools.locator(".goes-on").inner_text() == ""
    shown.evaluate("document.getElementById('s1-headline').rows[9].scrollIntoView()")
    assert table.locator("thead th").first.bounding_box()["y"] == pytest.approx(0, abs=1)  # the heads stay in sight
    shown.set_viewport_size({"width": 390, "height": 900})
    tools.get_by_text("more columns to the right →").wait_for()
    tools.locator("summary").click()
    boxes = tools.get_by_role("checkbox")
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for box in boxes.all()[2:]:
        box.uncheck()
    assert table.locator("thead th:visible .title").all_inner_texts() == ["Method", "Base", "New"]
    assert table.locator("tbody tr").first.locator("td:visible").count() == 2
    for box in boxes.all()[2:]:
        box.check()
    shown.set_viewport_size({"width": 1440, "height": 900})
    tools.locator("summary").click()
    tools.locator(".goes-on:text-is('')").wait_for(state="attached")


def test_methods_are_chosen_all_none_and_one_and_the_address_keeps_it(shown):
    address = shown.evaluate("location.href")
    shown.locator("#methods details").evaluate("details => { details.open = true; }")
    choices, heads = shown.locator("#methods"), shown.locator("#s1-headline tbody th bdi:visible")
    choices.get_by_role("button", name="None").click()
    assert heads.all_inner_texts() == []
    choices.get_by_role("button", name="only coop", exact=True).click()
    choices.get_by_role("checkbox", name="maple").check()
    assert set(heads.all_inner_texts()) == {"maple", "coop"}
    assert choices.locator("summary").inner_text() == "Choose methods (2 of 18 shown)"
    shown.locator(".limits").get_by_label("Device memory").fill("8")
    shown.goto(shown.evaluate("location.href"))
    assert heads.all_inner_texts() == ["maple", "coop"]
    assert shown.locator(".limits [role=status] p").first.inner_text().startswith("Best: coop (")
    shown.locator("#methods summary").click()
    choices.get_by_role("button", name="All").click()
    assert heads.count() == 18
    shown.locator(".limits").get_by_label("Device memory").fill("")
    assert shown.evaluate("location.href") == address


def copied(tab, table, name):
    tab.evaluate("navigator.clipboard.writeText('')")
    tab.locator(f".tools:has(+ .scroll > #{table}) button", has_text=name).dispatch_event("click")
    while not (words := tab.evaluate("navigator.clipboard.readText()")):
        tab.wait_for_timeout(20)  # a wait in the page would be kept out by its content policy
    return words


def test_every_table_is_copied_as_data_equal_to_the_records(shown, runs):
    tables = shown.locator(".tools + .scroll > table").evaluate_all("all => all.map(table => table.id)")
    frames = {table: pd.read_csv(io.StringIO(copied(shown, table, "CSV"))) for table in tables}
    assert {"s1-headline", "s1-datasets", "s1-map", "s1-seeds", "s1-costs", "failures"} <= frames.keys()
    for frame in frames.values():
        for name in frame.columns[frame.columns.str.contains(r"_(?:percent|points|seconds|bytes|joules|flops)$")]:
            assert pd.api.types.is_numeric_dtype(frame[name]), name
    (results,) = in_numbers(runs)
    for table in ("s1-headline", "s1-costs", "s1-map"):
        frames[table] = frames[table].set_index("method")
    summary = results.summary
    for table in ("s1-headline", "s1-costs"):
        for name in frames[table].columns.intersection([*(q.name for q in QUANTITIES), "trainable_parameters"]):
            pd.testing.assert_series_equal(
                frames[table][name], summary[name][frames[table].index], check_names=False, check_dtype=False
            )
    of_h = frames["s1-headline"].loc["skip_tuning"]
    h, margin = summary.loc["skip_tuning", ["h", "h_margin"]]
    assert of_h[["h_percent", "low_h_percent", "high_h_percent"]].tolist() == pytest.approx([h, h - margin, h + margin])
    assert of_h["high_train_seconds"] - of_h["train_seconds"] == pytest.approx(
        summary.loc["skip_tuning", "train_seconds_margin"]
    )
    by_dataset = frames["s1-datasets"].set_index("dataset")
    means = pd.Series({(r.key.method, r.key.dataset, r.key.seed): r.accuracy[f"{r.key.dataset}/base"].accuracy_percent
                       for r in runs if r.status == "ok"}).groupby(level=[0, 1]).mean()  # fmt: skip
    for (method, dataset), mean in means.items():
        assert by_dataset.loc[dataset, f"{method}_base_percent"] == pytest.approx(mean)
    own = results.units.loc[("coop", "dtd"), "h"]
    assert frames["s1-map"].loc["coop", "dtd_percent"] == pytest.approx(own)
    assert frames["s1-map"].loc["coop", "dtd_points"] == pytest.approx(
        own - results.units.loc[("zero_shot", "dtd"), "h"]
    )


def test_a_copied_table_compiles_as_latex_with_the_best_bold(shown, compiles):
    for table in ("s1-headline", "s1-datasets", "s1-costs"):
        latex = copied(shown, table, "LaTeX")
        assert compiles(latex)
        assert "\\textbf{" in latex
        assert "; /" not in latex
    assert "\\underline{" in copied(shown, "s1-datasets", "LaTeX")


def test_contents_and_failures_lead_to_their_places(shown):
    contents = shown.get_by_role("navigation", name="Contents").get_by_role("link")
    assert contents.all_inner_texts() == ["Results", "Accuracy against cost", "By dataset", "Cost", "Beside published figures",
                                          "Failures", "Environment and recipes", "Runs"]  # fmt: skip
    shown.get_by_role("link", name="159 of 162").click()
    failed = shown.locator("#failures tbody th a").first
    assert failed.is_visible()
    failed.click()
    run = shown.locator(failed.get_attribute("href"))
    run.locator("pre", has_text="CUDA out of memory").first.wait_for()  # its folds were opened
    assert "provp on fgvc_aircraft" in run.inner_text()
    assert not shown.locator("#p1-accuracy").is_visible()
    assert "AdaptBench 0." in shown.locator("footer").inner_text()
    shown.goto(shown.url.partition("#")[0])


A4_PIXELS = 703
"""The width of an A4 page in portrait, without margins of 12 mm."""


def test_on_a4_in_portrait_no_number_is_broken_and_heads_can_be_repeated(shown):
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": A4_PIXELS, "height": 990})
    numbers = shown.locator("td.number bdi:visible, td.number .details > span:visible")
    lines = (
        "all => all.map(e => [e.textContent, Math.round(e.offsetHeight / parseFloat(getComputedStyle(e).lineHeight))])"
    )
    assert [words for words, high in numbers.evaluate_all(lines) if high > 1] == []
    beyond = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.id)"
    assert shown.locator("table").evaluate_all(beyond) == []
    # Chromium repeats a head on the next page only where no button is laid out in it
    assert set(shown.locator("thead button").evaluate_all("all => all.map(b => getComputedStyle(b).display)")) == {
        "contents"
    }
    assert (
        shown.locator("#s1-headline thead").evaluate("head => getComputedStyle(head).display") == "table-header-group"
    )
    shown.emulate_media(media="screen")
    shown.set_viewport_size({"width": 1440, "height": 900})
