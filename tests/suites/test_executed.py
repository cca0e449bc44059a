"""The suites as they run: one run each, as small as it gets, in this process."""

from dataclasses import replace
from functools import partial

import open_clip
import pyarrow.parquet as pq
import pytest
import torch

from harness import plugins
from harness.clip import backbone as backbones
from harness.clip.image_tower import FEWEST_AT_ONCE
from harness.data.few_shot import classnames
from harness.data.image_set import ImageSet
from harness.plan import Request, plan
from harness.runs.job import Job
from harness.runs.runner import execute
from harness.suite import Folders
from suites.demo.generated import GENERATED

pytestmark = pytest.mark.usefixtures("one_thread", "tinyworld")
near = partial(pytest.approx, rel=1e-3)
COMPARED = 3
"""Images of each test that are classified here as well."""
TRANSFER = ("demo-shapes", "demo-numbers", "demo-textures", "demo-shapes-v2")
"""Of the transfer suites' tests, the source's, two targets' and a variant's: those drawn quickest."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folders of a demo world with at most two, one and four images per class, to train on, validate and test on."""
    with pytest.MonkeyPatch.context() as patch:
        for name, generated in GENERATED.items():
            patch.setitem(GENERATED, name, replace(generated, counts=tuple(map(min, generated.counts, (2, 1, 4)))))
        yield Folders(data_root=None, cache=tmp_path_factory.mktemp("world"))


@pytest.fixture
def run(world, tmp_path):
    """`run(suite, method, features=...)`: the record of its first run, and its predictions as rows by test."""

    def run(suite, method, features=None, **request):
        request = {"shots": [2], "seeds": [1], "backbone": "tiny-clip", **request}
        planned = plan(Request(suite=suite, methods=[method], **request), "demo")[0]
        if planned.key.dataset == TRANSFER[0]:
            assert set(TRANSFER) < set(planned.key.tests)
            planned = replace(planned, key=replace(planned.key, tests=TRANSFER))
        path = tmp_path / "predictions.parquet"
        job = Job(planned, None, world, "cpu", 1, "adaptbench run", predictions=path, features=features)
        record = execute(job)
        assert record.status == "ok", record.reason
        rows = {test: [] for test in record.accuracy}
        for row in pq.read_table(path).to_pylist() if rows else ():
            rows[row["test"]].append(row)
        return record, rows

    return run


def test_a_transfer_aims_at_each_target_and_may_share_its_features(run, world, tmp_path):
    in_batches = {"test_batch_size": str(FEWEST_AT_ONCE)}
    settings = {"epochs": "1", **in_batches}
    zero_shot, rows = run("domain-generalization", "zero_shot", tmp_path / "features", settings=in_batches)
    assert zero_shot.key.suite == "cross-dataset"
    assert tuple(zero_shot.accuracy) == TRANSFER
    backbone, tokenize = backbones.load("tiny-clip", None), open_clip.get_tokenizer("ViT-B-16")
    for name, test in zero_shot.accuracy.items():
        dataset = plugins.load("dataset", name)
        splits = dataset.read(world)
        assert (test.class_names, test.images) == (classnames(splits), len(splits.test))
        first = replace(splits, test=splits.test[:COMPARED])
        found = [(row["label"], row["predicted"], row["logit"]) for row in rows[name][:COMPARED]]
        prompts = tokenize([dataset.templates["clip"].format(each) for each in test.class_names])
        assert found == classified(backbone, first, prompts)

    apart, apart_rows = run("cross-dataset", "clip_adapter", settings=settings)
    shared, shared_rows = run("cross-dataset", "clip_adapter", tmp_path / "features", settings=settings)
    assert apart.reused_test_features is None
    assert shared.reused_test_features == shared.test_images_seen  # the other method left them
    assert shared.accuracy == apart.accuracy
    assert shared_rows == apart_rows


def classified(backbone, splits, prompts):
    """Label, prediction and its logit of each test image, by open_clip's own model."""
    images = ImageSet(splits.test, splits.open, backbone.pixels, seed=1)
    with torch.no_grad():
        read = backbone.model.encode_image(torch.stack([images.pixels(i, None) for i in range(len(images))]), True)
        texts = backbone.model.encode_text(prompts, True)
        logits, predicted = (backbone.model.logit_scale.exp() * read @ texts.T).max(-1)
    return list(zip(images.labels.tolist(), predicted.tolist(), map(near, logits.tolist()), strict=True))


def test_the_cost_suite_profiles_a_step(run, monkeypatch):
    monkeypatch.setattr("harness.meters.flops.GEMM_SIZE", 256)
    record, _ = run("cost", "coop", datasets=["random:5"], steps=1, executions=["fast"])
    assert (record.key.pretrained, record.accuracy, record.test_images_seen) == (None, {}, 5)
    assert set(record.profile.simulated) == {"fast", "reference"}
    assert record.windows["train"].peak_tensor_bytes > 0


def test_the_ablation_suite_runs_what_it_is_told(run):
    settings = {"start_layer": "1", "class_skip": "false", "epochs": "1"}
    record, _ = run("ablation", "skip_tuning", datasets=["tiny-colours"], settings=settings)
    assert (record.key.settings["start_layer"], record.key.settings["class_skip"]) == (1, False)
    assert set(record.accuracy) == {"tiny-colours/base", "tiny-colours/new"}


def test_the_analysis_suite_looks_into_the_towers(run):
    record, _ = run("analysis", "full_finetuning", datasets=["tiny-colours"], settings={"epochs": "1"})
    found = record.analysis
    assert (len(found.image_shift), len(found.text_shift), found.class_texts_with_gradient) == (2, 2, 3)
    assert min(*found.image_shift, *found.text_shift) > 0
    assert sum(found.class_gradient_after) == pytest.approx(1)
    assert set(record.accuracy) == {"tiny-colours/base", "tiny-colours/new"}
