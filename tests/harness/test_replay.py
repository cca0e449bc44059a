"""A run repeated from its record alone: alike to the bit on the same machine, and by name what isn't here or differs."""

import sys
from dataclasses import replace

import pytest

from harness.errors import ConfigError
from harness.records import from_json, to_json
from harness.runs.replay import Places, differences, environment_differences, job_of, planned
from harness.runs.runner import execute
from harness.suite import Folders

pytestmark = pytest.mark.usefixtures("one_thread")

MINE = """
from dataclasses import dataclass
from tinyworld import Misbehaving

@dataclass(frozen=True)
class Mine(Misbehaving):
    how: str = "nothing"
    sizes: tuple[int, ...] = (1, 2)
"""


@pytest.fixture
def here(tmp_path, monkeypatch, tinyworld):
    """The current folder, with mine.py in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "mine.py").write_text(MINE)
    sys.modules.pop("mine", None)
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.fixture
def recorded(here, job):
    """The record of a run of mine.py:Mine, as its file has it."""
    made = job("mine.py:Mine", settings={"epochs": "2"})
    key = replace(made.run.key, device="cpu")
    return from_json(to_json(execute(replace(made, run=replace(made.run, key=key)))), "record")


def test_a_record_is_enough_for_the_same_results_in_a_process_of_its_own(recorded, here, tiny_adaptbench):
    file = here / "record.json"
    file.write_bytes(to_json(recorded))
    replayed = tiny_adaptbench("replay", file, cwd=here)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "Identical: the correct answers of 2 tests by class, the losses of 2 epochs" in replayed.stdout
    assert sorted(path.name for path in here.glob("*.json")) == ["record.json"]


def test_settings_are_what_the_method_read_them_as(recorded, tmp_path):
    run = planned(recorded, Places())
    assert run.key.settings == {"how": "nothing", "sizes": (1, 2)}
    assert recorded.key.settings["sizes"] == [1, 2]
    again = execute(job_of(recorded, run, Folders(data_root=None, cache=tmp_path)))
    assert differences(recorded, again) == []
    assert environment_differences(recorded.environment, again.environment) == []


def test_another_source_of_the_method_is_another_run(recorded, here):
    (here / "mine.py").write_text(MINE + "\n# changed\n")
    with pytest.raises(ConfigError, match=r"the source of mine:Mine has the hash \w{12} here, and the record \w{12}"):
        planned(recorded, Places())


def test_all_that_is_missing_is_named_at_once(recorded, here):
    (here / "mine.py").unlink()
    sys.modules.pop("mine")
    key = replace(
        recorded.key,
        dataset="folder:birds@012345678901",
        tests=("folder:birds@012345678901/base",),
        backbone="ViT-B-16",
        pretrained="clip.pt@0123456789ab",
    )
    with pytest.raises(ConfigError) as refused:
        planned(replace(recorded, key=key, accuracy={}), Places())
    assert "'mine:Mine' can't be imported" in refused.value.what
    assert "the record is of ViT-B-16 with the weights clip.pt@0123456789ab" in refused.value.what
    assert "the dataset folder:birds@012345678901 isn't here" in refused.value.what
    for option in ("--method FILE.py:NAME", "--pretrained FILE", "--datasets folder:PATH"):
        assert option in refused.value.advice


def test_files_are_found_by_name_in_this_folder_and_where_they_are_said_to_be(recorded, here, tinyworld):
    from harness import plugins

    for name in tinyworld.COLOUR_VALUES:
        (here / "birds" / name).mkdir(parents=True)
        for number in range(3):
            tinyworld.open_image(f"train/{name}/{number}").save(here / "birds" / name / f"{number}.png")
    name = plugins.load("dataset", "folder:birds").name
    key = replace(recorded.key, dataset=name, tests=(f"{name}/base",))
    record = replace(recorded, key=key, accuracy={}, command="adaptbench run tiny --datasets folder:birds")
    assert planned(record, Places()).sources == {name: "folder:birds"}
    (here / "birds").rename(here / "elsewhere")
    with pytest.raises(ConfigError, match="isn't here"):
        planned(record, Places())
    with pytest.raises(ConfigError, match="isn't here: here is folder:elsewhere@"):
        planned(record, Places(datasets=["folder:elsewhere"]))


def test_every_difference_is_named_with_both_values(recorded):
    test = recorded.accuracy["tiny-colours/base"]
    worse = replace(test, accuracy_percent=0.0, correct=0, confusion=())
    losses = (recorded.epoch_losses[0], 0.125)
    other = replace(
        recorded, accuracy={**recorded.accuracy, "tiny-colours/base": worse}, epoch_losses=losses, weights_sha256=None
    )
    assert differences(recorded, other) == [
        f"accuracy of tiny-colours/base: {test.accuracy_percent:.2f} % ({test.correct} of 21), here 0.00 % (0 of 21)",
        f"loss of epoch 2: {recorded.epoch_losses[1]!r}, here 0.125 (the first of 1 that differ)",
        f"weights_sha256: {recorded.weights_sha256}, here none",
    ]
    confused = replace(test, confusion=test.confusion[::-1])
    (only,) = differences(recorded, replace(recorded, accuracy={**recorded.accuracy, "tiny-colours/base": confused}))
    assert only.endswith("of other images or classes")
    (failed, reason, *_) = differences(recorded, replace(recorded, status="failed", reason="because."))
    assert (failed, reason) == ("status: ok, here failed", "reason: none, here because.")


def test_software_and_machine_are_compared_too(recorded):
    was = recorded.environment
    now = replace(was, threads=7, versions={**was.versions, "torch": "0.1"}, hostname_sha256="0" * 64, load_average=9.0)
    assert environment_differences(was, now) == [
        "threads: 1, here 7",
        f"host: {was.hostname_sha256[:8]}, here 00000000",
        f"torch: {was.versions['torch']}, here 0.1",
    ]
