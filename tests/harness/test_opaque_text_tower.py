"""Backbones whose towers are not CLIP's ViT, against open_clip's own model: SigLIP, CoCa, ResNet; small, with random weights."""

import re
from functools import cache

import open_clip
import pytest
import torch
from torch.nn import functional as F

from harness import plugins
from harness.clip.backbone import Backbone
from harness.clip.opaque_text_tower import WholeTextTower
from harness.data.image_set import ImageSet
from harness.errors import BackboneError, ConfigError
from harness.method import Classes
from harness.training.loop import train
from harness.training.reading import advance

TEXTS = ["a photo of a dog.", "cat", "a photo of the very long-haired dachshund, a type of pet."]
TEXT = {"vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
SIGLIP = {
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "none"},
    "text_cfg": {**TEXT, "context_length": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    "init_logit_scale": 2.3,
    "init_logit_bias": -10.0,
}
COCA = {
    "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"width": 32, "context_length": 76, "vocab_size": 49408, "heads": 2, "layers": 1},
}
WHOLE_TEXT = ("zero_shot", "linear_probe", "lp_plus_plus", "tip_adapter", "tip_adapter_f", "clip_adapter")
INSIDE_TEXT = ("coop", "cocoop", "kgcoop", "prograd", "tcp", "dept")
INSIDE_BOTH = ("full_finetuning", "skip_tuning", "maple", "promptsrc", "coprompt", "clip_lora")
tokenizer_of = cache(open_clip.SimpleTokenizer)  # reads its vocabulary each time


@pytest.fixture(params=["SigLIP", "CoCa", "ResNet"])
def model(request, make_clip):
    torch.manual_seed(0)
    if request.param == "ResNet":
        return make_clip(layers=12, vision_layers=[1, 1, 1, 1]).eval()
    if request.param == "CoCa":
        model = open_clip.CoCa(embed_dim=32, **COCA)
        model.visual.preprocess_cfg = {**open_clip.transform.PreprocessCfg().__dict__, "size": 32}
        return model.eval()
    model = open_clip.CustomTextCLIP(embed_dim=64, **SIGLIP)
    halves = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash", "size": 160}
    model.visual.preprocess_cfg = {**open_clip.transform.PreprocessCfg().__dict__, **halves}
    return model.eval()


@pytest.fixture
def backbone(model):
    tokenizer = tokenizer_of(context_length=model.context_length)
    return Backbone(model, tokenizer, execution="fast")


@pytest.mark.parametrize("execution", ["fast", "reference"])
def test_features_and_logits_are_open_clips(model, execution):
    tokenizer = tokenizer_of(context_length=model.context_length)
    backbone = Backbone(model, tokenizer, execution=execution)
    size = backbone.pixels.size
    images = torch.randn(3, 3, size, size)
    ids = tokenizer(TEXTS)
    with torch.no_grad():
        texts, features = model.encode_text(ids, normalize=False), model.encode_image(images, normalize=False)
        torch.testing.assert_close(backbone.text.encode(backbone.text.tokenize(TEXTS)), texts)
        assert torch.equal(backbone.image.encode(images), features)
        assert (texts.shape[1], features.shape[1]) == (backbone.embed_width, backbone.embed_width)
        zero_shot = plugins.load("method", "zero_shot")().adapt(backbone)
        zero_shot.set_classes(Classes(("dog", "cat", "red panda"), {"clip": "a {}."}))
        ours = zero_shot.logits(features, zero_shot.classifier())
        ids = tokenizer(["a dog.", "a cat.", "a red panda."])
        theirs = model.logit_scale.exp() * F.normalize(features, dim=-1) @ model.encode_text(ids, normalize=True).T
        if model.logit_bias is not None:
            theirs += model.logit_bias
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1))
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


def test_it_has_the_images_as_its_checkpoint_wants_them(model, backbone):
    squashed = isinstance(model, open_clip.CustomTextCLIP)
    assert backbone.pixels.resize_mode == ("squash" if squashed else "shortest")
    assert backbone.pixels.mean == tuple(model.visual.preprocess_cfg["mean"])


def test_a_prompt_that_would_be_cut_is_refused(backbone):
    text, length = backbone.text, backbone.text.context_length
    assert len(text.tokenize([" ".join(["dog"] * (length - 2))])) == 1
    with pytest.raises(ConfigError, match=rf"tokens(?s:.*) the backbone reads,? {length}: 'dog dog"):
        text.tokenize(["cat", " ".join(["dog"] * (length - 1))])


def refusal(method, backbone):
    """Why a method can't be on a backbone; empty if it can."""
    try:
        method.adapt(backbone).set_classes(Classes(("red", "green"), {"clip": "a {}."}))
    except BackboneError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", plugins.names("method"))
def test_methods_either_train_on_it_or_say_why_not(name, backbone, tinyworld):
    kind = plugins.load("method", name)
    method = kind(search_steps=1) if name == "linear_probe" else kind()
    torch.manual_seed(1)
    whole = isinstance(backbone.text, WholeTextTower)
    why = refusal(method, backbone)
    if name in (*WHOLE_TEXT, *INSIDE_TEXT, *INSIDE_BOTH):  # what a new method does is for it to say
        assert bool(why) == (name in INSIDE_BOTH or (whole and name in INSIDE_TEXT))
    if why:
        assert re.search(r"works inside (?s:.*)ViT-B-16-quickgelu", why)
        return
    splits = tinyworld.splits()
    images = ImageSet(splits.train[::3], splits.open, backbone.pixels, seed=1)
    model = method.adapt(backbone)
    classes = Classes(tuple(tinyworld.COLOUR_VALUES), {"clip": "a {} square."})
    model.set_classes(classes)
    recipe = method.recipes["default"]
    short = type(recipe)(epochs=min(1, recipe.epochs), batch_size=5, learning_rate=1e-3, augmentation="none")
    train(model, images, images, short, seed=1, execution="fast", precision="fp32")
    pixels = torch.stack([images.pixels(i, None) for i in range(3)])
    with torch.no_grad():
        logits = model.logits(advance(backbone, pixels, model.reads[0].stage), model.classifier())
    assert logits.shape == (3, 5)
    assert logits.isfinite().all()


def test_tokens_that_are_not_clips_have_whole_texts_too(make_clip):
    class Words(open_clip.tokenizer.HFTokenizer):
        """Stands for a tokenizer of the `transformers` package: no byte pairs, its own special tokens."""

        def __init__(self):
            self.context_length = 77

        def __call__(self, texts, context_length=None):
            ids = [[5, *(len(word) for word in text.split()), 49407][: context_length or 77] for text in texts]
            return torch.tensor([each + [0] * ((context_length or 77) - len(each)) for each in ids])

    backbone = Backbone(make_clip(), Words(), execution="fast")
    assert isinstance(backbone.text, WholeTextTower)
    assert backbone.text.encode(backbone.text.tokenize(TEXTS)).shape == (3, 32)
    with pytest.raises(BackboneError, match="CLIP's own tokens"):
        backbone.text.token_embeddings(None)
