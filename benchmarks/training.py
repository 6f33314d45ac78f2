"""Training in eager mode: whole steps against PyTorch where it is installed, and optimizer
steps against the memory's bandwidth.

    python benchmarks/training.py               everything, one thread
    python benchmarks/training.py optimizers    one of: steps, optimizers

Contestants take turns; figures are medians. A step is zero_grad, forward, loss, backward and
optimizer step; both networks start from the same values, and must end at the same loss.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from racing import race, run_groups, torch  # isort: skip (first: it pins the threads)
import itertools

import numpy as np

import fastnn
from fastnn import optim

# layers, batch, target: times as fast as PyTorch eager
STEPS = [((8, 64, 64, 2), 32, 2.0), ((784, 128, 10), 64, 2.0)]
# arrays of 4 bytes an element that a step reads or writes
OPTIMIZERS: dict[str, tuple[dict[str, Any], int]] = {
    "SGD": ({}, 3),
    "SGD, momentum": ({"momentum": 0.9}, 5),
    "Adagrad": ({}, 5),
    "Adadelta": ({}, 7),
    "RMSprop": ({}, 5),
    "Adam": ({}, 7),
    "AdamW": ({}, 7),
    "NAdam": ({}, 7),
    "RAdam": ({}, 7),
}
PARAMETERS = 10_000_000


def network(framework: Any, layers: tuple[int, ...]) -> Any:
    """Linear layers with ReLU between them."""
    nn = framework.nn
    parts: list[Any] = []
    for inputs, outputs in itertools.pairwise(layers):
        parts += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def training_step(
    framework: Any, model: Any, x: np.ndarray, t: np.ndarray
) -> Callable[[], Any]:
    """One training step with Adam, as anyone writes it."""
    optimizer = framework.optim.Adam(model.parameters(), lr=1e-3)
    criterion = framework.nn.CrossEntropyLoss()
    inputs, targets = framework.from_numpy(x), framework.from_numpy(t)

    def step() -> Any:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def steps() -> bool:
    """Training steps of small networks, eager."""
    good = True
    print(
        f"\n{'Adam, cross entropy':<26}{'fastnn µs':>10}{'PyTorch µs':>12}{'ratio':>8}"
    )
    for layers, batch, target in STEPS:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((batch, layers[0])).astype(np.float32)
        t = rng.integers(0, layers[-1], batch)
        model = network(fastnn, layers)
        contestants = {"fastnn": training_step(fastnn, model, x, t)}
        if torch is not None:
            twin = network(torch, layers)
            twin.load_state_dict(
                {k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()}
            )
            contestants["torch"] = training_step(torch, twin, x, t)
            losses = [[f().item() for _ in range(20)][-1] for f in contestants.values()]
            np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
        times = race(contestants, rounds=41, budget=0.01)
        name = f"{'-'.join(map(str, layers))}, batch {batch}"
        ours = times["fastnn"] * 1e6
        if torch is None:
            print(f"{name:<26}{ours:>10.1f}{'absent':>12}")
            continue
        ratio = times["torch"] / times["fastnn"]
        good &= ratio >= target
        print(
            f"{name:<26}{ours:>10.1f}{times['torch'] * 1e6:>12.1f}{ratio:>8.2f}"
            f"{'' if ratio >= target else '  MISSED'}"
        )
    return good


def optimizers() -> bool:
    """Steps on ten million parameters, against a sum of arrays of that size."""
    a, b = fastnn.ones(PARAMETERS), fastnn.ones(PARAMETERS)
    out = np.ones(PARAMETERS, np.float32)
    x, y = a.numpy(), b.numpy()
    contestants: dict[str, Callable[[], Any]] = {
        "stream, fastnn": lambda: fastnn.add(a, b, out=b),
        "stream, NumPy": lambda: np.add(x, y, out=out),
    }
    arrays = dict.fromkeys(contestants, 3)
    for name, (options, count) in OPTIMIZERS.items():
        p = fastnn.ones(PARAMETERS).requires_grad_()
        p.grad = fastnn.full((PARAMETERS,), 1e-3)
        optimizer = getattr(optim, name.split(",")[0])([p], **options)
        optimizer.step()
        assert (p.detach().numpy() < 1).all()
        contestants[name], arrays[name] = optimizer.step, count
    times = race(contestants, rounds=15)
    rate = {name: arrays[name] * 4 * PARAMETERS / t for name, t in times.items()}
    stream = max(rate["stream, fastnn"], rate["stream, NumPy"])
    print(f"\n{'10 million parameters':<26}{'ms':>8}{'GB/s':>8}{'of the stream':>15}")
    good = True
    for name, t in times.items():
        share = rate[name] / stream
        fine = share >= 0.8 or name.startswith("stream")
        good &= fine
        print(
            f"{name:<26}{t * 1e3:>8.2f}{rate[name] / 1e9:>8.1f}{share:>15.0%}"
            f"{'' if fine else '  MISSED'}"
        )
    print("target: at least 80% of the stream;", "met" if good else "MISSED")
    return good


GROUPS = {"steps": steps, "optimizers": optimizers}

if __name__ == "__main__":
    sys.exit(run_groups(GROUPS, __doc__))
