"""fastnn demo: a network learns handwritten digits, then races plain NumPy.

The training loop is the one of any PyTorch tutorial, its step compiled. The race runs
the same step, on the same batch and from the same values, in both; it first checks that
they agree.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnn
from fastnn import Tensor, nn, optim
from fastnn.data import DataLoader, TensorDataset
from fastnn.datasets import Split, digits
from fastnn.optim import lr_scheduler

SIZES = (64, 128, 64, 10)
NAME = "-".join(map(str, SIZES))
LR, MOMENTUM, BATCH = 0.1, 0.9, 32
RACE_LR = 0.01  # on one batch over and over: small, so that the numbers stay ordinary
RACE_STEPS = 400
TARGET = 0.97  # held-out accuracy below which something is wrong


class Epoch(NamedTuple):
    """What one pass over the digits came to."""

    loss: float  # mean over the training digits, as they were learnt
    held_out_loss: float
    training: float  # accuracies, after the pass
    held_out: float


def main(*, epochs: int, seed: int, out: Path, plot: Path | None) -> int:
    """Train, test, save, load, race, draw, and say so; 0 where all went well.

    Parameters:
        epochs : int >= 1: passes over the training digits.
        seed : int: of the random numbers.
        out : folder that is there: where the checkpoint goes.
        plot : file to draw into, or None.
    """
    threads = fastnn.get_num_threads()
    plural = "" if threads == 1 else "s"
    print(
        f"fastnn {fastnn.__version__}: {fastnn.isa()} kernels, {threads} thread{plural}"
    )
    fastnn.manual_seed(seed)
    train, test = digits()
    model = network()
    print(
        f"Training {NAME} on {len(train.labels)} handwritten digits of 8x8 pixels; "
        f"{len(test.labels)} are held out\n"
    )
    history, seconds = fit(model, train, test, epochs)
    held_out = history[-1].held_out
    print(f"\n{held_out:.1%} of the held-out digits right, {seconds:.2f} s of training")

    checkpoint = out / "demo.safetensors"
    same = survives(model, checkpoint, test)
    print(
        f"Saved and loaded into a fresh network: its {len(test.labels)} predictions "
        + ("are equal bit for bit" if same else "DIFFER")
    )
    race(Split(train.images[:BATCH], train.labels[:BATCH]))

    print(f"\n{checkpoint}: the network; a safetensors file, which PyTorch reads too")
    if plot is not None:
        from fastnn import _demo_plot

        _demo_plot.draw(plot, history, test, probabilities(model, test))
        print(f"{plot}: learning curves, confusion matrix, sixteen digits")
    if held_out < TARGET:
        print(f"\nThe accuracy is less than the {TARGET:.0%} expected.")
    return 0 if same and held_out >= TARGET else 1


def network() -> nn.Sequential:
    """64-128-64-10 with ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def fit(
    model: nn.Module, train: Split, test: Split, epochs: int, *, compiled: bool = True
) -> tuple[list[Epoch], float]:
    """Train by SGD with momentum; returns the epochs, and the seconds without testing.

    A terminal shows a bar, a file gets a row for each epoch. Compiled or not, the bits
    are the same.
    """
    from tqdm import tqdm

    loader: Any = DataLoader(TensorDataset(*train), batch_size=BATCH, shuffle=True)
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    scheduler = lr_scheduler.OneCycleLR(
        optimizer,
        LR,
        epochs=epochs,
        steps_per_epoch=len(loader),
        cycle_momentum=False,
    )
    step = training_step(model, optimizer)
    if compiled:
        step = fastnn.compile(step)
    history: list[Epoch] = []
    seconds = 0.0
    terminal = sys.stdout.isatty()
    if not terminal:
        print("                 loss                  right")
        print("epoch   training   held-out   training   held-out")
    size = shutil.get_terminal_size()  # some terminals say 0; this does not
    bar = tqdm(
        range(1, epochs + 1),
        unit="epoch",
        file=sys.stdout,
        disable=not terminal,
        ncols=size.columns,
        nrows=size.lines,
    )
    for epoch in bar:
        start, total = time.perf_counter(), 0.0
        model.train()
        for x, y in loader:
            total += step(x, y).item() * len(y)
            scheduler.step()
        seconds += time.perf_counter() - start
        held_out_loss, held_out = evaluate(model, test)
        _, training = evaluate(model, train)
        mean = total / len(train.labels)
        history.append(Epoch(mean, held_out_loss, training, held_out))
        if terminal:
            said = f"loss {mean:.4f}, held-out {held_out:.1%}"
            bar.set_postfix_str(said, refresh=False)
        else:
            print(
                f"{epoch:5}   {mean:8.4f}   {held_out_loss:8.4f}   "
                f"{training:8.1%}   {held_out:8.1%}"
            )
    return history, seconds


