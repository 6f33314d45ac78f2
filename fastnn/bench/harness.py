"""Runs workloads: every contestant builds them, results are compared, then all race.

Each number of threads has a process of its own, since libraries read theirs when they are
imported: `python -m fastnn.bench` is that process.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import fastnn
from fastnn._info import cpu
from fastnn.bench.machine import Machine, measure, numbers
from fastnn.bench.peers import ALWAYS, PEERS, Contestant
from fastnn.bench.racing import BUDGET, ROUNDS, Times, race
from fastnn.bench.workloads import GROUPS, Run, Workload

Record: TypeAlias = dict[str, Any]  # what goes to JSON
TOPOLOGY = Path("/sys/devices/system/cpu")
# What keeps each library to so many threads, where it reads that at import.
POOLS = (
    "FASTNN_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NPROC",  # XLA's pool
)


def check_groups(groups: Iterable[str]) -> None:
    """Raise in words where there is no such group."""
    for group in groups:
        if group not in GROUPS:
            raise ValueError(
                f"expected a group out of {', '.join(GROUPS)}, got {group!r}"
            )


# ---- all numbers of threads -------------------------------------------------------------


def run(
    groups: Sequence[str], threads: Sequence[int], *, peers: bool, command: str
) -> Record:
    """The workloads with each number of threads, as what --json writes.

    Parameters:
        groups : names; none for all.
        threads : numbers of threads, one process for each.
        peers : whether other libraries take part.
        command : the command line, for the record.

    Raises: ValueError for an unknown group or more threads than CPUs; RuntimeError where a
        process fails.
    """
    check_groups(groups)
    available = cores()
    for count in threads:
        if not 1 <= count <= len(available):
            raise ValueError(
                f"--threads: expected 1 to {len(available)}, which is how many CPUs this "
                f"process may use, got {count}"
            )
    record: Record = {
        "command": command,
        "cpu": cpu()["name"],
        "system": platform.platform(),
        "runs": [],
    }
    for count in threads:
        record["runs"].append(child(groups, count, peers, available[:count]))
    return record


def child(groups: Sequence[str], threads: int, peers: bool, cpus: list[int]) -> Record:
    """A process with so many threads, on these CPUs; what it measured."""
    environment = {**os.environ, **dict.fromkeys(POOLS, str(threads))}
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that stay around
    # OpenBLAS's idle threads give up their core after 2^16 cycles, not after many turns of
    # the others; NumPy's own times stay as they are.
    environment["OPENBLAS_THREAD_TIMEOUT"] = "16"
    root = str(Path(fastnn.__file__).resolve().parents[1])
    paths = [root, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run.json")
        words = [sys.executable, "-m", "fastnn.bench", str(file), str(threads)]
        words += ["peers" if peers else "alone", *groups]
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # the process inherits it
        try:
            status = subprocess.run(words, env=environment, cwd=folder).returncode
        finally:
            os.sched_setaffinity(0, mine)
        if not file.exists():
            raise RuntimeError(
                f"the process with {threads} threads ended with {status}"
            )
        found: Record = json.loads(file.read_text())
        return found


def cores(root: Path = TOPOLOGY) -> list[int]:
    """CPUs that this process may use: one of each core first, then their siblings."""

    def rank(cpu: int) -> tuple[int, int]:
        try:
            text = (root / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            return 0, cpu
        return numbers(text.strip()).index(cpu), cpu

    return sorted(os.sched_getaffinity(0), key=rank)


# ---- one number of threads, in this process ---------------------------------------------


def run_here(
    rows: Iterable[Workload],
    threads: int,
    kinds: Iterable[type[Contestant]],
    *,
    rounds: int = ROUNDS,
    budget: float = BUDGET,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """The rows with these contestants, in this process, on that many threads."""
    fastnn.set_num_threads(threads)
    contestants, absent = prepare(kinds, threads)
    say(f"{threads} thread{'s' * (threads > 1)}: the machine's peak and bandwidth")
    machine = measure(threads)
    made = []
    for row in rows:
        say(f"{threads} thread{'s' * (threads > 1)}, {row.group}: {row.name}")
        made.append(run_row(row, contestants, machine, rounds, budget))
        gc.collect()  # models and steps hold each other, and much memory
    versions = {c.title: c.version() for c in contestants}
    return {
        "threads": threads,
        "isa": machine.isa,
        "python": platform.python_version(),
        "versions": versions,
        "absent": absent,
        "machine": described(machine),
        "rows": made,
    }


def prepare(
    kinds: Iterable[type[Contestant]], threads: int
) -> tuple[list[Contestant], dict[str, str]]:
    """Those that are installed and can be imported, and why others do not take part."""
    ready, absent = [], {}
    for kind in kinds:
        contestant = kind()
        if contestant.version() is None:
            absent[contestant.title] = "not installed"
            continue
        try:
            contestant.prepare(threads)
        except Exception as error:
            absent[contestant.title] = words(error)
            continue
        ready.append(contestant)
    return ready, absent


def run_row(
    row: Workload,
    contestants: Iterable[Contestant],
    machine: Machine,
    rounds: int = ROUNDS,
    budget: float = BUDGET,
) -> Record:
    """Build, compare, race; a contestant that fails gets a line that says how."""
    runs: dict[str, Run] = {}
    results: dict[str, list[Any]] = {}
    failed: dict[str, str] = {}
    for contestant in contestants:
        try:
            built = contestant.build(row)
            if built is None:
                continue
            results[contestant.key] = [np.asarray(a) for a in built.result()]
            runs[contestant.key] = built
        except Exception as error:
            failed[contestant.key] = words(error)
    for key, trouble in disagreements(results, row.tolerance).items():
        failed[key] = trouble
        del runs[key]
    results.clear()
    times = timed(runs, rounds, budget)
    for key in [k for k, t in times.items() if t.quartiles[0] <= 0]:
        failed[key] = (
            f"lost in the noise: differences of {times[key].quartiles[0] * 1e9:.0f} to "
            f"{times[key].quartiles[1] * 1e9:.0f} ns between the quartiles"
        )
        del times[key]
    return {
        "name": row.name,
        "group": row.group,
        "flops": row.flops,
        "bytes": row.bytes,
        "dtype": row.dtype,
        "floor": machine.floor(row.flops, row.bytes, row.dtype),
        "level": machine.level(row.bytes).name,
        "goals": [goal._asdict() for goal in row.goals],
        "times": {
            key: {
                "median": t.median,
                "quartiles": list(t.quartiles),
                "samples": list(t.samples),
            }
            for key, t in times.items()
        },
        "failed": failed,
    }


def disagreements(
    results: dict[str, list[Any]], tolerance: float | None
) -> dict[str, str]:
    """Whose result is not the first one's, and by how much."""
    trouble: dict[str, str] = {}
    if tolerance is None or not results:
        return trouble
    first, *others = results
    for key in others:
        pairs = list(zip(results[first], results[key], strict=False))
        shapes = [(a.shape, b.shape) for a, b in pairs if a.shape != b.shape]
        if shapes or len(results[first]) != len(results[key]):
            trouble[key] = f"another result than {first}'s: shapes {shapes}"
            continue
        for a, b in pairs:
            scale = float(np.abs(a).max(initial=0)) or 1.0
            error = float(np.abs(a - b).max(initial=0)) / scale
            if not error <= tolerance:
                trouble[key] = (
                    f"another result than {first}'s: differs by {error:.1g} of the "
                    f"largest number, expected at most {tolerance:.0g}"
                )
    return trouble


