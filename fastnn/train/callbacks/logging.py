"""CSVLogger: a row of a table for every epoch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.train.callbacks.base import Callback

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer


class CSVLogger(Callback):
    """Writes the history to a CSV file, a row after each epoch.

    Columns are epoch, seconds, samples_per_second, and the numbers of the history. A
    resumed fit writes the epochs before it as well, from its history.

    Parameters:
        path : file to write; folders are made.
        append : bool: add rows to what is there, whose columns must be the same; a
            resumed fit then adds its own epochs only.

    Example:
        >>> from fastnn.train import CSVLogger
        >>> logger = CSVLogger("run.csv")
    """

    def __init__(self, path: Any, append: bool = False) -> None:
        self.path = Path(path)
        self.append = append
        self._columns: list[str] = []

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Begin the file; a resumed fit's rows are written again."""
        values = [
            n for n in trainer.names if n.removeprefix("val_") not in tensors(trainer)
        ]
        self._columns = ["epoch", "seconds", "samples_per_second", *values]
        there = self.append and self.path.exists() and self.path.stat().st_size > 0
        if there:
            with open(self.path, newline="") as file:
                header = next(csv.reader(file), [])
            if header != self._columns:
                raise ValueError(
                    f"CSVLogger: {self.path} has the columns {', '.join(header)}; expected "
                    f"{', '.join(self._columns)}"
                )
        rows = [] if there else [self._columns]
        if not self.append:
            count = len(trainer.history.epochs)
            rows += [self._row(trainer, i) for i in range(count)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(rows, "a" if self.append else "w")

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Write the row."""
        self._write([self._row(trainer, -1)], "a")

    def _write(self, rows: list[list[Any]], mode: str) -> None:
        with open(self.path, mode, newline="") as file:
            csv.writer(file).writerows(rows)

    def _row(self, trainer: Trainer, i: int) -> list[Any]:
        history = trainer.history
        start = [history.epochs[i], history.seconds[i], history.samples_per_second[i]]
        return start + [history[name][i] for name in self._columns[3:]]


def tensors(trainer: Trainer) -> set[str]:
    """Names of the metrics whose value is a Tensor, which no cell holds."""
    return {name for name, metric in trainer.metrics.items() if metric.is_tensor}
