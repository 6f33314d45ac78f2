"""History: what happened in a fit, epoch by epoch and batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastnn._core import Tensor


class History(Mapping[str, list[Any]]):
    """The values of a fit: history["loss"] is a list, one entry an epoch.

    The keys are "loss", the metrics, and both again with "val_" in front where there was
    validation. Training values are those of the batches as they were learnt from.

    Attributes:
        epochs : list of int: the numbers of the finished epochs, from 1.
        seconds : list of float: time of each epoch, validation included.
        samples_per_second : list of float: of each epoch's training.
        epoch_ends : list of int: how many batches there were until each epoch's end.
        batch_losses : list of float: the loss of every batch.
        learning_rates : list of float: of the first parameter group, every batch.
        interrupted : bool: whether Ctrl-C ended the fit.
        stop_reason : str: why a callback ended it; "" where none did.

    Example:
        >>> from fastnn.train import History
        >>> history = History()
        >>> history.append_epoch({"loss": 0.5, "val_loss": 0.75}, 2.0, 1000.0)
        >>> history["val_loss"], history.epochs
        ([0.75], [1])
    """

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}
        self.epochs: list[int] = []
        self.seconds: list[float] = []
        self.samples_per_second: list[float] = []
        self.epoch_ends: list[int] = []
        self.batch_losses: list[float] = []
        self.learning_rates: list[float] = []
        self.interrupted = False
        self.stop_reason = ""

    def append_epoch(
        self, values: Mapping[str, Any], seconds: float, samples_per_second: float
    ) -> None:
        """Add the values of one more epoch."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)
        self.epochs.append(len(self.epochs) + 1)
        self.seconds.append(seconds)
        self.samples_per_second.append(samples_per_second)
        self.epoch_ends.append(len(self.batch_losses))

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._values:
            known = ", ".join(self._values) or "nothing yet"
            raise KeyError(f"history: expected one of {known}; got {name!r}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def last(self) -> dict[str, Any]:
        """The values of the last epoch."""
        return {name: values[-1] for name, values in self._values.items()}

    def scalars(self) -> list[str]:
        """The keys whose values are numbers (a confusion matrix is none)."""
        return [
            name
            for name, values in self._values.items()
            if not any(isinstance(value, Tensor) for value in values)
        ]

    # ---- saving and loading ----

    def to_dict(self) -> dict[str, Any]:
        """All of it, as fastnn.save takes it."""
        return {
            "values": {name: list(values) for name, values in self._values.items()},
            "epochs": list(self.epochs),
            "seconds": list(self.seconds),
            "samples_per_second": list(self.samples_per_second),
            "epoch_ends": list(self.epoch_ends),
            # One a batch: as arrays they are small and quick to write.
            "batch_losses": np.array(self.batch_losses, np.float64),
            "learning_rates": np.array(self.learning_rates, np.float64),
            "interrupted": self.interrupted,
            "stop_reason": self.stop_reason,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> History:
        """The History that to_dict() gave."""
        history = cls()
        history._values = {name: list(v) for name, v in state["values"].items()}
        for name in ("epochs", "seconds", "samples_per_second", "epoch_ends"):
            setattr(history, name, list(state[name]))
        for name in ("batch_losses", "learning_rates"):
            setattr(history, name, np.asarray(state[name], np.float64).tolist())
        history.interrupted = bool(state["interrupted"])
        history.stop_reason = str(state["stop_reason"])
        return history

    # ---- to look at ----

    def __repr__(self) -> str:
        if not self.epochs:
            return f"History(no epoch finished, {len(self.batch_losses)} batches)"
        names = self.scalars()
        rows = [["epoch", "seconds", "samples/s", *names]]
        for i, epoch in enumerate(self.epochs):
            numbers = [f"{self._values[name][i]:.4g}" for name in names]
            speed = f"{self.samples_per_second[i]:,.0f}"
            rows.append([str(epoch), f"{self.seconds[i]:.2f}", speed, *numbers])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) for cell, width in zip(row, widths, strict=True)
            )
            for row in rows
        ]
        if self.interrupted:
            lines.append("interrupted")
        if self.stop_reason:
            lines.append(f"stopped: {self.stop_reason}")
        return "\n".join(lines)

    def plot(self, path: Any = None) -> Any:
        """Draw the learning curves: the loss, and each metric, over the epochs.

        Parameters:
            path : file to write (.png, .svg, .pdf), or None.

        Returns: the matplotlib Figure.

        Raises: ImportError without matplotlib, the extra "plot".
        """
        from fastnn.train._plot import plot_history

        return plot_history(self, path)
