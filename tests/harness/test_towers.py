"""Staged towers against open_clip's own forward, in float64, in both executions."""

from copy import deepcopy
from functools import cache

import open_clip
import pytest
import torch
from torch import nn

from harness.clip import fused, products, text_batches
from harness.clip.backbone import Backbone
from harness.clip.blocks import AllRows, run_block
from harness.clip.image_tower import ImageTower
from harness.clip.products import product
from harness.clip.text_batches import Layout, PackedRows, Tokens
from harness.clip.text_tower import TextTower
from harness.errors import BackboneError, ConfigError
from harness.meters.dispatch_mode import EagerMode
from harness.meters.flops import FlopCount

TEXTS = ["a photo of a dog.", "cat", "a photo of the very long-haired dachshund, a type of pet."]
tokenizer_of = cache(open_clip.get_tokenizer)  # reads its vocabulary each time
EXECUTIONS = pytest.mark.parametrize("execution", ["fast", "reference"])


def same(actual, expected):
    assert actual.shape == expected.shape
    scale = max(1.0, float(expected.detach().abs().max()))
    assert float((actual - expected).detach().abs().max()) <= 1e-12 * scale


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(value, parameters):
    """Of a fixed random projection of `value`, by every parameter; None where it has no part."""
    return torch.autograd.grad((value * randn(*value.shape, seed=9)).sum(), parameters, allow_unused=True)


def same_with_gradients(actual, expected, inputs):
    same(actual, expected)
    for ours, theirs in zip(gradients(actual, inputs), gradients(expected, inputs), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            same(ours, theirs)


@pytest.fixture(scope="module", params=[2, 12], ids=["2 blocks", "12 blocks"])
def clip(request, make_clip):
    model = make_clip(layers=request.param).double()
    with torch.no_grad():
        for parameter in model.parameters():  # so that no bias is 0 and no LayerNorm the identity
            parameter += 0.05 * randn(*parameter.shape, seed=parameter.numel())
    return model


@pytest.fixture(params=["fast", "fast, many rows", "reference"])
def backbone(request, clip, monkeypatch):
    execution, _, many = request.param.partition(", ")
    if many:
        monkeypatch.setattr(text_batches, "MOST_DENSE_ROWS", 0)
    backbone = Backbone(clip, tokenizer_of("ViT-B-16"), execution=execution)
    clip.requires_grad_(True)
    return backbone


def open_clip_text(model, embeddings, ends, deep=None):
    """open_clip's own blocks on embeddings (S, 77, D) without positions; `deep[i]` overwrites rows 1..n before block i."""
    x = embeddings + model.positional_embedding
    for i, block in enumerate(model.transformer.resblocks):
        if deep and i in deep:
            n = deep[i].shape[-2]
            x = torch.cat([x[:, :1], deep[i].expand(len(x), -1, -1), x[:, 1 + n :]], dim=1)
        x = block(x, attn_mask=model.attn_mask)
    return model.ln_final(x)[torch.arange(len(x)), ends] @ model.text_projection


def embeddings_77(model, texts=TEXTS):
    ids = tokenizer_of("ViT-B-16")(texts)
    return model.token_embedding(ids), ids.argmax(dim=-1)


def test_images_equal_open_clip(clip, backbone):
    images = randn(3, 3, 32, 32).requires_grad_()
    same_with_gradients(backbone.image.encode(images), clip.encode_image(images), [images, *clip.visual.parameters()])


def test_texts_equal_open_clip(clip, backbone):
    expected = clip.encode_text(tokenizer_of("ViT-B-16")(TEXTS))
    text_parameters = [p for name, p in clip.named_parameters() if not name.startswith("visual.")]
    same_with_gradients(backbone.text.encode(backbone.text.tokenize(TEXTS)), expected, text_parameters)


def test_images_in_stages_equal_the_whole(backbone):
    tower, images = backbone.image, randn(2, 3, 32, 32)
    whole = tower.encode(images)
    for cut in range(tower.depth + 1):
        state = tower.blocks(tower.embed(images), 0, cut)
        same(tower.head(tower.blocks(state, cut, tower.depth)), whole)


def test_texts_in_stages_equal_the_whole(backbone):
    tower = backbone.text
    tokens = tower.tokenize(TEXTS)
    whole = tower.encode(tokens)
    for cut in range(tower.depth + 1):
        state = tower.blocks(tower.embed(tokens), 0, cut)
        same(tower.head(tower.blocks(state, cut, tower.depth)), whole)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_selected_texts_equal_the_rows_of_all(backbone, cut):
    tower = backbone.text
    tokens = tower.tokenize(TEXTS)
    kept = torch.tensor([2, 0])
    whole = tower.encode(tokens)[kept]
    state = tower.blocks(tower.embed(tokens), 0, cut).select(kept)
    same(tower.head(tower.blocks(state, cut, tower.depth)), whole)
    done = tower.blocks(tower.embed(tokens), 0, tower.depth).select(kept)
    same(tower.head(done), whole)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 2, 3)], ids=["n,D", "C,n,D", "B,C,n,D", "A,B,C,n,D"])
