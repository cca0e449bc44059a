"""A collection too large for one page: every link leads somewhere, and the work grows as the runs do."""

import json
import os
import posixpath
import random
import re
import sys
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import pydantic_core
import pytest

from harness import records
from harness.records import from_json, to_json
from reports import __main__ as command
from reports import pages
from reports.html import html_document
from reports.pages.site import site
from reports.results import macro, sections


@pytest.fixture(scope="module")
def files(record):
    runs = [record(m, d, s, base=70 + s)
            for m in ("coop", "zero_shot") for d in ("digits", "a/b") for s in (1, 2)]  # fmt: skip
    runs.append(
        record(
            "coop",
            "digits",
            3,
            status="failed",
            reason="<b>no</b>",
            traceback="File mine.py, <i>line 3</i>",
            accuracy={},
        )
    )
    cut_off = record(suite="cost", step_seconds=(0.25,) * 6, accuracy={})
    runs.append(replace(cut_off, key=replace(cut_off.key, steps=6)))
    return dict(site(runs))


def test_there_is_a_page_for_each_suite_method_dataset_and_run(files):
    folders = [path.partition("/")[0] for path in files if "/" in path]
    assert {f: folders.count(f) for f in folders} == {"suites": 2, "methods": 2, "datasets": 2, "runs": 10}
    assert list(files)[-1] == "index.html"


def test_every_link_leads_to_a_file_or_an_id(files):
    for path, text in files.items():
        for href in re.findall(r'(?:href|src)="([^"]*)"', text) if path.endswith("html") else ():
            target, _, anchor = href.partition("#")
            if href.startswith(("data:", "https://arxiv.org/")):
                continue
            found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
            assert found in files, (path, href)
            assert not anchor or f'id="{anchor}"' in files[found], (path, href)


def test_every_run_can_be_reached_from_the_index(files):
    seen, todo = set(), ["index.html"]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for href in re.findall(r'href="([^"#]+\.html)', files[path]):
            todo.append(posixpath.normpath(posixpath.join(posixpath.dirname(path), href)))
    assert {path for path in files if path.endswith("html")} == seen


def test_a_run_page_tells_what_happened(files):
    failed = next(text for path, text in files.items() if path.startswith("runs/") and "&lt;b&gt;no&lt;/b&gt;" in text)
    assert "coop on digits, 16 shots, seed 3" in failed
    assert "adaptbench run base2new --methods coop --seeds 3" in failed


def test_a_run_page_has_h_and_axes_on_its_curves(files):
    run = next(
        text
        for path, text in files.items()
        if path.startswith("runs/") and "coop on a/b, 16 shots, seed 1</bdi></h1>" in text
    )
    assert "base 71.00 · new 60.00 · H 65.04" in run
    assert '<p data-first="step 1" data-last="step 24"></p>' in run
    assert "AdaptBench 0." in run[run.index("<footer>") :]


def test_a_run_leads_to_its_suite_its_method_and_its_dataset(files):
    cut_off = next(text for path, text in files.items() if path.startswith("runs/") and "seed 1, cost</bdi>" in text)
    led = {name: href for href, name in re.findall(r'<a href="\.\./([^"]+)"><bdi>([^<]*)</bdi></a>', cut_off)}
    titles = {name: re.search(r"<h1><bdi>(.*?)</bdi>", files[path])[1] for name, path in led.items()}
    assert titles == {name: name for name in ("cost", "coop", "digits")}


def test_a_listing_of_runs_that_were_cut_off_shows_their_steps_and_no_accuracy(files):
    listed = next(text for path, text in files.items() if path.startswith("methods/") and "coop: cost" in text)
    table = listed[listed.index('aria-label="coop: cost"') :]
    assert "250 ms" in table
    assert "80.00" not in table


def test_a_methods_page_says_what_it_is_and_has_scores_intervals_and_costs(files):
    of_coop = next(text for path, text in files.items() if path.startswith("methods/") and "coop: base2new" in text)
    assert "learned context vectors" in of_coop
    assert 'href="https://arxiv.org/abs/2109.01134"' in of_coop
    table = of_coop[of_coop.index('aria-label="coop: base2new"') :].partition("</table>")[0]
    heads = re.findall(r'<span class="title"><bdi>(.*?)</bdi>', table)
    assert heads == ["Dataset", "H, %", "Base", "New", "Train time", "Peak memory", "Seed 1", "Seed 2", "Seed 3"]
    assert "10.0 s" in table
    assert "300 MiB" in table
    of_zero_shot = next(
        text for path, text in files.items() if path.startswith("methods/") and "zero_shot: base2new" in text
    )
    assert re.search(r'<span class="details"><span>\d+\.\d–\d+\.\d</span>', of_zero_shot)


def test_a_run_that_failed_is_linked_from_the_index(files):
    failures = files["index.html"].partition('<table id="failures"')[2].partition("</table>")[0]
    (href,) = re.findall(r'href="(runs/[^"]*)"', failures)
    assert "&lt;b&gt;no&lt;/b&gt;" in files[href]


def test_published_figures_have_a_page_of_their_own(files):
    assert "Cost, re-measured" in files["published.html"]


