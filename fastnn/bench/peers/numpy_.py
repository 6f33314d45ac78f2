"""NumPy, as one writes it by hand: the reference."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.bench.peers.base import Contestant, losses
from fastnn.bench.workloads.rows import (
    CHECKED_STEPS,
    LR,
    MOMENTUM,
    Array,
    Chain,
    Gradient,
    Inference,
    Kernel,
    Run,
    Training,
    Update,
)


class NumPy(Contestant):
    """Arrays, out= where it saves memory, gradients by hand."""

    key, title, package, module = "numpy", "NumPy", "numpy", "numpy"
    language = "numpy"

    def kernel(self, row: Kernel) -> Run:
        """The form."""
        form, xs = row.forms["numpy"], row.inputs()
        out = {} if row.out is None else {"out": np.zeros(row.out, row.dtype)}

        def call() -> Any:
            return form(np, *xs, **out)

        return Run(call, lambda: [call()])

    def gradient(self, row: Gradient) -> Run:
        """NumPy's form is the gradient itself."""
        return self.kernel(row)

    def chain(self, row: Chain) -> Run:
        """The form over and over."""
        x, w = row.inputs()

        def chained(length: int) -> Callable[[], Array]:
            return functools.partial(row.program("numpy", np, length), x, w)

        long, short = chained(2 * row.length), chained(row.length)
        return Run(long, lambda: [long()], less=short, per=row.length)

    def update(self, row: Update) -> Run | None:
        """SGD and Adam; the others are not written here."""
        if row.optimizer not in ("SGD", "Adam"):
            return None
        p, g = row.inputs()
        momentum = row.options.get("momentum", 0.0)
        if row.optimizer == "SGD":
            step = sgd([p], row.options["lr"], momentum)
        else:
            step = adam([p], row.options["lr"])

        def result() -> list[Array]:
            for _ in range(CHECKED_STEPS):
                step([g])
            return [p[:1000].copy()]

        return Run(lambda: step([g]), result)

    def inference(self, row: Inference) -> Run:
        """Layer by layer."""
        weights, x = [(w.T, b) for w, b in row.weights], row.x

        def call() -> Array:
            return forward(weights, x)[-1]

        return Run(call, lambda: [call()])

    def training(self, row: Training) -> Run:
        """Forward, backward and update by hand."""
        weights = [(w.T.copy(), b.copy()) for w, b in row.weights]
        parameters = [p for pair in weights for p in pair]
        x, t = row.batch_of_pairs
        rows = np.arange(len(x))
        if row.optimizer == "adam":
            update = adam(parameters, LR["adam"])
        else:
            update = sgd(parameters, LR["sgd"], MOMENTUM)

        def step() -> Any:
            *hidden, z = forward(weights, x)
            z = z - z.max(axis=1, keepdims=True)
            e = np.exp(z)
            total = e.sum(axis=1, keepdims=True)
            loss = (np.log(total[:, 0]) - z[rows, t]).mean()
            g = e / total
            g[rows, t] -= 1
            g /= len(x)
            gradients: list[Array] = []
            for k in range(len(weights) - 1, -1, -1):
                gradients[:0] = [hidden[k].T @ g, g.sum(axis=0)]
                if k:
                    g = g @ weights[k][0].T
                    g *= hidden[k] > 0
            update(gradients)
            return loss

        return Run(step, lambda: losses(step, CHECKED_STEPS))


def forward(weights: list[tuple[Array, Array]], x: Array) -> list[Array]:
    """The input, what every hidden layer makes of it, and the logits."""
    made = [x]
    for k, (w, b) in enumerate(weights):
        y = made[-1] @ w
        y += b
        if k + 1 < len(weights):
            np.maximum(y, 0, out=y)
        made.append(y)
    return made


def sgd(
    parameters: list[Array], lr: float, momentum: float
) -> Callable[[list[Array]], None]:
    """A function of the gradients that changes the parameters."""
    buffers = [np.zeros_like(p) for p in parameters]

    def step(gradients: list[Array]) -> None:
        for p, g, b in zip(parameters, gradients, buffers, strict=True):
            if momentum:
                b *= momentum
                b += g
                p -= lr * b
            else:
                p -= lr * g

    return step


def adam(parameters: list[Array], lr: float) -> Callable[[list[Array]], None]:
    """The same for Adam."""
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    scratch = [np.zeros_like(p) for p in parameters]
    count = 0

    def step(gradients: list[Array]) -> None:
        nonlocal count
        count += 1
        size = lr / (1 - 0.9**count)
        root = (1 - 0.999**count) ** 0.5
        states = zip(parameters, gradients, first, second, scratch, strict=True)
        for p, g, m, v, s in states:
            m *= 0.9
            m += np.multiply(g, 0.1, out=s)
            v *= 0.999
            np.multiply(g, g, out=s)
            s *= 0.001
            v += s
            np.sqrt(v, out=s)
            s /= root
            s += 1e-8
            np.divide(m, s, out=s)
            s *= size
            p -= s

    return step
