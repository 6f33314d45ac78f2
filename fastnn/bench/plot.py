"""The roofline: what each workload reaches, under what the machine allows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fastnn.bench.harness import Record
from fastnn.bench.report import FIRST, share

COLORS = {
    "overhead": "#777777",
    "products": "#7a3fa0",
    "kernels": "#2563a8",
    "layers": "#c77700",
    "sequences": "#1b8a94",
    "train": "#c22f2f",
    "infer": "#2e8b57",
}
SMALL = 8  # points, of the numbers and the key


def draw(path: Path, record: Record) -> None:
    """One panel for each number of threads: attainable flop/s by flops per byte.

    Parameters:
        path : file, whose ending says its kind.
        record : of harness.run.
    """
    from matplotlib.figure import Figure

    runs = record["runs"]
    lines = max(len(run["rows"]) + len(COLORS) for run in runs)  # of the key
    height = max(10.0, lines * 1.3 * SMALL / 72)  # inches
    figure: Any = Figure(figsize=(16, height * len(runs)), dpi=110)
    figure.subplots_adjust(0.05, 0.07 / len(runs), 0.99, 1 - 0.04 / len(runs), 0.02)
    panels = figure.subplots(len(runs), 2, squeeze=False, width_ratios=(3, 1))
    for (left, right), run in zip(panels, runs, strict=True):
        points = roofline(left, record, run)
        name_levels(left, run)
        number(left, points)
        key(right, points)
    figure.savefig(path)


def roofline(
    axes: Any, record: Record, run: Record
) -> list[tuple[float, float, Record]]:
    """Lines of the machine and points of the workloads; returns (x, y, row) of these."""
    points = [
        (row["flops"] / row["bytes"], row["flops"] / t["median"] / 1e9, row)
        for row in run["rows"]
        if (t := row["times"].get(FIRST)) is not None
    ]
    peak, levels = limits(run)
    xs = [x for x, _, _ in points] + [peak / rate for _, rate in levels]
    left, right = min(xs) / 2.5, max(xs) * 2.5
    for _, rate in levels:
        axes.plot([left, peak / rate], [rate * left, peak], color="black", lw=1)
    lowest = min(peak / rate for _, rate in levels)
    axes.plot([lowest, right], [peak, peak], color="black", lw=1.5)
    for group, color in COLORS.items():
        mine = [(x, y) for x, y, row in points if row["group"] == group]
        if mine:
            axes.scatter(*zip(*mine, strict=True), color=color, s=22, zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    ys = [y for _, y, _ in points]
    top = max([peak, *ys])  # who needs fewer sums gets above the peak
    axes.set_ylim(min(ys, default=peak / 1e3) / 2, top * 2)
    axes.set_xlabel("arithmetic intensity, FLOP per byte")
    axes.set_ylabel("GFLOP/s")
    n = run["threads"]
    axes.set_title(f"fastnn on {record['cpu']}, {n} thread{'s' * (n > 1)}")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    return points


def limits(run: Record) -> tuple[float, list[tuple[str, float]]]:
    """GFLOP/s in float32 of the kernels in force; GB/s of each level."""
    peak = run["machine"]["peaks"][run["isa"]]["float32"] / 1e9
    return peak, [(v["name"], v["rate"] / 1e9) for v in run["machine"]["bandwidth"]]


def name_levels(axes: Any, run: Record) -> None:
    """Names along the lines, above them."""
    peak, levels = limits(run)
    left, right = axes.get_xlim()
    for name, rate in levels:
        (x0, y0), (x1, y1) = axes.transData.transform(
            [(left, rate * left), (peak / rate, peak)]
        )
        axes.annotate(
            f"{name} {rate:.0f} GB/s",
            (left, rate * left),
            xytext=(6, 9),
            textcoords="offset points",
            rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)),
            rotation_mode="anchor",
            fontsize=SMALL + 1,
        )
    axes.annotate(
        f"{run['isa']} peak, {peak:.0f} GFLOP/s",
        (right, peak),
        xytext=(-4, 5),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL + 1,
    )


def number(axes: Any, points: list[tuple[float, float, Record]]) -> None:
    """A number to the right of each point, further right where something else is."""
    scale = axes.figure.dpi / 72
    width, height = 1.5 * SMALL * scale, SMALL * scale
    places = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [(px - width / 2, py) for px, py in places]
    for k, ((x, y, row), (px, py)) in enumerate(zip(points, places, strict=True), 1):
        at = px + width / 2
        while any(abs(at - a) < width and abs(py - b) < height for a, b in taken):
            at += scale
        taken.append((at, py))
        axes.annotate(
            str(k),
            (x, y),
            xytext=((at - px) / scale, -3),
            textcoords="offset points",
            fontsize=SMALL,
            color=COLORS[row["group"]],
        )


def key(axes: Any, points: list[tuple[float, float, Record]]) -> None:
    """What the numbers mean, with the share of the floor."""
    axes.set_axis_off()
    lines: list[tuple[str, str, str]] = []
    group = ""
    for k, (_, _, row) in enumerate(points, 1):
        if row["group"] != group:
            group = row["group"]
            lines.append((f"{group}, and percent of the floor", COLORS[group], "bold"))
        reached = share(row["floor"] / row["times"][FIRST]["median"])
        lines.append((f"{k:>3}  {row['name']}  {reached}", COLORS[group], "normal"))
    for place, (words, color, weight) in enumerate(lines):
        axes.text(
            0,
            1 - place / max(len(lines), 40),
            words,
            color=color,
            weight=weight,
            fontsize=SMALL,
            va="top",
            transform=axes.transAxes,
        )
