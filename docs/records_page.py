"""The fields of a record as a page: python docs/records_page.py

Writes docs/records.md from the JSON schema of `harness.records`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.records import json_schema

PAGE = Path(__file__).with_name("records.md")

HEAD = """# Records

A run leaves one JSON file, its record, in `RESULTS/<suite>/<method>/`. It holds what was measured; means, harmonic means
and ratios are derived by reports. Units close the names of figures, and a bare number is a count. What could not be measured is
null, never 0, and `missing` says why.

`python -m harness.records` prints the JSON schema of such a file (draft 2020-12), and `harness.records.from_json` reads one,
without torch. A field that a later version adds has a default: older files stay readable, and runs keep their keys.

The tables below are made from that schema by `python docs/records_page.py`.
"""


def page() -> str:
    """The whole page, a table for each kind of object, the record's own first."""
    schema = json_schema()
    kinds = {schema["title"]: schema, **schema["$defs"]}
    return "\n".join([HEAD, *(_section(name, kind) for name, kind in kinds.items())])


def _section(name: str, kind: Mapping[str, Any]) -> str:
    rows = [f"| `{field}` | {_type(of)} | {_cell(of['description'])} |" for field, of in kind["properties"].items()]
    head = [f"## {name}", "", _cell(kind["description"]), "", "| field | type | what it is |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _type(of: Mapping[str, Any]) -> str:
    """A schema in words: "list of integer", "number or null"."""
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in of:
        return " or ".join(map(_type, of["anyOf"]))
    if "const" in of or "enum" in of:
        return ", ".join(f"`{value}`" for value in of.get("enum", [of.get("const")]))
    if "prefixItems" in of:
        return f"({', '.join(map(_type, of['prefixItems']))})"
    if of.get("type") == "array":
        return f"list of {_type(of['items'])}"
    if of.get("type") == "object":
        values = of.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, Mapping) else "object"
    return str(of.get("type", "anything"))


if __name__ == "__main__":
    PAGE.write_text(page())
