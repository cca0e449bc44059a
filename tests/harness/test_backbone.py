"""Loading backbones: by registered name, open_clip name, checkpoint; and errors that say what would work."""

import pytest
import torch
from safetensors.torch import save_file

from harness.clip import backbone as backbones
from harness.errors import BackboneError


def state(backbone):
    return backbone.model.state_dict()


@pytest.fixture
def checkpoint(tinyworld, make_clip, tmp_path):
    """Other weights than the backbone comes with, as a file of each kind."""
    weights = make_clip(seed=5).state_dict()
    save_file(weights, tmp_path / "other.safetensors")
    torch.save(weights, tmp_path / "other.pt")
    return tmp_path


def test_a_plug_ins_backbone_comes_with_its_weights(tinyworld, make_clip):
    backbone = backbones.load("tiny-clip", None)
    expected = make_clip().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state(backbone).items())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not backbone.model.training
    assert backbone.pixels.size == 32
    assert (backbone.embed_width, backbone.text.width, backbone.image.width) == (32, 32, 32)


def test_the_demo_backbone_has_12_and_12_blocks():
    backbone = backbones.load("demo-clip", None)
    assert (backbone.text.depth, backbone.image.depth) == (12, 12)
    assert backbone.image.staged


def test_checkpoints_of_either_kind_are_read_and_have_one_digest(checkpoint, tinyworld):
    plain = backbones.load("tiny-clip", None)
    safe, pickled = (backbones.load("tiny-clip", str(checkpoint / f"other.{end}")) for end in ("safetensors", "pt"))
    assert all(torch.equal(value, state(pickled)[name]) for name, value in state(safe).items())
    assert safe.weights_sha256 == pickled.weights_sha256 != plain.weights_sha256


def test_pure_half_is_half_but_for_norms_and_embeddings(tinyworld):
    model = backbones.load("tiny-clip", None, precision="fp16-pure").model
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    full = {n for n, dtype in dtypes.items() if dtype == torch.float32}
    assert {n for n in dtypes if any(part in n for part in ("ln_", "embedding", "logit_scale"))} == full
    assert set(dtypes.values()) == {torch.float16, torch.float32}


def test_an_open_clip_name_needs_to_be_told_its_weights():
    with pytest.raises(BackboneError, match=r"needs --pretrained(?s:.*)openai(?s:.*)'random'"):
        backbones.load("ViT-B-16", None)


def test_an_unknown_name_is_answered_with_a_near_one():
    with pytest.raises(BackboneError, match=r"no backbone 'ViT-B-61'(?s:.*)Did you mean 'ViT-B-16'"):
        backbones.load("ViT-B-61", "random")


def test_files_that_are_no_checkpoint_of_this_backbone_advise(tinyworld, make_clip, tmp_path):
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    save_file(make_clip(layers=3).state_dict(), tmp_path / "deeper.safetensors")
    for name in ("text.pt", "text.safetensors", "deeper.safetensors", "missing.safetensors", "no-such-tag"):
        with pytest.raises(BackboneError, match=r"'tiny-clip' can't be loaded(?s:.*)safetensors"):
            backbones.load("tiny-clip", str(tmp_path / name) if "." in name else name)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_that_runs_code_is_refused(tinyworld, tmp_path):
    import pickle

    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").touch, ())

    (tmp_path / "harmful.pt").write_bytes(pickle.dumps(Harmful()))
    torch.save({"state_dict": Harmful()}, tmp_path / "saved.pt")
    for name in ("harmful.pt", "saved.pt"):
        with pytest.raises(BackboneError, match="can't be loaded"):
            backbones.load("tiny-clip", str(tmp_path / name))
    assert not (tmp_path / "harm").exists()


def test_prompts_have_blanks_for_underscores(tiny_backbone):
    assert tiny_backbone().prompts("a photo of a {}.", ("polka_dot", "cat")) == [
        "a photo of a polka dot.",
        "a photo of a cat.",
    ]
