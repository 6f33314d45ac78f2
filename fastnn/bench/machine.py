"""What the machine can do at best: multiply-adds a second, bytes a second from each cache.

The peak is a loop of fused multiply-adds in registers. Bandwidth is that of adding two
arrays into a third, of adding one to another in place (which reads nothing only to write
it), or of copying, whichever is faster, in arrays that fill half of a cache; bytes are those
that the program reads and writes. A call's own overhead, that of the same call on sixteen
numbers, is taken off.
"""

from __future__ import annotations

import functools
import math
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fastnn
from fastnn import _core
from fastnn.bench.racing import race

CACHES = Path("/sys/devices/system/cpu")
ASSUMED = (("L1", 32 << 10, 1), ("L2", 512 << 10, 1), ("L3", 8 << 20, 256))
DTYPES = (fastnn.float32, fastnn.float64)
MOST_BYTES = 1 << 30  # of the arrays that stand for memory
FEW = 16  # numbers in one vector
# ops that stream: how many arrays, and how often one of them is read or written
PASSES = {"add": (3, 3), "add_": (2, 3), "copy": (2, 2)}


class Level(NamedTuple):
    """A cache, or memory: name, bytes that fit (inf for memory) and bytes/s from it."""

    name: str
    bytes: float
    rate: float


@dataclass(frozen=True)
class Machine:
    """What one run of measure() found, for a number of threads together.

    Parameters:
        threads : how many.
        isa : the kernels in force.
        peaks : flop/s by ISA and name of the dtype.
        bandwidth : levels, nearest first; memory is the last.
    """

    threads: int
    isa: str
    peaks: dict[str, dict[str, float]]
    bandwidth: list[Level]

    @property
    def peak(self) -> dict[str, float]:
        """flop/s by name of the dtype, of the kernels in force."""
        return self.peaks[self.isa]

    def level(self, size: float) -> Level:
        """The nearest level that holds so many bytes."""
        return next(
            (level for level in self.bandwidth if size <= level.bytes),
            self.bandwidth[-1],
        )

    def floor(self, flops: float, bytes: float, dtype: Any = "float32") -> float:
        """Seconds below which no program gets that does so much: max(flops / peak, bytes /
        bandwidth).

        Parameters:
            flops : arithmetic to do.
            bytes : to read and write, once each; they say which level they lie in.
            dtype : fastnn dtype or its name.

        Returns: float, seconds.
        Source: Williams, Waterman and Patterson, "Roofline", CACM 52 (2009).
        """
        peak = self.peak[dtype if isinstance(dtype, str) else dtype.name]
        return max(flops / peak, bytes / self.level(bytes).rate)


@functools.cache
def measure(threads: int | None = None) -> Machine:
    """Measure the machine, in about two seconds; the same numbers ever after.

    Parameters:
        threads : int: together; None for fastnn.get_num_threads().

    Returns: Machine.
    """
    if threads is None:
        return measure(fastnn.get_num_threads())
    before, isa = fastnn.get_num_threads(), fastnn.isa()
    try:
        fastnn.set_num_threads(threads)
        peaks = {}
        for name in _core.isas():
            _core.set_isa(name)
            peaks[name] = {d.name: peak(d, threads) for d in DTYPES}
        _core.set_isa(isa)
        return Machine(threads, isa, peaks, bandwidths(threads))
    finally:
        _core.set_isa(isa)
        fastnn.set_num_threads(before)


# ---- arithmetic -------------------------------------------------------------------------


def peak(dtype: Any, threads: int) -> float:
    """flop/s of that many threads together: the best of some loops of milliseconds."""
    rounds = 1000
    while clocked(functools.partial(_core.fma_loop, rounds, dtype)) < 2e-3:
        rounds *= 2
    best = 0.0
    for _ in range(7):
        flops = [0.0] * threads

        def loop(k: int, flops: list[float] = flops) -> None:
            flops[k] = _core.fma_loop(rounds, dtype)

        best = max(best, sum(flops_per_second(loop, flops)))
    return best


def flops_per_second(loop: Callable[[int], None], flops: list[float]) -> list[float]:
    """Each thread's rate, all of them running together."""
    took = [0.0] * len(flops)
    gate = threading.Barrier(len(flops))

    def run(k: int) -> None:
        gate.wait()
        took[k] = clocked(lambda: loop(k))

    team = [threading.Thread(target=run, args=(k,)) for k in range(1, len(flops))]
    for thread in team:
        thread.start()
    run(0)
    for thread in team:
        thread.join()
    return [f / t for f, t in zip(flops, took, strict=True)]


def clocked(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# ---- memory -----------------------------------------------------------------------------


def caches(root: Path = CACHES) -> list[tuple[str, int, int]]:
    """(name, bytes, CPUs that share it) of each cache for data, nearest first."""
    cpu = min(os.sched_getaffinity(0))
    found = []
    for folder in sorted((root / f"cpu{cpu}" / "cache").glob("index*")):
        try:
            read = {
                name: (folder / name).read_text().strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            }
        except OSError:
            continue
        size = re.fullmatch(r"(\d+)([KMG]?)", read["size"])
        if size is None or read["type"] == "Instruction":
            continue
        scale = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[size[2]]
        shared = len(numbers(read["shared_cpu_list"]))
        found.append((f"L{read['level']}", int(size[1]) * scale, shared))
    return found or list(ASSUMED)


def numbers(text: str) -> list[int]:
    """What "0-2,5" lists."""
    listed: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        listed += range(int(first), int(last or first) + 1)
    return listed


def bandwidths(threads: int) -> list[Level]:
    """Every level's. Caches of one core count once for each thread."""
    levels = []
    largest = 0
    for name, size, shared in caches():
        alone = shared < max(2, threads)
        copies = threads if alone else 1
        # together they are at least as fast as one, whatever a busy machine says
        rate = max(stream(size // 2, n) for n in {1, 1 if alone else threads})
        levels.append(Level(name, float(size * copies), rate * copies))
        largest = max(largest, size)
    size = min(max(4 * largest, 1 << 26), MOST_BYTES)
    rate = max(stream(size, n) for n in {1, threads})
    levels.append(Level("memory", math.inf, rate))
    return levels


def stream(size: int, threads: int) -> float:
    """bytes/s of passes over arrays of `size` bytes together, the overhead taken off."""
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        runs: dict[tuple[str, int], Callable[[], Any]] = {}
        moved: dict[str, int] = {}
        for name, (arrays, passes) in PASSES.items():
            n = max(2 * FEW, size // 4 // arrays // FEW * FEW)
            moved[name] = 4 * passes * (n - FEW)
            for count in (n, FEW):
                runs[name, count] = over(_core.op_named(name), arrays, count)
        times = race(runs, rounds=11, budget=4e-3)
        rates = []
        for (name, count), long in times.items():
            if count > FEW:
                net = long.best - times[name, FEW].best
                rates.append(moved[name] / max(net, 1e-12))
        return max(rates)
    finally:
        fastnn.set_num_threads(before)


def over(op: Any, arrays: int, n: int) -> Callable[[], Any]:
    """The op on that many arrays of n numbers; the first is written."""
    out, *xs = (fastnn.zeros(n) for _ in range(arrays))
    if "inplace" in op.flags:
        return lambda: op(out, *xs)
    return lambda: op.into(out, *xs)
