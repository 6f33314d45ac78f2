"""Whole training steps."""

from __future__ import annotations

import itertools

from fastnn.bench.workloads.rows import (
    Goal,
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


ROWS: list[Workload] = [
    training((8, 64, 64, 2), 32, "adam", 0.25),
    training((784, 128, 10), 64, "adam", 0.82),
    training((784, 512, 512, 10), 128, "sgd", 0.92),
    training((784, 2048, 2048, 2048, 10), 128, "adam", 0.70),
]
