"""The arithmetic of CoPrompt; hyper-parameters, recipes and the paper are in `methods.coprompt`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.errors import ConfigError
from harness.files import read_regular
from harness.method import Batch, ImageSource, Read, cosine_logits
from methods._deep import CoupledPromptModel
from methods._text import hidden_width
from methods.coprompt import CoPrompt


class Bottleneck(nn.Module):
    """ratio * relu(W2 relu(W1 x)) + (1 - ratio) * x, without biases: (..., E) -> (..., E)."""

    def __init__(self, ratio: float, reduction: int, backbone: Backbone) -> None:
        super().__init__()
        width = backbone.embed_width
        hidden = hidden_width(width, reduction)
        where = {"device": backbone.device, "dtype": backbone.dtype}
        self.down = nn.Linear(width, hidden, bias=False, **where)
        self.up = nn.Linear(hidden, width, bias=False, **where)
        self._ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        return self._ratio * F.relu(self.up(F.relu(self.down(x)))) + (1 - self._ratio) * x


class CoPromptModel(CoupledPromptModel):
    """Coupled prompts and two adapters, near the frozen towers' view of another crop and another wording."""

    def __init__(self, backbone: Backbone, method: CoPrompt) -> None:
        super().__init__(backbone, method.context_init, method.context_length, method.prompt_depth)
        self._method = method
        self.reads = (Read(0), Read("features", view=1))
        self.image_adapter = Bottleneck(method.image_ratio, method.reduction, backbone)
        self.text_adapter = Bottleneck(method.text_ratio, method.reduction, backbone)

    def text_features(self) -> Tensor:
        return self.text_adapter(super().text_features())

    def image_features(self, images: Tensor) -> Tensor:
        return self.image_adapter(super().image_features(images))

    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        """The frozen features (sentences, C, E) of every sentence, normalised."""
        text = self.backbone.text
        with torch.no_grad():
            features = [text.encode(text.tokenize(wording)) for wording in self.wordings()]
            self.teachers = F.normalize(torch.stack(features), dim=-1)

    def wordings(self) -> list[list[str]]:
        """One list of sentences, a sentence a class, for each number of a sentence."""
        names = self._classes.readable
        descriptions = [read_descriptions(path) for path in description_files(self._method.descriptions)]
        if not descriptions:
            return self._stand_ins(names)
        candidates = [{name.replace("_", " "): texts for name, texts in file.items()} for file in descriptions]
        known = max(candidates, key=lambda file: sum(name in file for name in names))
        missing = [name for name in names if name not in known]
        if missing:
            raise ConfigError(
                f"{self._method.descriptions} has no sentences for {len(missing)} classes, such as {missing[0]!r}.",
                "Give every class a list of sentences under its name, or leave descriptions empty for the template fallback.",
            )
        counts = {name: len(known[name]) for name in names}
        if len(set(counts.values())) != 1:
            short, long = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
            raise ConfigError(
                f"{self._method.descriptions} has {counts[short]} sentences for {short!r}, {counts[long]} for {long!r}.",
                "A sentence's number is drawn for all classes at once: give every class equally many.",
            )
        return [list(wording) for wording in zip(*(known[name] for name in names), strict=True)]

    def _stand_ins(self, names: Sequence[str]) -> list[list[str]]:
        """From the dataset's templates that are called descriptions, else from open_clip's for ImageNet."""
        own = [each.format for title, each in self._classes.templates.items() if title.startswith("description")]
        return [[template(name) for name in names] for template in own or open_clip.OPENAI_IMAGENET_TEMPLATES]

    def draw(self) -> int:
        """The number of the sentence of this step."""
        return int(torch.randint(len(self.teachers), ()))

    def loss(self, batch: Batch) -> Tensor:
        terms = self.loss_terms(batch)
        consistency = terms["consistency_text"] + terms["consistency_image"]
        return terms["cross_entropy"] + self._method.consistency_weight * consistency

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms before they are weighted."""
        images, frozen = batch.inputs
        text, image = self.text_features(), self.image_features(images)
        logits = cosine_logits(self.backbone.logit_scale, image, F.normalize(text, dim=-1))
        return {
            "cross_entropy": F.cross_entropy(logits, batch.labels),
            "consistency_text": 1 - F.cosine_similarity(text, self.teachers[self.draw()].to(text.dtype), dim=-1).mean(),
            "consistency_image": 1 - F.cosine_similarity(image, frozen.to(image.dtype), dim=-1).mean(),
        }


def description_files(path: str) -> Sequence[str]:
    """The file itself, or the JSON files of a folder; none for "". Raises ConfigError for a folder without any."""
    if not Path(path).is_dir() or not path:
        return [path] if path else []
    files = sorted(str(file) for file in Path(path).glob("*.json"))
    if not files:
        raise ConfigError(
            f"the folder {path} has no JSON file.", "The authors' repository has theirs in its folder gpt_file."
        )
    return files


def read_descriptions(path: str) -> Mapping[str, Sequence[str]]:
    """{class name: [sentence, ...]} from a JSON file. Raises ConfigError where that isn't what it holds."""
    shape = 'It is a JSON object of the shape {"class name": ["a sentence.", "another."], ...}.'
    try:
        found = json.loads(read_regular(Path(path)))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the descriptions file {path} can't be read: {error}.",
            f"{shape} Leave descriptions empty for the fallback, open_clip's ImageNet templates.",
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(sentences, list) and sentences and all(isinstance(s, str) for s in sentences)
        for sentences in found.values()
    ):
        raise ConfigError(f"{path} holds no lists of sentences by class name.", shape)
    return found
