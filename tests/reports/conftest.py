"""A factory of real RunRecords, and a collection of them as a suite leaves it."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.recipe import Recipe
from harness.records import Environment, RunKey, RunRecord, TestRecord, WindowRecord
from reports.pages.page import page

MIB = 2**20
Factory = Callable[..., RunRecord]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

CPU = Environment(
    hostname_sha256="0" * 64,
    platform="Linux-6.1-x86_64",
    python="3.11.7",
    versions={"torch": "2.15.0", "open_clip_torch": "3.3.0"},
    cpu="Example CPU 2.0 GHz",
    cpu_count=2,
    threads=2,
    omp_wait_policy="PASSIVE",
    memory_bytes=16 * 2**30,
    device="cpu",
    commit="0123456789abcdef0123456789abcdef01234567",
    dirty=False,
    load_average=0.5,
)
GPU = Environment(
    hostname_sha256="1" * 64,
    platform="Linux-6.1-x86_64",
    python="3.11.7",
    versions={"torch": "2.15.0", "open_clip_torch": "3.3.0"},
    cpu="Example CPU 3.0 GHz",
    cpu_count=16,
    threads=16,
    omp_wait_policy="PASSIVE",
    memory_bytes=128 * 2**30,
    device="cuda:0",
    gpu="Example GPU 80GB",
    gpu_memory_bytes=80 * 2**30,
    driver="570.1",
    cuda="12.9",
    tf32=False,
    commit="0123456789abcdef0123456789abcdef01234567",
    dirty=False,
)


def make_record(
    method: str = "coop",
    dataset: str = "digits",
    seed: int = 1,
    *,
    base: float = 80.0,
    new: float = 60.0,
    train_seconds: float = 10.0,
    peak_bytes: int | None = 300 * MIB,
    parameters: int | None = 8192,
    environment: Environment = CPU,
    suite: str = "base2new",
    accuracy: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    precision: str = "fp32",
    execution: str = "fast",
    **changes: Any,
) -> RunRecord:
    """A run that finished, with a few figures to choose and any field of RunRecord to replace."""
    percents = accuracy or {f"{dataset}/base": base, f"{dataset}/new": new}
    recipe = recipe or (Recipe() if method == "zero_shot" else Recipe(epochs=20, batch_size=4, learning_rate=2e-3))
    trains = recipe.trains
    peak = {"peak_allocated_bytes" if environment.gpu else "peak_tensor_bytes": peak_bytes}
    values: dict[str, Any] = {
        "key": RunKey(
            suite=suite,
            dataset=dataset,
            classes="base",
            tests=tuple(percents),
            shots=16,
            seed=seed,
            method=method,
            settings=settings or {},
            recipe=recipe,
            backbone="demo-clip",
            pretrained=None,
            precision=precision,
            execution=execution,
        ),
        "recipe_row": "demo",
        "status": "ok",
        "started_at": f"2026-01-02T03:04:{seed:02d}+00:00",
        "total_seconds": train_seconds + 3,
        "windows": {
            "setup": WindowRecord(seconds=0.5, peak_rss_bytes=400 * MIB, **peak),
            "train": WindowRecord(seconds=train_seconds if trains else 0.0, peak_rss_bytes=500 * MIB, **peak),
            "test": WindowRecord(seconds=2.0, peak_rss_bytes=450 * MIB, **peak),
        },
        "accuracy": {
            key: TestRecord(accuracy_percent=percent, correct=round(percent * 10**6), images=10**8, classes=5)
            for key, percent in ({} if accuracy == {} else percents).items()
        },
        "step_seconds": (1.0, 1.0, 1.0, *[0.01 + 0.0001 * i for i in range(21)]) if trains else (),
        "load_seconds": 0.25 if trains else None,
        "extract_seconds": 1.5 if trains else None,
        "epoch_losses": (0.5,) * recipe.epochs,
        "train_images_seen": 1600 if trains else 0,
        "train_texts_encoded": 1200 if trains else 0,
        "train_image_count": 80,
        "train_class_count": 5,
        "trainable_parameters": parameters if trains else 0,
        "total_parameters": 12_345_678,
        "weights_sha256": "a" * 64,
        "environment": environment,
        "command": f"adaptbench run {suite} --methods {method} --seeds {seed}",
    }
    return RunRecord(**{**values, **changes})


def make_suite(environment: Environment = CPU, *, slowness: float = 1.0) -> list[RunRecord]:
    """Five methods, two datasets, three seeds; the same figures at every call."""
    base = {"zero_shot": 61.0, "coop": 82.0, "clip_adapter": 78.5, "full_finetuning": 86.0, "skip_tuning": 85.8}
    new = {"zero_shot": 58.0, "coop": 51.0, "clip_adapter": 57.5, "full_finetuning": 60.0, "skip_tuning": 60.9}
    seconds = {"zero_shot": 0.0, "coop": 21.0, "clip_adapter": 2.4, "full_finetuning": 64.0, "skip_tuning": 24.0}
    mib = {"zero_shot": 60, "coop": 210, "clip_adapter": 64, "full_finetuning": 540, "skip_tuning": 260}
    parameters = {"coop": 2048, "clip_adapter": 32_768, "full_finetuning": 6_400_000, "skip_tuning": 3_200_000}
    records = []
    for m, method in enumerate(base):
        for d, dataset in enumerate(("digits", "shapes")):
            for seed in (1, 2, 3):
                chance = random.Random(100 * m + 10 * d + seed)
                wave = 0.0 if method == "zero_shot" else chance.gauss(0, 1)
                records.append(
                    make_record(
                        method,
                        dataset,
                        seed,
                        base=base[method] + 4 * d + wave,
                        new=new[method] - 6 * d + 0.8 * wave,
                        train_seconds=(seconds[method] * (1 + 0.3 * d) + 0.1 * wave) * slowness,
                        peak_bytes=mib[method] * MIB,
                        parameters=parameters.get(method),
                        environment=environment,
                    )
                )
    return records


@pytest.fixture(scope="session")
def record() -> Factory:
    return make_record


@pytest.fixture
def suite() -> list[RunRecord]:
    return make_suite()


@pytest.fixture(scope="session")
def gpu() -> Environment:
    return GPU


@pytest.fixture
def two_machines() -> list[RunRecord]:
    return make_suite(CPU) + make_suite(GPU, slowness=0.1)


@pytest.fixture(scope="session")
def suite_page() -> str:
    return page(make_suite())


@pytest.fixture(scope="session")
def two_machines_page() -> str:
    return page(make_suite(CPU) + make_suite(GPU, slowness=0.1))


@pytest.fixture(scope="session")
def large_page() -> str:
    """Six methods, eleven datasets, three seeds, with all that a run leaves behind."""
    classes = 100
    confusion = tuple((i, j, n) for i in range(classes) for j, n in ((i, 7), ((i + 1) % classes, 3)))
    tested = TestRecord(accuracy_percent=70, correct=700, images=1000, classes=classes, confusion=confusion,
                        class_names=tuple(f"the class with number {i}" for i in range(classes)))  # fmt: skip
    runs = []
    for m in range(6):
        for d in range(11):
            for s in (1, 2, 3):
                chance = random.Random(100 * m + 10 * d + s)
                run = make_record(f"method_{m}", f"dataset_{d:02d}", s, base=60 + m + chance.random(), new=50 + d,
                                  train_seconds=10.0 * 3**m, epoch_losses=tuple(chance.random() for _ in range(50)),
                                  step_seconds=tuple(0.1 + chance.random() for _ in range(500)))  # fmt: skip
                accuracy = {k: replace(tested, accuracy_percent=t.accuracy_percent) for k, t in run.accuracy.items()}
                runs.append(replace(run, accuracy=accuracy))
    return page(runs)


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[dev]'")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def compiles(tmp_path):
    """`compiles(latex)`: whether TeX makes a document of it that lacks nothing."""
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        pytest.skip("needs LaTeX: apt-get install texlive-latex-recommended")

    def made(latex):
        text = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + latex + "\n\\end{document}\n"
        (tmp_path / "table.tex").write_text(text, encoding="utf-8")
        how = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
        done = subprocess.run(how, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        return done.returncode == 0 and "Missing character" not in done.stdout

    return made


@pytest.fixture
def open_file(chromium):
    """Opens a page's file; what a browser complains about, or asks for beside what is `within`, lands in `seen`."""
    contexts = []

    def opened(path, within, **options):
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.seen = []
        own = within.as_uri()
        tab.on("console", lambda message: tab.seen.append(message.text))
        tab.on("pageerror", lambda error: tab.seen.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith(own) else tab.seen.append(request.url))
        tab.on("dialog", lambda dialog: (tab.seen.append(dialog.message), dialog.dismiss()))
        tab.goto(path.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(open_file, tmp_path):
    """Opens a page's text, which has to ask for nothing."""

    def opened(text, **options):
        path = tmp_path / "index.html"
        path.write_text(text, encoding="utf-8")
        return open_file(path, path, **options)

    return opened


@pytest.fixture(scope="session")
def violations():
    """`violations(tab)`: the accessibility rules of axe that an open page breaks, each with the first element that does."""
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe: pip install -e '.[dev]'")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")

    def found(tab, rules=None):
        tab.evaluate(script)
        result = tab.evaluate("rules => axe.run(rules ? { runOnly: rules } : {})", rules)
        assert len(result["passes"]) > (0 if rules else 20)
        return [(broken["id"], broken["nodes"][0]["html"][:200]) for broken in result["violations"]]

    return found
