"""What initialisation does: seven networks learn MNIST, or fail to, watched by a Monitor.

    FASTNN_DATA=folder python examples/mnist_initialisation.py

Four networks 784-128-10 and three of ten layers, five epochs each, batches of 64, inputs
standardised. It prints what the Monitor says of each, checks it against what is known, and
draws one picture. MNIST is looked for as `fastnn.datasets.mnist` says. About half a minute.

Sources: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
networks", 2010; He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fastnn
from fastnn import nn, optim
from fastnn.data import DataLoader, TensorDataset
from fastnn.datasets import mnist
from fastnn.train import History, Monitor, Trainer

MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's training pixels
BATCH, DEPTH, WIDTH = 64, 10, 128

Initialiser = Callable[[fastnn.Tensor], fastnn.Tensor]


@dataclass
class Run:
    """One network: how it is made, and afterwards how it did."""

    name: str
    layers: int
    activation: type[nn.Module]
    initialise: Initialiser
    optimizer: Callable[[Any], optim.Optimizer] = lambda p: optim.Adam(p, lr=1e-3)
    accuracy: float = math.nan
    history: History | None = None
    monitor: Monitor | None = None

    @property
    def kinds(self) -> set[str]:
        """What the Monitor called it."""
        return {m.kind for m in self.monitor.messages} if self.monitor else set()


def he(weight: fastnn.Tensor) -> fastnn.Tensor:
    """N(0, 2 / inputs): keeps a ReLU network's activations at one size."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def normal(deviation: float) -> Initialiser:
    """N(0, deviation^2), whatever the layer's size."""
    return lambda weight: nn.init.normal_(weight, 0.0, deviation)


RUNS = [
    Run("He, ReLU, Adam", 2, nn.ReLU, he),
    Run("Xavier, sigmoid, Adam", 2, nn.Sigmoid, nn.init.xavier_uniform_),
    Run("all zeros, ReLU, Adam", 2, nn.ReLU, nn.init.zeros_),
    Run("He, ReLU, SGD rate 10", 2, nn.ReLU, he, lambda p: optim.SGD(p, lr=10.0)),
    Run("10 layers, He", DEPTH, nn.ReLU, he),
    Run("10 layers, N(0, 1)", DEPTH, nn.ReLU, normal(1.0)),
    Run("10 layers, N(0, 0.001)", DEPTH, nn.ReLU, normal(0.001)),
]


def network(run: Run) -> nn.Sequential:
    """784-128-...-10, biases zero."""
    sizes = [784] + [WIDTH] * (run.layers - 1) + [10]
    parts: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        run.initialise(linear.weight)
        nn.init.zeros_(linear.bias)
        parts += [linear, run.activation()]
    return nn.Sequential(*parts[:-1])


def train(run: Run, data: Any, test: Any, epochs: int) -> None:
    """Fit a network, keep what was measured, print what was said."""
    fastnn.manual_seed(0)
    model = network(run)
    run.monitor = Monitor(every=100)
    trainer = Trainer(
        model, nn.CrossEntropyLoss(), run.optimizer(model.parameters()), ["accuracy"]
    )
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    run.history = trainer.fit(
        loader,
        validation=test,
        epochs=epochs,
        callbacks=[run.monitor],
        verbose=False,
    )
    run.accuracy = run.history["val_accuracy"][-1]
    print(f"\n{run.name}: {run.accuracy:.2%} of the test digits right")
    for message in run.monitor.messages[:4]:
        print(f"  epoch {message.epoch}, batch {message.batch}: {message.text}")
    left = len(run.monitor.messages) - 4
    if left > 0:
        print(f"  and {left} more")


def expectations(runs: dict[str, Run]) -> list[tuple[str, bool]]:
    """What should have been seen, and whether it was."""
    good, sigmoid, zeros, fast, deep, large, tiny = runs.values()
    dead = fast.monitor is not None and any(
        m.layer and "dead" in m.text for m in fast.monitor.messages
    )

    def first_epoch(run: Run) -> float:
        return float(run.history["loss"][0]) if run.history else math.nan

    return [
        ("He with ReLU: at least 97.5%", good.accuracy >= 0.975),
        ("He with ReLU: nothing to complain of", not good.kinds),
        ("Xavier with sigmoid: at least 94%", sigmoid.accuracy >= 0.94),
        ("and slower to learn than ReLU", first_epoch(sigmoid) > first_epoch(good)),
        ("zeros: near 11.35%", abs(zeros.accuracy - 0.1135) < 0.002),
        ("zeros: called not learning", "nothing learned" in zeros.kinds),
        ("rate 10: called diverging", "diverging" in fast.kinds),
        ("rate 10: the dead layer is named", dead),
        ("10 layers, He: learns", deep.accuracy >= 0.95 and not deep.kinds),
        ("10 layers, N(0, 1): called exploding", "exploding" in large.kinds),
        ("10 layers, N(0, 0.001): called vanishing", "vanishing" in tiny.kinds),
        ("10 layers, N(0, 0.001): barely moves", tiny.accuracy < 0.5),
    ]


def smooth(values: list[float], over: int = 50) -> tuple[list[int], list[float]]:
    """Means of so many neighbours, and where they lie."""
    at = list(range(over, len(values) + 1, over))
    return at, [sum(values[i - over : i]) / over for i in at]


def plot(runs: dict[str, Run], path: str) -> None:
    """Test errors, training losses, and the size of activations by layer."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    (errors, shallow), (loss, depth) = axes
    colours = dict(zip(runs, plt.get_cmap("tab10").colors, strict=False))
    for name, run in runs.items():
        assert run.history is not None and run.monitor is not None
        style = {"color": colours[name], "label": name}
        if run.layers == 2:
            wrong = [1 - share for share in run.history["val_accuracy"]]
            errors.plot(range(1, len(wrong) + 1), wrong, marker="o", **style)
            shallow.plot(*smooth(run.history.batch_losses), **style)
        else:
            loss.plot(*smooth(run.history.batch_losses), **style)
            first = run.monitor.records[0]["activations"]
            linear = [v for key, v in first.items() if int(key) % 2 == 0]
            depth.plot(range(1, len(linear) + 1), linear, marker="o", **style)
    errors.set(
        title="784-128-10: share of test digits wrong", xlabel="epoch", yscale="log"
    )
    errors.xaxis.get_major_locator().set_params(integer=True)
    shallow.set(title="784-128-10: training loss", xlabel="batch", yscale="log")
    loss.set(title="10 layers: training loss", xlabel="batch", yscale="log")
    depth.set(
        title="10 layers: size of activations before training",
        xlabel="layer",
        ylabel="root mean square",
        yscale="log",
    )
    for axis in (errors, shallow, loss, depth):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Train all, compare with what is expected, draw; 1 where something was not seen."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="folder of MNIST's files")
    parser.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--plot", default="mnist_initialisation.png", metavar="FILE")
    options = parser.parse_args()
    train_split, test_split = mnist(options.root)
    images = (train_split.images - MEAN) / DEVIATION
    data = TensorDataset(images, train_split.labels)
    test = ((test_split.images - MEAN) / DEVIATION, test_split.labels)
    for run in RUNS:
        train(run, data, test, options.epochs)
    runs = {run.name: run for run in RUNS}
    print()
    checks = expectations(runs)
    for what, seen in checks:
        print(f"{'seen    ' if seen else 'NOT SEEN'}  {what}")
    plot(runs, options.plot)
    print(f"\nThe picture is {options.plot}")
    return 0 if all(seen for _, seen in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
