"""The types of settings: a field of a method or a recipe has its range and its choices in its type. No torch here.

`harness.plan` reads every value by its field's type, and asks a method which of its fields contradict one another (`Conflicts`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

MOST = 10**9
"""Of steps, images or dimensions: nothing is trained that long."""
Positive = Annotated[float, Field(gt=0, le=1e100, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e100, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""What is kept of something in each step, or dropped: momentum, dropout."""
Count = Annotated[int, Field(ge=0, le=MOST)]
AtLeastOne = Annotated[int, Field(ge=1, le=MOST)]

Conflicts = Mapping[str, str]
"""Fields that have no effect beside the others, or contradict them, each with what to do about it."""


@dataclass(frozen=True)
class Chosen:
    """What a value is read with: the fields that the user set, and the template lists of the datasets that they run on."""

    fields: Collection[str]
    template_lists: Collection[str]


def is_template(text: str) -> bool:
    """Whether a text says once, by {}, where the class name goes."""
    try:
        return text.count("{}") == 1 and "\0" in text.format("\0")
    except (LookupError, ValueError):  # of other braces
        return False


def _template(text: str) -> str:
    if text and not is_template(text):
        raise ValueError("a prompt template says once, by {}, where the class name goes, as in 'a photo of a {}.'")
    return text


def _template_list(name: str, info: ValidationInfo) -> str:
    chosen: Chosen | None = info.context
    if chosen is None or info.field_name not in chosen.fields or name in chosen.template_lists:
        return name
    known = ", ".join(sorted(chosen.template_lists))
    raise ValueError(f"the datasets have these lists of templates: {known}")


def _existing(path: str) -> str:
    if path and not Path(path).exists():
        raise ValueError("there is no such file or folder")
    return path


Template = Annotated[str, AfterValidator(_template)]
"""A prompt template, or "" for the dataset's own."""
TemplateList = Annotated[str, AfterValidator(_template_list)]
"""The name of a list of templates; a dataset that doesn't have it takes its list "clip" instead."""
ExistingPath = Annotated[str, AfterValidator(_existing)]
"""A file or folder that is there, or "" for none."""


def context_conflicts(words: str, length: int) -> Conflicts:
    """Where learned context starts from `words`, they are its vectors: as many as `length`."""
    count = len(words.replace("_", " ").split())
    if not words or count == length:
        return {}
    what = (
        f"context_init '{words}' has {count} words, one for each vector, and context_length is {length}. Set both alike, or "
        "start at random: --set context_init= beside the length you want"
    )
    return {"context_length": what, "context_init": what}


def deep_context_conflicts(words: str, length: int) -> Conflicts:
    """Where prompts go into several blocks, the first `length` of the words are learned: there have to be so many."""
    count = len(words.replace("_", " ").split())
    if not words or length <= count:
        return {}
    what = (
        f"context_init '{words}' has {count} words, too few for context_length={length}: all vectors would start at random. Add "
        "--set context_init= if that is what you want"
    )
    return {"context_length": what, "context_init": what}
