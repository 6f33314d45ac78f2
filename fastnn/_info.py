"""fastnn info: what fastnn found on this machine, what it chose, and why."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import _core
from fastnn.datasets._mnist import _cache_folder

# The tiers that every build for a processor has, lowest first.
TIERS = {"x86_64": ("generic", "avx2", "avx512"), "aarch64": ("generic", "neon")}
REQUIRED = ("numpy", "safetensors", "tqdm")
EXTRAS = {"plot": "matplotlib"}  # what pyproject.toml names, for users
MAPS, CPUINFO = Path("/proc/self/maps"), Path("/proc/cpuinfo")
# How the names of such libraries start.
OPENMP = r"lib(?:g|i)?omp\d*[.-]"
BLAS = r"lib\w*(?:blas|mkl_rt|blis|atlas)"
MOST_THREADS = 256  # as in csrc/parallel.c


def gather() -> dict[str, Any]:
    """All that `fastnn info` says, as plain values for JSON."""
    return {
        "fastnn": {
            "version": fastnn.__version__,
            "folder": str(Path(fastnn.__file__).parent),
        },
        "cpu": cpu(),
        "kernels": kernels(),
        "threads": threads(),
        "openmp": loaded(OPENMP),
        "memory": memory(),
        "numpy": numpy(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "system": platform.platform(),
        "required": {name: version(name) for name in REQUIRED},
        "extras": {name: version(package) for name, package in EXTRAS.items()},
        "data": {
            "FASTNN_DATA": os.environ.get("FASTNN_DATA"),
            "cache": str(_cache_folder()),
        },
    }


def cpu() -> dict[str, Any]:
    """The processor's name, and how many there are."""
    name = ""
    try:
        text = CPUINFO.read_text(errors="replace")
        found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
        name = found[1].strip() if found else ""
    except OSError:
        pass
    return {
        "name": name or platform.processor() or "unknown",
        "machine": platform.machine(),
        "logical": os.cpu_count(),
    }


def kernels() -> dict[str, Any]:
    """The tiers of this build, those that this CPU runs, the one in force and why."""
    wanted = os.environ.get("FASTNN_ISA")
    best = _core.isas()[-1]
    chosen = fastnn.isa()
    why = "the best that this CPU runs" if chosen == best else "set in this process"
    if wanted == chosen:
        why = f"FASTNN_ISA={wanted}"
        if wanted != best:
            why += f"; this CPU runs {best} too"
    built = TIERS.get(platform.machine(), ("generic",))
    return {"chosen": chosen, "why": why, "built": list(built), "runs": _core.isas()}


def threads() -> dict[str, Any]:
    """How many threads, and what decided that."""
    limits: dict[str, int | None] = {
        "affinity": len(os.sched_getaffinity(0)),
        "cgroup": _core.cgroup_cpu_limit() or None,
        "OMP_NUM_THREADS": leading_number(os.environ.get("OMP_NUM_THREADS")),
    }
    number = fastnn.get_num_threads()
    asked = leading_number(os.environ.get("FASTNN_NUM_THREADS"))
    granted = {name: n for name, n in limits.items() if n is not None}
    if number == min(asked or 0, MOST_THREADS):
        why = f"FASTNN_NUM_THREADS={asked}"
    elif asked or number != min(*granted.values(), MOST_THREADS):
        why = "set_num_threads() was called, or the process was forked"
    else:
        why = "the least of what is granted"
    return {"number": number, "why": why, **limits, "FASTNN_NUM_THREADS": asked}


def leading_number(text: str | None) -> int | None:
    """What a variable such as "4" or "4,2" asks for; None where it says nothing."""
    found = re.match(r"\s*0*([1-9]\d*)\s*(?:,|$)", text or "")
    return int(found[1]) if found else None


def memory() -> dict[str, Any]:
    """How much freed memory is kept for reuse, and why."""
    asked = os.environ.get("FASTNN_CACHE_BYTES")
    return {
        "cache_limit": fastnn.memory_stats()["cache_limit"],
        "why": f"FASTNN_CACHE_BYTES={asked}"
        if asked
        else "the smaller of 1 GiB and a quarter of the RAM",
    }


