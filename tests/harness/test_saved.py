"""Saved models: what a run answered, to the bit, from its file alone; and its exports."""

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch

from harness import plugins
from harness.clip import backbone
from harness.errors import ConfigError
from harness.runs.runner import execute
from harness.saved.exports import export_classifier, export_open_clip
from harness.saved.model import load

USUAL = {"tcp", "skip_tuning"}
"""Weights of two epochs, and a backbone's own: the rest before a release only, since test_contract.py has the state of all."""
METHODS = [pytest.param(name, marks=[pytest.mark.long] * (name not in USUAL)) for name in plugins.names("method")]
EACH_METHOD = pytest.mark.parametrize("name", METHODS, scope="module")
SHALLOW = {"prompt_depth": "2", "start_layer": "1", "class_aware_block": "1"}
"""Settings that fit two blocks a tower."""
SHORT = {"iterations": "2", "batch_size": "4"}
LENGTHS = {"tcp": {"epochs": "2", "batch_size": "4", "tcp.new_classes_epoch": "1"}}


@pytest.fixture(scope="module")
def runs():
    return {}


@pytest.fixture
def run(name, runs, job, tinyworld, tmp_path_factory, one_thread):
    """A run of each method, once: its record, its saved model, and what it answered on every test image."""
    if name not in runs:
        folder = tmp_path_factory.mktemp(name)
        method = plugins.load("method", name)
        own = {field.name for field in dataclasses.fields(method)}
        settings = LENGTHS.get(name, SHORT) if method.recipes["default"].trains else {}
        settings = {**settings, **{key: value for key, value in SHALLOW.items() if key in own}}
        kept = {"saved": folder / "model.safetensors", "predictions": folder / "predictions.parquet"}
        record = execute(dataclasses.replace(job(name, settings=settings), **kept))
        assert record.status == "ok", record.reason
        answers = pq.read_table(kept["predictions"]).to_pylist()
        runs[name] = SimpleNamespace(record=record, saved=kept["saved"], answers=answers)
    return runs[name]


@EACH_METHOD
def test_a_saved_model_answers_as_its_run_did_to_the_bit(name, run, tinyworld):
    assert run.record.saved_bytes == run.saved.stat().st_size, run.record.missing
    model = load(run.saved, device="cpu")
    for key, test in run.record.accuracy.items():
        model.set_classes(test.class_names)
        theirs = [row for row in run.answers if row["test"] == key]
        found = model.predict([tinyworld.open_image(row["image"]) for row in theirs])
        assert found.labels == [row["predicted"] for row in theirs]
        assert found.logits.max(dim=-1).values.tolist() == [row["logit"] for row in theirs]
        assert model.answers_zero_shot == test.answers_zero_shot


KEEPS_MORE = {"tip_adapter", "tcp"}
"""A cache that isn't trained, and the weights of a second epoch."""


@EACH_METHOD
def test_a_saved_model_holds_what_was_trained_and_little_more(name, run, tinyworld):
    """The tensors at most 1.1 times what was trained; the rest of the file says what it is, in some bytes per tensor."""
    with run.saved.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        tensors = json.loads(file.read(header_bytes))
    said_bytes = len(json.dumps(tensors.pop("__metadata__")))
    trained_bytes = 4 * run.record.trainable_parameters
    tensor_bytes = run.saved.stat().st_size - 8 - header_bytes
    assert (tensor_bytes <= 1.1 * trained_bytes) != (name in KEEPS_MORE), (tensor_bytes, trained_bytes)
    assert said_bytes < 2000
    assert header_bytes - said_bytes < 150 * (len(tensors) + 1)


EXPORTS = {
    "open_clip": {"zero_shot", "full_finetuning", "skip_tuning", "clip_lora"},
    "classifier": {"zero_shot", "coop", "kgcoop", "prograd", "tcp", "linear_probe", "lp_plus_plus"},
}


@EACH_METHOD
def test_exports_answer_alike_or_are_refused(name, run, tmp_path):
    model = load(run.saved, device="cpu")
    for format, write in (("open_clip", export_open_clip), ("classifier", export_classifier)):
        if name in EXPORTS[format]:
            assert write(model, tmp_path / format) < 1e-5
        else:
            with pytest.raises(ConfigError, match=f"can't be exported as {format}"):
                write(model, tmp_path / format)
            assert not (tmp_path / format).exists()


