"""Optimizer: the base class, and the groups of parameters with their hyperparameters.

A hyperparameter reads as a number, and lives in a float64 tensor that the step's kernel
reads. So a schedule changes a value that the kernel sees, never the recorded call.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import Any, ClassVar

import fastnn
from fastnn._core import RowGradient, Tensor, touch_structure
from fastnn.nn.parameter import clear_grad
from fastnn.ops import _record
from fastnn.ops.optim import optimizer_step, rows_step

# The ranges of options, in words and as a test. One table: an option that two optimizers
# share means the same in both. What is not here may be any number.
Range = tuple[str, Callable[[float], bool]]
ANY: Range = ("a number", lambda v: True)
POSITIVE: Range = (">= 0", lambda v: v >= 0)
FRACTION: Range = ("in [0, 1]", lambda v: 0 <= v <= 1)
RANGES: dict[str, Range] = {
    "lr": POSITIVE,
    "lr_decay": POSITIVE,
    "momentum": POSITIVE,
    "momentum_decay": POSITIVE,
    "weight_decay": POSITIVE,
    "eps": POSITIVE,
    "alpha": FRACTION,
    "rho": FRACTION,
    "betas": ("in [0, 1)", lambda v: 0 <= v < 1),
}
PAIRS = ("betas",)  # options that are two numbers


def _is_zero(value: Any) -> Any:
    """Which of a number, or of several, are 0."""
    return tuple(v == 0 for v in value) if isinstance(value, tuple) else value == 0


class _Watched(dict[Any, Any]):
    """A dict whose changes compiled functions notice."""

    def __setitem__(self, key: Any, value: Any) -> None:
        touch_structure()
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        touch_structure()
        super().__delitem__(key)

    def clear(self) -> None:
        """Drop everything."""
        touch_structure()
        super().clear()

    def pop(self, *args: Any) -> Any:
        """As dict's."""
        touch_structure()
        return super().pop(*args)


class _States(_Watched):
    """Each parameter's states by name; a parameter that is asked for has some."""

    def __missing__(self, parameter: Tensor) -> _Watched:
        self[parameter] = _Watched()
        return self[parameter]  # type: ignore[no-any-return]