def test_the_command_makes_a_site_where_asked_to(record, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_bytes(to_json(record()))
    command.report([tmp_path / "results"], tmp_path / "site", pages=True)
    assert (tmp_path / "site" / "runs" / "1.html").exists()
    assert 'href="page.css"' in (tmp_path / "site" / "index.html").read_text()


def many(record, seeds):
    return [record(f"method{m}", f"dataset{d:02d}", s, base=60 + m, new=50 + d, train_seconds=10.0 * 1.5**m)
            for m in range(3) for d in range(3) for s in range(1, seeds + 1)]  # fmt: skip


def calls_of(work):
    """How many Python functions are called: the same number on a busy machine."""
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def test_four_times_as_many_runs_are_four_times_the_work(record):
    """Exactly counted, so that nothing quadratic hides in a collection too small to be slow."""
    few, more = many(record, 4), many(record, 16)
    dict(site(few))  # what is made once, such as templates
    assert calls_of(lambda: dict(site(more))) <= 4 * calls_of(lambda: dict(site(few)))


def test_four_times_as_many_large_runs_are_four_times_the_work(record):
    few, more = (
        [from_json(text, "memory") for text in full_records(record, methods=3, datasets=3, seeds=seeds)]
        for seeds in (2, 8)
    )
    dict(site(few))
    assert calls_of(lambda: dict(site(more))) <= 4 * calls_of(lambda: dict(site(few)))


@pytest.fixture
def counted(monkeypatch):
    """`counted(module, name)`: the arguments of every call of a function from now on."""

    def count(module, name):
        calls, real = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **named: (calls.append(args), real(*args, **named))[1])
        return calls

    return count


def test_a_record_is_opened_once_parsed_without_python_and_its_folder_listed_once(
    record, tmp_path, counted, monkeypatch
):
    monkeypatch.setattr(records, "_shapes", set())
    files = {str(tmp_path / f"{i}.json"): text for i, text in enumerate(full_records(record, 2, 2, 2))}
    for path, text in files.items():
        Path(path).write_bytes(text)
    opened, listed, loads = counted(os, "open"), counted(os, "scandir"), counted(json, "loads")
    parsed = counted(pydantic_core, "from_json")
    found, problems = command.read([tmp_path])
    assert len(found) == 8
    assert not problems
    assert [str(args[0]) for args in opened] == list(files)
    assert [str(args[0]) for args in listed] == [str(tmp_path)]
    assert not loads, "Python's reader is for names that stand twice"
    assert len(parsed) == 1, "to look at names, once for all records of a shape"


@pytest.mark.parametrize("seeds", [2, 8])
def test_what_is_made_once_and_what_for_each_run(record, counted, seeds):
    found = [from_json(text, "memory") for text in full_records(record, methods=2, datasets=2, seeds=seeds)]
    confusions, texts = counted(macro, "_counts"), counted(sections, "key_json")
    rendered = counted(html_document, "render")
    others = [counted(module, "render") for module in (pages.site, pages.listings)]
    dict(site(found))
    runs = 4 * seeds
    assert len(confusions) == 2 * runs, "each test once, for two figures"
    assert len(texts) == runs, "a key's text sorts records; no two of these may be the same run"
    assert [template for (template,) in rendered] == ["run.html.j2"], "one frame for all runs"
    assert sorted(args[0] for calls in others for args in calls) == sorted(
        ["listing.html.j2"] * 4 + ["suite.html.j2", "index.html.j2"]
    )


@pytest.mark.long
def test_ten_thousand_records_have_a_page_each_and_a_small_index(record, tmp_path):
    files = full_records(record, methods=10, datasets=50, seeds=20)
    command.write(tmp_path, site([from_json(text, "memory") for text in files]))
    assert "class 25" in (tmp_path / "runs" / "10000.html").read_text()
    assert (tmp_path / "index.html").stat().st_size < 1_000_000


def full_records(record, methods, datasets, seeds):
    """Files of runs with 26 classes a test, 160 steps and 50 epochs, whose scores and times differ."""
    varied = tuple(random.Random(i).random() for i in range(160))
    run = record(epoch_losses=varied[:50], step_seconds=tuple(0.1 + v / 10 for v in varied))
    data, scored = json.loads(to_json(run)), cache(_scored)
    files = []
    for m, d, s in product(range(methods), range(datasets), range(1, seeds + 1)):
        tests = {f"dataset{d:02d}/base": scored(60 + m % 30), f"dataset{d:02d}/new": scored(40 + d)}
        data["key"] |= {"method": f"method{m}", "dataset": f"dataset{d:02d}", "seed": s, "tests": list(tests)}
        data["windows"]["train"]["seconds"] = 10.0 * 1.5**m
        files.append(json.dumps(data | {"accuracy": tests}).encode())
    assert len(files[0]) > 9_000
    return files


def test_a_failed_runs_page_has_its_traceback(files):
    (page,) = (text for text in files.values() if "line 3" in text)
    assert "<summary>Traceback</summary>" in page
    assert "File mine.py, &lt;i&gt;line 3&lt;/i&gt;" in page


def _scored(percent):
    """A test of 26 classes with 100 images each."""
    wrong = (percent, 97 - percent, 2, 1)
    return {"accuracy_percent": percent, "correct": 26 * percent, "images": 2600, "classes": 26,
            "class_names": [f"class {i}" for i in range(26)], "answers_zero_shot": False,
            "confusion": [(i, (i + k) % 26, n) for i in range(26) for k, n in enumerate(wrong)]}  # fmt: skip
