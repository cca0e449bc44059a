"""Text towers that are not CLIP's (SigLIP, CoCa, Hugging Face models): whole texts in, features out, by open_clip's own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.errors import BackboneError, ConfigError


class WholeTextTower:
    """A text tower without stages, for methods that need whole texts encoded. Asked for anything else, it raises BackboneError.

    It leaves out nothing in either execution: where such a tower reads its feature, every row is read on the way.
    """

    staged = False

    def __init__(self, model: Any, tokenizer: Any, fast: bool) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.fast = fast
        self.context_length: int = tokenizer.context_length
        self.encoded = 0  # texts, since the tower was built

    @property
    def dtype(self) -> torch.dtype:
        """The type of the image tower's features: half for fp16-pure, float32 otherwise."""
        return next(p.dtype for p in self._model.visual.parameters() if p.dim() > 1)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids (C, L). Raises ConfigError for a text that is too long: its ids change when there is room for more."""
        ids = self._tokenizer(list(texts), context_length=self.context_length)
        roomy = self._tokenizer(list(texts), context_length=self.context_length + 2)
        cut = (ids != roomy[:, : self.context_length]).any(dim=1).nonzero().flatten().tolist()
        if cut:
            raise ConfigError(
                f"a prompt has more tokens than the backbone reads, {self.context_length}: {texts[cut[0]][:80]!r}...",
                "Shorten the class name or the template; AdaptBench does not cut prompts silently.",
            )
        return ids.to(self._model.logit_scale.device)

    def encode(self, tokens: Tensor) -> Tensor:
        """The whole tower: (C, E), not normalised."""
        self.encoded += len(tokens)
        return self._model.encode_text(tokens, normalize=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise BackboneError(
            "this method works inside CLIP's text tower, a causal transformer of CLIP's own tokens that is read at the end-of-text "
            f"token; this {type(self._model).__name__} has another.",
            "Choose a backbone such as ViT-B-16-quickgelu, or a method that encodes whole texts only: "
            "'adaptbench list methods --backbone NAME' tells which.",
        )
