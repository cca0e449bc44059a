"""What the pages say of the code is there: files, functions, links."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

from harness import plugins
from harness.cli.commands import command
from tests.shown_commands import shown

ROOT = Path(__file__).parent.parent
MAPS = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = ("harness", "methods", "suites", "reports", "tests", "docs", ".github", ".ci")


def missing_places(text):
    """Of `folder/file.py` and `folder/file.py:name`, those that are not there."""
    for path, name in re.findall(rf"`((?:{'|'.join(map(re.escape, TOP))})/[\w./-]*)(?::(\w+))?`", text):
        file = ROOT / path
        if not file.exists():
            yield path
        elif name:
            defined = (ast.FunctionDef, ast.ClassDef)
            if name not in {node.name for node in ast.parse(file.read_text()).body if isinstance(node, defined)}:
                yield f"{path}:{name}"


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.name)
def test_every_place_named_is_there(page):
    assert not list(missing_places(page.read_text()))


def test_the_way_to_a_record_is_short():
    way = (ROOT / "docs" / "architecture.md").read_text().partition("## One run")[2].partition("\n## ")[0]
    assert len(set(re.findall(r"`(harness/[\w/]+\.py)", way))) <= 20


def test_a_place_that_is_not_there_is_found():
    text = "`harness/plan.py:plan`, `harness/plan.py:plant`, `harness/nowhere.py`"
    assert list(missing_places(text)) == ["harness/plan.py:plant", "harness/nowhere.py"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_path_of_the_machine_that_wrote_it(page):
    assert not re.findall(r"(?<![\w.~])/(?:tmp|home|root|Users|private)/\S+", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    text = page.read_text()
    pictures = re.findall(r'\bsrc(?:set)?="([^"]+)"', text)
    for target in [*re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text), *pictures]:
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_to_one(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_the_changelog_leads_moved_imports_to_modules():
    section = (ROOT / "CHANGELOG.md").read_text().partition("## 0.2.0")[2].partition("\n## ")[0]
    rows = re.findall(r"^  \| `([\w.]+)` \| `([\w.]+)` \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) > 15
    for _, package, modules in rows:
        for old, new in re.findall(r"`(\w+)`(?: \(now `(\w+)`\))?", modules):
            assert (ROOT / package.replace(".", "/") / f"{new or old}.py").exists(), (package, old)


SHOWN = [*PAGES, ROOT / "docs" / "site" / "index.md"]


def ours(text):
    """The commands that a page shows, of AdaptBench and of nox."""
    return [each.words for each in shown("", text) if each.words[0] in ("adaptbench", "nox")]


def in_sentences(text):
    """The commands of AdaptBench that sentences name, whole or not."""
    return [shlex.split(span) for span in re.findall(r"`(adaptbench [^`]*)`", text) if "..." not in span]


def cases(words_of):
    found = [(page, words) for page in SHOWN for words in words_of(page.read_text())]
    return [pytest.param(words, id=f"{page.name}: {' '.join(words)}") for page, words in found]


def test_named_commands_are_found_in_a_page():
    assert [*in_sentences("`adaptbench list x`, `adaptbench run ...`")] == [["adaptbench", "list", "x"]]
    assert len(cases(in_sentences)) > 30


@pytest.mark.parametrize("words", cases(ours))
def test_a_command_that_is_shown_can_be_given(words, tmp_path, monkeypatch):
    """Its name, arguments and options are there, of the kinds they have; test_shown_commands.py executes it."""
    monkeypatch.chdir(tmp_path)
    (experiment,) = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs" / "experiments.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "experiment.yaml").write_text(experiment)
    if words[0] == "nox":
        session, rest = words[words.index("-s") + 1], words[words.index("--") + 1 :] if "--" in words else []
        sessions = re.findall(r'@nox.session\(name="([\w-]+)"\)', (ROOT / "noxfile.py").read_text())
        assert session in [*sessions, *(f"suite-{name}" for name in plugins.names("suite"))]
        words = [
            "adaptbench",
            *(["run", session.removeprefix("suite-")] if session.startswith("suite-") else [session]),
            *rest,
        ]
        if words[1] not in ("run", "gate"):
            return
    if not words[1].startswith("-"):
        command(words[1]).make_context(words[1], words[2:])


@pytest.mark.parametrize("words", cases(in_sentences))
def test_a_command_that_is_named_has_such_options(words):
    if words[1].startswith("-"):
        assert words[1:] in (["--version"], ["--install-completion"])
        return
    named = command(words[1])
    named.make_parser(typer.Context(named)).parse_args(args=words[2:])


QUANTITY = re.compile(
    r"(?<![\w.,`=:@+-])(?!95 %)\d[\d,]*(\.\d+)?[ -]?(s|ms|seconds|min|minutes|hours?|[KMG]i?B|%|points?|times|images/s)(?![\w-])"
)
FIGURE = re.compile(r"[*+−-]{0,2}\d[\d,]*(\.\d+)?( ?(s|ms|[KMG]i?B|%|x|points?|images/s|million))?\**( [(±to].*)?")
GIVEN = "<!-- given, not measured -->"
"""Stands before a paragraph, a list or a table whose quantities are settings, limits or facts of others."""
COMMAND = re.compile(r"`(?:adaptbench|nox -s|python|pytest) [^`]+`")
MADE = re.compile(r"(?:[Ww]ritten|made \w[^.`]*) by `(?:nox -s|python) ")


def without_command(text):
    """The paragraphs, lists and tables that quote quantities, without a command before them in their section or right after."""
    fenced = re.compile(r"^```(\w*)\n.*?^```", re.MULTILINE | re.DOTALL)
    text = fenced.sub(lambda found: "`adaptbench shown`" if found[1] in ("sh", "console") else "", text)
    for section in re.split(r"^(?=#)", text, flags=re.MULTILINE):
        blocks = re.split(r"\n{2,}", section)
        for i, block in enumerate(blocks):
            if (
                quotes_figures(block)
                and GIVEN not in blocks[i - 1 : i]
                and not COMMAND.search("\n".join(blocks[: i + 2]))
            ):
                yield block


def quotes_figures(block):
    if block.startswith("#"):
        return False
    if not block.startswith("|"):
        return QUANTITY.search(block)
    cells = [cell.strip() for line in block.splitlines()[2:] for cell in line.strip("|").split("|")]
    return sum(bool(re.search(r"[.\d] ?[^\d]*$", cell) and FIGURE.fullmatch(cell)) for cell in cells) > len(cells) / 3


def test_figures_without_a_command_are_found():
    table = "| what | s |\n|---|---|\n| a | 1.5 s |"
    assert [*without_command(f"It takes 3 s.\n\n{GIVEN}\n\n{table}\n\n{table}\n\nB")] == ["It takes 3 s.", table]
    assert not [*without_command(f"Of 3 images\n\n{table}\n\nby `pytest x`.\n\n{table}\n\nA 95 % interval.")]
    assert [*without_command(f"`pytest x`: 3 s.\n## Other\n\n{table}")] == [table]


@pytest.mark.parametrize("page", [*SHOWN, ROOT / "suites" / "demo" / "MODEL_CARD.md"], ids=lambda page: page.name)
def test_figures_of_a_page_have_the_command_that_makes_them(page):
    text = page.read_text()
    assert MADE.search(text.partition("\n## ")[0]) or not (lacking := [*without_command(text)]), "\n\n".join(lacking)
