"""LRScheduler: the base class, and Curve for schedules that are a formula of the epoch.

A schedule is computed from the epoch's number and not step by step, so it does not drift
and a resumed run gets the same bits as one that never stopped. Its arithmetic uses no
libm, whose last digit depends on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import fastnn
from fastnn.ops import _record
from fastnn.optim.optimizer import Optimizer, ParamGroup


class LRScheduler:
    """Base of every schedule: sets group["lr"] of each group as step() counts epochs.

    A subclass writes get_lr(), which reads self.last_epoch and self.base_lrs.

    Parameters:
        optimizer : Optimizer whose groups are scheduled. As a group's "initial_lr" it
            keeps the rate with which it came.
        last_epoch : int: the epoch to resume after, or -1 to start anew. The rate is then
            that of epoch last_epoch + 1.

    Raises: TypeError: no Optimizer; KeyError: a group has no "initial_lr" to resume with.
    """

    optimizer: Optimizer
    base_lrs: list[float]
    last_epoch: float  # whole, unless step() was given something else

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        self.optimizer = check_optimizer(name, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{name}: expected 'initial_lr' in param_groups[{i}] to resume after "
                    f"epoch {last_epoch}, got none; load the optimizer's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group at self.last_epoch; every schedule writes its own."""
        raise NotImplementedError(f"{type(self).__name__}: no method get_lr()")

    def _get_closed_form_lr(self) -> list[float]:
        """The rates at self.last_epoch, whatever they were before."""
        return self.get_lr()

    def get_last_lr(self) -> list[float]:
        """The rate of each group as the last step() left it."""
        return self._last_lr

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, and set its rates.

        Parameters:
            epoch : the epoch to go to instead.
        """
        self._outside_plans()
        if epoch is None:
            self.last_epoch += 1
            self._set(self.get_lr())
        else:
            self.last_epoch = epoch
            self._set(self._get_closed_form_lr())

    def _outside_plans(self) -> None:
        """A plan cannot repeat a step: the rates are Python's."""
        if _record.active is not None:
            _record.active.refuse(
                f"{type(self).__name__} steps",
                "hint: step a scheduler outside, a plan reads what it sets",
            )

    def _set(self, rates: list[float]) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(rates):
            raise ValueError(
                f"{type(self).__name__}: expected the {len(rates)} param_groups that the "
                f"optimizer had when this was made, got {len(groups)}"
            )
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in groups]

    # ---- saving and loading ----

    def state_dict(self) -> dict[str, Any]:
        """All that the schedule holds except for the optimizer; save() takes it."""
        return {k: v for k, v in vars(self).items() if k != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave; the rates come with the optimizer's state.

        Parameters:
            state_dict : as state_dict() returns it.

        Raises: KeyError where it is another schedule's; nothing then has changed.
        """
        ours = self.state_dict()
        missing = [key for key in ours if key not in state_dict]
        unexpected = [k for k in state_dict if k not in ours and not k.startswith("_")]
        if missing or unexpected:
            raise KeyError(
                f"{type(self).__name__}.load_state_dict: missing: {missing}, unexpected: "
                f"{unexpected}"
            )
        vars(self).update({key: state_dict[key] for key in ours})


class Curve(LRScheduler):
    """Base of schedules that are a formula: each writes rate(base, epoch).

    Where a rate has been changed since by other means, such as a second schedule on the
    same optimizer, it is scaled as the curve goes on, and not overwritten.
    """

    floor: float = 0.0  # what is left out of the scaling

    def rate(self, base: float, epoch: float) -> float:
        """The rate at an epoch of a group whose initial rate is base."""
        raise NotImplementedError(f"{type(self).__name__}: no method rate()")

    def get_lr(self) -> list[float]:
        """The rate of each group at self.last_epoch."""
        return [
            self._next(base, group)
            for base, group in zip(
                self.base_lrs, self.optimizer.param_groups, strict=False
            )
        ]

    def _next(self, base: float, group: ParamGroup) -> float:
        epoch, now, floor = self.last_epoch, group["lr"], self.floor
        old = base if epoch == 0 else self.rate(base, epoch - 1)
        new = self.rate(base, epoch)
        if now == old:
            return new
        if old == floor:
            return float(now + (new - old))
        return float(floor + (now - floor) * ((new - floor) / (old - floor)))

    def _get_closed_form_lr(self) -> list[float]:
        return [self.rate(base, self.last_epoch) for base in self.base_lrs]


# ---- what the schedules share ----


def check_optimizer(name: str, optimizer: Any) -> Optimizer:
    """The optimizer, or TypeError."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{name}: expected an Optimizer, got {type(optimizer).__name__}"
        )
    return optimizer


def check_count(name: str, what: str, value: Any, least: int = 1) -> int:
    """The whole number, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"{name}: expected {what} to be an int >= {least}, got {value!r}"
        )
    return value


def per_group(name: str, what: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each group, from a list of them or from one."""
    n = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * n
    if len(value) != n:
        raise ValueError(
            f"{name}: expected {what} for {n} param_groups, got {len(value)}"
        )
    return list(value)


def power(base: float, exponent: float) -> float:
    """base ** exponent by fastnn's own pow: the same bits on every CPU."""
    with fastnn.no_grad():
        return float(fastnn.tensor(base, dtype=fastnn.float64).pow(exponent).item())


def half_cosine(share: float) -> float:
    """(1 + cos(π share)) / 2: from 1 at share 0 down to 0 at 1, and so on.

    Source: the Taylor series; 24 powers of an angle up to π/2 leave less than 1e-19.
    """
    share = share % 2.0
    share = min(share, 2.0 - share)
    near = min(share, 1.0 - share)  # cos(π − a) = −cos a
    square = (math.pi * near) ** 2
    cosine = 1.0
    for k in range(24, 0, -2):
        cosine = 1.0 - cosine * square / (k * (k - 1))
    return (1.0 + (cosine if near == share else -cosine)) / 2.0
