"""Measure what a file of results lacks, section by section, and write the page."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from harness import plugins
from harness.meters.gpu import name_of
from harness.probes import gpu_evidence
from harness.probes.gpu_evidence.evidence import Section, Setting, begin, measure
from harness.probes.gpu_evidence.page import documents, page
from harness.probes.gpu_evidence.sections import SECTIONS

PAGE = Path("docs/gpu.md")


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m harness.probes.gpu_evidence", description=gpu_evidence.__doc__)
    parser.add_argument("--results", type=Path, default=Path("docs/gpu-evidence.json"), help="default: %(default)s")
    parser.add_argument("--page", type=Path, help=f"default: {PAGE}; of a rehearsal, beside the results")
    parser.add_argument("--sections", default=",".join(s.name for s in SECTIONS), help="default: %(default)s")
    parser.add_argument("--device", default="cuda:0", help="default: %(default)s")
    parser.add_argument("--rehearse", action="store_true", help="all of it on the CPU, with tiny sizes")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write the page")
    args = parser.parse_args(words)
    wanted = args.sections.split(",")
    if unknown := sorted({*wanted} - {section.name for section in SECTIONS}):
        parser.error(f"there is no section '{unknown[0]}'; there are {', '.join(s.name for s in SECTIONS)}.")
    setting = Setting("cpu", True) if args.rehearse else Setting(args.device)
    register()
    if not args.page_only:
        measure_all([s for s in SECTIONS if s.name in wanted], setting, args.results, parser)
    results = [args.results] if args.results.exists() else []
    shown = args.page or (args.results.with_suffix(".md") if args.rehearse else PAGE)
    shown.write_text(page(SECTIONS, documents(results), setting), encoding="utf-8")
    print(f"Written: {shown}")


def measure_all(sections: Sequence[Section], setting: Setting, results: Path, parser: argparse.ArgumentParser) -> None:
    """What is missing of these sections. Ends the command where there is no such device, or a file of another machine."""
    device = "CPU, a rehearsal" if setting.is_rehearsal else asked_apart(setting.device)
    if not device:
        parser.error(
            f"torch sees no device '{setting.device}' here. With --rehearse, all of it is done on the CPU, with tiny sizes."
        )
    software = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    try:
        begin(results, {"device": device, **software})
    except ValueError as error:
        parser.error(str(error))
    for section in sections:
        measure(section, setting, results, lambda line: print(line, flush=True))


def asked_apart(device: str) -> str:
    """A device's name, empty where there is none; asked by a process that ends, for what forks after CUDA began can't use it."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        with suppress(Exception):
            os.write(writer, name_of(torch.device(device)).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        return file.read().decode()


def register() -> None:
    """Where AdaptBench runs from a checkout that is not installed, have its plug-ins known all the same, to workers too."""
    if plugins.names("method"):
        return
    project = tomllib.loads((plugins.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = Path(tempfile.mkdtemp(prefix="adaptbench-"))
    about = folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    sys.path.append(str(folder))
    path = [str(plugins.ROOT), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)


if __name__ == "__main__":
    main()
