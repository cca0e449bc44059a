"""Imports point down, the engine knows no method, and what only plans stays light."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import plugins

ROOT = Path(__file__).parent.parent
FOLDERS = ("harness", "methods", "suites", "reports")
API = Path("harness", "api")
"""The package `adaptbench`, which stands on top of harness and reports; nothing imports it."""
ALLOWED = {"harness": {"harness"}, **{name: {"harness", name} for name in FOLDERS[1:]}}


def trees(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree):
    """First parts of every module a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module.split(".")[0]


def docstrings(tree):
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            for child in getattr(node, field, None) or () if not isinstance(node, ast.Lambda | ast.IfExp) else ():
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    yield id(child.value)


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_down(folder):
    files = list(trees(folder))
    assert files
    for path, tree in files:
        ours = set(imported(tree)) & {*FOLDERS, "adaptbench"}
        assert ours <= ({"adaptbench", "harness", "reports"} if path.is_relative_to(API) else ALLOWED[folder]), path


REPORTS = {
    "format": set(),
    "results": {"format"},
    "tables": {"format", "results"},
    "charts": {"format", "results"},
    "findings": {"format", "results", "tables", "charts"},
    "html": {"format"},
    "pages": {"format", "results", "tables", "charts", "findings", "html"},
    "export": {"format", "results", "tables"},
    "trends": {"format", "charts", "html"},
    "terminal": {"format", "results", "findings"},
}
"""What each room of reports may import; the command may import all of them."""


def test_the_rooms_of_reports_point_one_way():
    rooms = set()
    for path, tree in trees("reports"):
        room = path.with_suffix("").parts[1]
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        ours = {module.split(".")[1] for module in modules if module.startswith("reports.")}
        rooms.add(room)
        if not room.startswith("__"):
            assert "reports" not in modules, path  # it would hide the room
            assert ours <= {room, *REPORTS[room]}, path
    assert rooms == {"__init__", "__main__", *REPORTS}


