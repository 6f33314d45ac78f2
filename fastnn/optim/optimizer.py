"""Optimizer: the base class, and the groups of parameters with their hyperparameters.

A hyperparameter reads as a number, and lives in a float64 tensor that the step's kernel
reads. So a schedule changes a value that the kernel sees, never the recorded call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar

import fastnn
from fastnn._core import Tensor
from fastnn.nn.module import clear_grad


class ParamGroup(MutableMapping[str, Any]):
    """One entry of Optimizer.param_groups: "params", numbers and flags by name.

    Parameters:
        params : the tensors of the group.
        hyperparameters : names of the numbers, in the order in which the kernel reads
            them.
        values : all numbers and flags.

    Example:
        >>> import fastnn
        >>> net = fastnn.nn.Linear(2, 2)
        >>> group = fastnn.optim.SGD(net.parameters(), lr=0.1).param_groups[0]
        >>> group["lr"] *= 0.5
        >>> group["lr"], group.hyper.tolist()[0]
        (0.05, 0.05)
    """

    hyper: Tensor  # (len(hyperparameters),) float64, read by the kernel

    def __init__(
        self,
        params: list[Tensor],
        hyperparameters: tuple[str, ...],
        values: Mapping[str, Any],
    ) -> None:
        self._values: dict[str, Any] = {"params": params}
        self._slot = {name: i for i, name in enumerate(hyperparameters)}
        self.hyper = fastnn.zeros(len(hyperparameters), dtype=fastnn.float64)
        self.update(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._slot:
            value = float(value)
            # The mapping is the tensor's only writer, so both always agree.
            self.hyper.numpy()[self._slot[name]] = value
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"param_groups: {name!r} cannot be deleted, only set")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {k: v for k, v in self._values.items() if k != "params"}
        return f"ParamGroup({len(self['params'])} params, {shown})"


class Optimizer:
    """Base of every optimizer: groups, per-parameter state, saving and loading.

    Parameters:
        params : iterable of Tensors, or of mappings with "params" and options of that
            group.
        defaults : mapping of option to value, for groups that do not say.
    """

    # Options that are numbers, in the order in which the step's kernel reads them.
    hyperparameters: ClassVar[tuple[str, ...]] = ()

    param_groups: list[ParamGroup]
    state: dict[Tensor, dict[str, Any]]

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        defaults: Mapping[str, Any],
    ) -> None:
        name = type(self).__name__
        if isinstance(params, Tensor | str | Mapping):
            raise TypeError(
                f"{name}: expected an iterable of Tensors or of groups, got "
                f"{type(params).__name__}; write [{type(params).__name__.lower()}]"
            )
        self.defaults = dict(defaults)
        self.param_groups = []
        self.state = {}
        entries: list[Any] = list(params)
        if not entries:
            raise ValueError(f"{name}: expected at least one parameter, got none")
        if not isinstance(entries[0], Mapping):
            entries = [{"params": entries}]
        for entry in entries:
            self.add_param_group(entry)

    def check(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where an option of a group is out of its range."""

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Parameters:
            param_group : mapping with "params" (a Tensor or an iterable) and options.

        Raises: TypeError, ValueError: no Tensor, not a leaf, there already, or an
            option out of its range.
        """
        name = type(self).__name__
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        taken = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{name}: expected a Tensor as parameter {i}, got "
                    f"{type(p).__name__}; a model gives its own by parameters()"
                )
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: parameter {i} is the result of an operation; only leaves "
                    "can be trained (detach() makes one)"
                )
            if id(p) in taken:
                raise ValueError(f"{name}: parameter {i} is given twice")
            taken.add(id(p))
        # As in PyTorch a group may carry further entries, such as a name.
        options = {**self.defaults, **param_group}
        del options["params"]
        self.check(options)
        self.param_groups.append(ParamGroup(params, self.hyperparameters, options))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, once.

        Parameters:
            closure : function that computes the loss and its gradients anew.

        Returns: what the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with fastnn.enable_grad():
                loss = closure()
        with fastnn.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.update(p, p.grad, self.state.setdefault(p, {}), group)
        return loss

    def update(
        self, p: Tensor, grad: Tensor, state: dict[str, Any], group: ParamGroup
    ) -> None:
        """Change one parameter in place; every optimizer writes its own."""
        raise NotImplementedError(f"{type(self).__name__}: no method update()")

    # ---- saving and loading ----

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The options of all groups and the state of all parameters, by number.

        Returns: {"state": {number: {name: Tensor or value}}, "param_groups": [...]},
            as in PyTorch; the tensors are the optimizer's own.
        """
        number = {id(p): i for i, p in enumerate(self._params())}
        return {
            "state": {number[id(p)]: dict(s) for p, s in self.state.items()},
            "param_groups": [
                {**group, "params": [number[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave; tensors are copied.

        Parameters:
            state_dict : as state_dict() returns it.

        Raises: ValueError where groups, shapes or dtypes differ, TypeError for state that
        is neither tensor nor number; nothing then has changed.
        """
        name = f"{type(self).__name__}.load_state_dict"
        groups, saved = state_dict["param_groups"], state_dict["state"]
        ours = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in groups]
        if ours != theirs:
            raise ValueError(
                f"{name}: expected groups of {ours} parameters, got {theirs}"
            )
        # The saved numbers need not be 0, 1, ...; their order in the groups counts.
        numbers = [i for group in groups for i in group["params"]]
        params = dict(zip(numbers, self._params(), strict=True))
        for i, values in saved.items():
            if i not in params:
                raise ValueError(f"{name}: state for parameter {i}, which no group has")
            for key, value in values.items():
                p = params[i]
                if not isinstance(value, (Tensor, int, float, bool, type(None))):
                    raise TypeError(
                        f"{name}: {key} of parameter {i}: expected a tensor or number, "
                        f"got {type(value).__name__}"
                    )
                if isinstance(value, Tensor) and value.ndim > 0:
                    ours_is, got = (p.dtype, p.shape), (value.dtype, value.shape)
                    if ours_is != got:
                        raise ValueError(
                            f"{name}: {key} of parameter {i}: expected "
                            f"{p.dtype.name} {p.shape}, got {value.dtype.name} "
                            f"{value.shape}"
                        )
        for group in groups:
            self.check({**self.defaults, **group})
        for group, new in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in new.items() if k != "params"})
        self.state = {
            params[i]: {
                k: v.detach().clone() if isinstance(v, Tensor) else v
                for k, v in values.items()
            }
            for i, values in saved.items()
        }

    def __repr__(self) -> str:
        groups = "\n".join(f"  {group!r}" for group in self.param_groups)
        return f"{type(self).__name__}(\n{groups}\n)"
