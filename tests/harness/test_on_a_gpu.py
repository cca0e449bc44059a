"""Whole runs and their parts on a CUDA device: what only one can show, small enough to be repeated by `gpu-evidence`."""

import gzip
import json
from dataclasses import replace
from itertools import product

import pytest
import torch

from harness.clip.backbone import OFFLOADED_BYTES, load
from harness.clip.image_tower import MOST_AT_ONCE
from harness.plan import Request
from harness.probes.gpu_evidence.memory import Ends
from harness.probes.machine import look
from harness.runs.runner import execute
from harness.runs.suite_runner import RunOptions, run_suite
from harness.saved import model as saved_models
from harness.training.feature_cache import FeatureCache
from tests.harness.test_feature_cache import NAMES, folder_of_images, image_set

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda:0")
SHORT = {"epochs": "1", "batch_size": "4"}


@pytest.mark.parametrize(
    ("method", "precision"),
    [*product(("coop", "clip_adapter", "full_finetuning"), ("fp32", "bf16", "fp16")), ("coop", "fp16-pure")],
)
def test_a_run_trains_and_answers_in_every_precision(method, precision, job):
    """Each precision's own path; in fp16, gradients are scaled."""
    record = execute(replace(job(method, settings=SHORT, precision=precision), device=str(DEVICE)))
    assert record.status == "ok", record.reason
    assert record.environment.gpu
    assert record.environment.gpu_memory_bytes == torch.cuda.get_device_properties(DEVICE).total_memory
    for window in record.windows.values():
        assert 0 < window.peak_allocated_bytes <= window.peak_reserved_bytes
        assert window.peak_tensor_bytes is None
    assert record.missing["train.peak_tensor_bytes"] == "the CUDA allocator's own peak is measured instead"


def test_a_trace_has_the_devices_work_and_its_memory(job, tmp_path):
    path = tmp_path / "run.trace.json.gz"
    asked = job("clip_adapter", settings=SHORT, profile=True)
    record = execute(replace(asked, device=str(DEVICE), trace=path))
    assert record.status == "ok", record.reason
    with gzip.open(path) as file:
        assert any(event.get("cat") == "kernel" for event in json.load(file)["traceEvents"])
    assert (tmp_path / "run.memory.pickle").stat().st_size > 0


def test_a_model_saved_on_a_gpu_answers_the_same_on_either_device(job, tinyworld, tmp_path):
    path = tmp_path / "model.safetensors"
    record = execute(replace(job("clip_adapter", settings=SHORT), device=str(DEVICE), saved=path))
    assert record.status == "ok", record.reason
    images = [tinyworld.open_image(f"test/{name}/0") for name in tinyworld.COLOUR_VALUES]
    there, here = (saved_models.load(path, device=device).predict(images) for device in (str(DEVICE), "cpu"))
    assert there.labels == here.labels


def test_the_features_of_a_gpu_are_kept_apart_from_a_cpus(tiny_backbone, tmp_path):
    opened = folder_of_images(tmp_path / "images")
    backbone = tiny_backbone()

    def reused():
        cache = FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32")
        return cache.read(image_set(backbone, opened, NAMES)).reused

    assert reused() == 0
    backbone.to(DEVICE)
    assert reused() == 0
    assert reused() == len(NAMES)


def test_what_no_step_runs_leaves_the_device_and_comes_back():
    backbone = load("ViT-B-32-quickgelu", "random", device=str(DEVICE))
    images = [p for p in backbone.image_parameters("pixels") if p.nbytes >= OFFLOADED_BYTES]
    before, kept = torch.cuda.memory_allocated(DEVICE), [p.detach().clone().cpu() for p in images]
    backbone.offload("features", 0)
    assert before - torch.cuda.memory_allocated(DEVICE) >= sum(p.nbytes for p in images)
    backbone.reload()
    assert torch.cuda.memory_allocated(DEVICE) == before
    assert all(torch.equal(p.cpu(), was) for p, was in zip(images, kept, strict=True))


def test_a_device_is_sent_as_many_images_as_keep_it_busy(tinyworld):
    backbone = load("tiny-clip", None, device=str(DEVICE))
    assert backbone.image.at_once == backbone.copied("reference").image.at_once == MOST_AT_ONCE


def test_the_doctor_reads_the_device(tmp_path):
    assert any(finding.name == "cuda:0" for finding in look(tmp_path, tmp_path))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_jobs_have_a_device_each(tinyworld, tmp_path):
    request = Request(
        suite="tiny", methods=["zero_shot"], datasets=["tiny-colours"], shots=[2], seeds=[1, 2], backbone="tiny-clip"
    )
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cuda", jobs=2)
    ends = Ends()
    run_suite(request, options, ends)
    assert [record.status for record in ends.records] == ["ok", "ok"]
    assert not any(window.contended for record in ends.records for window in record.windows.values())
