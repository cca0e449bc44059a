"""What a run of every method leaves behind, in every precision: a whole record, and no tensor.

On a CLIP of 12 + 12 blocks with random weights and flat-colour images: the defaults of every method fit it.
"""

import gc
from dataclasses import replace

import open_clip
import pytest
import torch
from open_clip.model import convert_weights_to_lp

from harness import plugins
from harness.clip.backbone import Backbone
from harness.data.few_shot import classnames
from harness.data.image_set import ImageSet
from harness.method import Classes
from harness.records import from_json, to_json
from harness.runs.replay import Places, differences, job_of, planned
from harness.runs.runner import execute
from harness.suite import Folders
from harness.training.loop import train
from harness.training.reading import advance, autocast

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = plugins.names("method")
PRECISIONS = ("bf16", "fp16", "fp16-pure")
CLASSES, SHOTS, E = 3, 4, 32
TRAINS_NOTHING = ("zero_shot", "tip_adapter")
REPLAYED = ("coop", "tip_adapter_f")
"""Of those that replay, the ones that do so in every test run: one that trains prompts, one with a cache and a search."""
SHORT = {
    "zero_shot": {},
    "linear_probe": {},
    "lp_plus_plus": {},
    "clip_lora": {"iterations": "2"},
    "promptsrc": {"epochs": "1", "teacher_templates": "2"},
    "tip_adapter": {"views": "1"},
    "tip_adapter_f": {"epochs": "1", "views": "1"},
}


@pytest.fixture
def backbone(make_clip):
    """`backbone(precision, execution)`: as `harness.clip.backbone.load` makes it."""
    tokenizer = open_clip.get_tokenizer("ViT-B-16")

    def make(precision, execution="fast"):
        clip = make_clip(layers=12)
        if precision == "fp16-pure":
            convert_weights_to_lp(clip, torch.float16)
        return Backbone(clip, tokenizer, execution=execution, weights_sha256="0")

    return make


@pytest.fixture
def run(job, backbone, monkeypatch):
    """`run("method", precision=...)`: the record of one epoch."""
    monkeypatch.setattr(
        "harness.clip.backbone.load",
        lambda name, pretrained, *, execution, precision, **_: backbone(precision, execution),
    )
    return lambda method, **request: execute(job(method, settings=SHORT.get(method, {"epochs": "1"}), **request))


@pytest.fixture(autouse=True)
def few_templates(monkeypatch):
    """Teachers that average 80 templates average two."""
    monkeypatch.setattr(open_clip, "OPENAI_IMAGENET_TEMPLATES", open_clip.OPENAI_IMAGENET_TEMPLATES[:2])


@pytest.fixture(scope="module", autouse=True)
def frozen_heap():
    """What was there before is set apart from what the collector looks at: its passes are quick, and see only what a run leaves."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def tensors_left():
    gc.collect()
    return [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_leaves_a_whole_record_and_no_tensor(name, run):
    assert not tensors_left()
    record = run(name)
    assert not tensors_left()
    assert (record.status, record.reason) == ("ok", None)
    for phase in ("setup", "train", "test"):
        assert record.windows[phase].seconds > 0
        assert record.windows[phase].cpu_seconds > 0
    assert record.windows["train"].peak_tensor_bytes > 0
    assert record.windows["test"].peak_tensor_bytes > record.total_parameters * 4
    assert record.accuracy.keys() == {"tiny-colours/base", "tiny-colours/new"}
    assert (record.train_image_count, record.train_class_count) == (CLASSES * SHOTS, CLASSES)
    if record.key.recipe.trains:
        assert len(record.step_seconds) > 0
        assert min(record.step_seconds) > 0
        assert record.train_images_seen > 0
        assert len(record.epoch_losses) > 0
        assert record.load_seconds > 0
    if name in ("full_finetuning", "coop"):
        assert record.train_texts_encoded == CLASSES * len(record.step_seconds)
    if name == "cocoop":
        assert record.train_texts_encoded == CLASSES * record.train_images_seen
    assert (record.trainable_parameters == 0) == (name in TRAINS_NOTHING)
    assert (record.changed_weights_percent is None) == (name in TRAINS_NOTHING)
    assert record.total_parameters > record.trainable_parameters
    if name == "tip_adapter_f":
        assert record.trainable_parameters == E * SHOTS * CLASSES


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_peaks_are_those_of_every_seed_unless_chance_decides_shapes(name, run):
    found = [
        {phase: window.peak_tensor_bytes for phase, window in run(name, seed=seed).windows.items()}
        for seed in (1, 2, 3)
    ]
    assert name == "skip_tuning" or found[0] == found[1] == found[2]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", METHODS)
def test_every_precision_takes_a_step_and_answers(name, precision, backbone, tinyworld):
    here = backbone(precision)
    settings = {key: int(value) for key, value in SHORT.get(name, {}).items() if key in ("teacher_templates", "views")}
    method = plugins.load("method", name)(**settings)
    recipe = replace(method.recipes["default"], augmentation="none", batch_size=2)
    splits = tinyworld.splits()
    images = ImageSet(splits.train[::6], splits.open, here.pixels, seed=1)
    torch.manual_seed(1)
    model = method.adapt(here)
    model.set_classes(Classes(classnames(splits), {"clip": "a photo of a {}."}))
    how = {"seed": 1, "execution": "fast", "precision": precision, "maximum_steps": 1}
    log = train(model, images, images, recipe.for_shots(1), **how)
    assert len(log.step_seconds) == (1 if recipe.trains else 0)
    assert all(loss < 100 for loss in log.epoch_losses)
    pixels = torch.stack([images.pixels(i) for i in range(3)])
    with torch.no_grad(), autocast(precision, pixels.device):
        logits = model.logits(advance(here, pixels, model.reads[0].stage), model.classifier())
    assert logits.shape == (3, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name not in REPLAYED)) for name in METHODS]
)
def test_a_run_replays_from_its_record_to_the_bit(name, run, tmp_path):
    recorded = from_json(to_json(run(name)), name)
    job = job_of(recorded, planned(recorded, Places()), Folders(data_root=None, cache=tmp_path))
    assert differences(recorded, execute(job)) == []
    assert recorded.accuracy


def test_pure_half_rounds_most_steps_away_and_the_record_says_so(run):
    """SGD at 1e-5 on half weights without a master copy: the published way of fine-tuning."""
    share = {precision: run("full_finetuning", precision=precision) for precision in ("fp32", "fp16-pure")}
    share = {precision: record.changed_weights_percent for precision, record in share.items()}
    assert 0 < share["fp16-pure"] < 10
    assert share["fp32"] > 50


def test_a_record_tells_which_answers_are_the_pretrained_backbones(run):
    record = run("linear_probe")
    assert {name.partition("/")[2]: test.answers_zero_shot for name, test in record.accuracy.items()} == {
        "base": False,
        "new": True,
    }