def test_context_takes_the_rows_after_the_first(clip, backbone, lead):
    texts = [f"X X {name}." for name in ("dog", "great white shark", "cat")]
    context = randn(*lead, 2, 32).requires_grad_()
    embeddings, ends = embeddings_77(clip, texts)
    rows = context.expand(*(lead or (3,)), 2, 32).reshape(-1, 2, 32)
    times = len(rows) // 3
    x = torch.cat([embeddings[:, :1].repeat(times, 1, 1), rows, embeddings[:, 3:].repeat(times, 1, 1)], dim=1)
    expected = open_clip_text(clip, x, ends.repeat(times)).reshape(*(lead or (3,)), -1)
    text = backbone.text
    state = text.add_positions(text.look_up(text.tokenize(texts)).with_rows(context))
    actual = text.head(text.blocks(state, 0, text.depth))
    same_with_gradients(actual, expected, [context, clip.positional_embedding])


@pytest.mark.parametrize("lead", [(), (3,)], ids=["n,D", "C,n,D"])
def test_deep_text_prompts_overwrite_rows_before_their_block(clip, backbone, lead):
    deep = {1: randn(*lead, 2, 32, seed=1).requires_grad_()}
    if len(clip.transformer.resblocks) > 2:
        deep |= {5: randn(*lead, 2, 32, seed=2).requires_grad_(), 11: randn(*lead, 2, 32, seed=3).requires_grad_()}
    embeddings, ends = embeddings_77(clip)
    expected = open_clip_text(clip, embeddings, ends, deep)
    text = backbone.text
    state = text.blocks(text.embed(text.tokenize(TEXTS)), 0, text.depth, replace_rows=deep)
    same_with_gradients(text.head(state), expected, list(deep.values()))


def test_deep_image_prompts_are_appended_through_ln_pre_and_then_overwritten(clip, backbone):
    visual, images = clip.visual, randn(2, 3, 32, 32)
    shallow, deep = randn(2, 32, seed=4).requires_grad_(), randn(2, 32, seed=5).requires_grad_()
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(2, 1, -1), patches], dim=1) + visual.positional_embedding
    x = visual.ln_pre(torch.cat([x, shallow.expand(2, -1, -1)], dim=1))
    for i, block in enumerate(visual.transformer.resblocks):
        if i == 1:
            x = torch.cat([x[:, :-2], deep.expand(2, -1, -1)], dim=1)
        x = block(x)
    expected = visual.ln_post(x[:, 0]) @ visual.proj
    tower = backbone.image
    state = tower.append(tower.embed(images), shallow)
    same_with_gradients(
        tower.head(tower.blocks(state, 0, tower.depth, replace_rows={1: deep})), expected, [shallow, deep]
    )


def test_image_prompts_may_differ_between_images(backbone):
    tower, images, prompts = backbone.image, randn(2, 3, 32, 32), randn(2, 1, 32, seed=6)
    both = tower.blocks(tower.append(tower.embed(images), prompts), 0, tower.depth)
    for i in range(2):
        alone = tower.blocks(tower.append(tower.embed(images[i : i + 1]), prompts[i]), 0, tower.depth)
        same(tower.head(both[i : i + 1]), tower.head(alone))


TEMPLATED = ["a photo of a dog.", "a photo of a very long-haired dachshund.", "a photo of a dog house."]


def test_texts_that_share_words_equal_open_clip(clip, backbone):
    """Shared rows are computed once, gradients of the shared words and of trained towers included."""
    expected = clip.encode_text(tokenizer_of("ViT-B-16")(TEMPLATED))
    text_parameters = [p for name, p in clip.named_parameters() if not name.startswith("visual.")]
    same_with_gradients(backbone.text.encode(backbone.text.tokenize(TEMPLATED)), expected, text_parameters)


@pytest.mark.parametrize("texts", [["a photo of a dog."], ["a dog.", "a dog."]], ids=["one text", "twice the same"])
def test_texts_without_a_difference_encode_too(clip, backbone, texts):
    same(
        backbone.text.encode(backbone.text.tokenize(texts)),
        clip.encode_text(tokenizer_of("ViT-B-16")(texts)),
    )


