"""LRSchedule: steps a learning rate scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastnn.train.callbacks.base import Callback, check_monitored

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer


class LRSchedule(Callback):
    """Steps a learning rate scheduler after each epoch or each batch.

    Parameters:
        scheduler : of fastnn.optim.lr_scheduler, or like one.
        every : "epoch" or "batch".
        monitor : str: the value that ReduceLROnPlateau is given; None is val_loss, or
            loss without validation.

    Example:
        >>> import fastnn
        >>> from fastnn.optim.lr_scheduler import ExponentialLR
        >>> from fastnn.train import LRSchedule
        >>> net = fastnn.nn.Linear(2, 2)
        >>> sgd = fastnn.optim.SGD(net.parameters(), lr=0.1)
        >>> callback = LRSchedule(ExponentialLR(sgd, gamma=0.9), every="batch")
    """

    def __init__(
        self, scheduler: Any, every: str = "epoch", *, monitor: str | None = None
    ) -> None:
        from fastnn.optim.lr_scheduler import ReduceLROnPlateau

        if every not in ("epoch", "batch"):
            raise ValueError(
                f"LRSchedule: expected every 'epoch' or 'batch', got {every!r}"
            )
        self.scheduler = scheduler
        self.every = every
        self.plateau = isinstance(scheduler, ReduceLROnPlateau)
        if self.plateau and every == "batch":
            raise ValueError("LRSchedule: ReduceLROnPlateau is stepped every 'epoch'")
        if monitor is not None and not self.plateau:
            raise ValueError(
                "LRSchedule: only ReduceLROnPlateau looks at a value; drop monitor="
            )
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(
                f"LRSchedule: expected a learning rate scheduler, got {scheduler!r}"
            )
        self.monitor = monitor

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Check that it schedules this fit, and that there will be the monitored value."""
        if (
            getattr(self.scheduler, "optimizer", trainer.optimizer)
            is not trainer.optimizer
        ):
            raise ValueError(
                "LRSchedule: expected a scheduler of the trainer's optimizer, got one of "
                "another"
            )
        if self.monitor is not None:
            check_monitored("LRSchedule", self.monitor, trainer)

    def on_batch_end(self, trainer: Trainer) -> None:
        """Step, where it is every batch."""
        if self.every == "batch":
            self.scheduler.step()

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Step, where it is every epoch."""
        if self.plateau:
            name = self.monitor or (
                "val_loss" if "val_loss" in trainer.names else "loss"
            )
            self.scheduler.step(trainer.logs[name])
        elif self.every == "epoch":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's."""
        return {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give the scheduler its state back."""
        self.scheduler.load_state_dict(state["scheduler"])
