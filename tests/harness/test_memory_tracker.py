"""The ledger against peaks worked out by hand. 1 MiB is 262144 float32s: no rounding to granules interferes."""

import pytest
import torch
from torch import nn

from harness.meters.memory_tracker import GRANULE_BYTES, Ledger, model_tensors

MIB = 1 << 20
FLOATS = MIB // 4


def test_creation_and_release():
    with Ledger() as ledger:
        a = torch.zeros(FLOATS)
        b = a + 1
        assert (ledger.live_bytes, ledger.peak_bytes) == (2 * MIB, 2 * MIB)
        del a
        assert (ledger.live_bytes, ledger.peak_bytes) == (MIB, 2 * MIB)
        c = b * 2
        d = c * 2
        assert (ledger.live_bytes, ledger.peak_bytes) == (3 * MIB, 3 * MIB)
        del b, c, d
        assert (ledger.live_bytes, ledger.peak_bytes) == (0, 3 * MIB)


def test_a_temporary_inside_an_expression_counts_while_it_lives():
    with Ledger() as ledger:
        a = torch.zeros(FLOATS)
        ledger.reset_peak()
        b = (a + 1) * 2  # a, a + 1 and the product at once
        assert (ledger.live_bytes, ledger.peak_bytes) == (2 * MIB, 3 * MIB)
        del b


def test_what_is_allocated_counts_also_when_it_is_freed_and_only_what_is_born():
    a = torch.zeros(FLOATS)
    with Ledger() as ledger:
        for _ in range(3):
            (a + 1).mul_(2).view(-1, 2)
        assert (ledger.live_bytes, ledger.allocated_bytes) == (MIB, 3 * MIB)


def test_views_and_in_place_operators_add_nothing():
    with Ledger() as ledger:
        a = torch.zeros(4, FLOATS)
        views = [a[0], a.view(-1), a.T, a.reshape(2, -1), a.detach(), a.expand(3, 4, FLOATS), *a.chunk(2)]
        a.add_(1).mul_(2)
        views[0].zero_()
        assert (ledger.live_bytes, ledger.peak_bytes) == (4 * MIB, 4 * MIB)
        del a
        assert ledger.live_bytes == 4 * MIB  # a view keeps all of it
        del views
        assert ledger.live_bytes == 0


def test_small_tensors_take_whole_granules():
    with Ledger() as ledger:
        kept = [torch.zeros(1), torch.zeros(GRANULE_BYTES // 4), torch.zeros(GRANULE_BYTES // 4 + 1)]
        assert ledger.live_bytes == 4 * GRANULE_BYTES
        del kept


def test_what_was_there_before_counts_once():
    layer = nn.Linear(1024, 1024, bias=False)  # 4 MiB
    tied = nn.ModuleList([layer, nn.Linear(1024, 1024, bias=False)])
    tied[1].weight = layer.weight
    x = torch.zeros(FLOATS)
    with Ledger(model_tensors(tied)) as ledger, torch.no_grad():
        assert ledger.live_bytes == 4 * MIB
        y = layer(x.view(256, 1024))  # x is met on the way in, y on the way out
        assert ledger.live_bytes == 6 * MIB
        del y


def test_a_linear_layers_training_step():
    """Weight, input and output are held until backward; the gradient of the output is freed when it has been used."""
    layer = nn.Linear(1024, 1024, bias=False)
    x = torch.zeros(256, 1024)
    with Ledger([*model_tensors(layer), x]) as ledger:
        assert ledger.live_bytes == 5 * MIB
        loss = layer(x).sum()
        assert ledger.live_bytes == 5 * MIB + GRANULE_BYTES  # sum keeps nothing of its input
        assert ledger.peak_bytes == 6 * MIB + GRANULE_BYTES
        ledger.reset_peak()
        loss.backward()
        assert layer.weight.grad is not None
        assert ledger.live_bytes == pytest.approx(9 * MIB, abs=2 * GRANULE_BYTES)
        assert ledger.peak_bytes >= 9 * MIB
        assert ledger.peak_bytes <= 5 * MIB + 4 * MIB + 2 * MIB + 4 * GRANULE_BYTES  # gradient of y, expanded
        del loss


def test_momentum_appears_in_the_first_step_of_the_optimiser():
    layer = nn.Linear(1024, 1024, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, foreach=False)
    with Ledger(model_tensors(layer)) as ledger:
        levels = []
        for _ in range(3):
            layer(torch.ones(1, 1024)).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            levels.append(round(ledger.live_bytes / MIB))
        assert levels == [8, 8, 8]  # weight and momentum
        assert ledger.peak_bytes >= 12 * MIB


def test_nothing_is_counted_outside():
    with Ledger() as ledger:
        pass
    a = torch.zeros(FLOATS)
    assert (ledger.live_bytes, ledger.peak_bytes) == (0, 0)
    with Ledger() as ledger:
        b = torch.zeros(FLOATS)
    del a, b
    assert ledger.live_bytes == MIB  # its finalizers are gone: a tensor that outlives it doesn't call into it


def test_a_training_steps_peak_lies_between_what_must_live_and_the_sum_of_everything(tiny_backbone):
    backbone = tiny_backbone("reference")
    backbone.model.requires_grad_(True)
    weights = sum(t.numel() * t.element_size() for t in model_tensors(backbone))

    class Total(Ledger):
        total = 0

        def _count(self, size, category):
            super()._count(size, category)
            self.total += max(0, size)

    with Total(model_tensors(backbone)) as ledger:
        features = (
            backbone.image.encode(torch.zeros(4, 3, 32, 32)).sum()
            + backbone.text.encode(backbone.text.tokenize(["a", "b"])).sum()
        )
        features.backward()
        del features
        left = ledger.live_bytes
    assert 2 * weights <= ledger.peak_bytes <= ledger.total
    assert left <= ledger.peak_bytes
    assert left >= 2 * (weights - 8)  # weights and gradients; logit_scale has none