def test_context_may_stand_anywhere(clip, backbone):
    """Rows at a text's own places: two vectors around names of different lengths."""
    names, places = ("dog", "great white shark"), [[1, 3], [1, 5]]
    texts = [f"X {name} X." for name in names]
    context = randn(2, 32).requires_grad_()
    embeddings, ends = embeddings_77(clip, texts)
    x = embeddings.clone()
    for c, rows in enumerate(places):
        x[c, rows] = context
    expected = open_clip_text(clip, x, ends)
    text = backbone.text
    state = text.add_positions(text.look_up(text.tokenize(texts)).with_rows(context, torch.tensor(places)))
    same_with_gradients(text.head(text.blocks(state, 0, text.depth)), expected, [context])


def test_texts_apart_are_the_same_texts(backbone):
    text = backbone.text
    tokens = text.tokenize(TEMPLATED)
    state = text.blocks(text.embed(tokens), 0, 1).apart()
    same(text.head(text.blocks(state, 1, text.depth)), text.encode(tokens))


def test_random_numbers_of_a_row_do_not_depend_on_the_rows_beside_it(tiny_backbone):
    """What is drawn for a row in the packed texts is what the reference draws for it."""
    drawn = {}

    def note(name):
        def update(x, rows):
            torch.manual_seed(3)
            drawn[name] = rows.uniform(77, x)
            zero = torch.zeros_like(x)
            return rows.queries(zero), zero, zero

        return update

    for execution in ("fast", "reference"):
        text = tiny_backbone(execution).text
        state = text.embed(text.tokenize(TEMPLATED)).apart()
        text.blocks(state, 0, 2, qkv_updates={1: note(execution)})
    layout = Layout(0, tuple(end + 1 for end in text.tokenize(TEMPLATED).ends), torch.device("cpu"))
    assert torch.equal(drawn["fast"], layout.pack(drawn["reference"][:, : layout.longest]))


