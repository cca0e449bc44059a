"""Loading backbones: by registered name, open_clip name, checkpoint; and errors that say what would work."""

import io
import json
import logging
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from harness.clip import backbone as backbones
from harness.clip import checkpoint as checkpoints
from harness.errors import BackboneError, ConfigError
from harness.plan import Request, plan
from harness.runs.job import repeat_command

FAKES = Path(__file__).parents[1] / "fakes"


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


class Draws(TorchFunctionMode):
    """Counts random initialisations."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func in checkpoints._DRAWS
        return func(*args, **(kwargs or {}))


def test_weights_of_a_file_are_not_drawn_first(tinyworld, make_clip):
    with Draws() as draws:
        backbone = backbones.load("tiny-clip", None)
    assert draws.count == 0
    expected = make_clip().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state(backbone).items())
    with Draws() as draws:
        backbones.load("tiny-clip", "random")
    assert draws.count > 0


def test_the_vocabulary_is_read_once_and_tokens_are_open_clips(tinyworld, monkeypatch):
    names = ("ViT-B-16", "tiny-clip", "coca_ViT-B-32")
    theirs = {name: open_clip.get_tokenizer(name) for name in names}
    backbones.clip_tokenizer()
    monkeypatch.setattr(open_clip.SimpleTokenizer, "__init__", lambda *a, **k: pytest.fail("it is read again"))
    for name, tokenizer in theirs.items():
        ours = backbones._tokenizer.__wrapped__(name)
        assert ours.context_length == tokenizer.context_length
        assert torch.equal(ours(["a photo of a dog."]), tokenizer(["a photo of a dog."]))
    asked = []
    monkeypatch.setattr(open_clip, "get_tokenizer", asked.append)
    others = ("ViT-B-16-SigLIP", "roberta-ViT-B-32", "ViT-bigG-14-CLIPA", "hf-hub:timm/x", "local-dir:/x")
    for name in others:
        backbones._tokenizer.__wrapped__(name)
    assert tuple(asked) == others


def test_large_weights_that_add_up_to_infinity_are_sound(tinyworld, make_clip, tmp_path):
    weights = make_clip().state_dict()
    weights["text_projection"] = torch.full_like(weights["text_projection"], 3e38)
    torch.save(weights, tmp_path / "large.pt")
    assert backbones.load("tiny-clip", str(tmp_path / "large.pt"), hashed=False).weights_sha256 is None


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
    (tmp_path / "empty.pt").touch()
    (tmp_path / "list.pt").write_bytes(saved([1, 2]))
    (tmp_path / "other.pt").write_bytes(saved({"epoch": 3, "optimizer": {}}))
    for name, why in {
        "text.pt": "can't be read",
        "text.safetensors": "can't be read",
        "empty.pt": "can't be read",
        "list.pt": "holds a list, no weights by name",
        "other.pt": "holds no weights, but 'epoch', 'optimizer'",
        "deeper.safetensors": r"24 unexpected \('\S+', '\S+', '\S+', ...\)",
        "missing.safetensors": "not a known tag or valid file",
        "no-such-tag": "not a known tag or valid file",
    }.items():
        with pytest.raises(BackboneError, match=rf"'tiny-clip' can't be loaded(?s:.*){why}"):
            backbones.load("tiny-clip", str(tmp_path / name) if "." in name else name)


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def prefixed(weights, prefix):
    return {f"{prefix}{name}": value for name, value in weights.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"model": weights},
        lambda weights: {"epoch": 3, "state_dict": prefixed(weights, "module.")},
        lambda weights: prefixed(weights, "clip."),
        lambda weights: {"model_state_dict": prefixed(weights, "_orig_mod.clip_model.")},
        lambda weights: {name: value.half().float() for name, value in weights.items()},
    ],
    ids=["below model", "module.", "clip.", "two at once", "half"],
)
def test_weights_are_found_where_training_codes_put_them(tinyworld, make_clip, tmp_path, wrap):
    weights = {name: value.half().float() for name, value in make_clip(seed=5).state_dict().items()}
    (tmp_path / "theirs.pt").write_bytes(saved(wrap(weights)))
    assert all(
        torch.equal(v, weights[n]) for n, v in state(backbones.load("tiny-clip", str(tmp_path / "theirs.pt"))).items()
    )


class RunsCode(torch.nn.Module):
    """Its archive would be run when it is loaded, as TorchScript."""

    @torch.jit.export
    def __getstate__(self):
        return self.training

    @torch.jit.export
    def __setstate__(self, state: bool):
        self.training = state


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_archive_whose_loading_runs_code_is_refused(tmp_path):
    torch.jit.script(RunsCode()).save(tmp_path / "ViT-B-32.pt")
    with pytest.raises(BackboneError, match="holds more than weights, which loading would run"):
        checkpoints.read(tmp_path / "ViT-B-32.pt")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_archive_of_openais_kind_is_read_and_tells_its_activation(tmp_path):
    class Archive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("input_resolution", torch.tensor(224))
            self.logit_scale = torch.nn.Parameter(torch.tensor(4.6).half())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(1.702 * x)

    torch.jit.script(Archive()).save(tmp_path / "ViT-B-32.pt")
    read = checkpoints.read(tmp_path / "ViT-B-32.pt")
    assert (list(read.weights), read.quick_gelu) == (["logit_scale"], True)


@pytest.mark.parametrize(
    ("file", "backbone", "said"),
    [
        (
            "vit_b_32-quickgelu-laion400m_e32-46683a32.pt",
            "ViT-B-32",
            "trained with QuickGELU, and ViT-B-32 computes GELU",
        ),
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", "ViT-B-32-quickgelu", None),
        ("mine.pt", "ViT-B-32", "doesn't tell its activation"),
        ("mine.pt", "ViT-B-32-quickgelu", None),
        ("vit_b_16_plus_240-laion400m_e32-699c4b84.pt", "ViT-B-16-plus-240", None),
    ],
)
def test_an_activation_that_does_not_fit_is_said(tmp_path, file, backbone, said):
    (tmp_path / file).write_bytes(saved({"logit_scale": torch.tensor(4.6)}))
    doubt = checkpoints.activation_doubt(checkpoints.read(tmp_path / file), backbone, file)
    assert doubt is None if said is None else said in doubt


def test_names_of_transformers_are_refused_by_that_name(tmp_path):
    (tmp_path / "theirs.pt").write_bytes(saved({"logit_scale": torch.ones(()), "text_model.a": torch.ones(2)}))
    with pytest.raises(
        BackboneError, match=r"(?s)names of Hugging Face's transformers, such as 'text_model.a'.*hf-hub:"
    ):
        checkpoints.read(tmp_path / "theirs.pt")


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("visual.conv1.weight", lambda t: t * torch.nan, "not all finite: 'visual.conv1.weight'"),
        ("text_projection", lambda t: t + torch.inf, "not all finite: 'text_projection'"),
        ("logit_scale", lambda t: t * 0 + 1e30, r"logit_scale of 1e\+30"),
        ("token_embedding.weight", lambda t: (t * 0).int(), r"1 whole numbers \('token_embedding.weight'\)"),
        ("ln_final.bias", lambda t: t[:-1], r"1 of another shape \('ln_final.bias \(31,\) for \(32,\)'\)"),
        ("ln_final.bias", None, r"1 missing \('ln_final.bias'\)"),
    ],
)
def test_weights_that_can_not_be_are_refused(tinyworld, make_clip, tmp_path, name, change, why):
    weights = make_clip().state_dict()
    weights |= {name: change(weights[name])} if change else {}
    weights = weights if change else {n: v for n, v in weights.items() if n != name}
    (tmp_path / "odd.pt").write_bytes(saved(weights))
    with pytest.raises(BackboneError, match=why):
        backbones.load("tiny-clip", str(tmp_path / "odd.pt"))


def test_two_models_and_a_name_twice_are_refused(tmp_path):
    (tmp_path / "two.pt").write_bytes(saved(dict.fromkeys(("a.logit_scale", "ema.logit_scale"), torch.ones(()))))
    with pytest.raises(BackboneError, match=r"holds 2 models: below 'a\.', 'ema\.'"):
        checkpoints.read(tmp_path / "two.pt")
    one = b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    header = b"{" + one + b"," + one + b"}"
    (tmp_path / "twice.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(BackboneError, match="'a' stands in it twice"):
        checkpoints.read(tmp_path / "twice.safetensors")


def test_an_archive_that_unpacks_to_more_than_it_should_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/0", bytes(17 << 20))
    with pytest.raises(BackboneError, match="it unpacks to 17 MiB"):
        checkpoints.read(tmp_path / "bomb.pt")


@pytest.fixture
def folder(make_clip, tmp_path):
    """A folder as open_clip writes it: a config, and a weights file beside it."""
    home = tmp_path / "mine"
    home.mkdir()
    config = json.loads((FAKES / "tiny-clip.json").read_text())
    (home / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(make_clip(seed=5).state_dict(), home / "open_clip_model.safetensors")
    return home


def test_a_folders_weights_are_those_of_the_run(folder, make_clip):
    request = Request(suite="few-shot", methods=["zero_shot"], datasets=["demo-digits"], seeds=[1], shots=[1])
    (run,) = plan(replace(request, backbone=f"local-dir:{folder}"), "demo")
    assert run.key.backbone == "local-dir:mine"
    assert run.key.pretrained.startswith("open_clip_model.safetensors@")
    loaded = backbones.load(run.key.backbone, run.pretrained)
    assert torch.equal(state(loaded)["text_projection"], make_clip(seed=5).state_dict()["text_projection"])
    assert str(folder.parent) not in repr(run.key) + repeat_command(run, run.pretrained, "cpu")
    assert "--pretrained" not in repeat_command(run, run.pretrained, "cpu")
    save_file(make_clip(seed=6).state_dict(), folder / "open_clip_model.safetensors")
    (other,) = plan(replace(request, backbone=f"local-dir:{folder}"), "demo")
    assert other.key.pretrained != run.key.pretrained


@pytest.mark.parametrize(
    ("weights", "pretrained", "why"),
    [
        ((), None, "has no weights"),
        (("a.bin", "b.safetensors"), None, "has 2 weights files: a.bin, b.safetensors"),
        (("a.bin",), "openai", "comes with weights of its own, and --pretrained openai names others"),
    ],
)
def test_a_folder_has_one_weights_file_and_no_other_is_named(folder, weights, pretrained, why):
    (folder / "open_clip_model.safetensors").unlink()
    for name in weights:
        (folder / name).touch()
    with pytest.raises(ConfigError, match=why):
        plan(Request(suite="few-shot", backbone=f"local-dir:{folder}", pretrained=pretrained), "demo")


def test_what_open_clip_logs_is_a_warning(monkeypatch, tinyworld):
    make = backbones.open_clip.create_model

    def say(*args, **how):
        logging.warning("beware")
        return make(*args, **how)

    monkeypatch.setattr(backbones.open_clip, "create_model", say)
    with pytest.warns(UserWarning, match="open_clip: beware") as said:
        backbones.load("tiny-clip", "random")
    assert len(said) == 1


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_what_a_tokenizer_needs_is_named():
    with pytest.raises(
        BackboneError, match=r"(?s)'ViT-B-16-SigLIP' needs the library 'transformers'.*pip install transformers"
    ):
        backbones.load("ViT-B-16-SigLIP", "random")


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


def test_a_model_of_timms_is_made_with_timm():
    made = open_clip.timm_model.TimmModel("resnet18", 8, image_size=32)
    assert type(made.trunk).__module__ == "timm.models.resnet"
    assert isinstance(made, sys.modules["open_clip.timm_model"].TimmModel)
