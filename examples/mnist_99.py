"""MNIST at 99% and beyond: a small residual network, ten dense layers, and an average.

    FASTNN_DATA=folder python examples/mnist_99.py
    FASTNN_DATA=folder python examples/mnist_99.py --route dense
    FASTNN_DATA=folder python examples/mnist_99.py --models 3

Both routes: He's start, batch norm, residual connections, dropout 0.1, digits that are turned,
shifted and zoomed anew in every epoch, SGD with momentum and weight decay, a rate that rises
and then falls as a cosine. 5,000 digits of the training set are kept apart, and early stopping
looks at those; the test set is used once, at the end. With `--models 3` three networks learn
from three seeds, and their probabilities are averaged.

What comes out is the same on every machine, whatever the number of threads. It ends with 1
where less than 99.4% (cnn) or 98.9% (dense) of the test digits are right, or where the average
is worse than the best network. Measured when its kernels were last changed, on two Zen 4 cores
(dense, an earlier version: one core, seconds of CPU time):

    network         parameters  seed   test digits right  seconds
    cnn                 73,338     0              99.63%      145
                                   1              99.61%      140
                                   2              99.59%      152
    average of the three                          99.65%      440
    dense            2,512,906     0              99.23%      167

Where kernels differ in their last bits from these, it is a few digits more or less, as between
seeds.

Sources: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, and "Deep residual learning
for image recognition", 2016; Ioffe, Szegedy, "Batch normalization", 2015; Smith, Topin,
"Super-convergence", 2018, for the rate.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import fastnn
from fastnn import nn, optim, transforms
from fastnn.data import DataLoader, TensorDataset, random_split
from fastnn.datasets import mnist
from fastnn.nn import functional as F
from fastnn.optim.lr_scheduler import OneCycleLR
from fastnn.train import Callback, EarlyStopping, LRSchedule, Trainer

MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's training pixels
BLACK = -MEAN / DEVIATION  # what comes in at the edges of a digit that is moved
HELD_OUT, BATCH = 1 / 12, 128


class Residual(nn.Module):
    """relu(shortcut(x) + branch(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x: fastnn.Tensor) -> fastnn.Tensor:
        """A tensor of the branch's shape."""
        return F.relu(self.branch(x) + self.shortcut(x))


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
    """A convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def convolutional_block(inputs: int, outputs: int) -> nn.Module:
    """Two 3x3 convolutions, beside a 1x1 convolution."""
    branch = nn.Sequential(
        convolution(inputs, outputs, 3), nn.ReLU(), convolution(outputs, outputs, 3)
    )
    return Residual(branch, convolution(inputs, outputs, 1))


def convolutional() -> nn.Module:
    """28x28 pixels to 16 channels of 14x14, 32 of 14x14, 64 of 7x7, their means, 10."""
    return nn.Sequential(
        convolution(1, 16, 5, stride=2),
        nn.ReLU(),
        convolutional_block(16, 32),
        nn.MaxPool2d(2),
        convolutional_block(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64, 10),
    )


def dense_layer(inputs: int, outputs: int) -> nn.Module:
    """A linear layer and its batch norm."""
    return nn.Sequential(
        nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs)
    )


def dense(width: int = 512) -> nn.Module:
    """Ten layers: 784 to 512, four blocks of two, 512 to 10."""
    blocks = [
        Residual(
            nn.Sequential(
                dense_layer(width, width), nn.ReLU(), dense_layer(width, width)
            )
        )
        for _ in range(4)
    ]
    return nn.Sequential(
        nn.Flatten(),
        dense_layer(784, width),
        nn.ReLU(),
        *blocks,
        nn.Dropout(0.1),
        nn.Linear(width, 10),
    )


@dataclass
class Route:
    """A kind of network, how it learns, and what it must reach."""

    network: Any
    epochs: int
    rate: float  # the highest
    promised: float


ROUTES = {
    "cnn": Route(convolutional, epochs=14, rate=0.15, promised=0.994),
    "dense": Route(dense, epochs=16, rate=0.1, promised=0.989),
}


def he(network: nn.Module) -> None:
    """Weights N(0, 2 / fan), for layers of ReLU; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            mode = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Table(Callback):
    """Prints a line for each epoch."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """The head."""
        print("epoch     rate     loss  validation  seconds")

    def on_epoch_end(self, trainer: Trainer) -> None:
        """The line."""
        history = trainer.history
        print(
            f"{trainer.epoch:5}  {history.learning_rates[-1]:7.5f}"
            f"  {history['loss'][-1]:7.5f}  {history['val_accuracy'][-1]:10.2%}"
            f"  {history.seconds[-1]:7.1f}",
            flush=True,
        )


def train(route: Route, learn: Any, check: Any, epochs: int, seed: int) -> Trainer:
    """Fit one network; early stopping leaves the weights of its best epoch."""
    fastnn.manual_seed(seed)
    network = route.network()
    he(network)
    optimizer = optim.SGD(
        network.parameters(), lr=route.rate, momentum=0.9, weight_decay=5e-4
    )
    loader: DataLoader[Any] = DataLoader(
        learn,
        batch_size=BATCH,
        shuffle=True,
        num_workers=1,  # a thread that reads ahead, and moves the digits
        generator=fastnn.Generator(seed),
        batch_transform=transforms.RandomAffine(
            10,
            translate=(0.08, 0.08),
            scale=(0.9, 1.1),
            interpolation="bilinear",
            fill=BLACK,
        ),
    )
    rate = OneCycleLR(
        optimizer,
        max_lr=route.rate,
        epochs=epochs,
        steps_per_epoch=len(loader),
        cycle_momentum=False,
    )
    trainer = Trainer(network, nn.CrossEntropyLoss(), optimizer, ["accuracy"])
    trainer.fit(
        loader,
        validation=DataLoader(check, batch_size=500),
        epochs=epochs,
        callbacks=[EarlyStopping(patience=5), LRSchedule(rate, "batch"), Table()],
        verbose=False,
    )
    return trainer


def probabilities(trainer: Trainer, images: fastnn.Tensor) -> fastnn.Tensor:
    """Of the ten digits, for each image: (n, 10)."""
    return F.softmax(trainer.predict(images, batch_size=500), dim=1)


def report(
    found: list[fastnn.Tensor], labels: fastnn.Tensor, promised: float
) -> list[str]:
    """Print how many test digits each network gets right, and their average; what is not
    as promised."""

    def right(p: fastnn.Tensor) -> int:
        return int((p.argmax(dim=1) == labels).sum().item())

    def share(count: int) -> str:
        return f"{count / len(labels):.2%} of {len(labels):,} test digits right"

    missed = []
    counts = [right(p) for p in found]
    for i, count in enumerate(counts):
        print(f"network {i + 1}: {share(count)}")
        if count < promised * len(labels):
            missed.append(f"network {i + 1} does not reach {promised:.1%}")
    if len(found) > 1:
        average = right(sum(found[1:], found[0]) / len(found))
        print(f"average of {len(found)}: {share(average)}")
        if average < max(counts):
            missed.append("the average is worse than the best network")
    return missed


def main() -> int:
    """Train, then look at the test set once; 1 where it is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="folder of MNIST's files")
    parser.add_argument("--route", choices=ROUTES, default="cnn")
    parser.add_argument("--models", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: 14 for cnn, 16 for dense")
    parser.add_argument("--seed", type=int, default=0, help="of the first network")
    parser.add_argument("--threads", type=int, help="default: one a core")
    parser.add_argument(
        "--digits", type=int, default=60_000, help="to learn from and validate with"
    )
    options = parser.parse_args()
    began = time.perf_counter()
    if options.threads:
        fastnn.set_num_threads(options.threads)
    route = ROUTES[options.route]
    train_split, test_split = mnist(options.root, flatten=False)
    images = (train_split.images[: options.digits] - MEAN) / DEVIATION
    learn, check = random_split(
        TensorDataset(images, train_split.labels[: options.digits]),
        [1 - HELD_OUT, HELD_OUT],
        generator=fastnn.Generator(0),
    )
    trainers = []
    for i in range(options.models):
        seed = options.seed + i
        print(f"\nNetwork {i + 1}, {options.route}, seed {seed}")
        epochs = options.epochs or route.epochs
        trainers.append(train(route, learn, check, epochs, seed))
    pixels = (test_split.images - MEAN) / DEVIATION
    print()
    missed = report(
        [probabilities(t, pixels) for t in trainers], test_split.labels, route.promised
    )
    print(
        f"{time.perf_counter() - began:.0f} s on {fastnn.get_num_threads()} threads\n"
    )
    for what in missed:
        print(f"NOT AS PROMISED: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
