"""What the cards of KgCoOp, ProGrad, CoCoOp, TCP and DePT say of their arithmetic, on a tiny backbone with random weights."""

import pytest
import torch
from torch.nn import functional as F

from harness.errors import ConfigError
from harness.method import Batch, Classes
from methods.clip_adapter import ClipAdapter
from methods.cocoop import CoCoOp
from methods.coop import CoOp
from methods.coprompt import CoPrompt
from methods.dept import DePT
from methods.kgcoop import KgCoOp
from methods.prograd import ProGrad
from methods.prograd.model import project
from methods.tcp import TCP
from methods.zero_shot import ZeroShot

TEMPLATES = {"clip": "a photo of a {}.", "kgcoop": "a bad photo of a {}.", "prograd": "a type of pet, a photo of a {}."}
BASE = Classes(("dog", "great white shark", "tabby_cat"), TEMPLATES)
NEW = Classes(("red panda", "owl"), TEMPLATES)
LABELS = torch.tensor([2, 0, 1, 2, 0])
COOP = CoOp(context_init="a photo of a")


@pytest.fixture(params=["fast", "reference"])
def backbone(request, tiny_backbone):
    return tiny_backbone(request.param, layers=3)


@pytest.fixture
def images():
    return torch.randn(5, 32, generator=torch.Generator().manual_seed(3))


def adapt(method, backbone, classes=BASE, move=0.05):
    """A model ready to train, its context moved away from its words."""
    torch.manual_seed(1)
    model = method.adapt(backbone)
    model.set_classes(classes)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        model.context += move * torch.randn(model.context.shape, generator=generator)
    model.prepare(None, None)
    return model


def step(model, images, labels=LABELS):
    """The loss and gradients by name, as the loop takes them."""
    for parameter in model.parameters():
        parameter.grad = None
    batch = Batch(tuple(images for _ in model.reads), labels)
    loss = model.backward(batch, torch.amp.GradScaler("cpu", enabled=False))
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def logits(model, images, classes=None):
    if classes is not None:
        model.set_classes(classes)
    return model.logits(images, model.classifier())


class TestKgCoOp:
    def test_weight_0_is_coop(self, backbone, images):
        loss, gradients = step(adapt(KgCoOp(weight=0), backbone), images)
        expected, theirs = step(adapt(COOP, backbone), images)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradients["context"], theirs["context"])

    def test_the_penalty_is_0_at_step_0_where_the_template_has_the_words_of_the_context(self, backbone, images):
        same = Classes(BASE.names, {"clip": "a photo of a {}."})
        heavy, _ = step(adapt(KgCoOp(weight=1e3), backbone, same, move=0), images)
        plain, _ = step(adapt(COOP, backbone, same, move=0), images)
        torch.testing.assert_close(heavy, plain, rtol=0, atol=1e-3)
        other, _ = step(adapt(KgCoOp(weight=1e3), backbone, BASE, move=0), images)
        assert other > plain + 0.1

    def test_the_penalty_does_not_depend_on_the_images(self, backbone, images):
        for batch in (images, images.flip(0)):
            loss, gradients = step(adapt(KgCoOp(), backbone), batch)
            plain, theirs = step(adapt(COOP, backbone), batch)
            difference = loss - plain, gradients["context"] - theirs["context"]
            if batch is images:
                first = difference
        torch.testing.assert_close(difference, first, rtol=1e-4, atol=1e-5)

    def test_it_trains_the_context_alone(self, backbone, images):
        model = adapt(KgCoOp(), backbone)
        _, gradients = step(model, images)
        assert gradients.keys() == {"context"}
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 4 * 32

    def test_the_reference_is_encoded_once_for_a_list_of_classes(self, backbone, images):
        model = adapt(KgCoOp(), backbone)
        reference = model.reference_features("kgcoop")
        step(model, images)
        assert model.reference_features("kgcoop") is reference
        model.set_classes(NEW)
        assert len(model.reference_features("kgcoop")) == 2


