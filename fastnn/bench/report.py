"""What was measured, as text for a terminal and as a page of documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastnn.bench.harness import Record
from fastnn.bench.peers import ALWAYS, PEERS

TITLES = {c.key: c.title for c in ALWAYS + PEERS}
FIRST = "fastnn"
NONE = "-"

PAGE = """\
# Benchmarks

Written by `{command}`; run it again to make this page for another machine.

Every contestant takes its turn in one process for each number of threads, on the same CPUs
and with the same number of threads; a figure is the median over the rounds, and the spread
is half the distance of the quartiles. Before anything is timed, the results are compared:
outputs and gradients, the losses of the first steps of training, parameters after some steps
of an optimizer. OpenBLAS's idle threads are told to sleep early (OPENBLAS_THREAD_TIMEOUT),
since they would spin through the others' turns.

- **Of the floor**: the time that the machine's peak of multiply-adds or its bandwidth
  (whichever takes longer) would allow, as a share of the time taken. It is not within reach
  where the work is small.
- **Ratios**: fastnn's time by the other's. Above 1, fastnn is slower; such cells are bold.
- *fastnn* is compiled (`fastnn.compile`), *fastnn eager* is not. PyTorch runs its fused
  optimizers, PyTorch compiled `torch.compile`, JAX one jitted function with donated
  parameters and synchronous dispatch, ONNX Runtime a session of its own.
- `python -m pytest benchmarks --benchmark-only` times every op beside its NumPy reference.

A further workload is a row in `fastnn/bench/workloads/`, a further contestant a class in
`fastnn/bench/peers/`.
"""


def duration(seconds: float) -> str:
    """With three digits and a unit."""
    for scale, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms"), (1.0, "s")):
        value = seconds * scale
        if abs(value) < 999.5 or unit == "s":
            break
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def rate(value: float, unit: str) -> str:
    """In thousands of millions."""
    return f"{value / 1e9:,.{0 if value > 1e10 else 1}f} G{unit}"


def share(value: float) -> str:
    """Percent, with a digit where it is small."""
    return f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}"


def is_loss(ratio: float) -> bool:
    """Whether fastnn is the slower one, in the digits shown."""
    return ratio >= 1.005


def others(run: Record) -> list[str]:
    """Keys of the contestants that have a figure or a failure somewhere, in order."""
    seen = {k for row in run["rows"] for k in (*row["times"], *row["failed"])}
    return [key for key in TITLES if key in seen and key != FIRST]


def cells(row: Record, peers: Sequence[str], mark: str) -> list[str]:
    """Name, time, spread, share of the floor and a ratio for each peer."""
    ours = row["times"].get(FIRST)
    if ours is None:
        first = [row["name"], "failed" if FIRST in row["failed"] else NONE, NONE, NONE]
    else:
        low, high = ours["quartiles"]
        middle = ours["median"]
        spread = (high - low) / 2 / middle
        first = [
            row["name"],
            duration(middle),
            f"±{spread:.0%}",
            share(row["floor"] / middle),
        ]
    for key in peers:
        theirs = row["times"].get(key)
        if key in row["failed"]:
            first.append("failed")
        elif theirs is None:
            first.append(NONE)
        elif ours is None:
            first.append(duration(theirs["median"]))
        else:
            ratio = ours["median"] / theirs["median"]
            text = f"{ratio:.2f}"
            first.append(mark.format(text) if is_loss(ratio) else text)
    return first


def verdicts(row: Record) -> list[str]:
    """The row's targets, met or missed; they are for one thread."""
    said = []
    ours = row["times"].get(FIRST)
    for key, target in row["targets"].items():
        if ours is None:
            said.append(f"{row['name']}: target not measured, fastnn has no figure")
        elif key == "seconds":
            met = "met" if ours["median"] <= target else "MISSED"
            said.append(
                f"{row['name']}: {duration(ours['median'])}, target "
                f"{duration(target)}: {met}"
            )
        elif key in row["times"]:
            ratio = ours["median"] / row["times"][key]["median"]
            met = "met" if ratio <= target else "MISSED"
            said.append(
                f"{row['name']}: {ratio:.2f} of {TITLES[key]}'s time, target "
                f"{target:.2f}: {met}"
            )
        else:
            said.append(f"{row['name']}: target not measured, no {TITLES[key]}")
    return said


