"""What a function depends on besides its arguments: modules and optimizers, as they are.

Their attributes are compared with what they were, where the core says that anything moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastnn._core import Tensor, holds_rows, hooks_of
from fastnn.nn import Module
from fastnn.optim.optimizer import Optimizer

Facts = list[tuple[Any, ...]]
PLAIN = (bool, int, float, str, bytes, type(None))


class Surroundings:
    """Modules with all below them, optimizers, and tensors outside, as they are now.

    Parameters:
        things : Modules and Optimizers that took part.
        tensors : leaves that the calls use.
        reach : callable() -> what else the function names: Modules and Optimizers.
    """

    def __init__(
        self,
        things: Iterable[Any],
        tensors: Iterable[Tensor],
        reach: Callable[[], list[Any]],
    ) -> None:
        self._things = list(things)
        self._tensors = list(tensors)
        self._reach = reach
        self._facts = self._look()

    def unchanged(self) -> bool:
        """Whether everything is as it was."""
        now = self._look()
        return len(now) == len(self._facts) and all(map(same, now, self._facts))

    def _look(self) -> Facts:
        facts: Facts = []
        reached = self._reach()
        facts += [(x, "reached") for x in reached]
        for thing in dict.fromkeys(self._things + reached):
            facts += (
                of_module(thing) if isinstance(thing, Module) else of_optimizer(thing)
            )
        facts += [
            (
                x,
                x.requires_grad,
                x.data_ptr(),
                x.shape,
                x.stride(),
                hooks_of(x),
                holds_rows(x),
            )
            for x in self._tensors
        ]
        return facts


def of_module(module: Module) -> Facts:
    """Every attribute of a module and of all below it."""
    return [
        (m, name, dict(value) if name == "_hooks" else value)
        for m in module.modules()
        for name, value in m.__dict__.items()
        if name != "_hooks" or value  # an empty one stays behind when hooks go
    ]


def of_optimizer(optimizer: Optimizer) -> Facts:
    """Attributes; groups, their options (of numbers that no step saw, whether they are 0),
    and state."""
    apart = ("param_groups", "state")
    facts: Facts = [
        (optimizer, k, v) for k, v in optimizer.__dict__.items() if k not in apart
    ]
    for group in optimizer.param_groups:
        for name, value in group.items():
            if name in optimizer.hyperparameters and name not in group.exact:
                value = (
                    [bool(v) for v in value]
                    if isinstance(value, tuple)
                    else bool(value)
                )
            facts.append((optimizer, name, list(value) if name == "params" else value))
    for p, state in optimizer.state.items():
        facts += [(p, name, value) for name, value in state.items()]
    return facts


def same(a: Any, b: Any) -> bool:
    """One object, or equal plain values."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    return isinstance(a, PLAIN) and bool(a == b)