def identifiers(tree):
    """Every name and every string of a file's code; docstrings are prose."""
    prose = set(docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value
        for field in ("id", "attr", "arg", "name", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


def test_the_engine_names_no_method():
    """Names that are ordinary words in the engine's advice to users are written out here, so that none slips in unseen."""
    advice = {("harness/clip/image_tower.py", name) for name in ("zero_shot", "coop", "clip_adapter")}
    advice |= {("harness/cli/options.py", "coop")}
    advice |= {
        ("harness/cli/new.py", name) for name in ("zero_shot", "coop", "clip_adapter")
    }  # to stand beside one's own
    measured = ("coop", "clip_adapter", "full_finetuning", "skip_tuning", "zero_shot")
    advice |= {("harness/probes/gpu_evidence/sections.py", name) for name in measured}  # what a measurement is taken of
    found, methods = set(), set(plugins.names("method"))
    for path, tree in trees("harness"):
        for text in identifiers(tree):
            found |= {(path.as_posix(), name) for name in methods & set(re.findall(r"\w+", text))}
    classes = {plugins.load("method", name).__name__ for name in methods}
    for path, tree in trees("harness"):
        assert not classes & set(identifiers(tree)), path
    assert found == advice


def plugin_modules():
    entries = importlib.metadata.entry_points()
    kinds = ("methods", "suites", "datasets", "backbones", "commands", "sources", "executors")
    return sorted({entry.module for kind in kinds for entry in entries.select(group=f"adaptbench.{kind}")})


WORDS = [
    "adaptbench",
    "harness.plan",
    "harness.records",
    "harness.suite",
    "harness.recipe",
    "harness.runs.store",
    "harness.runs.job",
    "harness.runs.suite_runner",
    "harness.gate.plugin",
    "harness.gate.outcomes",
]


def loaded_after(code):
    """Modules of a fresh process after `code`."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(json.loads(process.stdout.splitlines()[-1]))


FORKS = """
import importlib, json, os, sys, traceback
import pydantic, rich.table, typer

for module in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork() == 0:
        try:
            importlib.import_module(module)
            print(json.dumps([module, sorted(sys.modules)]), flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def imported_alone():
    """By module, what is loaded once it is imported before any other of ours: each in a fork of a process that knows none."""
    words = [sys.executable, "-c", FORKS, *WORDS, *plugin_modules()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / API)))}
    process = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT, check=True)
    return dict(json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")), process.stderr


@pytest.mark.parametrize("module", [*WORDS, *plugin_modules()])
def test_importing_it_leaves_torch_out(module, imported_alone):
    loaded, errors = imported_alone
    assert module in loaded, errors
    assert module in loaded[module]
    assert not set(loaded[module]) & {"torch", "torchvision", "open_clip"}


def test_the_words_need_no_third_party_but_pydantic():
    modules = loaded_after("import harness.suite, harness.recipe, harness.records")
    heavy = {"torch", "numpy", "pandas", "matplotlib", "PIL", "rich", "typer", "sklearn", "scipy"}
    assert not modules & heavy
    assert not loaded_after("import harness.suite") & {*heavy, "pydantic"}


PLAN = """
import atexit, contextlib, gc, io, os, sys
sys.argv = ["adaptbench", "plan", "base2new", *ARGUMENTS]
import harness.installed
scan, scans = harness.installed.entry_points, []
harness.installed.entry_points = lambda *of: scans.append(of) or scan(*of)
atexit.register(lambda: gc.get_freeze_count() or os._exit(3))  # else all is looked through at the end
from harness.__main__ import main
collected = gc.get_stats()
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main()
assert len(out.getvalue()) > 999
assert len(scans) == 1
assert gc.get_stats() == collected
"""


@pytest.mark.parametrize("arguments", [["--json"], []], ids=["json", "table"])
def test_a_plan_is_made_without_torch_pandas_or_matplotlib(arguments):
    loaded = loaded_after(PLAN.replace("*ARGUMENTS", f"*{[*arguments, '--results', 'nowhere']}"))
    assert not loaded & {"torch", "numpy", "pandas", "matplotlib", "PIL", "sklearn", "jinja2"}
    assert not {module for module in loaded if module.startswith(("harness.runs", "harness.cli.run", "reports"))}
    assert not loaded & {"harness.records", "rich.table", "rich._emoji_codes"}
    assert "importlib.metadata" not in loaded  # pydantic would look for plug-ins of its own


ESTIMATE = """
import atexit, contextlib, gc, io, os, sys
sys.argv = ["adaptbench", "estimate", "coop", "--backbone", "demo-clip", "--classes", "5", "--json"]
atexit.register(lambda: gc.get_freeze_count() or os._exit(3))  # else all of torch is looked through at the end
from harness.__main__ import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main()
assert len(out.getvalue()) > 999
"""


def test_an_estimate_imports_neither_the_compiler_nor_triton():
    loaded = loaded_after(ESTIMATE)
    assert "torch" in loaded
    assert not {"torch._dynamo", "triton"} & loaded


HELP = """
import sys
sys.argv = ["adaptbench", "--help"]
import harness.installed
scan, scans = harness.installed.entry_points, []
harness.installed.entry_points = lambda *of: scans.append(of) or scan(*of)
from harness.__main__ import main
try:
    main()
except SystemExit:
    assert len(scans) == 1
"""


def test_help_imports_no_command():
    """Their sentences are read off their sources; of a module's packages, which are imported to find it, only the outermost."""
    loaded = loaded_after(HELP)
    ours = {"__main__", "cli", "cli.commands", "cli.terminal", "errors", "installed", "plugins", "visible"}
    packages = {"harness", "harness.gate", "reports", "reports.trends", "suites", "suites.datasets"}
    rooms = ("harness", "methods", "suites", "reports")
    assert {module for module in loaded if module.split(".")[0] in rooms} == packages | {
        f"harness.{name}" for name in ours
    }
    assert not loaded & {"pydantic", "importlib.metadata"}


COMPLETE = """
import contextlib, io, os, sys
sys.argv = ["adaptbench"]
os.environ |= {"_ADAPTBENCH_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
os.environ["_TYPER_COMPLETE_ARGS"] = "adaptbench run base2new --set class_pos"
from harness.__main__ import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main()
assert out.getvalue().split() == ["class_position="], out.getvalue()
"""


def test_a_shell_completes_settings_without_torch_pandas_or_matplotlib():
    assert not loaded_after(COMPLETE) & {"torch", "numpy", "pandas", "matplotlib", "PIL", "sklearn", "jinja2"}


def test_the_fork_server_starts_no_threads_and_touches_no_gpu():
    """A fork copies no thread: one that held a lock would leave it locked in every run. Garbage is looked for once, at the end."""
    code = (
        "import harness.runs.forkserver_leash, harness.runs.forkserver_preload, gc, threading, torch; "
        "assert gc.isenabled() and gc.get_stats()[2]['collections'] == 1; assert threading.active_count() == 1; "
        "assert not torch.cuda.is_initialized()"
    )
    modules = loaded_after(code)
    assert {"torch", "open_clip", "torchvision", "harness.runs.runner"} <= modules
    assert not {"torch._dynamo", "sympy", "timm", "triton"} & modules


def test_statistics_of_reports_import_nothing_for_fortran():
    assert "numpy.f2py" not in loaded_after("import reports.results.statistics")


@pytest.mark.parametrize("compiler", ["", "torch._dynamo, "])
def test_a_fork_server_ends_without_a_word(compiler):
    """As it does by itself where a mere thread has started it."""
    code = f"import harness.runs.forkserver_leash, {compiler}harness.runs.forkserver_preload"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_compiler_is_imported_once_it_is_called():
    """And is then the real one, also for what took it from the stand-in while it was imported."""
    code = (
        "import harness.clip.library, torch, sys; roi = sys.modules['torchvision.ops.roi_align']; "
        "assert 'torch._dynamo' not in sys.modules; assert '_dynamo' not in vars(torch); "
        "assert torch.compiler.disable(lambda: 3)() == 3; assert 'torch._dynamo.eval_frame' in sys.modules; "
        "assert roi.is_compile_supported('cpu') == torch._dynamo.utils.is_compile_supported('cpu'); "
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).tolist() == [2, 2]"
    )
    assert "torch._dynamo.utils" in loaded_after(code)


