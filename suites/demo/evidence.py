"""What the demo world shows, as a page: ``python -m suites.demo.evidence``. Runs what the results folder lacks, three seeds.

Accuracy comes from the records of base2new; of the shapes' variants, which have no training images, from `zeroshot`.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from harness.errors import DataError
from harness.files import cache_folder
from harness.plan import Request, plan
from harness.runs.store import Store
from harness.suite import Folders
from suites.demo import BACKBONE, datasets, zeroshot

METHODS = {"full_finetuning": "Full fine-tuning", "skip_tuning": "Skip Tuning"}
SEEDS = (1, 2, 3)
POINTS = 10
"""The lift of base accuracy that counts, in points."""
TRAINABLE = ("demo-shapes", "demo-letters", "demo-numbers", "demo-textures", "demo-scenes", "demo-digits")
REAL = ("demo-digits", "demo-fashion")
VARIANTS = ("demo-shapes-v2", "demo-shapes-sketch", "demo-shapes-a", "demo-shapes-r")


_HEAD = """# What the demo world shows

Written by `nox -s demo-evidence`, which runs zero-shot, full fine-tuning and Skip Tuning with their demo recipes: 16 shots of the
base half of the classes, seeds {seeds}, tested on either half. Top-1 in percent; ± is the standard deviation over the seeds.
How backbone and datasets were made, and what was chosen on what: [model card](../suites/demo/MODEL_CARD.md). The weights'
SHA-256 begins with `{weights}`.

![The corpus, two rows a stage of the curriculum; then one row a demo dataset](images/demo-world.png)

## Zero-shot: above chance, with room

In brackets: times chance.

