"""Schedules that the caller's function gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeAlias

from fastnn.optim.lr_scheduler.base import LRScheduler, per_group
from fastnn.optim.optimizer import Optimizer

Factor: TypeAlias = Callable[[Any], float]


class _Functions(LRScheduler):
    """Holds the functions; of those, the state has what callable objects hold."""

    lr_lambdas: list[Factor]

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Factor | list[Factor],
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        if isinstance(optimizer, Optimizer):
            self.lr_lambdas = per_group(name, "functions", lr_lambda, optimizer)
            if not all(callable(f) for f in self.lr_lambdas):
                raise TypeError(f"{name}: expected functions, got {lr_lambda}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that the schedule holds except for the optimizer and functions.

        Returns: dict; in "lr_lambdas" there is None for a function, and a dict of the
            attributes of another callable object.
        """
        objects = [
            dict(vars(f))
            if hasattr(f, "__dict__") and not isinstance(f, FunctionType)
            else None
            for f in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": objects}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave; the functions stay as they are.

        Parameters:
            state_dict : as state_dict() returns it.

        Raises: KeyError where it is another schedule's; nothing then has changed.
        """
        functions = self.lr_lambdas
        super().load_state_dict(state_dict)
        self.lr_lambdas = functions
        for f, values in zip(functions, state_dict["lr_lambdas"], strict=True):
            if values is not None:
                vars(f).update(values)


class LambdaLR(_Functions):
    """lr = initial f(epoch).

    Parameters:
        optimizer : Optimizer.
        lr_lambda : function of the epoch, or a list with one for each group.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: TypeError, ValueError: no functions, or not as many as groups.

    Example:
        >>> import fastnn
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> half = lambda epoch: 0.5**epoch
        >>> scheduler = fastnn.optim.lr_scheduler.LambdaLR(sgd, half)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.5]
    """

    def get_lr(self) -> list[float]:
        """The rate of each group at self.last_epoch."""
        return [
            base * f(self.last_epoch)
            for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class MultiplicativeLR(_Functions):
    """lr = lr f(epoch), from epoch 1 on; after another schedule, from epoch 0.

    Parameters:
        optimizer : Optimizer.
        lr_lambda : function of the epoch, or a list with one for each group.
        last_epoch : int: the epoch to resume after; -1: none.

    Raises: TypeError, ValueError: no functions, or not as many as groups.
    """

    def get_lr(self) -> list[float]:
        """The rate of each group at self.last_epoch."""
        groups = self.optimizer.param_groups
        if self.last_epoch == 0:
            return [group["lr"] for group in groups]
        return self._get_closed_form_lr()

    def _get_closed_form_lr(self) -> list[float]:
        groups = self.optimizer.param_groups
        return [
            group["lr"] * f(self.last_epoch)
            for group, f in zip(groups, self.lr_lambdas, strict=True)
        ]