CLOCKS = {
    f"{name}{unit}" for name in ("perf_counter", "process_time", "monotonic", "thread_time") for unit in ("", "_ns")
} | {"time.time", "time.time_ns", "getrusage", "cpu_times"}
BROWSERS_CLOCK = r"\bperformance\.|\bDate\.now\b|\btimeStamp\b"
IN_TURNS = {"tests/harness/test_overhead.py"}
"""Files that compare a ratio of two things timed in turns with a number, which is the same on a slower day."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def reads_a_clock(node, timed):
    """Whether an expression holds a clock, or a name that was given its reading."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and (part.attr in CLOCKS or ast.unparse(part) in CLOCKS):
            return True
        if isinstance(part, ast.Name) and part.id in CLOCKS | timed:
            return True
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and re.search(BROWSERS_CLOCK, part.value):
            return True
    return False


def is_a_limit(node):
    """A number however it is written, or one of several of which one is a number: `2 * 10`, `float("5")`, `max(20, other)`."""
    if isinstance(node, ast.Call):
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        either = isinstance(node.func, ast.Name) and node.func.id in ("max", "min")
        return bool(arguments) and (any if either else all)(map(is_a_limit, arguments))
    if isinstance(node, ast.BinOp):
        return is_a_limit(node.left) and is_a_limit(node.right)
    return is_a_limit(node.operand) if isinstance(node, ast.UnaryOp) else isinstance(node, ast.Constant)


