"""The checks of the methods that learn prompts."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from golden.case import EXACT, entries, rows
from golden.training import (
    check_gradients,
    check_hand_written,
    check_inference,
    check_training,
    context_fields,
    fill_all_extras,
    images,
    labels_of,
    published,
    stage_inputs,
)
from harness.method import Batch, cosine_logits
from methods._text import ContextModel, feature_distance
from methods.cocoop import CoCoOp
from methods.coop import CoOp
from methods.coprompt import CoPrompt
from methods.dept import DePT
from methods.kgcoop import KgCoOp
from methods.maple import MaPLe
from methods.prograd import ProGrad
from methods.prograd.model import soft_cross_entropy
from methods.promptsrc import PromptSRC
from methods.tcp import TCP

UNUSED = 512 + 512 * 512 + 512
"""Numbers in the bias, linear map and adapter that KgCoOp's trainer declares and never uses; we have none."""


def check_coop(case, backbone):
    position = case.given("context", "position")
    specific = case.given("context", "class_specific")
    method = CoOp(
        context_length=case.given("context", "n_ctx"),
        context_init=case.given("context", "words"),
        class_position=position,
        class_specific=specific,
    )
    model = method.adapt(backbone)
    model.set_classes(case.classes)
    fill_all_extras(case, {"coop.ctx": model.context}, backbone)
    case.check(("context", "n_ctx"), model.length)
    pixels = images(case)
    # the authors tokenise all contexts before the name, and rearrange the rows afterwards
    check_inference(case, model, lambda m: m.backbone.text.tokenize(ContextModel.prompts(m, m._classes)))
    inputs = stage_inputs(model, pixels)
    case.check("logits", model.logits(inputs, model.classifier()))
    check_training(case, model, published(method), inputs, labels_of(case), {"coop.ctx": model.context})


def check_cocoop(case, backbone):
    method = CoCoOp(**context_fields(case, "cocoop.ctx", CoCoOp))
    model = method.adapt(backbone)
    own = _meta_net("cocoop", model)
    fill_all_extras(case, own, backbone)
    pixels = images(case)
    check_inference(case, model)
    inputs = stage_inputs(model, pixels)
    case.check("logits", model.logits(inputs, model.classifier()))
    check_training(case, model, published(method), inputs, labels_of(case), own)


def _meta_net(prefix, model):
    return {
        f"{prefix}.ctx": model.context,
        f"{prefix}.meta_net.linear1.weight": model.down.weight,
        f"{prefix}.meta_net.linear1.bias": model.down.bias,
        f"{prefix}.meta_net.linear2.weight": model.up.weight,
        f"{prefix}.meta_net.linear2.bias": model.up.bias,
    }


def check_kgcoop(case, backbone):
    method = KgCoOp(weight=case.given("weight"), **context_fields(case, "kgcoop.ctx", KgCoOp))
    model = method.adapt(backbone)
    fill_all_extras(case, {"kgcoop.ctx": model.context}, backbone)
    check_hand_written(case, backbone, method.template_list, "reference")
    pixels = images(case)
    check_inference(case, model)
    model.prepare(None, None)
    inputs, labels = stage_inputs(model, pixels), labels_of(case)
    logits = model.logits(inputs, model.classifier())
    case.check("logits", logits)
    distance = feature_distance(model.text_features(model.context), model.reference_features(method.template_list))
    case.check_all("loss_terms", {"cross_entropy": F.cross_entropy(logits, labels), "consistency": distance})
    check_training(case, model, published(method), inputs, labels, {"kgcoop.ctx": model.context})
    case.check("declared_but_unused_parameters", UNUSED)


def check_prograd(case, backbone):
    method = ProGrad(
        conflict_weight=case.given("lambda"),
        temperature=case.given("temperature"),
        **context_fields(case, "prograd.ctx", ProGrad),
    )
    model = method.adapt(backbone)
    fill_all_extras(case, {"prograd.ctx": model.context}, backbone)
    check_hand_written(case, backbone, method.template_list, "teacher")
    pixels = images(case)
    check_inference(case, model)
    model.prepare(None, None)
    inputs, labels = stage_inputs(model, pixels), labels_of(case)
    logits = model.logits(inputs, model.classifier())
    case.check("logits", logits)
    teacher = model.teacher_logits(inputs)
    case.check("teacher_logits", teacher)
    terms = {
        "cross_entropy": F.cross_entropy(logits, labels),
        "soft_cross_entropy": soft_cross_entropy(logits, teacher, method.temperature),
    }
    case.check_all("loss_terms", terms)
    gradients = {}
    for name, term in terms.items():
        (gradients[name],) = torch.autograd.grad(term, model.context, retain_graph=True)
        case.check(f"gradient_of_{name}", entries(gradients[name]))
    cosine = F.cosine_similarity(*(g.flatten() for g in gradients.values()), dim=0)
    case.check("cosine_of_the_two_gradients", cosine)
    case.check("projected", bool(cosine < 0))
    if cosine >= 0:  # nothing reacts to the weight of a conflict that isn't there: it is one of the published
        weights = {row.settings.get("conflict_weight", ProGrad.conflict_weight) for row in published(method)}
        case.check("lambda", lambda weight: weight if weight in weights else weights, EXACT)
    check_training(case, model, published(method), (inputs, inputs), labels, {"prograd.ctx": model.context})


