"""Predictions: an array in, an array out."""

from __future__ import annotations

from fastnn.bench.workloads.rows import (
    Goal,
    Inference,
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


ROWS: list[Workload] = [
    inference((32, 64, 64, 8), 1, 0.30),
    inference((784, 128, 10), 1, 0.50),
    inference((784, 128, 10), 32, 1.05),
    inference((784, 512, 512, 10), 64, 1.05),
    inference((784, 2048, 2048, 2048, 10), 1, 0.95),
]