def test_attention_runs_over_all_rows_at_once_up_to_so_many():
    most = text_batches.MOST_DENSE_ROWS
    layouts = [Layout(6, (2,) * ((rows - 6) // 2), torch.device("cpu")) for rows in (most, most + 2)]
    assert [(layout.rows, layout.is_dense) for layout in layouts] == [(most, True), (most + 2, False)]


@pytest.mark.parametrize("activation", [nn.GELU, open_clip.transformer.QuickGELU])
def test_layers_are_fused_only_where_they_are_open_clips_and_nobody_watches(activation, clip):
    def block(**how):
        return open_clip.transformer.ResidualAttentionBlock(32, 2, **{"act_layer": activation, **how}).double()

    x = randn(2, 5, 32)
    watched, cast, replaced, approximate = block(), block().float(), block(), block()
    watched.mlp.c_fc.register_forward_hook(lambda *args: None)
    replaced.ln_1 = nn.Sequential(nn.LayerNorm(32))
    approximate.mlp.gelu = nn.GELU("tanh")
    assert fused.layers(block(), x)
    for other in (watched, cast, replaced, approximate, block(act_layer=nn.ReLU), block(ls_init_value=1.0)):
        assert fused.layers(other, x) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert fused.layers(block(), x) is None
    plain, x = block(), x.requires_grad_()
    arguments = [x, *plain.parameters()]
    actual, expected = (run_block(plain, x, AllRows(causal=True), lean=lean) for lean in (True, False))
    same_with_gradients(actual, expected, arguments)


@pytest.mark.parametrize(
    "rows", [AllRows(causal=True), AllRows(causal=False), PackedRows(Layout(1, (2, 2), torch.device("cpu")))], ids=str
)
def test_a_block_of_which_nothing_is_trained_is_one_node(rows, clip):
    block, x = deepcopy(clip.visual.transformer.resblocks[0]).requires_grad_(False), randn(2, 5, 32).requires_grad_()
    actual, expected = (run_block(block, x, rows, lean=lean) for lean in (True, False))
    assert type(actual.grad_fn).__name__ == "_WholeBlockBackward"
    same_with_gradients(actual, expected, [x])
    with torch.no_grad():
        same(run_block(block, x, rows, lean=True), expected)
    block.ln_1.bias.requires_grad_(True)
    assert type(run_block(block, x, rows, lean=True).grad_fn).__name__ == "_AfterAttentionBackward"


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (1.7, 1.7), (0.6, 1)])
def test_a_large_product_is_onednns_where_mkl_halves_vectors_and_counts_as_many_flops(alpha, beta, monkeypatch):
    if products.ONEDNN is None:
        pytest.skip("this torch has no oneDNN")
    rows, matrix, bias = torch.randn(128, 128), torch.randn(128, 128), torch.randn(128)
    found = {}
    for onednn in (True, False):
        monkeypatch.setattr(products, "mkl_halves_vectors", lambda onednn=onednn: onednn)
        with FlopCount(lambda: "here") as flops, Count() as count:
            found[onednn] = product(rows, matrix, bias, alpha=alpha, beta=beta), product(rows, matrix)
        assert flops.by_phase["here"] == 2 * 2 * 128**3
        assert count.onednn == (2 if onednn else 0)
        assert len(product(rows[:1], matrix)) == 1
    for ours, theirs in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


class Count(EagerMode):
    onednn = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.onednn += func.overloadpacket is products.ONEDNN
        return func(*args, **(kwargs or {}))


def test_a_text_keeps_a_row_of_its_own_of_what_all_share():
    assert Tokens(((1, 5, 9), (1, 5, 6, 9)), 77).shared == 2
    assert Tokens(((1, 5, 9), (1, 5, 9)), 77).shared == 2
    assert Tokens(((1, 9), (1, 7, 9)), 77).shared == 1


def test_a_lean_block_keeps_less_for_the_same_numbers(clip):
    block, x = clip.visual.transformer.resblocks[0], randn(2, 17, 32).requires_grad_()
    results, kept = {}, {}
    for lean in (True, False):
        tensors = {}

        def pack(tensor, tensors=tensors):
            tensors[tensor.data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            results[lean] = run_block(block, x, AllRows(causal=False), lean=lean)
        kept[lean] = len(tensors)
    same_with_gradients(results[True], results[False], [x, *block.parameters()])
    assert kept[True] == kept[False] - 1


def test_the_fast_tower_computes_less(tiny_backbone):
    """All rows of 77 tokens against rows in common once and own rows without padding; of the last block, one."""
    texts = ["a photo of a dog.", "a photo of a great white shark."]  # 5 tokens in common, then 3 and 5
    rows = {}
    for execution in ("fast", "reference"):
        text, image = tiny_backbone(execution).text, tiny_backbone(execution).image
        lower = text.blocks(text.embed(text.tokenize(texts)), 0, 1)
        pixels = image.blocks(image.embed(torch.zeros(1, 3, 32, 32)), 0, 1)
        rows[execution] = [
            tuple(x.shape[:-1])
            for x in (lower.hidden, text.blocks(lower, 1, 2).hidden, pixels, image.blocks(pixels, 1, 2))
        ]
    assert rows == {"fast": [(13,), (2,), (1, 17), (1, 1)], "reference": [(2, 77), (2, 77), (1, 17), (1, 17)]}


@EXECUTIONS
def test_a_prompt_of_77_tokens_fits_and_one_of_78_is_refused(tiny_backbone, execution):
    text = tiny_backbone(execution).text
    assert text.tokenize([" ".join(["dog"] * 75)]).ends == [76]
    with pytest.raises(ConfigError, match=r"78 tokens, the backbone reads 77: 'dog dog.*(?s:.*)Shorten"):
        text.tokenize(["cat", " ".join(["dog"] * 76)])


@EXECUTIONS
def test_a_resnet_encodes_but_has_no_stages(make_clip, execution):
    model = make_clip(vision_layers=[1, 1, 1, 1]).double()
    backbone = Backbone(model, tokenizer_of("ViT-B-16"), execution=execution)
    images = randn(2, 3, 32, 32)
    same(backbone.image.encode(images), model.encode_image(images))
    tower = backbone.image
    assert not tower.staged
    for stage in (
        lambda: tower.embed(images),
        lambda: tower.blocks(images, 0, 1),
        lambda: tower.upper_parameters(0),
        lambda: tower.width,
    ):
        with pytest.raises(BackboneError, match=r"ModifiedResNet(?s:.*)ViT-B-16"):
            stage()


def test_a_text_tower_that_is_not_clips_is_refused(make_clip):
    model = make_clip()
    model.attn_mask = None
    with pytest.raises(BackboneError, match=r"not CLIP's(?s:.*)ViT-B-16-quickgelu"):
        TextTower(model, None, fast=True)


def test_towers_that_compute_something_else_are_not_run_as_clips(make_clip):
    with_token = make_clip()
    with_token.cls_emb = nn.Parameter(torch.zeros(32))  # CoCa's
    with pytest.raises(BackboneError, match="not CLIP's"):
        TextTower(with_token, None, fast=True)
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2, "qk_norm": True}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    assert not ImageTower(open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text), fast=True).staged


def test_upper_parameters_are_the_published_groups(tiny_backbone):
    backbone = tiny_backbone()
    names = {id(p): name for name, p in backbone.model.named_parameters()}
    text = {names[id(p)] for p in backbone.text.upper_parameters(1)}
    image = {names[id(p)] for p in backbone.image.upper_parameters(1)}
    blocks = {n for n in names.values() if ".resblocks.1." in n}
    assert text | image == blocks | {
        "ln_final.weight", "ln_final.bias", "text_projection", "visual.ln_post.weight", "visual.ln_post.bias", "visual.proj"
    }  # fmt: skip
    assert all(name.startswith("visual.") for name in image)
    assert not any(name.startswith("visual.") for name in text)
