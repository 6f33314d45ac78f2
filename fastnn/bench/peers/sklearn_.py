"""scikit-learn: MLPClassifier's partial_fit, and its logits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastnn.bench.peers.base import Contestant, losses
from fastnn.bench.workloads.rows import (
    CHECKED_STEPS,
    LR,
    MOMENTUM,
    Array,
    Inference,
    Network,
    Run,
    Training,
)


class ScikitLearn(Contestant):
    """A batch is one call."""

    key, title, package = "sklearn", "scikit-learn", "scikit-learn"
    module = "sklearn.neural_network"

    def inference(self, row: Inference) -> Run:
        """MLPRegressor.predict: what predict_proba would do but for the softmax."""
        net = self.lib.MLPRegressor(hidden_layer_sizes=row.sizes[1:-1])
        y = np.zeros((row.batch, row.sizes[-1]), np.float32)
        begin(net, row, lambda: net.partial_fit(row.x, y))
        return Run(lambda: net.predict(row.x), lambda: [net.predict(row.x)])

    def training(self, row: Training) -> Run:
        """partial_fit on one batch, without weight decay."""
        if row.sizes[-1] < 3:
            raise RuntimeError("has one logistic output where others have two classes")
        x, t = row.batch_of_pairs
        solver = {
            "adam": {"solver": "adam", "learning_rate_init": LR["adam"]},
            "sgd": {
                "solver": "sgd",
                "learning_rate_init": LR["sgd"],
                "momentum": MOMENTUM,
                "nesterovs_momentum": False,
            },
        }[row.optimizer]
        net = self.lib.MLPClassifier(
            hidden_layer_sizes=row.sizes[1:-1],
            batch_size=row.batch,
            alpha=0.0,
            shuffle=False,
            **solver,
        )
        classes = np.arange(row.sizes[-1])
        begin(net, row, lambda: net.partial_fit(x, t, classes=classes))

        def step() -> float:
            net.partial_fit(x, t)
            return float(net.loss_)

        return Run(step, lambda: losses(step, CHECKED_STEPS))


def begin(net: Any, row: Network, first_call: Any) -> None:
    """The row's weights, after the first call has made the arrays; a fresh optimizer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first_call()
    parameters: list[Array] = []
    for k, (weight, bias) in enumerate(row.weights):
        net.coefs_[k][...] = weight.T
        net.intercepts_[k][...] = bias
        parameters += [net.coefs_[k], net.intercepts_[k]]
    del net._optimizer  # made again by the next partial_fit
