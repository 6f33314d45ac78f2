"""Schedules that go up and down, and momentum down and up: CyclicLR and OneCycleLR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastnn.optim.lr_scheduler.base import (
    LRScheduler,
    check_count,
    check_optimizer,
    half_cosine,
    per_group,
    power,
)
from fastnn.optim.optimizer import Optimizer, ParamGroup


def _uses_beta1(name: str, optimizer: Optimizer) -> bool:
    """Whether the optimizer's momentum is betas[0]."""
    options = check_optimizer(name, optimizer).defaults
    if "betas" not in options and "momentum" not in options:
        raise ValueError(
            f"{name}: expected an optimizer with momentum or betas, got "
            f"{type(optimizer).__name__}; pass cycle_momentum=False"
        )
    return "betas" in options


def _set_momentum(group: ParamGroup, value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class CyclicLR(LRScheduler):
    """lr = base_lr + (max_lr − base_lr) height scale: up and down evenly, by batch.

    height goes from 0 up to 1 in step_size_up batches and back in step_size_down. The
    scale is 1 ("triangular"), halved with each cycle ("triangular2") or gamma^batch
    ("exp_range"). Momentum goes the other way.

    Parameters:
        optimizer : Optimizer; with cycle_momentum it needs momentum or betas.
        base_lr, max_lr : float, or a list with one for each group.
        step_size_up : int >= 1: batches.
        step_size_down : int >= 1; None: as many.
        mode : "triangular", "triangular2" or "exp_range".
        gamma : float: of "exp_range".
        scale_fn : function that gives the scale, in place of mode.
        scale_mode : "cycle": scale_fn is given the cycle, from 1; or "iterations": the
            batch.
        cycle_momentum : bool.
        base_momentum, max_momentum : float, or a list with one for each group.
        last_epoch : int: the batch to resume after; -1: none.

    Raises: ValueError: an argument is none of these.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[Any], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        name = "CyclicLR"
        check_optimizer(name, optimizer)
        modes = ("triangular", "triangular2", "exp_range")
        if mode not in modes and scale_fn is None:
            raise ValueError(f"{name}: expected mode in {modes}, got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(
                f"{name}: expected scale_mode 'cycle' or 'iterations', got {scale_mode!r}"
            )
        up = check_count(name, "step_size_up", step_size_up)
        down = up
        if step_size_down is not None:
            down = check_count(name, "step_size_down", step_size_down)
        rates = per_group(name, "base_lr", base_lr, optimizer)
        self.max_lrs = per_group(name, "max_lr", max_lr, optimizer)
        self.total_size = float(up + down)
        self.step_ratio = up / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = _uses_beta1(name, optimizer)
            momenta = per_group(name, "base_momentum", base_momentum, optimizer)
            self.base_momentums = momenta
            self.max_momentums = per_group(
                name, "max_momentum", max_momentum, optimizer
            )
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = group["initial_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def _scale(self, cycle: int) -> float:
        if self._scale_fn_custom is not None:
            by_cycle = self.scale_mode == "cycle"
            return float(self._scale_fn_custom(cycle if by_cycle else self.last_epoch))
        if self.mode == "triangular":
            return 1.0
        if self.mode == "triangular2":
            return power(0.5, cycle - 1)
        return power(self.gamma, self.last_epoch)

    def get_lr(self) -> list[float]:
        """The rate of each group at self.last_epoch; sets the momenta too."""
        cycle, place = divmod(self.last_epoch / self.total_size, 1.0)
        if place <= self.step_ratio:
            height = place / self.step_ratio
        else:
            height = (1.0 - place) / (1.0 - self.step_ratio)
        share = height * self._scale(1 + int(cycle))
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups,
                self.base_momentums,
                self.max_momentums,
                strict=True,
            ):
                _set_momentum(group, high - (high - low) * share)
        return [
            low + (high - low) * share
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """All that the schedule holds except for the optimizer and scale_fn."""
        return {**super().state_dict(), "_scale_fn_custom": None}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave; scale_fn stays as it is.

        Parameters:
            state_dict : as state_dict() returns it.

        Raises: KeyError where it is another schedule's; nothing then has changed.
        """
        scale_fn = self._scale_fn_custom
        super().load_state_dict(state_dict)
        self._scale_fn_custom = scale_fn


class OneCycleLR(LRScheduler):
    """From max_lr / div_factor up to max_lr, then far down: one cycle, by batch.

    The lowest rate, at the end, is max_lr / div_factor / final_div_factor. Momentum goes
    from max_momentum to base_momentum and back.

    Parameters:
        optimizer : Optimizer; with cycle_momentum it needs momentum or betas.
        max_lr : float, or a list with one for each group.
        total_steps : int >= 1: batches in all; or else
        epochs, steps_per_epoch : ints >= 1, whose product it is.
        pct_start : float in [0, 1]: share of the batches in which the rate goes up.
        anneal_strategy : "cos" or "linear".
        cycle_momentum : bool.
        base_momentum, max_momentum : float, or a list with one for each group.
        div_factor, final_div_factor : float.
        three_phase : bool: down to where it began in as many batches as up, and only
            then to the lowest rate.
        last_epoch : int: the batch to resume after; -1: none.

    Raises: ValueError: an argument is none of these, or step() goes beyond total_steps.

    Notes: a loop that calls step() after every batch does so total_steps times. The last
        call leaves the lowest rate, where PyTorch goes past it.

    Source: Smith, Topin, "Super-convergence: very fast training of neural networks using
        large learning rates", 2018.

    Example:
        >>> import fastnn
        >>> sgd = fastnn.optim.SGD([fastnn.ones(1)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.OneCycleLR(
        ...     sgd, max_lr=1.0, total_steps=10, pct_start=0.5
        ... )
        >>> for _ in range(4):
        ...     scheduler.step()
        >>> scheduler.get_last_lr()
        [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name = "OneCycleLR"
        check_optimizer(name, optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    f"{name}: expected total_steps, or epochs and steps_per_epoch"
                )
            check_count(name, "epochs", epochs)
            check_count(name, "steps_per_epoch", steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        self.total_steps = check_count(name, "total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"{name}: expected pct_start in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"{name}: expected anneal_strategy 'cos' or 'linear', got "
                f"{anneal_strategy!r}"
            )
        self._anneal_func_type = anneal_strategy
        up, end = pct_start * total_steps - 1, total_steps - 1
        # Each phase: its last batch, and which rate and momentum it begins and ends with.
        rise = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
        fall = ("max_lr", "initial_lr", "base_momentum", "max_momentum")
        rest = ("initial_lr", "min_lr", "max_momentum", "max_momentum")
        deep = ("max_lr", "min_lr", "base_momentum", "max_momentum")
        phases: list[tuple[float, tuple[str, str, str, str]]]
        if three_phase:
            phases = [(up, rise), (2 * pct_start * total_steps - 2, fall), (end, rest)]
        else:
            phases = [(up, rise), (end, deep)]
        keys = ("start_lr", "end_lr", "start_momentum", "end_momentum")
        self._schedule_phases: list[dict[str, Any]] = [
            {"end_step": float(last), **dict(zip(keys, names, strict=True))}
            for last, names in phases
        ]
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = cycle_momentum and _uses_beta1(name, optimizer)
        rates = per_group(name, "max_lr", max_lr, optimizer)
        lows = per_group(name, "base_momentum", base_momentum, optimizer)
        highs = per_group(name, "max_momentum", max_momentum, optimizer)
        if last_epoch == -1:
            for group, rate, low, high in zip(
                optimizer.param_groups, rates, lows, highs, strict=True
            ):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"], group["base_momentum"] = high, low
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rate of each group at self.last_epoch; sets the momenta too."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"OneCycleLR: expected at most total_steps={self.total_steps} calls of "
                f"step(), got {step}"
            )
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if step <= end or phase is self._schedule_phases[-1]:
                break
            start = end
        share = min((step - start) / (end - start), 1.0) if end > start else 1.0
        cosine = self._anneal_func_type == "cos"
        left = half_cosine(share) if cosine else 1.0 - share
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(_between(group, phase["start_lr"], phase["end_lr"], left))
            if self.cycle_momentum:
                names = phase["start_momentum"], phase["end_momentum"]
                _set_momentum(group, _between(group, *names, left))
        return rates


def _between(group: ParamGroup, start: str, end: str, left: float) -> float:
    """From group[start] at left = 1 to group[end] at 0."""
    return float(group[end] + (group[start] - group[end]) * left)
