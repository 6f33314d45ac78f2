"""fastnn demo --plot: one picture of what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import Tensor
from fastnn.datasets import Split

if TYPE_CHECKING:
    from fastnn.demo import Epoch

BLUE, ORANGE, RED, GRAY = "#2563a8", "#d97a1f", "#c22f2f", "#777777"


def check(path: Path) -> None:
    """Raise where matplotlib is missing, or cannot write such a file there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeError(
            "--plot needs matplotlib: python -m pip install matplotlib, or "
            '"fastnn[plot]" with it'
        ) from None
    kinds = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in kinds:
        raise RuntimeError(
            f"--plot: expected a file ending in one of {', '.join(kinds)}, got {path}"
        )
    if not path.parent.is_dir():
        raise RuntimeError(f"--plot: expected an existing folder, got {path.parent}")


def draw(path: Path, history: list[Epoch], test: Split, probabilities: Tensor) -> None:
    """Learning curves, confusion matrix and sixteen held-out digits, into one file.

    Parameters:
        path : file, whose ending says its kind.
        history : of the training.
        test : the held-out digits.
        probabilities : (n, 10): what the network makes of them.
    """
    from matplotlib.figure import Figure

    labels = test.labels.numpy()
    predicted = probabilities.numpy().argmax(axis=1)
    right = int((predicted == labels).sum())
    figure: Any = Figure(figsize=(15, 5.6), dpi=110, layout="constrained")
    figure.suptitle(
        f"64-128-64-10 on handwritten digits: {right} of {len(labels)} held-out digits "
        f"right ({right / len(labels):.1%})",
        fontsize=14,
    )
    parts: Any = figure.subfigures(1, 3, width_ratios=(1, 1.15, 1.1))
    curves, matrix, examples = parts
    draw_curves(curves, history)
    draw_confusion(matrix, labels, predicted)
    draw_digits(examples, test, labels, predicted, probabilities.numpy())
    figure.savefig(path)


def draw_curves(figure: Any, history: list[Epoch]) -> None:
    """Loss above, errors below, by epoch."""
    figure.suptitle("Learning curves")
    loss, error = figure.subplots(2, 1, sharex=True)
    epochs = range(1, len(history) + 1)
    dots = {"marker": "o", "markersize": 3}
    loss.plot(epochs, [e.loss for e in history], color=BLUE, label="training", **dots)
    loss.plot(
        epochs,
        [e.held_out_loss for e in history],
        color=ORANGE,
        label="held out",
        **dots,
    )
    loss.set_ylabel("cross entropy")
    loss.set_yscale("log")
    for values, color in (
        ([e.training for e in history], BLUE),
        ([e.held_out for e in history], ORANGE),
    ):
        error.plot(epochs, [100 * (1 - v) for v in values], color=color, **dots)
    error.set_ylabel("digits wrong, %")
    error.set_ylim(0, 100 * min(1.0, 4 * (1 - history[-1].held_out) + 0.01))
    error.set_xlabel("epoch")
    loss.legend(frameon=False)
    for axes in (loss, error):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def draw_confusion(figure: Any, labels: Any, predicted: Any) -> None:
    """How often which digit was taken for which."""
    figure.suptitle("Confusion matrix of the held-out digits")
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    off = counts * (1 - np.eye(10, dtype=int))
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", vmax=counts.max() * 1.3)
    axes.imshow(
        np.ma.masked_equal(off, 0), cmap="Reds", vmin=0, vmax=off.max() * 1.5 + 1
    )
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, count, ha="center", va="center", fontsize=9)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def draw_digits(
    figure: Any, test: Split, labels: Any, predicted: Any, probabilities: Any
) -> None:
    """Sixteen digits: those taken for others first, then the others in order."""
    wrong = np.flatnonzero(predicted != labels)
    shown = [*wrong, *np.flatnonzero(predicted == labels)][:16]
    some = f"all {len(wrong)}" if len(wrong) <= 16 else f"16 of the {len(wrong)}"
    figure.suptitle(f"Sixteen held-out digits, with {some} wrong ones")
    for axes, i in zip(figure.subplots(4, 4).flat, shown, strict=True):
        axes.imshow(test.images[int(i)].numpy().reshape(8, 8), cmap="gray_r")
        axes.set_xticks([])
        axes.set_yticks([])
        ok = predicted[i] == labels[i]
        color = GRAY if ok else RED
        sure = f"{predicted[i]}  ({probabilities[i, predicted[i]]:.0%})"
        axes.set_title(
            sure if ok else f"{sure}, is {labels[i]}",
            fontsize=9,
            color="black" if ok else RED,
            weight="normal" if ok else "bold",
        )
        for spine in axes.spines.values():
            spine.set(color=color, linewidth=1 if ok else 2.5)