def check_tcp(case, backbone):
    method = TCP(weight=case.given("weight"), **context_fields(case, "tcp.ctx", TCP))
    model = method.adapt(backbone)
    own = _meta_net("tcp", model)
    fill_all_extras(case, own, backbone)
    check_hand_written(case, backbone, method.reference_list, "reference")
    case.check("prompts", model.prompts(case.classes))
    pixels = images(case)
    check_inference(case, model)
    model.prepare(None, None)
    case.check("class_prompts", rows(model.class_prompts().flatten(1)))
    inputs, labels = stage_inputs(model, pixels), labels_of(case)
    features = F.normalize(model.text_features(model.context), dim=-1)
    logits = cosine_logits(backbone.logit_scale, inputs, features)
    case.check("logits", logits)
    distance = feature_distance(features, model.reference_features(method.reference_list))
    case.check_all("loss_terms", {"cross_entropy": F.cross_entropy(logits, labels), "consistency": distance})
    recipes = [*_with_epsilon(published(method), TCP_EPSILON), *published(method)]
    check_training(case, model, recipes, inputs, labels, own)


TCP_EPSILON = 1e-4
"""Of the repository that gave the published cost, where ours is the authors' (see `methods.tcp`)."""


def _with_epsilon(rows, epsilon):
    return [replace(row, epsilon=epsilon) for row in rows]


def check_dept(case, backbone):
    """The step is that of the released code, which trains the context alone; head and scales have gradients all the same."""
    fields = {
        "similarity_weight": case.given("weights", "similarity"),
        "classification_weight": case.given("weights", "classification"),
        "weight": case.given("weights", "consistency"),
        **context_fields(case, "dept.ctx", DePT),
    }
    method = DePT(**fields)
    meant, own = _dept(case, backbone, method)
    check_hand_written(case, backbone, method.template_list, "reference", token_ids=case.has("reference_token_ids"))
    pixels = images(case)
    check_inference(case, meant)
    meant.prepare(None, None)
    inputs, labels = stage_inputs(meant, pixels), labels_of(case)
    _check_heads(case, meant, inputs, labels)
    meant.backward(Batch((inputs,), labels), torch.amp.GradScaler("cpu", enabled=False))
    check_gradients(case, {role: p for role, p in own.items() if role != "dept.ctx"}, "head_gradients")
    check_gradients(case, {"dept.ctx": meant.context})

    released, own_released = _dept(case, backbone, DePT(**fields, as_released=True))
    released.prepare(None, None)
    check_training(case, released, published(method), inputs, labels, own_released)
    frozen = own.keys() - {"dept.ctx"}
    assert all(own_released[role].grad is None for role in frozen)
    assert all(torch.equal(own_released[role], own[role]) for role in frozen)
    case.check("declared_but_unused_parameters", UNUSED)


def _dept(case, backbone, method):
    model = method.adapt(backbone)
    model.set_classes(case.classes)
    own = {
        "dept.ctx": model.context,
        "dept.film_image.scale": model.image_scale.scale,
        "dept.film_image.bias": model.image_scale.shift,
        "dept.film_text.scale": model.text_scale.scale,
        "dept.film_text.bias": model.text_scale.shift,
        "dept.head.weight": model.head.weight,
        "dept.head.bias": model.head.bias,
    }
    fill_all_extras(case, own, backbone)
    return model, own


def _check_heads(case, model, inputs, labels):
    texts = model.text_features(model.context)
    similarity = cosine_logits(model.backbone.logit_scale, inputs, F.normalize(texts, dim=-1))
    case.check("logits", similarity)
    features, twice = model.head_inputs(texts, inputs, labels)
    case.check("classification_labels", twice.tolist())
    classification = model.classification_logits(features)
    case.check("classification_logits", classification)
    terms = {
        "cross_entropy_similarity": F.cross_entropy(similarity, labels),
        "cross_entropy_classification": F.cross_entropy(classification, twice),
        "consistency": feature_distance(texts, model.reference_features(model._method.template_list)),
    }
    case.check_all("loss_terms", terms)


