"""Colours and markers tell methods apart, wherever they stand."""

import pytest

from reports.format.styles import HUES, MARKERS, REFERENCE_COLOUR, Style, distinct_styles


def test_styles_do_not_depend_on_order_and_references_are_grey():
    names = [f"m{i}" for i in range(20)]
    found = distinct_styles([[*names, "zero_shot"]], frozenset({"zero_shot"}))
    assert found == distinct_styles([["zero_shot"], ["zero_shot", *reversed(names)]], frozenset({"zero_shot"}))
    assert len({(s.colour, s.marker) for s in found.values()}) == 21
    assert found["zero_shot"].colour == REFERENCE_COLOUR


def test_rows_of_one_section_share_no_colour_and_no_marker():
    names = [f"m{i:02d}" for i in range(17)]
    together = [names[0:6], [names[0], *names[6:11]], [names[6], names[1], *names[12:16]], [names[16], names[0]]]
    found = distinct_styles([names, *together], frozenset())
    for section in together:
        assert len({found[label].colour for label in section}) == len(section)
        assert len({found[label].marker for label in section}) == len(section)
    assert len({(s.colour, s.marker) for s in found.values()}) == len(found)


def test_two_colours_of_one_hue_never_share_a_marker():
    found = distinct_styles([[f"m{i:02d}" for i in range(17)]], frozenset()).values()
    assert len({(HUES[s.colour], s.marker) for s in found}) == 17


@pytest.mark.parametrize("marker", MARKERS)
def test_outlines_fill_their_box(marker):
    numbers = [
        float(n)
        for part in Style("#000", marker).outline.split()
        for n in part.strip("MZ").replace("L", ",").split(",")
    ]
    assert max(map(abs, numbers)) == pytest.approx(1, abs=0.01)