def numpy() -> dict[str, Any]:
    """NumPy, what it says it was built with, and the BLAS in this process."""
    config: Any = np.show_config(mode="dicts")
    blas = (config or {}).get("Build Dependencies", {}).get("blas", {})
    return {
        "version": np.__version__,
        "blas": " ".join(filter(None, [blas.get("name"), blas.get("version")]))
        or "unknown",
        "libraries": loaded(BLAS),
    }


def loaded(pattern: str) -> list[str]:
    """Paths of the libraries in this process whose name starts as the pattern says."""
    try:
        maps = MAPS.read_text(errors="replace")
    except OSError:
        return []
    # address, permissions, offset, device, inode, path
    rows = (line.split(maxsplit=5) for line in maps.splitlines())
    paths = {row[5] for row in rows if len(row) == 6}
    return sorted(p for p in paths if re.match(pattern, os.path.basename(p)))


def version(package: str) -> str | None:
    """The installed version; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# ---- as text ----


def text() -> str:
    """What gather() found, to read."""
    found = gather()
    kernel, team, python = found["kernels"], found["threads"], found["python"]
    rows: list[tuple[str, Iterable[str]]] = [
        ("fastnn", [found["fastnn"]["version"], found["fastnn"]["folder"]]),
        (
            "CPU",
            [
                found["cpu"]["name"],
                f"{found['cpu']['machine']}, {found['cpu']['logical']} logical CPUs",
            ],
        ),
        (
            "kernels",
            [
                f"{kernel['chosen']}: {kernel['why']}",
                f"built: {listed(kernel['built'])}",
            ],
        ),
        (
            "threads",
            [
                f"{team['number']}: {team['why']}",
                f"CPUs that the process may run on: {team['affinity']}",
                f"quota of its control group: {team['cgroup'] or 'none'}",
                f"OMP_NUM_THREADS: {team['OMP_NUM_THREADS'] or 'none'}",
            ],
        ),
        ("OpenMP", openmp(found["openmp"])),
        (
            "memory",
            [
                f"keeps up to {found['memory']['cache_limit'] / 2**20:,.0f} MiB for "
                f"reuse: {found['memory']['why']}"
            ],
        ),
        (
            "NumPy",
            [
                f"{found['numpy']['version']}, BLAS: {found['numpy']['blas']}",
                *found["numpy"]["libraries"],
            ],
        ),
        (
            "Python",
            [f"{python['implementation']} {python['version']}", python["executable"]],
        ),
        ("system", [found["system"]]),
        (
            "packages",
            [listed(f"{k} {v or 'MISSING'}" for k, v in found["required"].items())],
        ),
        ("extras", [extra(name, v) for name, v in found["extras"].items()]),
        (
            "data",
            [
                f"FASTNN_DATA: {found['data']['FASTNN_DATA'] or 'not set'}",
                f"downloads go to {found['data']['cache']}",
            ],
        ),
    ]
    width = max(len(label) for label, _ in rows) + 2
    lines = []
    for label, parts in rows:
        for i, part in enumerate(parts):
            lines.append(f"{'' if i else label:{width}}{part}".rstrip())
    return "\n".join(lines)


def listed(names: Iterable[str]) -> str:
    """a, b, c."""
    return ", ".join(names)


def openmp(paths: list[str]) -> list[str]:
    """One line for each runtime; a word of warning where there are several."""
    if len(paths) > 1:
        return [
            f"{len(paths)} runtimes in one process: each has threads of its own, and "
            "they can get in each other's way",
            *paths,
        ]
    return paths or ["linked into the extension"]


def extra(name: str, found: str | None) -> str:
    """What an extra has, or how to get it."""
    package = EXTRAS[name]
    if found:
        return f"{name}: {package} {found}"
    return f'{name}: no {package}; python -m pip install "fastnn[{name}]"'
