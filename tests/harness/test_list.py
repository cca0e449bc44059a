"""What `adaptbench list methods --backbone NAME` counts."""

from dataclasses import dataclass

import pytest

from harness import plugins
from harness.cli.list import about, trainable_parameters
from harness.errors import BackboneError, ConfigError

E = D = W = 128  # the joint, text and image width of demo-clip


@pytest.fixture(scope="module")
def counts():
    return trainable_parameters(plugins.names("method"), "demo-clip", None)


def test_every_method_has_its_cards_formula(counts):
    tower = 12 * (12 * W**2 + 13 * W) + 2 * W + W * E
    expected = {
        "zero_shot": "0",
        "linear_probe": f"{E + 1} C",
        "lp_plus_plus": f"{E + 2} C",
        "full_finetuning": f"{2 * tower:,}",
        "skip_tuning": f"{2 * (tower - 6 * (12 * W**2 + 13 * W)):,}",
        "coop": f"{16 * D:,}",
        "cocoop": f"{4 * D + (E + 1) * (E // 16) + (E // 16 + 1) * D:,}",
        "kgcoop": f"{4 * D:,}",
        "prograd": f"{4 * D:,}",
        "maple": f"{9 * (2 * D + D * W + W):,}",
        "promptsrc": f"{9 * 4 * (D + W):,}",
        "tcp": f"{4 * D + (E + 1) * (E // 4) + (E // 4 + 1) * 4 * D:,}",
        "dept": f"{4 * D + 4 * E:,} + {E + 1} C",
        "coprompt": f"{12 * (4 * D + D * W + W) + 4 * E * (E // 4):,}",
        "clip_adapter": f"{2 * E * (E // 4):,}",
        "tip_adapter": "0",
        "tip_adapter_f": f"{E} K C",
        "clip_lora": f"{12 * 3 * 2 * 2 * (D + W):,}",
    }
    assert {name: counts[name] for name in expected} == expected


def test_a_backbone_that_is_not_there_is_one_error():
    with pytest.raises(BackboneError, match="no backbone 'demo-clap'"):
        trainable_parameters(["coop"], "demo-clap", None)


def test_weights_beside_a_backbone_that_has_its_own_are_refused():
    with pytest.raises(ConfigError, match="comes with weights of its own"):
        trainable_parameters(["coop"], "local-dir:anywhere", "openai")


def test_a_method_that_does_not_fit_says_why(monkeypatch, tiny_backbone):
    monkeypatch.setattr(
        "harness.clip.backbone.load", lambda name, pretrained: tiny_backbone(layers=12, vision_layers=[1, 1, 1, 1])
    )
    counts = trainable_parameters(["coop", "maple"], "RN50", None)
    assert counts["coop"] == f"{16 * 32:,}"
    assert "ModifiedResNet" in counts["maple"]


def test_a_method_is_described_by_its_card_or_by_its_own_docstring():
    class Mine:
        """Mine, in a line.

        And more.
        """

    @dataclass(frozen=True)
    class Undescribed:
        depth: int = 3

    assert about(Mine) == "Mine, in a line."
    assert about(Undescribed) == ""
    assert "arXiv:2109.01134" in about(plugins.load("method", "coop"))
