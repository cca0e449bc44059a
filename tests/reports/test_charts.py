import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from reports.charts import drawing, labels
from reports.charts.curves import curves, spread
from reports.charts.drawing import (
    Point,
    against_cost,
    base_against_new,
    pareto,
)
from reports.charts.section_charts import section_charts
from reports.charts.svg import INK, inline
from reports.format.styles import Style
from reports.format.units import MEMORY_UNITS, TIME_UNITS
from reports.results.section_results import section_results
from reports.results.sections import sections
from reports.results.titles import row_styles

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


def test_what_is_free_beats_all_that_scores_no_higher(points):
    assert [p.label for p in pareto(points, [point("zero_shot", 0, 60), point("worse", 0, 10)])] == ["best"]
    assert pareto(points, [point("zero_shot", 0, 90)]) == []


def captions(records):
    (section,) = sections(records)
    found = section_results(section)
    return [re.sub("<[^>]*>", "", chart.caption) for chart in section_charts("s", found, row_styles([found]))]


def test_a_method_that_trains_nothing_is_on_the_front_of_every_cost(record):
    runs = [record("zero_shot", base=60, new=60), record("coop", base=55, new=55, train_seconds=1),
            record("adapter", base=70, new=70, train_seconds=9)]  # fmt: skip
    assert captions(runs)[:2] == [
        "Up and left is better. Ringed, on the Pareto front with zero_shot, which trains nothing: adapter."] * 2  # fmt: skip
    worse = captions([*runs[:2], record("adapter", base=60, new=60, train_seconds=9)])
    assert worse[0] == "Up and left is better. Ringed, on the Pareto front with zero_shot, which trains nothing: none."
    assert captions(runs[1:])[0] == "Up and left is better. Ringed, on the Pareto front: coop and adapter."


def test_labels_are_text_and_all_there(points):
    svg = against_cost("c", points, "Training time", TIME_UNITS, "H, %", [point("zero_shot", 0, 50)])
    assert {"cheap", "best", "bad", "zero_shot", "Training time, seconds", "H, %"} <= set(texts(svg))


def test_units_of_an_axis_follow_its_values():
    hours = [point("a", 5 * 3600, 60), point("b", 9 * 3600, 70)]
    assert "Time, hours" in texts(against_cost("c", hours, "Time", TIME_UNITS, "H", []))
    small = [point("a", 300 * 2**20, 60), point("b", 900 * 2**20, 70)]
    assert "Memory, MiB" in texts(against_cost("c", small, "Memory", MEMORY_UNITS, "H", []))


def test_zero_and_equal_costs_are_drawn():
    same = [point("a", 0, 60), point("b", 0, 60)]
    assert "Time, milliseconds" in texts(against_cost("c", same, "Time", TIME_UNITS, "H", []))


@pytest.mark.parametrize("accuracy", [0, 100])
def test_the_plane_survives_its_corners(accuracy):
    svg = base_against_new("p", [point("a", accuracy, accuracy, x_margin=1.0, y_margin=1.0), point("b", accuracy, 50)])
    assert {"a", "b"} <= set(texts(svg))


def test_the_same_numbers_make_the_same_picture(points):
    first, second = (against_cost("c", points, "Time", TIME_UNITS, "H", []) for _ in range(2))
    assert first == second
    assert "style=" not in first
    assert "<metadata" not in first
    assert INK not in first


def test_labels_of_near_points_do_not_overlap(monkeypatch):
    near = [point(f"method number {i}", 10 + i, 60 + 0.5 * i) for i in range(5)]
    boxes = []
    covered = labels._covered
    monkeypatch.setattr(labels, "_covered", lambda *args: boxes.append(covered(*args)) or boxes[-1])
    against_cost("c", near, "Time", TIME_UNITS, "H", [])
    best = [min(boxes[i : i + len(labels.PLACES)]) for i in range(0, len(boxes), len(labels.PLACES))]
    assert best == [0] * len(near)


def test_hostile_labels_are_drawn_as_text():
    hostile = ["<script>alert(1)</script>", "$\\frac{broken$", "日本語 שלום", 'a"b&c', "x" * 10_000]
    svg = against_cost("c", [point(h, i + 1, 60 + i) for i, h in enumerate(hostile)], "Time", TIME_UNITS, "H", [])
    found = texts(svg)
    assert set(hostile[:4]) <= set(found)
    assert max(map(len, found)) < 40
    assert "<script" not in svg


def test_a_label_without_a_line_is_nearest_to_its_own_point():
    """Two points a label's height apart: above either, a centred name would look like that of the other."""
    points = [point("clip_adapter", 67.9, 60.6, x_margin=0.9, y_margin=3.9), point("coop", 66.3, 52, y_margin=2.5),
              point("skip_tuning", 70.9, 59.7, x_margin=3.7, y_margin=1.2),
              point("full_finetuning", 72.8, 59.8, x_margin=1.5, y_margin=4.3)]  # fmt: skip
    figure, axes = drawing.plane("Base", "New")
    axes.set_xlim(*drawing.padded(points, "x"))
    axes.set_ylim(*drawing.padded(points, "y"))
    labels.place_labels(drawing.drawn(figure), axes, points, [], [])
    assert {text.get_text() for text in axes.texts} == {p.label for p in points}
    for text in axes.texts:
        box, pixels = text.get_window_extent(), {p.label: axes.transData.transform((p.x, p.y)) for p in points}
        away = {name: np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
                for name, (x, y) in pixels.items()}  # fmt: skip
        assert text.arrow_patch or min(away, key=away.get) == text.get_text()


@pytest.mark.parametrize("number", [2, 18, 40])
def test_names_of_lines_stay_inside_their_picture_and_apart(number):
    lines = {f"method {i} with a long name": [point(f"method {i} with a long name", x, 80 + i / 9 + x / 4) for x in (1, 16)]
             for i in range(number)}  # fmt: skip
    svg = ElementTree.fromstring(curves("c", lines, "Shots", "Accuracy, %"))
    _, _, width, height = map(float, svg.get("viewBox").split())
    names = [e for e in svg.iter("text") if "".join(e.itertext()).strip().startswith("method")]
    places = [(float(name.get("x")), float(name.get("y"))) for name in names]
    assert len(places) == number
    assert max(x for x, _ in places) + 26 * 7 < width
    heights = sorted(y for _, y in places)
    assert heights[0] > 10
    assert heights[-1] < height - 30
    assert min(b - a for a, b in pairwise(heights)) > 11


def test_heights_are_moved_no_more_than_they_have_to():
    assert spread([10, 50], 17, 0, 100) == [10, 50]
    assert spread([50, 51, 52], 10, 0, 100) == [50, 60, 70]
    assert spread([95, 96, 99], 10, 0, 100) == [80, 90, 100]
    assert spread([1, 2, 3], 80, 0, 100) == [0, 50, 100]


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
