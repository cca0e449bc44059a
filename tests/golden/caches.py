"""The check of Tip-Adapter and Tip-Adapter-F: the cache, the search, and training of the keys."""

import dataclasses
import itertools
import re

import numpy as np
import torch

from golden.backbone import normal
from golden.case import FILL, RATE, entries, norm, rows
from golden.training import check_optimizer, published
from harness.method import Batch
from harness.training.schedule import learning_rate
from methods.tip_adapter import TipAdapter, TipAdapterF
from methods.tip_adapter.model import _ALPHA_STEPS, _BETA_STEPS


class Source:
    """An `ImageSource` of given pixels, one tensor for each augmented view; the last stands for the test view."""

    def __init__(self, backbone, views, labels):
        self.backbone, self.views, self.labels = backbone, views, torch.tensor(labels)

    @torch.no_grad()
    def read(self, stage, epoch=None):
        assert stage == "features"
        return self.backbone.image.encode(self.views[-1 if epoch is None else epoch])


def check_tip_adapter(case, backbone):
    train, val, test = _sources(case, backbone)
    beta_maximum, alpha_maximum = case.given("search", "scale_beta_alpha")
    case.check(("search", "steps_beta_alpha"), [_BETA_STEPS, _ALPHA_STEPS])
    classes, templates = case.classes, tuple(case.given("templates"))
    case.check("token_ids", lambda expected: _layout(backbone, templates, classes.names, expected))
    method = TipAdapterF(
        alpha=case.given("init", "alpha"),
        beta=case.given("init", "beta"),
        alpha_maximum=alpha_maximum,
        beta_maximum=beta_maximum,
        views=len(train.views),
        templates=templates,
    )
    model = TipAdapter(**dataclasses.asdict(method)).adapt(backbone)
    model.set_classes(classes)
    _check_training_free(case, model, train, val, test)
    tuned = method.adapt(backbone)
    tuned.set_classes(classes)
    _check_fine_tuned(case, method, tuned, train, val, test)


def _layout(backbone, templates, names, expected):
    """Our token ids, a list of lists or a nested one, by class or by template as the expected ones are."""
    ids = {t: [list(row) for row in backbone.text.tokenize(backbone.prompts(t, names)).ids] for t in templates}
    by_template = list(ids.values())
    by_class = [list(rows) for rows in zip(*by_template, strict=True)]
    flat = [list(itertools.chain(*nested)) for nested in (by_class, by_template)]
    layouts = [*flat, by_class, by_template]
    return expected if expected in layouts else layouts[0]


def _sources(case, backbone):
    """Images near the centre of their class, mixed as the file's rule says."""
    rule = case.given("images", "rule")
    mixed = re.findall(r'([\d.]+) \* normal\("([^"]+)"\)', rule)
    assert len(mixed) == 2, f"{case.name} mixes its images by a rule of two terms, {rule!r} isn't one"
    (share, centre), (spread, image) = mixed
    owner = case.given("images", "case")

    def pixels(tag, labels):
        names = [centre.replace("<case>", owner).replace("<class>", str(label)) for label in labels]
        centres = np.stack([normal(name, (3, 32, 32)) for name in names])
        own = normal(image.replace("<case>", owner).replace("<tag>", tag), (len(labels), 3, 32, 32))
        return torch.from_numpy((float(share) * centres + float(spread) * own).astype(np.float32))

    train_labels, val_labels, test_labels = (
        case.given("images", f"{part}_labels") for part in ("train", "val", "test")
    )
    views = [pixels(f"train.view{i}", train_labels) for i in range(case.given("images", "views"))]
    val, test = pixels("val", val_labels), pixels("test", test_labels)
    for key, each in (("train_view0_norm", views[0]), ("val_norm", val), ("test_norm", test)):
        case.check(("images", key), norm(each), FILL)
    return (
        Source(backbone, views, train_labels),
        Source(backbone, [val], val_labels),
        Source(backbone, [test], test_labels),
    )


def _percent(logits, source):
    return 100 * float((logits.argmax(dim=-1) == source.labels).double().mean())


def _check_training_free(case, model, train, val, test):
    val_features, test_features = val.read("features"), test.read("features")
    classifier = model.classifier()
    case.check("classifier_columns", rows(classifier))
    case.check("scale", float(model._scale))
    for part, source, features in (("val", val, val_features), ("test", test, test_features)):
        plain = model.logits(features, classifier)  # the cache is empty yet
        case.check(f"zero_shot_{part}_logits", plain)
        case.check((f"{part}_accuracy_percent", "zero_shot"), _percent(plain, source), RATE)
    model.prepare(train, val)
    case.check("cache_keys", rows(model.keys))
    initial = model.logits(val_features, classifier)
    case.check("val_logits_at_init", initial)
    case.check(("val_accuracy_percent", "init"), _percent(initial, val), RATE)
    model.finish(train, val)
    case.check(("search", "best_beta"), model.beta, RATE)
    case.check(("search", "best_alpha"), model.alpha, RATE)
    best = model.logits(test_features, classifier)
    case.check("test_logits_at_best", best)
    case.check(("test_accuracy_percent", "best"), _percent(best, test), RATE)


def _check_fine_tuned(case, method, model, train, val, test):
    here = "fine_tuned"
    model.prepare(train, val)
    case.check((here, "trainable_parameters"), sum(p.numel() for p in model.parameters() if p.requires_grad))
    epochs, per_epoch = case.given(here, "epochs"), case.given(here, "batches_per_epoch")
    iterations = epochs * per_epoch
    optimizer, row = check_optimizer(case, model, published(method), (here, "optimizer"))
    row = dataclasses.replace(row, epochs=epochs)
    rates = [learning_rate(row, row.learning_rate, i // per_epoch, i, iterations) for i in range(iterations)]
    case.check((here, "learning_rates"), rates)
    size = len(train.labels) // per_epoch
    losses, logits_of_epoch, keys_of_epoch = [], {}, []
    for step, rate in enumerate(rates):
        epoch, part = divmod(step, per_epoch)
        chosen = slice(part * size, (part + 1) * size)
        batch = Batch((train.read("features", epoch)[chosen],), train.labels[chosen])
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = model.loss(batch)
        losses.append(float(loss.detach()))
        loss.backward()
        if step == 0:
            case.check((here, "loss"), loss)
            case.check((here, "logits"), model.logits(batch.images, model._text))
            case.check((here, "gradients", "tip_adapter.keys"), entries(model.keys.grad))
            before = model.keys.detach().clone()
        optimizer.step()
        if step == 0:
            moved = [float(norm(model.keys)), float(norm(model.keys - before))]
            case.check((here, "after_one_step", "tip_adapter.keys"), moved)
        if part == per_epoch - 1:
            with torch.no_grad():
                logits = model.logits(test.read("features"), model._text)
            logits_of_epoch[str(epoch)] = logits
            keys_of_epoch.append((int((logits.argmax(dim=-1) == test.labels).sum()), model.keys.detach().clone()))
    case.check((here, "losses_over_steps"), losses)
    case.check_all((here, "test_logits_after_epoch"), logits_of_epoch)
    case.check((here, "keys_after_training"), entries(model.keys))
    # the authors' choice of the epoch, by test accuracy, which the model itself never sees
    with torch.no_grad():
        model.keys.copy_(max(keys_of_epoch, key=lambda pair: pair[0])[1])
    model.search()
    case.check((here, "search_after_training", "best_beta"), model.beta, RATE)
    case.check((here, "search_after_training", "best_alpha"), model.alpha, RATE)
