"""A hundred mistakes of options, settings and methods: exit code 2, one message, and nothing written.

A message is good if it names the value that was given, says what is right, and gives a next step. Each mistake comes with the
words by which it says what is right.
"""

import re
import sys

import pytest

from docs import mistakes

PLAN, RUN = "plan base2new --datasets demo-digits", "run base2new --datasets demo-digits"
SETTINGS = f"{PLAN} --methods"
MINE = """
from dataclasses import dataclass
from harness.recipe import Recipe


@dataclass(frozen=True)
class Mine:
    depth: int = 3
    recipes = {"default": Recipe(epochs=4, learning_rate=0.1)}

    def adapt(self, backbone):
        raise NotImplementedError
"""
FILES = {
    "mine.py": MINE,
    "syntax.py": "class :",
    "two-words.py": "",
    "json.py": "",
    "a-file": "text",
    "plain/a/b": "",
    "list.csv": "",
    "names.txt": "n01440764 tench",
}

MISTAKES = [  # the command, the value that it names, and what is right
    ("rum base2new", "rum", "-h"),
    ("plan", "suite", "plan -h"),
    ("plan base2knew", "base2knew", "Did you mean 'base2new'"),
    ("plan base2new few-shot", "few-shot", "plan -h"),
    ("plan base2new --seed 1", "--seed", "--seeds"),
    ("plan base2new --dataset demo-digits", "--dataset", "--datasets"),
    ("plan nowhere:SUITE", "nowhere", "FILE.py:ATTRIBUTE"),
    ("list sweets", "sweets", "suites"),
    ("list suites base2new", "base2new", "list methods"),
    ("list methods cop", "cop", "Did you mean"),
    ("plan base2new --methods skip_tunin", "skip_tunin", "Did you mean 'skip_tuning'"),
    ("plan base2new --methods coop,,maple", "coop,,maple", "one,two"),
    ("plan base2new --methods=", "--methods", "leave --methods out"),
    ("plan base2new --methods coop;maple", "coop;maple", "coop"),
    ("plan base2new --methods CoOp", "CoOp", "Did you mean 'coop'"),
    ("plan base2new --methods coop --methods maple", "coop and maple", "--methods one,two"),
    ("plan base2new --methods mine:Mien", "Mien", "Mine"),
    ("plan base2new --methods mine.py:Mien", "Mien", "Mine"),
    ("plan base2new --methods mine.py", "mine.py", "module:attribute"),
    ("plan base2new --methods min.py:Mine", "min.py", "as seen from this folder"),
    ("plan base2new --methods mien:Mine", "mien", "FILE.py:ATTRIBUTE"),
    ("plan base2new --methods syntax.py:X", "syntax.py", "Mend the module"),
    ("plan base2new --methods two-words.py:X", "two-words", "Rename the file"),
    ("plan base2new --methods json.py:X", "json.py", "Rename the file"),
    ("plan base2new --methods mine", "mine", "module:attribute"),
    (f"{SETTINGS} mine:Mine --set dept=4", "dept", "depth"),
    (f"{SETTINGS} mine:Mine --set depth=deep", "depth=deep", "valid integer"),
    (f"{SETTINGS} mine:Mine --set epochs=-1", "epochs=-1", "greater than or equal to 0"),
    (f"{SETTINGS} mine:Mine --set coop.epochs=1", "coop", "mine:Mine"),
    ("plan base2new --datasets eurosta", "eurosta", "Did you mean 'eurosat'"),
    ("plan base2new --datasets=", "--datasets", "leave --datasets out"),
    ("plan base2new --datasets foldr:plain", "foldr:plain", "Did you mean 'folder'"),
    ("plan base2new --datasets plain", "plain", "folder:plain"),
    ("plan base2new --datasets list.csv", "list.csv", "csv:list.csv"),
    ("plan base2new --datasets folder:nowhere", "nowhere", "one folder a class"),
    ("plan base2new --datasets csv:nowhere.csv", "nowhere.csv", '"image" and "label"'),
    ("plan base2new --datasets folder:plain", "plain", "convert them"),
    ("plan base2new --datasets publised", "publised", "published"),
    ("plan base2new --datasets demo-digits --class-names a-file", "a-file", "n01440764 tench"),
    ("plan base2new --datasets folder:plain --class-names none.txt", "none.txt", "n01440764 tench"),
    ("plan cross-dataset --datasets eurosat", "eurosat", "imagenet"),
    ("plan base2new --seeds 0", "0", "--seeds 1,2,3"),
    ("plan base2new --seeds=", "--seeds", "leave --seeds out"),
    ("plan base2new --seeds 1-3", "1-3", "--seeds 1,2,3"),
    ("plan base2new --seeds 1,two", "two", "--seeds 1,2,3"),
    ("plan base2new --seeds 99999999999", "99999999999", "to 4294967295"),
    ("plan base2new --seeds 1 --seeds 2", "1 and 2", "--seeds one,two"),
    ("plan base2new --shots -4", "-4", "--shots 1,2,3"),
    ("plan base2new --shots 1.5", "1.5", "whole number"),
    ("plan base2new --precision fp8", "fp8", "fp16-pure"),
    ("plan base2new --precision half", "half", "fp16"),
    ("plan base2new --execution fats", "fats", "Did you mean 'fast'"),
    ("plan base2new --steps 0", "0", "greater than or equal to 1"),
    ("plan base2new --steps many", "many", "valid integer"),
    ("plan base2new --recipes costs", "costs", "Did you mean 'cost'"),
    ("plan base2new --template photo", "photo", "a photo of a {}."),
    ("plan base2new --template {}{}", "{}{}", "once where the class name goes"),
    ("plan base2new --template {0}", "{0}", "a photo of a {}."),
    (f"{SETTINGS} clip_lora --template a_{{}}", "a_{}", "--set clip_lora.template="),
    (f"{SETTINGS} coop --set epochs", "epochs", "--set epochs=5"),
    (f"{SETTINGS} coop --set =5", "=5", "--set epochs=5"),
    (f"{SETTINGS} coop --set epoch=3", "epoch", "Did you mean 'epochs'"),
    (f"{SETTINGS} coop --set epochs=many", "epochs=many", "valid integer"),
    (f"{SETTINGS} coop --set epochs=1.5", "epochs=1.5", "integer"),
    (f"{SETTINGS} coop --set epochs=1 --set epochs=2", "1 and as 2", "Leave one of them out"),
    (f"{SETTINGS} coop --set epochs=1 --set iterations=2", "epochs=1", "iterations=2 is the length"),
    (f"{SETTINGS} coop --set maple.epochs=3", "maple", "Known: coop"),
    (f"{SETTINGS} coop --set epochs=1 --set learning_rate=1", "learning_rate=1", "shorten warmup_epochs=1"),
    (f"{SETTINGS} coop --set epochs=0 --set batch_size=8", "batch_size=8", "trains in no steps"),
    (f"{SETTINGS} coop --set learning_rate=0", "learning_rate=0", "greater than 0"),
    (f"{SETTINGS} coop --set learning_rate=inf", "learning_rate=inf", "finite"),
    (f"{SETTINGS} coop --set learning_rate=0,1", "learning_rate=0,1", "valid number"),
    (f"{SETTINGS} coop --set learning_rate=null", "coop", "--set coop.learning_rate=0.002"),
    (f"{SETTINGS} coop --set learning_rates=5", "learning_rates=5", "dictionary"),
    (f"{SETTINGS} coop --set minimum_learning_rate=5", "minimum_learning_rate=5", "would rise"),
    (f"{SETTINGS} coop --set momentum=1", "momentum=1", "less than 1"),
    (f"{SETTINGS} coop --set epsilon=1", "epsilon=1", "the optimizer is sgd"),
    (f"{SETTINGS} coop --set optimizer=lion", "optimizer=lion", "'sgd', 'adam' or 'adamw'"),
    (f"{SETTINGS} coop --set schedule=linear", "schedule=linear", "'cosine' or 'constant'"),
    (f"{SETTINGS} coop --set augmentation=flip", "augmentation=flip", "'none'"),
    (f"{SETTINGS} coop --set crop_scale_minimum=0.5", "crop_scale_minimum=0.5", "the augmentation is none"),
    (f"{SETTINGS} coop --set batch_size=0", "batch_size=0", "greater than or equal to 1"),
    (f"{SETTINGS} coop --set coop.context_length=1000", "context_length=1000", "--set context_init="),
    (f"{SETTINGS} coop --set context_length=0", "context_length=0", "greater than or equal to 1"),
    (f"{SETTINGS} coop --set class_position=back", "class_position=back", "'end', 'middle' or 'front'"),
    (f"{SETTINGS} coop --set class_specific=perhaps", "class_specific=perhaps", "valid boolean"),
    (f"{SETTINGS} clip_adapter --set ratio=-3", "ratio=-3", "ratio=0.2"),
    (f"{SETTINGS} clip_adapter --set reduction=0", "reduction=0", "reduction=4"),
    (f"{SETTINGS} clip_adapter --set template_list=nosuch", "template_list=nosuch", "clip"),
    (f"{SETTINGS} skip_tuning --set top_ratio=7", "top_ratio=7", "top_ratio=0.5"),
    (f"{SETTINGS} skip_tuning --set class_skip=false --set decay=1", "decay=1", "class_skip is off"),
    (f"{SETTINGS} clip_lora --set rank=0", "rank=0", "rank=2"),
    (f"{SETTINGS} zero_shot --set epochs=3", "epochs=3", "a method that trains"),
    (f"{SETTINGS} coprompt --set descriptions=nowhere.json", "nowhere.json", "no such file"),
    (f"{RUN} --device gpu", "gpu", "cuda:N"),
    (f"{RUN} --threads 0", "0", "a whole number from 1 on"),
    (f"{RUN} --jobs many", "many", "--jobs auto"),
    (f"{RUN} --threads 100000", "100000", "or fewer"),
    (f"{RUN} --time-limit soon", "soon", "valid number"),
    (f"{RUN} --quiet --verbose", "--quiet and --verbose", "Leave one"),
    (f"{RUN} --site out.pdf", "out.pdf", "report.html"),
    (f"{RUN} --results a-file", "a-file", "--results DIR"),
    (f"{RUN} --cache a-file", "a-file", "--cache DIR"),
    ("run base2new --datasets eurosat", "eurosat", "--data-root"),
    ("report nowhere", "nowhere", "adaptbench run"),
    ("report plain -o out.pdf", "out.pdf", "report.html"),
    ("compare plain plain", "plain", "compare before after"),
    ("export plain -o x.csv --format latex", "x.csv", "rename"),
    ("export plain -o x.docx", "docx", "csv"),
    ("estimate coop --fits much", "much", "--fits 24GiB"),
    ("estimate cop", "cop", "Did you mean 'coop'"),
    ("estimate coop --classes some", "some", "--classes"),
    ("speedup coop --part txt", "txt", "Did you mean 'text'"),
    ("speedup coop --pairs 1", "1", "greater than or equal to 3"),
    ("data check eurosat --class-names names.txt", "names.txt", "data check folder:PATH"),
    ("data check eurosta", "eurosta", "Did you mean 'eurosat'"),
    ("gate --base=", "--base", "leave --base out"),
]
STEPS = (
    "--[a-z]", "Did you mean", "Known:", "[Ll]eave", "Name ", "Rename", "adaptbench", "Mend", "Move", "Use ", "Give ", "Take ",
    "Images are", "It has", "It is a setting", "Its first", "It takes", "Run from", "-h",
)  # fmt: skip
STEP = re.compile("|".join(STEPS))
"""What a next step begins with."""


