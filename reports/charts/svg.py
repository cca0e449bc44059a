"""matplotlib's SVG, made fit to stand inside a page that forbids inline styles and may be dark."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

INK = "#010203"
"""A colour to draw with that becomes the page's own text colour."""

_ROW = re.compile(r"[mr]\d+")
"""Ids that say which method an element belongs to (`Style.key`): they become ``data-row``."""

_FONT = ("font", "font-family")


def inline(svg: str, prefix: str) -> str:
    """`svg` as an element for an HTML page: style attributes as presentation attributes, `INK` as currentColor.

    Ids keep to themselves under `prefix`; the type face is left to the page. Sizes are points of the viewBox.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _name(child.tag) in ("metadata", "style"):
                parent.remove(child)
    referenced = set(re.findall(r"""(?:url\(|href=")#([\w.-]+)""", svg))
    for element in root.iter():
        _convert(element, referenced, prefix)
    root.attrib = {"viewBox": root.attrib["viewBox"], "stroke-linejoin": "round", "aria-hidden": "true"}
    return ElementTree.tostring(root, encoding="unicode")


def with_marks(svg: str, marks: Iterable[str]) -> str:
    """A picture with marks of the page's own above it: the circles of points, which tell their figures, and the front."""
    opened = svg.replace(' aria-hidden="true"', ' role="group"', 1).removesuffix("</svg>")
    return f'{opened}<g class="points">{"".join(marks)}</g></svg>'


def _convert(element: ElementTree.Element, referenced: set[str], prefix: str) -> None:
    element.tag = _name(element.tag)
    attributes = {_name(key): value for key, value in element.attrib.items()}
    for declaration in attributes.pop("style", "").split(";"):
        key, _, value = declaration.partition(":")
        if key.strip() and key.strip() not in _FONT:
            attributes[key.strip()] = value.strip()
    if attributes.get("id") not in referenced:
        name = attributes.pop("id", "")
        if _ROW.fullmatch(name):
            attributes["data-row"] = name
    element.attrib = {key: _value(key, value, prefix) for key, value in attributes.items()}


def _value(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "href":
        return value.replace("#", f"#{prefix}-", 1)
    return "currentColor" if value == INK else value.replace("url(#", f"url(#{prefix}-")


def _name(qualified: str) -> str:
    return qualified.rpartition("}")[2]
