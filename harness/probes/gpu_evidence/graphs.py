"""Forward and backward of a step as a CUDA graph: launched once, whatever number of operators it has."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.method import AdaptedModel, Batch

WARMUP = 3


class GraphedBackward:
    """``graph(batch)`` leaves gradients and returns the loss, as `AdaptedModel.backward` does, of batches of one shape.

    The optimiser stays outside: the rates of a schedule would be constants of the graph. Without a gradient scaler. Raises
    RuntimeError where `backward` waits for the device, as for a value.
    """

    def __init__(self, model: AdaptedModel, batch: Batch) -> None:
        self._model = model
        self._batch = Batch(tuple(each.clone() for each in batch.inputs), batch.labels.clone())
        self._scaler = torch.amp.GradScaler("cuda", enabled=False)
        self._graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        model.zero_grad(set_to_none=True)
        with torch.cuda.graph(self._graph):
            self._loss = model.backward(self._batch, self._scaler)
        self._gradients = [(p, p.grad) for p in model.parameters() if p.grad is not None]

    def _step(self) -> None:
        self._model.zero_grad(set_to_none=True)
        self._model.backward(self._batch, self._scaler)

    def __call__(self, batch: Batch) -> Tensor:
        for kept, new in zip((*self._batch.inputs, self._batch.labels), (*batch.inputs, batch.labels), strict=True):
            kept.copy_(new)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._loss
