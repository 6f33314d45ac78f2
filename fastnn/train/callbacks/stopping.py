"""EarlyStopping and TerminateOnNaN: callbacks that end a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastnn._core import Tensor
from fastnn.train.callbacks.base import Callback, best_mode, check_monitored
from fastnn.train.callbacks.replay import first_not_finite

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer


class EarlyStopping(Callback):
    """Ends the fit when a value has not become better for some epochs.

    Parameters:
        monitor : str: which value, as the history names it.
        patience : int of at least 0: how many epochs without a better value it allows.
        min_delta : float of at least 0: by how much better counts as better.
        mode : "min", "max", or "auto": falling is better for losses and errors.
        restore_best : bool: whether the model ends with the parameters and buffers of
            its best epoch, also where the fit comes to its last epoch; Ctrl-C leaves
            those of the last step.

    Attributes:
        best, best_epoch : float, int: the best value, and its epoch, 0 where none.

    Example:
        >>> from fastnn.train import EarlyStopping
        >>> stopping = EarlyStopping("val_accuracy", patience=3, mode="max")
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        for name, value in (("patience", patience), ("min_delta", min_delta)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(
                    f"EarlyStopping: expected {name} as a number, got {value!r}"
                )
        if patience < 0 or not min_delta >= 0:
            raise ValueError(
                "EarlyStopping: expected patience and min_delta of at least 0, got "
                f"{patience} and {min_delta}"
            )
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best = restore_best
        self.best = math.nan
        self.best_epoch = 0
        self._weights: dict[str, Tensor] = {}
        self._sign = 1.0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Start over."""
        check_monitored("EarlyStopping", self.monitor, trainer)
        mode = best_mode("EarlyStopping", self.monitor, self.mode, trainer)
        self._sign = 1.0 if mode == "max" else -1.0
        self.best, self.best_epoch, self._weights = math.nan, 0, {}

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Stop at once where a fit is resumed that had come to its end."""
        self._stop_after(trainer.epoch - 1, trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Keep what is better; stop where nothing was for too long."""
        value = float(trainer.logs[self.monitor])
        # A NaN is never better, and anything is better than none.
        if self._sign * value > self._sign * self.best + self.min_delta or (
            math.isnan(self.best) and not math.isnan(value)
        ):
            self.best, self.best_epoch = value, trainer.epoch
            if self.restore_best:
                state = trainer.model.state_dict()
                self._weights = {name: value.clone() for name, value in state.items()}
        self._stop_after(trainer.epoch, trainer)

    def _stop_after(self, epoch: int, trainer: Trainer) -> None:
        if epoch - self.best_epoch > self.patience:
            trainer.stop(
                f"{self.monitor} has not become better than {self.best:.4g} since epoch "
                f"{self.best_epoch}"
            )

    def on_fit_end(self, trainer: Trainer) -> None:
        """Put the best parameters back."""
        if self._weights and trainer.outcome in ("finished", "stopped"):
            trainer.model.load_state_dict(self._weights)
            if self.best_epoch != len(trainer.history.epochs):
                trainer.say(
                    f"Model restored to epoch {self.best_epoch}, {self.monitor} "
                    f"{self.best:.4g}"
                )

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and its parameters."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "weights": dict(self._weights),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        self._weights = dict(state["weights"])


class TerminateOnNaN(Callback):
    """Ends the fit at the first loss or gradient that is not finite, and names the layer.

    That step changes nothing: the model stays as the last good one left it.
    """

    watches_finite = True

    def on_batch_end(self, trainer: Trainer) -> None:
        """Look at the batch."""
        if trainer.finite and math.isfinite(trainer.batch_loss):
            return
        what = (
            "a gradient was not finite"
            if math.isfinite(trainer.batch_loss)
            else f"the loss became {trainer.batch_loss}"
        )
        layer = first_not_finite(trainer)
        trainer.stop(
            f"{what} in epoch {trainer.epoch}, batch {trainer.batch}"
            + (f"; first in {layer}" if layer else "")
        )
