"""One thread for everybody; set before anything imports NumPy."""

from __future__ import annotations

import os
import sys

LATE = "numpy" in sys.modules
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"


def pytest_report_header() -> str:
    """Say whether NumPy was kept to one thread."""
    return "benchmarks: " + (
        "NumPy was imported too early to be kept to one thread"
        if LATE
        else "one thread"
    )