def timed(runs: dict[str, Run], rounds: int, budget: float) -> dict[str, Times]:
    """All in turns; what is to be taken off has turns of its own."""
    calls: dict[tuple[str, bool], Callable[[], Any]] = {}
    for key, run in runs.items():
        calls[key, False] = run.call
        if run.less is not None:
            calls[key, True] = run.less
    times = race(calls, rounds=rounds, budget=budget)
    return {
        key: times[key, False]
        if run.less is None
        else times[key, False].less(times[key, True], run.per)
        for key, run in runs.items()
    }


def words(error: Exception) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    if len(text) > 160:
        text = text[:157] + "..."
    return (
        text if isinstance(error, RuntimeError) else f"{type(error).__name__}: {text}"
    )


def described(machine: Machine) -> Record:
    """The machine for JSON, which has no infinity."""
    levels = [
        {
            "name": level.name,
            "bytes": None if level.bytes == float("inf") else level.bytes,
            "rate": level.rate,
        }
        for level in machine.bandwidth
    ]
    return {"peaks": machine.peaks, "bandwidth": levels}


def main(arguments: Sequence[str]) -> int:
    """The process of one number of threads: FILE THREADS peers|alone [GROUP ...]."""
    file, threads, others, *groups = arguments
    rows = [row for name in groups or GROUPS for row in GROUPS[name]]
    kinds = ALWAYS + (PEERS if others == "peers" else [])

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    record = run_here(rows, int(threads), kinds, say=say)
    Path(file).write_text(json.dumps(record))
    return 0
