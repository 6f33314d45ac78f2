"""ProgressBar: how far the epoch is, how fast, and how good."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fastnn._core import Tensor
from fastnn.train.callbacks.base import Callback

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer

REFRESH = 0.1  # seconds between two looks at the metrics, each of which waits for them


class ProgressBar(Callback):
    """A line for each epoch; on a terminal a bar while it runs, with samples a second.

    fit(verbose=True) has one. It prints even where verbose is False.
    """

    order: ClassVar[int] = 50  # after those that change what it shows

    def __init__(self) -> None:
        self._bar: Any = None
        self._started = self._shown = 0.0
        self._epoch = self._samples = 0

    def on_batch_end(self, trainer: Trainer) -> None:
        """Show the epoch so far, ten times a second at most."""
        if self._epoch != trainer.epoch:
            self._open(trainer)
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._shown < REFRESH:
            return
        self._shown = now
        values: dict[str, Any] = {"loss": trainer.loss_sum / trainer.samples}
        values |= {name: metric.compute() for name, metric in trainer.metrics.items()}
        speed = (trainer.samples - self._samples) / (now - self._started)
        self._bar.set_postfix_str(
            f"{speed:,.0f} samples/s  {text(values)}", refresh=False
        )
        self._bar.n = trainer.batch
        self._bar.refresh()

    def _open(self, trainer: Trainer) -> None:
        self._epoch, self._samples = trainer.epoch, trainer.samples
        self._started = self._shown = time.perf_counter()
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=trainer.batches,
                initial=trainer.batch,
                desc=f"epoch {trainer.epoch}/{trainer.epochs}",
                leave=False,
                bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} "
                "[{elapsed}<{remaining}]{postfix}",
            )

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Put a line in the bar's place."""
        self._close()
        history = trainer.history
        width = len(str(trainer.epochs))
        line = (
            f"epoch {trainer.epoch:{width}}/{trainer.epochs}  "
            f"{history.seconds[-1]:6.2f} s  "
            f"{history.samples_per_second[-1]:9,.0f} samples/s  {text(history.last())}"
        )
        from tqdm import tqdm

        tqdm.write(line)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the bar; say why the fit stopped, if a callback stopped it."""
        self._close()
        self._epoch = 0
        if trainer.outcome == "stopped":
            from tqdm import tqdm

            tqdm.write(f"Stopped: {trainer.history.stop_reason}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def text(values: Mapping[str, Any]) -> str:
    """Names and numbers in a line; matrices are left out."""
    return "  ".join(
        f"{name} {number(value)}"
        for name, value in values.items()
        if not isinstance(value, Tensor)
    )


def number(value: float) -> str:
    """Four decimals where they say something."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"