class TestProGrad:
    def test_its_own_context_is_the_template_at_the_right_after_zeros(self, backbone):
        model = adapt(ProGrad(context_init="", context_length=12, template_context=True), backbone, move=0)
        words = "a type of pet, a photo of a"
        embedded = backbone.text.word_embeddings(words)
        assert len(words.split()) == 8
        assert len(embedded) == 9  # the comma is a token, and the last word stays outside the context
        assert torch.equal(model.context[:4], torch.zeros_like(model.context[:4]))
        assert torch.equal(model.context[4:], embedded[:8])
        (ids, *_) = model._tokens.ids
        plain = backbone.text.tokenize(["X X X X a type of pet, a photo of a dog."]).ids[0]
        assert list(ids) == list(plain)

    def test_a_template_longer_than_the_context_is_refused(self, backbone):
        with pytest.raises(ConfigError, match="context_length=8"):
            adapt(ProGrad(context_init="", context_length=4, template_context=True), backbone)

    def gradients(self, backbone, images, labels=LABELS, **fields):
        """The gradients of the cross-entropy and of the distillation, and the one it takes."""
        model = adapt(ProGrad(**fields), backbone)
        _, specific = step(adapt(COOP, backbone), images, labels)
        values = model.logits(images, model.classifier())
        teacher = model.teacher_logits(images)
        general = F.kl_div(values.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")
        (general,) = torch.autograd.grad(general, model.context)  # the same gradient as the soft cross-entropy's
        _, taken = step(model, images, labels)
        return specific["context"], general, taken["context"]

    def test_the_step_never_works_against_the_teacher(self, backbone, images):
        """The gradients of an image's possible labels, weighted by their probabilities, sum to 0: some must conflict."""
        conflicts = 0
        for label in range(3):
            specific, general, taken = self.gradients(backbone, images[:1], torch.tensor([label]))
            agreement = float((specific * general).sum())
            if agreement >= 0:
                torch.testing.assert_close(taken, specific)
            else:
                conflicts += 1
            assert float(F.cosine_similarity(taken.flatten(), general.flatten(), dim=0)) >= -1e-5
        assert 0 < conflicts < 3

    def test_weight_0_is_coop(self, backbone, images):
        specific, _, taken = self.gradients(backbone, images, conflict_weight=0.0)
        torch.testing.assert_close(taken, specific)

    def test_the_teacher_is_zero_shot_with_its_own_templates(self, backbone, images):
        model = adapt(ProGrad(), backbone)
        teacher = ZeroShot(template_list="prograd").adapt(backbone)
        torch.testing.assert_close(model.teacher_logits(images), logits(teacher, images, BASE))

    def test_the_teacher_stays_in_float32_under_autocast(self, backbone, images):
        model = adapt(ProGrad(), backbone)
        model.set_classes(BASE)
        expected = logits(ZeroShot(template_list="prograd").adapt(backbone), images, BASE)
        with torch.autocast("cpu", torch.bfloat16):
            teacher = model.teacher_logits(images)
        assert teacher.dtype == torch.float32
        torch.testing.assert_close(teacher, expected)

    def test_a_scaler_scales_the_projected_gradient(self, backbone, images):
        model = adapt(ProGrad(), backbone)
        _, plain = step(model, images)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        model.context.grad = None
        model.backward(Batch((images, images), LABELS), scaler)
        torch.testing.assert_close(model.context.grad / 1024, plain["context"])

    def test_projection(self):
        g = torch.tensor([3.0, -4.0])
        torch.testing.assert_close(project(g, torch.tensor([0.0, 2.0]), 1.0), torch.tensor([3.0, 0.0]))
        torch.testing.assert_close(project(g, torch.tensor([0.0, 1e4]), 0.5), torch.tensor([3.0, -2.0]))
        for agreeing in (torch.tensor([2.0, 1.0]), torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1e-7])):
            assert torch.equal(project(g, agreeing, 1.0), g)
        assert not project(g, torch.tensor([0.0, torch.inf]), 1.0).isfinite().any()
        half = project(g.half(), torch.tensor([0.0, 6e4]).half(), 1.0)
        assert half.dtype == torch.float16
        torch.testing.assert_close(half, torch.tensor([3.0, 0.0]).half())


class TestCoCoOp:
    def test_a_zero_meta_net_is_coop(self, backbone, images):
        model, coop = adapt(CoCoOp(), backbone), adapt(COOP, backbone)
        for parameter in (*model.up.parameters(), *model.down.parameters()):
            torch.nn.init.zeros_(parameter)
        torch.testing.assert_close(logits(model, images), logits(coop, images))
        loss, gradients = step(model, images)
        expected, theirs = step(coop, images)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradients["context"], theirs["context"])

    def test_a_row_depends_on_its_image_alone_and_not_on_its_length(self, backbone, images):
        model = adapt(CoCoOp(), backbone)
        together = logits(model, images)
        alone = torch.cat([logits(model, image[None]) for image in images])
        torch.testing.assert_close(together, alone)
        torch.testing.assert_close(logits(model, 7 * images), together)
        with torch.no_grad():
            texts = model.text_features(model.contexts(F.normalize(images, dim=-1))[:, None])
        assert texts.shape == (5, 3, 32)
        assert not torch.allclose(texts[0], texts[1])

    @pytest.mark.parametrize(("sequences", "passes"), [(1, [1] * 5), (7, [2, 2, 1]), (1000, [5])])
    def test_passes_are_bounded_and_change_nothing(self, backbone, images, sequences, passes):
        expected, theirs = step(adapt(CoCoOp(), backbone), images)
        model = adapt(CoCoOp(sequences_per_pass=sequences), backbone)
        noted = []
        encode = model._conditional_logits
        model._conditional_logits = lambda part: (noted.append(len(part)), encode(part))[1]
        loss, gradients = step(model, images)
        assert noted == passes
        torch.testing.assert_close(loss, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6)
        logits(model, images)
        assert noted == 2 * passes

    def test_as_released_gives_every_batch_the_first_logits(self, backbone, images):
        model = adapt(CoCoOp(as_released=True), backbone)
        step(model, images)
        first = logits(model, images)
        assert torch.equal(logits(model, images.flip(0)[:3]), first[:3])
        assert logits(model, images, NEW).shape == (5, 2)
        assert not torch.allclose(logits(adapt(CoCoOp(), backbone), images.flip(0)), first)

    def test_it_trains_as_many_values_as_the_card_says(self, backbone, images):
        model = adapt(CoCoOp(), backbone)
        _, gradients = step(model, images)
        assert gradients.keys() == {"context", "down.weight", "down.bias", "up.weight", "up.bias"}
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count == 4 * 32 + (32 * 2 + 2) + (2 * 32 + 32)


