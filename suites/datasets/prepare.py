"""``adaptbench data``: which published datasets are there and whole, what is to be done about the others, and doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness import plugins
from harness.cli import options
from harness.cli.options import Command
from harness.cli.terminal import echo
from harness.data.class_names import ClassNames, read_class_names
from harness.errors import ConfigError, DataError, did_you_mean
from harness.files import cache_folder, write_atomically
from harness.suite import Dataset, Folders
from suites.datasets.checksums import unpublished
from suites.datasets.downloads import SOURCES
from suites.datasets.fetching import FOLDER, is_there, provide
from suites.datasets.own_check import look_into
from suites.datasets.readers import CLASSES_OF_IMAGENET

State = Literal["complete", "incomplete", "missing"]
EXIT_NOT_ALL = 1
CACHE = cache_folder()
PROMPTS_SHOWN = 12

app = typer.Typer(
    help="Look after downloaded datasets: what is there, what is missing, and getting it.", no_args_is_help=True
)

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Datasets, or folder:PATH and its like.", show_default="all published"),
]
DataRoot = Annotated[
    Path, typer.Option(help="Folder of the datasets, in CoOp's layout.", envvar="ADAPTBENCH_DATA_ROOT")
]


@dataclass(frozen=True)
class Finding:
    """What is known of a dataset: its state in words, and the next steps, in order."""

    name: str
    state: State
    words: str
    steps: tuple[str, ...] = ()


@app.command("check", cls=Command)
def check_(names: Names = None, data_root: DataRoot = Path("data"), class_names: options.ClassNames = None) -> None:
    """Say of each dataset whether it is complete, and the exact next steps if not. Exit code 1 unless all are.

    Of your own (folder:PATH, csv:PATH, hf:NAME) every image is read: what is damaged, too small, double, or no word for a prompt?
    """
    specs = names or list(SOURCES)
    _known([spec for spec in specs if not plugins.is_source(spec)])
    file = options.given("class-names", class_names)
    words = read_class_names(file) if file is not None else None
    if words is not None and not any(map(plugins.is_source, specs)):
        raise ConfigError(
            f"--class-names {file} has no effect: no dataset of your own is named.",
            "Leave it out, or name one: adaptbench data check folder:PATH",
        )
    findings = [check_own(s, data_root, words) if plugins.is_source(s) else check(s, data_root) for s in specs]
    for finding in findings:
        _print(finding)
    states = Counter(finding.state for finding in findings)
    where = "" if any(map(plugins.is_source, specs)) else f" below {data_root}"
    echo(f"{states['complete']} of {len(findings)} complete{where}.")
    if states["complete"] < len(findings):
        raise typer.Exit(EXIT_NOT_ALL)


@app.command("prepare", cls=Command)
def prepare_(
    names: Annotated[list[str], typer.Argument(help="Datasets, or 'all'.")], data_root: DataRoot = Path("data")
) -> None:
    """Fetch, check and unpack what can be had without a browser; say what is left. Goes on where it was broken off."""
    problems = []
    for name in _known(None if names == ["all"] else names):
        for download in SOURCES[name].downloads:
            try:
                echo(f"{name}: {download.gives}")
                provide(download, data_root)
            except DataError as error:
                problems.append(error)
                echo(f"  {error.what}\n  {error.advice}", err=True)
        write_classnames(name, data_root)
        finding = check(name, data_root)
        _print(finding)
        if finding.state != "complete":
            problems.append(DataError(finding.words))
    if problems:
        raise typer.Exit(EXIT_NOT_ALL)
    echo(f"The archives in {data_root / FOLDER} may be deleted.")


def check_own(spec: str, root: Path, class_names: ClassNames | None = None) -> Finding:
    """What a user's own dataset is, its classes as prompts, and what is wrong with it."""
    found = look_into(spec, Folders(data_root=root if root.is_dir() else None, cache=CACHE), class_names)
    shown = [f'"{prompt}"' for prompt in found.prompts[:PROMPTS_SHOWN]]
    more = f" and {len(found.prompts) - len(shown)} more" if len(found.prompts) > len(shown) else ""
    words = f"{found.what}\n{'':29}Prompts: {', '.join(shown)}{more}" if shown else found.what
    return Finding(spec, "incomplete" if found.wrong else "complete", words, (*found.wrong, *found.notes))


