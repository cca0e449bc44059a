"""KgCoOp, ProGrad, CoCoOp, TCP and DePT against golden vectors computed with their authors' code, in both executions.

As in test_parity, each test accounts for every key of its case.
"""

import torch
from golden import (
    Case,
    check_gradients,
    check_inference,
    check_training,
    close,
    ids_without_padding,
    norm,
    stage_inputs,
)
from torch.nn import functional as F

from harness.method import Batch, cosine_logits
from methods._text import feature_distance
from methods.cocoop import CoCoOp
from methods.dept import DePT
from methods.kgcoop import KgCoOp
from methods.prograd import ProGrad
from methods.prograd.model import soft_cross_entropy
from methods.tcp import TCP


def fill_parameters(case, own):
    """The method's own parameters, filled by their roles; what the authors start from words must have started so."""
    extras = case.take("extras")
    assert extras.keys() == own.keys()
    for role, described in extras.items():
        if "init" in described:
            close(norm(own[role]), described["norm"])
            close(own[role].flatten()[:3], described["first3"])
            continue
        with torch.no_grad():
            own[role].copy_(case.parameter(described, role))


def check_prompts(case, backbone, template_list, kind):
    prompts = backbone.prompts(case.classes.template(template_list), case.classes.names)
    assert prompts == case.take(f"{kind}_prompts")
    expected = case.take(f"{kind}_token_ids")
    assert expected is None or ids_without_padding(backbone.text.tokenize(prompts)) == expected


def tokens_of(model):
    return model._tokens


