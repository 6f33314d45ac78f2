"""What is timed: one table, by group. A further workload is a row in its group's file."""

from fastnn.bench.workloads import (
    infer,
    kernels,
    layers,
    overhead,
    products,
    sequences,
    train,
)
from fastnn.bench.workloads.rows import Run as Run
from fastnn.bench.workloads.rows import Workload as Workload

GROUPS: dict[str, list[Workload]] = {
    "overhead": overhead.ROWS,
    "products": products.ROWS,
    "kernels": kernels.ROWS,
    "layers": layers.ROWS,
    "sequences": sequences.ROWS,
    "train": train.ROWS,
    "infer": infer.ROWS,
}
