"""Pretraining: it can be replayed, it goes on where it stopped, and the shipped weights are those of the model card."""

import csv
import hashlib
import itertools
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from harness.suite import Folders
from suites.demo import BACKBONE, datasets, zeroshot
from suites.demo.corpus import batch, corpus_bank
from suites.demo.pretrain import (
    LOSSES,
    Recipe,
    contrastive_loss,
    export,
    new_model,
    normalised,
    optimizer,
    pretrain,
    text_features,
    train_step,
)  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    """The shipped model and its test transform."""
    return zeroshot.load()


def shipped_losses() -> list[float]:
    with LOSSES.open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_the_first_steps_give_the_losses_that_are_shipped() -> None:
    recipe, model = Recipe(), new_model().train()
    optimiser = optimizer(model, recipe)
    replayed = [train_step(model, optimiser, recipe, corpus_bank(), step) for step in range(3)]
    assert replayed == pytest.approx(shipped_losses()[:3], abs=2e-4)


def test_the_losses_fell_over_the_whole_schedule() -> None:
    losses = shipped_losses()
    assert len(losses) == Recipe.steps
    assert sum(losses[-50:]) < 0.6 * sum(losses[:50])


def test_a_stopped_run_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    recipe = Recipe(steps=4, batch_size=12, warmup=1)
    whole, losses = pretrain(recipe, tmp_path / "whole")
    pretrain(recipe, tmp_path / "stopped", until=2)
    resumed, same = pretrain(recipe, tmp_path / "stopped")
    assert same == losses
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    recipe = Recipe(steps=1000, warmup=100, decay=0.5, learning_rate=1.0)
    rates = [recipe.rate(step) for step in range(1000)]
    assert rates[99:500] == [1.0] * 401
    assert all(a > b for a, b in itertools.pairwise(rates[500:]))
    assert rates[-1] < 1e-4


def test_cutting_and_regrouping_captions_changes_nothing() -> None:
    model = new_model().eval()
    ids = open_clip.tokenize(['a photo of the number: "3".', "fish", "a drawing of four pink cherries.", "a"])
    with torch.no_grad():
        assert torch.allclose(text_features(model, ids), model.encode_text(ids, normalize=True), atol=1e-5)


def test_equal_captions_are_no_negatives() -> None:
    """Twice the same pair: nothing to tell apart for the image, and a fair coin's entropy for the caption."""
    model = new_model().eval()
    images, captions = batch(0, 12, corpus_bank())
    twice = images[:1].expand(2, -1, -1, -1)
    with torch.no_grad():
        halves = contrastive_loss(model, twice, [captions[0]] * 2)
    assert halves.item() == pytest.approx(0.5 * torch.log(torch.tensor(2.0)).item(), abs=1e-5)


def test_exported_weights_load_in_open_clip(tmp_path: Path) -> None:
    model = new_model().eval()
    export(model, [1.5, 1.25], tmp_path / "w.safetensors", tmp_path / "w.csv")
    loaded, transform = zeroshot.load(tmp_path / "w.safetensors")
    image = normalised(batch(0, 12, corpus_bank())[0])
    with torch.no_grad():
        assert torch.allclose(loaded.encode_image(image), model.encode_image(image), atol=0.02)
    assert (tmp_path / "w.csv").read_text() == "step,loss\n0,1.500000\n1,1.250000\n"
    assert transform.transforms[0].size == 48


def test_the_backbone_has_the_structure_of_vit_b_16(shipped: tuple[Any, Any]) -> None:
    model, _ = shipped
    assert len(model.visual.transformer.resblocks) == len(model.transformer.resblocks) == 12
    assert model.context_length == 77
    assert model.visual.pool_type == "tok"
    assert model.text_pool_type == "argmax"


def test_the_model_card_names_the_shipped_weights() -> None:
    digest = hashlib.sha256(BACKBONE.weights.read_bytes()).hexdigest()
    assert digest in BACKBONE.weights.with_name("MODEL_CARD.md").read_text()
    assert BACKBONE.weights.stat().st_size <= 25_000_000


@pytest.mark.parametrize(
    "name", ["demo-shapes", "demo-letters", "demo-numbers", "demo-textures", "demo-scenes", "demo-digits"]
)
def test_zero_shot_is_above_chance_and_leaves_room(name: str, tmp_path: Path, shipped: tuple[Any, Any]) -> None:
    dataset = next(d for d in datasets.DATASETS if d.name == name)
    model, transform = shipped
    folders = Folders(data_root=None, cache=tmp_path)
    found = zeroshot.accuracies(model, transform, dataset, folders)
    classes = len({item.label for item in dataset.read(folders).test})
    times = 2 if name == "demo-digits" else 3
    for subset, size in (("base", (classes + 1) // 2), ("new", classes // 2)):
        assert times * 100 / size <= found[subset] <= 85
