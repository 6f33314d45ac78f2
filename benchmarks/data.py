"""The data path: an epoch of MNIST through DataLoader, with a model and without.

    python benchmarks/data.py

The data are MNIST's where fastnn.datasets.mnist finds it, else random numbers of its
shape. Contestants take turns; figures are medians. The first batch is checked.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn._info import cpu
from fastnn.bench import race
from fastnn.data import DataLoader, Dataset, TensorDataset
from fastnn.datasets import mnist

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None

BATCH = 64


class OneByOne(Dataset):
    """Asked for its samples one by one, as a data set in plain Python is."""

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tensors

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


def drain(loader: Iterable[Any]) -> None:
    """An epoch without a model."""
    for _x, _y in loader:
        pass


def trainer(loader: Iterable[Any]) -> Callable[[], None]:
    """An epoch with 784-128-10 and Adam, compiled."""
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    @fastnn.compile
    def step(x: fastnn.Tensor, y: fastnn.Tensor) -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    def epoch() -> None:
        for x, y in loader:
            step(x, y)

    return epoch


def check(x: Any, y: Any) -> None:
    """A shuffled batch is the rows that the generator says."""
    data = TensorDataset(x, y)
    loader = DataLoader(data, BATCH, shuffle=True, generator=fastnn.Generator(1))
    order = fastnn.randperm(len(data), generator=fastnn.Generator(1)).numpy()[:BATCH]
    a, b = next(iter(loader))
    np.testing.assert_array_equal(a.numpy(), x.numpy()[order])
    np.testing.assert_array_equal(b.numpy(), y.numpy()[order])


def contestants(x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    data = TensorDataset(x, y)
    shuffled = DataLoader(data, BATCH, shuffle=True)
    pixels = TensorDataset((x * 255).to(fastnn.uint8), y)
    loaders: dict[str, Iterable[Any]] = {
        "shuffled": shuffled,
        "in order": DataLoader(data, BATCH),
        "shuffled, a thread ahead": DataLoader(data, BATCH, True, num_workers=1),
        "shuffled, pixels as uint8": DataLoader(pixels, BATCH, shuffle=True),
        "one sample at a time": DataLoader(OneByOne(x, y), BATCH, shuffle=True),
    }
    runs = {
        name: (lambda loader=loader: drain(loader)) for name, loader in loaders.items()
    }
    runs["copy in order, no loader"] = lambda: [
        x.narrow(0, i, min(BATCH, len(x) - i)).clone() for i in range(0, len(x), BATCH)
    ]
    runs["784-128-10, Adam"] = trainer(shuffled)
    runs["the same, a thread ahead"] = trainer(
        DataLoader(data, BATCH, shuffle=True, num_workers=1)
    )
    if torch is not None:
        a, b = torch.from_numpy(x.numpy()), torch.from_numpy(y.numpy())
        theirs = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(a, b), BATCH, shuffle=True
        )
        runs["PyTorch, shuffled"] = lambda: drain(theirs)
    return runs


def main() -> None:
    """Time epochs through loaders of several kinds, and one that trains."""
    fastnn.set_num_threads(1)
    peer = "absent" if torch is None else torch.__version__
    print(
        f"fastnn {fastnn.__version__} ({fastnn.isa()}), PyTorch {peer}; {cpu()['name']}; "
        "one thread"
    )
    try:
        x, y = mnist(download=False).train
        what = "MNIST"
    except FileNotFoundError:
        x, y = fastnn.rand(60_000, 784), fastnn.randint(0, 10, (60_000,))
        what = "random numbers of MNIST's shape"
    check(x, y)
    times = {k: t.median for k, t in race(contestants(x, y), rounds=9).items()}
    model, size = times["784-128-10, Adam"], x.numel() * 4
    print(
        f"\n{f'{what}, batches of {BATCH}':<30}{'ms':>9}{'GB/s read':>11}"
        f"{'of the model':>14}"
    )
    for name, seconds in times.items():
        rate = size / (4 if "uint8" in name else 1) / seconds / 1e9
        print(f"{name:<30}{seconds * 1e3:>9.1f}{rate:>11.1f}{seconds / model:>14.1%}")


if __name__ == "__main__":
    main()
