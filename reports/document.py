"""HTML documents: the templates, the style and the script in them, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.text import plural


def render(template: str, **values: Any) -> str:
    """A whole page; it needs no other file and asks for none."""
    return environment().get_template(template).render(**_inlined(), **values)


@cache
def environment() -> Environment:
    """jinja2, escaping everything, refusing what is undefined."""
    found = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["plural"] = plural
    return found


@cache
def _inlined() -> dict[str, Markup | str]:
    """The style and the script, as they stand in the page, and a policy that allows these and nothing else."""
    style, script = (_source(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": policy}


def _source(name: str) -> str:
    loader = environment().loader
    assert loader
    return loader.get_source(environment(), name)[0]


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
