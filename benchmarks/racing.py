"""What the benchmarks share. Import it first: it pins every contestant to one thread.

The race itself is fastnn.bench's: contestants take turns, figures are medians.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn import bench
from fastnn._info import cpu

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None


def race(contestants: dict[str, Callable[[], Any]], **options: Any) -> dict[str, float]:
    """Median seconds of a call for each; see fastnn.bench.race."""
    return {k: t.median for k, t in bench.race(contestants, **options).items()}


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
