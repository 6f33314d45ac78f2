"""What was measured, as text for a terminal and as a page of documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastnn.bench.harness import Record
from fastnn.bench.peers import ALWAYS, PEERS
from fastnn.bench.peers.ours import Compiled, Eager

TITLES = {c.key: c.title for c in ALWAYS + PEERS}
FIRST = Compiled.key
OURS = (Compiled.key, Eager.key)
NONE = "-"

PAGE = """\
# Benchmarks

Written by `{command}`; run it again to make this page for another machine.

Every contestant takes its turn in one process for each number of threads, on the same CPUs
and with the same number of threads; a figure is the median over the rounds, and the spread
is half the distance of the quartiles. Before anything is timed, the results are compared:
outputs and gradients, the losses of the first steps of training, parameters after some steps
of an optimizer. OpenBLAS's idle threads are told to sleep early (OPENBLAS_THREAD_TIMEOUT),
and ONNX Runtime's to stop spinning when a call ends, since they would spin through the
others' turns.

- **Of the floor**: the time that the machine's peak of multiply-adds or its bandwidth
  (whichever takes longer) would allow, as a share of the time taken. It is not within reach
  where the work is small. Convolutions count as the sums that define them; Winograd's
  algorithm takes fewer, so that it may be above 100%.
- **Goals** against the best are judged against the fastest of the libraries that took part.
  Where one of them failed, or results differ, nothing is met.
- **Ratios**: fastnn's time by the other's. Above 1, fastnn is slower; such cells are bold.
- *fastnn* is compiled (`fastnn.compile`), *fastnn eager* is not. PyTorch runs its fused
  optimizers, PyTorch compiled `torch.compile` (but not for recurrent layers, whose steps it
  unrolls for minutes), JAX one jitted function with donated parameters and synchronous
  dispatch, ONNX Runtime a session of its own.
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


def verdicts(row: Record, threads: int) -> list[str]:
    """The row's goals, of which one is to be met: what was reached, and the verdict."""
    if not row["goals"]:
        return []
    if FIRST not in row["times"]:
        return [f"{row['name']}: goal not measured, fastnn has no figure"]
    judged = [conditions(row, goal, threads) for goal in row["goals"]]
    text = "; or ".join(", ".join(said for said, _ in goal) for goal in judged)
    others = [k for k in (*row["times"], *row["failed"]) if k not in OURS]
    alone = others and not any(k in row["times"] for k in others)
    if alone and any("another result" in why for why in row["failed"].values()):
        verdict = "not measured"  # who is right?
    elif any(goal and all(met for _, met in goal) for goal in judged):
        verdict = "met"
    elif any(all(met is not False for _, met in goal) for goal in judged):
        verdict = "not measured"
    else:
        verdict = "MISSED"
    return [f"{row['name']}: {text}: {verdict}"]


def is_rival(row: Record, key: str) -> bool:
    """Whether a contestant that failed might have been the fastest: not one that "has no"
    such thing, or another one, as it says itself."""
    return not row["failed"][key].startswith("has ")


def conditions(
    row: Record, goal: Record, threads: int
) -> list[tuple[str, bool | None]]:
    """What was reached of each, and whether that is enough; None where nothing tells."""
    ours = row["times"][FIRST]["median"]
    medians = {k: t["median"] for k, t in row["times"].items()}
    found: list[tuple[str, bool | None]] = []

    def against(key: str | None, name: str, most: float) -> None:
        if key is None or key not in medians:
            found.append((f"no {name} (goal {most:.2f})", None))
        else:
            ratio = ours / medians[key]
            found.append(
                (f"{ratio:.2f} of {name}'s time (goal {most:.2f})", ratio <= most)
            )

    if goal["seconds"] is not None:
        most = goal["seconds"]
        found.append((f"{duration(ours)} (goal {duration(most)})", ours <= most))
    for key, share_of_it in (goal["against"] or {}).items():
        against(key, TITLES[key], share_of_it)
    if goal["peer"] is not None:
        rivals = [k for k in medians if k not in OURS]
        best = min(rivals, key=lambda k: medians[k], default=None)
        against(best, "another" if best is None else TITLES[best], goal["peer"])
        lost = [TITLES[k] for k in row["failed"] if k not in OURS and is_rival(row, k)]
        if lost and found[-1][1]:  # one of them might be the fastest
            found[-1] = (f"{found[-1][0]}, without {', '.join(lost)}", None)
    if goal["floor"] is not None:
        least = goal["floor"][threads > 1]
        reached = row["floor"] / ours
        found.append(
            (f"{share(reached)} of the floor (goal {least:.0%})", reached >= least)
        )
    return found


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
    every = [
        ("Goals", [v for row in run["rows"] for v in verdicts(row, run["threads"])]),
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
