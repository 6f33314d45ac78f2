"""Whole training steps."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

from fastnn.bench import modules
from fastnn.bench.workloads.networks import resnet18, small
from fastnn.bench.workloads.rows import (
    Goal,
    ModularTraining,
    Training,
    Workload,
    network_flops,
    numbers_in,
)

# of an optimizer: states of each parameter, arithmetic of each parameter
COSTS = {"adam": (2, 12), "sgd": (1, 4)}
TITLES = {"adam": "Adam", "sgd": "SGD with momentum"}


def training(
    sizes: tuple[int, ...], batch: int, optimizer: str, peer: float
) -> Workload:
    """A row. The first layer's inputs need no gradient; parameters and states are read
    and written once."""
    states, arithmetic = COSTS[optimizer]
    count = numbers_in(sizes)
    first, *_ = itertools.pairwise(sizes)
    return Training(
        name=f"{'-'.join(map(str, sizes))}, batch {batch}, {TITLES[optimizer]}",
        group="train",
        flops=3 * network_flops(sizes, batch)
        - network_flops(first, batch)
        + arithmetic * count,
        bytes=4.0 * (2 * (1 + states) * count + batch * sizes[0]),
        sizes=sizes,
        batch=batch,
        optimizer=optimizer,
        tolerance=1e-3,
        goals=[Goal(peer=peer)],
    )


def modular(
    name: str,
    module: Any,
    shape: tuple[int, ...],
    optimizer: str,
    peer: float,
    classes: int = 10,
) -> Workload:
    """A row of a network of modules, counted likewise."""
    states, arithmetic = COSTS[optimizer]
    state = modules.state(module)
    count = modules.Shapes(state)
    modules.run(count, module, shape)
    running = sum(math.prod(s) for k, s in state.items() if "running" in k)
    numbers = sum(map(math.prod, state.values())) - running
    return ModularTraining(
        name=f"{name}, batch {shape[0]}, {TITLES[optimizer]}",
        group="train",
        flops=3 * count.flops - count.first + arithmetic * numbers,
        bytes=4.0 * (2 * (1 + states) * numbers + 2 * running + math.prod(shape)),
        module=module,
        shape=shape,
        classes=classes,
        optimizer=optimizer,
        tolerance=1e-3,
        goals=[Goal(peer=peer)],
    )


SLIM = functools.partial(resnet18, channels=16)

ROWS: list[Workload] = [
    training((8, 64, 64, 2), 32, "adam", 0.25),
    training((784, 128, 10), 64, "adam", 0.82),
    training((784, 512, 512, 10), 128, "sgd", 0.92),
    training((784, 2048, 2048, 2048, 10), 128, "adam", 0.70),
    modular("small CNN on 28 x 28", small, (64, 1, 28, 28), "adam", 0.50),
    modular("ResNet-18 of 16 channels at 32 x 32", SLIM, (32, 3, 32, 32), "sgd", 0.55),
    modular("ResNet-18 at 32 x 32", resnet18, (32, 3, 32, 32), "sgd", 0.40),
]
