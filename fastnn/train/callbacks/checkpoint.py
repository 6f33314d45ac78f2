"""ModelCheckpoint: writes the fit to a file as it goes."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fastnn.train.callbacks.base import Callback, best_mode, check_monitored

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer


class ModelCheckpoint(Callback):
    """Writes a checkpoint every epoch, or every so many batches; see Trainer.save.

    fit(resume=path) goes on from it; fastnn.load(path)["model"] is the model's state
    dict. Folders are made, and a file is replaced only by a whole one.

    Parameters:
        path : where to; {epoch}, {batch} and, with every="epoch", names of the history
            are filled in, as in "run-{epoch:03d}-{val_loss:.3f}.safetensors".
        monitor : str: the value that says which is the best.
        save_best_only : bool: write only where that value is the best so far.
        every : "epoch", or int: number of batches, counted through the fit.
        mode : "min", "max", or "auto": falling is better for losses and errors.

    Attributes:
        last_path : Path of the file written last, or None.

    Example:
        >>> from fastnn.train import ModelCheckpoint
        >>> best = ModelCheckpoint("best.safetensors", "val_loss", save_best_only=True)
    """

    order: ClassVar[int] = 100  # last: what it writes holds what the others did

    def __init__(
        self,
        path: Any,
        monitor: str | None = None,
        save_best_only: bool = False,
        every: str | int = "epoch",
        mode: str = "auto",
    ) -> None:
        batches = isinstance(every, int) and not isinstance(every, bool) and every > 0
        if every != "epoch" and not batches:
            raise ValueError(
                "ModelCheckpoint: expected every 'epoch' or a number of batches, got "
                f"{every!r}"
            )
        if save_best_only != (monitor is not None):
            raise ValueError(
                "ModelCheckpoint: monitor= and save_best_only=True belong together"
            )
        if save_best_only and every != "epoch":
            raise ValueError(
                "ModelCheckpoint: save_best_only looks at epochs; expected every='epoch'"
            )
        self.path = str(path)
        self.monitor = monitor
        self.save_best_only = save_best_only
        self.every = every
        self.mode = mode
        self.best = math.nan
        self.last_path: Path | None = None
        self._sign = 1.0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Start over; check the names."""
        self.best = math.nan
        if self.monitor is not None:
            check_monitored("ModelCheckpoint", self.monitor, trainer)
            mode = best_mode("ModelCheckpoint", self.monitor, self.mode, trainer)
            self._sign = 1.0 if mode == "max" else -1.0
        known = ["epoch", "batch", *(trainer.names if self.every == "epoch" else [])]
        for _, name, _, _ in string.Formatter().parse(self.path):
            if name is not None and name not in known:
                raise ValueError(
                    f"ModelCheckpoint: expected {{{'}, {'.join(known)}}} in the path, got "
                    f"{{{name}}}"
                )

    def on_batch_end(self, trainer: Trainer) -> None:
        """Write, where it is time."""
        if (
            isinstance(self.every, int)
            and len(trainer.history.batch_losses) % self.every == 0
        ):
            self._write(trainer, {})

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Write, where it is every epoch, and best where only that."""
        if self.every != "epoch":
            return
        if self.monitor is not None:
            value = float(trainer.logs[self.monitor])
            if math.isnan(value) or self._sign * value <= self._sign * self.best:
                return
            self.best = value
        self._write(trainer, trainer.logs)

    def _write(self, trainer: Trainer, logs: Mapping[str, Any]) -> None:
        named = {**logs, "epoch": trainer.epoch, "batch": trainer.batch}
        self.last_path = Path(self.path.format(**named))
        self.last_path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save(self.last_path)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best} if self.monitor is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best = float(state["best"])
