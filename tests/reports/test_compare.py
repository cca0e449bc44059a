"""Two result sets side by side, and what may not be compared."""

from dataclasses import replace

import pytest

from harness.records import to_json
from reports import __main__ as command
from reports.compare import compare, compare_page


def runs(record, gain=0.0, wobble=0.0, **changes):
    found = []
    for dataset in ("digits", "shapes"):
        for seed in (1, 2, 3):
            score = 70 + seed + gain + wobble * (seed - 2)
            found.append(record("coop", dataset, seed, base=score, new=score, **changes))
    return found


def cells(comparison):
    names = [f"{column.title} {column.unit}".strip() for column in comparison.table.columns]
    return dict(zip(names, [cell.text for cell in comparison.table.rows[0]], strict=True))


def test_a_steady_gain_is_found_and_costs_are_divided(record):
    ((found,), alone) = compare(runs(record), runs(record, gain=1.0, wobble=0.1, train_seconds=5.0))
    shown = cells(found)
    assert (shown["H A, %"], shown["H B, %"], shown["B − A points"]) == ("72.00", "73.00", "+1.00")
    assert shown["Sure? paired test"] == "different, p < 0.001"
    assert (shown["Train time A"], shown["Train time B"], shown["Train time B / A"]) == ("20.0 s", "10.0 s", "0.50")
    assert alone == []


def test_a_wavering_gain_is_not(record):
    ((found,), _) = compare(runs(record), runs(record, gain=0.3, wobble=3.0))
    assert cells(found)["Sure? paired test"].startswith("no difference found, p = ")


def test_one_seed_can_not_say(record):
    ((found,), _) = compare([record()], [record(base=99)])
    assert cells(found)["Sure? paired test"] == "one seed only"


def test_unlike_machines_compare_accuracy_alone_and_say_so(record, gpu):
    ((found,), _) = compare(runs(record), runs(record, environment=gpu))
    assert "Train time A" not in cells(found)
    assert any(
        "machines differ, so times and memory are not compared" in c and "Example GPU" in c for c in found.cautions
    )


def test_other_conditions_are_not_compared(record):
    found, alone = compare(runs(record), runs(record, precision="bf16"))
    assert found == []
    assert alone == ["Only in A: base2new.", "Only in B: base2new."]


def test_runs_without_a_counterpart_are_left_out_of_both(record):
    ((found,), _) = compare(runs(record), [*runs(record, gain=1.0)[:3], record("zero_shot")])
    assert cells(found)["B − A points"] == "+1.00"
    assert found.cautions == [
        "Left out: 3 runs of A without a counterpart.",
        "Left out: 1 run of B without a counterpart, all of zero_shot among them.",
    ]


def test_nothing_in_common_is_said(record):
    assert compare([record("a")], [record("b")]) == ([], ["No run of base2new is in both with the same tests."])


def test_a_run_that_failed_on_one_side_shows_no_difference(record):
    after = runs(record)
    after[0] = replace(after[0], status="failed", accuracy={})
    ((found,), _) = compare(runs(record), after)
    shown = cells(found)
    assert (shown["B − A points"], shown["Train time B / A"]) == ("–", "–")


def test_commits_and_weights_are_named(record):
    after = [
        replace(r, environment=replace(r.environment, commit="f" * 40), weights_sha256="b" * 64) for r in runs(record)
    ]
    ((found,), _) = compare(runs(record), after)
    assert [c.split(".")[0] for c in found.cautions] == ["Commits differ", "Weights differ"]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\u202egnp", "x" * 10_000])
def test_hostile_names_are_text(record, text):
    shown = compare_page([record(text, text, suite=text)], [record(text, text, suite=text)])
    assert shown.count("<script>") == 1
    assert "\u202e" not in shown


def test_the_command_prints_and_writes(record, tmp_path, capsys):
    for name, gain in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        for i, r in enumerate(runs(record, gain=gain)):
            (tmp_path / name / f"{i}.json").write_bytes(to_json(r))
    command.compare(tmp_path / "a", tmp_path / "b", tmp_path / "site")
    out = capsys.readouterr().out
    assert "+1.00" in out
    assert "Comparison of two result sets" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
