"""The report on 18 methods in a browser: one page, opened once."""

import pytest
from fakes.eighteen import eighteen

from reports.pages.page import page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs(record, gpu):
    return eighteen(record, gpu, datasets=("dtd", "eurosat", "fgvc_aircraft"), details=False)


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
    tab.on("request", lambda request: None if request.url == path.as_uri() else complaints.append(request.url))
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
