"""The page of what the demo world shows: from records alone, its tests scipy's, its words true to the numbers."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError
from harness.meters.environment import describe
from harness.plan import Request, plan
from harness.records import RunRecord, TestRecord
from harness.runs.store import Store
from suites.demo import BACKBONE, evidence
from suites.demo.evidence import METHODS, SEEDS, Measured, page, read, trades

NAMES = ("demo-letters", "demo-digits")


def accuracy(percent: float, classes: int) -> TestRecord:
    return TestRecord(accuracy_percent=percent, correct=round(percent), images=100, classes=classes)


def write_records(folder: Path) -> None:
    """Zero-shot has 40 and 50 everywhere; a method with seed s has 40 + 10 s and 50 - s."""
    for run in plan(Request(suite="base2new", methods=["zero_shot", *METHODS], datasets=NAMES, seeds=SEEDS), "demo"):
        gain = 0 if run.key.method == "zero_shot" else run.key.seed
        base, new = run.key.tests
        record = RunRecord(
            key=run.key,
            recipe_row=run.recipe_row,
            status="ok",
            started_at="2026-01-01T00:00:00+00:00",
            total_seconds=1.0,
            accuracy={base: accuracy(40 + 10 * gain, 5), new: accuracy(50 - gain, 4)},
            environment=describe("cpu", 1, None),
        )
        Store(folder).write(record)


def test_records_are_read_seed_by_seed(tmp_path: Path) -> None:
    write_records(tmp_path)
    measured = read(tmp_path, NAMES)
    assert list(measured) == list(NAMES)
    letters = measured["demo-letters"]
    assert (letters.classes, letters.zero_shot) == (9, (40, 50))
    assert letters.gains("skip_tuning").tolist() == [[10, -1], [20, -2], [30, -3]]


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    write_records(tmp_path)
    next((tmp_path / "base2new" / "full_finetuning").glob("demo-digits*seed2*")).unlink()
    with pytest.raises(DataError, match="full_finetuning on demo-digits with seed 2"):
        read(tmp_path, NAMES)


def test_a_trade_needs_a_gain_and_a_loss_beyond_the_spread() -> None:
    assert trades(np.array([[10, -10], [11, -11], [12, -12]]))
    assert not trades(np.array([[10, -1], [11, -12], [12, -20]]))
    assert not trades(np.array([[10, 10], [11, 11], [12, 12]]))
    assert not trades(np.array([[-10, -10], [-11, -11], [-12, -12]]))


def test_the_page_says_what_the_numbers_say() -> None:
    lifted = np.array([[52, 38], [54, 36], [56, 37]])
    kept = np.array([[41, 50], [42, 50], [44, 50]])
    measured = {
        "demo-letters": Measured(26, (40.0, 50.0), dict.fromkeys(METHODS, lifted)),
        "demo-digits": Measured(10, (40.0, 50.0), dict.fromkeys(METHODS, kept)),
    }
    lines = page("0123456789abcdef0123", measured, {"demo-shapes-v2": (39, 30.0, 20.0)}).splitlines()
    assert "| demo-letters | 26 | 40.0 (5.2x) | 50.0 (6.5x) |" in lines
    assert "| demo-shapes-v2 | 39 | 30.0 (6.0x) | 20.0 (3.8x) |" in lines
    assert "- Generated datasets: at least 3.8 times chance, at most 50.0 %." in lines
    assert "| demo-letters | 40.0 | 54.0 ± 2.0 | +14.0 | 50.0 | 37.0 ± 1.0 | -13.0 |" in lines
    text = "\n".join(lines)
    assert "`0123456789abcdef`" in text
    assert text.count("10 points or more on 1 of 2 datasets: demo-letters.") == len(METHODS)
    assert text.count("over seeds, on: demo-letters.") == len(METHODS)
    assert "6 pairs (datasets x seeds): Wilcoxon signed-rank, two-sided, W = 0, p = 0.031." in text
    assert "t(1) = 1.40, p = 0.39; mean gain 8.2 points." in text


def test_the_page_in_the_docs_is_of_the_shipped_weights() -> None:
    digest = hashlib.sha256(BACKBONE.weights.read_bytes()).hexdigest()
    text = (Path(evidence.__file__).parents[2] / "docs" / "demo-world.md").read_text(encoding="utf-8")
    assert f"`{digest[:16]}`" in text
    for name in (*evidence.TRAINABLE, *evidence.VARIANTS):
        assert f"| {name} |" in text
