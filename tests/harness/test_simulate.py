"""Simulated costs against the same ledger on real tensors, against closed forms, and at the size of ViT-B/16."""

from collections import Counter
from contextlib import nullcontext

import open_clip
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from harness import plugins
from harness.clip import text_batches
from harness.clip.backbone import Backbone
from harness.clip.blocks import run_block
from harness.clip.text_tower import word_encoder
from harness.method import Classes
from harness.plan import Request, plan
from harness.probes import simulate
from harness.probes.fake_tensors import _OF_META, _OF_META_IN_FLOAT32, Control, QuickFakes, Simulation, _kept
from harness.probes.repeated_blocks import counted_once
from harness.probes.simulate import class_names, count, simulate_classes

MIB = 1 << 20
DEPTH, WIDTH, CONTEXT, PATCHES, PATCH = 2, 32, 77, 16, 8  # of both towers of the fixture `make_clip`
CLASSES, SHOTS, BATCH = 3, 4, 4
SMALL = {
    "batch_size": str(BATCH),
    "test_batch_size": "5",
    "skip_tuning.start_layer": "1",
    "maple.prompt_depth": "2",
    "promptsrc.prompt_depth": "2",
    "promptsrc.teacher_templates": "3",
    "coprompt.prompt_depth": "2",
    "tcp.class_aware_block": "1",
    "lp_plus_plus.steps": "12",
    "linear_probe.maximum_iterations": "3",
    "linear_probe.search_steps": "1",
    "tip_adapter.views": "2",
    "tip_adapter_f.views": "2",
}


def planned(method, execution, **request):
    small = {k: v for k, v in SMALL.items() if k.partition(".")[0] in (k, method)}
    if not plugins.load("method", method).recipes["default"].trains:
        del small["batch_size"]
    settings = request.pop("settings", small)
    request = {"shots": [SHOTS], "precision": "fp32", "backbone": "ViT-B-16-quickgelu", **request}
    wanted = Request(
        suite="harness.cli.estimate:SUITE",
        methods=[method],
        datasets=["harness.cli.estimate:CLASSES"],
        seeds=[1],
        executions=[execution],
        settings=settings,
        **request,
    )
    return plan(wanted, "")[0].key


def drawn(images):
    """Pixels from outside of whatever counts."""
    with _disable_current_modes():
        return torch.rand(images, 3, 32, 32)


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch):
    """Tip-Adapter's search asks the same of each of its 4,000 pairs."""
    monkeypatch.setattr("methods.tip_adapter.model._ALPHA_STEPS", 2)
    monkeypatch.setattr("methods.tip_adapter.model._BETA_STEPS", 3)


NAMES = Classes(class_names(CLASSES), {"clip": "a photo of a {}."})


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-16")


@pytest.fixture(scope="module")
def real(make_clip, tokenizer):
    """`real(key)`: the costs on real tensors."""
    return lambda key: count(
        key, NAMES, Backbone(make_clip(), tokenizer, execution=key.execution), drawn, nullcontext()
    )


@pytest.fixture(scope="module")
def fake(make_clip, tokenizer):
    """`fake(key)`: the costs on fake ones."""

    def run(key):
        FakeTensorMode.cache_clear()  # what is remembered of earlier simulations could hide what goes wrong alone
        QuickFakes.known.clear()
        simulation = Simulation()
        with torch.device("meta"):
            hollow = Backbone(make_clip(), tokenizer, execution=key.execution)
        with simulation.fakes:
            hollow = hollow.to_empty(device="cpu")
            with counted_once(hollow, {}):
                return count(key, NAMES, hollow, lambda images: simulation.empty(images, 3, 32, 32), Control())

    return run


@pytest.fixture(scope="module")
def both(real, fake):
    """`both(key)`: the costs on real tensors and on fake ones."""
    return lambda key: (real(key), fake(key))


def blocks(sequences, tokens, *, linear, attention=None, depth=DEPTH):
    """Forward and backward of blocks: `linear` times the products with weights, `attention` times those within a sequence."""
    weights, mixing = 24 * sequences * tokens * WIDTH**2, 4 * sequences * tokens**2 * WIDTH
    return depth * (linear * weights + (attention or linear) * mixing)


def layer(rows, inputs=WIDTH, outputs=WIDTH, *, times):
    return times * 2 * rows * inputs * outputs


FORWARD = {"linear": 1, "attention": 1}
THROUGH = {"linear": 2, "attention": 3.5}
"""Gradients of what goes in, none of frozen weights."""
TRAINED = {"linear": 3, "attention": 3.5}
STEM = layer(BATCH * PATCHES, 3 * PATCH**2, times=1)
IMAGES = STEM + blocks(BATCH, 1 + PATCHES, **FORWARD) + layer(BATCH, times=1)
TEXTS = blocks(CLASSES, CONTEXT, **THROUGH) + layer(CLASSES, times=2)


