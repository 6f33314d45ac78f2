"""Predictions: an array in, an array out."""

from __future__ import annotations

import functools
import math
from typing import Any

from fastnn.bench import modules
from fastnn.bench.workloads.networks import resnet18
from fastnn.bench.workloads.rows import (
    Goal,
    Inference,
    ModularInference,
    Workload,
    network_flops,
    numbers_in,
)


def inference(sizes: tuple[int, ...], batch: int, peer: float) -> Workload:
    """A row."""
    return Inference(
        name=f"{'-'.join(map(str, sizes))}, batch {batch}",
        group="infer",
        flops=network_flops(sizes, batch),
        bytes=4.0 * (numbers_in(sizes) + batch * (sizes[0] + sizes[-1])),
        sizes=sizes,
        batch=batch,
        goals=[Goal(peer=peer)],
    )


def modular(
    name: str, module: Any, shape: tuple[int, ...], classes: int, peer: float
) -> Workload:
    """A row of a network of modules."""
    state = modules.state(module)
    count = modules.Shapes(state)
    modules.run(count, module, shape)
    numbers = sum(map(math.prod, state.values()))
    return ModularInference(
        name=f"{name}, batch {shape[0]}",
        group="infer",
        flops=count.flops,
        bytes=4.0 * (numbers + math.prod(shape) + shape[0] * classes),
        module=module,
        shape=shape,
        classes=classes,
        goals=[Goal(peer=peer)],
    )


IMAGENET = functools.partial(resnet18, classes=1000, stem=7)

ROWS: list[Workload] = [
    inference((32, 64, 64, 8), 1, 0.30),
    inference((784, 128, 10), 1, 0.50),
    inference((784, 128, 10), 32, 1.05),
    inference((784, 512, 512, 10), 64, 1.05),
    inference((784, 2048, 2048, 2048, 10), 1, 0.95),
    modular("ResNet-18 at 224 x 224", IMAGENET, (1, 3, 224, 224), 1000, 0.65),
    modular("ResNet-18 at 224 x 224", IMAGENET, (8, 3, 224, 224), 1000, 0.45),
]
