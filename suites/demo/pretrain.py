"""Pretrain demo-clip from nothing on the generated corpus: ``python -m suites.demo.pretrain``.

Batch k, the initial weights and the schedule are functions of the recipe alone, and a checkpoint holds the optimiser's
state too, so a run that was stopped goes on with the numbers of one that was not.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from harness.files import replacing
from suites.demo import BACKBONE
from suites.demo.bank import Bank, stream
from suites.demo.corpus import batch, corpus_bank

LOSSES = BACKBONE.weights.with_suffix(".losses.csv")
CHECKPOINT = "demo-clip.pt"
TOLERANCE = 0.01
"""How far a replayed loss may lie from the recorded one: threads and libraries add numbers up in other orders."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the shipped weights were made."""

    steps: int = 2000
    batch_size: int = 192
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.25
    """The last part of the steps, in which the learning rate falls. Before it the rate doesn't depend on `steps`, so a run
    may be lengthened or shortened until then."""
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then flat, then half a cosine to 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        falling = max(0.0, 1 - (self.steps - step) / (self.decay * self.steps))
        return self.learning_rate * (1 + math.cos(math.pi * falling)) / 2


def new_model() -> Any:
    """demo-clip with its initial weights."""
    torch.manual_seed(int(stream("weights").integers(2**62)))
    return open_clip.CLIP(**json.loads(BACKBONE.config.read_text()))


def optimizer(model: Any, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; matrices decay, while gains, biases, embeddings and the temperature do not."""
    kept = [p for n, p in model.named_parameters() if p.ndim < 2 or "embedding" in n]
    decayed = [p for n, p in model.named_parameters() if not (p.ndim < 2 or "embedding" in n)]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, eps=1e-6)


def normalised(images: Tensor) -> Tensor:
    """uint8 (n, 3, H, W) to what the image tower takes, with CLIP's mean and deviation."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (images.float() / 255 - mean) / std


def text_features(model: Any, ids: Tensor) -> Tensor:
    """(n, 77) token ids to (n, width) unit features, in the order given.

    Captions go through the tower in two groups, the shorter and the longer half, each cut after its longest caption. The
    tower is causal and pools at the end-of-text token: what is left out can't change the outcome.
    """
    order = ids.argmax(dim=1).argsort(stable=True)
    features = torch.cat([_cut_features(model, ids[half]) for half in order.tensor_split(2) if len(half)])
    return features[order.argsort()]


def _cut_features(model: Any, ids: Tensor) -> Tensor:
    end = ids.argmax(dim=1)
    length = int(end.max()) + 1
    x = model.token_embedding(ids[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(x)), end] @ model.text_projection, dim=-1)


def contrastive_loss(model: Any, images: Tensor, captions: list[str]) -> Tensor:
    """CLIP's loss over the distinct captions of a batch.

    Equal captions would be false negatives of one another. So each distinct caption is encoded once: an image has one
    right caption among the distinct ones, and a caption's target is uniform over all images it belongs to.
    """
    distinct = list(dict.fromkeys(captions))
    rows = torch.tensor([distinct.index(c) for c in captions])
    image = F.normalize(model.encode_image(normalised(images)), dim=-1)
    text = text_features(model, open_clip.tokenize(distinct))
    logits = model.logit_scale.exp() * image @ text.T
    owners = F.one_hot(rows, len(distinct)).float()
    to_image = -(F.log_softmax(logits, dim=0) * owners).sum(0) / owners.sum(0)
    return (F.cross_entropy(logits, rows) + to_image.mean()) / 2


def train_step(model: Any, optimiser: torch.optim.Optimizer, recipe: Recipe, bank: Bank, step: int) -> float:
    """One step on batch number `step`; returns its loss."""
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate(step)
    loss = contrastive_loss(model, *batch(step, recipe.batch_size, bank))
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(100))
    return loss.item()


def save_checkpoint(path: Path, model: Any, optimiser: torch.optim.Optimizer, losses: list[float]) -> None:
    """Write everything a continuation needs; a kill in the middle leaves the previous checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        torch.save({"model": model.state_dict(), "optimizer": optimiser.state_dict(), "losses": losses}, part)


def pretrain(recipe: Recipe, folder: Path, until: int | None = None, save_every: int = 100) -> tuple[Any, list[float]]:
    """Train, or go on from `folder`'s checkpoint, up to step `until` (the recipe's last by default)."""
    path = folder / CHECKPOINT
    model, bank, losses = new_model(), corpus_bank(), []
    optimiser = optimizer(model, recipe)
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimizer"])
        losses = state["losses"]
    model.train()
    last = min(until or recipe.steps, recipe.steps)
    for step in range(len(losses), last):
        begun = time.monotonic()
        losses.append(train_step(model, optimiser, recipe, bank, step))
        if step % 10 == 9:
            seconds = time.monotonic() - begun
            print(f"step {step + 1}/{recipe.steps} loss {sum(losses[-10:]) / 10:.4f} {seconds:.2f} s/step", flush=True)
        if len(losses) % save_every == 0 or len(losses) == last:
            save_checkpoint(path, model, optimiser, losses)
    return model, losses


def export(model: Any, losses: list[float], folder: Path) -> None:
    """Write the weights as float16 safetensors, and one row a step of the losses, under the names of the shipped files."""
    with replacing(folder / BACKBONE.weights.name) as part:
        save_file({name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}, part)
    with (folder / LOSSES.name).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("step", "loss"), *((i, f"{v:.6f}") for i, v in enumerate(losses))]
        )


def install(folder: Path) -> None:
    """Replace the weights and losses that ship by a folder's."""
    for shipped in (LOSSES, BACKBONE.weights):
        shutil.copyfile(folder / shipped.name, shipped)


def read_losses(path: Path = LOSSES) -> list[float]:
    """The loss of every step, as recorded."""
    with path.open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def check(steps: int) -> float:
    """Pretrain the first steps anew, keeping nothing; returns the greatest difference to the losses that ship."""
    with tempfile.TemporaryDirectory() as folder:
        _, losses = pretrain(Recipe(), Path(folder), until=steps)
    return max(abs(ours - theirs) for ours, theirs in zip(losses, read_losses(), strict=False))


def main() -> None:
    """Train or go on, then export; or check the recorded losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".nox/pretrain-demo"),
        help="for checkpoints and results; a stopped run goes on from there (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="length of the schedule (default: %(default)s)")
    parser.add_argument("--until", type=int, help="stop early at this step, and export what there is")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="replace the shipped weights by the result")
    parser.add_argument(
        "--check", type=int, metavar="N", help="only replay N steps and compare with the shipped losses"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        difference = check(args.check)
        print(f"{args.check} steps: losses differ by at most {difference:.1e}, allowed is {TOLERANCE}")
        raise SystemExit(int(difference > TOLERANCE))
    export(*pretrain(Recipe(steps=args.steps), args.folder, args.until), args.folder)
    if args.install:
        install(args.folder)


if __name__ == "__main__":
    main()
