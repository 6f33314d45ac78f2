"""fastnn demo: a network learns handwritten digits, then races plain NumPy.

The training loop is the one of any PyTorch tutorial. The race runs the same step, on
the same batch and from the same values, in both; it first checks that they agree.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn
from fastnn import nn, optim
from fastnn.datasets import Split, digits

LR, MOMENTUM, BATCH = 0.1, 0.9, 32
RACE_LR = 0.01  # on one batch over and over: small, so that the numbers stay ordinary
RACE_STEPS = 400
TARGET = 0.96  # held-out accuracy below which something is wrong

Array = NDArray[Any]


def main(*, epochs: int = 20, seed: int = 0) -> int:
    """Train, test, race, and say so; returns 0 where the network learnt its digits."""
    threads = fastnn.get_num_threads()
    plural = "" if threads == 1 else "s"
    print(
        f"fastnn {fastnn.__version__}: {fastnn.isa()} kernels, {threads} thread{plural}"
    )
    fastnn.manual_seed(seed)
    train, test = digits()
    model = network()
    print(
        f"Training 64-128-10 on {len(train.labels)} handwritten digits of 8x8 pixels; "
        f"{len(test.labels)} are held out\n"
    )
    seconds = fit(model, train, test, epochs)
    held_out = accuracy(model, test)
    print(f"\n{held_out:.1%} of the held-out digits right, {seconds:.2f} s of training")
    race(Split(train.images[:BATCH], train.labels[:BATCH]))
    if held_out < TARGET:
        print(f"\nThis is less than the {TARGET:.0%} expected.")
        return 1
    return 0


def network() -> nn.Sequential:
    """64-128-10 with ReLU."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def fit(model: nn.Module, train: Split, test: Split, epochs: int) -> float:
    """Train by SGD with momentum, printing a row per epoch; returns its seconds."""
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    n, seconds = len(train.labels), 0.0
    print("epoch     loss   training   held-out")
    for epoch in range(1, epochs + 1):
        start, total = time.perf_counter(), 0.0
        model.train()
        order = fastnn.randperm(n)
        for i in range(0, n, BATCH):
            rows = order[i : i + BATCH]
            x, y = train.images[rows], train.labels[rows]
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        seconds += time.perf_counter() - start
        print(
            f"{epoch:5}   {total / n:6.4f}   {accuracy(model, train):8.1%}   "
            f"{accuracy(model, test):8.1%}"
        )
    return seconds


def accuracy(model: nn.Module, data: Split) -> float:
    """Share of images whose largest logit is their label's."""
    model.eval()
    with fastnn.no_grad():
        right = model(data.images).argmax(dim=1) == data.labels
    return float(right.sum().item()) / len(data.labels)


# ---- the race ----


def race(batch: Split) -> None:
    """Time one training step beside the same step in NumPy, taking turns."""
    model = network()
    rival = NumpyNetwork(model)
    ours = fastnn_step(model, batch)
    x, y = batch.images.numpy(), batch.labels.numpy()

    def theirs() -> float:
        return rival.step(x, y)

    for _ in range(5):
        losses = ours(), theirs()
    apart = max(
        float(np.abs(p.detach().numpy() - q).max())
        for p, q in zip(model.parameters(), rival.parameters, strict=True)
    )
    if not (apart < 1e-5 and abs(losses[0] - losses[1]) < 1e-5):
        raise RuntimeError(f"demo: the two networks differ, by {apart:.1e}")

    times: dict[str, list[float]] = {"fastnn": [], "NumPy": []}
    for _ in range(RACE_STEPS):
        for name, step in (("fastnn", ours), ("NumPy", theirs)):
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    fast, plain = (statistics.median(times[name]) * 1e6 for name in times)
    ratio = plain / fast
    verdict = (
        f"{ratio:.2f} times as fast" if ratio >= 1 else f"{1 / ratio:.2f} times slower"
    )
    print(
        f"\nOne training step of 64-128-10 on {len(y)} digits, median of {RACE_STEPS} "
        "taken in turns:\n"
        f"  fastnn       {fast:7.1f} µs\n"
        f"  NumPy {np.__version__:6} {plain:7.1f} µs\n"
        f"  fastnn is {verdict}; after five steps the two differ by {apart:.0e} at most"
    )


def fastnn_step(model: nn.Module, batch: Split) -> Callable[[], float]:
    """One training step: loss, gradients, momentum, update; returns the loss."""
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=RACE_LR, momentum=MOMENTUM)

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(model(batch.images), batch.labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


class NumpyNetwork:
    """The same network and step in plain NumPy, float32, in place where that helps."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [p.detach().numpy().copy() for p in model.parameters()]
        self.momenta = [np.zeros_like(p) for p in self.parameters]

    def step(self, x: Array, y: Array) -> float:
        """Loss, gradients, momentum, update; returns the loss."""
        w1, b1, w2, b2 = self.parameters
        rows = np.arange(len(y))
        h = x @ w1.T + b1
        np.maximum(h, 0, out=h)
        z = h @ w2.T + b2
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1)
        loss = float((np.log(total) - z[rows, y]).mean())

        gz = p / (total * len(y))[:, None]
        gz[rows, y] -= np.float32(1 / len(y))
        gh = gz @ w2
        gh *= h > 0
        gradients = [gh.T @ x, gh.sum(axis=0), gz.T @ h, gz.sum(axis=0)]
        for value, momentum, gradient in zip(
            self.parameters, self.momenta, gradients, strict=True
        ):
            momentum *= MOMENTUM
            momentum += gradient
            value -= RACE_LR * momentum
        return loss
