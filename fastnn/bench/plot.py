"""The roofline: what each workload reaches, under what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastnn.bench.harness import Record
from fastnn.bench.report import FIRST

COLORS = {
    "overhead": "#777777",
    "kernels": "#2563a8",
    "train": "#c22f2f",
    "infer": "#2e8b57",
}


def draw(path: Path, record: Record) -> None:
    """One panel for each number of threads: attainable flop/s by flops per byte.

    Parameters:
        path : file, whose ending says its kind.
        record : of harness.run.
    """
    from matplotlib.figure import Figure

    runs = record["runs"]
    figure: Any = Figure(figsize=(15, 9 * len(runs)), dpi=110, layout="constrained")
    panels = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
    for axes, run in zip(panels, runs, strict=True):
        panel(axes, record, run)
    figure.savefig(path)


def panel(axes: Any, record: Record, run: Record) -> None:
    """One number of threads."""
    points = [
        (row["flops"] / row["bytes"], row["flops"] / t["median"] / 1e9, row)
        for row in run["rows"]
        if (t := row["times"].get(FIRST)) is not None and t["median"] > 0
    ]
    peak = run["machine"]["peaks"][run["isa"]]["float32"] / 1e9
    levels = [(v["name"], v["rate"] / 1e9) for v in run["machine"]["bandwidth"]]
    xs = [x for x, _, _ in points] + [peak / rate for _, rate in levels]
    left, right = min(xs) / 2.5, max(xs) * 6
    for name, rate in levels:
        axes.plot([left, peak / rate], [rate * left, peak], color="black", lw=1)
        axes.annotate(
            f"{name} {rate:.0f} GB/s",
            (left, rate * left),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=9,
        )
    lowest = min(peak / rate for _, rate in levels)
    axes.plot([lowest, right], [peak, peak], color="black", lw=1.5)
    axes.annotate(
        f"{run['isa']} peak {peak:.0f} GFLOP/s",
        (right, peak),
        xytext=(-4, 5),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for group, color in COLORS.items():
        mine = [(x, y) for x, y, row in points if row["group"] == group]
        if mine:
            xy = zip(*mine, strict=True)
            axes.scatter(*xy, color=color, s=22, label=group, zorder=3)
    axes.set_xlim(left, right)
    axes.set_ylim(min([y for _, y, _ in points], default=peak / 1e3) / 3, peak * 2)
    label(axes, [(x, y, row["name"], row["group"]) for x, y, row in points])
    axes.set_xlabel("arithmetic intensity, FLOP per byte")
    axes.set_ylabel("GFLOP/s")
    n = run["threads"]
    axes.set_title(f"{record['cpu']}, {n} thread{'s' * (n > 1)}: workloads of fastnn")
    axes.grid(alpha=0.2, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    if points:
        axes.legend(frameon=False, loc="lower right")


def label(axes: Any, points: list[tuple[float, float, str, str]]) -> None:
    """A name beside each point, moved up or down where another one is in its place."""
    axes.figure.canvas.draw()
    taken: list[tuple[float, float, float]] = []
    for x, y, name, group in sorted(points, key=lambda p: (-p[1], p[0])):
        px, py = axes.transData.transform((x, y))
        width, height = 5.6 * len(name), 13.0
        at = py
        while any(
            abs(at - other) < height and px < end and begin < px + width
            for begin, end, other in taken
        ):
            at -= height
        taken.append((px, px + width, at))
        axes.annotate(
            name,
            (x, y),
            xytext=(7, (at - py) * 72 / axes.figure.dpi - 3),
            textcoords="offset points",
            fontsize=7,
            color=COLORS[group],
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": COLORS[group]}
            if at != py
            else None,
        )
