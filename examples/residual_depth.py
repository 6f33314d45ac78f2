"""Depth: plain and residual networks of 20 and 56 layers, with and without batch norm.

    FASTNN_DATA=folder python examples/residual_depth.py

The networks of He et al. for small images, three stages of 8, 16 and 32 channels, learn from
MNIST at 14x14 pixels: one pass over 38,400 digits in batches of 64, the same for all eight,
SGD of rate 0.05 with momentum 0.9, gradients clipped to a norm of 1. It prints a table, checks
what is said below, and draws training losses and, for each layer, the norm of its weight's
gradient on one batch before and after. MNIST is looked for as `fastnn.datasets.mnist` says.
About two minutes on one core. The picture is docs/residual_depth.png.

What is seen; losses are means over the last 50 batches:

    layers       no norm  batch norm
    plain 20       0.296       0.140
    plain 56       2.303       0.710
    residual 20    0.202       0.098
    residual 56    0.308       0.129

Plain, no norm: a signal fades on its way through 56 layers. Gradients are 2.6e-5 at the last
layer and 1.4e-4 at the first, where 20 layers have 8.2e-3 and 6.7e-3, and nothing is learned:
2.303 is a guess among ten.

Plain, batch norm: signals keep their size, but gradients grow on their way back, from 0.31 at
the last of 56 layers to 880 at the first. It learns, later and worse than 20 layers do: the
degradation of He et al.

Residual, no norm: each block adds to the signal, so gradients are of one size in all layers,
but large, 950 to 3300 of 56 layers, and the first loss is 436. Clipped, it learns.

Residual, batch norm: gradients within a factor of 21 in all 56 layers, and losses that fall from
the first batches on. One pass over small digits is too little for 56 layers to beat 20.

Sources: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016, section 4.2;
Ioffe, Szegedy, "Batch normalization", 2015; Yang et al., "A mean field theory of batch
normalization", 2019, for gradients that grow.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

import fastnn
from fastnn import nn, optim
from fastnn.datasets import mnist
from fastnn.models import cifar_resnet
from fastnn.nn import functional as F
from fastnn.train import Trainer

MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's training pixels
BATCH, LAST = 64, 50  # the loss that is compared is the mean over the last batches
DEPTHS = (20, 56)


@dataclass
class Run:
    """One network, and afterwards what was measured."""

    depth: int
    residual: bool
    batch_norm: bool
    losses: list[float] = field(default_factory=list)  # of each batch
    before: list[float] = field(default_factory=list)  # norm of each layer's gradient
    after: list[float] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Plain or residual, and how many layers."""
        return f"{'residual' if self.residual else 'plain'} {self.depth}"

    @property
    def loss(self) -> float:
        """At the end."""
        last = self.losses[-LAST:]
        return sum(last) / len(last)

    @property
    def slope(self) -> float:
        """The first layer's gradient over the last one's, before training."""
        return self.before[0] / self.before[-1]