def training_step(
    model: nn.Module, optimizer: optim.Optimizer
) -> Callable[[Tensor, Tensor], Tensor]:
    """One step on a batch: loss, gradients, update; returns the loss."""
    criterion = nn.CrossEntropyLoss()

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def evaluate(model: nn.Module, data: Split) -> tuple[float, float]:
    """The mean loss, and the share of images whose largest logit is their label's."""
    model.eval()
    with fastnn.no_grad():
        logits = model(data.images)
        right = logits.argmax(dim=1) == data.labels
        loss = nn.functional.cross_entropy(logits, data.labels)
    return float(loss.item()), float(right.sum().item()) / len(data.labels)


def probabilities(model: nn.Module, data: Split) -> Tensor:
    """(n, 10): how likely the network finds each class, for each image."""
    model.eval()
    with fastnn.no_grad():
        return nn.functional.softmax(model(data.images), dim=1)


def survives(model: nn.Module, path: Path, data: Split) -> bool:
    """Save the network, load it into a fresh one; whether all logits are the same bits."""
    fastnn.save(model.state_dict(), path)
    fresh = network()
    fresh.load_state_dict(fastnn.load(path))
    fresh.eval()
    model.eval()
    with fastnn.no_grad():
        before, after = (net(data.images).numpy() for net in (model, fresh))
    return bool(before.tobytes() == after.tobytes())


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
        f"\nOne training step of {NAME} on {len(y)} digits, median of {RACE_STEPS} "
        "taken in turns:\n"
        f"  fastnn       {fast:7.1f} µs\n"
        f"  NumPy {np.__version__:6} {plain:7.1f} µs\n"
        f"  fastnn is {verdict}; after five steps the two differ by {apart:.0e} at most"
    )


def fastnn_step(model: nn.Module, batch: Split) -> Callable[[], float]:
    """One compiled training step with momentum; returns the loss."""
    optimizer = optim.SGD(model.parameters(), lr=RACE_LR, momentum=MOMENTUM)
    step = fastnn.compile(training_step(model, optimizer))
    return lambda: float(step(batch.images, batch.labels).item())


class NumpyNetwork:
    """The same network and step in plain NumPy, float32, in place where that helps."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [p.detach().numpy().copy() for p in model.parameters()]
        self.momenta = [np.zeros_like(p) for p in self.parameters]

    def step(self, x: Any, y: Any) -> float:
        """Loss, gradients, momentum, update; returns the loss."""
        weights, biases = self.parameters[::2], self.parameters[1::2]
        rows = np.arange(len(y))
        inputs = [x]  # of each layer
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h = inputs[-1] @ w.T
            h += b
            inputs.append(np.maximum(h, 0, out=h))
        z = inputs[-1] @ weights[-1].T
        z += biases[-1]
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1)
        loss = float((np.log(total) - z[rows, y]).mean())

        p /= (total * len(y))[:, None]
        p[rows, y] -= np.float32(1 / len(y))
        gradients: list[Any] = []
        for i in reversed(range(len(weights))):
            gradients += [p.sum(axis=0), p.T @ inputs[i]]
            if i > 0:
                p = p @ weights[i]
                p *= inputs[i] > 0
        for value, momentum, gradient in zip(
            self.parameters, self.momenta, reversed(gradients), strict=True
        ):
            momentum *= MOMENTUM
            momentum += gradient
            value -= RACE_LR * momentum
        return loss
