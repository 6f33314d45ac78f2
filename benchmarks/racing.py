"""What the benchmarks share. Import it first: it pins every contestant to one thread.

Contestants take turns, figures are medians.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn._info import cpu

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None


def seconds(function: Callable[[], Any], calls: int) -> float:
    """Time of one call, over `calls` of them."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def race(
    contestants: dict[str, Callable[[], Any]], *, rounds: int = 15, budget: float = 0.02
) -> dict[str, float]:
    """Median seconds of a call for each, taken in turns; a turn lasts about `budget`."""
    calls = {}
    for name, function in contestants.items():
        function()
        calls[name] = max(1, int(budget / max(seconds(function, 3), 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            times[name].append(seconds(function, calls[name]))
    return {name: statistics.median(t) for name, t in times.items()}


def headline() -> str:
    """Versions, the machine and how many threads."""
    fastnn.set_num_threads(1)
    peer = "absent" if torch is None else torch.__version__
    return (
        f"fastnn {fastnn.__version__} ({fastnn.isa()}), NumPy {np.__version__}, PyTorch "
        f"{peer}; {cpu()['name']}; one thread each"
    )


def run_groups(groups: dict[str, Callable[[], bool]], description: str) -> int:
    """The command line of a benchmark file: one group, or all; 1 if a target is missed."""
    import argparse

    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("group", nargs="?", choices=groups, help="default: all")
    chosen = parser.parse_args().group
    print(headline())
    results = [run() for name, run in groups.items() if chosen in (None, name)]
    return 0 if all(results) else 1
