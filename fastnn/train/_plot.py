"""Plots of a History and of a Monitor's records, with matplotlib (the extra "plot")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TRAIN, VALIDATION, FAINT = "#1f5fa8", "#d9622b", "#b8cbe3"


def figure(panels: int, columns: int, who: str) -> tuple[Any, list[Any]]:
    """A Figure with that many axes, drawn without pyplot and its global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"{who}: matplotlib is needed: pip install 'fastnn[plot]'"
        ) from error
    columns = min(panels, columns)
    rows = -(-panels // columns)
    fig = Figure(figsize=(4.4 * columns, 3.2 * rows), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[panels:]:
        ax.remove()
    for ax in axes[:panels]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e6e6e6", linewidth=0.7)
        ax.set_axisbelow(True)
    return fig, list(axes[:panels])


def save(fig: Any, path: Any) -> Any:
    """Write the figure where there is a path; returns it."""
    if path is not None:
        fig.savefig(path, dpi=144)
    return fig


def plot_history(history: Any, path: Any) -> Any:
    """One panel for the loss, one for each metric, one for a learning rate that moves."""
    names = [n for n in history.scalars() if n != "loss" and not n.startswith("val_")]
    rates = np.asarray(history.learning_rates)
    moving = len(rates) > 1 and bool(np.ptp(rates) > 0)
    panels = ["loss", *names, *(["learning rate"] if moving else [])]
    fig, axes = figure(len(panels), 2 if len(panels) == 4 else 3, "History.plot")
    epochs = np.asarray(history.epochs)
    batches = np.asarray(history.batch_losses)
    at = batch_positions(history.epoch_ends, len(batches))
    for name, ax in zip(panels, axes, strict=True):
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylabel(name.replace("_", " "))
        if name == "learning rate":
            ax.plot(at, rates, color=TRAIN, linewidth=1.4)
            continue
        shown = [history[name]] if name in history else []
        if name == "loss":
            finite = np.isfinite(batches)
            ax.plot(at[finite], batches[finite], color=FAINT, linewidth=0.6)
        marker = "o" if len(epochs) < 30 else None
        style: dict[str, Any] = {"linewidth": 1.6, "marker": marker, "markersize": 3.5}
        if name in history:
            ax.plot(epochs, history[name], color=TRAIN, label="training", **style)
        if f"val_{name}" in history:
            values = history[f"val_{name}"]
            shown.append(values)
            ax.plot(epochs, values, color=VALIDATION, label="validation", **style)
        if len(shown) > 1:
            ax.legend(frameon=False)
        limit_to(ax, [v for values in shown for v in values], batches, name == "loss")
    return save(fig, path)


def batch_positions(ends: Sequence[int], count: int) -> Any:
    """Where each batch lies on an axis of epochs; an unfinished one is as the last."""
    width = ends[-1] - (ends[-2] if len(ends) > 1 else 0) if ends else count
    ends = [0, *ends]
    beyond = ends[-1] + max(width, count - ends[-1], 1)
    return np.interp(np.arange(count) + 1, [*ends, beyond], range(len(ends) + 1))


def limit_to(
    ax: Any, values: Sequence[float], batches: Any, with_batches: bool
) -> None:
    """Let single wild batches leave the panel rather than flatten the curves."""
    finite = [v for v in values if np.isfinite(v)]
    if with_batches and len(batches):
        some = batches[np.isfinite(batches)]
        if len(some):
            finite += [float(np.quantile(some, 0.005)), float(np.quantile(some, 0.995))]
    if finite:
        low, high = min(finite), max(finite)
        edge = 0.04 * (high - low) or 0.5
        ax.set_ylim(low - edge, high + edge)


def plot_monitor(records: Sequence[dict[str, Any]], path: Any) -> Any:
    """Four panels over the batches: activations, gradients, updates, dead units."""
    fig, axes = figure(4, 2, "Monitor.plot")
    panels = (
        ("activations", "activation (root mean square)", True),
        ("gradients", "gradient norm", True),
        ("updates", "update / weight", True),
        ("dead", "share of dead units", False),
    )
    for ax, (key, label, logarithmic) in zip(axes, panels, strict=True):
        ax.set_xlabel("batch")
        ax.set_ylabel(label)
        names = list(dict.fromkeys(name for record in records for name in record[key]))
        for i, name in enumerate(names):
            points = [(r["step"], r[key][name]) for r in records if name in r[key]]
            shade = i / max(len(names) - 1, 1)
            ax.plot(*zip(*points, strict=True), color=colour(shade), label=name, lw=1.3)
        if logarithmic:
            ax.set_yscale("log")
        else:
            ax.set_ylim(-0.03, 1.03)
        if names:
            ax.legend(
                frameon=False,
                fontsize=7,
                ncols=1 + len(names) // 21,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
            )
    return save(fig, path)


def colour(shade: float) -> Any:
    """From the first layer, dark, to the last, light."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * shade)