| dataset | classes | base | new |
|---|---|---|---|"""


@dataclass(frozen=True)
class Measured:
    """Accuracies on base and on new classes, in percent: zero-shot's, and a method's of every seed (seeds, 2)."""

    classes: int
    zero_shot: tuple[float, float]
    tuned: Mapping[str, np.ndarray]

    def gains(self, method: str) -> np.ndarray:
        """Points above zero-shot, of every seed, on base and on new: (seeds, 2)."""
        return self.tuned[method] - np.array(self.zero_shot)


def run(results: Path, cache: Path, names: Sequence[str]) -> None:
    """Do the runs that `results` lacks, through the command line. Raises DataError if one fails."""
    options = {"methods": ["zero_shot", *METHODS], "datasets": names, "seeds": map(str, SEEDS)}
    chosen = [text for option, values in options.items() for text in (f"--{option}", ",".join(values))]
    folders = ["--results", str(results), "--cache", str(cache)]
    if subprocess.run([sys.executable, "-m", "harness", "run", "base2new", *chosen, *folders]).returncode:
        raise DataError("not all runs ended well.", "Their reasons are above; the same command goes on from there.")


def read(results: Path, names: Sequence[str]) -> dict[str, Measured]:
    """The records of those runs. Raises DataError if one is missing or has failed."""
    store = Store(results)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    classes = {}
    for planned in plan(
        Request(suite="base2new", methods=["zero_shot", *METHODS], datasets=names, seeds=SEEDS), "demo"
    ):
        key, record = planned.key, store.find(planned.key)
        if record is None or record.status != "ok":
            raise DataError(
                f"{results} has no finished run of {key.method} on {key.dataset} with seed {key.seed}.",
                "Run python -m suites.demo.evidence, which does what is missing.",
            )
        base, new = (record.accuracy[test] for test in key.tests)
        found.setdefault((key.dataset, key.method), []).append((base.accuracy_percent, new.accuracy_percent))
        classes[key.dataset] = base.classes + new.classes
    return {
        name: Measured(classes[name], found[name, "zero_shot"][0], {m: np.array(found[name, m]) for m in METHODS})
        for name in names
    }


def halves(classes: int) -> tuple[int, int]:
    """How many classes are base, and how many new."""
    return (classes + 1) // 2, classes // 2


def page(
    weights_sha256: str, measured: Mapping[str, Measured], variants: Mapping[str, tuple[int, float, float]]
) -> str:
    """The whole page, in Markdown; `variants` are (classes, base, new) of the datasets that are only tested on."""
    rows = {name: (m.classes, *m.zero_shot) for name, m in measured.items()} | dict(variants)
    return "\n".join(
        [
            _HEAD.format(seeds=", ".join(map(str, SEEDS)), weights=weights_sha256[:16]),
            *(_zero_shot_row(name, *row) for name, row in rows.items()),
            "",
            f"- Generated datasets: {_range(row for name, row in rows.items() if name not in REAL)}.",
            *(f"- {name}: {_range([rows[name]])}." for name in REAL if name in rows),
            *(line for method in METHODS for line in _section(method, measured)),
            "",
        ]
    )


def _zero_shot_row(name: str, classes: int, *accuracies: float) -> str:
    cells = [f"{a:.1f} ({a * n / 100:.1f}x)" for a, n in zip(accuracies, halves(classes), strict=True)]
    return f"| {name} | {classes} | {' | '.join(cells)} |"


def _range(rows: Iterable[tuple[int, float, float]]) -> str:
    found = [
        (a, a * n / 100) for classes, *accuracies in rows for a, n in zip(accuracies, halves(classes), strict=True)
    ]
    return f"at least {min(t for _, t in found):.1f} times chance, at most {max(a for a, _ in found):.1f} %"


def _section(method: str, measured: Mapping[str, Measured]) -> list[str]:
    return [
        "",
        f"## {METHODS[method]} against zero-shot",
        "",
        "| dataset | base: zero-shot | tuned | gain | new: zero-shot | tuned | gain |",
        "|---|---|---|---|---|---|---|",
        *(_method_row(name, m, method) for name, m in measured.items()),
        "",
        *_findings(method, measured),
    ]


def _method_row(name: str, m: Measured, method: str) -> str:
    means, spread, gains = m.tuned[method].mean(0), m.tuned[method].std(0, ddof=1), m.gains(method).mean(0)
    cells = [
        f"{m.zero_shot[i]:.1f} | {means[i]:.1f} ± {spread[i]:.1f} | {round(gains[i], 1) + 0.0:+.1f}" for i in (0, 1)
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _findings(method: str, measured: Mapping[str, Measured]) -> list[str]:
    lifted = [name for name, m in measured.items() if m.gains(method)[:, 0].mean() >= POINTS]
    traded = [name for name, m in measured.items() if trades(m.gains(method))]
    gains = np.stack([m.gains(method)[:, 0] for m in measured.values()])
    ranks, t = stats.wilcoxon(gains.ravel()), stats.ttest_1samp(gains.mean(1), 0)
    return [
        f"- Base accuracy rises by {POINTS} points or more on {len(lifted)} of {len(measured)} datasets: {_listed(lifted)}.",
        f"- Base gains and new loses, both by more than twice the standard deviation over seeds, on: {_listed(traded)}.",
        f"- Paired test on base, {gains.size} pairs (datasets x seeds): Wilcoxon signed-rank, two-sided, "
        f"W = {ranks.statistic:.0f}, p = {ranks.pvalue:.2g}.",
        f"- Seeds of one dataset share its test images, so also with one pair a dataset: paired t, two-sided, "
        f"t({len(gains) - 1}) = {t.statistic:.2f}, p = {t.pvalue:.2g}; mean gain {gains.mean():.1f} points.",
    ]


def trades(gains: np.ndarray) -> bool:
    """Whether gains (seeds, 2) show the base-new trade-off: either mean beyond twice its deviation, base above 0, new below."""
    base, new = gains.mean(0) / np.maximum(gains.std(0, ddof=1), 1e-9)
    return bool(base > 2 and new < -2)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _available(folders: Folders) -> tuple[str, ...]:
    """The datasets to train on: Fashion-MNIST only where its files are."""
    try:
        datasets.FASHION.read(folders)
    except DataError as error:
        print(error.what)
        return TRAINABLE
    return (*TRAINABLE, datasets.FASHION.name)


def main() -> None:
    """Run, read, measure the variants, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="records (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    parser.add_argument("--page", type=Path, default=Path("docs/demo-world.md"), help="default: %(default)s")
    args = parser.parse_args()
    folders = Folders(data_root=None, cache=args.cache)
    names = _available(folders)
    try:
        run(args.results, args.cache, names)
        measured = read(args.results, names)
    except DataError as error:
        sys.exit(str(error))
    weights = hashlib.sha256(BACKBONE.weights.read_bytes()).hexdigest()
    args.page.write_text(page(weights, measured, _variants(folders)), encoding="utf-8")


def _variants(folders: Folders) -> dict[str, tuple[int, float, float]]:
    """Classes and zero-shot accuracy, base and new, of the shapes' variants."""
    model, transform = zeroshot.load()
    found = {}
    for dataset in (d for d in datasets.DATASETS if d.name in VARIANTS):
        accuracy = zeroshot.accuracies(model, transform, dataset, folders)
        classes = len({item.label for item in dataset.read(folders).test})
        found[dataset.name] = (classes, accuracy["base"], accuracy["new"])
    return found


if __name__ == "__main__":
    main()