def losses(run: Record) -> list[str]:
    """Each comparison in which fastnn is slower, the worst first."""
    found = []
    for row in run["rows"]:
        ours = row["times"].get(FIRST)
        for key, theirs in row["times"].items():
            if key != FIRST and ours is not None:
                ratio = ours["median"] / theirs["median"]
                if is_loss(ratio):
                    found.append((ratio, row["name"], TITLES[key]))
    return [
        f"{name}: {ratio:.2f} of {who}'s time"
        for ratio, name, who in sorted(found)[::-1]
    ]


def troubles(run: Record) -> list[str]:
    """Who failed at what, and who is not there."""
    said = [f"{title}: {why}" for title, why in run["absent"].items()]
    for row in run["rows"]:
        for key, why in row["failed"].items():
            said.append(f"{row['name']}: {TITLES[key]}: {why}")
    return said


def machine_lines(record: Record, run: Record) -> list[str]:
    """What the machine can do."""
    n = run["threads"]
    peaks = [
        f"{isa} {rate(p['float32'], 'FLOP/s')} ({rate(p['float64'], 'FLOP/s')} in float64)"
        for isa, p in run["machine"]["peaks"].items()
    ]
    levels = [
        f"{level['name']} {rate(level['rate'], 'B/s')}"
        for level in run["machine"]["bandwidth"]
    ]
    versions = [f"{k} {v}" for k, v in run["versions"].items() if k != "fastnn eager"]
    return [
        f"{record['cpu']}, {n} thread{'s' * (n > 1)}, {run['isa']} kernels, Python "
        f"{run['python']}",
        "peak: " + ", ".join(peaks),
        "bandwidth: " + ", ".join(levels),
        ", ".join(versions),
    ]


def by_group(run: Record) -> dict[str, list[Record]]:
    """The rows of each group, in order."""
    groups: dict[str, list[Record]] = {}
    for row in run["rows"]:
        groups.setdefault(row["group"], []).append(row)
    return groups


def header(peers: Sequence[str]) -> list[str]:
    """The columns after the name."""
    return ["fastnn", "spread", "of the floor", *(f"/ {TITLES[k]}" for k in peers)]


def text(record: Record) -> str:
    """For a terminal."""
    lines: list[str] = []
    for run in record["runs"]:
        lines += ["", *machine_lines(record, run)]
        for group, rows in by_group(run).items():
            seen = others({"rows": rows})
            table = [[group, *header(seen)]]
            table += [cells(row, seen, "{} SLOWER") for row in rows]
            lines += ["", *aligned(table)]
        for title, said in sections(run):
            lines += ["", f"{title}:", *(f"  {line}" for line in said)]
    return "\n".join(lines[1:])


def sections(run: Record) -> list[tuple[str, list[str]]]:
    """What follows the tables; empty lists left out."""
    timed = run["rows"] if run["threads"] == 1 else []
    every = [
        ("Targets", [v for row in timed for v in verdicts(row)]),
        ("Slower than others", losses(run)),
        ("Failed or absent", troubles(run)),
    ]
    return [(title, said) for title, said in every if said]


def aligned(table: list[list[str]]) -> list[str]:
    """Names to the left, figures to the right."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def markdown(record: Record, plot: Path | None = None) -> str:
    """As a page; plot is the picture's path from there."""
    lines = [PAGE.format(command=record["command"])]
    if plot is not None:
        lines += [f"![Workloads under the roofline]({plot.as_posix()})", ""]
    for run in record["runs"]:
        n = run["threads"]
        lines += [f"## {n} thread{'s' * (n > 1)}", ""]
        lines += [f"- {line}" for line in machine_lines(record, run)]
        for group, rows in by_group(run).items():
            seen = others({"rows": rows})
            lines += ["", f"### {group}", ""]
            head = ["", *header(seen)]
            lines += ["| " + " | ".join(head) + " |"]
            lines += ["|---" + "|---:" * (len(head) - 1) + "|"]
            lines += [f"| {' | '.join(cells(row, seen, '**{}**'))} |" for row in rows]
        for title, said in sections(run):
            lines += ["", f"### {title}", "", *(f"- {line}" for line in said)]
        lines.append("")
    return "\n".join(lines)
