"""Backbone: an open_clip model with its tokenizer and image transform, frozen, with both towers in stages."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from harness import plugins, weights
from harness.clip import checkpoint
from harness.clip.image_tower import ImageTower, Stage
from harness.clip.library import open_clip
from harness.clip.opaque_text_tower import WholeTextTower
from harness.clip.text_tower import TextTower
from harness.errors import AdaptBenchError, BackboneError, did_you_mean
from harness.files import version_of
from harness.meters.gpu import calls_of
from harness.meters.memory_tracker import in_host_memory, on_device
from harness.suite import BackboneFiles, prompt
from harness.weights import KnownWeights

_DONE_HERE = ("initialized randomly", "Multiple checkpoints found")
"""What open_clip logs of weights that were asked to be random, or that are read here."""
_OTHER_TOKENS = {"hf_tokenizer_name", "tokenizer_kwargs"}
"""What a model's configuration has where its tokens aren't CLIP's own."""
OFFLOADED_BYTES = 1 << 20
"""Weights smaller than this stay on the device: moving them saves nothing."""


@dataclass(frozen=True)
class Pixels:
    """How images become tensors: square side in pixels, channel means and standard deviations, PIL interpolation.

    `resize_mode` is the test transform's: "shortest" side to `size`, then the central square (CLIP); or "squash" (SigLIP).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str = "shortest"


class Backbone(nn.Module):
    """A frozen CLIP. Methods choose which of its weights require a gradient, and add modules of their own.

    `image` and `text` run its towers, in stages where they are CLIP's; `logit_scale` is exp of the checkpoint's (a scalar tensor),
    frozen in every method. A bias of the logits (SigLIP's) is one number for all classes, which changes no softmax and no argmax:
    it is left out.
    """

    model: Any

    def __init__(self, model: Any, tokenizer: Any, *, execution: str, weights_sha256: str | None = None) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)
        self.weights_sha256 = weights_sha256
        self.known_weights: KnownWeights | None = None
        self._offloaded: list[nn.Parameter] = []
        fast = execution == "fast"
        self.image = ImageTower(model, fast)
        self.text: TextTower = _text_tower(model, tokenizer, fast)
        config = model.visual.preprocess_cfg
        size = config["size"]
        self.pixels = Pixels(
            size=size if isinstance(size, int) else size[0],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
            resize_mode=config["resize_mode"],
        )
        if self.pixels.resize_mode not in ("shortest", "squash"):
            raise BackboneError(
                f"this backbone resizes images by '{self.pixels.resize_mode}'; AdaptBench has 'shortest' and 'squash'.",
                "Choose a CLIP or SigLIP backbone.",
            )

    @property
    def logit_scale(self) -> Tensor:
        return self.model.logit_scale.exp()

    @property
    def embed_width(self) -> int:
        """E, the joint width."""
        custom = getattr(self.model, "text", None)
        if custom is not None:
            return custom.output_dim or custom.width
        projection = self.model.text_projection
        return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.text.dtype

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    @property
    def largest_layer(self) -> int:
        """The weights of the largest linear map or convolution: how much arithmetic an operator has."""
        layers = (each for each in self.model.modules() if isinstance(each, nn.Linear | nn.Conv2d))
        return max((each.weight.numel() for each in layers), default=0)

    def running(self, execution: str) -> Backbone:
        """The same weights in another execution."""
        return self._of(self.model, execution)

    def copied(self, execution: str) -> Backbone:
        """The same in another execution, with weights of its own."""
        return self._of(deepcopy(self.model), execution)

    def _of(self, model: Any, execution: str) -> Backbone:
        other = Backbone(model, self._tokenizer, execution=execution, weights_sha256=self.weights_sha256)
        other.image.at_once = self.image.at_once
        return other

    def offload(self, image: Stage, text: Stage) -> None:
        """Keep in host memory, until `reload`, the large frozen weights that lie below these stages of the towers."""
        running = {id(p) for p in (*self.image_parameters(image), *self._text_above(text))}
        for p in self.model.parameters():
            if id(p) not in running and not p.requires_grad and p.nbytes >= OFFLOADED_BYTES:
                p.data = in_host_memory(p.data.to("cpu"))
                self._offloaded.append(p)

    def reload(self) -> None:
        """Bring offloaded weights back to the device."""
        while self._offloaded:
            p = self._offloaded.pop()
            p.data = on_device(p.data.to(self.device))

    def image_parameters(self, stage: Stage) -> list[nn.Parameter]:
        """The weights of the image tower that run once it has come to a stage; all of them from "pixels", none from "features"."""
        if stage == "features":
            return []
        return list(self.model.visual.parameters()) if stage == "pixels" else self.image.upper_parameters(stage)

    def image_stage(self, trained: Iterable[nn.Parameter]) -> Stage:
        """The highest stage of the image tower that no weight to train lies below; "features" where none is of that tower."""
        wanted = {id(p) for p in trained} & {id(p) for p in self.image_parameters("pixels")}
        if not wanted:
            return "features"
        stages = reversed(range(self.image.depth + 1)) if self.image.staged else ()
        return next((k for k in stages if wanted <= {id(p) for p in self.image_parameters(k)}), "pixels")

    def text_stage(self, trained: Iterable[nn.Parameter]) -> Stage:
        """The same of the text tower; 0 where one of the weights is of its embeddings, or the tower has no stages."""
        wanted = {id(p) for p in trained} - {id(p) for p in self.image_parameters("pixels")}
        if not wanted:
            return "features"
        stages = reversed(range(self.text.depth + 1)) if self.text.staged else ()
        return next((k for k in stages if wanted <= {id(p) for p in self.text.upper_parameters(k)}), 0)

    def _text_above(self, stage: Stage) -> list[nn.Parameter]:
        if stage == "features":
            return []
        return self.text.upper_parameters(int(stage)) if self.text.staged else list(self.model.parameters())

    def prompts(self, template: str, classnames: tuple[str, ...]) -> list[str]:
        """One prompt per class."""
        return [prompt(template, name) for name in classnames]


def _text_tower(model: Any, tokenizer: Any, fast: bool) -> Any:
    """A tower in stages where it computes what CLIP's does, from CLIP's own tokens; else one that has its face and only encodes."""
    if not isinstance(tokenizer, open_clip.SimpleTokenizer):
        return WholeTextTower(model, tokenizer, fast)
    try:
        return TextTower(model, tokenizer, fast)
    except BackboneError:
        return WholeTextTower(model, tokenizer, fast)


def load(
    name: str,
    pretrained: str | None,
    *,
    execution: str = "fast",
    precision: str = "fp32",
    device: str = "cpu",
    hashed: bool = True,
    known: KnownWeights | None = None,
) -> Backbone:
    """A backbone by registered name, or by open_clip model name with a pretrained tag or a local checkpoint.

    `pretrained` None means the weights that a backbone comes with (a registered one, local-dir: or hf-hub:), the word "random"
    random ones. What open_clip logs, and what is doubtful of a file, is warned of. Raises BackboneError for unknown names and tags,
    for weights that don't load or that no training leaves, and for failed downloads. `hashed`: whether anyone reads their digest;
    `known` is what another process found for it.
    """
    names = {*plugins.names("backbone"), *open_clip.list_models()}
    if name not in names and not name.startswith((weights.HUB, weights.LOCAL)):
        raise BackboneError(f"no backbone '{name}'.", did_you_mean(name, names))
    model_name, source = name, pretrained
    if name.startswith(weights.LOCAL):
        folder = weights.folder_of(name)
        model_name, source = f"{weights.LOCAL}{folder}", pretrained or str(weights.find(folder))
    elif name in plugins.names("backbone"):
        files: BackboneFiles = plugins.load("backbone", name)
        open_clip.add_model_config(files.config)
        source = pretrained or str(files.weights)
    elif pretrained is None and name in names:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise BackboneError(
            f"the backbone '{name}' needs --pretrained.",
            f"Tags of open_clip for it: {tags}; or the path of a checkpoint (.safetensors, .pt), or 'random'.",
        )
    file = _file(source)
    own = KnownWeights(name, precision, file, version_of(file), "") if file else None
    with _said_by_open_clip():
        try:
            tokenizer = _tokenizer(model_name)
            model = _model(model_name, source, file, precision, device)
        except AdaptBenchError as error:
            raise BackboneError(f"the backbone '{name}' can't be loaded: {error.what}", error.advice) from error
        except Exception as error:  # of a library that is missing, a download, or whatever else open_clip does
            raise _not_loaded(name, source, error) from error
    if source != "random":
        checkpoint.require_sound(model, f"'{Path(source or name).name}'")
    digest = None
    if hashed and device != "meta":
        digest = known.sha256 if known and replace(known, sha256="") == own else _digest(model)
    backbone = Backbone(model, tokenizer, execution=execution, weights_sha256=digest)
    backbone.known_weights = replace(own, sha256=digest) if own and digest else None
    backbone.image.fit(calls_of(torch.device(device)).memory_bytes(), number_bytes=4 if precision == "fp32" else 2)
    return backbone


def _file(source: str | None) -> Path | None:
    """The file that weights are read from here; None for what open_clip gets, and for random ones."""
    return Path(source) if source and Path(source).is_file() and not source.endswith((".npz", ".npy")) else None


def _model(name: str, source: str | None, path: Path | None, precision: str, device: str) -> Any:
    """open_clip's model on weights from a file, which is read here, from a tag or a hub, which open_clip gets, or "random"."""
    of_tag = path is None and source != "random"
    with warnings.catch_warnings(), checkpoint.Undrawn() if path else nullcontext():
        warnings.simplefilter("ignore", FutureWarning)
        model = open_clip.create_model(
            name,
            pretrained=source if of_tag else None,
            precision="fp16" if precision == "fp16-pure" else "fp32",
            device=device,
            load_weights=of_tag,
            require_pretrained=of_tag,
            weights_only=True,
        )
        if path is None:
            return model
        read = checkpoint.read(path)
    checkpoint.fill(model, read, path.name)
    if doubt := checkpoint.activation_doubt(read, name, path.name):
        warnings.warn(doubt, UserWarning, stacklevel=3)
    return model


def _not_loaded(name: str, source: str | None, error: Exception) -> BackboneError:
    if "transformers" in str(error):
        return BackboneError(
            f"the backbone '{name}' needs the library 'transformers'.",
            "Install it: pip install transformers sentencepiece.",
        )
    why = "it holds more than weights" if isinstance(error, UnpicklingError) else [*str(error).splitlines(), ""][0]
    return BackboneError(
        f"the backbone '{name}' can't be loaded with pretrained '{source}': {why[:300] or type(error).__name__}",
        f"Tags: {', '.join(open_clip.list_pretrained_tags_by_model(name)) or 'none'}; a checkpoint must be "
        "a .safetensors file or a state dict that torch.load(weights_only=True) reads. A tag is downloaded once "
        "and needs the network then.",
    )


@contextmanager
def _said_by_open_clip() -> Iterator[None]:
    """What is logged as a warning is one: it reaches the user and the record."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    for text in dict.fromkeys(said):
        if not any(words in text for words in _DONE_HERE):
            warnings.warn(f"open_clip: {text}", UserWarning, stacklevel=3)


@cache
def _tokenizer(name: str) -> Any:
    """open_clip's tokenizer of a model. CLIP's own has one vocabulary, which takes longer to read than a small backbone: once."""
    ours = not name.startswith((weights.HUB, weights.LOCAL))
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {}) if ours else {}
    if "context_length" not in text or text.keys() & _OTHER_TOKENS or "siglip" in name.lower():
        return open_clip.get_tokenizer(name)
    tokenizer = copy(clip_tokenizer())
    tokenizer.context_length = text["context_length"]
    return tokenizer


@cache
def clip_tokenizer() -> Any:
    """CLIP's own tokenizer, at its context length."""
    return open_clip.SimpleTokenizer()


def _digest(model: nn.Module) -> str:
    """SHA-256 over every tensor of the state dict, in name order: the same weights give the same digest from any file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().to("cpu").reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