class TestKgCoOp:
    file_prefix, files = "kgcoop", ("kgcoop",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        method = KgCoOp(weight=case.take("weight"))
        model = method.adapt(parity_backbone)
        fill_parameters(case, {"kgcoop.ctx": model.context})
        check_prompts(case, parity_backbone, method.template_list, "reference")
        check_inference(case, model, tokens_of)
        model.prepare(None, None)
        inputs, labels = stage_inputs(model, case.images()), torch.tensor(case.take("labels"))
        logits = model.logits(inputs, model.classifier())
        close(logits, case.take("logits"))
        terms = case.take("loss_terms")
        close(F.cross_entropy(logits, labels), terms.pop("cross_entropy"))
        distance = feature_distance(model.text_features(model.context), model.reference_features(method.template_list))
        close(distance, terms.pop("consistency"))
        assert not terms
        check_training(case, model, inputs, labels, {"kgcoop.ctx": model.context})
        # the authors' bias, linear map and adapter take no part: we have none
        assert case.take("declared_but_unused_parameters") == 512 + 512 * 512 + 512
        case.done()


class TestProGrad:
    file_prefix, files = "prograd", ("prograd",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        method = ProGrad(conflict_weight=case.take("lambda"), temperature=case.take("temperature"))
        model = method.adapt(parity_backbone)
        fill_parameters(case, {"prograd.ctx": model.context})
        check_prompts(case, parity_backbone, method.template_list, "teacher")
        check_inference(case, model, tokens_of)
        model.prepare(None, None)
        inputs, labels = stage_inputs(model, case.images()), torch.tensor(case.take("labels"))
        logits = model.logits(inputs, model.classifier())
        close(logits, case.take("logits"))
        teacher = model.teacher_logits(inputs)
        close(teacher, case.take("teacher_logits"))
        specific = F.cross_entropy(logits, labels)
        general = soft_cross_entropy(logits, teacher, method.temperature)
        terms = case.take("loss_terms")
        close(specific, terms.pop("cross_entropy"))
        close(general, terms.pop("soft_cross_entropy"))
        assert not terms
        gradients = []
        for loss, key in ((specific, "cross_entropy"), (general, "soft_cross_entropy")):
            (model.context.grad,) = torch.autograd.grad(loss, model.context, retain_graph=True)
            case._case["gradients_of_one"] = {"prograd.ctx": case.take(f"gradient_of_{key}")}
            check_gradients(case, {"prograd.ctx": model.context}, "gradients_of_one")
            gradients.append(model.context.grad.flatten())
        close(F.cosine_similarity(*gradients, dim=0), case.take("cosine_of_the_two_gradients"))
        check_training(case, model, (inputs, inputs), labels, {"prograd.ctx": model.context})
        assert case.take("projected") == bool(gradients[0] @ gradients[1] < 0)
        assert case.take("note")
        case.done()


class TestCoCoOp:
    file_prefix, files = "cocoop", ("cocoop",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        model = CoCoOp().adapt(parity_backbone)
        own = {
            "cocoop.ctx": model.context,
            "cocoop.meta_net.linear1.weight": model.down.weight,
            "cocoop.meta_net.linear1.bias": model.down.bias,
            "cocoop.meta_net.linear2.weight": model.up.weight,
            "cocoop.meta_net.linear2.bias": model.up.bias,
        }
        fill_parameters(case, own)
        check_inference(case, model, tokens_of)
        inputs, labels = stage_inputs(model, case.images()), torch.tensor(case.take("labels"))
        close(model.logits(inputs, model.classifier()), case.take("logits"))
        check_training(case, model, inputs, labels, own)
        case.done()


class TestTCP:
    file_prefix, files = "tcp", ("tcp",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        method = TCP(weight=case.take("weight"))
        model = method.adapt(parity_backbone)
        own = {
            "tcp.ctx": model.context,
            "tcp.meta_net.linear1.weight": model.down.weight,
            "tcp.meta_net.linear1.bias": model.down.bias,
            "tcp.meta_net.linear2.weight": model.up.weight,
            "tcp.meta_net.linear2.bias": model.up.bias,
        }
        fill_parameters(case, own)
        check_prompts(case, parity_backbone, method.reference_list, "reference")
        check_inference(case, model, tokens_of)
        assert model.prompts(case.classes) == case.take("prompts")
        model.prepare(None, None)
        self.check_class_prompts(case, model)
        inputs, labels = stage_inputs(model, case.images()), torch.tensor(case.take("labels"))
        features = F.normalize(model.text_features(model.context), dim=-1)
        logits = cosine_logits(parity_backbone.logit_scale, inputs, features)
        close(logits, case.take("logits"))
        terms = case.take("loss_terms")
        close(F.cross_entropy(logits, labels), terms.pop("cross_entropy"))
        close(feature_distance(features, model.reference_features(method.reference_list)), terms.pop("consistency"))
        assert not terms
        check_training(case, model, inputs, labels, own)
        case.done()

    def check_class_prompts(self, case, model):
        expected = torch.tensor(case.take("class_prompts"), dtype=torch.float64)
        prompts = model.class_prompts().flatten(1)
        n = prompts.shape[1]
        close(prompts.norm(dim=-1), expected[:, 0])
        close(prompts[:, [0, n // 5, n // 2, 3 * n // 4, n - 1]], expected[:, 1:])


class TestDePT:
    file_prefix, files = "dept", ("dept",)

    def adapt(self, parity_backbone, case, **fields):
        model = DePT(**fields).adapt(parity_backbone)
        model.set_classes(case.classes)
        return model, {
            "dept.ctx": model.context,
            "dept.film_image.scale": model.image_scale.scale,
            "dept.film_image.bias": model.image_scale.shift,
            "dept.film_text.scale": model.text_scale.scale,
            "dept.film_text.bias": model.text_scale.shift,
            "dept.head.weight": model.head.weight,
            "dept.head.bias": model.head.bias,
        }

    def test_case(self, parity_case, parity_backbone, filled):
        """The golden step is that of the released code, which trains the context alone; the head has gradients all the same."""
        case = Case(parity_case, filled)
        weights = case.take("weights")
        fields = {
            "similarity_weight": weights.pop("similarity"),
            "classification_weight": weights.pop("classification"),
            "weight": weights.pop("consistency"),
        }
        assert not weights
        extras = case._case["extras"]
        meant, all_parameters = self.adapt(parity_backbone, case, **fields)
        fill_parameters(case, all_parameters)
        check_prompts(case, parity_backbone, meant._method.template_list, "reference")
        check_inference(case, meant, tokens_of)
        meant.prepare(None, None)
        inputs, labels = stage_inputs(meant, case.images()), torch.tensor(case.take("labels"))
        self.check_terms(case, meant, inputs, labels)
        meant.backward(Batch((inputs,), labels), torch.amp.GradScaler("cpu", enabled=False))
        case._case["gradients_meant"] = case._case["gradients"]
        check_gradients(case, all_parameters, "head_gradients")
        check_gradients(case, all_parameters, "gradients_meant")

        released, parameters = self.adapt(parity_backbone, case, **fields, as_released=True)
        case._case["extras"] = extras
        fill_parameters(case, parameters)
        released.prepare(None, None)
        check_training(case, released, inputs, labels, parameters)
        frozen = parameters.keys() - {"dept.ctx"}
        assert all(parameters[role].grad is None for role in frozen)
        assert all(torch.equal(parameters[role], all_parameters[role]) for role in frozen)
        assert case.take("declared_but_unused_parameters") == 512 + 512 * 512 + 512
        case.done()

    def check_terms(self, case, model, inputs, labels):
        texts = model.text_features(model.context)
        similarity = cosine_logits(model.backbone.logit_scale, inputs, F.normalize(texts, dim=-1))
        close(similarity, case.take("logits"))
        features, twice = model.head_inputs(texts, inputs, labels)
        assert twice.tolist() == case.take("classification_labels")
        assert case.take("classification_note").startswith("rows: first the text features")
        classification = model.classification_logits(features)
        close(classification, case.take("classification_logits"))
        terms = case.take("loss_terms")
        close(F.cross_entropy(similarity, labels), terms.pop("cross_entropy_similarity"))
        close(F.cross_entropy(classification, twice), terms.pop("cross_entropy_classification"))
        close(feature_distance(texts, model.reference_features(model._method.template_list)), terms.pop("consistency"))
        assert not terms
