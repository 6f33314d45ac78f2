"""Two threads against one, over a grid of products: what the second one brings.

    python benchmarks/threads.py

Both take turns in one process, on the same operands, into the same output. A product on
two threads should never take more than 1.05 of the time on one, and from 512 cubed up at
most 1 / 1.7. Exits with 1 where one does after a second look.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import fastnn
from fastnn.bench import race

MS = (1, 8, 32, 100, 256, 512, 1024)
KS = (16, 64, 256, 784, 2048)
NS = (10, 64, 128, 512, 1024, 2048)
SHAPES = [*itertools.product(MS, KS, NS)]
CUBES = [(n, n, n) for n in (512, 1024, 2048)]
WORST, LEAST = 1.05, 1.7


def ratio(shape: tuple[int, int, int], rounds: int, budget: float) -> float:
    """Time on two threads by time on one."""
    m, k, n = shape
    a, b, out = fastnn.randn(m, k), fastnn.randn(k, n), fastnn.empty(m, n)

    def on(threads: int) -> Callable[[], Any]:
        def call() -> None:
            if fastnn.get_num_threads() != threads:
                fastnn.set_num_threads(threads)
            fastnn.matmul(a, b, out=out)

        return call

    times = race({1: on(1), 2: on(2)}, rounds=rounds, budget=budget)
    return times[2].median / times[1].median


def main() -> int:
    if len(os.sched_getaffinity(0)) < 2:
        print("needs two CPUs")
        return 0
    ratios = {shape: ratio(shape, 7, 3e-3) for shape in [*SHAPES, *CUBES]}

    def bad(shape: tuple[int, int, int]) -> bool:
        most = 1 / LEAST if min(shape) >= 512 else WORST
        return ratios[shape] > most

    for shape in filter(bad, list(ratios)):  # the machine may have been disturbed
        ratios[shape] = ratio(shape, 31, 10e-3)
    faster = [1 / r for s, r in ratios.items() if min(s) >= 512]
    grid = sorted(ratios[s] for s in SHAPES)
    print(f"{fastnn.isa()} kernels, {len(SHAPES)} shapes (m, k, n), two threads by one")
    print(f"  slowest {grid[-1]:.2f}, median {statistics.median(grid):.2f}")
    print(f"  512 and more in every dimension: {min(faster):.2f} times as fast or more")
    for shape in CUBES:
        print(f"  {shape[0]} cubed: {1 / ratios[shape]:.2f} times as fast")
    failed = [s for s in ratios if bad(s)]
    for shape in failed:
        print(f"  {shape}: {ratios[shape]:.2f} of the time on one thread")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
