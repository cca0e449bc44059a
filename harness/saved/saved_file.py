"""The file of a saved model: safetensors, with what it takes to build the model again as JSON in its metadata.

The tensors are what training changed or made, under the names that the method's model has for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import DataError
from harness.files import replacing, require_regular
from harness.records import RunKey, first_fault

_NAME = "adaptbench"
"""The entry of the metadata that holds the header."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Header:
    """What a saved model is: of which run, trained on which classes with which templates, on weights with which digest.

    `kept` are values beside tensors that the method's model needs (`AdaptedModel.keeps`).
    """

    format: Literal[1] = 1
    adaptbench: str = field(default_factory=lambda: version("adaptbench"))
    key: RunKey
    classes: tuple[str, ...]
    templates: Mapping[str, str]
    weights_sha256: str | None
    kept: Mapping[str, Any] = field(default_factory=dict)


_HEADER = TypeAdapter(Header)


def write(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write a saved model, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing(path) as part:
            save_file(contents, part, metadata={_NAME: _HEADER.dump_json(header, exclude_defaults=True).decode()})
    except SafetensorError as error:  # which is how it says that a disk is full
        raise OSError(str(error)) from error


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of a saved model. Raises DataError for what is none."""
    advice = "'adaptbench run SUITE --save' writes saved models beside its records, as RECORD.safetensors."
    try:
        require_regular(path)
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_NAME)
            if text is None:
                raise DataError(
                    f"{path} is no saved model: a file of safetensors, but not one of AdaptBench's.", advice
                )
            return _HEADER.validate_json(text), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"there is no saved model {path}.", advice) from None
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is no saved model: {error}.", advice) from error
    except ValidationError as error:
        raise DataError(
            f"{path} is no saved model that this version reads: {first_fault(error)}.",
            "Read it with the version of AdaptBench that wrote it.",
        ) from error