def logits(times, images=BATCH):
    return layer(images, WIDTH, CLASSES, times=times)


def deep(n):
    """Both towers with n prompts each, and the logits."""
    return STEM + blocks(BATCH, 1 + PATCHES + n, **THROUGH) + layer(BATCH, times=2) + TEXTS + logits(3)


def bottleneck(rows, *, first):
    return layer(rows, WIDTH, WIDTH // 4, times=first) + layer(rows, WIDTH // 4, times=3)


def low_rank(sequences, tokens, rank=2):
    """Updates of queries, keys and values; nothing below the first block wants a gradient."""
    down, up = layer(sequences * tokens, WIDTH, rank, times=1), layer(sequences * tokens, rank, times=1)
    unneeded = 6 * sequences * tokens * WIDTH**2
    return 3 * (DEPTH * 3 * (down + up) - down) - unneeded


STEP_FLOPS = {
    "full_finetuning": (
        STEM
        + blocks(BATCH, 1 + PATCHES, **TRAINED)
        + blocks(CLASSES, CONTEXT, **TRAINED)
        + layer(BATCH + CLASSES, times=3)
        + logits(3)
    ),
    "coop": IMAGES + TEXTS + logits(2),
    "kgcoop": IMAGES + TEXTS + logits(2),
    # two backward passes, and the images once more for the teacher
    "prograd": 2 * IMAGES + 2 * TEXTS - blocks(CLASSES, CONTEXT, **FORWARD) - layer(CLASSES, times=1) + logits(4),
    "cocoop": (
        IMAGES
        + BATCH * TEXTS
        + logits(2)
        + layer(BATCH, WIDTH, WIDTH // 16, times=2)
        + layer(BATCH, WIDTH // 16, times=3)
    ),
    "tcp": (
        IMAGES
        + TEXTS
        + logits(2)
        + layer(CLASSES, WIDTH, WIDTH // 4, times=2)
        + layer(CLASSES, WIDTH // 4, 4 * WIDTH, times=3)
    ),
    "dept": IMAGES + TEXTS + logits(2) + logits(3, images=2 * BATCH),
    "maple": deep(2) + 2 * layer(2, times=3),
    "promptsrc": deep(4) + IMAGES + logits(1),
    "coprompt": deep(4) + 2 * layer(4, times=3) + IMAGES + bottleneck(CLASSES + BATCH, first=3),
    "clip_adapter": IMAGES + bottleneck(BATCH, first=2) + logits(2),
    "clip_lora": deep(0) + low_rank(CLASSES, CONTEXT) + low_rank(BATCH, 1 + PATCHES),
    # one of two blocks; with three classes all are kept, once they have been compared with the images
    "skip_tuning": (
        blocks(BATCH, 1 + PATCHES, **TRAINED, depth=1)
        + blocks(CLASSES, CONTEXT, **TRAINED, depth=1)
        + layer(BATCH + CLASSES, times=3)
        + logits(4)
    ),
    "tip_adapter_f": (
        IMAGES
        + logits(1)
        + layer(BATCH, WIDTH, CLASSES * SHOTS, times=2)
        + layer(BATCH, CLASSES * SHOTS, CLASSES, times=2)
    ),
}


STEPLESS = ("zero_shot", "tip_adapter")


@pytest.mark.parametrize("execution", [pytest.param("reference", marks=pytest.mark.long), "fast"])
@pytest.mark.parametrize("method", [name for name in plugins.names("method") if name != "linear_probe"])
def test_simulated_bytes_and_flops_are_those_of_real_tensors(both, method, execution):
    real, fake = both(planned(method, execution))
    assert fake.trainable_parameters == real.trainable_parameters
    assert fake.note is None
    assert {name: peak.total_bytes for name, peak in fake.peaks.items()} == {
        name: peak.total_bytes for name, peak in real.peaks.items()
    }
    assert fake.host_bytes == real.host_bytes
    assert (fake.step_flops, fake.test_batch_flops) == (real.step_flops, real.test_batch_flops)
    if method in STEPLESS:
        assert fake.step_flops is None
    elif method in STEP_FLOPS and execution == "reference":
        assert fake.step_flops == STEP_FLOPS[method]
    elif method in STEP_FLOPS:
        assert fake.step_flops <= STEP_FLOPS[method]


def test_half_precision_too(both):
    """fp16 with a gradient scaler is left out: on real tensors of random weights its first steps are skipped."""
    real, fake = both(planned("skip_tuning", "reference", precision="bf16"))
    assert fake.peak_bytes == real.peak_bytes


def test_many_batches_of_an_extraction_are_counted_from_two(real, fake):
    """390 images; the run on real tensors does all batches."""
    key = planned("tip_adapter", "fast", shots=[130])
    from harness.training.reading import StagedImages

    sampled = fake(key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "SampledImages", StagedImages)
        whole = real(key)
    assert sampled.peaks["extract"].total_bytes == whole.peaks["extract"].total_bytes
    assert sampled.peaks["finish"].total_bytes == whole.peaks["finish"].total_bytes


@pytest.mark.parametrize("execution", ["reference", "fast"])
def test_until_a_method_leaves_torch_its_bytes_are_those_of_real_tensors(both, execution):
    real, fake = both(planned("linear_probe", execution))
    assert "reads values" in fake.note
    assert fake.peaks["extract"].total_bytes == pytest.approx(real.peaks["extract"].total_bytes, abs=0.1 * MIB)
    assert fake.trainable_parameters == real.trainable_parameters


def test_what_leaves_torch_is_simulated_up_to_there():
    found = simulate_classes(planned("linear_probe", "fast", settings={}), 5)
    assert "reads values" in found.note
    assert found.peaks["extract"].total_bytes > 570 * MIB


@pytest.mark.parametrize(("method", "batch_size", "gigaflops"), [("full_finetuning", 4, 1320.1), ("coop", 32, 1730.9)])
def test_a_step_of_vit_b_16_with_fifty_classes(method, batch_size, gigaflops):
    found = simulate_classes(planned(method, "reference", settings={"batch_size": str(batch_size)}, shots=[2]), 50)
    assert found.step_flops / 1e9 == pytest.approx(gigaflops, abs=0.05)


def test_a_template_more_costs_three_blocks_or_none_and_no_word_is_tokenised_twice(monkeypatch):
    """Of its twelve blocks the first and the last, which make index tensors, and one for all between; none of a known shape."""
    run, words = [], []
    encode = open_clip.SimpleTokenizer.encode
    monkeypatch.setattr(
        open_clip.SimpleTokenizer, "encode", lambda self, text: words.append(text) or encode(self, text)
    )
    monkeypatch.setattr(text_batches, "run_block", lambda *args, **kwargs: run.append(1) or run_block(*args, **kwargs))
    word_encoder.cache_clear()

    def blocks_of(templates):
        run.clear()
        simulate_classes(planned("promptsrc", "fast", settings={"teacher_templates": templates}, shots=[1]), 3)
        return len(run)

    simulate._LAST.clear()
    blocks_of("2")
    more = blocks_of("6")
    again = blocks_of("6")
    assert 0 < more - again <= 3 * 4
    assert len(words) == len(set(words)) > 0


def test_the_next_method_has_the_same_backbone_unless_the_last_has_changed_it():
    key = planned("zero_shot", "fast", backbone="demo-clip")
    simulate._LAST.clear()
    used = []

    def method_that(changes):
        with simulate._on_hollow(key) as hollow:
            used.append(hollow)
            assert not any(p.requires_grad for p in hollow.backbone.parameters())
            changes(hollow.backbone)

    method_that(lambda backbone: backbone.requires_grad_(True))
    method_that(lambda backbone: setattr(backbone.text, "encoded", 70_000))
    method_that(lambda backbone: setattr(backbone.model, "extra", torch.nn.Linear(2, 2)))
    method_that(lambda backbone: setattr(backbone.text.resblocks[1], "forward", print))
    method_that(lambda backbone: backbone.model.register_forward_hook(print))
    assert used[0] is used[1] is used[2]
    assert len({id(hollow) for hollow in used}) == 3


def test_operators_on_shapes_alone_give_what_torchs_own_fakes_give(fake, monkeypatch):
    """Of all that methods ask for: shapes, strides and types, and what shares memory."""
    quick, slow = QuickFakes.quick, FakeTensorMode.dispatch
    compared = Counter()

    def both(self, func, args, kwargs, operands):
        seen = len(self.known)
        result = quick(self, func, args, kwargs, operands)
        if len(self.known) > seen and compared[func] < 30:  # it was worked out just now
            with _disable_current_modes():
                theirs = slow(self, func, (), *self._faked((args, kwargs), operands))
            assert _kept(result, operands) == _kept(theirs, operands), func
            compared[func] += 1
        return result

    monkeypatch.setattr(QuickFakes, "quick", both)
    for method, precision in (("coprompt", "bf16"), ("skip_tuning", "bf16"), ("prograd", "fp32")):
        fake(planned(method, "fast", precision=precision))
    assert len(compared) > len(_OF_META) / 2
    assert _OF_META_IN_FLOAT32 <= compared.keys() <= _OF_META | _OF_META_IN_FLOAT32
