"""Schedules that go one way: by steps, evenly, as a power of the epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fastnn.optim.lr_scheduler.base import Curve, check_count, power
from fastnn.optim.optimizer import Optimizer


class StepLR(Curve):
    """lr = initial gamma^⌊epoch / step_size⌋.

    Parameters:
        optimizer : Optimizer.
        step_size : int >= 1: epochs between the steps.
        gamma : float: factor of a step.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: ValueError: step_size is no int of at least 1.

    Example:
        >>> import fastnn
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.StepLR(sgd, step_size=2, gamma=0.5)
        >>> for epoch in range(4):
        ...     print(epoch, sgd.param_groups[0]["lr"])
        ...     sgd.step()
        ...     scheduler.step()
        0 1.0
        1 1.0
        2 0.5
        3 0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        step_size: int,
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.step_size = check_count("StepLR", "step_size", step_size)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        return base * power(self.gamma, epoch // self.step_size)


class MultiStepLR(Curve):
    """lr = initial gamma^(number of milestones reached).

    Parameters:
        optimizer : Optimizer.
        milestones : ints >= 0: epochs at which the rate is multiplied by gamma; one
            given twice counts twice.
        gamma : float: factor of a step.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: TypeError, ValueError: the milestones are not such ints.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(
                f"MultiStepLR: expected milestones to be a list of ints, got {milestones}"
            )
        self.milestones: dict[int, int] = Counter(
            check_count("MultiStepLR", "each milestone", m, 0) for m in milestones
        )
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        reached = sum(times for m, times in self.milestones.items() if m <= epoch)
        return base * power(self.gamma, reached)


class ExponentialLR(Curve):
    """lr = initial gamma^epoch.

    Parameters:
        optimizer : Optimizer.
        gamma : float: factor of an epoch.
        last_epoch : int: the epoch to resume after; -1: none.
    """

    def __init__(
        self, optimizer: Optimizer, gamma: float, last_epoch: int = -1
    ) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        return base * power(self.gamma, epoch)


class ConstantLR(Curve):
    """lr = initial factor, before epoch total_iters; then initial.

    Parameters:
        optimizer : Optimizer.
        factor : float in [0, 1].
        total_iters : int >= 0: epochs of the smaller rate.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: expected factor in [0, 1], got {factor}")
        self.factor = factor
        self.total_iters = check_count("ConstantLR", "total_iters", total_iters, 0)
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        return base * (self.factor if epoch < self.total_iters else 1.0)


class LinearLR(Curve):
    """lr = initial (start + (end − start) min(epoch, n) / n): warms up, or fades.

    Parameters:
        optimizer : Optimizer.
        start_factor : float in (0, 1].
        end_factor : float in [0, 1].
        total_iters : int >= 1: n, the epochs in between.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(
                f"LinearLR: expected start_factor in (0, 1], got {start_factor}"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(
                f"LinearLR: expected end_factor in [0, 1], got {end_factor}"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = check_count("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        done = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class PolynomialLR(Curve):
    """lr = initial (1 − min(epoch, n) / n)^power.

    Parameters:
        optimizer : Optimizer.
        total_iters : int >= 1: n, the epochs until the rate is 0.
        power : float.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: ValueError: total_iters is no int of at least 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = check_count("PolynomialLR", "total_iters", total_iters)
        self.power = power
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        left = 1.0 - min(epoch, self.total_iters) / self.total_iters
        return base * power(left, self.power)