def as_number(who: str, option: str, value: Any) -> float:
    """value as a float; TypeError in words unless it is a number or a one-element tensor."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{who}: expected {option} as a number, got {value!r}"
        ) from None


class ParamGroup(MutableMapping[str, Any]):
    """One entry of Optimizer.param_groups: "params", numbers and flags by name.

    Parameters:
        params : the tensors of the group.
        hyperparameters : names of the numbers, or pairs of numbers, in the order in which
            the kernel reads them.
        values : all numbers and flags.

    Example:
        >>> import fastnn
        >>> net = fastnn.nn.Linear(2, 2)
        >>> group = fastnn.optim.SGD(net.parameters(), lr=0.1).param_groups[0]
        >>> group["lr"] *= 0.5
        >>> group["lr"], group.hyper.tolist()[0]
        (0.05, 0.05)
    """

    hyper: Tensor  # float64, one entry for each number, read by the kernel

    def __init__(
        self,
        params: list[Tensor],
        hyperparameters: tuple[str, ...],
        values: Mapping[str, Any],
    ) -> None:
        self._values: dict[str, Any] = {"params": params}
        self._slots: dict[str, slice] = {}
        self.exact: set[str] = set()  # numbers that a recorded step saw
        at = 0
        for name in hyperparameters:
            count = len(values[name]) if isinstance(values[name], tuple | list) else 1
            self._slots[name] = slice(at, at + count)
            at += count
        self.hyper = fastnn.zeros(at, dtype=fastnn.float64)
        self.update(values)

    def __getitem__(self, name: str) -> Any:
        active = _record.active
        if active is not None and name in self._slots and active.is_mine():
            self.exact.add(name)
        return self._values[name]

    def peek(self, name: str) -> Any:
        """An option, for a step that asks no more of a number than whether it is 0."""
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        old = self._values.get(name)
        if name in self._slots:
            slots = self._slots[name]
            count = slots.stop - slots.start
            if count == 1:
                value = as_number("param_groups", name, value)
            elif isinstance(value, tuple | list) and len(value) == count:
                value = tuple(as_number("param_groups", name, v) for v in value)
            else:
                raise ValueError(
                    f"param_groups: expected {count} numbers for {name!r}, got {value!r}"
                )
            # The mapping is the tensor's only writer, so both always agree.
            if _record.active is not None:
                _record.active.refuse(
                    f"option {name!r} of an optimizer is set",
                    "hint: step a scheduler outside, a plan reads what it sets",
                )
            self.hyper.numpy()[slots] = value
            value_is = value
            if name not in self.exact:
                old, value_is = _is_zero(old), _is_zero(value)
        else:
            value_is = value
        if old != value_is:  # other calls may follow from it
            touch_structure()
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

    Attributes:
        active : None, or a bool Tensor () that every step reads: where it is false, the
            step changes neither parameters nor state, not even step counts. So a step can
            depend on a computed value that nobody reads out.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.ones(1))
        >>> sgd = fastnn.optim.SGD([w], lr=1.0)
        >>> w.grad = fastnn.tensor([float("inf")])
        >>> sgd.active = fastnn.nn.utils.all_finite(w.grad)
        >>> sgd.step()
        >>> w.tolist()
        [1.0]
    """

    # The fused kernel, see fastnn.ops.optim.
    algorithm: ClassVar[str] = ""
    # Options that are numbers, in the order in which the kernel reads them.
    hyperparameters: ClassVar[tuple[str, ...]] = ()
    # States like the parameter, in the kernel's order, and the option that each is for;
    # "" for those of every step.
    states: ClassVar[Mapping[str, str]] = {}
    # Options that the kernel takes as flags, in its order.
    flags: ClassVar[tuple[str, ...]] = ("maximize",)
    # Numbers that a parameter's state counts, float64 (), and where they begin.
    counters: ClassVar[Mapping[str, float]] = {}

    # The kernel for gradients of rows, "" where there is none, and the options that it
    # cannot have: what they do to rows without a gradient would cost the whole table.
    rows_algorithm: ClassVar[str] = ""
    dense_options: ClassVar[tuple[str, ...]] = ()

    active: Tensor | None = None

    param_groups: list[ParamGroup]
    state: dict[Tensor, dict[str, Any]]

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get(name, self) is not value:
            touch_structure()  # a compiled step looks again
        super().__setattr__(name, value)

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
        self.state = _States()
        if not isinstance(params, Iterable):
            hint = "; write model.parameters()" if callable(params) else ""
            raise TypeError(
                f"{name}: expected an iterable of Tensors or of groups, got "
                f"{type(params).__name__}{hint}"
            )
        entries: list[Any] = list(params)
        if not entries:
            raise ValueError(f"{name}: expected at least one parameter, got none")
        if not isinstance(entries[0], Mapping):
            entries = [{"params": entries}]
        for entry in entries:
            self.add_param_group(entry)

    def check(self, group: Mapping[str, Any]) -> None:
        """Raise where an option of a group is no number, or out of its range."""
        name = type(self).__name__
        for option in self.hyperparameters:
            values = group[option]
            if option in PAIRS:
                if not (isinstance(values, tuple | list) and len(values) == 2):
                    raise TypeError(
                        f"{name}: expected {option} as 2 numbers, got {values!r}"
                    )
            else:
                values = (values,)
            numbers = [as_number(name, option, value) for value in values]
            allowed, within = RANGES.get(option, ANY)
            if not all(map(within, numbers)):
                raise ValueError(
                    f"{name}: expected {option} {allowed}, got {group[option]}"
                )

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Parameters:
            param_group : mapping with "params" (a Tensor or an iterable) and options.

        Raises: TypeError, ValueError: no Tensor, not a leaf, there already, or an
            option out of its range.
        """
        name = type(self).__name__
        if not (isinstance(param_group, Mapping) and "params" in param_group):
            raise TypeError(
                f'{name}: expected a group as a mapping with "params", got {param_group!r}'
            )
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
        touch_structure()
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
        if _record.active is not None:
            _record.active.uses(self)
        if closure is not None:
            with fastnn.enable_grad():
                loss = closure()
        with fastnn.no_grad():
            for group in self.param_groups:
                found = [(p, p.grad) for p in group["params"]]
                dense = [p for p, g in found if isinstance(g, Tensor)]
                rows = [p for p, g in found if isinstance(g, RowGradient)]
                if dense:
                    self.update(dense, group)
                if rows:
                    self.update_rows(rows, group)
        return loss

    def update(self, params: list[Tensor], group: ParamGroup) -> None:
        """Change parameters that have gradients in place."""
        if not self.algorithm:
            raise NotImplementedError(
                f"{type(self).__name__}: expected a method step() or update(), found none"
            )
        self.fused(params, group)

    def update_rows(self, params: list[Tensor], group: ParamGroup) -> None:
        """Change the rows, of parameters whose gradients are RowGradients, that these name.

        Raises: RuntimeError where the optimizer has no such step, or not with its options.
        """
        name = type(self).__name__
        if not self.rows_algorithm:
            raise RuntimeError(
                f"{name}: expected dense gradients, got one of rows for a parameter of "
                f"shape {params[0].shape} (hint: Embedding(sparse=False); SGD, Adagrad, "
                "Adam and SparseAdam take gradients of rows)"
            )
        for option in self.dense_options:
            if group.peek(option):
                raise RuntimeError(
                    f"{name}: expected no {option} with a gradient of rows, got "
                    f"{group.peek(option)} for a parameter of shape {params[0].shape} "
                    "(hint: a group of its own with other options, or "
                    "Embedding(sparse=False))"
                )
        rows_step(
            self.rows_algorithm,
            group.hyper,
            params,
            [p.grad for p in params],
            [x for x in self._lists(params, group) if x is not None],
            group["maximize"],
            active=self.active,
        )

    def fused(self, params: list[Tensor], group: ParamGroup, *flags: bool) -> None:
        """One step of self.algorithm on all of params, in one call of its kernel.

        States begin as zeros like the parameter.

        Parameters:
            flags : the kernel's flags that are no options, after those of self.flags.
        """
        optimizer_step(
            self.algorithm,
            group.hyper,
            params,
            [p.grad for p in params if p.grad is not None],
            self._lists(params, group),
            *(group[flag] for flag in self.flags),
            *flags,
            active=self.active,
        )

    def _lists(
        self, params: list[Tensor], group: ParamGroup
    ) -> list[list[Tensor] | None]:
        """The states of params, then what is counted, in the kernel's order; None for a
        state that the options do without."""
        lists: list[list[Tensor] | None] = []
        owned = [self.state[p] for p in params]
        # Counters stand first in a parameter's state, as in PyTorch, and last in the call.
        counts = [
            [
                self._entry(p, state, name)
                for p, state in zip(params, owned, strict=True)
            ]
            for name in self.counters
        ]
        for name, option in self.states.items():
            wanted = not option or group.peek(option)
            lists.append(
                [
                    self._entry(p, state, name)
                    for p, state in zip(params, owned, strict=True)
                ]
                if wanted
                else None
            )
        return [*lists, *counts]

    def _entry(self, p: Tensor, state: dict[str, Any], name: str) -> Tensor:
        found: Tensor | None = state.get(name)
        if found is not None and not isinstance(found, Tensor):
            raise TypeError(
                f"{type(self).__name__}: expected state {name!r} as a tensor, got "
                f"{type(found).__name__}"
            )
        if found is None:
            if name in self.counters:
                start = self.counters[name]
                found = fastnn.full((), start, dtype=fastnn.float64)
            else:
                found = fastnn.zeros(p.shape, dtype=p.dtype)
            state[name] = found
        elif found.dtype is not p.dtype and name not in self.counters:
            found = state[name] = found.to(p.dtype)  # after model.to(dtype)
        return found

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
        for group in groups:
            lacking = [key for key in self.hyperparameters if key not in group]
            if lacking:
                raise ValueError(
                    f"{name}: expected the options of {type(self).__name__}, got a state "
                    f"without {', '.join(lacking)}: another optimizer's?"
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
                if key in self.counters:
                    if value is None or (
                        isinstance(value, Tensor) and value.numel() != 1
                    ):
                        raise ValueError(
                            f"{name}: {key} of parameter {i}: expected one number, got "
                            f"{'None' if value is None else f'shape {value.shape}'}"
                        )
                elif isinstance(value, Tensor):
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
        self.state = _States()
        for i, values in saved.items():
            for key, value in values.items():
                if key in self.counters:  # PyTorch counts in float32, or in Python
                    value = fastnn.tensor(float(value), dtype=fastnn.float64)
                elif isinstance(value, Tensor):
                    value = value.detach().clone()
                self.state[params[i]][key] = value

    def __repr__(self) -> str:
        groups = "\n".join(f"  {group!r}" for group in self.param_groups)
        return f"{type(self).__name__}(\n{groups}\n)"