def _coupled(prefix, model):
    roles = {
        f"{prefix}.ctx": model.context,
        f"{prefix}.proj.weight": model.projection.weight,
        f"{prefix}.proj.bias": model.projection.bias,
    }
    for i, (prompt, coupling) in enumerate(zip(model.deep_text, model.deep_maps, strict=True), start=1):
        roles |= {
            f"{prefix}.text.{i}": prompt,
            f"{prefix}.map.{i}.weight": coupling.weight,
            f"{prefix}.map.{i}.bias": coupling.bias,
        }
    return roles


def _check_image_prompts(case, model):
    case.check_all("image_prompts", {str(depth): entries(p) for depth, p in enumerate(model.image_prompts())})


def check_maple(case, backbone):
    method = MaPLe(prompt_depth=case.given("depth"), context_length=case.given("n_ctx"))
    model = method.adapt(backbone)
    own = _coupled("maple", model)
    fill_all_extras(case, own, backbone)
    _check_image_prompts(case, model)
    pixels = images(case)
    check_inference(case, model)
    inputs = stage_inputs(model, pixels)
    case.check("logits", model.logits(inputs, model.classifier()))
    check_training(case, model, published(method), inputs, labels_of(case), own)


TEACHER_TEMPLATES = 80
"""Of the re-implementation that gave the vectors, where ours is the authors' (see `methods.promptsrc`)."""


def check_promptsrc(case, backbone):
    method = PromptSRC(
        prompt_depth=case.given("depth"),
        context_length=case.look("extras", "promptsrc.ctx", "shape")[0],
        teacher_templates=TEACHER_TEMPLATES,
        text_weight=case.given("weights", "text"),
        image_weight=case.given("weights", "image"),
        logit_weight=case.given("weights", "logits"),
    )
    model = method.adapt(backbone)
    own = {"promptsrc.ctx": model.context}
    own |= {f"promptsrc.text.{i}": p for i, p in enumerate(model.deep_text, start=1)}
    own |= {f"promptsrc.image.{i}": p for i, p in enumerate(model.image)}
    fill_all_extras(case, own, backbone)
    pixels = images(case)
    check_inference(case, model)
    teacher = _teacher(backbone.text.fast, case.classes.names, model)
    model.mean_template_features = lambda: teacher
    model.prepare(None, None)
    case.check("teacher_text_features_before_normalisation", rows(teacher))
    with torch.no_grad():
        inputs = stage_inputs(model, pixels), backbone.image.encode(pixels)
        logits = cosine_logits(backbone.logit_scale, inputs[1], model.teacher)
    case.check("teacher_log_probabilities", logits.log_softmax(-1))
    labels = labels_of(case)
    case.check("logits", model.logits(inputs[0], model.classifier()))
    case.check_all("loss_terms", model.loss_terms(Batch(inputs, labels)))
    check_training(case, model, published(method), inputs, labels, own)


_TEACHERS = {}


def _teacher(fast, names, model):
    """Of the golden backbone in an execution: many texts a class, the same in every case."""
    if (fast, names) not in _TEACHERS:
        with torch.no_grad():
            _TEACHERS[fast, names] = model.mean_template_features()
    return _TEACHERS[fast, names]


def check_coprompt(case, backbone):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentences.json"
        path.write_text(json.dumps(dict(zip(case.classes.names, case.given("sentences"), strict=True))))
        _check_coprompt(case, backbone, path)


def _check_coprompt(case, backbone, sentences):
    model = CoPrompt(
        prompt_depth=case.given("depth"),
        context_length=case.given("n_ctx"),
        consistency_weight=case.given("lambda"),
        image_ratio=case.given("adapter_ratios", "image"),
        text_ratio=case.given("adapter_ratios", "text"),
        descriptions=str(sentences),
    ).adapt(backbone)
    own = _coupled("coprompt", model)
    for tower in ("image", "text"):
        adapter = getattr(model, f"{tower}_adapter")
        own[f"coprompt.adapter_{tower}.fc1.weight"] = adapter.down.weight
        own[f"coprompt.adapter_{tower}.fc2.weight"] = adapter.up.weight
    fill_all_extras(case, own, backbone)
    _check_image_prompts(case, model)
    model.set_classes(case.classes)
    number = case.given("sentence_index")
    case.check("sentence_token_ids", backbone.text.tokenize(model.wordings()[number]).ids)
    pixels, second_view = images(case), images(case, "images_second_view")
    check_inference(case, model)
    model.prepare(None, None)
    model.draw = lambda: number
    with torch.no_grad():
        inputs = stage_inputs(model, pixels), backbone.image.encode(second_view)
    labels = labels_of(case)
    case.check("logits", model.logits(inputs[0], model.classifier()))
    case.check_all("loss_terms", model.loss_terms(Batch(inputs, labels)))
    check_training(case, model, published(CoPrompt()), inputs, labels, own)
