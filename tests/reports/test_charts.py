from xml.etree import ElementTree

import pytest

from reports import charts, labels
from reports.charts import MEMORY_UNITS, TIME_UNITS, Point, Style, against_cost, base_against_new, pareto, styles
from reports.svg import INK, inline

STYLE = Style("#0072B2", "o")


def point(label, x, y, **spreads):
    return Point(label, STYLE, x, y, **spreads)


def texts(svg):
    return ["".join(e.itertext()).strip() for e in ElementTree.fromstring(svg).iter("text")]


@pytest.fixture
def points():
    return [point("cheap", 1, 60, y_margin=1.0), point("best", 50, 80), point("bad", 60, 70)]


def test_pareto_front_is_what_no_other_beats_in_both(points):
    assert [p.label for p in pareto(points)] == ["cheap", "best"]
    assert [p.label for p in pareto([point("a", 1, 5), point("same", 1, 5), point("higher", 1, 6)])] == ["higher"]


def test_labels_are_text_and_all_there(points):
    svg = against_cost("c", points, "Training time", TIME_UNITS, "H, %", point("zero_shot", 0, 50))
    assert {"cheap", "best", "bad", "zero_shot", "Training time, seconds", "H, %"} <= set(texts(svg))


def test_units_of_an_axis_follow_its_values():
    hours = [point("a", 5 * 3600, 60), point("b", 9 * 3600, 70)]
    assert "Time, hours" in texts(against_cost("c", hours, "Time", TIME_UNITS, "H", None))
    small = [point("a", 300 * 2**20, 60), point("b", 900 * 2**20, 70)]
    assert "Memory, MiB" in texts(against_cost("c", small, "Memory", MEMORY_UNITS, "H", None))


def test_zero_and_equal_costs_are_drawn():
    same = [point("a", 0, 60), point("b", 0, 60)]
    assert "Time, milliseconds" in texts(against_cost("c", same, "Time", TIME_UNITS, "H", None))


@pytest.mark.parametrize("accuracy", [0, 100])
def test_the_plane_survives_its_corners(accuracy):
    svg = base_against_new("p", [point("a", accuracy, accuracy, x_margin=1.0, y_margin=1.0), point("b", accuracy, 50)])
    assert {"a", "b"} <= set(texts(svg))


def test_the_same_numbers_make_the_same_picture(points):
    first, second = (against_cost("c", points, "Time", TIME_UNITS, "H", None) for _ in range(2))
    assert first == second
    assert "style=" not in first
    assert "<metadata" not in first
    assert INK not in first


def test_labels_of_near_points_do_not_overlap(monkeypatch):
    near = [point(f"method number {i}", 10 + i, 60 + 0.5 * i) for i in range(5)]
    boxes = []
    covered = labels._covered
    monkeypatch.setattr(
        labels, "_covered", lambda box, taken, frame: boxes.append(covered(box, taken, frame)) or boxes[-1]
    )
    against_cost("c", near, "Time", TIME_UNITS, "H", None)
    best = [min(boxes[i : i + len(labels.PLACES)]) for i in range(0, len(boxes), len(labels.PLACES))]
    assert best == [0] * len(near)


def test_hostile_labels_are_drawn_as_text():
    hostile = ["<script>alert(1)</script>", "$\\frac{broken$", "日本語 שלום", 'a"b&c', "x" * 10_000]
    svg = against_cost("c", [point(h, i + 1, 60 + i) for i, h in enumerate(hostile)], "Time", TIME_UNITS, "H", None)
    found = texts(svg)
    assert set(hostile[:4]) <= set(found)
    assert max(map(len, found)) < 40
    assert "<script" not in svg


def test_styles_do_not_depend_on_order_and_references_are_grey():
    names = [f"m{i}" for i in range(20)]
    found = styles([*names, "zero_shot"], frozenset({"zero_shot"}))
    assert found == styles(["zero_shot", *reversed(names)], frozenset({"zero_shot"}))
    assert len(set(found.values())) == 21
    assert found["zero_shot"].colour == charts.REFERENCE_STYLE_COLOUR


@pytest.mark.parametrize("marker", charts.MARKERS)
def test_outlines_fill_their_box(marker):
    numbers = [
        float(n)
        for part in Style("#000", marker).outline.split()
        for n in part.strip("MZ").replace("L", ",").split(",")
    ]
    assert max(map(abs, numbers)) == pytest.approx(1, abs=0.01)


def test_inlining_keeps_ids_apart():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 1 1">'
        '<style>*{}</style><defs><path id="m"/></defs><g id="unused" style="fill: #010203; font: 10px x">'
        '<use xlink:href="#m" clip-path="url(#m)"/></g></svg>'
    )
    assert inline(svg, "a") == (
        '<svg viewBox="0 0 1 1" stroke-linejoin="round" aria-hidden="true"><defs><path id="a-m" /></defs>'
        '<g fill="currentColor"><use href="#a-m" clip-path="url(#a-m)" /></g></svg>'
    )
