"""thinc: chained layers, its own optimizers."""

from __future__ import annotations

import itertools
from typing import Any

from fastnn.bench.peers.base import Contestant, losses
from fastnn.bench.workloads.rows import (
    CHECKED_STEPS,
    LR,
    Inference,
    Network,
    Run,
    Training,
)


class Thinc(Contestant):
    """Its NumPy back end, with the BLAS that comes with it."""

    key, title, package, module = "thinc", "thinc", "thinc", "thinc.api"

    def inference(self, row: Inference) -> Run:
        """model.predict."""
        model = network(self.lib, row, self.lib.Linear)
        return Run(lambda: model.predict(row.x), lambda: [model.predict(row.x)])

    def training(self, row: Training) -> Run:
        """begin_update, the loss's gradient, its callback, finish_update."""
        if row.optimizer != "adam":
            raise RuntimeError("has no momentum for SGD")
        model = network(self.lib, row, self.lib.Softmax)
        optimizer = self.lib.Adam(LR["adam"], grad_clip=0.0, use_averages=False)
        criterion = self.lib.CategoricalCrossentropy()
        x, t = row.batch_of_pairs
        classes = self.lib.to_categorical(t, n_classes=row.sizes[-1])

        def step() -> Any:
            y, back = model.begin_update(x)
            gradient, _ = criterion(y, classes)
            back(gradient)
            model.finish_update(optimizer)
            return y

        def loss_of() -> float:
            import numpy as np

            y = step()
            return float(-np.log(y[np.arange(len(t)), t]).mean())

        return Run(step, lambda: losses(loss_of, CHECKED_STEPS))


def network(lib: Any, row: Network, last: Any) -> Any:
    """The row's network and weights."""
    kinds = [lib.Relu] * (len(row.sizes) - 2) + [last]
    layers = [
        kind(nO=n, nI=k)
        for kind, (k, n) in zip(kinds, itertools.pairwise(row.sizes), strict=True)
    ]
    model = lib.chain(*layers)
    model.initialize(X=row.x)
    for layer, (weight, bias) in zip(layers, row.weights, strict=True):
        layer.set_param("W", weight.copy())
        layer.set_param("b", bias.copy())
    return model