def test_they_are_a_hundred_and_each_is_another():
    assert len({command for command, *_ in MISTAKES}) == len(MISTAKES) >= 100


def test_the_page_of_mistakes_has_each_with_its_message():
    """Written by `python -m docs.mistakes`; what is said is tested below."""
    page = mistakes.PAGE.read_text()
    for command, value, right in MISTAKES:
        (row,) = re.findall(rf"^\| {re.escape(mistakes.cell(command))} \| (.*) \|$", page, re.MULTILINE)
        assert mistakes.plain(value) in row
        assert mistakes.plain(right) in row or "and others" in row


@pytest.mark.parametrize(("command", "value", "right"), MISTAKES, ids=[command for command, *_ in MISTAKES])
def test_a_mistake_is_one_good_message(adaptbench_here, tmp_path, monkeypatch, command, value, right):
    folder = tmp_path / "here"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.delenv("ADAPTBENCH_DATA_ROOT", raising=False)
    process = adaptbench_here(*command.split(" "))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    said = " ".join(process.stderr.split())
    assert process.returncode == 2, said
    assert value in said
    assert right in said
    assert STEP.search(said.partition(right)[2] + right + said.partition(".")[2]), said
    assert process.stdout == ""
    assert "Traceback" not in said
    assert len(process.stderr.splitlines()) <= 12
    left = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert left == set(FILES)
