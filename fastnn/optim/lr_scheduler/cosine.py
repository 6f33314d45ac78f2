"""Schedules along half a cosine, once or again and again."""

from __future__ import annotations

from fastnn.optim.lr_scheduler.base import Curve, LRScheduler, check_count, half_cosine
from fastnn.optim.optimizer import Optimizer


class CosineAnnealingLR(Curve):
    """lr = eta_min + (initial − eta_min) (1 + cos(π epoch / T_max)) / 2.

    Parameters:
        optimizer : Optimizer.
        T_max : int >= 1: epochs down to eta_min; from there it goes up again.
        eta_min : float: the lowest rate.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: ValueError: T_max is no int of at least 1.

    Source: Loshchilov, Hutter, "SGDR: Stochastic gradient descent with warm restarts",
        2017, equation 5, without the restarts.

    Example:
        >>> import fastnn
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=2)
        >>> for epoch in range(3):
        ...     print(scheduler.get_last_lr())
        ...     scheduler.step()
        [1.0]
        [0.5]
        [0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = check_count("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self) -> float:  # type: ignore[override]
        """The lowest rate, which scaling leaves as it is."""
        return self.eta_min

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch."""
        return self.eta_min + (base - self.eta_min) * half_cosine(epoch / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """lr = eta_min + (initial − eta_min) (1 + cos(π T_cur / T_i)) / 2, and again.

    T_cur counts the epochs since the last restart. The first period T_i is T_0, each
    further one T_mult times as long as the one before.

    Parameters:
        optimizer : Optimizer.
        T_0 : int >= 1: epochs until the first restart.
        T_mult : int >= 1.
        eta_min : float: the lowest rate.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: ValueError: T_0 or T_mult is no int of at least 1.

    Source: Loshchilov, Hutter, "SGDR: Stochastic gradient descent with warm restarts",
        2017, equation 5.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        name = "CosineAnnealingWarmRestarts"
        self.T_0 = self.T_i = check_count(name, "T_0", T_0)
        self.T_mult = check_count(name, "T_mult", T_mult)
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rate of each group at T_cur epochs after the last restart."""
        share = half_cosine(self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to an epoch; it may have a fraction.

        Parameters:
            epoch : float >= 0, such as epoch + batch / batches, to go on with every
                batch. Without it, the epoch after the last one.
        """
        self._outside_plans()
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            self.T_cur += 1
            self.last_epoch += 1
        elif epoch >= 0:
            self.T_cur, self.T_i = epoch, self.T_0
            self.last_epoch = int(epoch)
        else:
            raise ValueError(
                f"CosineAnnealingWarmRestarts: expected epoch >= 0, got {epoch}"
            )
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        self._set(self.get_lr())