def names_given(node):
    """What a statement gives to which names, as (value, where the names stand)."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            if both and len(target.elts) == len(node.value.elts):
                yield from zip(node.value.elts, ([name] for name in target.elts), strict=True)
            else:
                yield node.value, [target]
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
        yield node.value, [node.target]
    elif isinstance(node, ast.For | ast.comprehension):
        yield node.iter, [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:  # seconds.append(...)
        if node.func.attr in ("append", "extend", "add", "insert", "setdefault"):
            for argument in node.args:
                yield argument, [node.func.value]
    elif isinstance(node, FUNCTIONS):  # a helper's result
        for part in ast.walk(node):
            if isinstance(part, ast.Return | ast.Yield) and part.value:
                yield part.value, [ast.Name(node.name)]


def timed_names(tree, known=frozenset()):
    """The names that hold a duration or a time, by whatever way it came to them: repeated until no name is added."""
    given = [pair for node in ast.walk(tree) for pair in names_given(node)]
    timed, before = set(known), None
    while timed != before:
        before = set(timed)
        for value, targets in given:
            if reads_a_clock(value, timed):
                timed |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return timed


def durations_against_constants(module):
    """Lines that compare what a clock said with a number: a test that fails on a slower day.

    Names are those of one function, or of the module beside its functions; a function that returns a time is one everywhere.
    """
    functions = [node for node in ast.walk(module) if isinstance(node, FUNCTIONS)]
    helpers, before = set(), None
    while helpers != before:
        before = set(helpers)
        helpers |= {node.name for node in functions if node.name in timed_names(node, helpers)}
    beside = ast.Module([node for node in module.body if not isinstance(node, (*FUNCTIONS, ast.ClassDef))], [])
    lines = set()
    for scope in (beside, *functions):
        timed = timed_names(scope, helpers)
        for node in ast.walk(scope):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                if any(reads_a_clock(side, timed) for side in sides) and any(map(is_a_limit, sides)):
                    lines.add(node.lineno)
    return sorted(lines)


READINGS = (
    "time.perf_counter", "perf_counter", "time.monotonic", "time.process_time", "time.thread_time_ns", "time.time",
    "process.cpu_times", "resource.getrusage",
)  # fmt: skip
"""What CLOCK stands for below."""
SLOW_DAYS = {
    "a difference": "start = CLOCK()\nassert CLOCK() - start < 2",
    "a name": "s = CLOCK()\ntook = CLOCK() - s\nassert took < 2 * 10",
    "annotated": "def test():\n    s: float = CLOCK()\n    assert CLOCK() - s < 1",
    "walrus": "def test():\n    assert (took := CLOCK()) < 1\n    assert -3 < took",
    "added up": "took = 0\ntook += CLOCK()\nassert took < 1",
    "in a block": "if x:\n    a = CLOCK()\nb = a\nc = b - 1\nassert 1 > c",
    "before it is given": "for i in range(2):\n    if i:\n        assert b < 5\n    b = a\n    a = CLOCK()",
    "a list": "took = []\ntook.append(CLOCK())\nassert max(took) < 1",
    "a helper": "def lasts():\n    return CLOCK()\ndef test():\n    assert lasts() < 1",
    "a helper's helper": "def a():\n    t = CLOCK()\n    return t\ndef b():\n    return a()\nassert b() < 1",
    "async": "async def test():\n    assert CLOCK() < 1",
    "a method": "class T:\n    def test(self):\n        assert CLOCK() < 1",
    "in a browser": "took = []\ntook.append(tab.evaluate('performance.now()'))\nassert min(took) < 1000",
    "written otherwise": "assert CLOCK() < float('5')",
    "two at once": "n, a = 3, CLOCK()\nassert a < 3",
    "about": "assert CLOCK() == pytest.approx(0.2)",
    "the larger of two": "def test(other):\n    assert CLOCK() < max(20, 12 * other)",
    "processor time": "assert CLOCK().ru_utime < 3",
}
ANY_DAY = {
    "beside one": "n, a = 3, CLOCK()\nassert n == 3",
    "another duration": "a = CLOCK()\nb = CLOCK()\nassert a <= b",
    "a count": "a = CLOCK()\nn = 3\nassert n == 3",
    "another function's name": "def f():\n    took = CLOCK()\ndef g():\n    took = 3\n    assert took == 3",
}


@pytest.mark.parametrize("planted", SLOW_DAYS.values(), ids=SLOW_DAYS)
def test_a_duration_against_a_constant_is_found_by_every_clock(planted):
    for reading in READINGS:
        assert durations_against_constants(ast.parse(planted.replace("CLOCK", reading))), reading


@pytest.mark.parametrize("planted", ANY_DAY.values(), ids=ANY_DAY)
def test_what_no_slow_day_fails_is_left_alone(planted):
    for reading in READINGS:
        assert not durations_against_constants(ast.parse(planted.replace("CLOCK", reading))), reading


def test_no_test_compares_a_duration_with_a_constant():
    found = {path.as_posix(): lines for path, tree in trees("tests") if (lines := durations_against_constants(tree))}
    assert found.keys() == IN_TURNS, found


@pytest.mark.long
def test_every_process_collects_the_same_tests():
    """Processes that share the tests have to collect the same names, whenever they do and however they hash."""

    def collected(seed, zone):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}
        words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", "tests"]
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    first, second = (
        [line for line in collected(*how).splitlines() if "::" in line] for how in (("1", "UTC"), ("2", "Asia/Tokyo"))
    )
    assert len(first) > 2000
    assert first == second


def test_what_reaches_the_terminal_goes_through_one_module():
    """`harness.cli.terminal` makes text visible; rich's own console and click's echo would pass on what a file's names hold."""
    edges = set()
    for folder in ("harness", "reports", "suites"):
        for path, tree in trees(folder):
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                    edges |= {path.as_posix() for alias in node.names if alias.name == "Console"}
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr in ("echo", "secho")
                    and isinstance(node.value, ast.Name)
                ):
                    edges.add(path.as_posix())
                if isinstance(node, ast.Import) and any(alias.name == "rich.console" for alias in node.names):
                    edges.add(path.as_posix())
    assert edges == {"harness/cli/terminal.py"}
