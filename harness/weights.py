"""Which weights a run is on: what its key says of files, and the one weights file of a folder. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness import plugins
from harness.errors import ConfigError, did_you_mean
from harness.files import Version

LOCAL = "local-dir:"
"""How backbones begin that are folders with a config and a weights file, as open_clip writes them."""
HUB = "hf-hub:"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
CONFIG = "open_clip_config.json"

_FOLDERS: dict[str, Path] = {}
"""Where the folders are of which a key knows the names alone."""


@dataclass(frozen=True)
class KnownWeights:
    """The digest of a backbone's weights at a precision, which holds as long as their file is of this version."""

    backbone: str
    precision: str
    file: Path
    version: Version
    sha256: str


def of_backbone(backbone: str, pretrained: str | None) -> tuple[str, str | None, str | None]:
    """(the backbone as its key calls it, the tag or file to load, what the key says of that).

    Raises ConfigError for an unknown name, for a folder without a weights file or with several, and for weights beside a backbone
    that has its own.
    """
    if pretrained is not None and backbone.startswith((LOCAL, HUB)):
        raise ConfigError(
            f"--backbone {backbone} comes with weights of its own, and --pretrained {pretrained} names others.",
            "Leave --pretrained out; for other weights, name the architecture: --backbone ViT-B-16 --pretrained FILE.",
        )
    if not backbone.startswith(LOCAL):
        _require_known(backbone, pretrained)
        return backbone, pretrained, _label(pretrained)
    folder = Path(backbone.removeprefix(LOCAL)).expanduser().absolute()
    weights = find(folder)
    name = f"{LOCAL}{folder.name}"
    remember(name, str(weights))
    return name, str(weights), _named(weights, [folder / CONFIG, weights])


def _require_known(backbone: str, pretrained: str | None) -> None:
    registered = plugins.names("backbone")
    known = {*registered, *architectures()}
    if backbone not in known and not backbone.startswith(HUB):
        raise ConfigError(f"no backbone '{backbone}'.", did_you_mean(backbone, known))
    if backbone in registered and pretrained not in (None, "random") and not Path(pretrained).is_file():
        raise ConfigError(
            f"--pretrained {pretrained}: the backbone '{backbone}' comes with weights of its own, and this is no file of others.",
            "Leave --pretrained out, or name a checkpoint (.safetensors, .pt) or 'random'.",
        )


def architectures() -> list[str]:
    """The names of open_clip's models, by its own files: importing it takes seconds."""
    found = find_spec("open_clip")
    folders = found.submodule_search_locations or [] if found else []
    return sorted(path.stem for folder in folders for path in Path(folder, "model_configs").glob("*.json"))


def find(folder: Path) -> Path:
    """The weights file of a folder. Raises ConfigError unless there is one, and a config beside it."""
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"{LOCAL}{folder} has no {CONFIG}.",
            "It takes a folder as open_clip writes it: that file, and the weights beside it.",
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise ConfigError(
            f"{LOCAL}{folder} has no weights: no file {', '.join(f'*{suffix}' for suffix in SUFFIXES)}.",
            "Put the weights file there; for weights that are random, name the architecture and --pretrained random.",
        )
    if len(files) > 1:
        raise ConfigError(
            f"{LOCAL}{folder} has {len(files)} weights files: {', '.join(path.name for path in files[:5])}.",
            "Leave one of them there, so that it is clear which is meant.",
        )
    return files[0]


def remember(backbone: str, weights: str | None) -> None:
    """Have `folder_of` know where the folder of a key's backbone is: where its weights are."""
    if backbone.startswith(LOCAL) and weights is not None:
        _FOLDERS[backbone] = Path(weights).parent


def folder_of(backbone: str) -> Path:
    """The folder of a backbone, which is named by its path, or as its key calls it."""
    return _FOLDERS.get(backbone) or Path(backbone.removeprefix(LOCAL)).expanduser()


def _label(pretrained: str | None) -> str | None:
    """What a key says of weights: a tag as it is; a file by its name and the start of its SHA-256, never by its folder."""
    if pretrained is None or not Path(pretrained).is_file():
        return pretrained
    return _named(Path(pretrained), [Path(pretrained)])


def _named(file: Path, content: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in content:
        with open(path, "rb") as opened:
            while chunk := opened.read(1 << 22):
                digest.update(chunk)
    return f"{file.name}@{digest.hexdigest()[:12]}"
