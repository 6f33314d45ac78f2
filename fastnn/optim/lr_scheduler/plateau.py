"""ReduceLROnPlateau: a smaller rate when a quantity no longer gets better."""

from __future__ import annotations

import math
from typing import Any

from fastnn.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from fastnn.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """lr = max(lr factor, min_lr), after more than `patience` epochs without progress.

    Parameters:
        optimizer : Optimizer.
        mode : "min" or "max": whether lower or higher is better.
        factor : float < 1.
        patience : int: epochs without progress that are let pass.
        threshold : float: what counts as progress: best (1 ∓ threshold), or
            best ∓ threshold, has to be passed.
        threshold_mode : "rel" or "abs".
        cooldown : int: epochs after a reduction in which none is counted.
        min_lr : float, or a list with one for each group.
        eps : float: smaller changes are not made.

    Raises: ValueError: an argument is none of these.

    Example:
        >>> import fastnn
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.ReduceLROnPlateau(sgd, patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     scheduler.step(loss)
        >>> scheduler.get_last_lr()
        [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        if not factor < 1:
            raise ValueError(f"{name}: expected factor < 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"{name}: expected mode 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"{name}: expected threshold_mode 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.optimizer = check_optimizer(name, optimizer)
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = per_group(name, "min_lr", min_lr, optimizer)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction is too recent for epochs to be counted."""
        return self.cooldown_counter > 0

    def get_lr(self) -> list[float]:
        """The rate of each group, reduced once."""
        groups = self.optimizer.param_groups
        reduced = [
            max(group["lr"] * self.factor, least)
            for group, least in zip(groups, self.min_lrs, strict=True)
        ]
        return [
            new if group["lr"] - new > self.eps else group["lr"]
            for group, new in zip(groups, reduced, strict=True)
        ]

    def step(self, metrics: Any, epoch: float | None = None) -> None:  # type: ignore[override]
        """Count the epoch, and reduce the rates where progress has ended.

        Parameters:
            metrics : number or Tensor of one element: what should get better. NaN is
                no progress.
            epoch : the number of the epoch; the one after the last where it is not given.
        """
        self._outside_plans()
        value = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.num_bad_epochs > self.patience:
            rates = self.get_lr()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(rates)

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        relative = self.threshold_mode == "rel"
        margin = self.best * self.threshold if relative else self.threshold
        if math.isinf(self.best):
            margin = 0.0
        return value * sign > (self.best + sign * margin) * sign