class TestTCP:
    METHOD = TCP(class_aware_block=2)

    def test_class_prompts_follow_the_classes(self, backbone):
        model = adapt(self.METHOD, backbone)
        prompts = model.class_prompts()
        assert prompts.shape == (3, 4, 32)
        model.set_classes(Classes(tuple(BASE.names[i] for i in (2, 0, 1)), TEMPLATES))
        torch.testing.assert_close(model.class_prompts(), prompts[[2, 0, 1]])

    def test_new_classes_have_the_weights_of_their_epoch_and_trained_ones_the_last(self, backbone, images):
        model = adapt(TCP(class_aware_block=2, new_classes_epoch=1), backbone)
        halfway = logits(model, images, NEW)
        model.set_classes(BASE)
        model.end_epoch(0, 2)
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.requires_grad):
                parameter += 0.05
        model.end_epoch(1, 2)
        last = logits(model, images, BASE)
        torch.testing.assert_close(logits(model, images, NEW), halfway)
        torch.testing.assert_close(logits(model, images, BASE), last)
        plain = adapt(TCP(class_aware_block=2), backbone)
        plain.end_epoch(0, 2)
        with torch.no_grad():
            for parameter in (p for p in plain.parameters() if p.requires_grad):
                parameter += 0.05
        assert not torch.allclose(logits(plain, images, NEW), halfway)

    def test_the_context_acts_through_the_lower_blocks_alone(self, backbone, images):
        model = adapt(self.METHOD, backbone)
        _, gradients = step(model, images)
        assert gradients.keys() == {"context", "down.weight", "down.bias", "up.weight", "up.bias"}
        assert all(float(g.abs().max()) > 0 for g in gradients.values())
        before = logits(model, images)
        with torch.no_grad():
            model.context += torch.randn_like(model.context)
        assert not torch.allclose(logits(model, images), before)

    def test_without_the_context_the_lower_blocks_are_not_differentiated(self, backbone):
        model = adapt(self.METHOD, backbone)
        text = backbone.text
        seen = []
        run = text.blocks
        states = []

        def noting(state, first, last, replace_rows=None):
            lower = run(state, first, 2)
            seen.append(lower.hidden.requires_grad)
            states.append(lower)
            return run(lower, 2, last, replace_rows)

        text.blocks = noting
        model.class_prompts()
        seen.clear()
        assert model.text_features(model.context.detach()).requires_grad
        assert model.text_features(model.context).requires_grad
        assert seen == [False, True]

    def test_its_rows_are_replaced_and_not_mixed(self, backbone, images):
        model = adapt(self.METHOD, backbone)
        given = []
        run = backbone.text.blocks

        def noting(state, first, last, replace_rows=None):
            given.append(replace_rows)
            return run(state, first, last, replace_rows)

        backbone.text.blocks = noting
        with torch.no_grad():
            model.text_features(model.context)
        assert given[-1].keys() == {2}
        assert torch.equal(given[-1][2], model.class_prompts())

    @pytest.mark.parametrize(
        ("template", "prompt"),
        [
            ("a photo of a person doing {}.", "a photo of a person doing dog."),
            ("X X X X {}, a type of car", "X X X X dog, a type of car"),
            ("{} texture.", "X X X X dog texture."),
            ("a photo of {}, a type of food.", "X X X X dog, a type of food."),
        ],
    )
    def test_the_rows_to_replace_never_hold_the_class_name(self, backbone, template, prompt):
        model = self.METHOD.adapt(backbone)
        assert model.prompts(Classes(("dog",), {"clip": template})) == [prompt]

    def test_it_trains_as_many_values_as_the_card_says(self, backbone):
        model = adapt(self.METHOD, backbone)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count == 4 * 32 + (32 * 8 + 8) + (8 * 4 * 32 + 4 * 32)

    @pytest.mark.parametrize("block", [0, 3, 8])
    def test_impossible_blocks_advise(self, backbone, block):
        with pytest.raises(ConfigError, match="class_aware_block=2"):
            TCP(class_aware_block=block).adapt(backbone)


