"""Schedules made of schedules: one after another, or several at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from fastnn.optim.lr_scheduler.base import LRScheduler, check_count, check_optimizer
from fastnn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from fastnn.optim.optimizer import Optimizer


class _Composed(LRScheduler):
    """Holds the schedules, and saves them."""

    _schedulers: list[LRScheduler]

    def _adopt(
        self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]
    ) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name}: expected at least one scheduler, got none")
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(
                    f"{name}: expected a scheduler at {i}, got {type(scheduler).__name__}"
                )
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{name}: expected schedulers whose step() takes nothing, got "
                    f"ReduceLROnPlateau at {i}; step it apart"
                )
        self.optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        check_optimizer(name, self.optimizer)
        for i, scheduler in enumerate(schedulers):
            if scheduler.optimizer is not self.optimizer:
                raise ValueError(
                    f"{name}: expected schedulers of one optimizer, got another "
                    f"{type(scheduler.optimizer).__name__} at {i}"
                )
        self._schedulers = list(schedulers)

    def _rest(self) -> None:
        groups = self.optimizer.param_groups
        self._last_lr = [group["lr"] for group in groups]

    def state_dict(self) -> dict[str, Any]:
        """All that the schedule holds, with the states of its schedulers."""
        states = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": states}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave, in all schedulers.

        Parameters:
            state_dict : as state_dict() returns it.

        Raises: KeyError where it is another schedule's.
        """
        schedulers = self._schedulers
        super().load_state_dict(state_dict)
        self._schedulers = schedulers
        for scheduler, state in zip(schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Composed):
    """One schedule after another, each from its own epoch 0.

    Parameters:
        optimizer : Optimizer.
        schedulers : list of its schedulers.
        milestones : list of rising ints >= 1, one less than schedulers: epochs at which
            the next one takes over.
        last_epoch : int: must be -1; a run is resumed by load_state_dict().

    Raises: ValueError: schedulers of several optimizers, or unfit milestones.

    Example:
        >>> import fastnn
        >>> from fastnn.optim.lr_scheduler import ExponentialLR, LinearLR, SequentialLR
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> warm = LinearLR(sgd, start_factor=0.5, total_iters=2)
        >>> scheduler = SequentialLR(sgd, [warm, ExponentialLR(sgd, 0.5)], [2])
        >>> for epoch in range(4):
        ...     print(scheduler.get_last_lr())
        ...     scheduler.step()
        [0.5]
        [0.75]
        [1.0]
        [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        name = "SequentialLR"
        self._adopt(optimizer, schedulers)
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, _Composed):
                raise ValueError(
                    f"{name}: expected schedulers that can start anew, got "
                    f"{type(scheduler).__name__} at {i}; list what it is made of"
                )
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"{name}: expected {len(schedulers) - 1} milestones between "
                f"{len(schedulers)} schedulers, got {len(milestones)}"
            )
        least = 1
        for milestone in milestones:
            least = check_count(name, "the next milestone", milestone, least) + 1
        if last_epoch != -1:
            raise ValueError(
                f"{name}: expected last_epoch=-1, got {last_epoch}; a run is resumed by "
                "load_state_dict()"
            )
        self._milestones = list(milestones)
        self.last_epoch = 0
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._schedulers[0].last_epoch = -1
        self._schedulers[0].step()
        self._rest()

    def step(self) -> None:  # type: ignore[override]
        """Go on to the next epoch, and set its rates."""
        self._outside_plans()
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i].step(0)
        else:
            self._schedulers[i].step()
        self._rest()


class ChainedScheduler(_Composed):
    """Several schedules at once: each scales the rates that the one before has left.

    Parameters:
        schedulers : list of schedulers of one optimizer.
        optimizer : that Optimizer, where it is to be checked.

    Raises: ValueError: none, or schedulers of several optimizers.

    Example:
        >>> import fastnn
        >>> from fastnn.optim import lr_scheduler
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> warm = lr_scheduler.ConstantLR(sgd, factor=0.5, total_iters=1)
        >>> decay = lr_scheduler.ExponentialLR(sgd, gamma=0.5)
        >>> scheduler = lr_scheduler.ChainedScheduler([warm, decay])
        >>> for epoch in range(3):
        ...     print(scheduler.get_last_lr())
        ...     scheduler.step()
        [0.5]
        [0.5]
        [0.25]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._adopt(optimizer, schedulers)
        self._rest()

    def step(self) -> None:  # type: ignore[override]
        """Go on to the next epoch in all schedulers, in order."""
        self._outside_plans()
        for scheduler in self._schedulers:
            scheduler.step()
        self._rest()