@pytest.fixture
def images(tinyworld, tmp_path):
    """A folder with an image of each colour, and a file that is none."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(tinyworld.COLOUR_VALUES):
        place = folder / "more" if number % 2 else folder
        tinyworld.open_image(f"test/{name}/0").save(place / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize("name", ["skip_tuning"], scope="module")
class TestTheCommands:
    def test_predict_says_class_and_probability_of_files_and_folders(self, name, run, images, adaptbench_here):
        done = adaptbench_here("predict", run.saved, images, "--format", "csv", "--device", "cpu")
        lines = [line.split(",") for line in done.stdout.splitlines()]
        assert lines[0] == ["image", "class", "probability"]
        paths = [Path(path) for path, *_ in lines[1:]]
        assert sorted(path.stem for path in paths) == ["blue", "green", "purple", "red", "yellow"]
        assert "1 of 6 files" in done.stderr
        expected = load(run.saved, device="cpu").predict(paths)
        assert [name for _, name, _ in lines[1:]] == expected.names
        assert [float(value) for *_, value in lines[1:]] == expected.probabilities.max(dim=-1).values.tolist()

    def test_predict_takes_other_classes_and_paths_on_standard_input(
        self, name, run, images, adaptbench_here, monkeypatch
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{images / 'red.png'}\n\n{images / 'blue.png'}\n"))
        words = ("--classes", "dog,great white shark", "--top", "5", "--format", "json", "--device", "cpu")
        rows = json.loads(adaptbench_here("predict", run.saved, "-", *words).stdout)
        assert [Path(row["image"]).stem for row in rows] == ["red", "red", "blue", "blue"]
        assert {row["class"] for row in rows} == {"dog", "great white shark"}
        assert rows[0]["probability"] + rows[1]["probability"] == pytest.approx(1)

    @pytest.mark.parametrize(
        ("words", "advice"),
        [
            (("{images}/notes.txt",), "is none of JPEG"),
            (("{images}/nowhere.png",), "there is no image"),
            (("{images}", "--classes", "dog"), "names 1 class"),
            (("{images}", "--device", "gpu"), "is not a device"),
            (("{images}", "--format", "xml"), "--format xml"),
            (("{images}", "--pretrained", "random"), "and no tiny-clip with random"),
        ],
        ids=str,
    )
    def test_what_can_not_be_meant_is_told(self, name, run, images, adaptbench_here, words, advice):
        done = adaptbench_here("predict", run.saved, *(word.format(images=images) for word in words))
        assert done.returncode == 2
        assert advice in done.stderr

    def test_another_file_is_no_saved_model(self, name, run, tiny_weights, images, adaptbench_here):
        for path, advice in (
            (tiny_weights / "tiny-clip.safetensors", "not one of AdaptBench's"),
            (images, "no regular"),
        ):
            done = adaptbench_here("predict", path, images)
            assert (done.returncode, advice in done.stderr) == (2, True), done.stderr

    def test_open_clip_loads_what_is_exported(self, name, run, images, adaptbench_here, tmp_path):
        folder = tmp_path / "clip"
        done = adaptbench_here("export-model", run.saved, "--as", "open_clip", "-o", folder)
        assert done.returncode == 0, done.stderr
        clip = backbone.load(f"local-dir:{folder}", None)
        model = load(run.saved, device="cpu")
        for name, weight in clip.model.state_dict().items():
            assert torch.equal(weight, model.model.backbone.model.state_dict()[name])
        refused = adaptbench_here("export-model", run.saved, "--as", "classifier", "-o", tmp_path / "matrix")
        assert (refused.returncode, "as classifier" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("method", "settings", "kept"),
    [
        ("zero_shot", {}, {"clip"}),
        ("zero_shot", {"template_list": "fine-tuning"}, {"clip", "fine-tuning"}),
        ("tip_adapter", {"template_list": "ensemble"}, {"clip", "ensemble 1", "ensemble 2"}),
    ],
)
def test_of_the_templates_those_are_saved_that_the_answers_rest_on(
    method, settings, kept, job, tinyworld, monkeypatch, tmp_path, one_thread
):
    several = {"fine-tuning": "{}, seen.", "ensemble 1": "one {}.", "ensemble 2": "two {}.", "description 1": "a {}."}
    templates = {**tinyworld.COLOURS.templates, **several}
    monkeypatch.setattr(tinyworld, "COLOURS", dataclasses.replace(tinyworld.COLOURS, templates=templates))
    saved = tmp_path / "model.safetensors"
    record = execute(dataclasses.replace(job(method, settings=settings), saved=saved))
    assert record.status == "ok", record.reason
    assert load(saved, device="cpu").header.templates == {name: templates[name] for name in templates if name in kept}


def test_a_model_that_answers_otherwise_when_built_anew_is_not_saved(job, tinyworld, monkeypatch, tmp_path, one_thread):
    """What a method forgets to keep is told in the run, not found by whoever loads it."""
    from methods.tcp.model import TCPModel

    monkeypatch.setattr(TCPModel, "keeps", ())
    settings = {**LENGTHS["tcp"], "class_aware_block": "1"}
    record = execute(dataclasses.replace(job("tcp", settings=settings), saved=tmp_path / "model.safetensors"))
    assert record.status == "ok"
    assert record.saved_bytes is None
    assert "keeps = ('attribute', ...)" in record.missing["saved_bytes"]
    assert "could not be saved" in record.warnings[-1]
    assert not list(tmp_path.glob("*.safetensors"))