class TestDePT:
    def test_the_similarity_head_alone_is_kgcoop(self, backbone, images):
        method = DePT(similarity_weight=1, classification_weight=0, weight=8.0)
        model, kgcoop = adapt(method, backbone), adapt(KgCoOp(), backbone)
        loss, gradients = step(model, images)
        expected, theirs = step(kgcoop, images)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradients["context"], theirs["context"])
        torch.testing.assert_close(logits(model, images), logits(kgcoop, images))

    def test_head_and_scales_move_in_a_step(self, backbone, images):
        model = adapt(DePT(), backbone)
        groups = model.parameter_groups()
        assert [sum(p.numel() for p in group) for group in groups.values()] == [4 * 32, 4 * 32 + 33 * 3]
        before = [p.detach().clone() for group in groups.values() for p in group]
        step(model, images)
        torch.optim.SGD([p for group in groups.values() for p in group], lr=0.1).step()
        after = [p for group in groups.values() for p in group]
        assert not any(torch.equal(a, b) for a, b in zip(after, before, strict=True))

    def test_as_released_they_are_frozen(self, backbone, images):
        model = adapt(DePT(as_released=True), backbone)
        assert model.parameter_groups().keys() == {"context"}
        _, gradients = step(model, images)
        assert gradients.keys() == {"context"}

    def test_new_classes_have_the_similarity_head_alone(self, backbone, images):
        model, coop = adapt(DePT(), backbone), adapt(COOP, backbone)
        torch.testing.assert_close(logits(model, images, NEW), logits(coop, images, NEW))
        some_new = Classes((*BASE.names, "owl"), TEMPLATES)
        torch.testing.assert_close(logits(model, images, some_new), logits(coop, images, some_new))

    def test_training_classes_have_the_blend_in_any_order(self, backbone, images):
        model, coop = adapt(DePT(), backbone), adapt(COOP, backbone)
        expected = 0.3 * logits(coop, images) + 0.7 * model.head(images)
        logits(model, images, NEW)
        torch.testing.assert_close(logits(model, images, BASE), expected)
        permuted = Classes(tuple(BASE.names[i] for i in (2, 0, 1)), TEMPLATES)
        torch.testing.assert_close(logits(model, images, permuted), expected[:, [2, 0, 1]])

    def test_repeated_or_partly_new_classes_have_the_similarity_head_alone(self, backbone):
        model = adapt(DePT(), backbone)
        for names in ((*BASE.names, BASE.names[0]), (*BASE.names[:2], BASE.names[0]), (*BASE.names, "owl")):
            model.set_classes(Classes(names, TEMPLATES))
            assert model._rows is None

    def test_fewer_classes_take_their_rows_of_the_head_and_both_are_blended(self, backbone, images):
        """ImageNet-A and -R after training on ImageNet: 200 of its classes."""
        model = adapt(DePT(), backbone)
        fewer = (BASE.names[2], BASE.names[0])
        whole = logits(model, images)
        torch.testing.assert_close(logits(model, images, Classes(fewer, TEMPLATES)), whole[:, [2, 0]])


@pytest.mark.parametrize("method", [KgCoOp(), ProGrad(), CoCoOp(), TCP(class_aware_block=2), DePT()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_weights_and_autocast_train(method, dtype, tiny_backbone, images):
    """fp16-pure has half weights throughout; bf16 casts inside autocast: the loss is near float32's either way."""
    exact, _ = step(adapt(method, tiny_backbone("fast", layers=3)), images)
    if dtype == torch.bfloat16:
        model = adapt(method, tiny_backbone("fast", layers=3))
        with torch.autocast("cpu", dtype):
            model.prepare(None, None)
            loss, gradients = step(model, images.to(dtype))
            values = logits(model, images.to(dtype))
    else:
        model = adapt(method, tiny_backbone("fast", dtype, layers=3))
        loss, gradients = step(model, images.to(dtype))
        values = logits(model, images.to(dtype))
    assert values.isfinite().all()
    assert all(g.isfinite().all() for g in gradients.values())
    assert float(loss) == pytest.approx(float(exact), rel=0.1)


@pytest.mark.parametrize("kind", [ClipAdapter, CoCoOp, TCP, CoPrompt])
def test_a_bottleneck_of_which_nothing_is_left_is_refused(tiny_backbone, kind):
    with pytest.raises(ConfigError, match="reduction=33 leaves nothing of 32 features"):
        kind(reduction=33).adapt(tiny_backbone(layers=12))