def check(name: str, root: Path) -> Finding:
    """Whether a dataset can be read, has every image of its lists, and as many as published."""
    source = SOURCES[name]
    wrong = unpublished(source.folder, root)
    if wrong:
        steps = tuple(f"delete {root / file} and run `adaptbench data prepare {name}`" for file in wrong)
        return Finding(name, "incomplete", f"not the published file: {', '.join(wrong)}.", steps)
    dataset: Dataset = plugins.load("dataset", name)
    try:
        splits = dataset.read(Folders(data_root=root, cache=CACHE))
    except DataError as error:
        state: State = "incomplete" if (root / source.folder).exists() else "missing"
        return Finding(name, state, error.what, (*_steps(name, root), error.advice))
    found = len(splits.train), len(splits.val), len(splits.test)
    if found != source.images:
        words = f"it has {_counts(found)} images, and {_counts(source.images)} are published."
        return Finding(name, "incomplete", words, _unpack_again(name, root) or source.by_hand)
    return Finding(name, "complete", f"{_counts(found)} images.")


def write_classnames(name: str, root: Path) -> None:
    """ImageNet's names beside its folders: open_clip's list, which is the published one, in the order of the sorted wnids.

    A dataset without all of the folders gets a copy of the file that another has. A file that is there stays.
    """
    source = SOURCES[name]
    target = root / source.folder / "classnames.txt"
    if not name.startswith("imagenet") or target.exists() or not target.parent.is_dir():
        return
    wnids = _wnids(root / source.wnid_folders) if source.wnid_folders else []
    others = [root / other / "classnames.txt" for other in ("imagenet", "imagenet-sketch")]
    if len(wnids) == CLASSES_OF_IMAGENET:
        from open_clip import IMAGENET_CLASSNAMES

        lines = (f"{wnid} {name}\n" for wnid, name in zip(wnids, IMAGENET_CLASSNAMES, strict=True))
        write_atomically(target, "".join(lines).encode())
    elif copied := next((path for path in others if path.exists()), None):
        write_atomically(target, copied.read_bytes())


def _known(names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in SOURCES:
            raise ConfigError(f"'{name}' is no published dataset.", did_you_mean(name, SOURCES))
    return list(names or SOURCES)


def _steps(name: str, root: Path) -> tuple[str, ...]:
    """To get what isn't there, or else to unpack again what is there in part; and what is to be done by hand."""
    source = SOURCES[name]
    absent = [
        f"{download.gives}: from {download.url} (`adaptbench data prepare {name}` does it)"
        for download in source.downloads
        if not is_there(download, root)
    ]
    if source.classnames and not (root / source.folder / "classnames.txt").exists():
        absent.append(
            "classnames.txt: `adaptbench data prepare` writes it once imagenet/ or imagenet-sketch/ has all folders, or get it "
            "by the link in CoOp's DATASETS.md"
        )
    return (*(absent or _unpack_again(name, root)), *source.by_hand)


def _unpack_again(name: str, root: Path) -> tuple[str, ...]:
    return tuple(
        f"{download.gives}: move {root / download.gives} away and run `adaptbench data prepare {name}`, which unpacks it "
        f"again from {download.url}"
        for download in SOURCES[name].downloads
        if download.member
    )


def _wnids(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _counts(images: tuple[int, int, int]) -> str:
    return " / ".join(f"{count:,}" for count in images)


def _print(finding: Finding) -> None:
    echo(f"{finding.name:16} {finding.state:11} {finding.words}")
    for step in finding.steps:
        echo(f"{'':29}- {step}")
