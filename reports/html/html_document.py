"""HTML documents: the templates, the style and the script in them, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.visible import block, visible
from reports.format.text import plural, short
from reports.html.markup import show

SHARED = "default-src 'none'; style-src 'self' file:; script-src 'self' file:; img-src data:; base-uri 'none'; form-action 'none'"
"""The policy of a site's pages, whose style and script are files beside them."""


def render(template: str, *, root: str | None = None, **values: Any) -> str:
    """A whole page. Without `root` it needs no other file; with it, style and script lie at ``<root>page.css`` and ``.js``."""
    assets = _inlined() if root is None else {"style": "", "script": "", "policy": SHARED}
    return block(environment().get_template(template).render(**assets, root=root, **values))


def filled(template: str, *, root: str, fields: Sequence[str]) -> Callable[[Mapping[str, str]], bytes]:
    """A template that is rendered once, and filled in for each of thousands of pages by what its fields are there, as HTML.

    Pages are UTF-8: most of one is ASCII, which is copied as it is, and a text with any other letter takes twice the room.
    """
    marks = {field: Markup(f"{_MARK}{field}{_MARK}") for field in fields}
    parts = render(template, root=root, **marks).split(_MARK)
    constant, of = [part.encode() for part in parts], parts[1::2]

    def page(values: Mapping[str, str]) -> bytes:
        found = list(constant)
        found[1::2] = [values[field].encode() for field in of]
        return b"".join(found)

    return page


_MARK = "\ue000"
"""No letter of any alphabet."""


@cache
def environment() -> Environment:
    """jinja2, escaping everything, refusing what is undefined."""
    found = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"show": show, "version": version("adaptbench")}
    found.filters |= {"plural": plural, "name": lambda text: short(visible(text), 60)}
    return found


@cache
def _inlined() -> dict[str, Markup | str]:
    """The style and the script, as they stand in the page, and a policy that allows these and nothing else."""
    style, script = (source(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": policy}


def source(name: str) -> str:
    """The text of one of the templates' files."""
    loader = environment().loader
    assert loader
    return loader.get_source(environment(), name)[0]


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