def gradient_norms(model: nn.Module, x: fastnn.Tensor, y: fastnn.Tensor) -> list[float]:
    """Of the weights of convolutions and of the linear layer, from the first to the last."""
    model.train()
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    gradients = [
        m.weight.grad for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    norms = [float(g.norm().item()) for g in gradients if g is not None]
    model.zero_grad()
    return norms


def train(run: Run, x: fastnn.Tensor, y: fastnn.Tensor) -> None:
    """Fit a network, keep what is measured, print a line."""
    began = time.perf_counter()
    fastnn.manual_seed(0)
    model = cifar_resnet(
        run.depth,
        in_channels=1,
        base_channels=8,
        residual=run.residual,
        batch_norm=run.batch_norm,
    )
    sgd = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    trainer = Trainer(model, nn.CrossEntropyLoss(), sgd, clip_grad_norm=1.0)
    run.before = gradient_norms(model, x[:BATCH], y[:BATCH])
    history = trainer.fit((x, y), batch_size=BATCH, verbose=False)
    run.losses = history.batch_losses
    run.after = gradient_norms(model, x[:BATCH], y[:BATCH])
    print(
        f"{run.kind:<11}  {'yes' if run.batch_norm else 'no':<10}"
        f"  {run.losses[0]:5.2f}  {run.loss:6.3f}"
        f"  {run.before[0]:8.1e}  {run.before[-1]:8.1e}"
        f"  {time.perf_counter() - began:5.0f}",
        flush=True,
    )


def smooth(values: list[float], over: int = 20) -> tuple[list[int], list[float]]:
    """Means of so many neighbours, and where they lie."""
    at = list(range(over, len(values) + 1, over))
    return at, [sum(values[i - over : i]) / over for i in at]


def plot(runs: list[Run], path: str) -> None:
    """A row without and one with batch norm: losses, gradients before, gradients after."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, 3, figsize=(13, 7.5), sharex="col", sharey="col", layout="constrained"
    )
    for run in runs:
        row = axes[int(run.batch_norm)]
        style: dict[str, Any] = {
            "color": "tab:blue" if run.residual else "tab:red",
            "linestyle": "-" if run.depth == DEPTHS[1] else "--",
            "label": f"{run.kind} layers",
        }
        row[0].plot(*smooth(run.losses), **style)
        for axis, norms in ((row[1], run.before), (row[2], run.after)):
            axis.plot(range(1, len(norms) + 1), norms, **style)
    titles = ("training loss", "gradients before training", "gradients after it")
    for row, norm in zip(axes, ("no norm", "batch norm"), strict=True):
        for axis, title in zip(row, titles, strict=True):
            axis.set(title=f"{norm}: {title}", yscale="log")
            axis.grid(alpha=0.3)
        row[0].set(ylabel="cross-entropy", ylim=(0.05, 4))
        row[1].set(ylabel="norm of the weight's gradient")
        row[2].set(ylim=(0.01, 2))
    axes[0, 0].legend(fontsize=9)
    for axis, label in zip(axes[1], ("batch", "layer", "layer"), strict=True):
        axis.set(xlabel=label)
    figure.savefig(path, dpi=80)


def expectations(runs: list[Run]) -> list[tuple[str, bool]]:
    """What should have been seen, and whether it was."""
    bare, normed = runs[:4], runs[4:]  # in the order of main()
    plain_20, plain_56, residual_20, residual_56 = bare
    normed_20, normed_56, _, residual_normed_56 = normed
    sizes = residual_normed_56.before
    return [
        ("no norm, plain: 56 layers learn nothing", plain_56.loss > 2.25),
        (
            "no norm, plain: the gradients of 56 layers are under a hundredth of those of 20",
            plain_56.before[-1] < plain_20.before[-1] / 100,
        ),
        (
            "no norm, residual: those of 56 layers are over a hundred times those of 20",
            residual_56.before[0] > 100 * residual_20.before[0],
        ),
        (
            "batch norm, plain: 56 layers learn worse than 20",
            normed_56.loss > 2 * normed_20.loss,
        ),
        (
            "batch norm, plain: the first of 56 gradients is a thousand times the last",
            normed_56.slope > 1000,
        ),
        (
            "batch norm, residual: no gradient of 56 is 30 times another",
            max(sizes) < 30 * min(sizes),
        ),
        (
            "residual: 56 layers learn, with a norm and without",
            max(residual_56.loss, residual_normed_56.loss) < 0.5,
        ),
        (
            "each of the four ends lower with batch norm than without",
            all(y.loss < x.loss for x, y in zip(bare, normed, strict=True)),
        ),
    ]


def main() -> int:
    """Train all, compare with what is expected, draw; 1 where something was not seen."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="folder of MNIST's files")
    parser.add_argument(
        "--digits", type=int, default=38_400, help="default: %(default)s"
    )
    parser.add_argument("--plot", default="residual_depth.png", metavar="FILE")
    parser.add_argument("--threads", type=int, help="default: one a core")
    options = parser.parse_args()
    if options.threads:
        fastnn.set_num_threads(options.threads)
    (images, labels), _ = mnist(options.root, flatten=False)
    x = F.avg_pool2d((images[: options.digits] - MEAN) / DEVIATION, 2)
    y = labels[: options.digits]
    runs = [
        Run(depth, residual, batch_norm)
        for batch_norm in (False, True)
        for residual in (False, True)
        for depth in DEPTHS
    ]
    print(
        "layers       batch norm  loss: first  last  gradient: first  last layer  seconds"
    )
    for run in runs:
        train(run, x, y)
    checks = expectations(runs)
    print()
    for what, seen in checks:
        print(f"{'seen    ' if seen else 'NOT SEEN'}  {what}")
    plot(runs, options.plot)
    print(f"\nThe picture is {options.plot}")
    return 0 if all(seen for _, seen in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
