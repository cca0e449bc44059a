"""Linear probe: logistic regression on image features, as in CoOp's appendix (Zhou et al., IJCV 2022, arXiv:2109.01134)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.recipe import Recipe
from harness.settings import AtLeastOne
from methods._sources import SAME_RESULT, cited

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel


@dataclass(frozen=True)
class LinearProbe:
    """Scikit-learn's L2 logistic regression (L-BFGS) on features f that are not normalised, without augmentation.

    The inverse regularisation strength is chosen on the validation draw: a sweep from 1e6 down to 1e-6, then `search_steps`
    halvings of the decade either side of the best, in log space; 1.0 without validation images.

    The probe has no weights for a class it didn't train on and no text to read, so such classes are beyond it. Asked for a
    list with any of them, it answers as zero-shot CLIP for the whole list: mixing regression and text scores in one argmax
    would mean nothing. Its accuracy on new classes is zero-shot CLIP's, and is no merit of the probe.
    """

    maximum_iterations: AtLeastOne = 1000
    search_steps: AtLeastOne = 8

    family: ClassVar[str] = "linear"
    recipes: ClassVar[Mapping[str, Recipe]] = {"default": Recipe(augmentation="none")}
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                "maximum_iterations": "C lpclip/linear_probe.py:57",
                "search_steps": "C lpclip/linear_probe.sh:8",
                "augmentation": "C lpclip/feat_extractor.py:131",
                "test_batch_size": SAME_RESULT,
            }
        }
    )

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a probe that is fitted before the first step."""
        from methods.linear_probe.model import LinearProbeModel

        return LinearProbeModel(backbone, self)
